//! Co-segmentation: what have a few images of one class in common, and is it the object?

use crate::attended::{Attended, jaccard, needs_attention};
use crate::dense::{Reading, Target};
use crate::image_sets::{Common, ImageSets, PerSet, Salient};
use crate::patches::{self, check_facets};
use crate::random_field::Refine;
use crate::scores::{self, Score, Words};
use measure::interval::{mean, t_interval};
use ndarray::Array2;
use report::{Info, Metric, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_core::{Seen, Site};
use vit_features::{Accumulate, BatchInfo, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken};

/// The options of [`CoSegmentation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoSegmentationConfig {
    /// What is clustered at every layer: `token`, `query`, `key`, `value`.
    pub facets: Vec<String>,
    /// Side in pixels at which masks are compared, at most that of the view.
    pub eval_px: usize,
    /// Images of a class that are taken together.
    pub set_size: usize,
    /// Every how many-th patch helps to find the clusters; 100 in Amir et al., whose grids are fine.
    pub every: usize,
    /// Clusters at most; as many are taken as gain, 14 in Amir et al.
    pub max_clusters: usize,
    /// One cluster more must leave at most this share of the squared distances; 0.975 in Amir et al.
    pub elbow: f64,
    /// An image votes for a cluster where its mean saliency, 0–1 over the image, is above this; 0.065 in Amir et al.
    pub saliency: f64,
    /// The share of a set's images that must vote for a cluster, 0–1; 0.75 in Amir et al.
    pub votes: f64,
    /// Starts of k-means, of which the best end is kept; 10 in Amir et al.
    pub n_starts: usize,
    /// What is done at borders before masks are compared: `none`, or `crf`, a random field over colors; GrabCut in Amir et al.
    pub refine: Refine,
    /// Features beyond this many MiB are kept in temporary files; changes no number.
    pub memory_mib: usize,
}

impl Default for CoSegmentationConfig {
    fn default() -> Self {
        Self {
            facets: vec!["key".into()],
            eval_px: 224,
            set_size: 8,
            every: 1,
            max_clusters: 14,
            elbow: 0.975,
            saliency: 0.065,
            votes: 0.75,
            n_starts: 2,
            refine: Refine::None,
            memory_mib: 2048,
        }
    }
}

impl CoSegmentationConfig {
    pub(crate) fn common(&self, seed: u64) -> Common {
        Common {
            every: self.every,
            max_clusters: self.max_clusters,
            elbow: self.elbow,
            saliency: self.saliency,
            votes: self.votes,
            n_starts: self.n_starts,
            seed,
        }
    }
}

impl Recipe for CoSegmentationConfig {
    fn check(&self) -> Result<(), RecipeError> {
        check_facets(&self.facets)?;
        for (key, value) in [
            ("eval_px", self.eval_px),
            ("every", self.every),
            ("max_clusters", self.max_clusters),
            ("n_starts", self.n_starts),
        ] {
            if value == 0 {
                return Err(RecipeError::value(key, "at least 1", "0"));
            }
        }
        if self.set_size < 2 {
            return Err(RecipeError::value("set_size", "at least 2", self.set_size.to_string()));
        }
        for (key, value) in [("elbow", self.elbow), ("saliency", self.saliency), ("votes", self.votes)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(RecipeError::value(key, "0 to 1", value));
            }
        }
        Ok(())
    }
}

/// Patches of a few images of one class are clustered together; clusters that are salient in most of the images are what they have in
/// common. The Jaccard index with the object.
///
/// # Source
/// Amir et al., Deep ViT Features as Dense Visual Descriptors. *Differs*: sets are images of a class in the order of the data; patches are
/// made larger by the nearest one, or refined by a random field, without GrabCut; saliency comes from all heads of the last block at the patches' own size.
pub struct CoSegmentation;

/// The patches, the truth and the attention of the test side; see [`Foreground`](crate::Foreground) for its memory.
#[derive(Serialize, Deserialize)]
pub struct CoSegmentationAcc {
    sets: ImageSets,
}

impl Accumulate for CoSegmentationAcc {
    fn see(&mut self, site: Site, seen: &Seen, info: &BatchInfo) -> Result<(), StudyError> {
        self.sets.see(CoSegmentation::INFO.name, site, seen, info)
    }

    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        match taken.info.role {
            Role::Train => Ok(()),
            Role::Test => self.sets.push(CoSegmentation::INFO.name, taken),
        }
    }

    fn merge(&mut self, later: Self) {
        self.sets.append(later.sets);
    }
}

impl Study for CoSegmentation {
    const INFO: Info = Info {
        name: "co-segmentation",
        line: "the object that a few images of a class have in common, by clusters of patches and votes, at every layer: Jaccard index",
        source: "Amir et al. 2021 (Deep ViT features as dense visual descriptors)",
    };
    const PROTOCOL: &'static str = "\
Images of a class are taken together, a few at a time, in the order of the data. Their patches, each of length 1, are
clustered by k-means; one cluster more is tried as long as it leaves at most a share of the squared distances. An image votes
for a cluster when the mean of its saliency there (what the last block's class token looks at, mean over heads, brought to
0-1 over the image) is above a threshold; a cluster with the votes of most of the images is part of the object. Told is the
Jaccard index with the object's mask, mean over images, patches being made larger by the nearest one. One set in four
chooses the layer and does not count.";
    type Config = CoSegmentationConfig;
    type Acc = CoSegmentationAcc;

    fn protocols() -> Vec<(&'static str, &'static str, CoSegmentationConfig)> {
        let amir = CoSegmentationConfig { every: 100, n_starts: 10, ..CoSegmentationConfig::default() };
        let words = "Amir et al. 2021: keys (block 11 of 12 is the published layer), every 100th patch, 10 starts; no GrabCut, \
                     and the model's own grid of patches";
        vec![("amir", words, amir)]
    }

    fn small() -> CoSegmentationConfig {
        CoSegmentationConfig { set_size: 3, max_clusters: 4, n_starts: 1, ..CoSegmentationConfig::default() }
    }

    fn needs(config: &CoSegmentationConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        needs_attention(Self::INFO.name, shapes)?;
        let mut selects = patches::candidates(Self::INFO.name, &config.facets, shapes)?;
        selects.extend((config.refine == Refine::Crf).then_some(Select::PIXELS));
        let sites = vec![Attended::site(shapes)];
        Ok(Needs { selects, sites, labels: true, masks: true, ..Needs::default() })
    }

    fn open(config: &CoSegmentationConfig, shapes: &Shapes) -> CoSegmentationAcc {
        let reading = Reading::new(Target::Object, config.eval_px, shapes);
        // What the model cannot have was refused by `needs`.
        let wanted = patches::candidates(Self::INFO.name, &config.facets, shapes).unwrap_or_default();
        let how = (config.memory_mib << 20, config.refine);
        let sets = ImageSets::new(Self::INFO.name, reading, wanted, how, shapes);
        CoSegmentationAcc { sets }
    }

    fn finish(
        config: &CoSegmentationConfig,
        shapes: &Shapes,
        acc: CoSegmentationAcc,
    ) -> Result<Findings, StudyError> {
        let sets = acc.sets.by_class(Self::INFO.name, config.set_size)?;
        let (reading, cells) = (&acc.sets.reading, acc.sets.reading.cells());
        let every_pixel: Vec<usize> = (0..reading.n_pixels()).collect();
        let overlap = |image: usize, marked: &[bool]| {
            jaccard(marked, &cells, acc.sets.truth(image), &|kind| kind > 0, &|_| true)
        };
        let common = config.common(shapes.seed);
        let mut findings = Findings::default();
        let mut scored = Vec::new();
        for &select in &acc.sets.wanted {
            let found = acc.sets.salient(select, &sets, &common)?;
            let of_set = |set: &Vec<usize>, found: &Salient| -> Result<Vec<f64>, StudyError> {
                if let Some(marked) = by_pixel(&acc.sets, select, set, found)? {
                    let n = reading.n_pixels();
                    let of_image = |(at, &image): (usize, &usize)| {
                        let (own, truth) = (&marked[at * n..(at + 1) * n], acc.sets.truth(image));
                        jaccard(own, &every_pixel, truth, &|kind| kind > 0, &|_| true)
                    };
                    return Ok(set.iter().enumerate().map(of_image).collect());
                }
                let n = reading.n_patches();
                let of_image =
                    |(at, &image): (usize, &usize)| overlap(image, &found.marked[at * n..(at + 1) * n]);
                Ok(set.iter().enumerate().map(of_image).collect())
            };
            let PerSet { choosing, counting } = PerSet::split(sets.iter().zip(&found));
            let of = |sets: &[(&Vec<usize>, &Salient)]| -> Result<Vec<f64>, StudyError> {
                let by_set = sets.iter().map(|(set, found)| of_set(set, found));
                Ok(by_set.collect::<Result<Vec<_>, _>>()?.concat())
            };
            let by_image = of(&counting)?;
            let n_clusters: Vec<f64> = counting.iter().map(|(_, found)| found.n_clusters as f64).collect();
            scored.push(Score {
                select,
                held_out: mean(&of(&choosing)?),
                test: mean(&by_image),
                interval: t_interval(&by_image),
                beside: vec![mean(&n_clusters)],
            });
        }
        let PerSet { counting, .. } = PerSet::split(sets.iter());
        let images: Vec<usize> = counting.iter().flat_map(|set| set.iter().copied()).collect();
        let over = |marked: &dyn Fn(usize) -> Vec<bool>| {
            mean(&images.iter().map(|&image| overlap(image, &marked(image))).collect::<Vec<_>>())
        };
        let truth = |image: usize| {
            reading.of_patches(acc.sets.truth(image)).iter().map(|&kind| kind > 0).collect::<Vec<_>>()
        };
        let words = Words {
            study: Self::INFO.name,
            metric: "jaccard",
            title: "Co-segmentation",
            caption: "Jaccard index of the object and of what a few images of its class have in common. Chance is everything marked; the ceiling is \
                      the truth at the middle of every patch.",
            settings: format!(
                "{} images in {} sets of up to {}",
                images.len(),
                counting.len(),
                config.set_size
            ),
            beside: &["n_clusters"],
            chance: over(&|_| vec![true; reading.n_patches()]),
            ceiling: over(&truth),
        };
        scores::tell(&words, shapes, &scored, &mut findings)?;
        findings.metrics.push(Metric::new("n_sets", counting.len() as f64, "count"));
        Ok(findings)
    }
}

/// Whether each pixel of a set's images is of the object, refined: the cost of either label at a patch is the squared distance to the
/// nearest cluster that is, or is not, salient. None where nothing is refined, or all clusters are of one kind.
fn by_pixel(
    sets: &ImageSets,
    select: Select,
    set: &[usize],
    found: &Salient,
) -> Result<Option<Vec<bool>>, StudyError> {
    if !sets.refines() || found.is_salient.iter().all(|&is| is == found.is_salient[0]) {
        return Ok(None);
    }
    let rows = sets.patches_of(select, set)?;
    let unary = Array2::from_shape_fn((rows.nrows(), 2), |(patch, label)| {
        found.squared_to(rows.row(patch), label == 1)
    });
    let labels = sets.refined(set, &unary);
    Ok(labels.map(|labels| labels.into_iter().map(|label| label == 1).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staged::{Stage, noise, value};

    #[test]
    fn a_random_field_leaves_what_is_right_and_gives_a_stray_patch_back_to_what_has_its_color() {
        let config = |refine| CoSegmentationConfig { set_size: 4, refine, ..CoSegmentationConfig::default() };
        let stage = Stage { n_test: 32, n_classes: 2, ..Stage::new() };
        // One patch of each image looks like the object and is background; corners never are the object.
        let feature = |stray: bool| {
            move |kind: u8, _: usize, patch: usize| {
                let is_stray = stray && kind == 0 && patch == 63;
                if kind > 0 || is_stray { vec![1.0, 0.1] } else { vec![-1.0, 0.2] }
            }
        };
        let found = |refine, stray| {
            value(&stage.ask::<CoSegmentation>(&config(refine), &feature(stray)), "best.jaccard")
        };
        // Its corners are rounded a little; a stray patch of 16 pixels costs more.
        let [clean, stray, plain] = [(Refine::Crf, false), (Refine::Crf, true), (Refine::None, true)]
            .map(|(refine, stray)| found(refine, stray));
        assert!(clean > 0.97 && stray > 0.97 && plain < 0.95, "{clean}, {stray} and {plain}");
    }

    #[test]
    fn what_is_salient_in_every_image_is_the_object_and_noise_is_not() {
        let config = CoSegmentationConfig { set_size: 4, ..CoSegmentationConfig::default() };
        let stage = Stage { n_test: 32, n_classes: 2, ..Stage::new() };
        let perfect = stage.ask::<CoSegmentation>(&config, &|kind, _, _| {
            if kind > 0 { vec![1.0, 0.1] } else { vec![-1.0, 0.2] }
        });
        assert_eq!(value(&perfect, "ceiling"), 1.0, "objects cover whole patches");
        assert_eq!(value(&perfect, "best.jaccard"), 1.0);
        let attention = |_: u8, image: usize, patch: usize, _: usize| noise(image * 64 + patch + 9) + 0.5;
        let stage = Stage { attention, ..stage };
        let noise = stage.ask::<CoSegmentation>(&config, &|_, image, patch| {
            (0..3).map(|d| noise((image * 64 + patch) * 3 + d)).collect()
        });
        let (found, chance) = (value(&noise, "best.jaccard"), value(&noise, "chance"));
        // Everything marked: the object covers 12 of 64 patches.
        assert!((chance - 12.0 / 64.0).abs() < 1e-12 && found < chance + 0.02, "{found} and {chance}");
    }
}
