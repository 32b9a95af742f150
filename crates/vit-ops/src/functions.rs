//! The trait's operations on ordinary tensors: what the crates above call.

use crate::{AdamWStep, AttentionGrid, Curve, Gate, PatchCut, VitBackend};
use burn::backend::{Dispatch, DispatchTensor};
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
    gated(x, Gate::gelu_tanh())
}

/// Quick GELU, `x·σ(1.702·x)`, elementwise.
///
/// # Source
/// Hendrycks and Gimpel, Gaussian Error Linear Units, the sigmoid form; the activation of CLIP.
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    gated(x, Gate::QUICK_GELU)
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

/// [`linear`] and an activation: `curve(x·Wᵀ + b)`.
///
/// # Shapes
/// As [`linear`].
///
/// # Panics
/// When the widths disagree.
pub fn linear_curve<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    curve: Curve,
) -> Tensor<D> {
    let ([n_out, n_in], last) = (weight.dims(), x.dims()[D - 1]);
    assert!(
        last == n_in && bias.dims() == [n_out],
        "linear_curve: x {:?}, weight [{n_out}, {n_in}], bias {:?}",
        x.dims(),
        bias.dims()
    );
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_linear_curve(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        curve,
    ))
}

/// A residual connection: `x + factor_b·γ∘branch`. `factors` holds one for each image (drop path), or none, which are
/// factors of 1; γ is LayerScale's, or ones.
///
/// # Shapes
/// - `x`, `branch`: `[B, T, D]`, `gamma`: `[D]`; result as `x`
///
/// # Panics
/// When the shapes disagree.
///
/// # Source
/// Touvron et al., Going deeper with Image Transformers (LayerScale); Huang et al., Deep Networks with Stochastic Depth.
pub fn residual(x: Tensor<3>, branch: Tensor<3>, gamma: Tensor<1>, factors: Vec<f32>) -> Tensor<3> {
    let [b, _, width] = x.dims();
    assert!(
        x.dims() == branch.dims() && gamma.dims() == [width] && (factors.is_empty() || factors.len() == b),
        "residual: x {:?}, branch {:?}, gamma {:?}, {} factors",
        x.dims(),
        branch.dims(),
        gamma.dims(),
        factors.len()
    );
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_residual(
        x.into_dispatch(),
        branch.into_dispatch(),
        gamma.into_dispatch(),
        factors,
    ))
}

/// Rows `ids` of a matrix, in that order and as often as they are named; the gradient of a row is the sum of its copies'.
///
/// # Shapes
/// - `x`: `[n, D]`; result `[m, D]` for `m` ids
///
/// # Panics
/// When an id is not below `n`.
pub fn gather_rows(x: Tensor<2>, ids: Vec<u32>) -> Tensor<2> {
    let n = x.dims()[0];
    assert!(ids.iter().all(|&id| (id as usize) < n), "gather_rows: an id beyond {n} rows");
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_gather(x.into_dispatch(), ids))
}

/// Images as patches, row by row of the grid.
///
/// # Shapes
/// - `pixels`: `[B, C, H, W]`; result `[B, N, C·P·P]`
///
/// # Panics
/// When the images are not of the cut's size.
pub fn patchify(pixels: Tensor<4>, cut: PatchCut) -> Tensor<3> {
    let [_, channels, height, width] = pixels.dims();
    assert_eq!(
        [channels, height, width],
        [cut.channels, cut.rows * cut.patch_px, cut.columns * cut.patch_px],
        "patchify: images beside {cut:?}"
    );
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_patchify(pixels.into_dispatch(), cut))
}

/// Patches as images: the inverse of [`patchify`].
///
/// # Shapes
/// - `patches`: `[B, N, C·P·P]`; result `[B, C, H, W]`
///
/// # Panics
/// When the patches are not of the cut's size.
pub fn unpatchify(patches: Tensor<3>, cut: PatchCut) -> Tensor<4> {
    let [_, n, values] = patches.dims();
    assert_eq!(
        [n, values],
        [cut.rows * cut.columns, cut.channels * cut.patch_px * cut.patch_px],
        "unpatchify: patches beside {cut:?}"
    );
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_unpatchify(patches.into_dispatch(), cut))
}

/// The cross-entropy with targets that are shares: `−Σ over rows and columns of target·log softmax(logits/τ)`, `[1]`.
/// Targets are not differentiated; weights of rows are part of them.
///
/// # Shapes
/// - `logits`, `targets`: `[n, K]`
///
/// # Panics
/// When the shapes disagree, or the temperature is not above 0.
///
/// # Source
/// Hinton et al., Distilling the Knowledge in a Neural Network; Caron et al., DINO.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>, temperature: f64) -> Tensor<1> {
    assert!(
        logits.dims() == targets.dims() && temperature > 0.0,
        "cross_entropy: logits {:?}, targets {:?}, temperature {temperature}",
        logits.dims(),
        targets.dims()
    );
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_cross_entropy(
        logits.into_dispatch(),
        targets.into_dispatch(),
        temperature,
    ))
}

/// Centered and sharpened targets, `softmax((logits − center)/τ)` over rows, of tensors that are not differentiated.
///
/// # Shapes
/// - `logits`: `[n, K]`, `center`: `[K]`; result `[n, K]`
///
/// # Panics
/// When the widths disagree, or the temperature is not above 0.
///
/// # Source
/// Caron et al., Emerging Properties in Self-Supervised Vision Transformers.
pub fn centered_softmax(logits: Tensor<2>, center: Tensor<1>, temperature: f64) -> Tensor<2> {
    assert!(
        logits.dims()[1] == center.dims()[0] && temperature > 0.0,
        "centered_softmax: logits {:?}, center {:?}, temperature {temperature}",
        logits.dims(),
        center.dims()
    );
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_centered_softmax(
        logits.into_dispatch(),
        center.into_dispatch(),
        temperature,
    ))
}

/// `Σ x²` of a tensor that is not differentiated, `[1]`: one pass, the same for any number of threads.
pub fn sum_of_squares<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_sum_of_squares(x.into_dispatch()))
}

/// [`attention`] together with what each head does, without keeping the probabilities `A`; of tensors that are not
/// differentiated.
///
/// # Shapes
/// - `qkv`: `[B, T, 3D]`, as for [`attention`]; `bias`: `[heads, T, T]`, as for [`attention_biased`]
/// - first result: `[B, T, D]`
/// - second result: `[B, heads, 4]`: the entropy of a row in nats, mean over all rows; the share of the first token, mean
///   over the rows of patches; the distance `Σ_k A'[q, k]·‖xy_q − xy_k‖`, mean over patches `q`, on the unit square over
///   the grid and in patches, where `A'` are the rows without the prefix, divided by what remains
///
/// # Panics
/// When `3D` is not divisible by `3·n_heads`, `T` is not the grid's, or the bias has another shape.
///
/// # Source
/// Walmer et al., Teaching Matters; Raghu et al., Do Vision Transformers See Like CNNs?
pub fn attention_watched(
    qkv: Tensor<3>,
    bias: Option<Tensor<3>>,
    n_heads: usize,
    grid: AttentionGrid,
) -> (Tensor<3>, Tensor<3>) {
    let (qkv, bias) = watched_inputs(qkv, bias, n_heads, grid);
    let (out, found) = <Dispatch as VitBackend>::vit_attention_watched(qkv, bias, n_heads, grid);
    (Tensor::from_dispatch(out), Tensor::from_dispatch(found))
}

/// [`attention_watched`] together with the probabilities, for those who look at them: one pass makes all three.
///
/// Differentiated, unlike the other: as the operations that it is made of.
///
/// # Shapes
/// - arguments and the first two results: as [`attention_watched`]
/// - third result: `[B, heads, T, T]`, rows sum to 1
///
/// # Panics
/// As [`attention_watched`].
///
/// # Source
/// As [`attention_watched`].
pub fn attention_shown(
    qkv: Tensor<3>,
    bias: Option<Tensor<3>>,
    n_heads: usize,
    grid: AttentionGrid,
) -> (Tensor<3>, Tensor<3>, Tensor<4>) {
    let (qkv, bias) = watched_inputs(qkv, bias, n_heads, grid);
    let (out, found, shown) = <Dispatch as VitBackend>::vit_attention_shown(qkv, bias, n_heads, grid);
    (Tensor::from_dispatch(out), Tensor::from_dispatch(found), Tensor::from_dispatch(shown))
}

/// What attention that is watched is given; a single zero stands for no bias.
pub(crate) fn watched_inputs(
    qkv: Tensor<3>,
    bias: Option<Tensor<3>>,
    n_heads: usize,
    grid: AttentionGrid,
) -> (DispatchTensor, DispatchTensor) {
    let [_, t, width3] = qkv.dims();
    let bias = bias.unwrap_or_else(|| Tensor::zeros([1, 1, 1], (&qkv.device(), qkv.dtype())));
    assert!(
        width3 % (3 * n_heads) == 0
            && t == grid.n_prefix + grid.rows * grid.columns
            && (bias.dims() == [1, 1, 1] || bias.dims() == [n_heads, t, t]),
        "attention that is watched: qkv {:?}, bias {:?}, {n_heads} heads, {grid:?}",
        qkv.dims(),
        bias.dims()
    );
    (qkv.into_dispatch(), bias.into_dispatch())
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
