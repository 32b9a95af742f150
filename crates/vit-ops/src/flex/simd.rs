//! Choosing instructions at run time, and the elementary functions written so that loops over them vectorize.

/// Compiles a function body three times (AVX-512, AVX2, portable) and picks at run time.
///
/// The body is plain safe Rust over slices; sums keep sixteen fixed lanes, so all three give the same result.
macro_rules! simd {
    ($(#[$meta:meta])* fn $name:ident($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        pub(super) fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                match crate::kernel_path() {
                    // SAFETY: the processor was asked for exactly these features.
                    "avx512" => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    "avx2" => return unsafe { avx2($($arg),*) },
                    _ => {}
                }
            }
            body($($arg),*)
        }
    };
}
pub(super) use simd;

/// Values per task when a loop is shared among threads.
pub(super) const CHUNK: usize = 32 * 1024;

/// The lanes in which sums are kept, whatever the width of the machine's vectors.
pub(super) const LANES: usize = 16;

/// `eˣ` for f32 within two units in the last place, 0 below −87.3 and clamped above 88.
///
/// `x = n·ln2 + r`, `|r| ≤ ½ln2`; `eʳ` by its Taylor polynomial of degree 7, `2ⁿ` by the exponent's bits.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: adding it leaves the nearest integer in the low bits
    let x = x.clamp(-87.3, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4; // ln2 in two parts: the first exact in few bits
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let exponent = (shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23;
    p * f32::from_bits(exponent)
}

/// `ln x` for f32 within two units in the last place; of 0 and of what is smaller than the smallest normal number, that one's.
///
/// `x = 2ᵉ·m` with `m` in √½–√2; `ln m = 2·artanh s`, `s = (m − 1)/(m + 1)`, by its series up to the ninth power.
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    // Half of the mantissa's range above √½ goes to the next power of two.
    const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
    let x = if x > f32::MIN_POSITIVE { x } else { f32::MIN_POSITIVE };
    let shifted = x.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let e = ((shifted as i32) >> 23) as f32;
    let m = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(SQRT_HALF_BITS));
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let series = 2.0 / 9.0;
    let series = series * z + 2.0 / 7.0;
    let series = series * z + 2.0 / 5.0;
    let series = series * z + 2.0 / 3.0;
    // ln2 in two parts: the first exact in few bits.
    e * 0.693_359_4 + (s * 2.0 + (series * z * s - e * 2.121_944_4e-4))
}

/// `(Φ(x), φ(x))` of the standard normal, `Φ` within 1.5e-7.
///
/// # Source
/// Abramowitz and Stegun, formula 7.1.26, with `z = |x|/√2`: `erf z = 1 − (a₁t + … + a₅t⁵)·e^(−z²)`, `t = 1/(1 + pz)`.
#[inline(always)]
pub(super) fn normal(x: f32) -> (f32, f32) {
    const INV_SQRT_2PI: f32 = 0.398_942_3;
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let gauss = exp(-0.5 * x * x);
    let poly = ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_7) * t - 0.284_496_74) * t + 0.254_829_6) * t;
    let tail = 0.5 * poly * gauss; // 1 − Φ(|x|)
    let cdf = if x >= 0.0 { 1.0 - tail } else { tail };
    (cdf, gauss * INV_SQRT_2PI)
}

/// Adds the sixteen lanes in a fixed tree.
#[inline(always)]
pub(super) fn fold(lanes: [f32; LANES]) -> f32 {
    let mut eight = [0.0f32; 8];
    for i in 0..8 {
        eight[i] = lanes[i] + lanes[i + 8];
    }
    ((eight[0] + eight[4]) + (eight[2] + eight[6])) + ((eight[1] + eight[5]) + (eight[3] + eight[7]))
}

/// A row value by value, `i` into lane `i mod 16`: what `step` makes of the lane and the value. Chunks have a fixed size, so that lanes
/// stay in registers.
#[inline(always)]
pub(super) fn in_lanes(row: &[f32], start: f32, step: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut lanes = [start; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = step(lanes[i], chunk[i]);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, value);
    }
    lanes
}

/// The sum of a row, kept in sixteen lanes.
#[inline(always)]
pub(super) fn row_sum(row: &[f32]) -> f32 {
    fold(in_lanes(row, 0.0, |sum, value| sum + value))
}

/// `Σ f(a, b)` over two rows, kept in sixteen lanes.
#[inline(always)]
pub(super) fn sum_of_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let ((a_chunks, a_rest), (b_chunks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += f(a[i], b[i]);
        }
    }
    for (lane, (&a, &b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += f(a, b);
    }
    fold(lanes)
}

/// The largest value of a row; −∞ of an empty one.
#[inline(always)]
pub(super) fn largest(row: &[f32]) -> f32 {
    let greater = |max: f32, value: f32| if value > max { value } else { max };
    in_lanes(row, f32::NEG_INFINITY, greater).into_iter().fold(f32::NEG_INFINITY, greater)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_three_units_in_the_last_place() {
        for i in -8700..=8800 {
            let x = i as f32 / 100.0;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours - exact).abs() <= 3.6e-7 * exact + 1e-38, "exp({x}) = {ours}, not {exact}");
        }
    }

    #[test]
    fn ln_is_within_a_few_units_in_the_last_place() {
        let near = (0..4000).map(|i| 0.6 + i as f32 * 2e-4);
        let far = (-125..127).map(|e| 1.37 * 2f32.powi(e));
        for x in near.chain(far).chain([f32::MIN_POSITIVE, 1.0, std::f32::consts::FRAC_1_SQRT_2]) {
            let (ours, exact) = (f64::from(ln(x)), f64::from(x).ln());
            assert!((ours - exact).abs() <= 4e-7 * exact.abs() + 1e-9, "ln({x}) = {ours}, not {exact}");
        }
        assert_eq!(ln(0.0), ln(f32::MIN_POSITIVE));
    }

    #[test]
    fn the_normal_distribution_has_its_known_values() {
        // Φ(1) = 0.8413447, φ(1) = 0.2419707, Φ(−2) = 0.0227501
        assert!((normal(1.0).0 - 0.841_344_7).abs() < 2e-7);
        assert!((normal(1.0).1 - 0.241_970_7).abs() < 2e-7);
        assert!((normal(-2.0).0 - 0.022_750_1).abs() < 2e-7);
    }
}
