//! Rollout: one layer upon those below, and what its rows tell, image by image.

use super::linear::{View, matmul};
use super::simd::{LANES, fold, ln, row_sum, simd};
use super::summed::HeadMaps;
use super::watched::STATISTICS;
use crate::AttentionGrid;
use gemm::Parallelism;
use rayon::prelude::*;

simd! {
    /// `(mean + I)` with rows divided by their sums, `[t, t]`.
    fn mix(mean: &[f32], t: usize, into: &mut [f32]) {
        for place in 0..t {
            let (row, into) = (&mean[place * t..][..t], &mut into[place * t..][..t]);
            let inverse = 1.0 / (row_sum(row) + 1.0);
            for i in 0..t {
                into[i] = row[i] * inverse;
            }
            into[place] += inverse;
        }
    }
}

simd! {
    /// The entropy of each row of `[rows, t]`: `−Σ p·ln p`, where `0·ln 0` is 0.
    fn entropies_of(rows: &[f32], t: usize, into: &mut [f32]) {
        for (at, row) in rows.chunks_exact(t).enumerate() {
            let mut lanes = [0.0f32; LANES];
            let (chunks, rest) = row.as_chunks::<LANES>();
            for chunk in chunks {
                for i in 0..LANES {
                    lanes[i] += chunk[i] * ln(chunk[i]);
                }
            }
            for i in 0..rest.len() {
                lanes[i] += rest[i] * ln(rest[i]);
            }
            into[at] = -fold(lanes);
        }
    }
}

/// The rollout `[B, T, T]` and its numbers `[B, 1, 4]`.
pub(super) fn forward(mean: &[f32], below: Option<&[f32]>, grid: AttentionGrid) -> (Vec<f32>, Vec<f32>) {
    let t = grid.n_prefix + grid.rows * grid.columns;
    let (of_image, n_patches) = (t * t, (t - grid.n_prefix).max(1) as f64);
    let b = mean.len() / of_image;
    let (mut rolled, mut found) = (vec![0.0; mean.len()], vec![0.0; b * STATISTICS]);
    let distances = [grid.unit_distances(), grid.patch_distances()];
    let room = || (vec![0.0; of_image], vec![0.0; t], HeadMaps::on(grid, false));
    rolled
        .par_chunks_exact_mut(of_image)
        .zip(found.par_chunks_exact_mut(STATISTICS))
        .enumerate()
        .for_each_init(room, |(mixed, entropies, maps), (image, (rolled, found))| {
            let mean = &mean[image * of_image..][..of_image];
            match below {
                None => mix(mean, t, rolled),
                Some(below) => {
                    mix(mean, t, mixed);
                    let below = &below[image * of_image..][..of_image];
                    let product = (View::new(mixed, t, t), View::new(below, t, t));
                    matmul(rolled, t, product, 1.0, false, Parallelism::None);
                }
            }
            entropies_of(rolled, t, entropies);
            maps.clear();
            maps.add(0, rolled);
            let entropy = entropies.iter().map(|&entropy| f64::from(entropy)).sum::<f64>() / t as f64;
            let of_patches = rolled.chunks_exact(t).skip(grid.n_prefix);
            let first = of_patches.map(|row| f64::from(row[0])).sum::<f64>() / n_patches;
            let far = [0, 1].map(|which| maps.mean_distance(&distances[which]));
            for (found, value) in found.iter_mut().zip([entropy, first, far[0], far[1]]) {
                *found = value as f32;
            }
        });
    (rolled, found)
}
