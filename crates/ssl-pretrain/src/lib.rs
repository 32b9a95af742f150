//! The objectives by which Vision Transformers are trained: one file each, and a row in [`OBJECTIVES`].

mod mask;
mod objectives;

pub use mask::{MaskIds, mask_from_noise, n_kept, random_masks};
pub use objectives::mae::{Mae, MaeConfig, MaeNet, Predicted};
pub use objectives::supervised::{Supervised, SupervisedConfig};

use vit_train::{Method, method};

/// Every objective that a recipe can name: one row each.
pub const OBJECTIVES: &[Method] = &[method::<Supervised>(), method::<Mae>()];
