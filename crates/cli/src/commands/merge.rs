//! `merge`: what `probe` and `analyze` saved of the parts of the data, joined into the report of one run.

use crate::args::Common;
use crate::commands::{analyze, probe};
use crate::data;
use crate::outcome::{Done, OutDir};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::shards::{self, Header, Origin, Part, Side};
use crate::showcase;
use crate::studies::{Asked, Told, finish_studies};
use crate::study_recipe::StudyKind;
use anyhow::bail;
use report::Provenance;
use std::path::PathBuf;
use vit_features::{Findings, Opened, Passage, Role};

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
The files come from one run cut into parts; their order does not matter:
  vitscope analyze cka --weights runs/a --data part-shapes --shard 1/2 --save cka-1.acc
  vitscope analyze cka --weights runs/a --data part-shapes --shard 2/2 --save cka-2.acc
  vitscope merge cka-1.acc cka-2.acc --out cka";

/// The options of `merge`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The files of all parts
    #[arg(value_name = "ACC", required = true)]
    parts: Vec<PathBuf>,
    /// Where the result goes [default: runs/merge-N]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace a former result at --out
    #[arg(long)]
    overwrite: bool,
    /// Threads that compute [default: all]
    #[arg(long, value_name = "N", value_parser = crate::args::at_least_one)]
    threads: Option<usize>,
    /// Exit with 1 unless this holds, e.g. 'best.top1>=0.7'; every number that fits is meant
    #[arg(long, value_name = "EXPR")]
    expect: Vec<String>,
    /// Print the result as one JSON document, and nothing else
    #[arg(long)]
    json: bool,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
    /// Say what was found out on the way
    #[arg(short, long)]
    verbose: bool,
}

impl Args {
    /// What it shares with the verbs that compute.
    pub(crate) fn common(&self) -> Common {
        Common {
            device: "cpu".into(),
            threads: self.threads,
            expect: self.expect.clone(),
            json: self.json,
            quiet: self.quiet,
            verbose: self.verbose,
            max_unreadable: crate::args::MAX_UNREADABLE,
            ..Common::default()
        }
    }
}

/// Merges.
pub(crate) fn run(args: &Args) -> anyhow::Result<Done> {
    let common = args.common();
    let progress = Progress::of(&common);
    let mut parts = shards::open_all(&args.parts)?;
    let Some(header) = parts.first().map(|part| part.header.clone()) else {
        bail!("merge: expected the files of all parts; found none");
    };
    let settings = Settings::of(&common)?.with_seed(header.recipe.seed);
    let out = OutDir::claim(args.out.as_deref(), "merge", args.overwrite, false)?;
    let asked = header.recipe.asked(header.kind)?;
    let mut told = Vec::with_capacity(header.sections.len());
    for section in header.sections.clone() {
        let name = section.name();
        progress.detail(&format!("{name}: {} parts", parts.len()));
        let mut whole: Option<Box<dyn Opened>> = None;
        for part in &mut parts {
            let mut study = (asked.entry.open)(&asked.options, &section.shapes)?;
            part.load(study.as_mut())?;
            whole = Some(match whole.take() {
                None => study,
                Some(mut earlier) => {
                    earlier.merge(study);
                    earlier
                }
            });
        }
        let findings = finish_studies(whole.into_iter().collect(), &name, &progress)?;
        told.extend(findings.into_iter().map(|findings| Told { section: section.clone(), findings }));
    }
    show_samples(&header, told.iter_mut().map(|told| &mut told.findings), &settings, &progress)?;
    let origin = origin(&header, &parts);
    finish(&asked, &header, told, &origin, &out, (args.overwrite, &progress))
}

/// Where the numbers of all parts come from.
fn origin(header: &Header, parts: &[Part]) -> Origin {
    let mut kernels: Vec<&str> =
        parts.iter().map(|part| part.header.provenance.kernel_path.as_str()).collect();
    kernels.dedup();
    let provenance = Provenance {
        kernel_path: kernels.join(", "),
        elapsed_secs: parts.iter().map(|part| part.header.provenance.elapsed_secs).sum(),
        ..header.provenance.clone()
    };
    let data = header.sides.last().map_or(String::new(), |side| side.name.clone());
    let unreadable = parts.iter().flat_map(|part| part.header.unreadable()).collect();
    Origin { provenance, data, unreadable }
}

/// Tells the report of the whole, and writes it.
fn finish(
    asked: &Asked,
    header: &Header,
    told: Vec<Told>,
    origin: &Origin,
    out: &OutDir,
    (overwrite, progress): (bool, &Progress),
) -> anyhow::Result<Done> {
    match header.kind {
        StudyKind::Probe => {
            let report = probe::tell(asked, header.recipe.floor, told, origin, progress)?;
            probe::write(out, &header.recipe, &report, overwrite)?;
            Ok(probe::done(&report, out))
        }
        StudyKind::Analysis => {
            let (report, parts) = analyze::tell(asked, told, origin, progress)?;
            analyze::write(out, &header.recipe, &report, &parts, overwrite)?;
            Ok(Done::of_report(&report, out.path()))
        }
    }
}

/// Shows the samples that studies want seen, where the data can be opened here and is the same; else says that it cannot.
fn show_samples<'a>(
    header: &Header,
    findings: impl Iterator<Item = &'a mut Findings>,
    settings: &Settings,
    progress: &Progress,
) -> anyhow::Result<()> {
    let mut showing: Vec<&mut Findings> = findings.filter(|found| !found.showcases.is_empty()).collect();
    if showing.is_empty() {
        return Ok(());
    }
    match same_test_side(header, settings) {
        Ok(side) => showing.iter_mut().try_for_each(|found| showcase::show(found, &side)),
        Err(reason) => {
            progress.say(&format!("merge: figures of samples are left out: {reason:#}"));
            showing.iter_mut().for_each(|found| showcase::leave_all_out(found));
            Ok(())
        }
    }
}

/// The test side, opened again.
fn same_test_side(header: &Header, settings: &Settings) -> anyhow::Result<Passage> {
    let recipe = &header.recipe;
    let limit = (recipe.limit, settings);
    let side = data::passage(&recipe.data, recipe.chosen_split()?, Role::Test, recipe.seed, limit)?;
    let found = Side::of(&side);
    match header.sides.last() {
        Some(expected) if *expected == found => Ok(side),
        _ => bail!("expected the samples of the parts; found others: {}", recipe.data),
    }
}
