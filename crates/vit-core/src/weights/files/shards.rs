//! Checkpoints in several files: `*.index.json` says which tensor is in which file, and is held against them.

use super::super::WeightsError;
use super::source::Source;
use super::{Opened, open_one};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The longest index read.
const MAX_INDEX_BYTES: u64 = 1 << 24;

/// The most files of one checkpoint.
const MAX_SHARDS: usize = 1 << 10;

/// What a path means.
pub(super) enum Where {
    /// The index of several files.
    Index(PathBuf),
    /// One file.
    File(PathBuf),
}

/// Finds what is to be opened: an index given as such, that of the shard that was given, or what a folder holds.
pub(super) fn resolve(path: &Path) -> Result<Where, WeightsError> {
    if path.is_dir() {
        return in_folder(path);
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.ends_with(".index.json") {
        return Ok(Where::Index(path.to_owned()));
    }
    let Some(index) = index_of_shard(name) else {
        return Ok(Where::File(path.to_owned()));
    };
    let index = path.with_file_name(index);
    if index.is_file() {
        return Ok(Where::Index(index));
    }
    match name.contains("-00001-of-00001.") {
        true => Ok(Where::File(path.to_owned())),
        false => Err(WeightsError::Malformed {
            expected: format!("the index of the shards, `{}`", index.display()),
            found: "one shard without it".into(),
            path: path.to_owned(),
        }),
    }
}

/// `model.safetensors.index.json` for `model-00001-of-00003.safetensors`.
fn index_of_shard(name: &str) -> Option<String> {
    let (stem, extension) = name.rsplit_once('.')?;
    let (rest, n_shards) = stem.rsplit_once("-of-")?;
    let (base, shard) = rest.rsplit_once('-')?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(n_shards) && is_number(shard)).then(|| format!("{base}.{extension}.index.json"))
}

fn in_folder(folder: &Path) -> Result<Where, WeightsError> {
    let io = |source| WeightsError::Io { source, path: folder.to_owned() };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let rank = match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
            "json" if name.ends_with(".safetensors.index.json") => 0,
            "safetensors" if index_of_shard(&name).is_none() => 1,
            "json" if name.ends_with(".index.json") => 2,
            "bin" if index_of_shard(&name).is_none() => 3,
            "pth" | "pt" | "tar" | "npz" => 4,
            _ => continue,
        };
        found.push((rank, path));
    }
    found.sort();
    // Of the same weights in two formats the safer is taken; of two of one format neither is.
    match found.as_slice() {
        [(rank, only), rest @ ..] if rest.first().is_none_or(|(next, _)| next > rank) => {
            Ok(if matches!(rank, 0 | 2) { Where::Index(only.clone()) } else { Where::File(only.clone()) })
        }
        several => Err(WeightsError::Malformed {
            expected: "a folder with one weights file or one index of shards".into(),
            found: match several {
                [] => "neither".into(),
                several => several
                    .iter()
                    .filter_map(|(_, path)| path.file_name()?.to_str())
                    .take(4)
                    .collect::<Vec<_>>()
                    .join(", "),
            },
            path: folder.to_owned(),
        }),
    }
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    metadata: Map<String, Value>,
    weight_map: BTreeMap<String, String>,
}

/// Opens every shard; each tensor must be where the index says, and only there.
pub(super) fn open(path: &Path) -> Result<Opened, WeightsError> {
    let source = Source::open(path)?;
    if source.len() > MAX_INDEX_BYTES {
        let expected = format!("an index of at most {MAX_INDEX_BYTES} bytes");
        return Err(source.malformed(expected, format!("{} bytes", source.len())));
    }
    let text = source.bytes("an index of shards", 0, source.len())?;
    let index: Index = serde_json::from_slice(&text)
        .map_err(|error| source.malformed("an index of shards with a weight_map", error.to_string()))?;
    let mut names: Vec<&str> = index.weight_map.values().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() > MAX_SHARDS {
        let expected = format!("at most {MAX_SHARDS} shards");
        return Err(source.malformed(expected, names.len().to_string()));
    }
    let mut whole = Opened { sources: Vec::new(), tensors: Vec::new(), meta: Value::Null };
    let mut meta = index.metadata.clone();
    for name in names {
        if name.is_empty() || name == ".." || name.contains(['/', '\\', ':']) {
            return Err(source.malformed("names of files beside the index", format!("`{name}`")));
        }
        let shard_path = path.with_file_name(name);
        let (_, shard) = open_one(&shard_path)?;
        let first = whole.sources.len();
        for (entry, mut place) in shard.tensors {
            match index.weight_map.get(&entry.name) {
                Some(home) if home == name => {}
                home => {
                    let expected = match home {
                        Some(home) => format!("it in `{home}`, as the index says"),
                        None => "it in the index of shards".to_owned(),
                    };
                    let found = format!("it in `{name}`");
                    return Err(WeightsError::Tensor {
                        name: entry.name,
                        expected,
                        found,
                        path: path.to_owned(),
                    });
                }
            }
            place.source += first;
            whole.tensors.push((entry, place));
        }
        whole.sources.extend(shard.sources);
        if let Value::Object(shard) = shard.meta {
            meta.extend(shard);
        }
    }
    let there: std::collections::BTreeSet<&str> =
        whole.tensors.iter().map(|(entry, _)| entry.name.as_str()).collect();
    if let Some((name, home)) = index.weight_map.iter().find(|(name, _)| !there.contains(name.as_str())) {
        let (expected, found) = (format!("it in `{home}`, as the index says"), "none".to_owned());
        return Err(WeightsError::Tensor { name: name.clone(), expected, found, path: path.to_owned() });
    }
    whole.meta = Value::Object(meta);
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_tells_the_name_of_its_index() {
        let index = index_of_shard("model-00002-of-00003.safetensors");
        assert_eq!(index.as_deref(), Some("model.safetensors.index.json"));
        let index = index_of_shard("pytorch_model-00001-of-00002.bin");
        assert_eq!(index.as_deref(), Some("pytorch_model.bin.index.json"));
        for name in ["model.safetensors", "a-1-of-2.bin", "best-of-three.pth"] {
            assert_eq!(index_of_shard(name), None, "{name}");
        }
    }
}
