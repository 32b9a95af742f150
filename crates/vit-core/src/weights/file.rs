//! Weights files: safetensors under timm's names, the whole configuration in the metadata, read tensor by tensor.

use super::{NamedParam, WeightsError, assign, names, params};
use crate::{Backbone, ConvConfig, VitConfig, stream};
use burn::tensor::Device;
use safetensors::tensor::{Dtype, Metadata, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The key of our metadata inside a safetensors header.
const METADATA_KEY: &str = "vitscope";

/// The longest header read; the specification's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// What a weights file says of its model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "encoder", rename_all = "kebab-case")]
pub enum ModelConfig {
    /// A Vision Transformer.
    Vit(VitConfig),
    /// A convolutional network.
    Conv(ConvConfig),
}

impl ModelConfig {
    /// The configuration of a model.
    pub fn of(model: &Backbone) -> Self {
        match model {
            Backbone::Vit(vit) => Self::Vit(vit.config.clone()),
            Backbone::Conv(conv) => Self::Conv(conv.config.clone()),
        }
    }

    /// A model of this configuration with random weights.
    pub fn init(&self, device: &Device, seed: u64) -> Backbone {
        match self {
            Self::Vit(config) => Backbone::Vit(config.init(device, &mut stream(seed))),
            Self::Conv(config) => Backbone::Conv(config.init(device, &mut stream(seed))),
        }
    }
}

/// A safetensors file, opened by its header only; tensors are read by position when asked for.
#[derive(Debug)]
pub struct TensorFile {
    file: File,
    path: PathBuf,
    data_start: u64,
    header: Metadata,
}

impl TensorFile {
    /// Reads and checks the header: lengths against the file's size before anything is allocated.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a whole safetensors file.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let io = |source| WeightsError::Io { source, path: path.to_owned() };
        let malformed = |expected: String, found: String| WeightsError::Malformed {
            expected,
            found,
            path: path.to_owned(),
        };
        let mut file = File::open(path).map_err(io)?;
        let file_bytes = file.metadata().map_err(io)?.len();
        let mut length = [0u8; 8];
        if file_bytes < 8 {
            return Err(malformed("a safetensors header".into(), format!("{file_bytes} bytes")));
        }
        file.read_exact(&mut length).map_err(io)?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > MAX_HEADER_BYTES || header_bytes + 8 > file_bytes {
            let found = format!("a header length of {header_bytes} in a file of {file_bytes} bytes");
            return Err(malformed("a safetensors file".into(), found));
        }
        let mut bytes = vec![0u8; header_bytes as usize];
        file.read_exact(&mut bytes).map_err(io)?;
        // Not `SafeTensors::read_metadata`, which wants the whole file in memory; this checks all offsets too.
        let header: Metadata = match serde_json::from_slice(&bytes) {
            Ok(header) => header,
            Err(error) => return Err(malformed("a safetensors header".into(), error.to_string())),
        };
        let data_start = 8 + header_bytes;
        let whole_bytes = data_start.saturating_add(header.data_len() as u64);
        if whole_bytes != file_bytes {
            let expected = format!("{whole_bytes} bytes, as the header says");
            return Err(malformed(expected, format!("{file_bytes} bytes")));
        }
        Ok(Self { file, path: path.to_owned(), data_start, header })
    }

    /// Our metadata, as JSON text, where the file has it.
    pub fn metadata(&self) -> Option<&str> {
        self.header.metadata().as_ref()?.get(METADATA_KEY).map(String::as_str)
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> BTreeSet<String> {
        self.header.tensors().into_keys().collect()
    }

    /// A tensor's shape.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.header.info(name).map(|info| info.shape.clone())
    }

    /// One tensor, which must be f32, have the shape, and be finite.
    ///
    /// # Errors
    /// When it is missing, of another shape or type, or holds a NaN or infinity.
    pub fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let path = || self.path.clone();
        let Some(info) = self.header.info(name) else {
            return Err(WeightsError::Missing { name: name.into(), expected: shape.into(), path: path() });
        };
        if info.shape != shape {
            let (expected, found) = (shape.to_vec(), info.shape.clone());
            return Err(WeightsError::Shape { name: name.into(), expected, found, path: path() });
        }
        if info.dtype != Dtype::F32 {
            let (expected, found) = (format!("`{name}` in F32"), format!("{:?}", info.dtype));
            return Err(WeightsError::Malformed { expected, found, path: path() });
        }
        let (start, end) = info.data_offsets;
        let mut bytes = vec![0u8; end - start];
        let io = |source| WeightsError::Io { source, path: self.path.clone() };
        self.file.seek(SeekFrom::Start(self.data_start + start as u64)).map_err(io)?;
        self.file.read_exact(&mut bytes).map_err(io)?;
        let values: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        if let Some(index) = values.iter().position(|x| !x.is_finite()) {
            let found = values[index];
            return Err(WeightsError::NotFinite { name: name.into(), found, index, path: self.path.clone() });
        }
        Ok(values)
    }
}

/// Writes named tensors and one JSON text of metadata; to a temporary name first, then renamed.
///
/// # Errors
/// When the file cannot be written; what stood there before is then untouched.
pub fn save_tensors(tensors: &[NamedParam], metadata: String, path: &Path) -> Result<(), WeightsError> {
    let io = |source| WeightsError::Io { source, path: path.to_owned() };
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|t| t.values.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let mut views = Vec::with_capacity(tensors.len());
    for (tensor, bytes) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes);
        let view = view.map_err(|error| io(std::io::Error::other(format!("`{}`: {error}", tensor.name))))?;
        views.push((tensor.name.as_str(), view));
    }
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), metadata)]);
    let partial = path.with_extension("partial");
    let written = safetensors::serialize_to_file(views, Some(metadata), &partial)
        .map_err(|error| io(std::io::Error::other(error.to_string())))
        .and_then(|()| File::open(&partial).and_then(|file| file.sync_all()).map_err(io))
        .and_then(|()| std::fs::rename(&partial, path).map_err(io));
    if written.is_err() {
        // Best effort: the error that matters is the one of writing.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

/// Writes a model: timm's names, its configuration in the metadata.
///
/// # Errors
/// When the file cannot be written.
pub fn save(model: &Backbone, path: &Path) -> Result<(), WeightsError> {
    let tensors = match model {
        Backbone::Vit(vit) => params(vit),
        Backbone::Conv(conv) => params(conv),
    };
    let metadata = serde_json::to_string(&ModelConfig::of(model))
        .map_err(|error| WeightsError::Io { source: error.into(), path: path.to_owned() })?;
    save_tensors(&tensors, metadata, path)
}

/// Reads a model. The configuration is `config` where it is given, else the file's own.
///
/// # Errors
/// When the file is not whole, does not say its configuration and none was given, or when any parameter is missing,
/// unexpected, of another shape, or not finite.
pub fn load(path: &Path, config: Option<&ModelConfig>, device: &Device) -> Result<Backbone, WeightsError> {
    let mut file = TensorFile::open(path)?;
    let config = match (config, file.metadata()) {
        (Some(config), _) => config.clone(),
        (None, Some(text)) => serde_json::from_str(text).map_err(|error| WeightsError::Malformed {
            expected: "a vitscope configuration in the metadata".into(),
            found: error.to_string(),
            path: path.to_owned(),
        })?,
        (None, None) => {
            return Err(WeightsError::Malformed {
                expected: "a vitscope configuration in the metadata, or --arch".into(),
                found: "neither".into(),
                path: path.to_owned(),
            });
        }
    };
    if let ModelConfig::Vit(vit) = &config {
        vit.check().map_err(|problem| WeightsError::Malformed {
            expected: "a sound configuration".into(),
            found: problem,
            path: path.to_owned(),
        })?;
    }
    match config.init(device, 0) {
        Backbone::Vit(vit) => Ok(Backbone::Vit(fill(vit, &mut file)?)),
        Backbone::Conv(conv) => Ok(Backbone::Conv(fill(conv, &mut file)?)),
    }
}

fn fill<M: burn::module::Module>(module: M, file: &mut TensorFile) -> Result<M, WeightsError> {
    let known: BTreeSet<String> = names(&module).into_iter().map(|param| param.name).collect();
    let module = assign(module, |name, shape| file.read(name, shape))?;
    match file.names().difference(&known).next() {
        Some(name) => Err(WeightsError::Unexpected { name: name.clone(), path: file.path.clone() }),
        None => Ok(module),
    }
}
