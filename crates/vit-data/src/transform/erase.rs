//! Random erasing: a box of a normalized view is filled with zeros or noise.

use serde::{Deserialize, Serialize};

use crate::{Stream, order};

/// What an erased box is filled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EraseMode {
    /// Zeros, the mean color after normalization.
    Const,
    /// One color for each box, every channel from N(0, 1).
    Rand,
    /// N(0, 1) for every pixel and channel.
    #[default]
    Pixel,
}

/// Erasing of random boxes after normalization.
///
/// # Source
/// timm `RandomErasing`; the defaults are those of DeiT and of MAE's fine-tuning, and the probability of none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Erase {
    /// Probability, 0–1; 0.25 in DeiT and MAE's fine-tuning.
    pub prob: f64,
    /// Least and greatest share of the area that all boxes together are to have, 0–1; (0.02, 1/3) in both.
    pub area: (f64, f64),
    /// Least and greatest height over width, drawn log-uniformly; (0.3, 1/0.3) in both.
    pub ratio: (f64, f64),
    /// What the boxes are filled with: `const`, `rand` or `pixel`; `pixel` in both.
    pub mode: EraseMode,
    /// Boxes, at least 1; 1 in both.
    pub count: usize,
}

impl Default for Erase {
    fn default() -> Self {
        Self { prob: 0.0, area: (0.02, 1.0 / 3.0), ratio: (0.3, 1.0 / 0.3), mode: EraseMode::Pixel, count: 1 }
    }
}

/// The boxes drawn for one that has to fit.
const N_TRIES: usize = 10;

/// Erases boxes of a square view in place.
///
/// For each box, up to ten times: `area = U(area) · S² / count`, `ratio = exp U(ln ratio)`,
/// `h = round √(area · ratio)`, `w = round √(area / ratio)`, taken if both are below `S`, at a place drawn uniformly
/// (top, then left), and filled channel by channel, row by row.
///
/// # Shapes
/// - `planes`: `[3, S, S]`, normalized
///
/// # Panics
/// When `planes` has another length.
pub fn erase(planes: &mut [f32], size_px: usize, settings: &Erase, stream: &mut Stream) {
    let plane = size_px * size_px;
    assert_eq!(planes.len(), 3 * plane, "a view is [3, {size_px}, {size_px}]");
    let uniform = |low: f64, high: f64, stream: &mut Stream| low + (high - low) * order::unit(stream);
    let log_ratio = (libm::log(settings.ratio.0), libm::log(settings.ratio.1));
    for _ in 0..settings.count {
        for _ in 0..N_TRIES {
            let share = uniform(settings.area.0, settings.area.1, stream);
            let area = share * plane as f64 / settings.count as f64;
            let ratio = libm::exp(uniform(log_ratio.0, log_ratio.1, stream));
            let h = (area * ratio).sqrt().round_ties_even() as usize;
            let w = (area / ratio).sqrt().round_ties_even() as usize;
            if w >= size_px || h >= size_px {
                continue;
            }
            let top = order::below(stream, size_px - h + 1);
            let left = order::below(stream, size_px - w + 1);
            for plane in planes.chunks_exact_mut(plane) {
                let color = match settings.mode {
                    EraseMode::Rand => order::normal(stream) as f32,
                    EraseMode::Const | EraseMode::Pixel => 0.0,
                };
                for row in plane.chunks_exact_mut(size_px).skip(top).take(h) {
                    for value in &mut row[left..left + w] {
                        *value = match settings.mode {
                            EraseMode::Pixel => order::normal(stream) as f32,
                            EraseMode::Const | EraseMode::Rand => color,
                        };
                    }
                }
            }
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use proptest::prelude::*;

    const SIZE: usize = 24;
    const UNTOUCHED: f32 = 77.0;

    fn erased(settings: &Erase, sample: u64) -> Vec<f32> {
        let mut planes = vec![UNTOUCHED; 3 * SIZE * SIZE];
        erase(&mut planes, SIZE, settings, &mut Seed(3).stream("view", &[0, sample, 0]));
        planes
    }

    fn touched(plane: &[f32]) -> Vec<usize> {
        (0..SIZE * SIZE).filter(|&i| plane[i] != UNTOUCHED).collect()
    }

    #[test]
    fn a_box_has_the_sides_worked_by_hand() {
        // Area 1/4 of 24² = 144 at ratio 1: 12 × 12. At ratio 4: h = √576 = 24, not below 24, so nothing is erased.
        let square =
            Erase { area: (0.25, 0.25), ratio: (1.0, 1.0), mode: EraseMode::Const, ..Erase::default() };
        let planes = erased(&square, 0);
        let first = touched(&planes[..SIZE * SIZE]);
        assert_eq!(first.len(), 144);
        let (top, left) = (first[0] / SIZE, first[0] % SIZE);
        assert!(
            first
                .iter()
                .all(|i| (top..top + 12).contains(&(i / SIZE)) && (left..left + 12).contains(&(i % SIZE)))
        );
        assert!(first.iter().all(|&i| planes[i] == 0.0));
        let tall = Erase { ratio: (4.0, 4.0), ..square };
        assert!(erased(&tall, 0).iter().all(|&value| value == UNTOUCHED));
    }

    #[test]
    fn the_modes_differ_in_what_they_fill() {
        let of = |mode| Erase { area: (0.3, 0.3), ratio: (1.0, 1.0), mode, ..Erase::default() };
        let distinct = |plane: &[f32]| {
            let mut values: Vec<u32> = touched(plane).iter().map(|&i| plane[i].to_bits()).collect();
            values.sort_unstable();
            values.dedup();
            values.len()
        };
        let n_colors =
            |mode| -> Vec<usize> { erased(&of(mode), 1).chunks(SIZE * SIZE).map(distinct).collect() };
        assert_eq!(n_colors(EraseMode::Const), [1, 1, 1]);
        assert_eq!(n_colors(EraseMode::Rand), [1, 1, 1]);
        // round √(0.3 · 576) = 13: 169 pixels.
        assert_eq!(n_colors(EraseMode::Pixel), [169, 169, 169]);
        let planes = erased(&of(EraseMode::Rand), 1);
        let place = touched(&planes[..SIZE * SIZE])[0];
        assert_ne!(planes[place], planes[place + SIZE * SIZE]);
    }

    #[test]
    fn noise_has_mean_zero_and_deviation_one() {
        let settings = Erase { area: (0.9, 0.9), ratio: (1.0, 1.0), ..Erase::default() };
        let values: Vec<f64> = (0..20)
            .flat_map(|sample| erased(&settings, sample))
            .filter(|&value| value != UNTOUCHED)
            .map(f64::from)
            .collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        // About 31,000 values: standard errors 0.006 and 0.008.
        assert!(n > 30_000.0 && mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{n} {mean} {variance}");
    }

    proptest! {
        #[test]
        fn the_channels_lose_the_same_places_and_never_more_than_asked(sample: u64, count in 1usize..4) {
            let settings = Erase { count, mode: EraseMode::Const, ..Erase::default() };
            let planes = erased(&settings, sample);
            let places: Vec<Vec<usize>> = planes.chunks(SIZE * SIZE).map(touched).collect();
            prop_assert!(places[0] == places[1] && places[1] == places[2]);
            // A third of the area, and half a pixel of rounding at each side of each box.
            prop_assert!(places[0].len() as f64 <= 576.0 / 3.0 + count as f64 * (SIZE as f64 + 1.0));
        }
    }
}
