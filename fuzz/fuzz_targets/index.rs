//! The index of a checkpoint in several files.
#![no_main]

libfuzzer_sys::fuzz_target!(|index: &[u8]| {
    let dir = tempfile::tempdir().expect("a folder");
    let header = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let mut shard = (header.len() as u64).to_le_bytes().to_vec();
    shard.extend(header);
    shard.extend([0; 8]);
    std::fs::write(dir.path().join("model-00001-of-00001.safetensors"), shard).expect("written");
    let path = dir.path().join("model.safetensors.index.json");
    std::fs::write(&path, index).expect("written");
    vitscope_fuzz::read_all(&path);
});
