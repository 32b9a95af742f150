//! What is summed up where it is made, for whoever looks at it, so that nothing large is kept: attention, and lengths of tokens.

use crate::functions::watched_inputs;
use crate::{AttentionGrid, AttentionRow, AttentionWants, VitBackend};
use burn::backend::Dispatch;
use burn::tensor::Tensor;

/// What [`attention_summed`] gives; what was not wanted is missing.
#[derive(Clone, Debug)]
pub struct AttentionSummary {
    /// Merged heads, `[B, T, D]`.
    pub merged: Tensor<3>,
    /// `[B, heads, 4]`: the numbers of [`attention_watched`](crate::attention_watched).
    pub statistics: Tensor<3>,
    /// `[B, heads, T, T]`
    pub probabilities: Option<Tensor<4>>,
    /// `[B, heads, 6, T]` in the order of [`AttentionRow`].
    pub rows: Option<Tensor<4>>,
    /// `[B, heads, 2·rows − 1, 2·columns − 1]`: rows of patches without the prefix, divided by what remains, laid over one canvas so
    /// that every query lies in its middle; the mean over queries. A row with nothing left adds nothing.
    pub aligned: Option<Tensor<4>>,
    /// The mean over heads, `[B, 1, T, T]`.
    pub mean: Option<Tensor<4>>,
    /// How much heads differ, `[B, 1, 1, 1]`: the standard deviation over heads (with `heads − 1`), mean over queries and keys that
    /// are patches; 0 of a single head.
    pub spread: Option<Tensor<4>>,
}

/// [`attention_watched`](crate::attention_watched) together with what else is wanted, in one pass over the probabilities, which
/// are kept only where they are wanted themselves.
///
/// # Shapes
/// Arguments as for [`attention_watched`](crate::attention_watched); results as in [`AttentionSummary`].
///
/// # Panics
/// As [`attention_watched`](crate::attention_watched).
///
/// # Source
/// Walmer et al., Teaching Matters: aggregated and aligned maps, deviations over positions and heads.
pub fn attention_summed(
    qkv: Tensor<3>,
    bias: Option<Tensor<3>>,
    n_heads: usize,
    grid: AttentionGrid,
    wants: AttentionWants,
) -> AttentionSummary {
    let [b, t, _] = qkv.dims();
    let (qkv, bias) = watched_inputs(qkv, bias, n_heads, grid);
    let (merged, statistics, wanted) =
        <Dispatch as VitBackend>::vit_attention_summed(qkv, bias, n_heads, grid, wants);
    let mut wanted = wanted.into_iter();
    let mut next = |is_wanted: bool| if is_wanted { wanted.next() } else { None };
    let probabilities = next(wants.probabilities).map(Tensor::from_dispatch);
    let maps: Option<Tensor<3>> = next(wants.maps).map(Tensor::from_dispatch);
    let over_heads: Option<Tensor<2>> = next(wants.over_heads).map(Tensor::from_dispatch);
    let n_of_rows = AttentionRow::N * t;
    let rows = maps.clone().map(|maps| {
        let rows = maps.slice([0..b, 0..n_heads, 0..n_of_rows]);
        rows.reshape([b, n_heads, AttentionRow::N, t])
    });
    let (high, wide) = (2 * grid.rows - 1, 2 * grid.columns - 1);
    let aligned = maps.map(|maps| {
        let aligned = maps.slice([0..b, 0..n_heads, n_of_rows..n_of_rows + high * wide]);
        aligned.reshape([b, n_heads, high, wide])
    });
    let mean = over_heads.clone().map(|both| both.slice([0..b, 0..t * t]).reshape([b, 1, t, t]));
    let spread = over_heads.map(|both| both.slice([0..b, t * t..t * t + 1]).reshape([b, 1, 1, 1]));
    AttentionSummary {
        merged: Tensor::from_dispatch(merged),
        statistics: Tensor::from_dispatch(statistics),
        probabilities,
        rows,
        aligned,
        mean,
        spread,
    }
}

/// A layer upon a rollout: `R ← Â·R` with `Â = mean + I`, rows divided by their sums; of nothing below, `Â` itself.
///
/// # Shapes
/// - `mean`: attention, mean over heads, `[B, T, T]`; `below`: the rollout up to the layer before, as `mean`
/// - results: the rollout, as `mean`, and its numbers as those of a head in [`attention_watched`](crate::attention_watched),
///   `[B, 1, 4]`
///
/// # Panics
/// When the shapes do not fit one another or the grid.
///
/// # Source
/// Abnar and Zuidema, Quantifying Attention Flow in Transformers.
pub fn attention_rolled(
    mean: Tensor<3>,
    below: Option<Tensor<3>>,
    grid: AttentionGrid,
) -> (Tensor<3>, Tensor<3>) {
    let ([b, t, columns], n_tokens) = (mean.dims(), grid.n_prefix + grid.rows * grid.columns);
    let below_dims = below.as_ref().map_or([b, t, t], Tensor::dims);
    assert!(
        t == n_tokens && columns == t && below_dims == [b, t, t],
        "attention_rolled: mean {:?}, below {below_dims:?}, {grid:?}",
        mean.dims()
    );
    // Of one token a single value is a rollout: that of nothing, 1, changes none.
    let below = below.unwrap_or_else(|| Tensor::ones([1, 1, 1], (&mean.device(), mean.dtype())));
    let (mean, below) = (mean.into_dispatch(), below.into_dispatch());
    let (rolled, found) = <Dispatch as VitBackend>::vit_attention_rolled(mean, below, grid);
    (Tensor::from_dispatch(rolled), Tensor::from_dispatch(found))
}

/// How long each token is, and how long what was added to it: `‖z‖` and `‖x − z‖`.
///
/// # Shapes
/// `z` and `x`: `[B, T, D]`; result: `[B, T, 2]`
///
/// # Panics
/// When the shapes differ.
///
/// # Source
/// Definition; of tensors that are not differentiated.
pub fn lengths(z: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
    assert_eq!(z.dims(), x.dims(), "lengths of what was and what became of it");
    Tensor::from_dispatch(<Dispatch as VitBackend>::vit_lengths(z.into_dispatch(), x.into_dispatch()))
}
