//! The one backend trait of vitscope, its kernels, and process settings.
//!
//! [`VitBackend`] extends Burn's `Backend` with the few operations in which a Vision Transformer spends its time:
//! linear with its activation, LayerNorm, multi-head attention, the residual connection, picking rows, patches, the
//! cross-entropy and the optimizer's step. Every method has a portable body made of Burn's own primitives, so that every backend runs it; the CPU backend (Flex)
//! overrides them with fused, multi-threaded kernels, forward and backward. The public functions of this crate take and
//! return ordinary [`Tensor`](burn::tensor::Tensor)s and differentiate like any other operation.
//!
//! This is the only crate that names a backend and the only one that writes `unsafe`.

mod autodiff;
mod backend;
mod devices;
mod functions;
mod parts;
mod portable;
mod process;
mod summary;

#[cfg(feature = "flex")]
mod flex;
#[cfg(any(feature = "ndarray", feature = "wgpu", feature = "cuda"))]
mod others;

pub use backend::{
    AdamWStep, AttentionGrid, AttentionRow, AttentionWants, Curve, Gate, PatchCut, PatchOrder, VitBackend,
};
pub use devices::{DeviceError, cpu_device, device};
pub use functions::{
    adamw_step, attention, attention_biased, attention_shown, attention_watched, centered_softmax,
    cross_entropy, ema_step, gather_rows, gelu, gelu_tanh, layer_norm, linear, linear_curve, patchify,
    quick_gelu, residual, silu, sum_of_squares, unpatchify,
};
pub use parts::{each, parts, side_by_side};
pub use process::{
    Allocator, keep_pages, kernel_path, n_threads, on_threads, peak_memory_bytes, set_threads,
};
pub use summary::{AttentionSummary, attention_rolled, attention_summed, lengths};
