//! Gaussian blur as Pillow does it: three extended box blurs along each axis, each rounded to bytes.

use serde::{Deserialize, Serialize};

use crate::{Image, Stream, order};

/// Blur by a Gaussian of random width.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Blur {
    /// Probability, 0–1; in DINO, iBOT and MoCo v3 1 for the first global crop, 0.1 for the second, 0.5 for local ones.
    pub prob: f64,
    /// Least and greatest standard deviation in pixels of the view, above 0; (0.1, 2) in all of them.
    pub sigma_px: (f64, f64),
}

impl Default for Blur {
    fn default() -> Self {
        Self { prob: 0.0, sigma_px: (0.1, 2.0) }
    }
}

impl Blur {
    /// Draws the standard deviation, uniformly.
    pub fn draw(&self, stream: &mut Stream) -> f64 {
        let (low, high) = self.sigma_px;
        low + (high - low) * order::unit(stream)
    }
}

/// Box blurs that stand in for one Gaussian.
pub(super) const N_PASSES: usize = 3;

/// Blurs an image with standard deviation `sigma_px`; beyond the edge, the pixel at the edge goes on.
///
/// A box of length `L = √(12 σ² / 3 + 1)`, its ends weighted by the fraction, is laid three times along the rows and
/// then three times along the columns.
///
/// # Panics
/// When the image has no pixel or `sigma_px` is not above 0.
///
/// # Source
/// Pillow `ImageFilter.GaussianBlur(radius)`, whose radius is σ; Gwosdek et al. 2011, Theoretical Foundations of
/// Gaussian Convolution by Extended Box Filtering.
pub fn gaussian_blur(image: &mut Image, sigma_px: f64) {
    assert!(sigma_px > 0.0, "a blur of {sigma_px} px");
    let (width, height) = (image.width_px, image.height_px);
    assert!(width > 0 && height > 0, "an empty image, {width}×{height} px, cannot be blurred");
    let weights = BoxWeights::of(sigma_px as f32);
    let mut line = vec![0; width.max(height)];
    let mut blurred = vec![0; width.max(height)];
    for channel in 0..3 {
        let mut along = |start: usize, step: usize, n: usize| {
            for (i, value) in line[..n].iter_mut().enumerate() {
                *value = image.rgb[3 * (start + i * step) + channel];
            }
            for _ in 0..N_PASSES {
                weights.blur_line(&line[..n], &mut blurred[..n]);
                std::mem::swap(&mut line, &mut blurred);
            }
            for (i, value) in line[..n].iter().enumerate() {
                image.rgb[3 * (start + i * step) + channel] = *value;
            }
        };
        (0..height).for_each(|y| along(y * width, 1, width));
        (0..width).for_each(|x| along(x, width, height));
    }
}

/// An extended box: `2 · radius + 1` whole pixels, and a share of one more at each end.
pub(super) struct BoxWeights {
    pub(super) radius: usize,
    /// Weight of a whole pixel, in 2⁻²⁴.
    pub(super) whole: u32,
    /// Weight of the pixel at each end, in 2⁻²⁴.
    pub(super) end: u32,
}

impl BoxWeights {
    /// In single precision where Pillow has it, so that the weights are the same integers.
    pub(super) fn of(sigma: f32) -> Self {
        let variance = sigma * sigma / N_PASSES as f32;
        let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
        let l = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
        let share =
            (2.0 * l + 1.0) * (l * (l + 1.0) - 3.0 * variance) / (6.0 * (variance - (l + 1.0) * (l + 1.0)));
        let reach = l + share;
        let radius = reach as usize;
        let one = 1u32 << 24;
        let whole = (one as f32 / (reach * 2.0 + 1.0)) as u32;
        let end = (one - (2 * radius as u32 + 1) * whole) / 2;
        Self { radius, whole, end }
    }

    pub(super) fn blur_line(&self, line: &[u8], blurred: &mut [u8]) {
        let last = line.len() as isize - 1;
        let at = |i: isize| u32::from(line[i.clamp(0, last) as usize]);
        let r = self.radius as isize;
        let mut sum: u32 = (-r..=r).map(at).sum();
        for (x, out) in (0..).zip(blurred) {
            let ends = at(x - r - 1) + at(x + r + 1);
            *out = ((sum * self.whole + ends * self.end + (1 << 23)) >> 24) as u8;
            sum = sum + at(x + r + 1) - at(x - r);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    fn gray(width_px: usize, height_px: usize, values: &[u8]) -> Image {
        Image { width_px, height_px, rgb: values.iter().flat_map(|&value| [value; 3]).collect() }
    }

    #[test]
    fn a_row_is_blurred_as_by_hand() {
        // σ = 1: variance 1/3, L = √5 = 2.236, l = 0, share = (1 · (0 - 1)) / (6 · (1/3 - 1)) = 0.25.
        // Box: 1 / 1.5 in the middle, (1 - 2/3) / 2 = 1/6 at each end.
        // 0 0 240 0 0 → 0 40 160 40 0 → 6.67 53.3 120 53.3 6.67 → 7 53 120 53 7
        // → 7 · 5/6 + 53/6 = 14.67, 7/6 + 53 · 2/3 + 20 = 56.5, 120 · 2/3 + 106/6 = 97.67.
        // 56.5 is rounded by weights that are cut off at 24 bits: just below, 56.
        let mut image = gray(5, 1, &[0, 0, 240, 0, 0]);
        gaussian_blur(&mut image, 1.0);
        let found: Vec<u8> = image.rgb.iter().step_by(3).copied().collect();
        assert!(found == [15, 56, 98, 56, 15] || found == [15, 57, 98, 57, 15], "{found:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn results_are_those_of_pillow_to_the_byte() {
        let of = |sigma_px| {
            let rgb = (0..60u32).map(|i| (i * i * 7 + i * 53 + 11) as u8).collect();
            let mut image = Image { width_px: 5, height_px: 4, rgb };
            gaussian_blur(&mut image, sigma_px);
            image.rgb
        };
        // Pillow 13.0.0: filter(ImageFilter.GaussianBlur(σ)); the widest box is wider than the image.
        assert_eq!(of(0.7), [65, 84, 145, 155, 121, 149, 102, 183, 127, 82, 171, 142, 113, 109, 85, 109, 121, 123, 153, 167, 102, 143, 163, 105, 155, 109, 145, 158, 88, 60, 186, 160, 143, 187, 164, 154, 198, 104, 128, 198, 60, 117, 210, 85, 59, 199, 140, 95, 218, 180, 166, 207, 144, 170, 217, 59, 120, 197, 35, 97]);
        assert_eq!(of(1.9), [130, 129, 134, 133, 129, 129, 138, 127, 122, 142, 123, 112, 144, 117, 105, 145, 133, 132, 148, 130, 129, 152, 124, 122, 155, 116, 113, 157, 109, 106, 164, 137, 131, 166, 131, 128, 170, 121, 123, 172, 108, 114, 174, 98, 107, 179, 140, 130, 181, 132, 128, 184, 118, 123, 185, 102, 116, 186, 90, 109]);
        assert_eq!(of(5.3), [141, 101, 111, 141, 100, 111, 142, 100, 110, 143, 100, 110, 143, 99, 110, 142, 101, 111, 142, 100, 111, 143, 100, 110, 144, 100, 110, 144, 99, 110, 142, 100, 111, 143, 100, 111, 144, 100, 110, 145, 99, 109, 145, 99, 109, 143, 100, 111, 144, 100, 111, 145, 100, 110, 146, 99, 109, 146, 99, 109]);
        let digests = [
            (0.1, "4acee3a243bb8799aace526f6e44b41822d1735c42495cf18dc9b69ceb4c718e"),
            (0.5, "e7e78ce8bcae884b9343cf59d5e4263c09c96c1155892ec094a5262cc6696095"),
            (1.0, "c1dbed32740325ce3dfe781b06b92f5de1970b97f74cbbab896c15bc6e3964f8"),
            (2.0, "77c9945a5830f9a12259a8bda068419575b204f1ca884b8b788846d062257689"),
            (7.5, "e9cca29d0c04d2165db2fc2707a0a2d19bcb2394c34e53345baa1ed3039ce806"),
        ];
        for (sigma_px, digest) in digests {
            let rgb = (0..61 * 47 * 3u64).map(|i| ((i * i * 7 + i * 53 + 11) >> 3) as u8).collect();
            let mut image = Image { width_px: 61, height_px: 47, rgb };
            gaussian_blur(&mut image, sigma_px);
            let found: String = Sha256::digest(&image.rgb).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, digest, "σ = {sigma_px}");
        }
    }

    proptest! {
        #[test]
        fn one_color_stays_one_color(width in 1usize..20, height in 1usize..20, color: u8, sigma in 0.05f64..9.0) {
            let mut image = gray(width, height, &vec![color; width * height]);
            gaussian_blur(&mut image, sigma);
            prop_assert_eq!(image, gray(width, height, &vec![color; width * height]));
        }

        #[test]
        fn a_mirrored_image_blurs_to_the_mirror(values in prop::collection::vec(any::<u8>(), 12), sigma in 0.1f64..4.0) {
            let mut image = gray(12, 1, &values);
            gaussian_blur(&mut image, sigma);
            let mut mirrored = gray(12, 1, &values.iter().rev().copied().collect::<Vec<_>>());
            gaussian_blur(&mut mirrored, sigma);
            prop_assert!(image.rgb.chunks(3).eq(mirrored.rgb.chunks(3).rev()));
        }
    }
}
