//! Best buddies: do patches of two images that choose each other lie on the same part?

use crate::attended::{Attended, needs_attention};
use crate::dense::{self, Kept, Reading, Target};
use crate::patches::{self, check_facets, is_held_out};
use crate::scores::{self, Score, Words};
use measure::correspond::nearest;
use measure::interval::{Bootstrap, accuracy_interval, mean};
use measure::kmeans::KMeans;
use measure::log_bins::log_bins;
use measure::nearest::l2_normalize_rows;
use ndarray::{Array2, ArrayView2, Axis, concatenate};
use rayon::prelude::*;
use report::{Info, Metric, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::convert::Infallible;
use vit_core::{Seen, Site};
use vit_features::{Accumulate, BatchInfo, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken};

/// The options of [`BestBuddies`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BestBuddiesConfig {
    /// What is compared at every layer: `token`, `query`, `key`, `value`.
    pub facets: Vec<String>,
    /// Levels of log-binning: 0 for the patch alone, 2 for its surroundings in 17 bins.
    pub log_bins: usize,
    /// Both patches of a pair must look more salient than this, 0–1 over the image; 0.05 in Amir et al.
    pub saliency: f64,
    /// Pairs that are kept of two images, spread over what they look like; 10 in Amir et al., 0 for all.
    pub n_pairs: usize,
    /// Features beyond this many MiB are kept in temporary files; changes no number.
    pub memory_mib: usize,
}

impl Default for BestBuddiesConfig {
    fn default() -> Self {
        Self { facets: vec!["key".into()], log_bins: 0, saliency: 0.05, n_pairs: 10, memory_mib: 2048 }
    }
}

impl Recipe for BestBuddiesConfig {
    fn check(&self) -> Result<(), RecipeError> {
        check_facets(&self.facets)?;
        if self.log_bins > 3 {
            return Err(RecipeError::value("log_bins", "0 to 3 levels", self.log_bins.to_string()));
        }
        if !(0.0..1.0).contains(&self.saliency) {
            return Err(RecipeError::value("saliency", "at least 0, below 1", self.saliency));
        }
        Ok(())
    }
}

/// Patches of an image and the next of its class that are each other's most similar, both salient, a few of them spread over what they
/// look like: the share that joins a part with the same part.
///
/// # Source
/// Amir et al., Deep ViT Features as Dense Visual Descriptors. *Differs*: both ends of a pair must be salient, as is said there (the
/// released code asks less); right is a pair whose ends lie on the same part, as no truth says more of any two patches.
pub struct BestBuddies;

/// The patches, the parts and the attention of the test side; see [`Foreground`](crate::Foreground) for its memory.
#[derive(Serialize, Deserialize)]
pub struct BestBuddiesAcc {
    reading: Reading,
    wanted: Vec<Select>,
    test: Kept,
    attended: Attended,
}

impl Accumulate for BestBuddiesAcc {
    fn see(&mut self, site: Site, seen: &Seen, info: &BatchInfo) -> Result<(), StudyError> {
        self.attended.see(BestBuddies::INFO.name, site, seen, info)
    }

    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role != Role::Test {
            return Ok(());
        }
        let study = BestBuddies::INFO.name;
        for image in 0..taken.info.indices.len() {
            // One pixel for each patch: the part at its middle.
            let truth = self.reading.truth(study, &taken.info, image, self.reading.grid)?;
            self.test.push(study, taken, image, &truth, &self.wanted)?;
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.test.append(later.test);
        self.attended.append(later.attended);
    }
}

impl Study for BestBuddies {
    const INFO: Info = Info {
        name: "best-buddies",
        line: "patches of two images that choose each other and lie on the same part, at every layer",
        source: "Amir et al. 2021 (Deep ViT features as dense visual descriptors)",
    };
    const PROTOCOL: &'static str = "\
Each image is paired with the next of its class. Two patches are buddies when each is the other's most similar by the cosine
of their features; both must be salient (what the last block's class token looks at, mean over heads, brought to 0-1 over
the image, above a threshold). The features of both ends side by side are clustered, and of every cluster the most salient
pair is kept. A pair is right when both ends lie on the same part, by the middle of the patch; a pair that ends on
background is wrong. Beside it: all salient buddies, and the most similar patch of every patch that lies on a part. One pair
of images in four chooses the layer and does not count.";
    type Config = BestBuddiesConfig;
    type Acc = BestBuddiesAcc;

    fn protocols() -> Vec<(&'static str, &'static str, BestBuddiesConfig)> {
        let amir = BestBuddiesConfig { log_bins: 2, ..BestBuddiesConfig::default() };
        let words = "Amir et al. 2021: keys, log-binned in 17 bins (block 9 of 12 is the published layer), 10 pairs; at the model's \
                     own grid of patches";
        vec![("amir", words, amir)]
    }

    fn needs(config: &BestBuddiesConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        needs_attention(Self::INFO.name, shapes)?;
        let selects = patches::candidates(Self::INFO.name, &config.facets, shapes)?;
        let sites = vec![Attended::site(shapes)];
        Ok(Needs { selects, sites, labels: true, parts: true, ..Needs::default() })
    }

    fn open(config: &BestBuddiesConfig, shapes: &Shapes) -> BestBuddiesAcc {
        BestBuddiesAcc {
            reading: Reading::new(Target::Parts, 1, shapes),
            // What the model cannot have was refused by `needs`.
            wanted: patches::candidates(Self::INFO.name, &config.facets, shapes).unwrap_or_default(),
            test: Kept::new(Self::INFO.name, config.memory_mib << 20),
            attended: Attended::new(shapes),
        }
    }

    fn finish(
        config: &BestBuddiesConfig,
        shapes: &Shapes,
        acc: BestBuddiesAcc,
    ) -> Result<Findings, StudyError> {
        dense::needs_images(Self::INFO.name, acc.test.len())?;
        findings(config, shapes, &acc)
    }
}

/// An image: its patches, their parts and their saliency.
#[derive(Clone, Copy)]
struct Side<'a> {
    patches: ArrayView2<'a, f32>,
    parts: &'a [u8],
    saliency: &'a [f32],
}

/// What became of two images.
#[derive(Clone, Debug, Default, PartialEq)]
struct Found {
    /// Of each pair that was kept, whether it is right.
    kept: Vec<bool>,
    /// The same of all salient buddies.
    buddies: Vec<bool>,
    /// Of each patch of the first on a part, whether its most similar one lies on the same.
    nearest: Vec<bool>,
}

fn pair(config: &BestBuddiesConfig, seed: u64, a: Side, b: Side) -> Found {
    let (to_b, to_a) = (nearest(a.patches, b.patches), nearest(b.patches, a.patches));
    let is_right = |&(i, j): &(usize, usize)| a.parts[i] > 0 && a.parts[i] == b.parts[j];
    let saliency = |&(i, j): &(usize, usize)| 0.5 * (f64::from(a.saliency[i]) + f64::from(b.saliency[j]));
    let is_salient = |&(i, j): &(usize, usize)| {
        f64::from(a.saliency[i]) > config.saliency && f64::from(b.saliency[j]) > config.saliency
    };
    let buddies: Vec<(usize, usize)> = to_b
        .iter()
        .enumerate()
        .map(|(i, &j)| (i, j))
        .filter(|&(i, j)| to_a[j] == i)
        .filter(is_salient)
        .collect();
    let kept = match config.n_pairs {
        n if n == 0 || n >= buddies.len() => buddies.clone(),
        n => {
            let side = |patches: ArrayView2<f32>, of: fn(&(usize, usize)) -> usize| {
                patches.select(Axis(0), &buddies.iter().map(of).collect::<Vec<_>>())
            };
            let (ours, theirs) = (side(a.patches, |pair| pair.0), side(b.patches, |pair| pair.1));
            let Ok(both) = concatenate(Axis(1), &[ours.view(), theirs.view()]) else {
                panic!("best-buddies: {} and {} rows", ours.nrows(), theirs.nrows())
            };
            let both = l2_normalize_rows(both.view());
            let Ok(found) = KMeans::new(n, seed).fit::<Infallible>(&both.view());
            // Of each cluster the pair that looks most salient, the first of equals.
            let mut best: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
            for (one, &cluster) in buddies.iter().zip(&found.of) {
                let before = best.entry(cluster).or_insert(*one);
                if saliency(one) > saliency(before) {
                    *before = *one;
                }
            }
            best.into_values().collect()
        }
    };
    let on_a_part = to_b.iter().enumerate().map(|(i, &j)| (i, j)).filter(|&(i, _)| a.parts[i] > 0);
    Found {
        kept: kept.iter().map(is_right).collect(),
        buddies: buddies.iter().map(is_right).collect(),
        nearest: on_a_part.map(|one| is_right(&one)).collect(),
    }
}

/// The share of any two patches that lie on the same part.
fn by_chance(a: &[u8], b: &[u8]) -> f64 {
    let count = |parts: &[u8], part: u8| parts.iter().filter(|&&other| other == part).count() as f64;
    (1..=u8::MAX).map(|part| count(a, part) * count(b, part)).sum::<f64>() / (a.len() * b.len()) as f64
}

fn share(of: &[bool]) -> f64 {
    of.iter().filter(|&&is_right| is_right).count() as f64 / of.len().max(1) as f64
}

fn findings(
    config: &BestBuddiesConfig,
    shapes: &Shapes,
    acc: &BestBuddiesAcc,
) -> Result<Findings, StudyError> {
    let (study, n) = (BestBuddies::INFO.name, acc.reading.n_patches());
    // Every image and the next of its class.
    let mut last: BTreeMap<Option<u32>, usize> = BTreeMap::new();
    let mut pairs = Vec::new();
    for (image, label) in acc.test.labels.iter().enumerate() {
        if let Some(before) = last.insert(*label, image) {
            pairs.push((before, image));
        }
    }
    let (choosing, counting): (Vec<_>, Vec<_>) =
        pairs.iter().copied().enumerate().partition(|(rank, _)| is_held_out(*rank));
    if choosing.is_empty() || counting.is_empty() {
        let (expected, found) = ("at least 2 pairs of images of a class".into(), pairs.len().to_string());
        return Err(StudyError::Value { study: study.into(), expected, found });
    }
    let saliency = acc.attended.scaled(&acc.reading);
    let parts_of = |image: usize| &acc.test.truths[image * n..(image + 1) * n];
    let bootstrap = Bootstrap { n_resamples: 1000, level: 0.95, seed: shapes.seed };
    let mut scored = Vec::new();
    for &select in &acc.wanted {
        let descriptors = |image: usize| -> Result<Array2<f32>, StudyError> {
            let own = l2_normalize_rows(acc.test.patches_of(select, image, n)?.view());
            Ok(match config.log_bins {
                0 => own,
                levels => l2_normalize_rows(log_bins(own.view(), acc.reading.grid, levels).view()),
            })
        };
        let ask = |pairs: &[(usize, (usize, usize))]| -> Result<Vec<Found>, StudyError> {
            let of_pair = |&(_, (first, second)): &(usize, (usize, usize))| {
                let patches = [descriptors(first)?, descriptors(second)?];
                let side = |at: usize, image: usize| Side {
                    patches: patches[at].view(),
                    parts: parts_of(image),
                    saliency: &saliency[image * n..(image + 1) * n],
                };
                Ok(pair(config, shapes.seed, side(0, first), side(1, second)))
            };
            pairs.par_iter().map(of_pair).collect()
        };
        let (held_out, found) = (ask(&choosing)?, ask(&counting)?);
        let all_of = |found: &[Found], of: fn(&Found) -> &Vec<bool>| -> Vec<bool> {
            found.iter().flat_map(|one| of(one).iter().copied()).collect()
        };
        let kept = all_of(&found, |one| &one.kept);
        scored.push(Score {
            select,
            held_out: share(&all_of(&held_out, |one| &one.kept)),
            test: share(&kept),
            interval: match kept.len() {
                0 => scores::around(0.0, &[]),
                _ => accuracy_interval(&kept, bootstrap),
            },
            beside: vec![
                share(&all_of(&found, |one| &one.buddies)),
                share(&all_of(&found, |one| &one.nearest)),
                kept.len() as f64 / found.len() as f64,
            ],
        });
    }
    let chances: Vec<f64> = counting.iter().map(|&(_, (a, b))| by_chance(parts_of(a), parts_of(b))).collect();
    let words = Words {
        study,
        metric: "same_part",
        title: "Best buddies on the same part",
        caption: "Share of the pairs of patches that choose each other, in an image and the next of its class, whose ends lie on the same part. Chance \
                  is any two patches.",
        settings: format!(
            "{} pairs of images; up to {} pairs of patches each; saliency above {}; {}",
            counting.len(),
            if config.n_pairs == 0 { n } else { config.n_pairs },
            config.saliency,
            match config.log_bins {
                0 => "patches alone".to_owned(),
                levels => format!("log-binned at {levels} levels"),
            }
        ),
        beside: &["buddies_same_part", "nearest_same_part", "pairs_per_image"],
        chance: mean(&chances),
        ceiling: 1.0,
    };
    let mut findings = Findings::default();
    scores::tell(&words, shapes, &scored, &mut findings)?;
    findings.metrics.push(Metric::new("n_image_pairs", counting.len() as f64, "count"));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staged::{Stage, noise, value};
    use ndarray::array;

    #[test]
    fn buddies_of_three_patches_by_hand() {
        let (a, b) =
            (array![[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], array![[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]]);
        let side = |patches, parts, saliency| Side { patches, parts, saliency };
        let a = side(a.view(), &[1, 2, 2], &[1.0, 1.0, 1.0]);
        // a0 and b1 choose each other, a1 and b0; a2 chooses b0, which prefers a1. b2 chooses a1 (0 against −1 and −0.6).
        let b = side(b.view(), &[1, 1, 0], &[1.0, 1.0, 1.0]);
        let config = BestBuddiesConfig::default();
        let found = pair(&config, 0, a, b);
        assert_eq!((found.kept, found.nearest), (vec![true, false], vec![true, false, false]));
        // b0 is not salient: one pair is left, the right one.
        let dull = side(b.patches, b.parts, &[0.0, 1.0, 1.0]);
        assert_eq!(pair(&config, 0, a, dull).buddies, [true]);
        // Of nine pairs of patches, those of part 1: 1 · 2.
        assert_eq!(by_chance(a.parts, b.parts), 2.0 / 9.0);
    }

    fn asked(feature: &dyn Fn(u8, usize, usize) -> Vec<f32>) -> Findings {
        let config = BestBuddiesConfig { n_pairs: 3, ..BestBuddiesConfig::default() };
        Stage { n_test: 40, n_classes: 2, ..Stage::new() }.ask::<BestBuddies>(&config, feature)
    }

    #[test]
    fn perfect_features_are_always_right_and_noise_is_not_better_than_any_two_salient_patches() {
        // A direction for each patch of each part, the same in every image.
        let perfect = asked(&|kind, image, patch| {
            let (left, top) = (image * 5 % 4, image * 3 % 5);
            let at = (patch / 8 + 8 - top) * 8 + (patch % 8 + 8 - left);
            let mut row: Vec<f32> = (0..32).map(|d| noise(at * 32 + d)).collect();
            if kind == 0 {
                row.iter_mut().enumerate().for_each(|(d, x)| *x = noise((image * 64 + patch) * 77 + d));
            }
            row
        });
        assert_eq!(value(&perfect, "best.same_part"), 1.0);
        assert_eq!(value(&perfect, "ceiling"), 1.0);
        assert!(value(&perfect, "nearest_same_part") > 0.95);
        let noise = asked(&|_, image, patch| (0..16).map(|d| noise((image * 64 + patch) * 16 + d)).collect());
        // Two salient patches are each on one of two parts: a half, over some twenty pairs of images and few pairs each.
        let found = value(&noise, "best.same_part");
        assert!((0.2..0.8).contains(&found), "{found}");
        // All patches: the object covers 12 of 64, half of it each part.
        assert!((value(&noise, "chance") - 2.0 * (6.0f64 / 64.0).powi(2)).abs() < 1e-12);
    }
}
