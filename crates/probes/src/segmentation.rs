//! Linear segmentation: can a linear classifier of single patches tell which part is where, layer by layer?

use crate::dense::{Kept, Reading, Target};
use crate::patches::{self, check_facets};
use crate::scores::{self, Score, Words};
use measure::confusion::Confusion;
use measure::linear::Linear;
use measure::linear::discriminant::Discriminant;
use measure::linear::ridge::Moments;
use measure::nearest::l2_normalize_rows;
use measure::resample::bilinear_argmax;
use ndarray::{Array2, ArrayView2, Axis, concatenate};
use rayon::prelude::*;
use report::{Block, Cell, Info, Metric, Recipe, RecipeError, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_features::{Accumulate, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken};

/// The options of [`Segmentation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SegmentationConfig {
    /// What is asked at every layer: `token`, `query`, `key`, `value`.
    pub facets: Vec<String>,
    /// What is told apart: `parts`, the `object` from its background, the `class` of the object, or `semantic`: the
    /// class of every pixel.
    pub target: Target,
    /// Side in pixels at which masks are compared, at most that of the view; 100 in Leopart.
    pub eval_px: usize,
    /// Training images, at most one in four, by which the penalty, the weight of the kinds' frequencies and the best layer are chosen.
    pub n_held_out: usize,
    /// Exponents of 2 between which every fourth is tried as what is added to the covariance.
    pub log2_lambdas: [i32; 2],
    /// How often the logarithm of a kind's share may count, 0–1: with 1 most pixels are right, with 0 every kind counts alike.
    pub priors: Vec<f64>,
    /// Features beyond this many MiB are kept in temporary files; changes no number.
    pub memory_mib: usize,
}

impl Default for SegmentationConfig {
    fn default() -> Self {
        Self {
            facets: vec!["token".into()],
            target: Target::Parts,
            eval_px: 100,
            n_held_out: 300,
            log2_lambdas: [-24, 0],
            priors: vec![0.0, 0.25, 0.5, 0.75, 1.0],
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
        if self.priors.is_empty() || self.priors.iter().any(|prior| !(0.0..=1.0).contains(prior)) {
            return Err(RecipeError::value(
                "priors",
                "at least one, each 0 to 1",
                format!("{:?}", self.priors),
            ));
        }
        Ok(())
    }
}

/// Linear discriminants of the kinds that a patch shows, in closed form; their scores are made larger bilinearly, and the greatest
/// at each pixel is compared with the truth.
///
/// # Source
/// Ziegler and Asano, Leopart (a 1×1 convolution on frozen tokens, mIoU at 100 px). *Differs*: discriminants in place of stochastic
/// descent on the cross-entropy, so that nothing depends on a learning rate; the weight of the kinds' frequencies is chosen on what is held
/// out, as a classifier that is right on most pixels calls everything background; patches have length 1.
pub struct Segmentation;

/// Sums over training patches, and the patches of held-out and test images.
///
/// Memory: `D² · 8` bytes and the patches of held-out and test images for each select, at most `memory_mib` of these in memory.
#[derive(Serialize, Deserialize)]
pub struct SegmentationAcc {
    reading: Reading,
    /// One image in so many is held out.
    held_out_every: usize,
    wanted: Vec<Select>,
    fit: BTreeMap<Select, Moments>,
    chosen_by: BTreeMap<Select, Moments>,
    held_out: Kept,
    test: Kept,
}

fn value_error(expected: impl Into<String>, found: impl Into<String>) -> StudyError {
    StudyError::Value {
        study: Segmentation::INFO.name.into(),
        expected: expected.into(),
        found: found.into(),
    }
}

impl Accumulate for SegmentationAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        let (study, eval) = (Segmentation::INFO.name, (self.reading.eval_px, self.reading.eval_px));
        // Images and the shares of the kinds in their patches: those that are learned from, and those that are held out.
        let mut learned: [(Vec<usize>, Vec<f64>); 2] = Default::default();
        for image in 0..taken.info.indices.len() {
            let truth = self.reading.truth(study, &taken.info, image, eval)?;
            if taken.info.role == Role::Test {
                self.test.push(study, taken, image, &truth, &self.wanted)?;
                continue;
            }
            let is_held_out = patches::is_one_in(self.held_out_every, taken.info.indices[image]);
            if is_held_out {
                self.held_out.push(study, taken, image, &truth, &self.wanted)?;
            }
            let (images, shares) = &mut learned[usize::from(is_held_out)];
            images.push(image);
            shares.extend(self.reading.shares(truth.iter().copied()));
        }
        let (n_patches, n_kinds) = (self.reading.n_patches(), self.reading.n_kinds);
        for ((images, shares), sums) in learned.into_iter().zip([&mut self.fit, &mut self.chosen_by]) {
            let Ok(shares) = Array2::from_shape_vec((images.len() * n_patches, n_kinds), shares) else {
                return Err(value_error("shares of every patch", "others"));
            };
            // Of patches of which nobody says what they show, nothing is learned.
            let known: Vec<usize> =
                (0..shares.nrows()).filter(|&patch| shares.row(patch).sum() > 0.5).collect();
            for &select in self.wanted.iter().filter(|_| !images.is_empty()) {
                let of = |&image: &usize| patches::unit_of_image(study, taken, select, image, n_patches);
                let rows = images.iter().map(of).collect::<Result<Vec<_>, _>>()?;
                let views: Vec<_> = rows.iter().map(|rows| rows.view()).collect();
                let rows = concatenate(Axis(0), &views)
                    .map_err(|error| value_error("patches of one width", error.to_string()))?;
                let own = Moments::of_shares(rows.view(), shares.view(), &known);
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

impl Study for Segmentation {
    const INFO: Info = Info {
        name: "segmentation",
        line: "which part is where, by a linear classifier of single patches, at every layer: mean IoU",
        source: "Ziegler and Asano 2022 (Leopart)",
    };
    const PROTOCOL: &'static str = "\
Linear discriminants of single patches, each divided by its length: kinds are normally distributed around their means with one
covariance, and a patch counts for every kind by the share of its pixels. Scores are made larger bilinearly to eval_px, and the
greatest at each pixel is compared with the truth: intersection over union of each kind over all pixels, averaged over the kinds
that there are. What is added to the covariance, how much the frequency of a kind counts (tried by the patch) and the best layer
(by the pixel) are chosen on held-out training images.";
    type Config = SegmentationConfig;
    type Acc = SegmentationAcc;

    fn needs(config: &SegmentationConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let selects = patches::candidates(Self::INFO.name, &config.facets, shapes)?;
        Ok(config.target.needs(Needs { selects, train: true, ..Needs::default() }))
    }

    fn open(config: &SegmentationConfig, shapes: &Shapes) -> SegmentationAcc {
        let kept = || Kept::new(Self::INFO.name, config.memory_mib << 19);
        SegmentationAcc {
            reading: Reading::new(config.target, config.eval_px, shapes),
            held_out_every: shapes.n_train.div_ceil(config.n_held_out).max(4),
            // What the model cannot have was refused by `needs`.
            wanted: patches::candidates(Self::INFO.name, &config.facets, shapes).unwrap_or_default(),
            fit: BTreeMap::new(),
            chosen_by: BTreeMap::new(),
            held_out: kept(),
            test: kept(),
        }
    }

    fn protocols() -> Vec<(&'static str, &'static str, SegmentationConfig)> {
        let leopart = SegmentationConfig { target: Target::Semantic, ..SegmentationConfig::default() };
        let words = "Ziegler and Asano 2022: the class of every pixel by a linear classifier of tokens, masks at 100 px; views of 448 px \
                     (--size 448); discriminants in place of descent on the cross-entropy";
        vec![("leopart", words, leopart)]
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
            answers.push(answer(config, &acc, select, &lambdas)?);
        }
        findings(config, shapes, &acc, &answers)
    }
}

/// What came out at one select.
struct Answer {
    select: Select,
    lambda: f64,
    prior: f64,
    held_out: f64,
    confusion: Confusion,
    /// Of every test image.
    by_image: Vec<f64>,
}

fn answer(
    config: &SegmentationConfig,
    acc: &SegmentationAcc,
    select: Select,
    lambdas: &[f64],
) -> Result<Answer, StudyError> {
    let (Some(fit), Some(chosen_by)) = (acc.fit.get(&select), acc.chosen_by.get(&select)) else {
        return Err(value_error(format!("training patches of {select}"), "none"));
    };
    let tried: Vec<Discriminant> = lambdas.iter().map(|&lambda| Discriminant::of(fit, lambda)).collect();
    let (at_lambda, at_prior) = best_by_patch(config, acc, select, &tried)?;
    let (lambda, prior) = (lambdas[at_lambda], config.priors[at_prior]);
    let compared = compare(acc, &tried[at_lambda].classifier(prior), select, &acc.held_out)?;
    let held_out = whole(acc.reading.n_kinds, &compared).mean_iou();
    let classifier = Discriminant::of(&fit.plus(chosen_by), lambda).classifier(prior);
    let compared = compare(acc, &classifier, select, &acc.test)?;
    let by_image = compared.iter().filter(|one| one.counts.sum() > 0).map(Confusion::mean_iou).collect();
    let confusion = whole(acc.reading.n_kinds, &compared);
    Ok(Answer { select, lambda, prior, held_out, confusion, by_image })
}

/// Which penalty and which weight of the frequencies do best on the held-out images when every patch is taken for one kind; the first of
/// equals.
fn best_by_patch(
    config: &SegmentationConfig,
    acc: &SegmentationAcc,
    select: Select,
    tried: &[Discriminant],
) -> Result<(usize, usize), StudyError> {
    let (reading, images) = (&acc.reading, &acc.held_out);
    let (n_patches, n_kinds, n_priors) = (reading.n_patches(), reading.n_kinds, config.priors.len());
    let mut confusions = vec![Confusion::nothing(n_kinds); tried.len() * n_priors];
    for block in images.features.blocks(select)? {
        let features = images.features.rows(select, block.clone())?;
        let width = features.len() / (block.len() * n_patches).max(1);
        let Ok(rows) = ArrayView2::from_shape((block.len() * n_patches, width), &features) else {
            panic!("segmentation: {} features of width {width}", features.len())
        };
        let rows = l2_normalize_rows(rows);
        let of: Vec<usize> = (0..rows.nrows()).collect();
        let truths = &images.truths[block.start * reading.n_pixels()..block.end * reading.n_pixels()];
        // How many pixels of each kind a patch shows.
        let shown: Vec<Vec<(usize, usize)>> = truths
            .chunks_exact(reading.n_pixels())
            .flat_map(|truth| reading.pixels_of_patches(truth))
            .collect();
        confusions.par_chunks_mut(n_priors).zip(tried).for_each(|(confusions, discriminant)| {
            let scores = discriminant.classifier(0.0).scores(rows.view(), &of);
            for (confusion, &prior) in confusions.iter_mut().zip(&config.priors) {
                let weighed = prior * discriminant.log_prior();
                for (row, shown) in scores.rows().into_iter().zip(&shown) {
                    let found = row.iter().zip(&weighed).map(|(score, more)| score + more).enumerate();
                    let best = found
                        .fold((0, f64::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best });
                    shown.iter().for_each(|&(kind, n)| confusion.counts[[kind, best.0]] += n);
                }
            }
        });
    }
    let scores: Vec<f64> = confusions.iter().map(Confusion::mean_iou).collect();
    let best = (0..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best });
    Ok((best / n_priors, best % n_priors))
}

/// The sum over images.
fn whole(n_kinds: usize, compared: &[Confusion]) -> Confusion {
    let mut all = Confusion::nothing(n_kinds);
    compared.iter().for_each(|one| all.counts += &one.counts);
    all
}

/// What each image's pixels are taken for; features are read in blocks of images.
fn compare(
    acc: &SegmentationAcc,
    classifier: &Linear,
    select: Select,
    images: &Kept,
) -> Result<Vec<Confusion>, StudyError> {
    let n_patches = acc.reading.n_patches();
    let width = classifier.weights.ncols();
    let n_pixels = acc.reading.n_pixels();
    let of: Vec<usize> = (0..n_patches).collect();
    let mut all = Vec::with_capacity(images.len());
    for block in images.features.blocks(select)? {
        let features = images.features.rows(select, block.clone())?;
        all.par_extend(block.clone().into_par_iter().map(|image| {
            let from = image - block.start;
            let own = &features[from * n_patches * width..(from + 1) * n_patches * width];
            let Ok(rows) = ArrayView2::from_shape((n_patches, width), own) else {
                panic!("segmentation: {} features of {n_patches} patches of width {width}", own.len())
            };
            let scores = classifier.scores(l2_normalize_rows(rows).view(), &of);
            let truth = &images.truths[image * n_pixels..(image + 1) * n_pixels];
            confusion(&acc.reading, &scores, truth)
        }));
    }
    Ok(all)
}

/// Scores of patches, `[N, kinds]`, made as large as the truth; the greatest at each pixel against it.
fn confusion(reading: &Reading, scores: &Array2<f64>, truth: &[u8]) -> Confusion {
    let found = bilinear_argmax(scores.view(), reading.grid, reading.eval_px, reading.eval_px);
    let mut confusion = Confusion::nothing(reading.n_kinds);
    confusion.add_pixels(truth, &found);
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
            Score {
                select: answer.select,
                held_out: answer.held_out,
                test: mean_iou,
                interval: scores::around(mean_iou, &answer.by_image),
                beside: vec![
                    answer.confusion.mean_iou_of_all(),
                    answer.confusion.accuracy(),
                    answer.lambda,
                    answer.prior,
                ],
            }
        })
        .collect();
    // Without looking: background everywhere. With perfect features: the truth of every patch, made larger.
    let (mut chance, mut ceiling) =
        (Confusion::nothing(acc.reading.n_kinds), Confusion::nothing(acc.reading.n_kinds));
    for truth in acc.test.each_truth(&acc.reading) {
        chance.add_pixels(truth, &vec![0; truth.len()]);
        ceiling.counts += &confusion(&acc.reading, &of_truth(&acc.reading, truth), truth).counts;
    }
    let words = Words {
        study: Segmentation::INFO.name,
        metric: "miou",
        title: "Linear segmentation",
        caption: "Mean intersection over union of what a linear classifier of single patches tells apart. Chance is background everywhere; the \
                  ceiling is the truth at the middle of every patch, made larger in the same way.",
        settings: format!(
            "{} test images at {} px; {} kinds; linear discriminants",
            acc.test.indices.len(),
            acc.reading.eval_px,
            acc.reading.n_kinds
        ),
        beside: &["miou_of_all", "pixel_accuracy", "lambda", "prior"],
        chance: chance.mean_iou(),
        ceiling: ceiling.mean_iou(),
    };
    let best = scores::tell(&words, shapes, &scored, &mut findings)?;
    let mut table =
        Table::new("by_kind", "Every kind at the best layer", ["kind", "iou", "ceiling", "share of pixels"]);
    let n = answers[best].confusion.counts.sum() as f64;
    for (kind, name) in config.target.kinds(shapes).into_iter().enumerate() {
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

/// The truth at the middle of every patch as scores, `[N, kinds]`; where nobody says, none is greater.
fn of_truth(reading: &Reading, truth: &[u8]) -> Array2<f64> {
    let mut scores = Array2::zeros((reading.n_patches(), reading.n_kinds));
    for (patch, kind) in reading.of_patches(truth).into_iter().enumerate() {
        if let Some(score) = scores.get_mut([patch, usize::from(kind)]) {
            *score = 1.0;
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staged::{Stage, noise, value};

    /// Learns on 12 and asks 8 images whose object has two halves.
    fn asked(feature: &dyn Fn(u8, usize, usize) -> Vec<f32>) -> Findings {
        let config = SegmentationConfig { n_held_out: 4, ..SegmentationConfig::default() };
        Stage::new().ask::<Segmentation>(&config, feature)
    }

    #[test]
    fn the_kind_of_every_patch_reaches_the_ceiling_and_noise_stays_near_chance() {
        let perfect = asked(&|kind, _, _| (0..3).map(|k| f32::from(u8::from(k == kind))).collect());
        let (found, ceiling) = (value(&perfect, "best.miou"), value(&perfect, "ceiling"));
        assert!(ceiling > 0.8 && (found - ceiling).abs() < 1e-9, "{found} and {ceiling}");
        let noise = asked(&|_, image, patch| (0..3).map(|d| noise((image * 64 + patch) * 3 + d)).collect());
        let (found, chance) = (value(&noise, "best.miou"), value(&noise, "chance"));
        // Background covers 13 of 16: its IoU over three kinds.
        assert!((chance - 0.8125 / 3.0).abs() < 0.01, "{chance}");
        assert!((found - chance).abs() < 0.05, "{found} and {chance}");
    }
}
