//! MODEL: an architecture with random weights, a weights file, or a run folder.

use crate::names::{self, Names};
use crate::settings::Settings;
use anyhow::{Context, anyhow, bail};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use vit_core::weights::{
    self, Branch, Checkpoint, Hints, InputTransform, ModelConfig, NamedParam, TensorFile,
};
use vit_core::{Backbone, PRESETS, Vit, arch, given_by_arch};
use vit_data::transform::Normalize;

/// The weights in a run folder.
pub(crate) const WEIGHTS_FILE: &str = "backbone.safetensors";

/// Files that a folder of weights may have, ours first.
const IN_FOLDERS: [&str; 5] = [
    WEIGHTS_FILE,
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// What is said of a weights file that does not say it itself.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Words {
    /// The architecture of a weights file that does not say it itself, or parts of it: vit-s/16, vit:heads=6
    #[arg(long, value_name = "ARCH", value_parser = Names(names::models), hide_possible_values = true)]
    pub(crate) arch: Option<String>,
    /// The family of a weights file whose names fit several: dino, mae, deit, …
    #[arg(long, value_name = "FAMILY", value_parser = Names(names::families), hide_possible_values = true)]
    pub(crate) family: Option<String>,
    /// Which network of a file that holds two
    #[arg(long, value_name = "BRANCH", value_parser = ["student", "teacher"])]
    pub(crate) branch: Option<String>,
}

impl Words {
    /// Whether nothing is said.
    fn is_empty(&self) -> bool {
        self.arch.is_none() && self.family.is_none() && self.branch.is_none()
    }

    /// The same for the importer.
    ///
    /// # Errors
    /// When the architecture or the family is not written as they are.
    pub(crate) fn hints(&self) -> anyhow::Result<Hints> {
        let given = self.arch.as_deref().map(given_by_arch).transpose();
        let given = given.map_err(|problem| anyhow!("--arch: {problem}"))?.unwrap_or_default();
        let family = self.family.as_deref().map(weights::family).transpose();
        let family = family.map_err(|problem| anyhow!("--{problem}"))?;
        let branch = self.branch.as_deref().map(|branch| match branch {
            "teacher" => Branch::Teacher,
            _ => Branch::Student,
        });
        Ok(Hints { given, family, branch, ..Hints::default() })
    }
}

/// A frozen encoder, and what is known of it.
pub(crate) struct Model {
    /// As it was given on the command line.
    pub(crate) name: String,
    /// The encoder.
    pub(crate) backbone: Backbone,
    /// Digest of the weights file; of all parameters where weights are random.
    pub(crate) sha256: String,
    /// The normalization it was trained with; none where families that fit its file differ.
    pub(crate) normalize: Option<Normalize>,
    /// Its family's input transform, where it has one.
    pub(crate) input: Option<InputTransform>,
    /// Whether it is known how its positions are resampled to another grid.
    pub(crate) resamples: bool,
    /// The families that fit its file.
    pub(crate) families: Vec<&'static str>,
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
            input: self.input,
            resamples: self.resamples,
            families: self.families.clone(),
            is_untrained: true,
        }
    }
}

/// The weights file that a text names: a file, or one in a run folder or in a folder of transformers.
///
/// # Errors
/// When it names a folder without weights.
pub(crate) fn weights_file(text: &str) -> anyhow::Result<Option<PathBuf>> {
    let path = Path::new(text);
    if path.is_dir() {
        let file = IN_FOLDERS.iter().map(|name| path.join(name)).find(|file| file.is_file());
        return match file {
            Some(file) => Ok(Some(file)),
            None => bail!("model: expected a run folder with {WEIGHTS_FILE}; found none: {text}"),
        };
    }
    Ok(path.is_file().then(|| path.to_owned()))
}

/// Whether a MODEL is a weights file that does not say all of itself, as ours do.
///
/// # Errors
/// When its file is damaged.
pub(crate) fn is_silent(text: &str) -> anyhow::Result<bool> {
    match weights_file(text)? {
        Some(file) => Ok(TensorFile::open(&file)?.metadata().is_none()),
        None => Ok(false),
    }
}

/// Opens a MODEL; `words` say of a weights file what it does not say itself.
///
/// # Errors
/// When there is no such thing, or its weights are not whole.
pub(crate) fn open(text: &str, words: &Words, settings: &Settings) -> anyhow::Result<Model> {
    if let Some(file) = weights_file(text)? {
        return from_file(text, &file, words, settings);
    }
    for (option, said) in [("arch", &words.arch), ("family", &words.family), ("branch", &words.branch)] {
        if let Some(said) = said {
            bail!("--{option} {said}: expected a weights file that it describes; found none: {text}");
        }
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
        normalize: Some(Normalize::IMAGENET),
        input: None,
        resamples: true,
        families: Vec::new(),
        is_untrained: true,
    })
}

/// What the architecture that is trained says of a file that cannot say it itself: how many heads there are.
///
/// # Errors
/// When the architecture is not written as they are.
pub(crate) fn heads_of(architecture: &str) -> anyhow::Result<Words> {
    let heads = arch(architecture).map_err(|problem| anyhow!("model: {problem}"))?.n_heads;
    Ok(Words { arch: Some(format!("vit:heads={heads}")), ..Words::default() })
}

/// The Vision Transformer of a weights file or run folder, from which `architecture` starts, and the digest of its file.
///
/// # Errors
/// When there is none, or it is of another kind.
pub(crate) fn open_vit(text: &str, architecture: &str, settings: &Settings) -> anyhow::Result<(Vit, String)> {
    let foreign = match weights_file(text)? {
        Some(file) => !is_own(&TensorFile::open(&file)?),
        None => false,
    };
    let words = if foreign { heads_of(architecture)? } else { Words::default() };
    let model = open(text, &words, settings)?;
    match model.backbone {
        _ if model.is_untrained => {
            bail!("init_from: expected a weights file or a run folder; found random weights: {text}")
        }
        Backbone::Vit(vit) => Ok((vit, model.sha256)),
        other => bail!("init_from: expected a Vision Transformer; found {}: {text}", other.kind()),
    }
}

/// Whether a file was written by us, under our names, and says everything.
fn is_own(file: &TensorFile) -> bool {
    file.metadata().is_some() && file.meta().get("format").is_none()
}

fn from_file(text: &str, path: &Path, words: &Words, settings: &Settings) -> anyhow::Result<Model> {
    let file = TensorFile::open(path)?;
    let sha256 = || sha256_of_file(path);
    // Our own files say everything; they are held to it name by name. What was exported may have other names.
    if is_own(&file) && words.is_empty() {
        let input = weights::input_of(&file);
        let normalize = match input {
            Some(input) => Normalize { mean: input.mean, std: input.std },
            None => normalization_beside(path)?.unwrap_or(Normalize::IMAGENET),
        };
        return Ok(Model {
            name: text.to_owned(),
            backbone: weights::load(path, None, &settings.device)?,
            sha256: sha256()?,
            normalize: Some(normalize),
            input,
            resamples: true,
            families: Vec::new(),
            is_untrained: false,
        });
    }
    let checkpoint = Checkpoint::of(file, &words.hints()?)?;
    let audit = checkpoint.audit();
    let beside = normalization_beside(path)?;
    Ok(Model {
        name: text.to_owned(),
        backbone: Backbone::Vit(checkpoint.load(&settings.device)?),
        sha256: sha256()?,
        normalize: beside.or(audit.input.map(|input| Normalize { mean: input.mean, std: input.std })),
        input: audit.input,
        resamples: audit.knows_resampling(),
        families: audit.families.clone(),
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

/// The digest of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
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

pub(crate) fn sha256_of_params(model: &Backbone) -> String {
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

/// Bytes as they are written in digests.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
