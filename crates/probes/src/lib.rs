//! How good is it: probes of frozen features. One file each, and a row in [`PROBES`].

mod knn;

pub use knn::{Knn, KnnAcc, KnnConfig};

use vit_features::{StudyEntry, study};

/// Every probe: one row each.
pub const PROBES: &[StudyEntry] = &[study::<Knn>()];
