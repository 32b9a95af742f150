//! Rows of matrices: picked and put back, softmax with its cross-entropy, and the residual connection.

use super::buffer::{fill, fill_and_tell};
use super::linear::column_sums;
use super::simd::{CHUNK, exp, fold, in_lanes, largest, row_sum, simd, sum_of_pairs};
use rayon::prelude::*;

/// Rows in a task of about [`CHUNK`] values.
fn block_rows(width: usize) -> usize {
    (CHUNK / width.max(1)).max(1)
}

/// Rows `ids` of `x`.
///
/// # Panics
/// When an id is beyond the rows.
pub(super) fn gather(x: &[f32], width: usize, ids: &[u32]) -> Vec<f32> {
    let block = block_rows(width);
    fill(ids.len() * width, block * width, |at, out| {
        for (out, &id) in out.chunks_exact_mut(width).zip(&ids[at * block..]) {
            out.copy_from_slice(&x[id as usize * width..][..width]);
        }
    })
}

simd! {
    fn add_row(into: &mut [f32], row: &[f32]) {
        for (into, &value) in into.iter_mut().zip(row) {
            *into += value;
        }
    }
}

/// The sums, in order, of the rows of `grad` that were taken from each of `n` rows.
pub(super) fn gather_backward(grad: &[f32], width: usize, ids: &[u32], n: usize) -> Vec<f32> {
    // Where the takers of each row stand in `takers`.
    let mut starts = vec![0usize; n + 1];
    ids.iter().for_each(|&id| starts[id as usize + 1] += 1);
    for row in 0..n {
        starts[row + 1] += starts[row];
    }
    let (mut next, mut takers) = (starts.clone(), vec![0u32; ids.len()]);
    for (taker, &id) in (0u32..).zip(ids) {
        takers[next[id as usize]] = taker;
        next[id as usize] += 1;
    }
    let block = block_rows(width);
    fill(n * width, block * width, |at, out| {
        for (row, out) in (at * block..).zip(out.chunks_exact_mut(width)) {
            for &taker in &takers[starts[row]..starts[row + 1]] {
                add_row(out, &grad[taker as usize * width..][..width]);
            }
        }
    })
}

simd! {
    /// Row by row `x + factor·γ∘branch`.
    fn residual_rows(x: &[f32], branch: &[f32], gamma: &[f32], factor: f32, y: &mut [f32]) {
        let width = gamma.len();
        for ((x, branch), y) in x.chunks_exact(width).zip(branch.chunks_exact(width)).zip(y.chunks_exact_mut(width)) {
            for i in 0..width {
                y[i] = x[i] + factor * gamma[i] * branch[i];
            }
        }
    }
}

simd! {
    /// The gradients of the branch and of γ, the latter added to.
    fn residual_backward_rows(branch: &[f32], gamma: &[f32], grad: &[f32], factor: f32, out: &mut [f32], dgamma: &mut [f32]) {
        let width = gamma.len();
        for ((branch, grad), out) in branch.chunks_exact(width).zip(grad.chunks_exact(width)).zip(out.chunks_exact_mut(width)) {
            for i in 0..width {
                let scaled = factor * grad[i];
                dgamma[i] += scaled * branch[i];
                out[i] = scaled * gamma[i];
            }
        }
    }
}

/// The factor of an image; where there are none it is 1.
fn factor(factors: &[f32], image: usize) -> f32 {
    factors.get(image).copied().unwrap_or(1.0)
}

/// `x + factor_b·γ∘branch`, `of_image` values an image.
pub(super) fn residual(
    x: &[f32],
    branch: &[f32],
    gamma: &[f32],
    factors: &[f32],
    of_image: usize,
) -> Vec<f32> {
    fill(x.len(), of_image, |image, y| {
        let here = image * of_image..image * of_image + y.len();
        residual_rows(&x[here.clone()], &branch[here], gamma, factor(factors, image), y);
    })
}

/// The gradients of the branch and of γ; the latter summed image by image.
pub(super) fn residual_backward(
    branch: &[f32],
    gamma: &[f32],
    grad: &[f32],
    factors: &[f32],
    of_image: usize,
) -> (Vec<f32>, Vec<f32>) {
    let width = gamma.len();
    let (dbranch, partial) = fill_and_tell(branch.len(), of_image, |image, out| {
        let here = image * of_image..image * of_image + out.len();
        let mut dgamma = vec![0.0; width];
        let factor = factor(factors, image);
        residual_backward_rows(&branch[here.clone()], gamma, &grad[here], factor, out, &mut dgamma);
        dgamma
    });
    (dbranch, column_sums(&partial.concat(), width))
}

simd! {
    /// `−Σ target·(x/τ − max − ln Σ exp(x/τ − max))` of a row.
    fn row_cross_entropy(x: &[f32], target: &[f32], inverse: f32) -> f32 {
        let max = inverse * largest(x);
        let log_sum = fold(in_lanes(x, 0.0, |sum, x| sum + exp(x * inverse - max))).ln();
        sum_of_pairs(x, target, |x, target| target * (log_sum - (x * inverse - max)))
    }
}

/// `−Σ target·log softmax(x/τ)`: row by row, then in order in f64.
pub(super) fn cross_entropy(logits: &[f32], targets: &[f32], k: usize, temperature: f64) -> f64 {
    let inverse = (1.0 / temperature) as f32;
    let rows = logits.par_chunks(k.max(1)).zip(targets.par_chunks(k.max(1)));
    let losses: Vec<f64> = rows.map(|(x, target)| f64::from(row_cross_entropy(x, target, inverse))).collect();
    losses.iter().sum()
}

simd! {
    /// `scale·(Σ target·softmax(x/τ) − target)`, row by row.
    fn row_cross_entropy_backward(x: &[f32], target: &[f32], inverse: f32, scale: f32, out: &mut [f32]) {
        let n = x.len();
        let max = inverse * largest(x);
        for i in 0..n {
            out[i] = exp(x[i] * inverse - max);
        }
        let mass = row_sum(target) / row_sum(out);
        for i in 0..n {
            out[i] = scale * (out[i] * mass - target[i]);
        }
    }
}

/// The gradient of [`cross_entropy`] times `grad`.
pub(super) fn cross_entropy_backward(
    logits: &[f32],
    targets: &[f32],
    grad: f32,
    k: usize,
    temperature: f64,
) -> Vec<f32> {
    let inverse = (1.0 / temperature) as f32;
    let block = block_rows(k);
    fill(logits.len(), block * k, |at, out| {
        for (row, out) in (at * block..).zip(out.chunks_exact_mut(k)) {
            let here = row * k..(row + 1) * k;
            row_cross_entropy_backward(&logits[here.clone()], &targets[here], inverse, grad * inverse, out);
        }
    })
}

simd! {
    /// `softmax((x − center)/τ)` of a row.
    fn row_centered_softmax(x: &[f32], center: &[f32], inverse: f32, out: &mut [f32]) {
        let n = x.len();
        for i in 0..n {
            out[i] = (x[i] - center[i]) * inverse;
        }
        let max = largest(out);
        for value in out.iter_mut() {
            *value = exp(*value - max);
        }
        let scale = 1.0 / row_sum(out);
        for value in out.iter_mut() {
            *value *= scale;
        }
    }
}

/// `softmax((logits − center)/τ)` over rows.
pub(super) fn centered_softmax(logits: &[f32], center: &[f32], temperature: f64) -> Vec<f32> {
    let (k, inverse) = (center.len(), (1.0 / temperature) as f32);
    let block = block_rows(k);
    fill(logits.len(), block * k, |at, out| {
        for (row, out) in (at * block..).zip(out.chunks_exact_mut(k)) {
            row_centered_softmax(&logits[row * k..(row + 1) * k], center, inverse, out);
        }
    })
}
