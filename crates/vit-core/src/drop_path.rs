//! The residual connection: LayerScale, and drop path (stochastic depth), which leaves a branch out for some samples.

use crate::{LayerScale, Stream};
use burn::tensor::Tensor;
use rand::RngExt;

/// `x + factor·γ∘branch`: each sample's branch is kept with probability `1 − rate` and divided by that, else left out; γ is
/// LayerScale's. Without draws (inference) every branch is kept as it is.
///
/// # Shapes
/// - `x`, `branch`: `[B, T, D]`; result the same
///
/// # Panics
/// When the shapes disagree.
///
/// # Source
/// Huang et al., Deep Networks with Stochastic Depth; timm's form: mask = ⌊keep + U⌋ per sample.
pub fn residual(
    x: Tensor<3>,
    branch: Tensor<3>,
    scale: Option<&LayerScale>,
    rate: f64,
    draws: Option<&mut Stream>,
) -> Tensor<3> {
    let [b, _, width] = x.dims();
    let keep = 1.0 - rate;
    let factors: Vec<f32> = match draws {
        Some(stream) if rate > 0.0 => {
            (0..b).map(|_| (keep + stream.random::<f64>()).floor() as f32 / keep as f32).collect()
        }
        _ => Vec::new(),
    };
    match scale {
        Some(scale) => vit_ops::residual(x, branch, scale.gamma.val(), factors),
        None if factors.is_empty() => x + branch,
        None => {
            let ones = Tensor::ones([width], (&x.device(), x.dtype()));
            vit_ops::residual(x, branch, ones, factors)
        }
    }
}
