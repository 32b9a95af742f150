//! Which tokens hold the class: the class token, the mean of the patches, or every patch by itself?

use crate::by_layer::{self, Scored, Words, at};
use crate::held_out::{held_out, the_others};
use crate::linear::{Ridge, Solver, Task, solve};
use measure::interval::{Bootstrap, bootstrap_mean, mean};
use measure::linear::ranking;
use ndarray::{Array2, Axis};
use rayon::prelude::*;
use report::{Array, Info, Metric, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_core::{Grid, Site};
use vit_features::{
    Accumulate, Arrays, BANK_BYTES, Bank, Findings, Needs, Part, Place, Role, Select, Shapes, Study,
    StudyError, Taken,
};

/// The options of [`TokenProbe`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenProbeConfig {
    /// Training samples of each class, the first in the order of the data; 10 in the publication, 0 for all.
    pub shots: usize,
    /// Patches that are asked one by one stand on a square of so many rows and columns, spread evenly over the grid.
    pub positions_per_side: usize,
    /// Samples of the training side by which penalty and layer are chosen; at most a quarter of it.
    pub n_held_out: usize,
    /// Penalties are every second power of two from the second exponent down to the first.
    pub log2_lambdas: [i32; 2],
    /// Features of a side beyond this many MiB are kept in temporary files; changes no number.
    pub memory_mib: usize,
}

impl Default for TokenProbeConfig {
    fn default() -> Self {
        Self {
            shots: 10,
            positions_per_side: 3,
            n_held_out: 2000,
            log2_lambdas: [-20, 10],
            memory_mib: BANK_BYTES >> 20,
        }
    }
}

impl Recipe for TokenProbeConfig {
    fn check(&self) -> Result<(), RecipeError> {
        let counts = [
            ("positions_per_side", self.positions_per_side),
            ("n_held_out", self.n_held_out),
            ("memory_mib", self.memory_mib),
        ];
        for (key, value) in counts {
            if value == 0 {
                return Err(RecipeError::value(key, "at least 1", "0"));
            }
        }
        let [low, high] = self.log2_lambdas;
        if low > high || low < -60 || high > 60 {
            let expected = "two exponents from -60 to 60, the lower one first";
            return Err(RecipeError::value("log2_lambdas", expected, format!("[{low}, {high}]")));
        }
        Ok(())
    }
}

/// Ridge regression onto the classes from the class token, from the mean of the patches, and from patches one by one.
///
/// Of the patches, each has a classifier of its own, and the accuracy is the mean over them.
///
/// # Source
/// Raghu et al., Do Vision Transformers See Like Convolutional Neural Networks? (closed-form probes by kind of token).
/// *Differs*: penalty and layer are chosen on held-out training samples; of the patches some are asked, spread evenly.
pub struct TokenProbe;

/// Features of both sides.
///
/// Memory: `samples · blocks · (2 + positions) · D · 4` bytes, of each side at most `memory_mib`; the rest in temporary files.
#[derive(Serialize, Deserialize)]
pub struct TokenProbeAcc {
    /// Class token and mean, or pixels.
    vectors: Vec<Select>,
    /// The patches of every block.
    patches: Vec<Select>,
    /// The patches that are asked, by their place.
    positions: Vec<usize>,
    train: Sides,
    test: Sides,
}

/// Features of one side: a bank of the vectors, and one of each position.
#[derive(Serialize, Deserialize)]
struct Sides {
    vectors: Bank,
    by_position: Vec<Bank>,
}

impl Sides {
    fn new(n_positions: usize, memory_mib: usize) -> Self {
        let memory_bytes = memory_mib.saturating_mul(1 << 20) / (1 + n_positions);
        let bank = || Bank::new(TokenProbe::INFO.name, memory_bytes);
        Self { vectors: bank(), by_position: (0..n_positions).map(|_| bank()).collect() }
    }

    fn append(&mut self, later: Self) {
        self.vectors.append(later.vectors);
        self.by_position.iter_mut().zip(later.by_position).for_each(|(ours, later)| ours.append(later));
    }
}

/// The patches on a square of `n` by `n` places, spread evenly over the grid; all of a side where it has fewer.
fn positions(grid: Grid, n: usize) -> Vec<usize> {
    let spread = |n_cells: usize| -> Vec<usize> {
        let n = n.min(n_cells);
        (0..n).map(|i| (2 * i + 1) * n_cells / (2 * n)).collect()
    };
    let columns = spread(grid.columns);
    let of_row = |row: usize| columns.iter().map(move |column| row * grid.columns + column);
    spread(grid.rows).into_iter().flat_map(of_row).collect()
}

/// The class token and the mean of every block, and its patches.
fn selects(shapes: &Shapes) -> (Vec<Select>, Vec<Select>) {
    if shapes.depth == 0 {
        return (vec![Select::PIXELS], Vec::new());
    }
    let of = |part: Part| {
        shapes.blocks.iter().map(move |&block| Select { place: Place::At(Site::Block(block)), part })
    };
    let class = shapes.has_class.then(|| of(Part::Class)).into_iter().flatten();
    (class.chain(of(Part::Mean)).collect(), of(Part::Patches).collect())
}

fn value_error(expected: impl Into<String>, found: String) -> StudyError {
    StudyError::Value { study: TokenProbe::INFO.name.into(), expected: expected.into(), found }
}

impl Accumulate for TokenProbeAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        let side = match taken.info.role {
            Role::Train => &mut self.train,
            Role::Test => &mut self.test,
        };
        side.vectors.push(taken, &self.vectors)?;
        if self.patches.is_empty() {
            return Ok(());
        }
        for (&position, bank) in self.positions.iter().zip(&mut side.by_position) {
            let token = |&select: &Select| {
                let (shape, values) = &taken.features[&select]; // [B, N, D]
                let (n, width) = (shape[1], shape[2]);
                let of_image = values.chunks_exact(n * width);
                let token = of_image.flat_map(|image| &image[position * width..(position + 1) * width]);
                (select, (vec![shape[0], width], token.copied().collect::<Vec<f32>>()))
            };
            let features: Arrays = self.patches.iter().map(token).collect();
            bank.push(&Taken { info: taken.info, features: &features }, &self.patches)?;
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.train.append(later.train);
        self.test.append(later.test);
    }
}

impl Study for TokenProbe {
    const INFO: Info = Info {
        name: "token-probe",
        line: "which tokens hold the class: ridge regression from class token, mean and single patches, at every layer",
        source: "Raghu et al. 2021",
    };
    const PROTOCOL: &'static str = "\
Features of one central view, standardized by the training side. Ridge regression onto the classes (+1 and −1, with a bias
that bears no penalty) is solved in closed form from a few training samples of each class, at every layer: from the class
token, from the mean of the patches, and from single patches, each with a classifier of its own, whose accuracies are
averaged. Penalty and layer are chosen by held-out training samples; the accuracy of the chosen one on the test side is
`best.top1`.";
    type Config = TokenProbeConfig;
    type Acc = TokenProbeAcc;

    fn needs(_: &TokenProbeConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let (vectors, patches) = selects(shapes);
        let selects = vectors.into_iter().chain(patches).collect();
        Ok(Needs { selects, train: true, labels: true, ..Needs::default() })
    }

    fn open(config: &TokenProbeConfig, shapes: &Shapes) -> TokenProbeAcc {
        let (vectors, patches) = selects(shapes);
        let positions = match shapes.depth {
            0 => Vec::new(),
            _ => positions(shapes.grid, config.positions_per_side),
        };
        let side = || Sides::new(positions.len(), config.memory_mib);
        TokenProbeAcc { vectors, patches, train: side(), test: side(), positions }
    }

    fn small() -> TokenProbeConfig {
        TokenProbeConfig { shots: 0, positions_per_side: 2, n_held_out: 24, ..TokenProbeConfig::default() }
    }

    fn finish(
        config: &TokenProbeConfig,
        shapes: &Shapes,
        acc: TokenProbeAcc,
    ) -> Result<Findings, StudyError> {
        let (train, test) = (&acc.train.vectors, &acc.test.vectors);
        let used = first_of_each_class(train.labels(), config.shots);
        if used.len() < 8 || test.is_empty() {
            let found = format!("{} and {}", used.len(), test.len());
            return Err(StudyError::too_few(
                Self::INFO.name,
                "at least 8 training samples and 1 test sample",
                found,
            ));
        }
        let n_classes = by_layer::n_classes(shapes, train, test);
        let lesson = Lesson::new(config, shapes, train.labels(), &used, n_classes);
        let ask = |select: Select, train: &Bank, test: &Bank| lesson.ask(select, train, test);
        let mut answers: Vec<(Select, Vec<Answer>)> = Vec::new();
        for &select in &acc.vectors {
            answers.push((select, vec![ask(select, train, test)?]));
        }
        for &select in &acc.patches {
            let banks: Vec<_> = acc.train.by_position.iter().zip(&acc.test.by_position).collect();
            let of_positions = banks.par_iter().map(|(train, test)| ask(select, train, test));
            answers.push((select, of_positions.collect::<Result<_, _>>()?));
        }
        findings(config, shapes, &acc, &answers, n_classes)
    }
}

/// The first `n` samples of each class in the order of the data; all where `n` is 0.
fn first_of_each_class(labels: &[u32], n: usize) -> Vec<usize> {
    let mut counts = std::collections::BTreeMap::new();
    let mut is_wanted = |label: u32| {
        let count: &mut usize = counts.entry(label).or_default();
        *count += 1;
        n == 0 || *count <= n
    };
    (0..labels.len()).filter(|&i| is_wanted(labels[i])).collect()
}

/// What all classifiers have in common.
struct Lesson {
    solver: Solver,
    used: Vec<usize>,
    labels: Vec<u32>,
    fit: Vec<usize>,
    held_out: Vec<usize>,
    n_classes: usize,
    seed: u64,
}

/// What one classifier says.
struct Answer {
    held_out: f64,
    /// Whether it is right on each test sample.
    right: Vec<bool>,
}

impl Answer {
    fn top1(&self) -> f64 {
        self.right.iter().filter(|right| **right).count() as f64 / self.right.len() as f64
    }
}

impl Lesson {
    fn new(
        config: &TokenProbeConfig,
        shapes: &Shapes,
        labels: &[u32],
        used: &[usize],
        n_classes: usize,
    ) -> Self {
        let labels: Vec<u32> = used.iter().map(|&i| labels[i]).collect();
        let held_out = held_out(&labels, config.n_held_out.min(labels.len() / 4));
        Self {
            solver: Solver::Ridge(Ridge { log2_lambdas: config.log2_lambdas }),
            fit: the_others(labels.len(), &held_out),
            used: used.to_vec(),
            labels,
            held_out,
            n_classes,
            seed: shapes.seed,
        }
    }

    fn ask(&self, select: Select, train: &Bank, test: &Bank) -> Result<Answer, StudyError> {
        let rows = matrix(train, select)?.select(Axis(0), &self.used);
        let answer = solve(
            &self.solver,
            Task {
                rows,
                labels: &self.labels,
                fit: &self.fit,
                held_out: &self.held_out,
                n_classes: self.n_classes,
                seed: self.seed,
            },
        );
        let all: Vec<usize> = (0..test.len()).collect();
        let scores = answer.classifier.scores(matrix(test, select)?.view(), &all);
        let predicted = ranking(scores.view(), 1).column(0).to_vec();
        let right = predicted.iter().zip(test.labels()).map(|(a, b)| a == b).collect();
        Ok(Answer { held_out: answer.held_out[answer.chosen], right })
    }
}

fn matrix(bank: &Bank, select: Select) -> Result<Array2<f32>, StudyError> {
    let (width, values) = bank.features(select)?;
    Array2::from_shape_vec((bank.len(), width), values)
        .map_err(|error| value_error("as many features as labels", error.to_string()))
}

fn findings(
    config: &TokenProbeConfig,
    shapes: &Shapes,
    acc: &TokenProbeAcc,
    answers: &[(Select, Vec<Answer>)],
    n_classes: usize,
) -> Result<Findings, StudyError> {
    let bootstrap = Bootstrap { n_resamples: 1000, level: 0.95, seed: shapes.seed };
    let mut findings = Findings::default();
    let (mut scored, mut by_position) = (Vec::new(), Vec::new());
    for (select, answers) in answers {
        let n_test = answers[0].right.len();
        // The share of the classifiers that is right on each test sample.
        let shares: Vec<f64> = (0..n_test)
            .map(|i| answers.iter().filter(|answer| answer.right[i]).count() as f64 / answers.len() as f64)
            .collect();
        let top1 = mean(&shares);
        findings.metrics.push(at(Metric::new("top1", top1, "ratio"), *select, shapes));
        if select.part == Part::Patches {
            for (answer, position) in answers.iter().zip(&acc.positions) {
                let metric = at(Metric::new("token_top1", answer.top1(), "ratio"), *select, shapes);
                let (row, column) = (position / shapes.grid.columns, position % shapes.grid.columns);
                findings.metrics.push(metric.param("row", row).param("column", column));
                by_position.push(answer.top1() as f32);
            }
        }
        let is_single = answers.len() == 1 && select.part != Part::Patches;
        scored.push(Scored {
            select: *select,
            held_out: mean(&answers.iter().map(|answer| answer.held_out).collect::<Vec<_>>()),
            test: top1,
            interval: bootstrap_mean(&shares, bootstrap),
            params: Vec::new(),
            right: is_single.then(|| answers[0].right.clone()),
        });
    }
    if !by_position.is_empty() {
        findings.arrays.push(Array {
            name: "token_top1".into(),
            shape: vec![acc.patches.len(), acc.positions.len()],
            values: by_position,
        });
    }
    let n_shots = match config.shots {
        0 => "all training samples".to_owned(),
        n => format!("{n} training samples of each class"),
    };
    let words = Words {
        study: TokenProbe::INFO.name,
        title: "Ridge regression by kind of token,",
        caption: "Share of test samples that a classifier in closed form gets right from the class token, from the mean of the patches, and \
                  from single patches (a classifier each, mean over them). Where single patches fall behind the mean, the class is \
                  spread over the image; where they come near it, every token knows it."
            .into(),
        settings: format!("Ridge regression on {n_shots}; {} patches one by one", acc.positions.len()),
        intervals: "Intervals are bootstrap over test samples",
        chosen: None,
    };
    by_layer::tell(&words, shapes, n_classes, &scored, &mut findings)?;
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_spread_evenly() {
        assert_eq!(positions(Grid { rows: 8, columns: 8 }, 2), [2 * 8 + 2, 2 * 8 + 6, 6 * 8 + 2, 6 * 8 + 6]);
        assert_eq!(positions(Grid { rows: 1, columns: 3 }, 5), [0, 1, 2]);
        assert_eq!(positions(Grid { rows: 14, columns: 14 }, 3)[4], 7 * 14 + 7);
    }

    #[test]
    fn shots_are_the_first_of_each_class() {
        assert_eq!(first_of_each_class(&[1, 0, 1, 1, 0], 1), [0, 1]);
        assert_eq!(first_of_each_class(&[1, 0, 1, 1, 0], 2), [0, 1, 2, 4]);
        assert_eq!(first_of_each_class(&[1, 0, 1], 0), [0, 1, 2]);
    }
}
