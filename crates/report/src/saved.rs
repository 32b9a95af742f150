//! Reading a stored report again: its numbers and tables, its figures as data, one of its arrays.

use crate::render::png;
use crate::{Array, Block, Cell, Figure, FigureData, Kind, Metric, Provenance, Report, ReportError};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Component, Path};

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
    /// What a reader sees on top.
    #[serde(default)]
    pub title: String,
    /// The order of reading; empty: tables, then figures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub story: Vec<Block>,
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
    /// For each row the table from which its numbers come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
}

impl From<SavedTable> for crate::Table {
    fn from(saved: SavedTable) -> Self {
        let SavedTable { name, columns, rows, title, note, links } = saved;
        Self { name, title, columns, rows, note, links }
    }
}

/// A figure of a stored report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// How to read it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub caption: String,
    /// What is drawn, but for the pixels of pictures, which stand in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<FigureData>,
}

impl Report {
    /// Reads the report that [`write`](Self::write) stored in a folder: all of it but its arrays, to be rendered again.
    ///
    /// # Errors
    /// As [`read_json`](Self::read_json); [`ReportError::Figure`] for a figure that cannot be drawn again from what is
    /// stored; whatever [`check`](Self::check) refuses.
    pub fn read(dir: &Path) -> Result<Self, ReportError> {
        let file = dir.join("report.json");
        let saved = Self::read_json(&file)?;
        let mut report = Self {
            study: saved.study,
            kind: saved.kind,
            title: saved.title,
            model: saved.model,
            data: saved.data,
            provenance: saved.provenance,
            metrics: saved.metrics,
            tables: saved.tables.into_iter().map(crate::Table::from).collect(),
            figures: Vec::with_capacity(saved.figures.len()),
            arrays: Vec::new(),
            story: saved.story,
        };
        for figure in saved.figures {
            report.figures.push(drawn_again(figure, dir, &file)?);
        }
        report.check()?;
        Ok(report)
    }

    /// Reads one array that [`write`](Self::write) stored in a folder; nothing where there is none of that name.
    ///
    /// # Errors
    /// [`ReportError::Io`] or [`ReportError::Arrays`] with the path.
    pub fn read_array(dir: &Path, name: &str) -> Result<Option<Array>, ReportError> {
        let path = dir.join("arrays.safetensors");
        if !path.exists() {
            return Ok(None);
        }
        let bytes = fs::read(&path).map_err(|source| ReportError::Io {
            action: "read the arrays",
            source,
            path: path.clone(),
        })?;
        let refuse = |message: String| ReportError::Arrays { message, path: path.clone() };
        let arrays = SafeTensors::deserialize(&bytes).map_err(|error| refuse(error.to_string()))?;
        let Ok(view) = arrays.tensor(name) else { return Ok(None) };
        if view.dtype() != Dtype::F32 {
            return Err(refuse(format!("expected `{name}` as f32; found {:?}", view.dtype())));
        }
        let (four, _) = view.data().as_chunks::<4>();
        let values = four.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok(Some(Array { name: name.to_owned(), shape: view.shape().to_vec(), values }))
    }

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

/// A stored figure as data: what `report.json` says of it, and the pixels of its file.
fn drawn_again(saved: SavedFigure, dir: &Path, report: &Path) -> Result<Figure, ReportError> {
    let SavedFigure { name, file, title, caption, data, .. } = saved;
    let refuse = |expected: &str, found: String| ReportError::Figure {
        name: name.clone(),
        expected: expected.to_owned(),
        found,
        path: report.to_owned(),
    };
    let mut data = data.ok_or_else(|| refuse("its data", "none".to_owned()))?;
    if let FigureData::Image(grid) = &mut data {
        let is_plain = Path::new(&file).components().all(|part| matches!(part, Component::Normal(_)));
        if !is_plain {
            return Err(refuse("a file inside the report's folder", format!("`{file}`")));
        }
        let path = dir.join(&file);
        let bytes = fs::read(&path).map_err(|source| ReportError::Io {
            action: "read the figure",
            source,
            path: path.clone(),
        })?;
        png::fill_from_sheet(grid, &bytes).map_err(|found| refuse("a picture of its tiles", found))?;
    }
    Ok(Figure { name, title, caption, data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Card;
    use crate::{ImageGrid, LinePlot, Series, SeriesStyle, Tile};

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

    /// A report with everything that a reader sees.
    fn whole() -> Report {
        let mut report = Report::new("cka", Kind::Analysis, "Title", "m", "d", Provenance::default());
        report.metrics.push(Metric::new("cka", 0.1 + 0.2, "ratio").layer(1));
        report.tables.push(crate::Table::new("t", "T", ["a"]).row([1.into()]).note("note"));
        let series = Series::new("s", vec![(0.0, 0.1), (1.0, 1.0 / 3.0)]).band(vec![(0.0, 0.2), (0.3, 0.4)]);
        let line = LinePlot {
            series: vec![series.style(SeriesStyle::Dotted).shifted(0.25)],
            reference_lines: vec![("chance".into(), 0.1)],
            ..LinePlot::default()
        };
        report.figures.push(Figure::new("f", "F", "How to read.", FigureData::Line(line)));
        let tile = Tile { width_px: 2, height_px: 1, rgb: vec![1, 2, 3, 4, 5, 6], caption: "c".into() };
        let grid = ImageGrid { columns: 1, tiles: vec![tile], scale: 2, ..ImageGrid::default() };
        report.figures.push(Figure::new("tiles", "", "", FigureData::Image(grid)));
        report.story = vec![
            Block::Numbers(vec![Card::new("a", "b", "c"), Card::new("a", "b", "").from_table("t")]),
            Block::Heading("H".into()),
            Block::Subheading("S".into()),
            Block::Figure("f".into()),
        ];
        report
    }

    #[test]
    fn a_stored_report_is_rendered_again_as_it_was() {
        let dir = tempfile::tempdir().expect("tempdir");
        whole().write(dir.path()).expect("writes");
        let again = Report::read(dir.path()).expect("reads");
        assert_eq!(again, whole());
        assert_eq!(again.to_html(), whole().to_html());
    }

    #[test]
    fn one_array_is_read_back_by_its_name() {
        let dir = tempfile::tempdir().expect("tempdir");
        let array = Array { name: "correct".into(), shape: vec![2, 1], values: vec![0.0, 1.0] };
        let mut report = whole();
        report.arrays.push(array.clone());
        report.write(dir.path()).expect("writes");
        assert_eq!(Report::read_array(dir.path(), "correct").expect("reads"), Some(array));
        assert_eq!(Report::read_array(dir.path(), "other").expect("reads"), None);
        assert_eq!(Report::read_array(&dir.path().join("figures"), "correct").expect("reads"), None);
        fs::write(dir.path().join("arrays.safetensors"), "x").expect("write");
        let error = Report::read_array(dir.path(), "correct").expect_err("not arrays").to_string();
        assert!(error.starts_with("not the arrays of a report: "), "{error}");
    }

    #[test]
    fn a_figure_that_cannot_be_drawn_again_is_named() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("report.json");
        let complaint = |from: &str, to: &str| {
            whole().write(dir.path()).expect("writes");
            let text = fs::read_to_string(&file).expect("read");
            assert!(text.contains(from), "{from} in {text}");
            fs::write(&file, text.replace(from, to)).expect("write");
            Report::read(dir.path()).expect_err("cannot be drawn").to_string()
        };
        let error = complaint("\"data\":{\"line\"", "\"other\":{\"line\"");
        assert!(error.starts_with("figure `f`: expected its data, found none ("), "{error}");
        let error = complaint("figures/tiles.png", "../tiles.png");
        assert!(
            error.contains("expected a file inside the report's folder, found `../tiles.png`"),
            "{error}"
        );
        let error = complaint("\"width_px\":2", "\"width_px\":7");
        assert!(error.contains("4×2 pixels where 14×2 were expected"), "{error}");
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
