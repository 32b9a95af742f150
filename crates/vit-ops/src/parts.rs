//! Parts of a batch, worked on side by side: each thread goes through all layers with its own samples.
//!
//! Kernels share their work among threads and wait for the last of them, some hundred times in a forward pass. Where samples do not need each
//! other, threads that keep to a half of the batch each do not wait, and find in their own cache what they wrote a layer before.

use burn::tensor::Device;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Parts of a batch. Two, whatever the number of threads: results then do not depend on it, and each part's kernels still take along the
/// threads that have nothing to do. Every part has gradients of its own, so more of them would cost memory.
const N_PARTS: usize = 2;

/// The parts in which `n` samples are worked on side by side, in order: two halves, the first the larger, on the CPU device; one part
/// elsewhere, and of a single sample.
pub fn parts(n: usize, device: &Device) -> Vec<Range<usize>> {
    let n_parts = if is_cpu(device) { N_PARTS.min(n).max(1) } else { 1 };
    let start = |part: usize| (part * n).div_ceil(n_parts);
    (0..n_parts).map(|part| start(part)..start(part + 1)).collect()
}

/// Parts that are being worked on.
static N_RUNNING: AtomicUsize = AtomicUsize::new(0);

/// A part that is being worked on.
struct Running;

impl Running {
    fn begin() -> Self {
        N_RUNNING.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        N_RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Threads that a kernel called now can count on: all, shared among the parts that are being worked on. No result may depend on it.
pub(crate) fn hands() -> usize {
    let n_running = N_RUNNING.load(Ordering::Relaxed).max(1);
    rayon::current_num_threads().div_ceil(n_running)
}

/// Does the work of all parts, side by side where there are threads for it; the results in the order of the parts.
///
/// # Panics
/// When the work of a part does.
pub fn side_by_side<T: Send, R: Send>(parts: Vec<T>, work: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
    each(parts, |part| {
        let _running = Running::begin();
        work(part)
    })
}

/// Work on many things of which none is large, shared among the threads; the results in their order.
///
/// # Panics
/// When the work on one does.
pub fn each<T: Send, R: Send>(things: Vec<T>, work: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
    things.into_par_iter().with_max_len(1).map(work).collect()
}

/// Whether a device is the one of the fused kernels.
fn is_cpu(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return device.clone().without_autodiff() == crate::cpu_device();
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn a_batch_falls_into_two_halves_that_cover_it() {
        let of = |n| parts(n, &crate::cpu_device());
        assert_eq!(of(8), [0..4, 4..8]);
        assert_eq!(of(5), [0..3, 3..5]);
        assert_eq!(of(1), vec![0..1]);
        assert_eq!(of(0), vec![0..0]);
        assert_eq!(parts(8, &crate::cpu_device().autodiff()), [0..4, 4..8]);
    }

    #[test]
    fn results_come_in_the_order_of_the_parts() {
        assert_eq!(side_by_side((0..100).collect(), |i: usize| i * i)[..4], [0, 1, 4, 9]);
    }
}
