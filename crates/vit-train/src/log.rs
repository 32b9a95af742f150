//! `metrics.jsonl`: one line a logged step.

use crate::TrainError;
use serde_json::{Map, Value};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// The log of a run.
pub(crate) struct Log {
    file: File,
    path: PathBuf,
}

impl Log {
    /// Opens the log of a run that has done `n_steps`: lines of later steps are cut off.
    pub(crate) fn open(path: &Path, n_steps: usize) -> Result<Self, TrainError> {
        let io = |source| TrainError::Io { source, path: path.to_owned() };
        let mut kept = String::new();
        if n_steps > 0 && path.exists() {
            for line in BufReader::new(File::open(path).map_err(io)?).lines() {
                let line = line.map_err(io)?;
                let step = serde_json::from_str::<Value>(&line).ok().and_then(|v| v["step"].as_u64());
                if step.is_some_and(|step| (step as usize) < n_steps) {
                    kept.push_str(&line);
                    kept.push('\n');
                }
            }
        }
        let partial = path.with_extension("partial");
        std::fs::write(&partial, kept).map_err(io)?;
        std::fs::rename(&partial, path).map_err(io)?;
        let file = OpenOptions::new().append(true).open(path).map_err(io)?;
        Ok(Self { file, path: path.to_owned() })
    }

    pub(crate) fn line(&mut self, values: Map<String, Value>) -> Result<(), TrainError> {
        let mut line = Value::Object(values).to_string();
        line.push('\n');
        self.file
            .write_all(line.as_bytes())
            .map_err(|source| TrainError::Io { source, path: self.path.clone() })
    }
}
