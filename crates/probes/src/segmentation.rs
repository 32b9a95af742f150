//! Linear segmentation: can a linear classifier of single patches tell which part is where, layer by layer?

use crate::patches::{self, check_facets, ids_in_view};
use crate::scores::{self, Score, Words};
use measure::confusion::Confusion;
use measure::interval::{Interval, t_interval};
use measure::linear::ridge::Moments;
use measure::linear::{Linear, Samples};
use measure::nearest::l2_normalize_rows;
use measure::resample::bilinear;
use ndarray::{Array2, Array3, ArrayView2, Axis, concatenate};
use rayon::prelude::*;
use report::{Block, Cell, Info, Metric, Recipe, RecipeError, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_features::{
    Accumulate, Bank, BatchInfo, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken,
};

/// The options of [`Segmentation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SegmentationConfig {
    /// What is asked at every layer: `token`, `query`, `key`, `value`.
    pub facets: Vec<String>,
    /// What is told apart: `parts`, the `object` from its background, or the `class` of the object.
    pub target: Target,
    /// Side in pixels at which masks are compared, at most that of the view; 100 in Leopart.
    pub eval_px: usize,
    /// Training images by which the penalty and the best layer are chosen.
    pub n_held_out: usize,
    /// Exponents of 2 between which every fourth is tried as penalty.
    pub log2_lambdas: [i32; 2],
    /// Features beyond this many MiB are kept in temporary files; changes no number.
    pub memory_mib: usize,
}

/// What is told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The parts of objects, and background.
    #[default]
    Parts,
    /// Object and background.
    Object,
    /// The classes of objects, and background.
    Class,
}

impl Default for SegmentationConfig {
    fn default() -> Self {
        Self {
            facets: vec!["token".into()],
            target: Target::Parts,
            eval_px: 100,
            n_held_out: 300,
            log2_lambdas: [-24, 0],
            memory_mib: 2048,
        }
    }
}

impl Recipe for SegmentationConfig {
    fn check(&self) -> Result<(), RecipeError> {
        check_facets(&self.facets)?;
        for (key, value) in [("eval_px", self.eval_px), ("n_held_out", self.n_held_out)] {
            if value == 0 {
                return Err(RecipeError::value(key, "at least 1", "0"));
            }
        }
        let [low, high] = self.log2_lambdas;
        if low > high || low < -60 || high > 60 {
            let found = format!("{:?}", self.log2_lambdas);
            return Err(RecipeError::value(
                "log2_lambdas",
                "two exponents between -60 and 60, the lower first",
                found,
            ));
        }
        Ok(())
    }
}

/// A ridge regression onto the class of every patch, in closed form; its scores are made larger bilinearly, and the greatest
/// at each pixel is compared with the truth.
///
/// # Source
/// Ziegler and Asano, Leopart (a 1×1 convolution on frozen tokens, mIoU at 100 px). *Differs*: the least squares of one-against-all
/// targets in place of stochastic descent, so that nothing depends on a learning rate; patches have length 1.
pub struct Segmentation;

/// What is seen of images whose masks are compared later.
#[derive(Serialize, Deserialize)]
struct Compared {
    features: Bank,
    /// `[eval, eval]` of each image, one after another.
    truths: Vec<u8>,
    indices: Vec<usize>,
}

/// Sums over training patches, and the patches of held-out and test images.
///
/// Memory: `D² · 8` bytes and the patches of held-out and test images for each select, at most `memory_mib` of these in memory.
#[derive(Serialize, Deserialize)]
pub struct SegmentationAcc {
    target: Target,
    n_kinds: usize,
    eval_px: usize,
    /// Every how many-th image is held out.
    held_out_every: usize,
    wanted: Vec<Select>,
    grid: (usize, usize),
    fit: BTreeMap<Select, Moments>,
    chosen_by: BTreeMap<Select, Moments>,
    held_out: Compared,
    test: Compared,
}

fn value_error(expected: impl Into<String>, found: impl Into<String>) -> StudyError {
    StudyError::Value {
        study: Segmentation::INFO.name.into(),
        expected: expected.into(),
        found: found.into(),
    }
}

impl Compared {
    fn new(config: &SegmentationConfig) -> Self {
        let features = Bank::new(Segmentation::INFO.name, config.memory_mib << 19);
        Self { features, truths: Vec::new(), indices: Vec::new() }
    }

    /// Keeps one image.
    fn push(
        &mut self,
        taken: &Taken,
        image: usize,
        truth: &Array2<u8>,
        wanted: &[Select],
    ) -> Result<(), StudyError> {
        let mut own = BTreeMap::new();
        for &select in wanted {
            let Some((shape, values)) = taken.features.get(&select) else {
                return Err(value_error(format!("features of {select}"), "none"));
            };
            let n = shape[1..].iter().product::<usize>();
            own.insert(select, (vec![1, n], values[image * n..(image + 1) * n].to_vec()));
        }
        // A bank wants classes; here it is the pixels that have them.
        let index = taken.info.indices[image];
        let info = BatchInfo { labels: &[Some(0)], indices: &[index], truths: &[], boxes: &[], ..taken.info };
        self.features.push(&Taken { info, features: &own }, wanted)?;
        self.truths.extend(truth.iter());
        self.indices.push(index);
        Ok(())
    }

    fn append(&mut self, later: Self) {
        self.features.append(later.features);
        self.truths.extend(later.truths);
        self.indices.extend(later.indices);
    }
}

impl SegmentationAcc {
    /// What is in an image of these masks, at the middles of `side × side` cells.
    fn truth(&self, taken: &Taken, image: usize, cells: (usize, usize)) -> Result<Array2<u8>, StudyError> {
        let (truth, view) = (&taken.info.truths[image], &taken.info.boxes[image]);
        let index = taken.info.indices[image];
        let map = if self.target == Target::Parts { &truth.parts } else { &truth.mask };
        let Some(map) = map else {
            return Err(value_error("a mask for every sample", format!("none for sample {index}")));
        };
        let ids = ids_in_view(map, view, cells);
        let kinds = match self.target {
            Target::Parts => ids,
            Target::Object => ids.mapv(|id| u8::from(id > 0)),
            Target::Class => {
                let class = truth.label.ok_or_else(|| {
                    value_error("a class for every sample", format!("none for sample {index}"))
                })?;
                ids.mapv(|id| if id > 0 { class as u8 + 1 } else { 0 })
            }
        };
        match kinds.iter().find(|&&kind| usize::from(kind) >= self.n_kinds) {
            Some(kind) => {
                Err(value_error(format!("ids below {}", self.n_kinds), format!("{kind} in sample {index}")))
            }
            None => Ok(kinds),
        }
    }
}

impl Accumulate for SegmentationAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        let eval = (self.eval_px, self.eval_px);
        // Images and the kinds of their patches: those that are learned from, and those that are held out.
        let mut learned: [(Vec<usize>, Vec<u32>); 2] = Default::default();
        for image in 0..taken.info.indices.len() {
            if taken.info.role == Role::Test {
                let truth = self.truth(taken, image, eval)?;
                self.test.push(taken, image, &truth, &self.wanted)?;
                continue;
            }
            let is_held_out = taken.info.indices[image].is_multiple_of(self.held_out_every);
            if is_held_out {
                let truth = self.truth(taken, image, eval)?;
                self.held_out.push(taken, image, &truth, &self.wanted)?;
            }
            let (images, labels) = &mut learned[usize::from(is_held_out)];
            images.push(image);
            labels.extend(self.truth(taken, image, self.grid)?.iter().map(|&kind| u32::from(kind)));
        }
        let n_patches = self.grid.0 * self.grid.1;
        for ((images, labels), sums) in learned.iter().zip([&mut self.fit, &mut self.chosen_by]) {
            let all: Vec<usize> = (0..labels.len()).collect();
            for &select in self.wanted.iter().filter(|_| !images.is_empty()) {
                let of = |&image: &usize| {
                    patches::unit_of_image(Segmentation::INFO.name, taken, select, image, n_patches)
                };
                let rows = images.iter().map(of).collect::<Result<Vec<_>, _>>()?;
                let views: Vec<_> = rows.iter().map(|rows| rows.view()).collect();
                let rows = concatenate(Axis(0), &views)
                    .map_err(|error| value_error("patches of one width", error.to_string()))?;
                let own = Moments::of(&Samples { rows: rows.view(), labels, of: &all }, self.n_kinds);
                let sum = match sums.remove(&select) {
                    Some(sum) => sum.plus(&own),
                    None => own,
                };
                sums.insert(select, sum);
            }
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        for (sums, later) in [(&mut self.fit, later.fit), (&mut self.chosen_by, later.chosen_by)] {
            for (select, later) in later {
                let sum = match sums.remove(&select) {
                    Some(sum) => sum.plus(&later),
                    None => later,
                };
                sums.insert(select, sum);
            }
        }
        self.held_out.append(later.held_out);
        self.test.append(later.test);
    }
}

/// What is told apart, background first.
fn kinds(config: &SegmentationConfig, shapes: &Shapes) -> Vec<String> {
    let things = match config.target {
        Target::Parts => shapes.parts.clone(),
        Target::Object => vec!["object".into()],
        Target::Class => {
            (0..shapes.n_classes).map(|class| crate::by_layer::class_name(shapes, class)).collect()
        }
    };
    std::iter::once("background".to_owned()).chain(things).collect()
}

impl Study for Segmentation {
    const INFO: Info = Info {
        name: "segmentation",
        line: "which part is where, by a linear classifier of single patches, at every layer: mean IoU",
        source: "Ziegler and Asano 2022 (Leopart)",
    };
    const PROTOCOL: &'static str = "\
A linear classifier of single patches, each divided by its length, is found by least squares onto +1 at the kind in the
middle of the patch and -1 elsewhere. Its scores are made larger bilinearly to eval_px, and the greatest at each pixel is
compared with the truth: intersection over union of each kind over all pixels, averaged over the kinds that there are. The
penalty and the best layer are chosen on held-out training images.";
    type Config = SegmentationConfig;
    type Acc = SegmentationAcc;

    fn needs(config: &SegmentationConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let selects = patches::candidates(Self::INFO.name, &config.facets, shapes)?;
        let (parts, labels) = (config.target == Target::Parts, config.target == Target::Class);
        Ok(Needs { selects, train: true, labels, parts, masks: !parts, ..Needs::default() })
    }

    fn open(config: &SegmentationConfig, shapes: &Shapes) -> SegmentationAcc {
        let view_px = shapes.grid.rows.min(shapes.grid.columns) * shapes.patch_px;
        SegmentationAcc {
            target: config.target,
            n_kinds: kinds(config, shapes).len(),
            eval_px: config.eval_px.min(view_px),
            held_out_every: shapes.n_train.div_ceil(config.n_held_out).max(2),
            // What the model cannot have was refused by `needs`.
            wanted: patches::candidates(Self::INFO.name, &config.facets, shapes).unwrap_or_default(),
            grid: (shapes.grid.rows, shapes.grid.columns),
            fit: BTreeMap::new(),
            chosen_by: BTreeMap::new(),
            held_out: Compared::new(config),
            test: Compared::new(config),
        }
    }

    fn small() -> SegmentationConfig {
        SegmentationConfig { log2_lambdas: [-8, -4], ..SegmentationConfig::default() }
    }

    fn finish(
        config: &SegmentationConfig,
        shapes: &Shapes,
        acc: SegmentationAcc,
    ) -> Result<Findings, StudyError> {
        if acc.fit.is_empty() || acc.held_out.indices.is_empty() || acc.test.indices.len() < 2 {
            let found = format!(
                "{} held out and {} to test, {} to learn from",
                acc.held_out.indices.len(),
                acc.test.indices.len(),
                if acc.fit.is_empty() { "none" } else { "some" }
            );
            let expected = "training images, held-out ones, and at least 2 test images";
            return Err(StudyError::too_few(Self::INFO.name, expected, found));
        }
        let [low, high] = config.log2_lambdas;
        // The strongest first: of equals it is chosen.
        let lambdas: Vec<f64> = (low..=high).rev().step_by(4).map(|exponent| 2f64.powi(exponent)).collect();
        let mut answers = Vec::new();
        for &select in &acc.wanted {
            answers.push(answer(&acc, select, &lambdas)?);
        }
        findings(config, shapes, &acc, &answers)
    }
}

/// What came out at one select.
struct Answer {
    select: Select,
    lambda: f64,
    held_out: f64,
    confusion: Confusion,
    /// Of every test image.
    by_image: Vec<f64>,
}

fn answer(acc: &SegmentationAcc, select: Select, lambdas: &[f64]) -> Result<Answer, StudyError> {
    let (Some(fit), Some(chosen_by)) = (acc.fit.get(&select), acc.chosen_by.get(&select)) else {
        return Err(value_error(format!("training patches of {select}"), "none"));
    };
    let (held_out, test) = (acc.held_out.features.features(select)?, acc.test.features.features(select)?);
    let mut best: Option<(f64, f64)> = None;
    for &lambda in lambdas {
        let compared = compare(acc, &fit.solve(lambda), &held_out.1, &acc.held_out);
        let score = whole(acc.n_kinds, &compared).mean_iou();
        if best.is_none_or(|(_, most)| score > most) {
            best = Some((lambda, score));
        }
    }
    let Some((lambda, held_out)) = best else { return Err(value_error("at least one penalty", "none")) };
    let compared = compare(acc, &fit.plus(chosen_by).solve(lambda), &test.1, &acc.test);
    let by_image = compared.iter().map(Confusion::mean_iou).collect();
    Ok(Answer { select, lambda, held_out, confusion: whole(acc.n_kinds, &compared), by_image })
}

/// The sum over images.
fn whole(n_kinds: usize, compared: &[Confusion]) -> Confusion {
    let mut all = Confusion::nothing(n_kinds);
    compared.iter().for_each(|one| all.counts += &one.counts);
    all
}

/// What each image's pixels are taken for.
fn compare(
    acc: &SegmentationAcc,
    classifier: &Linear,
    features: &[f32],
    images: &Compared,
) -> Vec<Confusion> {
    let n_patches = acc.grid.0 * acc.grid.1;
    let width = classifier.weights.ncols();
    let n_pixels = acc.eval_px * acc.eval_px;
    let of: Vec<usize> = (0..n_patches).collect();
    (0..images.indices.len())
        .into_par_iter()
        .map(|image| {
            let own = &features[image * n_patches * width..(image + 1) * n_patches * width];
            let Ok(rows) = ArrayView2::from_shape((n_patches, width), own) else {
                panic!("segmentation: {} features of {n_patches} patches of width {width}", own.len())
            };
            let scores = classifier.scores(l2_normalize_rows(rows).view(), &of);
            let truth = &images.truths[image * n_pixels..(image + 1) * n_pixels];
            confusion(acc, &scores, truth)
        })
        .collect()
}

/// Scores of patches, `[N, kinds]`, made as large as the truth; the greatest at each pixel against it.
fn confusion(acc: &SegmentationAcc, scores: &Array2<f64>, truth: &[u8]) -> Confusion {
    let columns = acc.grid.1;
    let maps = Array3::from_shape_fn((acc.n_kinds, acc.grid.0, columns), |(kind, y, x)| {
        scores[[y * columns + x, kind]]
    });
    let maps = bilinear(maps.view(), acc.eval_px, acc.eval_px);
    let mut confusion = Confusion::nothing(acc.n_kinds);
    for (pixel, &kind) in truth.iter().enumerate() {
        let (y, x) = (pixel / acc.eval_px, pixel % acc.eval_px);
        let best = (1..acc.n_kinds)
            .fold(0, |best, kind| if maps[[kind, y, x]] > maps[[best, y, x]] { kind } else { best });
        confusion.add(kind.into(), best as u32);
    }
    confusion
}

fn findings(
    config: &SegmentationConfig,
    shapes: &Shapes,
    acc: &SegmentationAcc,
    answers: &[Answer],
) -> Result<Findings, StudyError> {
    let mut findings = Findings::default();
    let scored: Vec<Score> = answers
        .iter()
        .map(|answer| {
            let mean_iou = answer.confusion.mean_iou();
            // Around the mIoU of all pixels, as wide as that of the images' own.
            let own = t_interval(&answer.by_image);
            let half = 0.5 * (own.high - own.low);
            Score {
                select: answer.select,
                held_out: answer.held_out,
                test: mean_iou,
                interval: Interval { low: mean_iou - half, high: mean_iou + half },
                beside: vec![answer.confusion.mean_iou_of_all(), answer.confusion.accuracy(), answer.lambda],
            }
        })
        .collect();
    // Without looking: background everywhere. With perfect features: the truth of every patch, made larger.
    let (mut chance, mut ceiling) = (Confusion::nothing(acc.n_kinds), Confusion::nothing(acc.n_kinds));
    let n_pixels = acc.eval_px * acc.eval_px;
    for truth in acc.test.truths.chunks_exact(n_pixels) {
        truth.iter().for_each(|&kind| chance.add(kind.into(), 0));
        ceiling.counts += &confusion(acc, &of_truth(acc, truth), truth).counts;
    }
    let words = Words {
        study: Segmentation::INFO.name,
        metric: "miou",
        title: "Linear segmentation",
        caption: "Mean intersection over union of what a linear classifier of single patches tells apart. Chance is background everywhere; the \
                  ceiling is the truth at the middle of every patch, made larger in the same way.",
        settings: format!(
            "{} test images at {} px; {} kinds; one-against-all least squares",
            acc.test.indices.len(),
            acc.eval_px,
            acc.n_kinds
        ),
        beside: &["miou_of_all", "pixel_accuracy", "lambda"],
        chance: chance.mean_iou(),
        ceiling: ceiling.mean_iou(),
    };
    let best = scores::tell(&words, shapes, &scored, &mut findings)?;
    let mut table =
        Table::new("by_kind", "Every kind at the best layer", ["kind", "iou", "ceiling", "share of pixels"]);
    let n = answers[best].confusion.counts.sum() as f64;
    for (kind, name) in kinds(config, shapes).into_iter().enumerate() {
        let share = answers[best].confusion.n_true(kind) as f64 / n;
        let Some(iou) = answers[best].confusion.iou(kind) else { continue };
        findings.metrics.push(Metric::new("best.iou", iou, "ratio").param("kind", name.as_str()));
        table.push([Cell::from(name), Cell::from(iou), Cell::from(ceiling.iou(kind)), Cell::from(share)]);
    }
    findings
        .tables
        .push(table.note("Kinds that are nowhere in the test side, in truth or prediction, are left out."));
    findings.story.push(Block::Table("by_kind".into()));
    Ok(findings)
}

/// The truth at the middle of every patch as scores, `[N, kinds]`.
fn of_truth(acc: &SegmentationAcc, truth: &[u8]) -> Array2<f64> {
    let (rows, columns) = acc.grid;
    let mut scores = Array2::zeros((rows * columns, acc.n_kinds));
    for patch in 0..rows * columns {
        let at = |place: usize, side: usize| (2 * place + 1) * acc.eval_px / (2 * side);
        let kind = truth[at(patch / columns, rows) * acc.eval_px + at(patch % columns, columns)];
        scores[[patch, usize::from(kind)]] = 1.0;
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{noise, show, value};
    use vit_core::{Grid, Site};
    use vit_data::{LabelMap, Truth};
    use vit_features::{Part, Place};

    /// Learns on 12 and asks 8 images of 32 px whose 8 × 8 object has two halves; `feature(kind, image, patch)`.
    fn asked(feature: impl Fn(u8, usize, usize) -> Vec<f32>) -> Findings {
        let config = SegmentationConfig { n_held_out: 4, ..SegmentationConfig::default() };
        let shapes = Shapes {
            depth: 1,
            blocks: vec![0],
            grid: Grid { rows: 8, columns: 8 },
            patch_px: 4,
            n_train: 12,
            parts: vec!["left".into(), "right".into()],
            ..Shapes::of_pixels(32)
        };
        let mut acc = Segmentation::open(&config, &shapes);
        let select = Select { place: Place::At(Site::Block(0)), part: Part::Patches };
        for (role, n) in [(Role::Train, 12usize), (Role::Test, 8)] {
            for image in 0..n {
                let (left, top) = (image * 5 % 4 * 4, image * 3 % 5 * 4);
                let kind = |pixel: usize| {
                    let (x, y) = (pixel % 32, pixel / 32);
                    if !(left..left + 16).contains(&x) || !(top..top + 12).contains(&y) {
                        0
                    } else {
                        1 + u8::from(x >= left + 8)
                    }
                };
                let parts = LabelMap { width_px: 32, height_px: 32, ids: (0..1024).map(kind).collect() };
                let of = |patch: usize| kind((patch / 8 * 4 + 2) * 32 + patch % 8 * 4 + 2);
                let values: Vec<f32> = (0..64).flat_map(|patch| feature(of(patch), image, patch)).collect();
                let truth = Truth { parts: Some(parts), ..Truth::default() };
                let shape = [64, values.len() / 64];
                show(&mut acc, (role, image), &[truth], 32.0, (select, &shape, values));
            }
        }
        Segmentation::finish(&config, &shapes, acc).expect("findings")
    }

    #[test]
    fn the_kind_of_every_patch_reaches_the_ceiling_and_noise_stays_near_chance() {
        let perfect = asked(|kind, _, _| (0..3).map(|k| f32::from(u8::from(k == kind))).collect());
        let (found, ceiling) = (value(&perfect, "best.miou"), value(&perfect, "ceiling"));
        assert!(ceiling > 0.8 && (found - ceiling).abs() < 1e-9, "{found} and {ceiling}");
        let noise = asked(|_, image, patch| (0..3).map(|d| noise((image * 64 + patch) * 3 + d)).collect());
        let (found, chance) = (value(&noise, "best.miou"), value(&noise, "chance"));
        // Background covers 13 of 16: its IoU over three kinds.
        assert!((chance - 0.8125 / 3.0).abs() < 0.01, "{chance}");
        assert!((found - chance).abs() < 0.05, "{found} and {chance}");
    }
}
