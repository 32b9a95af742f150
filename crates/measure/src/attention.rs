//! How far, how broadly and whereto attention looks: statistics of attention rows after softmax.
//!
//! Every statistic is one number for each image and head. Rows are queries, columns are keys; the first `n_prefix`
//! tokens (class, registers) stand before the patches, which fill a grid row by row.

use ndarray::{Array1, Array2, ArrayView2, ArrayView4, Axis, Zip};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Where the patches stand among the tokens: `T = n_prefix + h · w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenGrid {
    /// Tokens before the patches: the class token first, then registers.
    pub n_prefix: usize,
    /// Rows of patches.
    pub h: usize,
    /// Columns of patches.
    pub w: usize,
}

impl TokenGrid {
    /// The number of patches, `N = h · w`.
    pub fn n_patches(self) -> usize {
        self.h * self.w
    }

    /// The number of tokens, `T = n_prefix + N`.
    pub fn n_tokens(self) -> usize {
        self.n_prefix + self.n_patches()
    }
}

/// The mean distance that a head's patch queries look, on a unit square over the grid.
///
/// `mean_q Σ_k A'[q, k] · ‖xy_q − xy_k‖₂`, where prefix tokens are dropped from rows and columns and `A'` are the rows
/// divided by what remains (a row with nothing left stays 0 and counts as distance 0). Patch `(row, col)` lies at
/// `(col / (w − 1), row / (h − 1))`; on a side of one patch the coordinate is 0. The range is 0 to √2; uniform attention
/// gives [`uniform_distance_unit_square`].
///
/// # Shapes
/// `attention`: `[B, heads, T, T]`, rows after softmax; result: `[B, heads]`, in sides of the square.
///
/// # Panics
/// If `T` is not `n_prefix + h · w`.
///
/// # Source
/// Walmer et al., CVPR 2023, average attention distance. Because the divisor is `w − 1`, grids of different size are not
/// strictly comparable; [`mean_distance_px`] is.
pub fn mean_distance_unit_square(attention: ArrayView4<f32>, grid: TokenGrid) -> Array2<f64> {
    mean_distance(attention, grid, &Offsets::new(grid, unit_pitch(grid.w), unit_pitch(grid.h)))
}

/// The mean distance that a head's patch queries look, in pixels.
///
/// `mean_q Σ_k A'[q, k] · ‖pos_q − pos_k‖₂` with patch centers `patch_px` apart; rows are treated as in
/// [`mean_distance_unit_square`].
///
/// # Shapes
/// `attention`: `[B, heads, T, T]`, rows after softmax; `patch_px`: pixels from one patch to the next; result:
/// `[B, heads]`, in pixels.
///
/// # Panics
/// If `T` is not `n_prefix + h · w`.
///
/// # Source
/// Raghu et al., NeurIPS 2021, mean attention distance; the treatment of the class token is that of Walmer et al.
pub fn mean_distance_px(attention: ArrayView4<f32>, grid: TokenGrid, patch_px: f64) -> Array2<f64> {
    mean_distance(attention, grid, &Offsets::new(grid, patch_px, patch_px))
}

/// What [`mean_distance_unit_square`] gives for attention that is equal everywhere.
///
/// `(1/N²) Σ_q Σ_k ‖xy_q − xy_k‖₂`, the query itself included: 0.560 for 14 × 14. A head near this value looks everywhere
/// alike, which is what "global" can mean at most.
///
/// # Shapes
/// The result is in sides of the square.
///
/// # Panics
/// If the grid has no patches.
///
/// # Source
/// The same definition, evaluated on the uniform row.
pub fn uniform_distance_unit_square(grid: TokenGrid) -> f64 {
    Offsets::new(grid, unit_pitch(grid.w), unit_pitch(grid.h)).uniform()
}

/// What [`mean_distance_px`] gives for attention that is equal everywhere.
///
/// `(1/N²) Σ_q Σ_k ‖pos_q − pos_k‖₂`: 116.5 px for 14 × 14 patches of 16 px.
///
/// # Shapes
/// `patch_px`: pixels from one patch to the next; the result is in pixels.
///
/// # Panics
/// If the grid has no patches.
///
/// # Source
/// The same definition, evaluated on the uniform row.
pub fn uniform_distance_px(grid: TokenGrid, patch_px: f64) -> f64 {
    Offsets::new(grid, patch_px, patch_px).uniform()
}

/// The mean entropy of a head's rows.
///
/// `mean_i (−Σ_j A[i, j] · ln A[i, j])` over all `T` raw rows, prefix queries and prefix columns included; `0 · ln 0` is 0.
/// The range is 0 (each token looks at one) to `ln T` (uniform).
///
/// # Shapes
/// `attention`: `[B, heads, T, T]`, rows after softmax; result: `[B, heads]`, in nats.
///
/// # Panics
/// If the last two sides differ.
///
/// # Source
/// Shannon entropy. All rows as they are: dropping the prefix would change the number.
pub fn entropy_nats(attention: ArrayView4<f32>) -> Array2<f64> {
    let (_, _, n_rows, n_cols) = attention.dim();
    assert_eq!(n_rows, n_cols, "entropy_nats: attention {:?} is not square", attention.dim());
    map_heads(attention, |rows| {
        let mut terms = vec![0.0; n_cols];
        let mut entropy = |row: &[f32]| {
            for (term, &p) in terms.iter_mut().zip(row) {
                // Any finite logarithm will do for 0.
                *term = f64::from(p) * ln(p.max(f32::MIN_POSITIVE));
            }
            -in_lanes(&terms, |&term| term)
        };
        rows.chunks_exact(n_cols).map(&mut entropy).sum::<f64>() / n_rows as f64
    })
}

/// The share of the patch queries' attention that goes to the class token.
///
/// `mean_{q ∈ patches} A[q, 0]`, raw rows. Uniform attention gives `1 / T`.
///
/// # Shapes
/// `attention`: `[B, heads, T, T]`, rows after softmax; result: `[B, heads]`, a ratio 0–1.
///
/// # Panics
/// If `T` is not `n_prefix + h · w`, or if there is no prefix token.
///
/// # Source
/// Walmer et al., CVPR 2023, attention from spatial tokens to the class token. *Differs*: their released code reads
/// column 1, the first patch; this reads column 0, the class token.
pub fn cls_share(attention: ArrayView4<f32>, grid: TokenGrid) -> Array2<f64> {
    check(attention.dim(), grid);
    assert!(grid.n_prefix > 0, "cls_share: the tokens have no class token");
    let (n_tokens, n_patches) = (grid.n_tokens(), grid.n_patches());
    map_heads(attention, |rows| {
        let patch_rows = rows.chunks_exact(n_tokens).skip(grid.n_prefix);
        patch_rows.map(|row| f64::from(row[0])).sum::<f64>() / n_patches as f64
    })
}

/// The share of the patch queries' attention that goes to a range of tokens: registers, say.
///
/// `mean_{q ∈ patches} Σ_{k ∈ keys} A[q, k]`, raw rows.
///
/// # Shapes
/// `attention`: `[B, heads, T, T]`, rows after softmax; result: `[B, heads]`, a ratio 0–1.
///
/// # Panics
/// If `T` is not `n_prefix + h · w`, or `keys` reaches beyond it.
///
/// # Source
/// As [`cls_share`], for any columns.
pub fn share(attention: ArrayView4<f32>, grid: TokenGrid, keys: Range<usize>) -> Array2<f64> {
    check(attention.dim(), grid);
    let (n_tokens, n_patches) = (grid.n_tokens(), grid.n_patches());
    map_heads(attention, |rows| {
        let patch_rows = rows.chunks_exact(n_tokens).skip(grid.n_prefix);
        let of_row = |row: &[f32]| row[keys.clone()].iter().map(|&p| f64::from(p)).sum::<f64>();
        patch_rows.map(of_row).sum::<f64>() / n_patches as f64
    })
}

/// How much a head's rows differ from query to query: 0 where all queries look alike.
///
/// `mean_k std_q A[q, k]` over patches, raw rows, the deviation with `N − 1`.
///
/// # Shapes
/// `attention`: `[B, heads, T, T]`, rows after softmax; result: `[B, heads]`; 0 for a single patch.
///
/// # Panics
/// If `T` is not `n_prefix + h · w`.
///
/// # Source
/// Walmer et al., CVPR 2023, deviation over positions.
pub fn deviation_over_queries(attention: ArrayView4<f32>, grid: TokenGrid) -> Array2<f64> {
    check(attention.dim(), grid);
    map_heads(attention, |rows| {
        let mut spread = Spread::of_width(grid.n_patches());
        rows.chunks_exact(grid.n_tokens())
            .skip(grid.n_prefix)
            .for_each(|row| spread.add(&row[grid.n_prefix..]));
        spread.take_deviations() / grid.n_patches() as f64
    })
}

/// How much the heads of a block differ from one another: 0 where all look alike.
///
/// `mean_{q, k} std_head A[head, q, k]` over patches, raw rows, the deviation with `heads − 1`.
///
/// # Shapes
/// `attention`: `[B, heads, T, T]`, rows after softmax; result: `[B]`; 0 for a single head.
///
/// # Panics
/// If `T` is not `n_prefix + h · w`.
///
/// # Source
/// Walmer et al., CVPR 2023, deviation over heads.
pub fn deviation_over_heads(attention: ArrayView4<f32>, grid: TokenGrid) -> Array1<f64> {
    check(attention.dim(), grid);
    let t = grid.n_tokens();
    let attention = attention.as_standard_layout();
    let mut out = Array1::zeros(attention.dim().0);
    Zip::from(&mut out).and(attention.outer_iter()).par_for_each(|value, heads| {
        let maps = heads.to_slice().expect("standard layout lies in one piece");
        let mut spread = Spread::of_width(grid.n_patches());
        let of_query = |query: usize| {
            let rows = maps.chunks_exact(t * t).map(|map| &map[query * t + grid.n_prefix..(query + 1) * t]);
            rows.for_each(|row| spread.add(row));
            spread.take_deviations()
        };
        let sum: f64 = (grid.n_prefix..t).map(of_query).sum();
        *value = sum / (grid.n_patches() * grid.n_patches()) as f64;
    });
    out
}

/// How far rows are apart, column by column, from sums of differences from the first row.
struct Spread {
    n: usize,
    first: Vec<f32>,
    sum: Vec<f64>,
    squares: Vec<f64>,
}

impl Spread {
    fn of_width(width: usize) -> Self {
        Self { n: 0, first: vec![0.0; width], sum: vec![0.0; width], squares: vec![0.0; width] }
    }

    fn add(&mut self, row: &[f32]) {
        self.n += 1;
        if self.n == 1 {
            self.first.copy_from_slice(row);
            self.sum.fill(0.0);
            self.squares.fill(0.0);
            return;
        }
        let sums = self.sum.iter_mut().zip(&mut self.squares);
        for ((sum, square), (&x, &first)) in sums.zip(row.iter().zip(&self.first)) {
            let away = f64::from(x) - f64::from(first);
            *sum += away;
            *square += away * away;
        }
    }

    /// `Σ` over columns of the standard deviation with `n − 1`, 0 of fewer than two rows; nothing was added afterwards.
    fn take_deviations(&mut self) -> f64 {
        let n = std::mem::take(&mut self.n) as f64;
        if n < 2.0 {
            return 0.0;
        }
        for (square, &sum) in self.squares.iter_mut().zip(&self.sum) {
            *square = ((*square - sum * sum / n).max(0.0) / (n - 1.0)).sqrt();
        }
        in_lanes(&self.squares, |&deviation| deviation)
    }
}

/// The lanes in which sums are kept: several additions at once, the same on every machine.
const LANES: usize = 8;

/// `Σ of(x)` in eight lanes, which are added in a fixed order.
pub(crate) fn in_lanes<T>(values: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += of(x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += of(x);
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// `Σ x`
pub(crate) fn mass(row: &[f32]) -> f64 {
    in_lanes(row, |&x| f64::from(x))
}

/// The maps of one head, image after image, each `T · T` values row by row, of attention `[B, heads, T, T]` in one piece.
pub(crate) fn maps_of_head(
    values: &[f32],
    (n_heads, t): (usize, usize),
    head: usize,
) -> impl Iterator<Item = &[f32]> {
    values.chunks_exact(t * t).skip(head).step_by(n_heads)
}

/// The natural logarithm of a normal number above 0 to twelve digits, without branches, so that it is computed for several at
/// once.
///
/// `x = 2^e m` with `m` in √½–√2, `ln m = 2 artanh((m − 1) / (m + 1))` as its series up to the 15th power.
fn ln(x: f32) -> f64 {
    // Half of the mantissa's range above √½ goes to the next power of two.
    const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
    let shifted = x.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let e = f64::from(shifted as i32 >> 23);
    let m = f64::from(f32::from_bits((shifted & 0x007f_ffff).wrapping_add(SQRT_HALF_BITS)));
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let series = 1.0 / 15.0;
    let series = series * z + 1.0 / 13.0;
    let series = series * z + 1.0 / 11.0;
    let series = series * z + 1.0 / 9.0;
    let series = series * z + 1.0 / 7.0;
    let series = series * z + 1.0 / 5.0;
    let series = series * z + 1.0 / 3.0;
    e * std::f64::consts::LN_2 + 2.0 * s * (series * z + 1.0)
}

/// Distances between patches, by how far they are apart in columns and rows.
struct Offsets {
    grid: TokenGrid,
    /// `[h, 2w − 1]`: column `w − 1 + Δx` of row `|Δy|`, so that the keys of one row read one contiguous piece.
    distances: Array2<f64>,
}

impl Offsets {
    fn new(grid: TokenGrid, x_pitch: f64, y_pitch: f64) -> Self {
        assert!(grid.n_patches() > 0, "attention: a grid of {} × {} patches", grid.h, grid.w);
        let distances = Array2::from_shape_fn((grid.h, 2 * grid.w - 1), |(dy, column)| {
            let dx = column as f64 - (grid.w - 1) as f64;
            (dx * x_pitch).hypot(dy as f64 * y_pitch)
        });
        Self { grid, distances }
    }

    /// The distances from column `query_col` to every column, `|Δy| = dy` rows away; `[w]`.
    fn row(&self, dy: usize, query_col: usize) -> &[f64] {
        let start = self.grid.w - 1 - query_col;
        let row = self.distances.row(dy).to_slice().expect("rows of a fresh array lie in one piece");
        &row[start..start + self.grid.w]
    }

    /// `Σ_k A'[q, k] · distance(q, k)` for one query, whose raw patch columns are `row`, `[N]`.
    fn of_query(&self, query: usize, row: &[f32]) -> f64 {
        let (query_row, query_col) = (query / self.grid.w, query % self.grid.w);
        let (mut mass, mut moment) = (0.0f64, 0.0f64);
        for (key_row, weights) in row.chunks_exact(self.grid.w).enumerate() {
            let distances = self.row(query_row.abs_diff(key_row), query_col);
            for (&weight, &distance) in weights.iter().zip(distances) {
                mass += f64::from(weight);
                moment += f64::from(weight) * distance;
            }
        }
        if mass == 0.0 { 0.0 } else { moment / mass }
    }

    fn uniform(&self) -> f64 {
        let (n, ones) = (self.grid.n_patches(), vec![1.0; self.grid.n_patches()]);
        (0..n).map(|query| self.of_query(query, &ones)).sum::<f64>() / n as f64
    }
}

/// The distance between neighbours when a side of `n` patches is 1 long.
fn unit_pitch(n: usize) -> f64 {
    if n > 1 { 1.0 / (n - 1) as f64 } else { 0.0 }
}

fn mean_distance(attention: ArrayView4<f32>, grid: TokenGrid, offsets: &Offsets) -> Array2<f64> {
    check(attention.dim(), grid);
    map_heads(attention, |rows| {
        let patch_rows = rows.chunks_exact(grid.n_tokens()).skip(grid.n_prefix);
        let of_row = |(query, row): (usize, &[f32])| offsets.of_query(query, &row[grid.n_prefix..]);
        patch_rows.enumerate().map(of_row).sum::<f64>() / grid.n_patches() as f64
    })
}

/// Applies `of_head` to the `T · T` values of each image and head; heads run in parallel, each summed by one thread.
fn map_heads(attention: ArrayView4<f32>, of_head: impl Fn(&[f32]) -> f64 + Sync) -> Array2<f64> {
    let (b, heads, _, _) = attention.dim();
    let mut out = Array2::zeros((b, heads));
    Zip::indexed(&mut out).par_for_each(|(image, head), value| {
        let map: ArrayView2<f32> = attention.index_axis_move(Axis(0), image).index_axis_move(Axis(0), head);
        let map = map.as_standard_layout();
        *value = of_head(map.as_slice().expect("standard layout lies in one piece"));
    });
    out
}

pub(crate) fn check((_, _, n_rows, n_cols): (usize, usize, usize, usize), grid: TokenGrid) {
    let n_tokens = grid.n_tokens();
    assert_eq!(
        (n_rows, n_cols),
        (n_tokens, n_tokens),
        "attention of {n_rows} × {n_cols} tokens does not fit {grid:?}, {n_tokens} tokens"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array4, array};
    use proptest::prelude::*;

    fn square(n_prefix: usize, side: usize) -> TokenGrid {
        TokenGrid { n_prefix, h: side, w: side }
    }

    #[test]
    fn the_logarithm_is_that_of_the_library() {
        let edge = std::f32::consts::FRAC_1_SQRT_2;
        for x in [
            f32::MIN_POSITIVE,
            1e-9,
            0.3,
            0.499,
            0.5,
            edge - 1e-5,
            edge - f32::EPSILON,
            edge,
            0.7072,
            0.999,
            1.0,
            1.0001,
            1.414,
            1.415,
            2.0,
            1e9,
        ] {
            let (ours, theirs) = (ln(x), f64::from(x).ln());
            // What the series leaves out is below 1e-12 of a number near 0, far below the rounding of attention.
            assert!((ours - theirs).abs() <= 2e-12 * theirs.abs().max(1.0), "{x}: {ours} {theirs}");
        }
        assert_eq!(ln(1.0), 0.0);
    }

    fn uniform(grid: TokenGrid) -> Array4<f32> {
        let t = grid.n_tokens();
        Array4::from_elem((1, 1, t, t), 1.0 / t as f32)
    }

    #[test]
    fn uniform_attention_has_the_published_distances() {
        for (side, patch_px, unit, px) in [
            (7, 32.0, 0.601578, 115.503),
            (14, 16.0, 0.560059, 116.492),
            (16, 14.0, 0.555072, 116.565),
            (28, 8.0, 0.540378, 116.722),
        ] {
            let grid = square(1, side);
            assert!((uniform_distance_unit_square(grid) - unit).abs() < 5e-7, "{side}");
            assert!((uniform_distance_px(grid, patch_px) - px).abs() < 5e-4, "{side}");
            let attention = uniform(grid);
            let found = mean_distance_unit_square(attention.view(), grid)[[0, 0]];
            assert!((found - uniform_distance_unit_square(grid)).abs() < 1e-12, "{side}");
            let found = mean_distance_px(attention.view(), grid, patch_px)[[0, 0]];
            assert!((found - uniform_distance_px(grid, patch_px)).abs() < 1e-9, "{side}");
        }
    }

    #[test]
    fn statistics_of_two_patches_by_hand() {
        // Tokens: class, left patch, right patch. Patch rows without the class column: (.25, .25) and (.6, .2).
        let attention = array![[[[0.0, 0.5, 0.5], [0.5, 0.25, 0.25], [0.2, 0.6, 0.2]]]];
        let grid = TokenGrid { n_prefix: 1, h: 1, w: 2 };
        // Left looks right with 1/2, right looks left with 3/4; the patches are 1 apart: (1/2 + 3/4) / 2.
        assert!((mean_distance_unit_square(attention.view(), grid)[[0, 0]] - 0.625).abs() < 1e-7);
        assert!((mean_distance_px(attention.view(), grid, 8.0)[[0, 0]] - 5.0).abs() < 1e-6);
        assert!((cls_share(attention.view(), grid)[[0, 0]] - 0.35).abs() < 1e-7);
        // Entropies: ln 2 = .693147; 1.5 ln 2 = 1.039721; −(.4 ln .2 + .6 ln .6) = .950271. Mean .894380.
        assert!((entropy_nats(attention.view())[[0, 0]] - 0.894380).abs() < 1e-6);
    }

    #[test]
    fn shares_and_deviations_of_two_patches_by_hand() {
        let rows = [[0.0, 0.5, 0.5], [0.5, 0.25, 0.25], [0.2, 0.6, 0.2]];
        let even = [[1.0 / 3.0; 3]; 3];
        let attention =
            Array4::from_shape_fn((1, 2, 3, 3), |(_, head, q, k)| [rows, even][head][q][k] as f32);
        let grid = TokenGrid { n_prefix: 1, h: 1, w: 2 };
        // Patch queries on the class token: (.5 + .2) / 2; on the right patch: (.25 + .2) / 2.
        assert!((share(attention.view(), grid, 0..1)[[0, 0]] - 0.35).abs() < 1e-7);
        assert!((share(attention.view(), grid, 2..3)[[0, 0]] - 0.225).abs() < 1e-7);
        assert_eq!(share(attention.view(), grid, 0..1), cls_share(attention.view(), grid));
        // Of two values the deviation is their difference by √2: keys .25, .6 and .25, .2.
        let over_queries = deviation_over_queries(attention.view(), grid);
        assert!((over_queries[[0, 0]] - (0.35 + 0.05) / 2.0 / 2f64.sqrt()).abs() < 1e-7);
        assert!(over_queries[[0, 1]].abs() < 1e-12);
        // Heads differ by .25 − 1/3 (twice), .6 − 1/3, .2 − 1/3: (.0833 · 2 + .2667 + .1333) / 4 by √2.
        let over_heads = deviation_over_heads(attention.view(), grid)[0];
        assert!((over_heads - (2.0 / 12.0 + 4.0 / 15.0 + 2.0 / 15.0) / 4.0 / 2f64.sqrt()).abs() < 1e-7);
    }

    #[test]
    fn a_row_with_nothing_left_counts_as_zero() {
        let attention = array![[[[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]];
        let grid = TokenGrid { n_prefix: 1, h: 1, w: 2 };
        assert_eq!(mean_distance_unit_square(attention.view(), grid)[[0, 0]], 0.5);
    }

    #[test]
    fn a_grid_of_one_patch_has_no_distance() {
        let grid = square(1, 1);
        assert_eq!(mean_distance_unit_square(uniform(grid).view(), grid)[[0, 0]], 0.0);
        assert_eq!(uniform_distance_unit_square(grid), 0.0);
    }

    #[test]
    #[should_panic(expected = "attention of 5 × 5 tokens does not fit")]
    fn a_wrong_grid_is_a_mistake() {
        mean_distance_px(Array4::zeros((1, 1, 5, 5)).view(), square(0, 2), 1.0);
    }

    /// Attention rows over a random grid with random prefix.
    fn attention() -> impl Strategy<Value = (TokenGrid, Array4<f32>)> {
        (0usize..3, 1usize..5, 1usize..5).prop_flat_map(|(n_prefix, h, w)| {
            let grid = TokenGrid { n_prefix, h, w };
            let t = grid.n_tokens();
            proptest::collection::vec(0.01f32..1.0, 2 * t * t).prop_map(move |values| {
                let mut attention = Array4::from_shape_vec((1, 2, t, t), values).expect("counted");
                for mut row in attention.rows_mut() {
                    let sum = row.sum();
                    row /= sum;
                }
                (grid, attention)
            })
        })
    }

    proptest! {
        #[test]
        fn distances_scale_with_the_pitch_and_stay_in_the_square((grid, attention) in attention()) {
            let unit = mean_distance_unit_square(attention.view(), grid);
            let px = mean_distance_px(attention.view(), grid, 16.0);
            prop_assert!(unit.iter().all(|&d| (0.0..=2f64.sqrt()).contains(&d)));
            if grid.h == grid.w {
                let scaled = unit * ((grid.w - 1) as f64 * 16.0);
                prop_assert!((&scaled - &px).iter().all(|d| d.abs() < 1e-9));
            }
        }

        #[test]
        fn attention_to_oneself_has_no_distance_and_no_entropy(n_prefix in 0usize..3, h in 1usize..5, w in 1usize..5) {
            let grid = TokenGrid { n_prefix, h, w };
            let t = grid.n_tokens();
            let attention = Array4::from_shape_fn((1, 1, t, t), |(_, _, i, j)| f32::from(i == j));
            prop_assert_eq!(mean_distance_unit_square(attention.view(), grid)[[0, 0]], 0.0);
            prop_assert_eq!(entropy_nats(attention.view())[[0, 0]], 0.0);
        }

        #[test]
        fn entropy_is_at_most_that_of_uniform_rows((grid, attention) in attention()) {
            let bound = (grid.n_tokens() as f64).ln() + 1e-6;
            prop_assert!(entropy_nats(attention.view()).iter().all(|&h| (0.0..=bound).contains(&h)));
        }

        #[test]
        fn transposing_grid_and_tokens_changes_nothing((grid, attention) in attention()) {
            let turned = TokenGrid { n_prefix: grid.n_prefix, h: grid.w, w: grid.h };
            let source = |token: usize| if token < grid.n_prefix { token } else {
                let patch = token - grid.n_prefix;
                grid.n_prefix + patch % turned.w * grid.w + patch / turned.w
            };
            let (b, heads, t, _) = attention.dim();
            let moved = Array4::from_shape_fn((b, heads, t, t), |(b, head, i, j)| {
                attention[[b, head, source(i), source(j)]]
            });
            let before = mean_distance_unit_square(attention.view(), grid);
            let after = mean_distance_unit_square(moved.view(), turned);
            prop_assert!((before - after).iter().all(|d| d.abs() < 1e-12));
        }
    }
}
