//! Auto-segmentation: does the attention of the class token, cut at a share of its mass, mark the object by the pixel?

use crate::attended::{Looking, jaccard, needs_attention};
use crate::dense::{self, Reading, Target};
use crate::scores::{self, Score, Words};
use measure::interval::{mean, t_interval};
use measure::saliency::mass_mask;
use rand::RngExt;
use report::{Info, Metric, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_core::{Seen, Site};
use vit_data::{Seed, VOID};
use vit_features::{
    Accumulate, BatchInfo, Findings, Needs, Part, Place, Role, Select, Shapes, Study, StudyError, Taken,
};

/// The options of [`AutoSegmentation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutoSegmentationConfig {
    /// What is marked: the `object`, or `semantic`: every class that an image shows, each by itself.
    pub target: Target,
    /// Side in pixels at which masks are compared, at most that of the view.
    pub eval_px: usize,
    /// The share of a map's mass that its marked patches hold, 0–1; 0.6 in DINO, 0.9 in Naseer et al.
    pub mass: f64,
    /// Whether pixels of which nobody says what they are count as missed; so in the released code of Naseer et al.
    pub count_void: bool,
}

impl Default for AutoSegmentationConfig {
    fn default() -> Self {
        Self { target: Target::Object, eval_px: 448, mass: 0.6, count_void: false }
    }
}

impl Recipe for AutoSegmentationConfig {
    fn check(&self) -> Result<(), RecipeError> {
        if !matches!(self.target, Target::Object | Target::Semantic) {
            return Err(RecipeError::value("target", "`object` or `semantic`", format!("{:?}", self.target)));
        }
        if self.eval_px == 0 {
            return Err(RecipeError::value("eval_px", "at least 1", "0"));
        }
        if !(self.mass > 0.0 && self.mass < 1.0) {
            return Err(RecipeError::value("mass", "above 0 and below 1", self.mass));
        }
        Ok(())
    }
}

/// Every head marks the fewest patches that hold a share of what the class token looks at; `J = |marked ∩ object| / |marked ∪ object|`
/// over pixels, for each class that the image shows, the mean over classes, then over images.
///
/// # Source
/// Caron et al., DINO; Naseer et al., Intriguing Properties of Vision Transformers: the best head of every image, which nobody can know
/// beforehand. *Differs*: that is told beside the head that one image in four chooses.
pub struct AutoSegmentation;

/// One image: `[heads]` of every block, and what bounds them.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Image {
    index: usize,
    by_block: Vec<OfBlock>,
    random: f64,
    random_oracle: f64,
    everything: f64,
    ceiling: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct OfBlock {
    by_head: Vec<f64>,
    oracle: f64,
    merged: f64,
}

/// Overlaps of every image; some numbers for each head.
#[derive(Serialize, Deserialize)]
pub struct AutoSegmentationAcc {
    config: AutoSegmentationConfig,
    reading: Reading,
    looking: Looking,
    n_heads: usize,
    blocks: Vec<usize>,
    seed: Seed,
    images: Vec<Image>,
    n_skipped: usize,
    /// The truth of the batch that passes and what was found of each image; none where it shows no object.
    #[serde(skip)]
    passing: Vec<Option<(Vec<u8>, Image)>>,
}

impl AutoSegmentationAcc {
    /// The overlaps of a mark of the patches with every class that there is.
    fn overlaps(&self, marked: &[bool], cells: &[usize], truth: &[u8]) -> Vec<f64> {
        let counts = |kind: u8| self.config.count_void || kind != VOID;
        let of = |kind: u8| jaccard(marked, cells, truth, &|other| other == kind, &counts);
        kinds_of(truth).into_iter().map(of).collect()
    }

    /// What every head, the best one and all together have.
    fn of_maps(&self, maps: &[Vec<f64>], cells: &[usize], truth: &[u8]) -> OfBlock {
        let by_kind: Vec<Vec<f64>> =
            maps.iter().map(|map| self.overlaps(&mass_mask(map, self.config.mass), cells, truth)).collect();
        let n_kinds = by_kind[0].len();
        let best = |kind: usize| by_kind.iter().map(|head| head[kind]).fold(0.0, f64::max);
        let sum: Vec<f64> = (0..maps[0].len()).map(|patch| maps.iter().map(|map| map[patch]).sum()).collect();
        OfBlock {
            by_head: by_kind.iter().map(|head| mean(head)).collect(),
            oracle: (0..n_kinds).map(best).sum::<f64>() / n_kinds as f64,
            merged: mean(&self.overlaps(&mass_mask(&sum, self.config.mass), cells, truth)),
        }
    }

    /// Reads the truth of a batch, once for all of its blocks, and what can be had without looking.
    fn begin(&mut self, info: &BatchInfo) -> Result<(), StudyError> {
        if self.passing.len() == info.truths.len() {
            return Ok(());
        }
        let cells = self.reading.cells();
        let mut passing = Vec::with_capacity(info.truths.len());
        for image in 0..info.truths.len() {
            let eval = (self.reading.eval_px, self.reading.eval_px);
            let truth = self.reading.truth(AutoSegmentation::INFO.name, info, image, eval)?;
            let truth: Vec<u8> = truth.into_iter().collect();
            let kinds = kinds_of(&truth);
            if kinds.is_empty() {
                passing.push(None);
                continue;
            }
            let index = info.indices[image];
            let mut draws = self.seed.stream("auto-segmentation-chance", &[index as u64]);
            let n = self.reading.n_patches();
            let maps: Vec<Vec<f64>> =
                (0..self.n_heads).map(|_| (0..n).map(|_| draws.random::<f64>()).collect()).collect();
            let random = self.of_maps(&maps, &cells, &truth);
            let patches = self.reading.of_patches(&truth);
            let counts = |kind: u8| self.config.count_void || kind != VOID;
            let perfect = |&kind: &u8| {
                let marked: Vec<bool> = patches.iter().map(|&of| of == kind).collect();
                jaccard(&marked, &cells, &truth, &|other| other == kind, &counts)
            };
            let ceiling = mean(&kinds.iter().map(perfect).collect::<Vec<_>>());
            let found = Image {
                index,
                by_block: vec![OfBlock::default(); self.blocks.len()],
                random: random.by_head[0],
                random_oracle: random.oracle,
                everything: mean(&self.overlaps(&vec![true; n], &cells, &truth)),
                ceiling,
            };
            passing.push(Some((truth, found)));
        }
        self.passing = passing;
        Ok(())
    }
}

/// The kinds that an image shows beside background.
fn kinds_of(truth: &[u8]) -> Vec<u8> {
    let mut is_there = [false; 256];
    truth.iter().for_each(|&kind| is_there[usize::from(kind)] = true);
    (1..VOID).filter(|&kind| is_there[usize::from(kind)]).collect()
}

impl Accumulate for AutoSegmentationAcc {
    fn see(&mut self, site: Site, seen: &Seen, info: &BatchInfo) -> Result<(), StudyError> {
        let (Site::Attention(block), Seen::Heads(attention), Role::Test) = (site, seen, info.role) else {
            return Ok(());
        };
        let Some(place) = self.blocks.iter().position(|&own| own == block) else { return Ok(()) };
        self.begin(info)?;
        let maps = self.looking.maps(AutoSegmentation::INFO.name, attention)?;
        let cells = self.reading.cells();
        let mut passing = std::mem::take(&mut self.passing);
        for (maps, passing) in maps.outer_iter().zip(&mut passing) {
            let Some((truth, found)) = passing else { continue };
            let maps: Vec<Vec<f64>> =
                maps.outer_iter().map(|map| map.iter().map(|&value| f64::from(value)).collect()).collect();
            found.by_block[place] = self.of_maps(&maps, &cells, truth);
        }
        self.passing = passing;
        Ok(())
    }

    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role == Role::Test {
            for passed in std::mem::take(&mut self.passing) {
                match passed {
                    Some((_, image)) => self.images.push(image),
                    None => self.n_skipped += 1,
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.images.extend(later.images);
        self.n_skipped += later.n_skipped;
    }
}

impl Study for AutoSegmentation {
    const INFO: Info = Info {
        name: "auto-segmentation",
        line: "the object marked by what the class token looks at, by the pixel: Jaccard index of heads at every block",
        source: "Caron et al. 2021 (DINO); Naseer et al. 2021",
    };
    const PROTOCOL: &'static str = "\
Every head marks the fewest patches that hold a share of the attention of the class token (of all patches together, where a
model has none), made as large as the masks by the nearest one. The Jaccard index with the pixels of each class that an
image shows is averaged over its classes, then over images. Told are the head of each block that does best on one image in
four, which then does not count; beside it, as published, the best head of every image, which nobody can know beforehand;
the mean over heads; and all heads summed.";
    type Config = AutoSegmentationConfig;
    type Acc = AutoSegmentationAcc;

    fn protocols() -> Vec<(&'static str, &'static str, AutoSegmentationConfig)> {
        let dino = AutoSegmentationConfig { target: Target::Semantic, ..AutoSegmentationConfig::default() };
        let naseer = AutoSegmentationConfig { mass: 0.9, eval_px: 512, count_void: true, ..dino.clone() };
        vec![
            (
                "dino",
                "Caron et al. 2021: 0.6 of the mass, every class by itself; oracle_jaccard is the published number",
                dino,
            ),
            (
                "naseer",
                "Naseer et al. 2021: 0.9 of the mass, views of 512 px (--size 512), void counted as missed; oracle_jaccard is the \
                 published number",
                naseer,
            ),
        ]
    }

    fn needs(config: &AutoSegmentationConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        needs_attention(Self::INFO.name, shapes)?;
        let sites = shapes.blocks.iter().map(|&block| Site::Attention(block)).collect();
        Ok(config.target.needs(Needs { sites, ..Needs::default() }))
    }

    fn open(config: &AutoSegmentationConfig, shapes: &Shapes) -> AutoSegmentationAcc {
        AutoSegmentationAcc {
            config: config.clone(),
            reading: Reading::new(config.target, config.eval_px, shapes),
            looking: Looking::of(shapes),
            n_heads: shapes.n_heads.unwrap_or(1),
            blocks: shapes.blocks.clone(),
            seed: Seed(shapes.seed),
            images: Vec::new(),
            n_skipped: 0,
            passing: Vec::new(),
        }
    }

    fn finish(
        config: &AutoSegmentationConfig,
        shapes: &Shapes,
        acc: AutoSegmentationAcc,
    ) -> Result<Findings, StudyError> {
        dense::needs_images(Self::INFO.name, acc.images.len())?;
        findings(config, shapes, &acc)
    }
}

fn findings(
    config: &AutoSegmentationConfig,
    shapes: &Shapes,
    acc: &AutoSegmentationAcc,
) -> Result<Findings, StudyError> {
    let side = |is_wanted: fn(usize) -> bool| -> Vec<&Image> {
        acc.images.iter().enumerate().filter(|(rank, _)| is_wanted(*rank)).map(|(_, image)| image).collect()
    };
    let (choosing, counting) = (side(dense::chooses), side(dense::counts));
    let over = |images: &[&Image], of: &dyn Fn(&Image) -> f64| -> Vec<f64> {
        images.iter().map(|image| of(image)).collect()
    };
    let mut findings = Findings::default();
    let mut scored = Vec::new();
    for (place, &block) in acc.blocks.iter().enumerate() {
        let of_head =
            |images: &[&Image], head: usize| over(images, &|image| image.by_block[place].by_head[head]);
        let held_out: Vec<f64> = (0..acc.n_heads).map(|head| mean(&of_head(&choosing, head))).collect();
        let head =
            (0..acc.n_heads).fold(0, |best, head| if held_out[head] > held_out[best] { head } else { best });
        for head in 0..acc.n_heads {
            let value = mean(&of_head(&counting, head));
            findings.metrics.push(Metric::new("head_jaccard", value, "ratio").layer(block).head(head));
        }
        let own = of_head(&counting, head);
        scored.push(Score {
            select: Select { place: Place::At(Site::Attention(block)), part: Part::Class },
            held_out: held_out[head],
            test: mean(&own),
            interval: t_interval(&own),
            beside: vec![
                mean(&over(&counting, &|image| image.by_block[place].oracle)),
                mean(&over(&counting, &|image| mean(&image.by_block[place].by_head))),
                mean(&over(&counting, &|image| image.by_block[place].merged)),
                head as f64,
            ],
        });
    }
    let skipped = match acc.n_skipped {
        0 => String::new(),
        n => format!("; {n} images without an object are left out"),
    };
    let everything = mean(&over(&counting, &|image| image.everything));
    let words = Words {
        study: AutoSegmentation::INFO.name,
        metric: "jaccard",
        title: "Auto-segmentation",
        caption: "Jaccard index of the object and of what the head that other images chose looks at. Chance is a random map, cut at the same share \
                  of its mass; the ceiling is the truth at the middle of every patch. A low value does not say that the object is not used, only that \
                  no head looks at it more than at the rest.",
        settings: format!(
            "{} test images at {} px; {} of the mass; everything marked has {everything:.3}{skipped}",
            counting.len(),
            acc.reading.eval_px,
            config.mass
        ),
        beside: &["oracle_jaccard", "mean_jaccard", "merged_jaccard", "head"],
        chance: mean(&over(&counting, &|image| image.random)),
        ceiling: mean(&over(&counting, &|image| image.ceiling)),
    };
    scores::tell(&words, shapes, &scored, &mut findings)?;
    let oracle = mean(&over(&counting, &|image| image.random_oracle));
    findings.metrics.push(Metric::new("chance.oracle_jaccard", oracle, "ratio"));
    findings.metrics.push(Metric::new("everything.jaccard", everything, "ratio"));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staged::{Stage, noise, value};

    fn asked(attention: fn(u8, usize, usize, usize) -> f32) -> Findings {
        let stage = Stage { n_test: 16, attention, ..Stage::new() };
        // So much of the mass that nothing of an even map is lost.
        let config = AutoSegmentationConfig { mass: 0.999, ..AutoSegmentationConfig::default() };
        stage.ask::<AutoSegmentation>(&config, &|_, _, _| vec![0.0])
    }

    #[test]
    fn a_head_on_the_object_reaches_the_ceiling_and_is_chosen() {
        // Head 1 looks at the object evenly, head 0 at the rest.
        let found = asked(|kind, _, _, head| f32::from(u8::from((kind > 0) == (head == 1))));
        assert_eq!(value(&found, "ceiling"), 1.0, "objects cover whole patches");
        assert_eq!(value(&found, "best.jaccard"), 1.0);
        assert_eq!((value(&found, "head"), value(&found, "oracle_jaccard")), (1.0, 1.0));
        assert_eq!(value(&found, "mean_jaccard"), 0.5, "the other head has nothing in common with it");
        // Both heads summed look everywhere alike: the object covers 12 of 64 patches, and nearly all are marked.
        assert!((value(&found, "everything.jaccard") - 12.0 / 64.0).abs() < 1e-12);
    }

    #[test]
    fn a_map_that_says_nothing_stays_at_chance() {
        let attention =
            |_: u8, image: usize, patch: usize, head: usize| noise((image * 64 + patch) * 2 + head) + 0.5;
        let stage = Stage { n_test: 64, attention, ..Stage::new() };
        let config = AutoSegmentationConfig::default();
        let found = stage.ask::<AutoSegmentation>(&config, &|_, _, _| vec![0.0]);
        let (own, chance) = (value(&found, "best.jaccard"), value(&found, "chance"));
        // 48 images, each with a standard deviation of about 0.05.
        assert!((own - chance).abs() < 0.03, "{own} and {chance}");
        let (own, chance) = (value(&found, "oracle_jaccard"), value(&found, "chance.oracle_jaccard"));
        assert!((own - chance).abs() < 0.03 && chance > value(&found, "chance"), "{own} and {chance}");
    }
}
