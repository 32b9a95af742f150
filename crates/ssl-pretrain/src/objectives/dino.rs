//! Self-distillation of the class token between crops: a student learns what its slow average says of other views.

use crate::crops::CropsConfig;
use crate::heads::HeadConfig;
use crate::self_distill::{Distill, DistillCarry, DistillConfig, Projected};
use crate::target::TeacherConfig;
use burn::tensor::Device;
use report::{Info, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_core::weights::{NamedParam, Read, WeightsError};
use vit_core::{Backbone, Vit, VitConfig};
use vit_data::{Seed, ViewPlan};
use vit_train::{
    Batch, Grads, Objective, Progress, Rates, SampleCost, Step, StepOut, TrainConfig, ViewConfig,
};

/// The options of [`Dino`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DinoConfig {
    /// Temperature of the student; 0.1 in the paper.
    pub student_temp: f64,
    /// Epochs in which the prototypes are frozen; 1 in the paper, up to 3 where training is unsteady.
    pub freeze_last_layer_epochs: usize,
    /// Weight decay at the end, to which `train.weight_decay` moves along a half cosine; 0.4 in the paper, from 0.04.
    pub weight_decay_end: f64,
    /// The views.
    pub crops: CropsConfig,
    /// The projection head.
    pub head: HeadConfig,
    /// The teacher.
    pub teacher: TeacherConfig,
}

impl Default for DinoConfig {
    fn default() -> Self {
        Self {
            student_temp: 0.1,
            freeze_last_layer_epochs: 1,
            weight_decay_end: 0.4,
            crops: CropsConfig::default(),
            head: HeadConfig::default(),
            teacher: TeacherConfig::default(),
        }
    }
}

impl DinoConfig {
    fn distill(&self) -> DistillConfig {
        DistillConfig {
            crops: self.crops.clone(),
            head: self.head.clone(),
            teacher: self.teacher,
            student_temp: self.student_temp,
            class_weight: 1.0,
            freeze_last_layer_epochs: self.freeze_last_layer_epochs,
            weight_decay_end: self.weight_decay_end,
            patch: None,
            masks: false,
        }
    }
}

impl Recipe for DinoConfig {
    fn check(&self) -> Result<(), RecipeError> {
        self.distill().check()
    }
}

/// `loss = mean over pairs (i, v), i one of G large views, v ≠ i any view, of −Σ softmax((t_i − c)/τ_t) log softmax(s_v/τ_s)`
///
/// # Source
/// Caron et al., Emerging Properties in Self-Supervised Vision Transformers.
pub struct Dino {
    inner: Distill,
}

impl Objective for Dino {
    const INFO: Info = Info {
        name: "dino",
        line: "say of every crop what a slow average of oneself says of the large ones",
        source: "Caron et al. 2021, Emerging Properties in Self-Supervised Vision Transformers",
    };
    type Config = DinoConfig;
    type Student = Projected;
    type Carry = DistillCarry;
    const ENCODER_PREFIX: &'static str = "backbone.";

    fn views(config: &DinoConfig, views: &ViewConfig) -> ViewPlan {
        config.crops.plan(views)
    }

    fn init(
        config: &DinoConfig,
        encoder: &VitConfig,
        _: usize,
        device: &Device,
        seed: Seed,
    ) -> Result<Self, String> {
        Ok(Self { inner: Distill::init(config.distill(), encoder, device, seed)? })
    }

    fn start_from(self, from: &Vit) -> Result<(Self, Vec<String>), String> {
        let (inner, fresh) = self.inner.start_from(from)?;
        Ok((Self { inner }, fresh))
    }

    fn sample_cost(&self) -> SampleCost {
        self.inner.sample_cost()
    }

    fn rates(&self, train: &TrainConfig, at: Progress) -> Rates {
        self.inner.rates(train, at)
    }

    fn student(&self) -> &Projected {
        &self.inner.student
    }

    fn map_student(self, change: impl FnOnce(Projected) -> Projected) -> Self {
        Self { inner: self.inner.map_student(change) }
    }

    fn loss(&self, batch: &Batch, step: &mut Step) -> StepOut<DistillCarry> {
        let taught = self.inner.taught(self.inner.globals(batch));
        self.inner.loss(batch, &taught, None, &mut step.draws, step.progress)
    }

    fn on_grads(&self, grads: &mut Grads, at: Progress) {
        self.inner.on_grads(grads, at);
    }

    fn readings(&self, batch: &Batch, carry: &DistillCarry, at: Progress) -> Vec<(&'static str, f64)> {
        self.inner.readings(batch, carry, at)
    }

    fn after_step(self, carry: DistillCarry, at: Progress) -> Self {
        Self { inner: self.inner.after_step(carry, at) }
    }

    fn export(&self) -> Backbone {
        self.inner.export()
    }

    fn state(&self) -> Vec<NamedParam> {
        self.inner.state()
    }

    fn with_state(self, read: Read) -> Result<Self, WeightsError> {
        Ok(Self { inner: self.inner.with_state(read)? })
    }
}
