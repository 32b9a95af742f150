//! How good is it: probes of frozen features. One file each, and a row in [`PROBES`].

mod attended;
mod auto_segmentation;
mod by_layer;
mod clusters;
mod correspondence;
mod dense;
mod few_shot;
mod foreground;
mod held_out;
mod knn;
mod label_propagation;
mod linear;
mod overclustering;
mod patches;
mod retrieval;
mod scores;
mod segmentation;
#[cfg(test)]
mod staged;
mod token_probe;

pub use auto_segmentation::{AutoSegmentation, AutoSegmentationAcc, AutoSegmentationConfig};
pub use correspondence::{Against, Correspondence, CorrespondenceAcc, CorrespondenceConfig};
pub use dense::Target;
pub use few_shot::{Classifier, FewShot, FewShotAcc, FewShotConfig, Normalize, Prototypes, Regression};
pub use foreground::{Foreground, ForegroundAcc, ForegroundConfig};
pub use knn::{Knn, KnnAcc, KnnConfig};
pub use label_propagation::{
    Follow, LabelPropagation, LabelPropagationAcc, LabelPropagationConfig, Resize, Shape,
};
pub use linear::{Ensemble, Input, Lars, LinearAcc, LinearConfig, LinearProbe, Logistic, Ridge, Sgd, Solver};
pub use overclustering::{Overclustering, OverclusteringAcc, OverclusteringConfig};
pub use retrieval::{Retrieval, RetrievalAcc, RetrievalConfig};
pub use segmentation::{Segmentation, SegmentationAcc, SegmentationConfig};
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
    study::<Overclustering>(),
    study::<Foreground>(),
    study::<AutoSegmentation>(),
    study::<LabelPropagation>(),
];
