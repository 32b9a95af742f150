//! An npy array, in a zip that is in order.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vitscope_fuzz::read_bytes(&vitscope_fuzz::zip_of(&[("a.npy", bytes)])));
