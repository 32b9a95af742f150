//! Safetensors: a JSON header of names, types, shapes and offsets, then the numbers.

use super::super::WeightsError;
use super::place::Place;
use super::source::Source;
use super::{Dtype, Entry, Opened};
use safetensors::tensor::{Dtype as StDtype, Metadata};
use serde_json::{Map, Value};

/// The longest header read; the specification's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Whether a file begins as safetensors do: the length of a header, then a JSON object.
pub(super) fn is_safetensors(head: &[u8]) -> bool {
    head.get(8) == Some(&b'{')
}

/// Whether that header also ends inside the file. A length can look like the first bytes of another format, so this
/// is asked before those are looked for.
pub(super) fn is_whole_header(head: &[u8], file_bytes: u64) -> bool {
    let length = head.iter().take(8).rev().fold(0u64, |n, &byte| n << 8 | u64::from(byte));
    is_safetensors(head) && length.checked_add(8).is_some_and(|end| end <= file_bytes)
}

/// Reads and checks the header: lengths against the file's size before anything is allocated.
pub(super) fn open(source: Source) -> Result<Opened, WeightsError> {
    let length = source.bytes("the length of a safetensors header", 0, 8)?;
    let header_bytes = length.iter().rev().fold(0u64, |n, &byte| n << 8 | u64::from(byte));
    if header_bytes > MAX_HEADER_BYTES || header_bytes + 8 > source.len() {
        let found = format!("a header length of {header_bytes} in a file of {} bytes", source.len());
        return Err(source.malformed("a safetensors file", found));
    }
    let bytes = source.bytes("a safetensors header", 8, header_bytes)?;
    // Not `SafeTensors::read_metadata`, which wants the whole file in memory; this checks all offsets too.
    let header: Metadata = serde_json::from_slice(&bytes)
        .map_err(|error| source.malformed("a safetensors header", error.to_string()))?;
    drop(bytes);
    let data_start = 8 + header_bytes;
    let whole_bytes = data_start.saturating_add(header.data_len() as u64);
    if whole_bytes != source.len() {
        let expected = format!("{whole_bytes} bytes, as the header says");
        return Err(source.malformed(expected, format!("{} bytes", source.len())));
    }
    let mut tensors = Vec::new();
    for (name, info) in header.tensors() {
        let (start, end) = info.data_offsets;
        let place = Place::stored(0, data_start + start as u64, (end - start) as u64, &info.shape);
        tensors.push((Entry { name, dtype: dtype(info.dtype), shape: info.shape.clone() }, place));
    }
    let words = header.metadata().iter().flatten();
    let meta: Map<String, Value> = words.map(|(key, text)| (key.clone(), text.clone().into())).collect();
    Ok(Opened { sources: vec![source], tensors, meta: meta.into() })
}

fn dtype(dtype: StDtype) -> Dtype {
    match dtype {
        StDtype::F64 => Dtype::F64,
        StDtype::F32 => Dtype::F32,
        StDtype::F16 => Dtype::F16,
        StDtype::BF16 => Dtype::Bf16,
        StDtype::I64 => Dtype::I64,
        StDtype::I32 => Dtype::I32,
        StDtype::I16 => Dtype::I16,
        StDtype::I8 => Dtype::I8,
        StDtype::U64 => Dtype::U64,
        StDtype::U32 => Dtype::U32,
        StDtype::U16 => Dtype::U16,
        StDtype::U8 => Dtype::U8,
        StDtype::BOOL => Dtype::Bool,
        StDtype::C64 => Dtype::Other("C64"),
        StDtype::F8_E4M3 => Dtype::Other("F8_E4M3"),
        StDtype::F8_E5M2 => Dtype::Other("F8_E5M2"),
        _ => Dtype::Other("fewer than 16 bits"),
    }
}
