//! Multi-head attention straight from the fused qkv, in tiles of queries: memory linear in the number of tokens.
//!
//! The backward pass computes the probabilities again instead of keeping them.

use super::buffer::fill_with;
use super::linear::{View, matmul};
use super::simd::{LANES, exp, fold, largest, simd, sum_of_pairs};
use super::transposed::Transposed;
use burn::tensor::Shape;
use gemm::Parallelism;
use rayon::prelude::*;

/// The sizes of one call: images, tokens, heads, and channels of a head.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub b: usize,
    pub t: usize,
    pub n_heads: usize,
    pub d: usize,
}

impl Size {
    /// `[B, T, D]`
    pub(super) fn merged(self) -> Shape {
        Shape::new([self.b, self.t, self.n_heads * self.d])
    }
}

/// Queries whose scores are held at once.
pub(super) const TILE: usize = 128;

simd! {
    /// Softmax of each row of `[rows, t]`, in place.
    fn softmax_rows(scores: &mut [f32], t: usize) {
        for row in scores.chunks_exact_mut(t) {
            let inverse = 1.0 / exp_row(row);
            for value in row.iter_mut() {
                *value *= inverse;
            }
        }
    }
}

simd! {
    /// `exp(x − max)` of each row of `[rows, t]`, in place; the sum of each goes to `sums`.
    fn exp_rows(scores: &mut [f32], t: usize, sums: &mut [f32]) {
        for (row, sum) in scores.chunks_exact_mut(t).zip(sums) {
            *sum = exp_row(row);
        }
    }
}

/// `exp(x − max)` in place, and its sum, in sixteen lanes.
#[inline(always)]
fn exp_row(row: &mut [f32]) -> f32 {
    let max = largest(row);
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            chunk[i] = exp(chunk[i] - max);
            lanes[i] += chunk[i];
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *value = exp(*value - max);
        *lane += *value;
    }
    fold(lanes)
}

simd! {
    /// Divides the first `d` values of each row by its sum.
    fn divide_rows(rows: &mut [f32], stride: usize, d: usize, sums: &[f32]) {
        for (row, &sum) in rows.chunks_mut(stride).zip(sums) {
            let inverse = 1.0 / sum;
            for value in &mut row[..d] {
                *value *= inverse;
            }
        }
    }
}

simd! {
    /// `dS = P ∘ (dP − Σ dP∘P)` per row, written over `dp`.
    fn softmax_backward_rows(p: &[f32], dp: &mut [f32], t: usize) {
        for (p, dp) in p.chunks_exact(t).zip(dp.chunks_exact_mut(t)) {
            let along = sum_of_pairs(p, dp, |p, dp| p * dp);
            for (dp, &p) in dp.iter_mut().zip(p) {
                *dp = p * (*dp - along);
            }
        }
    }
}

simd! {
    fn add(into: &mut [f32], other: &[f32]) {
        for (into, &other) in into.iter_mut().zip(other) {
            *into += other;
        }
    }
}

/// One head of one image inside the fused projections.
pub(super) struct Head<'a> {
    q: &'a [f32],
    k: View<'a>,
    /// The keys again, `[d, t]`: all tiles of queries are multiplied with them.
    k_turned: Transposed,
    v: View<'a>,
    /// Added to the scores, `[t, t]`.
    bias: Option<&'a [f32]>,
    stride: usize,
    size: Size,
}

impl<'a> Head<'a> {
    pub(super) fn new(image: &'a [f32], bias: Option<&'a [f32]>, head: usize, size: Size) -> Self {
        let Size { t, n_heads, d, .. } = size;
        let (width, stride) = (n_heads * d, 3 * n_heads * d);
        let slab = |part: usize| &image[part * width + head * d..];
        let view = |part: usize| View::strided(slab(part), t, d, stride);
        let bias = bias.map(|bias| &bias[head * t * t..][..t * t]);
        let k = view(1);
        Self { q: slab(0), k, k_turned: Transposed::new(k), v: view(2), bias, stride, size }
    }

    fn queries(&self, first: usize, n: usize) -> View<'a> {
        View::strided(&self.q[first * self.stride..], n, self.size.d, self.stride)
    }

    /// The values of all tokens, `[t, d]`.
    pub(super) fn values(&self) -> View<'a> {
        self.v
    }

    /// The probabilities of queries `first..first + n`, `[n, t]`.
    fn probabilities(&self, first: usize, n: usize, out: &mut [f32]) {
        self.scores(first, n, out);
        softmax_rows(out, self.size.t);
    }

    /// The scores of queries `first..first + n`, `[n, t]`.
    pub(super) fn scores(&self, first: usize, n: usize, out: &mut [f32]) {
        let t = self.size.t;
        let scale = (self.size.d as f32).powf(-0.5);
        let product = (self.queries(first, n), self.k_turned.view());
        matmul(out, t, product, scale, false, Parallelism::None);
        if let Some(bias) = self.bias {
            add(out, &bias[first * t..]);
        }
    }

    /// The probabilities `p` of queries `first..first + n` and their gradient `dp`, each `[n, t]`; `grad` is that of
    /// the image's merged heads, `v_turned` the values, `[d, t]`.
    fn probability_gradient(
        &self,
        v_turned: View,
        head: usize,
        (first, n): (usize, usize),
        grad: &[f32],
        scratch: &mut Scratch,
    ) {
        let Size { t, n_heads, d, .. } = self.size;
        let width = n_heads * d;
        let Scratch { p, dp } = scratch;
        p.resize(n * t, 0.0);
        dp.resize(n * t, 0.0);
        self.probabilities(first, n, p);
        let dout = View::strided(&grad[first * width + head * d..], n, d, width);
        matmul(dp, t, (dout, v_turned), 1.0, false, Parallelism::None);
    }
}

/// The tiles of `t` queries: first and count.
pub(super) fn tiles(t: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..t).step_by(TILE).map(move |first| (first, TILE.min(t - first)))
}

pub(super) fn forward(qkv: &[f32], bias: Option<&[f32]>, size: Size) -> Vec<f32> {
    let Size { b, t, n_heads, d } = size;
    let width = n_heads * d;
    // Rows are divided by their sums after the product with the values: there they are shorter.
    let one_head = |image: &[f32], head: usize, out: &mut [f32], p: &mut Vec<f32>| {
        let head_view = Head::new(image, bias, head, size);
        let mut sums = [0.0; TILE];
        for (first, n) in tiles(t) {
            p.resize(n * t, 0.0);
            head_view.scores(first, n, p);
            exp_rows(p, t, &mut sums[..n]);
            let out = &mut out[first * width + head * d..];
            matmul(out, width, (View::new(p, n, t), head_view.v), 1.0, false, Parallelism::None);
            divide_rows(out, width, d, &sums[..n]);
        }
    };
    fill_with(b * t * width, t * width, Vec::new, |p, at, out| {
        let image = &qkv[at * 3 * t * width..][..3 * t * width];
        for head in 0..n_heads {
            one_head(image, head, out, p);
        }
    })
}

/// Room that one task uses again from head to head.
#[derive(Default)]
struct Scratch {
    p: Vec<f32>,
    dp: Vec<f32>,
}

pub(super) fn backward(qkv: &[f32], bias: Option<&[f32]>, grad: &[f32], size: Size) -> Vec<f32> {
    let Size { t, n_heads, d, .. } = size;
    let width = n_heads * d;
    let of_image = 3 * t * width;
    fill_with(qkv.len(), of_image, Scratch::default, |scratch, at, dqkv| {
        let (image, grad) = (&qkv[at * of_image..][..of_image], &grad[at * t * width..][..t * width]);
        for head in 0..n_heads {
            backward_head(&Head::new(image, bias, head, size), head, grad, dqkv, scratch);
        }
    })
}

/// The gradient of the bias, `[heads, T, T]`: that of the scores, summed over images in order.
pub(super) fn bias_gradient(qkv: &[f32], bias: &[f32], grad: &[f32], size: Size) -> Vec<f32> {
    let Size { t, n_heads, d, .. } = size;
    let width = n_heads * d;
    let mut dbias = vec![0.0; bias.len()];
    if dbias.is_empty() || qkv.is_empty() {
        return dbias;
    }
    dbias.par_chunks_mut(t * t).enumerate().for_each_init(Scratch::default, |scratch, (head, dbias)| {
        for (image, grad) in qkv.chunks(3 * t * width).zip(grad.chunks(t * width)) {
            let view = Head::new(image, Some(bias), head, size);
            let v_turned = Transposed::new(view.v);
            for (first, n) in tiles(t) {
                view.probability_gradient(v_turned.view(), head, (first, n), grad, scratch);
                softmax_backward_rows(&scratch.p, &mut scratch.dp, t);
                add(&mut dbias[first * t..][..n * t], &scratch.dp);
            }
        }
    });
    dbias
}

/// `dV = Pᵀ·dO`, `dP = dO·Vᵀ`, `dQ = dS·K/√d`, `dK = dSᵀ·Q/√d`, tile by tile.
fn backward_head(head: &Head, head_idx: usize, grad: &[f32], dqkv: &mut [f32], scratch: &mut Scratch) {
    let Size { t, n_heads, d, .. } = head.size;
    let (width, stride) = (n_heads * d, head.stride);
    let scale = (d as f32).powf(-0.5);
    let at = |part: usize| part * width + head_idx * d;
    let v_turned = Transposed::new(head.v);
    for (first, n) in tiles(t) {
        head.probability_gradient(v_turned.view(), head_idx, (first, n), grad, scratch);
        let Scratch { p, dp } = &mut *scratch;
        let dout = View::strided(&grad[first * width + head_idx * d..], n, d, width);
        let later = first > 0;
        let dv = (View::new(p, n, t).transposed(), dout);
        matmul(&mut dqkv[at(2)..], stride, dv, 1.0, later, Parallelism::None);
        softmax_backward_rows(p, dp, t);
        let ds = View::new(dp, n, t);
        matmul(&mut dqkv[first * stride + at(0)..], stride, (ds, head.k), scale, false, Parallelism::None);
        let dk = (ds.transposed(), head.queries(first, n));
        matmul(&mut dqkv[at(1)..], stride, dk, scale, later, Parallelism::None);
    }
}
