//! How an objective is run by name: parsed, checked, trained, exported.

use crate::checkpoint;
use crate::recipe::refused;
use crate::run::{Setting, train};
use crate::{Objective, PretrainRecipe, Preview, SampleCost, TrainError, Watch, upload};
use burn::tensor::Device;
use report::store::write_file;
use report::{Info, Recipe, RecipeError, recipe};
use std::path::Path;
use std::sync::Arc;
use vit_core::weights::WeightsError;
use vit_core::{Backbone, Vit, arch, weights};
use vit_data::{Dataset, HostBatch, Loader, LoaderOptions, Order, Seed, ViewPlan};

/// Reads a tensor of an objective's state by its name and shape there.
pub type ReadState<'a> = &'a dyn Fn(&str, &[usize]) -> Result<Vec<f32>, WeightsError>;

/// What a run starts from, where not from random weights alone.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// The encoder; everything else is fresh.
    Encoder(&'a Vit),
    /// The encoder as it is, its own architecture in the place of the recipe's; everything else is fresh.
    Model(&'a Vit),
    /// Everything that the objective keeps.
    Everything(ReadState<'a>),
}

/// What a run is asked to do.
pub struct Request<'a> {
    /// The recipe, parsed and checked.
    pub recipe: &'a PretrainRecipe,
    /// The training data.
    pub data: Arc<dyn Dataset>,
    /// The samples used, where not all.
    pub indices: Option<Arc<Vec<usize>>>,
    /// Held-out data, for accuracy and previews; only looked at when training is over.
    pub held_out: Option<Arc<dyn Dataset>>,
    /// Pictures wanted in the preview.
    pub n_previews: usize,
    /// A device without autodiff.
    pub device: Device,
    /// Where logs, checkpoints and weights go; nothing is written without.
    pub run_dir: Option<&'a Path>,
    /// Whether to go on from the newest checkpoint in `run_dir`.
    pub resume: bool,
    /// Threads that decode.
    pub n_threads: usize,
    /// What training starts from; random weights where there is nothing.
    pub init_from: Option<Start<'a>>,
    /// Seconds since 1970, for the times in TensorBoard's event file; nothing else depends on it.
    pub clock: fn() -> f64,
}

/// What a run will be, known before it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPlan {
    /// Parameters of encoder and heads.
    pub n_params: usize,
    /// Of these, those that are trained.
    pub n_trained: usize,
    /// What one sample costs, forward.
    pub sample: SampleCost,
    /// Samples used of the data.
    pub n_samples: usize,
    /// Samples in one step of the optimizer.
    pub samples_per_step: usize,
    /// Steps of one pass over the data.
    pub steps_per_epoch: usize,
    /// Steps of the whole run.
    pub n_steps: usize,
    /// Bytes of one checkpoint.
    pub checkpoint_bytes: u64,
    /// Parameters of the encoder that do not start from the given weights.
    pub fresh: Vec<String>,
}

/// What a run gives.
pub struct Outcome {
    /// The encoder.
    pub backbone: Backbone,
    /// Share of held-out samples whose class was predicted, where the objective predicts classes.
    pub held_out_top1: Option<f64>,
    /// Pictures of what the objective does.
    pub preview: Option<Preview>,
}

/// One row of the registry of objectives.
pub struct Method {
    /// Name, one line, source.
    pub info: Info,
    /// Whether it learns from classes, and predicts them.
    pub needs_labels: bool,
    /// Parses the options of a recipe and fills in every default.
    pub resolve: fn(&PretrainRecipe) -> Result<PretrainRecipe, RecipeError>,
    /// The views that a recipe cuts from every sample.
    pub views: fn(&PretrainRecipe) -> Result<ViewPlan, RecipeError>,
    /// What a run will be: everything is made ready for it, and nothing written.
    pub plan: fn(&Request) -> Result<RunPlan, TrainError>,
    /// Trains.
    pub run: fn(&Request, &mut dyn Watch) -> Result<Outcome, TrainError>,
}

/// The row of an objective.
pub const fn method<O: Objective>() -> Method {
    Method {
        info: O::INFO,
        needs_labels: O::NEEDS_LABELS,
        resolve: resolve::<O>,
        views: views::<O>,
        plan: plan::<O>,
        run: run::<O>,
    }
}

fn options<O: Objective>(recipe: &PretrainRecipe) -> Result<O::Config, RecipeError> {
    recipe::from_table(recipe.options.clone(), "options")
}

fn resolve<O: Objective>(recipe: &PretrainRecipe) -> Result<PretrainRecipe, RecipeError> {
    recipe.check()?;
    let config = options::<O>(recipe)?;
    let text = recipe::resolved(&config);
    Ok(PretrainRecipe { options: recipe::parse_table(&text, "options")?, ..recipe.clone() })
}

fn views<O: Objective>(recipe: &PretrainRecipe) -> Result<ViewPlan, RecipeError> {
    recipe.check()?;
    let plan = O::views(&options::<O>(recipe)?, &recipe.views);
    plan.check().map_err(refused)?;
    Ok(plan)
}

/// Everything but the objective itself that a run is made of.
struct Prepared<C> {
    config: C,
    recipe: PretrainRecipe,
    /// With autodiff.
    device: Device,
    /// Parameters of the encoder that did not start from given weights.
    fresh: Vec<String>,
}

impl<C> Prepared<C> {
    fn setting<'a, O: Objective<Config = C>>(&'a self, request: &'a Request) -> Setting<'a> {
        Setting {
            recipe: &self.recipe,
            resolved: recipe::resolved(&self.recipe),
            plan: O::views(&self.config, &self.recipe.views),
            data: Arc::clone(&request.data),
            indices: request.indices.clone(),
            device: &self.device,
            plain_device: &request.device,
            run_dir: request.run_dir,
            resume: request.resume,
            n_threads: request.n_threads,
            clock: request.clock,
        }
    }
}

/// Checks the recipe against encoder and data, and initializes the objective.
fn prepare<O: Objective>(request: &Request) -> Result<(O, Prepared<O::Config>), TrainError> {
    let recipe = resolve::<O>(request.recipe)?;
    let config = options::<O>(&recipe)?;
    O::views(&config, &recipe.views).check().map_err(refused)?;
    let mut encoder = match request.init_from {
        Some(Start::Model(from)) => from.config.clone(),
        _ => {
            arch(&recipe.model).map_err(|problem| RecipeError::value("model", "an architecture", problem))?
        }
    };
    encoder.image_px = recipe.views.size_px;
    encoder.drop_path = recipe.drop_path;
    encoder.check().map_err(|problem| RecipeError::value("model", "sizes that fit", problem))?;
    if O::NEEDS_LABELS && !request.data.offers().labels {
        let data = request.data.name();
        return Err(TrainError::Needs { objective: O::INFO.name, needs: "a class for every sample", data });
    }
    let seed = Seed(recipe.seed);
    let device = request.device.clone().autodiff();
    let mut objective = O::init(&config, &encoder, request.data.classes().len(), &device, seed)
        .map_err(|problem| RecipeError::value("model", "an encoder that the objective can train", problem))?;
    let mut fresh = Vec::new();
    match request.init_from {
        Some(Start::Encoder(from) | Start::Model(from)) => {
            (objective, fresh) = objective.start_from(from).map_err(|problem| {
                RecipeError::value("init_from", "weights of the recipe's model", problem)
            })?;
        }
        Some(Start::Everything(read)) => {
            objective = objective.with_state(&mut |name, shape| read(name, shape))?;
        }
        None => {}
    }
    Ok((objective, Prepared { config, recipe, device, fresh }))
}

fn plan<O: Objective>(request: &Request) -> Result<RunPlan, TrainError> {
    let (objective, prepared) = prepare::<O>(request)?;
    let setting = prepared.setting::<O>(request);
    let (steps_per_epoch, n_steps) = setting.n_steps()?;
    let size = |param: &weights::NamedParam| param.shape.iter().product::<usize>();
    let params = weights::names(objective.student());
    let n_trained = params.iter().filter(|param| param.trainable).map(size).sum();
    // Every trained parameter has a count of its steps.
    let n_counts = params.iter().filter(|param| param.trainable).count();
    let n_saved: usize = objective.state().iter().map(size).sum();
    Ok(RunPlan {
        n_params: params.iter().map(size).sum(),
        n_trained,
        sample: objective.sample_cost(),
        n_samples: setting.n_samples(),
        samples_per_step: prepared.recipe.train.samples_per_step(),
        steps_per_epoch,
        n_steps,
        checkpoint_bytes: 4 * (n_saved + 2 * n_trained + n_counts) as u64,
        fresh: prepared.fresh,
    })
}

fn run<O: Objective>(request: &Request, watch: &mut dyn Watch) -> Result<Outcome, TrainError> {
    let (objective, prepared) = prepare::<O>(request)?;
    let setting = prepared.setting::<O>(request);
    if let Some(dir) = request.run_dir {
        let path = dir.join("recipe.toml");
        if request.resume && path.exists() {
            checkpoint::same_recipe(&path, &setting.resolved)?;
        } else {
            write_file(&path, setting.resolved.as_bytes())?;
        }
    }
    if !prepared.fresh.is_empty() {
        watch.note(&format!("not in the given weights, so fresh: {}", prepared.fresh.join(", ")));
    }
    let objective = train(objective, &setting, watch)?;
    let backbone = objective.export();
    if let Some(dir) = request.run_dir {
        weights::save(&backbone, &dir.join("backbone.safetensors"))?;
    }
    let (held_out_top1, preview) = look_at_held_out(&objective, &prepared.config, request, &prepared.recipe)?;
    Ok(Outcome { backbone, held_out_top1, preview })
}

/// Accuracy over the held-out data, and pictures of its first samples.
fn look_at_held_out<O: Objective>(
    objective: &O,
    config: &O::Config,
    request: &Request,
    recipe: &PretrainRecipe,
) -> Result<(Option<f64>, Option<Preview>), TrainError> {
    let Some(data) = &request.held_out else { return Ok((None, None)) };
    let size_px = recipe.views.size_px;
    let plan = ViewPlan::center(size_px, size_px, recipe.views.normalization()?);
    let batches = |order: Order, batch: usize| {
        let options = LoaderOptions { batch, threads: request.n_threads, ..LoaderOptions::default() };
        Loader::new(Arc::clone(data), order, plan.clone(), options)
    };
    let batch_of = |host: HostBatch| upload(host, 0, &request.device);
    let mut preview = None;
    if request.n_previews > 0 {
        let first: Vec<usize> = (0..request.n_previews.min(data.len())).collect();
        if let Some(host) = batches(Order::Indices(Arc::new(first)), request.n_previews).next() {
            preview = objective.preview(config, &batch_of(host?), Seed(recipe.seed));
        }
    }
    let (mut n_right, mut n_seen) = (0usize, 0usize);
    for host in batches(Order::Sequential, recipe.train.batch) {
        let batch = batch_of(host?);
        let Some(predicted) = objective.predict(&batch) else { return Ok((None, preview)) };
        let pairs = batch.host.labels.iter().zip(&predicted);
        n_right += pairs.filter(|(label, predicted)| **label == Some(**predicted)).count();
        n_seen += predicted.len();
    }
    let top1 = (n_seen > 0).then(|| n_right as f64 / n_seen as f64);
    Ok((top1, preview))
}
