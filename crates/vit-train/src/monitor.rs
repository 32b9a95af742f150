//! Scores of the encoder while it is trained: how often, so that training hardly notices.

use crate::{Progress, TrainError};
use report::RecipeError;
use serde::{Deserialize, Serialize};
use vit_core::Backbone;

/// The share of training that scores may take by counted operations, where nobody says how often they are wanted. By the
/// clock it is up to twice that, 2 %: neighbors and linear probes are not counted, and a small encoder alone runs less
/// smoothly than a whole step. The readings of health take what is left of 3 %.
const MAX_SHARE: f64 = 0.01;

/// Scores of one run, at most: more would not be seen in a curve.
const MAX_SCORES: usize = 200;

/// Somebody who scores the encoder on data that training never sees.
///
/// A score is a function of the encoder alone: it draws from no stream of the run and changes nothing in it.
pub trait Monitor {
    /// Images that pass the encoder for one score.
    fn n_images(&self) -> usize;
    /// The scores, by name.
    ///
    /// # Errors
    /// When the data cannot be read.
    fn scores(&self, encoder: &Backbone) -> Result<Vec<(&'static str, f64)>, TrainError>;
}

/// How often the encoder is scored, and on how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorConfig {
    /// Steps between two scores; 0: as often as it costs at most 2 % of training, the first and the last step included.
    pub every_steps: usize,
    /// Samples of the training side from which classes are learned; 0: the encoder is not scored.
    pub n_train: usize,
    /// Held-out samples that are asked.
    pub n_test: usize,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self { every_steps: 0, n_train: 512, n_test: 256 }
    }
}

impl MonitorConfig {
    /// Checks the counts.
    ///
    /// # Errors
    /// When there is something to learn from, but nothing to ask.
    pub fn check(&self) -> Result<(), RecipeError> {
        if self.n_train > 0 && self.n_test == 0 {
            return Err(RecipeError::value(
                "train.monitor.n_test",
                "at least 1, or train.monitor.n_train = 0",
                "0",
            ));
        }
        Ok(())
    }

    /// Steps between two scores in a run of `n_steps`, where a score costs as much as `cost_steps` steps: with
    /// `c = cost_steps`, `⌊0.01·n_steps / c⌋` scores from the first step to the last. None where there is time for
    /// fewer than two.
    pub fn every(&self, n_steps: usize, cost_steps: f64) -> Option<usize> {
        if self.every_steps > 0 {
            return Some(self.every_steps);
        }
        let n_scores = (MAX_SHARE * n_steps as f64 / cost_steps.max(1e-9)) as usize;
        let n_scores = n_scores.min(MAX_SCORES).min(n_steps);
        (n_scores > 1).then(|| (n_steps - 1).div_ceil(n_scores - 1))
    }
}

/// Whether the encoder is scored after a step: at every `every`-th from the first on, and at the last.
pub(crate) fn is_due(every: Option<usize>, at: Progress) -> bool {
    every.is_some_and(|every| at.step.is_multiple_of(every) || at.step + 1 == at.n_steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_run_of_a_thousand_steps_has_time_for_five_scores_of_two_steps_each() {
        // ⌊0.01 · 1000 / 2⌋ = 5 scores: 4 stretches of 999 steps, at most 250 each.
        let every = MonitorConfig::default().every(1000, 2.0);
        assert_eq!(every, Some(250));
        let due = |step| is_due(every, Progress { step, n_steps: 1000, steps_per_epoch: 100 });
        let steps: Vec<usize> = (0..1000).filter(|&step| due(step)).collect();
        assert_eq!(steps, [0, 250, 500, 750, 999]);
    }

    #[test]
    fn a_short_run_is_not_scored_unless_the_recipe_says_so() {
        assert_eq!(MonitorConfig::default().every(100, 1.5), None);
        assert_eq!(MonitorConfig { every_steps: 40, ..MonitorConfig::default() }.every(100, 1.5), Some(40));
    }

    #[test]
    fn samples_to_learn_from_need_samples_to_ask() {
        let error = MonitorConfig { n_test: 0, ..MonitorConfig::default() }.check().expect_err("refused");
        assert!(error.to_string().contains("train.monitor.n_test"), "{error}");
        MonitorConfig { n_train: 0, n_test: 0, ..MonitorConfig::default() }.check().expect("off");
    }

    proptest! {
        #[test]
        fn scores_never_take_more_than_their_share(n_steps in 1usize..3000, cost in 0.01f64..50.0) {
            let every = MonitorConfig::default().every(n_steps, cost);
            let at = |step| Progress { step, n_steps, steps_per_epoch: 100 };
            let n_scores = (0..n_steps).filter(|&step| is_due(every, at(step))).count();
            prop_assert!(n_scores as f64 * cost <= MAX_SHARE * n_steps as f64 + 1e-9);
            prop_assert!(n_scores <= MAX_SCORES);
        }
    }
}
