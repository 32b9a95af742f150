//! Mixup and CutMix: a sample of a batch is mixed with its partner, and so are their classes.

use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use report::RecipeError;
use serde::{Deserialize, Serialize};
use vit_data::{Seed, Stream};

/// What shares one draw of how it is mixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MixPer {
    /// The whole batch; DeiT and MAE's fine-tuning.
    #[default]
    Batch,
    /// A sample and its partner.
    Pair,
    /// Each sample by itself.
    Element,
}

/// Mixup and CutMix. The partner of sample `i` of a batch of `B` is sample `B - 1 - i`.
///
/// # Source
/// Zhang et al., mixup; Yun et al., CutMix; timm `Mixup`. *Differs*: an odd batch is taken, its middle sample being its
/// own partner.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mixing {
    /// `a` of mixup's λ ~ Beta(a, a), at least 0; 0.8 in DeiT and MAE's fine-tuning. 0: no mixup.
    pub mixup_alpha: f64,
    /// `a` of CutMix's λ ~ Beta(a, a), at least 0; 1.0 in both. 0: no CutMix.
    pub cutmix_alpha: f64,
    /// Probability of mixing at all, 0–1; 1 in both.
    pub prob: f64,
    /// Probability that it is CutMix where both are there, 0–1; 0.5 in both.
    pub cutmix_prob: f64,
    /// What shares one draw: `batch`, `pair` or `element`; `batch` in both.
    pub per: MixPer,
}

impl Default for Mixing {
    /// The values of DeiT, and the probability of no mixing.
    fn default() -> Self {
        Self { mixup_alpha: 0.8, cutmix_alpha: 1.0, prob: 0.0, cutmix_prob: 0.5, per: MixPer::Batch }
    }
}

/// How one sample is mixed with its partner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// The share of its own class, 0–1.
    pub lambda: f64,
    /// The box that shows the partner, as `[top, bottom, left, right]` in pixels; `None`: all pixels are blended.
    pub cut_px: Option<[usize; 4]>,
}

impl Mix {
    const NONE: Self = Self { lambda: 1.0, cut_px: None };
}

impl Mixing {
    /// Checks the ranges.
    ///
    /// # Errors
    /// When a value is outside its range, or mixing is wanted and both alphas are 0. `key` is the path of these settings.
    pub fn check(&self, key: &str) -> Result<(), RecipeError> {
        let alpha = 0.0..=1000.0;
        let rules = [
            ("mixup_alpha", alpha.contains(&self.mixup_alpha), "0–1000", self.mixup_alpha),
            ("cutmix_alpha", alpha.contains(&self.cutmix_alpha), "0–1000", self.cutmix_alpha),
            ("prob", (0.0..=1.0).contains(&self.prob), "0–1", self.prob),
            ("cutmix_prob", (0.0..=1.0).contains(&self.cutmix_prob), "0–1", self.cutmix_prob),
            (
                "mixup_alpha",
                self.prob == 0.0 || self.mixup_alpha > 0.0 || self.cutmix_alpha > 0.0,
                "above 0, or cutmix_alpha above 0, where prob is above 0",
                self.mixup_alpha,
            ),
        ];
        for (name, holds, expected, found) in rules {
            if !holds {
                return Err(RecipeError::value(format!("{key}.{name}"), expected, found));
            }
        }
        Ok(())
    }

    /// Draws how each sample of a batch is mixed, from `seed.stream("mixing", &[epoch, first])`, where `first` is the index
    /// of the batch's first sample in its data set: no two batches of an epoch share it.
    ///
    /// One draw: whether at all; mixup or CutMix, where both are there; λ; for CutMix the center of the box (row, column).
    /// The box has sides `⌊√(1 - λ) · side⌋`, is cut off at the image's edge, and λ becomes the share of the image
    /// outside it.
    pub fn draw(
        &self,
        n: usize,
        (height_px, width_px): (usize, usize),
        seed: Seed,
        at: (u64, u64),
    ) -> Vec<Mix> {
        let mut stream = seed.stream("mixing", &[at.0, at.1]);
        let mut one = || self.draw_one((height_px, width_px), &mut stream);
        match self.per {
            MixPer::Batch => vec![one(); n],
            MixPer::Element => (0..n).map(|_| one()).collect(),
            MixPer::Pair => {
                let first: Vec<Mix> = (0..n.div_ceil(2)).map(|_| one()).collect();
                (0..n).map(|i| first[i.min(n - 1 - i)]).collect()
            }
        }
    }

    fn draw_one(&self, (height_px, width_px): (usize, usize), stream: &mut Stream) -> Mix {
        if self.prob == 0.0 || unit(stream) >= self.prob {
            return Mix::NONE;
        }
        let cut = match (self.mixup_alpha > 0.0, self.cutmix_alpha > 0.0) {
            (true, true) => unit(stream) < self.cutmix_prob,
            (_, cut) => cut,
        };
        let lambda = symmetric_beta(if cut { self.cutmix_alpha } else { self.mixup_alpha }, stream);
        if !cut {
            return Mix { lambda, cut_px: None };
        }
        let center = [height_px, width_px].map(|side| ((unit(stream) * side as f64) as usize).min(side - 1));
        cut_mix(lambda, center, (height_px, width_px))
    }
}

/// The box of CutMix around a center (row, column), and λ by what is left of the image.
fn cut_mix(lambda: f64, center: [usize; 2], (height_px, width_px): (usize, usize)) -> Mix {
    let share = (1.0 - lambda).sqrt();
    let span = |center: usize, side: usize| {
        let half = (side as f64 * share) as usize / 2;
        (center.saturating_sub(half), (center + half).min(side))
    };
    let ((top, bottom), (left, right)) = (span(center[0], height_px), span(center[1], width_px));
    let area = ((bottom - top) * (right - left)) as f64;
    Mix { lambda: 1.0 - area / (height_px * width_px) as f64, cut_px: Some([top, bottom, left, right]) }
}

/// Mixes each image with its partner: `w ⊙ x_i + (1 - w) ⊙ x_{B-1-i}`, where `w` is λ everywhere (mixup), or 0 inside the
/// box and 1 outside (CutMix).
///
/// # Shapes
/// - `images`: `[B, 3, H, W]`, and as many mixes
/// - returns `[B, 3, H, W]`
///
/// # Panics
/// When the number of mixes is not `B`.
pub fn mix_images(images: Tensor<4>, mixes: &[Mix]) -> Tensor<4> {
    let [b, _, h, w] = images.dims();
    assert_eq!(mixes.len(), b, "one mix for each of {b} images");
    if mixes.iter().all(|mix| *mix == Mix::NONE) {
        return images;
    }
    let mut own = Vec::with_capacity(b * h * w);
    for mix in mixes {
        match mix.cut_px {
            None => own.resize(own.len() + h * w, mix.lambda as f32),
            Some([top, bottom, left, right]) => own.extend((0..h * w).map(|at| {
                let inside = (top..bottom).contains(&(at / w)) && (left..right).contains(&(at % w));
                if inside { 0.0f32 } else { 1.0 }
            })),
        }
    }
    let own = Tensor::<4>::from_data(TensorData::new(own, [b, 1, h, w]), &images.device());
    let partners = images.clone().flip([0]);
    let others = own.clone().neg().add_scalar(1.0);
    images * own + partners * others // [B, 3, H, W]
}

/// What the classifier is to say: `λ y_i + (1 - λ) y_{B-1-i}`, where `y` is `1 - s + s/C` at the class and `s/C`
/// elsewhere.
///
/// # Shapes
/// - `labels`: `B` classes below `n_classes`, and as many mixes
/// - returns `[B, C]`, rows that sum to 1
///
/// # Panics
/// When a label is not below `n_classes`, or the numbers differ.
///
/// # Source
/// Szegedy et al., Rethinking the Inception Architecture, for the smoothing; timm `mixup_target`.
pub fn soft_targets(
    labels: &[u32],
    n_classes: usize,
    smoothing: f64,
    mixes: &[Mix],
    device: &Device,
) -> Tensor<2> {
    let b = labels.len();
    assert_eq!(mixes.len(), b, "one mix for each of {b} labels");
    let off = smoothing / n_classes as f64;
    let mut targets = vec![off; b * n_classes];
    for (i, (row, mix)) in targets.chunks_exact_mut(n_classes).zip(mixes).enumerate() {
        row[labels[i] as usize] += mix.lambda * (1.0 - smoothing);
        row[labels[b - 1 - i] as usize] += (1.0 - mix.lambda) * (1.0 - smoothing);
    }
    let targets: Vec<f32> = targets.into_iter().map(|target| target as f32).collect();
    Tensor::from_data(TensorData::new(targets, [b, n_classes]), device)
}

/// A draw from `[0, 1)` with 53 bits.
fn unit(stream: &mut Stream) -> f64 {
    (stream.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A draw from Beta(a, a): `1 / (1 + G₂ / G₁)` for two draws of Gamma(a), by their logarithms, which small `a` need.
fn symmetric_beta(a: f64, stream: &mut Stream) -> f64 {
    let (first, second) = (ln_gamma_draw(a, stream), ln_gamma_draw(a, stream));
    1.0 / (1.0 + libm::exp(second - first))
}

/// The logarithm of a draw from Gamma(a), by Marsaglia and Tsang; for `a < 1`, `Gamma(a) = Gamma(a + 1) · U^(1/a)`.
fn ln_gamma_draw(a: f64, stream: &mut Stream) -> f64 {
    let boost = if a < 1.0 { libm::log(1.0 - unit(stream)) / a } else { 0.0 };
    let d = if a < 1.0 { a + 1.0 } else { a } - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let radius = (-2.0 * libm::log(1.0 - unit(stream))).sqrt();
        let x = radius * libm::cos(std::f64::consts::TAU * unit(stream));
        let t = 1.0 + c * x;
        let v = t * t * t;
        if v > 0.0 && libm::log(1.0 - unit(stream)) < 0.5 * x * x + d * (1.0 - v + libm::log(v)) {
            return libm::log(d * v) + boost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec().expect("f32")
    }

    fn images(b: usize, side: usize) -> Tensor<4> {
        // Image i is i everywhere.
        let flat = (0..b).flat_map(|i| vec![i as f32; 3 * side * side]).collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(flat, [b, 3, side, side]), &vit_ops::cpu_device())
    }

    #[test]
    fn a_box_of_cutmix_is_as_by_hand() {
        // λ = 0.75: the box has half the side of 8 px, 4 px, from 5 - 2 to 5 + 2 and, at column 1, from 0 to 3.
        // 4 · 3 = 12 of 64 pixels: λ = 52/64.
        assert_eq!(cut_mix(0.75, [5, 1], (8, 8)), Mix { lambda: 0.8125, cut_px: Some([3, 7, 0, 3]) });
        // λ = 0: the box is as large as the image, but centered in its corner; 4 · 5 of 64 pixels are inside.
        assert_eq!(cut_mix(0.0, [0, 7], (8, 8)), Mix { lambda: 0.6875, cut_px: Some([0, 4, 3, 8]) });
    }

    #[test]
    fn images_are_mixed_with_their_partners_as_by_hand() {
        let blended = Mix { lambda: 0.75, cut_px: None };
        let cut = Mix { lambda: 0.75, cut_px: Some([0, 1, 1, 2]) };
        let found = values(mix_images(images(3, 2), &[blended, Mix::NONE, cut]));
        // Image 0 with 2: 0.75 · 0 + 0.25 · 2; image 1 is its own partner; image 2 shows image 0 right above.
        let expected = [vec![0.5; 12], vec![1.0; 12], [2.0, 0.0, 2.0, 2.0].repeat(3)].concat();
        assert_eq!(found, expected);
    }

    #[test]
    fn targets_are_smoothed_and_mixed_as_by_hand() {
        // s = 0.2 of 4 classes: 0.85 at the class, 0.05 elsewhere. λ = 0.75 of class 0, 0.25 of class 3.
        let mix = Mix { lambda: 0.75, cut_px: None };
        let found = values(soft_targets(&[0, 3], 4, 0.2, &[mix, Mix::NONE], &vit_ops::cpu_device()));
        let expected = [0.65, 0.05, 0.05, 0.25, 0.05, 0.05, 0.05, 0.85];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn lambda_has_the_moments_of_its_beta() {
        for a in [0.2, 0.8, 1.0, 4.0] {
            let mut stream = Seed(0).stream("beta", &[]);
            let draws: Vec<f64> = (0..20_000).map(|_| symmetric_beta(a, &mut stream)).collect();
            let n = draws.len() as f64;
            let mean = draws.iter().sum::<f64>() / n;
            let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / n;
            // Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)); the standard error of the mean is at most 0.003.
            assert!((mean - 0.5).abs() < 0.012, "{a}: {mean}");
            assert!((variance * 4.0 * (2.0 * a + 1.0) - 1.0).abs() < 0.05, "{a}: {variance}");
        }
        // So small an alpha gives nearly 0 or nearly 1, and never something that is no number.
        let mut stream = Seed(0).stream("beta", &[]);
        assert!((0..1000).all(|_| (0.0..=1.0).contains(&symmetric_beta(1e-4, &mut stream))));
    }

    #[test]
    fn a_draw_is_shared_by_what_the_setting_says() {
        let draw = |per, first| {
            let mixing = Mixing { prob: 1.0, per, ..Mixing::default() };
            mixing.draw(6, (32, 32), Seed(0), (0, first))
        };
        let batch = draw(MixPer::Batch, 4);
        assert!(batch.iter().all(|mix| *mix == batch[0]) && batch[0] != Mix::NONE);
        let pairs = draw(MixPer::Pair, 4);
        assert!((0..6).all(|i| pairs[i] == pairs[5 - i]) && pairs[0] != pairs[1]);
        let elements = draw(MixPer::Element, 4);
        assert!((0..6).all(|i| i == 0 || elements[i] != elements[0]));
        assert_eq!(draw(MixPer::Element, 4), elements);
        assert_ne!(draw(MixPer::Batch, 5), batch);
        assert!(Mixing::default().draw(4, (8, 8), Seed(0), (0, 0)).iter().all(|mix| *mix == Mix::NONE));
    }

    #[test]
    fn half_of_the_batches_are_cut_and_the_rest_blended() {
        let mixing = Mixing { prob: 1.0, ..Mixing::default() };
        let cut = |first| mixing.draw(1, (32, 32), Seed(2), (0, first))[0].cut_px.is_some();
        let n = (0..1000).filter(|&first| cut(first)).count();
        assert!((440..560).contains(&n), "{n}");
        let only = |mixup_alpha, cutmix_alpha| Mixing { mixup_alpha, cutmix_alpha, ..mixing };
        let all = |mixing: Mixing, cut| {
            (0..50).all(|first| mixing.draw(1, (32, 32), Seed(2), (0, first))[0].cut_px.is_some() == cut)
        };
        assert!(all(only(0.8, 0.0), false) && all(only(0.0, 1.0), true));
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let good = Mixing::default();
        good.check("options.mixing").expect("sound");
        let bad = [
            ("mixup_alpha", Mixing { mixup_alpha: -1.0, ..good }),
            ("cutmix_alpha", Mixing { cutmix_alpha: f64::NAN, ..good }),
            ("options.mixing.prob", Mixing { prob: 1.5, ..good }),
            ("cutmix_prob", Mixing { cutmix_prob: -0.1, ..good }),
            ("mixup_alpha", Mixing { mixup_alpha: 0.0, cutmix_alpha: 0.0, prob: 1.0, ..good }),
        ];
        for (key, mixing) in bad {
            let message = mixing.check("options.mixing").expect_err("is refused").to_string();
            assert!(message.contains(key), "{message}");
        }
    }

    proptest! {
        #[test]
        fn lambda_is_the_share_of_pixels_that_stay(lambda in 0.0f64..=1.0, row in 0usize..9, column in 0usize..13) {
            let mix = cut_mix(lambda, [row, column], (9, 13));
            let [top, bottom, left, right] = mix.cut_px.expect("cut");
            prop_assert!(top <= bottom && bottom <= 9 && left <= right && right <= 13);
            let outside = (0..9 * 13).filter(|at| !((top..bottom).contains(&(at / 13)) && (left..right).contains(&(at % 13))));
            prop_assert!((outside.count() as f64 / 117.0 - mix.lambda).abs() < 1e-12);
        }

        #[test]
        fn targets_sum_to_one(labels in prop::collection::vec(0u32..5, 1..7), lambda in 0.0f64..=1.0, smoothing in 0.0f64..1.0) {
            let mixes = vec![Mix { lambda, cut_px: None }; labels.len()];
            for row in values(soft_targets(&labels, 5, smoothing, &mixes, &vit_ops::cpu_device())).chunks(5) {
                prop_assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
        }
    }
}
