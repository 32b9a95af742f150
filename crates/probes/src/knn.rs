//! k nearest neighbors: does the class of a picture stand among its neighbors' classes, layer by layer?

use measure::interval::{Bootstrap, accuracy_interval};
use measure::nearest::{TopK, l2_normalize_rows, top_k, top_k_excluding};
use measure::vote::{Votes, top1, top5, weighted_votes};
use ndarray::{Array2, ArrayView2, Axis};
use report::{Block, Cell, Figure, FigureData, Info, LinePlot, Metric, Recipe, RecipeError, Series, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::Site;
use vit_features::{
    Accumulate, Findings, Needs, Part, Place, Role, Select, Shapes, Study, StudyError, Taken,
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
        if self.tokens.is_empty() || self.tokens.iter().any(|token| token != "cls" && token != "mean") {
            return Err(RecipeError::value("tokens", "`cls`, `mean`, or both", format!("{:?}", self.tokens)));
        }
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

/// Labeled features of one side, row by row. Memory: `samples · selects · D · 4` bytes.
#[derive(Default)]
struct Side {
    labels: Vec<u32>,
    features: BTreeMap<Select, (usize, Vec<f32>)>,
}

impl Side {
    fn matrix(&self, select: Select) -> Result<Array2<f32>, StudyError> {
        let empty = || value_error("features of every layer", format!("none of {select}"));
        let (width, values) = self.features.get(&select).ok_or_else(empty)?;
        let rows = ArrayView2::from_shape((self.labels.len(), *width), values)
            .map_err(|error| value_error("as many features as labels", error.to_string()))?;
        Ok(l2_normalize_rows(rows))
    }

    fn append(&mut self, later: Self) {
        self.labels.extend(later.labels);
        for (select, (width, values)) in later.features {
            self.features.entry(select).or_insert((width, Vec::new())).1.extend(values);
        }
    }
}

/// The bank and the questions.
pub struct KnnAcc {
    wanted: Vec<Select>,
    train: Side,
    test: Side,
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
        for (label, index) in taken.info.labels.iter().zip(taken.info.indices) {
            let label = label
                .ok_or_else(|| value_error("a class for every sample", format!("none for sample {index}")))?;
            side.labels.push(label);
        }
        for (&select, (shape, values)) in taken.features {
            if !self.wanted.contains(&select) {
                continue; // another study asked for it
            }
            if let Some(at) = values.iter().position(|x| !x.is_finite()) {
                let found = format!("{} in {select}", values[at]);
                return Err(value_error("finite features", found));
            }
            let width = shape[1];
            side.features.entry(select).or_insert((width, Vec::new())).1.extend_from_slice(values);
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.train.append(later.train);
        self.test.append(later.test);
    }
}

/// What is asked: pixels where there is no model, else tokens at every block and after the final norm.
fn candidates(config: &KnnConfig, shapes: &Shapes) -> Result<Vec<Select>, StudyError> {
    if shapes.depth == 0 {
        return Ok(vec![Select::PIXELS]);
    }
    let mut parts = Vec::new();
    for token in &config.tokens {
        match token.as_str() {
            "cls" if shapes.has_class => parts.push(Part::Class),
            "cls" => {}
            _ => parts.push(Part::Mean),
        }
    }
    if parts.is_empty() {
        return Err(StudyError::Model {
            study: Knn::INFO.name.into(),
            needs: "a class token (tokens = [\"cls\"])".into(),
            found: "a model without one".into(),
            model: shapes.model.clone(),
        });
    }
    let mut places: Vec<Place> = shapes.blocks.iter().map(|&block| Place::At(Site::Block(block))).collect();
    if shapes.has_norm && shapes.blocks.contains(&(shapes.depth - 1)) {
        places.push(Place::At(Site::Norm));
    }
    Ok(places.into_iter().flat_map(|place| parts.iter().map(move |&part| Select { place, part })).collect())
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
    type Config = KnnConfig;
    type Acc = KnnAcc;

    fn needs(config: &KnnConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        Ok(Needs { sites: Vec::new(), selects: candidates(config, shapes)?, train: true, labels: true })
    }

    fn open(config: &KnnConfig, shapes: &Shapes) -> KnnAcc {
        // What the model cannot have was refused by `needs`.
        let wanted = candidates(config, shapes).unwrap_or_default();
        KnnAcc { wanted, train: Side::default(), test: Side::default() }
    }

    fn finish(config: &KnnConfig, shapes: &Shapes, acc: KnnAcc) -> Result<Findings, StudyError> {
        let KnnAcc { train, test, .. } = acc;
        if train.labels.len() < 2 || test.labels.is_empty() {
            let found = format!("{} and {}", train.labels.len(), test.labels.len());
            return Err(value_error("at least 2 training samples and 1 test sample", found));
        }
        let most = train.labels.iter().chain(&test.labels).max().map_or(0, |&class| class as usize + 1);
        let n_classes = shapes.n_classes.max(most);
        let mut answers = Vec::new();
        for select in candidates(config, shapes)? {
            answers.push(answer(config, select, &train, &test, n_classes)?);
        }
        findings(config, shapes, &answers, (&test.labels, train.labels.len()), n_classes)
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
    train: &Side,
    test: &Side,
    n_classes: usize,
) -> Result<Answer, StudyError> {
    let (bank, queries) = (train.matrix(select)?, test.matrix(select)?);
    let ks = usable(&config.ks, train.labels.len());
    let top = top_k(queries.view(), bank.view(), ks.iter().copied().max().unwrap_or(1));
    let votes = weighted_votes(&top, &train.labels, n_classes, &ks, &config.temperatures);
    // Evenly spaced training samples, each asked without itself.
    let n = train.labels.len();
    let n_held_out = config.n_held_out.min(n);
    let chosen: Vec<usize> = (0..n_held_out).map(|i| i * n / n_held_out).collect();
    let held_out = bank.select(Axis(0), &chosen);
    let k = config.headline_k.min(n - 1);
    let top: TopK = top_k_excluding(held_out.view(), bank.view(), k, &chosen);
    let held_out_votes = weighted_votes(&top, &train.labels, n_classes, &[k], &config.temperatures[..1]);
    let labels: Vec<u32> = chosen.iter().map(|&i| train.labels[i]).collect();
    let held_out = top1(&held_out_votes[0].predicted(), &labels);
    Ok(Answer { select, held_out, test: votes })
}

/// What a select is called on the axis of layers: the block, or one past the last for the final norm.
fn position(select: Select, depth: usize) -> f64 {
    select.layer(depth).map_or(0.0, |layer| layer as f64)
}

fn findings(
    config: &KnnConfig,
    shapes: &Shapes,
    answers: &[Answer],
    (labels, n_bank): (&[u32], usize),
    n_classes: usize,
) -> Result<Findings, StudyError> {
    let bootstrap = Bootstrap { n_resamples: 1000, level: 0.95, seed: shapes.seed };
    let mut findings = Findings::default();
    let mut table = Table::new(
        "by_layer",
        "kNN accuracy by layer",
        ["features", "layer", "held-out top-1", "test top-1", "95 % low", "95 % high"],
    );
    let mut curves: BTreeMap<Part, Vec<(f64, f64)>> = BTreeMap::new();
    let mut best: Option<(f64, f64, Select, measure::interval::Interval, Vec<bool>)> = None;
    let mut oracle: Option<(f64, Select)> = None;
    for Answer { select, held_out, test } in answers {
        let with_layer = |metric: Metric| match select.layer(shapes.depth) {
            Some(layer) => metric.layer(layer),
            None => metric,
        };
        for votes in test {
            let metric = |name: &str, value: f64| {
                let metric = Metric::new(name, value, "ratio").select(select.to_string());
                with_layer(metric.param("k", votes.k as u64).param("temperature", votes.temperature))
            };
            findings.metrics.push(metric("top1", top1(&votes.predicted(), labels)));
            if n_classes > 5 {
                findings.metrics.push(metric("top5", top5(votes.ranking.view(), labels)));
            }
        }
        let Some(votes) = test.iter().find(|votes| votes.k == config.headline_k.min(n_bank)) else {
            return Err(value_error("votes at headline_k", "none".into()));
        };
        let accuracy = top1(&votes.predicted(), labels);
        let right: Vec<bool> = votes.predicted().iter().zip(labels).map(|(a, b)| a == b).collect();
        let interval = accuracy_interval(&right, bootstrap);
        table.push([
            Cell::from(select.to_string()),
            Cell::from(select.layer(shapes.depth).map(|layer| layer as i64)),
            Cell::from(*held_out),
            Cell::from(accuracy),
            Cell::from(interval.low),
            Cell::from(interval.high),
        ]);
        curves.entry(select.part).or_default().push((position(*select, shapes.depth), accuracy));
        if best.as_ref().is_none_or(|(score, ..)| held_out > score) {
            best = Some((*held_out, accuracy, *select, interval, right));
        }
        if oracle.is_none_or(|(score, _)| accuracy > score) {
            oracle = Some((accuracy, *select));
        }
        let metric = Metric::new("held_out_top1", *held_out, "ratio").select(select.to_string());
        findings.metrics.push(with_layer(metric.param("k", config.headline_k as u64)));
    }
    let (Some((held_out, accuracy, select, interval, right)), Some((oracle, oracle_select))) = (best, oracle)
    else {
        return Err(value_error("at least one layer", "none".into()));
    };
    let chosen = |name: &str, value: f64, select: Select| {
        let metric = Metric::new(name, value, "ratio").select(select.to_string());
        let metric = metric.param("k", config.headline_k as u64);
        match select.layer(shapes.depth) {
            Some(layer) => metric.layer(layer),
            None => metric,
        }
    };
    findings.metrics.push(chosen("best.top1", accuracy, select));
    findings.metrics.push(chosen("best.top1_low", interval.low, select));
    findings.metrics.push(chosen("best.top1_high", interval.high, select));
    findings.metrics.push(chosen("best.held_out_top1", held_out, select));
    findings.metrics.push(chosen("oracle.top1", oracle, oracle_select));
    findings.metrics.push(Metric::new("chance", 1.0 / n_classes as f64, "ratio"));
    findings.mark_correct(&right);
    findings.tables.push(table.note(format!(
        "k = {}, temperature {}. The best layer ({select}) is chosen on held-out training samples; choosing on the \
         test side itself would give {oracle:.3} ({oracle_select}). Intervals are bootstrap over test samples.",
        config.headline_k, config.temperatures[0]
    )));
    if shapes.depth > 0 {
        findings.figures.push(curve(config, shapes, curves, n_classes));
        findings.story.push(Block::Figure("knn_by_layer".into()));
    }
    findings.story.push(Block::Table("by_layer".into()));
    Ok(findings)
}

fn curve(
    config: &KnnConfig,
    shapes: &Shapes,
    curves: BTreeMap<Part, Vec<(f64, f64)>>,
    n_classes: usize,
) -> Figure {
    let series = curves.into_iter().map(|(part, points)| {
        let name = if part == Part::Class { "class token" } else { "mean of patches" };
        Series::new(name, points)
    });
    let plot = LinePlot {
        x_label: format!("block ({} is after the final norm)", shapes.depth),
        y_label: "top-1".into(),
        series: series.collect(),
        reference_lines: vec![("chance".into(), 1.0 / n_classes as f64)],
    };
    Figure::new(
        "knn_by_layer",
        "kNN accuracy by layer",
        format!(
            "Share of test samples whose class wins the vote of the {} most similar training samples. It asks for \
             clusters as they lie; what a trained classifier could read out is not shown.",
            config.headline_k
        ),
        FigureData::Line(plot),
    )
}
