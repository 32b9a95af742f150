//! Multinomial logistic regression: the minimum of the penalized cross-entropy, by L-BFGS.

use super::{Linear, Samples, in_f64, rows_at_once};
use ndarray::Array2;
use ndarray::linalg::general_mat_mul;
use std::collections::VecDeque;

/// Pairs of steps and gradient changes from which the curvature is guessed; 10 in the usual libraries.
const MEMORY: usize = 10;
/// A step must lower the loss by this share of what the slope promises.
const ARMIJO: f64 = 1e-4;

/// How far the minimum is sought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stop {
    /// No part of the gradient above this.
    pub gradient: f64,
    /// At most so many steps.
    pub max_steps: usize,
}

/// Loss and gradient of the penalized cross-entropy.
///
/// `f(W, b) = −(1/n) Σ log softmax(W x + b)[y] + (λ/2) ‖W‖²`, the bias not penalized, in `f64`, in the order of the rows.
///
/// # Shapes
/// The gradient has the shapes of `at`.
///
/// # Panics
/// If the sizes differ or a label is not below the number of classes.
///
/// # Source
/// Definition.
pub fn loss_and_gradient(samples: &Samples, lambda: f64, at: &Linear) -> (f64, Linear) {
    let (rows, labels) = (samples.rows, samples.labels);
    let (n, width, n_classes) = (samples.of.len(), rows.ncols(), at.bias.len());
    assert_eq!((rows.nrows(), width), (labels.len(), at.weights.ncols()), "logistic: sizes differ");
    let mut gradient = Linear::zeros(n_classes, width);
    let mut loss = 0.0;
    for chosen in samples.of.chunks(rows_at_once(samples.rows.ncols())) {
        let block = in_f64(rows, chosen);
        let mut scores = Array2::<f64>::zeros((chosen.len(), n_classes));
        scores += &at.bias;
        general_mat_mul(1.0, &block, &at.weights.t(), 1.0, &mut scores);
        for (mut row, &row_idx) in scores.rows_mut().into_iter().zip(chosen) {
            let label = labels[row_idx] as usize;
            assert!(label < n_classes, "logistic: label {label} of {n_classes} classes");
            let top = row.fold(f64::NEG_INFINITY, |top, &x| top.max(x));
            let own = row[label] - top;
            row.mapv_inplace(|x| (x - top).exp());
            let sum = row.sum();
            loss += sum.ln() - own;
            row /= sum;
            row[label] -= 1.0;
            gradient.bias += &row;
        }
        general_mat_mul(1.0, &scores.t(), &block, 1.0, &mut gradient.weights);
    }
    let n = n.max(1) as f64;
    gradient.weights /= n;
    gradient.bias /= n;
    gradient.weights.scaled_add(lambda, &at.weights);
    let penalty = at.weights.iter().map(|w| w * w).sum::<f64>();
    (loss / n + 0.5 * lambda * penalty, gradient)
}

/// The classifier at the minimum of [`loss_and_gradient`], sought from `start` on.
///
/// L-BFGS with ten pairs; a step is halved until the loss falls as the slope promises.
///
/// # Panics
/// As [`loss_and_gradient`].
///
/// # Source
/// Liu and Nocedal, *On the limited memory BFGS method*, 1989. With `C = 1 / (n λ)` the minimum is that of the usual
/// libraries.
pub fn fit(samples: &Samples, lambda: f64, start: Linear, stop: Stop) -> Linear {
    let mut at = start;
    let (mut loss, mut gradient) = loss_and_gradient(samples, lambda, &at);
    let mut pairs: VecDeque<(Linear, Linear, f64)> = VecDeque::new();
    for _ in 0..stop.max_steps {
        if largest(&gradient) <= stop.gradient {
            break;
        }
        let mut step = downhill(&gradient, &pairs);
        let mut slope = dot(&step, &gradient);
        if slope >= 0.0 {
            pairs.clear(); // the guess of the curvature is of no use: the gradient alone
            step = downhill(&gradient, &pairs);
            slope = dot(&step, &gradient);
        }
        // The first step is as long as 1; later ones know the curvature.
        let mut length = if pairs.is_empty() { (1.0 / (-slope).sqrt()).min(1.0) } else { 1.0 };
        let next = loop {
            let there = sum(&at, length, &step);
            let (loss_there, gradient_there) = loss_and_gradient(samples, lambda, &there);
            if loss_there <= loss + ARMIJO * length * slope {
                break Some((there, loss_there, gradient_there));
            }
            length *= 0.5;
            if length < 1e-12 {
                break None; // as low as the arithmetic allows
            }
        };
        let Some((there, loss_there, gradient_there)) = next else { break };
        let (moved, changed) = (sum(&there, -1.0, &at), sum(&gradient_there, -1.0, &gradient));
        let curvature = dot(&moved, &changed);
        if curvature > 1e-12 * dot(&changed, &changed) {
            if pairs.len() == MEMORY {
                pairs.pop_front();
            }
            pairs.push_back((moved, changed, 1.0 / curvature));
        }
        (at, loss, gradient) = (there, loss_there, gradient_there);
    }
    at
}

/// `−H g`, where `H` is the inverse curvature that the pairs tell of: the two-loop recursion.
fn downhill(gradient: &Linear, pairs: &VecDeque<(Linear, Linear, f64)>) -> Linear {
    let mut q = gradient.clone();
    let mut alphas = Vec::with_capacity(pairs.len());
    for (moved, changed, rho) in pairs.iter().rev() {
        let alpha = rho * dot(moved, &q);
        q = sum(&q, -alpha, changed);
        alphas.push(alpha);
    }
    if let Some((_, changed, rho)) = pairs.back() {
        let gamma = 1.0 / (rho * dot(changed, changed));
        q.weights *= gamma;
        q.bias *= gamma;
    }
    for ((moved, changed, rho), alpha) in pairs.iter().zip(alphas.into_iter().rev()) {
        let beta = rho * dot(changed, &q);
        q = sum(&q, alpha - beta, moved);
    }
    q.weights *= -1.0;
    q.bias *= -1.0;
    q
}

fn dot(a: &Linear, b: &Linear) -> f64 {
    let weights = a.weights.iter().zip(&b.weights).map(|(a, b)| a * b).sum::<f64>();
    weights + a.bias.iter().zip(&b.bias).map(|(a, b)| a * b).sum::<f64>()
}

/// `a + factor · b`
fn sum(a: &Linear, factor: f64, b: &Linear) -> Linear {
    let mut out = a.clone();
    out.weights.scaled_add(factor, &b.weights);
    out.bias.scaled_add(factor, &b.bias);
    out
}

fn largest(of: &Linear) -> f64 {
    of.weights.iter().chain(&of.bias).fold(0.0, |largest, x| largest.max(x.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    const TIGHT: Stop = Stop { gradient: 1e-10, max_steps: 500 };

    #[test]
    fn the_loss_of_a_classifier_that_knows_nothing_is_the_logarithm_of_the_classes() {
        // softmax is 1/2 each: loss ln 2; gradient of the bias (1/2)·(−1/2 + 1/2) = 0, of w₀ −(1/2)(−1) … = 1/2.
        let rows = array![[-1.0], [1.0]];
        let samples = Samples { rows: rows.view(), labels: &[0, 1], of: &[0, 1] };
        let (loss, gradient) = loss_and_gradient(&samples, 0.1, &Linear::zeros(2, 1));
        assert!((loss - 2f64.ln()).abs() < 1e-15);
        assert_eq!((gradient.weights, gradient.bias), (array![[0.5], [-0.5]], array![0.0, 0.0]));
    }

    fn example() -> (Array2<f32>, Vec<u32>) {
        let x = Array2::from_shape_fn((24, 4), |(i, j)| ((i * (2 * j + 1)) as f32 * 0.83 + j as f32).sin());
        (x, (0..24u32).map(|i| (i * i + i / 5) % 3).collect())
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let (rows, labels) = example();
        let of: Vec<usize> = (0..24).collect();
        let samples = Samples { rows: rows.view(), labels: &labels, of: &of };
        let mut at = Linear::zeros(3, 4);
        at.weights = Array2::from_shape_fn((3, 4), |(c, j)| ((c * 4 + j) as f64).cos());
        at.bias[1] = 0.3;
        let (_, gradient) = loss_and_gradient(&samples, 0.05, &at);
        let loss = |at: &Linear| loss_and_gradient(&samples, 0.05, at).0;
        let h = 1e-5;
        for class in 0..3 {
            for j in 0..5 {
                let moved = |by: f64| {
                    let mut there = at.clone();
                    if j < 4 {
                        there.weights[[class, j]] += by;
                    } else {
                        there.bias[class] += by;
                    }
                    loss(&there)
                };
                let slope = (moved(h) - moved(-h)) / (2.0 * h);
                let ours = if j < 4 { gradient.weights[[class, j]] } else { gradient.bias[class] };
                assert!((ours - slope).abs() < 1e-9, "class {class}, {j}: {ours} and {slope}");
            }
        }
    }

    #[test]
    fn the_minimum_is_found_from_anywhere() {
        let (rows, labels) = example();
        let of: Vec<usize> = (0..24).collect();
        let samples = Samples { rows: rows.view(), labels: &labels, of: &of };
        let zero = fit(&samples, 0.01, Linear::zeros(3, 4), TIGHT);
        let mut far = Linear::zeros(3, 4);
        far.weights.fill(2.0);
        far.weights[[1, 2]] = -7.0;
        let far = fit(&samples, 0.01, far, TIGHT);
        assert!(largest(&loss_and_gradient(&samples, 0.01, &zero).1) <= 1e-10);
        assert!((&zero.weights - &far.weights).iter().all(|x| x.abs() < 1e-7), "{zero:?} {far:?}");
    }
}
