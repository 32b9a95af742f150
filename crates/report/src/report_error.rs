//! Why a report was refused or could not be stored.

use std::path::PathBuf;

/// What is wrong with a report, or with the file that should hold it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A number that is not a number, or infinite.
    #[error("{place} is {value}: every number of a report must be finite")]
    NotFinite {
        /// Which metric, cell, figure or array.
        place: String,
        /// `NaN`, `inf` or `-inf`.
        value: f64,
    },
    /// Parts that do not fit together.
    #[error("{place}: expected {expected}, found {found}")]
    Shape {
        /// Which table, figure, array or block.
        place: String,
        /// What would have fitted.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action}: {source} ({})", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
        /// The file or folder.
        path: PathBuf,
    },
    /// A file that is not a `report.json`.
    #[error("not a report.json: {source} ({})", path.display())]
    Json {
        /// What the reader stumbled over.
        source: serde_json::Error,
        /// The file.
        path: PathBuf,
    },
    /// A figure that cannot be drawn again from what is stored of it.
    #[error("figure `{name}`: expected {expected}, found {found} ({})", path.display())]
    Figure {
        /// The figure.
        name: String,
        /// What it takes to draw it.
        expected: String,
        /// What was stored.
        found: String,
        /// The report.
        path: PathBuf,
    },
    /// A file that does not hold a report's arrays.
    #[error("not the arrays of a report: {message} ({})", path.display())]
    Arrays {
        /// What the reader stumbled over.
        message: String,
        /// The file.
        path: PathBuf,
    },
    /// A picture or an array could not be encoded.
    #[error("cannot encode {place}: {message}")]
    Encode {
        /// Which figure or array.
        place: String,
        /// The encoder's words.
        message: String,
    },
}

impl ReportError {
    /// Parts that do not fit together.
    pub(crate) fn shape(
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Self {
        Self::Shape { place: place.into(), expected: expected.into(), found: found.to_string() }
    }
}
