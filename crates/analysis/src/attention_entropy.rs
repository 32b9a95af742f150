//! How broadly does each head look, and does it look alike from everywhere?

use crate::attention_on_host::{Rows, by_head, needs_attention, needs_images, token_grid};
use measure::attention::TokenGrid;
use report::{
    Array, Block, Cell, Figure, FigureData, Info, LinePlot, Metric, Recipe, RecipeError, ScatterPlot, Series,
    Table,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use vit_core::Site;
use vit_features::{Accumulate, BatchInfo, Findings, Needs, Numbers, Role, Shapes, Study, StudyError, Taken};
use vit_ops::AttentionRow;

/// Which column is read for the share on the class token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compat {
    /// The class token's.
    #[default]
    None,
    /// The column after it: so in the released code of Walmer et al., where it is the first patch, in the left upper corner.
    VitAnalysis,
}

/// The options of [`AttentionEntropy`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionEntropyConfig {
    /// `none`, or `vit-analysis`: `cls_share` as in the released code, of the column after the class token's.
    pub compat: Compat,
}

impl Recipe for AttentionEntropyConfig {
    fn check(&self) -> Result<(), RecipeError> {
        Ok(())
    }
}

/// How broadly each head looks: the entropy of its rows, the shares that go to class token, registers and patches, and how
/// much rows differ from query to query and from head to head.
///
/// `entropy = mean_i (−Σ_j A[i, j] ln A[i, j])` over all rows; shares are those of patch queries; deviations are over patches
/// alone, raw rows.
///
/// # Source
/// Walmer et al., Teaching Matters (shares, deviations). *Differs*: their released code reads the first patch's column for
/// the class token's; [`Compat::VitAnalysis`] does so too.
pub struct AttentionEntropy;

/// Sums over images of what one head does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sums {
    entropy: f64,
    entropy_squared: f64,
    cls_share: f64,
    register_share: f64,
    position_deviation: f64,
}

/// Sums per block and head, and per block; memory does not grow with the number of images.
#[derive(Serialize, Deserialize)]
pub struct AttentionEntropyAcc {
    grid: TokenGrid,
    n_class: usize,
    /// The column that stands for the class token.
    class_column: usize,
    n_images: usize,
    by_head: BTreeMap<usize, Vec<Sums>>,
    head_deviation: BTreeMap<usize, f64>,
}

impl AttentionEntropyAcc {
    fn sums(&mut self, block: usize, heads: usize) -> &mut Vec<Sums> {
        self.by_head.entry(block).or_insert_with(|| vec![Sums::default(); heads])
    }

    /// Entropies of every head, the first of its numbers.
    fn add_entropies(&mut self, block: usize, seen: &Numbers) -> Result<(), StudyError> {
        let numbers = by_head(AttentionEntropy::INFO.name, seen)?;
        let (b, heads, _, _) = numbers.dim();
        let sums = self.sums(block, heads);
        for image in 0..b {
            for (head, sum) in sums.iter_mut().enumerate() {
                let entropy = f64::from(numbers[[image, head, 0, 0]]);
                sum.entropy += entropy;
                sum.entropy_squared += entropy * entropy;
            }
        }
        Ok(())
    }

    /// What patches give to prefix tokens, and how far their rows are apart.
    fn add_rows(&mut self, block: usize, seen: &Numbers) -> Result<(), StudyError> {
        let rows = Rows::of(AttentionEntropy::INFO.name, seen)?;
        let (grid, class, n_class) = (self.grid, self.class_column, self.n_class);
        let (b, heads) = rows.dim();
        let sums = self.sums(block, heads);
        for image in 0..b {
            for (head, sum) in sums.iter_mut().enumerate() {
                let mean = rows.get(image, head, AttentionRow::Patches);
                let share = |keys: Range<usize>| keys.map(|key| f64::from(mean[key])).sum::<f64>();
                sum.cls_share += share(class..class + n_class);
                sum.register_share += share(n_class..grid.n_prefix);
                let deviations = rows.patches(image, head, AttentionRow::Deviation, grid);
                let deviation: f64 = deviations.iter().map(|&x| f64::from(x)).sum();
                sum.position_deviation += deviation / grid.n_patches() as f64;
            }
        }
        Ok(())
    }
}

impl Accumulate for AttentionEntropyAcc {
    fn see_numbers(&mut self, site: Site, seen: &Numbers, info: &BatchInfo) -> Result<(), StudyError> {
        match (site, info.role) {
            (Site::AttentionStatistics(block), Role::Test) => self.add_entropies(block, seen),
            (Site::AttentionRows(block), Role::Test) => self.add_rows(block, seen),
            (Site::AttentionSpread(block), Role::Test) => {
                let over_heads = self.head_deviation.entry(block).or_default();
                seen.values.iter().for_each(|&spread| *over_heads += f64::from(spread));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role == Role::Test {
            self.n_images += taken.info.labels.len();
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.n_images += later.n_images;
        for (block, sums) in later.by_head {
            let ours = self.by_head.entry(block).or_insert_with(|| vec![Sums::default(); sums.len()]);
            for (ours, later) in ours.iter_mut().zip(sums) {
                ours.entropy += later.entropy;
                ours.entropy_squared += later.entropy_squared;
                ours.cls_share += later.cls_share;
                ours.register_share += later.register_share;
                ours.position_deviation += later.position_deviation;
            }
        }
        for (block, deviation) in later.head_deviation {
            *self.head_deviation.entry(block).or_default() += deviation;
        }
    }
}

impl Study for AttentionEntropy {
    const INFO: Info = Info {
        name: "attention-entropy",
        line: "how broadly each head looks: entropy, shares of class token and registers, deviations over positions and heads",
        source: "Walmer et al. 2023 (Teaching Matters)",
    };
    type Config = AttentionEntropyConfig;
    type Acc = AttentionEntropyAcc;

    fn needs(_: &AttentionEntropyConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        needs_attention(Self::INFO.name, shapes)?;
        let sites = [Site::AttentionStatistics, Site::AttentionRows, Site::AttentionSpread];
        let of_block = |&block: &usize| sites.map(|site| site(block));
        let numbers = shapes.blocks.iter().flat_map(of_block).collect();
        Ok(Needs { numbers, ..Needs::default() })
    }

    fn open(config: &AttentionEntropyConfig, shapes: &Shapes) -> AttentionEntropyAcc {
        AttentionEntropyAcc {
            grid: token_grid(shapes),
            n_class: usize::from(shapes.has_class),
            class_column: usize::from(config.compat == Compat::VitAnalysis),
            n_images: 0,
            by_head: BTreeMap::new(),
            head_deviation: BTreeMap::new(),
        }
    }

    fn finish(
        _: &AttentionEntropyConfig,
        _: &Shapes,
        acc: AttentionEntropyAcc,
    ) -> Result<Findings, StudyError> {
        needs_images(Self::INFO.name, acc.n_images)?;
        Ok(findings(&acc))
    }
}

fn findings(acc: &AttentionEntropyAcc) -> Findings {
    let n = acc.n_images as f64;
    let most = (acc.grid.n_tokens() as f64).ln();
    let (has_class, has_registers) = (acc.n_class > 0, acc.grid.n_prefix > acc.n_class);
    let mut findings = Findings::default();
    let mut table = Table::new(
        "by_head",
        "Every head",
        [
            "layer",
            "head",
            "entropy (nats)",
            "standard error",
            "share of the greatest entropy",
            "share on class token",
            "share on registers",
            "deviation over positions",
        ],
    );
    let (mut dots, mut entropies, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for (&block, heads) in &acc.by_head {
        let mut layer_share = 0.0;
        for (head, sums) in heads.iter().enumerate() {
            let entropy = sums.entropy / n;
            let spread = (sums.entropy_squared / n - entropy * entropy).max(0.0);
            let error = (spread / (n - 1.0).max(1.0)).sqrt();
            let mut numbers = vec![
                ("entropy_nats", entropy, "nats"),
                ("entropy_ratio", entropy / most, "ratio"),
                ("position_deviation", sums.position_deviation / n, "attention"),
            ];
            if has_class {
                numbers.push(("cls_share", sums.cls_share / n, "ratio"));
            }
            if has_registers {
                numbers.push(("register_share", sums.register_share / n, "ratio"));
            }
            for (name, value, unit) in numbers {
                findings.metrics.push(Metric::new(name, value, unit).layer(block).head(head));
            }
            let where_there = |there: bool, sum: f64| if there { Cell::from(sum / n) } else { Cell::Empty };
            table.push([
                Cell::from(block as i64),
                Cell::from(head as i64),
                Cell::from(entropy),
                Cell::from(error),
                Cell::from(entropy / most),
                where_there(has_class, sums.cls_share),
                where_there(has_registers, sums.register_share),
                Cell::from(sums.position_deviation / n),
            ]);
            dots.push((block as f64, entropy));
            entropies.push(entropy as f32);
            layer_share += sums.cls_share / n / heads.len() as f64;
        }
        shares.push((block as f64, layer_share));
        let deviation = acc.head_deviation.get(&block).copied().unwrap_or(0.0) / n;
        findings.metrics.push(Metric::new("head_deviation", deviation, "attention").layer(block));
    }
    let uniform_share = acc.n_class as f64 / acc.grid.n_tokens() as f64;
    findings.metrics.push(Metric::new("uniform.entropy_nats", most, "nats"));
    findings.tables.push(table.note(format!(
        "Means over {} images. Attention that is equal everywhere has an entropy of {most:.4} nats and gives {:.4} to each \
         token; its deviations are 0.",
        acc.n_images,
        1.0 / acc.grid.n_tokens() as f64
    )));
    let n_heads = acc.by_head.values().next().map_or(0, Vec::len);
    let shape = vec![acc.by_head.len(), n_heads];
    findings.arrays.push(Array { name: "entropy_nats".into(), shape, values: entropies });
    let caption = format!(
        "One dot a head: dots near {most:.2} look everywhere alike, low dots at few tokens. Entropy does not say whether \
         those few are near or far, or the same for every query."
    );
    let plot = ScatterPlot {
        x_label: "block".into(),
        y_label: "entropy (nats)".into(),
        series: vec![Series::new("heads", dots)],
    };
    add(
        &mut findings,
        "entropy_by_depth",
        "Entropy of every head, by depth",
        caption,
        FigureData::Scatter(plot),
    );
    if has_class {
        let plot = LinePlot {
            x_label: "block".into(),
            y_label: "share of attention".into(),
            series: vec![Series::new("class token", shares)],
            reference_lines: vec![("equal everywhere".into(), uniform_share)],
        };
        let caption = "The share of the patches' attention that goes to the class token, mean over heads. A high share may \
                       mean that the token is read, or that it is where attention goes when it has nothing to do.";
        let title = "What patches give to the class token";
        add(&mut findings, "cls_share_by_depth", title, caption.into(), FigureData::Line(plot));
    }
    findings.story.push(Block::Table("by_head".into()));
    findings
}

fn add(findings: &mut Findings, name: &str, title: &str, caption: String, data: FigureData) {
    findings.story.push(Block::Figure(name.into()));
    findings.figures.push(Figure::new(name, title, caption, data));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_released_code_reads_the_first_patch_for_the_class_token() {
        let shapes = Shapes {
            n_heads: Some(1),
            n_prefix: 1,
            has_class: true,
            grid: vit_core::Grid { rows: 1, columns: 2 },
            ..Shapes::of_pixels(4)
        };
        for (compat, expected) in [(Compat::None, 0.375), (Compat::VitAnalysis, 0.4375)] {
            let mut acc = AttentionEntropy::open(&AttentionEntropyConfig { compat }, &shapes);
            // Of the patches (.5, .25, .25) and (.25, .625, .125) the mean; the other rows do not matter here.
            let mut rows = vec![0.0f32; AttentionRow::N * 3];
            rows[AttentionRow::Patches as usize * 3..][..3].copy_from_slice(&[0.375, 0.4375, 0.1875]);
            let told = Numbers { shape: vec![1, 1, AttentionRow::N, 3], values: Arc::new(rows) };
            let info = BatchInfo {
                model: 0,
                role: Role::Test,
                first: 0,
                labels: &[None],
                indices: &[0],
                truths: &[],
                boxes: &[],
            };
            acc.see_numbers(Site::AttentionRows(0), &told, &info).expect("floats");
            assert_eq!(acc.by_head[&0][0].cls_share, expected, "{compat:?}");
        }
    }
}
