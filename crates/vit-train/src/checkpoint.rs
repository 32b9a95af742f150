//! Checkpoints: everything a resumed run needs, written to a side folder and renamed, the last few kept.
//!
//! A checkpoint is *whole* when `state.json` stands in it and every file has the size and digest that it states. Only
//! whole ones are loaded: a write that was cut short, or a file that was damaged later, costs the steps since the one
//! before, never a wrong continuation.

use crate::{AdamW, Objective, TrainError};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use vit_core::weights::{NamedParam, TensorFile, save_tensors};

/// What stands in `state.json`; the tensors lie beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Steps done.
    pub step: usize,
    /// The resolved recipe, which a resumed run must have too.
    pub recipe: String,
    /// The files beside it.
    pub files: BTreeMap<String, FileSum>,
}

/// By which a file is known to be whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSum {
    /// Its size.
    pub bytes: u64,
    /// Its digest, in hexadecimal.
    pub sha256: String,
}

const STATE: &str = "state.json";

/// What is wanted beyond the tensors' bytes before a checkpoint is begun: headers, `state.json`, the log's next lines.
const SPARE_BYTES: u64 = 1 << 20;

/// The folder of a step's checkpoint.
pub(crate) fn folder(run: &Path, step: usize) -> PathBuf {
    run.join("checkpoints").join(format!("step-{step}"))
}

/// The steps of all checkpoints of a run, oldest first, whole or not.
fn steps(run: &Path) -> Vec<usize> {
    let Ok(entries) = std::fs::read_dir(run.join("checkpoints")) else { return Vec::new() };
    let mut steps: Vec<usize> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok())
        .collect();
    steps.sort_unstable();
    steps
}

/// The newest whole checkpoint of a run folder; those that are not whole are passed over.
pub fn latest_checkpoint(run: &Path) -> Option<PathBuf> {
    let folders = steps(run).into_iter().rev().map(|step| folder(run, step));
    folders.into_iter().find(|folder| read_whole(folder).is_ok())
}

/// The newest whole checkpoint, and what is wrong with each newer one.
///
/// # Errors
/// When there are checkpoints and none is whole.
pub(crate) fn newest(run: &Path) -> Result<(Option<PathBuf>, Vec<TrainError>), TrainError> {
    let mut damaged = Vec::new();
    for step in steps(run).into_iter().rev() {
        let folder = folder(run, step);
        match read_whole(&folder) {
            Ok(_) => return Ok((Some(folder), damaged)),
            Err(error) => damaged.push(error),
        }
    }
    match damaged.into_iter().next() {
        Some(error) => Err(error),
        None => Ok((None, Vec::new())),
    }
}

fn sum_of(path: &Path) -> std::io::Result<FileSum> {
    let mut file = File::open(path)?;
    let (mut digest, mut block, mut bytes) = (Sha256::new(), vec![0; 1 << 20], 0);
    loop {
        let n = file.read(&mut block)?;
        if n == 0 {
            break;
        }
        digest.update(&block[..n]);
        bytes += n as u64;
    }
    let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(FileSum { bytes, sha256 })
}

/// Reads `state.json` and checks every file that it names.
fn read_whole(folder: &Path) -> Result<Checkpoint, TrainError> {
    let path = folder.join(STATE);
    let text =
        std::fs::read_to_string(&path).map_err(|source| TrainError::Io { source, path: path.clone() })?;
    let checkpoint: Checkpoint = serde_json::from_str(&text).map_err(|error| TrainError::Checkpoint {
        expected: "a step, a recipe and the digests of its files".into(),
        found: error.to_string(),
        path: path.clone(),
    })?;
    for (name, expected) in &checkpoint.files {
        let path = folder.join(name);
        let found = sum_of(&path).map_err(|source| TrainError::Io { source, path: path.clone() })?;
        if found != *expected {
            let words = |sum: &FileSum| format!("{} bytes with digest {:.12}…", sum.bytes, sum.sha256);
            return Err(TrainError::Checkpoint { expected: words(expected), found: words(&found), path });
        }
    }
    Ok(checkpoint)
}

/// Writes a file and waits until it is on the disk.
fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Saves a checkpoint and deletes those beyond the last `keep`.
///
/// # Errors
/// When the disk has too little room for it, before anything is written; when a file cannot be written. Checkpoints
/// that were there are still there then.
pub(crate) fn save<O: Objective>(
    run: &Path,
    objective: &O,
    optimizer: &AdamW,
    (step, recipe): (usize, &str),
    keep: usize,
) -> Result<PathBuf, TrainError> {
    let target = folder(run, step);
    let partial = run.join("checkpoints").join(format!("partial-{step}"));
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| TrainError::Io { source, path }
    };
    let tensors = [
        ("objective.safetensors", objective.state()),
        ("optimizer.safetensors", optimizer.state(objective.student())),
    ];
    let expected_bytes = SPARE_BYTES + tensors.iter().map(|(_, tensors)| bytes_of(tensors)).sum::<u64>();
    let free_bytes = fs4::available_space(run).map_err(io(run))?;
    if free_bytes < expected_bytes {
        return Err(TrainError::DiskFull { step, expected_bytes, free_bytes, path: run.to_owned() });
    }
    if partial.exists() {
        std::fs::remove_dir_all(&partial).map_err(io(&partial))?;
    }
    let written = write(&partial, &tensors, (step, recipe));
    if written.is_err() {
        // Best effort: the error that matters is the one of writing.
        let _ = std::fs::remove_dir_all(&partial);
    }
    written?;
    if target.exists() {
        std::fs::remove_dir_all(&target).map_err(io(&target))?;
    }
    std::fs::rename(&partial, &target).map_err(io(&target))?;
    let all = steps(run);
    for &old in &all[..all.len().saturating_sub(keep)] {
        let old = folder(run, old);
        std::fs::remove_dir_all(&old).map_err(io(&old))?;
    }
    Ok(target)
}

fn bytes_of(tensors: &[NamedParam]) -> u64 {
    tensors.iter().map(|tensor| 4 * tensor.values.len() as u64).sum()
}

fn write(
    partial: &Path,
    tensors: &[(&str, Vec<NamedParam>)],
    (step, recipe): (usize, &str),
) -> Result<(), TrainError> {
    let io = |path: PathBuf| move |source| TrainError::Io { source, path };
    std::fs::create_dir_all(partial).map_err(io(partial.to_owned()))?;
    let mut files = BTreeMap::new();
    for (name, tensors) in tensors {
        let path = partial.join(name);
        save_tensors(tensors, "{}".into(), &path)?;
        files.insert((*name).to_owned(), sum_of(&path).map_err(io(path))?);
    }
    let checkpoint = Checkpoint { step, recipe: recipe.to_owned(), files };
    let path = partial.join(STATE);
    let state = serde_json::to_string_pretty(&checkpoint).map_err(|error| io(path.clone())(error.into()))?;
    write_synced(&path, state.as_bytes()).map_err(io(path))
}

/// Loads a whole checkpoint into a fresh objective and optimizer.
pub(crate) fn load<O: Objective>(
    folder: &Path,
    objective: O,
    optimizer: &mut AdamW,
    recipe: &str,
    device: &Device,
) -> Result<(O, usize), TrainError> {
    let checkpoint = read_whole(folder)?;
    if checkpoint.recipe != recipe {
        return Err(another_recipe(&checkpoint.recipe, recipe, folder.join(STATE)));
    }
    let tensors = TensorFile::open(&folder.join("objective.safetensors"))?;
    let objective = objective.with_state(&mut |name, shape| tensors.read(name, shape))?;
    let moments = TensorFile::open(&folder.join("optimizer.safetensors"))?;
    let n_steps = u32::try_from(checkpoint.step).unwrap_or(u32::MAX);
    optimizer.restore(objective.student(), n_steps, device, &mut |name, shape| moments.read(name, shape))?;
    Ok((objective, checkpoint.step))
}

/// Refuses to go on with another recipe than the one that a run was begun with.
///
/// # Errors
/// When they differ, or the former cannot be read.
pub(crate) fn same_recipe(path: &Path, recipe: &str) -> Result<(), TrainError> {
    let saved =
        std::fs::read_to_string(path).map_err(|source| TrainError::Io { source, path: path.to_owned() })?;
    if saved == recipe { Ok(()) } else { Err(another_recipe(&saved, recipe, path.to_owned())) }
}

fn another_recipe(saved: &str, given: &str, path: PathBuf) -> TrainError {
    let (expected, found) = first_difference(saved, given);
    let expected = format!("the recipe that the run was begun with, `{expected}`");
    TrainError::Checkpoint { expected, found: format!("`{found}`"), path }
}

/// The first line in which two recipes differ.
fn first_difference<'a>(saved: &'a str, given: &'a str) -> (&'a str, &'a str) {
    let (mut saved, mut given) = (saved.lines(), given.lines());
    loop {
        match (saved.next(), given.next()) {
            (None, None) => return ("", ""),
            (a, b) if a != b => return (a.unwrap_or(""), b.unwrap_or("")),
            _ => {}
        }
    }
}
