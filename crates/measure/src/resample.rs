//! Maps at another size: bilinear and nearest, as PyTorch's `interpolate` weighs them.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis};

/// Resizes every channel bilinearly, pixel centers kept in place: `align_corners = false`, no smoothing where it shrinks.
///
/// # Shapes
/// `maps`: `[C, h, w]`; the result is `[C, rows, columns]`.
///
/// # Panics
/// If a side is 0.
///
/// # Source
/// `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.
pub fn bilinear(maps: ArrayView3<f64>, rows: usize, columns: usize) -> Array3<f64> {
    let (c, h, w) = maps.dim();
    let (ys, xs) = (weights(h, rows), weights(w, columns));
    let mut out = Array3::zeros((c, rows, columns));
    for (map, mut out) in maps.outer_iter().zip(out.axis_iter_mut(Axis(0))) {
        for (mut row, &(y0, y1, v)) in out.rows_mut().into_iter().zip(&ys) {
            for (value, &(x0, x1, u)) in row.iter_mut().zip(&xs) {
                let upper = map[[y0, x0]] * (1.0 - u) + map[[y0, x1]] * u;
                let lower = map[[y1, x0]] * (1.0 - u) + map[[y1, x1]] * u;
                *value = upper * (1.0 - v) + lower * v;
            }
        }
    }
    out
}

/// The greatest of several scores at every pixel of a larger map: as [`bilinear`] of every score and then the greatest, the first of
/// equals, but without keeping the large maps.
///
/// Every row of the grid is made wide once; then a row of pixels is blended from two of them, one score after another, which is
/// one pass over memory that the compiler turns into vector instructions. The arithmetic is that of [`bilinear`], bit for bit.
///
/// # Shapes
/// `scores`: `[h · w, K]` of a grid `(h, w)`, row by row, `K` at most 256; the result is `[rows · columns]`, row by row.
///
/// # Panics
/// If a side is 0, the scores are not those of the grid, or there are none or too many of them.
///
/// # Source
/// Ours; linear segmentation as Ziegler and Asano (Leopart) and others score it.
pub fn bilinear_argmax(
    scores: ArrayView2<f64>,
    (h, w): (usize, usize),
    rows: usize,
    columns: usize,
) -> Vec<u8> {
    let (n, k) = scores.dim();
    assert!(n == h * w && (1..=256).contains(&k), "bilinear_argmax: [{n}, {k}] scores of a grid of {h}×{w}");
    let (ys, xs) = (weights(h, rows), weights(w, columns));
    let mut wide = vec![0.0; h * k * columns]; // [h, K, columns]
    for (place, out) in wide.chunks_exact_mut(columns).enumerate() {
        let (y, kind) = (place / k, place % k);
        for (value, &(x0, x1, u)) in out.iter_mut().zip(&xs) {
            *value = scores[[y * w + x0, kind]] * (1.0 - u) + scores[[y * w + x1, kind]] * u;
        }
    }
    let row = |y: usize, kind: usize| &wide[(y * k + kind) * columns..(y * k + kind + 1) * columns];
    let (mut most, mut kinds) = (vec![0.0; columns], vec![0u64; columns]);
    let mut out = Vec::with_capacity(rows * columns);
    for &(y0, y1, v) in &ys {
        most.fill(f64::NEG_INFINITY);
        kinds.fill(0);
        for kind in 0..k {
            let between = row(y0, kind).iter().zip(row(y1, kind));
            for ((most, at), (&upper, &lower)) in most.iter_mut().zip(&mut kinds).zip(between) {
                let value = upper * (1.0 - v) + lower * v;
                let is_more = value > *most;
                *most = if is_more { value } else { *most };
                *at = if is_more { kind as u64 } else { *at };
            }
        }
        out.extend(kinds.iter().map(|&kind| kind as u8));
    }
    out
}

/// For every pixel of a larger map the cell of the grid that [`nearest`] gives it, row by row.
///
/// # Shapes
/// The result is `[rows · columns]`, below `h · w`.
///
/// # Panics
/// If a side is 0.
///
/// # Source
/// As [`nearest`].
pub fn nearest_cells((h, w): (usize, usize), rows: usize, columns: usize) -> Vec<usize> {
    nearest(Array2::from_shape_fn((h, w), |(y, x)| y * w + x).view(), rows, columns)
        .into_raw_vec_and_offset()
        .0
}

/// The two source cells of every target cell, and the second one's weight.
fn weights(n: usize, n_out: usize) -> Vec<(usize, usize, f64)> {
    assert!(n > 0 && n_out > 0, "resample: from {n} to {n_out} cells");
    let scale = n as f64 / n_out as f64;
    let of = |i: usize| {
        let at = ((i as f64 + 0.5) * scale - 0.5).max(0.0);
        let first = (at as usize).min(n - 1);
        (first, (first + 1).min(n - 1), at - first as f64)
    };
    (0..n_out).map(of).collect()
}

/// Resizes a map by the cell `⌊i · n / n_out⌋`.
///
/// # Shapes
/// `map`: `[h, w]`; the result is `[rows, columns]`.
///
/// # Panics
/// If a side is 0.
///
/// # Source
/// `torch.nn.functional.interpolate(mode="nearest")`.
pub fn nearest<A: Copy>(map: ArrayView2<A>, rows: usize, columns: usize) -> Array2<A> {
    let (h, w) = map.dim();
    assert!(h * w * rows * columns > 0, "resample: from {h}×{w} to {rows}×{columns} cells");
    Array2::from_shape_fn((rows, columns), |(y, x)| map[[y * h / rows, x * w / columns]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    #[test]
    fn the_greatest_of_two_scores_by_hand() {
        // Score 0 is 4, 0 and becomes 4 3 1 0; score 1 is 2 everywhere.
        let scores = array![[4.0, 2.0], [0.0, 2.0]];
        assert_eq!(bilinear_argmax(scores.view(), (1, 2), 1, 4), [0, 0, 1, 1]);
        // Of equals the first.
        assert_eq!(bilinear_argmax(array![[1.0, 1.0]].view(), (1, 1), 1, 2), [0, 0]);
        assert_eq!(nearest_cells((1, 2), 2, 4), [0, 0, 1, 1, 0, 0, 1, 1]);
    }

    proptest! {
        #[test]
        fn the_greatest_is_that_of_the_large_maps(
            values in prop::collection::vec(-2i8..3, 60), rows in 1usize..9, columns in 1usize..9
        ) {
            // Whole numbers, so that there are equals.
            let scores = Array2::from_shape_fn((12, 5), |(i, k)| f64::from(values[5 * i + k]));
            let maps = Array3::from_shape_fn((5, 3, 4), |(k, y, x)| scores[[4 * y + x, k]]);
            let maps = bilinear(maps.view(), rows, columns);
            let found = bilinear_argmax(scores.view(), (3, 4), rows, columns);
            for (pixel, kind) in found.into_iter().enumerate() {
                let at = |kind: usize| maps[[kind, pixel / columns, pixel % columns]];
                let best = (1..5).fold(0, |best, kind| if at(kind) > at(best) { kind } else { best });
                prop_assert_eq!(best, usize::from(kind));
            }
        }
    }

    #[test]
    fn twice_as_large_by_hand() {
        // Centers at -0.25 (clamped), 0.25, 0.75, 1.25 (clamped): weights 0, 1/4, 3/4, and the border.
        let maps = array![[[0.0, 4.0]]];
        assert_eq!(bilinear(maps.view(), 1, 4), array![[[0.0, 1.0, 3.0, 4.0]]]);
        assert_eq!(nearest(array![[1, 2]].view(), 2, 4), array![[1, 1, 2, 2], [1, 1, 2, 2]]);
    }

    #[test]
    fn the_same_size_changes_nothing_and_a_constant_stays() {
        let maps = Array3::from_shape_fn((2, 3, 4), |(c, y, x)| (c * 12 + y * 4 + x) as f64);
        assert_eq!(bilinear(maps.view(), 3, 4), maps);
        let even = Array3::from_elem((1, 3, 5), 0.3);
        assert!(bilinear(even.view(), 7, 2).iter().all(|&x: &f64| (x - 0.3).abs() < 1e-15));
    }

    #[test]
    fn shrinking_takes_the_cells_around_the_centers() {
        // 4 → 2: centers at 0.5 and 2.5, halfway between two cells; nearest takes cells 0 and 2.
        assert_eq!(bilinear(array![[[0.0, 1.0, 5.0, 9.0]]].view(), 1, 2), array![[[0.5, 7.0]]]);
        assert_eq!(nearest(array![[0, 1, 5, 9]].view(), 1, 2), array![[0, 5]]);
    }
}
