//! Weights files: safetensors under timm's names, the whole configuration in the metadata, read tensor by tensor.

use super::files::METADATA_KEY;
use super::input::InputTransform;
use super::{INPUT_KEY, NamedParam, TensorFile, WeightsError, assign, names, params};
use crate::{Backbone, ConvConfig, VitConfig, stream};
use burn::tensor::Device;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::Path;

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

/// The input transform in our own metadata, where the file has it.
pub fn input_of(file: &TensorFile) -> Option<InputTransform> {
    serde_json::from_str(file.meta().get(INPUT_KEY)?.as_str()?).ok()
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
    let file = TensorFile::open(path)?;
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
    match &config {
        ModelConfig::Vit(vit) => Ok(Backbone::Vit(fill(vit.blank(device), &file)?)),
        ModelConfig::Conv(conv) => Ok(Backbone::Conv(fill(conv.init(device, &mut stream(0)), &file)?)),
    }
}

fn fill<M: burn::module::Module>(module: M, file: &TensorFile) -> Result<M, WeightsError> {
    let known: BTreeSet<String> = names(&module).into_iter().map(|param| param.name).collect();
    let module = assign(module, |name, shape| file.read(name, shape))?;
    match file.names().difference(&known).next() {
        Some(name) => Err(WeightsError::Unexpected { name: name.clone(), path: file.path().to_owned() }),
        None => Ok(module),
    }
}
