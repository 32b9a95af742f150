//! Principal directions of a symmetric matrix, by repeated multiplication of a few vectors at once.

use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{Array1, Array2, ArrayView2, Axis, Slice};

/// Vectors carried beside those asked for: they take what is nearly as great, and the rest converges sooner.
const SPARE: usize = 6;
/// Multiplications at most.
const MOST_ROUNDS: usize = 300;
/// Rounds of the QR algorithm on the matrix within the block, which needs some two for each of its rows.
const MOST_ROTATIONS: usize = 10_000;
/// The greatest change of an eigenvalue, as a share of the greatest one, at which it has settled.
const SETTLED: f64 = 1e-12;

/// The greatest eigenvalues of a symmetric positive matrix and their directions.
///
/// Block power iteration with Gram–Schmidt, then the eigenvectors within the block. It starts from the same
/// vectors every time, so equal matrices give equal bits. Of the two signs of a direction the one is given whose greatest
/// entry (the first of equals) is positive.
///
/// # Shapes
/// - `matrix`: `[D, D]`; the lower triangle is not looked at for symmetry
/// - returns `[k]` from the greatest on, and `[k, D]`, rows of length 1; `k` at most `D`
///
/// # Panics
/// When the matrix is not square.
///
/// # Source
/// Golub and Van Loan, Matrix Computations, orthogonal iteration with Rayleigh–Ritz.
pub fn leading_directions(matrix: ArrayView2<f64>, k: usize) -> (Array1<f64>, Array2<f64>) {
    let (d, columns) = matrix.dim();
    assert!(d == columns, "leading_directions: [{d}, {columns}] is not square");
    let (k, m) = (k.min(d), (k + SPARE).min(d));
    let mut basis = Array2::from_shape_fn((m, d), |(i, j)| start(i, j)); // [m, D], rows are vectors
    orthonormalize(&mut basis);
    let mut values = Array1::zeros(m);
    for _ in 0..MOST_ROUNDS {
        let image = basis.dot(&matrix); // [m, D]
        let (new_values, rotation) = eigen(&image.dot(&basis.t()));
        let change = values.iter().zip(&new_values).take(k).map(|(a, b): (&f64, &f64)| (a - b).abs());
        let change = change.fold(0.0, f64::max);
        let greatest = new_values.iter().copied().fold(0.0, f64::max);
        values = new_values;
        let is_settled = change <= SETTLED * greatest;
        basis = rotation.dot(if is_settled { &basis } else { &image });
        if is_settled {
            break;
        }
        orthonormalize(&mut basis);
    }
    let mut directions = basis.slice_axis(Axis(0), Slice::from(..k)).to_owned();
    for mut row in directions.rows_mut() {
        let greatest =
            row.iter().copied().fold(0.0, |most: f64, x| if x.abs() > most.abs() { x } else { most });
        if greatest < 0.0 {
            row.mapv_inplace(|x| -x);
        }
    }
    (values.slice_axis(Axis(0), Slice::from(..k)).to_owned(), directions)
}

/// Numbers between −0.5 and 0.5 that are the same on every machine and have no pattern: the hash of splitmix64.
fn start(i: usize, j: usize) -> f64 {
    let mut z = ((i as u64) << 32 | j as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}

/// Gram–Schmidt from the first row on, each taken twice; a row that nothing is left of becomes an axis.
fn orthonormalize(rows: &mut Array2<f64>) {
    let d = rows.ncols();
    for i in 0..rows.nrows() {
        let mut axis = 0;
        loop {
            let (before, mut rest) = rows.view_mut().split_at(Axis(0), i);
            let mut row = rest.row_mut(0);
            let length = row.dot(&row).sqrt();
            if length > 0.0 {
                row.mapv_inplace(|x| x / length);
            }
            for _ in 0..2 {
                for other in before.rows() {
                    let shared = row.dot(&other);
                    row.scaled_add(-shared, &other);
                }
            }
            let length = row.dot(&row).sqrt();
            if length > 1e-8 {
                row.mapv_inplace(|x| x / length);
                break;
            }
            if axis == d {
                break; // more rows than dimensions cannot be asked for
            }
            row.fill(0.0);
            row[axis] = 1.0;
            axis += 1;
        }
    }
}

/// Eigenvalues of a small symmetric matrix from the greatest on, and the eigenvectors as rows; NaN where they are not found,
/// as in a matrix of NaN.
fn eigen(a: &Array2<f64>) -> (Array1<f64>, Array2<f64>) {
    let n = a.nrows();
    // Rounding leaves the two halves a little apart.
    let even = DMatrix::from_fn(n, n, |i, j| (a[[i, j]] + a[[j, i]]) / 2.0);
    let Some(found) = SymmetricEigen::try_new(even, f64::EPSILON, MOST_ROTATIONS) else {
        return (Array1::from_elem(n, f64::NAN), Array2::from_elem((n, n), f64::NAN));
    };
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| found.eigenvalues[j].total_cmp(&found.eigenvalues[i]));
    let vectors = Array2::from_shape_fn((n, n), |(i, j)| found.eigenvectors[(j, order[i])]);
    (order.iter().map(|&i| found.eigenvalues[i]).collect(), vectors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    #[test]
    fn a_matrix_of_two_by_two_has_the_directions_worked_by_hand() {
        // (2 1; 1 2) has 3 along (1, 1) and 1 along (1, −1).
        let (values, directions) = leading_directions(array![[2.0, 1.0], [1.0, 2.0]].view(), 2);
        let half = 0.5f64.sqrt();
        for (ours, expected) in values.iter().zip([3.0, 1.0]) {
            assert!((ours - expected).abs() < 1e-12, "{values}");
        }
        for (ours, expected) in directions.iter().zip([half, half, half, -half]) {
            assert!((ours.abs() - expected.abs()).abs() < 1e-9, "{directions}");
        }
        assert!(
            directions[[0, 0]] * directions[[0, 1]] > 0.0 && directions[[1, 0]] * directions[[1, 1]] < 0.0
        );
    }

    #[test]
    fn a_matrix_without_mass_and_one_of_one_direction_have_answers() {
        let (values, directions) = leading_directions(Array2::zeros((4, 4)).view(), 3);
        assert_eq!(values.to_vec(), [0.0; 3]);
        assert!(directions.rows().into_iter().all(|row| (row.dot(&row) - 1.0).abs() < 1e-12));
        // Only (3, 4, 0) / 5, with eigenvalue 25; its greatest entry is made positive.
        let one = array![[9.0, -12.0, 0.0], [-12.0, 16.0, 0.0], [0.0, 0.0, 0.0]];
        let (values, directions) = leading_directions(one.view(), 1);
        assert!((values[0] - 25.0).abs() < 1e-12);
        for (ours, expected) in directions.iter().zip([-0.6, 0.8, 0.0]) {
            assert!((ours - expected).abs() < 1e-9, "{directions}");
        }
    }

    proptest! {
        #[test]
        fn directions_are_orthonormal_eigenvectors_and_none_is_greater(
            rows in proptest::collection::vec(proptest::collection::vec(-2.0f64..2.0, 12), 3..30),
        ) {
            let x = Array2::from_shape_fn((rows.len(), 12), |(i, j)| rows[i][j]);
            let matrix = x.t().dot(&x);
            let (values, directions) = leading_directions(matrix.view(), 3);
            let scale = matrix.diag().sum().max(1e-9);
            let gram = directions.dot(&directions.t());
            for i in 0..3 {
                for j in 0..3 {
                    prop_assert!((gram[[i, j]] - f64::from(u8::from(i == j))).abs() < 1e-9);
                }
                let image = matrix.dot(&directions.row(i));
                let off = &image - &(values[i] * &directions.row(i));
                prop_assert!(off.dot(&off).sqrt() < 1e-4 * scale, "{}", off);
            }
            let all = eigen(&matrix).0;
            for i in 0..3 {
                prop_assert!((values[i] - all[i]).abs() < 1e-6 * scale, "{} {}", values, all);
            }
        }
    }
}
