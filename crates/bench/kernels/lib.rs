//! Nothing but a place for `benches/kernels.rs`.
