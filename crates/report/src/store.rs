//! Storing a report: each file is written under a temporary name and then renamed, so that no reader sees half of one.

use crate::render::{figure_files, json, png};
use crate::{Array, FigureData, Report, ReportError};
use safetensors::tensor::{Dtype, TensorView};
use std::fs;
use std::path::Path;

impl Report {
    /// Writes `figures/<name>.svg` (images as `.png`), `arrays.safetensors` when there are arrays, `report.md` and, last,
    /// `report.json` into `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// Whatever [`check`](Self::check) refuses, before anything is written; [`ReportError::Io`] with the path.
    pub fn write(&self, dir: &Path) -> Result<(), ReportError> {
        self.check()?;
        make_dir(dir)?;
        let files = figure_files(self);
        if !files.is_empty() {
            make_dir(&dir.join("figures"))?;
        }
        for (figure, file) in self.figures.iter().zip(&files) {
            let bytes = match &figure.data {
                FigureData::Image(grid) => {
                    png::sheet(grid).map_err(|message| encode(&figure.name, message))?
                }
                _ => figure.to_svg().into_bytes(),
            };
            write_file(&dir.join(file), &bytes)?;
        }
        if !self.arrays.is_empty() {
            write_file(&dir.join("arrays.safetensors"), &safetensors_bytes(&self.arrays)?)?;
        }
        write_file(&dir.join("report.md"), self.to_markdown().as_bytes())?;
        write_file(&dir.join("report.json"), json::text(&self.to_json()).as_bytes())
    }

    /// Writes the one offline HTML file; its folder is made if it is not there.
    ///
    /// # Errors
    /// Whatever [`check`](Self::check) refuses; [`ReportError::Io`] with the path.
    pub fn write_html(&self, file: &Path) -> Result<(), ReportError> {
        self.check()?;
        if let Some(dir) = file.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            make_dir(dir)?;
        }
        write_file(file, self.to_html().as_bytes())
    }
}

/// Writes a file whole or not at all: to a temporary name beside it, then renamed over it.
///
/// # Errors
/// [`ReportError::Io`] with the path; the temporary file is then removed.
pub fn write_file(file: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let io = |action, source| ReportError::Io { action, source, path: file.to_owned() };
    let Some(name) = file.file_name() else {
        return Err(io("write", std::io::Error::from(std::io::ErrorKind::InvalidInput)));
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = file.with_file_name(temporary);
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, file));
    written.map_err(|source| {
        let _ = fs::remove_file(&temporary); // The first error is the one to tell.
        io("write", source)
    })
}

fn make_dir(dir: &Path) -> Result<(), ReportError> {
    fs::create_dir_all(dir).map_err(|source| ReportError::Io {
        action: "make the folder",
        source,
        path: dir.to_owned(),
    })
}

fn encode(place: &str, message: String) -> ReportError {
    ReportError::Encode { place: format!("`{place}`"), message }
}

fn safetensors_bytes(arrays: &[Array]) -> Result<Vec<u8>, ReportError> {
    let bytes: Vec<Vec<u8>> = arrays
        .iter()
        .map(|array| array.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let mut views = Vec::with_capacity(arrays.len());
    for (array, bytes) in arrays.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, array.shape.clone(), bytes);
        views.push((array.name.as_str(), view.map_err(|error| encode(&array.name, error.to_string()))?));
    }
    safetensors::serialize(views, None).map_err(|error| encode("arrays.safetensors", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Figure, ImageGrid, Kind, LinePlot, Metric, Provenance, Series, Table, Tile};

    fn report() -> Report {
        let mut report = Report::new("cka", Kind::Analysis, "t", "m", "d", Provenance::default());
        report.metrics.push(Metric::new("cka", 0.5, "ratio"));
        report.tables.push(Table::new("t", "T", ["a"]).row([1.into()]));
        let series = vec![Series::new("s", vec![(0.0, 0.0), (1.0, 1.0)])];
        let line = FigureData::Line(LinePlot { series, ..LinePlot::default() });
        report.figures.push(Figure::new("by layer/é", "", "", line));
        let tile = Tile { width_px: 1, height_px: 1, rgb: vec![255, 0, 0], caption: String::new() };
        let grid = ImageGrid { columns: 1, tiles: vec![tile], scale: 2, ..ImageGrid::default() };
        report.figures.push(Figure::new("tiles", "", "", FigureData::Image(grid)));
        report.arrays.push(Array { name: "cka".into(), shape: vec![1, 2], values: vec![0.5, 1.0] });
        report
    }

    fn files_in(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("read_dir");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_holds_the_files_of_the_contract_and_nothing_else() {
        let dir = tempfile::tempdir().expect("tempdir");
        let out = dir.path().join("a/b");
        report().write(&out).expect("writes");
        assert_eq!(files_in(&out), ["arrays.safetensors", "figures", "report.json", "report.md"]);
        assert_eq!(files_in(&out.join("figures")), ["by-layer.svg", "tiles.png"]);
        let saved = Report::read_json(&out.join("report.json")).expect("reads");
        assert_eq!(saved.metrics, report().metrics);
        assert_eq!(crate::Table::from(saved.tables[0].clone()), report().tables[0]);
        assert_eq!(saved.figures[0].file, "figures/by-layer.svg");
        assert!(out.join(&saved.figures[1].file).is_file());
        let bytes = fs::read(out.join("arrays.safetensors")).expect("read");
        let arrays = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        assert_eq!(arrays.tensor("cka").expect("cka").shape(), [1, 2]);
    }

    #[test]
    fn the_same_report_gives_the_same_bytes() {
        let dir = tempfile::tempdir().expect("tempdir");
        let read = |name: &str| {
            report().write(&dir.path().join(name)).expect("writes");
            fs::read(dir.path().join(name).join("report.json")).expect("read")
        };
        assert_eq!(read("a"), read("b"));
    }

    #[test]
    fn a_report_with_nan_leaves_no_file() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut report = report();
        report.metrics[0].value = f64::NAN;
        let error = report.write(dir.path()).expect_err("NaN").to_string();
        assert!(error.contains("metric cka is NaN"), "{error}");
        assert!(report.write_html(&dir.path().join("r.html")).is_err());
        assert!(files_in(dir.path()).is_empty());
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_removes_the_temporary_one() {
        let dir = tempfile::tempdir().expect("tempdir");
        let taken = dir.path().join("report.html");
        fs::create_dir(&taken).expect("a folder where the file should go");
        fs::write(taken.join("keep"), "x").expect("write");
        assert!(report().write_html(&taken).is_err());
        assert_eq!(files_in(dir.path()), ["report.html"]);
        assert_eq!(files_in(&taken), ["keep"]);
    }
}
