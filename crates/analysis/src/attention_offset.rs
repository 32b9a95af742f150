//! In which direction does each head look, and what kind of head is it?

use crate::attention_on_host::{Rows, by_head, needs_attention, needs_images, token_grid};
use measure::aligned::{HeadKind, HeadShape};
use measure::attention::TokenGrid;
use ndarray::{Array2, Array3, Axis};
use report::{
    Array, Block, Cell, Figure, FigureData, Info, Metric, Recipe, RecipeError, ScatterPlot, Series, Table,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::Site;
use vit_features::{Accumulate, BatchInfo, Findings, Needs, Numbers, Role, Shapes, Study, StudyError, Taken};
use vit_ops::AttentionRow;

/// The options of [`AttentionOffset`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionOffsetConfig {
    /// How many of the heads with the greatest offset have their aligned map shown.
    pub n_shown: usize,
}

impl Default for AttentionOffsetConfig {
    fn default() -> Self {
        Self { n_shown: 4 }
    }
}

impl Recipe for AttentionOffsetConfig {
    fn check(&self) -> Result<(), RecipeError> {
        Ok(())
    }
}

/// How far past itself a patch looks, and in which direction; and what kind of head does so.
///
/// Every query's map is laid over one canvas with the query in the middle and summed over images and queries; the center of
/// mass of that aligned map is the head's offset. [`HeadShape::kind`] says by which numbers a head is strict, soft, axial or
/// offset local, or sparse and repeating.
///
/// # Source
/// Walmer et al., Teaching Matters (aligned maps, offset, and the kinds, which they tell by eye; the criteria are ours).
pub struct AttentionOffset;

/// Sums over images of one block, each a mean over queries: `[heads, 2h − 1, 2w − 1]` and `[heads, N]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Maps {
    aligned: Array3<f64>,
    common: Array2<f64>,
}

/// Summed maps per block and head; memory does not grow with the number of images.
#[derive(Serialize, Deserialize)]
pub struct AttentionOffsetAcc {
    grid: TokenGrid,
    n_images: usize,
    by_block: BTreeMap<usize, Maps>,
}

impl Accumulate for AttentionOffsetAcc {
    fn see_numbers(&mut self, site: Site, seen: &Numbers, info: &BatchInfo) -> Result<(), StudyError> {
        let grid = self.grid;
        let none_of = |heads: usize| Maps {
            aligned: Array3::zeros((heads, 2 * grid.h - 1, 2 * grid.w - 1)),
            common: Array2::zeros((heads, grid.n_patches())),
        };
        match (site, info.role) {
            (Site::AttentionAligned(block), Role::Test) => {
                let aligned = by_head(AttentionOffset::INFO.name, seen)?;
                let maps = self.by_block.entry(block).or_insert_with(|| none_of(aligned.dim().1));
                for image in aligned.outer_iter() {
                    maps.aligned.zip_mut_with(&image, |sum, &share| *sum += f64::from(share));
                }
            }
            (Site::AttentionRows(block), Role::Test) => {
                let rows = Rows::of(AttentionOffset::INFO.name, seen)?;
                let (b, heads) = rows.dim();
                let maps = self.by_block.entry(block).or_insert_with(|| none_of(heads));
                for image in 0..b {
                    for (head, mut sums) in maps.common.outer_iter_mut().enumerate() {
                        let row = rows.patches(image, head, AttentionRow::PatchesAlone, grid);
                        sums.iter_mut().zip(row).for_each(|(sum, &share)| *sum += f64::from(share));
                    }
                }
            }
            _ => {}
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
                Some(ours) => {
                    ours.aligned += &maps.aligned;
                    ours.common += &maps.common;
                }
                None => drop(self.by_block.insert(block, maps)),
            }
        }
    }
}

impl Study for AttentionOffset {
    const INFO: Info = Info {
        name: "attention-offset",
        line: "in which direction each head looks, and which heads are offset, strict, soft or axial local, or sparse",
        source: "Walmer et al. 2023 (Teaching Matters)",
    };
    type Config = AttentionOffsetConfig;
    type Acc = AttentionOffsetAcc;

    fn needs(_: &AttentionOffsetConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        needs_attention(Self::INFO.name, shapes)?;
        let of_block = |&block: &usize| [Site::AttentionRows(block), Site::AttentionAligned(block)];
        let numbers = shapes.blocks.iter().flat_map(of_block).collect();
        Ok(Needs { numbers, ..Needs::default() })
    }

    fn open(_: &AttentionOffsetConfig, shapes: &Shapes) -> AttentionOffsetAcc {
        AttentionOffsetAcc { grid: token_grid(shapes), n_images: 0, by_block: BTreeMap::new() }
    }

    fn finish(
        config: &AttentionOffsetConfig,
        _: &Shapes,
        acc: AttentionOffsetAcc,
    ) -> Result<Findings, StudyError> {
        needs_images(Self::INFO.name, acc.n_images)?;
        Ok(findings(config, &acc))
    }
}

/// One head and what its maps say.
struct Head {
    block: usize,
    head: usize,
    shape: HeadShape,
}

fn heads(acc: &AttentionOffsetAcc) -> Vec<Head> {
    let mut heads = Vec::new();
    for (&block, maps) in &acc.by_block {
        for (head, aligned) in maps.aligned.outer_iter().enumerate() {
            let row = maps.common.index_axis(Axis(0), head);
            let Ok(common) = row.to_shape((acc.grid.h, acc.grid.w)) else {
                unreachable!("a row of as many numbers as the grid has patches")
            };
            heads.push(Head { block, head, shape: HeadShape::of(aligned, common.view(), acc.grid) });
        }
    }
    heads
}

fn findings(config: &AttentionOffsetConfig, acc: &AttentionOffsetAcc) -> Findings {
    let heads = heads(acc);
    let mut findings = Findings::default();
    let mut table = Table::new(
        "by_head",
        "Every head",
        [
            "layer",
            "head",
            "kind",
            "offset x",
            "offset y",
            "offset (tokens)",
            "direction",
            "peak x (tokens)",
            "peak y (tokens)",
            "share around the peak",
            "share on itself",
            "distance (tokens)",
            "share on its axis",
            "patches looked at by all",
        ],
    );
    let mut offsets = Vec::new();
    let mut dots: BTreeMap<HeadKind, Vec<(f64, f64)>> = BTreeMap::new();
    for Head { block, head, shape } in &heads {
        let ((x, y), kind) = (shape.offset_xy, shape.kind());
        for (name, value, unit) in [
            ("offset_tokens", shape.offset_tokens, "tokens"),
            ("offset_x", x, "canvas"),
            ("offset_y", y, "canvas"),
            ("offset", x.hypot(y), "canvas"),
        ] {
            findings.metrics.push(Metric::new(name, value, unit).layer(*block).head(*head));
        }
        offsets.extend([x as f32, y as f32]);
        dots.entry(kind).or_default().push((*block as f64, shape.offset_tokens));
        table.push([
            Cell::from(*block as i64),
            Cell::from(*head as i64),
            Cell::from(kind.name()),
            Cell::from(x),
            Cell::from(y),
            Cell::from(shape.offset_tokens),
            direction(shape),
            Cell::from(shape.peak_xy.0),
            Cell::from(shape.peak_xy.1),
            Cell::from(shape.peak_share),
            Cell::from(shape.self_share),
            Cell::from(shape.distance_tokens),
            Cell::from(shape.axis_share),
            Cell::from(shape.common_share),
        ]);
    }
    for kind in [
        HeadKind::OffsetLocal,
        HeadKind::StrictLocal,
        HeadKind::SoftLocal,
        HeadKind::AxialLocal,
        HeadKind::SparseRepeating,
        HeadKind::Other,
    ] {
        let n = dots.get(&kind).map_or(0, Vec::len);
        let name = format!("n_{}", kind.name().replace('-', "_"));
        findings.metrics.push(Metric::new(name, n as f64, "heads"));
    }
    let plot = ScatterPlot {
        x_label: "block".into(),
        y_label: "offset (tokens)".into(),
        series: dots.into_iter().map(|(kind, dots)| Series::new(kind.name(), dots)).collect(),
    };
    let caption = "One dot a head: how far from the query the center of what it looks at lies. At the border of the image a head \
                   cannot look outward, so one that always looks one token aside stays a little below 1. Kinds are told by the \
                   criteria in the book; a head that looks in two opposite directions has no offset.";
    let data = FigureData::Scatter(plot);
    findings.story.push(Block::Figure("offset_by_depth".into()));
    findings.figures.push(Figure::new("offset_by_depth", "Offset of every head, by depth", caption, data));
    add_maps(config, acc, &heads, &mut findings);
    let n_heads = acc.by_block.values().next().map_or(0, |maps| maps.aligned.dim().0);
    findings.arrays.push(Array {
        name: "offset_xy".into(),
        shape: vec![acc.by_block.len(), n_heads, 2],
        values: offsets,
    });
    findings.story.push(Block::Table("by_head".into()));
    findings.tables.push(table.note(format!(
        "Over {} images. Offsets are on a canvas from −1 to 1, x to the right and y down; a step of one token is {:.4} in x. \
         Prefix tokens are left out.",
        acc.n_images,
        1.0 / (acc.grid.w.max(2) - 1) as f64
    )));
    findings
}

/// The aligned maps of all heads as an array, and of those with the greatest offset as figures.
fn add_maps(
    config: &AttentionOffsetConfig,
    acc: &AttentionOffsetAcc,
    heads: &[Head],
    findings: &mut Findings,
) {
    let scale = 1.0 / acc.n_images as f64;
    let (rows, columns) = (2 * acc.grid.h - 1, 2 * acc.grid.w - 1);
    let n_heads = acc.by_block.values().next().map_or(0, |maps| maps.aligned.dim().0);
    let all = acc.by_block.values().flat_map(|maps| maps.aligned.iter());
    findings.arrays.push(Array {
        name: "aligned_maps".into(),
        shape: vec![acc.by_block.len(), n_heads, rows, columns],
        values: all.map(|&mass| (mass * scale) as f32).collect(),
    });
    let mut order: Vec<&Head> = heads.iter().collect();
    order.sort_by(|a, b| b.shape.offset_tokens.total_cmp(&a.shape.offset_tokens));
    let labels = |n: usize| (0..n).map(|at| (at as i64 - (n / 2) as i64).to_string()).collect::<Vec<_>>();
    for Head { block, head, shape } in order.into_iter().take(config.n_shown) {
        let map = acc.by_block[block].aligned.index_axis(Axis(0), *head);
        let data = FigureData::Heatmap {
            row_labels: labels(rows),
            col_labels: labels(columns),
            x_label: "tokens to the right".into(),
            y_label: "tokens down".into(),
            values: map.outer_iter().map(|row| row.iter().map(|mass| mass * scale).collect()).collect(),
            range: None,
            unit: "attention".into(),
        };
        let name = format!("aligned_{block}_{head}");
        let title =
            format!("Where head {head} of block {block} looks from the query ({})", shape.kind().name());
        let caption = "The query lies in the middle, at 0 and 0; light cells are where the head looks from there, mean over \
                       queries and images. Outer cells are in reach of fewer queries and are darker for that alone. What depends on \
                       the image or on the place of the query is averaged away.";
        findings.story.push(Block::Figure(name.clone()));
        findings.figures.push(Figure::new(name, title, caption, data));
    }
}

/// The direction of the offset in words; none for a head without one.
fn direction(shape: &HeadShape) -> Cell {
    if shape.offset_tokens < measure::aligned::OFFSET_TOKENS {
        return Cell::Empty;
    }
    let (x, y) = shape.offset_xy;
    // Eighths of a turn, from the right, clockwise, since y is down.
    let eighth = (y.atan2(x) / std::f64::consts::FRAC_PI_4).round() as i64;
    let words = ["right", "down right", "down", "down left", "left", "up left", "up", "up right"];
    Cell::from(words[eighth.rem_euclid(8) as usize])
}
