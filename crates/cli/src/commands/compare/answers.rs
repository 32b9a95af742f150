//! What one model answered in one run.

use report::{Metric, Report};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_features::{CORRECT, StudyError};
use vit_train::Preview;

/// What a model is in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// No model at all.
    RawPixels,
    /// The architecture with random weights.
    Untrained,
    /// Trained here.
    Trained,
    /// Given on the command line.
    Given,
}

/// What one model answered in one run.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    /// Its name.
    pub model: String,
    /// The run's seed.
    pub seed: u64,
    /// The untrained model whose weights were drawn as this one's were at first; none where that is not known.
    pub floor: Option<String>,
    /// Study → what it found; of its arrays only [`CORRECT`] is kept.
    pub studies: BTreeMap<String, Report>,
    /// (study, model) → why it could not be asked.
    pub absent: BTreeMap<(String, String), String>,
    /// Accuracy of its own classifier on the test side.
    pub own_top1: Option<f64>,
    /// Pictures of what its objective does.
    pub preview: Option<Preview>,
    /// What the log of its training tells.
    pub curves: Curves,
}

/// Curves over the epochs of training, each a row of `(epoch, value)`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Curves {
    /// The loss.
    pub loss: Vec<(f64, f64)>,
    /// Scores of the encoder on held-out data, by name.
    pub scores: BTreeMap<String, Vec<(f64, f64)>>,
}

/// The mean; 0 of nothing.
pub(super) fn mean_over(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

impl Answers {
    /// Nothing yet.
    pub(super) fn new(model: &str, seed: u64) -> Self {
        Self {
            model: model.into(),
            seed,
            floor: None,
            studies: BTreeMap::new(),
            absent: BTreeMap::new(),
            own_top1: None,
            preview: None,
            curves: Curves::default(),
        }
    }

    /// Notes why a study could not be asked of a model, and gives the sentence back; the rest is asked.
    ///
    /// # Errors
    /// What is no reason to leave a study out.
    pub(super) fn leave_out(
        &mut self,
        study: &str,
        model: &str,
        error: StudyError,
    ) -> Result<String, StudyError> {
        let why = match error {
            StudyError::Model { needs, .. } => format!("does not apply: needs {needs}"),
            StudyError::Offers { needs, .. } => format!("does not apply: the data offers not {needs}"),
            StudyError::TooFew { expected, found, .. } => {
                format!("too little data: expected {expected}; found {found}")
            }
            other => return Err(other),
        };
        self.absent.insert((study.to_owned(), model.to_owned()), why.clone());
        Ok(why)
    }

    /// All numbers of a name.
    pub(super) fn metrics<'a>(&'a self, study: &str, name: &'a str) -> impl Iterator<Item = &'a Metric> {
        let metrics = self.studies.get(study).into_iter().flat_map(|report| &report.metrics);
        metrics.filter(move |metric| metric.name == name)
    }

    /// The first number of a name.
    pub(super) fn metric<'a>(&'a self, study: &str, name: &'a str) -> Option<&'a Metric> {
        self.metrics(study, name).next()
    }

    /// Its value.
    pub(super) fn value(&self, study: &str, name: &str) -> Option<f64> {
        Some(self.metric(study, name)?.value)
    }

    /// Of every test sample, in their order, whether a probe's headline was right.
    pub(super) fn correct(&self, study: &str) -> Option<Vec<bool>> {
        let array = self.studies.get(study)?.arrays.iter().find(|array| array.name == CORRECT)?;
        Some(array.values.iter().map(|&value| value > 0.5).collect())
    }

    /// The number that a probe is known by: `best.top1`, else its first `best.…`.
    pub(super) fn headline(&self, study: &str) -> Option<&Metric> {
        let metrics = &self.studies.get(study)?.metrics;
        let named = metrics.iter().find(|metric| metric.name == "best.top1");
        named.or_else(|| metrics.iter().find(|metric| metric.name.starts_with("best.")))
    }

    /// The number of the headline's name at every layer, by the kind of features that was asked (see [`features_of`]):
    /// where a layer has several, the one whose parameters are nearest the headline's.
    pub(super) fn layer_curves(&self, study: &str) -> BTreeMap<String, Vec<(f64, f64)>> {
        let Some(headline) = self.headline(study) else { return BTreeMap::new() };
        let name = headline.name.trim_start_matches("best.");
        let likeness = |metric: &Metric| {
            metric.params.iter().filter(|(key, value)| headline.params.get(*key) == Some(*value)).count()
        };
        let mut chosen: BTreeMap<(String, usize), &Metric> = BTreeMap::new();
        for metric in self.metrics(study, name) {
            let (Some(select), Some(layer)) = (&metric.select, metric.layer) else { continue };
            let known = chosen.entry((features_of(select), layer)).or_insert(metric);
            if likeness(metric) > likeness(known) {
                *known = metric;
            }
        }
        let mut curves: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for ((features, layer), metric) in chosen {
            curves.entry(features).or_default().push((layer as f64, metric.value));
        }
        curves
    }
}

/// What a select has in common with the selects of other layers: `cls` of `block3.cls` and of `norm.cls`,
/// `key.patches` of `block3.key.patches`, `normed.block*.cls` of `normed.block3.cls`.
pub(super) fn features_of(select: &str) -> String {
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let block = |part: &str| part.strip_prefix("block").is_some_and(digits);
    match select.split_once('.') {
        Some((place, part)) if place == "norm" || block(place) => part.to_owned(),
        _ => {
            let kind = |part| match part {
                part if block(part) => "block*",
                part if digits(part) => "*",
                part => part,
            };
            select.split('.').map(kind).collect::<Vec<_>>().join(".")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::{Kind, Provenance};

    /// Answers of one probe with these metrics.
    fn answers(metrics: Vec<Metric>) -> Answers {
        let mut report = Report::new("p", Kind::Probe, "", "m", "d", Provenance::default());
        report.metrics = metrics;
        Answers { studies: BTreeMap::from([("p".to_owned(), report)]), ..Answers::new("m", 0) }
    }

    #[test]
    fn what_cannot_be_asked_is_a_sentence_and_other_errors_stay_errors() {
        let mut answers = answers(Vec::new());
        let why = answers.leave_out("few-shot", "m", StudyError::too_few("few-shot", "more", "5 of a class"));
        let why = why.expect("a sentence");
        assert_eq!(why, "too little data: expected more; found 5 of a class");
        assert_eq!(answers.absent.get(&("few-shot".to_owned(), "m".to_owned())), Some(&why));
        let (study, expected, found) = ("knn".into(), "finite features".into(), "NaN".into());
        assert!(answers.leave_out("knn", "m", StudyError::Value { study, expected, found }).is_err());
    }

    #[test]
    fn selects_of_one_kind_share_a_curve() {
        let names =
            ["block3.cls", "norm.cls", "block3.key.patches", "normed.block3.cls", "norm1.2.mean", "pixels"];
        let kinds = ["cls", "cls", "key.patches", "normed.block*.cls", "norm1.*.mean", "pixels"];
        assert_eq!(names.map(features_of), kinds);
    }

    #[test]
    fn curves_follow_the_parameters_of_the_headline_where_they_can() {
        let at = |layer: usize, k: u64, value: f64| {
            let metric = Metric::new("top1", value, "ratio").layer(layer).param("k", k);
            metric.select(if layer == 2 { "norm.cls".to_owned() } else { format!("block{layer}.cls") })
        };
        let metrics = vec![at(0, 1, 0.1), at(0, 20, 0.2), at(1, 20, 0.3), at(1, 1, 0.4), at(2, 1, 0.5)];
        let mut metrics = metrics;
        metrics.push(Metric::new("best.top1", 0.3, "ratio").param("k", 20));
        let curves = answers(metrics).layer_curves("p");
        assert_eq!(curves, BTreeMap::from([("cls".to_owned(), vec![(0.0, 0.2), (1.0, 0.3), (2.0, 0.5)])]));
    }
}
