//! What does it do: analyses of trained networks. One file each, and a row in [`ANALYSES`].

mod attention_distance;

pub use attention_distance::{AttentionDistance, AttentionDistanceAcc, AttentionDistanceConfig};

use vit_features::{StudyEntry, study};

/// Every analysis: one row each.
pub const ANALYSES: &[StudyEntry] = &[study::<AttentionDistance>()];
