//! What a map of scores marks, and how well that meets a mask.

use crate::attention::{TokenGrid, check};
use ndarray::{Array3, ArrayView4};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Whose attention over the patches is a head's map of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MapOf {
    /// The class token's row.
    Class,
    /// The sum of all patches' rows.
    Patches,
    /// The row of the patch at `(h / 2, w / 2)`: the center, or the cell right below it on an even grid.
    Center,
}

/// Each head's map of each image; prefix columns are dropped.
///
/// # Shapes
/// `attention`: `[B, heads, T, T]`, rows after softmax; the result is `[B, heads, N]`.
///
/// # Panics
/// If the shapes do not fit the grid, or the class token is asked for where there is no prefix.
///
/// # Source
/// Walmer et al., CVPR 2023: saliency of the modes *cls*, *spc* and *center*; which patch is the center is ours.
pub fn saliency_maps(attention: ArrayView4<f32>, grid: TokenGrid, of: MapOf) -> Array3<f64> {
    check(attention.dim(), grid);
    assert!(of != MapOf::Class || grid.n_prefix > 0, "saliency: the tokens have no class token");
    let rows = match of {
        MapOf::Class => 0..1,
        MapOf::Patches => grid.n_prefix..grid.n_tokens(),
        MapOf::Center => {
            let center = grid.n_prefix + grid.h / 2 * grid.w + grid.w / 2;
            center..center + 1
        }
    };
    let ((b, heads, t, _), n) = (attention.dim(), grid.n_patches());
    let attention = attention.as_standard_layout();
    let values = attention.as_slice().expect("standard layout lies in one piece");
    let mut maps = vec![0.0; b * heads * n];
    maps.par_chunks_exact_mut(n.max(1)).zip(values.par_chunks_exact(t * t)).for_each(|(map, head)| {
        for row in head.chunks_exact(t).take(rows.end).skip(rows.start) {
            map.iter_mut().zip(&row[grid.n_prefix..]).for_each(|(sum, &key)| *sum += f64::from(key));
        }
    });
    match Array3::from_shape_vec((b, heads, n), maps) {
        Ok(maps) => maps,
        Err(error) => unreachable!("a number for each patch: {error}"),
    }
}

/// The smallest set of cells that holds a share of the mass.
///
/// Scores are summed from the least upward; kept is every cell whose sum is above `1 − mass` of the whole. Of equal
/// scores the later cells are kept first (a stable sort). Nothing is kept of a map without mass.
///
/// # Shapes
/// `scores`: `[n]`, at least 0, need not sum to 1; the result is `[n]`.
///
/// # Panics
/// If `mass` is not in 0–1.
///
/// # Source
/// Caron et al., DINO (mass 0.6, attention shown as masks); Walmer et al., CVPR 2023 (saliency).
pub fn mass_mask(scores: &[f64], mass: f64) -> Vec<bool> {
    assert!((0.0..=1.0).contains(&mass), "mass_mask: a share of {mass}");
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let least = (1.0 - mass) * scores.iter().sum::<f64>();
    let (mut kept, mut sum) = (vec![false; scores.len()], 0.0);
    for cell in order {
        sum += scores[cell];
        kept[cell] = sum > least;
    }
    kept
}

/// Intersection over union of two sets of cells; 0 of two empty ones.
///
/// # Panics
/// If they have another number of cells.
///
/// # Source
/// Jaccard, 1901.
pub fn iou(a: &[bool], b: &[bool]) -> f64 {
    assert_eq!(a.len(), b.len(), "iou: {} and {} cells", a.len(), b.len());
    let count = |wanted: fn(bool, bool) -> bool| a.iter().zip(b).filter(|&(&a, &b)| wanted(a, b)).count();
    let (both, any) = (count(|a, b| a && b), count(|a, b| a || b));
    if any == 0 { 0.0 } else { both as f64 / any as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn maps_of_two_patches_by_hand() {
        let attention = ndarray::array![[[[0.0, 0.5, 0.5], [0.5, 0.25, 0.25], [0.25, 0.625, 0.125]]]];
        let grid = TokenGrid { n_prefix: 1, h: 1, w: 2 };
        let of = |of| saliency_maps(attention.view(), grid, of).into_raw_vec_and_offset().0;
        assert_eq!(of(MapOf::Class), [0.5, 0.5]);
        assert_eq!(of(MapOf::Patches), [0.875, 0.375]);
        assert_eq!(of(MapOf::Center), [0.625, 0.125]);
    }

    #[test]
    fn six_tenths_of_the_mass_by_hand() {
        // Sums from the least: .05 .15 .30 .60 1.0; above .4 are the last two.
        let row = [0.05, 0.1, 0.15, 0.3, 0.4];
        assert_eq!(mass_mask(&row, 0.6), [false, false, false, true, true]);
        // In any order, and on any scale.
        assert_eq!(mass_mask(&[4.0, 0.5, 3.0, 1.0, 1.5], 0.6), [true, false, true, false, false]);
    }

    #[test]
    fn of_equal_scores_the_later_are_kept() {
        assert_eq!(mass_mask(&[0.25; 4], 0.5), [false, false, true, true]);
        assert_eq!(mass_mask(&[0.0; 3], 0.6), [false; 3]);
        assert_eq!(mass_mask(&[1.0, 2.0], 0.0), [false; 2]);
        assert_eq!(mass_mask(&[1.0, 2.0], 1.0), [true; 2]);
    }

    #[test]
    fn overlap_by_hand() {
        assert_eq!(iou(&[true, true, false, false], &[false, true, true, false]), 1.0 / 3.0);
        assert_eq!(iou(&[false; 2], &[false; 2]), 0.0);
    }

    proptest! {
        #[test]
        fn what_is_kept_holds_the_mass_and_one_cell_less_does_not(
            scores in proptest::collection::vec(0.001f64..1.0, 1..40), mass in 0.05f64..0.95
        ) {
            let kept = mass_mask(&scores, mass);
            let total: f64 = scores.iter().sum();
            let held: f64 = scores.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(score, _)| score).sum();
            let least = scores.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(score, _)| *score).fold(1.0, f64::min);
            prop_assert!(held >= mass * total - 1e-9);
            prop_assert!(held - least <= mass * total + 1e-9);
            // Nothing kept is below what is not.
            let most = scores.iter().zip(&kept).filter(|(_, kept)| !**kept).map(|(score, _)| *score).fold(0.0, f64::max);
            prop_assert!(most <= least);
        }
    }
}
