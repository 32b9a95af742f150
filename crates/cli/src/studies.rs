//! Studies on models and data: opened, checked against the data, run in one pass, turned into reports.

use crate::cache;
use crate::data::{self, Framed, Sides, View};
use crate::models::{self, Model, Words};
use crate::outcome::Stop;
use crate::progress::{self, Progress};
use crate::settings::Settings;
use crate::shards::{Section, Whose};
use crate::showcase;
use crate::study_recipe::StudyRecipe;
use crate::tuning;
use report::{Block, Cell, Info, Kind, Metric, Provenance, Report, Table};
use vit_data::Split;
use vit_features::{
    Findings, Lab, Opened, Passage, Role, Shapes, Source, StudyEntry, StudyError, observe_together,
};

/// A study that is asked for, with its options.
#[derive(Clone)]
pub(crate) struct Asked {
    /// Its registry row.
    pub(crate) entry: &'static StudyEntry,
    /// Its options; what is not there has its default.
    pub(crate) options: toml::Table,
}

impl Asked {
    /// A study with its default options.
    #[allow(dead_code, reason = "for compare, which asks for studies by name")]
    pub(crate) fn by_default(entry: &'static StudyEntry) -> Self {
        Self { entry, options: toml::Table::new() }
    }
}

/// How views are fed to what is studied, and where its features are kept.
///
/// # Errors
/// When they are to be kept where nothing can be written.
pub(crate) fn lab<'a>(source: Source<'a>, view: &View, settings: &Settings) -> anyhow::Result<Lab<'a>> {
    let shelf = match source {
        Source::Pixels => None,
        Source::Model(model) => cache::shelf(model, None, settings)?,
        Source::Strided { model, stride_px } => cache::shelf(model, Some(stride_px), settings)?,
    };
    Ok(Lab {
        source,
        plan: view.plan(),
        batch: settings.batch(),
        n_threads: settings.n_threads,
        device: settings.device.clone(),
        shelf,
    })
}

/// Whether any of the studies needs samples to learn from.
pub(crate) fn need_train(asked: &[Asked], shapes: &Shapes) -> Result<bool, StudyError> {
    for study in asked {
        if (study.entry.open)(&study.options, shapes)?.needs().train {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The shapes with the classes and sizes of the data that is used, and the seed.
pub(crate) fn on_data(shapes: Shapes, sides: &Sides, seed: u64) -> Shapes {
    let train = sides.train.as_ref();
    let on = shapes.on(train.map(|side| side.data.as_ref()), sides.test.data.as_ref());
    Shapes {
        n_train: train.map_or(0, |side| side.indices.len()),
        n_test: sides.test.indices.len(),
        seed,
        ..on
    }
}

/// Opens studies for shapes that were completed by [`on_data`], and checks that the data offers what they need.
pub(crate) fn open_studies(
    asked: &[Asked],
    shapes: &Shapes,
    sides: &Sides,
) -> Result<Vec<Box<dyn Opened>>, StudyError> {
    let mut opened = Vec::with_capacity(asked.len());
    for study in asked {
        let open = (study.entry.open)(&study.options, shapes)?;
        let refuse = |needs: &str, side: &Passage| {
            let (study, data) = (open.info().name.to_owned(), side.data.name());
            Err(StudyError::Offers { study, needs: needs.into(), data })
        };
        if open.needs().train && sides.train.is_none() {
            return refuse("samples to learn from", &sides.test);
        }
        let train = sides.train.iter().filter(|_| open.needs().train);
        for side in train.chain([&sides.test]) {
            let (needs, offers) = (open.needs(), side.data.offers());
            for (is_needed, is_there, what) in [
                (needs.labels, offers.labels, "a class for every sample"),
                (needs.company, offers.labels || offers.queries, "a class for every sample, or queries"),
                (needs.masks, offers.masks, "an object mask for every sample"),
                (needs.parts, offers.parts, "part masks for every sample"),
                (needs.semantic, offers.semantic, "a class for every pixel"),
                (needs.keypoints, offers.keypoints, "named points for every sample"),
                (needs.clips, offers.clips, "frames of clips in their order"),
            ] {
                if is_needed && !is_there {
                    return refuse(what, side);
                }
            }
        }
        opened.push(open);
    }
    Ok(opened)
}

/// Runs studies of one or several models, each with its own views, in one pass over each side of the data; `label` says in
/// the progress what is looked at.
///
/// # Errors
/// What [`observe_together`] refuses; [`Stop::Interrupted`] after Ctrl-C.
pub(crate) fn run_studies_together(
    labs: &[Lab],
    studies: Vec<Box<dyn Opened>>,
    sides: &Sides,
    label: &str,
    progress: &Progress,
) -> anyhow::Result<Vec<Findings>> {
    let finished = run_each_together(labs, studies, sides, label, progress)?;
    Ok(finished.into_iter().collect::<Result<_, _>>()?)
}

/// The same, where a study for which there is too little data does not stop the others.
///
/// # Errors
/// As [`run_studies_together`]; [`StudyError::TooFew`] is among the results.
pub(crate) fn run_each_together(
    labs: &[Lab],
    mut studies: Vec<Box<dyn Opened>>,
    sides: &Sides,
    label: &str,
    progress: &Progress,
) -> anyhow::Result<Vec<Result<Findings, StudyError>>> {
    show_studies(labs, &mut studies, sides, label, progress)?;
    let mut finished = finish_each(studies, label, progress)?;
    finished.iter_mut().flatten().try_for_each(|found| showcase::show(found, &sides.test))?;
    Ok(finished)
}

/// Shows studies all batches of each side of the data, and trains for those that ask for it.
///
/// # Errors
/// As [`run_studies_together`].
pub(crate) fn show_studies(
    labs: &[Lab],
    studies: &mut [Box<dyn Opened>],
    sides: &Sides,
    label: &str,
    progress: &Progress,
) -> anyhow::Result<()> {
    let learns = studies.iter().any(|study| study.needs().train);
    let train = sides.train.iter().filter(|_| learns);
    for (side, what) in train.map(|side| (side, "training side")).chain([(&sides.test, "test side")]) {
        let mut task = progress.task(&format!("{label}, {what}"), side.indices.len(), "images");
        let observed = observe_together(labs, side, studies, &mut |n| {
            task.advance(n);
            if progress::interrupted() { Err(interruption()) } else { Ok(()) }
        });
        if progress::interrupted() {
            return Err(Stop::again("nothing was written").into());
        }
        observed?;
        task.finish();
    }
    cache::tell(labs, progress);
    tuning::tune_for(studies, labs, sides, label, progress)
}

/// The findings of studies that have seen everything; the samples that they want seen are not shown yet.
///
/// # Errors
/// What a study refuses; [`Stop::Interrupted`] after Ctrl-C.
pub(crate) fn finish_studies(
    studies: Vec<Box<dyn Opened>>,
    label: &str,
    progress: &Progress,
) -> anyhow::Result<Vec<Findings>> {
    Ok(finish_each(studies, label, progress)?.into_iter().collect::<Result<_, _>>()?)
}

/// The same, where a study for which there is too little data does not stop the others.
fn finish_each(
    studies: Vec<Box<dyn Opened>>,
    label: &str,
    progress: &Progress,
) -> anyhow::Result<Vec<Result<Findings, StudyError>>> {
    let mut finished = Vec::with_capacity(studies.len());
    for study in studies {
        progress.detail(&format!("{label}: {} finishes", study.info().name));
        match study.finish() {
            Err(error @ StudyError::TooFew { .. }) => finished.push(Err(error)),
            found => finished.push(Ok(found?)),
        }
        if progress::interrupted() {
            return Err(Stop::again("nothing was written").into());
        }
    }
    Ok(finished)
}

/// Side in pixels at which raw pixels are asked, where images are larger: 3,072 numbers, as in CIFAR.
const RAW_PIXELS_PX: usize = 32;

/// Everything a study of one model needs, opened and checked.
pub(crate) struct Stage {
    /// The model.
    pub(crate) model: Model,
    /// How views are cut for it.
    pub(crate) view: View,
    /// The data; the training side only where a study wants it.
    pub(crate) sides: Sides,
    /// The model's and the data's sizes.
    pub(crate) shapes: Shapes,
    /// Pixels from one patch to the next, where patches overlap.
    pub(crate) stride_px: Option<usize>,
}

/// Opens a model of a recipe and the data that the studies want.
pub(crate) fn stage(
    recipe: &StudyRecipe,
    weights: &str,
    words: &Words,
    asked: &[Asked],
    settings: &Settings,
) -> anyhow::Result<Stage> {
    let model = models::open(weights, words, settings)?;
    let (uri, seed, limit) = (&recipe.data, settings.seed, (recipe.limit, settings));
    let test = data::passage(uri, recipe.chosen_split()?, Role::Test, seed, limit)?;
    let view = View::of(&model, test.data.as_ref(), recipe.size_px, recipe.normalize.as_deref())?;
    let view = View { framed: recipe.framing.as_deref().and_then(Framed::from_name), ..view };
    let shapes = Shapes::of(&model.backbone, &model.name, view.size_px, &recipe.chosen_layers()?)?;
    let shapes = shapes.seen_as(view.normalize);
    let shapes = match recipe.stride_px {
        Some(stride_px) if (1..=shapes.patch_px).contains(&stride_px) => shapes.strided(stride_px),
        Some(stride_px) => anyhow::bail!(
            "stride_px: expected 1 to the side of a patch ({} px); found {stride_px}: {}",
            shapes.patch_px,
            model.name
        ),
        None => shapes,
    };
    let train = match need_train(asked, &shapes)? {
        true => Some(data::passage(uri, Split::Train, Role::Train, seed, limit)?),
        false => None,
    };
    let sides = Sides { train, test };
    let shapes = on_data(shapes, &sides, seed);
    Ok(Stage { model, view, sides, shapes, stride_px: recipe.stride_px })
}

impl Stage {
    /// Says what was opened, for `-v`.
    pub(crate) fn tell(&self, progress: &Progress) {
        let Self { model, view, sides, shapes, .. } = self;
        let weights = if model.is_untrained { "random weights" } else { "weights" };
        progress.detail(&format!(
            "{}: {weights} {}, {} blocks of width {}, patches of {} px",
            model.name, model.sha256, shapes.depth, shapes.width, shapes.patch_px
        ));
        let normalize = view.normalize.name().unwrap_or("numbers of its own");
        progress.detail(&format!("views: {} px, normalization {normalize}", view.size_px));
        for side in sides.train.iter().chain([&sides.test]) {
            progress.detail(&format!(
                "{}: {} of {} samples",
                side.data.name(),
                side.indices.len(),
                side.data.len()
            ));
        }
    }

    /// The model, to be asked.
    pub(crate) fn subject(&self, settings: &Settings) -> anyhow::Result<Subject<'_>> {
        self.subject_of(&self.model, Whose::Given, settings)
    }

    /// The same architecture with random weights, to be asked.
    pub(crate) fn untrained_subject<'a>(
        &'a self,
        model: &'a Model,
        settings: &Settings,
    ) -> anyhow::Result<Subject<'a>> {
        self.subject_of(model, Whose::Untrained, settings)
    }

    fn subject_of<'a>(
        &'a self,
        model: &'a Model,
        whose: Whose,
        settings: &Settings,
    ) -> anyhow::Result<Subject<'a>> {
        let section = Section {
            whose,
            weights_sha256: vec![model.sha256.clone()],
            views: vec![format!("{:?}", self.view)],
            shapes: Shapes { model: model.name.clone(), ..self.shapes.clone() },
        };
        let model = &model.backbone;
        let source = match self.stride_px {
            Some(stride_px) => Source::Strided { model, stride_px },
            None => Source::Model(model),
        };
        Ok(Subject { section, labs: vec![lab(source, &self.view, settings)?] })
    }

    /// The pixels themselves, at a side at which a vector of them stays small; values that are used as they are, at theirs.
    pub(crate) fn pixels_subject(&self, settings: &Settings) -> anyhow::Result<Subject<'static>> {
        let as_they_are = self.sides.test.data.name().starts_with("pixels:");
        let size_px = if as_they_are { self.view.size_px } else { self.view.size_px.min(RAW_PIXELS_PX) };
        let view = View { size_px, ..self.view };
        let section = Section {
            whose: Whose::RawPixels,
            weights_sha256: Vec::new(),
            views: vec![format!("{view:?}")],
            shapes: on_data(
                Shapes::of_pixels(view.size_px).seen_as(view.normalize),
                &self.sides,
                settings.seed,
            ),
        };
        Ok(Subject { section, labs: vec![lab(Source::Pixels, &view, settings)?] })
    }
}

/// All models, to be asked together on the data of the first.
///
/// # Errors
/// As [`lab`].
pub(crate) fn together<'a>(stages: &'a [Stage], settings: &Settings) -> anyhow::Result<Option<Subject<'a>>> {
    let mut subjects = stages.iter().map(|stage| stage.subject(settings));
    let Some(first) = subjects.next() else { return Ok(None) };
    let (mut first, mut beside) = (first?, Vec::new());
    for subject in subjects {
        let Subject { section, labs } = subject?;
        first.section.weights_sha256.extend(section.weights_sha256);
        first.section.views.extend(section.views);
        beside.push(section.shapes);
        first.labs.extend(labs);
    }
    first.section.shapes = first.section.shapes.beside(beside);
    Ok(Some(first))
}

/// What a study looks at in one pass over the data, and how.
pub(crate) struct Subject<'a> {
    /// What it is.
    pub(crate) section: Section,
    /// A lab for each model.
    pub(crate) labs: Vec<Lab<'a>>,
}

impl Subject<'_> {
    /// Opens a study for it; none where it is the pixels, and the study needs more than pixels.
    pub(crate) fn open(&self, asked: &Asked, sides: &Sides) -> anyhow::Result<Option<Box<dyn Opened>>> {
        match open_studies(std::slice::from_ref(asked), &self.section.shapes, sides) {
            Ok(mut opened) => Ok(opened.pop()),
            Err(StudyError::Model { .. }) if self.section.whose == Whose::RawPixels => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks it a study.
    pub(crate) fn ask(
        &self,
        asked: &Asked,
        sides: &Sides,
        progress: &Progress,
    ) -> anyhow::Result<Option<Told>> {
        let Some(study) = self.open(asked, sides)? else { return Ok(None) };
        let found = run_studies_together(&self.labs, vec![study], sides, &self.section.name(), progress)?;
        let section = self.section.clone();
        Ok(found.into_iter().next().map(|findings| Told { section, findings }))
    }
}

/// What a study found in one pass over the data.
pub(crate) struct Told {
    /// What it looked at.
    pub(crate) section: Section,
    /// What it found.
    pub(crate) findings: Findings,
}

/// The numbers below which nothing was learned: chance, raw pixels, the untrained model.
pub(crate) struct Floors {
    /// What raw pixels give.
    pub(crate) raw_pixels: Option<Metric>,
    /// What the same architecture gives with random weights.
    pub(crate) untrained: Option<Metric>,
}

/// Adds the floors to what a probe found: a metric each, and a table of all side by side.
pub(crate) fn add_floors(findings: &mut Findings, floors: &Floors) {
    let Some(own) = headline(findings).cloned() else { return };
    let chance = findings.metrics.iter().find(|metric| metric.name == "chance").cloned();
    let title = "Beside what needs no learning";
    let mut table = Table::new("floors", title, ["features", own.name.as_str(), "layer", "select"]);
    let rows = [
        ("chance", chance.as_ref()),
        ("raw pixels", floors.raw_pixels.as_ref()),
        ("untrained model", floors.untrained.as_ref()),
        ("this model", Some(&own)),
    ];
    for (features, metric) in rows {
        let Some(metric) = metric else { continue };
        table.push([
            Cell::from(features),
            Cell::from(metric.value),
            Cell::from(metric.layer),
            Cell::from(metric.select.clone()),
        ]);
    }
    findings.tables.push(table.note(
        "Chance, the pixels themselves (at most 32 px a side) and the same architecture with random weights, asked in the same way; only \
         what a model has beyond them was learned.",
    ));
    for (name, metric) in [("raw_pixels", &floors.raw_pixels), ("untrained", &floors.untrained)] {
        if let Some(metric) = metric {
            findings.metrics.push(Metric { name: name.into(), ..metric.clone() });
        }
    }
    if !findings.story.is_empty() {
        findings.story.insert(0, Block::Table("floors".into()));
    }
}

/// What ends a pass over the data after Ctrl-C.
pub(crate) fn interruption() -> StudyError {
    StudyError::Value { study: "run".into(), expected: "the end".into(), found: "Ctrl-C".into() }
}

/// The number that a study is known by: `best.top1`, else its first `best.…`, else none.
pub(crate) fn headline(findings: &Findings) -> Option<&Metric> {
    let named = |name: &str| findings.metrics.iter().find(|metric| metric.name == name);
    named("best.top1").or_else(|| findings.metrics.iter().find(|metric| metric.name.starts_with("best.")))
}

/// What a study answers with, and where it came from.
pub(crate) fn report_of(
    info: Info,
    kind: Kind,
    model: &str,
    data: &str,
    findings: Findings,
    provenance: Provenance,
) -> Report {
    let title = format!("{}: {model}", info.name);
    let mut report = Report::new(info.name, kind, title, model, data, provenance);
    report.metrics = findings.metrics;
    report.tables = findings.tables;
    report.figures = findings.figures;
    report.arrays = findings.arrays;
    if !findings.story.is_empty() {
        report.story.push(Block::Text(format!("{}. Source: {}.", sentence(info.line), info.source)));
        report.story.extend(findings.story);
    }
    report
}

/// The line with a capital letter.
pub(crate) fn sentence(line: &str) -> String {
    let mut letters = line.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
