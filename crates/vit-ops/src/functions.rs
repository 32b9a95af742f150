//! The trait's operations on ordinary tensors: what the crates above call.

use crate::{AdamWStep, VitBackend};
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
