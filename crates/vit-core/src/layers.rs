//! The small layers, with the names and layouts of timm's checkpoints.

use crate::Draw;
use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// `y = x·Wᵀ + b`
#[derive(Module, Debug)]
pub struct Linear {
    /// `[o, i]`
    pub weight: Param<Tensor<2>>,
    /// `[o]`
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Weights by the drawer's scheme, bias zero.
    pub fn init(n_in: usize, n_out: usize, bias: bool, draw: &mut Draw) -> Self {
        let weight = draw.linear_weight(n_out, n_in);
        Self { weight, bias: bias.then(|| draw.constant([n_out], 0.0)) }
    }

    /// # Shapes
    /// - `x`: `[…, i]`; result `[…, o]`
    ///
    /// # Panics
    /// When the last dimension of `x` is not `i`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let bias = self.bias_or_zeros(&x);
        vit_ops::linear(x, self.weight.val(), bias)
    }

    pub(crate) fn bias_or_zeros<const D: usize>(&self, x: &Tensor<D>) -> Tensor<1> {
        match &self.bias {
            Some(bias) => bias.val(),
            None => Tensor::zeros([self.weight.dims()[0]], (&x.device(), x.dtype())),
        }
    }
}

/// LayerNorm over the last dimension: `γ·(x − mean)/√(var + ε) + β`, biased variance.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// γ, `[D]`
    pub weight: Param<Tensor<1>>,
    /// β, `[D]`
    pub bias: Param<Tensor<1>>,
    /// ε, inside the root
    #[module(skip)]
    pub eps: f64,
}

impl LayerNorm {
    /// γ = 1, β = 0.
    pub fn init(width: usize, eps: f64, draw: &Draw) -> Self {
        Self { weight: draw.constant([width], 1.0), bias: draw.constant([width], 0.0), eps }
    }

    /// # Shapes
    /// - `x`: `[…, D]`; result as `x`
    ///
    /// # Panics
    /// When the last dimension of `x` is not `D`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        vit_ops::layer_norm(x, self.weight.val(), self.bias.val(), self.eps)
    }
}

/// LayerScale: a learned factor per channel on a residual branch.
///
/// # Source
/// Touvron et al., Going deeper with Image Transformers.
#[derive(Module, Debug)]
pub struct LayerScale {
    /// `[D]`
    pub gamma: Param<Tensor<1>>,
}

impl LayerScale {
    /// Every factor `value`.
    pub fn init(width: usize, value: f64, draw: &Draw) -> Self {
        Self { gamma: draw.constant([width], value as f32) }
    }
}
