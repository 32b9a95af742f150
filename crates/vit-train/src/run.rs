//! The loop: views → tokens → named terms → gradients → optimizer → after the step → a line in the log.

use crate::alarm::alarms_of;
use crate::checkpoint;
use crate::log::Log;
use crate::monitor::is_due;
use crate::recipe::Clip;
use crate::schedule::{layer_decay, layer_id};
use crate::{
    AdamW, Alarms, Grads, LearnAt, Merge, Monitor, Objective, PretrainRecipe, Progress, Rates, TrainError,
    latest_checkpoint, learn, upload,
};
use burn::tensor::Device;
use std::path::Path;
use std::sync::Arc;
use vit_core::Backbone;
use vit_data::{DataError, Dataset, HostBatch, Loader, LoaderOptions, Order, Seed, ViewPlan};

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Save and stop.
    Stop,
}

/// What is told of every step.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Where training is; the step just done.
    pub progress: Progress,
    /// The loss, the sum of its terms.
    pub loss: f64,
    /// The named terms.
    pub terms: Vec<(&'static str, f64)>,
    /// The learning rate used.
    pub lr: f64,
    /// The weight decay used, of parameters that have any.
    pub weight_decay: f64,
    /// The health of training and the scores of the encoder, by name; empty at steps that were not looked at.
    pub readings: Vec<(&'static str, f64)>,
    /// What is wrong with it, in sentences; a function of this report alone.
    pub alarms: Vec<String>,
    /// Norm of the gradients before clipping, where they are clipped by one norm.
    pub grad_norm: Option<f64>,
}

/// Somebody who watches the loop, and may stop it.
pub trait Watch {
    /// Called after every step.
    fn step(&mut self, report: &StepReport) -> Flow;
    /// Called with a sentence that the user should read.
    fn note(&mut self, _sentence: &str) {}
    /// Who scores the encoder while it is trained, where somebody does.
    fn monitor(&self) -> Option<&dyn Monitor> {
        None
    }
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWatch;

impl Watch for NoWatch {
    fn step(&mut self, _: &StepReport) -> Flow {
        Flow::Continue
    }
}

/// What the loop needs beside the objective.
pub(crate) struct Setting<'a> {
    pub recipe: &'a PretrainRecipe,
    /// The recipe with every default filled in, as it is saved.
    pub resolved: String,
    pub plan: ViewPlan,
    pub data: Arc<dyn Dataset>,
    /// The samples used, where not all.
    pub indices: Option<Arc<Vec<usize>>>,
    /// With autodiff: where the objective lives.
    pub device: &'a Device,
    /// The same without: where the optimizer's moments live.
    pub plain_device: &'a Device,
    pub run_dir: Option<&'a Path>,
    pub resume: bool,
    pub n_threads: usize,
    /// Seconds since 1970, for the event file.
    pub clock: fn() -> f64,
}

impl Setting<'_> {
    /// Samples used.
    pub(crate) fn n_samples(&self) -> usize {
        self.indices.as_ref().map_or(self.data.len(), |indices| indices.len())
    }

    /// Steps of one pass over the data and of the whole run.
    ///
    /// # Errors
    /// When the data does not fill one step.
    pub(crate) fn n_steps(&self) -> Result<(usize, usize), TrainError> {
        let config = &self.recipe.train;
        let steps_per_epoch = self.n_samples() / config.samples_per_step();
        if steps_per_epoch == 0 {
            let data = self.data.name();
            let batch = config.samples_per_step();
            return Err(TrainError::TooFew { batch, found: self.n_samples(), data });
        }
        let n_steps = ((config.epochs * steps_per_epoch as f64).round() as usize).max(1);
        Ok((steps_per_epoch, n_steps))
    }
}

/// Trains to the end of the recipe.
pub(crate) fn train<O: Objective>(
    mut objective: O,
    setting: &Setting,
    watch: &mut dyn Watch,
) -> Result<O, TrainError> {
    let config = &setting.recipe.train;
    let (steps_per_epoch, n_steps) = setting.n_steps()?;
    let mut optimizer = AdamW::new(config.beta1, config.beta2, config.eps);
    let mut step = 0;
    if let Some(dir) = setting.run_dir.filter(|_| setting.resume) {
        let (latest, damaged) = checkpoint::newest(dir)?;
        for error in damaged {
            watch.note(&format!("passed over: {error}"));
        }
        if let Some(folder) = latest {
            (objective, step) = checkpoint::load(
                &folder,
                objective,
                &mut optimizer,
                &setting.resolved,
                setting.plain_device,
            )?;
        }
    }
    let mut log = match setting.run_dir {
        Some(dir) => Some(Log::open(dir, step, setting.clock)?),
        None => None,
    };
    let save = |objective: &O, optimizer: &AdamW, step: usize| -> Result<(), TrainError> {
        let Some(dir) = setting.run_dir else { return Ok(()) };
        let at = (step, setting.resolved.as_str());
        checkpoint::save(dir, objective, optimizer, at, config.keep_checkpoints).map(|_| ())
    };
    let depth = objective.export().depth();
    let mut alarms = Alarms::default();
    let scored_every = watch.monitor().and_then(|monitor| {
        config
            .monitor
            .every(n_steps, cost_of_scores(&objective, monitor.n_images(), config.samples_per_step()))
    });
    while step < n_steps {
        let epoch = (step / steps_per_epoch) as u64;
        let mut batches = batches_of(setting, epoch, step % steps_per_epoch);
        let last = n_steps.min((epoch as usize + 1) * steps_per_epoch);
        while step < last {
            let progress = Progress { step, n_steps, steps_per_epoch };
            let batches = batches.by_ref().take(config.accumulate);
            let mut report;
            (objective, report) = one_step(objective, &mut optimizer, batches, progress, (setting, depth))?;
            step += 1;
            if let Some(monitor) = watch.monitor().filter(|_| is_due(scored_every, progress)) {
                report.readings.extend(monitor.scores(&objective.export())?);
            }
            let is_logged =
                progress.step.is_multiple_of(config.log_every_steps) || !report.readings.is_empty();
            if let Some(log) = log.as_mut().filter(|_| is_logged) {
                log.line(&report)?;
            }
            for sentence in alarms.new_in(&report) {
                watch.note(&sentence);
            }
            let stop = watch.step(&report) == Flow::Stop;
            if stop || step.is_multiple_of(config.checkpoint_every_steps) || step == n_steps {
                save(&objective, &optimizer, step)?;
            }
            if stop && step < n_steps {
                let path = setting.run_dir.map(|dir| checkpoint::folder(dir, step)).unwrap_or_default();
                return Err(TrainError::Interrupted { step, path });
            }
        }
    }
    Ok(objective)
}

/// What scoring the encoder on some images costs, in steps of training: forward passes of the encoder alone, over
/// forward and backward passes of all that a step does, backward counted as two forwards.
fn cost_of_scores<O: Objective>(objective: &O, n_images: usize, samples_per_step: usize) -> f64 {
    let trained = objective.sample_cost().forward_macs as f64;
    let scored = match objective.export() {
        Backbone::Vit(vit) => vit.config.macs(vit.config.grid().n_patches()) as f64,
        Backbone::Conv(_) => trained,
    };
    n_images as f64 * scored / (3.0 * samples_per_step as f64 * trained)
}

/// The batches of an epoch from one of its steps on; what does not fill a step is left out.
fn batches_of(setting: &Setting, epoch: u64, first_step: usize) -> Loader {
    let config = &setting.recipe.train;
    let options = LoaderOptions {
        batch: config.batch,
        threads: setting.n_threads,
        seed: Seed(setting.recipe.seed),
        epoch,
        start_batch: first_step * config.accumulate,
        drop_last: true,
        ..LoaderOptions::default()
    };
    let order = match &setting.indices {
        Some(indices) => Order::ShuffledIndices(Arc::clone(indices)),
        None => Order::Shuffled,
    };
    Loader::new(Arc::clone(&setting.data), order, setting.plan.clone(), options)
}

/// One step of the optimizer: the mean of the losses and gradients of its micro-batches.
fn one_step<O: Objective>(
    objective: O,
    optimizer: &mut AdamW,
    batches: impl Iterator<Item = Result<HostBatch, DataError>>,
    progress: Progress,
    (setting, depth): (&Setting, usize),
) -> Result<(O, StepReport), TrainError> {
    let config = &setting.recipe.train;
    let seed = Seed(setting.recipe.seed);
    let mut sum: Option<(Grads, O::Carry)> = None;
    let mut terms: Vec<(&'static str, f64)> = Vec::new();
    let mut readings = Vec::new();
    let is_watched = progress.step.is_multiple_of(config.watch_every_steps);
    let share = 1.0 / config.accumulate as f64;
    for (micro, host) in batches.enumerate() {
        let host = host?;
        let epoch = progress.epoch() as u64;
        let draws = (progress.step * config.accumulate + micro) as u64;
        let learned = learn(&objective, &host, setting.device, &LearnAt { progress, seed, epoch, draws });
        all_finite(&learned.terms, progress.step, setting)?;
        match terms.is_empty() {
            true => terms = learned.terms.into_iter().map(|(name, value)| (name, value * share)).collect(),
            false => terms.iter_mut().zip(learned.terms).for_each(|(sum, (_, value))| sum.1 += value * share),
        }
        if is_watched && micro == 0 {
            readings = objective.readings(&upload(host, epoch, setting.device), &learned.carry, progress);
        }
        sum = Some(match sum {
            Some((sum, carry)) => (sum.plus(learned.grads), carry.merge(learned.carry)),
            None => (learned.grads, learned.carry),
        });
    }
    let Some((grads, carry)) = sum else { panic!("the loader ended before the epoch") };
    let grads = if config.accumulate > 1 { grads.times(share) } else { grads };
    let (mut grads, grad_norm) = match config.clip {
        Clip::None => (grads, None),
        Clip::Global { max_norm } => {
            let (grads, norm) = grads.clip_global(max_norm);
            (grads, Some(norm))
        }
        Clip::PerTensor { max_norm } => (grads.clip_each(max_norm), None),
    };
    objective.on_grads(&mut grads, progress);
    let Rates { lr, weight_decay } = objective.rates(config, progress);
    let rates = |name: &str, shape: &[usize]| Rates {
        lr: lr * layer_decay(layer_id(name, O::ENCODER_PREFIX, depth), depth, config.layer_decay),
        weight_decay: if O::decays(name, shape) { weight_decay } else { 0.0 },
    };
    let objective = objective.map_student(|student| optimizer.step(student, grads, &rates));
    let objective = objective.after_step(carry, progress);
    let loss = terms.iter().map(|(_, value)| value).sum();
    let alarms = alarms_of(&readings, progress.step);
    Ok((objective, StepReport { progress, loss, terms, lr, weight_decay, readings, alarms, grad_norm }))
}

/// Whether every term is a number.
fn all_finite(terms: &[(&'static str, f64)], step: usize, setting: &Setting) -> Result<(), TrainError> {
    let Some(&(term, found)) = terms.iter().find(|(_, found)| !found.is_finite()) else { return Ok(()) };
    let last = match setting.run_dir.and_then(latest_checkpoint) {
        Some(path) => format!("last good checkpoint: {}", path.display()),
        None => "no checkpoint was saved yet".into(),
    };
    Err(TrainError::NotFinite { step, term: term.into(), found, last })
}
