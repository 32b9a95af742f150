//! The header of a safetensors file, with its length in order and numbers behind it.
#![no_main]

libfuzzer_sys::fuzz_target!(|header: &[u8]| {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend([0; 64]);
    vitscope_fuzz::read_bytes(&bytes);
});
