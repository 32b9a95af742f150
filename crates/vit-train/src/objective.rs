//! What an objective is: the seam between the loop and everything that trains a Vision Transformer.

use crate::schedule::warmup_cosine;
use crate::{Grads, Rates, TrainConfig, ViewConfig};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use report::{Info, Recipe};
use serde::{Deserialize, Serialize};
use vit_core::weights::{NamedParam, Read, WeightsError};
use vit_core::{Backbone, Stream, Vit, VitConfig};
use vit_data::{HostBatch, Seed, ViewPlan};

/// Where training is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The step, counted from 0.
    pub step: usize,
    /// Steps of the whole run.
    pub n_steps: usize,
    /// Steps of one pass over the data.
    pub steps_per_epoch: usize,
}

impl Progress {
    /// The epoch, counted from 0.
    pub fn epoch(self) -> usize {
        self.step / self.steps_per_epoch.max(1)
    }

    /// The position in epochs, with its fraction.
    pub fn epochs(self) -> f64 {
        self.step as f64 / self.steps_per_epoch.max(1) as f64
    }
}

/// A batch on the device.
#[derive(Clone, Debug)]
pub struct Batch {
    /// One tensor `[B, 3, H, W]` per view, normalized.
    pub views: Vec<Tensor<4>>,
    /// The same on the host, with boxes, labels and indices.
    pub host: HostBatch,
    /// The epoch the draws belong to.
    pub epoch: u64,
}

/// What a step may draw from.
pub struct Step {
    /// Where training is.
    pub progress: Progress,
    /// The run's seed; open named streams with the epoch and the sample.
    pub seed: Seed,
    /// The stream of this step, for drop path.
    pub draws: Stream,
}

/// One named part of the loss.
#[derive(Clone, Debug)]
pub struct Term {
    /// Its name in the log.
    pub name: &'static str,
    /// Its value, `[1]`, weighted as it enters the sum.
    pub value: Tensor<1>,
}

/// What a step gives: the terms, whose sum is the loss, and what is carried to [`Objective::after_step`].
pub struct StepOut<C> {
    /// The named terms.
    pub terms: Vec<Term>,
    /// What the update after the optimizer needs.
    pub carry: C,
}

/// What parts of a batch and micro-batches of one step carry to the update after it, joined.
pub trait Merge: Send {
    /// This and what a later part or micro-batch of the same step carries.
    #[must_use]
    fn merge(self, later: Self) -> Self;
}

impl Merge for () {
    fn merge(self, (): ()) {}
}

/// What a training sample costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleCost {
    /// Multiply–accumulate operations of the forward pass, matrix products and attention.
    pub forward_macs: u64,
    /// Tokens that enter the encoder's blocks.
    pub n_tokens: usize,
}

/// A small picture for the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tile {
    /// Width in pixels.
    pub width_px: usize,
    /// Height in pixels.
    pub height_px: usize,
    /// `[height, width, 3]`
    pub rgb: Vec<u8>,
    /// What it shows.
    pub caption: String,
}

/// Pictures of what an objective does, row by row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// What the figure shows.
    pub title: String,
    /// How to read it.
    pub caption: String,
    /// What each column shows.
    pub columns: Vec<String>,
    /// Row by row.
    pub tiles: Vec<Tile>,
}

/// A way to train an encoder. One file and one registry line each, in `ssl-pretrain`.
pub trait Objective: Sized + Clone + Send {
    /// Name, one line, source.
    const INFO: Info;
    /// Whether every training sample must have a class.
    const NEEDS_LABELS: bool = false;
    /// Its own options, the `[options]` of a recipe.
    type Config: Recipe + Clone;
    /// All that the optimizer sees.
    type Student: Module;
    /// What a step hands to the update after it.
    type Carry: Merge;
    /// What stands before the encoder's names among the student's; layer-wise decay counts blocks by it.
    const ENCODER_PREFIX: &'static str = "";

    /// The views it wants, from the recipe's view settings.
    fn views(config: &Self::Config, views: &ViewConfig) -> ViewPlan;
    /// A fresh start around an encoder of these sizes; `n_classes` of the data.
    ///
    /// # Errors
    /// One sentence when the encoder or the data does not fit.
    fn init(
        config: &Self::Config,
        encoder: &VitConfig,
        n_classes: usize,
        device: &Device,
        seed: Seed,
    ) -> Result<Self, String>;
    /// Starts the encoder from weights; gives the names of the encoder's parameters that stay fresh.
    ///
    /// # Errors
    /// One sentence when they do not fit, or when the objective always starts afresh.
    fn start_from(self, _from: &Vit) -> Result<(Self, Vec<String>), String> {
        Err(format!("expected an objective that can start from weights; found `{}`", Self::INFO.name))
    }
    /// What a sample costs in training, forward.
    fn sample_cost(&self) -> SampleCost;
    /// Whether weight decay applies to a student parameter, by name and shape.
    fn decays(name: &str, shape: &[usize]) -> bool {
        shape.len() > 1 && !name.ends_with(".bias")
    }
    /// Learning rate and weight decay at a step, before what a parameter's layer and kind make of them; MAE's warm-up,
    /// half cosine and constant weight decay where an objective has no schedules of its own.
    fn rates(&self, train: &TrainConfig, at: Progress) -> Rates {
        let n_epochs = at.n_steps as f64 / at.steps_per_epoch.max(1) as f64;
        let lr = warmup_cosine(at.epochs(), train.warmup_epochs, n_epochs, train.peak_lr(), train.min_lr);
        Rates { lr, weight_decay: train.weight_decay }
    }
    /// The student.
    fn student(&self) -> &Self::Student;
    /// The student through a function: how the optimizer changes it.
    #[must_use]
    fn map_student(self, change: impl FnOnce(Self::Student) -> Self::Student) -> Self;
    /// Whether every term of a batch's loss is the mean over its samples of what each of them gives alone, by whatever the objective
    /// keeps: then parts of a batch are worked on side by side, and their carries joined. Not so where samples meet: mixed images,
    /// balanced targets, statistics of the batch.
    fn is_separable(&self) -> bool {
        false
    }
    /// The loss of a batch, in named terms.
    fn loss(&self, batch: &Batch, step: &mut Step) -> StepOut<Self::Carry>;
    /// Sees the gradients of a step, summed and clipped, before the optimizer does: a parameter whose gradient is
    /// removed stays as it is.
    fn on_grads(&self, _grads: &mut Grads, _at: Progress) {}
    /// What tells whether training is in good health, by name; asked every so many steps, with the batch and the carry
    /// of its loss at hand. What [`crate::Alarms`] knows by name can raise an alarm.
    fn readings(&self, _batch: &Batch, _carry: &Self::Carry, _at: Progress) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
    /// After the optimizer: teacher, centers, queues.
    #[must_use]
    fn after_step(self, _carry: Self::Carry, _at: Progress) -> Self {
        self
    }
    /// The encoder that is probed and saved.
    fn export(&self) -> Backbone;
    /// Everything that a resumed run needs beside the optimizer: the student and whatever else it keeps.
    fn state(&self) -> Vec<NamedParam> {
        vit_core::weights::params(self.student())
    }
    /// Takes back what [`Objective::state`] gave.
    ///
    /// # Errors
    /// Whatever `read` returns.
    fn with_state(self, read: Read) -> Result<Self, WeightsError> {
        let mut failed = None;
        let this = self.map_student(|student| match vit_core::weights::assign(student.clone(), read) {
            Ok(loaded) => loaded,
            Err(error) => {
                failed = Some(error);
                student
            }
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(this),
        }
    }
    /// Predicted classes of a batch, where the objective learns classes.
    fn predict(&self, _batch: &Batch) -> Option<Vec<u32>> {
        None
    }
    /// Pictures of what it does on a batch, where there is something to see.
    fn preview(&self, _config: &Self::Config, _batch: &Batch, _seed: Seed) -> Option<Preview> {
        None
    }
}
