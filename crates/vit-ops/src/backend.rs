//! The one trait that extends Burn's backend trait.

use crate::portable;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

/// The scalars of one AdamW step.
///
/// `p ← p·(1 − lr·wd)`, `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`,
/// `p ← p − lr · (m/(1−β₁ᵗ)) / (√(v/(1−β₂ᵗ)) + ε)`.
///
/// # Source
/// Loshchilov and Hutter, Decoupled Weight Decay Regularization; the form and defaults of PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// The step's number, counted from 1.
    pub t: u32,
}

/// What gates `x·σ(linear·x + cubic·x³)`: SiLU, Quick GELU and the tanh form of GELU are all of this form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// Coefficient of `x`.
    pub linear: f64,
    /// Coefficient of `x³`.
    pub cubic: f64,
}

/// Operations a Vision Transformer spends its time in, beside Burn's own.
///
/// Every method has a portable body; a backend overrides what it can do faster. Gradients are written by hand in
/// `autodiff`, one node per operation, from the `*_backward` methods here.
#[backend_extension(Flex: cfg(feature = "flex"), Autodiff: cfg(all()))]
pub trait VitBackend: Backend {
    /// `y = x·Wᵀ + b` with `x: […, i]`, `W: [o, i]`, `b: [o]`.
    fn vit_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        portable::linear::<Self>(x, weight, bias)
    }
    /// Gradients of [`Self::vit_linear`]: `(dx, dW, db)`.
    fn vit_linear_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        portable::linear_backward::<Self>(x, weight, grad)
    }
    /// Exact GELU, `x·Φ(x)`.
    fn vit_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        portable::gelu::<Self>(x)
    }
    /// Gradient of [`Self::vit_gelu`]: `dy·(Φ(x) + x·φ(x))`.
    fn vit_gelu_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        portable::gelu_backward::<Self>(x, grad)
    }
    /// `x·σ(g(x))` with `g(x) = linear·x + cubic·x³`.
    fn vit_gated(x: FloatTensor<Self>, gate: Gate) -> FloatTensor<Self> {
        portable::gated::<Self>(x, gate)
    }
    /// Gradient of [`Self::vit_gated`]: `dy·σ(g)·(1 + x·g'·(1 − σ(g)))`.
    fn vit_gated_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>, gate: Gate) -> FloatTensor<Self> {
        portable::gated_backward::<Self>(x, grad, gate)
    }
    /// LayerNorm over the last dimension with the biased variance.
    fn vit_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        portable::layer_norm::<Self>(x, gamma, beta, eps)
    }
    /// Gradients of [`Self::vit_layer_norm`]: `(dx, dγ, dβ)`.
    fn vit_layer_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        portable::layer_norm_backward::<Self>(x, gamma, grad, eps)
    }
    /// Multi-head attention from the fused qkv `[B, T, 3D]` to merged heads `[B, T, D]`.
    fn vit_attention(qkv: FloatTensor<Self>, n_heads: usize) -> FloatTensor<Self> {
        portable::attention::<Self>(qkv, n_heads)
    }
    /// Gradient of [`Self::vit_attention`] with respect to the fused qkv.
    fn vit_attention_backward(
        qkv: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        n_heads: usize,
    ) -> FloatTensor<Self> {
        portable::attention_backward::<Self>(qkv, grad, n_heads)
    }
    /// [`Self::vit_attention`] with `bias`, `[heads, T, T]`, added to the scaled scores of every image.
    fn vit_attention_biased(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        n_heads: usize,
    ) -> FloatTensor<Self> {
        portable::attention_biased::<Self>(qkv, bias, n_heads)
    }
    /// Gradient of [`Self::vit_attention_biased`] with respect to the fused qkv.
    fn vit_attention_biased_backward(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        n_heads: usize,
    ) -> FloatTensor<Self> {
        portable::attention_biased_backward::<Self>(qkv, bias, grad, n_heads).0
    }
    /// Gradient of [`Self::vit_attention_biased`] with respect to the bias, summed over images in order.
    fn vit_attention_bias_backward(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        n_heads: usize,
    ) -> FloatTensor<Self> {
        portable::attention_biased_backward::<Self>(qkv, bias, grad, n_heads).1
    }
    /// One AdamW step: `(p, m, v)` after it.
    fn vit_adamw(
        param: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        portable::adamw::<Self>(param, grad, m, v, step)
    }
    /// Exponential moving average: `m·teacher + (1−m)·student`.
    fn vit_ema(teacher: FloatTensor<Self>, student: FloatTensor<Self>, momentum: f64) -> FloatTensor<Self> {
        portable::ema::<Self>(teacher, student, momentum)
    }
}
