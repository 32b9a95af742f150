//! Fine-tuning: how far does the encoder come when all of it may change?

use crate::by_layer::n_classes;
use crate::held_out::{held_out, the_others};
use crate::linear::solve::{Task, solve};
use crate::linear::{Ridge, Solver};
use measure::interval::{Bootstrap, accuracy_interval};
use measure::linear::ranking;
use measure::vote::{top1, top5};
use ndarray::{Array2, Axis, concatenate};
use report::{Block, Cell, Figure, FigureData, Info, LinePlot, Metric, Series, Table};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use vit_features::{
    Accumulate, BANK_BYTES, Bank, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken, Training,
    Tuned, Tuning,
};

/// Classes that are told of each sample.
const RANKED: usize = 5;

/// Training samples that choose the penalty on raw pixels.
const N_HELD_OUT: usize = 1000;

/// The encoder and a fresh classifier are trained together on the training side; top-1 on the test side.
///
/// Raw pixels have nothing that could be tuned: there it is the ridge regression on them.
///
/// # Source
/// He et al., Masked Autoencoders Are Scalable Vision Learners, fine-tuning; the rates by block are BEiT's.
pub struct FineTuning;

/// Classes of the test side, and what the training gave; pixels where there is no encoder.
///
/// Memory: see [`Bank`].
#[derive(Serialize, Deserialize)]
pub struct FineTuningAcc {
    train: Bank,
    test: Bank,
    labels: Vec<u32>,
    n_train: usize,
    tuned: Option<Tuned>,
}

impl Accumulate for FineTuningAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        let n = taken.info.labels.len();
        let of_pixels = taken.features.contains_key(&Select::PIXELS);
        match taken.info.role {
            Role::Train => self.n_train += n,
            Role::Test => {
                for (label, index) in taken.info.labels.iter().zip(taken.info.indices) {
                    let found = || format!("none for sample {index}");
                    self.labels.push(label.ok_or_else(|| error("a class for every sample", found()))?);
                }
            }
        }
        match (of_pixels, taken.info.role) {
            (false, _) => Ok(()),
            (true, Role::Train) => self.train.push(taken, &[Select::PIXELS]),
            (true, Role::Test) => self.test.push(taken, &[Select::PIXELS]),
        }
    }

    fn tuned(&mut self, tuned: Tuned) {
        self.tuned = Some(tuned);
    }

    fn merge(&mut self, later: Self) {
        self.train.append(later.train);
        self.test.append(later.test);
        self.labels.extend(later.labels);
        self.n_train += later.n_train;
        match (&mut self.tuned, later.tuned) {
            // Answers of one training to the samples that follow.
            (Some(own), Some(later)) => own.ranking.extend(later.ranking),
            (own, later) => *own = own.take().or(later),
        }
    }
}

impl Study for FineTuning {
    const INFO: Info = Info {
        name: "fine-tuning",
        line: "top-1 after the encoder and a fresh classifier were trained together, with rates that fall from block to block",
        source: "He et al. 2022; Bao et al. 2022",
    };
    const PROTOCOL: &'static str = "\
A copy of the encoder gets a fresh linear classifier on the mean of its patches, and both are trained on the training side
with AdamW: a linear warm-up, then a cosine. The learning rate of each block is that of the block above it times layer_decay,
so that what lies near the pixels changes least. Pictures are cropped and mirrored at random, some batches are mixed by mixup
or CutMix, targets are smoothed, blocks are dropped at random. Told is the accuracy on the test side, which is seen once, after
the last step; nothing is chosen by it. The untrained model is trained in the same way from random weights, so what stands above
it was brought along; raw pixels have nothing to tune and get a ridge regression. The model itself is left as it is.";
    type Config = Tuning;
    type Acc = FineTuningAcc;

    fn protocols() -> Vec<(&'static str, &'static str, Tuning)> {
        let mae = Tuning {
            epochs: 100.0,
            batch: 64,
            accumulate: 16,
            base_lr: 5e-4,
            min_lr: 1e-6,
            warmup_epochs: 5.0,
            weight_decay: 0.05,
            layer_decay: 0.65,
            drop_path: 0.1,
            label_smoothing: 0.1,
            mixup_alpha: 0.8,
            cutmix_alpha: 1.0,
            mix_prob: 1.0,
            cutmix_prob: 0.5,
            min_scale: 0.08,
            flip_prob: 0.5,
            erase_prob: 0.25,
            pool: "mean".into(),
        };
        let words = "He et al. 2022, ViT-B/16: 100 epochs, 1024 samples a step in 16 batches, base rate 5e-4, layer decay 0.65; \
                     without RandAugment, and batches are mixed one by one";
        vec![("mae", words, mae)]
    }

    fn small() -> Tuning {
        Tuning { epochs: 1.0, batch: 8, ..Tuning::default() }
    }

    fn needs(config: &Tuning, shapes: &Shapes) -> Result<Needs, StudyError> {
        if shapes.depth == 0 {
            let selects = vec![Select::PIXELS];
            return Ok(Needs { selects, train: true, labels: true, ..Needs::default() });
        }
        let refuse = |needs: &str, found: &str| {
            let (study, model) = (Self::INFO.name.to_owned(), shapes.model.clone());
            Err(StudyError::Model { study, needs: needs.into(), found: found.into(), model })
        };
        if shapes.n_heads.is_none() {
            return refuse("a Vision Transformer", "an encoder without attention");
        }
        if config.pool == "class" && !shapes.has_class {
            return refuse("a class token (pool = \"class\")", "a model without one");
        }
        Ok(Needs {
            train: true,
            labels: true,
            training: Some(Training { how: config.clone(), seed: shapes.seed }),
            ..Needs::default()
        })
    }

    fn open(_: &Tuning, _: &Shapes) -> FineTuningAcc {
        let bank = || Bank::new(Self::INFO.name, BANK_BYTES);
        FineTuningAcc { train: bank(), test: bank(), labels: Vec::new(), n_train: 0, tuned: None }
    }

    fn finish(config: &Tuning, shapes: &Shapes, acc: FineTuningAcc) -> Result<Findings, StudyError> {
        let FineTuningAcc { train, test, labels, n_train, tuned } = acc;
        if n_train < 2 || labels.is_empty() {
            let found = format!("{n_train} and {}", labels.len());
            return Err(StudyError::too_few(
                Self::INFO.name,
                "at least 2 training samples and 1 test sample",
                found,
            ));
        }
        if shapes.depth == 0 {
            let n_classes = n_classes(shapes, &train, &test);
            let ranked = of_pixels(&train, &test, (n_classes, shapes.seed))?;
            let words =
                format!("ridge regression on {} raw pixels, nothing tuned", train.width(Select::PIXELS)?);
            return Ok(tell(shapes, n_classes, &labels, &ranked, &words));
        }
        let n_step = config.batch * config.accumulate;
        let Some(tuned) = tuned else {
            if n_train < n_step {
                let expected =
                    format!("at least {n_step} training samples, those of one step (batch · accumulate)");
                return Err(StudyError::too_few(Self::INFO.name, expected, n_train.to_string()));
            }
            return Err(error("an encoder that was trained", "none: whoever asks does not train".into()));
        };
        let n_ranked = tuned.n_ranked.max(1);
        let ranked =
            Array2::from_shape_vec((tuned.ranking.len() / n_ranked, n_ranked), tuned.ranking.clone());
        let ranked = ranked.map_err(|problem| error("whole rows of classes", problem.to_string()))?;
        if ranked.nrows() != labels.len() {
            let found = format!("{} of {}", ranked.nrows(), labels.len());
            return Err(error("an answer for every test sample", found));
        }
        let n_classes = shapes.n_classes.max(labels.iter().max().map_or(0, |&class| class as usize + 1));
        let words = format!(
            "{} epochs, {} steps of {} samples, layer decay {}",
            config.epochs, tuned.n_steps, n_step, config.layer_decay
        );
        let mut findings = tell(shapes, n_classes, &labels, &ranked, &words);
        course(&tuned, &mut findings);
        Ok(findings)
    }
}

fn error(expected: &str, found: String) -> StudyError {
    StudyError::Value { study: FineTuning::INFO.name.into(), expected: expected.into(), found }
}

/// The classes that a ridge regression on the pixels ranks first, `[n, m]`; its penalty is chosen on held-out training samples.
fn of_pixels(train: &Bank, test: &Bank, (n_classes, seed): (usize, u64)) -> Result<Array2<u32>, StudyError> {
    let matrix = |bank: &Bank, samples: Range<usize>| {
        let values = bank.rows(Select::PIXELS, samples.clone())?;
        Array2::from_shape_vec((samples.len(), bank.width(Select::PIXELS)?), values)
            .map_err(|problem| error("whole rows of pixels", problem.to_string()))
    };
    let labels = train.labels();
    let held_out = held_out(labels, N_HELD_OUT.min(labels.len() / 4));
    let fit = the_others(labels.len(), &held_out);
    let rows = matrix(train, 0..train.len())?;
    let task = Task { rows, labels, fit: &fit, held_out: &held_out, n_classes, seed };
    let classifier = solve(&Solver::Ridge(Ridge::default()), task).classifier;
    let mut parts = Vec::new();
    for samples in test.blocks(Select::PIXELS)? {
        let all: Vec<usize> = (0..samples.len()).collect();
        parts.push(ranking(classifier.scores(matrix(test, samples)?.view(), &all).view(), RANKED));
    }
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    concatenate(Axis(0), &views).map_err(|problem| error("a block of test samples", problem.to_string()))
}

fn tell(shapes: &Shapes, n_classes: usize, labels: &[u32], ranked: &Array2<u32>, words: &str) -> Findings {
    let predicted = ranked.column(0).to_vec();
    let right: Vec<bool> = predicted.iter().zip(labels).map(|(a, b)| a == b).collect();
    let interval = accuracy_interval(&right, Bootstrap { n_resamples: 1000, level: 0.95, seed: shapes.seed });
    let (accuracy, chance) = (top1(&predicted, labels), 1.0 / n_classes as f64);
    let mut findings = Findings::default();
    let mut metric = |name: &str, value: f64| findings.metrics.push(Metric::new(name, value, "ratio"));
    metric("top1", accuracy);
    if n_classes > 5 && ranked.ncols() >= 5 {
        metric("top5", top5(ranked.view(), labels));
    }
    metric("best.top1", accuracy);
    metric("best.top1_low", interval.low);
    metric("best.top1_high", interval.high);
    metric("chance", chance);
    findings.mark_correct(&right);
    let mut table = Table::new("fine_tuning", "After fine-tuning", ["test top-1", "95 % low", "95 % high"]);
    table.push([accuracy, interval.low, interval.high].map(Cell::from));
    findings.tables.push(table.note(format!(
        "{words}. The test side is asked once, after the last step; the interval is bootstrap over its samples and says nothing of \
         other seeds."
    )));
    findings.story.push(Block::Table("fine_tuning".into()));
    findings
}

/// How the training went.
fn course(tuned: &Tuned, findings: &mut Findings) {
    const MOST: usize = 200;
    if tuned.losses.len() < 2 {
        return;
    }
    let stretch = tuned.losses.len().div_ceil(MOST);
    let mean = |of: &[(f64, f64)]| {
        let n = of.len() as f64;
        (of.iter().map(|p| p.0).sum::<f64>() / n, of.iter().map(|p| p.1).sum::<f64>() / n)
    };
    let plot = LinePlot {
        x_label: "epoch".into(),
        y_label: "cross-entropy".into(),
        series: vec![Series::new("loss", tuned.losses.chunks(stretch).map(mean).collect())],
        reference_lines: Vec::new(),
    };
    let caption = "The loss on the batches of the training side, each point the mean of a stretch. With mixed and smoothed targets \
                   it cannot become 0.";
    let figure =
        Figure::new("fine_tuning_loss", "The course of fine-tuning", caption, FigureData::Line(plot));
    findings.story.push(Block::Figure(figure.name.clone()));
    findings.figures.push(figure);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuned(labels: &[u32]) -> Tuned {
        let ranking = labels.iter().flat_map(|&label| [label, (label + 1) % 3]).collect();
        Tuned { ranking, n_ranked: 2, losses: vec![(0.5, 1.0), (1.0, 0.5)], n_steps: 2 }
    }

    fn shapes() -> Shapes {
        Shapes { depth: 2, n_heads: Some(1), n_classes: 3, n_train: 9, n_test: 4, ..Shapes::of_pixels(4) }
    }

    fn finished(tuned: Option<Tuned>) -> Result<Findings, StudyError> {
        let mut acc = FineTuning::open(&Tuning::default(), &shapes());
        (acc.labels, acc.n_train) = (vec![0, 1, 2, 0], 99);
        if let Some(tuned) = tuned {
            acc.tuned(tuned);
        }
        FineTuning::finish(&Tuning::default(), &shapes(), acc)
    }

    fn value(findings: &Findings, name: &str) -> f64 {
        findings.metrics.iter().find(|metric| metric.name == name).expect(name).value
    }

    #[test]
    fn perfect_answers_are_the_ceiling_and_one_of_four_wrong_is_three_quarters() {
        let perfect = finished(Some(tuned(&[0, 1, 2, 0]))).expect("findings");
        assert_eq!((value(&perfect, "best.top1"), value(&perfect, "chance")), (1.0, 1.0 / 3.0));
        assert_eq!(perfect.figures.len(), 1);
        let most = finished(Some(tuned(&[0, 1, 1, 0]))).expect("findings");
        assert_eq!(value(&most, "top1"), 0.75);
    }

    #[test]
    fn without_a_training_or_with_answers_for_others_there_is_no_number() {
        let sentence = finished(None).expect_err("a refusal").to_string();
        assert!(sentence.contains("expected an encoder that was trained"), "{sentence}");
        let sentence = finished(Some(tuned(&[0, 1]))).expect_err("a refusal").to_string();
        assert!(sentence.contains("2 of 4"), "{sentence}");
    }

    #[test]
    fn an_encoder_that_cannot_be_tuned_is_refused_by_name() {
        let without = Shapes { n_heads: None, ..shapes() };
        let sentence = FineTuning::needs(&Tuning::default(), &without).expect_err("a refusal").to_string();
        assert!(sentence.contains("a Vision Transformer"), "{sentence}");
        let class = Tuning { pool: "class".into(), ..Tuning::default() };
        assert!(FineTuning::needs(&class, &shapes()).is_err());
    }
}
