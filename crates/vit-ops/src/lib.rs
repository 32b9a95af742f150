//! The one backend trait of vitscope, its kernels, and process settings.
//!
//! [`VitBackend`] extends Burn's `Backend` with the few operations in which a Vision Transformer spends its time:
//! linear, the activations, LayerNorm, multi-head attention (with a bias or without) and the optimizer's step. Every
//! method has a portable body made of Burn's own primitives, so that every backend runs it; the CPU backend (Flex)
//! overrides them with fused, multi-threaded kernels, forward and backward. The public functions of this crate take and
//! return ordinary [`Tensor`](burn::tensor::Tensor)s and differentiate like any other operation.
//!
//! This is the only crate that names a backend and the only one that writes `unsafe`.

mod autodiff;
mod backend;
mod functions;
mod portable;
mod process;

#[cfg(feature = "flex")]
mod flex;

pub use backend::{AdamWStep, Gate, VitBackend};
pub use functions::{
    adamw_step, attention, attention_biased, ema_step, gelu, gelu_tanh, layer_norm, linear, quick_gelu, silu,
};
pub use process::{Allocator, cpu_device, keep_pages, kernel_path, peak_memory_bytes, set_threads};
