//! PyTorch's files of before version 1.6: five pickles (a magic number, a version, the system, the checkpoint, the
//! storages' keys), then every storage as its length and its bytes, little-endian.

use super::super::WeightsError;
use super::dtype::Order;
use super::graph::{Storage, find, storage};
use super::place::{Packing, Place, refusal};
use super::source::Source;
use super::{Dtype, Entry, Opened};
use pickle::{Node, Pickle};
use std::collections::HashMap;

/// 0x1950a86a20f9469cfc6c, little-endian: what such a file begins with.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// The one version there has been.
const VERSION: i64 = 1001;

/// Whether a file begins with a pickle.
pub(super) fn is_pickle(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, ..])
}

/// Reads the pickles and finds every storage.
pub(super) fn open(source: Source) -> Result<Opened, WeightsError> {
    let parse = |start: u64| Pickle::parse(&source, start, source.len() - start);
    let magic = parse(0)?;
    if !matches!(magic.node(magic.root), Node::Long(span) if magic.bytes(*span) == MAGIC) {
        return Err(source.malformed("a checkpoint of PyTorch", "a pickle of something else"));
    }
    let version = parse(magic.end)?;
    if version.int(version.root) != Some(VERSION) {
        return Err(source.malformed(format!("a PyTorch file of version {VERSION}"), "another version"));
    }
    let system = parse(version.end)?;
    let checkpoint = parse(system.end)?;
    let keys = parse(checkpoint.end)?;
    let starts = storages(&source, &checkpoint, &keys)?;
    let found = find(&checkpoint, &source)?;
    let mut tensors = Vec::with_capacity(found.tensors.len());
    for tensor in found.tensors {
        let Some(&(start, bytes)) = starts.get(&tensor.storage.key) else {
            let expected = format!("its storage `{}` in the list of keys", tensor.storage.key);
            return Err(refusal(&tensor.name, expected, "none".to_owned(), source.path()));
        };
        let place = Place {
            source: 0,
            start,
            bytes,
            packing: Packing::Stored,
            header_bytes: 0,
            crc: None,
            order: Order::Little,
            offset: tensor.offset,
            strides: tensor.strides,
        };
        tensors.push((Entry { name: tensor.name, dtype: tensor.dtype, shape: tensor.shape }, place));
    }
    Ok(Opened { sources: vec![source], tensors, meta: found.meta })
}

/// Start and bytes of every storage: each is a length in numbers, then the numbers.
fn storages(
    source: &Source,
    checkpoint: &Pickle,
    keys: &Pickle,
) -> Result<HashMap<String, (u64, u64)>, WeightsError> {
    let mut named: HashMap<String, Storage> = HashMap::new();
    for id in 0..checkpoint.nodes().len() {
        if let Some(storage) = storage(checkpoint, id as u32) {
            named.insert(storage.key.clone(), storage);
        }
    }
    let Some(listed) = keys.items(keys.root) else {
        return Err(source.malformed("a list of the storages' keys", "something else"));
    };
    let mut starts = HashMap::new();
    let mut at = keys.end;
    for key in listed {
        let key = match keys.node(*key) {
            Node::Int(key) => key.to_string(),
            _ => keys.text(*key).unwrap_or_default().to_owned(),
        };
        let Some(storage) = named.get(&key) else {
            return Err(source.malformed("keys of storages that the checkpoint uses", format!("`{key}`")));
        };
        let item = match storage.dtype {
            None | Some(Dtype::Other("F8_E4M3" | "F8_E5M2")) => 1,
            Some(Dtype::Other("C64")) => 8,
            Some(Dtype::Other("C128")) => 16,
            Some(dtype) => dtype.n_bytes() as u64,
        };
        if item == 0 {
            let expected = format!("storage `{key}` of a type whose size is known");
            return Err(source.malformed(expected, storage.dtype.map_or("none", |dtype| dtype.name())));
        }
        let length = source.bytes(&format!("the length of storage `{key}`"), at, 8)?;
        let n = length.iter().rev().fold(0u64, |n, &byte| n << 8 | u64::from(byte));
        let start = at + 8;
        let bytes = n.checked_mul(item);
        let end = bytes.and_then(|bytes| start.checked_add(bytes)).filter(|&end| end <= source.len());
        let (Some(bytes), Some(end)) = (bytes, end) else {
            let expected = format!("storage `{key}` of {n} numbers from byte {start}");
            return Err(source.malformed(expected, format!("a file of {} bytes", source.len())));
        };
        if n != storage.n {
            let expected = format!("storage `{key}` of {} numbers", storage.n);
            return Err(source.malformed(expected, n.to_string()));
        }
        if starts.insert(key.clone(), (start, bytes)).is_some() {
            return Err(source.malformed("each storage once", format!("`{key}` twice")));
        }
        at = end;
    }
    if at != source.len() {
        let expected = format!("{at} bytes, as the storages' lengths say");
        return Err(source.malformed(expected, format!("{} bytes", source.len())));
    }
    Ok(starts)
}
