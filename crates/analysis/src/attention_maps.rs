//! Where in the image does each head look, whatever the image?

use crate::attention_on_host::{Rows, needs_attention, needs_images, token_grid};
use measure::aggregated::Queries;
use measure::attention::TokenGrid;
use ndarray::Array2;
use report::{
    Array, Block, Cell, Figure, FigureData, ImageGrid, Info, Metric, Recipe, RecipeError, Table, Tile,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::Site;
use vit_features::{Accumulate, BatchInfo, Findings, Needs, Numbers, Role, Shapes, Study, StudyError, Taken};
use vit_ops::AttentionRow;

/// The options of [`AttentionMaps`]; there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionMapsConfig {}

impl Recipe for AttentionMapsConfig {
    fn check(&self) -> Result<(), RecipeError> {
        Ok(())
    }
}

/// The mean attention map of every head over images: of all queries, of the class token, of the patches, and of the patches
/// among themselves.
///
/// # Source
/// Walmer et al., Teaching Matters, aggregated attention maps.
pub struct AttentionMaps;

/// The kinds of queries, with the words for them in reports.
const KINDS: [(Queries, &str); 4] = [
    (Queries::All, "all"),
    (Queries::Class, "cls"),
    (Queries::Patches, "patches"),
    (Queries::PatchesAlone, "patches_alone"),
];

/// The row that is told of queries of a kind.
fn row_of(queries: Queries) -> AttentionRow {
    match queries {
        Queries::All => AttentionRow::All,
        Queries::Class => AttentionRow::First,
        Queries::Patches => AttentionRow::Patches,
        Queries::PatchesAlone => AttentionRow::PatchesAlone,
    }
}

/// Sums `[heads, T]` per block and kind of queries; memory does not grow with the number of images.
#[derive(Serialize, Deserialize)]
pub struct AttentionMapsAcc {
    grid: TokenGrid,
    kinds: Vec<Queries>,
    n_images: usize,
    by_block: BTreeMap<usize, Vec<Array2<f64>>>,
}

impl Accumulate for AttentionMapsAcc {
    fn see_numbers(&mut self, site: Site, seen: &Numbers, info: &BatchInfo) -> Result<(), StudyError> {
        let (Site::AttentionRows(block), Role::Test) = (site, info.role) else {
            return Ok(());
        };
        let rows = Rows::of(AttentionMaps::INFO.name, seen)?;
        let ((b, heads), n_kinds) = (rows.dim(), self.kinds.len());
        let maps = self
            .by_block
            .entry(block)
            .or_insert_with(|| vec![Array2::zeros((heads, self.grid.n_tokens())); n_kinds]);
        for (&queries, map) in self.kinds.iter().zip(maps) {
            for image in 0..b {
                for (head, mut sums) in map.outer_iter_mut().enumerate() {
                    let row = rows.get(image, head, row_of(queries));
                    sums.iter_mut().zip(row).for_each(|(sum, &share)| *sum += f64::from(share));
                }
            }
        }
        Ok(())
    }

    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role == Role::Test {
            self.n_images += taken.info.labels.len();
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.n_images += later.n_images;
        for (block, maps) in later.by_block {
            match self.by_block.get_mut(&block) {
                Some(ours) => ours.iter_mut().zip(&maps).for_each(|(ours, later)| *ours += later),
                None => drop(self.by_block.insert(block, maps)),
            }
        }
    }
}

impl Study for AttentionMaps {
    const INFO: Info = Info {
        name: "attention-maps",
        line: "where in the image each head looks, mean over images: class token, patches, and patches among themselves",
        source: "Walmer et al. 2023 (Teaching Matters)",
    };
    type Config = AttentionMapsConfig;
    type Acc = AttentionMapsAcc;

    fn needs(_: &AttentionMapsConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        needs_attention(Self::INFO.name, shapes)?;
        let numbers = shapes.blocks.iter().map(|&block| Site::AttentionRows(block)).collect();
        Ok(Needs { numbers, ..Needs::default() })
    }

    fn open(_: &AttentionMapsConfig, shapes: &Shapes) -> AttentionMapsAcc {
        let there = |queries: &Queries| *queries != Queries::Class || shapes.has_class;
        AttentionMapsAcc {
            grid: token_grid(shapes),
            kinds: KINDS.into_iter().map(|(queries, _)| queries).filter(there).collect(),
            n_images: 0,
            by_block: BTreeMap::new(),
        }
    }

    fn finish(_: &AttentionMapsConfig, _: &Shapes, acc: AttentionMapsAcc) -> Result<Findings, StudyError> {
        needs_images(Self::INFO.name, acc.n_images)?;
        Ok(findings(&acc))
    }
}

fn findings(acc: &AttentionMapsAcc) -> Findings {
    let n = acc.n_images as f64;
    let mut findings = Findings::default();
    let columns = ["queries", "layer", "head", "patches looked at", "greatest share of a patch"];
    let mut table = Table::new("by_head", "Every head", columns);
    let word_of = |queries| KINDS.iter().find(|(kind, _)| *kind == queries).map_or("", |(_, word)| word);
    for (place, &queries) in acc.kinds.iter().enumerate() {
        let word = word_of(queries);
        let (mut values, mut tiles) = (Vec::new(), Vec::new());
        let mut n_heads = 0;
        for (&block, maps) in &acc.by_block {
            n_heads = maps[place].nrows();
            for (head, sums) in maps[place].outer_iter().enumerate() {
                let row: Vec<f64> = sums.iter().map(|sum| sum / n).collect();
                let patches = &row[acc.grid.n_prefix..];
                let (breadth, peak) = (breadth(patches), patches.iter().copied().fold(0.0, f64::max));
                for (name, value) in [("map_breadth", breadth), ("map_peak", peak)] {
                    let metric = Metric::new(name, value, "ratio").layer(block).head(head);
                    findings.metrics.push(metric.param("queries", word));
                }
                table.push([
                    Cell::from(word),
                    Cell::from(block as i64),
                    Cell::from(head as i64),
                    Cell::from(breadth),
                    Cell::from(peak),
                ]);
                tiles.push(tile(patches, acc.grid));
                values.extend(row.into_iter().map(|share| share as f32));
            }
        }
        let name = format!("attention_maps_{word}");
        let shape = vec![acc.by_block.len(), n_heads, acc.grid.n_tokens()];
        findings.arrays.push(Array { name: name.clone(), shape, values });
        if !matches!(queries, Queries::Class | Queries::PatchesAlone) {
            continue;
        }
        let grid = ImageGrid {
            columns: n_heads.max(1),
            tiles,
            scale: (56 / acc.grid.w.max(1)).max(1),
            column_titles: (0..n_heads).map(|head| format!("head {head}")).collect(),
            row_titles: acc.by_block.keys().map(|block| format!("block {block}")).collect(),
        };
        let whose = if queries == Queries::Class { "the class token looks" } else { "patches look" };
        let caption = format!(
            "Where {whose}, mean over images, one picture a head. Each picture has its own scale, from its least (dark) to its \
             greatest value (light): a nearly even map shows its noise. What depends on the image is averaged away here."
        );
        findings.story.push(Block::Figure(name.clone()));
        findings.figures.push(Figure::new(name, format!("Where {whose}"), caption, FigureData::Image(grid)));
    }
    findings.story.push(Block::Table("by_head".into()));
    findings.tables.push(table.note(format!(
        "Over {} images. Patches looked at: exp(entropy) of the mean map as a share of all patches, 1 where it is even.",
        acc.n_images
    )));
    findings
}

/// `exp(entropy)` of a map as a share of its cells; 1 of a map without mass.
fn breadth(map: &[f64]) -> f64 {
    let mass: f64 = map.iter().sum();
    if mass == 0.0 {
        return 1.0;
    }
    let term = |&share: &f64| if share > 0.0 { -(share / mass) * (share / mass).ln() } else { 0.0 };
    map.iter().map(term).sum::<f64>().exp() / map.len() as f64
}

/// A map in gray, from its least to its greatest value.
pub(crate) fn tile(map: &[f64], grid: TokenGrid) -> Tile {
    let least = map.iter().copied().fold(f64::INFINITY, f64::min);
    let span = map.iter().copied().fold(0.0, f64::max) - least;
    let gray = |share: f64| if span > 0.0 { ((share - least) / span * 255.0).round() as u8 } else { 0 };
    let rgb = map.iter().flat_map(|&share| [gray(share); 3]).collect();
    Tile { width_px: grid.w, height_px: grid.h, rgb, caption: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breadth_is_the_share_of_patches_looked_at() {
        assert!((breadth(&[0.25; 4]) - 1.0).abs() < 1e-12);
        assert!((breadth(&[0.2, 0.2, 0.0, 0.0]) - 0.5).abs() < 1e-12);
        assert_eq!(breadth(&[0.0; 4]), 1.0);
    }

    #[test]
    fn a_tile_runs_from_dark_to_light() {
        let grid = TokenGrid { n_prefix: 0, h: 1, w: 3 };
        assert_eq!(tile(&[0.0, 1.0, 0.25], grid).rgb, [0, 0, 0, 255, 255, 255, 64, 64, 64]);
    }
}
