//! What the fuzz targets share: a file of the fuzzer's bytes, opened and read as a checkpoint.
//!
//! The readers are taken by their files and not from vit-core, so that nothing else of it is built with the fuzzer's
//! instruments: the build takes seconds.

#[allow(dead_code, reason = "the fuzzer asks less of the readers than vit-core does")]
#[path = "../../crates/vit-core/src/weights/error.rs"]
mod error;
#[allow(dead_code, reason = "the fuzzer asks less of the readers than vit-core does")]
#[path = "../../crates/vit-core/src/weights/files/mod.rs"]
mod files;

use error::WeightsError;
use files::TensorFile;
use std::path::Path;

/// Opens a file or folder and reads every tensor: no bytes may make this panic, hang or fill the memory.
pub fn read_all(path: &Path) {
    if let Ok(file) = TensorFile::open(path) {
        for entry in file.entries() {
            if let Ok(values) = file.read_f32(&entry.name) {
                assert_eq!(values.len(), entry.shape.iter().product::<usize>());
            }
        }
    }
}

/// Reads the bytes as a checkpoint.
pub fn read_bytes(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("checkpoint");
    std::fs::write(&path, bytes).expect("written");
    read_all(&path);
}

/// A zip of stored members, so that a fuzzer of what is inside need not keep the zip itself in order.
pub fn zip_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let start = zip.len() as u32;
        let mut facts = vec![0; 8]; // flags, method, time, date
        facts.extend([0; 4]); // the checksum, which readers of PyTorch's files do not rely upon
        facts.extend((bytes.len() as u32).to_le_bytes());
        facts.extend((bytes.len() as u32).to_le_bytes());
        facts.extend((name.len() as u16).to_le_bytes());
        facts.extend([0; 2]); // extra fields
        zip.extend(b"PK\x03\x04\x14\0");
        zip.extend(&facts);
        zip.extend(name.as_bytes());
        zip.extend(*bytes);
        directory.extend(b"PK\x01\x02\x14\0\x14\0");
        directory.extend(&facts);
        directory.extend([0; 10]); // comment, disk, attributes
        directory.extend(start.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = zip.len() as u32;
    zip.extend(&directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend((members.len() as u16).to_le_bytes().repeat(2));
    zip.extend((directory.len() as u32).to_le_bytes());
    zip.extend(start.to_le_bytes());
    zip.extend([0; 2]);
    zip
}
