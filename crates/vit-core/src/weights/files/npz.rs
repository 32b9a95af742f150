//! npz: a zip of npy arrays, as JAX models are published. Names stay as they are, slashes included.

use super::super::WeightsError;
use super::dtype::Order;
use super::place::{Place, n_numbers, row_major};
use super::source::Source;
use super::zip::Zip;
use super::{Dtype, Entry, Opened};
use serde_json::{Map, Value};

/// The longest npy header read; real ones have 80 to 200 bytes.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// Whether a zip's members are arrays.
pub(super) fn is_npz(zip: &Zip) -> bool {
    zip.names().any(|name| name.ends_with(".npy"))
}

/// Reads the header of every array.
pub(super) fn open(source: Source, zip: &Zip) -> Result<Opened, WeightsError> {
    let mut tensors = Vec::new();
    let mut meta = Map::new();
    for member_name in zip.names() {
        let Some(member) = zip.member(member_name) else { continue };
        let Some(name) = member_name.strip_suffix(".npy") else {
            meta.insert(member_name.to_owned(), format!("<{} bytes>", member.bytes).into());
            continue;
        };
        let head = zip.head(&source, member_name, 4096)?;
        let refuse = |expected: &str, found: String| WeightsError::Tensor {
            name: name.to_owned(),
            expected: expected.to_owned(),
            found,
            path: source.path().to_owned(),
        };
        let header_bytes = header_bytes(&head).ok_or_else(|| {
            let found = String::from_utf8_lossy(&head[..head.len().min(12)]).into_owned();
            refuse("an npy header of version 1, 2 or 3", found)
        })?;
        let head = match head.len() {
            n if n >= header_bytes || member.bytes < header_bytes as u64 => head,
            _ => zip.head(&source, member_name, header_bytes as u64)?,
        };
        let text = head.get(..header_bytes).map(String::from_utf8_lossy);
        let header = text.as_deref().and_then(header).ok_or_else(|| {
            let found = String::from_utf8_lossy(&head[..head.len().min(200)]).into_owned();
            refuse("an npy header of descr, fortran_order and shape", found)
        })?;
        let entry = Entry { name: name.to_owned(), dtype: header.dtype, shape: header.shape };
        let header_bytes = header_bytes as u64;
        let n = n_numbers(&entry.shape).and_then(|n| n.checked_mul(entry.dtype.n_bytes() as u64));
        if entry.dtype.is_readable() && n.and_then(|n| n.checked_add(header_bytes)) != Some(member.bytes) {
            let found = format!("{} bytes after the header", member.bytes.saturating_sub(header_bytes));
            return Err(refuse(&format!("shape {:?} in {}", entry.shape, entry.dtype.name()), found));
        }
        let strides = if header.is_column_major {
            let backwards: Vec<usize> = entry.shape.iter().rev().copied().collect();
            row_major(&backwards).into_iter().rev().collect()
        } else {
            row_major(&entry.shape)
        };
        let place = Place {
            source: 0,
            start: zip.start(&source, member_name, member)?,
            bytes: member.bytes,
            packing: member.packing,
            header_bytes,
            crc: Some(member.crc),
            order: header.order,
            offset: 0,
            strides,
        };
        tensors.push((entry, place));
    }
    Ok(Opened { sources: vec![source], tensors, meta: Value::Object(meta) })
}

/// Bytes of an npy file before its numbers.
fn header_bytes(head: &[u8]) -> Option<usize> {
    let rest = head.strip_prefix(b"\x93NUMPY")?;
    let (before, text) = match rest {
        [1, _, a, b, ..] => (10, u32::from(u16::from_le_bytes([*a, *b]))),
        [2 | 3, _, a, b, c, d, ..] => (12, u32::from_le_bytes([*a, *b, *c, *d])),
        _ => return None,
    };
    Some(before + usize::try_from(text).ok()?).filter(|&n| n <= MAX_HEADER_BYTES)
}

#[derive(Debug, PartialEq)]
struct Header {
    dtype: Dtype,
    order: Order,
    is_column_major: bool,
    shape: Vec<usize>,
}

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, keys in any order.
///
/// Only this form is read: a reader of every Python literal would recurse as deep as the file says.
fn header(text: &str) -> Option<Header> {
    let (mut descr, mut is_column_major, mut shape) = (None, None, None);
    let mut rest = text.get(text.find('{')? + 1..)?.trim_start();
    while !rest.starts_with('}') {
        let (key, after) = quoted(rest)?;
        let value = after.trim_start().strip_prefix(':')?.trim_start();
        rest = match key {
            "descr" => {
                let after;
                (descr, after) = match quoted(value) {
                    Some((word, after)) => (Some(number_type(word)), after),
                    // A list of fields: such an array is listed, not read.
                    None => {
                        (Some((Dtype::Other("record"), Order::Little)), value.get(value.rfind(']')? + 1..)?)
                    }
                };
                after
            }
            "fortran_order" => {
                let (is, after) = match value.strip_prefix("True") {
                    Some(after) => (true, after),
                    None => (false, value.strip_prefix("False")?),
                };
                is_column_major = Some(is);
                after
            }
            "shape" => {
                let (inside, after) = value.strip_prefix('(')?.split_once(')')?;
                let sizes = inside.split(',').map(|size| size.trim().trim_end_matches('L'));
                shape = Some(
                    sizes.filter(|s| !s.is_empty()).map(|s| s.parse().ok()).collect::<Option<Vec<_>>>()?,
                );
                after
            }
            _ => return None,
        }
        .trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    let (dtype, order) = descr?;
    Some(Header { dtype, order, is_column_major: is_column_major?, shape: shape? })
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// What `<f4` means. JAX writes its bfloat16 as two bytes without a meaning, `V2`.
fn number_type(descr: &str) -> (Dtype, Order) {
    let order = if descr.starts_with('>') { Order::Big } else { Order::Little };
    let dtype = match descr.trim_start_matches(['<', '>', '|', '=']) {
        "f8" => Dtype::F64,
        "f4" => Dtype::F32,
        "f2" => Dtype::F16,
        "V2" | "bfloat16" => Dtype::Bf16,
        "i8" => Dtype::I64,
        "i4" => Dtype::I32,
        "i2" => Dtype::I16,
        "i1" => Dtype::I8,
        "u8" => Dtype::U64,
        "u4" => Dtype::U32,
        "u2" => Dtype::U16,
        "u1" => Dtype::U8,
        "b1" => Dtype::Bool,
        "c8" => Dtype::Other("C64"),
        "c16" => Dtype::Other("C128"),
        "O" => Dtype::Other("object"),
        text if text.starts_with(['U', 'S']) => Dtype::Other("text"),
        _ => Dtype::Other("unknown"),
    };
    (dtype, order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_whatever_the_order_of_its_keys() {
        let expected =
            Header { dtype: Dtype::F32, order: Order::Big, is_column_major: true, shape: vec![3, 4] };
        for text in [
            "{'descr': '>f4', 'fortran_order': True, 'shape': (3, 4), }   \n",
            "{\"shape\": (3L, 4L), \"fortran_order\": True, \"descr\": \">f4\"}",
        ] {
            assert_eq!(header(text).as_ref(), Some(&expected), "{text}");
        }
        let scalar = header("{'descr': '|V2', 'fortran_order': False, 'shape': (), }").expect("read");
        assert_eq!((scalar.dtype, scalar.shape), (Dtype::Bf16, vec![]));
        let record = header("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (2,), }");
        assert_eq!(record.map(|header| header.dtype), Some(Dtype::Other("record")));
        for text in ["", "{", "{'descr': '<f4'", "{'shape': (-1,)}", "{'shape': (3,), 'x': 1}", "{'é"] {
            assert_eq!(header(text), None, "{text}");
        }
    }
}
