//! Which tokens are wanted of the last block: behind its attention, nothing is computed for the others.

use crate::vit::gather_tokens;
use burn::tensor::Tensor;

/// Which tokens are wanted of the last block. What stands behind its attention (projection, MLP, norms) goes token by token, and is only
/// computed for those that are wanted; their values and gradients are the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Wanted {
    /// All of them.
    #[default]
    Every,
    /// The first `n` of every image: the class token, and a distillation token behind it.
    First {
        /// How many.
        n: usize,
    },
    /// These, in this order.
    These {
        /// `[B, K]` row by row: token indices of each image, prefix included.
        ids: Vec<usize>,
        /// `K`, the same for every image.
        n_per_image: usize,
    },
}

impl Wanted {
    /// `[B, T, D]` → `[B, K, D]`
    ///
    /// # Panics
    /// When there are not as many tokens, or the ids are not of as many images.
    pub(crate) fn pick(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, t, _] = x.dims();
        match self {
            Self::Every => x,
            Self::First { n } if *n == t => x,
            Self::First { n } => x.slice([0..b, 0..*n]),
            Self::These { ids, n_per_image } => gather_tokens(x, ids, *n_per_image),
        }
    }
}
