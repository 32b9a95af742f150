//! A pretraining recipe: the whole truth of a run.

use crate::MonitorConfig;
use report::{Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_data::transform::{Blur, Erase, Filter, Jitter, Normalize, Solarize};
use vit_data::{Crop, DataError, ViewPlan, ViewSpec};

/// How views are cut for training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ViewConfig {
    /// Side of a view in pixels.
    pub size_px: usize,
    /// Least and greatest share of the area of a random crop, 0–1; MAE (0.2, 1), supervised (0.08, 1). Equal to
    /// (1, 1): the whole image, not cropped.
    pub scale: (f64, f64),
    /// Least and greatest aspect ratio of a random crop; (3/4, 4/3) in the papers.
    pub ratio: (f64, f64),
    /// Probability of a horizontal flip, 0–1; 0.5 in the papers.
    pub flip_prob: f64,
    /// `imagenet`, `half`, `clip` or `none`.
    pub normalize: String,
    /// How pixels are weighted when a crop is resized: `box`, `bilinear`, `hamming`, `bicubic` or `lanczos`; bicubic in
    /// DINO, MAE and DeiT, bilinear in MoCo.
    pub filter: Filter,
    /// Probability of turning gray, 0–1; 0 in MAE, 0.2 in DINO, iBOT and MoCo v3.
    pub gray_prob: f64,
    /// Random brightness, contrast, saturation and hue, in random order:
    /// `{ prob = 0.8, brightness = 0.4, contrast = 0.4, saturation = 0.2, hue = 0.1 }` in DINO and iBOT.
    pub jitter: Jitter,
    /// Gaussian blur: `{ prob = 1.0, sigma_px = [0.1, 2.0] }` in the first global crop of DINO.
    pub blur: Blur,
    /// Inversion of bytes from a threshold on: `{ prob = 0.2, threshold = 128 }` in the second global crop of DINO.
    pub solarize: Solarize,
    /// Boxes of zeros or noise after normalization:
    /// `{ prob = 0.25, area = [0.02, 0.333], ratio = [0.3, 3.333], mode = "pixel", count = 1 }` in DeiT.
    pub erase: Erase,
}

impl Default for ViewConfig {
    fn default() -> Self {
        Self {
            size_px: 224,
            scale: (0.2, 1.0),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
            flip_prob: 0.5,
            normalize: "imagenet".into(),
            filter: Filter::default(),
            gray_prob: 0.0,
            jitter: Jitter::default(),
            blur: Blur::default(),
            solarize: Solarize::default(),
            erase: Erase::default(),
        }
    }
}

impl ViewConfig {
    /// The named normalization.
    ///
    /// # Errors
    /// When the name is unknown.
    pub fn normalization(&self) -> Result<Normalize, RecipeError> {
        Normalize::from_name(&self.normalize).map_err(|_| {
            RecipeError::value("views.normalize", "imagenet, half, clip or none", &self.normalize)
        })
    }

    /// One view as these settings say; an objective with several views starts from it.
    ///
    /// # Errors
    /// When a value is outside its range.
    pub fn spec(&self) -> Result<ViewSpec, RecipeError> {
        let crop = if self.scale == (1.0, 1.0) {
            Crop::Whole
        } else {
            Crop::RandomResized { scale: self.scale, ratio: self.ratio }
        };
        let spec = ViewSpec {
            crop,
            flip_prob: self.flip_prob,
            size_px: self.size_px,
            filter: self.filter,
            jitter: self.jitter,
            gray_prob: self.gray_prob,
            blur: self.blur,
            solarize: self.solarize,
            normalize: self.normalization()?,
            erase: self.erase,
        };
        spec.check().map_err(refused)?;
        Ok(spec)
    }

    /// One training view as these settings say.
    ///
    /// # Panics
    /// When a value is outside its range, which [`PretrainRecipe::check`] refuses.
    pub fn plan(&self) -> ViewPlan {
        match self.spec() {
            Ok(spec) => ViewPlan { views: vec![spec] },
            Err(error) => panic!("{error}"),
        }
    }
}

/// What a view is refused for, as a recipe's error.
pub(crate) fn refused(error: DataError) -> RecipeError {
    match error {
        DataError::Usage { expected, found } => RecipeError::value("views", expected, found),
        other => RecipeError::value("views", "sound views", other),
    }
}

/// What is done to gradients that are too large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", from = "ClipForm")]
pub enum Clip {
    /// Nothing; MAE, DeiT.
    #[default]
    None,
    /// One norm over all parameters; 1.0 in ViT and AugReg, 3.0 in BEiT, 5.0 in SimMIM.
    Global {
        /// The largest norm that passes unchanged.
        max_norm: f64,
    },
    /// Each parameter's gradient by its own norm; 3.0 in DINO and iBOT.
    PerTensor {
        /// The largest norm that passes unchanged.
        max_norm: f64,
    },
}

/// How a clip is read: serde refuses unknown keys beside a tag only in variants with braces.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum ClipForm {
    None {},
    Global { max_norm: f64 },
    PerTensor { max_norm: f64 },
}

impl From<ClipForm> for Clip {
    fn from(form: ClipForm) -> Self {
        match form {
            ClipForm::None {} => Self::None,
            ClipForm::Global { max_norm } => Self::Global { max_norm },
            ClipForm::PerTensor { max_norm } => Self::PerTensor { max_norm },
        }
    }
}

/// How long, how fast, and how often saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the training data; may be a fraction.
    pub epochs: f64,
    /// Samples in a batch, which is what one backward pass holds in memory.
    pub batch: usize,
    /// Batches whose gradients are averaged into one step of the optimizer; 1: every batch is a step.
    pub accumulate: usize,
    /// Base learning rate at 256 samples a step; the rate used is `base_lr · batch · accumulate / 256`.
    pub base_lr: f64,
    /// The rate at the end.
    pub min_lr: f64,
    /// Epochs of linear warm-up from 0.
    pub warmup_epochs: f64,
    /// Decoupled weight decay; 0.05 in MAE, DeiT.
    pub weight_decay: f64,
    /// AdamW's decay of the first moment.
    pub beta1: f64,
    /// AdamW's decay of the second moment; 0.95 in MAE, 0.999 in DeiT and DINO.
    pub beta2: f64,
    /// AdamW's ε.
    pub eps: f64,
    /// What the rate is multiplied by from each block to the one below it, above 0 up to 1; 1: one rate for all. 0.65
    /// to 0.75 when MAE is fine-tuned.
    pub layer_decay: f64,
    /// Clipping of gradients.
    pub clip: Clip,
    /// A line in the log every so many steps.
    pub log_every_steps: usize,
    /// The health of training is looked at every so many steps, where the objective has something to tell; such a step
    /// is always logged.
    pub watch_every_steps: usize,
    /// How often the encoder is scored on held-out data, and on how much.
    pub monitor: MonitorConfig,
    /// A checkpoint every so many steps, and one at the end.
    pub checkpoint_every_steps: usize,
    /// Checkpoints kept.
    pub keep_checkpoints: usize,
}

impl TrainConfig {
    /// Samples in one step of the optimizer.
    pub fn samples_per_step(&self) -> usize {
        self.batch * self.accumulate
    }

    /// The learning rate at its height: `base_lr · batch · accumulate / 256`.
    pub fn peak_lr(&self) -> f64 {
        self.base_lr * self.samples_per_step() as f64 / 256.0
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 100.0,
            batch: 256,
            accumulate: 1,
            base_lr: 1.5e-4,
            min_lr: 0.0,
            warmup_epochs: 5.0,
            weight_decay: 0.05,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            layer_decay: 1.0,
            clip: Clip::None,
            log_every_steps: 10,
            watch_every_steps: 50,
            monitor: MonitorConfig::default(),
            checkpoint_every_steps: 500,
            keep_checkpoints: 2,
        }
    }
}

/// What is taken from the weights that a run starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// The encoder alone; heads, teacher's head and centers start afresh.
    #[default]
    Encoder,
    /// Everything that the objective keeps: student, teacher, heads and centers. The optimizer and the schedules start
    /// afresh.
    Continue,
}

impl Init {
    fn is_encoder(&self) -> bool {
        *self == Self::Encoder
    }
}

/// A pretraining recipe. `options` are the objective's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainRecipe {
    /// The objective's name.
    pub objective: String,
    /// The encoder, as `vit-nano/8` or spelled out.
    pub model: String,
    /// The data's URI.
    pub data: String,
    /// Weights that the encoder starts from, a file or a run folder; random ones where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<String>,
    /// What is taken from them: `encoder`, or `continue` for a training checkpoint with its heads.
    #[serde(default, skip_serializing_if = "Init::is_encoder")]
    pub init: Init,
    /// From which every draw of the run follows.
    #[serde(default)]
    pub seed: u64,
    /// Drop path rate of the last block, 0–1.
    #[serde(default)]
    pub drop_path: f64,
    /// How views are cut.
    #[serde(default)]
    pub views: ViewConfig,
    /// How long and how fast.
    #[serde(default)]
    pub train: TrainConfig,
    /// The objective's own options.
    #[serde(default)]
    pub options: toml::Table,
}

impl Recipe for PretrainRecipe {
    fn check(&self) -> Result<(), RecipeError> {
        let TrainConfig {
            epochs,
            batch,
            accumulate,
            base_lr,
            beta1,
            beta2,
            layer_decay,
            log_every_steps,
            checkpoint_every_steps,
            ..
        } = self.train;
        let max_norm = match self.train.clip {
            Clip::None => f64::INFINITY,
            Clip::Global { max_norm } | Clip::PerTensor { max_norm } => max_norm,
        };
        let rules = [
            ("train.epochs", epochs > 0.0 && epochs.is_finite(), "above 0", epochs),
            ("train.batch", batch > 0, "at least 1", batch as f64),
            ("train.accumulate", accumulate > 0, "at least 1", accumulate as f64),
            ("train.layer_decay", layer_decay > 0.0 && layer_decay <= 1.0, "above 0 up to 1", layer_decay),
            ("train.clip.max_norm", max_norm > 0.0, "above 0", max_norm),
            ("train.base_lr", base_lr > 0.0 && base_lr.is_finite(), "above 0", base_lr),
            ("train.min_lr", self.train.min_lr >= 0.0, "at least 0", self.train.min_lr),
            ("train.warmup_epochs", self.train.warmup_epochs >= 0.0, "at least 0", self.train.warmup_epochs),
            ("train.weight_decay", self.train.weight_decay >= 0.0, "at least 0", self.train.weight_decay),
            ("train.beta1", (0.0..1.0).contains(&beta1), "0 up to 1", beta1),
            ("train.beta2", (0.0..1.0).contains(&beta2), "0 up to 1", beta2),
            ("train.log_every_steps", log_every_steps > 0, "at least 1", log_every_steps as f64),
            ("train.watch_every_steps", self.train.watch_every_steps > 0, "at least 1", 0.0),
            (
                "train.checkpoint_every_steps",
                checkpoint_every_steps > 0,
                "at least 1",
                checkpoint_every_steps as f64,
            ),
            ("train.keep_checkpoints", self.train.keep_checkpoints > 0, "at least 1", 0.0),
            ("drop_path", (0.0..1.0).contains(&self.drop_path), "0 up to 1", self.drop_path),
        ];
        for (key, holds, expected, found) in rules {
            if !holds {
                return Err(RecipeError::value(key, expected, found.to_string()));
            }
        }
        if self.init == Init::Continue && self.init_from.is_none() {
            return Err(RecipeError::value(
                "init",
                "`encoder`, or init_from beside `continue`",
                "no init_from",
            ));
        }
        self.train.monitor.check()?;
        self.views.spec()?;
        Ok(())
    }
}
