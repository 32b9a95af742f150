//! Centered kernel alignment of linear kernels, by the unbiased estimator of HSIC.
//!
//! Two ways to the same quantity. [`Gram`] compares samples with samples: one matrix for each layer, shared by every
//! pair it is part of, flat in memory when samples come in groups. [`Moments`] sums products of features: one pass over
//! any number of samples in `D × D'` numbers for each pair of layers.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, Axis, Slice};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The fewest samples of which HSIC has an unbiased estimate.
pub const FEWEST_SAMPLES: usize = 4;

/// Features whose centered energy is below this share of their energy do not vary: what is left is rounding of `f32`.
const CONSTANT_BELOW: f64 = 1e-10;

/// Columns that are centered and multiplied at a time, so that only a piece is held in `f64`.
const PIECE_COLUMNS: usize = 2048;
/// Rows of a block of a symmetric product; blocks above the diagonal are left out.
const BLOCK_ROWS: usize = 16;

/// How much the features of a layer vary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// `Σ ‖x‖²`
    pub raw: f64,
    /// `Σ ‖x − mean‖²`
    pub centered: f64,
}

impl Energy {
    /// Whether samples differ by more than the rounding of `f32`; CKA with a constant layer means nothing.
    pub fn varies(self) -> bool {
        self.centered > CONSTANT_BELOW * self.raw
    }
}

/// Who is like whom among the samples of one layer: the U-centered Gram matrix of a linear kernel, without its diagonal.
///
/// `K = X Xᵀ`, and for `i ≠ j`, with `r_i = Σ_{j≠i} K_ij` and `s = Σ r_i`,
/// `K̃_ij = K_ij − (r_i + r_j) / (n − 2) + s / ((n − 1)(n − 2))`.
///
/// # Source
/// Song et al., Feature Selection via Dependence Maximization (the unbiased HSIC); Székely and Rizzo, Partial Distance
/// Correlation (U-centering).
#[derive(Clone, Debug, PartialEq)]
pub struct Gram {
    n: usize,
    /// `K̃_ij` for `i > j`, row by row: `n(n − 1) / 2` values.
    below: Vec<f64>,
    energy: Energy,
}

impl Gram {
    /// The samples of a layer. Features are centered first: it changes no entry of `K̃`, and no digits are lost to what
    /// all samples share.
    ///
    /// # Shapes
    /// `features`: `[n, D]`, one row a sample.
    ///
    /// # Panics
    /// If there are fewer than [`FEWEST_SAMPLES`] rows.
    pub fn linear(features: ArrayView2<f32>) -> Self {
        let (n, width) = features.dim();
        let mut gram = Array2::<f64>::zeros((n, n));
        let mut energy = Energy::default();
        for start in (0..width).step_by(PIECE_COLUMNS) {
            let end = (start + PIECE_COLUMNS).min(width);
            let mut piece = features.slice_axis(Axis(1), Slice::from(start..end)).mapv(f64::from);
            energy.raw += piece.iter().map(|x| x * x).sum::<f64>();
            let mean = piece.sum_axis(Axis(0)) / n as f64;
            piece -= &mean;
            for first in (0..n).step_by(BLOCK_ROWS) {
                let last = (first + BLOCK_ROWS).min(n);
                let rows = piece.slice_axis(Axis(0), Slice::from(first..last));
                let columns = piece.slice_axis(Axis(0), Slice::from(..last));
                let mut block = gram.slice_axis_mut(Axis(0), Slice::from(first..last));
                block.slice_axis_inplace(Axis(1), Slice::from(..last));
                general_mat_mul(1.0, &rows, &columns.t(), 1.0, &mut block);
            }
        }
        energy.centered = gram.diag().sum();
        Self { energy, ..Self::of_kernel(gram.view()) }
    }

    /// Any symmetric kernel matrix; only what lies below the diagonal is read.
    ///
    /// # Shapes
    /// `kernel`: `[n, n]`
    ///
    /// # Panics
    /// If it is not square, or there are fewer than [`FEWEST_SAMPLES`] rows.
    pub fn of_kernel(kernel: ArrayView2<f64>) -> Self {
        let (n, n_columns) = kernel.dim();
        assert_eq!(n, n_columns, "a kernel of {n} × {n_columns} samples is not square");
        assert!(n >= FEWEST_SAMPLES, "HSIC: expected at least {FEWEST_SAMPLES} samples; found {n}");
        let mut row_sums = vec![0.0f64; n];
        let mut below = Vec::with_capacity(n * (n - 1) / 2);
        for i in 1..n {
            for j in 0..i {
                row_sums[i] += kernel[[i, j]];
                row_sums[j] += kernel[[i, j]];
                below.push(kernel[[i, j]]);
            }
        }
        let by_row = (n - 2) as f64;
        let shared = row_sums.iter().sum::<f64>() / ((n - 1) as f64 * by_row);
        let mut values = below.iter_mut();
        for i in 1..n {
            for (j, value) in values.by_ref().take(i).enumerate() {
                *value += shared - (row_sums[i] + row_sums[j]) / by_row;
            }
        }
        let total = kernel.diag().sum();
        Self { n, below, energy: Energy { raw: total, centered: total } }
    }

    /// The unbiased estimate of HSIC, `1 / (n(n − 3)) · Σ_{i≠j} K̃_ij L̃_ij`.
    ///
    /// It equals `1 / (n(n − 3)) · [tr(K°L°) + (1ᵀK°1)(1ᵀL°1) / ((n − 1)(n − 2)) − 2 / (n − 2) · 1ᵀK°L°1]`, where `K°` is
    /// `K` with a diagonal of zeros. May be a little below 0.
    ///
    /// # Panics
    /// If the two have another number of samples.
    pub fn hsic(&self, other: &Self) -> f64 {
        assert_eq!(self.n, other.n, "HSIC of {} and {} samples", self.n, other.n);
        let dot = self.below.iter().zip(&other.below).map(|(k, l)| k * l).sum::<f64>();
        2.0 * dot / (self.n as f64 * (self.n - 3) as f64)
    }

    /// The same with every entry of `K̃` multiplied by a factor.
    #[must_use]
    pub fn times(mut self, factor: f64) -> Self {
        self.below.iter_mut().for_each(|entry| *entry *= factor);
        self
    }

    /// How much the samples vary.
    pub fn energy(&self) -> Energy {
        self.energy
    }
}

/// The Gram matrix of every layer; layers run in parallel, each on one thread.
///
/// # Shapes
/// Each of `layers`: `[n, D]` of its own width.
///
/// # Panics
/// As [`Gram::linear`].
///
/// # Source
/// As [`Gram`].
pub fn linear_grams(layers: &[ArrayView2<f32>]) -> Vec<Gram> {
    layers.par_iter().map(|features| Gram::linear(*features)).collect()
}

/// The greatest less the least entry of `X Xᵀ`, its diagonal included and features not centered.
///
/// Scaled to 0–1 by it, a Gram matrix weighs its batch differently in sums over batches; the shift by the least entry that
/// goes with that changes no entry of `K̃`.
///
/// # Shapes
/// `features`: `[n, D]`
///
/// # Panics
/// If there are no rows.
///
/// # Source
/// The released code of Walmer et al., CVPR 2023.
pub fn kernel_range(features: ArrayView2<f32>) -> f64 {
    let (n, _) = features.dim();
    assert!(n > 0, "kernel_range: no samples");
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for i in 0..n {
        for j in 0..=i {
            let (x, y) = (features.row(i), features.row(j));
            let entry: f64 = x.iter().zip(&y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
            (least, most) = (least.min(entry), most.max(entry));
        }
    }
    most - least
}

/// The unbiased HSIC of every pair of layers on the same samples; each Gram matrix serves all of its pairs.
///
/// # Shapes
/// The result is symmetric, `[layers, layers]`.
///
/// # Panics
/// If they have another number of samples.
///
/// # Source
/// As [`Gram::hsic`].
pub fn hsic_matrix(grams: &[Gram]) -> Array2<f64> {
    let pairs = pairs(grams.len());
    let values: Vec<f64> = pairs.par_iter().map(|&(i, j)| grams[i].hsic(&grams[j])).collect();
    symmetric(grams.len(), &pairs, &values)
}

/// The unbiased HSIC of every layer of one list with every layer of another, on the same samples.
///
/// # Shapes
/// The result is `[rows, columns]`.
///
/// # Panics
/// If they have another number of samples.
///
/// # Source
/// As [`Gram::hsic`].
pub fn hsic_between(rows: &[Gram], columns: &[Gram]) -> Array2<f64> {
    let of_row = |row: &Gram| columns.iter().map(|column| row.hsic(column)).collect::<Vec<f64>>();
    let values: Vec<f64> = rows.par_iter().map(of_row).collect::<Vec<_>>().concat();
    match Array2::from_shape_vec((rows.len(), columns.len()), values) {
        Ok(values) => values,
        Err(error) => unreachable!("a number for each pair: {error}"),
    }
}

/// CKA of every pair of layers: `HSIC(K, L) / √(HSIC(K, K) · HSIC(L, L))`, 1 on the diagonal.
///
/// 0 for a layer that does not vary, or whose own HSIC is not above 0, and so for its diagonal.
///
/// # Shapes
/// `hsic`: `[layers, layers]`; `varies`: one value a layer; result as `hsic`.
///
/// # Panics
/// If `varies` has another length.
///
/// # Source
/// Kornblith et al., Similarity of Neural Network Representations Revisited; Nguyen et al., Do Wide and Deep Networks
/// Learn the Same Things? (sums over minibatches in each of the three places).
pub fn cka_from_hsic(hsic: ArrayView2<f64>, varies: &[bool]) -> Array2<f64> {
    assert_eq!(hsic.nrows(), varies.len(), "layers of the HSIC and those that vary");
    let is_sound = |i: usize| varies[i] && hsic[[i, i]] > 0.0;
    Array2::from_shape_fn(hsic.dim(), |(i, j)| match is_sound(i) && is_sound(j) {
        true if i == j => 1.0,
        true => hsic[[i, j]] / (hsic[[i, i]].sqrt() * hsic[[j, j]].sqrt()),
        false => 0.0,
    })
}

/// Sums over samples from which the unbiased HSIC of all of them follows, for every pair of layers, in one pass.
///
/// With features shifted by a constant, `k = ‖x‖²` and `l = ‖y‖²`, a pair keeps `Σ x yᵀ`, `Σ l x`, `Σ k y` and `Σ k l`.
/// They suffice to shift the features anew, so sums around different constants can be joined, and at the end all are
/// brought to the mean. There `1ᵀK°1 = −Σ k` and `1ᵀK°L°1 = Σ k l`, hence
/// `HSIC = 1 / (n(n − 3)) · [‖Σ x yᵀ‖² − Σ k l + Σ k · Σ l / ((n − 1)(n − 2)) − 2 / (n − 2) · Σ k l]`.
///
/// # Source
/// The estimator of [`Gram::hsic`], its sums over samples written as sums over features.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Moments {
    n: usize,
    layers: Vec<Layer>,
    pairs: Vec<Pair>,
}

/// Sums of one layer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Layer {
    /// What was taken from every sample, `[D]`.
    shift: Array1<f64>,
    /// `Σ x`, `[D]`.
    sum: Array1<f64>,
    /// `Σ ‖x‖²`
    energy: f64,
}

/// Sums of a pair of layers.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pair {
    at: (usize, usize),
    /// `Σ x yᵀ`, `[D, D']`.
    cross: Array2<f64>,
    /// `Σ ‖y‖² x`, `[D]`.
    x_by_l: Array1<f64>,
    /// `Σ ‖x‖² y`, `[D']`.
    y_by_k: Array1<f64>,
    /// `Σ ‖x‖² ‖y‖²`
    k_by_l: f64,
}

impl Moments {
    /// The bytes that the sums of layers of these widths take, whatever the number of samples.
    pub fn n_bytes_for(widths: &[usize]) -> usize {
        let numbers = |&(i, j): &(usize, usize)| widths[i] * widths[j] + widths[i] + widths[j] + 1;
        let by_layer: usize = widths.iter().map(|width| 2 * width + 1).sum();
        size_of::<f64>() * (pairs(widths.len()).iter().map(numbers).sum::<usize>() + by_layer)
    }

    /// The bytes held.
    pub fn n_bytes(&self) -> usize {
        let widths: Vec<usize> = self.layers.iter().map(|layer| layer.sum.len()).collect();
        Self::n_bytes_for(&widths)
    }

    /// The number of samples.
    pub fn n_samples(&self) -> usize {
        self.n
    }

    /// Adds samples, the same ones in every layer.
    ///
    /// # Shapes
    /// Each of `layers`: `[n, D]` of its own width, one row a sample.
    ///
    /// # Panics
    /// If the number of layers, a width or the number of samples differs from what it was or is beside it.
    pub fn add(&mut self, layers: &[ArrayView2<f32>]) {
        let n = layers.first().map_or(0, ArrayView2::nrows);
        if n == 0 {
            return;
        }
        if self.layers.is_empty() {
            self.open(layers);
        }
        assert_eq!(layers.len(), self.layers.len(), "layers of the moments");
        let shifted: Vec<Array2<f64>> = layers
            .iter()
            .zip(&self.layers)
            .map(|(features, layer)| {
                let expected = (n, layer.shift.len());
                assert_eq!(features.dim(), expected, "samples and width of a layer of the moments");
                features.mapv(f64::from) - &layer.shift
            })
            .collect();
        let energies: Vec<Array1<f64>> =
            shifted.iter().map(|x| x.map_axis(Axis(1), |row| row.dot(&row))).collect();
        for (layer, (x, k)) in self.layers.iter_mut().zip(shifted.iter().zip(&energies)) {
            layer.sum += &x.sum_axis(Axis(0));
            layer.energy += k.sum();
        }
        self.pairs.par_iter_mut().for_each(|pair| {
            let (i, j) = pair.at;
            let (x, y, k, l) = (&shifted[i], &shifted[j], &energies[i], &energies[j]);
            general_mat_mul(1.0, &x.t(), y, 1.0, &mut pair.cross);
            pair.x_by_l += &l.dot(x);
            pair.y_by_k += &k.dot(y);
            pair.k_by_l += k.dot(l);
        });
        self.n += n;
    }

    /// Empty sums around the means of the first samples: near the mean of all, so that little is lost to what samples
    /// share.
    fn open(&mut self, layers: &[ArrayView2<f32>]) {
        let layer = |features: &ArrayView2<f32>| {
            let shift = features.mapv(f64::from).sum_axis(Axis(0)) / features.nrows() as f64;
            Layer { sum: Array1::zeros(shift.len()), shift, energy: 0.0 }
        };
        self.layers = layers.iter().map(layer).collect();
        let width = |layer: usize| layers[layer].ncols();
        let pair = |at: (usize, usize)| Pair {
            at,
            cross: Array2::zeros((width(at.0), width(at.1))),
            x_by_l: Array1::zeros(width(at.0)),
            y_by_k: Array1::zeros(width(at.1)),
            k_by_l: 0.0,
        };
        self.pairs = pairs(layers.len()).into_iter().map(pair).collect();
    }

    /// Joins the sums of later samples.
    ///
    /// # Panics
    /// If the layers differ.
    pub fn merge(&mut self, mut later: Self) {
        if later.n == 0 {
            return;
        }
        if self.n == 0 {
            *self = later;
            return;
        }
        assert_eq!(self.layers.len(), later.layers.len(), "layers of the moments");
        let shifts: Vec<Array1<f64>> = self.layers.iter().map(|layer| layer.shift.clone()).collect();
        later.move_to(&shifts);
        for (ours, later) in self.layers.iter_mut().zip(&later.layers) {
            ours.sum += &later.sum;
            ours.energy += later.energy;
        }
        for (ours, later) in self.pairs.iter_mut().zip(&later.pairs) {
            ours.cross += &later.cross;
            ours.x_by_l += &later.x_by_l;
            ours.y_by_k += &later.y_by_k;
            ours.k_by_l += later.k_by_l;
        }
        self.n += later.n;
    }

    /// The same sums with other constants taken from the samples: `x' = x + d`, `k' = k + 2 d·x + ‖d‖²`.
    fn move_to(&mut self, shifts: &[Array1<f64>]) {
        let n = self.n as f64;
        let moves: Vec<Array1<f64>> =
            self.layers.iter().zip(shifts).map(|(layer, shift)| &layer.shift - shift).collect();
        let layers = &self.layers;
        self.pairs.par_iter_mut().for_each(|pair| {
            let (i, j) = pair.at;
            let (x, y, d, e) = (&layers[i], &layers[j], &moves[i], &moves[j]);
            let (dd, ee) = (d.dot(d), e.dot(e));
            let (c_e, c_d) = (pair.cross.dot(e), d.dot(&pair.cross)); // C e, Cᵀ d
            let (d_x, e_y) = (d.dot(&x.sum), e.dot(&y.sum));
            pair.k_by_l += 2.0 * e.dot(&pair.y_by_k)
                + ee * x.energy
                + 2.0 * d.dot(&pair.x_by_l)
                + 4.0 * d.dot(&c_e)
                + 2.0 * ee * d_x
                + dd * y.energy
                + 2.0 * dd * e_y
                + n * dd * ee;
            pair.x_by_l += &(d * (y.energy + 2.0 * e_y + n * ee) + c_e * 2.0 + &x.sum * ee);
            pair.y_by_k += &(e * (x.energy + 2.0 * d_x + n * dd) + c_d * 2.0 + &y.sum * dd);
            let column = |v: &Array1<f64>| v.clone().insert_axis(Axis(1));
            let row = |v: &Array1<f64>| v.clone().insert_axis(Axis(0));
            let moved = &y.sum + &(e * n); // Σ y'
            general_mat_mul(1.0, &column(&x.sum), &row(e), 1.0, &mut pair.cross);
            general_mat_mul(1.0, &column(d), &row(&moved), 1.0, &mut pair.cross);
        });
        for ((layer, d), shift) in self.layers.iter_mut().zip(&moves).zip(shifts) {
            layer.energy += 2.0 * d.dot(&layer.sum) + n * d.dot(d);
            layer.sum += &(d * n);
            layer.shift.assign(shift);
        }
    }

    /// The unbiased HSIC of every pair of layers over all samples, and how much each layer varies.
    ///
    /// # Shapes
    /// `[layers, layers]`, symmetric.
    ///
    /// # Panics
    /// If there are fewer than [`FEWEST_SAMPLES`] samples.
    pub fn into_hsic(mut self) -> (Array2<f64>, Vec<Energy>) {
        assert!(
            self.n >= FEWEST_SAMPLES,
            "HSIC: expected at least {FEWEST_SAMPLES} samples; found {}",
            self.n
        );
        let n = self.n as f64;
        let means: Vec<Array1<f64>> =
            self.layers.iter().map(|layer| &layer.shift + &(&layer.sum / n)).collect();
        self.move_to(&means);
        let layers = &self.layers;
        let of_pair = |pair: &Pair| {
            let (k, l) = (layers[pair.at.0].energy, layers[pair.at.1].energy);
            let product = pair.cross.iter().map(|c| c * c).sum::<f64>() - pair.k_by_l;
            let shared = k * l / ((n - 1.0) * (n - 2.0));
            (product + shared - 2.0 / (n - 2.0) * pair.k_by_l) / (n * (n - 3.0))
        };
        let values: Vec<f64> = self.pairs.par_iter().map(of_pair).collect();
        let at: Vec<(usize, usize)> = self.pairs.iter().map(|pair| pair.at).collect();
        let energies = layers
            .iter()
            .zip(&means)
            .map(|(layer, mean)| Energy { raw: layer.energy + n * mean.dot(mean), centered: layer.energy });
        (symmetric(layers.len(), &at, &values), energies.collect())
    }
}

/// Every pair `i ≤ j` of so many layers.
fn pairs(n_layers: usize) -> Vec<(usize, usize)> {
    (0..n_layers).flat_map(|i| (i..n_layers).map(move |j| (i, j))).collect()
}

/// A symmetric matrix from its values at pairs.
fn symmetric(n: usize, at: &[(usize, usize)], values: &[f64]) -> Array2<f64> {
    let mut matrix = Array2::zeros((n, n));
    for (&(i, j), &value) in at.iter().zip(values) {
        matrix[[i, j]] = value;
        matrix[[j, i]] = value;
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    /// `1 / (n(n − 3)) · [tr(K°L°) + (1ᵀK°1)(1ᵀL°1) / ((n − 1)(n − 2)) − 2 / (n − 2) · 1ᵀK°L°1]`, term by term.
    fn textbook(k: &Array2<f64>, l: &Array2<f64>) -> f64 {
        let hollow = |m: &Array2<f64>| {
            let mut m = m.clone();
            m.diag_mut().fill(0.0);
            m
        };
        let (k, l) = (hollow(k), hollow(l));
        let n = k.nrows() as f64;
        let product = k.dot(&l);
        let sums = k.sum() * l.sum() / ((n - 1.0) * (n - 2.0));
        (product.diag().sum() + sums - 2.0 / (n - 2.0) * product.sum()) / (n * (n - 3.0))
    }

    fn kernel(features: &Array2<f32>) -> Array2<f64> {
        let x = features.mapv(f64::from);
        x.dot(&x.t())
    }

    fn five() -> (Array2<f32>, Array2<f32>) {
        let x = array![[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [0.0, 3.0]];
        (x, array![[1.0], [2.0], [0.0], [1.0], [3.0]])
    }

    fn near(ours: f64, expected: f64) {
        assert!((ours - expected).abs() < 1e-9, "ours {ours}, expected {expected}");
    }

    #[test]
    fn hsic_between_two_lists_is_that_of_each_pair() {
        let x = ndarray::array![[1.0f32, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [0.0, 3.0]];
        let y = ndarray::array![[1.0f32], [2.0], [0.0], [1.0], [3.0]];
        let (x, y) = (Gram::linear(x.view()), Gram::linear(y.view()));
        let between = hsic_between(&[x.clone(), y.clone()], &[y]);
        assert_eq!(between.dim(), (2, 1));
        // The vectors of the specification: 8/15, and 7/6 of the second with itself.
        assert!((between[[0, 0]] - 8.0 / 15.0).abs() < 1e-12 && (between[[1, 0]] - 7.0 / 6.0).abs() < 1e-12);
        assert!((x.hsic(&x) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn the_range_of_a_kernel_by_hand_and_a_scaled_gram() {
        // X Xᵀ of (1, 0), (0, 1), (1, 1), (2, 0), (0, 3): from 0 to 9.
        let x = ndarray::array![[1.0f32, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [0.0, 3.0]];
        assert_eq!(kernel_range(x.view()), 9.0);
        let gram = Gram::linear(x.view());
        let scaled = gram.clone().times(1.0 / 9.0);
        assert!((scaled.hsic(&scaled) - gram.hsic(&gram) / 81.0).abs() < 1e-12);
        // (K − min) / range, the diagonal left out, is the same matrix after U-centering.
        let x = x.mapv(f64::from);
        let kernel = x.dot(&x.t()).mapv(|entry| (entry - 0.0) / 9.0);
        let released = Gram::of_kernel(kernel.view());
        assert!((released.hsic(&released) - scaled.hsic(&scaled)).abs() < 1e-12);
    }

    #[test]
    fn five_samples_have_the_published_values() {
        let (x, y) = five();
        let (k, l) = (Gram::linear(x.view()), Gram::linear(y.view()));
        near(k.hsic(&l), 0.533_333_333_3);
        near(k.hsic(&k), 2.0);
        near(l.hsic(&l), 1.166_666_666_7);
        let hsic = hsic_matrix(&[k, l]);
        let cka = cka_from_hsic(hsic.view(), &[true, true]);
        near(cka[[0, 1]], 0.349_148_624_9);
        assert_eq!((cka[[0, 0]], cka[[1, 1]]), (1.0, 1.0));
        let mut moments = Moments::default();
        moments.add(&[x.view(), y.view()]);
        let (hsic, _) = moments.into_hsic();
        near(hsic[[0, 1]], 0.533_333_333_3);
        near(hsic[[0, 0]], 2.0);
        near(hsic[[1, 1]], 1.166_666_666_7);
    }

    #[test]
    fn scaling_and_shifting_a_kernel_scales_hsic_and_leaves_cka() {
        let (x, y) = five();
        let k = kernel(&x);
        let other = Gram::of_kernel((&k * 3.0 + 7.0).view());
        let (k, l) = (Gram::of_kernel(k.view()), Gram::linear(y.view()));
        near(other.hsic(&l), 3.0 * k.hsic(&l));
        let cka = |k: &Gram| k.hsic(&l) / (k.hsic(k) * l.hsic(&l)).sqrt();
        near(cka(&other), cka(&k));
    }

    #[test]
    fn a_constant_layer_is_like_nothing() {
        let (x, _) = five();
        let same = Array2::from_elem((5, 3), 0.1f32);
        let grams = [Gram::linear(x.view()), Gram::linear(same.view())];
        let varies = grams.each_ref().map(|gram| gram.energy().varies());
        assert_eq!(varies, [true, false]);
        let cka = cka_from_hsic(hsic_matrix(&grams).view(), &varies);
        assert_eq!(cka, array![[1.0, 0.0], [0.0, 0.0]]);
        let mut moments = Moments::default();
        moments.add(&[x.view(), same.view()]);
        let (_, energies) = moments.into_hsic();
        assert_eq!(energies.iter().map(|energy| energy.varies()).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    #[should_panic(expected = "HSIC: expected at least 4 samples; found 3")]
    fn three_samples_are_too_few() {
        Gram::linear(Array2::zeros((3, 2)).view());
    }

    /// Features of the same samples in two layers of different width; all share a large constant.
    fn layers() -> impl Strategy<Value = (Array2<f32>, Array2<f32>)> {
        (5usize..40, 1usize..6, 1usize..6).prop_flat_map(|(n, d, e)| {
            let values = |width: usize| proptest::collection::vec(-1.0f32..1.0, n * width);
            (values(d), values(e)).prop_map(move |(x, y)| {
                let rows = |values, width| Array2::from_shape_vec((n, width), values).expect("counted");
                (rows(x, d) + 3.0, rows(y, e) - 2.0)
            })
        })
    }

    proptest! {
        #[test]
        fn grams_and_moments_are_the_textbooks((x, y) in layers(), cut in 0.0f64..1.0) {
            let expected = textbook(&kernel(&x), &kernel(&y));
            let scale = textbook(&kernel(&x), &kernel(&x)).abs() + textbook(&kernel(&y), &kernel(&y)).abs() + 1.0;
            let (k, l) = (Gram::linear(x.view()), Gram::linear(y.view()));
            prop_assert!((k.hsic(&l) - expected).abs() < 1e-10 * scale);

            let cut = (cut * x.nrows() as f64) as usize;
            let part = |from: usize, to: usize| {
                let mut moments = Moments::default();
                let rows = Slice::from(from..to);
                moments.add(&[x.slice_axis(Axis(0), rows), y.slice_axis(Axis(0), rows)]);
                moments
            };
            let mut merged = part(0, cut);
            merged.merge(part(cut, x.nrows()));
            prop_assert_eq!(merged.n_samples(), x.nrows());
            prop_assert_eq!(merged.n_bytes(), Moments::n_bytes_for(&[x.ncols(), y.ncols()]));
            let (hsic, energies) = merged.into_hsic();
            prop_assert!((hsic[[0, 1]] - expected).abs() < 1e-10 * scale, "{} and {expected}", hsic[[0, 1]]);
            prop_assert!((energies[0].centered - k.energy().centered).abs() < 1e-9 * energies[0].raw);
            prop_assert!((energies[0].raw - k.energy().raw).abs() < 1e-9 * energies[0].raw);
        }

        #[test]
        fn cka_does_not_change_when_features_are_turned_scaled_or_shifted((x, y) in layers(), angle in 0.0f32..6.0) {
            prop_assume!(x.ncols() >= 2);
            let mut turned = x.clone();
            for mut row in turned.rows_mut() {
                let (a, b) = (row[0], row[1]);
                row[0] = a * angle.cos() - b * angle.sin();
                row[1] = a * angle.sin() + b * angle.cos();
            }
            turned = turned * 2.0 + 0.5;
            let grams = [x, turned, y].map(|features| Gram::linear(features.view()));
            let cka = cka_from_hsic(hsic_matrix(&grams).view(), &[true; 3]);
            prop_assume!(cka[[0, 0]] == 1.0 && grams[0].hsic(&grams[0]) > 1e-3);
            prop_assert!((cka[[0, 1]] - 1.0).abs() < 1e-4, "{cka}");
            prop_assert!((cka[[0, 2]] - cka[[1, 2]]).abs() < 1e-3 * cka[[0, 2]].abs().max(1.0), "{cka}");
        }
    }
}
