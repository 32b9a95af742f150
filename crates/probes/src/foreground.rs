//! Foreground: do clusters of patches separate objects from what surrounds them, when attention alone says which cluster is which?

use crate::attended::{Attended, jaccard, needs_attention};
use crate::clusters::{self, Seek};
use crate::dense::{self, Kept, Reading, Target};
use crate::patches::{self, check_facets};
use crate::projected::{Projected, Space};
use crate::scores::{self, Score, Words};
use measure::interval::{mean, t_interval};
use report::{Info, Metric, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_core::{Seen, Site};
use vit_features::{Accumulate, BatchInfo, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken};

/// The options of [`Foreground`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForegroundConfig {
    /// What is clustered at every layer: `token`, `query`, `key`, `value`.
    pub facets: Vec<String>,
    /// Side in pixels at which masks are compared, at most that of the view; 100 in Leopart.
    pub eval_px: usize,
    /// Clusters; 200 in Leopart.
    pub n_clusters: usize,
    /// Principal directions of the z-scores in which clusters are sought; 50 in Leopart, 0 for the features as they are.
    pub pca: usize,
    /// Starts of k-means, of which the best end is kept.
    pub n_starts: usize,
    /// Rounds of each start at most.
    pub max_rounds: usize,
    /// Patches for each cluster by which centers are found; 0 for all.
    pub per_cluster: usize,
    /// The share of the attention that the noisy foreground holds, 0–1; 0.65 in Leopart.
    pub mass: f64,
    /// Shares of the clusters, in the order of how much of them is noisy foreground, between which the cut is looked for.
    pub cuts: [f64; 2],
    /// The cut's precision is rounded to a multiple of this; 0.05 in Leopart, 0 for not at all.
    pub round_to: f64,
    /// Features beyond this many MiB are kept in temporary files; changes no number.
    pub memory_mib: usize,
}

impl Default for ForegroundConfig {
    fn default() -> Self {
        Self {
            facets: vec!["token".into()],
            eval_px: 100,
            n_clusters: 100,
            pca: 50,
            n_starts: 1,
            max_rounds: 50,
            per_cluster: 256,
            mass: 0.65,
            cuts: [0.0, 1.0],
            round_to: 0.0,
            memory_mib: 2048,
        }
    }
}

impl Recipe for ForegroundConfig {
    fn check(&self) -> Result<(), RecipeError> {
        check_facets(&self.facets)?;
        for (key, value) in [
            ("eval_px", self.eval_px),
            ("n_clusters", self.n_clusters),
            ("n_starts", self.n_starts),
            ("max_rounds", self.max_rounds),
        ] {
            if value == 0 {
                return Err(RecipeError::value(key, "at least 1", "0"));
            }
        }
        if !(self.mass > 0.0 && self.mass < 1.0) {
            return Err(RecipeError::value("mass", "above 0 and below 1", self.mass));
        }
        let [low, high] = self.cuts;
        if !(0.0 <= low && low < high && high <= 1.0) {
            let found = format!("{:?}", self.cuts);
            return Err(RecipeError::value("cuts", "two shares of 0–1, the lower first", found));
        }
        if !(0.0..=1.0).contains(&self.round_to) {
            return Err(RecipeError::value("round_to", "0 to 1", self.round_to));
        }
        Ok(())
    }
}

/// Cluster-based foreground extraction: a cluster of patches is foreground when enough of it, image by image, is what the class
/// token looks at. The Jaccard index with the object.
///
/// # Source
/// Ziegler and Asano, Leopart. *Differs*: the cut is looked for among all clusters and not rounded (`--protocol leopart` does both);
/// it is chosen on one image in four, which does not count; a cut at one half, chosen without any truth, stands beside it.
pub struct Foreground;

/// The patches, the truth and the attention of the test side.
///
/// Memory: `images · (N · (Σ D + 1) · 4 + eval_px²)` bytes, at most `memory_mib` of the features in memory.
#[derive(Serialize, Deserialize)]
pub struct ForegroundAcc {
    reading: Reading,
    wanted: Vec<Select>,
    test: Kept,
    attended: Attended,
}

impl Accumulate for ForegroundAcc {
    fn see(&mut self, site: Site, seen: &Seen, info: &BatchInfo) -> Result<(), StudyError> {
        self.attended.see(Foreground::INFO.name, site, seen, info)
    }

    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role != Role::Test {
            return Ok(());
        }
        let study = Foreground::INFO.name;
        for image in 0..taken.info.indices.len() {
            let eval = (self.reading.eval_px, self.reading.eval_px);
            let truth = self.reading.truth(study, &taken.info, image, eval)?;
            self.test.push(study, taken, image, &truth, &self.wanted)?;
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.test.append(later.test);
        self.attended.append(later.attended);
    }
}

impl Study for Foreground {
    const INFO: Info = Info {
        name: "foreground",
        line: "objects told from what surrounds them by clusters of patches, which attention names, at every layer: Jaccard index",
        source: "Ziegler and Asano 2022 (Leopart)",
    };
    const PROTOCOL: &'static str = "\
Patches of all test images, brought to the same spread and projected onto the first principal directions, are put to length
1 and clustered by spherical k-means. The noisy foreground of an image is the fewest patches that hold a share of what the
last block's class token looks at, mean over heads. A cluster's precision is the share of its patches that are noisy
foreground, mean over the images where it is; clusters of at least a threshold are the foreground. The threshold is the one
with the best Jaccard index on one image in four, which then does not count. Beside it: one half, chosen without truth
(label_free_jaccard).";
    type Config = ForegroundConfig;
    type Acc = ForegroundAcc;

    fn protocols() -> Vec<(&'static str, &'static str, ForegroundConfig)> {
        let leopart = ForegroundConfig {
            n_clusters: 200,
            cuts: [0.55, 0.75],
            round_to: 0.05,
            ..ForegroundConfig::default()
        };
        let words = "Ziegler and Asano 2022: 200 clusters, cut between 0.55 and 0.75 of them, rounded to 0.05; views of 448 px \
                     (--size 448); the attention is the model's own, not DINO's";
        vec![("leopart", words, leopart)]
    }

    fn small() -> ForegroundConfig {
        ForegroundConfig { n_clusters: 8, max_rounds: 10, ..ForegroundConfig::default() }
    }

    fn needs(config: &ForegroundConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        needs_attention(Self::INFO.name, shapes)?;
        let selects = patches::candidates(Self::INFO.name, &config.facets, shapes)?;
        Ok(Needs { selects, sites: vec![Attended::site(shapes)], masks: true, ..Needs::default() })
    }

    fn open(config: &ForegroundConfig, shapes: &Shapes) -> ForegroundAcc {
        ForegroundAcc {
            reading: Reading::new(Target::Object, config.eval_px, shapes),
            // What the model cannot have was refused by `needs`.
            wanted: patches::candidates(Self::INFO.name, &config.facets, shapes).unwrap_or_default(),
            test: Kept::new(Self::INFO.name, config.memory_mib << 20),
            attended: Attended::new(shapes),
        }
    }

    fn finish(
        config: &ForegroundConfig,
        shapes: &Shapes,
        acc: ForegroundAcc,
    ) -> Result<Findings, StudyError> {
        dense::needs_images(Self::INFO.name, acc.test.len())?;
        findings(config, shapes, &acc)
    }
}

/// The share of each cluster's patches that are marked: the mean over the images that are `wanted` and where it is; 0 of a
/// cluster that is nowhere.
///
/// # Shapes
/// `cluster_of`, `marked`: `[images · n_patches]`.
fn precisions(
    cluster_of: &[u32],
    marked: &[bool],
    n_patches: usize,
    k: usize,
    wanted: &dyn Fn(usize) -> bool,
) -> Vec<f64> {
    let (mut sums, mut n_images) = (vec![0.0; k], vec![0usize; k]);
    let images = cluster_of.chunks_exact(n_patches).zip(marked.chunks_exact(n_patches)).enumerate();
    for (_, (clusters, marked)) in images.filter(|(rank, _)| wanted(*rank)) {
        let (mut n, mut n_marked) = (vec![0usize; k], vec![0usize; k]);
        for (&cluster, &is_marked) in clusters.iter().zip(marked) {
            n[cluster as usize] += 1;
            n_marked[cluster as usize] += usize::from(is_marked);
        }
        for cluster in (0..k).filter(|&cluster| n[cluster] > 0) {
            sums[cluster] += n_marked[cluster] as f64 / n[cluster] as f64;
            n_images[cluster] += 1;
        }
    }
    sums.iter().zip(n_images).map(|(sum, n)| sum / n.max(1) as f64).collect()
}

/// The Jaccard index of every image that is `wanted`.
fn jaccards(acc: &ForegroundAcc, marked: &[bool], wanted: &dyn Fn(usize) -> bool) -> Vec<f64> {
    let cells = acc.reading.cells();
    let images = acc.test.each_truth(&acc.reading).zip(marked.chunks_exact(acc.reading.n_patches()));
    let images = images.enumerate().filter(|(rank, _)| wanted(*rank));
    images.map(|(_, (truth, marked))| jaccard(marked, &cells, truth, &|kind| kind > 0, &|_| true)).collect()
}

/// The patches whose cluster has at least a precision.
fn of_clusters(cluster_of: &[u32], precisions: &[f64], threshold: f64) -> Vec<bool> {
    cluster_of.iter().map(|&cluster| precisions[cluster as usize] >= threshold).collect()
}

/// The threshold that does best where it may be chosen, the lowest of equals, and how well it does there.
///
/// It lies half way between the precisions of the last cluster that is left out and the first that is taken, unless it is rounded.
fn chosen(
    config: &ForegroundConfig,
    acc: &ForegroundAcc,
    cluster_of: &[u32],
    precisions: &[f64],
) -> (f64, f64) {
    let mut ascending = precisions.to_vec();
    ascending.sort_by(f64::total_cmp);
    let k = ascending.len();
    let [low, high] = config.cuts.map(|share| (share * k as f64).floor() as usize);
    let low = low.min(k - 1);
    let mut best = (low, f64::NEG_INFINITY);
    for cut in low..high.clamp(low + 1, k) {
        // Clusters of one precision are cut off together.
        if cut > low && ascending[cut] == ascending[cut - 1] {
            continue;
        }
        let marked = of_clusters(cluster_of, precisions, ascending[cut]);
        let score = mean(&jaccards(acc, &marked, &dense::chooses));
        if score > best.1 {
            best = (cut, score);
        }
    }
    let (cut, score) = best;
    // Where nothing is left out, nothing is below.
    let below = if cut == 0 { -ascending[0] } else { ascending[cut - 1] };
    match config.round_to {
        0.0 => (0.5 * (below + ascending[cut]), score),
        step => ((ascending[cut] / step).round() * step, score),
    }
}

fn findings(config: &ForegroundConfig, shapes: &Shapes, acc: &ForegroundAcc) -> Result<Findings, StudyError> {
    let mut findings = Findings::default();
    let (reading, noisy) = (&acc.reading, acc.attended.marked(&acc.reading, config.mass));
    let n_patches = reading.n_patches();
    let mut scored = Vec::new();
    for &select in &acc.wanted {
        let space = Space { pca: config.pca, unit: true, memory_bytes: config.memory_mib << 20 };
        let rows = Projected::of(Foreground::INFO.name, &acc.test, (select, reading), space)?;
        let how = Seek {
            k: config.n_clusters,
            n_starts: config.n_starts,
            max_rounds: config.max_rounds,
            per_cluster: config.per_cluster,
            spherical: true,
            seed: shapes.seed,
        };
        let found = clusters::seek(&rows, &how)?;
        let k = found.centers.nrows();
        let of = |wanted: &dyn Fn(usize) -> bool| precisions(&found.of, &noisy, n_patches, k, wanted);
        let (threshold, held_out) = chosen(config, acc, &found.of, &of(&dense::chooses));
        let own = of(&dense::counts);
        let by_image = jaccards(acc, &of_clusters(&found.of, &own, threshold), &dense::counts);
        let label_free = jaccards(acc, &of_clusters(&found.of, &own, 0.5), &dense::counts);
        scored.push(Score {
            select,
            held_out,
            test: mean(&by_image),
            interval: t_interval(&by_image),
            beside: vec![mean(&label_free), threshold],
        });
    }
    let of_truth = |truth| reading.of_patches(truth).into_iter().map(|kind| kind > 0);
    let truth: Vec<bool> = acc.test.each_truth(reading).flat_map(of_truth).collect();
    let attention = mean(&jaccards(acc, &noisy, &dense::counts));
    let words = Words {
        study: Foreground::INFO.name,
        metric: "jaccard",
        title: "Foreground by clusters",
        caption: "Jaccard index of the object and of the clusters of patches that attention says are foreground. Chance is everything marked; the \
                  ceiling is the truth at the middle of every patch.",
        settings: format!(
            "{} test images at {} px; {} clusters; the noisy foreground itself ({} of the attention) has {attention:.3}",
            acc.test.len(),
            reading.eval_px,
            config.n_clusters.min(acc.test.len() * n_patches),
            config.mass
        ),
        beside: &["label_free_jaccard", "threshold"],
        chance: mean(&jaccards(acc, &vec![true; noisy.len()], &dense::counts)),
        ceiling: mean(&jaccards(acc, &truth, &dense::counts)),
    };
    scores::tell(&words, shapes, &scored, &mut findings)?;
    findings.metrics.push(Metric::new("attention.jaccard", attention, "ratio"));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staged::{Stage, noise, value};

    #[test]
    fn the_precision_of_clusters_by_hand() {
        // Two images of four patches. Cluster 0: half and all marked; cluster 1: none, and nowhere in the second.
        let (clusters, marked) =
            ([0, 0, 1, 1, 0, 0, 0, 2], [true, false, false, false, true, true, true, false]);
        assert_eq!(precisions(&clusters, &marked, 4, 4, &|_| true), [0.75, 0.0, 0.0, 0.0]);
        assert_eq!(precisions(&clusters, &marked, 4, 4, &|rank| rank == 0), [0.5, 0.0, 0.0, 0.0]);
        assert_eq!(of_clusters(&[0, 1, 0], &[0.75, 0.2], 0.5), [true, false, true]);
    }

    fn asked(feature: &dyn Fn(u8, usize, usize) -> Vec<f32>) -> Findings {
        // The class token looks at the object twice as much as elsewhere, and at every patch with some noise.
        let attention = |kind: u8, image: usize, patch: usize, _: usize| {
            (if kind > 0 { 2.0 } else { 1.0 }) + noise(image * 64 + patch)
        };
        let stage = Stage { n_test: 16, attention, ..Stage::new() };
        let config = ForegroundConfig { n_clusters: 4, mass: 0.3, ..ForegroundConfig::default() };
        stage.ask::<Foreground>(&config, feature)
    }

    #[test]
    fn clusters_clean_the_attention_up_and_noise_stays_near_chance() {
        let perfect = asked(&|kind, _, _| if kind > 0 { vec![1.0, 0.1] } else { vec![-1.0, 0.2] });
        assert_eq!(value(&perfect, "ceiling"), 1.0, "objects cover whole patches");
        assert_eq!(value(&perfect, "best.jaccard"), 1.0);
        assert!(value(&perfect, "attention.jaccard") < 1.0, "what it was named by is not clean");
        let noise =
            asked(&|_, image, patch| (0..3).map(|d| noise((image * 64 + patch) * 3 + d + 7)).collect());
        let (found, chance) = (value(&noise, "best.jaccard"), value(&noise, "chance"));
        // Everything marked: the object covers 12 of 64 patches.
        assert!((chance - 12.0 / 64.0).abs() < 1e-12, "{chance}");
        assert!(found < chance + 0.05, "{found} and {chance}");
    }
}
