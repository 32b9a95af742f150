//! Checkpoints: everything a resumed run needs, written to a side folder and renamed, the last few kept.

use crate::{AdamW, Objective, TrainError};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use vit_core::weights::{TensorFile, save_tensors};

/// What stands in `state.json`; the tensors lie beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Steps done.
    pub step: usize,
    /// The resolved recipe, which a resumed run must have too.
    pub recipe: String,
}

/// The folder of a step's checkpoint.
pub(crate) fn folder(run: &Path, step: usize) -> PathBuf {
    run.join("checkpoints").join(format!("step-{step}"))
}

/// The steps of all whole checkpoints of a run, oldest first.
fn steps(run: &Path) -> Vec<usize> {
    let Ok(entries) = std::fs::read_dir(run.join("checkpoints")) else { return Vec::new() };
    let mut steps: Vec<usize> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok())
        .collect();
    steps.sort_unstable();
    steps
}

/// The newest whole checkpoint of a run folder.
pub fn latest_checkpoint(run: &Path) -> Option<PathBuf> {
    steps(run).last().map(|&step| folder(run, step))
}

/// Saves a checkpoint and deletes those beyond the last `keep`.
pub(crate) fn save<O: Objective>(
    run: &Path,
    objective: &O,
    optimizer: &AdamW,
    checkpoint: &Checkpoint,
    keep: usize,
) -> Result<PathBuf, TrainError> {
    let target = folder(run, checkpoint.step);
    let partial = run.join("checkpoints").join(format!("partial-{}", checkpoint.step));
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| TrainError::Io { source, path }
    };
    if partial.exists() {
        std::fs::remove_dir_all(&partial).map_err(io(&partial))?;
    }
    std::fs::create_dir_all(&partial).map_err(io(&partial))?;
    save_tensors(&objective.state(), "{}".into(), &partial.join("objective.safetensors"))?;
    save_tensors(&optimizer.state(), "{}".into(), &partial.join("optimizer.safetensors"))?;
    let state = serde_json::to_string_pretty(checkpoint).map_err(|error| io(&partial)(error.into()))?;
    std::fs::write(partial.join("state.json"), state).map_err(io(&partial))?;
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

/// Loads a checkpoint into a fresh objective and optimizer.
pub(crate) fn load<O: Objective>(
    folder: &Path,
    objective: O,
    optimizer: &mut AdamW,
    recipe: &str,
    device: &Device,
) -> Result<(O, usize), TrainError> {
    let path = folder.join("state.json");
    let text =
        std::fs::read_to_string(&path).map_err(|source| TrainError::Io { source, path: path.clone() })?;
    let checkpoint: Checkpoint = serde_json::from_str(&text).map_err(|error| TrainError::Checkpoint {
        expected: "a step and a recipe".into(),
        found: error.to_string(),
        path: path.clone(),
    })?;
    if checkpoint.recipe != recipe {
        let (expected, found) = first_difference(&checkpoint.recipe, recipe);
        return Err(TrainError::Checkpoint {
            expected: format!("the recipe it was saved with, `{expected}`"),
            found: format!("`{found}`"),
            path,
        });
    }
    let mut tensors = TensorFile::open(&folder.join("objective.safetensors"))?;
    let objective = objective.with_state(&mut |name, shape| tensors.read(name, shape))?;
    let mut moments = TensorFile::open(&folder.join("optimizer.safetensors"))?;
    let n_steps = u32::try_from(checkpoint.step).unwrap_or(u32::MAX);
    optimizer.restore(objective.student(), n_steps, device, &mut |name, shape| moments.read(name, shape))?;
    Ok((objective, checkpoint.step))
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
