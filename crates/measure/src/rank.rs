//! How many dimensions features really use.

/// Rounds of Jacobi's method, far more than symmetric matrices of a few hundred rows need.
const MAX_SWEEPS: usize = 40;

/// RankMe, the effective rank of features: `exp(−Σ p_k ln p_k)` with `p_k = σ_k / Σ σ` over the singular values.
///
/// Between 1, where all rows are multiples of one, and `min(n, d)`, where all directions are used alike. 0 where every
/// value is 0.
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
    // The smaller of the two matrices of inner products has the squares of all singular values.
    let gram = if n <= d {
        gram(n, |i, j| (0..d).map(|at| f64::from(rows[i * d + at]) * f64::from(rows[j * d + at])).sum())
    } else {
        gram(d, |i, j| (0..n).map(|row| f64::from(rows[row * d + i]) * f64::from(rows[row * d + j])).sum())
    };
    let singular: Vec<f64> = eigenvalues(gram, n.min(d)).into_iter().map(|x| x.max(0.0).sqrt()).collect();
    let total: f64 = singular.iter().sum();
    if total <= 0.0 {
        return 0.0;
    }
    let shares = singular.iter().map(|sigma| sigma / total).filter(|&p| p > 0.0);
    shares.map(|p| -p * p.ln()).sum::<f64>().exp()
}

fn gram(n: usize, entry: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let mut gram = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let value = entry(i, j);
            gram[i * n + j] = value;
            gram[j * n + i] = value;
        }
    }
    gram
}

/// The eigenvalues of a symmetric matrix, in no order, by Jacobi's cyclic rotations.
///
/// # Source
/// Golub and Van Loan, Matrix Computations, section 8.5.
fn eigenvalues(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    let scale: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..MAX_SWEEPS {
        let off: f64 =
            (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i * n + j].powi(2)).sum();
        if off <= 1e-24 * scale {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, n, p, q);
            }
        }
    }
    (0..n).map(|i| a[i * n + i]).collect()
}

/// The rotation in the plane of `p` and `q` after which their entry is 0.
fn rotate(a: &mut [f64], n: usize, p: usize, q: usize) {
    let apq = a[p * n + q];
    if apq == 0.0 {
        return;
    }
    let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
    let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    for k in 0..n {
        let (akp, akq) = (a[k * n + p], a[k * n + q]);
        a[k * n + p] = c * akp - s * akq;
        a[k * n + q] = s * akp + c * akq;
    }
    for k in 0..n {
        let (apk, aqk) = (a[p * n + k], a[q * n + k]);
        a[p * n + k] = c * apk - s * aqk;
        a[q * n + k] = s * apk + c * aqk;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_multiples_of_one_have_rank_one() {
        assert!((rank_me(&[1.0, 2.0, 2.0, 4.0, -3.0, -6.0], 2) - 1.0).abs() < 1e-6);
        assert!(rank_me(&[0.0; 6], 2).abs() < 1e-12);
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
