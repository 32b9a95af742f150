//! MODEL: an architecture with random weights, a weights file, or a run folder.

use crate::settings::Settings;
use anyhow::{Context, anyhow, bail};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use vit_core::weights::{self, ModelConfig, NamedParam, TensorFile};
use vit_core::{Backbone, PRESETS, Vit, arch};
use vit_data::transform::Normalize;

/// The weights in a run folder.
pub(crate) const WEIGHTS_FILE: &str = "backbone.safetensors";

/// A frozen encoder, and what is known of it.
pub(crate) struct Model {
    /// As it was given on the command line.
    pub(crate) name: String,
    /// The encoder.
    pub(crate) backbone: Backbone,
    /// Digest of the weights file; of all parameters where weights are random.
    pub(crate) sha256: String,
    /// The normalization it was trained with; ImageNet's where that is not known.
    pub(crate) normalize: Normalize,
    /// Whether its weights are random.
    pub(crate) is_untrained: bool,
}

impl Model {
    /// The same architecture with random weights.
    pub(crate) fn untrained(&self, settings: &Settings) -> Self {
        let config = ModelConfig::of(&self.backbone);
        let backbone = config.init(&settings.device, settings.seed);
        let sha256 = sha256_of_params(&backbone);
        Self {
            name: format!("{} (untrained)", self.name),
            backbone,
            sha256,
            normalize: self.normalize,
            is_untrained: true,
        }
    }
}

/// Opens a MODEL; `arch_words` says the architecture of a weights file that does not say it itself.
///
/// # Errors
/// When there is no such thing, or its weights are not whole.
pub(crate) fn open(text: &str, arch_words: Option<&str>, settings: &Settings) -> anyhow::Result<Model> {
    let path = Path::new(text);
    let file = if path.is_dir() {
        let file = path.join(WEIGHTS_FILE);
        if !file.is_file() {
            bail!("model: expected a run folder with {WEIGHTS_FILE}; found none: {text}");
        }
        Some(file)
    } else if path.is_file() {
        Some(path.to_owned())
    } else {
        None
    };
    if let Some(file) = file {
        return from_file(text, &file, arch_words, settings);
    }
    if let Some(words) = arch_words {
        bail!("--arch {words}: expected a weights file that it describes; found none: {text}");
    }
    if text.starts_with("recipe:") {
        bail!(
            "model: expected weights or an architecture; found `{text}`, which only `compare` can train first"
        );
    }
    let is_preset =
        text.split_once('/').is_some_and(|(name, _)| PRESETS.iter().any(|preset| preset.name == name));
    if !text.starts_with("vit:") && !is_preset {
        let presets: Vec<String> = PRESETS.iter().map(|preset| format!("{}/PATCH", preset.name)).collect();
        bail!(
            "model: expected a weights file, a run folder, or an architecture ({}, vit:dim=…); found none: {text}",
            presets.join(", ")
        );
    }
    let config = ModelConfig::Vit(arch(text).map_err(|problem| anyhow!(problem))?);
    let backbone = config.init(&settings.device, settings.seed);
    Ok(Model {
        name: text.to_owned(),
        sha256: sha256_of_params(&backbone),
        backbone,
        normalize: Normalize::IMAGENET,
        is_untrained: true,
    })
}

/// The Vision Transformer of a weights file or run folder, and the digest of its file.
///
/// # Errors
/// When there is none, or it is of another kind.
pub(crate) fn open_vit(text: &str, settings: &Settings) -> anyhow::Result<(Vit, String)> {
    let model = open(text, None, settings)?;
    match model.backbone {
        _ if model.is_untrained => {
            bail!("init_from: expected a weights file or a run folder; found random weights: {text}")
        }
        Backbone::Vit(vit) => Ok((vit, model.sha256)),
        other => bail!("init_from: expected a Vision Transformer; found {}: {text}", other.kind()),
    }
}

fn from_file(
    text: &str,
    file: &Path,
    arch_words: Option<&str>,
    settings: &Settings,
) -> anyhow::Result<Model> {
    let config = match arch_words {
        Some(words) => {
            let mut config = arch(words).map_err(|problem| anyhow!("--arch: {problem}"))?;
            // A file may hold a classifier or not; that is told by the file, not by the name of a size.
            let tensors = TensorFile::open(file)?;
            if let Some([n_classes, _]) = tensors.shape("head.weight").as_deref() {
                config.n_classes = *n_classes;
            }
            Some(ModelConfig::Vit(config))
        }
        None => None,
    };
    let backbone = weights::load(file, config.as_ref(), &settings.device)?;
    Ok(Model {
        name: text.to_owned(),
        backbone,
        sha256: sha256_of_file(file)?,
        normalize: normalization_beside(file)?.unwrap_or(Normalize::IMAGENET),
        is_untrained: false,
    })
}

/// The normalization of the run that made the weights, from the recipe beside them.
fn normalization_beside(file: &Path) -> anyhow::Result<Option<Normalize>> {
    let recipe: PathBuf = file.with_file_name("recipe.toml");
    if file.file_name().is_none_or(|name| name != WEIGHTS_FILE) || !recipe.is_file() {
        return Ok(None);
    }
    let origin = recipe.display().to_string();
    let text = std::fs::read_to_string(&recipe).with_context(|| format!("cannot read recipe: {origin}"))?;
    let table = report::recipe::parse_table(&text, &origin)?;
    match table.get("views").and_then(|views| views.get("normalize")).and_then(toml::Value::as_str) {
        Some(name) => Ok(Some(Normalize::from_name(name).with_context(|| format!("recipe {origin}"))?)),
        None => Ok(None),
    }
}

/// The digest of a file, read piece by piece.
pub(crate) fn sha256_of_file(path: &Path) -> anyhow::Result<String> {
    let context = || format!("cannot read weights: {}", path.display());
    let mut file = File::open(path).with_context(context)?;
    let mut digest = Sha256::new();
    let mut piece = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut piece).with_context(context)? {
            0 => return Ok(hexadecimal(&digest.finalize())),
            n => digest.update(&piece[..n]),
        }
    }
}

fn sha256_of_params(model: &Backbone) -> String {
    let params: Vec<NamedParam> = match model {
        Backbone::Vit(vit) => weights::params(vit),
        Backbone::Conv(conv) => weights::params(conv),
    };
    let mut digest = Sha256::new();
    for param in params {
        digest.update(param.name.as_bytes());
        let bytes: Vec<u8> = param.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        digest.update(&bytes);
    }
    hexadecimal(&digest.finalize())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
