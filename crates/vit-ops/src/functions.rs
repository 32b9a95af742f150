//! The trait's operations on ordinary tensors: what the crates above call.

use crate::{AdamWStep, Gate, VitBackend};
use burn::backend::Dispatch;
use burn::tensor::Tensor;

/// `y = x·Wᵀ + b` over the last dimension.
///
/// # Shapes
/// - `x`: `[…, i]`, `weight`: `[o, i]`, `bias`: `[o]`; result `[…, o]`
///
/// # Panics
/// When the widths disagree.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    let ([n_out, n_in], last) = (weight.dims(), x.dims()[D - 1]);
    assert!(
        last == n_in && bias.dims() == [n_out],
        "linear: x {:?}, weight [{n_out}, {n_in}], bias {:?}",
        x.dims(),
        bias.dims()
    );
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_linear(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// The exact GELU, `x·Φ(x) = ½x(1 + erf(x/√2))`, elementwise.
///
/// # Source
/// Hendrycks and Gimpel, Gaussian Error Linear Units; the erf form that PyTorch calls `gelu`.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_gelu(x.into_dispatch()))
}

/// The tanh form of GELU, `½x(1 + tanh(√(2/π)·(x + 0.044715·x³)))`, elementwise; the same as `x·σ` of twice the
/// argument of tanh.
///
/// # Source
/// Hendrycks and Gimpel, Gaussian Error Linear Units; what JAX calls `gelu` and PyTorch `gelu(approximate="tanh")`.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let linear = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
    gated(x, Gate { linear, cubic: 0.044_715 * linear })
}

/// Quick GELU, `x·σ(1.702·x)`, elementwise.
///
/// # Source
/// Hendrycks and Gimpel, Gaussian Error Linear Units, the sigmoid form; the activation of CLIP.
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    gated(x, Gate { linear: 1.702, cubic: 0.0 })
}

/// SiLU, `x·σ(x)`, elementwise.
///
/// # Source
/// Hendrycks and Gimpel, Gaussian Error Linear Units; the gate of SwiGLU (Shazeer, GLU Variants Improve Transformer).
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    gated(x, Gate { linear: 1.0, cubic: 0.0 })
}

fn gated<const D: usize>(x: Tensor<D>, gate: Gate) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_gated(x.into_dispatch(), gate))
}

/// `y = γ·(x − mean)/√(var + ε) + β` over the last dimension, with the biased variance.
///
/// # Shapes
/// - `x`: `[…, D]`, `gamma`, `beta`: `[D]`; result as `x`
///
/// # Panics
/// When the widths disagree.
pub fn layer_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Tensor<D> {
    let width = x.dims()[D - 1];
    assert!(
        gamma.dims() == [width] && beta.dims() == [width],
        "layer_norm: x {:?}, gamma {:?}, beta {:?}",
        x.dims(),
        gamma.dims(),
        beta.dims()
    );
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_layer_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        eps,
    ))
}

/// Multi-head self-attention, from fused projections to merged heads: `softmax(q·kᵀ/√d)·v` per head.
///
/// # Shapes
/// - `qkv`: `[B, T, 3D]`, the last dimension ordered `[q; k; v]`, inside each head by head
/// - result: `[B, T, D]`
///
/// # Panics
/// When `3D` is not divisible by `3·n_heads`.
///
/// # Source
/// Vaswani et al., Attention Is All You Need; the order of timm's fused projection.
pub fn attention(qkv: Tensor<3>, n_heads: usize) -> Tensor<3> {
    let [_, _, width3] = qkv.dims();
    assert!(width3 % (3 * n_heads) == 0, "attention: qkv {:?}, {n_heads} heads", qkv.dims());
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_attention(qkv.into_dispatch(), n_heads))
}

/// [`attention`] with a bias on the scores: `softmax(q·kᵀ/√d + bias)·v` per head.
///
/// # Shapes
/// - `qkv`: `[B, T, 3D]`, as for [`attention`]; `bias`: `[heads, T, T]`, rows are queries, the same for every image
/// - result: `[B, T, D]`
///
/// # Panics
/// When `3D` is not divisible by `3·n_heads`, or the bias has another shape.
///
/// # Source
/// Bao et al., BEiT; Liu et al., Swin Transformer: relative position bias.
pub fn attention_biased(qkv: Tensor<3>, bias: Tensor<3>, n_heads: usize) -> Tensor<3> {
    let [_, t, width3] = qkv.dims();
    assert!(
        width3 % (3 * n_heads) == 0 && bias.dims() == [n_heads, t, t],
        "attention_biased: qkv {:?}, bias {:?}, {n_heads} heads",
        qkv.dims(),
        bias.dims()
    );
    let (qkv, bias) = (qkv.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_attention_biased(qkv, bias, n_heads))
}

/// One AdamW step on plain (not differentiated) tensors: `(param, m, v)` after it; see [`AdamWStep`].
///
/// # Panics
/// When the shapes disagree.
pub fn adamw_step<const D: usize>(
    param: Tensor<D>,
    grad: Tensor<D>,
    m: Tensor<D>,
    v: Tensor<D>,
    step: AdamWStep,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    assert_eq!(param.dims(), grad.dims(), "adamw_step: parameter and gradient");
    let (param, m, v) = <Dispatch as VitBackend>::vit_adamw(
        param.into_dispatch(),
        grad.into_dispatch(),
        m.into_dispatch(),
        v.into_dispatch(),
        step,
    );
    (Tensor::from_dispatch(param), Tensor::from_dispatch(m), Tensor::from_dispatch(v))
}

/// The exponential moving average of a teacher: `momentum·teacher + (1 − momentum)·student`.
///
/// # Panics
/// When the shapes disagree.
pub fn ema_step<const D: usize>(teacher: Tensor<D>, student: Tensor<D>, momentum: f64) -> Tensor<D> {
    assert_eq!(teacher.dims(), student.dims(), "ema_step: teacher and student");
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_ema(
        teacher.into_dispatch(),
        student.into_dispatch(),
        momentum,
    ))
}
