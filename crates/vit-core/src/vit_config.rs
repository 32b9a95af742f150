//! The configuration of a Vision Transformer.

use crate::relative_bias::relative_rows;
use crate::{Activation, BlockConfig, Grid, InitScheme, Resample};
use serde::{Deserialize, Serialize};

/// Where positions come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// A learned table.
    #[default]
    Learned,
    /// MAE's fixed sine–cosine table.
    SinCos,
    /// No table: positions come from a relative bias, or from nowhere.
    None,
}

/// Relative position bias on attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelativePositions {
    /// None.
    #[default]
    None,
    /// A table in every block.
    PerBlock,
    /// One table that all blocks use.
    Shared,
}

/// What stands for the whole image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// The class token after the final norm.
    #[default]
    Class,
    /// The mean of the patch tokens, then its own norm (`fc_norm`); there is no norm over tokens.
    Mean,
    /// The mean of the patch tokens after the final norm over tokens.
    NormedMean,
}

/// The whole configuration of a [`Vit`]; it travels in the metadata of its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VitConfig {
    /// Side of the (square) image in pixels that the position table is made for.
    pub image_px: usize,
    /// Side of a patch in pixels.
    pub patch_px: usize,
    /// `D`
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub n_heads: usize,
    /// Hidden width of the MLP over `D`; with SwiGLU the width after gating.
    pub mlp_ratio: f64,
    /// The MLP's activation.
    pub activation: Activation,
    /// Whether the MLP's hidden values are gated by SiLU (SwiGLU) instead of activated.
    pub swiglu: bool,
    /// Whether the fused projection has a bias.
    pub qkv_bias: bool,
    /// Whether that bias covers keys; without, only queries and values have one (BEiT).
    pub key_bias: bool,
    /// Whether the patch projection has a bias.
    pub patch_bias: bool,
    /// Whether there is a class token.
    pub class_token: bool,
    /// Whether a distillation token follows the class token, with a classifier of its own (DeiT).
    pub distilled: bool,
    /// Register tokens, after the class and distillation tokens.
    pub n_registers: usize,
    /// Where positions come from.
    pub positions: Positions,
    /// Whether the position table has rows for the prefix: the class token and registers (timm's default).
    pub position_of_class: bool,
    /// Whether registers are among the prefix that has positions; not so in DINOv2.
    pub position_of_registers: bool,
    /// Relative position bias on attention.
    pub relative_positions: RelativePositions,
    /// Whether a norm stands before the first block (CLIP).
    pub pre_norm: bool,
    /// How positions are resampled to other grids.
    pub resample: Resample,
    /// Initial LayerScale; none without.
    pub layer_scale: Option<f64>,
    /// Drop path rate of the last block; it rises linearly from 0 at the first.
    pub drop_path: f64,
    /// What stands for the whole image.
    pub pool: Pool,
    /// LayerNorm's ε.
    pub eps: f64,
    /// Classes of the head, or the width of a projection; 0 for none.
    pub n_classes: usize,
    /// Whether the head has a bias; CLIP's projection has none.
    pub head_bias: bool,
    /// Whether there is a mask token, for [`Keep::Swap`].
    pub mask_token: bool,
    /// How weights start.
    pub init: InitScheme,
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            image_px: 224,
            patch_px: 16,
            width: 192,
            depth: 12,
            n_heads: 3,
            mlp_ratio: 4.0,
            activation: Activation::Gelu,
            swiglu: false,
            qkv_bias: true,
            key_bias: true,
            patch_bias: true,
            class_token: true,
            distilled: false,
            n_registers: 0,
            positions: Positions::Learned,
            position_of_class: true,
            position_of_registers: true,
            relative_positions: RelativePositions::None,
            pre_norm: false,
            resample: Resample::Antialias,
            layer_scale: None,
            drop_path: 0.0,
            pool: Pool::Class,
            eps: 1e-6,
            n_classes: 0,
            head_bias: true,
            mask_token: false,
            init: InitScheme::Timm,
        }
    }
}

impl VitConfig {
    /// What is wrong with the sizes, in words; nothing if they fit.
    ///
    /// # Errors
    /// One sentence: which option, what was expected, what was found.
    pub fn check(&self) -> Result<(), String> {
        if self.patch_px == 0 || self.image_px == 0 || !self.image_px.is_multiple_of(self.patch_px) {
            let (image, patch) = (self.image_px, self.patch_px);
            return Err(format!("image: expected a multiple of the patch ({patch} px); found {image} px"));
        }
        if self.n_heads == 0 || self.width == 0 || !self.width.is_multiple_of(self.n_heads) {
            let (width, heads) = (self.width, self.n_heads);
            return Err(format!("dim: expected a multiple of heads ({heads}); found {width}"));
        }
        if self.positions == Positions::SinCos && !self.width.is_multiple_of(4) {
            return Err(format!(
                "dim: expected a multiple of 4 for sine–cosine positions; found {}",
                self.width
            ));
        }
        if self.depth == 0 {
            return Err("depth: expected at least 1; found 0".into());
        }
        if self.pool == Pool::Class && !self.class_token {
            return Err("pool: expected a class token for class pooling; found none".into());
        }
        if self.distilled && !self.class_token {
            return Err("distilled: expected a class token before the distillation token; found none".into());
        }
        if self.relative_positions != RelativePositions::None && !(self.class_token && self.n_prefix() == 1) {
            return Err(format!(
                "relative_positions: expected a class token and no other before the patches; found {} tokens",
                self.n_prefix()
            ));
        }
        if !(0.0..1.0).contains(&self.drop_path) {
            return Err(format!("drop_path: expected 0 up to 1; found {}", self.drop_path));
        }
        Ok(())
    }

    /// The grid of the position table.
    pub fn grid(&self) -> Grid {
        Grid::of_image(self.image_px, self.image_px, self.patch_px)
    }

    /// Class, distillation and register tokens.
    pub fn n_prefix(&self) -> usize {
        usize::from(self.class_token) + usize::from(self.distilled) + self.n_registers
    }

    /// Rows of the position table that belong to the prefix.
    pub fn n_position_prefix(&self) -> usize {
        match (self.position_of_class, self.position_of_registers) {
            (false, _) => 0,
            (true, true) => self.n_prefix(),
            (true, false) => self.n_prefix() - self.n_registers,
        }
    }

    /// Hidden width of the MLP; the small constant undoes the rounding of a ratio of two widths.
    pub fn hidden(&self) -> usize {
        (self.width as f64 * self.mlp_ratio + 1e-6) as usize
    }

    /// The blocks' configuration with drop path rising linearly to `drop_path`.
    pub fn block(&self, block: usize) -> BlockConfig {
        let last = (self.depth - 1).max(1) as f64;
        BlockConfig {
            width: self.width,
            n_heads: self.n_heads,
            hidden: self.hidden(),
            activation: self.activation,
            swiglu: self.swiglu,
            qkv_bias: self.qkv_bias,
            key_bias: self.key_bias,
            relative_grid: (self.relative_positions == RelativePositions::PerBlock).then(|| self.grid()),
            layer_scale: self.layer_scale,
            drop_path: self.drop_path * block as f64 / last,
            eps: self.eps,
        }
    }

    /// The number of parameters, counted from the sizes; fixed position tables count as timm counts them.
    pub fn n_params(&self) -> usize {
        let (d, p, grid) = (self.width, self.patch_px, self.grid());
        let if_so = |so: bool, n: usize| if so { n } else { 0 };
        let hidden = self.hidden();
        let inner = if self.swiglu { 2 * hidden } else { hidden };
        let qkv = 3 * d * d + if_so(self.qkv_bias, if self.key_bias { 3 * d } else { 2 * d });
        let mlp = d * inner + inner + hidden * d + d;
        let relative = relative_rows(grid) * self.n_heads;
        let n_tables = match self.relative_positions {
            RelativePositions::None => 0,
            RelativePositions::Shared => 1,
            RelativePositions::PerBlock => self.depth,
        };
        let block = 4 * d + qkv + d * d + d + mlp + if_so(self.layer_scale.is_some(), 2 * d);
        let positions =
            if_so(self.positions != Positions::None, (self.n_position_prefix() + grid.n_patches()) * d);
        let prefix = (self.n_prefix() + usize::from(self.mask_token)) * d;
        let head = (d + usize::from(self.head_bias)) * self.n_classes * (1 + usize::from(self.distilled));
        let patches = 3 * p * p * d + if_so(self.patch_bias, d);
        let norms = 2 * d + if_so(self.pre_norm, 2 * d);
        prefix + positions + patches + self.depth * block + n_tables * relative + norms + head
    }
}
