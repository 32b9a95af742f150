//! Aggregated attention maps: where queries of a kind look, taken together.

use crate::attention::{TokenGrid, check, maps_of_head, mass};
use ndarray::{Array2, ArrayView4};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Whose rows are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Queries {
    /// All tokens'.
    All,
    /// The class token's.
    Class,
    /// The patches', what they give to prefix tokens included.
    Patches,
    /// The patches', prefix columns set to 0 and rows renormalized; a row with nothing left stays 0.
    PatchesAlone,
}

/// Adds each image's mean row over queries of every kind to the sums of its head, in one look at the rows.
///
/// # Shapes
/// - `attention`: `[B, heads, T, T]`, rows after softmax
/// - `sums`: one `[heads, T]` for each of `kinds`
///
/// # Panics
/// If the shapes do not fit the grid, or the class token is asked for where there is no prefix.
///
/// # Source
/// Walmer et al., CVPR 2023, aggregated attention maps: modes *all*, *cls*, *spc* and *spcpure*.
pub fn add_mean_rows(
    attention: ArrayView4<f32>,
    grid: TokenGrid,
    kinds: &[Queries],
    sums: &mut [Array2<f64>],
) {
    check(attention.dim(), grid);
    let (_, heads, t, _) = attention.dim();
    assert_eq!(kinds.len(), sums.len(), "mean rows: one map of sums for each kind");
    sums.iter().for_each(|sums| assert_eq!(sums.dim(), (heads, t), "mean rows of {heads} heads on {grid:?}"));
    let has_class = grid.n_prefix > 0;
    assert!(has_class || !kinds.contains(&Queries::Class), "mean rows: the tokens have no class token");
    let attention = attention.as_standard_layout();
    let values = attention.as_slice().expect("standard layout lies in one piece");
    let of_heads: Vec<Rows> = (0..heads)
        .into_par_iter()
        .map(|head| {
            let mut rows = Rows::of_width(t);
            maps_of_head(values, (heads, t), head).for_each(|map| rows.add(map, grid));
            rows
        })
        .collect();
    let n = grid.n_patches() as f64;
    for (kind, sums) in kinds.iter().zip(sums) {
        for (mut sum, rows) in sums.outer_iter_mut().zip(&of_heads) {
            for (key, sum) in sum.iter_mut().enumerate() {
                *sum += match kind {
                    Queries::All => (rows.prefix[key] + rows.patches[key]) / t as f64,
                    Queries::Class => rows.class[key],
                    Queries::Patches => rows.patches[key] / n,
                    Queries::PatchesAlone => rows.alone[key] / n,
                };
            }
        }
    }
}

/// Sums of rows of one head over images, by whose they are.
struct Rows {
    class: Vec<f64>,
    prefix: Vec<f64>,
    patches: Vec<f64>,
    alone: Vec<f64>,
}

impl Rows {
    fn of_width(t: usize) -> Self {
        let zeros = || vec![0.0; t];
        Self { class: zeros(), prefix: zeros(), patches: zeros(), alone: zeros() }
    }

    fn add(&mut self, map: &[f32], grid: TokenGrid) {
        let (prefix, patches) = map.split_at(grid.n_prefix * grid.n_tokens());
        for row in prefix.chunks_exact(grid.n_tokens()) {
            self.prefix.iter_mut().zip(row).for_each(|(sum, &weight)| *sum += f64::from(weight));
        }
        if grid.n_prefix > 0 {
            self.class.iter_mut().zip(prefix).for_each(|(sum, &weight)| *sum += f64::from(weight));
        }
        for row in patches.chunks_exact(grid.n_tokens()) {
            self.patches.iter_mut().zip(row).for_each(|(sum, &weight)| *sum += f64::from(weight));
            let keys = &row[grid.n_prefix..];
            let mass = mass(keys);
            let scale = if mass > 0.0 { 1.0 / mass } else { 0.0 };
            let alone = self.alone[grid.n_prefix..].iter_mut().zip(keys);
            alone.for_each(|(sum, &weight)| *sum += f64::from(weight) * scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn maps_of_two_patches_by_hand() {
        let attention = array![[[[0.0, 0.5, 0.5], [0.5, 0.25, 0.25], [0.2, 0.6, 0.2]]]];
        let grid = TokenGrid { n_prefix: 1, h: 1, w: 2 };
        let expected = [
            (Queries::All, [0.7 / 3.0, 1.35 / 3.0, 0.95 / 3.0]),
            (Queries::Class, [0.0, 0.5, 0.5]),
            (Queries::Patches, [0.35, 0.425, 0.225]),
            // (.5, .5) and (.75, .25).
            (Queries::PatchesAlone, [0.0, 0.625, 0.375]),
        ];
        let mut sums = vec![Array2::zeros((1, 3)); expected.len()];
        add_mean_rows(attention.view(), grid, &expected.map(|(queries, _)| queries), &mut sums);
        for ((queries, expected), sums) in expected.iter().zip(&sums) {
            let near = sums.iter().zip(expected).all(|(ours, expected)| (ours - expected).abs() < 1e-6);
            assert!(near, "{queries:?}: {sums}");
        }
    }

    #[test]
    #[should_panic(expected = "mean rows: the tokens have no class token")]
    fn a_class_token_that_is_not_there_is_a_mistake() {
        let grid = TokenGrid { n_prefix: 0, h: 1, w: 2 };
        let attention = array![[[[0.5, 0.5], [0.5, 0.5]]]];
        add_mean_rows(attention.view(), grid, &[Queries::Class], &mut [Array2::zeros((1, 2))]);
    }
}
