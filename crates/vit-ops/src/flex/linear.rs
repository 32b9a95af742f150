//! `x·Wᵀ + b` and its gradients: the bias is written first and the product added to it in one pass.

use super::buffer::{Unset, fill, fill_two, fill_unset, in_pieces, set, zeros};
use super::elementwise::product_into;
use super::simd::{CHUNK, simd};
use super::transposed::Transposed;
use crate::parts::hands;
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

/// `a·b` into room for exactly its values.
fn new_block<'a>(out: &'a mut Unset, (a, b): (View, View)) -> &'a mut [f32] {
    assert!(out.len() == a.rows * b.columns);
    if out.is_empty() || a.columns == 0 {
        return zeros(out);
    }
    // SAFETY: the room has `a.rows` rows of `b.columns` values; a product that does not accumulate writes every one of them
    // and reads none.
    unsafe {
        product(out.as_mut_ptr().cast(), b.columns, (a, b), 1.0, false, Parallelism::None);
        set(out)
    }
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

/// `Wᵀ` written down where that is worth it: where the inner size is large, the product's kernel takes long to copy columns, and where
/// there are many rows to multiply, one copy more costs little. Of no other size, so that no sum depends on the number of threads.
fn written_down(weight: View, n_rows: usize) -> Option<Transposed> {
    const INNER: usize = 512;
    const ROWS: usize = 64;
    (weight.columns >= INNER && n_rows >= ROWS).then(|| Transposed::new(weight))
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
    let weight = View::new(weight, n_out, n_in);
    let turned = written_down(weight, n);
    let weight = turned.as_ref().map_or_else(|| weight.transposed(), Transposed::view);
    let hands = hands();
    let piece = piece_of_rows(n_out);
    let behind = |y: &mut [f32]| {
        add_to_rows(y, bias);
        after(y);
    };
    if in_blocks(n, (n_in, n_out), hands) {
        let rows = rows_of_block(n, (n_in, n_out), hands);
        return fill_unset(n * n_out, rows * n_out, |at, y| {
            let y = new_block(y, (block(x, n_in, (at, rows), (y.len(), n_out)), weight));
            y.chunks_mut(piece).for_each(&behind);
            y
        });
    }
    // The bias is added to the whole sum here too: how many hands there are changes no bit.
    let mut y = new_matmul((View::new(x, n, n_in), weight), threads(n, n_out, n_in));
    y.par_chunks_mut(piece).for_each(behind);
    y
}

/// `h = x·Wᵀ + b` and, block by block, `y` that `curve` makes of it; `curve` may write over `h`.
pub(super) fn forward_curve(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    n_in: usize,
    curve: impl Fn(&mut [f32], &mut [f32]) + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let (n, n_out) = (x.len() / n_in.max(1), bias.len());
    let hands = hands();
    if !in_blocks(n, (n_in, n_out), hands) {
        let mut h = forward(x, weight, bias, n_in, |_| {});
        let mut y = vec![0.0; h.len()];
        h.par_chunks_mut(CHUNK).zip(y.par_chunks_mut(CHUNK)).for_each(|(h, y)| curve(h, y));
        return (h, y);
    }
    let weight = View::new(weight, n_out, n_in);
    let turned = written_down(weight, n);
    let weight = turned.as_ref().map_or_else(|| weight.transposed(), Transposed::view);
    let rows = rows_of_block(n, (n_in, n_out), hands);
    let size = (n * n_out, rows * n_out);
    fill_two(size, size, |at, [h, y]| {
        let x = block(x, n_in, (at, rows), (h.len(), n_out));
        let h = new_block(h, (x, weight));
        let y = in_pieces(y, piece_of_rows(n_out), |at, y| {
            let h = &mut h[at..at + y.len()];
            add_to_rows(h, bias);
            curve(h, y);
        });
        [h, y]
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
    let rows = rows_of_block(n, (n_out, n_in), hands);
    fill_unset(n * n_in, rows * n_in, |at, dx| {
        let grad = block(grad, n_out, (at, rows), (dx.len(), n_in));
        new_block(dx, (grad, weight))
    })
}

/// `dh = slope∘dy` and `dx = dh·W`, block by block.
pub(super) fn input_gradient_curve(
    weight: &[f32],
    slope: &[f32],
    grad: &[f32],
    (n_in, n_out): (usize, usize),
) -> (Vec<f32>, Vec<f32>) {
    let n = grad.len() / n_out.max(1);
    let hands = hands();
    if !in_blocks(n, (n_out, n_in), hands) {
        let dh = fill(grad.len(), CHUNK, |at, dh| {
            let here = at * CHUNK..at * CHUNK + dh.len();
            product_into(&slope[here.clone()], &grad[here], dh);
        });
        let dx = input_gradient(weight, &dh, n_in, n_out);
        return (dh, dx);
    }
    let weight = View::new(weight, n_out, n_in);
    let rows = rows_of_block(n, (n_out, n_in), hands);
    fill_two((n * n_out, rows * n_out), (n * n_in, rows * n_in), |block, [dh, dx]| {
        let start = block * rows * n_out;
        let dh = in_pieces(dh, PIECE, |at, dh| {
            let here = start + at..start + at + dh.len();
            product_into(&slope[here.clone()], &grad[here], dh);
        });
        let dx = new_block(dx, (View::new(dh, dh.len() / n_out, n_out), weight));
        [dh, dx]
    })
}

/// `(dW, db)`: `dW = dyᵀ·x`, its rows shared among threads, which changes no sum.
pub(super) fn params_gradient(x: &[f32], grad: &[f32], n_in: usize, n_out: usize) -> (Vec<f32>, Vec<f32>) {
    let n = grad.len() / n_out.max(1);
    let (grad_t, x) = (View::new(grad, n, n_out).transposed(), View::new(x, n, n_in));
    let hands = hands();
    let rows = rows_of_weights(n_out, (n, n_in), hands);
    let dw = if hands == 1 || (n >= 128 * hands && rows < n_out) {
        fill_unset(n_out * n_in, rows * n_in, |at, dw| {
            let part = View { values: &grad[at * rows..], rows: dw.len() / n_in, ..grad_t };
            new_block(dw, (part, x))
        })
    } else {
        new_matmul((grad_t, x), threads(n, n_out, n_in))
    };
    (dw, column_sums(grad, n_out))
}

/// Values that stay in the nearest cache.
const PIECE: usize = 4096;

/// About [`PIECE`] values of whole rows.
fn piece_of_rows(width: usize) -> usize {
    let width = width.max(1);
    (PIECE / width).max(1) * width
}

simd! {
    /// Adds `row` to each of `rows`.
    fn add_to_rows(rows: &mut [f32], row: &[f32]) {
        for into in rows.chunks_exact_mut(row.len()) {
            for (into, &value) in into.iter_mut().zip(row) {
                *into += value;
            }
        }
    }
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

    #[test]
    fn a_layer_and_its_gradients_have_the_same_bits_on_any_number_of_threads() {
        for (n, n_in, n_out) in
            [(1, 40, 24), (2, 5, 3), (1, 700, 90), (3, 600, 10), (70, 600, 65), (300, 64, 96), (600, 520, 70)]
        {
            let (x, w, b) = (sines(n * n_in, 0.7), sines(n_out * n_in, 1.3), sines(n_out, 0.2));
            let grad = sines(n * n_out, 1.9);
            let all = || {
                let y = forward(&x, &w, &b, n_in, |y| y.iter_mut().for_each(|y| *y = y.max(0.0)));
                let with_curve = forward_curve(&x, &w, &b, n_in, |h, y| y.copy_from_slice(h));
                let through_curve = input_gradient_curve(&w, &grad, &grad, (n_in, n_out));
                let dx = input_gradient(&w, &grad, n_in, n_out);
                (y, with_curve, through_curve, dx, params_gradient(&x, &grad, n_in, n_out))
            };
            let on = |n_threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("a pool");
                pool.install(all)
            };
            let alone = on(1);
            for n_threads in [2, 3, 5] {
                assert!(on(n_threads) == alone, "[{n}, {n_in}] to {n_out}, {n_threads} threads");
            }
        }
    }
}
