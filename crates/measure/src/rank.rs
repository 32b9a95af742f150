//! How many dimensions features really use.

use nalgebra::DMatrix;
use ndarray::ArrayView2;

/// RankMe, the effective rank of features: `exp(−Σ p_k ln p_k)` with `p_k = σ_k / Σ σ` over the singular values.
///
/// Between 1, where all rows are multiples of one, and `min(n, d)`, where all directions are used alike. 0 where every
/// value is 0, NaN where one is not finite.
///
/// # Shapes
/// - `rows`: `[n, d]` row by row
///
/// # Panics
/// When the values do not divide into rows of `d`.
///
/// # Source
/// Garrido et al., RankMe; Roy and Vetterli, The effective rank.
pub fn rank_me(rows: &[f32], d: usize) -> f64 {
    assert!(d > 0 && rows.len().is_multiple_of(d), "rows: {} values, {d} in a row", rows.len());
    let n = rows.len() / d;
    let rows = match ArrayView2::from_shape((n, d), rows) {
        Ok(rows) => rows.mapv(f64::from),
        Err(error) => panic!("rows: {n} of {d}: {error}"),
    };
    if rows.iter().any(|x| !x.is_finite()) {
        return f64::NAN;
    }
    // The smaller of the two matrices of inner products has the squares of all singular values.
    let gram = if n <= d { rows.dot(&rows.t()) } else { rows.t().dot(&rows) };
    let gram = DMatrix::from_fn(n.min(d), n.min(d), |i, j| gram[[i, j]]);
    let singular: Vec<f64> = gram.symmetric_eigenvalues().iter().map(|x| x.max(0.0).sqrt()).collect();
    let total: f64 = singular.iter().sum();
    if total <= 0.0 {
        return 0.0;
    }
    let shares = singular.iter().map(|sigma| sigma / total).filter(|&p| p > 0.0);
    shares.map(|p| -p * p.ln()).sum::<f64>().exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_multiples_of_one_have_rank_one() {
        assert!((rank_me(&[1.0, 2.0, 2.0, 4.0, -3.0, -6.0], 2) - 1.0).abs() < 1e-6);
        assert!(rank_me(&[0.0; 6], 2).abs() < 1e-12);
        assert!(rank_me(&[1.0, f32::NAN, 2.0, 3.0], 2).is_nan());
    }

    #[test]
    fn directions_used_alike_count_fully() {
        assert!((rank_me(&[2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0], 3) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn singular_values_three_and_one_are_worked_by_hand() {
        // (2, 1), (1, 2) has eigenvalues 3 and 1: p = ¾, ¼; entropy ¾ ln(4/3) + ¼ ln 4.
        let expected = (0.75 * (4.0f64 / 3.0).ln() + 0.25 * 4.0f64.ln()).exp();
        assert!((rank_me(&[2.0, 1.0, 1.0, 2.0], 2) - expected).abs() < 1e-9);
        // A third row of zeros changes no singular value, but which of the two matrices is taken.
        assert!((rank_me(&[2.0, 1.0, 1.0, 2.0, 0.0, 0.0], 2) - expected).abs() < 1e-9);
    }
}
