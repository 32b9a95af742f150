//! Overclustering: do clusters of patches, found without labels, hold one kind of thing each?

use crate::clusters::{self, Seek};
use crate::dense::{self, Kept, Reading, Target};
use crate::patches::{self, check_facets};
use crate::projected::{Projected, Space};
use crate::scores::{self, Score, Words};
use measure::confusion::Confusion;
use measure::interval::mean;
use measure::matching::{many_to_one, one_to_one};
use ndarray::Array2;
use report::{Block, Cell, Info, Metric, Recipe, RecipeError, Table};
use serde::{Deserialize, Serialize};
use vit_features::{Accumulate, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken};

/// The options of [`Overclustering`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OverclusteringConfig {
    /// What is clustered at every layer: `token`, `query`, `key`, `value`.
    pub facets: Vec<String>,
    /// What is told apart: `parts`, the `object` from its background, the `class` of the object, or `semantic`: the
    /// class of every pixel.
    pub target: Target,
    /// Side in pixels at which masks are compared, at most that of the view; 100 in Leopart.
    pub eval_px: usize,
    /// Clusters, many of which may stand for one kind; 500 in Leopart.
    pub n_clusters: usize,
    /// Principal directions of the z-scores in which clusters are sought; 0 for the features as they are.
    pub pca: usize,
    /// Seeds over which scores are averaged; 5 in Leopart.
    pub n_seeds: usize,
    /// Starts of k-means, of which the best end is kept; 5 in Leopart.
    pub n_starts: usize,
    /// Rounds of each start at most; 100 in Leopart.
    pub max_rounds: usize,
    /// Patches for each cluster by which centers are found; 0 for all, 256 in faiss.
    pub per_cluster: usize,
    /// Features beyond this many MiB are kept in temporary files; changes no number.
    pub memory_mib: usize,
}

impl Default for OverclusteringConfig {
    fn default() -> Self {
        Self {
            facets: vec!["token".into()],
            target: Target::Parts,
            eval_px: 100,
            n_clusters: 100,
            pca: 50,
            n_seeds: 1,
            n_starts: 1,
            max_rounds: 50,
            per_cluster: 256,
            memory_mib: 2048,
        }
    }
}

impl Recipe for OverclusteringConfig {
    fn check(&self) -> Result<(), RecipeError> {
        check_facets(&self.facets)?;
        for (key, value) in [
            ("eval_px", self.eval_px),
            ("n_clusters", self.n_clusters),
            ("n_seeds", self.n_seeds),
            ("n_starts", self.n_starts),
            ("max_rounds", self.max_rounds),
        ] {
            if value == 0 {
                return Err(RecipeError::value(key, "at least 1", "0"));
            }
        }
        Ok(())
    }
}

/// Patches of all test images are clustered without labels; then every cluster is called by the kind that most of its pixels are,
/// or as many clusters as kinds are matched one to one. The mean IoU of what comes out.
///
/// # Source
/// Ziegler and Asano, Leopart. *Differs*: names are given on the images that are scored, as there, but one image in four is
/// scored by itself and chooses the layer.
pub struct Overclustering;

/// The patches and the truth of the test side.
///
/// Memory: `images · (N · Σ D · 4 + eval_px²)` bytes, at most `memory_mib` of the features in memory.
#[derive(Serialize, Deserialize)]
pub struct OverclusteringAcc {
    reading: Reading,
    wanted: Vec<Select>,
    test: Kept,
}

impl Accumulate for OverclusteringAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role != Role::Test {
            return Ok(());
        }
        let study = Overclustering::INFO.name;
        for image in 0..taken.info.indices.len() {
            let eval = (self.reading.eval_px, self.reading.eval_px);
            let truth = self.reading.truth(study, &taken.info, image, eval)?;
            self.test.push(study, taken, image, &truth, &self.wanted)?;
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.test.append(later.test);
    }
}

impl Study for Overclustering {
    const INFO: Info = Info {
        name: "overclustering",
        line: "clusters of patches, found without labels, that hold one kind of thing each, at every layer: mean IoU",
        source: "Ziegler and Asano 2022 (Leopart)",
    };
    const PROTOCOL: &'static str = "\
Patches of all test images, every dimension brought to the same spread and then projected onto the first principal
directions, are clustered by k-means. The clusters of patches are made as large as the masks by the nearest one. Then every
cluster is called by the kind that most of its pixels are (many to one), and the mean IoU is told; beside it that of as many
clusters as kinds, matched one to one by the Hungarian method, clusters in excess being background. Names come from the
images that are scored: more clusters score higher for that alone, as random clusters show. One image in four is named and
scored by itself, chooses the layer and does not count.";
    type Config = OverclusteringConfig;
    type Acc = OverclusteringAcc;

    fn protocols() -> Vec<(&'static str, &'static str, OverclusteringConfig)> {
        let leopart = OverclusteringConfig {
            target: Target::Semantic,
            n_clusters: 500,
            n_seeds: 5,
            n_starts: 5,
            max_rounds: 100,
            ..OverclusteringConfig::default()
        };
        let words = "Ziegler and Asano 2022: 500 clusters of tokens after the final norm in 50 directions, masks at 100 px, five \
                     seeds; views of 448 px (--size 448)";
        vec![("leopart", words, leopart)]
    }

    fn small() -> OverclusteringConfig {
        OverclusteringConfig { n_clusters: 8, max_rounds: 10, ..OverclusteringConfig::default() }
    }

    fn needs(config: &OverclusteringConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let selects = patches::candidates(Self::INFO.name, &config.facets, shapes)?;
        Ok(config.target.needs(Needs { selects, ..Needs::default() }))
    }

    fn open(config: &OverclusteringConfig, shapes: &Shapes) -> OverclusteringAcc {
        OverclusteringAcc {
            reading: Reading::new(config.target, config.eval_px, shapes),
            // What the model cannot have was refused by `needs`.
            wanted: patches::candidates(Self::INFO.name, &config.facets, shapes).unwrap_or_default(),
            test: Kept::new(Self::INFO.name, config.memory_mib << 20),
        }
    }

    fn finish(
        config: &OverclusteringConfig,
        shapes: &Shapes,
        acc: OverclusteringAcc,
    ) -> Result<Findings, StudyError> {
        dense::needs_images(Self::INFO.name, acc.test.len())?;
        let mut answers = Vec::new();
        for &select in &acc.wanted {
            answers.push(answer(config, shapes, &acc, select)?);
        }
        findings(config, shapes, &acc, &answers)
    }
}

/// Clusters of a number, and how many there are.
struct Found {
    of: Vec<u32>,
    k: usize,
}

impl OverclusteringAcc {
    fn meetings(&self, found: &Found, wanted: &dyn Fn(usize) -> bool) -> Array2<usize> {
        dense::meetings(&self.test, &self.reading, &found.of, found.k, wanted)
    }

    /// Every cluster called by its most frequent kind.
    fn by_most(&self, found: &Found, wanted: &dyn Fn(usize) -> bool) -> Confusion {
        let counts = self.meetings(found, wanted);
        Confusion::of_clusters(counts.view(), &many_to_one(counts.view()))
    }

    /// Clusters and kinds matched one to one; the others are background.
    fn by_match(&self, found: &Found, wanted: &dyn Fn(usize) -> bool) -> Confusion {
        let counts = self.meetings(found, wanted);
        let kinds: Vec<usize> = one_to_one(counts.view()).into_iter().map(|kind| kind.unwrap_or(0)).collect();
        Confusion::of_clusters(counts.view(), &kinds)
    }

    /// Of the images that count, the mean IoU of each by the names that all of them together give.
    fn by_image(&self, found: &Found) -> Vec<f64> {
        let names = many_to_one(self.meetings(found, &dense::counts).view());
        let of_image = |image: usize| {
            let counts = self.meetings(found, &|rank| rank == image);
            Confusion::of_clusters(counts.view(), &names)
        };
        let images = (0..self.test.len()).filter(|&rank| dense::counts(rank)).map(of_image);
        images.filter(|one| one.counts.sum() > 0).map(|one| one.mean_iou()).collect()
    }
}

/// What came out at one select, averaged over seeds.
struct Answer {
    select: Select,
    held_out: f64,
    miou: f64,
    hungarian: f64,
    accuracy: f64,
    by_image: Vec<f64>,
    /// Of the first seed.
    confusion: Confusion,
}

fn answer(
    config: &OverclusteringConfig,
    shapes: &Shapes,
    acc: &OverclusteringAcc,
    select: Select,
) -> Result<Answer, StudyError> {
    let space = Space { pca: config.pca, unit: false, memory_bytes: config.memory_mib << 20 };
    let rows = Projected::of(Overclustering::INFO.name, &acc.test, (select, &acc.reading), space)?;
    let (mut first, mut scores) = (None, [(); 4].map(|()| Vec::new()));
    for turn in 0..config.n_seeds {
        let seed = shapes.seed.wrapping_add(turn as u64);
        let of = |k: usize| -> Result<Found, StudyError> {
            let how = Seek {
                k,
                n_starts: config.n_starts,
                max_rounds: config.max_rounds,
                per_cluster: config.per_cluster,
                spherical: false,
                seed,
            };
            let found = clusters::seek(&rows, &how)?;
            Ok(Found { k: found.centers.nrows(), of: found.of })
        };
        let (many, few) = (of(config.n_clusters)?, of(acc.reading.n_kinds)?);
        let counted = acc.by_most(&many, &dense::counts);
        let numbers = [
            acc.by_most(&many, &dense::chooses).mean_iou(),
            counted.mean_iou(),
            acc.by_match(&few, &dense::counts).mean_iou(),
            counted.accuracy(),
        ];
        scores.iter_mut().zip(numbers).for_each(|(all, number)| all.push(number));
        if first.is_none() {
            first = Some((acc.by_image(&many), counted));
        }
    }
    let Some((by_image, confusion)) = first else { unreachable!("at least one seed was checked") };
    let [held_out, miou, hungarian, accuracy] = scores.map(|all| mean(&all));
    Ok(Answer { select, held_out, miou, hungarian, accuracy, by_image, confusion })
}

fn findings(
    config: &OverclusteringConfig,
    shapes: &Shapes,
    acc: &OverclusteringAcc,
    answers: &[Answer],
) -> Result<Findings, StudyError> {
    let mut findings = Findings::default();
    let scored: Vec<Score> = answers
        .iter()
        .map(|answer| Score {
            select: answer.select,
            held_out: answer.held_out,
            test: answer.miou,
            interval: scores::around(answer.miou, &answer.by_image),
            beside: vec![answer.hungarian, answer.accuracy],
        })
        .collect();
    let (reading, test) = (&acc.reading, &acc.test);
    let n = test.len() * reading.n_patches();
    let random = |k: usize| Found { of: clusters::random(n, k.min(n), shapes.seed), k: k.min(n) };
    // With perfect features a cluster is a kind: the truth at the middle of every patch, void being one more.
    let of_truth = |truth| {
        let last = reading.n_kinds as u32;
        reading.of_patches(truth).into_iter().map(move |kind| u32::from(kind).min(last))
    };
    let truth = Found { of: test.each_truth(reading).flat_map(of_truth).collect(), k: reading.n_kinds + 1 };
    let chance = acc.by_most(&random(config.n_clusters), &dense::counts).mean_iou();
    let ceiling = acc.by_most(&truth, &dense::counts);
    let words = Words {
        study: Overclustering::INFO.name,
        metric: "miou",
        title: "Overclustering",
        caption: "Mean intersection over union when every cluster of patches is called by the kind that most of its pixels are. Chance is as many \
                  random clusters, named in the same way; the ceiling is the truth at the middle of every patch.",
        settings: format!(
            "{} test images at {} px; {} clusters for {} kinds, {} seeds",
            test.len(),
            reading.eval_px,
            config.n_clusters.min(n),
            reading.n_kinds,
            config.n_seeds
        ),
        beside: &["hungarian_miou", "pixel_accuracy"],
        chance,
        ceiling: ceiling.mean_iou(),
    };
    let best = scores::tell(&words, shapes, &scored, &mut findings)?;
    let chance = acc.by_match(&random(reading.n_kinds), &dense::counts).mean_iou();
    findings.metrics.push(Metric::new("chance.hungarian_miou", chance, "ratio"));
    let columns = ["kind", "iou", "ceiling", "share of pixels"];
    let mut table = Table::new("by_kind", "Every kind at the best layer", columns);
    let confusion = &answers[best].confusion;
    let n_pixels = confusion.counts.sum() as f64;
    for (kind, name) in config.target.kinds(shapes).into_iter().enumerate() {
        let Some(iou) = confusion.iou(kind) else { continue };
        findings.metrics.push(Metric::new("best.iou", iou, "ratio").param("kind", name.as_str()));
        let share = confusion.n_true(kind) as f64 / n_pixels;
        table.push([Cell::from(name), Cell::from(iou), Cell::from(ceiling.iou(kind)), Cell::from(share)]);
    }
    findings.tables.push(table.note("Of the first seed. A kind that most of no cluster is has 0."));
    findings.story.push(Block::Table("by_kind".into()));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staged::{Stage, noise, value};

    fn asked(feature: &dyn Fn(u8, usize, usize) -> Vec<f32>) -> Findings {
        let config = OverclusteringConfig { n_clusters: 6, ..OverclusteringConfig::default() };
        Stage::new().ask::<Overclustering>(&config, feature)
    }

    #[test]
    fn the_kind_of_every_patch_reaches_the_ceiling_and_noise_stays_near_chance() {
        let perfect = asked(&|kind, _, _| (0..3).map(|k| f32::from(u8::from(k == kind))).collect());
        let (found, ceiling) = (value(&perfect, "best.miou"), value(&perfect, "ceiling"));
        assert!(ceiling > 0.8 && (found - ceiling).abs() < 1e-9, "{found} and {ceiling}");
        // As many clusters as kinds are the kinds.
        assert!((value(&perfect, "hungarian_miou") - ceiling).abs() < 1e-9);
        let noise = asked(&|_, image, patch| (0..3).map(|d| noise((image * 64 + patch) * 3 + d)).collect());
        let (found, chance) = (value(&noise, "best.miou"), value(&noise, "chance"));
        // Background covers 13 of 16: where every cluster is called so, its IoU over three kinds.
        assert!((chance - 0.8125 / 3.0).abs() < 0.02, "{chance}");
        assert!((found - chance).abs() < 0.05, "{found} and {chance}");
    }
}
