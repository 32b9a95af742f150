//! Layouts: how the field's checkpoints name the parameters of a Vision Transformer.
//!
//! A layout is a table of lines, each saying where one of our parameters (which carry timm's names) stands in a file and
//! what is done to its values. The same table reads, names what is missing, and writes.

mod branches;
mod clip;
mod detect;
mod dims;
mod family;
mod hf;
mod hf_beit;
mod hf_dinov2;
mod hf_vit;
mod jax;
mod leftover;
mod line;
mod plan;
mod settle;
mod timm;
mod values;
mod writing;

pub(crate) use detect::parent_of;
pub(crate) use dims::{Dim, Voter, capture, expand, squeezed, vote};
pub use family::{FAMILIES, Family, family};
pub(crate) use hf::DECODER_BLOCKS;
pub(crate) use line::Form;
use line::Line;
pub use plan::{Branch, Hints};
pub(crate) use plan::{NoPlan, Piece, Plan, plan};
pub(crate) use settle::word;
pub(crate) use writing::{Place, hf_kind, hf_places, timm_places};

/// How a group of published files names its tensors.
#[derive(Debug)]
pub struct Layout {
    /// Its name.
    pub name: &'static str,
    /// Whose files are so.
    pub published: &'static str,
    /// Names by which the place of the encoder inside a file is found.
    anchors: &'static [&'static str],
    /// The table, in groups; of several lines for one parameter, the file has one.
    groups: &'static [&'static [Line]],
    /// Parameters that every such file has, so that they are missed.
    always: &'static [&'static str],
}

impl Layout {
    /// Every line of the table.
    fn lines(&self) -> impl Iterator<Item = &'static Line> + use<> {
        self.groups.iter().copied().flatten()
    }
}

/// Every layout.
pub const LAYOUTS: &[&Layout] = &[
    &timm::TIMM,
    &clip::CLIP,
    &clip::HF_CLIP,
    &hf_vit::HF_VIT,
    &hf_vit::HF_VIT_5,
    &hf_dinov2::HF_DINOV2,
    &hf_dinov2::HF_DINOV2_5,
    &hf_beit::HF_BEIT,
    &hf_beit::HF_BEIT_5,
    &jax::JAX,
];
