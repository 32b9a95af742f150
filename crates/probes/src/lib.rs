//! How good is it: probes of frozen features, and one of an encoder that is trained on. One file each, and a row in [`PROBES`].

mod attended;
mod auto_segmentation;
mod best_buddies;
mod by_layer;
mod clusters;
mod co_segmentation;
mod communities;
mod correspondence;
mod dense;
mod few_shot;
mod fine_tuning;
mod foreground;
mod fused_propagation;
mod held_out;
mod image_sets;
mod knn;
mod label_propagation;
mod linear;
mod overclustering;
mod part_co_segmentation;
mod patches;
mod projected;
mod random_field;
mod retrieval;
mod scores;
mod segmentation;
#[cfg(test)]
mod staged;
mod token_probe;
#[cfg(test)]
mod trial;

pub use auto_segmentation::{AutoSegmentation, AutoSegmentationAcc, AutoSegmentationConfig};
pub use best_buddies::{BestBuddies, BestBuddiesAcc, BestBuddiesConfig};
pub use co_segmentation::{CoSegmentation, CoSegmentationAcc, CoSegmentationConfig};
pub use communities::{Communities, CommunitiesAcc, CommunitiesConfig, ForegroundFrom, Neighbors};
pub use correspondence::{Against, Answer, Correspondence, CorrespondenceAcc, CorrespondenceConfig};
pub use dense::Target;
pub use few_shot::{Classifier, FewShot, FewShotAcc, FewShotConfig, Normalize, Prototypes, Regression};
pub use fine_tuning::{FineTuning, FineTuningAcc};
pub use foreground::{Foreground, ForegroundAcc, ForegroundConfig};
pub use fused_propagation::{FusedPropagation, FusedPropagationAcc, FusedPropagationConfig};
pub use knn::{Knn, KnnAcc, KnnConfig};
pub use label_propagation::{
    CompareIn, Follow, LabelPropagation, LabelPropagationAcc, LabelPropagationConfig, Resize, Shape,
};
pub use linear::{Ensemble, Input, Lars, LinearAcc, LinearConfig, LinearProbe, Logistic, Ridge, Sgd, Solver};
pub use overclustering::{Overclustering, OverclusteringAcc, OverclusteringConfig};
pub use part_co_segmentation::{PartCoSegmentation, PartCoSegmentationAcc, PartCoSegmentationConfig};
pub use random_field::Refine;
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
    study::<BestBuddies>(),
    study::<CoSegmentation>(),
    study::<PartCoSegmentation>(),
    study::<Segmentation>(),
    study::<Overclustering>(),
    study::<Foreground>(),
    study::<Communities>(),
    study::<AutoSegmentation>(),
    study::<LabelPropagation>(),
    study::<FusedPropagation>(),
    study::<FineTuning>(),
];
