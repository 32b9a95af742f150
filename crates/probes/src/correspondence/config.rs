//! The options of correspondence.

use crate::patches::check_facets;
use measure::pck::Yardstick;
use report::{Recipe, RecipeError};
use serde::{Deserialize, Serialize};

/// The options of [`Correspondence`](super::Correspondence).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorrespondenceConfig {
    /// What is compared at every layer: `token`, `query`, `key`, `value`.
    pub facets: Vec<String>,
    /// Levels of log-binning: 0 for the patch alone, 2 for its surroundings in 17 bins.
    pub log_bins: usize,
    /// Shares of the yardstick within which a point is found; SPair-71k reports 0.1, 0.05 and 0.01.
    pub alphas: Vec<f64>,
    /// The share of the curves, of the choice of the best layer, and of the headline.
    pub headline_alpha: f64,
    /// What distances are measured against: `box`, `image` or `box-diagonal`.
    pub yardstick: Against,
    /// What is the answer: the most similar `patch`, or the most similar `pixel` of patches that are made larger bilinearly.
    pub answer: Answer,
    /// Whether one pair in four chooses the layer and does not count; published numbers count all.
    pub hold_out: bool,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The patch most similar to the one that holds the point; its middle is the answer.
    #[default]
    Patch,
    /// The pixel most similar to that of the point, in patches made larger to the view: Teaching Matters.
    Pixel,
}

/// What distances are measured against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// The longer side of the object's box: SPair-71k.
    #[default]
    Box,
    /// The longer side of the view.
    Image,
    /// 0.6 of the box's diagonal: JHMDB.
    BoxDiagonal,
}

impl Against {
    pub(super) fn yardstick(self) -> Yardstick {
        match self {
            Self::Box => Yardstick::Box,
            Self::Image => Yardstick::Image,
            Self::BoxDiagonal => Yardstick::BoxDiagonal,
        }
    }
}

impl Default for CorrespondenceConfig {
    fn default() -> Self {
        Self {
            facets: vec!["token".into(), "key".into()],
            log_bins: 0,
            alphas: vec![0.1, 0.05, 0.01],
            headline_alpha: 0.1,
            yardstick: Against::Box,
            answer: Answer::Patch,
            hold_out: true,
        }
    }
}

impl Recipe for CorrespondenceConfig {
    fn check(&self) -> Result<(), RecipeError> {
        check_facets(&self.facets)?;
        if self.log_bins > 3 {
            return Err(RecipeError::value("log_bins", "0 to 3 levels", self.log_bins.to_string()));
        }
        if self.alphas.is_empty() || self.alphas.iter().any(|&alpha| !(alpha > 0.0 && alpha.is_finite())) {
            return Err(RecipeError::value(
                "alphas",
                "at least one, each above 0",
                format!("{:?}", self.alphas),
            ));
        }
        if !self.alphas.contains(&self.headline_alpha) {
            let expected = format!("one of alphas ({:?})", self.alphas);
            return Err(RecipeError::value("headline_alpha", expected, self.headline_alpha.to_string()));
        }
        Ok(())
    }
}
