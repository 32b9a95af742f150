//! Portable bodies of the trait, made of Burn's own primitives: the reference of every fused kernel.

use crate::{AdamWStep, AttentionGrid, Curve, Gate, PatchCut, PatchOrder};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{IndexingUpdateOp, Shape, Slice, TensorData};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

mod summed;

pub(crate) use summed::{attention_rolled, attention_summed, lengths};

type F<B> = FloatTensor<B>;

/// Folds every dimension but the last: `[…, i]` → `[n, i]`.
fn rows<B: Backend>(x: F<B>) -> F<B> {
    let shape = x.shape();
    let last = shape[shape.num_dims() - 1];
    let n = shape.num_elements() / last.max(1);
    B::float_reshape(x, Shape::new([n, last]))
}

pub(crate) fn linear<B: Backend>(x: F<B>, weight: F<B>, bias: F<B>) -> F<B> {
    let mut shape = x.shape();
    let (n_dims, n_out) = (shape.num_dims(), weight.shape()[0]);
    let y = B::float_matmul(rows::<B>(x), B::float_transpose(weight)); // [n, o]
    let y = B::float_add(y, B::float_reshape(bias, Shape::new([1, n_out])));
    shape[n_dims - 1] = n_out;
    B::float_reshape(y, shape)
}

pub(crate) fn linear_backward<B: Backend>(x: F<B>, weight: F<B>, grad: F<B>) -> (F<B>, F<B>, F<B>) {
    let dx = B::float_reshape(B::float_matmul(rows::<B>(grad.clone()), weight), x.shape());
    let (dw, db) = linear_params_backward::<B>(x, grad);
    (dx, dw, db)
}

pub(crate) fn linear_params_backward<B: Backend>(x: F<B>, grad: F<B>) -> (F<B>, F<B>) {
    let grad = rows::<B>(grad); // [n, o]
    let n_out = grad.shape()[1];
    let dw = B::float_matmul(B::float_transpose(grad.clone()), rows::<B>(x)); // [o, i]
    (dw, B::float_reshape(B::float_sum_dim(grad, 0), Shape::new([n_out])))
}

/// `Φ(x) = ½(1 + erf(x/√2))`
fn normal_cdf<B: Backend>(x: F<B>) -> F<B> {
    let erf = B::float_erf(B::float_mul_scalar(x, FRAC_1_SQRT_2.into()));
    B::float_mul_scalar(B::float_add_scalar(erf, 1.0.into()), 0.5.into())
}

pub(crate) fn gelu<B: Backend>(x: F<B>) -> F<B> {
    B::float_mul(x.clone(), normal_cdf::<B>(x))
}

pub(crate) fn gelu_backward<B: Backend>(x: F<B>, grad: F<B>) -> F<B> {
    let half_square = B::float_mul_scalar(B::float_mul(x.clone(), x.clone()), (-0.5).into());
    let density = B::float_mul_scalar(B::float_exp(half_square), (1.0 / (2.0 * PI).sqrt()).into());
    let slope = B::float_add(normal_cdf::<B>(x.clone()), B::float_mul(x, density));
    B::float_mul(grad, slope)
}

/// `σ(g(x))`
fn opening<B: Backend>(x: F<B>, gate: Gate) -> F<B> {
    let square = B::float_mul(x.clone(), x.clone());
    let slope = B::float_add_scalar(B::float_mul_scalar(square, gate.cubic.into()), gate.linear.into());
    let below = B::float_exp(B::float_neg(B::float_mul(x, slope)));
    B::float_recip(B::float_add_scalar(below, 1.0.into()))
}

pub(crate) fn gated<B: Backend>(x: F<B>, gate: Gate) -> F<B> {
    B::float_mul(x.clone(), opening::<B>(x, gate))
}

pub(crate) fn gated_backward<B: Backend>(x: F<B>, grad: F<B>, gate: Gate) -> F<B> {
    let open = opening::<B>(x.clone(), gate);
    let square = B::float_mul(x.clone(), x.clone());
    let slope =
        B::float_add_scalar(B::float_mul_scalar(square, (3.0 * gate.cubic).into()), gate.linear.into());
    let shut = B::float_add_scalar(B::float_neg(open.clone()), 1.0.into());
    let inner = B::float_add_scalar(B::float_mul(B::float_mul(x, slope), shut), 1.0.into());
    B::float_mul(grad, B::float_mul(open, inner))
}

pub(crate) fn curve<B: Backend>(x: F<B>, curve: Curve) -> F<B> {
    match curve {
        Curve::Gelu => gelu::<B>(x),
        Curve::Gated(gate) => gated::<B>(x, gate),
    }
}

pub(crate) fn curve_backward<B: Backend>(x: F<B>, grad: F<B>, curve: Curve) -> F<B> {
    match curve {
        Curve::Gelu => gelu_backward::<B>(x, grad),
        Curve::Gated(gate) => gated_backward::<B>(x, grad, gate),
    }
}

/// The normalized rows and `1/√(var + ε)` of `[n, D]`.
fn normalize<B: Backend>(x: F<B>, eps: f64) -> (F<B>, F<B>) {
    let centered = B::float_sub(x.clone(), B::float_mean_dim(x, 1));
    let var = B::float_mean_dim(B::float_mul(centered.clone(), centered.clone()), 1);
    let rstd = B::float_recip(B::float_sqrt(B::float_add_scalar(var, eps.into())));
    (B::float_mul(centered, rstd.clone()), rstd)
}

pub(crate) fn layer_norm<B: Backend>(x: F<B>, gamma: F<B>, beta: F<B>, eps: f64) -> F<B> {
    let shape = x.shape();
    let width = shape[shape.num_dims() - 1];
    let (normed, _) = normalize::<B>(rows::<B>(x), eps);
    let y = B::float_mul(normed, B::float_reshape(gamma, Shape::new([1, width])));
    B::float_reshape(B::float_add(y, B::float_reshape(beta, Shape::new([1, width]))), shape)
}

pub(crate) fn layer_norm_backward<B: Backend>(
    x: F<B>,
    gamma: F<B>,
    grad: F<B>,
    eps: f64,
) -> (F<B>, F<B>, F<B>) {
    let shape = x.shape();
    let width = shape[shape.num_dims() - 1];
    let (normed, rstd) = normalize::<B>(rows::<B>(x), eps);
    let grad = rows::<B>(grad);
    let dbeta = B::float_reshape(B::float_sum_dim(grad.clone(), 0), Shape::new([width]));
    let dgamma = B::float_sum_dim(B::float_mul(grad.clone(), normed.clone()), 0);
    let scaled = B::float_mul(grad, B::float_reshape(gamma, Shape::new([1, width]))); // dy·γ
    let mean = B::float_mean_dim(scaled.clone(), 1);
    let along = B::float_mean_dim(B::float_mul(scaled.clone(), normed.clone()), 1);
    let inner = B::float_sub(B::float_sub(scaled, mean), B::float_mul(normed, along));
    let dx = B::float_reshape(B::float_mul(inner, rstd), shape);
    (dx, B::float_reshape(dgamma, Shape::new([width])), dbeta)
}

/// Splits `[B, T, 3D]` into q, k, v of `[B, heads, T, d]`.
fn split<B: Backend>(qkv: F<B>, n_heads: usize) -> [F<B>; 3] {
    let [b, t, width3] = qkv.shape().dims::<3>();
    let d = width3 / 3 / n_heads;
    let qkv = B::float_reshape(qkv, Shape::new([b, t, 3, n_heads, d]));
    let qkv = B::float_permute(qkv, &[2, 0, 3, 1, 4]); // [3, B, heads, T, d]
    [0, 1, 2].map(|part: isize| {
        let full = Slice::full();
        let range = Slice::new(part, Some(part + 1), 1);
        let slab = B::float_slice(qkv.clone(), &[range, full, full, full, full]);
        B::float_reshape(slab, Shape::new([b, n_heads, t, d]))
    })
}

/// Softmax over the last dimension.
fn softmax<B: Backend>(scores: F<B>) -> F<B> {
    let last = scores.shape().num_dims() - 1;
    let exp = B::float_exp(B::float_sub(scores.clone(), B::float_max_dim(scores, last)));
    B::float_div(exp.clone(), B::float_sum_dim(exp, last))
}

/// Attention after softmax, `softmax(q·kᵀ/√d + bias)`.
fn probabilities<B: Backend>(q: F<B>, k: F<B>, bias: Option<F<B>>) -> F<B> {
    let d = q.shape()[3] as f64;
    let scores = B::float_matmul(q, B::float_transpose(k)); // [B, heads, T, T]
    let scores = B::float_mul_scalar(scores, d.powf(-0.5).into());
    match bias {
        Some(bias) => {
            // [heads, T, T], or a single value for all
            let [heads, rows, columns] = bias.shape().dims::<3>();
            let bias = B::float_reshape(bias, Shape::new([1, heads, rows, columns]));
            softmax::<B>(B::float_add(scores, bias))
        }
        None => softmax::<B>(scores),
    }
}

/// Merges `[B, heads, T, d]` into `[B, T, D]`.
fn merge<B: Backend>(x: F<B>) -> F<B> {
    let [b, h, t, d] = x.shape().dims::<4>();
    B::float_reshape(B::float_permute(x, &[0, 2, 1, 3]), Shape::new([b, t, h * d]))
}

pub(crate) fn attention<B: Backend>(qkv: F<B>, n_heads: usize) -> F<B> {
    let [q, k, v] = split::<B>(qkv, n_heads);
    merge::<B>(B::float_matmul(probabilities::<B>(q, k, None), v))
}

pub(crate) fn attention_biased<B: Backend>(qkv: F<B>, bias: F<B>, n_heads: usize) -> F<B> {
    let [q, k, v] = split::<B>(qkv, n_heads);
    merge::<B>(B::float_matmul(probabilities::<B>(q, k, Some(bias)), v))
}

pub(crate) fn attention_backward<B: Backend>(qkv: F<B>, grad: F<B>, n_heads: usize) -> F<B> {
    backward_of_attention::<B>(qkv, None, grad, n_heads).0
}

/// The gradients of the fused qkv and of the bias.
pub(crate) fn attention_biased_backward<B: Backend>(
    qkv: F<B>,
    bias: F<B>,
    grad: F<B>,
    n_heads: usize,
) -> (F<B>, F<B>) {
    let [heads, t, _] = bias.shape().dims::<3>();
    let (dqkv, dscores) = backward_of_attention::<B>(qkv, Some(bias), grad, n_heads);
    (dqkv, B::float_reshape(B::float_sum_dim(dscores, 0), Shape::new([heads, t, t])))
}

/// The gradients of the fused qkv and of the scores after scaling, `[B, heads, T, T]`.
fn backward_of_attention<B: Backend>(
    qkv: F<B>,
    bias: Option<F<B>>,
    grad: F<B>,
    n_heads: usize,
) -> (F<B>, F<B>) {
    let [b, t, width] = grad.shape().dims::<3>();
    let d = width / n_heads;
    let scale = (d as f64).powf(-0.5);
    let [q, k, v] = split::<B>(qkv, n_heads);
    let grad = B::float_permute(B::float_reshape(grad, Shape::new([b, t, n_heads, d])), &[0, 2, 1, 3]);
    let p = probabilities::<B>(q.clone(), k.clone(), bias); // [B, heads, T, T]
    let dv = B::float_matmul(B::float_transpose(p.clone()), grad.clone());
    let dp = B::float_matmul(grad, B::float_transpose(v));
    let row = B::float_sum_dim(B::float_mul(dp.clone(), p.clone()), 3);
    let dscores = B::float_mul(p, B::float_sub(dp, row));
    let ds = B::float_mul_scalar(dscores.clone(), scale.into());
    let dq = B::float_matmul(ds.clone(), k);
    let dk = B::float_matmul(B::float_transpose(ds), q);
    (B::float_cat(vec![merge::<B>(dq), merge::<B>(dk), merge::<B>(dv)], 2), dscores)
}

pub(crate) fn adamw<B: Backend>(
    param: F<B>,
    grad: F<B>,
    m: F<B>,
    v: F<B>,
    step: AdamWStep,
) -> (F<B>, F<B>, F<B>) {
    let AdamWStep { lr, weight_decay, beta1, beta2, eps, t } = step;
    let scaled = |x: F<B>, by: f64| B::float_mul_scalar(x, by.into());
    let m = B::float_add(scaled(m, beta1), scaled(grad.clone(), 1.0 - beta1));
    let v = B::float_add(scaled(v, beta2), scaled(B::float_mul(grad.clone(), grad), 1.0 - beta2));
    let (debias1, debias2) = (1.0 - beta1.powi(t as i32), 1.0 - beta2.powi(t as i32));
    let root = B::float_add_scalar(B::float_sqrt(scaled(v.clone(), 1.0 / debias2)), eps.into());
    let update = B::float_div(scaled(m.clone(), lr / debias1), root);
    let param = B::float_sub(scaled(param, 1.0 - lr * weight_decay), update);
    (param, m, v)
}

pub(crate) fn ema<B: Backend>(teacher: F<B>, student: F<B>, momentum: f64) -> F<B> {
    let kept = B::float_mul_scalar(teacher, momentum.into());
    B::float_add(kept, B::float_mul_scalar(student, (1.0 - momentum).into()))
}

/// A host's values beside `like`: on its device, of its type.
fn beside<B: Backend>(like: &F<B>, values: Vec<f64>, shape: &[usize]) -> F<B> {
    let data = TensorData::new(values, shape.to_vec()).convert_dtype(like.dtype());
    B::float_from_data(data, &like.device())
}

/// `factor_b·γ` as `[B, 1, D]`; no factors are factors of 1.
fn residual_scale<B: Backend>(branch: &F<B>, gamma: F<B>, factors: Vec<f32>) -> F<B> {
    let [b, _, width] = branch.shape().dims::<3>();
    let gamma = B::float_reshape(gamma, Shape::new([1, 1, width]));
    if factors.is_empty() {
        return gamma;
    }
    let factors = beside::<B>(branch, factors.into_iter().map(f64::from).collect(), &[b, 1, 1]);
    B::float_mul(factors, gamma)
}

pub(crate) fn residual<B: Backend>(x: F<B>, branch: F<B>, gamma: F<B>, factors: Vec<f32>) -> F<B> {
    let scale = residual_scale::<B>(&branch, gamma, factors);
    B::float_add(x, B::float_mul(branch, scale))
}

pub(crate) fn residual_backward<B: Backend>(
    branch: F<B>,
    gamma: F<B>,
    grad: F<B>,
    factors: Vec<f32>,
) -> (F<B>, F<B>) {
    let [b, _, width] = branch.shape().dims::<3>();
    let scale = residual_scale::<B>(&branch, gamma, factors.clone());
    let along = B::float_mul(branch.clone(), grad.clone());
    let along = match factors.is_empty() {
        true => along,
        false => {
            let factors = beside::<B>(&branch, factors.into_iter().map(f64::from).collect(), &[b, 1, 1]);
            B::float_mul(along, factors)
        }
    };
    let dgamma = B::float_sum_dim(rows::<B>(along), 0);
    (B::float_mul(grad, scale), B::float_reshape(dgamma, Shape::new([width])))
}

fn indices<B: Backend>(like: &F<B>, ids: Vec<u32>) -> IntTensor<B> {
    let n = ids.len();
    let ids: Vec<i32> = ids.into_iter().map(|id| id as i32).collect();
    B::int_from_data(TensorData::new(ids, [n]), &like.device())
}

pub(crate) fn gather<B: Backend>(x: F<B>, ids: Vec<u32>) -> F<B> {
    let ids = indices::<B>(&x, ids);
    B::float_select(x, 0, ids)
}

pub(crate) fn gather_backward<B: Backend>(grad: F<B>, ids: Vec<u32>, n: usize) -> F<B> {
    let [_, width] = grad.shape().dims::<2>();
    let zeros = beside::<B>(&grad, vec![0.0; n * width], &[n, width]);
    let ids = indices::<B>(&grad, ids);
    B::float_select_assign(zeros, 0, ids, grad, IndexingUpdateOp::Add)
}

pub(crate) fn patchify<B: Backend>(pixels: F<B>, cut: PatchCut) -> F<B> {
    let PatchCut { channels, rows, columns, patch_px: p, order } = cut;
    let b = pixels.shape()[0];
    let x = B::float_reshape(pixels, Shape::new([b, channels, rows, p, columns, p]));
    let x = match order {
        PatchOrder::ChannelFirst => B::float_permute(x, &[0, 2, 4, 1, 3, 5]),
        PatchOrder::ChannelLast => B::float_permute(x, &[0, 2, 4, 3, 5, 1]),
    };
    B::float_reshape(x, Shape::new([b, rows * columns, channels * p * p]))
}

pub(crate) fn unpatchify<B: Backend>(patches: F<B>, cut: PatchCut) -> F<B> {
    let PatchCut { channels, rows, columns, patch_px: p, order } = cut;
    let b = patches.shape()[0];
    let x = match order {
        PatchOrder::ChannelFirst => {
            let x = B::float_reshape(patches, Shape::new([b, rows, columns, channels, p, p]));
            B::float_permute(x, &[0, 3, 1, 4, 2, 5])
        }
        PatchOrder::ChannelLast => {
            let x = B::float_reshape(patches, Shape::new([b, rows, columns, p, p, channels]));
            B::float_permute(x, &[0, 5, 1, 3, 2, 4])
        }
    };
    B::float_reshape(x, Shape::new([b, channels, rows * p, columns * p]))
}

/// `x/τ − max` and `log Σ exp` of it, over the rows of `[n, K]`.
fn shifted<B: Backend>(x: F<B>, temperature: f64) -> (F<B>, F<B>) {
    let x = B::float_mul_scalar(x, (1.0 / temperature).into());
    let x = B::float_sub(x.clone(), B::float_max_dim(x, 1));
    (x.clone(), B::float_log(B::float_sum_dim(B::float_exp(x), 1)))
}

pub(crate) fn cross_entropy<B: Backend>(logits: F<B>, targets: F<B>, temperature: f64) -> F<B> {
    let (shifted, log_sum) = shifted::<B>(logits, temperature);
    B::float_neg(B::float_sum(B::float_mul(targets, B::float_sub(shifted, log_sum))))
}

pub(crate) fn cross_entropy_backward<B: Backend>(
    logits: F<B>,
    targets: F<B>,
    grad: F<B>,
    temperature: f64,
) -> F<B> {
    let (shifted, log_sum) = shifted::<B>(logits, temperature);
    let probabilities = B::float_exp(B::float_sub(shifted, log_sum));
    let mass = B::float_sum_dim(targets.clone(), 1); // [n, 1]
    let slope = B::float_sub(B::float_mul(probabilities, mass), targets);
    let grad = B::float_reshape(grad, Shape::new([1, 1]));
    B::float_mul(B::float_mul_scalar(slope, (1.0 / temperature).into()), grad)
}

pub(crate) fn centered_softmax<B: Backend>(logits: F<B>, center: F<B>, temperature: f64) -> F<B> {
    let k = center.shape()[0];
    let logits = B::float_sub(logits, B::float_reshape(center, Shape::new([1, k])));
    softmax::<B>(B::float_mul_scalar(logits, (1.0 / temperature).into()))
}

pub(crate) fn sum_of_squares<B: Backend>(x: F<B>) -> F<B> {
    B::float_sum(B::float_mul(x.clone(), x))
}

/// `[N, N]` distances between patches from a table of offsets.
fn pairwise(table: &[f64], grid: AttentionGrid) -> Vec<f64> {
    let AttentionGrid { rows, columns, .. } = grid;
    let n = rows * columns;
    let between = |q: usize, k: usize| {
        let (down, right) = (rows - 1 + k / columns - q / columns, columns - 1 + k % columns - q % columns);
        table[down * (2 * columns - 1) + right]
    };
    (0..n * n).map(|at| between(at / n, at % n)).collect()
}

pub(crate) fn attention_watched<B: Backend>(
    qkv: F<B>,
    bias: F<B>,
    n_heads: usize,
    grid: AttentionGrid,
) -> (F<B>, F<B>) {
    let (out, found, _) = attention_shown::<B>(qkv, bias, n_heads, grid);
    (out, found)
}

pub(crate) fn attention_shown<B: Backend>(
    qkv: F<B>,
    bias: F<B>,
    n_heads: usize,
    grid: AttentionGrid,
) -> (F<B>, F<B>, F<B>) {
    let [q, k, v] = split::<B>(qkv, n_heads);
    let p = probabilities::<B>(q, k, Some(bias)); // [B, heads, T, T]
    let found = statistics::<B>(p.clone(), grid);
    (merge::<B>(B::float_matmul(p.clone(), v)), found, p)
}

/// The numbers of each head of probabilities `[B, heads, T, T]`: `[B, heads, 4]`.
fn statistics<B: Backend>(p: F<B>, grid: AttentionGrid) -> F<B> {
    let [b, heads, t, _] = p.shape().dims::<4>();
    let (prefix, n) = (grid.n_prefix, grid.rows * grid.columns);
    assert_eq!(t, prefix + n, "attention: {t} tokens for a grid of {grid:?}");
    let full = Slice::full();
    let from = |first: usize, last: usize| Slice::new(first as isize, Some(last as isize), 1);
    let mean = |x: F<B>, n_rows: usize| {
        let sum = B::float_sum_dim(B::float_sum_dim(x, 3), 2);
        B::float_reshape(B::float_mul_scalar(sum, (1.0 / n_rows as f64).into()), Shape::new([b, heads, 1]))
    };
    // p·ln p is 0 where p is 0: the smallest normal number stands in for it.
    let log = B::float_log(B::float_clamp_min(p.clone(), f64::from(f32::MIN_POSITIVE).into()));
    let entropy = B::float_neg(mean(B::float_mul(p.clone(), log), t));
    let class = mean(B::float_slice(p.clone(), &[full, full, from(prefix, t), from(0, 1)]), n);
    let patches = B::float_slice(p, &[full, full, from(prefix, t), from(prefix, t)]);
    let rest = B::float_sum_dim(patches.clone(), 3); // [B, heads, N, 1]
    let rest = B::float_clamp_min(rest, f64::from(f32::MIN_POSITIVE).into());
    let distance = |table: Vec<f64>| {
        let table = beside::<B>(&patches, pairwise(&table, grid), &[1, 1, n, n]);
        mean(B::float_div(B::float_mul(patches.clone(), table), rest.clone()), n)
    };
    let far = [distance(grid.unit_distances()), distance(grid.patch_distances())];
    B::float_cat([entropy, class].into_iter().chain(far).collect(), 2)
}
