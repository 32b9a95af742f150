//! What does one skip connection carry: what becomes of the representation when it is cut?

use crate::attention_on_host::needs_images;
use crate::sample_groups::SampleGroups;
use burn::tensor::Tensor;
use measure::cka::{FEWEST_SAMPLES, linear_grams};
use measure::nearest::{l2_normalize_rows, top_k};
use measure::vote::{top1, weighted_votes};
use ndarray::{Array2, ArrayView2};
use report::{
    Array, Block, Cell, Figure, FigureData, Info, LinePlot, Metric, Recipe, RecipeError, Series, Table,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::{Backbone, Cut, NoLook, Pass, Tokens as TokensOfBatch, Vit};
use vit_features::{
    Accumulate, BANK_BYTES, Bank, BatchInfo, Findings, Needs, Part, Place, Role, Select, Shapes, Study,
    StudyError, Taken,
};

/// Which tokens stand for the representation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Of {
    /// The class token.
    Cls,
    /// The mean of the patch tokens.
    #[default]
    Mean,
}

/// The options of [`SkipRemoval`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SkipRemovalConfig {
    /// `mean` of the patches, or `cls`.
    pub tokens: Of,
    /// Neighbors of the vote on the final features; 20 in DINO.
    pub k: usize,
    /// Temperature of the votes' weights; 0.07 in DINO.
    pub temperature: f64,
    /// Samples in a group of the minibatch estimator of CKA, at least 4.
    pub batch: usize,
    /// Features beyond this many MiB are kept in temporary files; changes no number.
    pub memory_mib: usize,
}

impl Default for SkipRemovalConfig {
    fn default() -> Self {
        Self { tokens: Of::Mean, k: 20, temperature: 0.07, batch: 64, memory_mib: BANK_BYTES >> 20 }
    }
}

impl Recipe for SkipRemovalConfig {
    fn check(&self) -> Result<(), RecipeError> {
        for (key, value) in [("k", self.k), ("memory_mib", self.memory_mib)] {
            if value == 0 {
                return Err(RecipeError::value(key, "at least 1", "0"));
            }
        }
        if self.batch < FEWEST_SAMPLES {
            return Err(RecipeError::value("batch", format!("at least {FEWEST_SAMPLES}"), self.batch));
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(RecipeError::value("temperature", "above 0", self.temperature));
        }
        Ok(())
    }
}

/// The effect of cutting one skip connection in a trained model, at every block, around the attention and around the MLP.
///
/// Where it is cut, the block goes on with the branch alone: `x ← f(x)` in place of `x ← x + f(x)`. The layers behind the cut are
/// compared with those of the intact model by CKA, and the final features by a vote of nearest neighbors.
///
/// # Source
/// Raghu et al., Do Vision Transformers See Like Convolutional Neural Networks? *Differs*: they train a model anew without the
/// connection; here the trained one loses it.
pub struct SkipRemoval;

/// `None` is the intact model.
type Variant = Option<Cut>;

/// Sums of HSIC over groups, the group that waits, and the final features of both sides.
///
/// Memory: a group takes `batch · D · 4` bytes for each layer of each variant behind its cut; final features at most
/// `memory_mib`, the rest in temporary files.
#[derive(Serialize, Deserialize)]
pub struct SkipRemovalAcc {
    tokens: Of,
    depth: usize,
    cuts: Vec<Cut>,
    groups: SampleGroups,
    sums: Sums,
    train: BTreeMap<Variant, Bank>,
    test: BTreeMap<Variant, Bank>,
    n_images: usize,
}

/// Sums of HSIC of every column: a layer of a variant.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sums {
    /// For each column, the column of the same layer in the intact model.
    intact: Vec<usize>,
    /// With itself, and with the intact one.
    own: Vec<f64>,
    with_intact: Vec<f64>,
    n_groups: usize,
    n_left_out: usize,
}

impl Sums {
    fn add(&mut self, views: &[ArrayView2<f32>]) {
        let n = views.first().map_or(0, |view| view.nrows());
        if n < FEWEST_SAMPLES {
            self.n_left_out += n;
            return;
        }
        let grams = linear_grams(views);
        for (column, gram) in grams.iter().enumerate() {
            self.own[column] += gram.hsic(gram);
            self.with_intact[column] += gram.hsic(&grams[self.intact[column]]);
        }
        self.n_groups += 1;
    }

    fn merge(&mut self, later: &Self) {
        self.own.iter_mut().zip(&later.own).for_each(|(ours, later)| *ours += later);
        self.with_intact.iter_mut().zip(&later.with_intact).for_each(|(ours, later)| *ours += later);
        self.n_groups += later.n_groups;
        self.n_left_out += later.n_left_out;
    }

    /// CKA of a column with the intact one; 0 where one does not vary.
    fn cka(&self, column: usize) -> f64 {
        let (own, intact) = (self.own[column], self.own[self.intact[column]]);
        if own > 0.0 && intact > 0.0 { self.with_intact[column] / (own.sqrt() * intact.sqrt()) } else { 0.0 }
    }
}

/// The block of a cut.
fn block_of(cut: Cut) -> usize {
    match cut {
        Cut::Attention(block) | Cut::Mlp(block) => block,
    }
}

/// The branch around which it lay.
fn branch_of(cut: Cut) -> &'static str {
    match cut {
        Cut::Attention(_) => "attention",
        Cut::Mlp(_) => "mlp",
    }
}

/// The columns: the intact model's layers, then behind each cut the layers from its block on; of each its block.
fn columns(depth: usize, cuts: &[Cut]) -> Vec<usize> {
    (0..depth).chain(cuts.iter().flat_map(|&cut| block_of(cut)..depth)).collect()
}

/// Under which select final features are kept.
const FINAL: Select = Select { place: Place::At(vit_core::Site::Norm), part: Part::Mean };

impl SkipRemovalAcc {
    /// `[B, D]` of the tokens that are asked.
    fn vectors(&self, tokens: &TokensOfBatch) -> Result<(usize, Vec<f32>), StudyError> {
        let part = match self.tokens {
            Of::Cls => tokens.class(),
            Of::Mean => Some(tokens.mean()),
        };
        let Some(part) = part else {
            return Err(value_error("a class token", "none".into()));
        };
        let width = part.dims()[1];
        let values = part.into_data().convert::<f32>().try_to_vec::<f32>();
        Ok((width, values.map_err(|error| value_error("tokens as f32", format!("{error:?}")))?))
    }

    /// Keeps the final features of a variant.
    fn keep_final(
        &mut self,
        variant: Variant,
        vit: &Vit,
        tokens: TokensOfBatch,
        info: &BatchInfo,
    ) -> Result<(), StudyError> {
        let (width, values) = self.vectors(&vit.norm(tokens, &mut Pass::look(&mut NoLook)))?;
        let side = if info.role == Role::Train { &mut self.train } else { &mut self.test };
        let features = [(FINAL, (vec![values.len() / width, width], values))].into();
        match side.get_mut(&variant) {
            Some(bank) => bank.push(&Taken { info: *info, features: &features }, &[FINAL]),
            None => unreachable!("a bank for every variant"),
        }
    }
}

fn value_error(expected: &str, found: String) -> StudyError {
    StudyError::Value { study: SkipRemoval::INFO.name.into(), expected: expected.into(), found }
}

impl Accumulate for SkipRemovalAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role == Role::Test {
            self.n_images += taken.info.labels.len();
        }
        Ok(())
    }

    fn pass(&mut self, model: &Backbone, views: &Tensor<4>, info: &BatchInfo) -> Result<(), StudyError> {
        let Backbone::Vit(vit) = model else {
            return Err(value_error("a Vision Transformer", model.kind().into()));
        };
        let is_test = info.role == Role::Test;
        // The intact model first; what enters each block is where variants begin.
        let mut entering = vec![vit.embed(views.clone(), &mut Pass::look(&mut NoLook))];
        for block in 0..self.depth {
            let before = entering[block].clone();
            let after = vit.blocks(before, block..block + 1, &mut Pass::look(&mut NoLook));
            if is_test {
                let (_, values) = self.vectors(&after)?;
                self.groups.push(block, &values);
            }
            entering.push(after);
        }
        self.keep_final(None, vit, entering[self.depth].clone(), info)?;
        let mut column = self.depth;
        for cut in self.cuts.clone() {
            let mut tokens = entering[block_of(cut)].clone();
            for block in block_of(cut)..self.depth {
                let cuts = [cut];
                let mut nobody = NoLook;
                let mut pass = Pass { cuts: &cuts, ..Pass::look(&mut nobody) };
                tokens = vit.blocks(tokens, block..block + 1, &mut pass);
                if is_test {
                    let (_, values) = self.vectors(&tokens)?;
                    self.groups.push(column, &values);
                }
                column += 1;
            }
            self.keep_final(Some(cut), vit, tokens, info)?;
        }
        let Self { groups, sums, .. } = self;
        groups.close_full(&mut |views| sums.add(views));
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        let Self { groups, sums, .. } = self;
        groups.merge(later.groups, &mut |views| sums.add(views));
        sums.merge(&later.sums);
        self.n_images += later.n_images;
        for (ours, later) in [(&mut self.train, later.train), (&mut self.test, later.test)] {
            for (variant, bank) in later {
                if let Some(ours) = ours.get_mut(&variant) {
                    ours.append(bank);
                }
            }
        }
    }
}

impl Study for SkipRemoval {
    const INFO: Info = Info {
        name: "skip-removal",
        line: "what each skip connection carries: the representation without it beside the intact one",
        source: "Raghu et al. 2021",
    };
    type Config = SkipRemovalConfig;
    type Acc = SkipRemovalAcc;

    fn needs(config: &SkipRemovalConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let refuse = |needs: &str, found: &str| {
            Err(StudyError::Model {
                study: Self::INFO.name.into(),
                needs: needs.into(),
                found: found.into(),
                model: shapes.model.clone(),
            })
        };
        if shapes.n_heads.is_none() || shapes.blocks.is_empty() {
            return refuse("blocks of an attention and an MLP", "an encoder without them");
        }
        if config.tokens == Of::Cls && !shapes.has_class {
            return refuse("a class token (tokens = \"cls\")", "an encoder without one");
        }
        Ok(Needs { passes: true, train: true, labels: true, ..Needs::default() })
    }

    fn small() -> SkipRemovalConfig {
        // Halves of 24 samples end at the border of a group.
        SkipRemovalConfig { k: 5, batch: 12, ..SkipRemovalConfig::default() }
    }

    fn border(config: &SkipRemovalConfig) -> usize {
        config.batch
    }

    fn open(config: &SkipRemovalConfig, shapes: &Shapes) -> SkipRemovalAcc {
        let cuts: Vec<Cut> =
            shapes.blocks.iter().flat_map(|&block| [Cut::Attention(block), Cut::Mlp(block)]).collect();
        let columns = columns(shapes.depth, &cuts);
        let variants = || std::iter::once(None).chain(cuts.iter().copied().map(Some));
        let memory_bytes = config.memory_mib.saturating_mul(1 << 20) / (2 * (1 + cuts.len()));
        let banks =
            || variants().map(|variant| (variant, Bank::new(Self::INFO.name, memory_bytes))).collect();
        SkipRemovalAcc {
            tokens: config.tokens,
            depth: shapes.depth,
            groups: SampleGroups::new(config.batch, std::iter::repeat_n(shapes.width, columns.len())),
            sums: Sums {
                own: vec![0.0; columns.len()],
                with_intact: vec![0.0; columns.len()],
                // The intact layers come first, in order.
                intact: columns,
                n_groups: 0,
                n_left_out: 0,
            },
            train: banks(),
            test: banks(),
            cuts,
            n_images: 0,
        }
    }

    fn finish(
        config: &SkipRemovalConfig,
        shapes: &Shapes,
        mut acc: SkipRemovalAcc,
    ) -> Result<Findings, StudyError> {
        needs_images(Self::INFO.name, acc.n_images)?;
        let SkipRemovalAcc { groups, sums, .. } = &mut acc;
        groups.close_rest(&mut |views| sums.add(views));
        if acc.sums.n_groups == 0 {
            return Err(value_error("at least 4 images", acc.n_images.to_string()));
        }
        let intact = accuracy(config, shapes, &acc, None)?;
        let mut effects = Vec::new();
        let mut column = acc.depth;
        for &cut in &acc.cuts {
            let block = block_of(cut);
            let behind = (column..column + acc.depth - block).map(|column| acc.sums.cka(column)).collect();
            column += acc.depth - block;
            let top1 = accuracy(config, shapes, &acc, Some(cut))?;
            effects.push(Effect { cut, behind, top1 });
        }
        Ok(findings(config, &acc, intact, &effects))
    }
}

/// What a cut does.
struct Effect {
    cut: Cut,
    /// CKA with the intact model at each layer from the cut's block on.
    behind: Vec<f64>,
    top1: f64,
}

/// The accuracy of the vote of nearest neighbors on the final features of a variant.
fn accuracy(
    config: &SkipRemovalConfig,
    shapes: &Shapes,
    acc: &SkipRemovalAcc,
    variant: Variant,
) -> Result<f64, StudyError> {
    let (train, test) = (&acc.train[&variant], &acc.test[&variant]);
    let matrix = |bank: &Bank| -> Result<Array2<f32>, StudyError> {
        let (width, values) = bank.features(FINAL)?;
        let rows = ArrayView2::from_shape((bank.len(), width), &values)
            .map_err(|error| value_error("as many features as labels", error.to_string()))?;
        Ok(l2_normalize_rows(rows))
    };
    if train.is_empty() {
        return Err(value_error("samples to learn from", "none".into()));
    }
    let k = config.k.min(train.len());
    let most = train.labels().iter().chain(test.labels()).max().map_or(0, |&class| class as usize + 1);
    let top = top_k(matrix(test)?.view(), matrix(train)?.view(), k);
    let n_classes = shapes.n_classes.max(most);
    let votes = weighted_votes(&top, train.labels(), n_classes, &[k], &[config.temperature]);
    Ok(top1(&votes[0].predicted(), test.labels()))
}

fn findings(config: &SkipRemovalConfig, acc: &SkipRemovalAcc, intact: f64, effects: &[Effect]) -> Findings {
    let mut findings = Findings::default();
    findings.metrics.push(Metric::new("intact.top1", intact, "ratio"));
    let columns =
        ["layer", "cut around", "CKA at the last block", "kNN top-1 of the final features", "change"];
    let mut table = Table::new("by_cut", "Every skip connection", columns);
    let mut curves: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    let (mut labels, mut rows) = (Vec::new(), Vec::new());
    for Effect { cut, behind, top1 } in effects {
        let (block, branch) = (block_of(*cut), branch_of(*cut));
        let last = behind.last().copied().unwrap_or(0.0);
        for (name, value) in [("last.cka", last), ("top1", *top1), ("top1_change", top1 - intact)] {
            let metric = Metric::new(name, value, "ratio").layer(block);
            findings.metrics.push(metric.param("cut", branch));
        }
        table.push([
            Cell::from(block),
            Cell::from(branch),
            Cell::from(last),
            Cell::from(*top1),
            Cell::from(top1 - intact),
        ]);
        curves.entry(branch).or_default().push((block as f64, *top1));
        labels.push(format!("{block} {branch}"));
        // Nothing is changed before the cut.
        rows.push(std::iter::repeat_n(1.0, block).chain(behind.iter().copied()).collect::<Vec<f64>>());
    }
    findings.arrays.push(Array {
        name: "cka_after_cut".into(),
        shape: vec![rows.len(), acc.depth],
        values: rows.iter().flatten().map(|&value| value as f32).collect(),
    });
    add(
        &mut findings,
        "cka_after_cut",
        "What is left behind each cut",
        "Each row is the model without one skip connection, each cell the CKA of a layer with the same layer of the intact model: 1 \
         where images still lie to one another in the same way. Before the cut nothing is changed. A row that becomes lighter again \
         was mended by later layers; a dark row says that everything behind went through that connection."
            .into(),
        FigureData::Heatmap {
            row_labels: labels,
            col_labels: (0..acc.depth).map(|block| block.to_string()).collect(),
            x_label: "block".into(),
            y_label: "cut at block, around".into(),
            values: rows,
            range: Some((0.0, 1.0)),
            unit: "CKA".into(),
        },
    );
    let series = curves.into_iter().map(|(branch, curve)| Series::new(branch, curve));
    let plot = LinePlot {
        x_label: "block of the cut".into(),
        y_label: "kNN top-1 of the final features".into(),
        series: series.collect(),
        reference_lines: vec![("intact".into(), intact)],
    };
    add(
        &mut findings,
        "top1_after_cut",
        "What the final features are worth without one skip connection",
        "A point near the line is a connection that can be spared. The model was not trained without it: a fall says how much it relies \
         on it, not that a model could not do without."
            .into(),
        FigureData::Line(plot),
    );
    findings.story.push(Block::Table("by_cut".into()));
    let tokens = if config.tokens == Of::Cls { "the class token" } else { "the mean of the patches" };
    let left_out = match acc.sums.n_left_out {
        0 => String::new(),
        n => format!(" {n} images were left out of CKA: fewer than {FEWEST_SAMPLES} remained for a group."),
    };
    findings.tables.push(table.note(format!(
        "Of {tokens}; CKA by the unbiased minibatch estimator over {} images in groups of {}, kNN with k = {} and temperature {}. The \
         intact model has {intact:.3}.{left_out}{}",
        acc.groups.n_closed - acc.sums.n_left_out,
        config.batch,
        config.k,
        config.temperature,
        acc.groups.seams()
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
    fn columns_are_the_intact_layers_and_those_behind_each_cut() {
        assert_eq!(columns(3, &[Cut::Attention(1), Cut::Mlp(2)]), [0, 1, 2, 1, 2, 2]);
    }
}
