//! Rows with every dimension brought to the same spread, and then only their principal directions: what clusters are sought in.

use crate::pca::leading_directions;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// Rows that are turned into `f64` at once.
const ROWS: usize = 1024;

/// Sums over rows from which their spread follows.
///
/// Memory: `D² + D` numbers of 8 bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    n: usize,
    /// `Σ x`, `[D]`
    sum: Array1<f64>,
    /// `Σ x xᵀ`, `[D, D]`
    products: Array2<f64>,
}

impl Spread {
    /// Nothing yet.
    ///
    /// # Panics
    /// Never.
    ///
    /// # Source
    /// Definition.
    pub fn nothing(width: usize) -> Self {
        Self { n: 0, sum: Array1::zeros(width), products: Array2::zeros((width, width)) }
    }

    /// Adds rows, in `f64`, in their order.
    ///
    /// # Shapes
    /// `rows`: `[n, D]`.
    ///
    /// # Panics
    /// If they are of another width.
    ///
    /// # Source
    /// Definition.
    pub fn add(&mut self, rows: ArrayView2<f32>) {
        assert_eq!(rows.ncols(), self.sum.len(), "spread: rows of another width");
        self.n += rows.nrows();
        for rows in rows.axis_chunks_iter(Axis(0), ROWS) {
            let rows = rows.mapv(f64::from);
            for row in rows.rows() {
                self.sum += &row;
            }
            general_mat_mul(1.0, &rows.t(), &rows, 1.0, &mut self.products);
        }
    }

    /// The map to the `k` principal directions of `(x − mean) / std`, at most as many as there are dimensions.
    ///
    /// A dimension without spread becomes 0. Nothing is divided by the spread along a direction (no whitening).
    ///
    /// # Panics
    /// If there are no rows.
    ///
    /// # Source
    /// Ziegler and Asano, Leopart: z-score of every dimension over all of the data, then PCA to 50 dimensions.
    pub fn projection(&self, k: usize) -> Projection {
        assert!(self.n > 0, "projection: no rows");
        let n = self.n as f64;
        let mean = &self.sum / n;
        let variance = |i: usize| self.products[[i, i]] / n - mean[i] * mean[i];
        // What rounding leaves of no spread at all is none.
        let scale: Array1<f64> = (0..mean.len())
            .map(|i| match variance(i) {
                spread if spread > 1e-12 * (self.products[[i, i]] / n) => 1.0 / spread.sqrt(),
                _ => 0.0,
            })
            .collect();
        let correlation = Array2::from_shape_fn(self.products.dim(), |(i, j)| {
            (self.products[[i, j]] / n - mean[i] * mean[j]) * scale[i] * scale[j]
        });
        let (_, directions) = leading_directions(correlation.view(), k); // [k, D]
        Projection { mean, matrix: directions * &scale }
    }
}

/// `x ↦ A (x − mean)`.
///
/// # Shapes
/// `mean`: `[D]`; `matrix`: `[k, D]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    mean: Array1<f64>,
    matrix: Array2<f64>,
}

impl Projection {
    /// Rows in their principal directions.
    ///
    /// # Shapes
    /// `rows`: `[n, D]`; the result is `[n, k]`.
    ///
    /// # Panics
    /// If they are of another width.
    ///
    /// # Source
    /// Definition.
    pub fn apply(&self, rows: ArrayView2<f32>) -> Array2<f32> {
        let mut out = Array2::zeros((rows.nrows(), self.matrix.nrows()));
        for (rows, mut out) in
            rows.axis_chunks_iter(Axis(0), ROWS).zip(out.axis_chunks_iter_mut(Axis(0), ROWS))
        {
            let centered = rows.mapv(f64::from) - &self.mean;
            out.assign(&centered.dot(&self.matrix.t()).mapv(|x| x as f32));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    #[test]
    fn two_dimensions_that_go_together_become_one_by_hand() {
        // Means 2 and 30; standard deviations 1 and 10: z-scores (−1, −1), (1, 1), and a third dimension without spread.
        let rows = array![[1.0f32, 20.0, 5.0], [3.0, 40.0, 5.0]];
        let mut spread = Spread::nothing(3);
        spread.add(rows.view());
        let found = spread.projection(1).apply(rows.view());
        let length = 2f32.sqrt();
        assert!((found[[0, 0]] + length).abs() < 1e-6 && (found[[1, 0]] - length).abs() < 1e-6, "{found}");
    }

    proptest! {
        #[test]
        fn all_directions_keep_distances_and_parts_add_up(
            values in prop::collection::vec(-3.0f32..3.0, 40), cut in 1usize..9
        ) {
            let rows = Array2::from_shape_vec((10, 4), values).expect("40");
            let (mut whole, mut parts) = (Spread::nothing(4), Spread::nothing(4));
            whole.add(rows.view());
            let (first, second) = rows.view().split_at(Axis(0), cut);
            parts.add(first);
            parts.add(second);
            let found = whole.projection(9).apply(rows.view());
            prop_assert_eq!(found.dim(), (10, 4));
            // A rotation of the z-scores: every dimension of those has a variance of 1 over the rows.
            let total: f32 = found.iter().map(|x| x * x).sum();
            prop_assert!((total - 40.0).abs() < 1e-2, "{}", total);
            let again = parts.projection(9).apply(rows.view());
            prop_assert!(found.iter().zip(&again).all(|(a, b)| (a.abs() - b.abs()).abs() < 1e-3));
        }
    }
}
