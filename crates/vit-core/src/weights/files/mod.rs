//! Checkpoint files of every format, opened for reading their tensors one by one, by name and by position.
//!
//! A file is opened by what its first bytes say, not by its extension. Only its directory is read then: names, types,
//! shapes, places, and the plain values beside the tensors. Every place is held against the file's length at once, so
//! that what is listed can be read. Nothing in a file is ever executed.

mod dtype;
mod graph;
mod npz;
mod place;
mod read;
mod safetensors;
mod shards;
mod source;
mod torch;
mod torch_legacy;
mod zip;

pub use dtype::Dtype;

use super::WeightsError;
use place::Place;
use serde_json::Value;
use shards::Where;
use source::Source;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use zip::Zip;

/// The key of our metadata inside a safetensors header.
pub(super) const METADATA_KEY: &str = "vitscope";

/// How a checkpoint is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One safetensors file.
    Safetensors,
    /// Several files with an index that says which tensor is in which.
    Sharded,
    /// PyTorch's zip file.
    Torch,
    /// PyTorch's file of before version 1.6.
    TorchLegacy,
    /// A TorchScript archive.
    TorchScript,
    /// A zip of NumPy's arrays.
    Npz,
}

impl Format {
    /// Its name in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Sharded => "sharded, with an index",
            Self::Torch => "PyTorch zip",
            Self::TorchLegacy => "PyTorch before 1.6",
            Self::TorchScript => "TorchScript archive",
            Self::Npz => "npz",
        }
    }
}

/// What a file says of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name; where a file nests its tensors, the keys joined by dots (`student.backbone.cls_token`).
    pub name: String,
    /// The type of its numbers in the file.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// A checkpoint, opened by its directory only; tensors are read by position when asked for.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    format: Format,
    sources: Vec<Source>,
    entries: Vec<Entry>,
    places: Vec<Place>,
    meta: Value,
}

/// What a format's reader found.
struct Opened {
    sources: Vec<Source>,
    tensors: Vec<(Entry, Place)>,
    meta: Value,
}

impl TensorFile {
    /// Opens a checkpoint and checks where everything in it is: a file of any format, the index of several, one of
    /// these several, or a folder that holds either.
    ///
    /// # Errors
    /// When the file cannot be read, is of no known format, is damaged, or names a tensor twice.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let (format, opened) = match shards::resolve(path)? {
            Where::Index(index) => (Format::Sharded, shards::open(&index)?),
            Where::File(file) => open_one(&file)?,
        };
        Self::new(path, format, opened)
    }

    fn new(path: &Path, format: Format, opened: Opened) -> Result<Self, WeightsError> {
        let Opened { sources, mut tensors, meta } = opened;
        tensors.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        if let Some(twice) = tensors.windows(2).find(|pair| pair[0].0.name == pair[1].0.name) {
            return Err(WeightsError::Duplicate { name: twice[0].0.name.clone(), path: path.to_owned() });
        }
        for (entry, place) in &tensors {
            place.check(entry, &sources[place.source])?;
        }
        let (entries, places) = tensors.into_iter().unzip();
        Ok(Self { path: path.to_owned(), format, sources, entries, places, meta })
    }

    /// How the checkpoint is stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors, sorted by name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What the file says of one tensor.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.find(name).map(|at| &self.entries[at])
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> BTreeSet<String> {
        self.entries.iter().map(|entry| entry.name.clone()).collect()
    }

    /// A tensor's shape.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.entry(name).map(|entry| entry.shape.clone())
    }

    /// The plain values that stand beside the tensors, as JSON: the metadata of safetensors (texts), and what a
    /// checkpoint keeps besides tensors (`epoch`, `args` as an object, nested as there). What is neither plain nor a
    /// tensor is a text that names its type, such as `<numpy.ndarray>`.
    pub fn meta(&self) -> &Value {
        &self.meta
    }

    /// Our own metadata, as JSON text, where the file has it.
    pub fn metadata(&self) -> Option<&str> {
        self.meta.get(METADATA_KEY)?.as_str()
    }

    /// One tensor as f32, row-major, whatever its type and strides in the file.
    ///
    /// # Errors
    /// When it is missing, of a type that has no f32, damaged, or holds a NaN or infinity.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let Some(at) = self.find(name) else {
            return Err(self.missing(name, &[]));
        };
        let place = &self.places[at];
        let values = read::read(place, &self.entries[at], &self.sources[place.source])?;
        match values.iter().position(|x| !x.is_finite()) {
            Some(index) => Err(WeightsError::NotFinite {
                name: name.into(),
                found: values[index],
                index,
                path: self.path.clone(),
            }),
            None => Ok(values),
        }
    }

    /// One tensor as f32, which must have the shape and be finite.
    ///
    /// # Errors
    /// As [`Self::read_f32`], and when it has another shape.
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let Some(entry) = self.entry(name) else {
            return Err(self.missing(name, shape));
        };
        if entry.shape != shape {
            let (expected, found) = (shape.to_vec(), entry.shape.clone());
            return Err(WeightsError::Shape { name: name.into(), expected, found, path: self.path.clone() });
        }
        self.read_f32(name)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()
    }

    fn missing(&self, name: &str, shape: &[usize]) -> WeightsError {
        WeightsError::Missing { name: name.into(), expected: shape.into(), path: self.path.clone() }
    }
}

/// Opens one file by what its first bytes say.
fn open_one(path: &Path) -> Result<(Format, Opened), WeightsError> {
    let source = Source::open(path)?;
    let head = source.bytes("the first bytes", 0, source.len().min(512))?;
    if safetensors::is_whole_header(&head, source.len()) {
        return Ok((Format::Safetensors, safetensors::open(source)?));
    }
    if head.starts_with(b"PK\x03\x04") {
        return open_zip(source);
    }
    if torch_legacy::is_pickle(&head) {
        return Ok((Format::TorchLegacy, torch_legacy::open(source)?));
    }
    if let Some(other) = other_format(&head) {
        return Err(source.malformed("safetensors, a PyTorch checkpoint, npz, or an index of shards", other));
    }
    if safetensors::is_safetensors(&head) {
        return Ok((Format::Safetensors, safetensors::open(source)?));
    }
    let found = format!("{} bytes of something else", source.len());
    Err(source.malformed("safetensors, a PyTorch checkpoint, npz, or an index of shards", found))
}

fn open_zip(source: Source) -> Result<(Format, Opened), WeightsError> {
    let zip = Zip::open(&source)?;
    if let Some(folder) = torch::folder(&zip) {
        let format = if torch::is_script(&zip, folder) { Format::TorchScript } else { Format::Torch };
        return Ok((format, torch::open(source, &zip, folder)?));
    }
    if npz::is_npz(&zip) {
        return Ok((Format::Npz, npz::open(source, &zip)?));
    }
    let found: Vec<&str> = zip.names().take(3).collect();
    Err(source.malformed("a zip of a PyTorch checkpoint or of npy arrays", format!("a zip of {found:?}")))
}

/// What people pass by mistake, so that the refusal can say what it is.
fn other_format(head: &[u8]) -> Option<&'static str> {
    let is = |text: &[u8]| head.starts_with(text);
    if head.get(257..262) == Some(b"ustar") {
        return Some("a tar file: PyTorch wrote those before version 0.1.10; save it again with a later one");
    }
    match () {
        () if is(b"\x93NUMPY") => Some("a single npy array"),
        () if is(b"\x1f\x8b") => Some("a gzip file: unpack it first"),
        () if is(b"\x89HDF") => Some("an HDF5 file"),
        () if is(b"version https://git-lfs") => Some("a pointer to a large file: fetch the file itself"),
        () if is(b"<!DOCTYPE") || is(b"<html") => Some("a web page: the download went wrong"),
        () if is(b"GGUF") => Some("a GGUF file"),
        () => None,
    }
}
