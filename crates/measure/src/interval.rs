//! How far a number may be trusted: standard errors, bootstrap intervals over samples, Student's t over seeds.

use ndarray::Array1;
use ndarray::parallel::prelude::*;
use ndarray_stats::Quantile1dExt;
use ndarray_stats::interpolate::Linear;
use noisy_float::types::{N64, n64};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A range of plausible values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// How to resample: the same settings and data give the same interval on every machine and number of threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// How many times the samples are drawn anew; 2,000 is plenty for 95 %.
    pub n_resamples: usize,
    /// The share of resampled means inside the interval, 0–1.
    pub level: f64,
    /// Opens the random streams, one for each resample.
    pub seed: u64,
}

/// The mean.
///
/// `(1/n) Σ xᵢ`, summed in order.
///
/// # Shapes
/// `values`: `[n]`.
///
/// # Panics
/// If there are no values.
///
/// # Source
/// Definition.
pub fn mean(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "mean: no values");
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample standard deviation.
///
/// `√( Σ (xᵢ − x̄)² / (n − 1) )`
///
/// # Shapes
/// `values`: `[n]`.
///
/// # Panics
/// If there are fewer than two values.
///
/// # Source
/// Definition, with Bessel's correction.
pub fn sample_std(values: &[f64]) -> f64 {
    assert!(values.len() >= 2, "sample_std: {} values, at least 2 are needed", values.len());
    let center = mean(values);
    let squares: f64 = values.iter().map(|x| (x - center) * (x - center)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// The standard error of the mean.
///
/// `s / √n` with the [`sample_std`] `s`.
///
/// # Shapes
/// `values`: `[n]`.
///
/// # Panics
/// If there are fewer than two values.
///
/// # Source
/// Definition.
pub fn standard_error(values: &[f64]) -> f64 {
    sample_std(values) / (values.len() as f64).sqrt()
}

/// The bootstrap percentile interval of a mean of outcomes that are right or wrong: of an accuracy.
///
/// Draw `n` outcomes with replacement, take their mean, `n_resamples` times; the interval holds the middle `level` of the
/// means (linear interpolation between order statistics). It depends on the outcomes only through how many are right.
///
/// # Shapes
/// `outcomes`: `[n]`; the interval is a ratio 0–1.
///
/// # Panics
/// If there are no outcomes or resamples, or `level` is not between 0 and 1.
///
/// # Source
/// Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, percentile interval.
pub fn accuracy_interval(outcomes: &[bool], bootstrap: Bootstrap) -> Interval {
    let n_right = outcomes.iter().filter(|&&right| right).count();
    resample(&[(1.0, n_right), (0.0, outcomes.len() - n_right)], bootstrap)
}

/// The bootstrap percentile interval of a mean of values among which few differ, such as shares of ten.
///
/// As [`accuracy_interval`], with any values in place of right and wrong; each draw costs as much as there are different
/// values.
///
/// # Shapes
/// `values`: `[n]`.
///
/// # Panics
/// If there are no values or resamples, one is not a number, or `level` is not between 0 and 1.
///
/// # Source
/// As [`accuracy_interval`].
pub fn bootstrap_mean(values: &[f64], bootstrap: Bootstrap) -> Interval {
    assert!(values.iter().all(|value| value.is_finite()), "bootstrap: a value that is no number");
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let groups = sorted.chunk_by(|a, b| a == b).map(|group| (group[0], group.len()));
    resample(&groups.collect::<Vec<_>>(), bootstrap)
}

/// The bootstrap percentile interval of the difference of two accuracies on the same samples, `a − b`.
///
/// The pairs are drawn, not the outcomes, so that what is hard for both does not widen the interval:
/// the mean of `aᵢ − bᵢ ∈ {−1, 0, 1}`. An interval that does not hold 0 says that the two differ on this data.
///
/// # Shapes
/// `a`, `b`: `[n]`, outcomes of the same samples in the same order; the interval lies in −1 … 1.
///
/// # Panics
/// If the lengths differ, there are no outcomes or resamples, or `level` is not between 0 and 1.
///
/// # Source
/// As [`accuracy_interval`], on paired differences.
pub fn paired_difference_interval(a: &[bool], b: &[bool], bootstrap: Bootstrap) -> Interval {
    assert_eq!(a.len(), b.len(), "paired_difference_interval: outcomes of different samples");
    let count =
        |only_a: bool, only_b: bool| a.iter().zip(b).filter(|&(&a, &b)| (a, b) == (only_a, only_b)).count();
    let (n_up, n_down) = (count(true, false), count(false, true));
    resample(&[(1.0, n_up), (-1.0, n_down), (0.0, a.len() - n_up - n_down)], bootstrap)
}

/// Student's 95 % interval of the mean of few independent runs.
///
/// `x̄ ± t₀.₉₇₅(n − 1) · s / √n`
///
/// # Shapes
/// `values`: `[n]`, one for each seed.
///
/// # Panics
/// If there are fewer than two values.
///
/// # Source
/// Student, *Biometrika*, 1908. It assumes that the runs scatter normally.
pub fn t_interval(values: &[f64]) -> Interval {
    let half = t_quantile_975(values.len().saturating_sub(1)) * standard_error(values);
    let center = mean(values);
    Interval { low: center - half, high: center + half }
}

/// Student's 95 % interval of the mean difference of two methods over runs in pairs, `a − b`.
///
/// [`t_interval`] of `dᵢ = aᵢ − bᵢ`: what a seed does to both does not widen the interval.
///
/// # Shapes
/// `a`, `b`: `[n]`, one for each seed, in the same order.
///
/// # Panics
/// If the lengths differ or there are fewer than two runs.
///
/// # Source
/// As [`t_interval`], on paired differences.
pub fn paired_t_interval(a: &[f64], b: &[f64]) -> Interval {
    assert_eq!(a.len(), b.len(), "paired_t_interval: runs of different seeds");
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    t_interval(&differences)
}

/// The 0.975 quantile of Student's t, the factor of a two-sided 95 % interval.
///
/// Tabulated for 1 to 30 degrees of freedom; above, the expansion of the quantile in `1/df` around the normal one.
///
/// # Shapes
/// `df`: degrees of freedom.
///
/// # Panics
/// If `df` is 0.
///
/// # Source
/// The table was computed by bisection on the distribution function; a test integrates the density. The expansion
/// is that of Cornish and Fisher.
pub fn t_quantile_975(df: usize) -> f64 {
    assert!(df > 0, "t_quantile_975: no degrees of freedom");
    if let Some(&tabulated) = T_975.get(df - 1) {
        return tabulated;
    }
    let (z, v) = (1.959963984540054f64, df as f64);
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    z + (z3 + z) / (4.0 * v)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * v * v)
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / (384.0 * v * v * v)
}

/// For 1 to 30 degrees of freedom.
const T_975: [f64; 30] = [
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139,
    2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963,
    2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272,
];

/// Percentiles of means of `n` draws from `counts` of values.
fn resample(counts: &[(f64, usize)], bootstrap: Bootstrap) -> Interval {
    let Bootstrap { n_resamples, level, seed } = bootstrap;
    let n: usize = counts.iter().map(|(_, count)| count).sum();
    assert!(n > 0, "bootstrap: no outcomes");
    assert!(n_resamples > 0, "bootstrap: no resamples");
    assert!(0.0 < level && level < 1.0, "bootstrap: a level of {level}");

    let means: Vec<N64> = (0..n_resamples as u64)
        .into_par_iter()
        .map(|resample_idx| {
            let mut stream = stream(seed, resample_idx);
            let total: f64 = (0..n).map(|_| value_at(counts, draw_below(&mut stream, n))).sum();
            n64(total / n as f64)
        })
        .collect();
    let mut means = Array1::from_vec(means);
    let mut quantile = |at: f64| means.quantile_mut(n64(at), &Linear).expect("there are means").raw();
    let tail = (1.0 - level) / 2.0;
    Interval { low: quantile(tail), high: quantile(1.0 - tail) }
}

/// The value of the outcome that stands at `index` when equal outcomes stand together.
fn value_at(counts: &[(f64, usize)], mut index: usize) -> f64 {
    for &(value, count) in counts {
        if index < count {
            return value;
        }
        index -= count;
    }
    unreachable!("the index is below the sum of the counts")
}

/// ChaCha8 under the key `seed`, one stream for each resample.
fn stream(seed: u64, resample_idx: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut stream = ChaCha8Rng::from_seed(key);
    stream.set_stream(resample_idx);
    stream
}

/// A portable draw from `0..n`: the high half of a 64 × 64 bit product, whose bias is below `n / 2⁶⁴`.
fn draw_below(stream: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(stream.next_u64()) * n as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: Bootstrap = Bootstrap { n_resamples: 2000, level: 0.95, seed: 7 };

    fn outcomes(n_right: usize, n: usize) -> Vec<bool> {
        (0..n).map(|i| i < n_right).collect()
    }

    #[test]
    fn moments_by_hand() {
        // Mean 5; squares 9 + 1 + 1 + 1 + 0 + 0 + 4 + 16 = 32; 32 / 7.
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&values), 5.0);
        assert!((sample_std(&values) - (32.0f64 / 7.0).sqrt()).abs() < 1e-15);
        assert!((standard_error(&values) - (32.0f64 / 7.0 / 8.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn the_interval_of_shares_is_that_of_outcomes_where_they_are_0_and_1() {
        let right = outcomes(30, 50);
        let values: Vec<f64> = right.iter().map(|&right| f64::from(u8::from(right))).collect();
        assert_eq!(bootstrap_mean(&values, SETTINGS), accuracy_interval(&right, SETTINGS));
        // Values that lie closer together are surer.
        let halves: Vec<f64> = values.iter().map(|value| 0.25 + 0.5 * value).collect();
        let (wide, narrow) = (bootstrap_mean(&values, SETTINGS), bootstrap_mean(&halves, SETTINGS));
        assert!(((wide.high - wide.low) - 2.0 * (narrow.high - narrow.low)).abs() < 1e-12);
    }

    #[test]
    fn three_seeds_by_hand() {
        // .70 .72 .74: s = .02, s / √3 = .0115470, t(2) = 4.302653, half width .0496828.
        let interval = t_interval(&[0.70, 0.72, 0.74]);
        assert!((interval.low - 0.6703172).abs() < 1e-6 && (interval.high - 0.7696828).abs() < 1e-6);
    }

    #[test]
    fn three_pairs_of_seeds_by_hand() {
        // Differences .02 .03 .04: mean .03, s = .01, s / √3 = .0057735, half width 4.302653 · .0057735 = .0248414;
        // alone, either side scatters by .1 and more.
        let interval = paired_t_interval(&[0.52, 0.63, 0.74], &[0.50, 0.60, 0.70]);
        assert!(
            (interval.low - 0.0051586).abs() < 1e-6 && (interval.high - 0.0548414).abs() < 1e-6,
            "{interval:?}"
        );
    }

    #[test]
    fn tabulated_quantiles_cut_off_the_upper_fortieth() {
        // The density is c·(1 + t²/v)^(−(v+1)/2); from 0 to the quantile lies .475. Simpson's rule; c(v) by
        // c(1) = 1/π, c(2) = 1/√8 and c(v+2) / c(v) = (v + 1)/v · √(v / (v + 2)).
        let mut constants = vec![1.0 / std::f64::consts::PI, 1.0 / 8f64.sqrt()];
        for v in 1..=38 {
            let (v, c) = (v as f64, constants[v - 1]);
            constants.push(c * (v + 1.0) / v * (v / (v + 2.0)).sqrt());
        }
        for df in 1..=40 {
            let (v, quantile) = (df as f64, t_quantile_975(df));
            let density = |t: f64| constants[df - 1] * (1.0 + t * t / v).powf(-(v + 1.0) / 2.0);
            let (n, step) = (4000, quantile / 4000.0);
            let weight = |i: usize| if i == 0 || i == n { 1.0 } else { 2.0 + 2.0 * (i % 2) as f64 };
            let inside: f64 = (0..=n).map(|i| weight(i) * density(i as f64 * step)).sum::<f64>() * step / 3.0;
            assert!((inside - 0.475).abs() < 1e-6, "{df}: {inside}");
        }
        assert!((t_quantile_975(120) - 1.979930).abs() < 1e-6);
    }

    #[test]
    fn the_interval_of_an_accuracy_is_that_of_the_binomial() {
        // 800 of 1000: standard error √(.8·.2/1000) = .012649, so about .7752 … .8248.
        let interval = accuracy_interval(&outcomes(800, 1000), SETTINGS);
        assert!(
            (interval.low - 0.7752).abs() < 0.003 && (interval.high - 0.8248).abs() < 0.003,
            "{interval:?}"
        );
    }

    #[test]
    fn draws_follow_the_published_key_stream() {
        // ChaCha8 under the zero key begins 3e00ef2f895f40d6 7f5bb8e81f09a5a1 2c840ec3ce9a7f3b 181be188ef711a1e;
        // as little-endian fractions of 2⁶⁴: .8369 .6314 .2324 .1176.
        let mut stream = stream(0, 0);
        assert_eq!([8, 6, 2, 1], [10; 4].map(|n| draw_below(&mut stream, n)));
    }

    #[test]
    fn pairing_narrows_the_interval() {
        // Both are right on the same 500 of 1000; a is right on 60 more.
        let (a, b) = (outcomes(560, 1000), outcomes(500, 1000));
        let paired = paired_difference_interval(&a, &b, SETTINGS);
        assert!(paired.low > 0.04 && paired.high < 0.08, "{paired:?}");
        let alone = accuracy_interval(&a, SETTINGS);
        assert!(paired.high - paired.low < alone.high - alone.low);
    }

    #[test]
    fn threads_do_not_change_the_interval() {
        let on = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("a pool");
            pool.install(|| accuracy_interval(&outcomes(30, 70), SETTINGS))
        };
        assert_eq!(on(1), on(3));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn intervals_hold_their_mean_and_ignore_order(mut right in proptest::collection::vec(any::<bool>(), 4..60), seed: u64) {
            let settings = Bootstrap { n_resamples: 400, level: 0.99, seed };
            let interval = accuracy_interval(&right, settings);
            let accuracy = right.iter().filter(|&&r| r).count() as f64 / right.len() as f64;
            prop_assert!(interval.low <= accuracy && accuracy <= interval.high);
            right.reverse();
            prop_assert_eq!(interval, accuracy_interval(&right, settings));
        }

        #[test]
        fn a_difference_turns_its_sign_with_its_sides(pairs in proptest::collection::vec(any::<(bool, bool)>(), 4..60)) {
            let (a, b): (Vec<bool>, Vec<bool>) = pairs.into_iter().unzip();
            let settings = Bootstrap { n_resamples: 400, level: 0.9, seed: 1 };
            let same = paired_difference_interval(&a, &a, settings);
            prop_assert_eq!(same, Interval { low: 0.0, high: 0.0 });
            let (ab, ba) = (paired_difference_interval(&a, &b, settings), paired_difference_interval(&b, &a, settings));
            let difference = |i: usize| f64::from(a[i]) - f64::from(b[i]);
            let center = (0..a.len()).map(difference).sum::<f64>() / a.len() as f64;
            let slack = 4.0 / (a.len() as f64).sqrt() / 400f64.sqrt() + 2.0 / a.len() as f64;
            prop_assert!((ab.low + ba.high).abs() <= slack && (ab.high + ba.low).abs() <= slack, "{ab:?} {ba:?} {center}");
        }
    }
}
