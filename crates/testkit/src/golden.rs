//! Golden cases: models, inputs and outputs computed by code that nobody here wrote.
//!
//! A case is a folder with `meta.json` (`kind`, `config`, `tolerance`), `io.safetensors` and, where there is a model,
//! `weights.safetensors` or `weights.pth`. Cases stand in `tests/golden`; the environment variable `VITSCOPE_GOLDEN`
//! names more folders, each a case or a folder of cases. A test picks its cases by `kind`.

use crate::{HostTensor, Tolerance, assert_near};
use burn::module::Module;
use pytorch_reader::PytorchReader;
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use vit_core::weights;

/// Tensors by name.
pub type Tensors = BTreeMap<String, HostTensor>;

/// What stands in `meta.json`, as far as tests read it.
#[derive(Clone, Debug, Deserialize)]
pub struct Meta {
    /// Which check it is for.
    pub kind: String,
    /// Sizes and options that shapes cannot tell.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// Whose code computed it.
    pub source: String,
    /// How near is near enough.
    pub tolerance: Tolerance,
}

/// One golden case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// What it says of itself.
    pub meta: Meta,
    /// Inputs and expected outputs.
    pub io: Tensors,
}

/// Every case of a kind: those of the repository, then those that `VITSCOPE_GOLDEN` names.
///
/// # Panics
/// When there is none, or one of them cannot be read.
pub fn cases(kind: &str) -> Vec<Case> {
    let cases: Vec<Case> = folders().into_iter().filter_map(|folder| read_case(&folder, kind)).collect();
    assert!(!cases.is_empty(), "no golden case of kind `{kind}` was found");
    cases
}

/// Every folder with a `meta.json`.
fn folders() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    #[allow(
        clippy::disallowed_methods,
        reason = "tests may read VITSCOPE_*: it adds cases and changes no result"
    )]
    let extra = std::env::var_os("VITSCOPE_GOLDEN").unwrap_or_default();
    let roots =
        std::iter::once(own).chain(std::env::split_paths(&extra).filter(|path| !path.as_os_str().is_empty()));
    let mut found = Vec::new();
    for root in roots {
        if root.join("meta.json").exists() {
            found.push(root);
            continue;
        }
        let entries =
            fs::read_dir(&root).unwrap_or_else(|error| panic!("golden cases: {error}: {}", root.display()));
        let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        inside.retain(|folder| folder.join("meta.json").exists());
        inside.sort();
        found.extend(inside);
    }
    found
}

fn read_case(folder: &Path, kind: &str) -> Option<Case> {
    let text = read(&folder.join("meta.json"));
    let meta: Meta = serde_json::from_slice(&text)
        .unwrap_or_else(|error| panic!("meta.json: {error}: {}", folder.display()));
    if meta.kind != kind {
        return None;
    }
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let io = read_safetensors(&folder.join("io.safetensors"));
    Some(Case { name, folder: folder.to_owned(), meta, io })
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("golden case: {error}: {}", path.display()))
}

fn read_safetensors(path: &Path) -> Tensors {
    let bytes = read(path);
    let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{error}: {}", path.display()));
    file.tensors().into_iter().map(|(name, view)| (name.clone(), HostTensor::of_view(&name, &view))).collect()
}

impl Case {
    /// A tensor of `io.safetensors`.
    ///
    /// # Panics
    /// When it is not there.
    pub fn tensor(&self, name: &str) -> &HostTensor {
        self.io.get(name).unwrap_or_else(|| panic!("{}: no tensor `{name}` in io.safetensors", self.name))
    }

    /// The tensors whose names begin with `prefix`, by the rest of their names.
    pub fn tensors<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a HostTensor)> {
        self.io.iter().filter_map(move |(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)))
    }

    /// A count in the configuration, where it is given.
    ///
    /// # Panics
    /// When it is something else.
    pub fn count(&self, key: &str) -> Option<usize> {
        let value = self.meta.config.get(key)?;
        let count =
            value.as_u64().unwrap_or_else(|| panic!("{}: {key}: expected a count; found {value}", self.name));
        Some(count as usize)
    }

    /// A count that the configuration must have.
    ///
    /// # Panics
    /// When it is missing or something else.
    pub fn needed(&self, key: &str) -> usize {
        self.count(key).unwrap_or_else(|| panic!("{}: no `{key}` in the configuration", self.name))
    }

    /// A list of counts that the configuration must have.
    ///
    /// # Panics
    /// When it is missing or something else.
    pub fn counts(&self, key: &str) -> Vec<usize> {
        let list = self.meta.config.get(key).and_then(Value::as_array);
        let counts: Option<Vec<usize>> = list
            .and_then(|list| list.iter().map(|value| value.as_u64().map(|count| count as usize)).collect());
        counts.unwrap_or_else(|| panic!("{}: `{key}`: expected a list of counts", self.name))
    }

    /// A number that the configuration must have.
    ///
    /// # Panics
    /// When it is missing or something else.
    pub fn number(&self, key: &str) -> f64 {
        let number = self.meta.config.get(key).and_then(Value::as_f64);
        number.unwrap_or_else(|| panic!("{}: `{key}`: expected a number", self.name))
    }

    /// Compares ours with the tensor of that name, within the case's tolerance.
    ///
    /// # Panics
    /// With case, tensor, index, ours and expected.
    pub fn assert_near(&self, name: &str, ours: &HostTensor) {
        assert_near(&format!("{}: {name}", self.name), ours, self.tensor(name), self.meta.tolerance);
    }

    /// The path of `weights.safetensors`, where that is how weights are stored.
    pub fn safetensors(&self) -> Option<PathBuf> {
        Some(self.folder.join("weights.safetensors")).filter(|path| path.exists())
    }

    /// All weights, from `weights.safetensors`, else from below `top_level_key` of `weights.pth`.
    ///
    /// # Panics
    /// When there are none, or they cannot be read.
    pub fn weights(&self, top_level_key: Option<&str>) -> Tensors {
        if let Some(path) = self.safetensors() {
            return read_safetensors(&path);
        }
        let path = self.folder.join("weights.pth");
        let reader = match top_level_key {
            Some(key) => PytorchReader::with_top_level_key(&path, key),
            None => PytorchReader::new(&path),
        };
        let reader = reader.unwrap_or_else(|error| panic!("{error}: {}", path.display()));
        let tensors = reader.tensors();
        tensors.iter().map(|(name, tensor)| (name.clone(), HostTensor::of_pytorch(tensor))).collect()
    }
}

/// Puts weights into a module, strictly: every parameter must be there in its shape under its public name, and nothing
/// else may be.
///
/// # Panics
/// With the name of the first parameter that is missing, of another shape, or left over.
pub fn fill<M: Module>(module: M, mut weights: Tensors, public_name: impl Fn(&str) -> String) -> M {
    let module = weights::assign(module, |name, shape| {
        let public = public_name(name);
        let tensor = weights.remove(&public).ok_or_else(|| format!("missing `{public}`"))?;
        if tensor.shape != shape {
            return Err(format!("`{public}`: expected {shape:?}; found {:?}", tensor.shape));
        }
        Ok(tensor.to_f32())
    });
    let module = module.unwrap_or_else(|problem| panic!("golden weights: {problem}"));
    assert!(weights.is_empty(), "golden weights: left over: {:?}", weights.keys());
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "no golden case of kind `no-such-kind` was found")]
    fn a_kind_without_cases_is_an_error() {
        cases("no-such-kind");
    }

    #[test]
    fn weights_are_read_from_safetensors_and_from_pytorch_checkpoints() {
        let shape = |kind: &str, key: Option<&str>| cases(kind)[0].weights(key)["cls_token"].shape.clone();
        assert_eq!(shape("beit", None), [1, 1, 32]);
        assert_eq!(shape("mae", Some("model")), [1, 1, 32]);
    }

    #[test]
    #[should_panic(expected = "missing `decoder_embed.bias`")]
    fn a_missing_weight_is_named() {
        let mut draws = vit_core::stream(0);
        let device = vit_ops::cpu_device();
        let scheme = vit_core::InitScheme::Timm;
        let mut draw = vit_core::Draw { stream: &mut draws, device: &device, scheme };
        let layer = vit_core::Linear::init(32, 32, true, &mut draw);
        let mut weights = cases("mae")[0].weights(Some("model"));
        weights.remove("decoder_embed.bias");
        fill(layer, weights, |name| format!("decoder_embed.{name}"));
    }
}
