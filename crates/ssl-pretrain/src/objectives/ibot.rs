//! Self-distillation of class token and masked patches: the teacher sees every patch, the student must guess the hidden.

use crate::block_mask::MaskConfig;
use crate::crops::CropsConfig;
use crate::distilled::{Distilled, Scheme};
use crate::heads::HeadConfig;
use crate::mask_preview::mask_preview;
use crate::self_distill::{Distill, DistillCarry, DistillConfig, PatchTerm};
use crate::target::{TeacherConfig, TempSchedule};
use report::{Info, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_core::{Grid, Tokens};
use vit_data::Seed;
use vit_train::{Batch, Preview, Step, StepOut};

/// The patch loss of [`Ibot`] and of AttMask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PatchConfig {
    /// Its weight in the loss; 1 in the paper.
    pub weight: f64,
    /// Temperature of patch targets; it waits for the first epoch with masks.
    pub temp: TempSchedule,
    /// Of the moving average of patch centers, 0–1; 0.9 in the paper.
    pub center_momentum: f64,
    /// Prototypes of patches; 0: they share those of the class token, as in all published recipes.
    pub own_out_dim: usize,
}

impl Default for PatchConfig {
    fn default() -> Self {
        Self { weight: 1.0, temp: TempSchedule::default(), center_momentum: 0.9, own_out_dim: 0 }
    }
}

impl PatchConfig {
    pub(crate) fn check(&self) -> Result<(), RecipeError> {
        if !(self.weight >= 0.0 && self.weight.is_finite()) {
            return Err(RecipeError::value("options.patch.weight", "at least 0", self.weight.to_string()));
        }
        if !(0.0..=1.0).contains(&self.center_momentum) {
            let found = self.center_momentum.to_string();
            return Err(RecipeError::value("options.patch.center_momentum", "0 to 1", found));
        }
        if self.own_out_dim == 1 {
            return Err(RecipeError::value("options.patch.own_out_dim", "0, or at least 2", "1"));
        }
        self.temp.check("options.patch.temp")
    }

    pub(crate) fn term(&self, start_epoch: usize) -> PatchTerm {
        PatchTerm {
            temp: self.temp,
            center_momentum: self.center_momentum,
            weight: self.weight,
            start_epoch,
            out_dim: (self.own_out_dim > 0).then_some(self.own_out_dim),
        }
    }
}

/// The options of [`Ibot`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IbotConfig {
    /// Temperature of the student; 0.1 in the paper.
    pub student_temp: f64,
    /// Weight of the class loss; 1 in the paper.
    pub class_weight: f64,
    /// Epochs in which the prototypes are frozen; 1 in the paper, 3 for ViT-B.
    pub freeze_last_layer_epochs: usize,
    /// Weight decay at the end, to which `train.weight_decay` moves along a half cosine; 0.4 in the paper, from 0.04.
    pub weight_decay_end: f64,
    /// The views.
    pub crops: CropsConfig,
    /// The masks of large views.
    pub mask: MaskConfig,
    /// The patch loss.
    pub patch: PatchConfig,
    /// The projection head.
    pub head: HeadConfig,
    /// The teacher.
    pub teacher: TeacherConfig,
}

impl Default for IbotConfig {
    fn default() -> Self {
        Self {
            student_temp: 0.1,
            class_weight: 1.0,
            freeze_last_layer_epochs: 1,
            weight_decay_end: 0.4,
            crops: CropsConfig { n_locals: 10, local_scale: (0.05, 0.25), ..CropsConfig::default() },
            mask: MaskConfig::default(),
            patch: PatchConfig::default(),
            head: HeadConfig { out_dim: 8192, norm_last_layer: false, ..HeadConfig::default() },
            teacher: TeacherConfig::default(),
        }
    }
}

impl Recipe for IbotConfig {
    fn check(&self) -> Result<(), RecipeError> {
        self.distill().check()?;
        self.mask.check()?;
        self.patch.check()
    }
}

/// `loss = λ₁ · DINO's loss over views + λ₂ · mean over large views and images of the mean over masked patches of
/// −Σ softmax((t_n − c₂)/τ_t₂) log softmax(s_n/τ_s)`
///
/// # Source
/// Zhou et al., iBOT: Image BERT Pre-Training with Online Tokenizer.
pub type Ibot = Distilled<IbotConfig>;

impl Ibot {
    /// The loss of a batch with given masks of its large views, one view after the other.
    ///
    /// # Shapes
    /// - `masks`: `[G·B·N]`, true where the student sees the mask token
    ///
    /// # Panics
    /// When the masks do not fit the views.
    pub fn loss_with_masks(
        &self,
        batch: &Batch,
        masks: Option<Vec<bool>>,
        step: &mut Step,
    ) -> StepOut<DistillCarry> {
        let taught = self.inner.taught(self.inner.globals(batch));
        self.inner.loss(batch, &taught, masks, &mut step.draws, step.progress)
    }
}

impl IbotConfig {
    /// The masks of large views, `[n_views·B·N]`: a pure function of seed, epoch, sample and view.
    fn masks(&self, inner: &Distill, batch: &Batch, n_views: usize, seed: Seed) -> Vec<bool> {
        let [_, _, height, width] = batch.views[0].dims();
        let grid = Grid::of_image(height, width, inner.student.backbone.config.patch_px);
        let mut masks = Vec::with_capacity(n_views * batch.host.indices.len() * grid.n_patches());
        for view in 0..n_views {
            for &sample in &batch.host.indices {
                let mut stream = seed.stream("mask", &[batch.epoch, sample as u64, view as u64]);
                masks.extend(self.mask.draw(grid, &mut stream));
            }
        }
        masks
    }
}

impl Scheme for IbotConfig {
    const INFO: Info = Info {
        name: "ibot",
        line: "say of hidden patches and of every crop what a slow average of oneself says of them",
        source: "Zhou et al. 2022, iBOT: Image BERT Pre-Training with Online Tokenizer",
    };

    fn distill(&self) -> DistillConfig {
        DistillConfig {
            crops: self.crops.clone(),
            head: self.head.clone(),
            teacher: self.teacher,
            student_temp: self.student_temp,
            class_weight: self.class_weight,
            freeze_last_layer_epochs: self.freeze_last_layer_epochs,
            weight_decay_end: self.weight_decay_end,
            patch: Some(self.patch.term(self.mask.start_epoch)),
            masks: true,
        }
    }

    fn teach(&self, inner: &Distill, batch: &Batch, step: &Step) -> (Tokens, Option<Vec<bool>>) {
        let has_masks = step.progress.epoch() >= self.mask.start_epoch;
        let masks = has_masks.then(|| self.masks(inner, batch, inner.config.crops.n_globals, step.seed));
        (inner.taught(inner.globals(batch)), masks)
    }

    fn preview(&self, inner: &Distill, batch: &Batch, seed: Seed) -> Option<Preview> {
        // Two draws of each image, as the two large views have.
        let masks = self.masks(inner, batch, 2, seed);
        let (first, second) = masks.split_at(masks.len() / 2);
        let columns = [("first mask", first.to_vec()), ("second mask", second.to_vec())];
        mask_preview(
            &batch.views[0],
            inner.student.backbone.config.patch_px,
            &columns,
            "What iBOT hides",
            "Held-out images and two draws of a mask for each; gray patches are hidden from the student. Of all crops \
             some are not masked at all, and blocks hide at most the share that was drawn.",
        )
    }
}
