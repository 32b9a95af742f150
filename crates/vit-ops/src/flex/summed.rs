//! Maps of attention, summed row by row while the rows are in the cache.
//!
//! Sums run in f32 over the queries of a tile, at most [`TILE`](super::attention::TILE) of them, and in f64 over tiles. Loops over numbers count
//! their places: iterators that are zipped together are not always compiled into the kernel that they stand in.

#![allow(clippy::needless_range_loop, reason = "see above")]

use super::simd::{LANES, fold, row_sum, simd};
use crate::{AttentionGrid, AttentionRow};

/// Columns of a canvas that are added at once; rows of the canvas have room for so many after their last.
const STEP: usize = 8;

#[inline(always)]
fn add(into: &mut [f32], row: &[f32]) {
    let row = &row[..into.len()];
    for i in 0..into.len() {
        into[i] += row[i];
    }
}

/// How the sums of one head lie one behind the other.
#[derive(Clone, Copy)]
struct Layout {
    grid: AttentionGrid,
    /// Patches.
    n: usize,
    /// Tokens.
    t: usize,
    /// Numbers from one row of the canvas to the next.
    stride: usize,
}

impl Layout {
    fn of(grid: AttentionGrid) -> Self {
        let n = grid.rows * grid.columns;
        let stride = grid.columns - 1 + grid.columns.next_multiple_of(STEP);
        Self { grid, n, t: grid.n_prefix + n, stride }
    }

    fn canvas(self) -> usize {
        (2 * self.grid.rows - 1) * self.stride
    }

    /// Rows of the prefix and of the patches `[T]` each; rows without the prefix, differences from the first patch's row and
    /// their squares, `[N]` each.
    fn rows(self) -> usize {
        2 * self.t + 3 * self.n
    }
}

/// Adds a few columns of a row of patches to the canvas.
#[inline(always)]
fn lay(out: &mut [f32; STEP], share: &[f32; STEP], inside: &[f32; STEP]) {
    let mut sums = [0.0; STEP];
    for i in 0..STEP {
        sums[i] = out[i] + share[i] * inside[i];
    }
    *out = sums;
}

/// Adds a query's rows of patches to the rows of the canvas that they fall on, the first of them at the start of `canvas`.
#[inline(always)]
fn lay_rows(canvas: &mut [f32], share: &[f32], inside: &[[f32; STEP]], stride: usize, w: usize, h: usize) {
    for key_row in 0..h {
        let (out, _) = canvas[key_row * stride..].as_chunks_mut::<STEP>();
        let (shares, _) = share[key_row * w..].as_chunks::<STEP>();
        for step in 0..inside.len() {
            lay(&mut out[step], &shares[step], &inside[step]);
        }
    }
}

/// Adds how far a row is from the anchor.
#[inline(always)]
fn add_apart(row: &[f32], anchor: &[f32], away: &mut [f32], squares: &mut [f32]) {
    let n = row.len();
    let (anchor, away, squares) = (&anchor[..n], &mut away[..n], &mut squares[..n]);
    for i in 0..n {
        let apart = row[i] - anchor[i];
        away[i] += apart;
        squares[i] += apart * apart;
    }
}

#[inline(always)]
fn scaled(into: &mut [f32], row: &[f32], by: f32) {
    let into = &mut into[..row.len()];
    for i in 0..row.len() {
        into[i] = row[i] * by;
    }
}

simd! {
    /// Adds rows of patches, `[rows, t]`, to the canvas of a head, and to its rows where they are wanted.
    fn add_patches(rows: &[f32], first_patch: usize, maps: &mut HeadMaps) {
        let HeadMaps { layout, share, inside, canvas: (canvas, _), rows: (sums, _), anchor, .. } = maps;
        let Layout { grid: AttentionGrid { n_prefix, rows: h, columns: w }, n, t, stride } = *layout;
        let (inside, _) = inside.as_chunks::<STEP>();
        for at in 0..rows.len() / t {
            let (patch, row) = (first_patch + at, &rows[at * t..][..t]);
            let keys = &row[n_prefix..];
            let mass = row_sum(keys);
            scaled(share, keys, if mass > 0.0 { 1.0 / mass } else { 0.0 });
            let from = (h - 1 - patch / w) * stride + w - 1 - patch % w;
            lay_rows(&mut canvas[from..], share, inside, stride, w, h);
            if sums.is_empty() {
                continue;
            }
            let (whole, rest) = sums[t..].split_at_mut(t);
            let (alone, rest) = rest.split_at_mut(n);
            let (away, squares) = rest.split_at_mut(n);
            add(whole, row);
            add(alone, &share[..n]);
            add_apart(keys, anchor, away, squares);
        }
    }
}

simd! {
    /// Adds rows of the prefix, `[rows, t]`.
    fn add_prefix(rows: &[f32], t: usize, sums: &mut [f32]) {
        for row in rows.chunks_exact(t) {
            add(&mut sums[..t], row);
        }
    }
}

simd! {
    /// Adds the sums of a tile to those of all tiles, and begins anew.
    fn settle(whole: &mut [f64], tile: &mut [f32]) {
        let tile = &mut tile[..whole.len()];
        for i in 0..whole.len() {
            whole[i] += f64::from(tile[i]);
            tile[i] = 0.0;
        }
    }
}

/// The sums of one head over the rows of one image.
pub(super) struct HeadMaps {
    layout: Layout,
    has_rows: bool,
    /// One of the tile's rows without the prefix, divided by its sum, with room behind.
    share: Vec<f32>,
    /// 1 for the columns of a row of patches, 0 behind.
    inside: Vec<f32>,
    canvas: (Vec<f32>, Vec<f64>),
    rows: (Vec<f32>, Vec<f64>),
    /// The first token's row, that of the patch in the middle, and that of the first patch without the prefix.
    first: Vec<f32>,
    center: Vec<f32>,
    anchor: Vec<f32>,
}

impl HeadMaps {
    /// No sums yet; of rows only where they are wanted.
    pub(super) fn on(grid: AttentionGrid, has_rows: bool) -> Self {
        let layout = Layout::of(grid);
        let n_of_rows = if has_rows { layout.rows() } else { 0 };
        let inside = |column: usize| if column < grid.columns { 1.0 } else { 0.0 };
        Self {
            layout,
            has_rows,
            share: vec![0.0; layout.n + STEP],
            inside: (0..grid.columns.next_multiple_of(STEP)).map(inside).collect(),
            canvas: (vec![0.0; layout.canvas()], vec![0.0; layout.canvas()]),
            rows: (vec![0.0; n_of_rows], vec![0.0; n_of_rows]),
            first: Vec::new(),
            center: Vec::new(),
            anchor: vec![0.0; layout.n],
        }
    }

    /// Begins with another image.
    pub(super) fn clear(&mut self) {
        self.canvas.1.fill(0.0);
        self.rows.1.fill(0.0);
    }

    /// Adds the rows of queries `first_query…`, `[rows, t]`, which follow those before.
    pub(super) fn add(&mut self, first_query: usize, rows: &[f32]) {
        let Layout { grid, t, .. } = self.layout;
        let prefix = grid.n_prefix;
        let row_of = |query: usize| {
            let at = query.checked_sub(first_query)?;
            rows.get(at * t..(at + 1) * t)
        };
        if self.has_rows {
            let keep = |into: &mut Vec<f32>, row: &[f32]| {
                into.clear();
                into.extend_from_slice(row);
            };
            if let Some(row) = row_of(0) {
                keep(&mut self.first, row);
            }
            if let Some(row) = row_of(prefix) {
                keep(&mut self.anchor, &row[prefix..]);
            }
            if let Some(row) = row_of(prefix + grid.rows / 2 * grid.columns + grid.columns / 2) {
                keep(&mut self.center, row);
            }
        }
        let n_prefix_rows = prefix.saturating_sub(first_query).min(rows.len() / t);
        let (of_prefix, of_patches) = rows.split_at(n_prefix_rows * t);
        if self.has_rows {
            add_prefix(of_prefix, t, &mut self.rows.0);
        }
        let first_patch = (first_query + n_prefix_rows).saturating_sub(prefix);
        add_patches(of_patches, first_patch, self);
        settle(&mut self.canvas.1, &mut self.canvas.0);
        settle(&mut self.rows.1, &mut self.rows.0);
    }

    /// The rows of the canvas as it is told.
    fn aligned(&self) -> impl Iterator<Item = &f64> {
        let wide = 2 * self.layout.grid.columns - 1;
        self.canvas.1.chunks_exact(self.layout.stride).flat_map(move |row| &row[..wide])
    }

    /// `mean_q Σ_k A'[q, k]·d(q, k)` with a distance for every cell of the canvas.
    pub(super) fn mean_distance(&self, distances: &[f64]) -> f64 {
        let moment: f64 = self.aligned().zip(distances).map(|(mass, distance)| mass * distance).sum();
        moment / self.layout.n.max(1) as f64
    }

    /// Writes the rows in the order of [`AttentionRow`] and the aligned map, the mean over queries.
    pub(super) fn tell(&self, into: &mut [f32]) {
        let Layout { grid, n, t, .. } = self.layout;
        let (rows, canvas) = into.split_at_mut(AttentionRow::N * t);
        let of_patches = 1.0 / n.max(1) as f64;
        for (into, mass) in canvas.iter_mut().zip(self.aligned()) {
            *into = (mass * of_patches) as f32;
        }
        let (prefix, sums) = self.rows.1.split_at(t);
        let (patches, sums) = sums.split_at(t);
        let (alone, sums) = sums.split_at(n);
        let (away, squares) = sums.split_at(n);
        let mut row = |row: AttentionRow, of_key: &dyn Fn(usize) -> f64| {
            let into = &mut rows[row as usize * t..][..t];
            into.iter_mut().enumerate().for_each(|(key, into)| *into = of_key(key) as f32);
        };
        let of_patch = |key: usize, of: &dyn Fn(usize) -> f64| key.checked_sub(grid.n_prefix).map_or(0.0, of);
        row(AttentionRow::All, &|key| (prefix[key] + patches[key]) / t as f64);
        row(AttentionRow::First, &|key| f64::from(self.first[key]));
        row(AttentionRow::Patches, &|key| patches[key] * of_patches);
        row(AttentionRow::PatchesAlone, &|key| of_patch(key, &|patch| alone[patch] * of_patches));
        row(AttentionRow::Center, &|key| f64::from(self.center[key]));
        let deviation = |patch: usize| {
            let variance = (squares[patch] - away[patch] * away[patch] * of_patches).max(0.0);
            (variance / (n.max(2) - 1) as f64).sqrt()
        };
        row(AttentionRow::Deviation, &|key| of_patch(key, &deviation));
    }
}

simd! {
    /// Adds a head's differences from the first head.
    fn add_away(p: &[f32], first: &[f32], away: &mut [f32], squares: &mut [f32]) {
        add_apart(p, first, away, squares);
    }
}

simd! {
    fn add_to(into: &mut [f32], p: &[f32]) {
        add(into, p);
    }
}

simd! {
    fn scale_by(values: &mut [f32], by: f32) {
        for value in values {
            *value *= by;
        }
    }
}

simd! {
    /// `Σ std` over numbers of `heads` heads.
    fn deviations(away: &[f32], squares: &[f32], heads: f32) -> f32 {
        let mut lanes = [0.0f32; LANES];
        let one = |away: f32, square: f32| ((square - away * away / heads).max(0.0) / (heads - 1.0)).sqrt();
        let ((aways, away), (squares, square)) = (away.as_chunks::<LANES>(), squares.as_chunks::<LANES>());
        let squares = &squares[..aways.len()];
        for chunk in 0..aways.len() {
            for i in 0..LANES {
                lanes[i] += one(aways[chunk][i], squares[chunk][i]);
            }
        }
        for i in 0..away.len() {
            lanes[i] += one(away[i], square[i]);
        }
        fold(lanes)
    }
}

/// The rows of one tile over all heads: their mean, and how far heads are apart.
#[derive(Default)]
pub(super) struct OverHeads {
    first: Vec<f32>,
    away: Vec<f32>,
    squares: Vec<f32>,
}

impl OverHeads {
    /// Adds the rows of one head to their sum; heads come in order.
    pub(super) fn add(&mut self, head: usize, p: &[f32], sum: &mut [f32]) {
        if head > 0 {
            add_to(sum, p);
            add_away(p, &self.first, &mut self.away, &mut self.squares);
            return;
        }
        sum.copy_from_slice(p);
        self.first.clear();
        self.first.extend_from_slice(p);
        for sums in [&mut self.away, &mut self.squares] {
            sums.clear();
            sums.resize(p.len(), 0.0);
        }
    }

    /// Makes the sum of all heads their mean, and gives `Σ std` over the patches of the rows of queries `first_query…`.
    pub(super) fn settle(
        &self,
        first_query: usize,
        heads: usize,
        grid: AttentionGrid,
        sum: &mut [f32],
    ) -> f64 {
        scale_by(sum, 1.0 / heads as f32);
        if heads < 2 {
            return 0.0;
        }
        let t = grid.n_prefix + grid.rows * grid.columns;
        let rows = self.away.chunks_exact(t).zip(self.squares.chunks_exact(t));
        let of_patches = rows.skip(grid.n_prefix.saturating_sub(first_query));
        of_patches
            .map(|(away, squares)| {
                f64::from(deviations(&away[grid.n_prefix..], &squares[grid.n_prefix..], heads as f32))
            })
            .sum()
    }
}
