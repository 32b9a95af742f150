//! Labels carried from frame to frame by the likeness of features: label propagation in its two published variants.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;

/// Which tokens of a context frame a target token may copy from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Neighborhood {
    /// Those at most `radius_patches` rows and columns away: a square of side `2 r + 1` (DINO).
    Square {
        /// `r`
        radius_patches: usize,
    },
    /// Those less than `radius_patches` away (CRW).
    Circle {
        /// Strictly below this.
        radius_patches: f64,
    },
    /// All.
    Everywhere,
}

impl Neighborhood {
    /// Whether a token `(rows, columns)` away belongs to it.
    fn holds(self, (rows, columns): (usize, usize)) -> bool {
        match self {
            Self::Square { radius_patches } => rows <= radius_patches && columns <= radius_patches,
            Self::Circle { radius_patches } => {
                ((rows * rows + columns * columns) as f64) < radius_patches * radius_patches
            }
            Self::Everywhere => true,
        }
    }

    /// How many rows or columns away a token may be.
    fn reach(self, side: usize) -> usize {
        match self {
            Self::Square { radius_patches } => radius_patches.min(side),
            Self::Circle { radius_patches } => (radius_patches.ceil() as usize).min(side),
            Self::Everywhere => side,
        }
    }
}

/// How labels are carried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// From where tokens are copied.
    pub neighborhood: Neighborhood,
    /// Whether the first frame is held to the neighborhood too: DINO does, CRW lets it be copied from anywhere.
    pub first_in_neighborhood: bool,
    /// What divides similarities before `exp`.
    pub temperature: f64,
    /// How many of the most similar tokens, over all context frames, are copied from.
    pub n_top: usize,
    /// Whether tokens as similar as the last of them are kept as well (DINO), or the earliest ones only (CRW).
    pub ties: bool,
}

/// A frame whose labels are known.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Whether it is the first frame of the video, whose labels are the truth.
    pub is_first: bool,
    /// `[N, C]`, soft.
    pub labels: ArrayView2<'a, f64>,
}

/// The labels of a frame, each token's a mean of those of the most similar tokens of the context.
///
/// `label[q] = Σ_s w_s · label[s]`, `w_s = exp(sim(q, s) / τ) / Σ`, over the `n_top` most similar tokens `s` of all
/// context frames within the neighborhood. The weights are a softmax over those tokens: the two variants differ in the
/// neighborhood's shape, in whether it binds the first frame, and in ties, not in the weighting.
///
/// `similarity(frame, target, source)` is the cosine of the target's token and a token of a context frame; see
/// [`cosine`] and [`fused`]. It is called from many threads.
///
/// # Shapes
/// `grid`: rows and columns of patches, `N` together; the result is `[N, C]`.
///
/// # Panics
/// If there is no context, labels are not `[N, C]`, or `n_top` is 0 or the temperature not above 0.
///
/// # Source
/// Jabri et al., Space-Time Correspondence as a Contrastive Random Walk (videowalk `eval`); Caron et al., DINO
/// (`eval_video_segmentation.py`).
pub fn propagate(
    similarity: impl Fn(usize, usize, usize) -> f64 + Sync,
    contexts: &[Context],
    grid: (usize, usize),
    rule: &Rule,
) -> Array2<f64> {
    let n = grid.0 * grid.1;
    assert!(rule.n_top > 0 && rule.temperature > 0.0, "propagate: {rule:?}");
    let Some(first) = contexts.first() else { panic!("propagate: no frame to copy from") };
    let n_labels = first.labels.ncols();
    for context in contexts {
        assert_eq!(context.labels.dim(), (n, n_labels), "propagate: labels of a context frame");
    }
    let mut out = Array2::zeros((n, n_labels));
    let rows: Vec<_> = out.axis_iter_mut(Axis(0)).collect();
    rows.into_par_iter().enumerate().for_each(|(target, mut row)| {
        let kept = kept(&similarity, contexts, grid, rule, target);
        let best = kept.iter().fold(f64::NEG_INFINITY, |best, source| best.max(source.similarity));
        let mut total = 0.0;
        for source in &kept {
            let weight = ((source.similarity - best) / rule.temperature).exp();
            total += weight;
            row.scaled_add(weight, &contexts[source.frame].labels.row(source.token));
        }
        row /= total;
    });
    out
}

/// A token that may be copied from.
#[derive(Clone, Copy, Debug)]
struct Source {
    similarity: f64,
    frame: usize,
    token: usize,
}

/// The tokens that a target copies from, in the order of frames and tokens.
fn kept(
    similarity: &(impl Fn(usize, usize, usize) -> f64 + Sync),
    contexts: &[Context],
    grid: (usize, usize),
    rule: &Rule,
    target: usize,
) -> Vec<Source> {
    let (y, x) = (target / grid.1, target % grid.1);
    let mut sources = Vec::new();
    for (frame, context) in contexts.iter().enumerate() {
        let free = context.is_first && !rule.first_in_neighborhood;
        let neighborhood = if free { Neighborhood::Everywhere } else { rule.neighborhood };
        let around = |at: usize, side: usize| {
            let reach = neighborhood.reach(side);
            at.saturating_sub(reach)..(at + reach + 1).min(side)
        };
        for row in around(y, grid.0) {
            for column in around(x, grid.1) {
                if neighborhood.holds((row.abs_diff(y), column.abs_diff(x))) {
                    let token = row * grid.1 + column;
                    sources.push(Source { similarity: similarity(frame, target, token), frame, token });
                }
            }
        }
    }
    if sources.len() <= rule.n_top {
        return sources;
    }
    let mut values: Vec<f64> = sources.iter().map(|source| source.similarity).collect();
    let (_, &mut last, _) = values.select_nth_unstable_by(rule.n_top - 1, |a, b| b.total_cmp(a));
    let n_above = sources.iter().filter(|source| source.similarity > last).count();
    let mut n_equal = if rule.ties { usize::MAX } else { rule.n_top - n_above };
    sources.retain(|source| {
        if source.similarity == last && n_equal > 0 {
            n_equal -= 1;
            return true;
        }
        source.similarity > last
    });
    sources
}

/// The cosine of a target's token with one of a context frame, for [`propagate`].
///
/// # Shapes
/// `target` and every one of `contexts`: `[N, D]`, rows of length 1.
///
/// # Panics
/// When called, if a token is not there or widths differ.
///
/// # Source
/// Definition.
pub fn cosine<'a>(
    target: ArrayView2<'a, f32>,
    contexts: &'a [ArrayView2<'a, f32>],
) -> impl Fn(usize, usize, usize) -> f64 + Sync + 'a {
    move |frame, to, from| {
        let (a, b) = (target.row(to), contexts[frame].row(from));
        assert_eq!(a.len(), b.len(), "cosine: widths differ");
        match (a.as_slice(), b.as_slice()) {
            (Some(a), Some(b)) => dot(a, b),
            _ => f64::from(a.dot(&b)),
        }
    }
}

/// A dot product in eight running sums, in a fixed order.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0f32; 8];
    let (a_eights, b_eights) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a_eights.remainder().iter().zip(b_eights.remainder());
    let rest: f64 = rest.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    for (a, b) in a_eights.zip(b_eights) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() + rest
}

/// The similarity of two networks taken together: the cosine of `[λ a; b]` for unit features `a`, `b`.
///
/// `(λ² cos_a + cos_b) / (λ² + 1)`: the concatenation is never made.
///
/// # Panics
/// Never.
///
/// # Source
/// Hu et al., Semantic-aware Fine-grained Correspondence, ECCV 2022 (`λ = 1.75` for the fine-grained network).
pub fn fused(cos_a: f64, cos_b: f64, lambda: f64) -> f64 {
    (lambda * lambda * cos_a + cos_b) / (lambda * lambda + 1.0)
}

/// Stretches every label's map to 0–1: `(x − min) / max(x − min)`, where its maximum is above 0.
///
/// A map that is the same everywhere becomes 0.
///
/// # Shapes
/// `labels`: `[N, C]`.
///
/// # Panics
/// Never.
///
/// # Source
/// `norm_mask` of DINO's `eval_video_segmentation.py`. *Differs*: an even map gives 0 there the quotient 0/0.
pub fn stretch(mut labels: ArrayViewMut2<f64>) {
    for mut map in labels.columns_mut() {
        let (least, most) = map
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), &x| (least.min(x), most.max(x)));
        if most > 0.0 {
            let span = most - least;
            map.mapv_inplace(|x| if span > 0.0 { (x - least) / span } else { 0.0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nearest::l2_normalize_rows;
    use ndarray::array;

    const CRW: Rule = Rule {
        neighborhood: Neighborhood::Circle { radius_patches: 1.5 },
        first_in_neighborhood: false,
        temperature: 0.1,
        n_top: 2,
        ties: false,
    };

    #[test]
    fn the_two_most_similar_are_weighed_by_a_softmax() {
        // One row of three tokens; the target's token 0 is like token 2 of the first frame (0.9) and token 1 (0.7).
        let sims = [0.1, 0.7, 0.9];
        let labels = array![[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]];
        let contexts = [Context { is_first: true, labels: labels.view() }];
        let out = propagate(
            |_, target, source| if target == 0 { sims[source] } else { 0.0 },
            &contexts,
            (1, 3),
            &CRW,
        );
        let w = 1.0 / (1.0 + (-2.0f64).exp()); // of 0.9 against 0.7 at temperature 0.1
        assert!((out[[0, 0]] - w).abs() < 1e-12 && (out[[0, 1]] - (1.0 - w)).abs() < 1e-12);
        // Bound to the neighborhood, token 2 is out of reach: 0.7 and 0.1 are left.
        let bound = Rule { first_in_neighborhood: true, ..CRW };
        let out = propagate(|_, _, source| sims[source], &contexts, (1, 3), &bound);
        let w = 1.0 / (1.0 + (-6.0f64).exp());
        assert!((out[[0, 1]] - w).abs() < 1e-12);
    }

    #[test]
    fn a_circle_is_open_and_a_square_closed() {
        let holds = |neighborhood: Neighborhood| {
            (0..4).flat_map(|dy| (0..4).map(move |dx| (dy, dx))).filter(|&at| neighborhood.holds(at)).count()
        };
        // dy² + dx² < 4: 00 01 10 11; |·| ≤ 2: nine.
        assert_eq!(holds(Neighborhood::Circle { radius_patches: 2.0 }), 4);
        assert_eq!(holds(Neighborhood::Square { radius_patches: 2 }), 9);
    }

    #[test]
    fn ties_are_kept_or_the_earliest_taken() {
        let labels = array![[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let contexts = [Context { is_first: true, labels: labels.view() }];
        let of = |ties| propagate(|_, _, _| 0.5, &contexts, (1, 3), &Rule { ties, ..CRW }).row(0).to_vec();
        assert_eq!(of(false), [0.5, 0.5, 0.0]);
        assert!(of(true).iter().all(|&x| (x - 1.0 / 3.0).abs() < 1e-15));
    }

    #[test]
    fn fused_similarity_is_the_cosine_of_the_weighted_concatenation() {
        let unit = |seed: f32| {
            let row = Array2::from_shape_fn((1, 5), |(_, i)| (seed + 1.3 * i as f32).sin());
            l2_normalize_rows(row.view())
        };
        let [a, b, c, d] = [0.1, 0.9, 2.2, 3.7].map(unit);
        let lambda = 1.75f32;
        let join = |x: &Array2<f32>, y: &Array2<f32>| {
            let both = x.iter().map(|x| lambda * x).chain(y.iter().copied());
            l2_normalize_rows(Array2::from_shape_vec((1, 10), both.collect()).expect("ten").view())
        };
        let cos = |x: &Array2<f32>, y: &Array2<f32>| cosine(x.view(), &[y.view()])(0, 0, 0);
        let joined = cos(&join(&a, &c), &join(&b, &d));
        assert!((fused(cos(&a, &b), cos(&c, &d), f64::from(lambda)) - joined).abs() < 1e-6);
        // λ = 1.75: (3.0625 · 1 + 0) / 4.0625
        assert!((fused(1.0, 0.0, 1.75) - 3.0625 / 4.0625).abs() < 1e-15);
    }

    #[test]
    fn maps_are_stretched_and_even_ones_vanish() {
        let mut labels = array![[0.2, 0.5, 0.0], [0.6, 0.5, 0.0]];
        stretch(labels.view_mut());
        assert!((&labels - &array![[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]).iter().all(|x| x.abs() < 1e-12));
    }
}
