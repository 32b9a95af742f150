//! The loop: views → tokens → named terms → gradients → optimizer → after the step → a line in the log.

use crate::checkpoint::{self, Checkpoint};
use crate::log::Log;
use crate::schedule::warmup_cosine;
use crate::{AdamW, Batch, Objective, PretrainRecipe, Progress, Rates, Step, TrainError, latest_checkpoint};
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;
use vit_data::{Dataset, HostBatch, Loader, LoaderOptions, Order, Seed, ViewPlan};

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
}

/// Somebody who watches the loop, and may stop it.
pub trait Watch {
    /// Called after every step.
    fn step(&mut self, report: &StepReport) -> Flow;
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
}

/// A host batch on the device.
pub(crate) fn upload(host: HostBatch, epoch: u64, device: &Device) -> Batch {
    let views = host
        .views
        .iter()
        .map(|view| Tensor::from_data(TensorData::new(view.pixels.clone(), view.shape), device))
        .collect();
    Batch { views, host, epoch }
}

/// Trains to the end of the recipe.
pub(crate) fn train<O: Objective>(
    mut objective: O,
    setting: &Setting,
    watch: &mut dyn Watch,
) -> Result<O, TrainError> {
    let config = &setting.recipe.train;
    let n_samples = setting.indices.as_ref().map_or(setting.data.len(), |indices| indices.len());
    let steps_per_epoch = n_samples / config.batch;
    if steps_per_epoch == 0 {
        let data = setting.data.name();
        return Err(TrainError::TooFew { batch: config.batch, found: n_samples, data });
    }
    let n_steps = ((config.epochs * steps_per_epoch as f64).round() as usize).max(1);
    let mut optimizer = AdamW::new(config.beta1, config.beta2, config.eps);
    let mut step = 0;
    let latest = setting.run_dir.filter(|_| setting.resume).and_then(latest_checkpoint);
    if let Some(folder) = latest {
        (objective, step) =
            checkpoint::load(&folder, objective, &mut optimizer, &setting.resolved, setting.plain_device)?;
    }
    let mut log = match setting.run_dir {
        Some(dir) => Some(Log::open(&dir.join("metrics.jsonl"), step)?),
        None => None,
    };
    let save = |objective: &O, optimizer: &AdamW, step: usize| -> Result<(), TrainError> {
        let Some(dir) = setting.run_dir else { return Ok(()) };
        let checkpoint = Checkpoint { step, recipe: setting.resolved.clone() };
        checkpoint::save(dir, objective, optimizer, &checkpoint, config.keep_checkpoints).map(|_| ())
    };
    let seed = Seed(setting.recipe.seed);
    while step < n_steps {
        let epoch = (step / steps_per_epoch) as u64;
        let options = LoaderOptions {
            batch: config.batch,
            threads: setting.n_threads,
            seed,
            epoch,
            start_batch: step % steps_per_epoch,
            drop_last: true,
            ..LoaderOptions::default()
        };
        let order = match &setting.indices {
            Some(indices) => Order::ShuffledIndices(Arc::clone(indices)),
            None => Order::Shuffled,
        };
        for host in Loader::new(Arc::clone(&setting.data), order, setting.plan.clone(), options) {
            if step == n_steps {
                break;
            }
            let progress = Progress { step, n_steps, steps_per_epoch };
            let report;
            (objective, report) =
                one_step(objective, &mut optimizer, upload(host?, epoch, setting.device), progress, setting)?;
            step += 1;
            if let Some(log) = log.as_mut().filter(|_| progress.step.is_multiple_of(config.log_every_steps)) {
                log.line(log_line(&report))?;
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

fn one_step<O: Objective>(
    objective: O,
    optimizer: &mut AdamW,
    batch: Batch,
    progress: Progress,
    setting: &Setting,
) -> Result<(O, StepReport), TrainError> {
    let config = &setting.recipe.train;
    let seed = Seed(setting.recipe.seed);
    let mut step = Step { progress, seed, draws: seed.stream("step", &[progress.step as u64]) };
    let out = objective.loss(&batch, &mut step);
    let terms: Vec<(&'static str, f64)> = out
        .terms
        .iter()
        .map(|term| (term.name, f64::from(term.value.clone().into_scalar::<f32>())))
        .collect();
    if let Some(&(term, found)) = terms.iter().find(|(_, value)| !value.is_finite()) {
        let last = match setting.run_dir.and_then(latest_checkpoint) {
            Some(path) => format!("last good checkpoint: {}", path.display()),
            None => "no checkpoint was saved yet".into(),
        };
        return Err(TrainError::NotFinite { step: progress.step, term: term.into(), found, last });
    }
    let total = out.terms.into_iter().map(|term| term.value).reduce(|sum, term| sum + term);
    let Some(total) = total else { panic!("objective `{}` gave no loss term", O::INFO.name) };
    let grads = total.backward();
    let lr = warmup_cosine(
        progress.epochs(),
        config.warmup_epochs,
        progress.n_steps as f64 / progress.steps_per_epoch as f64,
        config.base_lr * config.batch as f64 / 256.0,
        config.min_lr,
    );
    let rates = |name: &str, shape: &[usize]| Rates {
        lr,
        weight_decay: if O::decays(name, shape) { config.weight_decay } else { 0.0 },
    };
    drop(batch);
    let objective = objective.map_student(|student| optimizer.step(student, grads, &rates));
    let objective = objective.after_step(out.carry, progress);
    let loss = terms.iter().map(|(_, value)| value).sum();
    Ok((objective, StepReport { progress, loss, terms, lr }))
}

fn log_line(report: &StepReport) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("step".into(), report.progress.step.into());
    line.insert("epoch".into(), report.progress.epochs().into());
    line.insert("loss".into(), report.loss.into());
    for &(name, value) in &report.terms {
        line.insert(format!("loss_{name}"), value.into());
    }
    line.insert("lr".into(), report.lr.into());
    line
}
