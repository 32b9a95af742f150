//! `analyze`: what does a trained network do?

use crate::args::Common;
use crate::cache::KeepFeatures;
use crate::data;
use crate::models::Words;
use crate::names::{self, Names};
use crate::outcome::{Done, OutDir};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::shards::{self, Asking, Origin};
use crate::studies::{self, Asked, Stage, Told, report_of, stage};
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
  vitscope analyze attention-distance --weights runs/a --data folder:photos --layers 0,5
  vitscope analyze cka --weights runs/a --weights runs/b --data folder:photos --shard 1/4 --save cka-1.acc
      look at the first quarter; `vitscope merge cka-*.acc` joins the four";

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
    /// How much of an image is shown [default: the model's, the recipe's or the protocol's]
    #[arg(long, value_name = "NAME", value_parser = data::Framed::NAMES)]
    framing: Option<String>,
    /// A part of the data.
    #[command(flatten)]
    shards: shards::InParts,
    /// Features that outlive the run.
    #[command(flatten)]
    kept: KeepFeatures,
}

/// Analyzes.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<Done> {
    let progress = Progress::of(common);
    let said = Said {
        weights: &args.weights,
        data: args.data.as_deref(),
        split: args.split.as_deref(),
        layers: args.layers.as_deref(),
        framing: args.framing.as_deref(),
        no_floor: true,
        ..Said::default()
    };
    let (recipe, asked) = StudyRecipe::resolve(&args.analysis, StudyKind::Analysis, &said, common)?;
    let settings = Settings::of(common)?.with_seed(recipe.seed).keeping(&args.kept)?;
    let target = args.shards.target(common)?;
    let out = match target {
        None => Some(OutDir::claim(common.out.as_deref(), "analyze", common.overwrite, false)?),
        Some(_) => None,
    };
    let open = |weights: &String| {
        let stage = stage(&recipe, weights, &args.words, std::slice::from_ref(&asked), &settings)?;
        stage.tell(&progress);
        anyhow::Ok(stage)
    };
    let opened = recipe.weights.iter().map(open);
    let provenance = settings.provenance(None, recipe::to_json(&recipe));
    let mut asking = Asking::new(&asked, target.map(|(shard, _)| shard), &settings, &progress);
    match asked.entry.models {
        Models::Together => {
            let stages = opened.collect::<anyhow::Result<Vec<Stage>>>()?;
            if let (Some(subject), Some(first)) = (studies::together(&stages, &settings)?, stages.first()) {
                asking.ask(&subject, &first.sides)?;
            }
        }
        // Each is opened when its turn comes.
        Models::Each => {
            for stage in opened {
                let stage = stage?;
                asking.ask(&stage.subject(&settings)?, &stage.sides)?;
            }
        }
    }
    let provenance = Provenance { elapsed_secs: settings.elapsed_secs(), ..provenance };
    if let Some((_, file)) = target {
        return asking.save(file, StudyKind::Analysis, &recipe, provenance);
    }
    let origin = Origin { provenance, ..asking.origin() };
    let (report, parts) = tell(&asked, asking.told, &origin, &progress)?;
    let Some(out) = out else { bail!("analyze: expected a folder for the report; found none") };
    write(&out, &recipe, &report, &parts, common.overwrite)?;
    Ok(Done::of_report(&report, out.path()))
}

/// Writes the report of an analysis, and those of each of several models below it.
pub(crate) fn write(
    out: &OutDir,
    recipe: &StudyRecipe,
    report: &Report,
    parts: &[(String, Report)],
    overwrite: bool,
) -> anyhow::Result<()> {
    report.check()?;
    if overwrite {
        out.clear()?;
    }
    let text = recipe.to_text(StudyKind::Analysis, env!("CARGO_PKG_VERSION"));
    write_file(&out.path().join("recipe.toml"), text.as_bytes())?;
    for (slug, part) in parts {
        part.write(&out.path().join(slug))?;
    }
    Ok(report.write(out.path())?)
}

/// The report of an analysis; where models were asked one by one, one that joins the reports of all, and those with
/// their folders' names.
pub(crate) fn tell(
    asked: &Asked,
    told: Vec<Told>,
    origin: &Origin,
    progress: &Progress,
) -> anyhow::Result<(Report, Vec<(String, Report)>)> {
    let (info, kind) = (asked.entry.info, StudyKind::Analysis.report_kind());
    let mut reports = Vec::with_capacity(told.len());
    for Told { section, findings } in told {
        let digests = &section.weights_sha256;
        let only = if let [only] = digests.as_slice() { Some(only.clone()) } else { None };
        let mut provenance = Provenance { weights_sha256: only, ..origin.provenance.clone() };
        if digests.len() > 1 {
            let names = section.shapes.models().map(|shapes| shapes.model.as_str());
            add_digests(&mut provenance, slugs(names), digests.iter().map(String::as_str));
        }
        let mut report = report_of(info, kind, &section.name(), &origin.data, findings, provenance);
        data::tell_all_unreadable(&mut report, origin.unreadable.iter().cloned(), progress);
        report.check()?;
        reports.push(report);
    }
    match <[Report; 1]>::try_from(reports) {
        Ok([only]) => Ok((only, Vec::new())),
        Err(reports) => {
            let slugs = slugs(reports.iter().map(|report| report.model.as_str()));
            let whole = combined(info, &reports, &slugs, origin.provenance.clone());
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
