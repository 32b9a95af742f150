//! Communities of parts: do clusters of patches that stand beside one another make up whole objects?

mod config;

pub use config::{CommunitiesConfig, ForegroundFrom, Neighbors};

use crate::attended::{Attended, needs_attention};
use crate::clusters::{self, Seek};
use crate::dense::{self, Kept, Reading, Target};
use crate::patches;
use crate::projected::{Chosen, Projected, Space};
use crate::scores::{self, Score, Words};
use measure::confusion::Confusion;
use measure::cooccurrence::Beside;
use measure::interval::mean;
use measure::map_equation::{self, Communities as Partition, Graph, Walk};
use measure::matching::one_to_one;
use ndarray::Array2;
use rayon::prelude::*;
use report::{Block, Cell, Info, Metric, Table};
use serde::{Deserialize, Serialize};
use vit_core::{Seen, Site};
use vit_features::{Accumulate, BatchInfo, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken};

/// Clusters of the foreground's patches are nodes of a graph, joined where they surround each other; its communities, by the two-level
/// map equation, are matched one to one with the kinds. Mean IoU.
///
/// # Source
/// Ziegler and Asano, Leopart (part discovery); Rosvall and Bergstrom (the map equation). *Differs*: share and Markov time are chosen on
/// one image in four, which does not count, and the published ones stand beside; more communities than kinds are background.
pub struct Communities;

/// The patches, the truth and the attention of the test side.
///
/// Memory: `images · (N · (Σ D + 1) · 4 + eval_px²)` bytes, at most `memory_mib` of the features in memory.
#[derive(Serialize, Deserialize)]
pub struct CommunitiesAcc {
    reading: Reading,
    wanted: Vec<Select>,
    test: Kept,
    /// 1 where an object is at the middle of a patch.
    objects: Vec<u8>,
    attended: Attended,
}

impl Accumulate for CommunitiesAcc {
    fn see(&mut self, site: Site, seen: &Seen, info: &BatchInfo) -> Result<(), StudyError> {
        self.attended.see(Communities::INFO.name, site, seen, info)
    }

    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role != Role::Test {
            return Ok(());
        }
        let study = Communities::INFO.name;
        for image in 0..taken.info.indices.len() {
            let eval = (self.reading.eval_px, self.reading.eval_px);
            let truth = self.reading.truth(study, &taken.info, image, eval)?;
            let truths: Vec<u8> = truth.iter().copied().collect();
            self.objects.extend(self.reading.of_patches(&truths).iter().map(|&kind| u8::from(kind > 0)));
            self.test.push(study, taken, image, &truth, &self.wanted)?;
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.test.append(later.test);
        self.objects.extend(later.objects);
        self.attended.append(later.attended);
    }
}

impl Study for Communities {
    const INFO: Info = Info {
        name: "communities",
        line: "clusters of patches that stand beside one another joined to whole objects by the map equation, at every layer: mean IoU",
        source: "Ziegler and Asano 2022 (Leopart); Rosvall and Bergstrom 2008",
    };
    const PROTOCOL: &'static str = "\
Patches of the foreground of all test images are clustered by k-means in the first principal directions of their z-scores;
the background is one cluster more. For each image it is counted which clusters stand within two pixels of which; a row is
divided by its sum and averaged over the images where the cluster has neighbors. Two clusters are joined, by the lesser of
their two shares, where both are at least a threshold. The communities of this graph, by the two-level map equation, are
matched one to one with the kinds by the Hungarian method on their overlap; what is in excess or joined to nothing is
background. Threshold and Markov time are those with the best mean IoU on one image in four, which then does not count; the
published ones stand beside (published_miou). Means over the seeds of the search.";
    type Config = CommunitiesConfig;
    type Acc = CommunitiesAcc;

    fn protocols() -> Vec<(&'static str, &'static str, CommunitiesConfig)> {
        let s16 = CommunitiesConfig {
            target: Target::Semantic,
            n_clusters: 149,
            max_rounds: 100,
            neighbors: Neighbors::Leopart,
            least_weights: vec![0.09],
            markov_times: vec![2.0],
            ..CommunitiesConfig::default()
        };
        let b8 = CommunitiesConfig {
            n_clusters: 109,
            least_weights: vec![0.07],
            markov_times: vec![0.4],
            published: [0.07, 0.4],
            ..s16.clone()
        };
        vec![
            (
                "leopart-s16",
                "Ziegler and Asano 2022, values for ViT-S/16: 149 clusters, 0.09, Markov time 2; foreground by attention",
                s16,
            ),
            (
                "leopart-b8",
                "Ziegler and Asano 2022, values for ViT-B/8: 109 clusters, 0.07, Markov time 0.4",
                b8,
            ),
        ]
    }

    fn small() -> CommunitiesConfig {
        CommunitiesConfig {
            n_clusters: 8,
            max_rounds: 10,
            least_weights: vec![0.05, 0.15],
            markov_times: vec![1.0],
            n_seeds: 2,
            ..CommunitiesConfig::default()
        }
    }

    fn needs(config: &CommunitiesConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let selects = patches::candidates(Self::INFO.name, &config.facets, shapes)?;
        let mut sites = Vec::new();
        if config.foreground == ForegroundFrom::Attention {
            needs_attention(Self::INFO.name, shapes)?;
            sites.push(Attended::site(shapes));
        }
        Ok(config.target.needs(Needs { selects, sites, ..Needs::default() }))
    }

    fn open(config: &CommunitiesConfig, shapes: &Shapes) -> CommunitiesAcc {
        CommunitiesAcc {
            reading: Reading::new(config.target, config.eval_px, shapes),
            // What the model cannot have was refused by `needs`.
            wanted: patches::candidates(Self::INFO.name, &config.facets, shapes).unwrap_or_default(),
            test: Kept::new(Self::INFO.name, config.memory_mib << 20),
            objects: Vec::new(),
            attended: Attended::new(shapes),
        }
    }

    fn finish(
        config: &CommunitiesConfig,
        shapes: &Shapes,
        acc: CommunitiesAcc,
    ) -> Result<Findings, StudyError> {
        dense::needs_images(Self::INFO.name, acc.test.len())?;
        findings(config, shapes, &acc)
    }
}

/// Nodes of patches: clusters, and as the last one what is not foreground.
struct Nodes {
    of: Vec<u32>,
    n: usize,
    beside: Beside,
}

fn nodes(
    config: &CommunitiesConfig,
    shapes: &Shapes,
    acc: &CommunitiesAcc,
    select: Select,
    is_foreground: &[bool],
) -> Result<Nodes, StudyError> {
    let chosen: Vec<usize> = (0..is_foreground.len()).filter(|&patch| is_foreground[patch]).collect();
    let space = Space { pca: config.pca, unit: false, memory_bytes: config.memory_mib << 20 };
    let rows = Projected::of(Communities::INFO.name, &acc.test, (select, &acc.reading), space)?;
    let how = Seek {
        k: config.n_clusters,
        n_starts: 1,
        max_rounds: config.max_rounds,
        per_cluster: 256,
        spherical: false,
        seed: shapes.seed,
    };
    let found = clusters::seek(&Chosen { rows: &rows, chosen: &chosen }, &how)?;
    let background = found.centers.nrows();
    let mut of = vec![background as u32; is_foreground.len()];
    for (&patch, &cluster) in chosen.iter().zip(&found.of) {
        of[patch] = cluster;
    }
    Ok(Nodes { beside: beside(config, acc, &of, background + 1), of, n: background + 1 })
}

/// Who stands beside whom, over all images.
fn beside(config: &CommunitiesConfig, acc: &CommunitiesAcc, of: &[u32], n: usize) -> Beside {
    let (reading, cells) = (&acc.reading, acc.reading.cells());
    let mut all = Beside::nothing(n);
    for patches in of.chunks_exact(reading.n_patches()) {
        let labels = Array2::from_shape_fn((reading.eval_px, reading.eval_px), |(y, x)| {
            patches[cells[y * reading.eval_px + x]] as usize
        });
        all.add(labels.view(), config.neighbors.offsets());
    }
    all
}

/// A partition of the nodes into communities that count from 1; 0 is what is joined to nothing.
struct Joined {
    of_node: Vec<u32>,
    n: usize,
    bits: Option<f64>,
}

fn joined(nodes: &Nodes, graph: &(Graph, Vec<usize>), walk: &Walk, seed: u64) -> Joined {
    let mut of_node = vec![0; nodes.n];
    let (graph, labels) = graph;
    if graph.edges.is_empty() {
        return Joined { of_node, n: 0, bits: None };
    }
    let found: Partition = map_equation::communities(graph, walk, seed);
    for (&label, &module) in labels.iter().zip(&found.module) {
        of_node[label] = 1 + module as u32;
    }
    Joined { of_node, n: found.n_modules(), bits: Some(found.length.total()) }
}

/// Communities matched one to one with kinds, over the images that are `wanted`.
fn matched(
    acc: &CommunitiesAcc,
    nodes: &Nodes,
    joined: &Joined,
    wanted: &dyn Fn(usize) -> bool,
) -> Confusion {
    let (community_of, n) = (of_patches(nodes, joined), joined.n + 1);
    let counts = dense::meetings(&acc.test, &acc.reading, &community_of, n, wanted);
    Confusion::of_clusters(counts.view(), &kinds_of(&counts))
}

fn of_patches(nodes: &Nodes, joined: &Joined) -> Vec<u32> {
    nodes.of.iter().map(|&node| joined.of_node[node as usize]).collect()
}

fn kinds_of(counts: &Array2<usize>) -> Vec<usize> {
    one_to_one(counts.view()).into_iter().map(|kind| kind.unwrap_or(0)).collect()
}

/// What came out at one select.
struct Answer {
    select: Select,
    held_out: f64,
    miou: f64,
    published: f64,
    accuracy: f64,
    n_communities: f64,
    bits: f64,
    least_weight: f64,
    markov_time: f64,
    by_image: Vec<f64>,
    confusion: Confusion,
}

fn answer(
    config: &CommunitiesConfig,
    shapes: &Shapes,
    acc: &CommunitiesAcc,
    select: Select,
    nodes: &Nodes,
) -> Result<Answer, StudyError> {
    let preferred = config.prefer_kinds.then(|| acc.reading.n_kinds.saturating_sub(1).max(1));
    let of = |[least, markov_time]: [f64; 2], seed: u64| {
        joined(nodes, &nodes.beside.graph(least), &Walk { markov_time, preferred }, seed)
    };
    let tried: Vec<[f64; 2]> = config
        .least_weights
        .iter()
        .flat_map(|&least| config.markov_times.iter().map(move |&time| [least, time]))
        .collect();
    let seed = shapes.seed;
    let on_held_out: Vec<f64> =
        tried.par_iter().map(|&at| matched(acc, nodes, &of(at, seed), &dense::chooses).mean_iou()).collect();
    let best = (0..tried.len()).fold(0, |best, i| if on_held_out[i] > on_held_out[best] { i } else { best });
    let with = |at: [f64; 2]| -> Vec<(Joined, Confusion)> {
        (0..config.n_seeds as u64)
            .into_par_iter()
            .map(|turn| {
                let joined = of(at, seed.wrapping_add(turn));
                let confusion = matched(acc, nodes, &joined, &dense::counts);
                (joined, confusion)
            })
            .collect()
    };
    let (chosen, published) = (with(tried[best]), with(config.published));
    let over = |of: &dyn Fn(&(Joined, Confusion)) -> f64| mean(&chosen.iter().map(of).collect::<Vec<_>>());
    // Each image by itself, with the names that all of them together give; of the first seed.
    let (first, confusion) = &chosen[0];
    let community_of = of_patches(nodes, first);
    let meet = |wanted: &dyn Fn(usize) -> bool| {
        dense::meetings(&acc.test, &acc.reading, &community_of, first.n + 1, wanted)
    };
    let names = kinds_of(&meet(&dense::counts));
    let of_image = |image: usize| Confusion::of_clusters(meet(&|rank| rank == image).view(), &names);
    let images = (0..acc.test.len()).filter(|&rank| dense::counts(rank)).map(of_image);
    let by_image = images.filter(|one| one.counts.sum() > 0).map(|one| one.mean_iou()).collect();
    Ok(Answer {
        select,
        held_out: on_held_out[best],
        miou: over(&|(_, confusion)| confusion.mean_iou()),
        published: mean(&published.iter().map(|(_, confusion)| confusion.mean_iou()).collect::<Vec<_>>()),
        accuracy: over(&|(_, confusion)| confusion.accuracy()),
        n_communities: over(&|(joined, _)| joined.n as f64),
        bits: over(&|(joined, _)| joined.bits.unwrap_or(0.0)),
        least_weight: tried[best][0],
        markov_time: tried[best][1],
        by_image,
        confusion: confusion.clone(),
    })
}

fn findings(
    config: &CommunitiesConfig,
    shapes: &Shapes,
    acc: &CommunitiesAcc,
) -> Result<Findings, StudyError> {
    let reading = &acc.reading;
    let foreground = match config.foreground {
        ForegroundFrom::Attention => acc.attended.marked(reading, config.mass),
        ForegroundFrom::Truth => acc.objects.iter().map(|&is_object| is_object > 0).collect(),
        ForegroundFrom::Everywhere => vec![true; acc.objects.len()],
    };
    if !foreground.contains(&true) {
        let (expected, found) = ("a patch of the foreground".into(), "none".into());
        return Err(StudyError::Value { study: Communities::INFO.name.into(), expected, found });
    }
    let mut answers = Vec::new();
    for &select in &acc.wanted {
        let nodes = nodes(config, shapes, acc, select, &foreground)?;
        answers.push(answer(config, shapes, acc, select, &nodes)?);
    }
    let scored: Vec<Score> = answers
        .iter()
        .map(|answer| Score {
            select: answer.select,
            held_out: answer.held_out,
            test: answer.miou,
            interval: scores::around(answer.miou, &answer.by_image),
            beside: vec![answer.published, answer.accuracy, answer.n_communities, answer.bits],
        })
        .collect();
    // Without looking: one community, which is the most frequent kind. With perfect features: the kinds themselves.
    let (mut chance, mut ceiling) =
        (Confusion::nothing(reading.n_kinds), Confusion::nothing(reading.n_kinds));
    let cells = reading.cells();
    let images = acc.test.each_truth(reading).enumerate();
    for (_, truth) in images.filter(|(rank, _)| dense::counts(*rank)) {
        chance.add_pixels(truth, &vec![0; truth.len()]);
        let patches = reading.of_patches(truth);
        let found: Vec<u8> = cells
            .iter()
            .map(|&cell| if usize::from(patches[cell]) < reading.n_kinds { patches[cell] } else { 0 })
            .collect();
        ceiling.add_pixels(truth, &found);
    }
    let words = Words {
        study: Communities::INFO.name,
        metric: "miou",
        title: "Communities of parts",
        caption: "Mean intersection over union of the kinds and of communities of clusters, matched one to one. Chance is background everywhere; the \
                  ceiling is the truth at the middle of every patch.",
        settings: format!(
            "{} test images at {} px; {} clusters of a foreground by {}; {} kinds; {} seeds",
            acc.test.len(),
            reading.eval_px,
            config.n_clusters,
            match config.foreground {
                ForegroundFrom::Attention => "attention",
                ForegroundFrom::Truth => "the truth",
                ForegroundFrom::Everywhere => "nothing: all patches",
            },
            reading.n_kinds,
            config.n_seeds
        ),
        beside: &["published_miou", "pixel_accuracy", "n_communities", "code_length_bits"],
        chance: chance.mean_iou(),
        ceiling: ceiling.mean_iou(),
    };
    let mut findings = Findings::default();
    let best = scores::tell(&words, shapes, &scored, &mut findings)?;
    let share = foreground.iter().filter(|&&is_foreground| is_foreground).count() as f64;
    findings.metrics.push(Metric::new("foreground_share", share / foreground.len() as f64, "ratio"));
    let best = &answers[best];
    findings.metrics.push(Metric::new("best.least_weight", best.least_weight, "ratio"));
    findings.metrics.push(Metric::new("best.markov_time", best.markov_time, "ratio"));
    let mut table = Table::new("by_kind", "Every kind at the best layer", ["kind", "iou", "ceiling"]);
    for (kind, name) in config.target.kinds(shapes).into_iter().enumerate() {
        let Some(iou) = best.confusion.iou(kind) else { continue };
        findings.metrics.push(Metric::new("best.iou", iou, "ratio").param("kind", name.as_str()));
        table.push([Cell::from(name), Cell::from(iou), Cell::from(ceiling.iou(kind))]);
    }
    findings.tables.push(table.note(format!(
        "Of the first seed. Joined from a share of {} on, at a Markov time of {}: chosen on what is held out. The published \
         values are {} and {}.",
        best.least_weight, best.markov_time, config.published[0], config.published[1]
    )));
    findings.story.push(Block::Table("by_kind".into()));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staged::{Stage, noise, value};

    /// Objects of two classes, each of two parts, on a background.
    fn asked(feature: &dyn Fn(u8, usize, usize) -> Vec<f32>) -> Findings {
        let config = CommunitiesConfig {
            foreground: ForegroundFrom::Truth,
            n_clusters: 4,
            pca: 0,
            n_seeds: 2,
            // A half has 0.301 of the other around it or more, the background at most 0.292 of a half.
            least_weights: vec![0.05, 0.296],
            ..CommunitiesConfig::default()
        };
        Stage { n_test: 24, n_classes: 2, ..Stage::new() }.ask::<Communities>(&config, feature)
    }

    #[test]
    fn parts_of_a_class_become_one_community_and_noise_does_not() {
        // One-hot of class and part.
        let perfect = asked(&|part, image, _| {
            let at = 2 * (image % 2) + usize::from(part.max(1)) - 1;
            (0..4).map(|k| f32::from(u8::from(part > 0 && k == at))).collect()
        });
        let (found, ceiling) = (value(&perfect, "best.miou"), value(&perfect, "ceiling"));
        assert_eq!(ceiling, 1.0, "objects cover whole patches");
        assert_eq!(found, 1.0);
        assert!(value(&perfect, "n_communities") >= 2.0);
        // Background covers 52 of 64: its IoU over three kinds.
        assert!((value(&perfect, "chance") - 52.0 / 64.0 / 3.0).abs() < 1e-12);
        let noise = asked(&|_, image, patch| (0..3).map(|d| noise((image * 64 + patch) * 3 + d)).collect());
        // The foreground is the truth, so background is right; the classes cannot both be.
        let found = value(&noise, "best.miou");
        assert!(found < 0.75, "{found}");
    }
}
