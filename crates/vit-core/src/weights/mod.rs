//! Parameters by name: reading them out of a module, putting them in, and the files that hold them.
//!
//! A module's fields carry timm's names, so the path of a parameter *is* its public name
//! (`blocks.3.attn.qkv.weight`). Loading is strict: every parameter of the module must be there in its shape, and
//! nothing else may be.
//!
//! Files of other people have other names. A [`Checkpoint`] finds out which, settles what names and shapes cannot tell,
//! and accounts for every tensor before a value is read.

mod audit;
mod checkpoint;
mod export;
mod file;
mod files;
mod heads;
mod input;
mod layouts;
mod transfer;
mod walk;

pub use audit::{Audit, Decision, Matched, Misshapen};
pub use checkpoint::Checkpoint;
pub use export::{Names, export};
pub use file::{ModelConfig, input_of, load, save, save_tensors};
pub use files::{Dtype, Entry, Format, TensorFile};
pub use input::{Framing, InputTransform, Interpolation};
pub use layouts::{Branch, FAMILIES, Family, Hints, LAYOUTS, Layout, family};
pub use transfer::{Started, start_from};
pub use walk::{
    ByName, MapByName, NamedParam, Read, assign, map_by_name, map_params, names, params, visit_by_name,
};

use std::path::PathBuf;

/// The key of the input transform inside a safetensors header.
const INPUT_KEY: &str = "vitscope.input";

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
