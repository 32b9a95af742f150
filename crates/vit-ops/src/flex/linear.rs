//! `x·Wᵀ + b` and its gradients: the bias is written first and the product added to it in one pass.

use super::buffer::repeat;
use super::simd::simd;
use gemm::Parallelism;
use rayon::prelude::*;

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

pub(super) fn forward(x: &[f32], weight: &[f32], bias: &[f32], n_in: usize, n_out: usize) -> Vec<f32> {
    let n = x.len() / n_in.max(1);
    let mut y = repeat(bias, n);
    let product = (View::new(x, n, n_in), View::new(weight, n_out, n_in).transposed());
    matmul(&mut y, n_out, product, 1.0, true, threads(n, n_out, n_in));
    y
}

/// `(dx, dW, db)`
pub(super) fn backward(
    x: &[f32],
    weight: &[f32],
    grad: &[f32],
    n_in: usize,
    n_out: usize,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let n = grad.len() / n_out.max(1);
    let grad_view = View::new(grad, n, n_out);
    let parallelism = threads(n, n_out, n_in);
    let dx = new_matmul((grad_view, View::new(weight, n_out, n_in)), parallelism);
    let dw = new_matmul((grad_view.transposed(), View::new(x, n, n_in)), parallelism);
    (dx, dw, column_sums(grad, n_out))
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
