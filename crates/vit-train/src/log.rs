//! The log of a run: `metrics.jsonl`, one line a logged step, and the same numbers in TensorBoard's event file.

use crate::event_file::{EVENT_FILE, EventFile};
use crate::{StepReport, TrainError};
use serde_json::{Map, Value};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// The log of a run.
pub(crate) struct Log {
    file: File,
    path: PathBuf,
    events: EventFile,
    clock: fn() -> f64,
}

impl Log {
    /// Opens the log of a run that has done `n_steps`: what was logged of later steps is cut off.
    pub(crate) fn open(run: &Path, n_steps: usize, clock: fn() -> f64) -> Result<Self, TrainError> {
        let path = run.join("metrics.jsonl");
        let io = |source| TrainError::Io { source, path: path.clone() };
        let mut kept = String::new();
        if n_steps > 0 && path.exists() {
            for line in BufReader::new(File::open(&path).map_err(io)?).split(b'\n') {
                let line = line.map_err(io)?;
                let step = serde_json::from_slice::<Value>(&line).ok().and_then(|v| v["step"].as_u64());
                // A line that was cut short is not JSON: it belongs to a step that is done again.
                if let (Some(step), Ok(line)) = (step, std::str::from_utf8(&line))
                    && (step as usize) < n_steps
                {
                    kept.push_str(line);
                    kept.push('\n');
                }
            }
        }
        let partial = path.with_extension("partial");
        std::fs::write(&partial, kept).map_err(io)?;
        std::fs::rename(&partial, &path).map_err(io)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(io)?;
        let events = EventFile::open(&run.join(EVENT_FILE), n_steps, clock())?;
        Ok(Self { file, path, events, clock })
    }

    /// Logs a step.
    pub(crate) fn line(&mut self, report: &StepReport) -> Result<(), TrainError> {
        let values = values_of(report);
        let mut line = Map::new();
        line.insert("step".into(), report.progress.step.into());
        line.extend(values.iter().map(|(name, value)| (name.clone(), Value::from(*value))));
        if !report.alarms.is_empty() {
            line.insert("alarms".into(), report.alarms.clone().into());
        }
        let mut line = Value::Object(line).to_string();
        line.push('\n');
        self.file
            .write_all(line.as_bytes())
            .map_err(|source| TrainError::Io { source, path: self.path.clone() })?;
        let values = values.iter().map(|(name, value)| (name.as_str(), *value));
        self.events.scalars(report.progress.step, (self.clock)(), values)
    }
}

/// What is logged of a step, by name.
fn values_of(report: &StepReport) -> Vec<(String, f64)> {
    let mut values = vec![("epoch".to_owned(), report.progress.epochs()), ("loss".to_owned(), report.loss)];
    values.extend(report.terms.iter().map(|&(name, value)| (format!("loss_{name}"), value)));
    values.push(("lr".to_owned(), report.lr));
    values.push(("weight_decay".to_owned(), report.weight_decay));
    values.extend(report.readings.iter().map(|&(name, value)| (name.to_owned(), value)));
    values.extend(report.grad_norm.map(|norm| ("grad_norm".to_owned(), norm)));
    values
}
