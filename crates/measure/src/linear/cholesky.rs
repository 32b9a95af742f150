//! The Cholesky factor of a positive definite matrix, in blocks, and what it solves.

use super::part;
use ndarray::linalg::general_mat_mul;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, Axis};

/// Columns that are factored before the rest is brought up to date by one product.
const BLOCK: usize = 64;
/// Rows of the rest that one task brings up to date.
const TILE: usize = 128;

/// Factors `A = L Lᵀ` in place: `L` stands on and below the diagonal afterwards, what is above is not used.
///
/// Blocked and right-looking: factor a block on the diagonal, solve the panel below it, take the panel's product with
/// itself from the rest. Tasks own rows of the rest, so the bits do not depend on the number of threads.
///
/// # Shapes
/// `a`: `[D, D]`; only its lower triangle is read.
///
/// # Panics
/// If `a` is not square or not positive definite.
///
/// # Source
/// Golub and Van Loan, *Matrix Computations*, section 4.2.
pub fn factor(a: &mut Array2<f64>) {
    let n = a.nrows();
    assert_eq!(n, a.ncols(), "cholesky: a matrix of {:?} is not square", a.dim());
    for start in (0..n).step_by(BLOCK) {
        let end = n.min(start + BLOCK);
        for j in start..end {
            for i in j..end {
                let mut sum = a[[i, j]];
                for k in start..j {
                    sum -= a[[i, k]] * a[[j, k]];
                }
                if i == j {
                    assert!(sum > 0.0, "cholesky: pivot {j} is {sum}: not positive definite");
                    a[[j, j]] = sum.sqrt();
                } else {
                    a[[i, j]] = sum / a[[j, j]];
                }
            }
        }
        if end == n {
            return;
        }
        let (upper, mut rest) = a.view_mut().split_at(Axis(0), end);
        let diagonal = part(upper.view(), start..end, start..end);
        // The panel: X L₁₁ᵀ = A₂₁, row by row.
        let mut panel = part(rest.view_mut(), 0..n - end, start..end);
        panel.axis_chunks_iter_mut(Axis(0), TILE).into_par_iter().for_each(|mut rows| {
            for mut row in rows.rows_mut() {
                for j in 0..end - start {
                    let mut sum = row[j];
                    for k in 0..j {
                        sum -= row[k] * diagonal[[j, k]];
                    }
                    row[j] = sum / diagonal[[j, j]];
                }
            }
        });
        let panel = panel.to_owned();
        let tiles = rest.axis_chunks_iter_mut(Axis(0), TILE).into_par_iter().enumerate();
        tiles.for_each(|(tile_idx, mut rows)| {
            let first = tile_idx * TILE;
            let last = first + rows.nrows();
            let own = part(panel.view(), first..last, 0..end - start);
            let until = part(panel.view(), 0..last, 0..end - start); // what is right of the diagonal is not needed
            let mut out = part(rows.view_mut(), 0..last - first, end..end + last);
            general_mat_mul(-1.0, &own, &until.t(), 1.0, &mut out);
        });
    }
}

/// Solves `L Lᵀ X = B` in place.
///
/// # Shapes
/// `l`: `[D, D]` from [`factor`]; `b`: `[D, K]`, afterwards `X`.
///
/// # Panics
/// If the sizes differ.
pub fn solve(l: &Array2<f64>, b: &mut Array2<f64>) {
    let n = l.nrows();
    assert_eq!(n, b.nrows(), "cholesky: a factor of {n} rows and a right side of {}", b.nrows());
    for i in 0..n {
        let (before, mut now) = b.view_mut().split_at(Axis(0), i);
        let mut row = now.row_mut(0);
        for (k, solved) in before.rows().into_iter().enumerate() {
            row.scaled_add(-l[[i, k]], &solved);
        }
        row /= l[[i, i]];
    }
    for i in (0..n).rev() {
        let (mut now, after) = b.view_mut().split_at(Axis(0), i + 1);
        let mut row = now.row_mut(i);
        for (k, solved) in after.rows().into_iter().enumerate() {
            row.scaled_add(-l[[i + 1 + k, i]], &solved);
        }
        row /= l[[i, i]];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_factor_by_hand() {
        // L = [[2, 0], [1, 3]], so A = [[4, 2], [2, 10]]; A x = [8, 22] has x = [1, 2].
        let mut a = array![[4.0, 0.0], [2.0, 10.0]];
        factor(&mut a);
        assert_eq!((a[[0, 0]], a[[1, 0]], a[[1, 1]]), (2.0, 1.0, 3.0));
        let mut b = array![[8.0], [22.0]];
        solve(&a, &mut b);
        assert_eq!(b, array![[1.0], [2.0]]);
    }

    #[test]
    fn what_is_solved_gives_back_the_right_side_at_sizes_around_the_blocks() {
        for n in [1, 63, 64, 65, 200, 321] {
            let root = Array2::from_shape_fn((n, n + 3), |(i, j)| ((i * 7 + j * 13) as f64 * 0.37).sin());
            let a = root.dot(&root.t()) + Array2::<f64>::eye(n) * 0.5;
            let expected = Array2::from_shape_fn((n, 3), |(i, k)| ((i + 5 * k) as f64 * 0.11).cos());
            let (mut l, mut b) = (a.clone(), a.dot(&expected));
            factor(&mut l);
            solve(&l, &mut b);
            let worst = (&b - &expected).iter().fold(0.0f64, |worst, x| worst.max(x.abs()));
            assert!(worst < 1e-9, "{n}: {worst}");
        }
    }

    #[test]
    #[should_panic(expected = "not positive definite")]
    fn a_matrix_that_is_not_positive_definite_is_refused() {
        factor(&mut array![[1.0, 0.0], [2.0, 1.0]]);
    }
}
