//! Linear probes: which class can a linear classifier read out, layer by layer?

mod config;
mod ensemble;
mod mistakes;
pub(crate) mod solve;

pub use config::{Input, Lars, LinearConfig, Logistic, Ridge, Sgd, Solver};
pub use ensemble::Ensemble;

use crate::by_layer::{self, Scored, Words, at, candidates};
use crate::held_out::{held_out, the_others};
use measure::interval::{Bootstrap, accuracy_interval};
use measure::linear::{Linear, ranking};
use measure::vote::{RANKED, top1, top5};
use ndarray::{Array2, Axis, ShapeError, concatenate};
use rayon::prelude::*;
use report::{Array, Block, Figure, FigureData, Info, Metric, short_number};
use serde::{Deserialize, Serialize};
pub(crate) use solve::{Answer, Task, solve};
use std::ops::Range;
use vit_features::{Accumulate, Bank, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken};

/// A linear classifier on frozen features, at every layer from one forward.
///
/// `argmax_c (W x + b)_c`. Features of all layers and tokens are kept; on each, one head for every learning rate or
/// penalty is learned side by side without the held-out training samples, the best is chosen on them, and learned
/// again on the whole training side.
///
/// # Source
/// Alain and Bengio (probes of every layer); Caron et al., DINO; Zhou et al., iBOT (several rates at once); He et al.,
/// MAE (batch normalization and LARS). *Differs*: features are of one central view, without augmentation; rate,
/// penalty and layer are chosen on held-out training samples instead of on the test side.
pub struct LinearProbe;

/// Features of both sides.
///
/// Memory: `samples · selects · D · 4` bytes, of each side at most `memory_mib`; what is beyond goes to temporary files.
#[derive(Serialize, Deserialize)]
pub struct LinearAcc {
    wanted: Vec<Select>,
    train: Bank,
    test: Bank,
}

fn value_error(expected: impl Into<String>, found: String) -> StudyError {
    StudyError::Value { study: LinearProbe::INFO.name.into(), expected: expected.into(), found }
}

impl Accumulate for LinearAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        let side = match taken.info.role {
            Role::Train => &mut self.train,
            Role::Test => &mut self.test,
        };
        side.push(taken, &self.wanted)
    }

    fn merge(&mut self, later: Self) {
        self.train.append(later.train);
        self.test.append(later.test);
    }
}

impl Study for LinearProbe {
    const INFO: Info = Info {
        name: "linear",
        line: "a linear classifier on frozen features, at every layer",
        source: "Alain and Bengio 2016; Caron et al. 2021 (DINO); He et al. 2022 (MAE)",
    };
    const PROTOCOL: &'static str = "\
Features of one central view, without augmentation, kept for all layers from one pass. A linear classifier is learned on
each; the rate or the penalty is chosen on held-out training samples, and the classifier learned again on all of them. The
best layer is the one best on the held-out samples; its accuracy on the test side is `best.top1`. A learning rate is
base_lr * batch / 256. Published numbers train with random crops and flips: expect a little less here.";
    type Config = LinearConfig;

    fn protocols() -> Vec<(&'static str, &'static str, LinearConfig)> {
        let cls =
            |solver: Solver| LinearConfig { tokens: vec!["cls".into()], solver, ..LinearConfig::default() };
        let together = |last: usize, mean: bool, solver: Solver| LinearConfig {
            ensemble: Ensemble { last, mean },
            ..cls(solver)
        };
        let sgd = |base_lrs: Vec<f64>, batch: usize| {
            Solver::Sgd(Sgd { input: Input::AsIs, base_lrs, epochs: 100, batch, ..Sgd::default() })
        };
        // Three rates for each power of ten from 1e-5 to 1e-1.
        let sweep = || {
            let three = |power: i32| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power));
            (-5..=-2).flat_map(three).chain([0.1]).collect::<Vec<f64>>()
        };
        let ten_epochs = || {
            let (input, base_lrs) = (Input::AsIs, sweep());
            Solver::Sgd(Sgd { input, base_lrs, epochs: 10, batch: 1024, ..Sgd::default() })
        };
        vec![
            (
                "dino",
                "Caron et al. 2021, ViT-S: the last 4 class tokens, each through the final norm, side by side (ensemble.top1); SGD, base rate 0.001, \
                 batch 1024, 100 epochs; without crops and flips",
                together(4, false, sgd(vec![0.001], 1024)),
            ),
            (
                "dino-b",
                "the same for ViT-B: the last class token beside the mean of its patch tokens",
                together(1, true, sgd(vec![0.001], 1024)),
            ),
            (
                "ibot",
                "Zhou et al. 2022: as DINO, rates from 1e-5 to 0.1 side by side, the best chosen on held-out samples",
                together(4, false, sgd(sweep(), 1024)),
            ),
            (
                "dinov2",
                "Oquab et al. 2024: the last 4 class tokens beside the mean of the last patch tokens (ensemble.top1), 13 rates from 1e-5 to 0.1 side \
                 by side, 10 epochs, batch 1024; the best chosen on held-out samples, not on the test side; without crops and flips",
                together(4, true, ten_epochs()),
            ),
            (
                "dinov2-1",
                "the same with the last class token alone beside the mean of its patch tokens",
                together(1, true, ten_epochs()),
            ),
            (
                "mae",
                "He et al. 2022: batch norm without affine part, LARS, base rate 0.1, batch 16384, 90 epochs; without crops and flips",
                cls(Solver::Lars(Lars::default())),
            ),
        ]
    }
    type Acc = LinearAcc;

    fn needs(config: &LinearConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let selects = candidates(Self::INFO.name, &config.tokens, shapes)?;
        let selects = with_ensemble(config, shapes, selects);
        Ok(Needs { sites: Vec::new(), selects, train: true, labels: true, ..Needs::default() })
    }

    fn open(config: &LinearConfig, shapes: &Shapes) -> LinearAcc {
        // What the model cannot have was refused by `needs`.
        let wanted = candidates(Self::INFO.name, &config.tokens, shapes).unwrap_or_default();
        let wanted = with_ensemble(config, shapes, wanted);
        let bank = || Bank::new(Self::INFO.name, config.memory_bytes());
        LinearAcc { wanted, train: bank(), test: bank() }
    }

    fn small() -> LinearConfig {
        let sgd = Sgd { epochs: 5, batch: 16, ..Sgd::default() };
        LinearConfig { n_held_out: 24, solver: Solver::Sgd(sgd), ..LinearConfig::default() }
    }

    fn finish(config: &LinearConfig, shapes: &Shapes, acc: LinearAcc) -> Result<Findings, StudyError> {
        let LinearAcc { train, test, .. } = acc;
        let wanted = candidates(Self::INFO.name, &config.tokens, shapes)?;
        if train.len() < 2 || test.is_empty() {
            let found = format!("{} and {}", train.len(), test.len());
            return Err(StudyError::too_few(
                Self::INFO.name,
                "at least 2 training samples and 1 test sample",
                found,
            ));
        }
        let n_classes = by_layer::n_classes(shapes, &train, &test);
        let held_out = held_out(train.labels(), config.n_held_out.min(train.len() / 2));
        let fit = the_others(train.len(), &held_out);
        let ask =
            |selects: &[Select]| ask(config, shapes, selects, (&train, &test), (&fit, &held_out), n_classes);
        let asked = |select: &Select| ask(std::slice::from_ref(select));
        // Selects are learned on at the same time as far as their features fit.
        let bytes = 2 * (train.len() + test.len()) * shapes.width.max(1) * size_of::<f32>();
        let at_once = (config.memory_bytes() / bytes).max(1);
        let mut answers = Vec::with_capacity(wanted.len());
        for selects in wanted.chunks(at_once) {
            answers.extend(selects.par_iter().map(asked).collect::<Result<Vec<_>, _>>()?);
        }
        let mut findings = findings(config, shapes, &answers, &test, n_classes)?;
        let together = config.ensemble.selects(shapes);
        if !together.is_empty() {
            let bootstrap = Bootstrap { n_resamples: 1000, level: 0.95, seed: shapes.seed };
            let interval = |right: &[bool]| accuracy_interval(right, bootstrap);
            ensemble::tell(&together, &ask(&together)?, test.labels(), interval, &mut findings);
        }
        Ok(findings)
    }
}

/// What is taken from the model: the features of single layers, and those of the ensemble that are not among them.
fn with_ensemble(config: &LinearConfig, shapes: &Shapes, mut selects: Vec<Select>) -> Vec<Select> {
    for select in config.ensemble.selects(shapes) {
        if !selects.contains(&select) {
            selects.push(select);
        }
    }
    selects
}

/// The answers at one select.
struct Asked {
    select: Select,
    answer: Answer,
    /// The first classes of every test sample, `[m, RANKED]`.
    ranking: Array2<u32>,
}

fn ask(
    config: &LinearConfig,
    shapes: &Shapes,
    selects: &[Select],
    (train, test): (&Bank, &Bank),
    (fit, held_out): (&[usize], &[usize]),
    n_classes: usize,
) -> Result<Asked, StudyError> {
    let answer = solve(
        &config.solver,
        Task {
            rows: matrix(train, selects, 0..train.len())?,
            labels: train.labels(),
            fit,
            held_out,
            n_classes,
            seed: shapes.seed,
        },
    );
    let ranked = |scores: Array2<f64>| ranking(scores.view(), RANKED);
    let ranking = test_scores(&answer.classifier, test, selects, &ranked)?;
    Ok(Asked { select: selects[0], answer, ranking })
}

/// What a classifier says of the test side, read in blocks: of each block's scores `[b, K]` what `keep` makes of them.
fn test_scores<T: Clone>(
    classifier: &Linear,
    test: &Bank,
    selects: &[Select],
    keep: &dyn Fn(Array2<f64>) -> Array2<T>,
) -> Result<Array2<T>, StudyError> {
    let mut kept = Vec::new();
    for samples in test.blocks(selects[0])? {
        let all: Vec<usize> = (0..samples.len()).collect();
        let scores = classifier.scores(matrix(test, selects, samples)?.view(), &all);
        if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
            let expected = "a learning rate at which the classifier stays finite";
            return Err(value_error(expected, format!("a score of {score} on {}", selects[0])));
        }
        kept.push(keep(scores));
    }
    let views: Vec<_> = kept.iter().map(|kept| kept.view()).collect();
    concatenate(Axis(0), &views)
        .map_err(|error| value_error("at least one block of test samples", error.to_string()))
}

/// Some samples' features of selects, side by side.
fn matrix(bank: &Bank, selects: &[Select], samples: Range<usize>) -> Result<Array2<f32>, StudyError> {
    let wrong = |error: ShapeError| value_error("as many features as labels", error.to_string());
    let of = |&select: &Select| {
        let values = bank.rows(select, samples.clone())?;
        Array2::from_shape_vec((samples.len(), bank.width(select)?), values).map_err(wrong)
    };
    let mut parts = selects.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    if parts.len() == 1 {
        return Ok(parts.swap_remove(0));
    }
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    concatenate(Axis(1), &views).map_err(wrong)
}

fn findings(
    config: &LinearConfig,
    shapes: &Shapes,
    answers: &[Asked],
    test: &Bank,
    n_classes: usize,
) -> Result<Findings, StudyError> {
    let bootstrap = Bootstrap { n_resamples: 1000, level: 0.95, seed: shapes.seed };
    let labels = test.labels();
    let chosen = config.solver.setting();
    let mut findings = Findings::default();
    let mut scored = Vec::new();
    for Asked { select, answer, ranking } in answers {
        let predicted = ranking.column(0).to_vec();
        let setting = answer.settings[answer.chosen];
        let params = vec![("solver", config.solver.kind().into()), (chosen, setting.into())];
        let accuracy = top1(&predicted, labels);
        let mut push = |name: &str, value: f64| {
            let metric = at(Metric::new(name, value, "ratio"), *select, shapes);
            findings.metrics.push(metric.param("solver", config.solver.kind()).param(chosen, setting));
        };
        push("top1", accuracy);
        if n_classes > 5 {
            push("top5", top5(ranking.view(), labels));
        }
        let right: Vec<bool> = predicted.iter().zip(labels).map(|(a, b)| a == b).collect();
        scored.push(Scored {
            select: *select,
            held_out: answer.held_out[answer.chosen],
            test: accuracy,
            interval: accuracy_interval(&right, bootstrap),
            params,
            right: Some(right),
        });
    }
    let words = Words {
        study: LinearProbe::INFO.name,
        title: "Linear probe",
        caption: "Share of test samples that a linear classifier, trained on the frozen features of the training side, \
                  gets right. It tells what can be read out along straight lines, not what the model itself makes of it."
            .into(),
        settings: config.solver.words(),
        intervals: "Intervals are bootstrap over test samples",
        chosen: Some(chosen),
    };
    let best = by_layer::tell(&words, shapes, n_classes, &scored, &mut findings)?;
    sweep(config, answers, &mut findings);
    let best = &answers[best];
    let scores = test_scores(&best.answer.classifier, test, &[best.select], &|scores| scores)?;
    mistakes::tell(shapes, (test.labels(), test.indices()), best.select, &scores, &mut findings);
    Ok(findings)
}

/// How the held-out accuracy depends on the learning rate or the penalty.
fn sweep(config: &LinearConfig, answers: &[Asked], findings: &mut Findings) {
    let Some(settings) = answers.first().map(|asked| &asked.answer.settings).filter(|all| all.len() > 1)
    else {
        return;
    };
    let values: Vec<Vec<f64>> = answers.iter().map(|asked| asked.answer.held_out.clone()).collect();
    findings.arrays.push(Array {
        name: "linear_sweep".into(),
        shape: vec![answers.len(), settings.len()],
        values: values.iter().flatten().map(|&x| x as f32).collect(),
    });
    let heatmap = FigureData::Heatmap {
        row_labels: answers.iter().map(|asked| asked.select.to_string()).collect(),
        col_labels: settings.iter().map(|&setting| short_number(setting)).collect(),
        x_label: config.solver.setting().into(),
        y_label: "features".into(),
        values,
        range: None,
        unit: "held-out top-1".into(),
    };
    let caption = "Accuracy on held-out training samples, by which the column is chosen for each row. Where the best is \
                   at an end of the range, a wider one may find a better.";
    findings.figures.push(Figure::new("linear_sweep", "What was tried for each layer", caption, heatmap));
    findings.story.push(Block::Figure("linear_sweep".into()));
}
