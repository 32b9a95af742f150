//! The backends that run the portable bodies.

use crate::VitBackend;

#[cfg(feature = "ndarray")]
#[allow(deprecated, reason = "a second CPU reference, until the tensor library drops it")]
impl VitBackend for burn::backend::NdArray {}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl VitBackend for burn_cubecl::CubeBackend {}
