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

    /// The scores of every row: `X Wᵀ + b`, in `f64`.
    ///
    /// # Shapes
    /// `rows`: `[n, D]`; the result is `[n, K]`.
    ///
    /// # Panics
    /// If the widths differ.
    pub fn scores(&self, rows: ArrayView2<f32>) -> Array2<f64> {
        const BLOCK: usize = 1024;
        let n = rows.nrows();
        assert_eq!(rows.ncols(), self.weights.ncols(), "scores: features and classifier differ in width");
        let mut scores = Array2::zeros((n, self.weights.nrows()));
        for start in (0..n).step_by(BLOCK) {
            let end = n.min(start + BLOCK);
            let block = part(rows, start..end, 0..rows.ncols()).mapv(f64::from);
            let mut out = scores.slice_axis_mut(Axis(0), Slice::from(start..end));
            out.assign(&self.bias);
            general_mat_mul(1.0, &block, &self.weights.t(), 1.0, &mut out);
        }
        scores
    }
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
fn part<S: RawData>(mut of: ArrayBase<S, Ix2>, rows: Range<usize>, columns: Range<usize>) -> ArrayBase<S, Ix2> {
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
        let linear = Linear { weights: array![[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], bias: array![0.5, 0.0, 0.0] };
        let scores = linear.scores(array![[1.0, 1.0], [0.0, -1.0]].view());
        assert_eq!(scores, array![[1.5, 2.0, 2.0], [0.5, -2.0, -1.0]]);
        // Classes 1 and 2 have the same score: the lower id first.
        assert_eq!(ranking(scores.view(), 5), array![[1, 2, 0], [0, 2, 1]]);
        assert_eq!(ranking(scores.view(), 1), array![[1], [0]]);
    }
}
