//! How good is it: probes of frozen features. One file each, and a row in [`PROBES`].

mod by_layer;
mod correspondence;
mod few_shot;
mod fused_propagation;
mod held_out;
mod knn;
mod label_propagation;
mod linear;
mod patches;
mod retrieval;
mod scores;
mod segmentation;
mod token_probe;
#[cfg(test)]
mod trial;

pub use correspondence::{Against, Answer, Correspondence, CorrespondenceAcc, CorrespondenceConfig};
pub use few_shot::{Classifier, FewShot, FewShotAcc, FewShotConfig, Normalize, Prototypes, Regression};
pub use fused_propagation::{FusedPropagation, FusedPropagationAcc, FusedPropagationConfig};
pub use knn::{Knn, KnnAcc, KnnConfig};
pub use label_propagation::{
    CompareIn, Follow, LabelPropagation, LabelPropagationAcc, LabelPropagationConfig, Resize, Shape,
};
pub use linear::{Ensemble, Input, Lars, LinearAcc, LinearConfig, LinearProbe, Logistic, Ridge, Sgd, Solver};
pub use retrieval::{Retrieval, RetrievalAcc, RetrievalConfig};
pub use segmentation::{Segmentation, SegmentationAcc, SegmentationConfig, Target};
pub use token_probe::{TokenProbe, TokenProbeAcc, TokenProbeConfig};

use vit_features::{StudyEntry, study};

/// Every probe: one row each.
pub const PROBES: &[StudyEntry] = &[
    study::<Knn>(),
    study::<LinearProbe>(),
    study::<FewShot>(),
    study::<TokenProbe>(),
    study::<Retrieval>(),
    study::<Correspondence>(),
    study::<Segmentation>(),
    study::<LabelPropagation>(),
    study::<FusedPropagation>(),
];
