//! Vision Transformers: pixels to tokens, with every site open to whoever looks.
//!
//! A [`Vit`] embeds patches, adds positions, runs its blocks and a final norm. At each named [`Site`] it offers the
//! tensor to a [`Look`]; what nobody asked for is neither computed nor kept, and the fused attention never stores its
//! map. [`Keep`] says what masking does: nothing, dropping tokens, or swapping them for the mask token. Parameters
//! carry timm's names, so a weights file is a dump of the module.

mod activation;
mod attention;
mod backbone;
mod block;
mod conv;
mod cost;
mod drop_path;
mod grid;
mod init;
mod keep;
mod layers;
mod patch_embed;
mod pos_embed;
mod presets;
mod relative_bias;
mod site;
mod tokens;
mod vit;
mod vit_config;
mod wanted;
pub mod weights;

pub use activation::Activation;
pub use backbone::{Backbone, Cut, Pass};
pub use block::{Block, BlockConfig, Mlp};
pub use conv::{ConvConfig, ConvNet};
pub use cost::{behind_attention_macs, block_macs};
pub use drop_path::residual;
pub use grid::Grid;
pub use init::{Draw, InitScheme, Stream, stream};
pub use keep::Keep;
pub use layers::{LayerNorm, LayerScale, Linear};
pub use patch_embed::{PatchEmbed, frames, patchify, unpatchify};
pub use pos_embed::{Resample, mae_sin_cos, resample_table, resize_matrix};
pub use presets::{Given, PRESETS, Preset, arch, given_by_arch};
pub use relative_bias::RelativeBias;
pub use site::{Look, NoLook, Seen, Site};
pub use tokens::Tokens;
pub use vit::Vit;
pub use vit_config::{Pool, Positions, RelativePositions, VitConfig};
pub use wanted::Wanted;
