//! The one trait that extends Burn's backend trait.
#![cfg_attr(
    feature = "ndarray",
    allow(deprecated, reason = "a second CPU reference, until the tensor library drops it")
)]

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

impl Gate {
    /// Quick GELU, the activation of CLIP.
    pub const QUICK_GELU: Self = Self { linear: 1.702, cubic: 0.0 };

    /// The tanh form of GELU: `½(1 + tanh z) = σ(2z)` with `z = √(2/π)·(x + 0.044715·x³)`.
    pub fn gelu_tanh() -> Self {
        let linear = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
        Self { linear, cubic: 0.044_715 * linear }
    }
}

/// An activation: the exact GELU, or one of the gated kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Curve {
    /// `x·Φ(x)`
    Gelu,
    /// `x·σ(linear·x + cubic·x³)`
    Gated(Gate),
}

/// Where patches stand among the tokens of attention: `T = n_prefix + rows·columns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionGrid {
    /// Tokens before the patches; the class token, where there is one, is the first.
    pub n_prefix: usize,
    /// Rows of patches.
    pub rows: usize,
    /// Columns of patches.
    pub columns: usize,
}

impl AttentionGrid {
    /// Distances on the unit square over the grid between patches that are `(rows, columns)` apart, as a table
    /// `[2·rows − 1, 2·columns − 1]` whose middle is no distance; a side of one patch has no length.
    pub(crate) fn unit_distances(self) -> Vec<f64> {
        let pitch = |n: usize| if n > 1 { 1.0 / (n - 1) as f64 } else { 0.0 };
        self.distances(pitch(self.rows), pitch(self.columns))
    }

    /// The same in patches.
    pub(crate) fn patch_distances(self) -> Vec<f64> {
        self.distances(1.0, 1.0)
    }

    fn distances(self, row_pitch: f64, column_pitch: f64) -> Vec<f64> {
        let apart = |n: usize, pitch: f64| (1 - n as i64..n as i64).map(move |steps| steps as f64 * pitch);
        let columns: Vec<f64> = apart(self.columns, column_pitch).collect();
        apart(self.rows, row_pitch)
            .flat_map(|y| columns.iter().map(move |x| (x * x + y * y).sqrt()))
            .collect()
    }
}

/// What is wanted of attention that is watched, beside merged heads and the numbers of each head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttentionWants {
    /// The probabilities.
    pub probabilities: bool,
    /// Rows and the aligned map of each head.
    pub maps: bool,
    /// The mean over heads, and how much heads differ.
    pub over_heads: bool,
}

/// The rows that are told of a head, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionRow {
    /// The mean over all queries.
    All,
    /// The first token's: the class token's, where there is one.
    First,
    /// The mean over the patches.
    Patches,
    /// The same of rows without the prefix, divided by what remains; a row with nothing left stays 0.
    PatchesAlone,
    /// The row of the patch at `(rows / 2, columns / 2)`.
    Center,
    /// How far the patches' rows are apart at each patch, with `N − 1`; 0 at the prefix, and of a single patch.
    Deviation,
}

impl AttentionRow {
    /// How many there are.
    pub const N: usize = 6;
}

/// How the values of a patch are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchOrder {
    /// `(channel, y, x)`: that of a convolution's weight.
    ChannelFirst,
    /// `(y, x, channel)`: that of MAE's targets.
    ChannelLast,
}

/// Sides of images that are cut into patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchCut {
    /// Channels of a pixel.
    pub channels: usize,
    /// Rows of patches.
    pub rows: usize,
    /// Columns of patches.
    pub columns: usize,
    /// Side of a patch in pixels.
    pub patch_px: usize,
    /// How the values of a patch are ordered.
    pub order: PatchOrder,
}

/// Operations a Vision Transformer spends its time in, beside Burn's own.
///
/// Every method has a portable body; a backend overrides what it can do faster. Gradients are written by hand in
/// `autodiff`, one node per operation, from the `*_backward` methods here.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Autodiff: cfg(all()),
)]
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
    /// The gradients of weight and bias alone, for an input that is no part of the graph: `(dW, db)`.
    fn vit_linear_params_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        portable::linear_params_backward::<Self>(x, grad)
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
    /// `curve(x·Wᵀ + b)`, for inference.
    fn vit_linear_curve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        curve: Curve,
    ) -> FloatTensor<Self> {
        portable::curve::<Self>(portable::linear::<Self>(x, weight, bias), curve)
    }
    /// `curve(x·Wᵀ + b)`, and before it what its gradient needs, which each backend says for itself: here `x·Wᵀ + b`, on the CPU the slope of
    /// `curve` there.
    fn vit_linear_curve_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        curve: Curve,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let before = portable::linear::<Self>(x, weight, bias);
        (before.clone(), portable::curve::<Self>(before, curve))
    }
    /// Gradients of [`Self::vit_linear_curve`]: `(dx, dW, db)`; `kept` is the first of
    /// [`Self::vit_linear_curve_forward`].
    fn vit_linear_curve_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        curve: Curve,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let grad = portable::curve_backward::<Self>(kept, grad, curve);
        portable::linear_backward::<Self>(x, weight, grad)
    }
    /// A residual connection: `x + factor_b·γ∘branch`, one factor for each image (drop path), γ over the last dimension
    /// (LayerScale).
    fn vit_residual(
        x: FloatTensor<Self>,
        branch: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        factors: Vec<f32>,
    ) -> FloatTensor<Self> {
        portable::residual::<Self>(x, branch, gamma, factors)
    }
    /// Gradients of [`Self::vit_residual`] with respect to the branch and γ; that of `x` is `grad` itself.
    fn vit_residual_backward(
        branch: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        factors: Vec<f32>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        portable::residual_backward::<Self>(branch, gamma, grad, factors)
    }
    /// Rows `ids` of `[n, D]`: `[m, D]`.
    fn vit_gather(x: FloatTensor<Self>, ids: Vec<u32>) -> FloatTensor<Self> {
        portable::gather::<Self>(x, ids)
    }
    /// Gradient of [`Self::vit_gather`]: row `i` of the `n` is the sum of the rows of `grad` that were taken from it, in
    /// order.
    fn vit_gather_backward(grad: FloatTensor<Self>, ids: Vec<u32>, n: usize) -> FloatTensor<Self> {
        portable::gather_backward::<Self>(grad, ids, n)
    }
    /// Images `[B, C, H, W]` as patches `[B, N, C·P·P]`.
    fn vit_patchify(pixels: FloatTensor<Self>, cut: PatchCut) -> FloatTensor<Self> {
        portable::patchify::<Self>(pixels, cut)
    }
    /// Patches `[B, N, C·P·P]` as images `[B, C, H, W]`: the inverse of [`Self::vit_patchify`] and its gradient.
    fn vit_unpatchify(patches: FloatTensor<Self>, cut: PatchCut) -> FloatTensor<Self> {
        portable::unpatchify::<Self>(patches, cut)
    }
    /// `−Σ over rows and columns of target·log softmax(logits/τ)`, `[1]`, of `[n, K]`.
    fn vit_cross_entropy(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self> {
        portable::cross_entropy::<Self>(logits, targets, temperature)
    }
    /// Gradient of [`Self::vit_cross_entropy`] with respect to the logits; `grad` is `[1]`.
    fn vit_cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self> {
        portable::cross_entropy_backward::<Self>(logits, targets, grad, temperature)
    }
    /// `softmax((logits − center)/τ)` over the rows of `[n, K]`; `center` is `[K]`. Not differentiated.
    fn vit_centered_softmax(
        logits: FloatTensor<Self>,
        center: FloatTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self> {
        portable::centered_softmax::<Self>(logits, center, temperature)
    }
    /// `Σ x²`, `[1]`.
    fn vit_sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self> {
        portable::sum_of_squares::<Self>(x)
    }
    /// [`Self::vit_attention`] together with what each head does, `[B, heads, 4]`: the mean entropy of all rows in nats,
    /// the mean share of the first token in the rows of patches, and the mean distance that patches look, on the unit
    /// square and in patches, over rows without the prefix and divided by what remains. The bias is `[heads, T, T]`, or
    /// `[1, 1, 1]` for a single value. Not differentiated.
    fn vit_attention_watched(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        n_heads: usize,
        grid: AttentionGrid,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        portable::attention_watched::<Self>(qkv, bias, n_heads, grid)
    }
    /// [`Self::vit_attention_watched`] and the probabilities, `[B, heads, T, T]`. Differentiated as what it is made of.
    fn vit_attention_shown(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        n_heads: usize,
        grid: AttentionGrid,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        portable::attention_shown::<Self>(qkv, bias, n_heads, grid)
    }
    /// [`Self::vit_attention_watched`] and, in this order, what is wanted: the probabilities `[B, heads, T, T]`; of each head
    /// `[B, heads, 6·T + (2·rows − 1)·(2·columns − 1)]`, its rows in the order of [`AttentionRow`] and then its aligned map; over
    /// heads `[B, T·T + 1]`, the mean of the probabilities and then how much heads differ. Differentiated as what it is made of.
    fn vit_attention_summed(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        n_heads: usize,
        grid: AttentionGrid,
        wants: AttentionWants,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, Vec<FloatTensor<Self>>) {
        portable::attention_summed::<Self>(qkv, bias, n_heads, grid, wants)
    }
    /// A layer upon a rollout: `(mean + I)` with rows divided by their sums, times what is below, `[B, T, T]`, where that is not
    /// a single value that stands for nothing; and the numbers of [`Self::vit_attention_watched`] of the result, `[B, 1, 4]`.
    fn vit_attention_rolled(
        mean: FloatTensor<Self>,
        below: FloatTensor<Self>,
        grid: AttentionGrid,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        portable::attention_rolled::<Self>(mean, below, grid)
    }
    /// `‖z‖` and `‖x − z‖` over the last dimension of `[B, T, D]`: `[B, T, 2]`.
    fn vit_lengths(z: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self> {
        portable::lengths::<Self>(z, x)
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
