//! The fast form of what is done to the colors of a view: three planes of bytes, so that the processor's vectors hold
//! neighbors of one channel.
//!
//! Every operation gives the bytes of its plain form in `color.rs` and `blur.rs`; tests hold them together.

use std::sync::LazyLock;

use fearless_simd::{Level, Simd, dispatch};

use super::blur::{BoxWeights, N_PASSES};
use super::color::{blend, hsv_from_rgb, rgb_from_hsv};
use super::{JitterDraw, JitterOp, Normalize};
use crate::Image;

/// An image as three planes, one for each channel.
///
/// # Shapes
/// - `[3, H, W]` bytes
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planes {
    width_px: usize,
    height_px: usize,
    bytes: Vec<u8>,
}

impl Planes {
    /// Takes the channels of an image apart.
    ///
    /// # Shapes
    /// - `image`: `[H, W, 3]` bytes
    ///
    /// # Panics
    /// When the image has another number of bytes.
    pub fn of(image: &Image) -> Self {
        let (width_px, height_px) = (image.width_px, image.height_px);
        let area = width_px * height_px;
        assert_eq!(image.rgb.len(), 3 * area, "an image of {width_px}×{height_px} px has 3 bytes a pixel");
        let mut bytes = vec![0; 3 * area];
        let (red, rest) = bytes.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        for (((r, g), b), pixel) in red.iter_mut().zip(green).zip(blue).zip(image.rgb.chunks_exact(3)) {
            (*r, *g, *b) = (pixel[0], pixel[1], pixel[2]);
        }
        Self { width_px, height_px, bytes }
    }

    /// Puts the channels together again.
    ///
    /// # Shapes
    /// - returns an image of `[H, W, 3]` bytes
    pub fn image(&self) -> Image {
        let [red, green, blue] = self.channels();
        let rgb = red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]).collect();
        Image { width_px: self.width_px, height_px: self.height_px, rgb }
    }

    fn channels(&self) -> [&[u8]; 3] {
        let (red, rest) = self.bytes.split_at(self.area());
        let (green, blue) = rest.split_at(self.area());
        [red, green, blue]
    }

    fn channels_mut(&mut self) -> [&mut [u8]; 3] {
        let area = self.area();
        let (red, rest) = self.bytes.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        [red, green, blue]
    }

    fn area(&self) -> usize {
        self.width_px * self.height_px
    }

    /// As [`jitter`](super::jitter).
    pub fn jitter(&mut self, draw: &JitterDraw) {
        for &(op, factor) in draw {
            match op {
                JitterOp::Brightness => self.blend_with(0, factor as f32),
                JitterOp::Contrast => self.blend_with(self.mean_gray(), factor as f32),
                JitterOp::Saturation => self.saturate(factor as f32),
                JitterOp::Hue => self.turn_hue(factor),
            }
        }
    }

    /// As [`gray`](super::gray).
    pub fn gray(&mut self) {
        let [red, green, blue] = self.channels_mut();
        widest(
            #[inline(always)]
            || {
                for ((r, g), b) in red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut()) {
                    let gray = gray_of(*r, *g, *b);
                    (*r, *g, *b) = (gray, gray, gray);
                }
            },
        );
    }

    /// As [`solarize`](super::solarize).
    pub fn solarize(&mut self, threshold: u8) {
        let bytes = &mut self.bytes[..];
        widest(
            #[inline(always)]
            || {
                for value in bytes.iter_mut() {
                    *value = if *value >= threshold { 255 - *value } else { *value };
                }
            },
        );
    }

    /// Blends all with one gray.
    fn blend_with(&mut self, gray: u8, factor: f32) {
        let table: [u8; 256] = std::array::from_fn(|value| blend(gray, value as u8, factor));
        self.bytes.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
    }

    fn saturate(&mut self, factor: f32) {
        let [red, green, blue] = self.channels_mut();
        widest(
            #[inline(always)]
            || {
                for ((r, g), b) in red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut()) {
                    let gray = f32::from(gray_of(*r, *g, *b));
                    // A conversion by way of i32 fits vectors; within bytes both are the same.
                    let blend = |value: u8| {
                        (gray + factor * (f32::from(value) - gray)).clamp(0.0, 255.0) as i32 as u8
                    };
                    (*r, *g, *b) = (blend(*r), blend(*g), blend(*b));
                }
            },
        );
    }

    /// The mean of the gray picture, rounded to a byte.
    fn mean_gray(&self) -> u8 {
        /// Pixels whose grays fit a sum of 32 bits.
        const CHUNK: usize = 1 << 16;
        let [red, green, blue] = self.channels();
        let sum: u64 = widest(
            #[inline(always)]
            || {
                let chunks = red.chunks(CHUNK).zip(green.chunks(CHUNK)).zip(blue.chunks(CHUNK));
                let of_chunk = |((red, green), blue): ((&[u8], &[u8]), &[u8])| {
                    let pixels = red.iter().zip(green).zip(blue);
                    u64::from(pixels.map(|((&r, &g), &b)| u32::from(gray_of(r, g, b))).sum::<u32>())
                };
                chunks.map(of_chunk).sum()
            },
        );
        (sum as f64 / self.area().max(1) as f64 + 0.5) as u8
    }

    /// Turns the color circle of 256 steps by `⌊255 · shift⌋` (towards 0), with tables of both ways of Pillow's HSV.
    fn turn_hue(&mut self, shift: f64) {
        let steps = (shift * 255.0) as i32 as u8;
        let circle = &*CIRCLE;
        let [red, green, blue] = self.channels_mut();
        for ((r, g), b) in red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut()) {
            let [h, s, v] = circle.hsv([*r, *g, *b]);
            [*r, *g, *b] = circle.rgb([h.wrapping_add(steps), s, v]);
        }
    }

    /// As [`gaussian_blur`](super::gaussian_blur).
    ///
    /// # Panics
    /// When the image has no pixel or `sigma_px` is not above 0.
    pub fn gaussian_blur(&mut self, sigma_px: f64) {
        assert!(sigma_px > 0.0, "a blur of {sigma_px} px");
        let (width, height) = (self.width_px, self.height_px);
        assert!(width > 0 && height > 0, "an empty image, {width}×{height} px, cannot be blurred");
        let weights = BoxWeights::of(sigma_px as f32);
        let mut other = vec![0; width * height];
        let mut padded = Vec::new();
        for plane in self.channels_mut() {
            for row in plane.chunks_exact_mut(width) {
                blur_row(&weights, row, &mut padded, &mut other[..width]);
            }
            for _ in 0..N_PASSES {
                blur_columns(&weights, plane, &mut other, width);
                plane.copy_from_slice(&other);
            }
        }
    }

    /// Writes the planes normalized, mirrored left to right where asked.
    ///
    /// # Shapes
    /// - `into`: `[3, H, W]`
    ///
    /// # Panics
    /// When `into` is not `3 · H · W` long.
    pub fn normalize(&self, normalize: &Normalize, mirrored: bool, into: &mut [f32]) {
        assert_eq!(into.len(), self.bytes.len(), "three planes of {}×{} px", self.width_px, self.height_px);
        if into.is_empty() {
            return;
        }
        let area = self.area();
        for (channel, (into, bytes)) in
            into.chunks_exact_mut(area).zip(self.bytes.chunks_exact(area)).enumerate()
        {
            let table: [f32; 256] = std::array::from_fn(|byte| normalize.value(channel, byte as u8));
            for (into, &byte) in into.iter_mut().zip(bytes) {
                *into = table[usize::from(byte)];
            }
            if mirrored {
                into.chunks_exact_mut(self.width_px).for_each(<[f32]>::reverse);
            }
        }
    }
}

/// Runs loops over bytes with the widest vectors that the processor has.
#[inline(always)]
fn widest<R>(work: impl FnOnce() -> R) -> R {
    dispatch!(Level::new(), simd => simd.vectorize(work))
}

/// By Pillow's weights of 16 bits.
#[inline(always)]
fn gray_of(r: u8, g: u8, b: u8) -> u8 {
    ((19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 0x8000) >> 16) as u8
}

/// Both ways between RGB and Pillow's HSV of bytes: what depends on few bytes is looked up, and nothing branches.
struct Circle {
    /// `[8, 256, 256]`: hue by which of two channels are the greater, by what the middle one is below the greatest, and
    /// by the range.
    hue: Vec<u8>,
    /// `[256, 256]`: saturation by the range and the greatest.
    saturation: Vec<u8>,
    /// `[256, 256]`: the least channel by saturation and value.
    least: Vec<u8>,
    /// `[256]`: saturation as a share, in single precision.
    shares: [f32; 256],
    /// `[256]`: what each hue says of the channels.
    sectors: [Sector; 256],
}

/// A sixth of the color circle, and the place in it.
#[derive(Clone, Copy)]
struct Sector {
    /// Where red, green and blue stand in the bytes greatest, middle, least: bits to shift by.
    shifts: [u8; 3],
    /// Whether the middle channel falls along the sector.
    falls: bool,
    /// What the middle channel loses, as a share of the saturation: where it falls, in single precision.
    within: f32,
    /// Where it rises, in double precision.
    rest: f64,
}

static CIRCLE: LazyLock<Circle> = LazyLock::new(Circle::new);

/// Which of two channels are at least the other, and where greatest, middle and least then stand.
const PLACES: [([bool; 3], [usize; 3]); 6] = [
    // red ≥ green, green ≥ blue, red ≥ blue
    ([true, true, true], [0, 1, 2]),
    ([true, false, true], [0, 2, 1]),
    ([true, false, false], [2, 0, 1]),
    ([false, true, true], [1, 0, 2]),
    ([false, true, false], [1, 2, 0]),
    ([false, false, false], [2, 1, 0]),
];

fn kind([rg, gb, rb]: [bool; 3]) -> usize {
    usize::from(rg) << 2 | usize::from(gb) << 1 | usize::from(rb)
}

fn at(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

impl Circle {
    fn new() -> Self {
        let (mut hue, mut saturation, mut least) = (vec![0; 8 << 16], vec![0; 1 << 16], vec![0; 1 << 16]);
        for range in 1..=255u8 {
            for (found, [greatest, middle, least]) in PLACES {
                for gap in 0..=range {
                    let mut rgb = [0; 3];
                    (rgb[greatest], rgb[middle], rgb[least]) = (range, range - gap, 0);
                    hue[kind(found) << 16 | at(gap, range)] = hsv_from_rgb(rgb)[0];
                }
            }
            for most in range..=255 {
                saturation[at(range, most)] = hsv_from_rgb([most, most, most - range])[1];
            }
        }
        for s in 0..=255 {
            for v in 0..=255 {
                least[at(s, v)] = rgb_from_hsv([0, s, v])[2];
            }
        }
        let sectors = std::array::from_fn(|h| {
            // Pillow's sectors by greatest, middle and least: v t p, q v p, p v t, p q v, t p v, v p q.
            const SHIFTS: [[u8; 3]; 6] =
                [[0, 8, 16], [8, 0, 16], [16, 0, 8], [16, 8, 0], [8, 16, 0], [0, 16, 8]];
            let place = h as f64 * 6.0 / 255.0;
            let within = (place - place.floor()) as f32;
            let sector = place as usize % 6;
            Sector { shifts: SHIFTS[sector], falls: sector % 2 == 1, within, rest: 1.0 - f64::from(within) }
        });
        let shares = std::array::from_fn(|s| (s as f64 / 255.0) as f32);
        Self { hue, saturation, least, shares, sectors }
    }

    #[inline(always)]
    fn hsv(&self, [r, g, b]: [u8; 3]) -> [u8; 3] {
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        let middle = r.max(g).min(r.min(g).max(b));
        let range = most - least;
        let hue = self.hue[kind([r >= g, g >= b, r >= b]) << 16 | at(most - middle, range)];
        [hue, self.saturation[at(range, most)], most]
    }

    #[inline(always)]
    fn rgb(&self, [h, s, v]: [u8; 3]) -> [u8; 3] {
        let Sector { shifts, falls, within, rest } = &self.sectors[usize::from(h)];
        let share = self.shares[usize::from(s)];
        let lost = if *falls { f64::from(share * within) } else { f64::from(share) * rest };
        let middle = (f64::from(v) * (1.0 - lost) + 0.5) as i32 as u8;
        let found = u32::from(v) | u32::from(middle) << 8 | u32::from(self.least[at(s, v)]) << 16;
        shifts.map(|shift| (found >> (shift & 31)) as u8)
    }
}

/// Three passes along a row.
fn blur_row(weights: &BoxWeights, row: &mut [u8], padded: &mut Vec<u8>, other: &mut [u8]) {
    let BoxWeights { radius, whole, end } = *weights;
    for _ in 0..N_PASSES {
        if radius > 1 {
            weights.blur_line(row, other);
            row.copy_from_slice(other);
            continue;
        }
        let (reach, n) = (radius + 1, row.len());
        padded.clear();
        padded.extend(std::iter::repeat_n(row[0], reach));
        padded.extend_from_slice(row);
        padded.extend(std::iter::repeat_n(row[n - 1], reach));
        let at = |offset: usize| &padded[offset..offset + n];
        if radius == 0 {
            blur_three([at(0), at(1), at(2)], row, whole, end);
        } else {
            blur_five([at(0), at(1), at(2), at(3), at(4)], row, whole, end);
        }
    }
}

/// One pass along all columns at once.
fn blur_columns(weights: &BoxWeights, plane: &[u8], blurred: &mut [u8], width: usize) {
    let BoxWeights { radius, whole, end } = *weights;
    let last = plane.len() / width - 1;
    let row = |y: isize| &plane[y.clamp(0, last as isize) as usize * width..][..width];
    let r = radius as isize;
    let mut sums: Vec<u32> = Vec::new();
    for (y, out) in (0..).zip(blurred.chunks_exact_mut(width)) {
        match radius {
            0 => blur_three([row(y - 1), row(y), row(y + 1)], out, whole, end),
            1 => blur_five([row(y - 2), row(y - 1), row(y), row(y + 1), row(y + 2)], out, whole, end),
            _ => {
                if sums.is_empty() {
                    sums.resize(width, 0);
                    (-r..=r).for_each(|at| {
                        sums.iter_mut().zip(row(at)).for_each(|(sum, &value)| *sum += u32::from(value))
                    });
                }
                blur_sums(&mut sums, [row(y - r - 1), row(y - r), row(y + r + 1)], out, whole, end);
            }
        }
    }
}

/// Half of what a byte counts, so that weighted sums are rounded.
const HALF: u32 = 1 << 23;

fn blur_three([a, b, c]: [&[u8]; 3], out: &mut [u8], whole: u32, end: u32) {
    widest(
        #[inline(always)]
        || {
            for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
                let ends = u32::from(a) + u32::from(c);
                *out = ((u32::from(b) * whole + ends * end + HALF) >> 24) as u8;
            }
        },
    );
}

fn blur_five([a, b, c, d, e]: [&[u8]; 5], out: &mut [u8], whole: u32, end: u32) {
    widest(
        #[inline(always)]
        || {
            for (((((out, &a), &b), &c), &d), &e) in out.iter_mut().zip(a).zip(b).zip(c).zip(d).zip(e) {
                let (inside, ends) =
                    (u32::from(b) + u32::from(c) + u32::from(d), u32::from(a) + u32::from(e));
                *out = ((inside * whole + ends * end + HALF) >> 24) as u8;
            }
        },
    );
}

/// A row from the sums of the rows inside the box, which then go one row on.
fn blur_sums(sums: &mut [u32], [before, first, after]: [&[u8]; 3], out: &mut [u8], whole: u32, end: u32) {
    widest(
        #[inline(always)]
        || {
            for ((((sum, out), &before), &first), &after) in
                sums.iter_mut().zip(out.iter_mut()).zip(before).zip(first).zip(after)
            {
                let ends = u32::from(before) + u32::from(after);
                *out = ((*sum * whole + ends * end + HALF) >> 24) as u8;
                *sum = *sum + u32::from(after) - u32::from(first);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::super::{Jitter, gaussian_blur, gray, jitter, planes_from_image, solarize};
    use super::*;
    use crate::Seed;
    use proptest::prelude::*;

    fn scattered(width_px: usize, height_px: usize, salt: u64) -> Image {
        let rgb = (0..3 * width_px * height_px)
            .map(|i| ((i as u64).wrapping_add(salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
            .collect();
        Image { width_px, height_px, rgb }
    }

    #[test]
    fn every_color_has_the_hue_saturation_and_value_of_the_plain_form() {
        for r in 0..=255u8 {
            for g in 0..=255 {
                for b in 0..=255 {
                    assert_eq!(CIRCLE.hsv([r, g, b]), hsv_from_rgb([r, g, b]), "{r} {g} {b}");
                }
            }
        }
    }

    #[test]
    fn every_hue_saturation_and_value_has_the_color_of_the_plain_form() {
        for h in 0..=255u8 {
            for s in 0..=255 {
                for v in 0..=255 {
                    assert_eq!(CIRCLE.rgb([h, s, v]), rgb_from_hsv([h, s, v]), "{h} {s} {v}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn planes_change_as_the_plain_forms_do(
            width in 1usize..40, height in 1usize..40, salt: u64, threshold: u8, mirrored: bool,
        ) {
            let image = scattered(width, height, salt);
            prop_assert_eq!(&Planes::of(&image).image(), &image);
            let draw = Jitter { prob: 1.0, brightness: 0.9, contrast: 0.9, saturation: 0.9, hue: 0.5 }
                .draw(&mut Seed(salt).stream("view", &[0]));
            let (mut plain, mut planes) = (image.clone(), Planes::of(&image));
            jitter(&mut plain, &draw);
            planes.jitter(&draw);
            prop_assert_eq!(&planes.image(), &plain);
            solarize(&mut plain, threshold);
            planes.solarize(threshold);
            prop_assert_eq!(&planes.image(), &plain);
            gray(&mut plain);
            planes.gray();
            prop_assert_eq!(&planes.image(), &plain);
            let mut expected = vec![0.0; plain.rgb.len()];
            let mut found = expected.clone();
            planes_from_image(&plain, &Normalize::CLIP, mirrored, &mut expected);
            planes.normalize(&Normalize::CLIP, mirrored, &mut found);
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn planes_are_blurred_as_the_plain_form_blurs(
            width in 1usize..40, height in 1usize..40, salt: u64, sigma in 0.05f64..9.0, wide: bool,
        ) {
            let sigma = if wide { sigma } else { sigma / 4.0 };
            let mut plain = scattered(width, height, salt);
            let mut planes = Planes::of(&plain);
            gaussian_blur(&mut plain, sigma);
            planes.gaussian_blur(sigma);
            prop_assert_eq!(planes.image(), plain);
        }
    }
}
