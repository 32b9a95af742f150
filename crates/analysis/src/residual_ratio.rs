//! What weighs more in a block's output: what came in, or what the block adds?

use crate::attention_on_host::needs_images;
use burn::tensor::Tensor;
use report::{
    Array, Block, Cell, Figure, FigureData, Info, LinePlot, Metric, Recipe, RecipeError, Series, Table,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use vit_core::{Seen, Site};
use vit_features::{Accumulate, BatchInfo, Findings, Needs, Numbers, Role, Shapes, Study, StudyError, Taken};

/// The options of [`ResidualRatio`]; there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResidualRatioConfig {}

impl Recipe for ResidualRatioConfig {
    fn check(&self) -> Result<(), RecipeError> {
        Ok(())
    }
}

/// The greatest ratio that is told: above it the branch is within the rounding of what it is added to.
const GREATEST: f64 = 1e6;

/// How long the stream that enters a residual addition is, beside what is added to it.
///
/// `r = ‖z‖ / ‖f(z)‖` for each token, mean over images; `z` enters the addition, `f(z)` is what it adds (after LayerScale), for the
/// attention and the MLP of every block. At most 1,000,000.
///
/// # Source
/// Raghu et al., Do Vision Transformers See Like Convolutional Neural Networks?
pub struct ResidualRatio;

/// One of the two residual additions of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Branch {
    Attention,
    Mlp,
}

impl Branch {
    fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Mlp => "mlp",
        }
    }
}

/// Sums of the ratio per residual addition and token; memory does not grow with the number of images.
#[derive(Serialize, Deserialize)]
pub struct ResidualRatioAcc {
    n_images: usize,
    /// Σ over images of each token's ratio.
    sums: BTreeMap<(usize, Branch), Vec<f64>>,
    /// The stream as it was last seen in this batch, `[B, T, D]`.
    #[serde(skip)]
    stream: Option<(Site, Tensor<3>)>,
}

/// What enters a block.
fn input_of(block: usize) -> Site {
    block.checked_sub(1).map_or(Site::Embed, Site::Block)
}

impl ResidualRatioAcc {
    /// Adds the ratios of a branch that made `after` of `before`.
    fn add(&mut self, at: (usize, Branch), before: Tensor<3>, after: Tensor<3>) {
        let t = after.dims()[1];
        let sums = self.sums.entry(at).or_insert_with(|| vec![0.0; t]);
        let lengths = Numbers::of(Seen::Tokens(vit_ops::lengths(before, after)));
        for (place, both) in lengths.values.chunks_exact(2).enumerate() {
            let (skip, added) = (f64::from(both[0]), f64::from(both[1]));
            sums[place % t] +=
                if skip <= GREATEST * added { skip / added.max(f64::MIN_POSITIVE) } else { GREATEST };
        }
    }
}

impl Accumulate for ResidualRatioAcc {
    fn see(&mut self, site: Site, seen: &Seen, info: &BatchInfo) -> Result<(), StudyError> {
        let (Seen::Tokens(seen), Role::Test) = (seen, info.role) else { return Ok(()) };
        let branch = match (site, &self.stream) {
            (Site::Mid(block), Some((from, _))) if *from == input_of(block) => {
                Some((block, Branch::Attention))
            }
            (Site::Block(block), Some((from, _))) if *from == Site::Mid(block) => Some((block, Branch::Mlp)),
            _ => None,
        };
        if let (Some(at), Some((_, before))) = (branch, self.stream.take()) {
            self.add(at, before, seen.clone());
        }
        self.stream = Some((site, seen.clone()));
        Ok(())
    }

    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        self.stream = None;
        if taken.info.role == Role::Test {
            self.n_images += taken.info.labels.len();
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.n_images += later.n_images;
        for (at, sums) in later.sums {
            let ours = self.sums.entry(at).or_insert_with(|| vec![0.0; sums.len()]);
            ours.iter_mut().zip(sums).for_each(|(ours, later)| *ours += later);
        }
    }
}

impl Study for ResidualRatio {
    const INFO: Info = Info {
        name: "residual-ratio",
        line: "how long the residual stream is beside what each attention and MLP adds to it, by token",
        source: "Raghu et al. 2021",
    };
    type Config = ResidualRatioConfig;
    type Acc = ResidualRatioAcc;

    fn needs(_: &ResidualRatioConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        if shapes.n_heads.is_none() {
            return Err(StudyError::Model {
                study: Self::INFO.name.into(),
                needs: "blocks of an attention and an MLP".into(),
                found: "an encoder without attention".into(),
                model: shapes.model.clone(),
            });
        }
        let mut sites: Vec<Site> = shapes
            .blocks
            .iter()
            .flat_map(|&block| [input_of(block), Site::Mid(block), Site::Block(block)])
            .collect();
        sites.sort_unstable();
        sites.dedup();
        Ok(Needs { sites, ..Needs::default() })
    }

    fn open(_: &ResidualRatioConfig, _: &Shapes) -> ResidualRatioAcc {
        ResidualRatioAcc { n_images: 0, sums: BTreeMap::new(), stream: None }
    }

    fn finish(
        _: &ResidualRatioConfig,
        shapes: &Shapes,
        acc: ResidualRatioAcc,
    ) -> Result<Findings, StudyError> {
        needs_images(Self::INFO.name, acc.n_images)?;
        Ok(findings(shapes, &acc))
    }
}

/// Tokens of a kind, by their places.
fn kinds(shapes: &Shapes, n_tokens: usize) -> Vec<(&'static str, Range<usize>)> {
    let n_class = usize::from(shapes.has_class);
    let kinds = [
        ("cls", 0..n_class),
        ("registers", n_class..shapes.n_prefix),
        ("patches", shapes.n_prefix..n_tokens),
    ];
    kinds.into_iter().filter(|(_, places)| !places.is_empty()).collect()
}

fn findings(shapes: &Shapes, acc: &ResidualRatioAcc) -> Findings {
    let n = acc.n_images as f64;
    let n_tokens = acc.sums.values().next().map_or(0, Vec::len);
    let kinds = kinds(shapes, n_tokens);
    let mut findings = Findings::default();
    let columns = ["layer", "branch"].into_iter().chain(kinds.iter().map(|(kind, _)| *kind));
    let mut table = Table::new("by_branch", "Every residual addition", columns);
    let mut lines: Vec<Vec<(f64, f64)>> = vec![Vec::new(); kinds.len()];
    let (mut labels, mut rows) = (Vec::new(), Vec::new());
    for (&(block, branch), sums) in &acc.sums {
        let means: Vec<f64> = sums.iter().map(|sum| sum / n).collect();
        let mut row = vec![Cell::from(block as i64), Cell::from(branch.name())];
        for ((kind, places), line) in kinds.iter().zip(&mut lines) {
            let mean = means[places.clone()].iter().sum::<f64>() / places.len() as f64;
            let metric = Metric::new("residual_ratio", mean, "ratio").layer(block);
            findings.metrics.push(metric.param("branch", branch.name()).param("tokens", *kind));
            line.push((block as f64 + if branch == Branch::Mlp { 0.5 } else { 0.0 }, mean));
            row.push(Cell::from(mean));
        }
        table.push(row);
        labels.push(format!("{block} {}", branch.name()));
        rows.push(means);
    }
    let values = rows.iter().flatten().map(|&ratio| ratio as f32).collect();
    findings.arrays.push(Array { name: "residual_ratio".into(), shape: vec![rows.len(), n_tokens], values });
    let plot = LinePlot {
        x_label: "block (the MLP half a block after the attention)".into(),
        y_label: "‖stream‖ / ‖branch‖".into(),
        series: kinds.iter().zip(lines).map(|((kind, _), line)| Series::new(*kind, line)).collect(),
        reference_lines: vec![("as long as one another".into(), 1.0)],
    };
    let reading =
        "Above 1 the stream passes nearly as it is; near or below 1 the branch makes the token anew.";
    add(
        &mut findings,
        "residual_ratio_by_depth",
        "What passes beside what is added, by depth",
        format!(
            "{reading} Length says nothing of direction: a short branch may still turn what is read from the stream."
        ),
        FigureData::Line(plot),
    );
    add(
        &mut findings,
        "residual_ratio",
        "What passes beside what is added, by token",
        format!(
            "Columns are tokens, the prefix first, then patches row by row; rows are residual additions in order. {reading} \
             Nothing is said of direction, and what differs from image to image is averaged away."
        ),
        FigureData::Heatmap {
            row_labels: labels,
            col_labels: Vec::new(),
            x_label: "token".into(),
            y_label: "block and branch".into(),
            values: rows,
            range: None,
            unit: "ratio".into(),
        },
    );
    findings.story.push(Block::Table("by_branch".into()));
    findings.tables.push(table.note(format!(
        "‖stream‖ / ‖branch‖ of each token, mean over tokens of a kind and {} images; at most {GREATEST:e}.",
        acc.n_images
    )));
    findings
}

fn add(findings: &mut Findings, name: &str, title: &str, caption: String, data: FigureData) {
    findings.story.push(Block::Figure(name.into()));
    findings.figures.push(Figure::new(name, title, caption, data));
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn ratios_of_two_tokens_by_hand() {
        let device = vit_ops::cpu_device();
        let seen =
            |values: [f32; 4]| Seen::Tokens(Tensor::<1>::from_floats(values, &device).reshape([1, 2, 2]));
        let info = BatchInfo {
            model: 0,
            role: Role::Test,
            first: 0,
            labels: &[None],
            indices: &[0],
            truths: &[],
            boxes: &[],
        };
        let mut acc = ResidualRatioAcc { n_images: 0, sums: BTreeMap::new(), stream: None };
        // The attention adds (0, 5) to (3, 4) and (.5, 0) to (1, 0): 5 / 5 and 1 / .5.
        acc.see(Site::Embed, &seen([3.0, 4.0, 1.0, 0.0]), &info).expect("floats");
        acc.see(Site::Mid(0), &seen([3.0, 9.0, 1.5, 0.0]), &info).expect("floats");
        // The MLP adds (−3, 0) to (3, 9) and nothing to (1.5, 0): √90 / 3 and the greatest.
        acc.see(Site::Block(0), &seen([0.0, 9.0, 1.5, 0.0]), &info).expect("floats");
        assert_eq!(acc.sums[&(0, Branch::Attention)], [1.0, 2.0]);
        let of_mlp = &acc.sums[&(0, Branch::Mlp)];
        assert!((of_mlp[0] - 90f64.sqrt() / 3.0).abs() < 1e-6 && of_mlp[1] == GREATEST, "{of_mlp:?}");
        // The next block without its input says nothing.
        acc.see(Site::Mid(2), &seen([1.0; 4]), &info).expect("floats");
        assert_eq!(acc.sums.len(), 2);
    }
}
