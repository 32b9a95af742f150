//! The objectives by which Vision Transformers are trained: one file each, and a row in [`OBJECTIVES`].

mod mask;
mod objectives;

pub use mask::{MaskIds, mask_from_noise, n_kept, random_masks};
pub use objectives::mae::{Mae, MaeConfig, MaeNet, Predicted};
pub use objectives::supervised::{Supervised, SupervisedConfig};

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
}
