//! The activations of the field's MLPs.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// What stands between the two layers of an MLP.
///
/// # Source
/// `gelu`: PyTorch code (timm, DINO, MAE, BEiT). `gelu-tanh`: JAX code (ViT, AugReg). `quick-gelu`: CLIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `x·Φ(x)`, exact.
    #[default]
    Gelu,
    /// The tanh form.
    GeluTanh,
    /// `x·σ(1.702·x)`
    QuickGelu,
}

impl Activation {
    /// Elementwise; the result has the shape of `x`.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => vit_ops::gelu(x),
            Self::GeluTanh => vit_ops::gelu_tanh(x),
            Self::QuickGelu => vit_ops::quick_gelu(x),
        }
    }
}
