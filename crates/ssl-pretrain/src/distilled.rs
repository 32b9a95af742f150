//! The objective that DINO, iBOT and AttMask are instances of: they differ in what is hidden from the student, and in
//! whether patches have targets.

use crate::self_distill::{Distill, DistillCarry, DistillConfig, Projected};
use crate::target::Centering;
use burn::tensor::Device;
use report::{Info, Recipe};
use vit_core::weights::{NamedParam, Read, WeightsError};
use vit_core::{Backbone, Tokens, Vit, VitConfig};
use vit_data::{Seed, ViewPlan};
use vit_train::{
    Batch, Grads, Objective, Preview, Progress, Rates, SampleCost, Step, StepOut, TrainConfig, ViewConfig,
};

/// What tells one kind of self-distillation from another.
pub trait Scheme: Recipe + Clone + Send {
    /// Name, one line, source.
    const INFO: Info;
    /// How student and teacher are made and trained.
    fn distill(&self) -> DistillConfig;
    /// What the teacher says of the large views, and what is hidden of them from the student, `[G·B·N]`.
    fn teach(&self, inner: &Distill, batch: &Batch, step: &Step) -> (Tokens, Option<Vec<bool>>);
    /// Pictures of what is hidden, where anything is.
    fn preview(&self, _inner: &Distill, _batch: &Batch, _seed: Seed) -> Option<Preview> {
        None
    }
}

/// Self-distillation by a scheme.
#[derive(Clone)]
pub struct Distilled<S> {
    pub(crate) scheme: S,
    pub(crate) inner: Distill,
}

impl<S: Scheme> Objective for Distilled<S> {
    const INFO: Info = S::INFO;
    type Config = S;
    type Student = Projected;
    type Carry = DistillCarry;
    const ENCODER_PREFIX: &'static str = "backbone.";

    fn views(scheme: &S, views: &ViewConfig) -> ViewPlan {
        scheme.distill().crops.plan(views)
    }

    fn init(scheme: &S, encoder: &VitConfig, _: usize, device: &Device, seed: Seed) -> Result<Self, String> {
        let inner = Distill::init(scheme.distill(), encoder, device, seed)?;
        Ok(Self { scheme: scheme.clone(), inner })
    }

    fn start_from(self, from: &Vit) -> Result<(Self, Vec<String>), String> {
        let (inner, fresh) = self.inner.start_from(from)?;
        Ok((Self { inner, ..self }, fresh))
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
        Self { inner: self.inner.map_student(change), ..self }
    }

    /// Unless targets are balanced over the batch. Centers are those of the steps before.
    fn is_separable(&self) -> bool {
        matches!(self.inner.config.teacher.centering, Centering::Mean { .. })
    }

    fn loss(&self, batch: &Batch, step: &mut Step) -> StepOut<DistillCarry> {
        let (taught, mask) = self.scheme.teach(&self.inner, batch, step);
        self.inner.loss(batch, &taught, mask, &mut step.draws, step.progress)
    }

    fn on_grads(&self, grads: &mut Grads, at: Progress) {
        self.inner.on_grads(grads, at);
    }

    fn readings(&self, batch: &Batch, carry: &DistillCarry, at: Progress) -> Vec<(&'static str, f64)> {
        self.inner.readings(batch, carry, at)
    }

    fn after_step(self, carry: DistillCarry, at: Progress) -> Self {
        Self { inner: self.inner.after_step(carry, at), ..self }
    }

    fn export(&self) -> Backbone {
        self.inner.export()
    }

    fn state(&self) -> Vec<NamedParam> {
        self.inner.state()
    }

    fn with_state(self, read: Read) -> Result<Self, WeightsError> {
        Ok(Self { inner: self.inner.with_state(read)?, ..self })
    }

    fn preview(&self, scheme: &S, batch: &Batch, seed: Seed) -> Option<Preview> {
        scheme.preview(&self.inner, batch, seed)
    }
}
