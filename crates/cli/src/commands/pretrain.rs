//! `pretrain`: train an encoder by a recipe.

use super::dry_run;
use crate::args::Common;
use crate::builtin;
use crate::continued::Continued;
use crate::data::{Subset, passage, tell_unreadable};
use crate::expect;
use crate::health;
use crate::models::{self, WEIGHTS_FILE, sha256_of_file};
use crate::monitor::HeldOut;
use crate::names::{self, Names, hint};
use crate::outcome::{Done, OutDir, Stop};
use crate::progress::{Progress, TrainWatch};
use crate::settings::{Settings, secs_since_1970};
use crate::studies::sentence;
use anyhow::{Context, anyhow, bail};
use report::store::write_file;
use report::{Block, Card, Figure, FigureData, ImageGrid, Kind, LinePlot, Metric, Report, Series, recipe};
use serde_json::Value;
use ssl_pretrain::OBJECTIVES;
use std::path::Path;
use vit_core::Vit;
use vit_data::{DataError, Split};
use vit_features::{Passage, Role};
use vit_train::{
    EVENT_FILE, Init, Method, PretrainRecipe, Preview, Request, Start, TrainError, latest_checkpoint,
};

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vitscope pretrain mae-part-shapes --out runs/mae
  vitscope pretrain mae-part-shapes --set train.epochs=20 --set options.mask_ratio=0.5
  vitscope pretrain mae-fashion-mnist --data fashion-mnist:/data/fashion
  vitscope pretrain mae-part-shapes --out runs/mae --resume
  vitscope pretrain finetune-part-shapes --init-from runs/mae
  vitscope pretrain dino-vit-s-16 --init-from dino_checkpoint.pth --set init=continue
  vitscope pretrain mae-part-shapes --dry-run
  vitscope pretrain my-recipe.toml --expect 'top1>=0.6'";

/// The options of `pretrain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A recipe file, or the name of a built-in recipe
    #[arg(value_name = "RECIPE", value_parser = Names(names::pretrain_recipes))]
    recipe: String,
    /// The data, as a URI [default: the recipe's]
    #[arg(long, value_name = "DATA", value_parser = Names(names::datasets), hide_possible_values = true)]
    data: Option<String>,
    /// Go on with the run in --out, from its last whole checkpoint
    #[arg(long, conflicts_with = "overwrite", requires = "out")]
    resume: bool,
    /// Start the encoder from these weights: a file or a run folder; heads start afresh, or go on too with --set
    /// init=continue
    #[arg(long, value_name = "WEIGHTS")]
    init_from: Option<String>,
    /// Train a few steps, say what the whole run will take, and write nothing
    #[arg(long, conflicts_with_all = ["resume", "overwrite", "expect"])]
    dry_run: bool,
}

/// Held-out pictures that are shown.
const N_PREVIEWS: usize = 8;

/// Points of a curve; of a longer log every so many lines are averaged.
const MAX_POINTS: usize = 400;

/// Trains.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<Done> {
    let progress = Progress::of(common);
    let (recipe, method) = resolve(args, common)?;
    let settings = Settings::of(common)?.with_seed(recipe.seed);
    let (uri, seed) = (&recipe.data, recipe.seed);
    let train = passage(uri, Split::Train, Role::Train, seed, (common.limit, &settings))?;
    let held_out = match passage(uri, Split::Test, Role::Test, seed, (common.limit, &settings)) {
        Ok(side) => Some(side),
        // Nothing is held out where the data has nothing for it.
        Err(DataError::Missing { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let from =
        recipe.init_from.as_deref().map(|text| StartFrom::open(text, &recipe, &settings)).transpose()?;
    let read = |name: &str, shape: &[usize]| match &from {
        Some(StartFrom::Everything(continued)) => continued.read(name, shape),
        _ => unreachable!("only asked where everything is taken"),
    };
    let mut request = Request {
        recipe: &recipe,
        data: train.data.clone(),
        indices: (train.indices.len() < train.data.len()).then(|| train.indices.clone()),
        held_out: held_out.clone().map(Subset::of),
        n_previews: N_PREVIEWS,
        device: settings.device.clone(),
        run_dir: None,
        resume: args.resume,
        n_threads: settings.n_threads,
        init_from: from.as_ref().map(|from| match from {
            StartFrom::Encoder(vit, _) => Start::Encoder(vit),
            StartFrom::Everything(_) => Start::Everything(&read),
        }),
        clock: secs_since_1970,
    };
    if args.dry_run {
        return dry_run::run(&request, method, &progress);
    }
    if args.resume {
        check_resumable(common.out.as_deref().unwrap_or(Path::new("")))?;
    }
    let out = OutDir::claim(common.out.as_deref(), "pretrain", common.overwrite, args.resume)?;
    if common.overwrite {
        out.clear()?;
    }
    remember_data(out.path(), &train, args.resume)?;
    progress.detail(&format!(
        "training: {}, {} of {} samples",
        train.data.name(),
        train.indices.len(),
        train.data.len()
    ));
    request.run_dir = Some(out.path());
    let monitor = HeldOut::of(&recipe, (&train, held_out.as_ref()), &settings.device, settings.n_threads)?;
    let mut watch = TrainWatch::new(&progress, &format!("pretrain {}", recipe.objective), monitor);
    let outcome = match (method.run)(&request, &mut watch) {
        Ok(outcome) => outcome,
        Err(TrainError::Interrupted { step, path }) => {
            let saved = format!("saved after step {step} in {}", path.display());
            return Err(Stop::resumable(&saved, out.path()).into());
        }
        Err(error) => {
            // A run that did not take a single step leaves nothing behind.
            if !args.resume
                && latest_checkpoint(out.path()).is_none()
                && !matches!(error, TrainError::NotFinite { .. })
            {
                out.clear()?;
            }
            return Err(error.into());
        }
    };
    watch.finish();
    if let Some(StartFrom::Everything(continued)) = &from {
        for center in continued.absent() {
            progress.say(&format!("not in the given weights, so it began at 0: {center}"));
        }
    }
    let sha256 = sha256_of_file(&out.path().join(WEIGHTS_FILE))?;
    let mut provenance = settings.provenance(Some(sha256), recipe::to_json(&recipe));
    provenance.extra.insert("n_train".into(), train.indices.len().into());
    if let Some(from) = &from {
        provenance.extra.insert("init_from_sha256".into(), from.sha256().into());
    }
    let title = format!("{}: {} on {}", recipe.objective, recipe.model, train.data.name());
    let data = held_out.as_ref().map_or(train.data.name(), |side| side.data.name());
    let mut report = Report::new(method.info.name, Kind::Pretrain, title, &recipe.model, data, provenance);
    let log = read_log(&out.path().join("metrics.jsonl"))?;
    if let Some(top1) = outcome.held_out_top1 {
        report.metrics.push(Metric::new("top1", top1, "ratio"));
        let n_classes = train.data.classes().len();
        if n_classes > 0 {
            report.metrics.push(Metric::new("chance", 1.0 / n_classes as f64, "ratio"));
        }
    }
    describe_log(&mut report, &log);
    health::describe(&mut report, &out.path().join("metrics.jsonl"), train.data.classes().len())?;
    if let Some(preview) = outcome.preview {
        report.figures.push(preview_figure(preview));
    }
    report.story.push(Block::Text(format!(
        "{} ({}), {} training samples. The whole recipe stands in `recipe.toml`, every logged step in `metrics.jsonl` \
         and, for TensorBoard, in `{EVENT_FILE}`; the encoder in `{WEIGHTS_FILE}`.",
        sentence(method.info.line),
        method.info.source,
        train.indices.len()
    )));
    let numbers = report.metrics.iter().map(|metric| {
        let note = if metric.unit == "ratio" { "held out" } else { "" };
        Card::new(metric.name.clone(), report::short_number(metric.value), note)
    });
    let numbers = Block::Numbers(numbers.collect());
    report.story.push(numbers);
    report.story.extend(report.figures.iter().map(|figure| Block::Figure(figure.name.clone())));
    tell_unreadable(
        &mut report,
        [&train].into_iter().chain(held_out.as_ref()).map(|side| &side.data),
        &progress,
    );
    report.write(out.path())?;
    let lines = ["loss", "top1", "chance"];
    let lines = lines.iter().filter_map(|name| report.metrics.iter().find(|metric| metric.name == *name));
    Ok(lines.fold(Done::of_report(&report, out.path()), |done, metric| done.line(expect::line(metric))))
}

/// What training starts from.
enum StartFrom {
    /// The encoder, and the digest of its file.
    Encoder(Box<Vit>, String),
    /// All of a training checkpoint.
    Everything(Continued),
}

impl StartFrom {
    fn open(text: &str, recipe: &PretrainRecipe, settings: &Settings) -> anyhow::Result<Self> {
        match recipe.init {
            Init::Encoder => {
                let (vit, sha256) = models::open_vit(text, &recipe.model, settings)?;
                Ok(Self::Encoder(Box::new(vit), sha256))
            }
            Init::Continue => Ok(Self::Everything(Continued::open(text, &recipe.model)?)),
        }
    }

    fn sha256(&self) -> &str {
        match self {
            Self::Encoder(_, sha256) => sha256,
            Self::Everything(continued) => continued.sha256(),
        }
    }
}

/// Whether a run was begun here: there is a recipe, or nothing at all yet.
fn check_resumable(out: &Path) -> anyhow::Result<()> {
    let is_empty = || std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if ["recipe.toml", "data.toml"].iter().any(|file| out.join(file).is_file()) || is_empty() {
        return Ok(());
    }
    bail!("--resume: expected the folder of a run that was begun; found none: {}", out.display());
}

/// The recipe with everything that the command line says, checked and with every default, and its objective.
fn resolve(args: &Args, common: &Common) -> anyhow::Result<(PretrainRecipe, &'static Method)> {
    let word = args.recipe.as_str();
    let (text, origin) = builtin::read("pretrain", word)?;
    let mut table = recipe::parse_table(&text, &origin)?;
    for key_value in &common.set {
        recipe::set(&mut table, key_value)?;
    }
    if let Some(weights) = &args.init_from {
        table.insert("init_from".into(), weights.clone().into());
    }
    let mut recipe: PretrainRecipe = recipe::from_table(table, &origin)?;
    if let Some(data) = &args.data {
        recipe.data.clone_from(data);
    }
    if let Some(normalize) = &common.normalize {
        recipe.views.normalize.clone_from(normalize);
    }
    recipe.seed = common.seed.unwrap_or(recipe.seed);
    recipe.train.batch = common.batch.unwrap_or(recipe.train.batch);
    recipe.views.size_px = common.size.unwrap_or(recipe.views.size_px);
    let method = OBJECTIVES.iter().find(|method| method.info.name == recipe.objective).ok_or_else(|| {
        let names: Vec<&str> = OBJECTIVES.iter().map(|method| method.info.name).collect();
        let near = hint(&recipe.objective, names.iter().copied());
        anyhow!("objective: expected one of {}; found `{}`{near}: {word}", names.join(", "), recipe.objective)
    })?;
    let recipe = (method.resolve)(&recipe).map_err(|error| error.at(&origin))?;
    Ok((recipe, method))
}

/// Writes which samples a run learns from; a run that goes on must learn from the same.
fn remember_data(run: &Path, train: &Passage, resume: bool) -> anyhow::Result<()> {
    let path = run.join("data.toml");
    let mut table = toml::Table::new();
    table.insert("train".into(), train.data.name().into());
    table.insert("n_samples".into(), i64::try_from(train.indices.len())?.into());
    let text = toml::to_string(&table)?;
    if resume && path.is_file() {
        let saved =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if saved != text {
            let flat = |text: &str| text.trim().replace('\n', ", ");
            bail!(
                "--resume: expected the samples of the run ({}); found {}: {}",
                flat(&saved),
                flat(&text),
                path.display()
            );
        }
        return Ok(());
    }
    Ok(write_file(&path, text.as_bytes())?)
}

/// A logged step.
struct Logged {
    epoch: f64,
    lr: f64,
    /// The loss first, then its terms.
    losses: Vec<(String, f64)>,
}

fn read_log(path: &Path) -> anyhow::Result<Vec<Logged>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read the log {}", path.display()))?;
    let mut log = Vec::new();
    for line in text.lines() {
        let line: Value =
            serde_json::from_str(line).with_context(|| format!("malformed log {}", path.display()))?;
        let number = |key: &str| line.get(key).and_then(Value::as_f64);
        let (Some(epoch), Some(lr), Some(fields)) = (number("epoch"), number("lr"), line.as_object()) else {
            continue;
        };
        let losses = fields.iter().filter(|(key, _)| key.starts_with("loss"));
        let losses = losses.filter_map(|(key, value)| Some((key.clone(), value.as_f64()?))).collect();
        log.push(Logged { epoch, lr, losses });
    }
    Ok(log)
}

/// The loss at the end, and the curves of the log.
fn describe_log(report: &mut Report, log: &[Logged]) {
    let Some(last) = log.last() else { return };
    let tail = &log[log.len() - (log.len() / 10).max(1)..];
    let mean_of = |name: &str, lines: &[Logged]| {
        let values = lines.iter().filter_map(|line| line.losses.iter().find(|(known, _)| known == name));
        values.map(|(_, value)| value).sum::<f64>() / lines.len() as f64
    };
    let one_term = last.losses.len() <= 2;
    let names: Vec<&str> = last.losses.iter().map(|(name, _)| name.as_str()).collect();
    // The only term of a loss is the loss.
    let shown: Vec<&str> = names.iter().copied().filter(|name| *name == "loss" || !one_term).collect();
    for name in &shown {
        report.metrics.push(Metric::new(*name, mean_of(name, tail), "loss"));
    }
    let per_point = log.len().div_ceil(MAX_POINTS);
    let points = |value: &dyn Fn(&[Logged]) -> f64| -> Vec<(f64, f64)> {
        log.chunks(per_point).map(|lines| (lines[lines.len() / 2].epoch, value(lines))).collect()
    };
    let series = shown.iter().map(|name| Series::new(*name, points(&|lines| mean_of(name, lines)))).collect();
    let plot =
        LinePlot { x_label: "epoch".into(), y_label: "loss".into(), series, reference_lines: Vec::new() };
    let caption = format!(
        "Training loss as logged, {}. It says whether training went on well, not how good the features are.",
        if per_point > 1 {
            format!("means over {per_point} lines of the log")
        } else {
            "every line of the log".into()
        }
    );
    report.figures.push(Figure::new("loss", "Training loss", caption, FigureData::Line(plot)));
    let lr = Series::new("learning rate", points(&|lines| lines[lines.len() / 2].lr));
    let plot = LinePlot {
        x_label: "epoch".into(),
        y_label: "learning rate".into(),
        series: vec![lr],
        reference_lines: Vec::new(),
    };
    report.figures.push(Figure::new(
        "learning_rate",
        "Learning rate",
        "The schedule that was followed.",
        FigureData::Line(plot),
    ));
}

/// Pictures of an objective as a figure.
pub(crate) fn preview_figure(preview: Preview) -> Figure {
    let width_px = preview.tiles.first().map_or(1, |tile| tile.width_px).max(1);
    let tiles = preview.tiles.into_iter().map(|tile| report::Tile {
        width_px: tile.width_px,
        height_px: tile.height_px,
        rgb: tile.rgb,
        caption: String::new(),
    });
    let grid = ImageGrid {
        columns: preview.columns.len().max(1),
        tiles: tiles.collect(),
        scale: (128 / width_px).max(1),
        column_titles: preview.columns,
        row_titles: Vec::new(),
    };
    Figure::new("preview", preview.title, preview.caption, FigureData::Image(grid))
}
