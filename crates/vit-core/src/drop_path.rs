//! Drop path (stochastic depth): a residual branch is left out for some samples.

use crate::Stream;
use burn::tensor::{Tensor, TensorData};
use rand::RngExt;

/// Keeps each sample's branch with probability `1 − rate` and divides it by that, else zero.
///
/// # Shapes
/// - `x`: `[B, T, D]`; result as `x`
///
/// # Source
/// Huang et al., Deep Networks with Stochastic Depth; timm's form: mask = ⌊keep + U⌋ per sample.
pub fn drop_path(x: Tensor<3>, rate: f64, draws: Option<&mut Stream>) -> Tensor<3> {
    let Some(stream) = draws else { return x };
    if rate <= 0.0 {
        return x;
    }
    let [b, _, _] = x.dims();
    let keep = 1.0 - rate;
    let factors: Vec<f32> =
        (0..b).map(|_| (keep + stream.random::<f64>()).floor() as f32 / keep as f32).collect();
    let factors = Tensor::<3>::from_data(TensorData::new(factors, [b, 1, 1]), &x.device());
    x * factors
}
