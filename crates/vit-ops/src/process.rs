//! Settings of the process: the allocator, the threads, and what the machine offers.

/// The global allocator for binaries; with [`keep_pages`] it hands freed pages out again instead of returning them.
pub type Allocator = mimalloc::MiMalloc;

/// Tells [`Allocator`] to keep freed pages. Call first thing in `main`.
///
/// Training frees and asks for the same sizes at every step; pages fresh from the system cost as much as the
/// arithmetic done on them.
pub fn keep_pages() {
    /// The number of mimalloc's option `purge_delay`, in milliseconds; −1 is never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: setting an option is allowed at any time from any thread.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

/// Sets the number of worker threads of the process; the first call wins.
///
/// # Errors
/// When the pool was already started.
pub fn set_threads(n_threads: usize) -> Result<(), String> {
    /// What the first thread of a process has by custom.
    const STACK_BYTES: usize = 8 << 20;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).stack_size(STACK_BYTES);
    pool.build_global().map_err(|error| error.to_string())
}

/// Does work on one of the worker threads, and gives its result.
///
/// A kernel called from there begins at once and takes the other threads along; called from any other thread it is handed
/// over, and that thread waits to be woken: hundreds of times in a step of training, 2 to 10 % of its time. While the work
/// waits for another thread (for pictures, say), that one must not wait for a kernel in turn: with one worker there is
/// nobody left to run it.
///
/// # Panics
/// When the work panics.
pub fn on_threads<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}

/// The number of worker threads of the process.
pub fn n_threads() -> usize {
    rayon::current_num_threads()
}

/// Which kernels run on this processor: `avx512`, `avx2` or `portable`.
pub fn kernel_path() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if has_avx512() {
            return "avx512";
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return "avx2";
        }
    }
    "portable"
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

/// The process's peak resident set in bytes, where the system tells it.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
