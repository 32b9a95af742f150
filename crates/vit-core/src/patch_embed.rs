//! Pixels to patches and back.

use crate::{Draw, Grid, InitScheme};
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use vit_ops::{PatchCut, PatchOrder};

/// The patch projection of timm, `proj`, stored as a convolution's kernel.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// The kernel and its bias.
    pub proj: PatchProjection,
}

/// A convolution whose stride is its kernel: one linear map per patch.
#[derive(Module, Debug)]
pub struct PatchProjection {
    /// `[D, 3, P, P]`
    pub weight: Param<Tensor<4>>,
    /// `[D]`
    pub bias: Option<Param<Tensor<1>>>,
}

impl PatchEmbed {
    /// Weights by the drawer's scheme.
    pub fn init(patch_px: usize, width: usize, bias: bool, draw: &mut Draw) -> Self {
        let shape = [width, 3, patch_px, patch_px];
        let fan_in = 3 * patch_px * patch_px;
        let default_bound = 1.0 / (fan_in as f64).sqrt();
        let weight = match draw.scheme {
            InitScheme::Timm | InitScheme::Blank => draw.uniform(shape, default_bound),
            InitScheme::Mae => draw.uniform(shape, (6.0 / (fan_in + width) as f64).sqrt()),
        };
        let bias = bias.then(|| draw.uniform([width], default_bound));
        Self { proj: PatchProjection { weight, bias } }
    }

    /// The side of a patch in pixels.
    pub fn patch_px(&self) -> usize {
        self.proj.weight.dims()[2]
    }

    /// # Shapes
    /// - `pixels`: `[B, 3, H, W]`; result `[B, N, D]`, row by row
    ///
    /// # Panics
    /// When a side of the image is not a multiple of the patch.
    pub fn forward(&self, pixels: Tensor<4>) -> (Tensor<3>, Grid) {
        let [_, _, height, width] = pixels.dims();
        let weight = self.proj.weight.val();
        let [d, channels, p, _] = weight.dims();
        let grid = Grid::of_image(height, width, p);
        let cut = PatchCut { channels, ..cut(grid, p, PatchOrder::ChannelFirst) };
        let x = vit_ops::patchify(pixels, cut); // [B, N, 3·P·P] in the order (channel, y, x)
        let bias = match &self.proj.bias {
            Some(bias) => bias.val(),
            None => Tensor::zeros([d], (&x.device(), x.dtype())),
        };
        (vit_ops::linear(x, weight.reshape([d, channels * p * p]), bias), grid)
    }
}

/// How an image of this grid is cut.
fn cut(grid: Grid, patch_px: usize, order: PatchOrder) -> PatchCut {
    PatchCut { channels: 3, rows: grid.rows, columns: grid.columns, patch_px, order }
}

/// Patches as MAE's targets have them: `[B, 3, H, W]` → `[B, N, P·P·3]` in the order (y, x, channel).
///
/// # Panics
/// When a side of the image is not a multiple of the patch.
///
/// # Source
/// He et al., Masked Autoencoders Are Scalable Vision Learners.
pub fn patchify(pixels: Tensor<4>, patch_px: usize) -> Tensor<3> {
    let [_, channels, height, width] = pixels.dims();
    let cut = cut(Grid::of_image(height, width, patch_px), patch_px, PatchOrder::ChannelLast);
    vit_ops::patchify(pixels, PatchCut { channels, ..cut })
}

/// The inverse of [`patchify`]: `[B, N, P·P·3]` → `[B, 3, H, W]`.
///
/// # Panics
/// When `N` is not the grid's.
pub fn unpatchify(patches: Tensor<3>, grid: Grid, patch_px: usize) -> Tensor<4> {
    let [_, n, _] = patches.dims();
    assert_eq!(n, grid.n_patches(), "unpatchify: {n} patches for a grid of {grid:?}");
    vit_ops::unpatchify(patches, cut(grid, patch_px, PatchOrder::ChannelLast))
}

/// The frames of a clip as images, clip by clip: `[B, 3, F, H, W]` → `[B·F, 3, H, W]`, so that any image encoder can
/// be fed a clip frame by frame.
pub fn frames(clip: Tensor<5>) -> Tensor<4> {
    let [b, c, f, height, width] = clip.dims();
    clip.permute([0, 2, 1, 3, 4]).reshape([b * f, c, height, width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    fn counting(shape: [usize; 4]) -> Tensor<4> {
        let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), &vit_ops::cpu_device())
    }

    #[test]
    fn patches_are_ordered_y_x_channel() {
        // one image [3, 4, 4] counted 0..48, patch 2: patch 0 holds y,x = (0,0),(0,1),(1,0),(1,1) of channels 0,16,32
        let patches = patchify(counting([1, 3, 4, 4]), 2).into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(patches[..12], [0., 16., 32., 1., 17., 33., 4., 20., 36., 5., 21., 37.]);
        assert_eq!(patches[36..], [10., 26., 42., 11., 27., 43., 14., 30., 46., 15., 31., 47.]);
    }

    #[test]
    fn unpatchify_undoes_patchify() {
        let pixels = counting([2, 3, 4, 6]);
        let back = unpatchify(patchify(pixels.clone(), 2), Grid { rows: 2, columns: 3 }, 2);
        assert_eq!(back.into_data(), pixels.into_data());
    }
}
