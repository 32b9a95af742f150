//! Where a view is cut: torchvision's random resized crop and center crop.

use crate::{Stream, order};

use super::Window;

/// A box of whole pixels inside an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelRect {
    /// First column.
    pub left_px: usize,
    /// First row.
    pub top_px: usize,
    /// Columns.
    pub width_px: usize,
    /// Rows.
    pub height_px: usize,
}

/// The number of boxes drawn before the central one is taken.
const N_TRIES: usize = 10;

/// Draws the box of a random resized crop.
///
/// Up to ten times: `area = U(scale) · H · W`, `ratio = exp U(ln ratio)`, `w = round √(area · ratio)`,
/// `h = round √(area / ratio)`, taken if it fits, at a place drawn uniformly (top, then left). Else the largest
/// central box whose ratio is within the bounds.
///
/// # Panics
/// When the image is empty.
///
/// # Source
/// torchvision `RandomResizedCrop.get_params`; rounding is half to even, as Python's. *Differs*: `ln` and `exp`
/// are `libm`'s in f64, so that the boxes are the same on every machine.
pub fn random_resized_crop(
    width_px: usize,
    height_px: usize,
    scale: (f64, f64),
    ratio: (f64, f64),
    stream: &mut Stream,
) -> PixelRect {
    assert!(width_px > 0 && height_px > 0, "an empty image, {width_px}×{height_px} px, has no crops");
    let (width, height) = (width_px as f64, height_px as f64);
    let uniform = |low: f64, high: f64, stream: &mut Stream| low + (high - low) * order::unit(stream);
    let log_ratio = (libm::log(ratio.0), libm::log(ratio.1));
    for _ in 0..N_TRIES {
        let area = width * height * uniform(scale.0, scale.1, stream);
        let aspect = libm::exp(uniform(log_ratio.0, log_ratio.1, stream));
        let w = (area * aspect).sqrt().round_ties_even();
        let h = (area / aspect).sqrt().round_ties_even();
        if 0.0 < w && w <= width && 0.0 < h && h <= height {
            let (w, h) = (w as usize, h as usize);
            let top_px = order::below(stream, height_px - h + 1);
            let left_px = order::below(stream, width_px - w + 1);
            return PixelRect { left_px, top_px, width_px: w, height_px: h };
        }
    }
    central_within_ratio(width_px, height_px, ratio)
}

/// The largest central box of an image whose ratio is within the bounds.
fn central_within_ratio(width_px: usize, height_px: usize, ratio: (f64, f64)) -> PixelRect {
    let (width, height) = (width_px as f64, height_px as f64);
    let (mut w, mut h) = (width_px, height_px);
    if width / height < ratio.0 {
        h = ((width / ratio.0).round_ties_even() as usize).clamp(1, height_px);
    } else if width / height > ratio.1 {
        w = ((height * ratio.1).round_ties_even() as usize).clamp(1, width_px);
    }
    PixelRect { left_px: (width_px - w) / 2, top_px: (height_px - h) / 2, width_px: w, height_px: h }
}

/// The window of the image that "shorter side to `resize_px`, then the central `size_px` square" shows.
///
/// The longer side becomes `⌊resize_px · long / short⌋`; the square begins at `round((side - size_px) / 2)`.
///
/// # Panics
/// When the image is empty or `size_px > resize_px`.
///
/// # Source
/// torchvision `Resize(int)` and `CenterCrop`.
pub fn center_crop(width_px: usize, height_px: usize, resize_px: usize, size_px: usize) -> Window {
    assert!(width_px > 0 && height_px > 0, "an empty image, {width_px}×{height_px} px, has no center");
    assert!(
        size_px <= resize_px,
        "a center of {size_px} px does not fit in a shorter side of {resize_px} px"
    );
    let short = width_px.min(height_px);
    let axis = |side_px: usize| {
        let resized = (resize_px as u128 * side_px as u128 / short as u128) as usize;
        let start = ((resized - size_px) as f64 / 2.0).round_ties_even();
        let image_from_resized = side_px as f64 / resized as f64;
        (start * image_from_resized, size_px as f64 * image_from_resized)
    };
    let ((x, w), (y, h)) = (axis(width_px), axis(height_px));
    Window { x, y, w, h }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_random_box_is_inside_and_keeps_its_bounds(
            width in 1usize..300, height in 1usize..300, low in 0.01f64..1.0, seed: u64,
        ) {
            let (scale, ratio) = ((low, 1.0), (0.75, 4.0 / 3.0));
            let found = random_resized_crop(width, height, scale, ratio, &mut Seed(seed).stream("view", &[0, 0, 0]));
            prop_assert!(found.width_px >= 1 && found.left_px + found.width_px <= width);
            prop_assert!(found.height_px >= 1 && found.top_px + found.height_px <= height);
            // Rounding moves each side by at most half a pixel.
            let (w, h) = (found.width_px as f64, found.height_px as f64);
            prop_assert!((w + 0.5) / (h - 0.5).max(0.25) >= ratio.0);
            prop_assert!((w - 0.5).max(0.0) / (h + 0.5) <= ratio.1);
        }

        #[test]
        fn a_random_box_of_a_square_covers_what_the_scale_says(side in 32usize..200, low in 0.1f64..0.5, seed: u64) {
            let found = random_resized_crop(side, side, (low, 0.5), (1.0, 1.0), &mut Seed(seed).stream("view", &[]));
            prop_assert_eq!(found.width_px, found.height_px);
            // w = round(side · √s) for s in [low, 0.5].
            let w = found.width_px as f64;
            prop_assert!(w >= (side as f64 * low.sqrt()).round_ties_even() && w <= (side as f64 * 0.5f64.sqrt()).round_ties_even());
        }
    }

    #[test]
    fn a_box_that_cannot_fit_falls_back_to_the_center() {
        // 100 × 10 with the whole area wanted: w = √(1000 · r) ≥ 27, h = √(1000 / r) ≥ 27 > 10, so no try fits.
        // Ratio 10 > 4/3: h = 10, w = round(10 · 4/3) = 13, left = (100 - 13) / 2 = 43.
        let stream = &mut Seed(0).stream("view", &[]);
        let found = random_resized_crop(100, 10, (1.0, 1.0), (0.75, 4.0 / 3.0), stream);
        assert_eq!(found, PixelRect { left_px: 43, top_px: 0, width_px: 13, height_px: 10 });
        // 10 × 100: ratio 0.1 < 0.75: w = 10, h = round(10 / 0.75) = 13, top = 43.
        let found = random_resized_crop(10, 100, (1.0, 1.0), (0.75, 4.0 / 3.0), stream);
        assert_eq!(found, PixelRect { left_px: 0, top_px: 43, width_px: 10, height_px: 13 });
    }

    #[test]
    fn a_center_is_mapped_back_to_the_image() {
        // 500 × 375, shorter side to 256: 341 × 256 (500 · 256 / 375 = 341.33).
        // left = round((341 - 224) / 2 = 58.5) = 58 (half to even), top = 16.
        let found = center_crop(500, 375, 256, 224);
        let (sx, sy) = (500.0 / 341.0, 375.0 / 256.0);
        let expected = Window { x: 58.0 * sx, y: 16.0 * sy, w: 224.0 * sx, h: 224.0 * sy };
        assert!((found.x - expected.x).abs() < 1e-12 && (found.w - expected.w).abs() < 1e-12);
        assert!((found.y - expected.y).abs() < 1e-12 && (found.h - expected.h).abs() < 1e-12);
    }
}
