//! `vitscope compare`: train or load models, ask every layer of each the same questions, write one report.

mod answers;
mod recipe;
mod run;
mod story;
mod together;
mod words;

use crate::args::Common;
use crate::cache::KeepFeatures;
use crate::data::{Sides, Subset, passage, tell_unreadable};
use crate::outcome::{Done, OutDir};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::{builtin, models};
use answers::{Answers, Role};
use anyhow::{Context, anyhow, bail};
use recipe::CompareRecipe;
use report::{ImageGrid, Info, Kind, Report, Tile, recipe as toml_recipe, store::write_file};
use std::path::{Path, PathBuf};
use vit_data::{Picture, Split};
use vit_features::{Role as Side, StudyEntry};
use vit_train::PretrainRecipe;
use words::WordsByName;

/// The name of the floor without a model.
pub(crate) const RAW_PIXELS: &str = "raw-pixels";
/// The name of the floor with random weights.
pub(crate) const UNTRAINED: &str = "untrained";

/// The name of the floor with random weights drawn by MAE's scheme.
pub(crate) const UNTRAINED_MAE: &str = "untrained-mae";
/// What no model may be called.
const RESERVED: [&str; 4] = [RAW_PIXELS, UNTRAINED, UNTRAINED_MAE, ALL_MODELS];

/// The folder of what is asked of all models at once.
pub(crate) const ALL_MODELS: &str = "all-models";

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vitscope compare
      train small models on the built-in images and compare them with raw pixels and an untrained model
  vitscope compare --data fashion-mnist:/usr/share/datasets/fashion-mnist --seeds 3 --out runs/fashion
  vitscope compare ours=runs/pretrain-1 random=vit-ti/16 --data folder:photos
      compare models that are there already; nothing is trained
  vitscope compare dino=recipe:dino-part-shapes ibot=recipe:ibot-part-shapes ours=runs/pretrain-1
      train by two recipes, on the comparison's data, and put a model that is there beside them
  vitscope compare a=dino.pth b=mae.pth c=mine.safetensors --family a=dino --family b=mae --arch c=vit:heads=6
      say of published files what they do not say themselves; without a name it holds for all of them";

/// What stands before a recipe in the place of a model.
const BY_RECIPE: &str = "recipe:";

/// The options of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Models that are there already, as NAME=MODEL, or are trained first, as NAME=recipe:RECIPE;
    /// without any, the recipe's are trained
    #[arg(value_name = "NAME=MODEL")]
    models: Vec<String>,
    /// What given models do not say themselves.
    #[command(flatten)]
    words: WordsByName,
    /// The data; without it, the recipe's
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// A recipe file or the name of a built-in one; without it, the one that suits the data
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<String>,
    /// Runs of everything, each with its own seed
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Go on with the comparison in --out: what is finished there is not done again
    #[arg(long)]
    resume: bool,
    /// Features that outlive the run.
    #[command(flatten)]
    kept: KeepFeatures,
}

/// Everything a run of the comparison needs.
pub(super) struct Plan<'a> {
    pub recipe: &'a CompareRecipe,
    pub settings: &'a Settings,
    pub progress: &'a Progress,
    pub sides: Sides,
    /// What models are asked about: the sides, or as many samples of each as the recipe says.
    pub asked: Sides,
    pub out: &'a Path,
    pub resume: bool,
    /// What the command line says of the transform, which then holds for given models too.
    pub size_px: Option<usize>,
    pub normalize: Option<&'a str>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<Done> {
    let settings = Settings::of(common)?.keeping(&args.kept)?;
    let progress = Progress::of(common);
    let recipe = read_recipe(args, common)?;
    run::check(&recipe)?;
    let given = given_models(args, &recipe, &settings)?;
    let out = OutDir::claim(common.out.as_deref(), "compare", common.overwrite, args.resume)?;
    let sides = Sides {
        train: Some(passage(
            &recipe.data,
            Split::Train,
            Side::Train,
            recipe.seed,
            (common.limit, &settings),
        )?),
        test: passage(&recipe.data, Split::Test, Side::Test, recipe.seed, (common.limit, &settings))?,
    };
    if !sides.test.data.offers().labels {
        bail!("compare: expected data with a class for every sample; found none: {}", sides.test.data.name());
    }
    let n_train = sides.train.as_ref().map_or(0, |side| side.indices.len());
    run::check_steps(&recipe, n_train, &sides.test.data.name(), &progress)?;
    let resolved = toml_recipe::resolved(&recipe);
    let recipe_file = out.path().join("recipe.toml");
    if args.resume && recipe_file.exists() {
        let saved =
            std::fs::read_to_string(&recipe_file).context("cannot read the recipe of the comparison")?;
        if saved != resolved {
            bail!("--resume: expected the recipe saved there; found another: {}", recipe_file.display());
        }
    } else if common.overwrite {
        clear(out.path(), &recipe)?;
    }
    write_file(&recipe_file, resolved.as_bytes())?;
    let plan = Plan {
        recipe: &recipe,
        settings: &settings,
        progress: &progress,
        asked: sides.fewer(recipe.n_asked),
        sides,
        out: out.path(),
        resume: args.resume,
        size_px: common.size,
        normalize: common.normalize.as_deref(),
    };
    let seeds: Vec<u64> = (0..recipe.n_seeds).map(|i| recipe.seed + i).collect();
    let all = run::every_model(&plan, &given, &seeds)?;
    let report = tell(&plan, &given, &all, &seeds)?;
    report.write(out.path())?;
    let page = out.path().join("report.html");
    report.write_html(&page)?;
    Ok(Done::of_report(&report, &page))
}

/// The recipe, with what the command line says in its place.
fn read_recipe(args: &Args, common: &Common) -> anyhow::Result<CompareRecipe> {
    let name = match (&args.recipe, &args.data) {
        (Some(name), _) => name.clone(),
        (None, Some(data)) => match data.split(':').next() {
            Some("fashion-mnist" | "mnist") => "fashion-mnist".into(),
            Some("part-shapes") => "part-shapes".into(),
            _ => "images".into(),
        },
        (None, None) => "part-shapes".into(),
    };
    let (text, origin) = recipe_text(&name)?;
    let mut table = toml_recipe::parse_table(&text, &origin)?;
    if !args.models.is_empty() {
        let trained = trained_models(args, &mut table)?;
        table.insert("train".into(), trained.into());
    }
    for setting in &common.set {
        toml_recipe::set(&mut table, setting)?;
    }
    let mut recipe: CompareRecipe = toml_recipe::from_table(table, &origin)?;
    if let Some(data) = &args.data {
        recipe.data.clone_from(data);
        recipe.probes.iter_mut().chain(&mut recipe.analyses).for_each(|asked| asked.data = None);
    }
    if let Some(seed) = common.seed {
        recipe.seed = seed;
    }
    if let Some(n_seeds) = args.seeds {
        recipe.n_seeds = n_seeds;
    }
    if let Some(size_px) = common.size {
        recipe.size_px = size_px;
    }
    if let Some(normalize) = &common.normalize {
        recipe.normalize.clone_from(normalize);
    }
    if let Some(batch) = common.batch {
        recipe.batch = batch;
    }
    let table = toml_recipe::parse_table(&toml_recipe::resolved(&recipe), &origin)?;
    Ok(toml_recipe::from_table(table, &origin)?)
}

/// The models given as `NAME=recipe:RECIPE`: what the comparison's recipe would say of them. Their encoder, size and
/// normalization become the comparison's, so that the untrained model is theirs too; the data stays the comparison's.
fn trained_models(args: &Args, table: &mut toml::Table) -> anyhow::Result<Vec<toml::Value>> {
    let mut trained = Vec::new();
    let mut first: Option<(&str, [(&str, toml::Value); 3])> = None;
    for (name, word) in args.models.iter().filter_map(|word| word.split_once('=')) {
        let Some(word) = word.strip_prefix(BY_RECIPE) else { continue };
        let (text, origin) = builtin::read("pretrain", word)?;
        let recipe: PretrainRecipe =
            toml_recipe::from_table(toml_recipe::parse_table(&text, &origin)?, &origin)?;
        if let Some(weights) = &recipe.init_from {
            bail!(
                "model {name}: expected a recipe that starts from random weights; found init_from = {weights}: {word}"
            );
        }
        let shared = [
            ("model", toml::Value::from(recipe.model.clone())),
            ("size_px", toml::Value::from(recipe.views.size_px as i64)),
            ("normalize", toml::Value::from(recipe.views.normalize.clone())),
        ];
        let (other, expected) = first.get_or_insert_with(|| (name, shared.clone()));
        if let Some(((key, found), (_, expected))) =
            shared.iter().zip(expected.iter()).find(|(found, expected)| found != expected)
        {
            bail!("model {name}: expected the {key} of {other}, {expected}; found {found}: {word}");
        }
        trained.push(toml::Value::try_from(recipe::TrainedModel {
            name: name.to_owned(),
            objective: recipe.objective,
            drop_path: recipe.drop_path,
            data_share: 1.0,
            views: recipe.views,
            train: recipe.train,
            options: recipe.options,
        })?);
    }
    for (key, value) in first.into_iter().flat_map(|(_, shared)| shared) {
        table.insert(key.into(), value);
    }
    Ok(trained)
}

/// The text of a recipe file or of a built-in recipe, and what it is called in errors.
fn recipe_text(name: &str) -> anyhow::Result<(String, String)> {
    if let Some(built_in) = builtin::of_kind("compare").find(|recipe| recipe.name == name) {
        return Ok((built_in.text.to_owned(), format!("built-in recipe {name}")));
    }
    let path = Path::new(name);
    if !path.is_file() {
        let known: Vec<&str> = builtin::of_kind("compare").map(|recipe| recipe.name).collect();
        bail!("recipe: expected a file or one of {}; found none: {name}", known.join(", "));
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read recipe: {name}"))?;
    Ok((text, name.to_owned()))
}

/// The models given as `NAME=MODEL`, opened.
fn given_models(
    args: &Args,
    recipe: &CompareRecipe,
    settings: &Settings,
) -> anyhow::Result<Vec<(String, models::Model)>> {
    let mut given: Vec<(&str, &str)> = Vec::new();
    for word in &args.models {
        let (name, model) =
            word.split_once('=').ok_or_else(|| anyhow!("model: expected NAME=MODEL; found `{word}`"))?;
        if model.starts_with(BY_RECIPE) {
            continue;
        }
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !plain || RESERVED.contains(&name) || name.starts_with('.') {
            bail!(
                "model: expected a name of letters, digits, `-`, `_` and `.` that is not a floor's; found `{name}`"
            );
        }
        if given.iter().any(|(other, _)| *other == name)
            || recipe.train.iter().any(|other| other.name == name)
        {
            bail!("model: expected a name for each; found `{name}` twice");
        }
        given.push((name, model));
    }
    let words = args.words.of_each(&given)?;
    let opened = given.into_iter().zip(words).map(|((name, model), words)| {
        let opened = models::open(model, &words, settings);
        Ok((name.to_owned(), opened.with_context(|| format!("model {name}"))?))
    });
    opened.collect()
}

/// Removes what a former comparison of these models left, and nothing else.
fn clear(out: &Path, recipe: &CompareRecipe) -> anyhow::Result<()> {
    let trained = recipe.train.iter().map(|model| model.name.as_str());
    for name in trained.chain(RESERVED) {
        for entry in std::fs::read_dir(out).into_iter().flatten().flatten() {
            let file_name = entry.file_name();
            let Some(found) = file_name.to_str() else { continue };
            let is_ours =
                found == name || found.strip_prefix(name).is_some_and(|rest| rest.starts_with("@seed"));
            if is_ours && entry.path().is_dir() {
                std::fs::remove_dir_all(entry.path()).with_context(|| {
                    format!("cannot remove the former result: {}", entry.path().display())
                })?;
            }
        }
    }
    Ok(())
}

/// The folder of a model in a run.
pub(super) fn model_dir(plan: &Plan, name: &str, seed: u64) -> PathBuf {
    if seed == plan.recipe.seed { plan.out.join(name) } else { plan.out.join(format!("{name}@seed{seed}")) }
}

fn tell(
    plan: &Plan,
    given: &[(String, models::Model)],
    all: &[Answers],
    seeds: &[u64],
) -> anyhow::Result<Report> {
    let test = &plan.sides.test;
    let mut names = vec![(RAW_PIXELS.to_owned(), Role::RawPixels)];
    let floors = [UNTRAINED, UNTRAINED_MAE].into_iter();
    let floors = floors.filter(|floor| all.iter().any(|answers| answers.model == *floor));
    names.extend(floors.map(|floor| (floor.to_owned(), Role::Untrained)));
    let n_floors = names.len();
    names.extend(plan.recipe.train.iter().map(|model| (model.name.clone(), Role::Trained)));
    names.extend(given.iter().map(|(name, _)| (name.clone(), Role::Given)));
    let shown: Vec<String> = names.iter().skip(n_floors).map(|(name, _)| name.clone()).collect();
    let provenance = plan.settings.provenance(None, toml_recipe::to_json(plan.recipe));
    let title = format!("{} on {}", shown.join(", "), test.data.name());
    let mut report =
        Report::new("compare", Kind::Compare, title, shown.join(", "), test.data.name(), provenance);
    for answers in all {
        for (study, found) in &answers.studies {
            for metric in &found.metrics {
                let mut metric = metric.clone();
                // Numbers of several models say of which themselves.
                metric.params.entry("model").or_insert_with(|| answers.model.clone().into());
                metric.params.insert("study".into(), study.clone().into());
                metric.params.insert("seed".into(), answers.seed.into());
                report.metrics.push(metric);
            }
        }
    }
    let material = story::Material {
        answers: all,
        models: names,
        probes: infos(&plan.recipe.probes, probes::PROBES),
        analyses: infos(&plan.recipe.analyses, analysis::ANALYSES),
        samples: samples(plan)?,
        n_classes: test.data.classes().len(),
        seeds,
    };
    story::tell(&mut report, &material);
    let sides = plan.sides.train.iter().chain([&plan.sides.test]);
    tell_unreadable(&mut report, sides.map(|side| &side.data), plan.progress);
    report.check()?;
    Ok(report)
}

/// What the studies of the recipe say of themselves.
fn infos(asked: &[recipe::Asked], rows: &[StudyEntry]) -> Vec<Info> {
    let found = asked.iter().filter_map(|asked| rows.iter().find(|row| row.info.name == asked.study));
    found.map(|row| row.info).collect()
}

/// A few test samples of every class, for people to see.
fn samples(plan: &Plan) -> anyhow::Result<Option<ImageGrid>> {
    const COLUMNS: usize = 12;
    const ROWS: usize = 3;
    let data = Subset::of(plan.sides.test.clone());
    let chosen = vit_data::spread_over_classes(data.as_ref(), COLUMNS * ROWS);
    let mut tiles = Vec::new();
    for index in chosen {
        let sample = data.sample(index)?;
        let Picture::Image(image) = sample.picture else { return Ok(None) };
        let class = sample.truth.label.and_then(|label| data.classes().get(label as usize).cloned());
        let image = if image.width_px.max(image.height_px) > 128 {
            let whole = vit_data::transform::PixelRect {
                left_px: 0,
                top_px: 0,
                width_px: image.width_px,
                height_px: image.height_px,
            };
            vit_data::transform::resize(&image, whole, 96, 96, vit_data::transform::Filter::Bicubic)
        } else {
            image
        };
        tiles.push(Tile {
            width_px: image.width_px,
            height_px: image.height_px,
            rgb: image.rgb,
            caption: class.unwrap_or_default(),
        });
    }
    let Some(side) = tiles.first().map(|tile| tile.width_px) else { return Ok(None) };
    Ok(Some(ImageGrid {
        columns: COLUMNS,
        tiles,
        scale: (80 / side.max(1)).max(1),
        column_titles: Vec::new(),
        row_titles: Vec::new(),
    }))
}
