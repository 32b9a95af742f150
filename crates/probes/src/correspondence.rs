//! Semantic correspondence: is a point of one image found in another image of its class by the likeness of patches?

use crate::patches::{
    self, Point, box_of_ids, box_of_points, check_facets, ids_in_view, is_held_out, points_in_view,
};
use crate::scores::{self, Score, Words};
use measure::correspond::nearest;
use measure::interval::{Bootstrap, accuracy_interval};
use measure::log_bins::log_bins;
use measure::nearest::l2_normalize_rows;
use measure::pck::{Located, Yardstick, pck};
use ndarray::{Array2, Axis};
use rayon::prelude::*;
use report::{Block, Cell, Info, Metric, Recipe, RecipeError, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_features::{Accumulate, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken};

/// The options of [`Correspondence`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorrespondenceConfig {
    /// What is compared at every layer: `token`, `query`, `key`, `value`.
    pub facets: Vec<String>,
    /// Levels of log-binning: 0 for the patch alone, 2 for its surroundings in 17 bins.
    pub log_bins: usize,
    /// Shares of the yardstick within which a point is found; SPair-71k reports 0.1, 0.05 and 0.01.
    pub alphas: Vec<f64>,
    /// The share of the curves, of the choice of the best layer, and of the headline.
    pub headline_alpha: f64,
    /// What distances are measured against: `box`, `image` or `box-diagonal`.
    pub yardstick: Against,
}

/// What distances are measured against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// The longer side of the object's box: SPair-71k.
    #[default]
    Box,
    /// The longer side of the view.
    Image,
    /// 0.6 of the box's diagonal: JHMDB.
    BoxDiagonal,
}

impl Against {
    fn yardstick(self) -> Yardstick {
        match self {
            Self::Box => Yardstick::Box,
            Self::Image => Yardstick::Image,
            Self::BoxDiagonal => Yardstick::BoxDiagonal,
        }
    }
}

impl Default for CorrespondenceConfig {
    fn default() -> Self {
        Self {
            facets: vec!["token".into(), "key".into()],
            log_bins: 0,
            alphas: vec![0.1, 0.05, 0.01],
            headline_alpha: 0.1,
            yardstick: Against::Box,
        }
    }
}

impl Recipe for CorrespondenceConfig {
    fn check(&self) -> Result<(), RecipeError> {
        check_facets(&self.facets)?;
        if self.log_bins > 3 {
            return Err(RecipeError::value("log_bins", "0 to 3 levels", self.log_bins.to_string()));
        }
        if self.alphas.is_empty() || self.alphas.iter().any(|&alpha| !(alpha > 0.0 && alpha.is_finite())) {
            return Err(RecipeError::value(
                "alphas",
                "at least one, each above 0",
                format!("{:?}", self.alphas),
            ));
        }
        if !self.alphas.contains(&self.headline_alpha) {
            let expected = format!("one of alphas ({:?})", self.alphas);
            return Err(RecipeError::value("headline_alpha", expected, self.headline_alpha.to_string()));
        }
        Ok(())
    }
}

/// Keypoints of an image are looked for in the next image of its class: the most similar patch of the whole image, its middle
/// against the true point.
///
/// # Source
/// Min et al., SPair-71k; Amir et al., Deep ViT Features as Dense Visual Descriptors. *Differs*: pairs are an image and the next of
/// its class, each a deterministic draw of the data; the best layer is chosen on one pair in four, which then does not count.
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

/// Pairs so far, and the first and last image of every class, which wait for what comes before and after.
///
/// Memory: two images' patches for each class; some numbers for each point.
#[derive(Serialize, Deserialize)]
pub struct CorrespondenceAcc {
    config: CorrespondenceConfig,
    wanted: Vec<Select>,
    grid: (usize, usize),
    patch_px: usize,
    first: BTreeMap<u32, Seen>,
    last: BTreeMap<u32, Seen>,
    pairs: Vec<Pair>,
}

fn value_error(expected: impl Into<String>, found: impl Into<String>) -> StudyError {
    StudyError::Value {
        study: Correspondence::INFO.name.into(),
        expected: expected.into(),
        found: found.into(),
    }
}

impl CorrespondenceAcc {
    /// The middle of a patch in pixels of the view.
    fn middle_px(&self, patch: usize) -> (f64, f64) {
        let middle = |at: usize| (at as f64 + 0.5) * self.patch_px as f64;
        (middle(patch % self.grid.1), middle(patch / self.grid.1))
    }

    /// The patch that holds a point.
    fn patch_of(&self, (x, y): (f64, f64)) -> usize {
        let cell = |at: f64, side: usize| ((at / self.patch_px as f64) as usize).min(side - 1);
        cell(y, self.grid.0) * self.grid.1 + cell(x, self.grid.1)
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
        let places: Vec<usize> = both.iter().map(|(point, _)| self.patch_of(point.xy_px)).collect();
        let found: Vec<Vec<usize>> = source
            .patches
            .par_iter()
            .zip(&target.patches)
            .map(|(source, target)| {
                let (source, target) = (self.descriptors(source), self.descriptors(target));
                nearest(source.select(Axis(0), &places).view(), target.view())
            })
            .collect();
        let n_patches = self.grid.0 * self.grid.1;
        let points = both.iter().enumerate().map(|(i, (_, truth))| {
            let to = |patch: usize| {
                let (x, y) = self.middle_px(patch);
                (x - truth.xy_px.0).hypot(y - truth.xy_px.1)
            };
            let within = |&alpha: &f64| {
                let near = (0..n_patches).filter(|&patch| to(patch) < alpha * yardstick_px).count();
                near as f64 / n_patches as f64
            };
            Asked {
                distances_px: found.iter().map(|found| to(found[i])).collect(),
                ceiling_px: to(self.patch_of(truth.xy_px)),
                chance: self.config.alphas.iter().map(within).collect(),
            }
        });
        Some(Pair { target: target.index, class, yardstick_px, points: points.collect() })
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
            let of_mask = truth.mask.as_ref().and_then(|mask| {
                box_of_ids(ids_in_view(mask, view, (size_px.0 as usize, size_px.1 as usize)).view())
            });
            let n_patches = self.grid.0 * self.grid.1;
            let patches = self
                .wanted
                .iter()
                .map(|&select| {
                    patches::unit_of_image(Correspondence::INFO.name, taken, select, image, n_patches)
                })
                .collect::<Result<_, _>>()?;
            let box_px = of_mask.unwrap_or_else(|| box_of_points(&points));
            self.add(class, Seen { index, points, box_px, patches });
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
Each image is paired with the next of its class. For every keypoint visible in both, the patch that holds it in the first
image is compared with all patches of the second; the middle of the most similar one is the answer. It is right when it is
nearer than alpha times the yardstick to the true point (strictly). Told are the shares over points, images and categories
at three alphas. One pair in four chooses the layer and does not count.";
    type Config = CorrespondenceConfig;

    fn protocols() -> Vec<(&'static str, &'static str, CorrespondenceConfig)> {
        let token = || vec!["token".to_owned()];
        let spair = CorrespondenceConfig { facets: token(), ..CorrespondenceConfig::default() };
        let amir = CorrespondenceConfig {
            facets: vec!["key".into()],
            log_bins: 2,
            alphas: vec![0.1],
            yardstick: Against::Image,
            ..CorrespondenceConfig::default()
        };
        vec![
            (
                "spair",
                "Min et al. 2019: alpha 0.1, 0.05 and 0.01 of the longer side of the target's box, tokens; patches are not made larger",
                spair,
            ),
            (
                "amir",
                "Amir et al. 2021: keys, log-binned in 17 bins, alpha 0.1 of the image; block 9 of 12 is the published layer",
                amir,
            ),
        ]
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
            pairs: Vec::new(),
        }
    }

    fn finish(
        config: &CorrespondenceConfig,
        shapes: &Shapes,
        acc: CorrespondenceAcc,
    ) -> Result<Findings, StudyError> {
        let CorrespondenceAcc { wanted, mut pairs, .. } = acc;
        pairs.sort_by_key(|pair| pair.target);
        let (held_out, test): (Vec<_>, Vec<_>) =
            pairs.into_iter().enumerate().partition(|(rank, _)| is_held_out(*rank));
        if held_out.is_empty() || test.is_empty() {
            let found = format!("{}", held_out.len() + test.len());
            return Err(value_error("at least 2 pairs of images with a visible point in common", found));
        }
        findings(config, shapes, &wanted, &held_out, &test)
    }
}

type Ranked = (usize, Pair);

/// The points of pairs, with a distance chosen of each.
fn located(pairs: &[Ranked], distance_px: impl Fn(&Asked) -> f64) -> Vec<Located> {
    let of = |(rank, pair): &Ranked| {
        let at = |asked: &Asked| Located {
            distance_px: distance_px(asked),
            yardstick_px: pair.yardstick_px,
            image: *rank,
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
    held_out: &[Ranked],
    test: &[Ranked],
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
        test.iter().flat_map(|(_, pair)| &pair.points).map(|asked| asked.chance[headline_idx]).collect();
    let words = Words {
        study: Correspondence::INFO.name,
        metric: "pck",
        title: "Keypoints found in another image",
        caption: "Share of keypoints whose most similar patch in another image of the class lies where the same keypoint is. What a \
                  patch looks like and what it means both help; the place in the image alone does not.",
        settings: format!(
            "{} pairs, {} points; found within {headline} of the yardstick ({}), {}",
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
            }
        ),
        beside: &[],
        chance: chances.iter().sum::<f64>() / chances.len() as f64,
        ceiling: pck(&ceiling, headline, yardstick).per_point,
    };
    let best = scores::tell(&words, shapes, &scored, &mut findings)?;
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
        "The ceiling is what the middle of the patch that holds the true point gives: patches are coarse, and small objects suffer \
         most.",
    ));
    findings.story.push(Block::Table("by_category".into()));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vit_core::Grid;
    use vit_data::{CropBox, Keypoint, Truth};
    use vit_features::{BatchInfo, Layers, Part, Place};

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

    /// A number that looks random, in −0.5 to 0.5.
    fn noise(of: usize) -> f32 {
        let mut z = (of as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }

    /// Asks 16 images of two classes with 5 points each; `feature(image, patch)` is a patch's value in 64 dimensions.
    fn asked(feature: impl Fn(usize, usize, &[usize]) -> Vec<f32>) -> Findings {
        assert_eq!("all".parse::<Layers>().expect("layers"), Layers::All);
        let config = CorrespondenceConfig { facets: vec!["token".into()], ..CorrespondenceConfig::default() };
        let mut acc = Correspondence::open(&config, &shapes());
        for image in 0..16usize {
            // Points stand in other patches in every image, a pixel off the middle.
            let places: Vec<usize> = (0..5).map(|point| (image * 23 + point * 11) % 64).collect();
            let keypoints = places.iter().enumerate().map(|(name_idx, place)| Keypoint {
                name_idx,
                xy_in_image_px: ((place % 8 * 8) as f32 + 5.0, (place / 8 * 8) as f32 + 4.0),
                visible: true,
            });
            let truth =
                Truth { label: Some(image as u32 % 2), keypoints: keypoints.collect(), ..Truth::default() };
            let view = CropBox { x: 0.0, y: 0.0, w: 64.0, h: 64.0, flipped: false };
            let values: Vec<f32> = (0..64).flat_map(|patch| feature(image, patch, &places)).collect();
            let select = Select { place: Place::At(vit_core::Site::Block(0)), part: Part::Patches };
            let features = BTreeMap::from([(select, (vec![1, 64, values.len() / 64], values))]);
            let info = BatchInfo {
                model: 0,
                role: Role::Test,
                first: image,
                labels: &[truth.label],
                indices: &[image],
                truths: std::slice::from_ref(&truth),
                boxes: &[view],
            };
            acc.batch(&Taken { info, features: &features }).expect("taken");
        }
        Correspondence::finish(&config, &shapes(), acc).expect("findings")
    }

    fn value(findings: &Findings, name: &str) -> f64 {
        findings.metrics.iter().find(|metric| metric.name == name).expect(name).value
    }

    #[test]
    fn perfect_features_reach_the_ceiling_and_random_ones_chance() {
        // One-hot of the keypoint that the patch holds.
        let perfect = asked(|_, patch, places| {
            let mut row = vec![0.0; 6];
            row[places.iter().position(|&place| place == patch).unwrap_or(5)] = 1.0;
            row
        });
        assert_eq!(value(&perfect, "best.pck"), value(&perfect, "ceiling"));
        assert_eq!(value(&perfect, "ceiling"), 1.0, "a pixel off, in boxes of tens of pixels");
        let random = asked(|image, patch, _| (0..16).map(|d| noise((image * 64 + patch) * 16 + d)).collect());
        let (found, chance) = (value(&random, "best.pck"), value(&random, "chance"));
        // 50 points at a chance of a few percent: four standard deviations.
        assert!(chance > 0.005 && chance < 0.2, "{chance}");
        assert!(found < chance + 4.0 * (chance * (1.0 - chance) / 50.0).sqrt(), "{found} and {chance}");
    }
}
