//! Attention that also tells what each head does. Probabilities are kept only where they are asked for: else memory is linear in the tokens.

use super::attention::{Head, Size, tiles};
use super::linear::{View, matmul};
use super::simd::{LANES, exp, fold, simd, sum};
use crate::AttentionGrid;
use gemm::Parallelism;
use rayon::prelude::*;

/// Numbers for each head: entropy, share of the first token, distance on the unit square and in patches.
pub(super) const STATISTICS: usize = 4;

simd! {
    /// Softmax of each row of `[rows, t]` in place, and the entropy of each: `ln Z − Σ p·(s − max)`.
    fn softmax_with_entropy(scores: &mut [f32], t: usize, entropies: &mut [f32]) {
        for (row, entropy) in scores.chunks_exact_mut(t).zip(entropies) {
            let max = row.iter().fold(f32::NEG_INFINITY, |max, &value| if value > max { value } else { max });
            let (mut sums, mut along) = ([0.0f32; LANES], [0.0f32; LANES]);
            let whole = t / LANES * LANES;
            let (body, tail) = row.split_at_mut(whole);
            for chunk in body.chunks_exact_mut(LANES) {
                for lane in 0..LANES {
                    let shifted = chunk[lane] - max;
                    let e = exp(shifted);
                    sums[lane] += e;
                    along[lane] += e * shifted;
                    chunk[lane] = e;
                }
            }
            for (lane, value) in tail.iter_mut().enumerate() {
                let shifted = *value - max;
                let e = exp(shifted);
                sums[lane] += e;
                along[lane] += e * shifted;
                *value = e;
            }
            let (z, along) = (fold(sums), fold(along));
            let inverse = 1.0 / z;
            for value in row.iter_mut() {
                *value *= inverse;
            }
            *entropy = z.ln() - along * inverse;
        }
    }
}

simd! {
    /// `Σ p` and `Σ p·d` for two kinds of distances.
    fn weighted(p: &[f32], unit: &[f32], patches: &[f32]) -> (f32, f32, f32) {
        let n = p.len();
        (sum(n, |i| p[i]), sum(n, |i| p[i] * unit[i]), sum(n, |i| p[i] * patches[i]))
    }
}

/// The tables of distances in f32.
struct Distances {
    grid: AttentionGrid,
    unit: Vec<f32>,
    patches: Vec<f32>,
}

impl Distances {
    fn new(grid: AttentionGrid) -> Self {
        let single = |table: Vec<f64>| table.into_iter().map(|x| x as f32).collect();
        Self { grid, unit: single(grid.unit_distances()), patches: single(grid.patch_distances()) }
    }

    /// The distances of a patch to all patches, row by row.
    fn of_query(&self, query: usize, table: &[f32], into: &mut Vec<f32>) {
        let AttentionGrid { rows, columns, .. } = self.grid;
        let (row, column) = (query / columns, query % columns);
        into.clear();
        for key_row in 0..rows {
            let from = (rows - 1 + key_row - row) * (2 * columns - 1) + columns - 1 - column;
            into.extend_from_slice(&table[from..from + columns]);
        }
    }
}

/// Room that one task uses again.
#[derive(Default)]
struct Room {
    p: Vec<f32>,
    entropies: Vec<f32>,
    unit: Vec<f32>,
    patches: Vec<f32>,
}

/// Merged heads `[B, T, D]` and the statistics `[B, heads, 4]`.
pub(super) fn forward(
    qkv: &[f32],
    bias: Option<&[f32]>,
    size: Size,
    grid: AttentionGrid,
) -> (Vec<f32>, Vec<f32>) {
    // One number an image that nobody reads stands for probabilities that are not kept.
    let (out, found, _) = with_room(qkv, bias, size, grid, 1);
    (out, found)
}

/// The same with the probabilities, `[B, heads, T, T]`.
pub(super) fn forward_shown(
    qkv: &[f32],
    bias: Option<&[f32]>,
    size: Size,
    grid: AttentionGrid,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    with_room(qkv, bias, size, grid, size.n_heads * size.t * size.t)
}

/// Keeps the probabilities of an image where there is room for all of them.
fn with_room(
    qkv: &[f32],
    bias: Option<&[f32]>,
    size: Size,
    grid: AttentionGrid,
    room_of_image: usize,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let Size { b, t, n_heads, d } = size;
    let width = n_heads * d;
    let distances = Distances::new(grid);
    let (mut out, mut found) = (vec![0.0; b * t * width], vec![0.0; b * n_heads * STATISTICS]);
    let mut kept = vec![0.0; b * room_of_image];
    if out.is_empty() {
        return (out, found, kept);
    }
    out.par_chunks_mut(t * width)
        .zip(found.par_chunks_mut(n_heads * STATISTICS))
        .zip(kept.par_chunks_mut(room_of_image))
        .zip(qkv.par_chunks(3 * t * width))
        .for_each_init(Room::default, |room, (((out, found), kept), image)| {
            for (head, found) in found.chunks_exact_mut(STATISTICS).enumerate() {
                let kept = kept.get_mut(head * t * t..(head + 1) * t * t);
                one_head(head, &Head::new(image, bias, head, size), &distances, room, (out, found, kept));
            }
        });
    (out, found, kept)
}

fn one_head(
    head: usize,
    view: &Head,
    distances: &Distances,
    room: &mut Room,
    (out, found, mut kept): (&mut [f32], &mut [f32], Option<&mut [f32]>),
) {
    let Size { t, n_heads, d, .. } = view.size();
    let width = n_heads * d;
    let prefix = distances.grid.n_prefix;
    let mut sums = [0.0f64; STATISTICS];
    let Room { p, entropies, unit: unit_far, patches: patches_far } = room;
    for (first, n) in tiles(t) {
        let tile = match &mut kept {
            Some(kept) => &mut kept[first * t..(first + n) * t],
            None => {
                p.resize(n * t, 0.0);
                p.as_mut_slice()
            }
        };
        entropies.resize(n, 0.0);
        view.scores(first, n, tile);
        softmax_with_entropy(tile, t, entropies);
        sums[0] += entropies.iter().map(|&entropy| f64::from(entropy)).sum::<f64>();
        for (query, p) in (first..).zip(tile.chunks_exact(t)) {
            let Some(patch) = query.checked_sub(prefix) else { continue };
            distances.of_query(patch, &distances.unit, unit_far);
            distances.of_query(patch, &distances.patches, patches_far);
            let (rest, unit, patches) = weighted(&p[prefix..], unit_far, patches_far);
            sums[1] += f64::from(p[0]);
            if rest > 0.0 {
                sums[2] += f64::from(unit / rest);
                sums[3] += f64::from(patches / rest);
            }
        }
        let product = (View::new(tile, n, t), view.values());
        matmul(&mut out[first * width + head * d..], width, product, 1.0, false, Parallelism::None);
    }
    let n_patches = (t - prefix).max(1) as f64;
    let shares = [t as f64, n_patches, n_patches, n_patches];
    for (found, (sum, n)) in found.iter_mut().zip(sums.into_iter().zip(shares)) {
        *found = (sum / n) as f32;
    }
}
