//! Part co-segmentation: do the parts of the objects that a few images of a class have in common become clusters of their own?

use crate::attended::{Attended, needs_attention};
use crate::co_segmentation::CoSegmentationConfig;
use crate::communities::ForegroundFrom;
use crate::dense::{Reading, Target};
use crate::image_sets::{ImageSets, PerSet, Salient};
use crate::patches;
use crate::random_field::{Refine, nearest_squared};
use crate::scores::{self, Score, Words};
use measure::cluster_scores::Contingency;
use measure::interval::{mean, t_interval};
use measure::kmeans::{KMeans, elbow};
use ndarray::{Array2, Axis};
use rand::RngExt;
use rayon::prelude::*;
use report::{Info, Metric, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use vit_core::{Seen, Site};
use vit_data::Seed;
use vit_features::{Accumulate, BatchInfo, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken};

/// The options of [`PartCoSegmentation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PartCoSegmentationConfig {
    /// Where parts are sought: what `attention` votes for, as in Amir et al.; the `truth` of the object, so that nothing is asked but whether
    /// its parts are clusters; or `everywhere`. Only the first looks at attention.
    pub foreground: ForegroundFrom,
    /// Parts that are sought in every set; 4 in Amir et al., 0 for as many as gain.
    pub n_parts: usize,
    /// Where the number is not given: one part more must leave at most this share of the squared distances; 0.94 in Amir et al.
    pub elbow: f64,
    /// What is done at borders before parts are compared: `none`, or `crf`, a random field over colors as in Amir et al.
    pub refine: Refine,
    /// How the object is found in a set of images; as for `co-segmentation`.
    pub object: CoSegmentationConfig,
}

impl Default for PartCoSegmentationConfig {
    fn default() -> Self {
        let (object, foreground) = (CoSegmentationConfig::default(), ForegroundFrom::Attention);
        Self { object, foreground, n_parts: 4, elbow: 0.94, refine: Refine::None }
    }
}

impl Recipe for PartCoSegmentationConfig {
    fn check(&self) -> Result<(), RecipeError> {
        self.object.check()?;
        if self.object.refine != Refine::None {
            return Err(RecipeError::value(
                "object.refine",
                "`none`, as it is parts that are refined",
                "`crf`",
            ));
        }
        if self.refine != Refine::None && self.foreground != ForegroundFrom::Attention {
            return Err(RecipeError::value(
                "refine",
                "`none` where the foreground is not by attention, as the background has no clusters then",
                "`crf`",
            ));
        }
        if !(0.0..=1.0).contains(&self.elbow) {
            return Err(RecipeError::value("elbow", "0 to 1", self.elbow));
        }
        Ok(())
    }
}

/// The patches of what a few images of a class have in common are clustered again; mutual information of the clusters and of the
/// parts that are there, over the pixels of the objects.
///
/// # Source
/// Amir et al., Deep ViT Features as Dense Visual Descriptors; NMI and ARI over the object's pixels as on CUB. *Differs*: as
/// [`CoSegmentation`](crate::CoSegmentation); no crops and flips beside the images.
pub struct PartCoSegmentation;

/// The patches, the truth and the attention of the test side; see [`Foreground`](crate::Foreground) for its memory.
#[derive(Serialize, Deserialize)]
pub struct PartCoSegmentationAcc {
    sets: ImageSets,
}

impl Accumulate for PartCoSegmentationAcc {
    fn see(&mut self, site: Site, seen: &Seen, info: &BatchInfo) -> Result<(), StudyError> {
        self.sets.see(PartCoSegmentation::INFO.name, site, seen, info)
    }

    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        match taken.info.role {
            Role::Train => Ok(()),
            Role::Test => self.sets.push(PartCoSegmentation::INFO.name, taken),
        }
    }

    fn merge(&mut self, later: Self) {
        self.sets.append(later.sets);
    }
}

impl Study for PartCoSegmentation {
    const INFO: Info = Info {
        name: "part-co-segmentation",
        line: "the parts of what a few images of a class have in common as clusters of their own, at every layer: NMI and ARI",
        source: "Amir et al. 2021 (Deep ViT features as dense visual descriptors)",
    };
    const PROTOCOL: &'static str = "\
What a few images of a class have in common is found as for co-segmentation: clusters of patches, votes by saliency. The
patches of that are clustered again by k-means into a given number of parts; what is outside is one cluster more. Over the
pixels of the true objects of a set, clusters (patches made larger by the nearest one) are compared with the true parts:
normalized mutual information and the adjusted Rand index, mean over sets. With `foreground` the truth, the first step is left to
the object's mask, and only the second is asked. One set in four chooses the layer and does not
count.";
    type Config = PartCoSegmentationConfig;
    type Acc = PartCoSegmentationAcc;

    fn protocols() -> Vec<(&'static str, &'static str, PartCoSegmentationConfig)> {
        let object = CoSegmentationConfig { every: 100, n_starts: 10, ..CoSegmentationConfig::default() };
        let refine = Refine::Crf;
        let amir = PartCoSegmentationConfig { object, refine, ..PartCoSegmentationConfig::default() };
        vec![(
            "amir",
            "Amir et al. 2021: keys, 4 parts, 10 starts, the random field; without crops and flips",
            amir,
        )]
    }

    fn small() -> PartCoSegmentationConfig {
        let object = CoSegmentationConfig {
            set_size: 3,
            max_clusters: 4,
            n_starts: 1,
            ..CoSegmentationConfig::default()
        };
        PartCoSegmentationConfig { object, n_parts: 2, ..PartCoSegmentationConfig::default() }
    }

    fn needs(config: &PartCoSegmentationConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let by_attention = config.foreground == ForegroundFrom::Attention;
        if by_attention {
            needs_attention(Self::INFO.name, shapes)?;
        }
        let mut selects = patches::candidates(Self::INFO.name, &config.object.facets, shapes)?;
        selects.extend((config.refine == Refine::Crf).then_some(Select::PIXELS));
        let sites = if by_attention { vec![Attended::site(shapes)] } else { Vec::new() };
        Ok(Needs { selects, sites, labels: true, parts: true, ..Needs::default() })
    }

    fn open(config: &PartCoSegmentationConfig, shapes: &Shapes) -> PartCoSegmentationAcc {
        let reading = Reading::new(Target::Parts, config.object.eval_px, shapes);
        // What the model cannot have was refused by `needs`.
        let wanted = patches::candidates(Self::INFO.name, &config.object.facets, shapes).unwrap_or_default();
        let how = (config.object.memory_mib << 20, config.refine);
        let sets = ImageSets::new(Self::INFO.name, reading, wanted, how, shapes);
        PartCoSegmentationAcc { sets }
    }

    fn finish(
        config: &PartCoSegmentationConfig,
        shapes: &Shapes,
        acc: PartCoSegmentationAcc,
    ) -> Result<Findings, StudyError> {
        let sets = acc.sets.by_class(Self::INFO.name, config.object.set_size)?;
        let common = config.object.common(shapes.seed);
        let mut findings = Findings::default();
        let mut scored = Vec::new();
        let (n_patches, cells) = (acc.sets.reading.n_patches(), acc.sets.reading.cells());
        let every_pixel: Vec<usize> = (0..acc.sets.reading.n_pixels()).collect();
        for &select in &acc.sets.wanted {
            let found = match config.foreground {
                ForegroundFrom::Attention => acc.sets.salient(select, &sets, &common)?,
                ForegroundFrom::Truth | ForegroundFrom::Everywhere => Vec::new(),
            };
            let of_set = |(at, set): (usize, &Vec<usize>)| -> Result<Option<Meeting>, StudyError> {
                let rows = acc.sets.patches_of(select, set)?;
                let found = found.get(at);
                let marked = match found {
                    Some(found) => found.marked.clone(),
                    None => given(config.foreground, &acc.sets, set),
                };
                let parts = parts(config, shapes.seed, &rows, &marked);
                let of_pixels = found.and_then(|found| by_pixel(&acc.sets, &rows, set, (found, &parts)));
                Ok(match of_pixels {
                    Some(of_pixels) => meeting(&acc.sets, set, (&of_pixels, &every_pixel)),
                    None => meeting(&acc.sets, set, (&parts.of, &cells)),
                })
            };
            let by_set = sets.par_iter().enumerate().map(of_set).collect::<Result<Vec<_>, _>>()?;
            let PerSet { choosing, counting } = PerSet::split(by_set.into_iter());
            let (choosing, counting) = (scores_of(&choosing), scores_of(&counting));
            let own: Vec<f64> = counting.iter().map(|meeting| meeting.nmi).collect();
            scored.push(Score {
                select,
                held_out: mean(&choosing.iter().map(|meeting| meeting.nmi).collect::<Vec<_>>()),
                test: mean(&own),
                interval: if own.len() > 1 { t_interval(&own) } else { scores::around(own[0], &own) },
                beside: vec![mean(&counting.iter().map(|meeting| meeting.ari).collect::<Vec<_>>())],
            });
        }
        let PerSet { counting, .. } = PerSet::split(sets.iter());
        let over = |of: &dyn Fn(usize) -> Vec<u32>| {
            let meetings: Vec<Option<Meeting>> = counting
                .iter()
                .map(|set| {
                    let parts: Vec<u32> = set.iter().flat_map(|&image| of(image)).collect();
                    meeting(&acc.sets, set, (&parts, &cells))
                })
                .collect();
            let found = scores_of(&meetings);
            let number =
                |of: fn(&Meeting) -> f64| mean(&found.iter().map(|meeting| of(meeting)).collect::<Vec<_>>());
            (number(|meeting| meeting.nmi), number(|meeting| meeting.ari))
        };
        let random = over(&|image| {
            let mut draws = Seed(shapes.seed).stream("random-parts", &[image as u64]);
            (0..n_patches).map(|_| draws.random_range(0..config.n_parts.max(2) as u32)).collect()
        });
        let truth = over(&|image| {
            acc.sets.reading.of_patches(acc.sets.truth(image)).into_iter().map(u32::from).collect()
        });
        let words = Words {
            study: Self::INFO.name,
            metric: "nmi",
            title: "Part co-segmentation",
            caption: "Normalized mutual information of true parts and of clusters of what a few images have in common, over the pixels of the objects. \
                      Chance is a random cluster for every patch; the ceiling is the truth at the middle of every patch.",
            settings: format!(
                "{} sets of up to {} images; parts sought {}; {}",
                counting.len(),
                config.object.set_size,
                match config.foreground {
                    ForegroundFrom::Attention => "in what attention votes for",
                    ForegroundFrom::Truth => "in the object as it is",
                    ForegroundFrom::Everywhere => "everywhere",
                },
                match config.n_parts {
                    0 => "as many parts as gain".to_owned(),
                    n => format!("{n} parts"),
                }
            ),
            beside: &["ari"],
            chance: random.0,
            ceiling: truth.0,
        };
        scores::tell(&words, shapes, &scored, &mut findings)?;
        findings.metrics.push(Metric::new("chance.ari", random.1, "ratio"));
        findings.metrics.push(Metric::new("ceiling.ari", truth.1, "ratio"));
        Ok(findings)
    }
}

/// The patches of a set in which parts are sought without looking at attention: those whose middle is of the object, or all.
fn given(from: ForegroundFrom, sets: &ImageSets, set: &[usize]) -> Vec<bool> {
    let everywhere = from == ForegroundFrom::Everywhere;
    let kinds = set.iter().flat_map(|&image| sets.reading.of_patches(sets.truth(image)));
    kinds.map(|kind| everywhere || kind > 0).collect()
}

/// The parts of a set.
struct Parts {
    /// The cluster of every patch: parts count from 1, what is not marked is 0.
    of: Vec<u32>,
    /// `[parts, D]`
    centers: Array2<f64>,
}

fn parts(config: &PartCoSegmentationConfig, seed: u64, rows: &Array2<f32>, marked: &[bool]) -> Parts {
    let mut of = vec![0; marked.len()];
    let chosen: Vec<usize> = (0..marked.len()).filter(|&patch| marked[patch]).collect();
    if chosen.is_empty() {
        return Parts { of, centers: Array2::zeros((0, rows.ncols())) };
    }
    let own = rows.select(Axis(0), &chosen);
    let fit = KMeans { n_starts: config.object.n_starts, ..KMeans::new(1, seed) };
    let found = match config.n_parts {
        0 => elbow(own.view(), own.view(), config.object.max_clusters, config.elbow, &fit),
        n => {
            let Ok(found) = KMeans { k: n.min(chosen.len()), ..fit }.fit::<Infallible>(&own.view());
            found
        }
    };
    for (patch, part) in chosen.into_iter().zip(found.of) {
        of[patch] = 1 + part;
    }
    Parts { of, centers: found.centers }
}

/// The part of every pixel of a set's images, refined: a part costs the squared distance to its center, the background that to the
/// nearest cluster that is not salient. None where there are no parts.
fn by_pixel(
    sets: &ImageSets,
    rows: &Array2<f32>,
    set: &[usize],
    (found, parts): (&Salient, &Parts),
) -> Option<Vec<u32>> {
    let n_parts = parts.centers.nrows();
    if !sets.refines() || n_parts == 0 {
        return None;
    }
    // The background is the last label, where there is one.
    let n_labels = n_parts + usize::from(found.is_salient.contains(&false));
    let unary = Array2::from_shape_fn((rows.nrows(), n_labels), |(patch, label)| {
        let row = rows.row(patch);
        if label == n_parts {
            return found.squared_to(row, false);
        }
        nearest_squared(row, std::iter::once(parts.centers.row(label)))
    });
    let part = |label: usize| if label == n_parts { 0 } else { 1 + label as u32 };
    Some(sets.refined(set, &unary)?.into_iter().map(part).collect())
}

/// How clusters and parts meet over the pixels of a set's objects.
struct Meeting {
    nmi: f64,
    ari: f64,
}

/// None where a set shows no object.
///
/// # Shapes
/// `parts`: of all cells of the set's images; `cells`: that of each pixel.
fn meeting(sets: &ImageSets, set: &[usize], (parts, cells): (&[u32], &[usize])) -> Option<Meeting> {
    let n = parts.len() / set.len();
    let (mut clusters, mut kinds) = (Vec::new(), Vec::new());
    for (at, &image) in set.iter().enumerate() {
        let own = &parts[at * n..(at + 1) * n];
        for (&kind, &cell) in sets.truth(image).iter().zip(cells).filter(|(kind, _)| **kind > 0) {
            clusters.push(own[cell]);
            kinds.push(u32::from(kind));
        }
    }
    if kinds.is_empty() {
        return None;
    }
    let contingency = Contingency::of(&clusters, &kinds);
    Some(Meeting { nmi: contingency.nmi(), ari: contingency.ari() })
}

/// Those of the sets that show an object; where none does, nothing was found.
fn scores_of(meetings: &[Option<Meeting>]) -> Vec<&Meeting> {
    const NOTHING: &Meeting = &Meeting { nmi: 0.0, ari: 0.0 };
    let found: Vec<&Meeting> = meetings.iter().flatten().collect();
    if found.is_empty() { vec![NOTHING] } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staged::{Stage, noise, value};

    fn asked(refine: Refine, feature: &dyn Fn(u8, usize, usize) -> Vec<f32>) -> Findings {
        let object = CoSegmentationConfig { set_size: 4, ..CoSegmentationConfig::default() };
        let config =
            PartCoSegmentationConfig { object, n_parts: 2, refine, ..PartCoSegmentationConfig::default() };
        Stage { n_test: 32, n_classes: 2, ..Stage::new() }.ask::<PartCoSegmentation>(&config, feature)
    }

    /// Two parts of the object as the truth marks it, in sets of so many pictures.
    fn two_parts_given(set_size: usize) -> PartCoSegmentationConfig {
        let object = CoSegmentationConfig { set_size, ..CoSegmentationConfig::default() };
        let foreground = ForegroundFrom::Truth;
        PartCoSegmentationConfig { object, foreground, n_parts: 2, ..PartCoSegmentationConfig::default() }
    }

    #[test]
    fn with_the_object_given_parts_are_found_where_attention_sees_nothing() {
        let attention = |_: u8, image: usize, patch: usize, _: usize| noise(image * 64 + patch + 9) + 0.5;
        let stage = Stage { n_test: 32, n_classes: 2, attention, ..Stage::new() };
        let config = two_parts_given(4);
        let found = stage.ask::<PartCoSegmentation>(&config, &|kind, image, patch| match kind {
            0 => (0..3).map(|d| noise((image * 64 + patch) * 3 + d)).collect(),
            1 => vec![0.6, 0.8, 0.0],
            _ => vec![0.6, 0.0, 0.8],
        });
        let nmi = value(&found, "best.nmi");
        assert!((nmi - 1.0).abs() < 1e-12, "{nmi}");
        let refined = PartCoSegmentationConfig { refine: Refine::Crf, ..config };
        assert!(refined.check().is_err(), "the background has no clusters to be far from");
    }

    #[test]
    fn with_the_object_given_a_model_without_attention_is_asked_too() {
        let shapes = Shapes { n_heads: None, ..Stage::new().shapes() };
        let object = CoSegmentationConfig { facets: vec!["token".into()], ..CoSegmentationConfig::default() };
        let by = |foreground| {
            let config = PartCoSegmentationConfig {
                object: object.clone(),
                foreground,
                ..PartCoSegmentationConfig::default()
            };
            PartCoSegmentation::needs(&config, &shapes)
        };
        let needs = by(ForegroundFrom::Truth).expect("nobody looks at attention");
        assert!(needs.sites.is_empty() && needs.parts);
        let refused = by(ForegroundFrom::Attention).expect_err("attention finds the object").to_string();
        assert!(refused.contains("attention"), "{refused}");
    }

    #[test]
    fn parts_that_differ_in_every_picture_in_another_way_share_little_in_large_sets() {
        // Two colors, of which now the one, now the other is the left part: in pairs of pictures they agree every other time.
        let color = |kind: u8, image: usize, _: usize| match (kind, noise(image) > 0.0) {
            (0, _) => vec![0.0, 0.0, 1.0],
            (1, true) | (2, false) => vec![1.0, 0.0, 0.0],
            _ => vec![0.0, 1.0, 0.0],
        };
        let nmi = |set_size| {
            let config = two_parts_given(set_size);
            let stage = Stage { n_test: 128, n_classes: 2, ..Stage::new() };
            value(&stage.ask::<PartCoSegmentation>(&config, &color), "best.nmi")
        };
        let (pairs, crowds) = (nmi(2), nmi(32));
        assert!(pairs > 0.3 && crowds < 0.15, "{pairs} and {crowds}");
    }

    #[test]
    fn the_parts_become_clusters_and_noise_has_nothing_to_do_with_them() {
        for refine in [Refine::None, Refine::Crf] {
            let perfect = asked(refine, &|kind, _, _| match kind {
                0 => vec![-1.0, 0.0, 0.0],
                1 => vec![0.6, 0.8, 0.0],
                _ => vec![0.6, 0.0, 0.8],
            });
            assert!((value(&perfect, "ceiling") - 1.0).abs() < 1e-12, "objects cover whole patches");
            // A random field rounds corners.
            let least = if refine == Refine::Crf { 0.85 } else { 1.0 - 1e-12 };
            assert!(value(&perfect, "best.nmi") > least && value(&perfect, "ari") > least, "{refine:?}");
        }
        let noise = asked(Refine::None, &|_, image, patch| {
            (0..3).map(|d| noise((image * 64 + patch) * 3 + d)).collect()
        });
        let (found, chance) = (value(&noise, "best.nmi"), value(&noise, "chance"));
        // 48 patches of two parts: what chance alone shares is little.
        assert!(found < 0.1 && chance < 0.1, "{found} and {chance}");
    }
}
