//! What is done to the colors of a view, on bytes as Pillow does it: jitter, gray, solarize.

use serde::{Deserialize, Serialize};

use crate::{Image, Stream, order};

/// Random brightness, contrast, saturation and hue, one after the other in random order.
///
/// Each strength `x` but hue's gives a factor from `U(max(0, 1 - x), 1 + x)`; hue `h` gives a shift from `U(-h, h)`.
///
/// # Source
/// torchvision `RandomApply([ColorJitter(…)], p)` on PIL images. The defaults are the strengths of DINO, iBOT and
/// MoCo v3, and the probability of none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jitter {
    /// Probability that a view is jittered at all, 0–1; 0.8 in DINO, iBOT and MoCo v3.
    pub prob: f64,
    /// Strength of brightness, 0 or more; 0.4 in DINO, iBOT, MoCo v3 and SimMIM's fine-tuning, 0.3 in DeiT III.
    pub brightness: f64,
    /// Strength of contrast, 0 or more; 0.4 in DINO, iBOT and MoCo v3.
    pub contrast: f64,
    /// Strength of saturation, 0 or more; 0.2 in DINO and iBOT, 0.4 in BEiT.
    pub saturation: f64,
    /// The greatest shift of hue as a share of the color circle, 0–0.5; 0.1 in DINO, iBOT and MoCo v3.
    pub hue: f64,
}

impl Default for Jitter {
    fn default() -> Self {
        Self { prob: 0.0, brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 }
    }
}

/// One of the four operations of a [`Jitter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JitterOp {
    /// Blend with black.
    Brightness,
    /// Blend with the mean gray.
    Contrast,
    /// Blend with the gray picture.
    Saturation,
    /// Turn the color circle.
    Hue,
}

/// What was drawn for a jitter: the operations with their factors, in the order in which they are done.
pub type JitterDraw = [(JitterOp, f64); 4];

impl Jitter {
    /// Draws a jitter: the order of the four operations, then the factors of brightness, contrast, saturation and hue.
    pub fn draw(&self, stream: &mut Stream) -> JitterDraw {
        let mut turns = [0, 1, 2, 3];
        order::shuffle(&mut turns, stream);
        let mut factor = |low: f64, high: f64| low + (high - low) * order::unit(stream);
        let mut around_one = |strength: f64| factor((1.0 - strength).max(0.0), 1.0 + strength);
        let drawn = [
            (JitterOp::Brightness, around_one(self.brightness)),
            (JitterOp::Contrast, around_one(self.contrast)),
            (JitterOp::Saturation, around_one(self.saturation)),
            (JitterOp::Hue, factor(-self.hue, self.hue)),
        ];
        turns.map(|turn| drawn[turn])
    }
}

/// Inversion of what is bright.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Solarize {
    /// Probability, 0–1; 0.2 in the second global crop of DINO, iBOT and MoCo v3.
    pub prob: f64,
    /// The least byte that is inverted, 0–255; 128 in all of them.
    pub threshold: u8,
}

impl Default for Solarize {
    fn default() -> Self {
        Self { prob: 0.0, threshold: 128 }
    }
}

/// Jitters an image in place, as [`JitterOp`]s say, each rounded to bytes.
///
/// # Source
/// torchvision's `adjust_brightness`, `adjust_contrast`, `adjust_saturation` and `adjust_hue` on PIL images.
pub fn jitter(image: &mut Image, draw: &JitterDraw) {
    for &(op, factor) in draw {
        match op {
            JitterOp::Brightness => blend_with(image, 0, factor as f32),
            JitterOp::Contrast => blend_with(image, mean_gray(image), factor as f32),
            JitterOp::Saturation => {
                for pixel in image.rgb.chunks_exact_mut(3) {
                    let gray = gray_of(pixel);
                    pixel.iter_mut().for_each(|value| *value = blend(gray, *value, factor as f32));
                }
            }
            JitterOp::Hue => turn_hue(image, factor),
        }
    }
}

/// Three equal channels: `(299 R + 587 G + 114 B) / 1000` (ITU-R 601-2), by Pillow's weights of 16 bits.
pub fn gray(image: &mut Image) {
    for pixel in image.rgb.chunks_exact_mut(3) {
        let gray = gray_of(pixel);
        pixel.fill(gray);
    }
}

/// `v ↦ 255 - v` where `v ≥ threshold`.
pub fn solarize(image: &mut Image, threshold: u8) {
    for value in image.rgb.iter_mut().filter(|value| **value >= threshold) {
        *value = 255 - *value;
    }
}

/// `⌊from + factor · (value - from)⌋` within bytes, in single precision as Pillow's `Image.blend`.
#[inline(always)]
pub(super) fn blend(from: u8, value: u8, factor: f32) -> u8 {
    let (from, value) = (f32::from(from), f32::from(value));
    (from + factor * (value - from)).clamp(0.0, 255.0) as u8
}

/// Blends all with one gray.
fn blend_with(image: &mut Image, gray: u8, factor: f32) {
    let table: [u8; 256] = std::array::from_fn(|value| blend(gray, value as u8, factor));
    image.rgb.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
}

fn gray_of(pixel: &[u8]) -> u8 {
    let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16) as u8
}

/// The mean of the gray picture, rounded to a byte.
fn mean_gray(image: &Image) -> u8 {
    let sum: u64 = image.rgb.chunks_exact(3).map(|pixel| u64::from(gray_of(pixel))).sum();
    let n = (image.rgb.len() / 3).max(1);
    (sum as f64 / n as f64 + 0.5) as u8
}

/// Turns the color circle of 256 steps by `⌊255 · shift⌋` (towards 0), through Pillow's HSV of bytes.
fn turn_hue(image: &mut Image, shift: f64) {
    let steps = (shift * 255.0) as i32 as u8; // −1 is 255: the circle closes at 256
    for pixel in image.rgb.chunks_exact_mut(3) {
        let [h, s, v] = hsv_from_rgb([pixel[0], pixel[1], pixel[2]]);
        pixel.copy_from_slice(&rgb_from_hsv([h.wrapping_add(steps), s, v]));
    }
}

/// Hue, saturation and value as bytes; mixes single and double precision where Pillow does.
pub(super) fn hsv_from_rgb([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let [rc, gc, bc] = [r, g, b].map(|value| f32::from(most - value) / range);
    let sector = if r == most {
        bc - gc
    } else if g == most {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    let hue = ((f64::from(sector) / 6.0 + 1.0) % 1.0) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

/// The way back from [`hsv_from_rgb`], up to rounding.
pub(super) fn rgb_from_hsv([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let place = f64::from(h) * 6.0 / 255.0;
    let sector = place.floor();
    let within = (place - sector) as f32;
    let saturation = (f64::from(s) / 255.0) as f32;
    let byte = |share: f64| (f64::from(v) * share).round() as u8;
    let p = byte(1.0 - f64::from(saturation));
    let q = byte(1.0 - f64::from(saturation * within));
    let t = byte(1.0 - f64::from(saturation) * (1.0 - f64::from(within)));
    match sector as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    fn pixel(rgb: [u8; 3]) -> Image {
        Image { width_px: 1, height_px: 1, rgb: rgb.to_vec() }
    }

    fn after(op: JitterOp, factor: f64, rgb: &[u8]) -> Vec<u8> {
        after_on(Image { width_px: rgb.len() / 3, height_px: 1, rgb: rgb.to_vec() }, op, factor)
    }

    fn after_on(mut image: Image, op: JitterOp, factor: f64) -> Vec<u8> {
        let nothing = (JitterOp::Brightness, 1.0);
        jitter(&mut image, &[(op, factor), nothing, nothing, nothing]);
        image.rgb
    }

    #[test]
    fn each_operation_is_as_by_hand() {
        // Blends are cut off, not rounded: 1.5 · 101 = 151.5.
        assert_eq!(after(JitterOp::Brightness, 1.5, &[101, 200, 0]), [151, 255, 0]);
        assert_eq!(after(JitterOp::Brightness, 0.5, &[101, 200, 255]), [50, 100, 127]);
        // Gray of red, (299 · 255) / 1000 = 76.2; of blue, (114 · 255) / 1000 = 29.07; their mean 52.5 is 53.
        // 53 + 0.5 · (255 - 53) = 154, 53 - 26.5 = 26.5.
        assert_eq!(after(JitterOp::Contrast, 0.5, &[255, 0, 0, 0, 0, 255]), [154, 26, 26, 26, 26, 154]);
        // 76 + 0.5 · (255 - 76) = 165.5; 76 - 38 = 38.
        assert_eq!(after(JitterOp::Saturation, 0.5, &[255, 0, 0]), [165, 38, 38]);
        // Beyond 1 away from gray: 76 + 2 · (255 - 76) is above 255, 76 - 152 below 0.
        assert_eq!(after(JitterOp::Saturation, 2.0, &[255, 0, 0]), [255, 0, 0]);
        // Red is hue 0; a third of 255 is 85 steps, 85 · 6 / 255 = 2: green begins.
        assert_eq!(after(JitterOp::Hue, 1.0 / 3.0, &[200, 0, 0]), [0, 200, 0]);
        // −0.1 · 255 = −25.5, towards 0: 231 steps, 231 · 6 / 255 = 5.435, q = round(200 · (1 - 0.435)) = 113.
        assert_eq!(after(JitterOp::Hue, -0.1, &[200, 0, 0]), [200, 0, 113]);
    }

    /// 5 × 4 px.
    fn busy() -> Image {
        let rgb = (0..60u32).map(|i| (i * i * 7 + i * 53 + 11) as u8).collect();
        Image { width_px: 5, height_px: 4, rgb }
    }

    #[test]
    #[rustfmt::skip]
    fn results_are_those_of_pillow_to_the_byte() {
        let of = |op, factor| after_on(busy(), op, factor);
        // Pillow 13.0.0: ImageEnhance.Brightness, .Contrast, .Color; hue through convert("HSV").
        assert_eq!(of(JitterOp::Brightness, 1.37), [15, 97, 198, 255, 108, 255, 94, 255, 157, 42, 255, 220, 163, 124, 105, 105, 124, 163, 220, 255, 42, 157, 255, 94, 255, 108, 255, 198, 97, 15, 255, 255, 234, 228, 242, 255, 255, 47, 138, 247, 26, 173, 255, 176, 31, 255, 149, 61, 255, 255, 255, 253, 255, 255, 255, 50, 135, 239, 12, 154]);
        assert_eq!(of(JitterOp::Contrast, 0.63), [56, 94, 141, 196, 99, 172, 93, 184, 122, 69, 186, 151, 124, 107, 98, 98, 107, 124, 151, 186, 69, 122, 184, 93, 172, 99, 196, 141, 94, 56, 189, 169, 157, 155, 161, 176, 200, 72, 113, 163, 61, 129, 206, 131, 64, 167, 118, 78, 208, 185, 171, 166, 170, 182, 204, 73, 112, 160, 55, 121]);
        assert_eq!(of(JitterOp::Saturation, 1.19), [1, 72, 160, 251, 67, 205, 51, 223, 106, 7, 228, 162, 122, 89, 73, 74, 91, 124, 157, 224, 2, 105, 221, 50, 207, 69, 252, 156, 68, 0, 225, 187, 166, 165, 177, 205, 255, 21, 100, 200, 7, 135, 255, 124, 0, 198, 105, 29, 255, 213, 187, 183, 191, 214, 255, 23, 97, 194, 0, 121]);
        assert_eq!(of(JitterOp::Hue, 0.07), [11, 21, 145, 233, 79, 137, 69, 213, 171, 31, 202, 217, 119, 108, 77, 79, 77, 119, 88, 217, 31, 69, 213, 79, 233, 79, 210, 145, 125, 11, 221, 209, 172, 170, 167, 201, 239, 45, 36, 181, 19, 65, 249, 215, 23, 187, 165, 45, 251, 238, 194, 190, 185, 211, 245, 52, 37, 175, 10, 49]);
        assert_eq!(of(JitterOp::Hue, -0.1), [11, 145, 137, 177, 79, 233, 110, 213, 69, 31, 217, 49, 119, 77, 87, 77, 117, 119, 217, 162, 31, 201, 213, 69, 105, 79, 233, 145, 11, 27, 221, 172, 182, 167, 197, 201, 239, 36, 222, 137, 19, 181, 249, 23, 50, 187, 45, 62, 251, 194, 205, 185, 206, 211, 245, 37, 223, 138, 10, 175]);
        let (mut grayed, mut solarized) = (busy(), busy());
        gray(&mut grayed);
        solarize(&mut solarized, 128);
        assert_eq!(grayed.rgb, [61, 61, 61, 138, 138, 138, 159, 159, 159, 155, 155, 155, 98, 98, 98, 90, 90, 90, 179, 179, 179, 167, 167, 167, 131, 131, 131, 86, 86, 86, 197, 197, 197, 177, 177, 177, 104, 104, 104, 80, 80, 80, 153, 153, 153, 125, 125, 125, 223, 223, 223, 191, 191, 191, 106, 106, 106, 70, 70, 70]);
        assert_eq!(solarized.rgb, [11, 71, 110, 22, 79, 60, 69, 42, 115, 31, 38, 94, 119, 91, 77, 77, 91, 119, 94, 38, 31, 115, 42, 69, 60, 79, 22, 110, 71, 11, 34, 66, 84, 88, 78, 54, 16, 35, 101, 74, 19, 127, 6, 126, 23, 68, 109, 45, 4, 40, 62, 70, 64, 44, 10, 37, 99, 80, 9, 113]);
    }

    #[test]
    fn a_cube_of_colors_turns_and_fades_as_pillows_does() {
        let levels = || (0..=255u8).step_by(3);
        let rgb: Vec<u8> = levels()
            .flat_map(|r| levels().flat_map(move |g| levels().flat_map(move |b| [r, g, b])))
            .collect();
        let cube = Image { width_px: rgb.len() / 3, height_px: 1, rgb };
        let digest = |bytes: Vec<u8>| -> String {
            Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
        };
        assert_eq!(
            digest(after_on(cube.clone(), JitterOp::Hue, 0.07)),
            "af951e676917ae5e247361e8a72ad887fc8df5a3f3b3eb697b62c15e2d506776"
        );
        assert_eq!(
            digest(after_on(cube, JitterOp::Saturation, 1.19)),
            "9f3996dda70664f6aa5fe64660d22f20b7f1e0cf5c88198934f07b8a0ede54ce"
        );
    }

    #[test]
    fn gray_and_solarize_are_as_by_hand() {
        let mut image = pixel([10, 200, 30]);
        gray(&mut image);
        // 2.99 + 117.4 + 3.42 = 123.81
        assert_eq!(image.rgb, [124; 3]);
        let mut image = pixel([127, 128, 255]);
        solarize(&mut image, 128);
        assert_eq!(image.rgb, [127, 127, 0]);
    }

    #[test]
    fn every_order_of_the_four_is_drawn_and_factors_keep_their_bounds() {
        let settings = Jitter { prob: 1.0, brightness: 1.5, contrast: 0.4, saturation: 0.2, hue: 0.1 };
        let mut orders = std::collections::BTreeSet::new();
        for sample in 0..400 {
            let draw = settings.draw(&mut Seed(0).stream("view", &[0, sample, 0]));
            orders.insert(draw.map(|(op, _)| op as u8));
            for (op, factor) in draw {
                let (low, high) = match op {
                    JitterOp::Brightness => (0.0, 2.5),
                    JitterOp::Contrast => (0.6, 1.4),
                    JitterOp::Saturation => (0.8, 1.2),
                    JitterOp::Hue => (-0.1, 0.1),
                };
                assert!((low..=high).contains(&factor), "{op:?}: {factor}");
            }
        }
        assert_eq!(orders.len(), 24);
    }

    proptest! {
        #[test]
        fn factors_of_one_and_no_turn_change_a_pixel_by_rounding_alone(rgb: [u8; 3]) {
            for op in [JitterOp::Brightness, JitterOp::Contrast, JitterOp::Saturation] {
                prop_assert_eq!(after(op, 1.0, &rgb), rgb.to_vec());
            }
            // Through HSV of bytes: hue and saturation have 255 steps, which are up to 255 · (1/255 + 6/255) wide.
            let back = after(JitterOp::Hue, 0.0, &rgb);
            prop_assert_eq!(back.iter().max(), rgb.iter().max());
            for (found, was) in back.iter().zip(rgb) {
                prop_assert!(found.abs_diff(was) <= 8, "{:?} from {:?}", back, rgb);
            }
        }

        #[test]
        fn solarizing_at_the_middle_twice_inverts_nothing_again(rgb: [u8; 3]) {
            let mut image = pixel(rgb);
            solarize(&mut image, 128);
            prop_assert!(image.rgb.iter().all(|&value| value < 128));
        }
    }
}
