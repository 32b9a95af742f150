//! The objectives by which Vision Transformers are trained: one file each, and a row in [`OBJECTIVES`].

mod attention_mask;
mod block_mask;
mod crops;
mod cross_view;
mod distilled;
mod heads;
mod health;
mod mask;
mod mask_preview;
mod objectives;
mod self_distill;
mod target;

pub use attention_mask::{AttentionMaskConfig, MaskStrategy, StepDraw, highest, lowest};
pub use block_mask::{MaskConfig, MaskShape, RatioDraw};
pub use crops::CropsConfig;
pub use cross_view::{MaskedRows, cross_view_loss, masked_patch_loss};
pub use heads::{HeadConfig, ProjectionHead, WeightNorm};
pub use mask::{MaskIds, mask_from_noise, n_kept, random_masks};
pub use objectives::attmask::{AttMask, AttMaskConfig, Base};
pub use objectives::dino::{Dino, DinoConfig};
pub use objectives::ibot::{Ibot, IbotConfig, PatchConfig};
pub use objectives::mae::{Mae, MaeConfig, MaeNet, Predicted};
pub use objectives::supervised::{Supervised, SupervisedConfig};
pub use self_distill::{DistillCarry, Projected};
pub use target::{
    Centering, RowSum, TeacherConfig, TempSchedule, centered_targets, next_center, sinkhorn_targets,
};

use vit_train::{Method, Objective, method};

/// Something that is done with the type of every objective, such as a test of its contract.
pub trait WithObjective {
    /// Called with each type.
    fn with<O: Objective>(&mut self);
}

/// The registry, from one list of types: a constant cannot be looped over by type.
macro_rules! objectives {
    ($($objective:ty),+ $(,)?) => {
        /// Every objective that a recipe can name: one row each.
        pub const OBJECTIVES: &[Method] = &[$(method::<$objective>()),+];

        /// Shows the type of every objective, in the order of [`OBJECTIVES`].
        pub fn with_every_objective(visitor: &mut impl WithObjective) {
            $(visitor.with::<$objective>();)+
        }
    };
}

objectives! {
    Supervised,
    Mae,
    Dino,
    Ibot,
    AttMask,
}
