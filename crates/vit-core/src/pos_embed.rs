//! Position tables: MAE's sine–cosine table, and resampling of a table to another grid by three conventions.

use crate::Grid;
use serde::{Deserialize, Serialize};

/// How a family resamples its position table to another grid.
///
/// # Source
/// `antialias`: timm (`bicubic`, a = −0.5, support widened when shrinking). `size`: MAE and DeiT (bicubic, a = −0.75,
/// step from sizes). `offset`: DINO and iBOT (as `size`, but the step comes from the scale factor `(h + 0.1)/g`).
/// `corner`: the original ViT and AugReg (linear, the corners of both grids coincide).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resample {
    /// timm.
    #[default]
    Antialias,
    /// MAE, DeiT.
    Size,
    /// DINO, iBOT.
    Offset,
    /// ViT and AugReg in JAX.
    Corner,
}

/// The cubic convolution kernel of Keys with parameter `a`.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    }
    if x < 2.0 {
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    }
    0.0
}

/// The matrix `[to, from]`, row by row, that resamples a one-dimensional signal; half-pixel centers (but for
/// `corner`), borders clamped.
pub fn resize_matrix(from: usize, to: usize, convention: Resample) -> Vec<f64> {
    let mut matrix = vec![0.0; to * from];
    for (i, row) in matrix.chunks_exact_mut(from).enumerate() {
        match convention {
            Resample::Antialias => antialias_row(row, i, from as f64 / to as f64),
            Resample::Size => bicubic_row(row, i, from as f64 / to as f64),
            Resample::Offset => bicubic_row(row, i, from as f64 / (to as f64 + 0.1)),
            Resample::Corner => corner_row(row, i, to),
        }
    }
    matrix
}

fn bicubic_row(row: &mut [f64], i: usize, step: f64) {
    let center = step * (i as f64 + 0.5) - 0.5;
    let first = center.floor();
    for tap in -1..=2 {
        let at = first + f64::from(tap);
        let clamped = at.clamp(0.0, row.len() as f64 - 1.0) as usize;
        row[clamped] += cubic(center - at, -0.75);
    }
}

fn corner_row(row: &mut [f64], i: usize, to: usize) {
    let last = row.len() - 1;
    let at = if to > 1 { i as f64 * last as f64 / (to - 1) as f64 } else { 0.0 };
    let left = (at.floor() as usize).min(last);
    let right = (left + 1).min(last);
    row[left] += 1.0 - (at - left as f64);
    row[right] += at - left as f64;
}

fn antialias_row(row: &mut [f64], i: usize, step: f64) {
    let widen = step.max(1.0);
    let center = step * (i as f64 + 0.5);
    let first = (center - 2.0 * widen + 0.5).floor().max(0.0) as usize;
    let end = ((center + 2.0 * widen + 0.5).floor() as usize).min(row.len());
    for (at, weight) in row.iter_mut().enumerate().take(end).skip(first) {
        *weight = cubic((at as f64 - center + 0.5) / widen, -0.5);
    }
    let total: f64 = row.iter().sum();
    row.iter_mut().for_each(|weight| *weight /= total);
}

/// Resamples a table of `n_prefix` rows followed by a grid of rows; prefix rows are copied.
///
/// # Shapes
/// - `table`: `[n_prefix + from.n_patches(), width]` row by row; result the same with `to`
///
/// # Panics
/// When the table's length is not what the grid says.
pub fn resample_table(
    table: &[f32],
    width: usize,
    n_prefix: usize,
    (from, to): (Grid, Grid),
    convention: Resample,
) -> Vec<f32> {
    assert_eq!(table.len(), (n_prefix + from.n_patches()) * width, "position table of grid {from:?}");
    if from == to {
        return table.to_vec();
    }
    let (prefix, grid) = table.split_at(n_prefix * width);
    let vertical = resize_matrix(from.rows, to.rows, convention);
    let horizontal = resize_matrix(from.columns, to.columns, convention);
    let mut between = vec![0.0f64; from.rows * to.columns * width]; // rows as before, columns as wanted
    for row in 0..from.rows {
        for column in 0..to.columns {
            let out = &mut between[(row * to.columns + column) * width..][..width];
            for at in 0..from.columns {
                let weight = horizontal[column * from.columns + at];
                let source = &grid[(row * from.columns + at) * width..][..width];
                out.iter_mut().zip(source).for_each(|(out, &x)| *out += weight * f64::from(x));
            }
        }
    }
    let mut result = prefix.to_vec();
    for row in 0..to.rows {
        for column in 0..to.columns {
            let mut out = vec![0.0f64; width];
            for at in 0..from.rows {
                let weight = vertical[row * from.rows + at];
                let source = &between[(at * to.columns + column) * width..][..width];
                out.iter_mut().zip(source).for_each(|(out, &x)| *out += weight * x);
            }
            result.extend(out.iter().map(|&x| x as f32));
        }
    }
    result
}

/// MAE's fixed table: the code of a patch is `[e(column), e(row)]` with `e(p) = [sin(p·w), cos(p·w)]`,
/// `w_k = 10000^(−k/(D/4))`; prefix rows are zero.
///
/// # Shapes
/// - result `[n_prefix + h·w, width]` row by row
///
/// # Panics
/// When the width is not a multiple of 4.
///
/// # Source
/// He et al., Masked Autoencoders; column first, as the published checkpoints have it.
pub fn mae_sin_cos(width: usize, grid: Grid, n_prefix: usize) -> Vec<f32> {
    assert!(width.is_multiple_of(4), "sine–cosine positions need a width divisible by 4, found {width}");
    let quarter = width / 4;
    let mut table = vec![0.0f32; n_prefix * width];
    for row in 0..grid.rows {
        for column in 0..grid.columns {
            for position in [column, row] {
                let angle = |k: usize| position as f64 * libm::pow(10000.0, -(k as f64) / quarter as f64);
                table.extend((0..quarter).map(|k| libm::sin(angle(k)) as f32));
                table.extend((0..quarter).map(|k| libm::cos(angle(k)) as f32));
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apply(signal: &[f64], to: usize, convention: Resample) -> Vec<f64> {
        let matrix = resize_matrix(signal.len(), to, convention);
        matrix.chunks(signal.len()).map(|row| row.iter().zip(signal).map(|(w, x)| w * x).sum()).collect()
    }

    fn assert_near(ours: &[f64], expected: &[f64]) {
        assert!(
            ours.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-6),
            "{ours:?} against {expected:?}"
        );
    }

    #[test]
    fn a_signal_is_resampled_as_each_convention_does() {
        let signal = [1.0, 2.0, 4.0, 8.0];
        let size = [0.913194, 1.312500, 2.304398, 3.383102, 6.187500, 8.347222];
        let offset = [0.911520, 1.300402, 2.262715, 3.274661, 5.982877, 8.255175];
        let antialias = [0.934211, 1.352941, 2.252315, 3.539352, 6.235294, 8.263158];
        assert_near(&apply(&signal, 6, Resample::Size), &size);
        assert_near(&apply(&signal, 6, Resample::Offset), &offset);
        assert_near(&apply(&signal, 6, Resample::Antialias), &antialias);
        // Steps of 3/5 from corner to corner: at 0.6, 1.2, 1.8, 2.4.
        assert_near(&apply(&signal, 6, Resample::Corner), &[1.0, 1.6, 2.4, 3.6, 5.6, 8.0]);
    }

    #[test]
    fn shrinking_widens_the_antialiased_kernel_only() {
        let squares: Vec<f64> = (0..8).map(|i| f64::from(i * i)).collect();
        assert_near(&apply(&squares, 4, Resample::Size), &[0.218750, 6.125000, 20.125000, 43.531250]);
        assert_near(&apply(&squares, 4, Resample::Antialias), &[0.410042, 6.189189, 20.756757, 41.794979]);
    }

    #[test]
    fn the_sine_cosine_table_puts_the_column_first() {
        let table = mae_sin_cos(8, Grid { rows: 2, columns: 2 }, 1);
        let row = |i: usize| table[i * 8..][..8].iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        assert_near(&row(2), &[0.841471, 0.010000, 0.540302, 0.999950, 0.0, 0.0, 1.0, 1.0]);
        assert_near(&row(3), &[0.0, 0.0, 1.0, 1.0, 0.841471, 0.010000, 0.540302, 0.999950]);
    }

    #[test]
    fn the_sine_cosine_tables_of_the_published_models_sum_to_the_known_values() {
        let sum = |width| -> f64 {
            mae_sin_cos(width, Grid { rows: 14, columns: 14 }, 1).iter().map(|&x| f64::from(x)).sum()
        };
        assert!((sum(768) - 69594.4939).abs() < 2e-3);
        assert!((sum(512) - 46340.3331).abs() < 2e-3);
    }

    proptest! {
        #[test]
        fn every_row_of_a_resize_matrix_sums_to_one(from in 1usize..20, to in 1usize..20) {
            for convention in [Resample::Antialias, Resample::Size, Resample::Offset, Resample::Corner] {
                for row in resize_matrix(from, to, convention).chunks(from) {
                    prop_assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                }
            }
        }
    }
}
