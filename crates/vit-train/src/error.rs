//! What can stop training.

use report::{RecipeError, ReportError};
use std::path::PathBuf;
use vit_core::weights::WeightsError;
use vit_data::DataError;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The recipe is not sound.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Weights cannot be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A loss term is NaN or infinite.
    #[error("loss term `{term}` at step {step}: expected a finite value; found {found}; {last}")]
    NotFinite {
        /// The step, counted from 0.
        step: usize,
        /// The first term that is not finite.
        term: String,
        /// Its value.
        found: f64,
        /// Where the last good checkpoint is, in words.
        last: String,
    },
    /// The data has too few samples for one batch.
    #[error(
        "training data: expected at least one batch of {batch} samples; found {found} (`train.batch` says how many): {data}"
    )]
    TooFew {
        /// Samples in a batch.
        batch: usize,
        /// Samples there are.
        found: usize,
        /// The data set.
        data: String,
    },
    /// The data does not offer what the objective needs.
    #[error("objective `{objective}`: expected data with {needs}; found none: {data}")]
    Needs {
        /// The objective.
        objective: &'static str,
        /// What it needs.
        needs: &'static str,
        /// The data set.
        data: String,
    },
    /// A file of the run cannot be written.
    #[error(transparent)]
    Store(#[from] ReportError),
    /// A run folder cannot be read or written.
    #[error("run folder: {source}: {path}", path = path.display())]
    Io {
        /// Why.
        source: std::io::Error,
        /// Which file.
        path: PathBuf,
    },
    /// The disk has too little room for a checkpoint; nothing of it was written.
    #[error(
        "checkpoint of step {step}: expected {expected_bytes} bytes of free disk; found {free_bytes}: {path}",
        path = path.display()
    )]
    DiskFull {
        /// Steps done.
        step: usize,
        /// Bytes that the checkpoint takes.
        expected_bytes: u64,
        /// Bytes there are.
        free_bytes: u64,
        /// The run folder.
        path: PathBuf,
    },
    /// A checkpoint is not what it should be.
    #[error("checkpoint: expected {expected}; found {found}: {path}", path = path.display())]
    Checkpoint {
        /// What it should have been.
        expected: String,
        /// What it was.
        found: String,
        /// Which file.
        path: PathBuf,
    },
    /// The user asked to stop; everything is saved.
    #[error("interrupted after step {step}; saved: {path}", path = path.display())]
    Interrupted {
        /// Steps done.
        step: usize,
        /// The checkpoint to continue from.
        path: PathBuf,
    },
}
