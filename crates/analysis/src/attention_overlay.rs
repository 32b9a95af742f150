//! Where does the class token look in single images?

use crate::attention_on_host::{Rows, needs_attention, needs_images, token_grid};
use crate::shown::Shown;
use measure::attention::TokenGrid;
use report::{Block, Cell, Figure, FigureData, Info, LinePlot, Metric, Recipe, RecipeError, Series, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::Site;
use vit_data::CropBox;
use vit_features::{
    Accumulate, BatchInfo, Findings, Maps, Needs, Numbers, PatchMap, Role, Shapes, Showcase, Study,
    StudyError, Taken,
};
use vit_ops::AttentionRow;

/// The options of [`AttentionOverlay`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionOverlayConfig {
    /// Images that are shown; the same ones for every model.
    pub n_shown: usize,
    /// The places in the data set of the images that are shown, in place of `n_shown` drawn ones; those that are not looked at are
    /// left out.
    pub images: Vec<usize>,
    /// Layers that are shown, spread over those looked at; the last one is always among them.
    pub n_layers: usize,
}

impl Default for AttentionOverlayConfig {
    fn default() -> Self {
        Self { n_shown: 6, images: Vec::new(), n_layers: 4 }
    }
}

impl Recipe for AttentionOverlayConfig {
    fn check(&self) -> Result<(), RecipeError> {
        match self.n_layers {
            0 => Err(RecipeError::value("n_layers", "at least 1", "0")),
            _ => Ok(()),
        }
    }
}

/// The attention of the class token to the patches of single images, mean over heads, laid over the pictures.
///
/// `a_j = mean over heads of A[cls, j]`; without a class token, of the mean patch. Over all images: the greatest share that
/// one patch has of what goes to patches, `max_j a_j / Σ_j a_j`, mean over images.
///
/// # Source
/// Caron et al. 2021 (DINO), figure 1. *Differs*: the mean over heads, every model on the same images.
pub struct AttentionOverlay;

/// What is kept of an image that is shown: its box, and the map of every layer.
#[derive(Serialize, Deserialize)]
struct Kept {
    crop: CropBox,
    maps: BTreeMap<usize, Vec<f32>>,
}

/// A sum per layer, and maps of the images that are shown; memory does not grow with the number of images.
#[derive(Serialize, Deserialize)]
pub struct AttentionOverlayAcc {
    grid: TokenGrid,
    has_class: bool,
    /// The layers that are shown.
    chosen: Vec<usize>,
    n_images: usize,
    /// Σ over images of the greatest share.
    peaks: BTreeMap<usize, f64>,
    shown: Shown<Kept>,
}

/// `n` of the blocks, spread evenly, the last one among them.
fn spread(blocks: &[usize], n: usize) -> Vec<usize> {
    let n = n.min(blocks.len());
    (1..=n).map(|k| blocks[k * blocks.len() / n - 1]).collect()
}

/// The patches' shares of one image: the class token's row or the mean patch's, mean over heads, `[N]`.
fn map_of(rows: &Rows, image: usize, grid: TokenGrid, has_class: bool) -> Vec<f64> {
    let row = if has_class { AttentionRow::First } else { AttentionRow::Patches };
    let (_, heads) = rows.dim();
    let mut map = vec![0.0; grid.n_patches()];
    for head in 0..heads {
        let shares = rows.patches(image, head, row, grid);
        map.iter_mut().zip(shares).for_each(|(sum, &share)| *sum += f64::from(share));
    }
    map.iter_mut().for_each(|sum| *sum /= heads as f64);
    map
}

impl Accumulate for AttentionOverlayAcc {
    fn see_numbers(&mut self, site: Site, seen: &Numbers, info: &BatchInfo) -> Result<(), StudyError> {
        let (Site::AttentionRows(block), Role::Test) = (site, info.role) else {
            return Ok(());
        };
        let rows = Rows::of(AttentionOverlay::INFO.name, seen)?;
        let wanted = self.shown.wanted(info);
        for at in 0..rows.dim().0 {
            let map = map_of(&rows, at, self.grid, self.has_class);
            let (whole, most) = (map.iter().sum::<f64>(), map.iter().copied().fold(0.0, f64::max));
            *self.peaks.entry(block).or_default() += if whole > 0.0 { most / whole } else { 0.0 };
            if self.chosen.contains(&block) && wanted.contains(&at) {
                let kept = || Kept { crop: info.boxes[at], maps: BTreeMap::new() };
                let map = map.into_iter().map(|share| share as f32).collect();
                self.shown.entry(info.indices[at], kept).maps.insert(block, map);
            }
        }
        Ok(())
    }

    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role == Role::Test {
            self.n_images += taken.info.labels.len();
            self.shown.settle();
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.n_images += later.n_images;
        for (block, sum) in later.peaks {
            *self.peaks.entry(block).or_default() += sum;
        }
        self.shown.merge(later.shown);
    }
}

impl Study for AttentionOverlay {
    const INFO: Info = Info {
        name: "attention-overlay",
        line: "where the class token looks in single images, at a few layers, laid over the pictures",
        source: "Caron et al. 2021 (DINO)",
    };
    type Config = AttentionOverlayConfig;
    type Acc = AttentionOverlayAcc;

    fn needs(_: &AttentionOverlayConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        needs_attention(Self::INFO.name, shapes)?;
        let numbers = shapes.blocks.iter().map(|&block| Site::AttentionRows(block)).collect();
        Ok(Needs { numbers, ..Needs::default() })
    }

    fn open(config: &AttentionOverlayConfig, shapes: &Shapes) -> AttentionOverlayAcc {
        AttentionOverlayAcc {
            grid: token_grid(shapes),
            has_class: shapes.has_class,
            chosen: spread(&shapes.blocks, config.n_layers),
            n_images: 0,
            peaks: BTreeMap::new(),
            shown: Shown::new(shapes.seed, config.n_shown, &config.images),
        }
    }

    fn finish(
        _: &AttentionOverlayConfig,
        _: &Shapes,
        acc: AttentionOverlayAcc,
    ) -> Result<Findings, StudyError> {
        needs_images(Self::INFO.name, acc.n_images)?;
        Ok(findings(&acc))
    }
}

fn findings(acc: &AttentionOverlayAcc) -> Findings {
    let mut findings = Findings::default();
    let whose = if acc.has_class { "the class token" } else { "the mean patch" };
    if acc.shown.iter().next().is_some() {
        findings.showcases.push(showcase(acc, whose));
        findings.story.push(Block::Figure("attention_overlay".into()));
    }
    let mut table =
        Table::new("by_layer", "How much of it one patch has", ["layer", "greatest share of a patch"]);
    let mut curve = Vec::new();
    for (&block, sum) in &acc.peaks {
        let peak = sum / acc.n_images as f64;
        findings.metrics.push(Metric::new("overlay_peak", peak, "ratio").layer(block));
        table.push([Cell::from(block as i64), Cell::from(peak)]);
        curve.push((block as f64, peak));
    }
    let data = FigureData::Line(LinePlot {
        x_label: "block".into(),
        y_label: "greatest share of a patch".into(),
        series: vec![Series::new(whose, curve)],
        reference_lines: vec![("even".into(), 1.0 / acc.grid.n_patches().max(1) as f64)],
    });
    let caption = "Of what a query gives to patches, the share of the one that has most, mean over images. At the line “even” it \
                   looks everywhere alike, and its maps are noise stretched to be seen. It does not say whether what is \
                   looked at matters for the output.";
    findings.story.push(Block::Figure("overlay_peak".into()));
    findings.figures.push(Figure::new(
        "overlay_peak",
        "How pointed attention is in single images",
        caption,
        data,
    ));
    findings.story.push(Block::Table("by_layer".into()));
    findings.tables.push(table.note(format!(
        "Mean over {} images; attention is the mean over heads.{}",
        acc.n_images,
        acc.shown.missing()
    )));
    findings
}

/// The pictures, and for each the map of a few layers from its least to its greatest value.
fn showcase(acc: &AttentionOverlayAcc, whose: &str) -> Showcase {
    let heat = |map: &Vec<f32>| {
        let least = map.iter().copied().fold(f32::INFINITY, f32::min);
        let span = map.iter().copied().fold(0.0, f32::max) - least;
        let share = |&value: &f32| if span > 0.0 { (value - least) / span } else { 0.0 };
        PatchMap::Heat(map.iter().map(share).collect())
    };
    let of = |maps: &BTreeMap<usize, Vec<f32>>| {
        acc.chosen.iter().filter_map(|block| maps.get(block)).map(heat).collect()
    };
    Showcase {
        name: "attention_overlay".into(),
        title: format!("Where {whose} looks"),
        caption: format!(
            "The attention of {whose} to the patches, mean over heads, laid over what the model saw: dark is the least of a \
             picture, light its greatest value. Each picture has its own scale, so an even map shows its noise: read the share \
             of the greatest patch beside it. What is looked at need not be what decides."
        ),
        samples: acc.shown.iter().map(|(index, _)| (index, String::new())).collect(),
        maps: Some(Maps {
            titles: acc.chosen.iter().map(|block| format!("block {block}")).collect(),
            grid: (acc.grid.h, acc.grid.w),
            rows: acc.shown.iter().map(|(_, kept)| (kept.crop, of(&kept.maps))).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn layers_are_spread_and_the_last_is_among_them() {
        let blocks: Vec<usize> = (0..12).collect();
        assert_eq!(spread(&blocks, 4), [2, 5, 8, 11]);
        assert_eq!(spread(&blocks, 1), [11]);
        assert_eq!(spread(&blocks[..2], 4), [0, 1]);
        assert_eq!(spread(&[3, 7], 2), [3, 7]);
    }

    #[test]
    fn a_map_is_the_row_of_the_class_token_or_of_the_mean_patch_over_heads() {
        // Two heads, a class token and two patches: the class token gives .2 and .4, .6 and .0; the mean patch .3 and .5, .3 and .1.
        let grid = TokenGrid { n_prefix: 1, h: 1, w: 2 };
        let mut values = vec![0.0f32; 2 * AttentionRow::N * 3];
        for (head, first, patches) in
            [(0, [0.4, 0.2, 0.4], [0.2, 0.3, 0.5]), (1, [0.4, 0.6, 0.0], [0.6, 0.3, 0.1])]
        {
            for (row, of_row) in [(AttentionRow::First, first), (AttentionRow::Patches, patches)] {
                values[(head * AttentionRow::N + row as usize) * 3..][..3].copy_from_slice(&of_row);
            }
        }
        let told = Numbers { shape: vec![1, 2, AttentionRow::N, 3], values: Arc::new(values) };
        let rows = Rows::of("attention-overlay", &told).expect("rows");
        let near =
            |ours: Vec<f64>, expected: [f64; 2]| ours.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7);
        assert!(near(map_of(&rows, 0, grid, true), [0.4, 0.2]));
        assert!(near(map_of(&rows, 0, grid, false), [0.3, 0.3]));
    }
}
