//! Does attention mark the object: does what a head looks at most meet the object's mask?

use crate::attention_on_host::{Rows, needs_attention, needs_images, token_grid};
use measure::attention::TokenGrid;
use measure::saliency::{MapOf, iou, mass_mask};
use rand::RngExt;
use report::{
    Array, Block, Cell, Figure, FigureData, Info, LinePlot, Metric, Recipe, RecipeError, Series, Table,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::Site;
use vit_data::Seed;
use vit_features::{Accumulate, BatchInfo, Findings, Needs, Numbers, Role, Shapes, Study, StudyError, Taken};
use vit_ops::AttentionRow;

/// Which cells of the grid are the object's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compat {
    /// Cells of which the mask covers at least half: what a person would mark.
    #[default]
    None,
    /// Cells in which anything is left of a mask of 0 and 255 after a bicubic resize to the grid: so in the released
    /// code of Walmer et al. Cells that are barely touched count, which favors maps that are too broad.
    VitAnalysis,
}

/// The options of [`SaliencyIou`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SaliencyIouConfig {
    /// The share of a map's mass that its marked cells hold, 0–1; 0.6 in DINO and Teaching Matters.
    pub mass: f64,
    /// `none`, or `vit-analysis`: which cells are the object's as in the released code.
    pub compat: Compat,
}

impl Default for SaliencyIouConfig {
    fn default() -> Self {
        Self { mass: 0.6, compat: Compat::None }
    }
}

impl Recipe for SaliencyIouConfig {
    fn check(&self) -> Result<(), RecipeError> {
        if !(self.mass > 0.0 && self.mass < 1.0) {
            return Err(RecipeError::value("mass", "above 0 and below 1", self.mass));
        }
        Ok(())
    }
}

/// The overlap of what each head looks at most with the object.
///
/// A head's map of an image (the row of the class token, the sum of the patches' rows, or the row of the patch in the
/// middle) marks the fewest cells that hold 60 % of its mass; `IoU = |marked ∩ object| / |marked ∪ object|`.
///
/// # Source
/// Walmer et al., Teaching Matters, whose plots take the best head of every image, which nobody can know beforehand.
/// *Differs*: that is told beside the head that is chosen on other images.
pub struct SaliencyIou;

/// The maps of a head.
const MAPS: [MapOf; 3] = [MapOf::Class, MapOf::Patches, MapOf::Center];

/// The row that a map is; that of all patches is their mean, which marks the same cells as their sum.
fn row_of(of: MapOf) -> AttentionRow {
    match of {
        MapOf::Class => AttentionRow::First,
        MapOf::Patches => AttentionRow::Patches,
        MapOf::Center => AttentionRow::Center,
    }
}

/// The word for a map in reports.
fn word(of: MapOf) -> &'static str {
    match of {
        MapOf::Class => "cls",
        MapOf::Patches => "patches",
        MapOf::Center => "center",
    }
}

/// Sums of IoU of one block and kind of map.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sums {
    /// Of each head, over the images of either half.
    by_head: [Vec<f64>; 2],
    /// Of the best head of every image.
    oracle: f64,
    /// Of the sum of all heads' maps.
    merged: f64,
}

impl Sums {
    fn add(&mut self, later: &Self) {
        for (ours, later) in self.by_head.iter_mut().zip(&later.by_head) {
            ours.resize(ours.len().max(later.len()), 0.0);
            ours.iter_mut().zip(later).for_each(|(ours, later)| *ours += later);
        }
        self.oracle += later.oracle;
        self.merged += later.merged;
    }
}

/// Sums per block, kind of map and head; memory does not grow with the number of images.
#[derive(Serialize, Deserialize)]
pub struct SaliencyIouAcc {
    config: SaliencyIouConfig,
    grid: TokenGrid,
    n_heads: usize,
    seed: Seed,
    maps: Vec<MapOf>,
    /// Images with an object, of either half.
    n_images: [usize; 2],
    /// Images without a cell of an object.
    n_skipped: usize,
    /// By block and the place in `maps`.
    sums: BTreeMap<(usize, usize), Sums>,
    /// Of random maps: one, and the best of as many as there are heads.
    random: f64,
    random_oracle: f64,
    /// Of a map that marks everything.
    everything: f64,
    /// The object's cells in each image of the batch that passes; none where there are none.
    #[serde(skip)]
    objects: Vec<Option<Object>>,
}

/// The object of one image.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Object {
    cells: Vec<bool>,
    /// 0 or 1, drawn for each image of the data set.
    half: usize,
}

impl SaliencyIouAcc {
    /// The objects of a batch, once for all of its blocks.
    fn look_for_objects(&mut self, info: &BatchInfo) {
        if self.objects.len() == info.truths.len() {
            return;
        }
        let on = (self.grid.h, self.grid.w);
        let object = |i: usize| {
            let (mask, crop) = (info.truths[i].mask.as_ref()?, &info.boxes[i]);
            let is_object = |id: u8| id > 0;
            let cells: Vec<bool> = match self.config.compat {
                Compat::None => {
                    mask.shares_on_grid(crop, on, &is_object).iter().map(|&share| share >= 0.5).collect()
                }
                Compat::VitAnalysis => {
                    mask.bicubic_on_grid(crop, on, &is_object).iter().map(|&left| left > 0).collect()
                }
            };
            let half = self.seed.stream("saliency-half", &[info.indices[i] as u64]).random::<u64>() % 2;
            cells.contains(&true).then_some(Object { cells, half: half as usize })
        };
        self.objects = (0..info.truths.len()).map(object).collect();
    }

    /// IoU of random maps, one for each head, which are the same for an image whatever the model.
    fn add_chance(&mut self, object: &Object, index: usize) {
        let mut stream = self.seed.stream("saliency-chance", &[index as u64]);
        let mut best = 0.0_f64;
        for head in 0..self.n_heads {
            let map: Vec<f64> = object.cells.iter().map(|_| stream.random::<f64>()).collect();
            let iou = iou(&mass_mask(&map, self.config.mass), &object.cells);
            self.random += if head == 0 { iou } else { 0.0 };
            best = best.max(iou);
        }
        self.random_oracle += best;
        self.everything += iou(&vec![true; object.cells.len()], &object.cells);
    }
}

impl Accumulate for SaliencyIouAcc {
    fn see_numbers(&mut self, site: Site, seen: &Numbers, info: &BatchInfo) -> Result<(), StudyError> {
        let (Site::AttentionRows(block), Role::Test) = (site, info.role) else {
            return Ok(());
        };
        self.look_for_objects(info);
        let rows = Rows::of(SaliencyIou::INFO.name, seen)?;
        for (place, &of) in self.maps.iter().enumerate() {
            let sums = self.sums.entry((block, place)).or_default();
            for (image, object) in self.objects.iter().enumerate() {
                let Some(Object { cells, half }) = object else { continue };
                let mut one = Sums::default();
                let mut merged = vec![0.0; cells.len()];
                for head in 0..rows.dim().1 {
                    let map = rows.patches(image, head, row_of(of), self.grid);
                    let map: Vec<f64> = map.iter().map(|&share| f64::from(share)).collect();
                    let iou = iou(&mass_mask(&map, self.config.mass), cells);
                    one.by_head[*half].push(iou);
                    one.oracle = one.oracle.max(iou);
                    merged.iter_mut().zip(map).for_each(|(sum, share)| *sum += share);
                }
                one.merged = iou(&mass_mask(&merged, self.config.mass), cells);
                sums.add(&one);
            }
        }
        Ok(())
    }

    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role != Role::Test {
            return Ok(());
        }
        self.look_for_objects(&taken.info);
        for (object, &index) in std::mem::take(&mut self.objects).iter().zip(taken.info.indices) {
            match object {
                Some(object) => {
                    self.n_images[object.half] += 1;
                    self.add_chance(object, index);
                }
                None => self.n_skipped += 1,
            }
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.n_images.iter_mut().zip(later.n_images).for_each(|(ours, later)| *ours += later);
        self.n_skipped += later.n_skipped;
        self.random += later.random;
        self.random_oracle += later.random_oracle;
        self.everything += later.everything;
        for (at, sums) in later.sums {
            self.sums.entry(at).or_default().add(&sums);
        }
    }
}

impl Study for SaliencyIou {
    const INFO: Info = Info {
        name: "saliency-iou",
        line: "whether attention marks the object: overlap of what each head looks at most with the object's mask",
        source: "Walmer et al. 2023 (Teaching Matters); Caron et al. 2021 (DINO)",
    };
    type Config = SaliencyIouConfig;
    type Acc = SaliencyIouAcc;

    fn needs(_: &SaliencyIouConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        needs_attention(Self::INFO.name, shapes)?;
        let numbers = shapes.blocks.iter().map(|&block| Site::AttentionRows(block)).collect();
        Ok(Needs { numbers, masks: true, ..Needs::default() })
    }

    fn open(config: &SaliencyIouConfig, shapes: &Shapes) -> SaliencyIouAcc {
        let there = |of: &MapOf| *of != MapOf::Class || shapes.has_class;
        SaliencyIouAcc {
            config: config.clone(),
            grid: token_grid(shapes),
            n_heads: shapes.n_heads.unwrap_or(0),
            seed: Seed(shapes.seed),
            maps: MAPS.into_iter().filter(there).collect(),
            n_images: [0; 2],
            n_skipped: 0,
            sums: BTreeMap::new(),
            random: 0.0,
            random_oracle: 0.0,
            everything: 0.0,
            objects: Vec::new(),
        }
    }

    fn finish(config: &SaliencyIouConfig, _: &Shapes, acc: SaliencyIouAcc) -> Result<Findings, StudyError> {
        needs_images(Self::INFO.name, acc.n_images[0] + acc.n_images[1])?;
        Ok(findings(config, &acc))
    }
}

/// The first of the greatest.
fn first_best(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// What one block and kind of map says.
struct Told {
    block: usize,
    word: &'static str,
    /// Mean IoU of every head over all images.
    by_head: Vec<f64>,
    /// The head that is best on either half.
    chosen_head: [usize; 2],
    /// Mean IoU of the head that was chosen on the half of the images to which an image does not belong.
    chosen: f64,
    oracle: f64,
    merged: f64,
}

impl SaliencyIouAcc {
    fn n(&self) -> f64 {
        (self.n_images[0] + self.n_images[1]) as f64
    }

    /// Of all layers, the head of the first kind of map that is best on one half of the images, and what it has on the other.
    fn best(&self) -> Option<Metric> {
        let of_headline = || self.sums.iter().filter(|((_, place), _)| *place == 0);
        let by_head =
            |half: usize| of_headline().flat_map(move |(_, sums)| sums.by_head[half].iter().copied());
        let (choosing, telling) =
            if self.n_images[0] == 0 { (1, 1) } else { (0, usize::from(self.n_images[1] > 0)) };
        let at = first_best(&by_head(choosing).collect::<Vec<f64>>());
        let value = by_head(telling).nth(at)? / self.n_images[telling] as f64;
        let (&(block, _), _) = of_headline().nth(at / self.n_heads)?;
        let metric = Metric::new("best.iou", value, "ratio").layer(block).head(at % self.n_heads);
        Some(metric.param("map", word(self.maps[0])))
    }

    fn told(&self) -> Vec<Told> {
        let told = self.sums.iter().map(|(&(block, place), sums)| {
            let [mut a, mut b] = sums.by_head.clone();
            a.resize(self.n_heads, 0.0);
            b.resize(self.n_heads, 0.0);
            // With one half only there is nothing else to choose on.
            let chosen_head = match self.n_images {
                [0, _] => [first_best(&b); 2],
                [_, 0] => [first_best(&a); 2],
                _ => [first_best(&a), first_best(&b)],
            };
            Told {
                block,
                word: word(self.maps[place]),
                by_head: a.iter().zip(&b).map(|(a, b)| (a + b) / self.n()).collect(),
                chosen_head,
                chosen: (b[chosen_head[0]] + a[chosen_head[1]]) / self.n(),
                oracle: sums.oracle / self.n(),
                merged: sums.merged / self.n(),
            }
        });
        told.collect()
    }
}

fn findings(config: &SaliencyIouConfig, acc: &SaliencyIouAcc) -> Findings {
    let told = acc.told();
    let mut findings = Findings::default();
    let columns = [
        "map of",
        "layer",
        "chosen head",
        "IoU of the chosen head",
        "best head of every image",
        "all heads merged",
    ];
    let mut table = Table::new("by_layer", "Every layer", columns);
    for one in &told {
        for (head, &value) in one.by_head.iter().enumerate() {
            let metric = Metric::new("iou", value, "ratio").layer(one.block).head(head);
            findings.metrics.push(metric.param("map", one.word));
        }
        let numbers = [("chosen.iou", one.chosen), ("oracle.iou", one.oracle), ("merged.iou", one.merged)];
        for (name, value) in numbers {
            let metric = Metric::new(name, value, "ratio").layer(one.block);
            findings.metrics.push(metric.param("map", one.word));
        }
        let [a, b] = one.chosen_head;
        table.push([
            Cell::from(one.word),
            Cell::from(one.block),
            Cell::from(if a == b { a.to_string() } else { format!("{a} and {b}") }),
            Cell::from(one.chosen),
            Cell::from(one.oracle),
            Cell::from(one.merged),
        ]);
    }
    findings.metrics.extend(acc.best());
    let (random, random_oracle) = (acc.random / acc.n(), acc.random_oracle / acc.n());
    let everything = acc.everything / acc.n();
    let floors =
        [("chance.iou", random), ("chance.oracle_iou", random_oracle), ("everything.iou", everything)];
    findings.metrics.extend(floors.map(|(name, value)| Metric::new(name, value, "ratio")));

    let headline = word(acc.maps[0]);
    let of_headline = || told.iter().filter(|one| one.word == headline);
    let whose = if headline == "cls" { "the class token" } else { "the patches" };
    let curve = |value: fn(&Told) -> f64| -> Vec<(f64, f64)> {
        of_headline().map(|one| (one.block as f64, value(one))).collect()
    };
    let line = |name: &str, points, floors: Vec<(String, f64)>| {
        FigureData::Line(LinePlot {
            x_label: "block".into(),
            y_label: "IoU with the object".into(),
            series: vec![Series::new(name, points)],
            reference_lines: floors,
        })
    };
    add(
        &mut findings,
        "iou_by_depth",
        format!("Does attention of {whose} mark the object?"),
        "Overlap with the object of the head that did best on other images: half of the images choose, the other half \
         tells, and the other way round. Below the line of a map that marks everything nothing is gained over not looking. \
         A low value does not say that the object is not used, only that no head looks at it more than at the rest."
            .into(),
        line(
            "head chosen on other images",
            curve(|one| one.chosen),
            vec![("random map".into(), random), ("everything marked".into(), everything)],
        ),
    );
    add(
        &mut findings,
        "oracle_iou_by_depth",
        format!("The best head of every image, {whose}"),
        "As published: for every image the head that happens to fit best. More heads give a higher number for that \
         alone; the line shows what the best of as many random maps gives."
            .into(),
        line(
            "best head of every image",
            curve(|one| one.oracle),
            vec![("best of random maps".into(), random_oracle)],
        ),
    );
    add(
        &mut findings,
        "iou_by_head",
        format!("Every head, {whose}"),
        "Mean overlap over images, one cell a head. Heads have no order: a light cell says that this head marks objects, its \
         neighbors say nothing of it."
            .into(),
        FigureData::Heatmap {
            row_labels: of_headline().map(|one| one.block.to_string()).collect(),
            col_labels: Vec::new(),
            x_label: "head".into(),
            y_label: "block".into(),
            values: of_headline().map(|one| one.by_head.clone()).collect(),
            range: None,
            unit: "IoU".into(),
        },
    );
    for word in acc.maps.iter().map(|&of| word(of)) {
        let rows: Vec<&Told> = told.iter().filter(|one| one.word == word).collect();
        let values = rows.iter().flat_map(|one| one.by_head.iter().map(|&value| value as f32)).collect();
        findings.arrays.push(Array {
            name: format!("iou_{word}"),
            shape: vec![rows.len(), acc.n_heads],
            values,
        });
    }
    let rule = match config.compat {
        Compat::None => "covered by at least half",
        Compat::VitAnalysis => "in which anything is left after a bicubic resize",
    };
    let skipped = match acc.n_skipped {
        0 => String::new(),
        n => format!(" {n} images without such a cell are left out."),
    };
    findings.story.push(Block::Table("by_layer".into()));
    findings.tables.push(table.note(format!(
        "Means over {} images. Marked are the fewest cells with {} of a map's mass; the object's are those {rule}.{skipped} \
         One random map gives {random:.3}, the best of {} gives {random_oracle:.3}, everything marked {everything:.3}. Where two \
         heads are named, the halves of the images chose differently.",
        acc.n(),
        config.mass,
        acc.n_heads,
    )));
    findings
}

fn add(findings: &mut Findings, name: &str, title: String, caption: String, data: FigureData) {
    findings.story.push(Block::Figure(name.into()));
    findings.figures.push(Figure::new(name, title, caption, data));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use vit_data::{CropBox, LabelMap, Truth};

    /// Shows one image of 4 patches side by side: the class token of head 0 looks at the object, head 1 away from it.
    fn shown(config: SaliencyIouConfig) -> SaliencyIouAcc {
        let shapes = Shapes {
            n_heads: Some(2),
            n_prefix: 1,
            has_class: true,
            grid: vit_core::Grid { rows: 1, columns: 4 },
            ..Shapes::of_pixels(4)
        };
        let mut acc = SaliencyIou::open(&config, &shapes);
        let of_head = AttentionRow::N * 5;
        let mut rows = vec![0.2f32; 2 * of_head];
        let of_class = AttentionRow::First as usize * 5;
        rows[of_class..][..5].copy_from_slice(&[0.0, 0.5, 0.3, 0.1, 0.1]);
        rows[of_head + of_class..][..5].copy_from_slice(&[0.0, 0.1, 0.1, 0.3, 0.5]);
        let told = Numbers { shape: vec![1, 2, AttentionRow::N, 5], values: Arc::new(rows) };
        // The object covers the first patch, and a quarter of the second.
        let ids = (0..16).map(|x| u8::from(x < 5)).collect();
        let mask = Some(LabelMap { width_px: 16, height_px: 1, ids });
        let truths = [Truth { mask, ..Truth::default() }];
        let boxes = [CropBox { x: 0.0, y: 0.0, w: 16.0, h: 1.0, flipped: false }];
        let info = BatchInfo {
            model: 0,
            role: Role::Test,
            first: 0,
            labels: &[None],
            indices: &[3],
            truths: &truths,
            boxes: &boxes,
        };
        acc.see_numbers(Site::AttentionRows(0), &told, &info).expect("floats");
        acc.batch(&Taken { info, features: &BTreeMap::new() }).expect("floats");
        acc
    }

    #[test]
    fn the_head_that_looks_at_the_object_is_told_apart_by_hand() {
        let told = shown(SaliencyIouConfig::default()).told();
        // Of .5 .3 .1 .1 the first two hold 60 %, the object is the first: 1/2. The other head marks the last two.
        assert_eq!(told[0].by_head, [0.5, 0.0]);
        assert_eq!((told[0].oracle, told[0].chosen, told[0].chosen_head), (0.5, 0.5, [0, 0]));
        // By the released rule the second patch is the object's too.
        let told =
            shown(SaliencyIouConfig { compat: Compat::VitAnalysis, ..SaliencyIouConfig::default() }).told();
        assert_eq!(told[0].by_head, [1.0, 0.0]);
    }

    #[test]
    fn an_image_without_an_object_is_left_out() {
        let mut acc = shown(SaliencyIouConfig::default());
        let truths = [Truth::default()];
        let info = BatchInfo {
            model: 0,
            role: Role::Test,
            first: 1,
            labels: &[None],
            indices: &[4],
            truths: &truths,
            boxes: &[],
        };
        acc.batch(&Taken { info, features: &BTreeMap::new() }).expect("nothing to see");
        assert_eq!((acc.n_images[0] + acc.n_images[1], acc.n_skipped), (1, 1));
    }
}
