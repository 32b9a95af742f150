//! How good is it: probes of frozen features. One file each, and a row in [`PROBES`].

mod by_layer;
mod few_shot;
mod held_out;
mod knn;
mod linear;
mod token_probe;

pub use few_shot::{Classifier, FewShot, FewShotAcc, FewShotConfig, Normalize, Prototypes, Regression};
pub use knn::{Knn, KnnAcc, KnnConfig};
pub use linear::{Input, Lars, LinearAcc, LinearConfig, LinearProbe, Logistic, Ridge, Sgd, Solver};
pub use token_probe::{TokenProbe, TokenProbeAcc, TokenProbeConfig};

use vit_features::{StudyEntry, study};

/// Every probe: one row each.
pub const PROBES: &[StudyEntry] =
    &[study::<Knn>(), study::<LinearProbe>(), study::<FewShot>(), study::<TokenProbe>()];
