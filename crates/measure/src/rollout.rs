//! Attention rollout: how attention passes through the layers, residual streams included.

use ndarray::{Array2, Array3, ArrayView3, ArrayView4, Axis};
use rayon::prelude::*;

/// The mixing of one layer: `(mean over heads of A + I)`, rows divided by their sums.
///
/// # Shapes
/// `attention`: `[heads, T, T]`, rows after softmax; result: `[T, T]`, rows sum to 1.
///
/// # Panics
/// If the last two sides differ, or there is no head.
///
/// # Source
/// Abnar and Zuidema, Quantifying Attention Flow in Transformers.
pub fn mixing(attention: ArrayView3<f32>) -> Array2<f64> {
    let (heads, n_rows, n_cols) = attention.dim();
    assert_eq!(n_rows, n_cols, "mixing: attention {:?} is not square", attention.dim());
    assert!(heads > 0, "mixing: attention without heads");
    let mut mixed = Array2::<f64>::zeros((n_rows, n_cols));
    for head in attention.outer_iter() {
        mixed.zip_mut_with(&head, |sum, &weight| *sum += f64::from(weight));
    }
    mixed /= heads as f64;
    mixed.diag_mut().iter_mut().for_each(|own| *own += 1.0);
    for mut row in mixed.outer_iter_mut() {
        let sum = row.sum();
        row /= sum;
    }
    mixed
}

/// Adds a layer on top of a rollout: `R ← mixing(A) · R`, for each image; of nothing before, the mixing itself.
///
/// # Shapes
/// `attention`: `[B, heads, T, T]`; `below`: `[B, T, T]`, the rollout up to the layer before; result as `below`.
///
/// # Panics
/// If they do not fit together.
///
/// # Source
/// As [`mixing`]; the product runs from the first layer up.
pub fn rollout(attention: ArrayView4<f32>, below: Option<&Array3<f64>>) -> Array3<f64> {
    let (b, _, t, _) = attention.dim();
    if let Some(below) = below {
        assert_eq!(below.dim(), (b, t, t), "a rollout below attention {:?}", attention.dim());
    }
    let mut out = Array3::zeros((b, t, t));
    out.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(image, mut out)| {
        let mixed = mixing(attention.index_axis(Axis(0), image));
        match below {
            None => out.assign(&mixed),
            Some(below) => out.assign(&mixed.dot(&below.index_axis(Axis(0), image))),
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array4, array};
    use proptest::prelude::*;

    #[test]
    fn two_layers_of_two_tokens_by_hand() {
        // Heads (1, 0), (0, 1) and (0, 1), (0, 1): mean (.5, .5), (0, 1); with itself, halved: (.75, .25), (0, 1).
        let attention = array![[[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]]];
        let first = rollout(attention.view(), None);
        assert_eq!(first, array![[[0.75, 0.25], [0.0, 1.0]]]);
        // (.75, .25), (0, 1) twice: .75² and 1 − .75².
        let second = rollout(attention.view(), Some(&first));
        assert_eq!(second, array![[[0.5625, 0.4375], [0.0, 1.0]]]);
    }

    proptest! {
        #[test]
        fn rows_of_a_rollout_sum_to_one(values in proptest::collection::vec(0.01f32..1.0, 2 * 3 * 25)) {
            let mut attention = Array4::from_shape_vec((2, 3, 5, 5), values).expect("counted");
            for mut row in attention.rows_mut() {
                let sum = row.sum();
                row /= sum;
            }
            let first = rollout(attention.view(), None);
            let second = rollout(attention.view(), Some(&first));
            prop_assert!(second.rows().into_iter().all(|row| (row.sum() - 1.0).abs() < 1e-12));
        }
    }
}
