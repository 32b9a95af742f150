//! `probe`: how good are the features of a frozen model?

use crate::args::Common;
use crate::expect;
use crate::models::{self, Words};
use crate::names::{self, Names};
use crate::outcome::{Done, OutDir};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::studies::{self, Floors, headline, report_of, stage};
use crate::study_recipe::{Said, StudyKind, StudyRecipe};
use anyhow::bail;
use probes::PROBES;
use report::store::write_file;
use report::{Info, recipe};

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vitscope probe knn --weights runs/mae --data part-shapes
  vitscope probe knn --weights vit-s.safetensors --data folder:photos --layers last
  vitscope probe knn --weights runs/mae --data part-shapes --set 'ks=[1, 20]'
  vitscope probe linear --weights runs/mae --data part-shapes --set solver.kind=ridge
  vitscope probe knn --weights runs/mae --data part-shapes --protocol dino
  vitscope probe label-propagation --weights runs/mae --data part-shapes:clips
  vitscope probe knn --help
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
    /// A published protocol, which pins every option of the probe; `vitscope probe PROBE --help` lists them
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,
    /// Do not ask raw pixels and the untrained model as well
    #[arg(long)]
    no_floor: bool,
}

/// What `vitscope probe PROBE --help` says: the probe's protocol in words, those that were published, and its options.
pub(crate) fn help_of(words: &[String]) -> Option<String> {
    let asks = words.iter().any(|word| word == "--help" || word == "-h");
    let [verb, rest @ ..] = words else { return None };
    let entry = PROBES.iter().find(|entry| rest.iter().any(|word| word == entry.info.name))?;
    if verb != "probe" || !asks {
        return None;
    }
    let Info { name, line, source } = entry.info;
    let mut text = format!("{name}: {line}\nSource: {source}\n\n{}\n", entry.protocol);
    let protocols = (entry.protocols)();
    if !protocols.is_empty() {
        text.push_str("\nProtocols, each of which pins every option (--protocol NAME):\n");
        for protocol in protocols {
            text.push_str(&format!("  {:<8} {}\n", protocol.name, protocol.source));
        }
    }
    let defaults = (entry.resolve)(&toml::Table::new()).ok()?;
    text.push_str("\nOptions and their defaults (--set KEY=VALUE):\n");
    defaults.lines().for_each(|line| text.push_str(&format!("  {line}\n")));
    text.push_str("\nUsage: vitscope probe ");
    text.push_str(name);
    text.push_str(" --weights MODEL --data DATA [--layers all|last|LIST]; `vitscope probe --help` lists what all probes share\n");
    Some(text)
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
        protocol: args.protocol.as_deref(),
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
    let mut provenance = settings.provenance(Some(stage.model.sha256.clone()), recipe::to_json(&recipe));
    if let Some(name) = &recipe.protocol {
        let sha256 = models::sha256(toml::to_string(&recipe.options)?.as_bytes());
        provenance.extra.insert("protocol".into(), serde_json::json!({ "name": name, "sha256": sha256 }));
    }
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
    let shown = [
        "best.top1",
        "best.pck",
        "best.miou",
        "best.map",
        "best.j_and_f",
        "ceiling",
        "chance",
        "raw_pixels",
        "untrained",
    ];
    let lines = shown.iter().filter_map(|name| report.metrics.iter().find(|metric| metric.name == *name));
    let done =
        lines.fold(Done::of_report(&report, out.path()), |done, metric| done.line(expect::line(metric)));
    Ok(done)
}
