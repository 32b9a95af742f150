//! Training of the encoder itself, for a study that wants it: what it asks for and what it is given. Who can train does it; here
//! nobody can.

use report::{Recipe, RecipeError};
use serde::{Deserialize, Serialize};

/// How an encoder and a fresh classifier on it are trained: AdamW, a cosine from a linear warm-up, and rates that fall from block to
/// block towards the pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tuning {
    /// Passes over the training side; 100 in MAE (ViT-B), 50 (ViT-L and H).
    pub epochs: f64,
    /// Samples in one backward pass.
    pub batch: usize,
    /// Backward passes in one step of the optimizer; a step has 1024 samples in MAE.
    pub accumulate: usize,
    /// Learning rate at 256 samples a step, above 0; 5e-4 in MAE (ViT-B), 1e-3 (ViT-L and H).
    pub base_lr: f64,
    /// The rate at the end; 1e-6 in MAE.
    pub min_lr: f64,
    /// Epochs of linear warm-up from 0; 5 in MAE.
    pub warmup_epochs: f64,
    /// Decoupled weight decay; 0.05 in MAE.
    pub weight_decay: f64,
    /// What the rate is multiplied by from each block to the one below it, above 0 up to 1; 0.65 to 0.75 in MAE.
    pub layer_decay: f64,
    /// Drop path rate of the last block, 0–1; 0.1 in MAE (ViT-B).
    pub drop_path: f64,
    /// The share of the target that is spread over all classes, 0 up to 1; 0.1 in MAE.
    pub label_smoothing: f64,
    /// `α` of mixup's Beta distribution; 0.8 in MAE.
    pub mixup_alpha: f64,
    /// `α` of CutMix's Beta distribution; 1 in MAE.
    pub cutmix_alpha: f64,
    /// The share of batches that are mixed, 0–1; 1 in MAE.
    pub mix_prob: f64,
    /// Of those, the share by CutMix, 0–1; 0.5 in MAE.
    pub cutmix_prob: f64,
    /// The least share of the picture's area that a random crop shows, above 0 up to 1; 0.08 in MAE.
    pub min_scale: f64,
    /// Probability of a horizontal flip, 0–1; 0.5 in MAE.
    pub flip_prob: f64,
    /// Probability that a box of the picture is replaced by noise, 0–1; 0.25 in MAE.
    pub erase_prob: f64,
    /// What the classifier reads: `mean` (of the patches, MAE) or `class` (the class token, DeiT).
    pub pool: String,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            epochs: 6.0,
            batch: 64,
            accumulate: 1,
            base_lr: 4e-3,
            min_lr: 1e-6,
            warmup_epochs: 0.5,
            weight_decay: 0.05,
            layer_decay: 0.75,
            drop_path: 0.1,
            label_smoothing: 0.1,
            mixup_alpha: 0.8,
            cutmix_alpha: 1.0,
            mix_prob: 0.5,
            cutmix_prob: 0.5,
            min_scale: 0.6,
            flip_prob: 0.5,
            erase_prob: 0.0,
            pool: "mean".into(),
        }
    }
}

impl Recipe for Tuning {
    fn check(&self) -> Result<(), RecipeError> {
        for (key, value) in [("batch", self.batch), ("accumulate", self.accumulate)] {
            if value == 0 {
                return Err(RecipeError::value(key, "at least 1", "0"));
            }
        }
        let above_0 = [
            ("epochs", self.epochs, f64::MAX),
            ("base_lr", self.base_lr, f64::MAX),
            ("layer_decay", self.layer_decay, 1.0),
            ("min_scale", self.min_scale, 1.0),
            ("mixup_alpha", self.mixup_alpha, f64::MAX),
            ("cutmix_alpha", self.cutmix_alpha, f64::MAX),
        ];
        for (key, value, most) in above_0 {
            if !(value > 0.0 && value <= most) {
                let expected = if most == 1.0 { "above 0 up to 1" } else { "above 0" };
                return Err(RecipeError::value(key, expected, value));
            }
        }
        let from_0 = [
            ("min_lr", self.min_lr, f64::MAX),
            ("warmup_epochs", self.warmup_epochs, f64::MAX),
            ("weight_decay", self.weight_decay, f64::MAX),
            ("drop_path", self.drop_path, 0.999),
            ("label_smoothing", self.label_smoothing, 0.999),
            ("mix_prob", self.mix_prob, 1.0),
            ("cutmix_prob", self.cutmix_prob, 1.0),
            ("flip_prob", self.flip_prob, 1.0),
            ("erase_prob", self.erase_prob, 1.0),
        ];
        for (key, value, most) in from_0 {
            if !(0.0..=most).contains(&value) {
                let expected = if most == f64::MAX { "at least 0" } else { "0 to 1" };
                return Err(RecipeError::value(key, expected, value));
            }
        }
        match self.pool.as_str() {
            "mean" | "class" => Ok(()),
            other => Err(RecipeError::value("pool", "`mean` or `class`", format!("`{other}`"))),
        }
    }
}

/// What a study asks for: a training, and from which seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// How.
    pub how: Tuning,
    /// From which every draw follows.
    pub seed: u64,
}

/// What a trained encoder says of the test side, and how its training went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// The first classes of every test sample in the order of its side, best first: `n_ranked` of each.
    pub ranking: Vec<u32>,
    /// Classes told of each sample; at least 1.
    pub n_ranked: usize,
    /// Epochs passed and the loss, step by step.
    pub losses: Vec<(f64, f64)>,
    /// Steps of the optimizer.
    pub n_steps: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_what_cannot_be_is_named() {
        assert!(Tuning::default().check().is_ok());
        for (wrong, key) in [
            (Tuning { batch: 0, ..Tuning::default() }, "batch"),
            (Tuning { layer_decay: 1.1, ..Tuning::default() }, "layer_decay"),
            (Tuning { epochs: 0.0, ..Tuning::default() }, "epochs"),
            (Tuning { drop_path: 1.0, ..Tuning::default() }, "drop_path"),
            (Tuning { min_lr: f64::NAN, ..Tuning::default() }, "min_lr"),
            (Tuning { pool: "max".into(), ..Tuning::default() }, "pool"),
        ] {
            let sentence = wrong.check().expect_err(key).to_string();
            assert!(sentence.contains(key), "{sentence}");
        }
    }
}
