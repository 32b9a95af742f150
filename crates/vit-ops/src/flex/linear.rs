//! `x·Wᵀ + b` and its gradients: the bias is written first and the product added to it in one pass.

use super::buffer::{copies, fill, fill_two, repeat, rows_upon, zeros};
use super::simd::{CHUNK, simd};
use crate::parts::hands;
use gemm::Parallelism;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// A row-major view of a matrix, or of its transpose.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub values: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a> View<'a> {
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// A matrix whose rows are `row_stride` apart.
    pub(super) fn strided(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    pub(super) fn transposed(self) -> Self {
        let Self { values, rows, columns, row_stride, column_stride } = self;
        Self { values, rows: columns, columns: rows, row_stride: column_stride, column_stride: row_stride }
    }

    fn reaches(&self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
    }
}

/// `out = scale·a·b (+ out)`, `out` row-major with `out_stride` between rows.
pub(super) fn matmul(
    out: &mut [f32],
    out_stride: usize,
    (a, b): (View, View),
    scale: f32,
    accumulate: bool,
    parallelism: Parallelism,
) {
    let (m, n) = (a.rows, b.columns);
    if m == 0 || n == 0 {
        return;
    }
    assert!(n <= out_stride && (m - 1) * out_stride + n <= out.len());
    // SAFETY: the assertion keeps every row and column inside `out`, which is borrowed mutably.
    unsafe { product(out.as_mut_ptr(), out_stride, (a, b), scale, accumulate, parallelism) };
}

/// `a·b` as a new matrix.
fn new_matmul((a, b): (View, View), parallelism: Parallelism) -> Vec<f32> {
    let n = a.rows * b.columns;
    if n == 0 || a.columns == 0 {
        return vec![0.0; n];
    }
    let mut out: Vec<f32> = Vec::with_capacity(n);
    // SAFETY: the buffer has room for `a.rows` rows of `b.columns` values, and a product that does not accumulate writes
    // every one of them before any is read.
    unsafe {
        product(out.as_mut_ptr(), b.columns, (a, b), 1.0, false, parallelism);
        out.set_len(n);
    }
    out
}

/// `a·b` into room for exactly its values; the inner size must not be 0.
fn new_block(out: &mut [MaybeUninit<f32>], (a, b): (View, View)) {
    assert!(out.len() == a.rows * b.columns && a.columns > 0);
    if out.is_empty() {
        return;
    }
    // SAFETY: the room has `a.rows` rows of `b.columns` values; a product that does not accumulate writes every one of them
    // and reads none.
    unsafe { product(out.as_mut_ptr().cast(), b.columns, (a, b), 1.0, false, Parallelism::None) };
}

/// # Safety
/// `out` must be valid for writes of `a.rows` rows of `b.columns` values, `out_stride` apart, and for reads where it
/// accumulates; it must overlap neither operand.
unsafe fn product(
    out: *mut f32,
    out_stride: usize,
    (a, b): (View, View),
    scale: f32,
    accumulate: bool,
    parallelism: Parallelism,
) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert!(b.rows == k && a.reaches() <= a.values.len() && b.reaches() <= b.values.len());
    // SAFETY: the assertion keeps every row and column of both operands inside their slices; the caller vouches for `out`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            out_stride as isize,
            accumulate,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// All threads for products large enough to share.
fn threads(m: usize, n: usize, k: usize) -> Parallelism {
    if m * n * k < 64 * 64 * 64 { Parallelism::None } else { Parallelism::Rayon(0) }
}

/// Whether a product may be cut across its rows without a change in any sum: the library takes inner sizes above 512 in steps of another
/// size where both outer sizes are 64 or less, which a block can be and the whole not.
fn can_be_cut(n_inner: usize, n_columns: usize) -> bool {
    n_inner <= 512 || n_columns > 64
}

/// Rows that one task multiplies, of `n`, where so many hands share the work. A row is the same whatever the block that it lies in; one row by
/// itself, which is another kernel's, is no block.
///
/// Each block copies the weights once for the product's kernel, so a thread by itself takes many rows; where several share the work, blocks of
/// 256 or more go round, or of few rows the half.
fn rows_of_block(n: usize, (n_inner, n_columns): (usize, usize), hands: usize) -> usize {
    const FEW: usize = 256;
    const MANY: usize = 1024;
    if !can_be_cut(n_inner, n_columns) {
        return n.max(1);
    }
    let usual = (n / (4 * hands)).clamp(FEW, MANY);
    let rows = match hands {
        1 => n.div_ceil(n.div_ceil(MANY).max(1)),
        _ if n >= 2 * usual => usual,
        _ => n.div_ceil(2),
    };
    if n > 1 && n % rows == 1 { rows + 1 } else { rows.max(1) }
}

/// Rows of a gradient of weights, of `n_out`, that one task makes: whole blocks of the product's kernel.
fn rows_of_weights(n_out: usize, (n_inner, n_in): (usize, usize), hands: usize) -> usize {
    let rows = n_out.div_ceil(hands).next_multiple_of(16);
    if rows < 32 || n_out % rows == 1 || !can_be_cut(n_inner, n_in) { n_out.max(1) } else { rows }
}

/// Whether there are blocks enough to keep all threads busy; otherwise the product itself is shared among them.
fn in_blocks(n_rows: usize, sizes: (usize, usize), hands: usize) -> bool {
    hands == 1 || (n_rows >= 128 * hands && can_be_cut(sizes.0, sizes.1))
}

/// Rows `at·n_rows…` of a matrix, as many as `len` values of rows of `out_width` are.
fn block(
    values: &[f32],
    width: usize,
    (at, n_rows): (usize, usize),
    (len, out_width): (usize, usize),
) -> View<'_> {
    let n = len / out_width.max(1);
    View::new(&values[at * n_rows * width..][..n * width], n, width)
}

/// `x·Wᵀ + b`, and what `after` makes of every block of rows.
pub(super) fn forward(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    n_in: usize,
    after: impl Fn(&mut [f32]) + Sync,
) -> Vec<f32> {
    let (n, n_out) = (x.len() / n_in.max(1), bias.len());
    let weight = View::new(weight, n_out, n_in).transposed();
    let hands = hands();
    if in_blocks(n, (n_in, n_out), hands) {
        let rows = rows_of_block(n, (n_in, n_out), hands);
        return rows_upon(bias, n, rows, |at, y| {
            let x = block(x, n_in, (at, rows), (y.len(), n_out));
            matmul(y, n_out, (x, weight), 1.0, true, Parallelism::None);
            after(y);
        });
    }
    let mut y = repeat(bias, n);
    matmul(&mut y, n_out, (View::new(x, n, n_in), weight), 1.0, true, threads(n, n_out, n_in));
    y.par_chunks_mut(CHUNK).for_each(&after);
    y
}

/// `h = x·Wᵀ + b` and, block by block, `y` that `curve` makes of it.
pub(super) fn forward_curve(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    n_in: usize,
    curve: impl Fn(&[f32], &mut [f32]) + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let (n, n_out) = (x.len() / n_in.max(1), bias.len());
    let hands = hands();
    if !in_blocks(n, (n_in, n_out), hands) {
        let before = forward(x, weight, bias, n_in, |_| {});
        let y = fill(before.len(), CHUNK, |at, y| curve(&before[at * CHUNK..][..y.len()], y));
        return (before, y);
    }
    let weight = View::new(weight, n_out, n_in).transposed();
    let rows = rows_of_block(n, (n_in, n_out), hands);
    let size = (n * n_out, rows * n_out);
    let begin = |before: &mut [MaybeUninit<f32>]| copies(bias, before);
    fill_two(size, size, begin, zeros, |at, before, y| {
        let x = block(x, n_in, (at, rows), (before.len(), n_out));
        matmul(before, n_out, (x, weight), 1.0, true, Parallelism::None);
        curve(before, y);
    })
}

/// `dx = dy·W`
pub(super) fn input_gradient(weight: &[f32], grad: &[f32], n_in: usize, n_out: usize) -> Vec<f32> {
    let n = grad.len() / n_out.max(1);
    let weight = View::new(weight, n_out, n_in);
    let hands = hands();
    if !in_blocks(n, (n_out, n_in), hands) {
        return new_matmul((View::new(grad, n, n_out), weight), threads(n, n_out, n_in));
    }
    if n_out == 0 {
        return vec![0.0; n * n_in];
    }
    let mut dx = Vec::with_capacity(n * n_in);
    let rows = rows_of_block(n, (n_out, n_in), hands);
    let blocks = dx.spare_capacity_mut()[..n * n_in].par_chunks_mut((rows * n_in).max(1));
    blocks.enumerate().with_max_len(1).for_each(|(at, dx)| {
        let grad = block(grad, n_out, (at, rows), (dx.len(), n_in));
        new_block(dx, (grad, weight));
    });
    // SAFETY: the blocks cover all values, each written by `new_block`.
    unsafe { dx.set_len(n * n_in) };
    dx
}

/// `dh`, which `curve` makes of `h` and `dy`, and `dx = dh·W`, block by block.
pub(super) fn input_gradient_curve(
    weight: &[f32],
    before: &[f32],
    grad: &[f32],
    (n_in, n_out): (usize, usize),
    curve: impl Fn(&[f32], &[f32], &mut [f32]) + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let n = grad.len() / n_out.max(1);
    let hands = hands();
    if !in_blocks(n, (n_out, n_in), hands) {
        let dh = fill(grad.len(), CHUNK, |at, dh| {
            let here = at * CHUNK..at * CHUNK + dh.len();
            curve(&before[here.clone()], &grad[here], dh);
        });
        let dx = input_gradient(weight, &dh, n_in, n_out);
        return (dh, dx);
    }
    let weight = View::new(weight, n_out, n_in);
    let rows = rows_of_block(n, (n_out, n_in), hands);
    fill_two((n * n_out, rows * n_out), (n * n_in, rows * n_in), zeros, zeros, |at, dh, dx| {
        let here = at * rows * n_out..at * rows * n_out + dh.len();
        curve(&before[here.clone()], &grad[here], dh);
        matmul(dx, n_in, (View::new(dh, dh.len() / n_out, n_out), weight), 1.0, false, Parallelism::None);
    })
}

/// `(dW, db)`: `dW = dyᵀ·x`, its rows shared among threads, which changes no sum.
pub(super) fn params_gradient(x: &[f32], grad: &[f32], n_in: usize, n_out: usize) -> (Vec<f32>, Vec<f32>) {
    let n = grad.len() / n_out.max(1);
    let (grad_t, x) = (View::new(grad, n, n_out).transposed(), View::new(x, n, n_in));
    let hands = hands();
    let rows = rows_of_weights(n_out, (n, n_in), hands);
    let dw = if hands == 1 || (n >= 128 * hands && rows < n_out) {
        fill(n_out * n_in, rows * n_in, |at, dw| {
            let part = View { values: &grad[at * rows..], rows: dw.len() / n_in, ..grad_t };
            matmul(dw, n_in, (part, x), 1.0, false, Parallelism::None);
        })
    } else {
        new_matmul((grad_t, x), threads(n, n_out, n_in))
    };
    (dw, column_sums(grad, n_out))
}

simd! {
    fn add_rows(rows: &[f32], sums: &mut [f32]) {
        for row in rows.chunks_exact(sums.len()) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}

/// Sum over rows, in fixed blocks of rows added in order, so that the number of threads changes nothing.
pub(super) fn column_sums(rows: &[f32], width: usize) -> Vec<f32> {
    const BLOCK_ROWS: usize = 256;
    let partial: Vec<Vec<f32>> = rows
        .par_chunks(BLOCK_ROWS * width)
        .map(|block| {
            let mut sums = vec![0.0; width];
            add_rows(block, &mut sums);
            sums
        })
        .collect();
    let mut total = vec![0.0; width];
    for sums in &partial {
        add_rows(sums, &mut total);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sines(n: usize, step: f64) -> Vec<f32> {
        (0..n).map(|i| (0.3 + step * i as f64).sin() as f32).collect()
    }

    /// `[n, k]·[k, m]` in blocks of rows.
    fn in_rows(x: &[f32], w: &[f32], (n, k, m): (usize, usize, usize), rows: usize) -> Vec<f32> {
        let weight = View::new(w, m, k).transposed();
        fill(n * m, rows * m, |at, y| {
            let x = block(x, k, (at, rows), (y.len(), m));
            matmul(y, m, (x, weight), 1.0, false, Parallelism::None);
        })
    }

    #[test]
    fn no_sum_depends_on_how_many_hands_share_a_product() {
        for (n, k, m) in
            [(257, 64, 96), (520, 768, 10), (520, 768, 65), (513, 513, 64), (2049, 40, 7), (1, 5, 3)]
        {
            let (x, w) = (sines(n * k, 0.7), sines(m * k, 1.3));
            let of = |hands| in_rows(&x, &w, (n, k, m), rows_of_block(n, (k, m), hands));
            let alone = of(1);
            for hands in 2..6 {
                assert_eq!(of(hands), alone, "[{n}, {k}] by [{k}, {m}], {hands} hands");
            }
        }
    }

    #[test]
    fn no_gradient_of_weights_depends_on_how_many_hands_share_it() {
        for (n_out, n, n_in) in
            [(96, 544, 32), (128, 600, 64), (192, 788, 192), (65, 2000, 70), (33, 700, 100)]
        {
            let (dy_t, x_t) = (sines(n_out * n, 0.7), sines(n * n_in, 1.3));
            let of = |hands| {
                let rows = rows_of_weights(n_out, (n, n_in), hands);
                in_rows(&dy_t, &x_t, (n_out, n, n_in), rows)
            };
            let alone = of(1);
            for hands in 2..6 {
                assert_eq!(of(hands), alone, "[{n_out}, {n}] by [{n}, {n_in}], {hands} hands");
            }
        }
    }
}
