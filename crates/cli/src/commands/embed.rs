//! `embed`: features of a frozen model, written to a file.

use crate::args::Common;
use crate::cache::{self, KeepFeatures};
use crate::data::{self, View};
use crate::embedding::{Format, Spill};
use crate::models::{self, Words};
use crate::names::{self, Names};
use crate::outcome::{Done, Stop};
use crate::progress::{self, Progress};
use crate::settings::Settings;
use crate::studies::{interruption, lab};
use anyhow::{Context, bail};
use report::{Cell, Kind, Metric, Report, Table};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vit_core::Backbone;
use vit_data::Split;
use vit_features::{Passage, Role, Select, Source, extract, parse_selects};

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
SELECT is one of these; {i} counts from 0, * means every block:
  block{i}.cls|registers|patches|mean     a block's output
  normed.block{i}.…                       a block's output through the final norm
  norm.…                                  after the final norm
  norm1.{i}.…, norm2.{i}.…                after the norms of a block
  block{i}.query|key|value.patches        inside attention
The ending of --out says the form: safetensors and npz hold every array with `labels`
(−1 where there are none) and `ids`, npy one array, csv vectors only.

Examples:
  vitscope embed --weights runs/mae --data part-shapes --out features.safetensors
  vitscope embed --weights runs/mae --data folder:photos --select 'block*.cls' --out a.npz
  vitscope embed --weights runs/mae --data part-shapes --select norm.mean --out table.csv";

/// The options of `embed`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model: a weights file, a run folder, or an architecture
    #[arg(long, value_name = "MODEL", value_parser = Names(names::models), hide_possible_values = true)]
    weights: String,
    /// What weights do not say themselves.
    #[command(flatten)]
    words: Words,
    /// The data, as a URI
    #[arg(long, value_name = "DATA", value_parser = Names(names::datasets), hide_possible_values = true)]
    data: String,
    /// What is taken, separated by commas [default: norm.cls, or the mean of the patches where there is no class token]
    #[arg(long, value_name = "SELECT")]
    select: Option<String>,
    /// The samples
    #[arg(long, value_name = "SPLIT", value_parser = ["train", "test", "all"], default_value = "test")]
    split: String,
    /// Features that outlive the run.
    #[command(flatten)]
    kept: KeepFeatures,
}

/// Batches taken at a time, before their features go to disk: memory does not grow with the data.
const BATCHES_AT_A_TIME: usize = 8;

/// Embeds.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<Done> {
    let progress = Progress::of(common);
    if let Some(setting) = common.set.first() {
        bail!("--set {setting}: expected nothing to set for embed, which has no recipe; found a setting");
    }
    let Some(out) = &common.out else {
        bail!("--out: expected a file that ends in {}; found none", Format::ENDINGS);
    };
    let format = Format::of(out)?;
    if out.is_dir() {
        bail!("--out: expected a file; found a folder: {}", out.display());
    }
    if out.exists() && !common.overwrite {
        bail!("--out: expected a new file, or --overwrite; found one that is there: {}", out.display());
    }
    let settings = Settings::of(common)?.keeping(&args.kept)?;
    let model = models::open(&args.weights, &args.words, &settings)?;
    let selects = unique(parse_selects(
        args.select.as_deref().unwrap_or(default_select(&model.backbone)),
        &model.backbone,
    )?);
    format.check(&selects)?;
    let split = match args.split.as_str() {
        "train" => Split::Train,
        "all" => Split::All,
        _ => Split::Test,
    };
    let side = data::passage(&args.data, split, Role::Test, settings.seed, (common.limit, &settings))?;
    let view = View::of(&model, side.data.as_ref(), common.size, common.normalize.as_deref())?;
    make_parent(out)?;
    let mut spill = Spill::beside(out)?;
    let lab = lab(Source::Model(&model.backbone), &view, &settings)?;
    let mut task = progress.task(&format!("embed {}", model.name), side.indices.len(), "images");
    for piece in side.indices.chunks(BATCHES_AT_A_TIME * settings.batch()) {
        let piece = Passage { indices: Arc::new(piece.to_vec()), ..side.clone() };
        let features = extract(&lab, &piece, &selects, &mut |n| {
            task.advance(n);
            if progress::interrupted() { Err(interruption()) } else { Ok(()) }
        });
        if progress::interrupted() {
            return Err(Stop::again("nothing was written").into());
        }
        spill.append(features?)?;
    }
    task.finish();
    cache::tell(std::slice::from_ref(&lab), &progress);
    let arrays = spill.arrays(&selects);
    format.write(spill, &selects, out)?;
    let recipe = json!({
        "weights": args.weights,
        "data": args.data,
        "split": args.split,
        "select": selects.iter().map(Select::to_string).collect::<Vec<_>>(),
        "limit": common.limit,
        "size_px": view.size_px,
        "normalize": view.normalize,
    });
    let provenance = settings.provenance(Some(model.sha256.clone()), recipe);
    let title = format!("embed: {}", model.name);
    let mut report = Report::new("embed", Kind::Embed, title, &model.name, side.data.name(), provenance);
    report.metrics.push(Metric::new("n_samples", side.indices.len() as f64, "samples"));
    let mut table = Table::new("arrays", "Arrays in the file", ["name", "shape"]);
    for (name, shape) in arrays {
        table.push([Cell::from(name), Cell::from(format!("{shape:?}"))]);
    }
    report.tables.push(table);
    data::tell_unreadable(&mut report, [&side.data], &progress);
    Ok(Done::of_report(&report, out))
}

/// The token that stands for the image.
fn default_select(model: &Backbone) -> &'static str {
    match (model.has_norm(), model.has_class()) {
        (true, true) => "norm.cls",
        (true, false) => "norm.mean",
        (false, _) => "block*.mean",
    }
}

fn unique(selects: Vec<Select>) -> Vec<Select> {
    let mut unique = Vec::with_capacity(selects.len());
    for select in selects {
        if !unique.contains(&select) {
            unique.push(select);
        }
    }
    unique
}

fn make_parent(out: &Path) -> anyhow::Result<()> {
    let parent: PathBuf = out.parent().map(Path::to_owned).unwrap_or_default();
    if parent.as_os_str().is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(&parent).with_context(|| format!("cannot make the folder {}", parent.display()))
}
