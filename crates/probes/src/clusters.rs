//! Clusters of the patches of all images, found without labels.

use measure::kmeans::{Clusters, KMeans, Rows, nearest_centers};
use ndarray::ArrayView2;
use rand::RngExt;
use std::convert::Infallible;
use vit_data::Seed;

/// How clusters are sought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seek {
    /// Clusters; fewer where there are fewer patches.
    pub(crate) k: usize,
    pub(crate) n_starts: usize,
    pub(crate) max_rounds: usize,
    /// Patches for each cluster, drawn evenly, by which centers are found; 0 for all.
    pub(crate) per_cluster: usize,
    pub(crate) spherical: bool,
    pub(crate) seed: u64,
}

/// Clusters of rows; those that had no part in finding the centers are given to the nearest.
///
/// Memory: the rows by which centers are found, where these are not all.
///
/// # Errors
/// What the rows say.
///
/// # Panics
/// If there are no rows.
pub(crate) fn seek<E>(rows: &dyn Rows<E>, how: &Seek) -> Result<Clusters, E> {
    let (n, width) = rows.size();
    let k = how.k.clamp(1, n);
    let fit = KMeans {
        n_starts: how.n_starts,
        max_rounds: how.max_rounds,
        spherical: how.spherical,
        ..KMeans::new(k, how.seed)
    };
    let n_drawn = how.per_cluster.saturating_mul(k);
    if how.per_cluster == 0 || n_drawn >= n {
        return fit.fit(rows);
    }
    let drawn = drawn(n, n_drawn, how.seed);
    let mut values = Vec::with_capacity(n_drawn * width);
    let (mut first, mut left) = (0, drawn.as_slice());
    rows.each_block(&mut |block| {
        let (own, rest) = left.split_at(left.partition_point(|&at| at < first + block.nrows()));
        own.iter().for_each(|at| values.extend(block.row(at - first)));
        (first, left) = (first + block.nrows(), rest);
    })?;
    let Ok(own) = ArrayView2::from_shape((n_drawn, width), &values) else {
        panic!("clusters: {} values of {n_drawn} rows of width {width}", values.len())
    };
    let Ok(found) = fit.fit::<Infallible>(&own);
    let (of, inertia) = nearest_centers(rows, found.centers.view())?;
    Ok(Clusters { of, inertia, ..found })
}

/// `m` of `n` places, ascending, each set of them as likely (Knuth's selection sampling).
fn drawn(n: usize, m: usize, seed: u64) -> Vec<usize> {
    let mut draws = Seed(seed).stream("clustered-patches", &[n as u64, m as u64]);
    let mut chosen = Vec::with_capacity(m);
    for place in 0..n {
        if draws.random_range(0..n - place) < m - chosen.len() {
            chosen.push(place);
        }
    }
    chosen
}

/// Clusters without looking: every patch is given to any, with the same chance.
pub(crate) fn random(n: usize, k: usize, seed: u64) -> Vec<u32> {
    let mut draws = Seed(seed).stream("random-clusters", &[n as u64, k as u64]);
    (0..n).map(|_| draws.random_range(0..k as u32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn a_part_of_the_patches_finds_the_same_far_clusters() {
        let at = |i: usize, j: usize| (if i % 3 == j { 20.0 } else { 0.0 }) + ((i * 7 + j) % 5) as f32;
        let rows = Array2::from_shape_fn((300, 3), |(i, j)| at(i, j));
        let how = Seek { k: 3, n_starts: 2, max_rounds: 20, per_cluster: 10, spherical: false, seed: 3 };
        let Ok(found) = seek::<Infallible>(&rows.view(), &how);
        assert!((0..300).all(|i| found.of[i] == found.of[i % 3]));
        assert_ne!(found.of[0], found.of[1]);
        let chosen = drawn(50, 20, 1);
        assert_eq!(chosen.len(), 20);
        assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]) && chosen[19] < 50);
    }
}
