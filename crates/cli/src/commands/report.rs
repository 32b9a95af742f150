//! `report`: saved runs as one page.

use crate::args::{Common, Saying};
use crate::outcome::Done;
use anyhow::bail;
use report::{Block, Card, Figure, Kind, Metric, Provenance, Report, Table};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The file of a stored report.
const REPORT_FILE: &str = "report.json";

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
A run is the folder of a result of any verb: pretrain, probe, analyze or compare.

Examples:
  vitscope report runs/probe-1 --out knn.html
  vitscope report runs/pretrain-1 runs/probe-1 runs/analyze-1 --out mae.html
  vitscope report runs/compare-1/mae/knn runs/compare-1/supervised/knn --out both.html --overwrite";

/// The options of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folders of saved results, in the order of the page
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// The page
    #[arg(long, value_name = "FILE.html")]
    out: PathBuf,
    /// Replace a former page at --out
    #[arg(long)]
    overwrite: bool,
    /// Exit with 1 unless this holds, e.g. 'best.top1>=0.7'; every number that fits is meant
    #[arg(long, value_name = "EXPR")]
    expect: Vec<String>,
    /// How it is said.
    #[command(flatten)]
    saying: Saying,
}

impl Args {
    /// What it shares with the verbs that compute.
    pub(crate) fn common(&self) -> Common {
        Common { expect: self.expect.clone(), json: self.saying.json, ..Common::default() }
    }
}

/// Renders saved runs.
pub(crate) fn run(args: &Args) -> anyhow::Result<Done> {
    check_out(&args.out, args.overwrite)?;
    let mut folders: Vec<PathBuf> = Vec::new();
    let (mut reports, mut read) = (Vec::new(), Vec::new());
    for run in &args.runs {
        let folder = folder_of(run)?;
        if folders.iter().any(|known| same_place(known, &folder)) {
            bail!("run: expected every run once; found it again: {}", run.display());
        }
        let report = Report::read(&folder)?;
        let (metrics, figures) =
            (count(report.metrics.len(), "number"), count(report.figures.len(), "figure"));
        read.push(format!(
            "{}: {} of {}: {metrics}, {figures}",
            folder.display(),
            report.study,
            report.model
        ));
        reports.push(report);
        folders.push(folder);
    }
    let n_runs = reports.len();
    let report = match <[Report; 1]>::try_from(reports) {
        Ok([only]) => only,
        Err(reports) => joined(&labels(&reports, &folders), reports),
    };
    report.write_html(&args.out)?;
    let mut done = Done::of_report(&report, &args.out);
    if args.saying.verbose {
        done.lines.extend(read);
    }
    if !args.saying.quiet {
        done.lines.push(format!("{} of {}", count(report.figures.len(), "figure"), count(n_runs, "run")));
    }
    Ok(done)
}

/// `1 figure`, `3 figures`.
fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A page is written to a file that ends in `.html` and is not there yet.
fn check_out(out: &Path, overwrite: bool) -> anyhow::Result<()> {
    let shown = out.display();
    if out.is_dir() {
        bail!("--out: expected a file; found a folder: {shown}");
    }
    if !out.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("html")) {
        bail!("--out: expected a file that ends in .html; found another ending: {shown}");
    }
    if out.exists() && !overwrite {
        bail!("--out: expected a new file, or --overwrite; found one that is there: {shown}");
    }
    Ok(())
}

/// The folder that holds a run's report; the report's own path is as good.
fn folder_of(run: &Path) -> anyhow::Result<PathBuf> {
    let shown = run.display();
    if run.file_name().is_some_and(|name| name == REPORT_FILE) && run.is_file() {
        let parent = run.parent().filter(|parent| !parent.as_os_str().is_empty());
        return Ok(parent.unwrap_or(Path::new(".")).to_owned());
    }
    if !run.exists() {
        bail!("run: expected the folder of a saved result; found nothing there: {shown}");
    }
    if !run.is_dir() {
        bail!("run: expected the folder of a saved result; found a file: {shown}");
    }
    if run.join(REPORT_FILE).is_file() {
        return Ok(run.to_owned());
    }
    let within = reports_within(run);
    let hint = match within.first() {
        Some(first) => format!(" ({} in folders within, such as {})", within.len(), first.display()),
        None => String::new(),
    };
    bail!("run: expected a folder with {REPORT_FILE}; found none{hint}: {shown}")
}

/// Folders with a report, one or two levels down.
fn reports_within(run: &Path) -> Vec<PathBuf> {
    let below = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        dirs.sort();
        dirs
    };
    let nearest = below(run);
    let further: Vec<PathBuf> = nearest.iter().flat_map(|dir| below(dir)).collect();
    let all = nearest.into_iter().chain(further);
    all.filter(|dir| dir.join(REPORT_FILE).is_file()).collect()
}

fn same_place(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// A heading for each run, all different.
fn labels(reports: &[Report], folders: &[PathBuf]) -> Vec<String> {
    let title = |report: &Report| match report.title.is_empty() {
        true => format!("{}: {}", report.study, report.model),
        false => report.title.clone(),
    };
    let titles: Vec<String> = reports.iter().map(title).collect();
    let is_alone = |title: &String| titles.iter().filter(|other| *other == title).count() == 1;
    let label = |(title, folder): (&String, &PathBuf)| match is_alone(title) {
        true => title.clone(),
        false => format!("{title} ({})", folder.display()),
    };
    titles.iter().zip(folders).map(label).collect()
}

/// Several reports as one: a card and a section for each, every number with its run.
fn joined(labels: &[String], reports: Vec<Report>) -> Report {
    let first = &reports[0];
    let kind =
        if reports.iter().all(|report| report.kind == first.kind) { first.kind } else { Kind::Compare };
    let list = |of: fn(&Report) -> &str| {
        let mut seen = BTreeSet::new();
        let words = reports.iter().flat_map(|report| of(report).split(", "));
        let words = words.filter(|word| !word.is_empty() && seen.insert(*word));
        words.collect::<Vec<_>>().join(", ")
    };
    let title = format!("{} runs side by side", reports.len());
    let (model, data) = (list(|report| &report.model), list(|report| &report.data));
    let mut whole = Report::new("report", kind, title, model, data, provenance(labels, &reports));
    let own = |idx: usize, name: &str| format!("run{}-{name}", idx + 1);
    let card = |(idx, (label, report)): (usize, (&String, &Report))| {
        let card = card(label, report)?;
        Some(match report.tables.first() {
            Some(table) => card.from_table(own(idx, &table.name)),
            None => card,
        })
    };
    let cards = labels.iter().zip(&reports).enumerate().filter_map(card);
    whole.story.push(Block::Numbers(cards.collect()));
    for (idx, (label, report)) in labels.iter().zip(reports).enumerate() {
        let own = |name: &str| own(idx, name);
        whole.story.push(Block::Heading(label.clone()));
        whole.story.push(Block::Text(format!("`{}` on {}.", report.model, report.data)));
        for block in report.reading_order() {
            whole.story.push(match block {
                Block::Heading(text) | Block::Subheading(text) => Block::Subheading(text),
                Block::Table(name) => Block::Table(own(&name)),
                Block::Figure(name) => Block::Figure(own(&name)),
                other => other,
            });
        }
        let metrics = report.metrics.into_iter();
        whole.metrics.extend(metrics.map(|metric| Metric::param(metric, "run", label.as_str())));
        whole.tables.extend(report.tables.into_iter().map(|table| Table { name: own(&table.name), ..table }));
        whole
            .figures
            .extend(report.figures.into_iter().map(|figure| Figure { name: own(&figure.name), ..figure }));
    }
    whole
}

/// The number that a run is known by.
fn card(label: &str, report: &Report) -> Option<Card> {
    let metrics = &report.metrics;
    let best = metrics.iter().find(|metric| metric.name.starts_with("best."));
    let metric = best.or_else(|| metrics.iter().find(|metric| metric.layer.is_none())).or(metrics.first())?;
    let unit = if metric.unit.is_empty() { String::new() } else { format!(", {}", metric.unit) };
    Some(Card::new(label, report::short_number(metric.value), format!("{}{unit}", metric.name)))
}

/// Where the numbers of several runs come from.
fn provenance(labels: &[String], reports: &[Report]) -> Provenance {
    let unique = |of: fn(&Provenance) -> &str| {
        let words: BTreeSet<&str> = reports.iter().map(|report| of(&report.provenance)).collect();
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
    };
    let by_run = |of: &dyn Fn(&Provenance) -> Value| -> Map<String, Value> {
        labels.iter().zip(reports).map(|(label, report)| (label.clone(), of(&report.provenance))).collect()
    };
    let mut extra = Map::new();
    let words = |map: Map<String, Value>| {
        let words = map.iter().map(|(label, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{label}: {value}")
        });
        Value::from(words.collect::<Vec<_>>().join("; "))
    };
    extra.insert("Seeds".into(), words(by_run(&|from| from.seed.into())));
    let mut weights = by_run(&|from| from.weights_sha256.clone().into());
    weights.retain(|_, digest| !digest.is_null());
    if !weights.is_empty() {
        extra.insert("Weights by run".into(), words(weights));
    }
    Provenance {
        version: unique(|from| &from.version),
        seed: reports[0].provenance.seed,
        weights_sha256: None,
        device: unique(|from| &from.device),
        kernel_path: unique(|from| &from.kernel_path),
        recipe: Value::Object(by_run(&|from| from.recipe.clone())),
        elapsed_secs: reports.iter().map(|report| report.provenance.elapsed_secs).sum(),
        extra,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::{FigureData, LinePlot};

    fn report(model: &str) -> Report {
        let mut report =
            Report::new("knn", Kind::Probe, format!("knn: {model}"), model, "d", Provenance::default());
        report.metrics.push(Metric::new("top1", 0.25, "ratio").layer(0));
        report.metrics.push(Metric::new("best.top1", 0.5, "ratio"));
        report.tables.push(Table::new("t", "T", ["a"]).row([1.into()]));
        report.figures.push(Figure::new("f", "F", "", FigureData::Line(LinePlot::default())));
        report
    }

    #[test]
    fn several_runs_stand_in_sections_with_names_of_their_own() {
        let reports = vec![report("a"), report("b")];
        let folders = ["x", "y"].map(PathBuf::from);
        let whole = joined(&labels(&reports, &folders), reports);
        assert!(whole.check().is_ok());
        let headings = whole.story.iter().filter_map(|block| match block {
            Block::Heading(text) => Some(text.as_str()),
            _ => None,
        });
        assert_eq!(headings.collect::<Vec<_>>(), ["knn: a", "knn: b"]);
        assert!(whole.table("run2-t").is_some() && whole.figure("run1-f").is_some());
        assert!(whole.metrics.iter().all(|metric| metric.params.contains_key("run")));
        let Block::Numbers(cards) = &whole.story[0] else { panic!("cards first") };
        assert_eq!(cards[0], Card::new("knn: a", "0.5", "best.top1, ratio").from_table("run1-t"));
    }

    #[test]
    fn a_model_in_several_runs_is_named_once() {
        let reports = vec![report("a"), report("a, b")];
        let folders = ["x", "y"].map(PathBuf::from);
        assert_eq!(joined(&labels(&reports, &folders), reports).model, "a, b");
    }

    #[test]
    fn runs_of_one_title_are_told_apart_by_their_folders() {
        let folders = ["x", "y", "z"].map(PathBuf::from);
        let labels = labels(&[report("a"), report("b"), report("a")], &folders);
        assert_eq!(labels, ["knn: a (x)", "knn: b", "knn: a (z)"]);
    }
}
