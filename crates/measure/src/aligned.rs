//! Where attention looks from the place of the query: aligned maps, their offset, and the kinds of heads they tell.

use crate::attention::{TokenGrid, check, maps_of_head, mass};
use ndarray::{Array2, Array3, ArrayView2, ArrayView4};
use rayon::prelude::*;

/// Adds each head's aligned map, every patch query's row laid over one canvas so that the query lies in its middle, and the
/// rows themselves: where all look together.
///
/// `canvas[h − 1 + Δrow, w − 1 + Δcolumn] += A'[q, k]` and `common[k] += A'[q, k]`, where prefix tokens are dropped from rows and
/// columns and `A'` are the rows divided by what remains. A row with nothing left adds nothing.
///
/// # Shapes
/// - `attention`: `[B, heads, T, T]`, rows after softmax
/// - `aligned`: `[heads, 2h − 1, 2w − 1]`
/// - `common`: `[heads, N]`
///
/// # Panics
/// If the shapes do not fit the grid.
///
/// # Source
/// Walmer et al., CVPR 2023, aligned aggregated attention maps, and the aggregated maps of mode *spcpure*. As there, outer cells
/// of the canvas are not corrected for being in reach of fewer queries.
pub fn add_aligned_maps(
    attention: ArrayView4<f32>,
    grid: TokenGrid,
    aligned: &mut Array3<f64>,
    common: &mut Array2<f64>,
) {
    check(attention.dim(), grid);
    let (_, heads, t, _) = attention.dim();
    let expected = (heads, 2 * grid.h - 1, 2 * grid.w - 1);
    assert_eq!(aligned.dim(), expected, "aligned maps of {heads} heads on {grid:?}");
    assert_eq!(common.dim(), (heads, grid.n_patches()), "mean rows of {heads} heads on {grid:?}");
    let attention = attention.as_standard_layout();
    let values = attention.as_slice().expect("standard layout lies in one piece");
    let sums: Vec<Laid> = (0..heads)
        .into_par_iter()
        .map(|head| {
            let mut laid = Laid::on(grid);
            maps_of_head(values, (heads, t), head).for_each(|map| laid.add(map));
            laid
        })
        .collect();
    for (laid, (mut aligned, mut common)) in
        sums.iter().zip(aligned.outer_iter_mut().zip(common.outer_iter_mut()))
    {
        aligned.iter_mut().zip(&laid.canvas).for_each(|(sum, mass)| *sum += mass);
        common.iter_mut().zip(&laid.common).for_each(|(sum, mass)| *sum += mass);
    }
}

/// The rows of one head, laid over a canvas and over one another.
struct Laid {
    grid: TokenGrid,
    canvas: Vec<f64>,
    common: Vec<f64>,
    /// One row without the prefix, divided by its sum.
    row: Vec<f64>,
}

impl Laid {
    fn on(grid: TokenGrid) -> Self {
        let n = grid.n_patches();
        let canvas = vec![0.0; (2 * grid.h - 1) * (2 * grid.w - 1)];
        Self { grid, canvas, common: vec![0.0; n], row: vec![0.0; n] }
    }

    fn add(&mut self, map: &[f32]) {
        let TokenGrid { n_prefix, h, w } = self.grid;
        for (query, row) in map.chunks_exact(self.grid.n_tokens()).skip(n_prefix).enumerate() {
            let keys = &row[n_prefix..];
            let mass = mass(keys);
            if mass == 0.0 {
                continue;
            }
            let scale = 1.0 / mass;
            for ((share, sum), &weight) in self.row.iter_mut().zip(&mut self.common).zip(keys) {
                *share = f64::from(weight) * scale;
                *sum += *share;
            }
            // A row of the grid lies in a row of the canvas, in one piece.
            let (top, left) = (h - 1 - query / w, w - 1 - query % w);
            let canvas = self.canvas.chunks_exact_mut(2 * w - 1).skip(top);
            for (out, shares) in canvas.zip(self.row.chunks_exact(w)) {
                out[left..left + w].iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
            }
        }
    }
}

/// The center of mass of an aligned map, `(x, y)`: how far, and in which direction, a head looks past the query.
///
/// Coordinates run from −1 to 1 over the canvas, x to the right and y down; a step of one token is `1 / (w − 1)`. A map
/// without mass has `(0, 0)`.
///
/// # Shapes
/// `map`: `[2h − 1, 2w − 1]`
///
/// # Source
/// Walmer et al., CVPR 2023, attention offset.
pub fn offset_xy(map: ArrayView2<f64>) -> (f64, f64) {
    let (rows, columns) = map.dim();
    let half = |n: usize| (n - 1).max(1) as f64 / 2.0;
    let (mut mass, mut x, mut y) = (0.0, 0.0, 0.0);
    for ((row, column), &weight) in map.indexed_iter() {
        mass += weight;
        x += weight * (column as f64 - (columns - 1) as f64 / 2.0);
        y += weight * (row as f64 - (rows - 1) as f64 / 2.0);
    }
    if mass == 0.0 { (0.0, 0.0) } else { (x / mass / half(columns), y / mass / half(rows)) }
}

/// What a head does, judged by its aligned map and by where all queries look together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeadKind {
    /// Every query looks at the same few patches.
    SparseRepeating,
    /// Each query looks at itself.
    StrictLocal,
    /// Each query looks at a neighbor in one direction: an Offset Local Attention Head.
    OffsetLocal,
    /// Each query looks along its row or its column.
    AxialLocal,
    /// Each query looks at its surroundings.
    SoftLocal,
    /// None of these.
    Other,
}

impl HeadKind {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::SparseRepeating => "sparse-repeating",
            Self::StrictLocal => "strict-local",
            Self::OffsetLocal => "offset-local",
            Self::AxialLocal => "axial-local",
            Self::SoftLocal => "soft-local",
            Self::Other => "other",
        }
    }
}

/// The least offset of an offset local head, in tokens.
pub const OFFSET_TOKENS: f64 = 0.5;
/// The least share of the mass that an offset local head has in the 3 × 3 tokens around its peak.
pub const PEAK_SHARE: f64 = 0.25;
/// The greatest mean distance of a local head, in tokens.
pub const LOCAL_TOKENS: f64 = 3.0;
/// The same as a share of the distance of uniform attention, for small grids.
pub const LOCAL_SHARE_OF_UNIFORM: f64 = 0.5;
/// The least share of the mass that a strict local head has on the query itself, an axial one on its row or column.
pub const MOST: f64 = 0.5;
/// How many times wider along its axis than across an axial head is.
pub const AXIAL_RATIO: f64 = 1.5;
/// The greatest share of the patches at which a sparse repeating head's queries look together.
pub const SPARSE_SHARE: f64 = 0.1;

/// What a head's maps say of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadShape {
    /// Center of mass, −1 to 1 over the canvas: to the right and down.
    pub offset_xy: (f64, f64),
    /// Length of the offset in tokens.
    pub offset_tokens: f64,
    /// Where the aligned map is greatest, in tokens to the right and down of the query.
    pub peak_xy: (i64, i64),
    /// Share of the mass in the 3 × 3 tokens around the peak.
    pub peak_share: f64,
    /// Share of the mass on the query itself.
    pub self_share: f64,
    /// Mean distance in tokens.
    pub distance_tokens: f64,
    /// The same of attention that is equal everywhere.
    pub uniform_distance_tokens: f64,
    /// Share of the mass on the query's row or on its column, whichever is greater.
    pub axis_share: f64,
    /// Root mean square displacement along that axis over that across it.
    pub axis_ratio: f64,
    /// At how many patches all queries look together: `exp(entropy)` of the mean row, as a share of the patches.
    pub common_share: f64,
}

impl HeadShape {
    /// The shape of a head from its aligned map and from the mean row over patch queries; sums will do for both.
    ///
    /// # Shapes
    /// `aligned`: `[2h − 1, 2w − 1]`; `common`: `[h, w]`
    ///
    /// # Panics
    /// If they do not fit the grid.
    ///
    /// # Source
    /// The offset of Walmer et al., CVPR 2023; they tell kinds by eye, the numbers here are ours.
    pub fn of(aligned: ArrayView2<f64>, common: ArrayView2<f64>, grid: TokenGrid) -> Self {
        let (h, w) = (grid.h, grid.w);
        assert_eq!(aligned.dim(), (2 * h - 1, 2 * w - 1), "an aligned map on {grid:?}");
        assert_eq!(common.dim(), (h, w), "a mean row on {grid:?}");
        let mass = aligned.sum();
        let share = |part: f64| if mass == 0.0 { 0.0 } else { part / mass };
        let by_token = || {
            aligned.indexed_iter().map(|((row, column), &weight)| {
                ((column as i64 - (w as i64 - 1), row as i64 - (h as i64 - 1)), weight)
            })
        };
        let sum_of = |wanted: &dyn Fn(i64, i64) -> f64| {
            share(by_token().map(|((dx, dy), weight)| weight * wanted(dx, dy)).sum())
        };
        let within = |inside: bool| f64::from(u8::from(inside));
        let mut peak = ((0, 0), 0.0);
        for (at, weight) in by_token() {
            if weight > peak.1 {
                peak = (at, weight);
            }
        }
        let (px, py) = peak.0;
        let (mean_dx, mean_dy) = (sum_of(&|dx, _| dx as f64), sum_of(&|_, dy| dy as f64));
        let across = |squared: f64| squared.max(0.0).sqrt();
        let rms_x = across(sum_of(&|dx, _| (dx * dx) as f64));
        let rms_y = across(sum_of(&|_, dy| (dy * dy) as f64));
        let on_row = sum_of(&|_, dy| within(dy == 0));
        let on_column = sum_of(&|dx, _| within(dx == 0));
        // Of a head that looks only at itself neither axis is the longer one.
        let ratio =
            |along: f64, across: f64| if along == 0.0 { 1.0 } else { along / across.max(1e-6 * along) };
        let (axis_share, axis_ratio) =
            if rms_x >= rms_y { (on_row, ratio(rms_x, rms_y)) } else { (on_column, ratio(rms_y, rms_x)) };
        Self {
            offset_xy: offset_xy(aligned),
            offset_tokens: mean_dx.hypot(mean_dy),
            peak_xy: peak.0,
            peak_share: sum_of(&|dx, dy| within((dx - px).abs() <= 1 && (dy - py).abs() <= 1)),
            self_share: sum_of(&|dx, dy| within(dx == 0 && dy == 0)),
            distance_tokens: sum_of(&|dx, dy| (dx as f64).hypot(dy as f64)),
            uniform_distance_tokens: uniform_distance_tokens(grid),
            axis_share,
            axis_ratio,
            common_share: common_share(common),
        }
    }

    /// The kind of the head; the first that fits, in the order of [`HeadKind`].
    ///
    /// - sparse repeating: [`Self::common_share`] at most [`SPARSE_SHARE`];
    /// - local: a mean distance of at most [`LOCAL_TOKENS`] and [`LOCAL_SHARE_OF_UNIFORM`]; and of these
    ///   - strict: [`MOST`] on the query itself;
    ///   - offset: an offset of at least [`OFFSET_TOKENS`], the peak on one of the 8 neighbors, and [`PEAK_SHARE`] around it;
    ///   - soft: the peak on the query or one of the 8 neighbors;
    /// - axial: [`MOST`] on the query's row or column, [`AXIAL_RATIO`] times longer than wide, and before soft.
    pub fn kind(&self) -> HeadKind {
        let (px, py) = self.peak_xy;
        let nearest = px.abs().max(py.abs());
        let reach = LOCAL_TOKENS.min(LOCAL_SHARE_OF_UNIFORM * self.uniform_distance_tokens);
        let is_local = self.distance_tokens <= reach;
        if self.common_share <= SPARSE_SHARE {
            return HeadKind::SparseRepeating;
        }
        if is_local && self.self_share >= MOST {
            return HeadKind::StrictLocal;
        }
        if is_local && self.offset_tokens >= OFFSET_TOKENS && nearest == 1 && self.peak_share >= PEAK_SHARE {
            return HeadKind::OffsetLocal;
        }
        if self.axis_share >= MOST && self.axis_ratio >= AXIAL_RATIO && nearest <= 1 {
            return HeadKind::AxialLocal;
        }
        if is_local && nearest <= 1 { HeadKind::SoftLocal } else { HeadKind::Other }
    }
}

/// `exp(entropy)` of a map of mass, as a share of its cells.
fn common_share(map: ArrayView2<f64>) -> f64 {
    let mass = map.sum();
    if mass == 0.0 {
        return 1.0;
    }
    let term = |&weight: &f64| if weight > 0.0 { -(weight / mass) * (weight / mass).ln() } else { 0.0 };
    map.iter().map(term).sum::<f64>().exp() / map.len() as f64
}

/// The mean distance of attention that is equal everywhere, in tokens.
fn uniform_distance_tokens(grid: TokenGrid) -> f64 {
    crate::attention::uniform_distance_px(grid, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array4, Axis, array};

    /// One head without prefix whose weight from a query to a key is a function of both places, rows normalized.
    fn head(side: usize, weight: impl Fn((i64, i64), (i64, i64)) -> f64) -> HeadShape {
        let grid = TokenGrid { n_prefix: 0, h: side, w: side };
        let n = grid.n_patches();
        let at = |token: usize| ((token % side) as i64, (token / side) as i64);
        let mut attention = Array4::from_shape_fn((1, 1, n, n), |(_, _, q, k)| weight(at(q), at(k)) as f32);
        for mut row in attention.rows_mut() {
            let sum = row.sum();
            row /= sum;
        }
        let mut aligned = Array3::zeros((1, 2 * side - 1, 2 * side - 1));
        let mut common = Array2::zeros((1, n));
        add_aligned_maps(attention.view(), grid, &mut aligned, &mut common);
        let common = common.into_shape_with_order((side, side)).expect("a grid");
        HeadShape::of(aligned.index_axis(Axis(0), 0), common.view(), grid)
    }

    fn one(yes: bool) -> f64 {
        f64::from(u8::from(yes))
    }

    #[test]
    fn a_map_of_two_patches_by_hand() {
        // Patches side by side; the class token before them. Without it: left looks (.5, .5), right (.75, .25).
        let attention = array![[[[0.0, 0.5, 0.5], [0.5, 0.25, 0.25], [0.2, 0.6, 0.2]]]];
        let grid = TokenGrid { n_prefix: 1, h: 1, w: 2 };
        let (mut sums, mut common) = (Array3::zeros((1, 1, 3)), Array2::zeros((1, 2)));
        add_aligned_maps(attention.view(), grid, &mut sums, &mut common);
        // To the left: right's .75; itself: .5 + .25; to the right: left's .5. Center of mass: (−.75 + .5) / 2.
        let expected = array![[[0.75, 0.75, 0.5]]];
        assert!((&sums - &expected).iter().all(|difference| difference.abs() < 1e-6), "{sums}");
        let (x, y) = offset_xy(sums.index_axis(Axis(0), 0));
        assert!((x + 0.125).abs() < 1e-6 && y == 0.0, "{x}, {y}");
        assert!((common[[0, 0]] - 1.25).abs() < 1e-6 && (common[[0, 1]] - 0.75).abs() < 1e-6);
    }

    #[test]
    fn a_head_that_looks_at_the_right_neighbor_is_one_token_off_but_for_the_border() {
        let shape = head(14, |q, k| one(k == ((q.0 + 1).min(13), q.1)));
        assert!((shape.offset_xy.0 - 1.0 / 14.0).abs() < 1e-7, "{shape:?}");
        assert!(shape.offset_xy.1.abs() < 1e-12);
        assert_eq!(shape.peak_xy, (1, 0));
        assert!((shape.offset_tokens - 13.0 / 14.0).abs() < 1e-6);
    }

    #[test]
    fn a_head_that_looks_everywhere_or_at_itself_has_no_offset() {
        let even = head(14, |_, _| 1.0);
        assert!(even.offset_xy.0.abs() < 1e-12 && even.offset_xy.1.abs() < 1e-12, "{even:?}");
        let own = head(14, |q, k| one(q == k));
        assert_eq!((own.offset_xy, own.self_share, own.distance_tokens), ((0.0, 0.0), 1.0, 0.0));
    }

    #[test]
    fn every_kind_of_head_is_found_and_none_is_taken_for_another() {
        type Weight = fn((i64, i64), (i64, i64)) -> f64;
        let distance = |q: (i64, i64), k: (i64, i64)| ((q.0 - k.0) as f64).hypot((q.1 - k.1) as f64);
        let kinds: [(HeadKind, Weight); 10] = [
            (HeadKind::StrictLocal, |q, k| one(q == k)),
            (HeadKind::StrictLocal, |q, k| (-2.5 * ((q.0 - k.0).pow(2) + (q.1 - k.1).pow(2)) as f64).exp()),
            (HeadKind::SoftLocal, |q, k| (-0.5 * ((q.0 - k.0).pow(2) + (q.1 - k.1).pow(2)) as f64).exp()),
            (HeadKind::OffsetLocal, |q, k| one(k.0 == q.0 + 1 && k.1 == q.1) + 1e-3 * one(k == q)),
            (HeadKind::OffsetLocal, |q, k| one(k.0 == q.0 && k.1 == q.1 - 1) + 1e-3 * one(k == q)),
            (HeadKind::OffsetLocal, |q, k| one(k.0 == q.0 - 1 && k.1 == q.1 + 1) + 1e-3 * one(k == q)),
            (HeadKind::AxialLocal, |q, k| one(q.1 == k.1) * (-0.5 * (q.0 - k.0).abs() as f64).exp()),
            (HeadKind::AxialLocal, |q, k| one(q.0 == k.0)),
            (HeadKind::SparseRepeating, |_, k| one(k == (2, 3) || k == (5, 1))),
            (HeadKind::Other, |_, _| 1.0),
        ];
        for side in [7, 14] {
            for (place, (expected, weight)) in kinds.iter().enumerate() {
                let shape = head(side, weight);
                assert_eq!(shape.kind(), *expected, "head {place} on {side} × {side}: {shape:?}");
            }
        }
        // With a tenth of the attention everywhere else, as in trained models, the kinds are still told.
        for (place, (expected, weight)) in kinds.iter().enumerate() {
            let sum = |q: (i64, i64)| -> f64 {
                (0..14 * 14).map(|k| weight(q, (k % 14, k / 14))).sum::<f64>().max(f64::MIN_POSITIVE)
            };
            let sums: Vec<f64> = (0..14 * 14).map(|q| sum((q % 14, q / 14))).collect();
            let mixed = head(14, |q, k| 0.9 * weight(q, k) / sums[(q.1 * 14 + q.0) as usize] + 0.1 / 196.0);
            assert_eq!(mixed.kind(), *expected, "head {place}: {mixed:?}");
        }
        // Far away in one direction is not local, and neither is a ring around the query.
        let far = head(14, |q, k| one(k.0 == q.0 + 6 && k.1 == q.1) + 1e-3 * one(k == q));
        assert_eq!(far.kind(), HeadKind::Other, "{far:?}");
        let ring = head(14, |q, k| one((distance(q, k) - 5.0).abs() < 0.5));
        assert_eq!(ring.kind(), HeadKind::Other, "{ring:?}");
    }
}
