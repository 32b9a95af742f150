//! Log-binned descriptors: a token together with its surroundings, coarser the farther away.

use ndarray::{Array2, ArrayView2};

/// Bins of a hierarchy: 9 at the first level, 8 at every other.
///
/// # Panics
/// If there is no level.
///
/// # Source
/// Amir et al., Deep ViT Features as Dense Visual Descriptors.
pub fn n_bins(n_levels: usize) -> usize {
    assert!(n_levels > 0, "log_bins: no level");
    1 + 8 * n_levels
}

/// Every token with its neighborhood, one bin after another.
///
/// Level `k` is the map averaged over windows of `3^k` tokens (what is outside the map is not counted), read at the offsets
/// `{−3^k, 0, 3^k}` in rows and columns; the middle is read at level 0 only. Places outside are moved to the border. The order
/// is level, row offset, column offset. Bins are not normalized: the cosine of two descriptors weighs them by their length.
///
/// # Shapes
/// `tokens`: `[N, D]` of a grid of `(rows, columns)`; the result is `[N, bins · D]`, 17 bins at two levels.
///
/// # Panics
/// If the tokens are not those of the grid, or there is no level.
///
/// # Source
/// dino-vit-features `_log_bin`, at hierarchy 2. Channels of a bin stand in the order of `tokens`.
pub fn log_bins(tokens: ArrayView2<f32>, (rows, columns): (usize, usize), n_levels: usize) -> Array2<f32> {
    let (n, d) = tokens.dim();
    assert_eq!(n, rows * columns, "log_bins: {n} tokens of a grid of {rows}×{columns}");
    let mut out = Array2::zeros((n, n_bins(n_levels) * d));
    let mut bin = 0;
    for level in 0..n_levels {
        let step = 3isize.pow(level as u32);
        let pooled = mean_of_windows(tokens, (rows, columns), step as usize / 2);
        for dy in [-step, 0, step] {
            for dx in [-step, 0, step] {
                if level > 0 && dy == 0 && dx == 0 {
                    continue;
                }
                let clamp = |at: usize, by: isize, side: usize| {
                    (at as isize + by).clamp(0, side as isize - 1) as usize
                };
                for y in 0..rows {
                    for x in 0..columns {
                        let from = clamp(y, dy, rows) * columns + clamp(x, dx, columns);
                        let mut to = out.row_mut(y * columns + x);
                        for (channel, &value) in pooled.row(from).iter().enumerate() {
                            to[bin * d + channel] = value;
                        }
                    }
                }
                bin += 1;
            }
        }
    }
    out
}

/// The mean over the window of `2 · reach + 1` tokens around each, as far as it is inside the map.
fn mean_of_windows(tokens: ArrayView2<f32>, (rows, columns): (usize, usize), reach: usize) -> Array2<f32> {
    if reach == 0 {
        return tokens.to_owned();
    }
    let d = tokens.ncols();
    let mut out = Array2::zeros(tokens.dim());
    let mut sum = vec![0f64; d];
    for y in 0..rows {
        for x in 0..columns {
            sum.fill(0.0);
            let around = |at: usize, side: usize| at.saturating_sub(reach)..(at + reach + 1).min(side);
            for row in around(y, rows) {
                for column in around(x, columns) {
                    for (sum, &value) in sum.iter_mut().zip(tokens.row(row * columns + column)) {
                        *sum += f64::from(value);
                    }
                }
            }
            let n = (around(y, rows).len() * around(x, columns).len()) as f64;
            for (to, sum) in out.row_mut(y * columns + x).iter_mut().zip(&sum) {
                *to = (sum / n) as f32;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_of_published_models() {
        assert_eq!((n_bins(2) * 384, n_bins(2) * 768), (6528, 13056));
    }

    #[test]
    fn a_single_token_fills_every_bin() {
        let token = Array2::from_shape_vec((1, 2), vec![0.5, -2.0]).expect("two");
        let bins = log_bins(token.view(), (1, 1), 2);
        assert_eq!(bins.dim(), (1, 34));
        assert!(bins.exact_chunks((1, 2)).into_iter().all(|bin| bin == token));
    }

    #[test]
    fn bins_of_a_row_of_five_by_hand() {
        // Values 0 1 2 3 4; token 1. Level 0: rows are clamped, columns 0 1 2 three times.
        // Level 1: means over three columns are 0.5 1 2 3 3.5; columns -2→0, 1, 4: 0.5, (1), 3.5.
        let row = Array2::from_shape_fn((5, 1), |(i, _)| i as f32);
        let bins = log_bins(row.view(), (1, 5), 2);
        let expected = [0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.5, 1.0, 3.5, 0.5, 3.5, 0.5, 1.0, 3.5];
        assert_eq!(bins.row(1).to_vec(), expected);
    }
}
