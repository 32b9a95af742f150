//! PyTorch's zip files: `data.pkl` says which tensors there are, `data/N` holds the bytes of storage N. TorchScript
//! archives are the same with code beside them, which is not looked at.

use super::super::WeightsError;
use super::dtype::Order;
use super::graph::{Tensor, find};
use super::place::{Packing, Place, refusal};
use super::source::Source;
use super::zip::Zip;
use super::{Entry, Opened};
use pickle::Pickle;

const PICKLE: &str = "data.pkl";

/// The folder inside the zip that holds the checkpoint, with its slash; the outermost, where there are several.
pub(super) fn folder(zip: &Zip) -> Option<&str> {
    let folders = zip.names().filter_map(|name| name.strip_suffix(PICKLE));
    folders.filter(|folder| folder.is_empty() || folder.ends_with('/')).min_by_key(|folder| folder.len())
}

/// Whether the checkpoint is a TorchScript archive.
pub(super) fn is_script(zip: &Zip, folder: &str) -> bool {
    let code = format!("{folder}code/");
    zip.member(&format!("{folder}constants.pkl")).is_some() && zip.names().any(|name| name.starts_with(&code))
}

/// Reads the pickle and finds every storage.
pub(super) fn open(source: Source, zip: &Zip, folder: &str) -> Result<Opened, WeightsError> {
    let name = format!("{folder}{PICKLE}");
    let Some(member) = zip.member(&name) else {
        return Err(source.malformed(format!("a zip member `{name}`"), "none"));
    };
    if member.packing != Packing::Stored {
        return Err(source.malformed(format!("zip member `{name}` stored, as PyTorch does"), "a packed one"));
    }
    let order = byte_order(&source, zip, folder)?;
    let start = zip.start(&source, &name, member)?;
    let pickle = Pickle::parse(&source, start, member.bytes)?;
    let found = find(&pickle, &source)?;
    let mut tensors = Vec::with_capacity(found.tensors.len());
    for tensor in found.tensors {
        let place = place(&source, zip, folder, order, &tensor)?;
        tensors.push((Entry { name: tensor.name, dtype: tensor.dtype, shape: tensor.shape }, place));
    }
    Ok(Opened { sources: vec![source], tensors, meta: found.meta })
}

fn byte_order(source: &Source, zip: &Zip, folder: &str) -> Result<Order, WeightsError> {
    let name = format!("{folder}byteorder");
    if zip.member(&name).is_none() {
        return Ok(Order::Little);
    }
    match zip.head(source, &name, 16)?.as_slice() {
        b"little" => Ok(Order::Little),
        b"big" => Ok(Order::Big),
        other => {
            let found = String::from_utf8_lossy(other).into_owned();
            Err(source.malformed(format!("`little` or `big` in zip member `{name}`"), found))
        }
    }
}

fn place(
    source: &Source,
    zip: &Zip,
    folder: &str,
    order: Order,
    tensor: &Tensor,
) -> Result<Place, WeightsError> {
    let refuse =
        |expected: String, found: &str| refusal(&tensor.name, expected, found.to_owned(), source.path());
    let storage = &tensor.storage;
    let member_name = format!("{folder}data/{}", storage.key);
    let Some(member) = zip.member(&member_name) else {
        return Err(refuse(format!("its storage `{member_name}` in the zip"), "none"));
    };
    if member.packing != Packing::Stored {
        return Err(refuse(format!("its storage `{member_name}` stored, as PyTorch does"), "a packed one"));
    }
    let item = storage.dtype.map_or(1, |dtype| dtype.n_bytes() as u64);
    if item > 0 && storage.n.checked_mul(item) != Some(member.bytes) {
        let expected = format!("{} numbers of {item} bytes in `{member_name}`", storage.n);
        return Err(refuse(expected, &format!("{} bytes", member.bytes)));
    }
    Ok(Place {
        source: 0,
        start: zip.start(source, &member_name, member)?,
        bytes: member.bytes,
        packing: member.packing,
        header_bytes: 0,
        crc: None,
        order,
        offset: tensor.offset,
        strides: tensor.strides.clone(),
    })
}
