//! Relative position bias: a learned number for each head and each offset between two patches.

use crate::{Draw, Grid};
use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData};

/// A table of biases with rows for every offset of two patches of its grid, then class → patch, patch → class, and
/// class → class.
///
/// # Source
/// Bao et al., BEiT: BERT Pre-Training of Image Transformers.
#[derive(Module, Debug)]
pub struct RelativeBias {
    /// `[(2h − 1)·(2w − 1) + 3, heads]`
    pub relative_position_bias_table: Param<Tensor<2>>,
}

/// Rows of the table of a grid: `(2h − 1)·(2w − 1) + 3`.
pub(crate) fn relative_rows(grid: Grid) -> usize {
    (2 * grid.rows - 1) * (2 * grid.columns - 1) + 3
}

impl RelativeBias {
    /// A table of zeros.
    pub(crate) fn init(grid: Grid, n_heads: usize, draw: &Draw) -> Self {
        Self { relative_position_bias_table: draw.constant([relative_rows(grid), n_heads], 0.0) }
    }

    /// The bias on the scores of a class token and the patches of `grid`, where the table was made for `own`.
    ///
    /// # Shapes
    /// - result: `[heads, 1 + N, 1 + N]`
    pub(crate) fn forward(&self, own: Grid, grid: Grid) -> Tensor<3> {
        let table = self.relative_position_bias_table.val();
        let table = if own == grid { table } else { resampled(table, own, grid) };
        let n_heads = table.dims()[1];
        let t = 1 + grid.n_patches();
        let index: Vec<i32> = relative_index(grid).into_iter().map(|row| row as i32).collect();
        let index = Tensor::<1, Int>::from_data(TensorData::new(index, [t * t]), &table.device());
        table.select(0, index).reshape([t, t, n_heads]).permute([2, 0, 1]) // [heads, T, T]
    }
}

/// The row of the table for each query and key, row by row: the class token first, then the patches.
fn relative_index(grid: Grid) -> Vec<usize> {
    let Grid { rows, columns } = grid;
    let n = relative_rows(grid);
    let (n_patches, span) = (grid.n_patches(), 2 * columns - 1);
    let mut index = Vec::with_capacity((n_patches + 1) * (n_patches + 1));
    index.push(n - 1);
    index.extend(std::iter::repeat_n(n - 3, n_patches));
    for query in 0..n_patches {
        index.push(n - 2);
        for key in 0..n_patches {
            let down = query / columns + rows - 1 - key / columns;
            let right = query % columns + columns - 1 - key % columns;
            index.push(down * span + right);
        }
    }
    index
}

/// The table for another grid: offsets resampled by a matrix for each axis, the three rows of the class token copied.
fn resampled(table: Tensor<2>, own: Grid, grid: Grid) -> Tensor<2> {
    let [n, n_heads] = table.dims();
    let (offsets, class) = (table.clone().slice([0..n - 3, 0..n_heads]), table.slice([n - 3..n, 0..n_heads]));
    let vertical = offset_matrix(2 * own.rows - 1, 2 * grid.rows - 1);
    let horizontal = offset_matrix(2 * own.columns - 1, 2 * grid.columns - 1);
    let mut matrix = Vec::with_capacity((relative_rows(grid) - 3) * (n - 3));
    for row in vertical.chunks_exact(2 * own.rows - 1) {
        for column in horizontal.chunks_exact(2 * own.columns - 1) {
            matrix.extend(row.iter().flat_map(|v| column.iter().map(move |h| (v * h) as f32)));
        }
    }
    let matrix = TensorData::new(matrix, [relative_rows(grid) - 3, n - 3]);
    let matrix = Tensor::<2>::from_data(matrix, &offsets.device());
    Tensor::cat(vec![matrix.matmul(offsets), class], 0)
}

/// The matrix `[to, from]` that reads biases of `to` offsets off those of `from`, by a cubic spline through places that
/// stand ever wider apart from the middle.
///
/// The places are `0, ±1, ±(1 + q), ±(1 + q + q²), …` with `q` such that the last one is half of `to`; what lies
/// beyond it has its value.
///
/// # Source
/// BEiT's loading of fine-tuned sizes: a geometric progression, `interp2d` with `kind = "cubic"` (not-a-knot ends).
fn offset_matrix(from: usize, to: usize) -> Vec<f64> {
    if from == to {
        let mut same = vec![0.0; from * from];
        (0..from).for_each(|i| same[i * from + i] = 1.0);
        return same;
    }
    let places = geometric_places(from, to);
    let half = (to / 2) as f64;
    let wanted: Vec<f64> = (0..to).map(|i| i as f64 - half).collect();
    spline_matrix(&places, &wanted)
}

fn geometric_places(from: usize, to: usize) -> Vec<f64> {
    let (n, half) = (from / 2, (to / 2) as f64);
    let reach = |q: f64| (1.0 - q.powi(n as i32)) / (1.0 - q);
    let (mut low, mut high) = (1.01, 1.5);
    while high - low > 1e-6 {
        let q = (low + high) / 2.0;
        if reach(q) > half { high = q } else { low = q }
    }
    let q = (low + high) / 2.0;
    let mut right = Vec::with_capacity(n);
    let mut at = 1.0;
    for i in 0..n {
        right.push(at);
        at += q.powi(i as i32 + 1);
    }
    let left = right.iter().rev().map(|x| -x);
    left.chain([0.0]).chain(right.iter().copied()).collect()
}

/// The matrix of interpolation by the cubic spline with not-a-knot ends; through fewer than four places, by the
/// polynomial of their number. What is asked for outside the places has the value of the nearest.
fn spline_matrix(places: &[f64], wanted: &[f64]) -> Vec<f64> {
    let n = places.len();
    // Truncated powers on the knots that not-a-knot ends leave: 1, x, x², x³, (x − t₂)³₊ … (x − tₙ₋₃)³₊.
    let scale = places[n - 1].max(1.0);
    let basis = |x: f64| -> Vec<f64> {
        let x = x.clamp(places[0], places[n - 1]) / scale;
        let powers = (0..n.min(4)).map(|power| x.powi(power as i32));
        let knots = places.iter().take(n.saturating_sub(2)).skip(2);
        powers.chain(knots.map(|knot| (x - knot / scale).max(0.0).powi(3))).collect()
    };
    // Solve Aᵀ·w = b(x) for every x: the weights w read the values at the places.
    let mut transposed = vec![vec![0.0; n]; n];
    for (column, &place) in places.iter().enumerate() {
        for (row, value) in basis(place).into_iter().enumerate() {
            transposed[row][column] = value;
        }
    }
    let rights: Vec<Vec<f64>> = wanted.iter().map(|&x| basis(x)).collect();
    solve(transposed, rights).concat()
}

/// Gaussian elimination with partial pivoting: the solutions of `matrix·w = right`, one for each right side.
fn solve(mut matrix: Vec<Vec<f64>>, mut rights: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = matrix.len();
    for column in 0..n {
        let pivot = (column..n).max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()));
        let pivot = pivot.unwrap_or(column);
        matrix.swap(column, pivot);
        rights.iter_mut().for_each(|right| right.swap(column, pivot));
        for row in column + 1..n {
            let factor = matrix[row][column] / matrix[column][column];
            if factor != 0.0 {
                let (above, below) = matrix.split_at_mut(row);
                let pairs = below[0].iter_mut().zip(&above[column]).skip(column);
                pairs.for_each(|(x, y)| *x -= factor * y);
                rights.iter_mut().for_each(|right| right[row] -= factor * right[column]);
            }
        }
    }
    for right in &mut rights {
        for row in (0..n).rev() {
            let known: f64 = (row + 1..n).map(|column| matrix[row][column] * right[column]).sum();
            right[row] = (right[row] - known) / matrix[row][row];
        }
    }
    rights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_a_small_grid_is_the_published_one() {
        let index = relative_index(Grid { rows: 2, columns: 2 });
        let expected =
            [[11, 9, 9, 9, 9], [10, 4, 3, 1, 0], [10, 5, 4, 2, 1], [10, 7, 6, 4, 3], [10, 8, 7, 5, 4]];
        assert_eq!(index, expected.concat());
    }

    #[test]
    fn a_cubic_is_read_exactly_at_every_place() {
        let places = geometric_places(27, 39);
        assert_eq!(places.len(), 27);
        assert!((places[26] - 19.0).abs() < 1e-3, "{}", places[26]);
        let cubic = |x: f64| 0.01 * x * x * x - 0.2 * x * x + x - 3.0;
        let values: Vec<f64> = places.iter().map(|&x| cubic(x)).collect();
        let wanted: Vec<f64> = (-18..=18).map(f64::from).collect();
        for (row, x) in spline_matrix(&places, &wanted).chunks(27).zip(&wanted) {
            let read: f64 = row.iter().zip(&values).map(|(w, v)| w * v).sum();
            assert!((read - cubic(*x)).abs() < 1e-6, "{x}: {read} against {}", cubic(*x));
        }
    }

    #[test]
    fn offsets_are_resampled_as_scipy_does() {
        // sin(1.3·i) at the seven places for eleven offsets, through scipy's cubic spline with not-a-knot ends.
        let expected = [
            0.0, 0.259960, 0.774228, 1.024926, 0.515501, -0.687766, -0.883455, -0.232360, 0.647517, 1.177926,
            0.998543,
        ];
        let values: Vec<f64> = (0..7).map(|i| (1.3 * f64::from(i)).sin()).collect();
        for (row, expected) in offset_matrix(7, 11).chunks(7).zip(expected) {
            let read: f64 = row.iter().zip(&values).map(|(w, v)| w * v).sum();
            assert!((read - expected).abs() < 2e-5, "{read} against {expected}");
        }
    }
}
