//! What one model answered in one run.

use report::Metric;
use std::collections::BTreeMap;
use vit_features::Part;
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
    /// Study → numbers.
    pub studies: BTreeMap<String, Vec<Metric>>,
    /// Accuracy of its own classifier on the test side.
    pub own_top1: Option<f64>,
    /// Pictures of what its objective does.
    pub preview: Option<Preview>,
    /// Epoch and loss.
    pub loss: Vec<(f64, f64)>,
}

/// The mean; 0 of nothing.
pub(super) fn mean_over(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

impl Answers {
    /// All numbers of a name.
    pub(super) fn metrics<'a>(&'a self, study: &str, name: &'a str) -> impl Iterator<Item = &'a Metric> {
        self.studies.get(study).into_iter().flatten().filter(move |metric| metric.name == name)
    }

    /// The first number of a name.
    pub(super) fn metric<'a>(&'a self, study: &str, name: &'a str) -> Option<&'a Metric> {
        self.metrics(study, name).next()
    }

    /// Its value.
    pub(super) fn value(&self, study: &str, name: &str) -> Option<f64> {
        Some(self.metric(study, name)?.value)
    }

    /// A metric by layer, for one kind of tokens and one `k`.
    pub(super) fn layer_curve(&self, study: &str, name: &str, part: Part, k: usize) -> Vec<(f64, f64)> {
        let ending = if part == Part::Class { ".cls" } else { ".mean" };
        let wanted = |metric: &&Metric| {
            metric.select.as_ref().is_some_and(|select| select.ends_with(ending))
                && metric
                    .params
                    .get("k")
                    .and_then(serde_json::Value::as_u64)
                    .is_none_or(|found| found == k as u64)
        };
        let found = self.metrics(study, name).filter(wanted);
        found.filter_map(|metric| Some((metric.layer? as f64, metric.value))).collect()
    }
}
