//! Linear classifiers on features: four ways to find one, and what it says of a sample.
//!
//! - [`descent`]: many heads side by side by stochastic gradient descent or LARS, one learning rate each;
//! - [`ridge`]: least squares in closed form, one factorization for each strength of the penalty;
//! - [`discriminant`]: classes of one covariance, in closed form from the same sums as `ridge`;
//! - [`logistic`]: the minimum of the penalized cross-entropy;
//! - [`scale`]: the affine map of each feature before a head, learned on training rows.

pub mod cholesky;
pub mod descent;
pub mod discriminant;
pub mod logistic;
pub mod ridge;
pub mod scale;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayBase, ArrayView2, Axis, Ix2, RawData, Slice};
use scale::Scale;
use std::ops::Range;

/// A linear classifier: `score = W x + b`.
///
/// # Shapes
/// `weights`: `[K, D]`; `bias`: `[K]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// One row for each class.
    pub weights: Array2<f64>,
    /// One number for each class.
    pub bias: Array1<f64>,
}

impl Linear {
    /// Nothing learned: every score 0.
    pub fn zeros(n_classes: usize, width: usize) -> Self {
        Self { weights: Array2::zeros((n_classes, width)), bias: Array1::zeros(n_classes) }
    }

    /// The classifier of features before a scale, from one of features after it: `W s(x) + b` as `W′ x + b′`.
    ///
    /// # Panics
    /// If the widths differ.
    #[must_use]
    pub fn after(mut self, scale: &Scale) -> Self {
        assert_eq!(scale.mean.len(), self.weights.ncols(), "after: scale and classifier differ in width");
        for (mut row, bias) in self.weights.rows_mut().into_iter().zip(&mut self.bias) {
            for ((w, mean), factor) in row.iter_mut().zip(&scale.mean).zip(&scale.factor) {
                *w *= factor;
                *bias -= *w * mean;
            }
        }
        self
    }

    /// The scores of some rows: `X Wᵀ + b`, in `f64`.
    ///
    /// # Shapes
    /// `rows`: `[n, D]`, of which the `m` rows `of` are asked; the result is `[m, K]`.
    ///
    /// # Panics
    /// If the widths differ.
    pub fn scores(&self, rows: ArrayView2<f32>, of: &[usize]) -> Array2<f64> {
        assert_eq!(rows.ncols(), self.weights.ncols(), "scores: features and classifier differ in width");
        let mut scores = Array2::zeros((of.len(), self.weights.nrows()));
        let n_rows = rows_at_once(rows.ncols());
        for (chosen, mut out) in of.chunks(n_rows).zip(scores.axis_chunks_iter_mut(Axis(0), n_rows)) {
            out.assign(&self.bias);
            general_mat_mul(1.0, &in_f64(rows, chosen), &self.weights.t(), 1.0, &mut out);
        }
        scores
    }
}

/// Rows of a width that are turned into `f64` at once: some two megabytes.
fn rows_at_once(width: usize) -> usize {
    ((2 << 20) / size_of::<f64>() / width.max(1)).clamp(64, 1024)
}

/// Some rows in `f64`.
fn in_f64(rows: ArrayView2<f32>, of: &[usize]) -> Array2<f64> {
    let mut out = Array2::zeros((of.len(), rows.ncols()));
    for (mut out, &from) in out.rows_mut().into_iter().zip(of) {
        out.zip_mut_with(&rows.row(from), |out, &x| *out = f64::from(x));
    }
    out
}

/// Features with classes, and which of them are meant.
///
/// # Shapes
/// `rows`: `[n, D]`; `labels`: `[n]`, class ids; `of`: indices below `n`, in the order in which sums are taken.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// The features.
    pub rows: ArrayView2<'a, f32>,
    /// The class of each row.
    pub labels: &'a [u32],
    /// The rows that are meant.
    pub of: &'a [usize],
}

/// The classes of each row from highest to lowest score, the first `n_ranked`; equal scores by class id.
///
/// # Shapes
/// `scores`: `[n, K]`; the result is `[n, min(n_ranked, K)]`.
///
/// # Panics
/// Never; where a NaN would stand is not promised.
pub fn ranking(scores: ArrayView2<f64>, n_ranked: usize) -> Array2<u32> {
    let (n, n_classes) = scores.dim();
    let n_ranked = n_ranked.min(n_classes);
    let mut ranking = Array2::zeros((n, n_ranked));
    let mut order: Vec<usize> = Vec::with_capacity(n_classes);
    for (row, mut ranks) in scores.rows().into_iter().zip(ranking.rows_mut()) {
        order.clear();
        order.extend(0..n_classes);
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        for (rank, &class) in ranks.iter_mut().zip(&order) {
            *rank = class as u32;
        }
    }
    ranking
}

/// Rows and columns of a view.
fn part<S: RawData>(
    mut of: ArrayBase<S, Ix2>,
    rows: Range<usize>,
    columns: Range<usize>,
) -> ArrayBase<S, Ix2> {
    of.slice_axis_inplace(Axis(0), Slice::from(rows));
    of.slice_axis_inplace(Axis(1), Slice::from(columns));
    of
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn scores_and_their_ranking_by_hand() {
        let linear =
            Linear { weights: array![[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], bias: array![0.5, 0.0, 0.0] };
        let rows = array![[1.0, 1.0], [7.0, 7.0], [0.0, -1.0]];
        let scores = linear.scores(rows.view(), &[0, 2]);
        assert_eq!(scores, array![[1.5, 2.0, 2.0], [0.5, -2.0, -1.0]]);
        // Classes 1 and 2 have the same score: the lower id first.
        assert_eq!(ranking(scores.view(), 5), array![[1, 2, 0], [0, 2, 1]]);
        assert_eq!(ranking(scores.view(), 1), array![[1], [0]]);
        // Behind a scale, the same scores of what comes before it.
        let scale = Scale { mean: vec![1.0, 2.0], factor: vec![0.5, 4.0] };
        let expected = linear.scores(scale.apply(rows.clone()).view(), &[0, 1, 2]);
        assert_eq!(linear.after(&scale).scores(rows.view(), &[0, 1, 2]), expected);
    }

    /// Features in whole 64ths, and classes of 22, 18 and 20 samples.
    fn example() -> (Array2<f32>, Vec<u32>) {
        let label = |i: usize| (i * i + i / 7) % 3;
        let x = |(i, j): (usize, usize)| {
            let value = (37 * i + 91 * j + 13 * i * j) % 101;
            (value as f32 - 50.0) / 64.0 + if label(i) == j % 3 { 0.5 } else { 0.0 }
        };
        (Array2::from_shape_fn((60, 4), x), (0..60).map(|i| label(i) as u32).collect())
    }

    fn assert_near(ours: &Linear, weights: &Array2<f64>, bias: &[f64], abs: f64) {
        let all = ours.weights.iter().zip(weights).chain(ours.bias.iter().zip(bias));
        for (ours, expected) in all {
            assert!((ours - expected).abs() <= abs, "ours {ours}, expected {expected}");
        }
    }

    #[test]
    fn ridge_regression_agrees_with_an_independent_implementation() {
        // Numbers of scikit-learn 1.x, Ridge(alpha = n λ, solver = "cholesky") on targets ±1, λ = 1/8.
        let (rows, labels) = example();
        let of: Vec<usize> = (0..60).collect();
        let samples = Samples { rows: rows.view(), labels: &labels, of: &of };
        let ours = ridge::Moments::of(&samples, 3).solve(0.125);
        let weights = array![
            [0.579034987142, -0.230204271470, -0.125229547592, 0.610526637752],
            [-0.176700081524, 0.540018303056, -0.308314640487, -0.449754571455],
            [-0.402334905618, -0.309814031585, 0.433544188078, -0.160772066296],
        ];
        assert_near(&ours, &weights, &[-0.396716741234, -0.348237091746, -0.255046167019], 1e-10);
    }

    #[test]
    fn logistic_regression_agrees_with_an_independent_implementation() {
        // Numbers of scikit-learn 1.x, LogisticRegression(C = 1 / (n λ), solver = "newton-cg"), λ = 0.01; the biases,
        // of which only differences matter, less their mean.
        let (rows, labels) = example();
        let of: Vec<usize> = (0..60).collect();
        let samples = Samples { rows: rows.view(), labels: &labels, of: &of };
        let stop = logistic::Stop { gradient: 1e-10, max_steps: 500 };
        let mut ours = logistic::fit(&samples, 0.01, Linear::zeros(3, 4), stop);
        let (loss, _) = logistic::loss_and_gradient(&samples, 0.01, &ours);
        assert!((loss - 0.675_093_232_756_673).abs() < 1e-12, "{loss}");
        ours.bias -= ours.bias.sum() / 3.0;
        let weights = array![
            [1.449163330728, -0.591299094862, -0.422590002948, 1.654438711339],
            [-0.581762446353, 1.471194311518, -0.600821332915, -1.394387169659],
            [-0.867400884375, -0.879895216655, 1.023411335863, -0.260051541680],
        ];
        assert_near(&ours, &weights, &[-0.191629561829, -0.197616369688, 0.389245931517], 1e-6);
    }

    #[test]
    fn descent_comes_to_the_minimum_that_the_logistic_regression_finds() {
        let (rows, labels) = example();
        let of: Vec<usize> = (0..60).collect();
        let samples = Samples { rows: rows.view(), labels: &labels, of: &of };
        let stop = logistic::Stop { gradient: 1e-10, max_steps: 500 };
        // The decay also pulls at the biases, which the logistic regression leaves alone: none here.
        let how = descent::Descent {
            n_epochs: 4000,
            batch: 60,
            keeps_rest: true,
            rule: descent::Rule::Sgd,
            momentum: 0.9,
            weight_decay: 0.0,
            schedule: descent::Schedule::CosineByEpoch,
            batch_norm: None,
        };
        let order = |_| of.clone();
        let (rows, labels) = (rows.view(), &labels);
        let lesson = descent::Lesson { rows, labels, n_classes: 3, order: &order, start: &[0.0; 12] };
        let head = descent::train(&lesson, &[0.5], &how).remove(0).linear();
        let least = logistic::fit(&samples, 1e-12, Linear::zeros(3, 4), stop);
        let loss = |at: &Linear| logistic::loss_and_gradient(&samples, 0.0, at).0;
        assert!(loss(&head) - loss(&least) < 1e-5, "{} and {}", loss(&head), loss(&least));
    }
}
