//! Alarms: sentences that name why training is not in good health, from what an objective reads of itself.
//!
//! An alarm is a pure function of one step's readings, so that a resumed run raises the same.

use crate::StepReport;
use std::collections::BTreeSet;

/// Share of `ln K` above which the mean entropy of the teacher's targets means that they say nothing.
const UNIFORM_SHARE: f64 = 0.998;

/// Share of `ln K` below which each single target is one prototype and nothing else.
const ONE_HOT_SHARE: f64 = 0.005;

/// Share of `ln K` below which the mean of the targets means that nearly all samples fall onto the same few prototypes.
const ONE_PROTOTYPE_SHARE: f64 = 0.15;

/// Spread of the features, of 1, below which they are the same for every sample.
const COLLAPSED_STD: f64 = 0.02;

/// Share of `ln K` above which the loss of a class target is worse than a student that says nothing at all.
const DIVERGED_SHARE: f64 = 1.25;

/// Spread of the head's outputs, of 1, below which it says the same of every sample.
const DEAD_HEAD_STD: f64 = 0.006;

/// Distance of two views of one sample, of that of two samples, below which the views are the same picture.
const SAME_VIEWS: f64 = 1e-4;

/// Steps of warm-up in which nothing is judged: every run begins with targets and features that say little.
const GRACE_STEPS: usize = 20;

/// The alarms of a step's readings. Known names:
///
/// - `teacher_entropy_share`: mean entropy of the targets over `ln K`
/// - `mean_target_entropy_share`: entropy of the mean target over `ln K`
/// - `feature_std`: spread of the features, 1 where they fill the sphere
/// - `class_loss_share`: the loss of class targets over `ln K`
/// - `head_std`: spread of the head's output over samples, 1 where it fills the sphere
/// - `view_distance`: distance of the pixels of two views of one sample over that of two samples
pub fn alarms_of(readings: &[(&'static str, f64)], step: usize) -> Vec<String> {
    if step < GRACE_STEPS {
        return Vec::new();
    }
    let of = |name: &str| readings.iter().find(|(known, _)| *known == name).map(|&(_, value)| value);
    let below = |name: &str, bound: f64| of(name).filter(|&value| value < bound);
    let above = |name: &str, bound: f64| of(name).filter(|&value| value > bound);
    let mut alarms = Vec::new();
    if let Some(share) = above("teacher_entropy_share", UNIFORM_SHARE) {
        alarms.push(format!(
            "collapse to uniform targets: the teacher's entropy is {:.2} % of ln K, so its targets say nothing; lower \
             the teacher's temperature",
            100.0 * share
        ));
    }
    if let Some(share) = below("mean_target_entropy_share", ONE_PROTOTYPE_SHARE) {
        alarms.push(format!(
            "collapse onto few prototypes: the mean target has {:.2} % of the entropy ln K; check that the centers are \
             updated, or lower the learning rate",
            100.0 * share
        ));
    }
    if let Some(share) = below("teacher_entropy_share", ONE_HOT_SHARE) {
        alarms.push(format!(
            "targets without doubt: the teacher's entropy is {:.3} % of ln K, each target a single prototype; raise the \
             teacher's temperature",
            100.0 * share
        ));
    }
    if let Some(std) = below("feature_std", COLLAPSED_STD) {
        alarms.push(format!(
            "collapse of the features: their spread over samples is {std:.4} of 1, so every sample looks the same; \
             check that the views of a sample differ from those of others, and lower the learning rate"
        ));
    }
    if let Some(std) =
        below("head_std", DEAD_HEAD_STD).filter(|_| below("feature_std", COLLAPSED_STD).is_none())
    {
        alarms.push(format!(
            "dead head: the features differ, but the head's outputs spread over {std:.4} of 1; lower the learning rate \
             or start the head afresh"
        ));
    }
    if below("view_distance", SAME_VIEWS).is_some() {
        alarms.push(
            "identical views: two views of a sample have the same pixels, so there is nothing to learn from them; widen \
             the crops or the color jitter"
                .to_owned(),
        );
    }
    if let Some(share) = above("class_loss_share", DIVERGED_SHARE) {
        alarms.push(format!(
            "divergence: the loss of class targets is {share:.2} times ln K, worse than a student that says nothing; \
             lower the learning rate or clip the gradients"
        ));
    }
    alarms
}

/// Remembers which alarms were told, so that each is told once.
#[derive(Clone, Debug, Default)]
pub struct Alarms {
    told: BTreeSet<String>,
}

impl Alarms {
    /// The alarms of a report whose cause was not told before, each with its step.
    pub fn new_in(&mut self, report: &StepReport) -> Vec<String> {
        let step = report.progress.step;
        let cause = |alarm: &str| alarm.split(':').next().unwrap_or_default().to_owned();
        let new = report.alarms.iter().filter(|alarm| self.told.insert(cause(alarm)));
        new.map(|alarm| format!("alarm at step {step}: {alarm}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_sentence_and_health_has_none() {
        let healthy = [
            ("teacher_entropy_share", 0.7),
            ("mean_target_entropy_share", 0.9),
            ("feature_std", 0.6),
            ("head_std", 0.5),
            ("class_loss_share", 0.8),
            ("view_distance", 0.4),
        ];
        assert!(alarms_of(&healthy, 100).is_empty());
        let sick = |name: &'static str, value: f64| {
            let readings: Vec<_> =
                healthy.iter().map(|&(n, v)| (n, if n == name { value } else { v })).collect();
            let alarms = alarms_of(&readings, 100);
            assert_eq!(alarms.len(), 1, "{name} = {value}: {alarms:?}");
            assert!(alarms_of(&readings, 3).is_empty(), "nothing is judged at the very beginning");
            alarms[0].split(':').next().unwrap_or_default().to_owned()
        };
        assert_eq!(sick("teacher_entropy_share", 0.9999), "collapse to uniform targets");
        assert_eq!(sick("teacher_entropy_share", 0.0001), "targets without doubt");
        assert_eq!(sick("mean_target_entropy_share", 0.01), "collapse onto few prototypes");
        assert_eq!(sick("feature_std", 0.001), "collapse of the features");
        assert_eq!(sick("head_std", 0.001), "dead head");
        assert_eq!(sick("class_loss_share", 1.6), "divergence");
        assert_eq!(sick("view_distance", 0.0), "identical views");
    }
}
