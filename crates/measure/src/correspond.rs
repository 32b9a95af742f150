//! Which token of one image belongs to which of another: nearest neighbors, and pairs that choose each other.

use crate::nearest::top_k;
use ndarray::ArrayView2;

/// For each query its most similar bank row, ties to the lower one.
///
/// # Shapes
/// `queries`: `[m, D]`, `bank`: `[n, D]`, rows of length 1; the result is `[m]`.
///
/// # Panics
/// If the widths differ or the bank is empty.
///
/// # Source
/// Definition.
pub fn nearest(queries: ArrayView2<f32>, bank: ArrayView2<f32>) -> Vec<usize> {
    top_k(queries, bank, 1).indices.column(0).iter().map(|&index| index as usize).collect()
}

/// The pairs that are each other's most similar: `i` with `nn_a[nn_b[i]] = i`, ascending in the first.
///
/// # Shapes
/// `a`: `[m, D]`, `b`: `[n, D]`, rows of length 1; a pair is `(row of a, row of b)`.
///
/// # Panics
/// If the widths differ or one is empty.
///
/// # Source
/// Dekel et al., Best-Buddies Similarity; Amir et al., Deep ViT Features as Dense Visual Descriptors.
///
/// # Example
/// ```
/// use ndarray::array;
/// let (a, b) = (array![[1.0, 0.0], [0.8, 0.6]], array![[0.6, 0.8], [1.0, 0.0]]);
/// assert_eq!(measure::correspond::best_buddies(a.view(), b.view()), [(0, 1), (1, 0)]);
/// ```
pub fn best_buddies(a: ArrayView2<f32>, b: ArrayView2<f32>) -> Vec<(usize, usize)> {
    let (to_b, to_a) = (nearest(a, b), nearest(b, a));
    to_b.into_iter().enumerate().filter(|&(i, j)| to_a[j] == i).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nearest::l2_normalize_rows;
    use ndarray::{Array2, Axis, array};
    use proptest::prelude::*;

    #[test]
    fn a_choice_that_is_not_returned_is_no_pair() {
        // Both rows of a choose b's only row; it chooses row 1 (0.96 against 0.6).
        let (a, b) = (array![[1.0, 0.0], [0.6, 0.8]], array![[0.6, 0.8]]);
        assert_eq!(best_buddies(a.view(), b.view()), [(1, 0)]);
    }

    proptest! {
        #[test]
        fn pairs_are_the_same_from_both_sides(values in prop::collection::vec(-1.0f32..1.0, 60)) {
            let rows = l2_normalize_rows(Array2::from_shape_vec((15, 4), values).expect("60").view());
            let (a, b) = rows.view().split_at(Axis(0), 6);
            let mut back: Vec<_> = best_buddies(b, a).into_iter().map(|(j, i)| (i, j)).collect();
            back.sort_unstable();
            prop_assert_eq!(best_buddies(a, b), back);
        }
    }
}
