//! Checkpoint files of every format, opened for reading their tensors one by one, by name and by position.
//!
//! A file is opened by what its first bytes say, not by its extension. Only its directory is read then: names, types,
//! shapes, places, and the plain values beside the tensors. Every place is held against the file's length at once, so
//! that what is listed can be read. Nothing in a file is ever executed.

mod dtype;
mod place;
mod read;
mod safetensors;
mod source;

pub use dtype::Dtype;

use super::WeightsError;
use place::Place;
use serde_json::Value;
use source::Source;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The key of our metadata inside a safetensors header.
pub(super) const METADATA_KEY: &str = "vitscope";

/// How a checkpoint is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One safetensors file.
    Safetensors,
}

impl Format {
    /// Its name in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
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
    /// Opens a checkpoint and checks where everything in it is.
    ///
    /// # Errors
    /// When the file cannot be read, is of no known format, is damaged, or names a tensor twice.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let source = Source::open(path)?;
        let head = source.bytes("the first bytes", 0, source.len().min(512))?;
        if safetensors::is_safetensors(&head) {
            return Self::new(path, Format::Safetensors, safetensors::open(source)?);
        }
        Err(source.malformed("a safetensors file", format!("{} bytes of something else", source.len())))
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
