//! What an encoder returns, whatever the encoder.

use crate::Grid;
use burn::tensor::Tensor;

/// The tokens of a batch: prefix (class, registers) first, then patches.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// `[B, P + N, D]`
    pub all: Tensor<3>,
    /// `P`: class and register tokens.
    pub n_prefix: usize,
    /// Whether the first prefix token is a class token.
    pub has_class: bool,
    /// The full grid of patches; fewer than `h·w` are present where masking dropped some.
    pub grid: Grid,
}

impl Tokens {
    /// The class token, `[B, D]`, where there is one.
    pub fn class(&self) -> Option<Tensor<2>> {
        let [b, _, d] = self.all.dims();
        self.has_class.then(|| self.all.clone().slice([0..b, 0..1]).reshape([b, d]))
    }

    /// The patch tokens, `[B, N, D]`.
    pub fn patches(&self) -> Tensor<3> {
        let [b, t, _] = self.all.dims();
        self.all.clone().slice([0..b, self.n_prefix..t])
    }

    /// The mean of the patch tokens, `[B, D]`.
    pub fn mean(&self) -> Tensor<2> {
        let [b, _, d] = self.all.dims();
        self.patches().mean_dim(1).reshape([b, d])
    }

    /// The same with another token tensor, as a block makes it.
    #[must_use]
    pub fn with(&self, all: Tensor<3>) -> Self {
        Self { all, ..self.clone() }
    }
}
