//! LayerNorm and its gradients, row by row in registers.

use super::buffer::fill;
use super::linear::column_sums;
use super::simd::{simd, sum};
use rayon::prelude::*;

/// Rows per task.
const BLOCK_ROWS: usize = 64;

/// Mean and `1/√(var + ε)` of a row.
#[inline(always)]
fn moments(row: &[f32], eps: f32) -> (f32, f32) {
    let n = row.len() as f32;
    let mean = sum(row.len(), |i| row[i]) / n;
    let var = sum(row.len(), |i| (row[i] - mean) * (row[i] - mean)) / n;
    (mean, 1.0 / (var + eps).sqrt())
}

simd! {
    fn forward_rows(x: &[f32], gamma: &[f32], beta: &[f32], eps: f32, y: &mut [f32]) {
        let width = gamma.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
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
        for ((x, grad), dx) in x.chunks_exact(width).zip(grad.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
            let (mean, rstd) = moments(x, eps);
            for i in 0..width {
                let normed = (x[i] - mean) * rstd;
                dx[i] = normed;
                dgamma[i] += grad[i] * normed;
                dbeta[i] += grad[i];
            }
            let grad_mean = sum(width, |i| grad[i] * gamma[i]) / n;
            let along = sum(width, |i| grad[i] * gamma[i] * dx[i]) / n;
            for i in 0..width {
                dx[i] = rstd * (grad[i] * gamma[i] - grad_mean - dx[i] * along);
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
    let mut dx = vec![0.0; x.len()];
    let partial: Vec<Vec<f32>> = dx
        .par_chunks_mut(block)
        .zip(x.par_chunks(block).zip(grad.par_chunks(block)))
        .map(|(dx, (x, grad))| {
            let mut dparams = vec![0.0; 2 * width];
            backward_rows(x, gamma, grad, eps, dx, &mut dparams);
            dparams
        })
        .collect();
    let total = column_sums(&partial.concat(), 2 * width);
    (dx, total[..width].to_vec(), total[width..].to_vec())
}
