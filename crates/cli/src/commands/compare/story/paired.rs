//! Differences of two models on the same test samples or the same seeds, with intervals.

use super::super::answers::{Answers, Role, mean_over};
use super::scores::over_words;
use super::{Material, display_name};
use measure::interval::{Bootstrap, paired_difference_interval, paired_t_interval};
use report::{Cell, Metric, Table};

/// Resamples of a bootstrap.
const N_RESAMPLES: usize = 2000;

/// What an interval is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Runs that share a seed, in pairs.
    Seeds(usize),
    /// Test samples, in pairs, of one run.
    Samples(usize),
    /// There is none: the probe does not say which samples were right.
    Nothing,
}

/// A model's headline minus another's.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    /// The probe.
    pub probe: String,
    /// The headline's name, without `best.`.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// The model.
    pub model: String,
    /// The one that is taken away.
    pub against: String,
    /// Model − against.
    pub value: f64,
    /// The 95 % interval.
    pub low_high: Option<(f64, f64)>,
    /// What it is taken over.
    pub over: Over,
}

/// Every learned model against its untrained one and raw pixels, then the learned ones against one another.
pub(super) fn differences(material: &Material) -> Vec<Difference> {
    let learned: Vec<&str> = material.learned().collect();
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for model in &learned {
        let floors = [material.untrained_of(model), material.name_of(Role::RawPixels)];
        pairs.extend(floors.into_iter().flatten().map(|floor| (*model, floor)));
    }
    for (at, model) in learned.iter().enumerate() {
        pairs.extend(learned[at + 1..].iter().map(|other| (*model, *other)));
    }
    let seed = material.seeds.first().copied().unwrap_or_default();
    let mut found = Vec::new();
    for probe in &material.probes {
        for (model, against) in &pairs {
            found.extend(difference(probe.name, &material.of(model), &material.of(against), seed));
        }
    }
    found
}

/// The difference of two models by one probe; runs are paired by their seed, a model with one run stands beside all.
fn difference(probe: &str, model: &[&Answers], against: &[&Answers], seed: u64) -> Option<Difference> {
    let (first, other) = (*model.first()?, *against.first()?);
    let headline = first.headline(probe)?;
    let value =
        |run: &Answers| run.headline(probe).filter(|metric| metric.name == headline.name).map(|m| m.value);
    let partner = |run: &Answers, of: &[&Answers]| {
        let with = of.iter().find(|other| other.seed == run.seed);
        value(if of.len() == 1 { of[0] } else { with? })
    };
    let longer_is_model = model.len() >= against.len();
    let (longer, shorter) = if longer_is_model { (model, against) } else { (against, model) };
    let paired = longer.iter().filter_map(|run| Some((value(run)?, partner(run, shorter)?)));
    let (longer, shorter): (Vec<f64>, Vec<f64>) = paired.unzip();
    let (a, b) = if longer_is_model { (longer, shorter) } else { (shorter, longer) };
    if a.is_empty() {
        return None;
    }
    let (low_high, over) = if a.len() > 1 {
        let interval = paired_t_interval(&a, &b);
        (Some((interval.low, interval.high)), Over::Seeds(a.len()))
    } else {
        match (first.correct(probe), other.correct(probe)) {
            (Some(right), Some(other)) if right.len() == other.len() && !right.is_empty() => {
                let bootstrap = Bootstrap { n_resamples: N_RESAMPLES, level: 0.95, seed };
                let interval = paired_difference_interval(&right, &other, bootstrap);
                (Some((interval.low, interval.high)), Over::Samples(right.len()))
            }
            _ => (None, Over::Nothing),
        }
    };
    Some(Difference {
        probe: probe.to_owned(),
        metric: headline.name.trim_start_matches("best.").to_owned(),
        unit: headline.unit.clone(),
        model: first.model.clone(),
        against: other.model.clone(),
        value: mean_over(&a) - mean_over(&b),
        low_high,
        over,
    })
}

impl Difference {
    /// Whether the interval leaves zero out.
    fn is_told_apart(&self) -> Option<bool> {
        self.low_high.map(|(low, high)| low > 0.0 || high < 0.0)
    }
}

/// `difference.top1`, `difference.top1_low` and `difference.top1_high` of every pair.
pub(super) fn metrics(pairs: &[Difference]) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for pair in pairs {
        let mut push = |ending: &str, value: f64| {
            let metric = Metric::new(format!("difference.{}{ending}", pair.metric), value, pair.unit.clone());
            let metric = metric.param("model", pair.model.as_str()).param("against", pair.against.as_str());
            metrics.push(metric.param("study", pair.probe.as_str()));
        };
        push("", pair.value);
        if let Some((low, high)) = pair.low_high {
            push("_low", low);
            push("_high", high);
        }
    }
    metrics
}

/// What the table below shows.
pub(super) fn words(material: &Material) -> String {
    let how = if material.seeds.len() > 1 {
        "Runs are paired by their seed, and the interval is Student's over the differences; models without a run of \
         their own for each seed stand beside every run."
    } else {
        "Both models answered the same test samples, and the interval is a bootstrap over samples of the difference on \
         each: what is hard for both does not widen it. It says nothing of other seeds."
    };
    format!(
        "The difference of two models, each at its best layer. {how} Where the interval leaves zero out, the two are \
         told apart on this data."
    )
}

/// Every pair.
pub(super) fn table(pairs: &[Difference]) -> Table {
    let columns =
        ["probe", "model", "against", "difference", "95 % low", "95 % high", "told apart", "interval over"];
    let mut table = Table::new("paired_differences", "Differences in pairs", columns);
    for pair in pairs {
        table.push([
            Cell::from(display_name(&pair.probe)),
            Cell::from(pair.model.clone()),
            Cell::from(pair.against.clone()),
            Cell::from(pair.value),
            Cell::from(pair.low_high.map(|(low, _)| low)),
            Cell::from(pair.low_high.map(|(_, high)| high)),
            Cell::from(pair.is_told_apart().map(|apart| if apart { "yes" } else { "no" })),
            Cell::from(over_words(pair.over)),
        ]);
    }
    table.note(
        "Model minus against, in the unit of the probe's headline (0.01 is one point of accuracy). Intervals are not \
         widened for the number of rows: of twenty pairs that do not differ, one is told apart by chance.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::{Array, Kind, Provenance, Report};
    use std::collections::BTreeMap;
    use vit_features::CORRECT;

    /// A run with this headline, and these samples right.
    fn run(model: &str, seed: u64, top1: f64, right: &[u8]) -> Answers {
        let mut report = Report::new("p", Kind::Probe, "", model, "d", Provenance::default());
        report.metrics.push(Metric::new("best.top1", top1, "ratio"));
        if !right.is_empty() {
            let values = right.iter().map(|&right| f32::from(right)).collect();
            report.arrays.push(Array { name: CORRECT.into(), shape: vec![right.len()], values });
        }
        let studies = BTreeMap::from([("p".to_owned(), report)]);
        Answers { studies, ..Answers::new(model, seed) }
    }

    #[test]
    fn one_seed_is_compared_sample_by_sample() {
        // Right on .75 and .5 of four samples; they differ on the second only.
        let (a, b) = (run("a", 0, 0.75, &[1, 1, 1, 0]), run("b", 0, 0.5, &[1, 0, 1, 0]));
        let found = difference("p", &[&a], &[&b], 0).expect("both answered");
        assert_eq!((found.value, found.over), (0.25, Over::Samples(4)));
        let (low, high) = found.low_high.expect("an interval");
        // Resampled means are multiples of 1/4 at or above 0; P(0) = (3/4)^4 = .32, so 0 is the lower end.
        assert!(low == 0.0 && (0.5..=1.0).contains(&high), "{low} {high}");
        assert_eq!(found.is_told_apart(), Some(false));
    }

    #[test]
    fn seeds_are_paired_by_their_number() {
        let runs = |model: &'static str, values: [(u64, f64); 3]| {
            values.map(|(seed, top1)| run(model, seed, top1, &[]))
        };
        let a = runs("a", [(0, 0.52), (1, 0.63), (2, 0.74)]);
        let b = runs("b", [(2, 0.70), (0, 0.50), (1, 0.60)]);
        let (a, b): (Vec<_>, Vec<_>) = (a.iter().collect(), b.iter().collect());
        let found = difference("p", &a, &b, 0).expect("both answered");
        // Differences .02 .03 .04; the half width is 4.302653 · .01 / √3.
        let (low, high) = found.low_high.expect("an interval");
        assert!((found.value - 0.03).abs() < 1e-12 && found.over == Over::Seeds(3));
        assert!((low - 0.0051586).abs() < 1e-6 && (high - 0.0548414).abs() < 1e-6, "{low} {high}");
        assert_eq!(found.is_told_apart(), Some(true));
    }

    #[test]
    fn a_model_with_one_run_stands_beside_every_seed_on_either_side() {
        let (a, b) = ([run("a", 0, 0.6, &[]), run("a", 1, 0.8, &[])], run("raw", 0, 0.5, &[]));
        let a: Vec<_> = a.iter().collect();
        let found = difference("p", &a, &[&b], 0).expect("both answered");
        let turned = difference("p", &[&b], &a, 0).expect("both answered");
        assert!((found.value - 0.2).abs() < 1e-12 && (turned.value + 0.2).abs() < 1e-12);
        assert_eq!((found.over, turned.over), (Over::Seeds(2), Over::Seeds(2)));
        let ((low, high), (turned_low, turned_high)) =
            (found.low_high.expect("an interval"), turned.low_high.expect("an interval"));
        assert!((low + turned_high).abs() < 1e-12 && (high + turned_low).abs() < 1e-12);
    }

    #[test]
    fn without_samples_there_is_a_difference_but_no_interval() {
        let (a, b) = (run("a", 0, 0.75, &[]), run("b", 0, 0.5, &[1, 0]));
        let found = difference("p", &[&a], &[&b], 0).expect("both answered");
        assert_eq!((found.value, found.low_high, found.is_told_apart()), (0.25, None, None));
        assert_eq!(metrics(std::slice::from_ref(&found)).len(), 1);
        assert_eq!(table(&[found]).rows[0][4..7], [Cell::Empty, Cell::Empty, Cell::Empty]);
        assert_eq!(difference("other", &[&a], &[&b], 0), None);
    }
}
