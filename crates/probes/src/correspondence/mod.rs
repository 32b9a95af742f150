//! Semantic correspondence: is a point of one image found in another image of its class by the likeness of patches?

mod config;

pub use config::{Against, Answer, CorrespondenceConfig};

use crate::patches::{self, Point, box_of_ids, box_of_points, ids_in_view, points_in_view};
use crate::scores::{self, ChosenBy, Score, Words};
use measure::correspond::nearest;
use measure::interval::{Bootstrap, accuracy_interval};
use measure::log_bins::log_bins;
use measure::nearest::l2_normalize_rows;
use measure::pck::{Located, pck};
use measure::resample::bilinear;
use ndarray::{Array1, Array2, Array3, ArrayView2, Axis};
use rayon::prelude::*;
use report::{Block, Cell, Info, Metric, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_data::PairSide;
use vit_features::{
    Accumulate, Findings, Needs, ProtocolView, Role, Select, Shapes, Study, StudyError, Taken,
};

/// Keypoints of an image are looked for in another one: the most similar patch of the whole image, its middle against the true point.
/// Pairs are those of the data, as SPair-71k has them; where it has none, an image and the next of its class.
///
/// # Source
/// Min et al., SPair-71k; Amir et al., Deep ViT Features as Dense Visual Descriptors; Walmer et al., Teaching Matters (pixels).
/// *Differs*: every layer is asked, and by default the best one is chosen on one pair in four, which then does not count.
pub struct Correspondence;

/// One image: its patches, points and box.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seen {
    index: usize,
    points: Vec<Point>,
    box_px: (f64, f64),
    /// `[N, D]` of every select, each patch of length 1.
    patches: Vec<Array2<f32>>,
}

/// What became of the points of one pair.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pair {
    target: usize,
    class: u32,
    yardstick_px: f64,
    /// For every point: distances at every select, then that of the true patch, and the distances of all patches as counts
    /// within each threshold.
    points: Vec<Asked>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Asked {
    distances_px: Vec<f64>,
    ceiling_px: f64,
    /// For each α the share of patches whose middle is within the threshold.
    chance: Vec<f64>,
}

/// Pairs so far, and what waits: the first and last image of every class for what comes before and after, one side of a pair of the
/// data for the other.
///
/// Memory: two images' patches for each class, or those of one pair; some numbers for each point.
#[derive(Serialize, Deserialize)]
pub struct CorrespondenceAcc {
    config: CorrespondenceConfig,
    wanted: Vec<Select>,
    grid: (usize, usize),
    patch_px: usize,
    first: BTreeMap<u32, Seen>,
    last: BTreeMap<u32, Seen>,
    /// Sides of pairs of the data whose other side did not come yet.
    waiting: BTreeMap<usize, (u32, [Option<Seen>; 2])>,
    pairs: Vec<Pair>,
    /// Visible points that lie outside the views.
    n_outside: usize,
}

fn value_error(expected: impl Into<String>, found: impl Into<String>) -> StudyError {
    StudyError::Value {
        study: Correspondence::INFO.name.into(),
        expected: expected.into(),
        found: found.into(),
    }
}

impl CorrespondenceAcc {
    /// Side in pixels of what can be an answer, and how many of them there are in rows and columns.
    fn lattice(&self) -> (usize, (usize, usize)) {
        match self.config.answer {
            Answer::Patch => (self.patch_px, self.grid),
            Answer::Pixel => (1, (self.grid.0 * self.patch_px, self.grid.1 * self.patch_px)),
        }
    }

    /// How many answers there can be.
    fn n_answers(&self) -> usize {
        let (_, (rows, columns)) = self.lattice();
        rows * columns
    }

    /// The middle of an answer in pixels of the view.
    fn answer_px(&self, at: usize) -> (f64, f64) {
        let (side_px, (_, columns)) = self.lattice();
        let middle = |at: usize| (at as f64 + 0.5) * side_px as f64;
        (middle(at % columns), middle(at / columns))
    }

    /// The answer that holds a point.
    fn answer_at(&self, (x, y): (f64, f64)) -> usize {
        let (side_px, (rows, columns)) = self.lattice();
        let cell = |at: f64, n: usize| ((at / side_px as f64) as usize).min(n - 1);
        cell(y, rows) * columns + cell(x, columns)
    }

    /// Where the points of a source are found in a target, in pixels of its view.
    fn answers(
        &self,
        points: &[(f64, f64)],
        source: ArrayView2<f32>,
        target: ArrayView2<f32>,
    ) -> Vec<(f64, f64)> {
        let places: Vec<usize> = points.iter().map(|&point| self.answer_at(point)).collect();
        if self.config.answer == Answer::Patch {
            let found = nearest(source.select(Axis(0), &places).view(), target);
            return found.into_iter().map(|patch| self.answer_px(patch)).collect();
        }
        // What is bilinear in the target's patches is so in their likeness to a source: the map of likeness is made larger instead
        // of the patches.
        let (rows, columns) = self.grid;
        let (_, (height, width)) = self.lattice();
        let descriptors: Vec<Array1<f32>> =
            places.iter().map(|&pixel| self.between(source, pixel % width, pixel / width)).collect();
        let maps = Array3::from_shape_fn((points.len(), rows, columns), |(point, y, x)| {
            f64::from(descriptors[point].dot(&target.row(y * columns + x)))
        });
        let maps = bilinear(maps.view(), height, width);
        let best = |map: ArrayView2<f64>| {
            let all = map.iter().enumerate();
            all.fold((0, f64::NEG_INFINITY), |best, (at, &x)| if x > best.1 { (at, x) } else { best }).0
        };
        maps.outer_iter().map(|map| self.answer_px(best(map))).collect()
    }

    /// The descriptor of a pixel: bilinear between those of patches, as [`bilinear`] makes maps larger.
    fn between(&self, patches: ArrayView2<f32>, x: usize, y: usize) -> Array1<f32> {
        let at = |pixel: usize, side: usize| {
            let at = ((pixel as f64 + 0.5) / self.patch_px as f64 - 0.5).max(0.0);
            let low = (at as usize).min(side - 1);
            (low, (low + 1).min(side - 1), (at - low as f64) as f32)
        };
        let ((top, bottom, v), (left, right, u)) = (at(y, self.grid.0), at(x, self.grid.1));
        let row = |y: usize| {
            let [left, right] = [left, right].map(|x| patches.row(y * self.grid.1 + x));
            &left * (1.0 - u) + &right * u
        };
        row(top) * (1.0 - v) + row(bottom) * v
    }

    fn descriptors(&self, patches: &Array2<f32>) -> Array2<f32> {
        match self.config.log_bins {
            0 => patches.clone(),
            levels => l2_normalize_rows(log_bins(patches.view(), self.grid, levels).view()),
        }
    }

    /// Looks for the points of one image in another.
    fn pair(&self, class: u32, source: &Seen, target: &Seen) -> Option<Pair> {
        let find = |name_idx: usize| target.points.iter().find(|point| point.name_idx == name_idx);
        let both: Vec<(Point, Point)> =
            source.points.iter().filter_map(|&point| Some((point, *find(point.name_idx)?))).collect();
        let yardstick = self.config.yardstick.yardstick();
        let image_px = ((self.grid.1 * self.patch_px) as f64, (self.grid.0 * self.patch_px) as f64);
        let yardstick_px = yardstick.length_px(target.box_px, image_px);
        if both.is_empty() || yardstick_px <= 0.0 {
            return None;
        }
        let asked: Vec<(f64, f64)> = both.iter().map(|(point, _)| point.xy_px).collect();
        let found: Vec<Vec<(f64, f64)>> = source
            .patches
            .par_iter()
            .zip(&target.patches)
            .map(|(source, target)| {
                let (source, target) = (self.descriptors(source), self.descriptors(target));
                self.answers(&asked, source.view(), target.view())
            })
            .collect();
        let n_answers = self.n_answers();
        let points = both.iter().enumerate().map(|(i, (_, truth))| {
            let to = |(x, y): (f64, f64)| (x - truth.xy_px.0).hypot(y - truth.xy_px.1);
            let within = |&alpha: &f64| {
                let near = (0..n_answers).filter(|&at| to(self.answer_px(at)) < alpha * yardstick_px).count();
                near as f64 / n_answers as f64
            };
            Asked {
                distances_px: found.iter().map(|found| to(found[i])).collect(),
                ceiling_px: to(self.answer_px(self.answer_at(truth.xy_px))),
                chance: self.config.alphas.iter().map(within).collect(),
            }
        });
        Some(Pair { target: target.index, class, yardstick_px, points: points.collect() })
    }

    /// Adds one side of a pair of the data, and the pair where the other is there.
    fn add_side(&mut self, side: PairSide, class: u32, seen: Seen) {
        let (_, sides) = self.waiting.entry(side.pair).or_insert((class, [None, None]));
        sides[usize::from(side.is_target)] = Some(seen);
        if let [Some(source), Some(target)] = sides {
            let (source, target) = (source.clone(), target.clone());
            self.waiting.remove(&side.pair);
            let pair = self.pair(class, &source, &target);
            self.pairs.extend(pair);
        }
    }

    fn add(&mut self, class: u32, seen: Seen) {
        match self.last.remove(&class) {
            Some(before) => {
                let pair = self.pair(class, &before, &seen);
                self.pairs.extend(pair);
            }
            None => {
                self.first.insert(class, seen.clone());
            }
        }
        self.last.insert(class, seen);
    }
}

impl Accumulate for CorrespondenceAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role != Role::Test {
            return Ok(());
        }
        let size_px = ((self.grid.0 * self.patch_px) as f64, (self.grid.1 * self.patch_px) as f64);
        for (image, (truth, view)) in taken.info.truths.iter().zip(taken.info.boxes).enumerate() {
            let index = taken.info.indices[image];
            let class = truth
                .label
                .ok_or_else(|| value_error("a class for every sample", format!("none for {index}")))?;
            let points = points_in_view(&truth.keypoints, view, size_px);
            self.n_outside += truth.keypoints.iter().filter(|point| point.visible).count() - points.len();
            let of_box = truth.box_in_image_px.map(|[left, top, right, bottom]| {
                let side = |low: f32, high: f32| f64::from(high) - f64::from(low);
                (side(left, right) / view.w * size_px.1, side(top, bottom) / view.h * size_px.0)
            });
            let of_mask = || {
                let mask = truth.mask.as_ref()?;
                box_of_ids(ids_in_view(mask, view, (size_px.0 as usize, size_px.1 as usize)).view())
            };
            let n_patches = self.grid.0 * self.grid.1;
            let patches = self
                .wanted
                .iter()
                .map(|&select| {
                    patches::unit_of_image(Correspondence::INFO.name, taken, select, image, n_patches)
                })
                .collect::<Result<_, _>>()?;
            let box_px = of_box.or_else(of_mask).unwrap_or_else(|| box_of_points(&points));
            let seen = Seen { index, points, box_px, patches };
            match truth.pair {
                Some(side) => self.add_side(side, class, seen),
                None => self.add(class, seen),
            }
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        for (&class, first) in &later.first {
            if let Some(before) = self.last.get(&class) {
                let pair = self.pair(class, before, first);
                self.pairs.extend(pair);
            }
        }
        for (pair, (class, sides)) in later.waiting {
            for (is_target, seen) in [false, true].into_iter().zip(sides) {
                if let Some(seen) = seen {
                    self.add_side(PairSide { pair, is_target }, class, seen);
                }
            }
        }
        self.n_outside += later.n_outside;
        self.pairs.extend(later.pairs);
        for (class, first) in later.first {
            self.first.entry(class).or_insert(first);
        }
        self.last.extend(later.last);
    }
}

impl Study for Correspondence {
    const INFO: Info = Info {
        name: "correspondence",
        line: "points of an object found in another image of its class by the most similar patch, at every layer",
        source: "Min et al. 2019 (SPair-71k); Amir et al. 2021",
    };
    const PROTOCOL: &'static str = "\
Pairs are those that the data has (spair); otherwise each image is paired with the next of its class. For every keypoint
visible in both, the patch that holds it in the first image is compared with all patches of the second; the middle of the
most similar one is the answer. With answer = pixel, patches are first made larger to the view, bilinearly. It is right
when it is nearer than alpha times the yardstick to the true point (strictly). Told are the shares over points, images and
categories at three alphas. One pair in four chooses the layer and does not count, unless hold_out is false. Points
outside the view are not asked: --framing padded or whole shows all of every image.";
    type Config = CorrespondenceConfig;

    fn protocols() -> Vec<(&'static str, &'static str, CorrespondenceConfig)> {
        let spair = CorrespondenceConfig {
            facets: vec!["token".into()],
            hold_out: false,
            ..CorrespondenceConfig::default()
        };
        let walmer = CorrespondenceConfig { answer: Answer::Pixel, ..spair.clone() };
        let amir = CorrespondenceConfig {
            facets: vec!["key".into()],
            log_bins: 2,
            alphas: vec![0.1],
            yardstick: Against::Image,
            ..spair.clone()
        };
        vec![
            (
                "spair",
                "Min et al. 2019: alpha 0.1, 0.05 and 0.01 of the longer side of the target's box, tokens, every pair counts; images \
                 padded to a square; patches are not made larger",
                spair,
            ),
            (
                "walmer",
                "Walmer et al. 2023 (Teaching Matters): the same, patches made larger to pixels; padded to 224 px; 20 pairs a category \
                 there: --limit 720",
                walmer,
            ),
            (
                "amir",
                "Amir et al. 2021: keys, log-binned in 17 bins, alpha 0.1 of the image, padded; block 9 of 12 is the published layer",
                amir,
            ),
        ]
    }

    fn protocol_view(name: &str) -> ProtocolView {
        let size_px = (name == "walmer").then_some(224);
        ProtocolView { size_px, framing: Some("padded") }
    }
    type Acc = CorrespondenceAcc;

    fn needs(config: &CorrespondenceConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let selects = patches::candidates(Self::INFO.name, &config.facets, shapes)?;
        Ok(Needs { selects, labels: true, keypoints: true, ..Needs::default() })
    }

    fn open(config: &CorrespondenceConfig, shapes: &Shapes) -> CorrespondenceAcc {
        CorrespondenceAcc {
            config: config.clone(),
            // What the model cannot have was refused by `needs`.
            wanted: patches::candidates(Self::INFO.name, &config.facets, shapes).unwrap_or_default(),
            grid: (shapes.grid.rows, shapes.grid.columns),
            patch_px: shapes.patch_px,
            first: BTreeMap::new(),
            last: BTreeMap::new(),
            waiting: BTreeMap::new(),
            pairs: Vec::new(),
            n_outside: 0,
        }
    }

    fn finish(
        config: &CorrespondenceConfig,
        shapes: &Shapes,
        acc: CorrespondenceAcc,
    ) -> Result<Findings, StudyError> {
        let CorrespondenceAcc { wanted, mut pairs, n_outside, .. } = acc;
        pairs.sort_by_key(|pair| pair.target);
        let (held_out, test) = scores::halves(&pairs, config.hold_out);
        if held_out.is_empty() || test.is_empty() {
            let expected = "at least 2 pairs of images with a visible point in common";
            return Err(StudyError::too_few(Self::INFO.name, expected, pairs.len().to_string()));
        }
        findings(config, shapes, &wanted, (&held_out, &test), n_outside)
    }
}

/// The points of pairs, with a distance chosen of each.
fn located(pairs: &[&Pair], distance_px: impl Fn(&Asked) -> f64) -> Vec<Located> {
    let of = |pair: &&Pair| {
        let at = |asked: &Asked| Located {
            distance_px: distance_px(asked),
            yardstick_px: pair.yardstick_px,
            image: pair.target,
            category: pair.class as usize,
        };
        pair.points.iter().map(at).collect::<Vec<_>>()
    };
    pairs.iter().flat_map(of).collect()
}

fn findings(
    config: &CorrespondenceConfig,
    shapes: &Shapes,
    wanted: &[Select],
    (held_out, test): (&[&Pair], &[&Pair]),
    n_outside: usize,
) -> Result<Findings, StudyError> {
    let bootstrap = Bootstrap { n_resamples: 1000, level: 0.95, seed: shapes.seed };
    let yardstick = config.yardstick.yardstick();
    let headline = config.headline_alpha;
    let mut findings = Findings::default();
    let mut scored = Vec::new();
    for (place, &select) in wanted.iter().enumerate() {
        let points = located(test, |asked| asked.distances_px[place]);
        for &alpha in &config.alphas {
            let found = pck(&points, alpha, yardstick);
            let averages = [
                ("pck_per_point", found.per_point),
                ("pck_per_image", found.per_image),
                ("pck_per_category", found.per_category),
            ];
            for (name, value) in averages {
                let metric = crate::by_layer::at(Metric::new(name, value, "ratio"), select, shapes);
                findings.metrics.push(metric.param("alpha", alpha));
            }
        }
        let right: Vec<bool> =
            points.iter().map(|point| point.distance_px < headline * point.yardstick_px).collect();
        let chosen_by = located(held_out, |asked| asked.distances_px[place]);
        scored.push(Score {
            select,
            held_out: pck(&chosen_by, headline, yardstick).per_point,
            test: pck(&points, headline, yardstick).per_point,
            interval: accuracy_interval(&right, bootstrap),
            beside: Vec::new(),
        });
    }
    let ceiling = located(test, |asked| asked.ceiling_px);
    let headline_idx = config.alphas.iter().position(|&alpha| alpha == headline).unwrap_or(0);
    let chances: Vec<f64> =
        test.iter().flat_map(|pair| &pair.points).map(|asked| asked.chance[headline_idx]).collect();
    let words = Words {
        study: Correspondence::INFO.name,
        metric: "pck",
        title: "Keypoints found in another image",
        caption: "Share of keypoints whose most similar patch in another image of the class lies where the same keypoint is. What a \
                  patch looks like and what it means both help; the place in the image alone does not.",
        settings: format!(
            "{} pairs, {} points; found within {headline} of the yardstick ({}), {}{}{}",
            test.len(),
            ceiling.len(),
            match config.yardstick {
                Against::Box => "longer side of the object's box",
                Against::Image => "longer side of the view",
                Against::BoxDiagonal => "0.6 of the box's diagonal",
            },
            match config.log_bins {
                0 => "patches alone".to_owned(),
                levels => format!("log-binned at {levels} levels"),
            },
            match config.answer {
                Answer::Patch => "",
                Answer::Pixel => ", made larger to pixels",
            },
            match n_outside {
                0 => String::new(),
                n => format!("; {n} visible points lie outside the views and are not asked"),
            }
        ),
        beside: &[],
        chance: chances.iter().sum::<f64>() / chances.len() as f64,
        ceiling: pck(&ceiling, headline, yardstick).per_point,
    };
    let best = scores::tell_as(&words, ChosenBy::of(config.hold_out), shapes, &scored, &mut findings)?;
    let found = pck(&located(test, |asked| asked.distances_px[best]), headline, yardstick);
    let best_possible = pck(&ceiling, headline, yardstick);
    let mut table =
        Table::new("by_category", "Every category at the best layer", ["category", "pck", "ceiling"]);
    for (class, share) in &found.by_category {
        table.push([
            Cell::from(crate::by_layer::class_name(shapes, *class)),
            Cell::from(*share),
            Cell::from(best_possible.by_category.get(class).copied()),
        ]);
    }
    findings.tables.push(table.note(
        "The ceiling is what the middle of the patch (or pixel) that holds the true point gives: patches are coarse, and small objects \
         suffer most.",
    ));
    findings.story.push(Block::Table("by_category".into()));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{noise, show, value};
    use vit_core::Grid;
    use vit_data::{Keypoint, Truth};
    use vit_features::{Part, Place};

    fn shapes() -> Shapes {
        let grid = Grid { rows: 8, columns: 8 };
        Shapes {
            depth: 1,
            blocks: vec![0],
            grid,
            patch_px: 8,
            n_classes: 2,
            n_heads: Some(1),
            ..Shapes::of_pixels(64)
        }
    }

    const SELECT: Select = Select { place: Place::At(vit_core::Site::Block(0)), part: Part::Patches };

    /// Keypoints in patches, a pixel off the middle.
    fn points_at(places: &[usize]) -> Vec<Keypoint> {
        let at = |(name_idx, place): (usize, &usize)| Keypoint {
            name_idx,
            xy_in_image_px: ((place % 8 * 8) as f32 + 5.0, (place / 8 * 8) as f32 + 4.0),
            visible: true,
        };
        places.iter().enumerate().map(at).collect()
    }

    /// Asks 16 images of two classes with 5 points each, in two parts that join; `feature(image, patch, places)` is a patch's
    /// descriptor. With `paired`, images `2 i` and `2 i + 1` are the pairs of the data.
    fn asked(
        config: &CorrespondenceConfig,
        paired: bool,
        feature: impl Fn(usize, usize, &[usize]) -> Vec<f32>,
    ) -> Findings {
        let part = |images: std::ops::Range<usize>| {
            let mut acc = Correspondence::open(config, &shapes());
            for image in images {
                // Points stand in other patches in every image.
                let places: Vec<usize> = (0..5).map(|point| (image * 23 + point * 11) % 64).collect();
                let truth = Truth {
                    label: Some(if paired { image as u32 / 2 % 2 } else { image as u32 % 2 }),
                    keypoints: points_at(&places),
                    pair: paired.then_some(PairSide { pair: image / 2, is_target: image % 2 == 1 }),
                    box_in_image_px: paired.then_some([0.0, 10.0, 20.0, 50.0]),
                    ..Truth::default()
                };
                let values: Vec<f32> = (0..64).flat_map(|patch| feature(image, patch, &places)).collect();
                let shape = [64, values.len() / 64];
                show(&mut acc, (Role::Test, image), &[truth], 64.0, (SELECT, &shape, values));
            }
            acc
        };
        let mut acc = part(0..7);
        acc.merge(part(7..16));
        Correspondence::finish(config, &shapes(), acc).expect("findings")
    }

    fn token_config() -> CorrespondenceConfig {
        CorrespondenceConfig { facets: vec!["token".into()], ..CorrespondenceConfig::default() }
    }

    /// One-hot of the keypoint that the patch holds.
    fn one_hot(_: usize, patch: usize, places: &[usize]) -> Vec<f32> {
        let mut row = vec![0.0; 6];
        row[places.iter().position(|&place| place == patch).unwrap_or(5)] = 1.0;
        row
    }

    #[test]
    fn pairs_of_the_data_are_measured_against_their_boxes_and_all_count_where_that_is_said() {
        let published = CorrespondenceConfig { hold_out: false, ..token_config() };
        let found = asked(&published, true, one_hot);
        assert_eq!(value(&found, "best.pck"), 1.0);
        let note = &found.tables[0].note;
        assert!(note.contains("8 pairs, 40 points") && note.contains("the best on what counts"), "{note}");
        // 0.01 of the box's longer side (40 px) is less than the pixel by which points are off the middle.
        let strict = found.metrics.iter().find(|metric| {
            metric.name == "pck_per_point" && metric.params.get("alpha").is_some_and(|value| *value == 0.01)
        });
        assert_eq!(strict.expect("alpha 0.01").value, 0.0);
        let held_out = asked(&token_config(), true, one_hot);
        assert!(held_out.tables[0].note.contains("6 pairs, 30 points"), "{}", held_out.tables[0].note);
    }

    #[test]
    fn pixels_are_answers_too() {
        // Descriptors that turn slowly with the place, which is the same in both images.
        let config = CorrespondenceConfig { answer: Answer::Pixel, hold_out: false, ..token_config() };
        let mut acc = Correspondence::open(&config, &shapes());
        for image in 0..4usize {
            let truth = Truth {
                label: Some(0),
                keypoints: points_at(&[18, 29, 45]),
                pair: Some(PairSide { pair: image / 2, is_target: image % 2 == 1 }),
                box_in_image_px: Some([0.0, 0.0, 64.0, 64.0]),
                ..Truth::default()
            };
            let at = |patch: usize| {
                let (u, v) = ((patch % 8) as f32 * 0.35, (patch / 8) as f32 * 0.35);
                [u.cos(), u.sin(), v.cos(), v.sin()]
            };
            let values: Vec<f32> = (0..64).flat_map(at).collect();
            show(&mut acc, (Role::Test, image), &[truth], 64.0, (SELECT, &[64, 4], values));
        }
        let found = Correspondence::finish(&config, &shapes(), acc).expect("findings");
        // Points are a pixel off the middle of a patch, near which a map that was made larger has its greatest pixel.
        assert_eq!(value(&found, "best.pck"), 1.0);
        let at = |alpha: f64| {
            let named = |metric: &&Metric| {
                metric.name == "pck_per_point"
                    && metric.params.get("alpha").is_some_and(|value| *value == alpha)
            };
            found.metrics.iter().find(named).expect("a share").value
        };
        assert_eq!(at(0.05), 1.0);
        assert!(found.tables[0].note.contains("made larger to pixels"));
    }

    #[test]
    fn a_single_pair_is_too_few_and_points_outside_are_counted() {
        let config = token_config();
        let mut acc = Correspondence::open(&config, &shapes());
        let mut truth = Truth { label: Some(0), keypoints: points_at(&[1, 2]), ..Truth::default() };
        truth.keypoints[1].xy_in_image_px = (70.0, 3.0);
        for image in 0..2 {
            let values = vec![1.0; 64];
            show(&mut acc, (Role::Test, image), &[truth.clone()], 64.0, (SELECT, &[64, 1], values));
        }
        assert_eq!(acc.n_outside, 2);
        let error = Correspondence::finish(&config, &shapes(), acc).expect_err("one pair");
        assert!(matches!(error, StudyError::TooFew { .. }), "{error}");
    }

    #[test]
    fn perfect_features_reach_the_ceiling_and_random_ones_chance() {
        let perfect = asked(&token_config(), false, one_hot);
        assert_eq!(value(&perfect, "best.pck"), value(&perfect, "ceiling"));
        assert_eq!(value(&perfect, "ceiling"), 1.0, "a pixel off, in boxes of tens of pixels");
        let random = asked(&token_config(), false, |image, patch, _| {
            (0..16).map(|d| noise((image * 64 + patch) * 16 + d)).collect()
        });
        let (found, chance) = (value(&random, "best.pck"), value(&random, "chance"));
        // 50 points at a chance of a few percent: four standard deviations.
        assert!(chance > 0.005 && chance < 0.2, "{chance}");
        assert!(found < chance + 4.0 * (chance * (1.0 - chance) / 50.0).sqrt(), "{found} and {chance}");
    }
}
