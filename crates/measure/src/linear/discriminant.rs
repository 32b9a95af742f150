//! Linear discriminants: the classifier of classes that are normally distributed with one covariance, in closed form.

use super::Linear;
use super::cholesky;
use super::ridge::Moments;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, Axis};

/// What stands for the score of a class of which nothing was seen: below every other, and finite, so that it can be weighed.
const NEVER: f64 = -1e30;

/// Linear discriminants of some samples, from which classifiers follow that trust the frequency of the classes more or less.
///
/// # Shapes
/// `weights`: `[K, D]`; `bias`, `log_prior`: `[K]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Discriminant {
    weights: Array2<f64>,
    bias: Array1<f64>,
    log_prior: Array1<f64>,
}

impl Discriminant {
    /// The discriminants with a covariance to which `lambda` is added:
    ///
    /// ```text
    /// score_k(x) = x·w_k − ½ μ_k·w_k + τ ln π_k      (Σ + λ I) w_k = μ_k      Σ = 1/n Σ_i (x_i − μ_{y_i})(x_i − μ_{y_i})ᵀ
    /// ```
    ///
    /// `μ_k` is the mean of a class and `π_k` its share of the samples; `τ` is chosen by [`Discriminant::classifier`].
    ///
    /// # Panics
    /// If there are no samples, or `lambda` is not above 0.
    ///
    /// # Source
    /// Fisher 1936; Rao 1948. *Differs*: the covariance is divided by `n`, and a multiple of the identity is added to it.
    pub fn of(moments: &Moments, lambda: f64) -> Self {
        let n = moments.n as f64;
        assert!(moments.n > 0 && lambda > 0.0, "discriminant: {} samples, a penalty of {lambda}", moments.n);
        let counts = moments.sum_y.mapv(|sum| 0.5 * (sum + n)); // [K]
        // Sums over classes: targets are +1 at the class and −1 elsewhere.
        let mut means = moments.xy.t().as_standard_layout().into_owned(); // [K, D]
        for (mut row, &count) in means.rows_mut().into_iter().zip(&counts) {
            row += &moments.sum_x;
            row *= 0.5 / count.max(1.0);
        }
        let weighed = &means * &counts.mapv(f64::sqrt).insert_axis(Axis(1)); // [K, D]
        let mut within = moments.xx.clone();
        general_mat_mul(-1.0 / n, &weighed.t(), &weighed, 1.0 / n, &mut within);
        within.diag_mut().iter_mut().for_each(|x| *x += lambda);
        cholesky::factor(&mut within);
        let mut solved = means.t().as_standard_layout().into_owned(); // [D, K]
        cholesky::solve(&within, &mut solved);
        let weights = solved.t().as_standard_layout().into_owned(); // [K, D]
        let own = |(mean, w): (ndarray::ArrayView1<f64>, ndarray::ArrayView1<f64>)| -0.5 * mean.dot(&w);
        let mut bias: Array1<f64> = means.rows().into_iter().zip(weights.rows()).map(own).collect();
        let mut log_prior = Array1::zeros(counts.len());
        for (class, &count) in counts.iter().enumerate() {
            if count > 0.0 {
                log_prior[class] = (count / n).ln();
            } else {
                bias[class] = NEVER;
            }
        }
        Self { weights, bias, log_prior }
    }

    /// The logarithms of the classes' shares; 0 of a class of which nothing was seen.
    pub fn log_prior(&self) -> &Array1<f64> {
        &self.log_prior
    }

    /// The classifier in which the logarithm of a class's share counts `prior` times: with 1 the most samples are right if they are as
    /// frequent as here; with 0 every class counts alike. A class of which nothing was seen is never the answer.
    pub fn classifier(&self, prior: f64) -> Linear {
        Linear { weights: self.weights.clone(), bias: &self.bias + &(prior * &self.log_prior) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Samples;
    use super::*;
    use ndarray::array;

    #[test]
    fn two_classes_on_a_line_by_hand() {
        // Class 0 at −1 and 1, class 1 at 3 and 5 and 4: means 0 and 4; within (1 + 1 + 1 + 1 + 0) / 5 = 0.8; with 0.2 it is 1.
        let rows = array![[-1.0f32], [1.0], [3.0], [5.0], [4.0]];
        let samples = Samples { rows: rows.view(), labels: &[0, 0, 1, 1, 1], of: &[0, 1, 2, 3, 4] };
        let found = Discriminant::of(&Moments::of(&samples, 3), 0.2);
        let even = found.classifier(0.0);
        assert!((even.weights[[0, 0]]).abs() < 1e-12 && (even.weights[[1, 0]] - 4.0).abs() < 1e-12);
        assert!((even.bias[1] + 8.0).abs() < 1e-12, "−½ · 4 · 4");
        let frequent = found.classifier(1.0);
        assert!((frequent.bias[1] - frequent.bias[0] + 8.0 - (0.6f64 / 0.4).ln()).abs() < 1e-12);
        // The third class was never seen.
        assert!(even.bias[2] < -1e29 && even.weights[[2, 0]] == 0.0);
    }

    #[test]
    fn discriminants_agree_with_an_independent_implementation() {
        // scikit-learn's LinearDiscriminantAnalysis(solver = "lsqr"), whose covariance is ours without what is added: the scores of three
        // rows, less that of class 0.
        let label = |i: usize| (i * i + i / 7) % 3;
        let x = |(i, j): (usize, usize)| {
            let value = (37 * i + 91 * j + 13 * i * j) % 101;
            (value as f32 - 50.0) / 64.0 + if label(i) == j % 3 { 0.5 } else { 0.0 }
        };
        let rows = Array2::from_shape_fn((60, 4), x);
        let labels: Vec<u32> = (0..60).map(|i| label(i) as u32).collect();
        let of: Vec<usize> = (0..60).collect();
        let samples = Samples { rows: rows.view(), labels: &labels, of: &of };
        let found = Discriminant::of(&Moments::of(&samples, 3), 1e-14).classifier(1.0);
        let scores = found.scores(rows.view(), &[0, 1, 2]);
        for (row, expected) in scores.rows().into_iter().zip(EXPECTED) {
            for (class, expected) in expected.iter().enumerate() {
                let ours = row[class + 1] - row[0];
                assert!((ours - expected).abs() < 1e-6, "{ours} and {expected}");
            }
        }
    }

    const EXPECTED: [[f64; 2]; 3] = [
        [-0.342926448616, 0.990159107731],
        [2.659678413726, 2.028669295072],
        [5.842760512839, 0.30786582863],
    ];
}
