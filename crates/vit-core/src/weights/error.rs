//! What can be wrong with a weights file.

use std::path::PathBuf;

/// What can be wrong with weights: what, expected, found, where.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The operating system refused.
    #[error("cannot access weights: {source}: {path}", path = path.display())]
    Io {
        /// Why.
        source: std::io::Error,
        /// Which file.
        path: PathBuf,
    },
    /// The file is of no known format, or is cut short or damaged.
    #[error("malformed weights: expected {expected}; found {found}: {path}", path = path.display())]
    Malformed {
        /// What it should have been.
        expected: String,
        /// What it was.
        found: String,
        /// Which file.
        path: PathBuf,
    },
    /// A tensor of the file cannot be what the file says of it.
    #[error("weight `{name}`: expected {expected}; found {found}: {path}", path = path.display())]
    Tensor {
        /// Its name.
        name: String,
        /// What it should have been.
        expected: String,
        /// What it was.
        found: String,
        /// Which file.
        path: PathBuf,
    },
    /// A name stands for two tensors.
    #[error("weight `{name}`: expected one tensor of this name; found two: {path}", path = path.display())]
    Duplicate {
        /// The name.
        name: String,
        /// Which file.
        path: PathBuf,
    },
    /// A parameter of the model is not in the file.
    #[error("missing weight `{name}`: expected shape {expected:?}; found none: {path}", path = path.display())]
    Missing {
        /// Its name.
        name: String,
        /// Its shape in the model.
        expected: Vec<usize>,
        /// Which file.
        path: PathBuf,
    },
    /// A parameter has another shape.
    #[error("weight `{name}`: expected shape {expected:?}; found {found:?}: {path}", path = path.display())]
    Shape {
        /// Its name.
        name: String,
        /// Its shape in the model.
        expected: Vec<usize>,
        /// Its shape in the file.
        found: Vec<usize>,
        /// Which file.
        path: PathBuf,
    },
    /// The file holds what the model has no place for.
    #[error("unexpected weight `{name}`: expected only the model's parameters: {path}", path = path.display())]
    Unexpected {
        /// Its name.
        name: String,
        /// Which file.
        path: PathBuf,
    },
    /// Not every parameter was found, or not every tensor is explained.
    #[error("incomplete weights: expected every parameter and nothing unexplained; found {problems}: {path}", path = path.display())]
    Incomplete {
        /// The first problems, a sentence each.
        problems: String,
        /// Which file.
        path: PathBuf,
    },
    /// A value is NaN or infinite.
    #[error("weight `{name}`: expected finite values; found {found} at index {index}: {path}", path = path.display())]
    NotFinite {
        /// Its name.
        name: String,
        /// The value.
        found: f32,
        /// Its place in row-major order.
        index: usize,
        /// Which file.
        path: PathBuf,
    },
}
