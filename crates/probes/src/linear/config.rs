//! The options of the linear probe: one kind of solver, each with what the papers use.

use super::Ensemble;
use crate::by_layer::{check_tokens, with_kind};
use measure::linear::descent::{BatchNorm, Descent, Rule, Schedule};
use report::{Recipe, RecipeError, short_number};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use vit_features::BANK_BYTES;

/// The options of [`LinearProbe`](super::LinearProbe).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearConfig {
    /// Tokens asked at every layer: `cls`, `mean`, or both.
    pub tokens: Vec<String>,
    /// Samples of the training side by which rate or penalty and the best layer are chosen; at most half of the side.
    pub n_held_out: usize,
    /// Features of a side beyond this many MiB are kept in temporary files; changes no number.
    pub memory_mib: usize,
    /// Blocks that are also taken together.
    pub ensemble: Ensemble,
    /// How a classifier is found.
    pub solver: Solver,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self {
            tokens: vec!["cls".into(), "mean".into()],
            n_held_out: 2000,
            memory_mib: BANK_BYTES >> 20,
            ensemble: Ensemble::default(),
            solver: Solver::default(),
        }
    }
}

impl LinearConfig {
    /// `memory_mib` in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_mib.saturating_mul(1 << 20)
    }
}

/// How a classifier is found; `sgd` where no `kind` is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "kind", rename_all = "kebab-case")]
pub enum Solver {
    /// Stochastic gradient descent on the cross-entropy: DINO, iBOT.
    Sgd(Sgd),
    /// Batch normalization without affine part, then LARS on the cross-entropy: MAE.
    Lars(Lars),
    /// Ridge regression onto ±1, in closed form.
    Ridge(Ridge),
    /// The minimum of the penalized cross-entropy.
    Logistic(Logistic),
}

impl Default for Solver {
    fn default() -> Self {
        Self::Sgd(Sgd::default())
    }
}

impl Serialize for Solver {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer) // the derived one
    }
}

impl<'de> Deserialize<'de> for Solver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(with_kind(deserializer, "sgd")?).map_err(D::Error::custom) // the derived one
    }
}

/// What is done to features before the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// Nothing: DINO and iBOT, whose features come from the final norm.
    AsIs,
    /// Centered, divided by their standard deviation and by √D, so that one grid of learning rates or penalties suits
    /// every layer.
    #[default]
    UnitVariance,
}

/// SGD with momentum, a cosine changed by epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sgd {
    /// `as-is` (DINO) or `unit-variance`.
    pub input: Input,
    /// Learning rates for 256 samples a step, one head each; DINO has 0.001, iBOT thirty from 1e-5 to 0.1, both as-is.
    pub base_lrs: Vec<f64>,
    /// Passes over the training side; 100 in DINO, with augmentation.
    pub epochs: usize,
    /// Samples a step; 1024 in DINO.
    pub batch: usize,
    /// 0.9 in DINO.
    pub momentum: f64,
    /// 0 in DINO.
    pub weight_decay: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Self {
            input: Input::UnitVariance,
            base_lrs: vec![0.1, 0.3, 1.0, 3.0],
            epochs: 30,
            batch: 256,
            momentum: 0.9,
            weight_decay: 0.0,
        }
    }
}

/// LARS behind batch normalization, a warm-up and a cosine changed by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lars {
    /// Learning rates for 256 samples a step, one head each; 0.1 in MAE.
    pub base_lrs: Vec<f64>,
    /// Passes over the training side; 90 for ViT-B, 50 for ViT-L and ViT-H in MAE.
    pub epochs: usize,
    /// Samples a step; 16384 in MAE.
    pub batch: usize,
    /// 10 in MAE.
    pub warmup_epochs: f64,
    /// 0.9 in MAE.
    pub momentum: f64,
    /// 0 in MAE.
    pub weight_decay: f64,
    /// 0.001 in MAE.
    pub trust: f64,
    /// Added to a variance before its root; 1e-6 in MAE.
    pub eps: f64,
}

impl Default for Lars {
    fn default() -> Self {
        Self {
            base_lrs: vec![0.1],
            epochs: 90,
            batch: 16384,
            warmup_epochs: 10.0,
            momentum: 0.9,
            weight_decay: 0.0,
            trust: 0.001,
            eps: 1e-6,
        }
    }
}

/// Ridge regression on standardized features, the bias not penalized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ridge {
    /// Penalties are every second power of two from the second exponent down to the first.
    pub log2_lambdas: [i32; 2],
}

impl Default for Ridge {
    fn default() -> Self {
        Self { log2_lambdas: [-20, 10] }
    }
}

impl Ridge {
    /// The penalties, the strongest first: of equals it is chosen.
    pub(super) fn lambdas(&self) -> Vec<f64> {
        let [low, high] = self.log2_lambdas;
        (low..=high).rev().step_by(2).map(|exponent| 2f64.powi(exponent)).collect()
    }
}

/// Logistic regression by L-BFGS, the bias not penalized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logistic {
    /// `as-is` or `unit-variance`.
    pub input: Input,
    /// Penalties: `λ/2 ‖W‖²` beside the mean cross-entropy; `λ = 1 / (n C)`.
    pub lambdas: Vec<f64>,
    /// Steps at most, for each penalty; each starts where the next stronger one ended.
    pub max_steps: usize,
    /// No part of the gradient above this.
    pub tolerance: f64,
}

impl Default for Logistic {
    fn default() -> Self {
        Self {
            input: Input::UnitVariance,
            lambdas: vec![1e-2, 1e-3, 1e-4, 1e-5, 1e-6],
            max_steps: 100,
            tolerance: 1e-5,
        }
    }
}

fn is_positive(x: f64) -> bool {
    x > 0.0 && x.is_finite()
}

/// Refuses a list that is empty or holds what is not above 0.
fn positive(key: &str, values: &[f64]) -> Result<(), RecipeError> {
    if values.is_empty() || !values.iter().all(|&x| is_positive(x)) {
        return Err(RecipeError::value(key, "at least one number, each above 0", format!("{values:?}")));
    }
    Ok(())
}

/// Refuses what SGD and LARS have in common and cannot be.
fn descends(
    base_lrs: &[f64],
    counts: [(&str, usize); 2],
    momentum: f64,
    decay: f64,
) -> Result<(), RecipeError> {
    positive("solver.base_lrs", base_lrs)?;
    if let Some((key, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
        return Err(RecipeError::value(key, "at least 1", "0"));
    }
    if !(0.0..1.0).contains(&momentum) {
        return Err(RecipeError::value("solver.momentum", "from 0 to below 1", momentum.to_string()));
    }
    if !(decay >= 0.0 && decay.is_finite()) {
        return Err(RecipeError::value("solver.weight_decay", "at least 0", decay.to_string()));
    }
    Ok(())
}

impl Recipe for LinearConfig {
    fn check(&self) -> Result<(), RecipeError> {
        self.ensemble.check()?;
        check_tokens(&self.tokens)?;
        for (key, value) in [("n_held_out", self.n_held_out), ("memory_mib", self.memory_mib)] {
            if value == 0 {
                return Err(RecipeError::value(key, "at least 1", "0"));
            }
        }
        match &self.solver {
            Solver::Sgd(Sgd { base_lrs, epochs, batch, momentum, weight_decay, .. }) => {
                let counts = [("solver.epochs", *epochs), ("solver.batch", *batch)];
                descends(base_lrs, counts, *momentum, *weight_decay)
            }
            Solver::Lars(lars) => {
                let counts = [("solver.epochs", lars.epochs), ("solver.batch", lars.batch)];
                descends(&lars.base_lrs, counts, lars.momentum, lars.weight_decay)?;
                positive("solver.trust", &[lars.trust])?;
                positive("solver.eps", &[lars.eps])?;
                if !(0.0..=lars.epochs as f64).contains(&lars.warmup_epochs) {
                    let expected = format!("from 0 to epochs ({})", lars.epochs);
                    return Err(RecipeError::value(
                        "solver.warmup_epochs",
                        expected,
                        lars.warmup_epochs.to_string(),
                    ));
                }
                Ok(())
            }
            Solver::Ridge(Ridge { log2_lambdas: [low, high] }) => {
                if low > high || *low < -60 || *high > 60 {
                    let expected = "two exponents from -60 to 60, the lower one first";
                    return Err(RecipeError::value(
                        "solver.log2_lambdas",
                        expected,
                        format!("[{low}, {high}]"),
                    ));
                }
                Ok(())
            }
            Solver::Logistic(logistic) => {
                positive("solver.lambdas", &logistic.lambdas)?;
                positive("solver.tolerance", &[logistic.tolerance])?;
                if logistic.max_steps == 0 {
                    return Err(RecipeError::value("solver.max_steps", "at least 1", "0"));
                }
                Ok(())
            }
        }
    }
}

impl Sgd {
    /// The training of its heads.
    pub(super) fn descent(&self) -> Descent {
        Descent {
            n_epochs: self.epochs,
            batch: self.batch,
            keeps_rest: true,
            rule: Rule::Sgd,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            schedule: Schedule::CosineByEpoch,
            batch_norm: None,
        }
    }
}

impl Lars {
    /// The training of its heads. What is left of an epoch after the last whole batch is no step, as in MAE.
    pub(super) fn descent(&self) -> Descent {
        Descent {
            n_epochs: self.epochs,
            batch: self.batch,
            keeps_rest: false,
            rule: Rule::Lars { trust: self.trust },
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            schedule: Schedule::WarmupCosineByStep { warmup_epochs: self.warmup_epochs },
            batch_norm: Some(BatchNorm { eps: self.eps, momentum: 0.1 }),
        }
    }
}

impl Solver {
    /// The word in recipes and metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Sgd(_) => "sgd",
            Self::Lars(_) => "lars",
            Self::Ridge(_) => "ridge",
            Self::Logistic(_) => "logistic",
        }
    }

    /// What is chosen on held-out samples.
    pub(super) fn setting(&self) -> &'static str {
        match self {
            Self::Sgd(_) | Self::Lars(_) => "base_lr",
            Self::Ridge(_) | Self::Logistic(_) => "lambda",
        }
    }

    /// A sentence without its period.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Sgd(sgd) => format!(
                "SGD with momentum {}, {} epochs of batches of {}, a cosine to 0",
                short_number(sgd.momentum),
                sgd.epochs,
                sgd.batch
            ),
            Self::Lars(lars) => format!(
                "Batch normalization without affine part and LARS, {} epochs of batches of {}, {} of warm-up, a cosine to 0",
                lars.epochs,
                lars.batch,
                short_number(lars.warmup_epochs)
            ),
            Self::Ridge(_) => "Ridge regression onto ±1 on standardized features, in closed form".into(),
            Self::Logistic(_) => "Logistic regression, to the minimum of the penalized cross-entropy".into(),
        }
    }
}
