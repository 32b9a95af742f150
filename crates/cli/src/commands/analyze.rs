//! `analyze`: what does a trained network do?

use crate::args::Common;
use crate::models::Words;
use crate::names::{self, Names};
use crate::outcome::{Done, OutDir};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::studies::{Asked, Stage, report_of, run_together, stage};
use crate::study_recipe::{Said, StudyKind, StudyRecipe};
use anyhow::bail;
use report::store::write_file;
use report::{Array, Block, Cell, Figure, Info, Metric, Provenance, Report, Table, recipe};
use serde_json::Value;
use vit_features::Models;

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vitscope analyze attention-distance --weights runs/mae --data part-shapes
  vitscope analyze attention-distance --weights runs/a --weights runs/b --data part-shapes
  vitscope analyze cka --weights runs/a --weights runs/b --data part-shapes
  vitscope analyze attention-distance --weights runs/a --data folder:photos --layers 0,5";

/// The options of `analyze`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An analysis's name, or a recipe file
    #[arg(value_name = "ANALYSIS", value_parser = Names(names::analyses))]
    analysis: String,
    /// A model: a weights file, a run folder, or an architecture; may be given again
    #[arg(long, value_name = "MODEL", value_parser = Names(names::models), hide_possible_values = true)]
    weights: Vec<String>,
    /// What weights do not say themselves.
    #[command(flatten)]
    words: Words,
    /// The data, as a URI
    #[arg(long, value_name = "DATA", value_parser = Names(names::datasets), hide_possible_values = true)]
    data: Option<String>,
    /// The samples that are looked at [default: test]
    #[arg(long, value_name = "SPLIT", value_parser = ["train", "test", "all"])]
    split: Option<String>,
    /// The layers that are looked at: all, last, or a list such as 0,5,11 [default: all]
    #[arg(long, value_name = "LAYERS")]
    layers: Option<String>,
}

/// Analyzes.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<Done> {
    let progress = Progress::of(common);
    let said = Said {
        weights: &args.weights,
        data: args.data.as_deref(),
        split: args.split.as_deref(),
        layers: args.layers.as_deref(),
        no_floor: true,
        ..Said::default()
    };
    let (recipe, asked) = StudyRecipe::resolve(&args.analysis, StudyKind::Analysis, &said, common)?;
    let settings = Settings::of(common)?.with_seed(recipe.seed);
    let out = OutDir::claim(common.out.as_deref(), "analyze", common.overwrite, false)?;
    let resolved = recipe::to_json(&recipe);
    let open = |weights: &String| {
        let asked = std::slice::from_ref(&asked);
        let stage = stage(&recipe, weights, &args.words, asked, &settings)?;
        stage.tell(&progress);
        anyhow::Ok(stage)
    };
    let stages = recipe.weights.iter().map(open);
    let (report, parts) = match asked.entry.models {
        Models::Together => {
            let stages = stages.collect::<anyhow::Result<Vec<Stage>>>()?;
            (together(&asked, &stages, &settings, &progress, resolved)?, Vec::new())
        }
        Models::Each => one_by_one(&asked, stages, &settings, &progress, resolved)?,
    };
    report.check()?;
    if common.overwrite {
        out.clear()?;
    }
    let text = recipe.to_text(StudyKind::Analysis, env!("CARGO_PKG_VERSION"));
    write_file(&out.path().join("recipe.toml"), text.as_bytes())?;
    for (slug, part) in &parts {
        part.write(&out.path().join(slug))?;
    }
    report.write(out.path())?;
    Ok(Done::of_report(&report, out.path()))
}

/// A study that looks at all models in one pass.
fn together(
    asked: &Asked,
    stages: &[Stage],
    settings: &Settings,
    progress: &Progress,
    resolved: Value,
) -> anyhow::Result<Report> {
    let (info, kind) = (asked.entry.info, StudyKind::Analysis.report_kind());
    let Some(findings) = run_together(stages, std::slice::from_ref(asked), settings, progress)?.pop() else {
        bail!("analyze: expected findings; found none: {}", info.name);
    };
    let names: Vec<&str> = stages.iter().map(|stage| stage.model.name.as_str()).collect();
    let digests: Vec<&str> = stages.iter().map(|stage| stage.model.sha256.as_str()).collect();
    let only = if let [only] = digests[..] { Some(only.to_owned()) } else { None };
    let is_one = only.is_some();
    let mut provenance = settings.provenance(only, resolved);
    if !is_one {
        add_digests(&mut provenance, slugs(names.iter().copied()), digests);
    }
    let data = stages.first().map_or(String::new(), |stage| stage.sides.test.data.name());
    let mut report = report_of(info, kind, &names.join(", "), &data, findings, provenance);
    if let Some(stage) = stages.first() {
        stage.tell_unreadable(&mut report, progress);
    }
    Ok(report)
}

/// A study of one model at a time, each opened when its turn comes: its report, or one that joins the reports of all,
/// and those with their folders' names.
fn one_by_one(
    asked: &Asked,
    stages: impl Iterator<Item = anyhow::Result<Stage>>,
    settings: &Settings,
    progress: &Progress,
    resolved: Value,
) -> anyhow::Result<(Report, Vec<(String, Report)>)> {
    let (info, kind) = (asked.entry.info, StudyKind::Analysis.report_kind());
    let mut reports = Vec::new();
    for stage in stages {
        let stage = stage?;
        let Some(findings) = stage.run(std::slice::from_ref(asked), settings, progress)?.pop() else {
            bail!("analyze: expected findings; found none: {}", info.name);
        };
        let provenance = settings.provenance(Some(stage.model.sha256.clone()), resolved.clone());
        let data = stage.sides.test.data.name();
        let mut report = report_of(info, kind, &stage.model.name, &data, findings, provenance);
        stage.tell_unreadable(&mut report, progress);
        report.check()?;
        reports.push(report);
    }
    match <[Report; 1]>::try_from(reports) {
        Ok([only]) => Ok((only, Vec::new())),
        Err(reports) => {
            let slugs = slugs(reports.iter().map(|report| report.model.as_str()));
            let whole = combined(info, &reports, &slugs, settings.provenance(None, resolved));
            Ok((whole, slugs.into_iter().zip(reports).collect()))
        }
    }
}

/// Says of which weights each of several models is made.
fn add_digests<'a>(
    provenance: &mut Provenance,
    slugs: Vec<String>,
    digests: impl IntoIterator<Item = &'a str>,
) {
    let digests = slugs.into_iter().zip(digests).map(|(slug, digest)| (slug, Value::from(digest)));
    provenance.extra.insert("weights_sha256_by_model".into(), Value::Object(digests.collect()));
}

/// A folder's name for each model, all different.
pub(crate) fn slugs<'a>(models: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut slugs: Vec<String> = Vec::new();
    for model in models {
        let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
        let stem = model.chars().map(safe).collect::<String>();
        let stem = stem.trim_matches(['-', '.']).to_owned();
        let stem = if stem.is_empty() { "model".to_owned() } else { stem };
        let mut slug = stem.clone();
        let mut n = 2;
        while slugs.contains(&slug) {
            slug = format!("{stem}-{n}");
            n += 1;
        }
        slugs.push(slug);
    }
    slugs
}

/// Several models in one report: every number with its model, tables with a column for it, figures one after another.
fn combined(info: Info, reports: &[Report], slugs: &[String], provenance: Provenance) -> Report {
    let models: Vec<&str> = reports.iter().map(|report| report.model.as_str()).collect();
    let data = reports.first().map_or("", |report| report.data.as_str());
    let kind = StudyKind::Analysis.report_kind();
    let title = format!("{}: {} models", info.name, reports.len());
    let mut whole = Report::new(info.name, kind, title, models.join(", "), data, provenance);
    for (report, slug) in reports.iter().zip(slugs) {
        let model = &report.model;
        whole.metrics.extend(
            report.metrics.iter().map(|metric| Metric::param(metric.clone(), "model", model.as_str())),
        );
        for table in &report.tables {
            add_rows(&mut whole.tables, table, model);
        }
        whole.figures.extend(report.figures.iter().map(|figure| Figure {
            name: format!("{}-{slug}", figure.name),
            title: format!("{model}: {}", figure.title),
            ..figure.clone()
        }));
        whole.arrays.extend(
            report
                .arrays
                .iter()
                .map(|array| Array { name: format!("{slug}/{}", array.name), ..array.clone() }),
        );
    }
    let digests =
        reports.iter().map(|report| report.provenance.weights_sha256.as_deref().unwrap_or_default());
    add_digests(&mut whole.provenance, slugs.to_vec(), digests);
    whole.story.extend(whole.figures.iter().map(|figure| Block::Figure(figure.name.clone())));
    whole.story.extend(whole.tables.iter().map(|table| Block::Table(table.name.clone())));
    whole
}

/// Appends the rows of a model's table to those of the same table of the other models.
fn add_rows(tables: &mut Vec<Table>, table: &Table, model: &str) {
    let columns: Vec<String> = ["model".to_owned()].into_iter().chain(table.columns.clone()).collect();
    let at = tables.iter().position(|known| known.name == table.name && known.columns == columns);
    let at = at.unwrap_or_else(|| {
        let taken = tables.iter().filter(|known| known.name.starts_with(&table.name)).count();
        let name = if taken == 0 { table.name.clone() } else { format!("{}-{}", table.name, taken + 1) };
        tables.push(Table { columns, ..Table::new(name, table.title.clone(), [""; 0]) });
        tables.len() - 1
    });
    let whole = &mut tables[at];
    whole.rows.extend(
        table
            .rows
            .iter()
            .map(|row| [Cell::from(model)].into_iter().chain(row.iter().cloned()).collect::<Vec<_>>()),
    );
    if !table.note.is_empty() {
        let gap = if whole.note.is_empty() { "" } else { " " };
        whole.note.push_str(&format!("{gap}{model}: {}", table.note));
    }
}
