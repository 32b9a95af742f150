//! Where does what a token has become come from, when attention of all layers is multiplied up?

use crate::attention_on_host::{needs_attention, needs_images, token_grid};
use burn::tensor::Tensor;
use measure::attention::TokenGrid;
use ndarray::Array1;
use report::{
    Array, Block, Cell, Figure, FigureData, Info, LinePlot, Metric, Recipe, RecipeError, Series, Table,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::{Seen, Site};
use vit_features::{Accumulate, BatchInfo, Findings, Needs, Numbers, Role, Shapes, Study, StudyError, Taken};
use vit_ops::{AttentionGrid, attention_rolled};

/// The options of [`AttentionRollout`]; there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionRolloutConfig {}

impl Recipe for AttentionRolloutConfig {
    fn check(&self) -> Result<(), RecipeError> {
        Ok(())
    }
}

/// Attention rollout: the attention of all layers up to one, residual streams included, multiplied up.
///
/// `R_l = Â_l · R_{l−1}`, `Â = (mean over heads of A + I)` with rows divided by their sums.
///
/// # Source
/// Abnar and Zuidema, Quantifying Attention Flow in Transformers.
pub struct AttentionRollout;

/// Sums over images at one block.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sums {
    /// The row that is shown, over all tokens: `[T]`.
    row: Array1<f64>,
    entropy: f64,
    distance: f64,
}

/// Sums per block, and the rollout of the batch that passes; memory does not grow with the number of images.
#[derive(Serialize, Deserialize)]
pub struct AttentionRolloutAcc {
    grid: TokenGrid,
    has_class: bool,
    /// The blocks that are told.
    blocks: Vec<usize>,
    n_images: usize,
    by_block: BTreeMap<usize, Sums>,
    /// `[B, T, T]` up to the last block seen.
    #[serde(skip)]
    so_far: Option<Tensor<3>>,
}

impl Accumulate for AttentionRolloutAcc {
    fn see(&mut self, site: Site, seen: &Seen, info: &BatchInfo) -> Result<(), StudyError> {
        let (Site::AttentionMean(block), Role::Test) = (site, info.role) else {
            return Ok(());
        };
        let mean = seen.clone().heads();
        let [b, _, t, _] = mean.dims();
        let mean = mean.reshape([b, t, t]);
        let TokenGrid { n_prefix, h, w } = self.grid;
        let grid = AttentionGrid { n_prefix, rows: h, columns: w };
        let (rolled, found) = attention_rolled(mean, self.so_far.take(), grid);
        if self.blocks.contains(&block) {
            let row = match self.has_class {
                true => rolled.clone().slice([0..b, 0..1, 0..t]),
                false => rolled.clone().slice([0..b, n_prefix..t, 0..t]).mean_dim(1),
            };
            let sums = self.by_block.entry(block).or_insert_with(|| Sums {
                row: Array1::zeros(t),
                entropy: 0.0,
                distance: 0.0,
            });
            // Entropy, share of the first token, distance on the unit square and in patches.
            for numbers in Numbers::of(Seen::Tokens(found)).values.chunks_exact(4) {
                sums.entropy += f64::from(numbers[0]);
                sums.distance += f64::from(numbers[2]);
            }
            for row in Numbers::of(Seen::Tokens(row)).values.chunks_exact(t) {
                sums.row.iter_mut().zip(row).for_each(|(sum, &share)| *sum += f64::from(share));
            }
        }
        self.so_far = Some(rolled);
        Ok(())
    }

    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        self.so_far = None;
        if taken.info.role == Role::Test {
            self.n_images += taken.info.labels.len();
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.n_images += later.n_images;
        for (block, sums) in later.by_block {
            match self.by_block.get_mut(&block) {
                Some(ours) => {
                    ours.row += &sums.row;
                    ours.entropy += sums.entropy;
                    ours.distance += sums.distance;
                }
                None => drop(self.by_block.insert(block, sums)),
            }
        }
    }
}

impl Study for AttentionRollout {
    const INFO: Info = Info {
        name: "attention-rollout",
        line: "where a token's content comes from when the attention of all layers is multiplied up",
        source: "Abnar and Zuidema 2020",
    };
    type Config = AttentionRolloutConfig;
    type Acc = AttentionRolloutAcc;

    fn needs(_: &AttentionRolloutConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        needs_attention(Self::INFO.name, shapes)?;
        // The product runs from the first block, whichever are told.
        let last = shapes.blocks.iter().max().copied().unwrap_or(0);
        Ok(Needs { sites: (0..=last).map(Site::AttentionMean).collect(), ..Needs::default() })
    }

    fn open(_: &AttentionRolloutConfig, shapes: &Shapes) -> AttentionRolloutAcc {
        AttentionRolloutAcc {
            grid: token_grid(shapes),
            has_class: shapes.has_class,
            blocks: shapes.blocks.clone(),
            n_images: 0,
            by_block: BTreeMap::new(),
            so_far: None,
        }
    }

    fn finish(
        _: &AttentionRolloutConfig,
        _: &Shapes,
        acc: AttentionRolloutAcc,
    ) -> Result<Findings, StudyError> {
        needs_images(Self::INFO.name, acc.n_images)?;
        Ok(findings(&acc))
    }
}

fn findings(acc: &AttentionRolloutAcc) -> Findings {
    let (n, grid) = (acc.n_images as f64, acc.grid);
    let whose = if acc.has_class { "the class token" } else { "the mean patch" };
    let mut findings = Findings::default();
    let columns = ["layer", "entropy (nats)", "distance (unit square)", "share of patches"];
    let mut table = Table::new("by_layer", "Every layer", columns);
    let (mut maps, mut curve) = (Vec::new(), Vec::new());
    for (&block, sums) in &acc.by_block {
        let row = &sums.row / n;
        let patches: f64 = row.iter().skip(grid.n_prefix).sum();
        let (entropy, distance) = (sums.entropy / n, sums.distance / n);
        for (name, value, unit) in [
            ("rollout_entropy_nats", entropy, "nats"),
            ("rollout_distance_unit_square", distance, "unit square"),
            ("rollout_patch_share", patches, "ratio"),
        ] {
            findings.metrics.push(Metric::new(name, value, unit).layer(block));
        }
        table.push([
            Cell::from(block as i64),
            Cell::from(entropy),
            Cell::from(distance),
            Cell::from(patches),
        ]);
        maps.extend(row.iter().map(|&share| share as f32));
        curve.push((block as f64, distance));
    }
    findings.arrays.push(Array {
        name: "rollout".into(),
        shape: vec![acc.by_block.len(), grid.n_tokens()],
        values: maps,
    });
    if let Some((block, sums)) = acc.by_block.last_key_value() {
        let patches: Vec<f64> = sums.row.iter().skip(grid.n_prefix).map(|share| share / n).collect();
        let data = FigureData::Heatmap {
            row_labels: Vec::new(),
            col_labels: Vec::new(),
            x_label: "column".into(),
            y_label: "row".into(),
            values: patches.chunks(grid.w).map(<[f64]>::to_vec).collect(),
            range: None,
            unit: "share".into(),
        };
        let caption = format!(
            "From which patches {whose} is made after block {block}, mean over images: light patches have most part in it. A mean \
             over images shows what is the same for all of them, such as a preference for the middle, and not where single \
             images are looked at; values and MLPs take no part in it."
        );
        add(&mut findings, "rollout", "Where content comes from", caption, data);
    }
    let plot = LinePlot {
        x_label: "block".into(),
        y_label: "distance (unit square)".into(),
        series: vec![Series::new("rollout of patches", curve)],
        reference_lines: vec![(
            "equal everywhere".into(),
            measure::attention::uniform_distance_unit_square(grid),
        )],
    };
    let caption = "How far away a patch's content comes from, up to each block. It rises with depth, since what was brought near by \
                   lower layers is carried on. Rollout counts streams and attention alike and knows nothing of values or MLPs.";
    let title = "How far content has come";
    add(&mut findings, "rollout_distance_by_depth", title, caption.into(), FigureData::Line(plot));
    findings.story.push(Block::Table("by_layer".into()));
    findings.tables.push(table.note(format!(
        "Means over {} images; the share of patches is that of {whose}, the rest is what prefix tokens gave.",
        acc.n_images
    )));
    findings
}

fn add(findings: &mut Findings, name: &str, title: &str, caption: String, data: FigureData) {
    findings.story.push(Block::Figure(name.into()));
    findings.figures.push(Figure::new(name, title, caption, data));
}
