//! Reading a `report.json` again: its numbers and tables, and where its figures are.

use crate::{Cell, Kind, Metric, Provenance, Report, ReportError};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// A `report.json` as it was stored. Unknown keys are ignored, so that older readers read newer files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedReport {
    /// Registered name of the study.
    pub study: String,
    /// Which verb made it.
    pub kind: Kind,
    /// The model, or the models.
    pub model: String,
    /// The data set and its split.
    pub data: String,
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// Every number with its place in the model.
    pub metrics: Vec<Metric>,
    /// The tables.
    pub tables: Vec<SavedTable>,
    /// The figures, as files beside the report.
    pub figures: Vec<SavedFigure>,
}

/// A table of a stored report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedTable {
    /// Unique in the report.
    pub name: String,
    /// Column heads.
    pub columns: Vec<String>,
    /// One cell a column in each row.
    pub rows: Vec<Vec<Cell>>,
    /// What a reader sees above it.
    #[serde(default)]
    pub title: String,
    /// How to read it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl From<SavedTable> for crate::Table {
    fn from(saved: SavedTable) -> Self {
        let SavedTable { name, columns, rows, title, note } = saved;
        Self { name, title, columns, rows, note }
    }
}

/// A figure of a stored report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFigure {
    /// Unique in the report.
    pub name: String,
    /// `line`, `heatmap`, `scatter`, `bar` or `image`.
    pub kind: String,
    /// Path from the report's folder: `figures/cka.svg`.
    pub file: String,
    /// What a reader sees above it.
    #[serde(default)]
    pub title: String,
}

impl Report {
    /// Reads a `report.json`.
    ///
    /// # Errors
    /// [`ReportError::Io`] or [`ReportError::Json`] with the path.
    pub fn read_json(file: &Path) -> Result<SavedReport, ReportError> {
        let text = fs::read_to_string(file).map_err(|source| ReportError::Io {
            action: "read the report",
            source,
            path: file.to_owned(),
        })?;
        serde_json::from_str(&text).map_err(|source| ReportError::Json { source, path: file.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_contract_reads() {
        let text = r#"{"study": "knn", "kind": "probe", "model": "m", "data": "d",
            "provenance": {"version": "0.1", "seed": 0, "weights_sha256": "ab", "device": "cpu", "recipe": {}},
            "metrics": [{"name": "top1", "value": 0.913, "unit": "ratio", "layer": 11, "head": null,
                         "select": "block11.cls", "params": {"k": 20}}],
            "tables": [{"name": "t", "columns": ["c"], "rows": [[0]]}],
            "figures": [{"name": "f", "kind": "heatmap", "file": "figures/f.svg"}]}"#;
        let saved: SavedReport = serde_json::from_str(text).expect("reads");
        assert_eq!(
            saved.metrics,
            [Metric::new("top1", 0.913, "ratio").layer(11).select("block11.cls").param("k", 20)]
        );
        assert_eq!(saved.tables[0].rows, [[Cell::Int(0)]]);
        assert_eq!(saved.kind, Kind::Probe);
    }

    #[test]
    fn a_file_that_is_missing_or_something_else_is_named() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("report.json");
        let error = Report::read_json(&file).expect_err("missing").to_string();
        assert!(error.starts_with("cannot read the report: ") && error.ends_with("report.json)"), "{error}");
        fs::write(&file, "[]").expect("write");
        let error = Report::read_json(&file).expect_err("not a report").to_string();
        assert!(error.starts_with("not a report.json: ") && error.ends_with("report.json)"), "{error}");
    }
}
