//! `probe`: how good are the features of a frozen model?

use crate::args::Common;
use crate::cache::KeepFeatures;
use crate::data;
use crate::expect;
use crate::models::{self, Words};
use crate::names::{self, Names};
use crate::outcome::{Done, OutDir};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::shards::{self, Asking, Origin, Whose};
use crate::studies::{self, Asked, Floors, Stage, Told, headline, report_of, stage};
use crate::study_recipe::{Said, StudyKind, StudyRecipe};
use anyhow::bail;
use probes::PROBES;
use report::store::write_file;
use report::{Info, Provenance, Report, recipe};
use vit_features::Models;

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vitscope probe knn --weights runs/mae --data part-shapes
  vitscope probe knn --weights vit-s.safetensors --data folder:photos --layers last
  vitscope probe knn --weights runs/mae --data part-shapes --set 'ks=[1, 20]'
  vitscope probe linear --weights runs/mae --data part-shapes --set solver.kind=ridge
  vitscope probe knn --weights runs/mae --data part-shapes --protocol dino
  vitscope probe label-propagation --weights runs/mae --data part-shapes:clips
  vitscope probe label-propagation --weights vit-s-8.safetensors --data davis:DAVIS --protocol dino --size 480
  vitscope probe fused-propagation --weights runs/a --weights runs/b --data part-shapes:clips
  vitscope probe knn --help
  vitscope probe knn --weights runs/mae --data part-shapes --expect 'best.top1>=0.5'
  vitscope probe linear --weights runs/mae --data part-shapes --cache features
      keep the features, or take those that another probe kept there
  vitscope probe runs/probe-1/recipe.toml --out again
  vitscope probe knn --weights runs/mae --data folder:photos --shard 2/4 --save knn-2.acc
      look at the second quarter; `vitscope merge knn-*.acc` joins the four";

/// The options of `probe`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A probe's name, or a recipe file
    #[arg(value_name = "PROBE", value_parser = Names(names::probes))]
    probe: String,
    /// The model: a weights file, a run folder, or an architecture; given twice for a probe of two
    #[arg(long, value_name = "MODEL", value_parser = Names(names::models), hide_possible_values = true)]
    weights: Vec<String>,
    /// What weights do not say themselves.
    #[command(flatten)]
    words: Words,
    /// The data, as a URI
    #[arg(long, value_name = "DATA", value_parser = Names(names::datasets), hide_possible_values = true)]
    data: Option<String>,
    /// The layers that are asked: all, last, or a list such as 0,5,11 [default: all]
    #[arg(long, value_name = "LAYERS")]
    layers: Option<String>,
    /// How much of an image is shown [default: the model's, the recipe's or the protocol's]
    #[arg(long, value_name = "NAME", value_parser = data::Framed::NAMES)]
    framing: Option<String>,
    /// A published protocol, which pins every option of the probe; `vitscope probe PROBE --help` lists them
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,
    /// Do not ask raw pixels and the untrained model as well
    #[arg(long)]
    no_floor: bool,
    /// A part of the data.
    #[command(flatten)]
    shards: shards::InParts,
    /// Features that outlive the run.
    #[command(flatten)]
    kept: KeepFeatures,
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
            let size = protocol.view.size_px.map(|size_px| format!("--size {size_px}"));
            let framing = protocol.view.framing.map(|framing| format!("--framing {framing}"));
            let view: Vec<String> = size.into_iter().chain(framing).collect();
            if !view.is_empty() {
                text.push_str(&format!("  {:<8} unless said otherwise with {}\n", "", view.join(" ")));
            }
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
        weights: &args.weights,
        data: args.data.as_deref(),
        split: None,
        layers: args.layers.as_deref(),
        framing: args.framing.as_deref(),
        no_floor: args.no_floor,
        protocol: args.protocol.as_deref(),
    };
    let (mut recipe, asked) = StudyRecipe::resolve(&args.probe, StudyKind::Probe, &said, common)?;
    let most = if asked.entry.models == Models::Together { 2 } else { 1 };
    if recipe.weights.len() > most {
        let expected = if most == 1 { "one model" } else { "one or two models" };
        bail!("weights: expected {expected} for a probe; found {}: {}", recipe.weights.len(), args.probe);
    }
    // What two models do together has no floor: either alone stands beside it.
    recipe.floor &= recipe.weights.len() == 1;
    if recipe.split != "test" {
        bail!(
            "split: expected `test` for a probe, which learns on train; found `{}`: {}",
            recipe.split,
            args.probe
        );
    }
    let settings = Settings::of(common)?.with_seed(recipe.seed).keeping(&args.kept)?;
    let target = args.shards.target(common)?;
    let out = match target {
        None => Some(OutDir::claim(common.out.as_deref(), "probe", common.overwrite, false)?),
        Some(_) => None,
    };
    let open = |weights: &String| {
        let stage = stage(&recipe, weights, &args.words, std::slice::from_ref(&asked), &settings)?;
        stage.tell(&progress);
        anyhow::Ok(stage)
    };
    let stages = recipe.weights.iter().map(open).collect::<anyhow::Result<Vec<Stage>>>()?;
    let mut asking = Asking::new(&asked, target.map(|(shard, _)| shard), &settings, &progress);
    let (Some(stage), Some(subject)) = (stages.first(), studies::together(&stages, &settings)?) else {
        bail!("weights: expected a model; found none: {}", args.probe);
    };
    asking.ask(&subject, &stage.sides)?;
    if recipe.floor {
        asking.ask(&stage.pixels_subject(&settings)?, &stage.sides)?;
        if !stage.model.is_untrained {
            let untrained = stage.model.untrained(&settings);
            asking.ask(&stage.untrained_subject(&untrained, &settings)?, &stage.sides)?;
        }
    }
    let mut provenance = settings.provenance(None, recipe::to_json(&recipe));
    if let Some(name) = &recipe.protocol {
        let sha256 = models::sha256(toml::to_string(&recipe.options)?.as_bytes());
        provenance.extra.insert("protocol".into(), serde_json::json!({ "name": name, "sha256": sha256 }));
    }
    if let Some((_, file)) = target {
        return asking.save(file, StudyKind::Probe, &recipe, provenance);
    }
    let origin = Origin { provenance, ..asking.origin() };
    let report = tell(&asked, recipe.floor, asking.told, &origin, &progress)?;
    let Some(out) = out else { bail!("probe: expected a folder for the report; found none") };
    write(&out, &recipe, &report, common.overwrite)?;
    Ok(done(&report, &out))
}

/// The report of a probe, beside what needs no learning where that was asked too.
pub(crate) fn tell(
    asked: &Asked,
    floor: bool,
    told: Vec<Told>,
    origin: &Origin,
    progress: &Progress,
) -> anyhow::Result<Report> {
    let headline_of = |whose: Whose| {
        let told = told.iter().find(|told| told.section.whose == whose);
        told.and_then(|told| headline(&told.findings)).cloned()
    };
    // A model with random weights is its own floor.
    let floors = Floors {
        raw_pixels: headline_of(Whose::RawPixels),
        untrained: headline_of(Whose::Untrained).or_else(|| headline_of(Whose::Given)),
    };
    let given = told.into_iter().find(|told| told.section.whose == Whose::Given);
    let Some(Told { section, mut findings }) = given else {
        bail!("probe: expected findings; found none: {}", asked.entry.info.name);
    };
    if floor {
        studies::add_floors(&mut findings, &floors);
    }
    let weights_sha256 = section.weights_sha256.first().cloned();
    let provenance = Provenance { weights_sha256, ..origin.provenance.clone() };
    let kind = StudyKind::Probe.report_kind();
    let mut report = report_of(asked.entry.info, kind, &section.name(), &origin.data, findings, provenance);
    data::tell_all_unreadable(&mut report, origin.unreadable.iter().cloned(), progress);
    Ok(report)
}

/// Writes the report of a probe.
pub(crate) fn write(
    out: &OutDir,
    recipe: &StudyRecipe,
    report: &Report,
    overwrite: bool,
) -> anyhow::Result<()> {
    report.check()?;
    if overwrite {
        out.clear()?;
    }
    let text = recipe.to_text(StudyKind::Probe, env!("CARGO_PKG_VERSION"));
    write_file(&out.path().join("recipe.toml"), text.as_bytes())?;
    Ok(report.write(out.path())?)
}

/// The headline and its floors, and the folder.
pub(crate) fn done(report: &Report, out: &OutDir) -> Done {
    let shown = [
        "best.top1",
        "best.pck",
        "best.miou",
        "best.map",
        "best.j_and_f",
        "first_alone",
        "second_alone",
        "ceiling",
        "chance",
        "raw_pixels",
        "untrained",
    ];
    let lines = shown.iter().filter_map(|name| report.metrics.iter().find(|metric| metric.name == *name));
    lines.fold(Done::of_report(report, out.path()), |done, metric| done.line(expect::line(metric)))
}
