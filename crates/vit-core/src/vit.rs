//! The Vision Transformer.

use crate::block::show;
use crate::{
    Block, BlockConfig, Draw, Grid, InitScheme, Keep, LayerNorm, Linear, Pass, PatchEmbed, Resample, Site,
    Stream, Tokens, mae_sin_cos, resize_matrix,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Where positions come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// A learned table.
    #[default]
    Learned,
    /// MAE's fixed sine–cosine table.
    SinCos,
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
    /// Hidden width of the MLP over `D`.
    pub mlp_ratio: f64,
    /// Whether the fused projection has a bias.
    pub qkv_bias: bool,
    /// Whether there is a class token.
    pub class_token: bool,
    /// Register tokens, after the class token.
    pub n_registers: usize,
    /// Where positions come from.
    pub positions: Positions,
    /// Whether the position table has rows for the prefix: the class token and registers (timm's default).
    pub position_of_class: bool,
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
    /// Classes of the head; 0 for none.
    pub n_classes: usize,
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
            qkv_bias: true,
            class_token: true,
            n_registers: 0,
            positions: Positions::Learned,
            position_of_class: true,
            resample: Resample::Antialias,
            layer_scale: None,
            drop_path: 0.0,
            pool: Pool::Class,
            eps: 1e-6,
            n_classes: 0,
            mask_token: false,
            init: InitScheme::Timm,
        }
    }
}

/// A Vision Transformer with timm's parameter names.
///
/// # Source
/// Dosovitskiy et al., An Image is Worth 16x16 Words; registers: Darcet et al., Vision Transformers Need Registers.
#[derive(Module, Debug)]
pub struct Vit {
    /// `[1, 1, D]`
    pub cls_token: Option<Param<Tensor<3>>>,
    /// `[1, registers, D]`
    pub reg_token: Option<Param<Tensor<3>>>,
    /// `[1, (1 +) N, D]`
    pub pos_embed: Param<Tensor<3>>,
    /// `[1, 1, D]`
    pub mask_token: Option<Param<Tensor<3>>>,
    /// The patch projection.
    pub patch_embed: PatchEmbed,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// The final norm over tokens; none with mean pooling.
    pub norm: Option<LayerNorm>,
    /// The norm after mean pooling.
    pub fc_norm: Option<LayerNorm>,
    /// The classifier.
    pub head: Option<Linear>,
    /// The configuration.
    #[module(skip)]
    pub config: VitConfig,
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
        if !(0.0..1.0).contains(&self.drop_path) {
            return Err(format!("drop_path: expected 0 up to 1; found {}", self.drop_path));
        }
        Ok(())
    }

    /// The grid of the position table.
    pub fn grid(&self) -> Grid {
        Grid::of_image(self.image_px, self.image_px, self.patch_px)
    }

    /// Class and register tokens.
    pub fn n_prefix(&self) -> usize {
        usize::from(self.class_token) + self.n_registers
    }

    /// Rows of the position table that belong to the prefix.
    fn n_position_prefix(&self) -> usize {
        if self.position_of_class { self.n_prefix() } else { 0 }
    }

    /// The blocks' configuration with drop path rising linearly to `drop_path`.
    pub fn block(&self, block: usize) -> BlockConfig {
        let last = (self.depth - 1).max(1) as f64;
        BlockConfig {
            width: self.width,
            n_heads: self.n_heads,
            hidden: (self.width as f64 * self.mlp_ratio) as usize,
            qkv_bias: self.qkv_bias,
            layer_scale: self.layer_scale,
            drop_path: self.drop_path * block as f64 / last,
            eps: self.eps,
        }
    }

    /// The number of parameters, counted from the sizes; fixed position tables count as timm counts them.
    pub fn n_params(&self) -> usize {
        let (d, p) = (self.width, self.patch_px);
        let hidden = (d as f64 * self.mlp_ratio) as usize;
        let qkv = 3 * d * d + if self.qkv_bias { 3 * d } else { 0 };
        let scales = if self.layer_scale.is_some() { 2 * d } else { 0 };
        let block = 4 * d + qkv + d * d + d + 2 * d * hidden + hidden + d + scales;
        let positions = (self.n_position_prefix() + self.grid().n_patches()) * d;
        let prefix = (self.n_prefix() + usize::from(self.mask_token)) * d;
        let head = if self.n_classes > 0 { (d + 1) * self.n_classes } else { 0 };
        prefix + positions + 3 * p * p * d + d + self.depth * block + 2 * d + head
    }

    /// A model with weights drawn from the stream.
    ///
    /// # Panics
    /// When [`VitConfig::check`] fails.
    pub fn init(&self, device: &Device, stream: &mut Stream) -> Vit {
        if let Err(problem) = self.check() {
            panic!("{problem}");
        }
        let mut draw = Draw { stream, device, scheme: self.init };
        let (d, grid) = (self.width, self.grid());
        let class_std = if self.init == InitScheme::Mae { 0.02 } else { 1e-6 };
        let n_positions = self.n_position_prefix() + grid.n_patches();
        let pos_embed = match self.positions {
            Positions::Learned => draw.normal([1, n_positions, d], 0.02),
            Positions::SinCos => draw
                .values(mae_sin_cos(d, grid, self.n_position_prefix()), [1, n_positions, d])
                .set_require_grad(false),
        };
        Vit {
            cls_token: self.class_token.then(|| draw.normal([1, 1, d], class_std)),
            reg_token: (self.n_registers > 0).then(|| draw.normal([1, self.n_registers, d], 1e-6)),
            pos_embed,
            mask_token: self.mask_token.then(|| draw.constant([1, 1, d], 0.0)),
            patch_embed: PatchEmbed::init(self.patch_px, d, &mut draw),
            blocks: (0..self.depth).map(|i| self.block(i).init(&mut draw)).collect(),
            norm: (self.pool != Pool::Mean).then(|| LayerNorm::init(d, self.eps, &draw)),
            fc_norm: (self.pool == Pool::Mean).then(|| LayerNorm::init(d, self.eps, &draw)),
            head: (self.n_classes > 0).then(|| Linear::init(d, self.n_classes, true, &mut draw)),
            config: self.clone(),
        }
    }
}

impl Vit {
    /// Patches, positions, masking and prefix.
    ///
    /// # Shapes
    /// - `pixels`: `[B, 3, H, W]`, normalized; result `[B, P + N, D]`
    ///
    /// # Panics
    /// When the image cannot be cut into patches, or a mask does not fit the grid.
    pub fn embed(&self, pixels: Tensor<4>, pass: &mut Pass) -> Tokens {
        let b = pixels.dims()[0];
        let (patches, grid) = self.patch_embed.forward(pixels); // [B, N, D]
        let (prefix_positions, positions) = self.positions(grid);
        let patches = match pass.keep {
            Keep::Swap { mask } => self.swap(patches, mask),
            Keep::All | Keep::Visible { .. } => patches,
        };
        let patches = patches + positions;
        let patches = match pass.keep {
            Keep::Visible { ids, n_per_image } => gather_tokens(patches, ids, *n_per_image),
            Keep::All | Keep::Swap { .. } => patches,
        };
        let d = self.config.width;
        let class = self.cls_token.as_ref().map(|class| class.val());
        let registers = self.reg_token.as_ref().map(|registers| registers.val());
        let prefix: Vec<Tensor<3>> = class.into_iter().chain(registers).collect();
        let all = if prefix.is_empty() {
            patches
        } else {
            let prefix = Tensor::cat(prefix, 1); // [1, P, D]
            let prefix = match prefix_positions {
                Some(positions) => prefix + positions,
                None => prefix,
            };
            Tensor::cat(vec![prefix.expand([b, self.config.n_prefix(), d]), patches], 1) // [B, P + N, D]
        };
        show(pass.look, Site::Embed, &all);
        Tokens { all, n_prefix: self.config.n_prefix(), has_class: self.config.class_token, grid }
    }

    /// Blocks `range`, one after the other.
    pub fn blocks(&self, tokens: Tokens, range: Range<usize>, pass: &mut Pass) -> Tokens {
        let mut x = tokens.all.clone();
        for block in range {
            x = self.blocks[block].forward(x, block, pass);
        }
        tokens.with(x)
    }

    /// The final norm over tokens; with mean pooling there is none and the tokens pass through.
    pub fn norm(&self, tokens: Tokens, pass: &mut Pass) -> Tokens {
        let Some(norm) = &self.norm else { return tokens };
        let x = norm.forward(tokens.all.clone());
        show(pass.look, Site::Norm, &x);
        tokens.with(x)
    }

    /// All three: embed, every block, norm.
    pub fn encode(&self, pixels: Tensor<4>, pass: &mut Pass) -> Tokens {
        let tokens = self.embed(pixels, pass);
        let tokens = self.blocks(tokens, 0..self.blocks.len(), pass);
        self.norm(tokens, pass)
    }

    /// What stands for the whole image, `[B, D]`: the class token, or the normed mean of the patches.
    ///
    /// # Panics
    /// Never for a model made by [`VitConfig::init`].
    pub fn pool(&self, tokens: &Tokens) -> Tensor<2> {
        match (&self.fc_norm, tokens.class()) {
            (Some(norm), _) => norm.forward(tokens.mean()),
            (None, Some(class)) => class,
            (None, None) => tokens.mean(),
        }
    }

    /// Class scores, `[B, K]`.
    ///
    /// # Panics
    /// When the model has no head.
    pub fn logits(&self, tokens: &Tokens) -> Tensor<2> {
        let Some(head) = &self.head else { panic!("logits: this model has no classifier") };
        head.forward(self.pool(tokens))
    }

    /// Rows of the position table for the prefix and for the patches of `grid`.
    fn positions(&self, grid: Grid) -> (Option<Tensor<3>>, Tensor<3>) {
        let n_prefix = self.config.n_position_prefix();
        let table = self.pos_embed.val();
        let [_, n, d] = table.dims();
        let prefix = (n_prefix > 0).then(|| table.clone().slice([0..1, 0..n_prefix]));
        let from = self.config.grid();
        let patches = table.slice([0..1, n_prefix..n]); // [1, N, D]
        if grid == from {
            return (prefix, patches);
        }
        // A matrix product with fixed weights: exact, differentiable, the same on every backend.
        let n_from = from.n_patches();
        let vertical = resize_matrix(from.rows, grid.rows, self.config.resample);
        let horizontal = resize_matrix(from.columns, grid.columns, self.config.resample);
        let mut matrix = Vec::with_capacity(grid.n_patches() * n_from);
        for row in vertical.chunks_exact(from.rows) {
            for column in horizontal.chunks_exact(from.columns) {
                matrix.extend(row.iter().flat_map(|v| column.iter().map(move |h| (v * h) as f32)));
            }
        }
        let matrix = TensorData::new(matrix, [grid.n_patches(), n_from]);
        let matrix = Tensor::<2>::from_data(matrix, &patches.device());
        let resampled = matrix.matmul(patches.reshape([n_from, d]));
        (prefix, resampled.reshape([1, grid.n_patches(), d]))
    }

    /// Replaces the content of masked patches by the mask token.
    fn swap(&self, patches: Tensor<3>, mask: &[bool]) -> Tensor<3> {
        let [b, n, d] = patches.dims();
        assert_eq!(mask.len(), b * n, "mask: expected [{b}, {n}] values");
        let Some(token) = &self.mask_token else { panic!("Keep::Swap needs a model with a mask token") };
        let mask: Vec<f32> = mask.iter().map(|&hidden| if hidden { 1.0 } else { 0.0 }).collect();
        let mask = Tensor::<3>::from_data(TensorData::new(mask, [b, n, 1]), &patches.device());
        let shown = mask.ones_like() - mask.clone();
        patches * shown + token.val().expand([b, n, d]) * mask
    }
}

/// Picks `n_per_image` tokens of every image: `[B, N, D]` → `[B, K, D]`.
pub(crate) fn gather_tokens(x: Tensor<3>, ids: &[usize], n_per_image: usize) -> Tensor<3> {
    let [b, n, d] = x.dims();
    assert_eq!(ids.len(), b * n_per_image, "kept patches: expected [{b}, {n_per_image}] ids");
    let flat: Vec<i32> = ids
        .chunks_exact(n_per_image)
        .enumerate()
        .flat_map(|(image, ids)| ids.iter().map(move |&id| (image * n + id) as i32))
        .collect();
    let flat = Tensor::<1, Int>::from_data(TensorData::new(flat, [b * n_per_image]), &x.device());
    x.reshape([b * n, d]).select(0, flat).reshape([b, n_per_image, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NoLook, weights::names};

    fn tiny() -> VitConfig {
        VitConfig { image_px: 16, patch_px: 8, width: 8, depth: 1, n_heads: 2, ..VitConfig::default() }
    }

    fn encode(config: &VitConfig) -> (Vit, Tokens) {
        let device = vit_ops::cpu_device();
        let model = config.init(&device, &mut crate::stream(0));
        let pixels = Tensor::zeros([2, 3, 16, 16], &device);
        let tokens = model.encode(pixels, &mut Pass::look(&mut NoLook));
        (model, tokens)
    }

    #[test]
    fn positions_of_the_prefix_cover_registers_too() {
        let (model, tokens) = encode(&VitConfig { n_registers: 3, ..tiny() });
        assert_eq!(model.pos_embed.dims(), [1, 1 + 3 + 4, 8]);
        assert_eq!(tokens.all.dims(), [2, 8, 8]);
        let (model, _) = encode(&VitConfig { n_registers: 3, position_of_class: false, ..tiny() });
        assert_eq!(model.pos_embed.dims(), [1, 4, 8]);
    }

    #[test]
    fn each_pooling_has_its_norm() {
        let norms = |pool| -> Vec<String> {
            let (model, tokens) = encode(&VitConfig { pool, ..tiny() });
            assert_eq!(model.pool(&tokens).dims(), [2, 8]);
            let names = names(&model).into_iter().map(|param| param.name);
            names.filter(|name| name.ends_with("norm.weight")).collect()
        };
        assert_eq!(norms(Pool::Class), ["norm.weight"]);
        assert_eq!(norms(Pool::Mean), ["fc_norm.weight"]);
        assert_eq!(norms(Pool::NormedMean), ["norm.weight"]);
    }
}
