//! Maps at another size: bilinear and nearest, as PyTorch's `interpolate` weighs them.

use ndarray::{Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis};
use std::ops::Range;

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
/// equals, but without making the large maps.
///
/// Pixels between the same four cells of the grid lie between the scores there, so that a score whose greatest corner is below another's
/// least one cannot win and is left out; most pixels are settled by that alone. The arithmetic of the others is that of [`bilinear`],
/// bit for bit.
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
    let mut out = vec![0; rows * columns];
    let mut close: Vec<usize> = Vec::with_capacity(k);
    for own_rows in between_the_same(&ys) {
        for own_columns in between_the_same(&xs) {
            let ((y0, y1, _), (x0, x1, _)) = (ys[own_rows.start], xs[own_columns.start]);
            let corners = [y0 * w + x0, y0 * w + x1, y1 * w + x0, y1 * w + x1].map(|cell| scores.row(cell));
            contenders(&corners, &mut close);
            for y in own_rows.clone() {
                let v = ys[y].2;
                let out = &mut out[y * columns..][own_columns.clone()];
                if let [only] = close.as_slice() {
                    out.fill(*only as u8);
                    continue;
                }
                for (out, &(_, _, u)) in out.iter_mut().zip(&xs[own_columns.clone()]) {
                    let mut most = f64::NEG_INFINITY;
                    for &kind in &close {
                        let upper = corners[0][kind] * (1.0 - u) + corners[1][kind] * u;
                        let lower = corners[2][kind] * (1.0 - u) + corners[3][kind] * u;
                        let value = upper * (1.0 - v) + lower * v;
                        if value > most {
                            (most, *out) = (value, kind as u8);
                        }
                    }
                }
            }
        }
    }
    out
}

/// Runs of targets that lie between the same two cells.
fn between_the_same(all: &[(usize, usize, f64)]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut first = 0;
    all.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).map(move |run| {
        let own = first..first + run.len();
        first = own.end;
        own
    })
}

/// The scores that can be the greatest somewhere between four corners, ascending; with room for what arithmetic rounds.
fn contenders(corners: &[ArrayView1<f64>; 4], close: &mut Vec<usize>) {
    const ROOM: f64 = 1e-12;
    let over = |kind: usize, of: fn(f64, f64) -> f64| {
        corners[1..].iter().fold(corners[0][kind], |value, corner| of(value, corner[kind]))
    };
    let n_kinds = corners[0].len();
    let floor = (0..n_kinds).map(|kind| over(kind, f64::min)).fold(f64::NEG_INFINITY, f64::max);
    let largest = corners.iter().flatten().fold(0.0f64, |largest, score| largest.max(score.abs()));
    close.clear();
    close.extend((0..n_kinds).filter(|&kind| over(kind, f64::max) >= floor - ROOM * largest));
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
