//! The affine map of each feature before a linear head.

use ndarray::{Array2, ArrayView2};

/// A feature whose standard deviation is below this share of its root mean square counts as constant: what is left
/// of it in `f32` is rounding, and dividing by it would make noise as loud as everything else.
pub const CONSTANT: f64 = 1e-5;

/// `x ← (x − mean) · factor`, feature by feature.
///
/// # Shapes
/// `mean`, `factor`: `[D]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// What is taken away.
    pub mean: Vec<f64>,
    /// What the rest is multiplied by; 0 where a feature does not vary.
    pub factor: Vec<f64>,
}

impl Scale {
    /// Leaves everything as it is.
    pub fn identity(width: usize) -> Self {
        Self { mean: vec![0.0; width], factor: vec![1.0; width] }
    }

    /// Mean 0 and variance 1 in every feature that varies over `rows`.
    ///
    /// `factor = 1 / σ` with the population's `σ`, summed in `f64` in the order of the rows; 0 where
    /// `σ ≤ 1e-5 · √(mean² + σ²)`.
    ///
    /// # Shapes
    /// `rows`: `[n, D]`.
    ///
    /// # Panics
    /// If there are no rows.
    pub fn standardizing(rows: ArrayView2<f32>) -> Self {
        let (mean, variance) = moments(rows);
        let factor = mean.iter().zip(&variance).map(|(mean, variance)| {
            let is_constant = variance.sqrt() <= CONSTANT * (mean * mean + variance).sqrt();
            if is_constant { 0.0 } else { 1.0 / variance.sqrt() }
        });
        Self { factor: factor.collect(), mean }
    }

    /// As [`standardizing`](Self::standardizing), then divided by `√D`: a row's mean squared length is at most 1.
    ///
    /// No direction then has a variance above 1, whatever the width and however alike the features are, so that one
    /// grid of learning rates suits every layer: gradient descent with momentum `m` on the cross-entropy is stable
    /// below `2 (1 + m) / (½ · 2)`, bias included.
    ///
    /// # Shapes
    /// `rows`: `[n, D]`.
    ///
    /// # Panics
    /// If there are no rows.
    pub fn to_unit_variance(rows: ArrayView2<f32>) -> Self {
        let mut scale = Self::standardizing(rows);
        let root = (rows.ncols().max(1) as f64).sqrt();
        scale.factor.iter_mut().for_each(|factor| *factor /= root);
        scale
    }

    /// The rows after the map.
    ///
    /// # Shapes
    /// `rows`: `[n, D]`; the result has the same shape.
    ///
    /// # Panics
    /// If the widths differ.
    pub fn apply(&self, mut rows: Array2<f32>) -> Array2<f32> {
        assert_eq!(rows.ncols(), self.mean.len(), "scale: features and scale differ in width");
        for mut row in rows.rows_mut() {
            for ((x, mean), factor) in row.iter_mut().zip(&self.mean).zip(&self.factor) {
                *x = ((f64::from(*x) - mean) * factor) as f32;
            }
        }
        rows
    }
}

/// Mean and population variance of every feature, two passes in `f64`.
///
/// # Shapes
/// `rows`: `[n, D]`; both results are `[D]`.
///
/// # Panics
/// If there are no rows.
pub fn moments(rows: ArrayView2<f32>) -> (Vec<f64>, Vec<f64>) {
    assert!(rows.nrows() > 0, "moments: no rows");
    let n = rows.nrows() as f64;
    let mut mean = vec![0.0f64; rows.ncols()];
    for row in rows.rows() {
        for (sum, &x) in mean.iter_mut().zip(row) {
            *sum += f64::from(x);
        }
    }
    mean.iter_mut().for_each(|sum| *sum /= n);
    let mut variance = vec![0.0f64; rows.ncols()];
    for row in rows.rows() {
        for ((sum, &x), mean) in variance.iter_mut().zip(row).zip(&mean) {
            let away = f64::from(x) - mean;
            *sum += away * away;
        }
    }
    variance.iter_mut().for_each(|sum| *sum /= n);
    (mean, variance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn standardized_features_by_hand() {
        // Feature 0: 1, 3 → mean 2, σ 1. Feature 1 does not vary, feature 2 only by rounding.
        let rows = array![[1.0, 5.0, 100.0], [3.0, 5.0, 100.000_01]];
        let scale = Scale::standardizing(rows.view());
        assert_eq!(scale.factor, [1.0, 0.0, 0.0]);
        assert_eq!(scale.apply(rows.clone()), array![[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]);
        let third = 1.0 / 3.0f64.sqrt();
        assert!((Scale::to_unit_variance(rows.view()).factor[0] - third).abs() < 1e-15);
        assert_eq!(Scale::identity(3).apply(rows.clone()), rows);
    }
}
