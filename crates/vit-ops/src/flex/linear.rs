//! `x·Wᵀ + b` and its gradients: the bias is written first and the product added to it in one pass.

use super::buffer::{copies, fill, fill_two, repeat, rows_upon, zeros};
use super::simd::{CHUNK, simd};
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

/// Rows that one task multiplies, of `n`: 256, so that what comes before and after the product finds them in the cache,
/// or of few rows the half. A row is the same whatever the block that it lies in.
fn rows_of_block(n: usize) -> usize {
    const USUAL: usize = 256;
    if n >= 2 * USUAL { USUAL } else { n.div_ceil(2) }
}

/// Whether there are blocks enough to keep all threads busy; otherwise the product itself is shared among them.
fn in_blocks(n_rows: usize) -> bool {
    n_rows >= 128 * rayon::current_num_threads().max(2)
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
    if in_blocks(n) {
        let rows = rows_of_block(n);
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
    if !in_blocks(n) {
        let before = forward(x, weight, bias, n_in, |_| {});
        let y = fill(before.len(), CHUNK, |at, y| curve(&before[at * CHUNK..][..y.len()], y));
        return (before, y);
    }
    let weight = View::new(weight, n_out, n_in).transposed();
    let rows = rows_of_block(n);
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
    if !in_blocks(n) {
        return new_matmul((View::new(grad, n, n_out), weight), threads(n, n_out, n_in));
    }
    if n_out == 0 {
        return vec![0.0; n * n_in];
    }
    let mut dx = Vec::with_capacity(n * n_in);
    let rows = rows_of_block(n);
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
    if !in_blocks(n) {
        let dh = fill(grad.len(), CHUNK, |at, dh| {
            let here = at * CHUNK..at * CHUNK + dh.len();
            curve(&before[here.clone()], &grad[here], dh);
        });
        let dx = input_gradient(weight, &dh, n_in, n_out);
        return (dh, dx);
    }
    let weight = View::new(weight, n_out, n_in);
    let rows = rows_of_block(n);
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
    // Rows of a part: whole blocks of the product's kernel.
    let rows = n_out.div_ceil(rayon::current_num_threads()).next_multiple_of(16);
    let dw = if in_blocks(n) && rows >= 32 {
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
