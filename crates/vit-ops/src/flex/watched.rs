//! Attention that also tells what each head does. Probabilities are kept only where they are asked for: else memory is linear in the tokens.

use super::attention::{Head, Size, tiles};
use super::linear::{View, matmul};
use super::simd::{LANES, exp, fold, largest, simd};
use super::summed::{HeadMaps, OverHeads};
use crate::{AttentionGrid, AttentionRow, AttentionWants};
use gemm::Parallelism;
use rayon::prelude::*;

/// Numbers for each head: entropy, share of the first token, distance on the unit square and in patches.
pub(super) const STATISTICS: usize = 4;

simd! {
    /// Softmax of each row of `[rows, t]` in place, and the entropy of each: `ln Z − Σ p·(s − max)`.
    fn softmax_with_entropy(scores: &mut [f32], t: usize, entropies: &mut [f32]) {
        for (at, row) in scores.chunks_exact_mut(t).enumerate() {
            let max = largest(row);
            let (mut sums, mut along) = ([0.0f32; LANES], [0.0f32; LANES]);
            let (body, tail) = row.as_chunks_mut::<LANES>();
            for chunk in body {
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
            entropies[at] = z.ln() - along * inverse;
        }
    }
}

/// What is told of attention, image after image; what is not wanted is empty.
pub(super) struct Told {
    /// Merged heads, `[B, T, D]`.
    pub(super) merged: Vec<f32>,
    /// `[B, heads, 4]`
    pub(super) statistics: Vec<f32>,
    /// `[B, heads, T, T]`
    pub(super) probabilities: Vec<f32>,
    /// `[B, heads, …]`, rows and aligned map.
    pub(super) maps: Vec<f32>,
    /// `[B, T·T + 1]`
    pub(super) over_heads: Vec<f32>,
}

/// The parts of [`Told`] of one image.
struct Image<'a> {
    merged: &'a mut [f32],
    statistics: &'a mut [f32],
    probabilities: &'a mut [f32],
    maps: &'a mut [f32],
    over_heads: &'a mut [f32],
}

/// Room that one task uses again.
struct Room {
    p: Vec<f32>,
    entropies: Vec<f32>,
    /// Sums over rows of each head: entropy and share of the first token.
    sums: Vec<[f64; 2]>,
    maps: Vec<HeadMaps>,
    over_heads: OverHeads,
}

/// What does not change from image to image.
struct Watch {
    size: Size,
    grid: AttentionGrid,
    wants: AttentionWants,
    unit: Vec<f64>,
    patches: Vec<f64>,
}

/// The numbers of a head's maps.
pub(super) fn n_of_maps(grid: AttentionGrid) -> usize {
    let t = grid.n_prefix + grid.rows * grid.columns;
    AttentionRow::N * t + (2 * grid.rows - 1) * (2 * grid.columns - 1)
}

/// The slice of every image; empty ones of an empty buffer.
fn by_image(values: &mut [f32], b: usize) -> Vec<&mut [f32]> {
    match values.len() / b {
        0 => (0..b).map(|_| <&mut [f32]>::default()).collect(),
        of_image => values.chunks_exact_mut(of_image).collect(),
    }
}

pub(super) fn forward(
    qkv: &[f32],
    bias: Option<&[f32]>,
    size: Size,
    grid: AttentionGrid,
    wants: AttentionWants,
) -> Told {
    let Size { b, t, n_heads, d } = size;
    let zeros = |wanted: bool, of_image: usize| vec![0.0; if wanted { b * of_image } else { 0 }];
    let mut told = Told {
        merged: zeros(true, t * n_heads * d),
        statistics: zeros(true, n_heads * STATISTICS),
        probabilities: zeros(wants.probabilities, n_heads * t * t),
        maps: zeros(wants.maps, n_heads * n_of_maps(grid)),
        over_heads: zeros(wants.over_heads, t * t + 1),
    };
    if told.merged.is_empty() {
        return told;
    }
    let watch = Watch { size, grid, wants, unit: grid.unit_distances(), patches: grid.patch_distances() };
    let parts = by_image(&mut told.merged, b)
        .into_iter()
        .zip(by_image(&mut told.statistics, b))
        .zip(by_image(&mut told.probabilities, b))
        .zip(by_image(&mut told.maps, b))
        .zip(by_image(&mut told.over_heads, b));
    let images: Vec<Image> = parts
        .map(|((((merged, statistics), probabilities), maps), over_heads)| Image {
            merged,
            statistics,
            probabilities,
            maps,
            over_heads,
        })
        .collect();
    let room = || Room {
        p: Vec::new(),
        entropies: Vec::new(),
        sums: vec![[0.0; 2]; n_heads],
        maps: (0..n_heads).map(|_| HeadMaps::on(grid, wants.maps)).collect(),
        over_heads: OverHeads::default(),
    };
    images
        .into_par_iter()
        .zip(qkv.par_chunks(qkv.len() / b))
        .for_each_init(room, |room, (image, qkv)| watch.image(qkv, bias, room, image));
    told
}

impl Watch {
    /// All heads of one image, tile by tile.
    fn image(&self, qkv: &[f32], bias: Option<&[f32]>, room: &mut Room, image: Image) {
        let Size { t, n_heads, d, .. } = self.size;
        let (width, prefix) = (n_heads * d, self.grid.n_prefix);
        let Image { merged, statistics, probabilities, maps: told_maps, over_heads: told_over } = image;
        let Room { p, entropies, sums, maps, over_heads } = room;
        sums.fill([0.0; 2]);
        maps.iter_mut().for_each(HeadMaps::clear);
        let mut apart = 0.0;
        let heads: Vec<Head> = (0..n_heads).map(|head| Head::new(qkv, bias, head, self.size)).collect();
        for (first, n) in tiles(t) {
            entropies.resize(n, 0.0);
            let of_heads = heads.iter().zip(sums.iter_mut()).zip(maps.iter_mut());
            for (head, ((view, sums), maps)) in of_heads.enumerate() {
                let kept = (head * t + first) * t;
                let tile = match probabilities.get_mut(kept..kept + n * t) {
                    Some(kept) => kept,
                    None => {
                        p.resize(n * t, 0.0);
                        p.as_mut_slice()
                    }
                };
                view.scores(first, n, tile);
                softmax_with_entropy(tile, t, entropies);
                sums[0] += entropies.iter().map(|&entropy| f64::from(entropy)).sum::<f64>();
                let of_patches = tile.chunks_exact(t).skip(prefix.saturating_sub(first));
                sums[1] += of_patches.map(|row| f64::from(row[0])).sum::<f64>();
                maps.add(first, tile);
                if self.wants.over_heads {
                    over_heads.add(head, tile, &mut told_over[first * t..(first + n) * t]);
                }
                let product = (View::new(tile, n, t), view.values());
                let into = &mut merged[first * width + head * d..];
                matmul(into, width, product, 1.0, false, Parallelism::None);
            }
            if self.wants.over_heads {
                let rows = &mut told_over[first * t..(first + n) * t];
                apart += over_heads.settle(first, n_heads, self.grid, rows);
            }
        }
        let n_patches = (t - prefix).max(1) as f64;
        for ((found, sums), maps) in statistics.chunks_exact_mut(STATISTICS).zip(sums).zip(maps.iter()) {
            let far = [&self.unit, &self.patches].map(|distances| maps.mean_distance(distances));
            let all = [sums[0] / t as f64, sums[1] / n_patches, far[0], far[1]];
            found.iter_mut().zip(all).for_each(|(found, value)| *found = value as f32);
        }
        if self.wants.maps {
            let parts = told_maps.chunks_exact_mut(n_of_maps(self.grid));
            parts.zip(maps.iter()).for_each(|(into, maps)| maps.tell(into));
        }
        if let Some(spread) = told_over.last_mut() {
            *spread = (apart / (n_patches * n_patches)) as f32;
        }
    }
}
