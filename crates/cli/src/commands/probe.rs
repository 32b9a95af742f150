//! `probe`: how good are the features of a frozen model?

use crate::args::Common;
use crate::expect;
use crate::models::Words;
use crate::names::{self, Names};
use crate::outcome::{Done, OutDir};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::studies::{self, Floors, headline, report_of, stage};
use crate::study_recipe::{Said, StudyKind, StudyRecipe};
use anyhow::bail;
use report::recipe;
use report::store::write_file;

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vitscope probe knn --weights runs/mae --data part-shapes
  vitscope probe knn --weights vit-s.safetensors --data folder:photos --layers last
  vitscope probe knn --weights runs/mae --data part-shapes --set 'ks=[1, 20]'
  vitscope probe linear --weights runs/mae --data part-shapes --set solver.kind=ridge
  vitscope probe knn --weights runs/mae --data part-shapes --expect 'best.top1>=0.5'
  vitscope probe runs/probe-1/recipe.toml --out again";

/// The options of `probe`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A probe's name, or a recipe file
    #[arg(value_name = "PROBE", value_parser = Names(names::probes))]
    probe: String,
    /// The model: a weights file, a run folder, or an architecture
    #[arg(long, value_name = "MODEL", value_parser = Names(names::models), hide_possible_values = true)]
    weights: Option<String>,
    /// What weights do not say themselves.
    #[command(flatten)]
    words: Words,
    /// The data, as a URI
    #[arg(long, value_name = "DATA", value_parser = Names(names::datasets), hide_possible_values = true)]
    data: Option<String>,
    /// The layers that are asked: all, last, or a list such as 0,5,11 [default: all]
    #[arg(long, value_name = "LAYERS")]
    layers: Option<String>,
    /// Do not ask raw pixels and the untrained model as well
    #[arg(long)]
    no_floor: bool,
}

/// Probes.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<Done> {
    let progress = Progress::of(common);
    let said = Said {
        weights: args.weights.as_slice(),
        data: args.data.as_deref(),
        split: None,
        layers: args.layers.as_deref(),
        no_floor: args.no_floor,
    };
    let (recipe, asked) = StudyRecipe::resolve(&args.probe, StudyKind::Probe, &said, common)?;
    let [weights] = recipe.weights.as_slice() else {
        bail!("weights: expected one model for a probe; found {}: {}", recipe.weights.len(), args.probe);
    };
    if recipe.split != "test" {
        bail!(
            "split: expected `test` for a probe, which learns on train; found `{}`: {}",
            recipe.split,
            args.probe
        );
    }
    let settings = Settings::of(common)?.with_seed(recipe.seed);
    let out = OutDir::claim(common.out.as_deref(), "probe", common.overwrite, false)?;
    let asked = [asked];
    let stage = stage(&recipe, weights, &args.words, &asked, &settings)?;
    stage.tell(&progress);
    let Some(mut findings) = stage.run(&asked, &settings, &progress)?.pop() else {
        bail!("probe: expected findings; found none: {}", args.probe);
    };
    if recipe.floor {
        let raw_pixels = stage.run_on_pixels(&asked, &settings, &progress)?.pop().flatten();
        let untrained = match stage.model.is_untrained {
            true => headline(&findings).cloned(),
            false => {
                stage.run_untrained(&asked, &settings, &progress)?.pop().as_ref().and_then(headline).cloned()
            }
        };
        let raw_pixels = raw_pixels.as_ref().and_then(headline).cloned();
        studies::add_floors(&mut findings, &Floors { raw_pixels, untrained });
    }
    let provenance = settings.provenance(Some(stage.model.sha256.clone()), recipe::to_json(&recipe));
    let data = stage.sides.test.data.name();
    let info = asked[0].entry.info;
    let mut report =
        report_of(info, StudyKind::Probe.report_kind(), &stage.model.name, &data, findings, provenance);
    stage.tell_unreadable(&mut report, &progress);
    report.check()?;
    if common.overwrite {
        out.clear()?;
    }
    let text = recipe.to_text(StudyKind::Probe, env!("CARGO_PKG_VERSION"));
    write_file(&out.path().join("recipe.toml"), text.as_bytes())?;
    report.write(out.path())?;
    let shown = ["best.top1", "chance", "raw_pixels", "untrained"];
    let lines = shown.iter().filter_map(|name| report.metrics.iter().find(|metric| metric.name == *name));
    let done =
        lines.fold(Done::of_report(&report, out.path()), |done, metric| done.line(expect::line(metric)));
    Ok(done)
}
