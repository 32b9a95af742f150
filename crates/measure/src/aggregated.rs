//! Aggregated attention maps: where queries of a kind look, taken together.

use crate::attention::{TokenGrid, check};
use ndarray::{Array2, ArrayView1, ArrayView4, Axis, Slice};
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

/// Adds each image's mean row over queries of a kind to the sums of its head.
///
/// # Shapes
/// - `attention`: `[B, heads, T, T]`, rows after softmax
/// - `sums`: `[heads, T]`
///
/// # Panics
/// If the shapes do not fit the grid, or the class token is asked for where there is no prefix.
///
/// # Source
/// Walmer et al., CVPR 2023, aggregated attention maps: modes *all*, *cls*, *spc* and *spcpure*.
pub fn add_mean_rows(attention: ArrayView4<f32>, grid: TokenGrid, queries: Queries, sums: &mut Array2<f64>) {
    check(attention.dim(), grid);
    let (_, heads, n_tokens, _) = attention.dim();
    assert_eq!(sums.dim(), (heads, n_tokens), "mean rows of {heads} heads on {grid:?}");
    assert!(queries != Queries::Class || grid.n_prefix > 0, "mean rows: the tokens have no class token");
    let rows = match queries {
        Queries::All => 0..n_tokens,
        Queries::Class => 0..1,
        Queries::Patches | Queries::PatchesAlone => grid.n_prefix..n_tokens,
    };
    let n_hidden = if queries == Queries::PatchesAlone { grid.n_prefix } else { 0 };
    let n_rows = rows.len() as f64;
    sums.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(head, mut sum)| {
        for image in attention.index_axis(Axis(1), head).outer_iter() {
            for query in rows.clone() {
                let row: ArrayView1<f32> = image.index_axis(Axis(0), query);
                let keys = row.slice_axis(Axis(0), Slice::from(n_hidden..));
                let mass = match queries {
                    Queries::PatchesAlone => keys.iter().map(|&weight| f64::from(weight)).sum(),
                    _ => 1.0,
                };
                if mass > 0.0 {
                    let scale = 1.0 / (mass * n_rows);
                    let mut sum = sum.slice_axis_mut(Axis(0), Slice::from(n_hidden..));
                    sum.zip_mut_with(&keys, |sum, &weight| *sum += f64::from(weight) * scale);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn maps_of_two_patches_by_hand() {
        let attention = array![[[[0.0, 0.5, 0.5], [0.5, 0.25, 0.25], [0.2, 0.6, 0.2]]]];
        let grid = TokenGrid { n_prefix: 1, h: 1, w: 2 };
        for (queries, expected) in [
            (Queries::All, [0.7 / 3.0, 1.35 / 3.0, 0.95 / 3.0]),
            (Queries::Class, [0.0, 0.5, 0.5]),
            (Queries::Patches, [0.35, 0.425, 0.225]),
            // (.5, .5) and (.75, .25).
            (Queries::PatchesAlone, [0.0, 0.625, 0.375]),
        ] {
            let mut sums = Array2::zeros((1, 3));
            add_mean_rows(attention.view(), grid, queries, &mut sums);
            let near = sums.iter().zip(expected).all(|(ours, expected)| (ours - expected).abs() < 1e-6);
            assert!(near, "{queries:?}: {sums}");
        }
    }

    #[test]
    #[should_panic(expected = "mean rows: the tokens have no class token")]
    fn a_class_token_that_is_not_there_is_a_mistake() {
        let grid = TokenGrid { n_prefix: 0, h: 1, w: 2 };
        let attention = array![[[[0.5, 0.5], [0.5, 0.5]]]];
        add_mean_rows(attention.view(), grid, Queries::Class, &mut Array2::zeros((1, 2)));
    }
}
