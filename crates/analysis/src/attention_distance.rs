//! How far does each head look, on average?

use crate::attention_on_host::{by_head, needs_attention, needs_images, token_grid};
use measure::attention::{TokenGrid, uniform_distance_px, uniform_distance_unit_square};
use report::{
    Array, Block, Cell, Figure, FigureData, Info, Metric, Recipe, RecipeError, ScatterPlot, Series, Table,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::Site;
use vit_features::{Accumulate, BatchInfo, Findings, Needs, Numbers, Role, Shapes, Study, StudyError, Taken};

/// The options of [`AttentionDistance`]; there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionDistanceConfig {}

impl Recipe for AttentionDistanceConfig {
    fn check(&self) -> Result<(), RecipeError> {
        Ok(())
    }
}

/// The mean distance between a patch and where it looks, per head, with the entropy of attention and the share that
/// goes to the class token.
///
/// `mean over images and queries q of Σ_k A'[q, k]·‖xy_q − xy_k‖`, where prefix tokens are dropped from rows and
/// columns and rows renormalized to `A'`; positions on the unit square, or in pixels.
///
/// # Source
/// Walmer et al., Teaching Matters (unit square); Raghu et al., Do Vision Transformers See Like CNNs? (pixels).
pub struct AttentionDistance;

/// Sums over images of what one head does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sums {
    unit_square: f64,
    unit_square_squared: f64,
    px: f64,
    entropy: f64,
    cls_share: f64,
}

/// Sums per block and head; memory does not grow with the number of images.
#[derive(Serialize, Deserialize)]
pub struct AttentionDistanceAcc {
    grid: TokenGrid,
    has_class: bool,
    patch_px: f64,
    n_images: usize,
    by_block: BTreeMap<usize, Vec<Sums>>,
}

impl Accumulate for AttentionDistanceAcc {
    fn see_numbers(&mut self, site: Site, seen: &Numbers, info: &BatchInfo) -> Result<(), StudyError> {
        let (Site::AttentionStatistics(block), Role::Test) = (site, info.role) else {
            return Ok(());
        };
        let values = by_head(AttentionDistance::INFO.name, seen)?;
        let (b, heads, _, _) = values.dim();
        // Entropy, share of the first token, distance on the unit square and in patches.
        let unit_in_px = self.patch_px * (self.grid.w.max(2) - 1) as f64;
        let is_square = self.grid.h == self.grid.w;
        let sums = self.by_block.entry(block).or_insert_with(|| vec![Sums::default(); heads]);
        for image in 0..b {
            for (head, sum) in sums.iter_mut().enumerate() {
                let [entropy, first, unit, patches] =
                    [0, 1, 2, 3].map(|number| f64::from(values[[image, head, 0, number]]));
                sum.unit_square += unit;
                sum.unit_square_squared += unit * unit;
                sum.px += if is_square { unit * unit_in_px } else { patches * self.patch_px };
                sum.entropy += entropy;
                sum.cls_share += if self.has_class { first } else { 0.0 };
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
        for (block, sums) in later.by_block {
            let ours = self.by_block.entry(block).or_insert_with(|| vec![Sums::default(); sums.len()]);
            for (ours, later) in ours.iter_mut().zip(sums) {
                ours.unit_square += later.unit_square;
                ours.unit_square_squared += later.unit_square_squared;
                ours.px += later.px;
                ours.entropy += later.entropy;
                ours.cls_share += later.cls_share;
            }
        }
    }
}

impl Study for AttentionDistance {
    const INFO: Info = Info {
        name: "attention-distance",
        line: "how far each head looks on average, with entropy and the share on the class token",
        source: "Walmer et al. 2023 (Teaching Matters); Raghu et al. 2021",
    };
    type Config = AttentionDistanceConfig;
    type Acc = AttentionDistanceAcc;

    fn needs(_: &AttentionDistanceConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let numbers = shapes.blocks.iter().map(|&block| Site::AttentionStatistics(block)).collect();
        needs_attention(Self::INFO.name, shapes)?;
        Ok(Needs { numbers, ..Needs::default() })
    }

    fn open(_: &AttentionDistanceConfig, shapes: &Shapes) -> AttentionDistanceAcc {
        AttentionDistanceAcc {
            grid: token_grid(shapes),
            has_class: shapes.has_class,
            patch_px: shapes.patch_px as f64,
            n_images: 0,
            by_block: BTreeMap::new(),
        }
    }

    fn finish(
        _: &AttentionDistanceConfig,
        shapes: &Shapes,
        acc: AttentionDistanceAcc,
    ) -> Result<Findings, StudyError> {
        needs_images(Self::INFO.name, acc.n_images)?;
        Ok(findings(shapes, &acc))
    }
}

fn findings(shapes: &Shapes, acc: &AttentionDistanceAcc) -> Findings {
    let n = acc.n_images as f64;
    let mut findings = Findings::default();
    let mut table = Table::new(
        "by_head",
        "Every head",
        [
            "layer",
            "head",
            "distance (unit square)",
            "standard error",
            "distance (px)",
            "entropy (nats)",
            "share on class token",
        ],
    );
    let mut points = Vec::new();
    let mut values = Vec::new();
    for (&block, heads) in &acc.by_block {
        let mut layer_mean = 0.0;
        for (head, sums) in heads.iter().enumerate() {
            let unit = sums.unit_square / n;
            let spread = (sums.unit_square_squared / n - unit * unit).max(0.0);
            let error = (spread / (n - 1.0).max(1.0)).sqrt();
            let mut numbers = vec![
                ("distance_unit_square", unit, "unit square"),
                ("distance_px", sums.px / n, "px"),
                ("entropy_nats", sums.entropy / n, "nats"),
            ];
            if acc.has_class {
                numbers.push(("cls_share", sums.cls_share / n, "ratio"));
            }
            for (name, value, metric_unit) in numbers {
                findings.metrics.push(Metric::new(name, value, metric_unit).layer(block).head(head));
            }
            table.push([
                Cell::from(block as i64),
                Cell::from(head as i64),
                Cell::from(unit),
                Cell::from(error),
                Cell::from(sums.px / n),
                Cell::from(sums.entropy / n),
                if acc.has_class { Cell::from(sums.cls_share / n) } else { Cell::Empty },
            ]);
            points.push((block as f64, unit));
            values.push(unit as f32);
            layer_mean += unit / heads.len() as f64;
        }
        findings
            .metrics
            .push(Metric::new("layer.distance_unit_square", layer_mean, "unit square").layer(block));
    }
    let uniform = uniform_distance_unit_square(acc.grid);
    findings.metrics.push(Metric::new("uniform.distance_unit_square", uniform, "unit square"));
    let uniform_px = uniform_distance_px(acc.grid, acc.patch_px);
    findings.metrics.push(Metric::new("uniform.distance_px", uniform_px, "px"));
    findings.tables.push(table.note(format!(
        "Means over {} images. A head that looks everywhere alike has {uniform:.4} ({uniform_px:.1} px) on this grid.",
        acc.n_images
    )));
    let n_heads = shapes.n_heads.unwrap_or(0);
    let shape = vec![acc.by_block.len(), n_heads];
    findings.arrays.push(Array { name: "distance_unit_square".into(), shape, values });
    findings.figures.push(Figure::new(
        "distance_by_depth",
        "Mean attention distance of every head, by depth",
        format!(
            "One dot a head: low dots look near, dots at {uniform:.2} look everywhere alike. The mean says nothing of \
             direction, and a head that looks near and far in turn stands in the middle."
        ),
        FigureData::Scatter(ScatterPlot {
            x_label: "block".into(),
            y_label: "distance (unit square)".into(),
            series: vec![Series::new("heads", points)],
        }),
    ));
    findings.story.push(Block::Figure("distance_by_depth".into()));
    findings.story.push(Block::Table("by_head".into()));
    findings
}
