//! Exact nearest neighbours by inner product: a blocked product with partial selection.
//!
//! The product of all queries with the whole bank is never stored. Each task takes a block of queries, multiplies
//! it with one tile of the bank after another, and keeps the best candidates seen so far. A pair's score is one dot
//! product over the full width, so it has the same bits whatever the blocks and the number of threads.

use std::cmp::Ordering;

use ndarray::linalg::general_mat_mul;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, Slice};
use rayon::slice::ParallelSliceMut;

/// Norms below this count as this, so that a zero row stays zero: the default `eps` of the usual `normalize`.
pub const NORM_EPS: f64 = 1e-12;

/// Working memory of one call over all threads.
const SCRATCH_BYTES: usize = 60 << 20;
/// What the product packs for one column of a tile, and how many rows it packs beside the tile.
const PACKED_BYTES_OF_COL: usize = 256 * size_of::<f32>();
const PACKED_ROWS: usize = 64;
const MAX_BLOCK_ROWS: usize = 4096;
const TILE_COLS: usize = 1024;
/// Blocks of queries for each thread, where there are queries enough: each block packs the whole bank anew.
const BLOCKS_OF_THREAD: usize = 2;
const MIN_BLOCK_ROWS: usize = 64;
/// Scores that are compared with the threshold at once, before any is looked at alone.
const LANES: usize = 16;

/// The nearest bank rows of each query, best first.
///
/// # Shapes
/// `indices` and `scores` are `[m, k]`; row `q` belongs to query `q`, and within a row scores never rise.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    /// Row numbers of the bank.
    pub indices: Array2<u32>,
    /// Inner products, descending; equal scores stand in the order of their indices.
    pub scores: Array2<f32>,
}

impl TopK {
    /// The number of neighbours of each query.
    pub fn k(&self) -> usize {
        self.indices.ncols()
    }
}

/// Divides each row by its Euclidean norm.
///
/// `row ← row / max(‖row‖₂, 1e-12)`, the norm summed in `f64`.
///
/// # Shapes
/// `rows`: `[n, D]`; the result has the same shape.
///
/// # Panics
/// Never.
///
/// # Source
/// The normalization before the cosine vote of the DINO protocol (Caron et al., ICCV 2021).
pub fn l2_normalize_rows(rows: ArrayView2<f32>) -> Array2<f32> {
    l2_normalized(rows.as_standard_layout().into_owned())
}

/// [`l2_normalize_rows`] of rows that nobody else needs: in their place.
///
/// # Shapes
/// `rows`: `[n, D]`; the result has the same shape.
pub fn l2_normalized(mut rows: Array2<f32>) -> Array2<f32> {
    rows.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut row| {
        let norm = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt().max(NORM_EPS);
        row.mapv_inplace(|x| (f64::from(x) / norm) as f32);
    });
    rows
}

/// Finds the `k` bank rows with the largest inner product for each query; ties go to the lower bank index.
///
/// `score[q, j] = Σ_d queries[q, d] · bank[j, d]`, which is the cosine when both went through
/// [`l2_normalize_rows`]. Working memory besides the result stays below 64 MiB,
/// unless a single query's candidates (16 bytes for each of `k`) for every thread need more.
///
/// # Shapes
/// `queries`: `[m, D]`; `bank`: `[n, D]`; result: `[m, k]`.
///
/// # Panics
/// If the widths differ, if `k` is 0 or larger than `n`, or if the bank has more than `u32::MAX` rows.
/// Values are taken to be finite: where a NaN would stand is not promised.
///
/// # Source
/// Exact search; the order of equal scores is ours, so that results repeat.
///
/// # Example
/// ```
/// use ndarray::array;
/// let bank = array![[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]];
/// let top = measure::nearest::top_k(array![[2.0, 1.0]].view(), bank.view(), 2);
/// assert_eq!(top.indices, array![[0, 2]]);
/// ```
pub fn top_k(queries: ArrayView2<f32>, bank: ArrayView2<f32>, k: usize) -> TopK {
    search_fitting(queries, bank, k, None)
}

/// As [`top_k`], but query `q` never finds bank row `exclude[q]`: itself, when the bank holds the queries.
///
/// An index beyond the bank excludes nothing.
///
/// # Shapes
/// `queries`: `[m, D]`; `bank`: `[n, D]`; `exclude`: `[m]` row numbers of the bank; result: `[m, k]`.
///
/// # Panics
/// As [`top_k`], and if `exclude` has another length than `m` or `k` is larger than `n − 1`.
///
/// # Source
/// Leave-one-out nearest neighbours.
pub fn top_k_excluding(queries: ArrayView2<f32>, bank: ArrayView2<f32>, k: usize, exclude: &[usize]) -> TopK {
    assert_eq!(exclude.len(), queries.nrows(), "top_k_excluding: one excluded row for each query");
    assert!(k < bank.nrows(), "top_k_excluding: k = {k} of a bank of {} rows less one", bank.nrows());
    search_fitting(queries, bank, k, Some(exclude))
}

/// How the product is cut up; never seen in the result.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    rows: usize,
    cols: usize,
}

impl Blocks {
    /// The largest blocks whose buffers, one set for each thread, fit [`SCRATCH_BYTES`], and which give every thread of
    /// `m` queries its share.
    fn fitting(m: usize, k: usize, n: usize, n_threads: usize) -> Self {
        let budget = SCRATCH_BYTES / n_threads;
        let cols = (budget / 2 / PACKED_BYTES_OF_COL).saturating_sub(PACKED_ROWS).clamp(16, TILE_COLS);
        let mut blocks = Self { rows: 1, cols: cols.min(n.max(1)) };
        let spare = budget.saturating_sub(blocks.packed_bytes());
        let share = m.div_ceil(BLOCKS_OF_THREAD * n_threads).max(MIN_BLOCK_ROWS);
        blocks.rows = (spare / blocks.row_bytes(k, n)).clamp(1, MAX_BLOCK_ROWS.min(share));
        blocks
    }

    /// Buffers inside the product.
    fn packed_bytes(self) -> usize {
        (self.cols + PACKED_ROWS) * PACKED_BYTES_OF_COL
    }

    /// One query's part of the tile, and its candidates.
    fn row_bytes(self, k: usize, n: usize) -> usize {
        self.cols * size_of::<f32>() + capacity(k, n) * size_of::<Candidate>()
    }
}

/// The search in blocks that fit the memory promised, on all threads.
fn search_fitting(
    queries: ArrayView2<f32>,
    bank: ArrayView2<f32>,
    k: usize,
    exclude: Option<&[usize]>,
) -> TopK {
    let blocks = Blocks::fitting(queries.nrows(), k, bank.nrows(), rayon::current_num_threads());
    search(queries, bank, k, exclude, blocks)
}

fn search(
    queries: ArrayView2<f32>,
    bank: ArrayView2<f32>,
    k: usize,
    exclude: Option<&[usize]>,
    blocks: Blocks,
) -> TopK {
    let (m, width) = queries.dim();
    let n = bank.nrows();
    assert_eq!(
        width,
        bank.ncols(),
        "top_k: queries {:?} and bank {:?} differ in width",
        queries.dim(),
        bank.dim()
    );
    assert!((1..=n).contains(&k), "top_k: k = {k} of a bank of {n} rows");
    assert!(u32::try_from(n).is_ok(), "top_k: a bank of {n} rows cannot be numbered in u32");

    let mut top = TopK { indices: Array2::zeros((m, k)), scores: Array2::zeros((m, k)) };
    let block_starts = (0..m).step_by(blocks.rows).collect::<Vec<_>>();
    top.indices
        .axis_chunks_iter_mut(Axis(0), blocks.rows)
        .into_par_iter()
        .zip(top.scores.axis_chunks_iter_mut(Axis(0), blocks.rows))
        .zip(block_starts)
        .with_max_len(1)
        .for_each(|((indices, scores), start)| {
            let rows = start..start + indices.nrows();
            let excluded = exclude.map(|exclude| &exclude[rows.clone()]);
            let queries = queries.slice_axis(Axis(0), Slice::from(rows));
            search_block(queries, bank, excluded, blocks.cols, indices, scores);
        });
    top
}

/// Fills one block of the result.
fn search_block(
    queries: ArrayView2<f32>,
    bank: ArrayView2<f32>,
    excluded: Option<&[usize]>,
    tile_cols: usize,
    indices: ArrayViewMut2<u32>,
    scores: ArrayViewMut2<f32>,
) {
    let (k, n) = (indices.ncols(), bank.nrows());
    let mut kept: Vec<Best> = (0..queries.nrows()).map(|_| Best::new(k, n)).collect();
    offer(queries, (0, bank), excluded, tile_cols, &mut kept);
    write_best(&mut kept, indices, scores);
}

/// Offers every query the bank rows `first`, `first + 1`, …, one tile of them after another.
fn offer(
    queries: ArrayView2<f32>,
    (first, bank): (usize, ArrayView2<f32>),
    excluded: Option<&[usize]>,
    tile_cols: usize,
    kept: &mut [Best],
) {
    let mut product = Array2::<f32>::zeros((queries.nrows(), tile_cols));
    for start in (0..bank.nrows()).step_by(tile_cols) {
        let end = bank.nrows().min(start + tile_cols);
        let mut tile = product.slice_axis_mut(Axis(1), Slice::from(..end - start)); // [rows, cols]
        let bank = bank.slice_axis(Axis(0), Slice::from(start..end));
        general_mat_mul(1.0, &queries, &bank.t(), 0.0, &mut tile);
        let (start, end) = (first + start, first + end);
        for (row_idx, (row, best)) in tile.rows().into_iter().zip(&mut *kept).enumerate() {
            let row = row.to_slice().expect("a row of the tile lies in one piece");
            match excluded.map(|excluded| excluded[row_idx]).filter(|at| (start..end).contains(at)) {
                None => best.offer_all(start, row),
                Some(at) => {
                    best.offer_all(start, &row[..at - start]);
                    best.offer_all(at + 1, &row[at + 1 - start..]);
                }
            }
        }
    }
}

/// Writes the best candidates of some queries, best first.
fn write_best(kept: &mut [Best], mut indices: ArrayViewMut2<u32>, mut scores: ArrayViewMut2<f32>) {
    for (row_idx, best) in kept.iter_mut().enumerate() {
        for (rank, candidate) in best.finish().iter().enumerate() {
            indices[[row_idx, rank]] = candidate.index;
            scores[[row_idx, rank]] = candidate.score;
        }
    }
}

/// The nearest rows of a bank that is shown block by block, because it need not fit in memory.
///
/// What it finds is bit for bit what [`top_k`] and [`top_k_excluding`] find in the whole bank, however it is cut.
/// Working memory: 16 bytes for each of `k` candidates of each query, and a tile of products for each thread.
///
/// # Example
/// ```
/// use measure::nearest::{Nearest, top_k};
/// use ndarray::array;
/// let (queries, bank) = (array![[2.0, 1.0]], array![[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]);
/// let mut nearest = Nearest::new(queries.view(), 2);
/// nearest.offer(bank.slice(ndarray::s![..2, ..]));
/// nearest.offer(bank.slice(ndarray::s![2.., ..]));
/// assert_eq!(nearest.finish(), top_k(queries.view(), bank.view(), 2));
/// ```
pub struct Nearest<'a> {
    queries: ArrayView2<'a, f32>,
    exclude: Option<&'a [usize]>,
    kept: Vec<Best>,
    n_seen: usize,
}

impl<'a> Nearest<'a> {
    /// Nothing seen yet; `k` neighbours of each query are sought.
    ///
    /// # Shapes
    /// `queries`: `[m, D]`.
    ///
    /// # Panics
    /// If `k` is 0.
    pub fn new(queries: ArrayView2<'a, f32>, k: usize) -> Self {
        assert!(k > 0, "nearest: no neighbours");
        let kept = (0..queries.nrows()).map(|_| Best::new(k, usize::MAX)).collect();
        Self { queries, exclude: None, kept, n_seen: 0 }
    }

    /// As [`Nearest::new`], but query `q` never finds bank row `exclude[q]`.
    ///
    /// # Panics
    /// As there, and if `exclude` has another length than `m`.
    pub fn excluding(queries: ArrayView2<'a, f32>, k: usize, exclude: &'a [usize]) -> Self {
        assert_eq!(exclude.len(), queries.nrows(), "nearest: one excluded row for each query");
        Self { exclude: Some(exclude), ..Self::new(queries, k) }
    }

    /// Shows the next rows of the bank.
    ///
    /// # Shapes
    /// `rows`: `[n, D]`.
    ///
    /// # Panics
    /// If the widths differ, or the bank has more than `u32::MAX` rows.
    pub fn offer(&mut self, rows: ArrayView2<f32>) {
        assert_eq!(self.queries.ncols(), rows.ncols(), "nearest: queries and bank differ in width");
        let first = self.n_seen;
        self.n_seen += rows.nrows();
        assert!(
            u32::try_from(self.n_seen).is_ok(),
            "nearest: a bank of {} rows cannot be numbered",
            self.n_seen
        );
        let (queries, exclude) = (self.queries, self.exclude);
        let n_threads = rayon::current_num_threads();
        let n_rows = queries.nrows().div_ceil(n_threads).clamp(1, MAX_BLOCK_ROWS);
        self.kept.par_chunks_mut(n_rows).enumerate().with_max_len(1).for_each(|(block_idx, kept)| {
            let of_block = block_idx * n_rows..block_idx * n_rows + kept.len();
            let excluded = exclude.map(|exclude| &exclude[of_block.clone()]);
            let queries = queries.slice_axis(Axis(0), Slice::from(of_block));
            offer(queries, (first, rows), excluded, TILE_COLS.min(rows.nrows().max(1)), kept);
        });
    }

    /// What was found.
    ///
    /// # Panics
    /// If fewer than `k` rows were shown to a query.
    pub fn finish(mut self) -> TopK {
        let (m, k) = (self.kept.len(), self.kept.first().map_or(0, |best| best.k));
        let least = self.n_seen - usize::from(self.exclude.is_some()).min(self.n_seen);
        assert!(m == 0 || k <= least, "nearest: k = {k} of a bank of {least} rows");
        let mut top = TopK { indices: Array2::zeros((m, k)), scores: Array2::zeros((m, k)) };
        write_best(&mut self.kept, top.indices.view_mut(), top.scores.view_mut());
        top
    }
}

/// A bank row that may be among the nearest.
#[derive(Clone, Copy)]
struct Candidate {
    score: f32,
    index: u32,
}

/// Better first: the higher score, then the lower index.
fn better_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.score.total_cmp(&a.score).then(a.index.cmp(&b.index))
}

/// Room for candidates between two selections: twice `k`, so that a selection costs a constant for each candidate.
fn capacity(k: usize, n: usize) -> usize {
    (2 * k).max(64).min(n)
}

/// The best `k` candidates among those offered in the order of their indices.
struct Best {
    k: usize,
    candidates: Vec<Candidate>,
    capacity: usize,
    /// A later candidate must be strictly above this score: at the same score the earlier index wins.
    threshold: f32,
}

impl Best {
    fn new(k: usize, n: usize) -> Self {
        let capacity = capacity(k, n);
        Self { k, candidates: Vec::with_capacity(capacity), capacity, threshold: f32::NEG_INFINITY }
    }

    /// Offers the scores of bank rows `first`, `first + 1`, ….
    fn offer_all(&mut self, first: usize, scores: &[f32]) {
        let (lanes, rest) = scores.as_chunks::<LANES>();
        for (first, lane) in (first..).step_by(LANES).zip(lanes) {
            let mut let_in = self.let_in(lane);
            while let_in != 0 {
                let offset = let_in.trailing_zeros() as usize;
                let_in &= let_in - 1;
                self.offer(first + offset, lane[offset]);
            }
        }
        for (index, &score) in (first + scores.len() - rest.len()..).zip(rest) {
            self.offer(index, score);
        }
    }

    /// The scores that are let in as the threshold stands, a bit each.
    #[inline(always)]
    fn let_in(&self, lane: &[f32; LANES]) -> u32 {
        let mut bits = 0;
        for (at, &score) in lane.iter().enumerate() {
            bits |= u32::from(self.admits(score)) << at;
        }
        bits
    }

    #[inline(always)]
    fn offer(&mut self, index: usize, score: f32) {
        if self.admits(score) {
            // −0 becomes +0, for they tie.
            self.keep(Candidate { score: score + 0.0, index: index as u32 });
        }
    }

    /// Not `>`: before the first selection everything is let in, −∞ and NaN too, so that `k` rows are always found.
    #[inline(always)]
    fn admits(&self, score: f32) -> bool {
        score > self.threshold || self.threshold == f32::NEG_INFINITY
    }

    fn keep(&mut self, candidate: Candidate) {
        if self.candidates.len() == self.capacity {
            self.select();
        }
        self.candidates.push(candidate);
    }

    /// Drops all but the best `k` and raises the threshold to the worst of them.
    fn select(&mut self) {
        if self.candidates.len() <= self.k {
            return;
        }
        let (_, worst, _) = self.candidates.select_nth_unstable_by(self.k - 1, better_first);
        self.threshold = worst.score;
        self.candidates.truncate(self.k);
    }

    fn finish(&mut self) -> &[Candidate] {
        self.select();
        self.candidates.sort_unstable_by(better_first);
        &self.candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    /// Portable scattered values in −1..1, many of them equal when `levels` is small.
    fn scattered(rows: usize, cols: usize, levels: u64, salt: u64) -> Array2<f32> {
        Array2::from_shape_fn((rows, cols), |(i, j)| {
            let mut x = (i as u64) << 32 ^ (j as u64) ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((x ^ (x >> 31)) % levels) as f32 / levels as f32 * 2.0 - 1.0
        })
    }

    /// Sorts every score of the full product.
    fn by_sorting(queries: &Array2<f32>, bank: &Array2<f32>, k: usize, exclude: Option<&[usize]>) -> TopK {
        let product = queries.dot(&bank.t());
        let mut top = TopK {
            indices: Array2::zeros((queries.nrows(), k)),
            scores: Array2::zeros((queries.nrows(), k)),
        };
        for (q, row) in product.rows().into_iter().enumerate() {
            let mut order: Vec<usize> =
                (0..bank.nrows()).filter(|j| exclude.is_none_or(|exclude| exclude[q] != *j)).collect();
            order.sort_by(|&a, &b| row[b].partial_cmp(&row[a]).expect("finite").then(a.cmp(&b)));
            for (rank, &j) in order[..k].iter().enumerate() {
                top.indices[[q, rank]] = j as u32;
                top.scores[[q, rank]] = row[j] + 0.0;
            }
        }
        top
    }

    #[test]
    fn rows_become_units_and_a_zero_row_stays_zero() {
        // (3, 4) has norm 5.
        let unit = l2_normalize_rows(array![[3.0, 4.0], [0.0, 0.0]].view());
        assert_eq!(unit, array![[0.6, 0.8], [0.0, 0.0]]);
    }

    #[test]
    fn equal_scores_are_ordered_by_bank_index() {
        // Scores of the query: 1, 2, 1, 2, 0.
        let bank = array![[1.0, 0.0], [2.0, 0.0], [1.0, 5.0], [2.0, 1.0], [0.0, 0.0]];
        let top = top_k(array![[1.0, 0.0]].view(), bank.view(), 4);
        assert_eq!(top.indices, array![[1, 3, 0, 2]]);
        assert_eq!(top.scores, array![[2.0, 2.0, 1.0, 1.0]]);
    }

    #[test]
    fn negative_zero_ties_with_zero() {
        let bank = array![[-0.0, 0.0], [0.0, 0.0], [-1.0, 0.0]];
        let top = top_k(array![[1.0, -1.0]].view(), bank.view(), 2);
        assert_eq!(top.indices, array![[0, 1]]);
    }

    #[test]
    fn the_excluded_row_is_never_found() {
        let rows = scattered(40, 6, 1 << 20, 1);
        let exclude: Vec<usize> = (0..40).collect();
        let top = top_k_excluding(rows.view(), rows.view(), 39, &exclude);
        for (q, found) in top.indices.rows().into_iter().enumerate() {
            let mut sorted = found.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..40u32).filter(|&j| j as usize != q).collect::<Vec<_>>());
        }
    }

    #[test]
    fn bits_do_not_depend_on_blocks_or_threads() {
        // Width 600 spans several depth blocks of the product kernel; 1 × 1 blocks take its smallest paths.
        let (queries, bank) = (scattered(37, 600, 1 << 20, 2), scattered(211, 600, 1 << 20, 3));
        let whole = search(queries.view(), bank.view(), 20, None, Blocks { rows: 37, cols: 211 });
        for (rows, cols) in [(1, 1), (1, 211), (37, 1), (5, 17), (8, 64), (16, 100)] {
            assert_eq!(
                search(queries.view(), bank.view(), 20, None, Blocks { rows, cols }),
                whole,
                "{rows}×{cols}"
            );
        }
        for n_threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("a pool");
            assert_eq!(pool.install(|| top_k(queries.view(), bank.view(), 20)), whole, "{n_threads} threads");
        }
    }

    #[test]
    fn buffers_of_all_threads_fit_the_promised_memory() {
        for (k, n) in [(1, 10), (20, 60_000), (1000, 1_300_000), (60_000, 60_000)] {
            for n_threads in [1, 2, 8, 64] {
                let blocks = Blocks::fitting(1_000_000, k, n, n_threads);
                let bytes = blocks.packed_bytes() + blocks.rows * blocks.row_bytes(k, n);
                assert!(bytes * n_threads <= 64 << 20, "k {k}, n {n}: {bytes} bytes a thread of {n_threads}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "k = 3 of a bank of 2 rows")]
    fn more_neighbours_than_rows_is_a_mistake() {
        top_k(array![[1.0]].view(), array![[1.0], [2.0]].view(), 3);
    }

    proptest! {
        #[test]
        fn selection_equals_sorting_everything(
            m in 1usize..9, n in 2usize..200, width in 1usize..9, levels in 2u64..9, salt in 0u64..1000,
            k_share in 0.0f64..1.0, rows in 1usize..9, cols in 1usize..70, excluding: bool,
        ) {
            let (queries, bank) = (scattered(m, width, levels, salt), scattered(n, width, levels, salt + 7));
            let k = 1 + (k_share * (n - 1) as f64) as usize;
            let k = if excluding { k.min(n - 1) } else { k };
            let exclude: Vec<usize> = (0..m).map(|q| q * 31 % n).collect();
            let exclude = excluding.then_some(&exclude[..]);
            let found = search(queries.view(), bank.view(), k, exclude, Blocks { rows, cols });
            prop_assert_eq!(&found, &by_sorting(&queries, &bank, k, exclude));
            // The same bank, shown in blocks.
            let mut nearest = match exclude {
                Some(exclude) => Nearest::excluding(queries.view(), k, exclude),
                None => Nearest::new(queries.view(), k),
            };
            for block in bank.axis_chunks_iter(Axis(0), cols) {
                nearest.offer(block);
            }
            prop_assert_eq!(nearest.finish(), found);
        }
    }
}
