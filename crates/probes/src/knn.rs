//! k nearest neighbors: does the class of a picture stand among its neighbors' classes, layer by layer?

use crate::by_layer::{self, Scored, Words, at, candidates, check_tokens};
use crate::held_out::held_out;
use measure::interval::{Bootstrap, accuracy_interval};
use measure::nearest::{Nearest, l2_normalized};
use measure::vote::{Votes, top1, top5, weighted_votes};
use ndarray::Array2;
use report::{Info, Metric, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use vit_features::{
    Accumulate, BANK_BYTES, Bank, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken,
};

/// The options of [`Knn`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KnnConfig {
    /// Numbers of neighbors; DINO reports 10, 20, 100 and 200.
    pub ks: Vec<usize>,
    /// Temperatures of the votes' weights `exp(similarity / T)`; 0.07 in DINO.
    pub temperatures: Vec<f64>,
    /// The `k` of the curves, of the choice of the best layer, and of the headline; 20 in DINO.
    pub headline_k: usize,
    /// Tokens asked at every layer: `cls`, `mean`, or both.
    pub tokens: Vec<String>,
    /// Samples of the training side by which the best layer is chosen, each without itself among its neighbors.
    pub n_held_out: usize,
}

impl Default for KnnConfig {
    fn default() -> Self {
        Self {
            ks: vec![1, 5, 10, 20, 100, 200],
            temperatures: vec![0.07],
            headline_k: 20,
            tokens: vec!["cls".into(), "mean".into()],
            n_held_out: 2000,
        }
    }
}

impl Recipe for KnnConfig {
    fn check(&self) -> Result<(), RecipeError> {
        if self.ks.is_empty() || self.ks.contains(&0) {
            return Err(RecipeError::value(
                "ks",
                "at least one number of neighbors, each at least 1",
                format!("{:?}", self.ks),
            ));
        }
        if self.temperatures.is_empty() || self.temperatures.iter().any(|&t| !(t > 0.0 && t.is_finite())) {
            let found = format!("{:?}", self.temperatures);
            return Err(RecipeError::value("temperatures", "at least one, each above 0", found));
        }
        if !self.ks.contains(&self.headline_k) {
            let expected = format!("one of ks ({:?})", self.ks);
            return Err(RecipeError::value("headline_k", expected, self.headline_k.to_string()));
        }
        check_tokens(&self.tokens)?;
        if self.n_held_out == 0 {
            return Err(RecipeError::value("n_held_out", "at least 1", "0"));
        }
        Ok(())
    }
}

/// The weighted vote of the nearest training features, at every layer from one forward.
///
/// `w_j = exp(s_j / T)` over the `k` most similar (cosine), `score_c = Σ w_j [y_j = c]`; ties by class id.
///
/// # Source
/// Wu et al., Instance Discrimination; Caron et al., DINO. *Differs*: every layer is asked, and the best one is
/// chosen on held-out training samples instead of on the test side.
pub struct Knn;

/// The bank and the questions.
///
/// Memory: of each side at most [`BANK_BYTES`], the rest in temporary files; both are read in blocks, so that it does not grow
/// with the number of samples but for their labels and votes.
#[derive(Serialize, Deserialize)]
pub struct KnnAcc {
    wanted: Vec<Select>,
    train: Bank,
    test: Bank,
}

fn value_error(expected: impl Into<String>, found: String) -> StudyError {
    StudyError::Value { study: Knn::INFO.name.into(), expected: expected.into(), found }
}

impl Accumulate for KnnAcc {
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

/// The answers at one select.
struct Answer {
    select: Select,
    /// Accuracy on held-out training samples at the headline `k` and first temperature.
    held_out: f64,
    test: Vec<Votes>,
}

impl Study for Knn {
    const INFO: Info = Info {
        name: "knn",
        line: "weighted vote of the nearest training features, at every layer",
        source: "Wu et al. 2018; Caron et al. 2021 (DINO)",
    };
    const PROTOCOL: &'static str = "\
Features of one central view, divided by their length. Every test sample is compared with all training samples; the k
most similar vote for their class with weight exp(similarity / T); equal scores go to the lower class. Classes, tokens
and layers are asked in one pass; the best layer is chosen by training samples that are asked without themselves, and
its accuracy on the test side is `best.top1`.";
    type Config = KnnConfig;

    fn protocols() -> Vec<(&'static str, &'static str, KnnConfig)> {
        let dino = KnnConfig {
            ks: vec![10, 20, 100, 200],
            temperatures: vec![0.07],
            headline_k: 20,
            tokens: vec!["cls".into()],
            ..KnnConfig::default()
        };
        let ibot = KnnConfig { headline_k: 10, ..dino.clone() };
        let dinov2 = dino.clone();
        vec![
            (
                "dino",
                "Caron et al. 2021: class token, k 10 to 200, 20 reported, T 0.07; norm.cls is the published layer",
                dino,
            ),
            ("ibot", "Zhou et al. 2022: as DINO, k 10 reported", ibot),
            ("dinov2", "Oquab et al. 2024: as DINO", dinov2),
        ]
    }
    type Acc = KnnAcc;

    fn needs(config: &KnnConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        Ok(Needs {
            sites: Vec::new(),
            selects: candidates(Self::INFO.name, &config.tokens, shapes)?,
            train: true,
            labels: true,
            ..Needs::default()
        })
    }

    fn open(config: &KnnConfig, shapes: &Shapes) -> KnnAcc {
        // What the model cannot have was refused by `needs`.
        let wanted = candidates(Self::INFO.name, &config.tokens, shapes).unwrap_or_default();
        let bank = || Bank::new(Self::INFO.name, BANK_BYTES);
        KnnAcc { wanted, train: bank(), test: bank() }
    }

    fn small() -> KnnConfig {
        KnnConfig { ks: vec![1, 5, 20], headline_k: 5, n_held_out: 40, ..KnnConfig::default() }
    }

    fn finish(config: &KnnConfig, shapes: &Shapes, acc: KnnAcc) -> Result<Findings, StudyError> {
        let KnnAcc { wanted, train, test } = acc;
        if train.len() < 2 || test.is_empty() {
            let found = format!("{} and {}", train.len(), test.len());
            return Err(StudyError::too_few(
                Self::INFO.name,
                "at least 2 training samples and 1 test sample",
                found,
            ));
        }
        let n_classes = by_layer::n_classes(shapes, &train, &test);
        let answers = wanted.into_iter().map(|select| answer(config, select, &train, &test, n_classes));
        findings(config, shapes, &answers.collect::<Result<Vec<_>, _>>()?, (&train, &test), n_classes)
    }
}

/// The numbers of neighbors that the bank can give.
fn usable(ks: &[usize], n_bank: usize) -> Vec<usize> {
    let mut usable: Vec<usize> = ks.iter().map(|&k| k.min(n_bank)).collect();
    usable.sort_unstable();
    usable.dedup();
    usable
}

fn answer(
    config: &KnnConfig,
    select: Select,
    train: &Bank,
    test: &Bank,
    n_classes: usize,
) -> Result<Answer, StudyError> {
    let ks = usable(&config.ks, train.len());
    let k_max = ks.iter().copied().max().unwrap_or(1);
    let mut votes: Vec<Votes> = Vec::new();
    for samples in test.blocks(select)? {
        let queries = rows(test, select, samples)?;
        let mut nearest = Nearest::new(queries.view(), k_max);
        offer_all(&mut nearest, train, select)?;
        let of_block =
            weighted_votes(&nearest.finish(), train.labels(), n_classes, &ks, &config.temperatures);
        match votes.is_empty() {
            true => votes = of_block,
            false => votes.iter_mut().zip(&of_block).for_each(|(votes, later)| votes.append(later)),
        }
    }
    // Training samples, each asked without itself.
    let chosen = held_out(train.labels(), config.n_held_out);
    let k = config.headline_k.min(train.len() - 1);
    let (mut predicted, mut labels) = (Vec::with_capacity(chosen.len()), Vec::with_capacity(chosen.len()));
    for chosen in chosen.chunks(train.blocks(select)?.next().map_or(1, |block| block.len())) {
        let mut queries = Vec::new();
        for &sample in chosen {
            queries.append(&mut train.row(select, sample)?);
        }
        let queries = normalized(train.width(select)?, queries)?;
        let mut nearest = Nearest::excluding(queries.view(), k, chosen);
        offer_all(&mut nearest, train, select)?;
        let votes =
            weighted_votes(&nearest.finish(), train.labels(), n_classes, &[k], &config.temperatures[..1]);
        predicted.extend(votes[0].predicted());
        labels.extend(chosen.iter().map(|&sample| train.labels()[sample]));
    }
    Ok(Answer { select, held_out: top1(&predicted, &labels), test: votes })
}

/// Shows the whole bank, block by block.
fn offer_all(nearest: &mut Nearest, bank: &Bank, select: Select) -> Result<(), StudyError> {
    for samples in bank.blocks(select)? {
        nearest.offer(rows(bank, select, samples)?.view());
    }
    Ok(())
}

/// Some samples' features of one select, each row of length 1.
fn rows(bank: &Bank, select: Select, samples: Range<usize>) -> Result<Array2<f32>, StudyError> {
    normalized(bank.width(select)?, bank.rows(select, samples)?)
}

fn normalized(width: usize, values: Vec<f32>) -> Result<Array2<f32>, StudyError> {
    let rows = Array2::from_shape_vec((values.len() / width.max(1), width), values)
        .map_err(|error| value_error("whole rows of features", error.to_string()))?;
    Ok(l2_normalized(rows))
}

fn findings(
    config: &KnnConfig,
    shapes: &Shapes,
    answers: &[Answer],
    (train, test): (&Bank, &Bank),
    n_classes: usize,
) -> Result<Findings, StudyError> {
    let bootstrap = Bootstrap { n_resamples: 1000, level: 0.95, seed: shapes.seed };
    let labels = test.labels();
    let mut findings = Findings::default();
    let mut scored = Vec::new();
    for Answer { select, held_out, test } in answers {
        for votes in test {
            let metric = |name: &str, value: f64| {
                let metric = at(Metric::new(name, value, "ratio"), *select, shapes);
                metric.param("k", votes.k as u64).param("temperature", votes.temperature)
            };
            findings.metrics.push(metric("top1", top1(&votes.predicted(), labels)));
            if n_classes > 5 {
                findings.metrics.push(metric("top5", top5(votes.ranking.view(), labels)));
            }
        }
        let Some(votes) = test.iter().find(|votes| votes.k == config.headline_k.min(train.len())) else {
            return Err(value_error("votes at headline_k", "none".into()));
        };
        let right: Vec<bool> = votes.predicted().iter().zip(labels).map(|(a, b)| a == b).collect();
        scored.push(Scored {
            select: *select,
            held_out: *held_out,
            test: top1(&votes.predicted(), labels),
            interval: accuracy_interval(&right, bootstrap),
            params: vec![("k", (config.headline_k as u64).into())],
            right: Some(right),
        });
    }
    let words = Words {
        study: Knn::INFO.name,
        title: "kNN",
        caption: format!(
            "Share of test samples whose class wins the vote of the {} most similar training samples. It asks for \
             clusters as they lie; what a trained classifier could read out is not shown.",
            config.headline_k
        ),
        settings: format!("k = {}, temperature {}", config.headline_k, config.temperatures[0]),
        intervals: "Intervals are bootstrap over test samples",
        chosen: None,
    };
    by_layer::tell(&words, shapes, n_classes, &scored, &mut findings)?;
    Ok(findings)
}
