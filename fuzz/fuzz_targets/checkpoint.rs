//! Any file, as `vitscope inspect` gets it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vitscope_fuzz::read_bytes(bytes));
