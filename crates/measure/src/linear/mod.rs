//! Linear classifiers on features: three ways to find one, and what it says of a sample.
//!
//! - [`descent`]: many heads side by side by stochastic gradient descent or LARS, one learning rate each;
//! - [`ridge`]: least squares in closed form, one factorization for each strength of the penalty;
//! - [`logistic`]: the minimum of the penalized cross-entropy;
//! - [`scale`]: the affine map of each feature before a head, learned on training rows.

pub mod cholesky;
pub mod descent;
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
        for (chosen, mut out) in of.chunks(ROWS).zip(scores.axis_chunks_iter_mut(Axis(0), ROWS)) {
            out.assign(&self.bias);
            general_mat_mul(1.0, &in_f64(rows, chosen), &self.weights.t(), 1.0, &mut out);
        }
        scores
    }
}

/// Rows that are turned into `f64` at once.
const ROWS: usize = 1024;

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
}
