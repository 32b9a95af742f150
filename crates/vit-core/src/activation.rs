//! The activations of the field's MLPs.

use crate::Linear;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use vit_ops::{Curve, Gate};

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
    /// The layer before it and the activation as one operation.
    ///
    /// # Shapes
    /// - `x`: `[…, n_in]`; result `[…, n_out]`
    ///
    /// # Panics
    /// When the last dimension of `x` is not the layer's.
    pub fn after<const D: usize>(self, layer: &Linear, x: Tensor<D>) -> Tensor<D> {
        let curve = match self {
            Self::Gelu => Curve::Gelu,
            Self::GeluTanh => Curve::Gated(Gate::gelu_tanh()),
            Self::QuickGelu => Curve::Gated(Gate::QUICK_GELU),
        };
        let bias = layer.bias_or_zeros(&x);
        vit_ops::linear_curve(x, layer.weight.val(), bias, curve)
    }
}
