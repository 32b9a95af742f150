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
mod decoder;
mod error;
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
pub use error::WeightsError;
pub use export::{Names, export};
pub use file::{ModelConfig, input_of, load, save, save_tensors};
pub use files::{Dtype, Entry, Format, TensorFile};
pub use input::{Framing, InputTransform, Interpolation};
pub use layouts::{Branch, FAMILIES, Family, Hints, LAYOUTS, Layout, family};
pub use transfer::{Started, start_from};
pub use walk::{
    ByName, MapByName, NamedParam, Read, assign, map_by_name, map_params, names, params, visit_by_name,
};

/// The key of the input transform inside a safetensors header.
const INPUT_KEY: &str = "vitscope.input";
