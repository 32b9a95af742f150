//! The pickle of a PyTorch checkpoint, in a zip that is in order.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let zip = vitscope_fuzz::zip_of(&[("x/data.pkl", bytes), ("x/data/0", &[0; 64]), ("x/data/1", &[0; 64])]);
    vitscope_fuzz::read_bytes(&zip);
});
