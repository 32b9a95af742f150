//! Patches that overlap: a finer grid of tokens from a model as it is.
//!
//! The windows of `patch × patch` pixels that stand `stride` apart are laid side by side, which gives a larger picture; cut into patches as
//! usual, that has one token for each window, and positions are resampled to the finer grid as for any larger picture.

use crate::Shapes;
use burn::tensor::{Int, Tensor, TensorData};
use vit_core::Grid;
use vit_data::CropBox;

/// Windows of `patch_px` along a side of `size_px`, `stride_px` apart: `1 + ⌊(size − patch) / stride⌋`.
///
/// # Panics
/// If the stride is 0 or a window is larger than the side.
pub fn n_windows(size_px: usize, patch_px: usize, stride_px: usize) -> usize {
    assert!(
        stride_px > 0 && patch_px <= size_px,
        "windows of {patch_px} px, {stride_px} apart, of {size_px}"
    );
    1 + (size_px - patch_px) / stride_px
}

/// Lays the windows side by side.
///
/// # Shapes
/// `pixels`: `[B, C, H, W]`; the result is `[B, C, g_y · patch, g_x · patch]` with `g` windows along each side.
///
/// # Panics
/// As [`n_windows`].
///
/// # Source
/// Amir et al., Deep ViT Features as Dense Visual Descriptors, who change the stride of the patch embedding: the same tokens.
/// *Differs*: positions are resampled by the model's own convention.
pub fn unfold(pixels: Tensor<4>, patch_px: usize, stride_px: usize) -> Tensor<4> {
    let [_, _, h, w] = pixels.dims();
    let device = pixels.device();
    let places = |size_px: usize| -> Tensor<1, Int> {
        let starts = (0..n_windows(size_px, patch_px, stride_px)).map(|i| i * stride_px);
        let places: Vec<i64> =
            starts.flat_map(|start| (start..start + patch_px).map(|at| at as i64)).collect();
        let n = places.len();
        Tensor::from_data(TensorData::new(places, [n]), &device)
    };
    pixels.select(2, places(h)).select(3, places(w))
}

/// The part of a view that cells of `stride_px` around the middles of the windows cover: with it in the place of the view, cell `i` of
/// the finer grid has its middle where window `i` has it.
///
/// # Panics
/// As [`n_windows`].
pub fn covered(view: &CropBox, size_px: usize, patch_px: usize, stride_px: usize) -> CropBox {
    let span = (n_windows(size_px, patch_px, stride_px) * stride_px) as f64 / size_px as f64;
    let before = 0.5 * (patch_px as f64 - stride_px as f64) / size_px as f64;
    // In a mirrored view the left is the image's right.
    let across = if view.flipped { 1.0 - before - span } else { before };
    CropBox {
        x: view.x + across * view.w,
        y: view.y + before * view.h,
        w: span * view.w,
        h: span * view.h,
        flipped: view.flipped,
    }
}

impl Shapes {
    /// The same model on windows that overlap: a finer grid, of cells as large as the stride.
    ///
    /// # Panics
    /// As [`n_windows`].
    #[must_use]
    pub fn strided(self, stride_px: usize) -> Self {
        let windows = |n_patches: usize| n_windows(n_patches * self.patch_px, self.patch_px, stride_px);
        let grid = Grid { rows: windows(self.grid.rows), columns: windows(self.grid.columns) };
        Self { grid, patch_px: stride_px, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_a_small_picture_by_hand() {
        let pixels: Vec<f32> = (0..9).map(|at| at as f32).collect();
        let pixels = Tensor::<4>::from_data(TensorData::new(pixels, [1, 1, 3, 3]), &vit_ops::cpu_device());
        // Windows of 2 × 2 px, 1 apart: 01/34, 12/45, 34/67, 45/78.
        let found = unfold(pixels.clone(), 2, 1).into_data().try_to_vec::<f32>().expect("floats");
        let expected =
            [[0.0, 1.0, 1.0, 2.0], [3.0, 4.0, 4.0, 5.0], [3.0, 4.0, 4.0, 5.0], [6.0, 7.0, 7.0, 8.0]];
        assert_eq!(found, expected.concat());
        // Windows that do not overlap are the picture; a third column does not fill one.
        let found = unfold(pixels, 2, 2).into_data().try_to_vec::<f32>().expect("floats");
        assert_eq!(found, [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn the_finer_grid_lies_where_the_windows_are() {
        let view = CropBox { x: 10.0, y: 0.0, w: 16.0, h: 16.0, flipped: false };
        // Patches of 8 px, 4 apart, of 16: middles at 4, 8, 12; cells of 4 px from 2 to 14.
        assert_eq!(n_windows(16, 8, 4), 3);
        let found = covered(&view, 16, 8, 4);
        assert_eq!(found, CropBox { x: 12.0, y: 2.0, w: 12.0, h: 12.0, flipped: false });
        let mirrored = CropBox { flipped: true, ..view };
        assert_eq!(covered(&mirrored, 16, 8, 4), CropBox { flipped: true, ..found });
        assert_eq!(covered(&view, 16, 8, 8), view, "windows that do not overlap change nothing");
        // One window is left over at the right and below: cells from 1 to 13 of 15 px.
        let view = CropBox { w: 15.0, h: 15.0, ..view };
        assert_eq!(covered(&view, 15, 6, 4).w, 12.0);
        assert_eq!(covered(&CropBox { flipped: true, ..view }, 15, 6, 4).x, 12.0);
    }
}
