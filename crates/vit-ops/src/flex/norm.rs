//! LayerNorm and its gradients, row by row in registers.

use super::buffer::{fill, fill_and_tell};
use super::linear::column_sums;
use super::simd::{fold, in_lanes, row_sum, simd, sum_of_pairs};

/// Rows per task.
const BLOCK_ROWS: usize = 64;

/// Mean and `1/√(var + ε)` of a row.
#[inline(always)]
fn moments(row: &[f32], eps: f32) -> (f32, f32) {
    let n = row.len() as f32;
    let mean = row_sum(row) / n;
    let var = fold(in_lanes(row, 0.0, |sum, value| sum + (value - mean) * (value - mean))) / n;
    (mean, 1.0 / (var + eps).sqrt())
}

simd! {
    fn forward_rows(x: &[f32], gamma: &[f32], beta: &[f32], eps: f32, y: &mut [f32]) {
        let width = gamma.len();
        let beta = &beta[..width];
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let (x, y) = (&x[..width], &mut y[..width]);
            let (mean, rstd) = moments(x, eps);
            for i in 0..width {
                y[i] = gamma[i] * ((x[i] - mean) * rstd) + beta[i];
            }
        }
    }
}

simd! {
    fn backward_rows(x: &[f32], gamma: &[f32], grad: &[f32], eps: f32, dx: &mut [f32], dparams: &mut [f32]) {
        let width = gamma.len();
        let n = width as f32;
        let (dgamma, dbeta) = dparams.split_at_mut(width);
        let dbeta = &mut dbeta[..width];
        for ((x, grad), dx) in x.chunks_exact(width).zip(grad.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
            let (x, grad, dx) = (&x[..width], &grad[..width], &mut dx[..width]);
            let (mean, rstd) = moments(x, eps);
            for i in 0..width {
                let normed = (x[i] - mean) * rstd;
                dgamma[i] += grad[i] * normed;
                dbeta[i] += grad[i];
                dx[i] = grad[i] * gamma[i];
            }
            let grad_mean = row_sum(dx) / n;
            let along = sum_of_pairs(x, dx, |x, dx| (x - mean) * rstd * dx) / n;
            for i in 0..width {
                dx[i] = rstd * (dx[i] - grad_mean - (x[i] - mean) * rstd * along);
            }
        }
    }
}

pub(super) fn forward(x: &[f32], gamma: &[f32], beta: &[f32], eps: f32) -> Vec<f32> {
    let block = BLOCK_ROWS * gamma.len();
    fill(x.len(), block, |at, y| forward_rows(&x[at * block..][..y.len()], gamma, beta, eps, y))
}

/// `(dx, dγ, dβ)`; the sums over rows go through fixed blocks, added in order.
pub(super) fn backward(x: &[f32], gamma: &[f32], grad: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let width = gamma.len();
    let block = BLOCK_ROWS * width;
    let (dx, partial) = fill_and_tell(x.len(), block, |at, dx| {
        let here = at * block..at * block + dx.len();
        let mut dparams = vec![0.0; 2 * width];
        backward_rows(&x[here.clone()], gamma, &grad[here], eps, dx, &mut dparams);
        dparams
    });
    let total = column_sums(&partial.concat(), 2 * width);
    (dx, total[..width].to_vec(), total[width..].to_vec())
}
