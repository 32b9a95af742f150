//! The targets of self-distillation: centered, sharpened, or balanced outputs of the teacher.

use burn::tensor::Tensor;
use report::RecipeError;
use serde::{Deserialize, Serialize};
use vit_train::Progress;
use vit_train::schedule::{dino_cosine, linear_then_constant};

/// How the teacher's outputs are kept from falling onto one prototype.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", from = "CenteringForm")]
pub enum Centering {
    /// The moving average of its logits is taken off; DINO, iBOT.
    Mean {
        /// Of the moving average, 0–1; 0.9 in the papers.
        momentum: f64,
    },
    /// The batch is shared out evenly among prototypes; SwAV, DINOv2.
    SinkhornKnopp {
        /// Rounds of balancing; 3 in the papers.
        n_rounds: usize,
    },
}

impl Default for Centering {
    fn default() -> Self {
        Self::Mean { momentum: 0.9 }
    }
}

impl Centering {
    /// The same with another momentum, where it has one.
    #[must_use]
    pub fn with_momentum(self, momentum: f64) -> Self {
        match self {
            Self::Mean { .. } => Self::Mean { momentum },
            Self::SinkhornKnopp { .. } => self,
        }
    }
}

/// How a centering is read: serde refuses unknown keys beside a tag only in variants with braces.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum CenteringForm {
    Mean { momentum: f64 },
    SinkhornKnopp { n_rounds: usize },
}

impl From<CenteringForm> for Centering {
    fn from(form: CenteringForm) -> Self {
        match form {
            CenteringForm::Mean { momentum } => Self::Mean { momentum },
            CenteringForm::SinkhornKnopp { n_rounds } => Self::SinkhornKnopp { n_rounds },
        }
    }
}

/// A temperature that rises or falls linearly, epoch by epoch, and then stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TempSchedule {
    /// In the first epoch; 0.04 in the papers.
    pub start: f64,
    /// In the last epoch of the warm-up and ever after; 0.04 is DINO's default, 0.07 recommended for long runs.
    pub end: f64,
    /// Epochs of the warm-up; 30 in the papers, 0 for none.
    pub warmup_epochs: usize,
}

impl Default for TempSchedule {
    fn default() -> Self {
        Self { start: 0.04, end: 0.07, warmup_epochs: 30 }
    }
}

impl TempSchedule {
    /// In an epoch, counted from 0.
    pub fn at(&self, epoch: usize) -> f64 {
        linear_then_constant(epoch, self.warmup_epochs, self.start, self.end)
    }

    /// In an epoch of a run whose warm-up begins only at epoch `first`; before, it is `start`.
    pub fn shifted(&self, epoch: usize, first: usize) -> f64 {
        if epoch < first { self.start } else { self.at(epoch - first) }
    }

    pub(crate) fn check(&self, key: &str) -> Result<(), RecipeError> {
        let temps = [("start", self.start), ("end", self.end)];
        match temps.into_iter().find(|(_, temp)| !(*temp > 0.0 && temp.is_finite())) {
            Some((end, temp)) => Err(RecipeError::value(format!("{key}.{end}"), "above 0", temp.to_string())),
            None => Ok(()),
        }
    }
}

/// The teacher: how slowly it follows, and how its outputs become targets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeacherConfig {
    /// Of the moving average at the first step; it rises to 1 along a half cosine. 0.996 in the papers, 0.9995 for
    /// batches of 64 or less, 0.99 for small data.
    pub momentum: f64,
    /// Temperature of class targets.
    pub temp: TempSchedule,
    /// How one prototype is kept from winning.
    pub centering: Centering,
}

impl Default for TeacherConfig {
    fn default() -> Self {
        Self { momentum: 0.996, temp: TempSchedule::default(), centering: Centering::default() }
    }
}

impl TeacherConfig {
    /// The momentum at a step: `1 + ½(m − 1)(1 + cos(π·step/n_steps))`.
    ///
    /// # Source
    /// Caron et al., Emerging Properties in Self-Supervised Vision Transformers; Grill et al., BYOL.
    pub fn momentum_at(&self, at: Progress) -> f64 {
        dino_cosine(at.step, at.n_steps, 0, (0.0, self.momentum, 1.0))
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// When a value is out of its range.
    pub fn check(&self) -> Result<(), RecipeError> {
        if !(0.0..=1.0).contains(&self.momentum) {
            let found = self.momentum.to_string();
            return Err(RecipeError::value("options.teacher.momentum", "0 to 1", found));
        }
        match self.centering {
            Centering::Mean { momentum } if !(0.0..=1.0).contains(&momentum) => {
                let key = "options.teacher.centering.momentum";
                return Err(RecipeError::value(key, "0 to 1", momentum.to_string()));
            }
            Centering::SinkhornKnopp { n_rounds: 0 } => {
                let key = "options.teacher.centering.n_rounds";
                return Err(RecipeError::value(key, "at least 1", "0"));
            }
            Centering::Mean { .. } | Centering::SinkhornKnopp { .. } => {}
        }
        self.temp.check("options.teacher.temp")
    }

    /// Targets from logits by the chosen centering.
    ///
    /// # Shapes
    /// - `logits`: `[n, K]`, `center`: `[1, K]`; result `[n, K]`, rows sum to 1
    ///
    /// # Panics
    /// When the widths disagree.
    pub fn targets(&self, logits: Tensor<2>, center: &Tensor<2>, temp: f64) -> Tensor<2> {
        match self.centering {
            Centering::Mean { .. } => centered_targets(logits, center, temp),
            Centering::SinkhornKnopp { n_rounds } => sinkhorn_targets(logits, temp, n_rounds),
        }
    }

    /// The center after a step that saw these logits.
    #[must_use]
    pub fn next_center(&self, center: Tensor<2>, seen: RowSum) -> Tensor<2> {
        match self.centering {
            Centering::Mean { momentum } => next_center(center, seen, momentum),
            Centering::SinkhornKnopp { .. } => center,
        }
    }
}

/// `softmax((logits − center) / temp)`, row by row.
///
/// # Shapes
/// - `logits`: `[n, K]`, raw; `center`: `[1, K]`
///
/// # Panics
/// When the widths disagree.
///
/// # Source
/// Caron et al., Emerging Properties in Self-Supervised Vision Transformers: the center is taken off raw logits, and
/// the temperature divides afterwards.
pub fn centered_targets(logits: Tensor<2>, center: &Tensor<2>, temp: f64) -> Tensor<2> {
    assert_eq!(logits.dims()[1], center.dims()[1], "targets: logits and center");
    let k = center.dims()[1];
    vit_ops::centered_softmax(logits, center.clone().reshape([k]), temp)
}

/// Targets of which every prototype gets the same share of the batch: `exp(logits/temp)`, columns and rows normalized in
/// turn, `n_rounds` times, rows last.
///
/// # Shapes
/// - `logits`: `[n, K]`; result the same, rows sum to 1
///
/// # Source
/// Caron et al., SwAV; Cuturi, Sinkhorn distances. The largest logit is taken off first, which changes nothing but keeps
/// the exponent in range.
pub fn sinkhorn_targets(logits: Tensor<2>, temp: f64, n_rounds: usize) -> Tensor<2> {
    let [n, k] = logits.dims();
    let scaled = logits.div_scalar(temp);
    let largest = scaled.clone().max().reshape([1, 1]);
    let q = (scaled - largest).exp(); // [n, K]
    let total = q.clone().sum().reshape([1, 1]);
    let mut q = q / total;
    for _ in 0..n_rounds {
        let prototypes = q.clone().sum_dim(0).mul_scalar(k as f64).clamp_min(f64::from(f32::MIN_POSITIVE)); // [1, K]
        q = q / prototypes;
        let samples = q.clone().sum_dim(1).mul_scalar(n as f64).clamp_min(f64::from(f32::MIN_POSITIVE)); // [n, 1]
        q = q / samples;
    }
    q.mul_scalar(n as f64)
}

/// A sum over rows of logits, from which a center takes their mean.
#[derive(Clone, Debug)]
pub struct RowSum {
    /// `[1, K]`
    pub sum: Tensor<2>,
    /// Rows in it.
    pub n_rows: usize,
}

impl RowSum {
    /// The sum over all rows.
    ///
    /// # Shapes
    /// - `rows`: `[n, K]`
    pub fn of(rows: &Tensor<2>) -> Self {
        Self { sum: rows.clone().sum_dim(0), n_rows: rows.dims()[0] }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, n_rows: self.n_rows + other.n_rows }
    }
}

/// `momentum · center + (1 − momentum) · mean over rows`
///
/// # Panics
/// When the widths disagree.
///
/// # Source
/// Caron et al., DINO; after the loss of the same step.
#[must_use]
pub fn next_center(center: Tensor<2>, seen: RowSum, momentum: f64) -> Tensor<2> {
    assert_eq!(center.dims(), seen.sum.dims(), "center and rows");
    let mean = seen.sum.div_scalar(seen.n_rows.max(1) as f64);
    center.mul_scalar(momentum) + mean.mul_scalar(1.0 - momentum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(values: &[f64], n: usize) -> Tensor<2> {
        let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
        let shape = [n, values.len() / n];
        Tensor::from_data(burn::tensor::TensorData::new(values, shape), &vit_ops::cpu_device())
    }

    fn host(x: Tensor<2>) -> Vec<f32> {
        x.into_data().try_to_vec().expect("f32")
    }

    #[test]
    fn a_target_is_worked_by_hand() {
        // logits (1, 1), center (0, 1 − 0.5·ln 3), temperature 0.5: (1, 0.5·ln 3)/0.5 = (2, ln 3) … softmax of
        // (2 − 0, ln 3) is not a round number, so take logits (1, 1) and center (1, 1 − 0.5·ln 3): (0, ln 3) → (¼, ¾).
        let center = rows(&[1.0, 1.0 - 0.5 * 3f64.ln()], 1);
        let target = host(centered_targets(rows(&[1.0, 1.0], 1), &center, 0.5));
        assert!((target[0] - 0.25).abs() < 1e-6 && (target[1] - 0.75).abs() < 1e-6, "{target:?}");
        // Two rows (1, 2) and (3, 4) have mean (2, 3); 0.9·(1, 0) + 0.1·(2, 3) = (1.1, 0.3).
        let center = next_center(rows(&[1.0, 0.0], 1), RowSum::of(&rows(&[1.0, 2.0, 3.0, 4.0], 2)), 0.9);
        let center = host(center);
        assert!((center[0] - 1.1).abs() < 1e-6 && (center[1] - 0.3).abs() < 1e-6, "{center:?}");
    }

    #[test]
    fn sinkhorn_knopp_is_the_published_one() {
        // Anchor M2: ε 0.05, three rounds, logits sin(0.3 + 0.37·i).
        let logits: Vec<f64> = (0..12).map(|i| (0.3 + 0.37 * f64::from(i)).sin()).collect();
        let expected = [
            0.000000, 0.004010, 0.496525, 0.499465, 0.183935, 0.811124, 0.004941, 0.000001, 0.937546,
            0.062257, 0.000196, 0.000000,
        ];
        for (ours, expected) in host(sinkhorn_targets(rows(&logits, 3), 0.05, 3)).into_iter().zip(expected) {
            assert!((f64::from(ours) - expected).abs() < 5e-6, "{ours} against {expected}");
        }
    }

    #[test]
    fn sinkhorn_knopp_gives_rows_that_differ_by_a_constant_the_same_target() {
        // ε 0.05, three rounds, computed in f64; the second row and the third both prefer the first prototype by 0.5.
        let scores = [0.9, 0.1, 0.8, 0.3, 0.7, 0.2, 0.2, 0.6];
        let expected = [0.999615, 0.000385, 0.865606, 0.134394, 0.865606, 0.134394, 0.0, 1.0];
        let ours = host(sinkhorn_targets(rows(&scores, 4), 0.05, 3));
        for (ours, expected) in ours.iter().zip(expected) {
            assert!((f64::from(*ours) - expected).abs() < 2e-6, "{ours} against {expected}");
        }
        assert!((ours[2] - ours[4]).abs() < 1e-6 && (ours[3] - ours[5]).abs() < 1e-6);
    }

    #[test]
    fn the_temperature_of_patches_waits_for_the_first_epoch_with_masks() {
        let temp = TempSchedule { start: 0.04, end: 0.07, warmup_epochs: 4 };
        let found = [0, 1, 2, 3, 5, 9].map(|epoch| (temp.shifted(epoch, 2) * 1e4).round());
        assert_eq!(found, [400.0, 400.0, 400.0, 500.0, 700.0, 700.0]);
    }

    proptest! {
        #[test]
        fn balanced_targets_share_prototypes_evenly(seed in 0u64..30, n in 2usize..9, k in 2usize..7) {
            let values: Vec<f64> = (0..n * k).map(|i| ((seed as f64) + 1.7 * i as f64).sin()).collect();
            let q = host(sinkhorn_targets(rows(&values, n), 0.5, 60));
            for row in q.chunks(k) {
                prop_assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
            for prototype in 0..k {
                let share: f32 = q.iter().skip(prototype).step_by(k).sum();
                prop_assert!((share - n as f32 / k as f32).abs() < 1e-2, "{} of {}", share, n as f32 / k as f32);
            }
        }
    }
}
