//! How an objective is run by name: parsed, checked, trained, exported.

use crate::run::{Setting, train, upload};
use crate::{Objective, PretrainRecipe, Preview, TrainError, Watch};
use burn::tensor::Device;
use report::{Info, Recipe, RecipeError, recipe};
use std::path::Path;
use std::sync::Arc;
use vit_core::{Backbone, arch, weights};
use vit_data::{Dataset, HostBatch, Loader, LoaderOptions, Order, Seed, ViewPlan};

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
    /// Parses the options of a recipe and fills in every default.
    pub resolve: fn(&PretrainRecipe) -> Result<PretrainRecipe, RecipeError>,
    /// Trains.
    pub run: fn(&Request, &mut dyn Watch) -> Result<Outcome, TrainError>,
}

/// The row of an objective.
pub const fn method<O: Objective>() -> Method {
    Method { info: O::INFO, resolve: resolve::<O>, run: run::<O> }
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

fn run<O: Objective>(request: &Request, watch: &mut dyn Watch) -> Result<Outcome, TrainError> {
    let resolved = resolve::<O>(request.recipe)?;
    let config = options::<O>(&resolved)?;
    let mut encoder =
        arch(&resolved.model).map_err(|problem| RecipeError::value("model", "an architecture", problem))?;
    encoder.image_px = resolved.views.size_px;
    encoder.drop_path = resolved.drop_path;
    encoder.check().map_err(|problem| RecipeError::value("model", "sizes that fit", problem))?;
    if O::NEEDS_LABELS && !request.data.offers().labels {
        let data = request.data.name();
        return Err(TrainError::Needs { objective: O::INFO.name, needs: "a class for every sample", data });
    }
    let seed = Seed(resolved.seed);
    let device = request.device.clone().autodiff();
    let objective = O::init(&config, &encoder, request.data.classes().len(), &device, seed)
        .map_err(|problem| RecipeError::value("model", "an encoder that the objective can train", problem))?;
    let text = recipe::resolved(&resolved);
    if let Some(dir) = request.run_dir {
        let path = dir.join("recipe.toml");
        std::fs::create_dir_all(dir)
            .and_then(
                |()| if request.resume && path.exists() { Ok(()) } else { std::fs::write(&path, &text) },
            )
            .map_err(|source| TrainError::Io { source, path })?;
    }
    let setting = Setting {
        recipe: &resolved,
        resolved: text,
        plan: O::views(&config, &resolved.views),
        data: Arc::clone(&request.data),
        indices: request.indices.clone(),
        device: &device,
        plain_device: &request.device,
        run_dir: request.run_dir,
        resume: request.resume,
        n_threads: request.n_threads,
    };
    let objective = train(objective, &setting, watch)?;
    let backbone = objective.export();
    if let Some(dir) = request.run_dir {
        weights::save(&backbone, &dir.join("backbone.safetensors"))?;
    }
    let (held_out_top1, preview) = look_at_held_out(&objective, &config, request, &resolved)?;
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
