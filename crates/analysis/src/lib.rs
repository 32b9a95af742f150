//! What does it do: analyses of trained networks. One file each, and a row in [`ANALYSES`].

mod attention_distance;
mod attention_entropy;
mod attention_maps;
mod attention_offset;
mod attention_on_host;
mod attention_overlay;
mod attention_rollout;
mod cka;
mod clustering;
mod receptive_field;
mod residual_ratio;
mod saliency_iou;
mod sample_groups;
mod shown;
mod skip_removal;
mod spatial_cka;
mod token_pca;

pub use attention_distance::{AttentionDistance, AttentionDistanceAcc, AttentionDistanceConfig};
pub use attention_entropy::{
    AttentionEntropy, AttentionEntropyAcc, AttentionEntropyConfig, Compat as EntropyCompat,
};
pub use attention_maps::{AttentionMaps, AttentionMapsAcc, AttentionMapsConfig};
pub use attention_offset::{AttentionOffset, AttentionOffsetAcc, AttentionOffsetConfig};
pub use attention_overlay::{AttentionOverlay, AttentionOverlayAcc, AttentionOverlayConfig};
pub use attention_rollout::{AttentionRollout, AttentionRolloutAcc, AttentionRolloutConfig};
pub use cka::{Cka, CkaAcc, CkaConfig, Compat as CkaCompat, Estimator, Places, Tokens};
pub use clustering::{
    Clustering, ClusteringAcc, ClusteringConfig, Compat as ClusteringCompat, Of as Clustered,
};
pub use receptive_field::{ReceptiveField, ReceptiveFieldAcc, ReceptiveFieldConfig};
pub use residual_ratio::{ResidualRatio, ResidualRatioAcc, ResidualRatioConfig};
pub use saliency_iou::{Compat as SaliencyCompat, SaliencyIou, SaliencyIouAcc, SaliencyIouConfig};
pub use skip_removal::{Of as SkipRemovalTokens, SkipRemoval, SkipRemovalAcc, SkipRemovalConfig};
pub use spatial_cka::{SpatialCka, SpatialCkaAcc, SpatialCkaConfig};
pub use token_pca::{TokenPca, TokenPcaAcc, TokenPcaConfig};

use vit_features::{StudyEntry, study};

/// Every analysis: one row each.
pub const ANALYSES: &[StudyEntry] = &[
    study::<AttentionDistance>(),
    study::<AttentionEntropy>(),
    study::<AttentionMaps>(),
    study::<AttentionOffset>(),
    study::<AttentionOverlay>(),
    study::<AttentionRollout>(),
    study::<Cka>(),
    study::<Clustering>(),
    study::<ReceptiveField>(),
    study::<ResidualRatio>(),
    study::<SaliencyIou>(),
    study::<SkipRemoval>(),
    study::<SpatialCka>(),
    study::<TokenPca>(),
];
