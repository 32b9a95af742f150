//! The Vision Transformer.

use crate::block::show;
use crate::relative_bias::RelativeBias;
use crate::{
    Block, Draw, Grid, InitScheme, Keep, LayerNorm, Linear, Pass, PatchEmbed, Pool, Positions,
    RelativePositions, Site, Stream, Tokens, VitConfig, Wanted, mae_sin_cos, resize_matrix,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use std::ops::Range;

/// A Vision Transformer with timm's parameter names.
///
/// # Source
/// Dosovitskiy et al., An Image is Worth 16x16 Words; registers: Darcet et al., Vision Transformers Need Registers.
#[derive(Module, Debug)]
pub struct Vit {
    /// `[1, 1, D]`
    pub cls_token: Option<Param<Tensor<3>>>,
    /// `[1, 1, D]`, DeiT's distillation token, after the class token.
    pub dist_token: Option<Param<Tensor<3>>>,
    /// `[1, registers, D]`
    pub reg_token: Option<Param<Tensor<3>>>,
    /// `[1, (1 +) N, D]`
    pub pos_embed: Option<Param<Tensor<3>>>,
    /// `[1, 1, D]`
    pub mask_token: Option<Param<Tensor<3>>>,
    /// The patch projection.
    pub patch_embed: PatchEmbed,
    /// CLIP's norm before the first block.
    pub norm_pre: Option<LayerNorm>,
    /// The relative position bias that all blocks share.
    pub rel_pos_bias: Option<RelativeBias>,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// The final norm over tokens; none with mean pooling.
    pub norm: Option<LayerNorm>,
    /// The norm after mean pooling.
    pub fc_norm: Option<LayerNorm>,
    /// The classifier, or a projection.
    pub head: Option<Linear>,
    /// The classifier of the distillation token.
    pub head_dist: Option<Linear>,
    /// The configuration.
    #[module(skip)]
    pub config: VitConfig,
}

impl VitConfig {
    /// A model with weights drawn from the stream.
    ///
    /// # Panics
    /// When [`VitConfig::check`] fails.
    pub fn init(&self, device: &Device, stream: &mut Stream) -> Vit {
        if let Err(problem) = self.check() {
            panic!("{problem}");
        }
        self.init_by(&mut Draw { stream, device, scheme: self.init })
    }

    /// A model whose values are all 0 until weights are read into it; nothing is drawn.
    ///
    /// # Panics
    /// When [`VitConfig::check`] fails.
    pub fn blank(&self, device: &Device) -> Vit {
        if let Err(problem) = self.check() {
            panic!("{problem}");
        }
        self.init_by(&mut Draw { stream: &mut crate::stream(0), device, scheme: InitScheme::Blank })
    }

    fn init_by(&self, draw: &mut Draw) -> Vit {
        let (d, grid) = (self.width, self.grid());
        let class_std = if self.init == InitScheme::Mae { 0.02 } else { 1e-6 };
        let n_positions = self.n_position_prefix() + grid.n_patches();
        let pos_embed = match self.positions {
            Positions::Learned => Some(draw.normal([1, n_positions, d], 0.02)),
            Positions::SinCos => {
                let table = mae_sin_cos(d, grid, self.n_position_prefix());
                Some(draw.values(table, [1, n_positions, d]).set_require_grad(false))
            }
            Positions::None => None,
        };
        let head = |draw: &mut Draw| {
            (self.n_classes > 0).then(|| Linear::init(d, self.n_classes, self.head_bias, draw))
        };
        Vit {
            cls_token: self.class_token.then(|| draw.normal([1, 1, d], class_std)),
            dist_token: self.distilled.then(|| draw.normal([1, 1, d], class_std)),
            reg_token: (self.n_registers > 0).then(|| draw.normal([1, self.n_registers, d], 1e-6)),
            pos_embed,
            mask_token: self.mask_token.then(|| draw.constant([1, 1, d], 0.0)),
            patch_embed: PatchEmbed::init(self.patch_px, d, self.patch_bias, draw),
            norm_pre: self.pre_norm.then(|| LayerNorm::init(d, self.eps, draw)),
            rel_pos_bias: (self.relative_positions == RelativePositions::Shared)
                .then(|| RelativeBias::init(grid, self.n_heads, draw)),
            blocks: (0..self.depth).map(|i| self.block(i).init(draw)).collect(),
            norm: (self.pool != Pool::Mean).then(|| LayerNorm::init(d, self.eps, draw)),
            fc_norm: (self.pool == Pool::Mean).then(|| LayerNorm::init(d, self.eps, draw)),
            head: head(draw),
            head_dist: if self.distilled { head(draw) } else { None },
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
        let patches = match positions {
            Some(positions) => patches + positions,
            None => patches,
        };
        let patches = match pass.keep {
            Keep::Visible { ids, n_per_image } => gather_tokens(patches, ids, *n_per_image),
            Keep::All | Keep::Swap { .. } => patches,
        };
        let d = self.config.width;
        let class = self.cls_token.as_ref().map(|class| class.val());
        let distillation = self.dist_token.as_ref().map(|token| token.val());
        let registers = self.reg_token.as_ref().map(|registers| registers.val());
        let prefix: Vec<Tensor<3>> = class.into_iter().chain(distillation).chain(registers).collect();
        let all = if prefix.is_empty() {
            patches
        } else {
            let prefix = Tensor::cat(prefix, 1); // [1, P, D]
            let prefix = match prefix_positions {
                Some(positions) if positions.dims() == prefix.dims() => prefix + positions,
                Some(positions) => {
                    // The first rows have positions, registers behind them have none.
                    let [_, n, d] = positions.dims();
                    let first = prefix.clone().slice([0..1, 0..n, 0..d]) + positions;
                    let registers = prefix.slice([0..1, n..self.config.n_prefix(), 0..d]);
                    Tensor::cat(vec![first, registers], 1)
                }
                None => prefix,
            };
            Tensor::cat(vec![prefix.expand([b, self.config.n_prefix(), d]), patches], 1) // [B, P + N, D]
        };
        let all = match &self.norm_pre {
            Some(norm) => norm.forward(all),
            None => all,
        };
        show(pass.look, Site::Embed, &all);
        Tokens { all, n_prefix: self.config.n_prefix(), has_class: self.config.class_token, grid }
    }

    /// Blocks `range`, one after the other; of the last block of all, the tokens that the pass wants.
    pub fn blocks(&self, tokens: Tokens, range: Range<usize>, pass: &mut Pass) -> Tokens {
        let mut x = tokens.all.clone();
        let shared = self.rel_pos_bias.as_ref().map(|bias| bias.forward(self.config.grid(), tokens.grid));
        if shared.is_some() || self.config.relative_positions == RelativePositions::PerBlock {
            let n_patches = x.dims()[1] - tokens.n_prefix;
            assert_eq!(n_patches, tokens.grid.n_patches(), "a relative position bias needs every patch");
        }
        for block in range {
            let wanted = if block + 1 == self.blocks.len() { self.wanted(pass) } else { &Wanted::Every };
            x = self.blocks[block].forward_on(x, block, (tokens.grid, shared.as_ref()), wanted, pass);
        }
        tokens.with(x)
    }

    /// Which tokens the last block gives: what the pass wants, where nobody looks at others.
    fn wanted<'a>(&self, pass: &mut Pass<'a>) -> &'a Wanted {
        let mut seen = Site::behind_attention(self.blocks.len() - 1).into_iter().chain([Site::Norm]);
        if seen.any(|site| pass.look.wants(site)) { &Wanted::Every } else { pass.wanted }
    }

    /// The tokens that [`Vit::pool`] and [`Vit::logits`] read.
    pub fn pooled(&self) -> Wanted {
        match self.config.pool {
            Pool::Class => Wanted::First { n: 1 + usize::from(self.config.distilled) },
            Pool::Mean | Pool::NormedMean => Wanted::Every,
        }
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

    /// Class scores or a projection, `[B, K]`; with a distillation token the mean of both heads' scores.
    ///
    /// # Panics
    /// When the model has no head.
    ///
    /// # Source
    /// Touvron et al., Training data-efficient image transformers: the mean of both classifiers at inference.
    pub fn logits(&self, tokens: &Tokens) -> Tensor<2> {
        let Some(head) = &self.head else { panic!("logits: this model has no classifier") };
        let scores = head.forward(self.pool(tokens));
        let Some(head_dist) = &self.head_dist else { return scores };
        let [b, _, d] = tokens.all.dims();
        let distillation = tokens.all.clone().slice([0..b, 1..2]).reshape([b, d]);
        (scores + head_dist.forward(distillation)).mul_scalar(0.5)
    }

    /// Rows of the position table for the prefix and for the patches of `grid`.
    fn positions(&self, grid: Grid) -> (Option<Tensor<3>>, Option<Tensor<3>>) {
        let n_prefix = self.config.n_position_prefix();
        let Some(table) = &self.pos_embed else { return (None, None) };
        let table = table.val();
        let [_, n, d] = table.dims();
        let prefix = (n_prefix > 0).then(|| table.clone().slice([0..1, 0..n_prefix]));
        let from = self.config.grid();
        let patches = table.slice([0..1, n_prefix..n]); // [1, N, D]
        if grid == from {
            return (prefix, Some(patches));
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
        (prefix, Some(resampled.reshape([1, grid.n_patches(), d])))
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
    let images = ids.chunks_exact(n_per_image.max(1)).enumerate();
    let flat = images.flat_map(|(image, ids)| ids.iter().map(move |&id| (image * n + id) as u32)).collect();
    vit_ops::gather_rows(x.reshape([b * n, d]), flat).reshape([b, n_per_image, d])
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
        let rows = |model: &Vit| model.pos_embed.as_ref().map(|table| table.dims());
        assert_eq!(rows(&model), Some([1, 1 + 3 + 4, 8]));
        assert_eq!(tokens.all.dims(), [2, 8, 8]);
        let (model, _) = encode(&VitConfig { n_registers: 3, position_of_class: false, ..tiny() });
        assert_eq!(rows(&model), Some([1, 4, 8]));
        let (model, _) = encode(&VitConfig { n_registers: 3, position_of_registers: false, ..tiny() });
        assert_eq!(rows(&model), Some([1, 1 + 4, 8]));
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
