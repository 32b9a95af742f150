//! Ridge regression onto one-against-all targets, in closed form.

use super::{Linear, Samples, cholesky, in_f64, part, rows_at_once};
use ndarray::linalg::general_mat_mul;
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut1, Axis, Slice};
use serde::{Deserialize, Serialize};

/// Rows of the product of features with themselves that one task owns.
const TILE: usize = 128;

/// Sums over samples from which every ridge regression on them follows, and their linear discriminants.
///
/// Memory: `D² + D K` numbers of 8 bytes. Sums of two parts of the data add up to those of the whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    pub(super) n: usize,
    /// `Σ x`, `[D]`
    pub(super) sum_x: Array1<f64>,
    /// `Σ y`, `[K]`, where `y` is +1 at the class and −1 elsewhere.
    pub(super) sum_y: Array1<f64>,
    /// `Σ x xᵀ`, `[D, D]`, the lower triangle.
    pub(super) xx: Array2<f64>,
    /// `Σ x yᵀ`, `[D, K]`
    pub(super) xy: Array2<f64>,
}

impl Moments {
    /// The sums of some samples, in `f64`, in their order.
    ///
    /// # Panics
    /// If rows and labels differ in number, or a label is not below `n_classes`.
    pub fn of(samples: &Samples, n_classes: usize) -> Self {
        let Samples { rows, labels, of } = *samples;
        assert_eq!(rows.nrows(), labels.len(), "moments: rows and labels differ in number");
        Self::of_targets(rows, of, n_classes, |row_idx, mut target| {
            let label = labels[row_idx] as usize;
            assert!(label < n_classes, "moments: label {label} of {n_classes} classes");
            target[label] = 1.0;
        })
    }

    /// The sums of samples that are of several classes, each by a share: a patch that shows a border, for one.
    ///
    /// A target is `2 · share − 1`: with shares of 0 and 1 the sums are those of [`Moments::of`].
    ///
    /// # Shapes
    /// `rows`: `[n, D]`; `shares`: `[n, K]`, 0–1, each row summing to 1; `of`: the rows that are meant.
    ///
    /// # Panics
    /// If rows and shares differ in number.
    pub fn of_shares(rows: ArrayView2<f32>, shares: ArrayView2<f64>, of: &[usize]) -> Self {
        assert_eq!(rows.nrows(), shares.nrows(), "moments: rows and shares differ in number");
        Self::of_targets(rows, of, shares.ncols(), |row_idx, mut target| {
            target.zip_mut_with(&shares.row(row_idx), |target, &share| *target = 2.0 * share - 1.0);
        })
    }

    /// Sums over rows whose targets are −1 but for what `set` makes of them.
    fn of_targets(
        rows: ArrayView2<f32>,
        of: &[usize],
        n_classes: usize,
        set: impl Fn(usize, ArrayViewMut1<f64>),
    ) -> Self {
        let width = rows.ncols();
        let mut moments = Self {
            n: of.len(),
            sum_x: Array1::zeros(width),
            sum_y: Array1::zeros(n_classes),
            xx: Array2::zeros((width, width)),
            xy: Array2::zeros((width, n_classes)),
        };
        for chosen in of.chunks(rows_at_once(width)) {
            let block = in_f64(rows, chosen);
            let mut of_class = Array2::<f64>::from_elem((chosen.len(), n_classes), -1.0);
            for (target, &row_idx) in of_class.rows_mut().into_iter().zip(chosen) {
                set(row_idx, target);
            }
            for (row, target) in block.rows().into_iter().zip(of_class.rows()) {
                moments.sum_x += &row;
                moments.sum_y += &target;
            }
            general_mat_mul(1.0, &block.t(), &of_class, 1.0, &mut moments.xy);
            let tiles = moments.xx.axis_chunks_iter_mut(Axis(0), TILE).into_par_iter().enumerate();
            tiles.for_each(|(tile_idx, mut rows)| {
                let first = tile_idx * TILE;
                let last = first + rows.nrows();
                let own = part(block.view(), 0..chosen.len(), first..last);
                let until = part(block.view(), 0..chosen.len(), 0..last);
                let mut out = rows.slice_axis_mut(Axis(1), Slice::from(..last));
                general_mat_mul(1.0, &own.t(), &until, 1.0, &mut out);
            });
        }
        moments
    }

    /// The sums of both.
    ///
    /// # Panics
    /// If they are of other widths or classes.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            n: self.n + other.n,
            sum_x: &self.sum_x + &other.sum_x,
            sum_y: &self.sum_y + &other.sum_y,
            xx: &self.xx + &other.xx,
            xy: &self.xy + &other.xy,
        }
    }

    /// The ridge regression with the penalty `lambda`; the bias is not penalized.
    ///
    /// `min over W, b of (1/n) Σ ‖W x + b − y‖² + λ ‖W‖²`, that is
    /// `(cov(x, x) + λ I) Wᵀ = cov(x, y)`, `b = ȳ − W x̄`, solved by a Cholesky factor in `f64`.
    ///
    /// # Panics
    /// If there are no samples, or `lambda` is not above 0.
    ///
    /// # Source
    /// Hoerl and Kennard, 1970. With `n λ` as its penalty it is the ridge regression of the usual libraries.
    pub fn solve(&self, lambda: f64) -> Linear {
        assert!(self.n > 0 && lambda > 0.0, "ridge: {} samples, a penalty of {lambda}", self.n);
        let n = self.n as f64;
        let (mean_x, mean_y) = (&self.sum_x / n, &self.sum_y / n);
        let mut a = &self.xx / n;
        let mut b = &self.xy / n; // [D, K]
        for (i, &x) in mean_x.iter().enumerate() {
            let until = Slice::from(..=i);
            let mut row = a.row_mut(i);
            row.slice_axis_mut(Axis(0), until).scaled_add(-x, &mean_x.slice_axis(Axis(0), until));
            a[[i, i]] += lambda;
            b.row_mut(i).scaled_add(-x, &mean_y);
        }
        cholesky::factor(&mut a);
        cholesky::solve(&a, &mut b);
        let weights = b.t().as_standard_layout().into_owned(); // [K, D]
        let bias = &mean_y - &weights.dot(&mean_x);
        Linear { weights, bias }
    }
}

/// The same regressions where samples are fewer than features: from products of samples instead of features.
///
/// With `K = X̃ X̃ᵀ` of centered rows, `W = αᵀ X̃`, `(K + n λ I) α = Ỹ`: the minimum of [`Moments::solve`], at the cost of
/// factors `[n, n]` instead of `[D, D]`. No penalty is on the bias.
///
/// Memory: `n²` numbers of 8 bytes, twice while it is solved.
///
/// # Source
/// Saunders, Gammerman and Vovk, 1998 (ridge regression in dual variables).
#[derive(Clone, Debug)]
pub struct Products<'a> {
    samples: Samples<'a>,
    /// `[D]`
    mean_x: Array1<f64>,
    /// `[K]`
    mean_y: Array1<f64>,
    /// `Ỹ`, `[n, K]`
    away_y: Array2<f64>,
    /// `K`, `[n, n]`, the lower triangle.
    products: Array2<f64>,
}

impl<'a> Products<'a> {
    /// The products of some samples, in `f64`.
    ///
    /// # Panics
    /// If there are no samples, rows and labels differ in number, or a label is not below `n_classes`.
    pub fn of(samples: &Samples<'a>, n_classes: usize) -> Self {
        let Samples { rows, labels, of } = *samples;
        assert_eq!(rows.nrows(), labels.len(), "products: rows and labels differ in number");
        assert!(!of.is_empty(), "products: no samples");
        let (n, n_rows) = (of.len(), rows_at_once(rows.ncols()));
        let mut away_y = Array2::<f64>::from_elem((n, n_classes), -1.0);
        let mut mean_x = Array1::<f64>::zeros(rows.ncols());
        for (i, &row_idx) in of.iter().enumerate() {
            let label = labels[row_idx] as usize;
            assert!(label < n_classes, "products: label {label} of {n_classes} classes");
            away_y[[i, label]] = 1.0;
            mean_x.zip_mut_with(&rows.row(row_idx), |sum, &x| *sum += f64::from(x));
        }
        mean_x /= n as f64;
        let mean_y = away_y.sum_axis(Axis(0)) / n as f64;
        away_y -= &mean_y;
        let centered = |chosen: &[usize]| in_f64(rows, chosen) - &mean_x;
        let mut products = Array2::<f64>::zeros((n, n));
        products.axis_chunks_iter_mut(Axis(0), n_rows).into_par_iter().enumerate().for_each(
            |(block_idx, mut out)| {
                let first = block_idx * n_rows;
                let last = first + out.nrows();
                let own = centered(&of[first..last]);
                for (other_idx, others) in of[..last].chunks(n_rows).enumerate() {
                    let columns = other_idx * n_rows..other_idx * n_rows + others.len();
                    let mut out = out.slice_axis_mut(Axis(1), Slice::from(columns));
                    general_mat_mul(1.0, &own, &centered(others).t(), 0.0, &mut out);
                }
            },
        );
        Self { samples: *samples, mean_x, mean_y, away_y, products }
    }

    /// The ridge regression with the penalty `lambda`, as [`Moments::solve`] has it.
    ///
    /// # Panics
    /// If `lambda` is not above 0.
    pub fn solve(&self, lambda: f64) -> Linear {
        self.solve_in(self.products.clone(), lambda)
    }

    /// The same, for the last penalty: the products are factored where they are.
    ///
    /// # Panics
    /// As [`solve`](Self::solve).
    pub fn into_solution(mut self, lambda: f64) -> Linear {
        let products = std::mem::take(&mut self.products);
        self.solve_in(products, lambda)
    }

    fn solve_in(&self, mut a: Array2<f64>, lambda: f64) -> Linear {
        assert!(lambda > 0.0, "ridge: a penalty of {lambda}");
        let Samples { rows, of, .. } = self.samples;
        let mut alpha = self.away_y.clone();
        a.diag_mut().iter_mut().for_each(|x| *x += lambda * of.len() as f64);
        cholesky::factor(&mut a);
        cholesky::solve(&a, &mut alpha);
        let mut weights = Array2::zeros((self.mean_y.len(), rows.ncols())); // [K, D]
        let n_rows = rows_at_once(rows.ncols());
        for (chosen, alpha) in of.chunks(n_rows).zip(alpha.axis_chunks_iter(Axis(0), n_rows)) {
            general_mat_mul(1.0, &alpha.t(), &(in_f64(rows, chosen) - &self.mean_x), 1.0, &mut weights);
        }
        let bias = &self.mean_y - &weights.dot(&self.mean_x);
        Linear { weights, bias }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_line_through_two_classes_by_hand() {
        // x = −1, 1 with classes 0, 1: y₁ = −1, 1. cov(x, x) = 1, cov(x, y₁) = 1, so w₁ = 1 / (1 + λ), b = 0.
        let rows = array![[-1.0f32], [1.0]];
        let samples = Samples { rows: rows.view(), labels: &[0, 1], of: &[0, 1] };
        let fit = Moments::of(&samples, 2).solve(0.25);
        assert!((fit.weights[[1, 0]] - 0.8).abs() < 1e-15 && (fit.weights[[0, 0]] + 0.8).abs() < 1e-15);
        assert!(fit.bias.iter().all(|b| b.abs() < 1e-15));
    }

    /// Features by a formula, more than one block of rows and one tile of columns; labels 0, 1, 2 in turn.
    fn example(n: usize, width: usize) -> (Array2<f32>, Vec<u32>) {
        let x =
            |i: usize, j: usize| ((i * (j + 2)) as f64 * 0.7 + j as f64).sin() + (i % 3 * j % 5) as f64 * 0.3;
        (Array2::from_shape_fn((n, width), |(i, j)| x(i, j) as f32), (0..n as u32).map(|i| i % 3).collect())
    }

    #[test]
    fn the_gradient_is_zero_at_the_solution() {
        let (rows, labels) = example(1500, 150);
        let all: Vec<usize> = (0..1500).collect();
        let lambda = 1e-3;
        let samples = Samples { rows: rows.view(), labels: &labels, of: &all };
        let fit = Moments::of(&samples, 3).solve(lambda);
        let mut away = fit.scores(rows.view(), &all); // W x + b − y
        for (i, &label) in labels.iter().enumerate() {
            for class in 0..3 {
                away[[i, class]] -= if class == label as usize { 1.0 } else { -1.0 };
            }
        }
        let gradient = away.t().dot(&rows.mapv(f64::from)) / 1500.0 + &fit.weights * lambda; // [K, D]
        assert!(gradient.iter().all(|g| g.abs() < 1e-10), "{gradient}");
        assert!(away.mean_axis(Axis(0)).expect("rows").iter().all(|g| g.abs() < 1e-10));
    }

    #[test]
    fn sums_of_two_parts_add_up_to_the_whole() {
        let (rows, labels) = example(40, 5);
        let of = |part: &[usize]| Moments::of(&Samples { rows: rows.view(), labels: &labels, of: part }, 3);
        let all: Vec<usize> = (0..40).collect();
        let (whole, parts) = (of(&all).solve(0.1), of(&all[..13]).plus(&of(&all[13..])).solve(0.1));
        assert!((&whole.weights - &parts.weights).iter().all(|x| x.abs() < 1e-12));
    }

    #[test]
    fn shares_of_one_class_are_labels_and_others_lie_between() {
        let (rows, labels) = example(30, 4);
        let of: Vec<usize> = (0..30).filter(|i| i % 5 > 0).collect();
        let whole = Array2::from_shape_fn((30, 3), |(i, k)| f64::from(u8::from(labels[i] as usize == k)));
        let by_label = Moments::of(&Samples { rows: rows.view(), labels: &labels, of: &of }, 3);
        assert_eq!(Moments::of_shares(rows.view(), whole.view(), &of), by_label);
        // Half of either: the target is 0, and so are its products with the features.
        let half = Array2::from_elem((30, 2), 0.5);
        let between = Moments::of_shares(rows.view(), half.view(), &of);
        assert!(between.xy.iter().chain(&between.sum_y).all(|&x| x == 0.0));
    }

    #[test]
    fn products_of_samples_give_the_regression_of_products_of_features() {
        for (n, width) in [(40, 5), (90, 700)] {
            let (rows, labels) = example(n, width);
            let of: Vec<usize> = (0..n).filter(|i| i % 4 > 0).rev().collect();
            let samples = Samples { rows: rows.view(), labels: &labels, of: &of };
            for lambda in [1e-2, 3.0] {
                let by_features = Moments::of(&samples, 3).solve(lambda);
                let by_samples = Products::of(&samples, 3).solve(lambda);
                let away =
                    (&by_features.weights - &by_samples.weights).iter().fold(0.0f64, |m, x| m.max(x.abs()));
                assert!(away < 1e-9, "{n} samples of {width}, penalty {lambda}: {away}");
                assert!((&by_features.bias - &by_samples.bias).iter().all(|x| x.abs() < 1e-9));
                assert_eq!(Products::of(&samples, 3).into_solution(lambda), by_samples);
            }
        }
    }
}
