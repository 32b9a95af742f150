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
