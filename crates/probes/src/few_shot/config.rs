//! The options of few-shot classification.

use crate::by_layer::{check_tokens, with_kind};
use report::{Recipe, RecipeError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use vit_features::BANK_BYTES;

/// The options of [`FewShot`](super::FewShot).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FewShotConfig {
    /// Tokens asked at every layer: `cls`, `mean`, or both.
    pub tokens: Vec<String>,
    /// Numbers of labeled samples a class; 1 and 5 are usual.
    pub shots: Vec<usize>,
    /// The number of the curves, of the choice of the best layer, and of the headline.
    pub headline_shots: usize,
    /// Classes in an episode; 5 is usual, 0 means all.
    pub n_ways: usize,
    /// Samples asked of each class in an episode, of the test side and of the held-out ones; 15 is usual.
    pub n_queries: usize,
    /// Episodes; 600 and more are usual.
    pub n_episodes: usize,
    /// Features of a side beyond this many MiB are kept in temporary files; changes no number.
    pub memory_mib: usize,
    /// What is done to features first.
    pub normalize: Normalize,
    /// What learns from the labeled samples.
    pub classifier: Classifier,
}

impl Default for FewShotConfig {
    fn default() -> Self {
        Self {
            tokens: vec!["cls".into(), "mean".into()],
            shots: vec![1, 5, 10],
            headline_shots: 5,
            n_ways: 0,
            n_queries: 15,
            n_episodes: 100,
            memory_mib: BANK_BYTES >> 20,
            normalize: Normalize::default(),
            classifier: Classifier::default(),
        }
    }
}

/// What is done to features before a classifier of few samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalize {
    /// Nothing.
    None,
    /// Each is divided by its length.
    L2,
    /// The mean of the training side, whose labels are not used, is taken away first: CL2N in SimpleShot.
    #[default]
    CenteredL2,
}

/// What learns from few samples; `prototypes` where no `kind` is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "kind", rename_all = "kebab-case")]
pub enum Classifier {
    /// The class whose mean is nearest.
    Prototypes(Prototypes),
    /// Logistic regression on the labeled samples.
    Logistic(Regression),
}

impl Serialize for Classifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer) // the derived one
    }
}

impl<'de> Deserialize<'de> for Classifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(with_kind(deserializer, "prototypes")?).map_err(D::Error::custom) // the derived one
    }
}

impl Default for Classifier {
    fn default() -> Self {
        Self::Prototypes(Prototypes {})
    }
}

/// The options of [`Classifier::Prototypes`]: none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prototypes {}

/// The options of [`Classifier::Logistic`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Regression {
    /// The inverse of the penalty, `½ ‖W‖² + C Σ cross-entropy`; 1 in Tian et al.
    pub c: f64,
    /// Steps at most.
    pub max_steps: usize,
    /// No part of the gradient of the mean above this.
    pub tolerance: f64,
}

impl Default for Regression {
    fn default() -> Self {
        Self { c: 1.0, max_steps: 200, tolerance: 1e-5 }
    }
}

impl Classifier {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Prototypes(_) => "prototypes",
            Self::Logistic(_) => "logistic",
        }
    }
}

impl FewShotConfig {
    /// The published protocols: a name, where it is from, and the options.
    pub(super) fn protocols() -> Vec<(&'static str, &'static str, Self)> {
        let five_ways = |tokens: &str| FewShotConfig {
            tokens: vec![tokens.into()],
            shots: vec![1, 5],
            n_ways: 5,
            ..FewShotConfig::default()
        };
        let nearest = FewShotConfig { n_episodes: 10_000, ..five_ways("cls") };
        let logistic = Classifier::Logistic(Regression::default());
        vec![
            (
                "simpleshot",
                "Wang et al. 2019: 5 ways, 1 and 5 shots, 15 queries, 10,000 episodes; centered, divided by length, nearest mean",
                nearest,
            ),
            (
                "rfs",
                "Tian et al. 2020: 5 ways, 1 and 5 shots, 15 queries, 600 episodes; divided by length, logistic regression with C = 1",
                FewShotConfig {
                    n_episodes: 600,
                    normalize: Normalize::L2,
                    classifier: logistic,
                    ..five_ways("cls")
                },
            ),
        ]
    }
}

impl Recipe for FewShotConfig {
    fn check(&self) -> Result<(), RecipeError> {
        check_tokens(&self.tokens)?;
        if self.shots.is_empty() || self.shots.contains(&0) {
            let found = format!("{:?}", self.shots);
            return Err(RecipeError::value("shots", "at least one number, each at least 1", found));
        }
        if !self.shots.contains(&self.headline_shots) {
            let expected = format!("one of shots ({:?})", self.shots);
            return Err(RecipeError::value("headline_shots", expected, self.headline_shots.to_string()));
        }
        if self.n_ways == 1 {
            return Err(RecipeError::value("n_ways", "0 for all classes, or at least 2", "1"));
        }
        if self.n_episodes < 2 {
            let found = self.n_episodes.to_string();
            return Err(RecipeError::value("n_episodes", "at least 2, for an interval", found));
        }
        for (key, value) in [("n_queries", self.n_queries), ("memory_mib", self.memory_mib)] {
            if value == 0 {
                return Err(RecipeError::value(key, "at least 1", "0"));
            }
        }
        if let Classifier::Logistic(Regression { c, max_steps, tolerance }) = &self.classifier {
            for (key, value) in [("classifier.c", *c), ("classifier.tolerance", *tolerance)] {
                if !(value > 0.0 && value.is_finite()) {
                    return Err(RecipeError::value(key, "above 0", value.to_string()));
                }
            }
            if *max_steps == 0 {
                return Err(RecipeError::value("classifier.max_steps", "at least 1", "0"));
            }
        }
        Ok(())
    }
}
