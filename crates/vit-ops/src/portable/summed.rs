//! What attention that is watched tells beside each head's numbers, rollout, and lengths, of Burn's own primitives.

use super::{F, attention_shown, beside, statistics};
use crate::{AttentionGrid, AttentionWants};
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{Shape, Slice};

fn from(first: usize, last: usize) -> Slice {
    Slice::new(first as isize, Some(last as isize), 1)
}

fn scaled<B: Backend>(x: F<B>, by: f64) -> F<B> {
    B::float_mul_scalar(x, by.into())
}

fn zeros<B: Backend>(like: &F<B>, shape: &[usize]) -> F<B> {
    beside::<B>(like, vec![0.0; shape.iter().product()], shape)
}

pub(crate) fn attention_summed<B: Backend>(
    qkv: F<B>,
    bias: F<B>,
    n_heads: usize,
    grid: AttentionGrid,
    wants: AttentionWants,
) -> (F<B>, F<B>, Vec<F<B>>) {
    let (merged, statistics, p) = attention_shown::<B>(qkv, bias, n_heads, grid);
    let mut wanted = Vec::new();
    if wants.probabilities {
        wanted.push(p.clone());
    }
    if wants.maps {
        wanted.push(maps::<B>(p.clone(), grid));
    }
    if wants.over_heads {
        wanted.push(over_heads::<B>(p, grid));
    }
    (merged, statistics, wanted)
}

/// The rows of every head and its aligned map, `[B, heads, 6·T + (2·rows − 1)·(2·columns − 1)]`.
fn maps<B: Backend>(p: F<B>, grid: AttentionGrid) -> F<B> {
    let [b, heads, t, _] = p.shape().dims::<4>();
    let (prefix, full) = (grid.n_prefix, Slice::full());
    let n = t - prefix;
    let of_patches = B::float_slice(p.clone(), &[full, full, from(prefix, t), full]); // [B, heads, N, T]
    let keys = B::float_slice(of_patches.clone(), &[full, full, full, from(prefix, t)]); // [B, heads, N, N]
    let row = |query: usize| B::float_slice(p.clone(), &[full, full, from(query, query + 1), full]);
    let with_prefix = |x: F<B>| match prefix {
        0 => x,
        _ => B::float_cat(vec![zeros::<B>(&x, &[b, heads, 1, prefix]), x], 3),
    };
    let mass = B::float_clamp_min(B::float_sum_dim(keys.clone(), 3), f64::from(f32::MIN_POSITIVE).into());
    let shares = B::float_div(keys.clone(), mass); // [B, heads, N, N]
    let apart = B::float_sub(keys.clone(), B::float_mean_dim(keys, 2));
    let variance = B::float_sum_dim(B::float_mul(apart.clone(), apart), 2);
    let variance = scaled::<B>(variance, 1.0 / (n.max(2) - 1) as f64);
    let rows = vec![
        B::float_mean_dim(p.clone(), 2),
        row(0),
        B::float_mean_dim(of_patches, 2),
        with_prefix(B::float_mean_dim(shares.clone(), 2)),
        row(prefix + grid.rows / 2 * grid.columns + grid.columns / 2),
        with_prefix(B::float_sqrt(variance)),
    ];
    let n_rows = rows.len();
    let rows = B::float_reshape(B::float_cat(rows, 2), Shape::new([b, heads, n_rows * t]));
    let aligned = scaled::<B>(aligned::<B>(shares, grid), 1.0 / n.max(1) as f64);
    let size = (2 * grid.rows - 1) * (2 * grid.columns - 1);
    B::float_cat(vec![rows, B::float_reshape(aligned, Shape::new([b, heads, size]))], 2)
}

/// `[B, heads, N, N]` laid over one canvas so that every query lies in its middle, `[B·heads, 2·rows − 1, 2·columns − 1]`.
fn aligned<B: Backend>(shares: F<B>, grid: AttentionGrid) -> F<B> {
    let AttentionGrid { rows, columns, .. } = grid;
    let (wide, high) = (2 * columns - 1, 2 * rows - 1);
    let m = shares.shape().num_elements() / (rows * columns * rows * columns).max(1);
    // First queries and keys of two rows by how far they are apart in columns, then by how far apart the rows are.
    let by_row = B::float_reshape(shares, Shape::new([m, rows, columns, rows, columns]));
    let by_row = B::float_permute(by_row, &[0, 1, 3, 2, 4]); // [m, query row, key row, query column, key column]
    let by_row = apart::<B>(B::float_reshape(by_row, Shape::new([m * rows * rows, columns, columns])));
    let by_column = B::float_reshape(by_row, Shape::new([m, rows, rows, wide]));
    let by_column = B::float_permute(by_column, &[0, 3, 1, 2]);
    let canvas = apart::<B>(B::float_reshape(by_column, Shape::new([m * wide, rows, rows])));
    B::float_permute(B::float_reshape(canvas, Shape::new([m, wide, high])), &[0, 2, 1])
}

/// `Σ_q x[q, q + Δ]` for every `Δ`: of `[m, n, n]`, `[m, 2n − 1]`.
fn apart<B: Backend>(x: F<B>) -> F<B> {
    let [m, n, _] = x.shape().dims::<3>();
    // Rows from the last on, each followed by as many zeros: read one column narrower, row after row moves to its place.
    let beside_zeros = B::float_cat(vec![B::float_flip(x.clone(), &[1]), zeros::<B>(&x, &[m, n, n])], 2);
    let flat = B::float_reshape(beside_zeros, Shape::new([m, 2 * n * n]));
    let flat = B::float_slice(flat, &[Slice::full(), from(0, n * (2 * n - 1))]);
    let moved = B::float_reshape(flat, Shape::new([m, n, 2 * n - 1]));
    B::float_reshape(B::float_sum_dim(moved, 1), Shape::new([m, 2 * n - 1]))
}

/// The mean over heads and how much they differ, `[B, T·T + 1]`.
fn over_heads<B: Backend>(p: F<B>, grid: AttentionGrid) -> F<B> {
    let [b, heads, t, _] = p.shape().dims::<4>();
    let (full, n) = (Slice::full(), t - grid.n_prefix);
    let mean = B::float_mean_dim(p.clone(), 1); // [B, 1, T, T]
    let away = B::float_sub(p, mean.clone());
    let patches = from(grid.n_prefix, t);
    let away = B::float_slice(away, &[full, full, patches, patches]);
    let variance = B::float_sum_dim(B::float_mul(away.clone(), away), 1);
    let spread = B::float_sqrt(scaled::<B>(variance, 1.0 / (heads.max(2) - 1) as f64));
    let spread = B::float_sum_dim(B::float_reshape(spread, Shape::new([b, n * n])), 1);
    let spread = scaled::<B>(spread, 1.0 / (n * n).max(1) as f64);
    B::float_cat(vec![B::float_reshape(mean, Shape::new([b, t * t])), spread], 1)
}

pub(crate) fn attention_rolled<B: Backend>(mean: F<B>, below: F<B>, grid: AttentionGrid) -> (F<B>, F<B>) {
    let [b, t, _] = mean.shape().dims::<3>();
    let own = (0..t * t).map(|at| if at / t == at % t { 1.0 } else { 0.0 }).collect();
    let own = beside::<B>(&mean, own, &[1, t, t]);
    let mixed = B::float_add(mean, own);
    let mixed = B::float_div(mixed.clone(), B::float_sum_dim(mixed, 2));
    let rolled = match below.shape().num_elements() == mixed.shape().num_elements() {
        true => B::float_matmul(mixed, below),
        false => mixed,
    };
    let found = statistics::<B>(B::float_reshape(rolled.clone(), Shape::new([b, 1, t, t])), grid);
    (rolled, found)
}

pub(crate) fn lengths<B: Backend>(z: F<B>, x: F<B>) -> F<B> {
    let length = |x: F<B>| B::float_sqrt(B::float_sum_dim(B::float_mul(x.clone(), x), 2)); // [B, T, 1]
    let between = B::float_sub(x, z.clone());
    B::float_cat(vec![length(z), length(between)], 2)
}
