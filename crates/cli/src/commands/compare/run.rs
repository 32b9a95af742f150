//! Training and asking: every model in every run, what is finished kept on disk.

use super::answers::{Answers, Curves, Role};
use super::recipe::{CompareRecipe, TrainedModel};
use super::{Plan, RAW_PIXELS, UNTRAINED, UNTRAINED_MAE, model_dir, together};
use crate::data::{Sides, Subset, View, passage};
use crate::health::SCORES;
use crate::models::Model;
use crate::monitor::HeldOut;
use crate::outcome::{Stop, command_line};
use crate::progress::{Progress, TrainWatch};
use crate::settings::secs_since_1970;
use crate::studies::{Asked, lab, on_data, open_studies, report_of, run_each_together};
use anyhow::{Context, anyhow, bail};
use report::{Kind, store::write_file};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use vit_core::weights::ModelConfig;
use vit_core::{Backbone, InitScheme, arch};
use vit_data::Split;
use vit_data::transform::Normalize;
use vit_features::{CORRECT, Lab, Layers, Models, Passage, Role as Side, Shapes, Source, StudyEntry};
use vit_train::{Method, Preview, Request, TrainError};

/// What is kept of a finished model beside its reports.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    own_top1: Option<f64>,
    preview: Option<Preview>,
    curves: Curves,
}

/// Where it is kept why a study could not be asked: there is too little data for it.
const TOO_FEW_FILE: &str = "too-few.txt";

/// Whether everything that the recipe names is there, and its options are sound; before anything is written.
pub(super) fn check(recipe: &CompareRecipe) -> anyhow::Result<()> {
    for question in questions(recipe, Role::Trained)? {
        (question.study.entry.resolve)(&question.study.options)?;
    }
    for study in together::asked(recipe)? {
        (study.entry.resolve)(&study.options)?;
    }
    untrained_config(recipe)?;
    for model in &recipe.train {
        (method(&model.objective)?.resolve)(&recipe.pretraining(model, recipe.seed))?;
    }
    Ok(())
}

/// Whether the training side fills a step of every model that is trained; says it where the steps are few.
pub(super) fn check_steps(
    recipe: &CompareRecipe,
    n_train: usize,
    data: &str,
    progress: &Progress,
) -> anyhow::Result<()> {
    const FEW: f64 = 100.0;
    const ENOUGH: f64 = 500.0;
    for (i, model) in recipe.train.iter().enumerate() {
        let (name, per_step) = (&model.name, model.train.samples_per_step());
        let n_train = model.n_seen(n_train);
        let steps_per_epoch = n_train / per_step;
        if steps_per_epoch == 0 {
            bail!(
                "{name}: expected at least {per_step} training samples, those of one step; found {n_train} (fewer a \
                 step: --set train.{i}.train.batch={}): {data}",
                (n_train / 4).max(1)
            );
        }
        let n_steps = (model.train.epochs * steps_per_epoch as f64).round().max(1.0);
        if n_steps < FEW {
            let epochs = (ENOUGH / steps_per_epoch as f64).ceil();
            progress.say(&format!(
                "{name}: {n_steps} steps of training, too few to learn much; --set train.{i}.train.epochs={epochs} \
                 makes them {}",
                epochs * steps_per_epoch as f64
            ));
        }
    }
    Ok(())
}

/// The objective of a name.
fn method(name: &str) -> anyhow::Result<&'static Method> {
    ssl_pretrain::OBJECTIVES.iter().find(|method| method.info.name == name).ok_or_else(|| {
        let names: Vec<&str> = ssl_pretrain::OBJECTIVES.iter().map(|method| method.info.name).collect();
        anyhow!("objective: expected one of {}; found `{name}`", names.join(", "))
    })
}

/// The architecture that is trained, at the comparison's size.
fn untrained_config(recipe: &CompareRecipe) -> anyhow::Result<ModelConfig> {
    let mut config = arch(&recipe.model).map_err(|problem| anyhow!(problem))?;
    config.image_px = recipe.size_px;
    config.check().map_err(|problem| anyhow!("model `{}`: {problem}", recipe.model))?;
    Ok(ModelConfig::Vit(config))
}

/// Every model in every run.
pub(super) fn every_model(
    plan: &Plan,
    given: &[(String, Model)],
    seeds: &[u64],
) -> anyhow::Result<Vec<Answers>> {
    let per_seed = 1 + plan.recipe.train.len();
    let together = together::asked(plan.recipe)?;
    let n_stages = 1 + given.len() + per_seed * seeds.len() + usize::from(!together.is_empty());
    let mut stage = 0;
    let mut announce = |what: &str| {
        stage += 1;
        plan.progress.say(&format!("[{stage}/{n_stages}] {what}"));
    };
    let mut all = Vec::new();
    let mut models: Vec<(String, Backbone, View)> = Vec::new();
    let mut keep = |name: &str, model: &Backbone, view: View, seed: u64| {
        if !together.is_empty() && seed == seeds[0] {
            models.push((name.to_owned(), model.clone(), view));
        }
    };
    let view_of = |(name, model): &(String, Model)| {
        View::of(model, plan.sides.test.data.as_ref(), plan.size_px, plan.normalize)
            .with_context(|| format!("model {name}"))
    };
    let views = given.iter().map(view_of).collect::<anyhow::Result<Vec<View>>>()?;
    announce("raw pixels");
    let first = seeds[0];
    all.push(ask(plan, RAW_PIXELS, Role::RawPixels, None, first)?);
    for ((name, model), &view) in given.iter().zip(&views) {
        announce(name);
        all.push(ask(plan, name, Role::Given, Some((&model.backbone, view)), first)?);
        keep(name, &model.backbone, view, first);
    }
    for &seed in seeds {
        let run = if seeds.len() > 1 { format!(" (seed {seed})") } else { String::new() };
        announce(&format!("untrained{run}"));
        let (config, view) = match (given.first(), views.first()) {
            (Some((_, model)), Some(&view)) if plan.recipe.train.is_empty() => {
                (ModelConfig::of(&model.backbone), view)
            }
            _ => (untrained_config(plan.recipe)?, view_of_trained(plan)?),
        };
        let untrained = config.init(&plan.settings.device, seed);
        all.push(ask(plan, UNTRAINED, Role::Untrained, Some((&untrained, view)), seed)?);
        keep(UNTRAINED, &untrained, view, seed);
        let mut floors = vec![UNTRAINED];
        for model in &plan.recipe.train {
            announce(&format!("{}: training, then questions{run}", model.name));
            let (backbone, kept) = train(plan, model, seed)?;
            // What training gave is measured against the weights that it began with, which are the objective's to draw.
            let floor = floor_of(&backbone);
            if !floors.contains(&floor) {
                floors.push(floor);
                plan.progress.say(&format!("{floor}: {} before its training{run}", model.name));
                let untrained = ModelConfig::of(&backbone).init(&plan.settings.device, seed);
                all.push(ask(plan, floor, Role::Untrained, Some((&untrained, view)), seed)?);
                keep(floor, &untrained, view, seed);
            }
            let mut answers = ask(plan, &model.name, Role::Trained, Some((&backbone, view)), seed)?;
            answers.floor = Some(floor.to_owned());
            keep(&model.name, &backbone, view, seed);
            answers.own_top1 = kept.own_top1;
            answers.preview = kept.preview;
            answers.curves = kept.curves;
            all.push(answers);
        }
    }
    if !together.is_empty() {
        announce("all models together");
        all.push(together::ask(plan, &together, &models, first)?);
    }
    Ok(all)
}

/// The untrained model whose weights are drawn as a model's were.
fn floor_of(model: &Backbone) -> &'static str {
    match model {
        Backbone::Vit(vit) if vit.config.init == InitScheme::Mae => UNTRAINED_MAE,
        _ => UNTRAINED,
    }
}

/// Trains a model, or takes up the one that is there.
fn train(plan: &Plan, model: &TrainedModel, seed: u64) -> anyhow::Result<(Backbone, Kept)> {
    let dir = model_dir(plan, &model.name, seed).join("run");
    let kept_file = dir.join("kept.json");
    let weights_file = dir.join(crate::models::WEIGHTS_FILE);
    if plan.resume && kept_file.exists() && weights_file.exists() {
        let text = std::fs::read_to_string(&kept_file)
            .with_context(|| format!("cannot read {}", kept_file.display()))?;
        let kept =
            serde_json::from_str(&text).with_context(|| format!("malformed {}", kept_file.display()))?;
        return Ok((vit_core::weights::load(&weights_file, None, &plan.settings.device)?, kept));
    }
    let recipe = plan.recipe.pretraining(model, seed);
    let method = method(&recipe.objective)?;
    let Some(side) = &plan.sides.train else { unreachable!("a comparison has a training side") };
    let side = share_of(side, model);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    let sides = (&side, Some(&plan.sides.test));
    let monitor = HeldOut::of(&recipe, sides, &plan.settings.device, plan.settings.n_threads)?;
    let request = Request {
        recipe: &recipe,
        data: side.data.clone(),
        indices: Some(side.indices.clone()),
        held_out: Some(Subset::of(plan.sides.test.clone())),
        n_previews: plan.recipe.n_previews,
        device: plan.settings.device.clone(),
        run_dir: Some(&dir),
        resume: plan.resume,
        n_threads: plan.settings.n_threads,
        init_from: None,
        clock: secs_since_1970,
    };
    let mut watch = TrainWatch::new(plan.progress, &format!("train {}", model.name), monitor);
    let outcome = match (method.run)(&request, &mut watch) {
        Err(TrainError::Interrupted { path, .. }) => {
            return Err(interrupted(&path, plan.out).into());
        }
        other => other?,
    };
    watch.finish();
    let kept = Kept {
        own_top1: outcome.held_out_top1,
        preview: outcome.preview,
        curves: curves(&dir.join("metrics.jsonl"))?,
    };
    write_file(&kept_file, serde_json::to_string(&kept)?.as_bytes())?;
    Ok((outcome.backbone, kept))
}

/// The training samples that a model sees.
fn share_of(side: &Passage, model: &TrainedModel) -> Passage {
    let all = Subset::of(side.clone());
    let seen = vit_data::spread_over_classes(all.as_ref(), model.n_seen(side.indices.len()));
    let indices = seen.into_iter().map(|place| side.indices[place]).collect();
    Passage { indices: Arc::new(indices), ..side.clone() }
}

/// What Ctrl-C leaves behind, and the command that goes on with it.
fn interrupted(checkpoint: &Path, out: &Path) -> Stop {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--overwrite").collect();
    if !words.iter().any(|word| word == "--out" || word.starts_with("--out=")) {
        words.extend(["--out".into(), out.display().to_string()]);
    }
    if !words.iter().any(|word| word == "--resume") {
        words.push("--resume".into());
    }
    Stop::Interrupted { saved: format!("saved: {}", checkpoint.display()), command: command_line(&words) }
}

/// What a log tells: the loss, at most 200 points, each the mean of its stretch, and every score.
fn curves(path: &Path) -> anyhow::Result<Curves> {
    const MOST: usize = 200;
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut points = Vec::new();
    let mut scores = BTreeMap::<String, Vec<(f64, f64)>>::new();
    for line in text.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).with_context(|| format!("malformed log {}", path.display()))?;
        let at = |name: &str| line["epoch"].as_f64().zip(line[name].as_f64());
        points.extend(at("loss"));
        for (name, _) in SCORES {
            if let Some(point) = at(name) {
                scores.entry(name.to_owned()).or_default().push(point);
            }
        }
    }
    let stretch = points.len().div_ceil(MOST).max(1);
    let mean = |of: &[(f64, f64)]| {
        let n = of.len() as f64;
        (of.iter().map(|p| p.0).sum::<f64>() / n, of.iter().map(|p| p.1).sum::<f64>() / n)
    };
    Ok(Curves { loss: points.chunks(stretch).map(mean).collect(), scores })
}

/// Asks a model everything, or takes up the answers that are there.
fn ask(
    plan: &Plan,
    name: &str,
    role: Role,
    model: Option<(&Backbone, View)>,
    seed: u64,
) -> anyhow::Result<Answers> {
    let dir = model_dir(plan, name, seed);
    let mut answers = Answers::new(name, seed);
    let (view, source, shapes) = match model {
        Some((model, view)) => {
            let shapes = Shapes::of(model, name, view.size_px, &Layers::All)?;
            (view, Source::Model(model), shapes)
        }
        None => {
            let view = View { size_px: plan.recipe.raw_pixels_px, ..view_of_trained(plan)? };
            (view, Source::Pixels, Shapes::of_pixels(view.size_px))
        }
    };
    let shapes = shapes.seen_as(view.normalize);
    let mut lab = lab(source, &view, plan.settings)?;
    lab.batch = plan.recipe.batch;
    // Questions about the same samples share a pass.
    let mut passes: BTreeMap<(Option<&str>, Option<usize>), Vec<Question>> = BTreeMap::new();
    let questions = questions(plan.recipe, role)?;
    for question in &questions {
        let about = (question.data.as_deref(), question.n_asked);
        passes.entry(about).or_default().push(question.clone());
    }
    for (about, questions) in passes {
        let sides = sides_of(plan, about)?;
        let shapes = on_data(shapes.clone(), &sides, seed);
        ask_in_one_pass(plan, (&lab, &shapes), &sides, questions, (&dir, &mut answers))?;
    }
    Ok(answers)
}

/// The samples of data that a question names, or the comparison's; as many as it wants.
fn sides_of(plan: &Plan, (data, n_asked): (Option<&str>, Option<usize>)) -> anyhow::Result<Sides> {
    let n_asked = n_asked.or(plan.recipe.n_asked);
    let Some(data) = data else { return Ok(plan.sides.fewer(n_asked)) };
    let open = |split, side| {
        passage(data, split, side, plan.recipe.seed, (None, plan.settings))
            .with_context(|| format!("data {data}"))
    };
    let sides = Sides { train: Some(open(Split::Train, Side::Train)?), test: open(Split::Test, Side::Test)? };
    Ok(sides.fewer(n_asked))
}

/// Asks a model what is asked about the same samples, or takes up the answers that are there.
fn ask_in_one_pass(
    plan: &Plan,
    (lab, shapes): (&Lab, &Shapes),
    sides: &Sides,
    questions: Vec<Question>,
    (dir, answers): (&Path, &mut Answers),
) -> anyhow::Result<()> {
    let name = answers.model.clone();
    let (mut fitting, mut opened) = (Vec::new(), Vec::new());
    for Question { study, kind, .. } in questions {
        match open_studies(std::slice::from_ref(&study), shapes, sides) {
            Ok(one) => {
                opened.extend(one);
                fitting.push((study, kind));
            }
            // What a model does not have is said in the report; the rest is asked.
            Err(error) => {
                let study = study.entry.info.name;
                let why = answers.leave_out(study, &name, error)?;
                plan.progress.detail(&format!("{name}: no {study}: {why}"));
            }
        }
    }
    let is_done = |study: &Asked| {
        let folder = dir.join(study.entry.info.name);
        folder.join("report.json").exists() || folder.join(TOO_FEW_FILE).exists()
    };
    if plan.resume && fitting.iter().all(|(study, _)| is_done(study)) {
        for (study, _) in &fitting {
            let folder = dir.join(study.entry.info.name);
            if let Ok(why) = std::fs::read_to_string(folder.join(TOO_FEW_FILE)) {
                answers.absent.insert((study.entry.info.name.to_owned(), name.clone()), why);
                continue;
            }
            let mut report = report::Report::read(&folder)?;
            report.arrays.extend(report::Report::read_array(&folder, CORRECT)?);
            answers.studies.insert(study.entry.info.name.to_owned(), report);
        }
        return Ok(());
    }
    let finished = run_each_together(std::slice::from_ref(lab), opened, sides, &name, plan.progress)?;
    for ((study, kind), found) in fitting.into_iter().zip(finished) {
        let folder = dir.join(study.entry.info.name);
        let findings = match found {
            Ok(findings) => findings,
            Err(error) => {
                let why = answers.leave_out(study.entry.info.name, &name, error)?;
                std::fs::create_dir_all(&folder)
                    .with_context(|| format!("cannot make the folder {}", folder.display()))?;
                write_file(&folder.join(TOO_FEW_FILE), why.as_bytes())?;
                continue;
            }
        };
        let options = (study.entry.resolve)(&study.options)?;
        let recipe = report::recipe::to_json(&report::recipe::parse_table(&options, study.entry.info.name)?);
        let data = sides.test.data.name();
        let provenance = plan.settings.provenance(None, recipe);
        let mut report = report_of(study.entry.info, kind, &name, &data, findings, provenance);
        report.write(&folder)?;
        write_file(&folder.join("recipe.toml"), options.as_bytes())?;
        report.arrays.retain(|array| array.name == CORRECT);
        answers.studies.insert(study.entry.info.name.to_owned(), report);
    }
    Ok(())
}

/// How the comparison's images are cut for the models that it trains; a given model brings its own transform.
fn view_of_trained(plan: &Plan) -> anyhow::Result<View> {
    let normalize = Normalize::from_name(&plan.recipe.normalize)?;
    Ok(View { size_px: plan.recipe.size_px, normalize, input: None, framed: None })
}

/// A study that is asked of a model.
#[derive(Clone)]
struct Question {
    study: Asked,
    kind: Kind,
    /// On other data than the comparison's.
    data: Option<String>,
    /// About so many samples of either side.
    n_asked: Option<usize>,
}

/// The studies of a model by its role: analyses are not for raw pixels. Those of all models together come later.
fn questions(recipe: &CompareRecipe, role: Role) -> anyhow::Result<Vec<Question>> {
    let mut questions = Vec::new();
    let mut add = |asked: &super::recipe::Asked, entry, kind| {
        let study = Asked { entry, options: asked.options.clone() };
        questions.push(Question { study, kind, data: asked.data.clone(), n_asked: asked.n_asked });
    };
    for asked in &recipe.probes {
        add(asked, find(probes::PROBES, &asked.study)?, Kind::Probe);
    }
    if role != Role::RawPixels {
        for asked in &recipe.analyses {
            let entry = find(analysis::ANALYSES, &asked.study)?;
            if entry.models == Models::Each {
                add(asked, entry, Kind::Analysis);
            }
        }
    }
    Ok(questions)
}

/// The registry row of a name.
pub(super) fn find(rows: &'static [StudyEntry], name: &str) -> anyhow::Result<&'static StudyEntry> {
    rows.iter().find(|row| row.info.name == name).ok_or_else(|| {
        let names: Vec<&str> = rows.iter().map(|row| row.info.name).collect();
        anyhow!("study: expected one of {}; found `{name}`", names.join(", "))
    })
}
