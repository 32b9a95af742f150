//! Masked autoencoding: most patches are dropped, a light decoder restores their pixels.

use crate::mask::{MaskIds, random_masks};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use report::{Info, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_core::{
    Activation, Backbone, Block, BlockConfig, Draw, Grid, InitScheme, Keep, LayerNorm, Linear, NoLook, Pass,
    Pool, Positions, RelativePositions, Resample, Vit, VitConfig, Wanted, behind_attention_macs, block_macs,
    mae_sin_cos, patchify, unpatchify, weights::start_from,
};
use vit_data::{Seed, ViewPlan};
use vit_train::{Batch, Objective, Preview, SampleCost, Step, StepOut, Term, Tile, ViewConfig};

/// The options of [`Mae`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaeConfig {
    /// Share of the patches that is dropped, 0–1; 0.75 in the paper.
    pub mask_ratio: f64,
    /// Whether targets are normalized patch by patch; true for the published weights.
    pub norm_pix: bool,
    /// Decoder width; 512 in the paper.
    pub decoder_width: usize,
    /// Decoder blocks; 8 in the paper.
    pub decoder_depth: usize,
    /// Decoder heads; 16 in the paper.
    pub decoder_heads: usize,
}

impl Default for MaeConfig {
    fn default() -> Self {
        Self { mask_ratio: 0.75, norm_pix: true, decoder_width: 512, decoder_depth: 8, decoder_heads: 16 }
    }
}

impl Recipe for MaeConfig {
    fn check(&self) -> Result<(), RecipeError> {
        if !(0.0..1.0).contains(&self.mask_ratio) {
            return Err(RecipeError::value("options.mask_ratio", "0 up to 1", self.mask_ratio.to_string()));
        }
        let (width, heads) = (self.decoder_width, self.decoder_heads);
        if width == 0 || heads == 0 || !width.is_multiple_of(heads) || !width.is_multiple_of(4) {
            let expected = format!("a multiple of 4 and of decoder_heads ({heads})");
            return Err(RecipeError::value("options.decoder_width", expected, width.to_string()));
        }
        if self.decoder_depth == 0 {
            return Err(RecipeError::value("options.decoder_depth", "at least 1", "0"));
        }
        Ok(())
    }
}

/// Encoder and decoder with the parameter names of the published checkpoints (the encoder's under `encoder.`).
///
/// # Source
/// He et al., Masked Autoencoders Are Scalable Vision Learners.
#[derive(Module, Debug)]
pub struct MaeNet {
    /// The encoder; it sees the kept patches only.
    pub encoder: Vit,
    /// `[decoder width, D]`
    pub decoder_embed: Linear,
    /// `[1, 1, decoder width]`
    pub mask_token: Param<Tensor<3>>,
    /// `[1, 1 + N, decoder width]`, fixed sine–cosine.
    pub decoder_pos_embed: Param<Tensor<3>>,
    /// The decoder's blocks.
    pub decoder_blocks: Vec<Block>,
    /// The decoder's norm.
    pub decoder_norm: LayerNorm,
    /// `[P·P·3, decoder width]`
    pub decoder_pred: Linear,
}

/// What the decoder predicts.
#[derive(Clone, Debug)]
pub struct Predicted {
    /// `[B, N, P·P·3]` in the order (y, x, channel).
    pub patches: Tensor<3>,
    /// The grid of `N`.
    pub grid: Grid,
}

fn decoder_block(config: &MaeConfig, eps: f64) -> BlockConfig {
    BlockConfig {
        width: config.decoder_width,
        n_heads: config.decoder_heads,
        hidden: 4 * config.decoder_width,
        qkv_bias: true,
        layer_scale: None,
        drop_path: 0.0,
        eps,
        activation: Activation::Gelu,
        swiglu: false,
        key_bias: true,
        relative_grid: None,
    }
}

impl MaeNet {
    /// Encoder and decoder with weights by MAE's scheme. The encoder's position table, norm, pooling and scheme are
    /// MAE's whatever `encoder` says.
    pub fn init(config: &MaeConfig, encoder: &VitConfig, device: &Device, seed: Seed) -> Self {
        let encoder = VitConfig {
            positions: Positions::SinCos,
            resample: Resample::Size,
            class_token: true,
            pool: Pool::Class,
            init: InitScheme::Mae,
            n_classes: 0,
            ..encoder.clone()
        };
        let (grid, patch_px, eps) = (encoder.grid(), encoder.patch_px, encoder.eps);
        let mut stream = seed.stream("weights", &[]);
        let encoder_net = encoder.init(device, &mut stream);
        let mut draw = Draw { stream: &mut stream, device, scheme: InitScheme::Mae };
        let width = config.decoder_width;
        let block = decoder_block(config, eps);
        let positions = mae_sin_cos(width, grid, 1);
        let shape = [1, 1 + grid.n_patches(), width];
        Self {
            encoder: encoder_net,
            decoder_embed: Linear::init(encoder.width, width, true, &mut draw),
            mask_token: draw.normal([1, 1, width], 0.02),
            decoder_pos_embed: draw.values(positions, shape).set_require_grad(false),
            decoder_blocks: (0..config.decoder_depth).map(|_| block.init(&mut draw)).collect(),
            decoder_norm: LayerNorm::init(width, eps, &draw),
            decoder_pred: Linear::init(width, 3 * patch_px * patch_px, true, &mut draw),
        }
    }

    /// Encodes the kept patches and predicts the pixels of all.
    ///
    /// # Shapes
    /// - `pixels`: `[B, 3, H, W]`, normalized
    ///
    /// # Panics
    /// When the masks are of another grid.
    pub fn forward(&self, pixels: Tensor<4>, ids: &MaskIds) -> Predicted {
        let (x, grid) = self.predict(pixels, ids, &Wanted::Every); // [B, 1 + N, P·P·3]
        let [b, t, values] = x.dims();
        Predicted { patches: x.slice([0..b, 1..t, 0..values]), grid }
    }

    /// The predictions that are wanted, `[B, K, P·P·3]`.
    fn predict(&self, pixels: Tensor<4>, ids: &MaskIds, wanted: &Wanted) -> (Tensor<3>, Grid) {
        let keep = &Keep::Visible { ids: ids.ids_keep.clone(), n_per_image: ids.n_kept };
        let mut nobody = NoLook;
        let tokens = self.encoder.encode(pixels, &mut Pass { keep, ..Pass::look(&mut nobody) });
        let grid = tokens.grid;
        let x = self.decoder_embed.forward(tokens.all); // [B, 1 + K, width]
        let x = self.restore(x, ids) + self.decoder_pos_embed.val(); // [B, 1 + N, width]
        let last = self.decoder_blocks.len() - 1;
        let x = self.decoder_blocks.iter().enumerate().fold(x, |x, (i, block)| {
            let wanted = if i == last { wanted } else { &Wanted::Every };
            block.forward(x, i, &mut Pass { wanted, ..Pass::look(&mut nobody) })
        });
        (self.decoder_pred.forward(self.decoder_norm.forward(x)), grid)
    }

    /// Puts every token where its patch stands, mask tokens where patches were dropped; the class token stays first.
    fn restore(&self, x: Tensor<3>, ids: &MaskIds) -> Tensor<3> {
        let [b, t, width] = x.dims();
        let (kept, n) = (ids.n_kept, ids.n_patches);
        assert_eq!(t, kept + 1, "masks keep {kept} patches, the encoder gave {t} tokens");
        let rows = Tensor::cat(vec![x.reshape([b * t, width]), self.mask_token.val().reshape([1, width])], 0);
        let mask_row = b * t;
        let mut order = Vec::with_capacity(b * (n + 1));
        for (image, restore) in ids.ids_restore.chunks_exact(n).enumerate() {
            order.push((image * t) as u32);
            let row = |&place: &usize| if place < kept { image * t + 1 + place } else { mask_row };
            order.extend(restore.iter().map(|place| row(place) as u32));
        }
        vit_ops::gather_rows(rows, order).reshape([b, n + 1, width])
    }

    /// The loss: `Σ over masked (mean over P·P·3 of (prediction − target)²) / number masked`.
    ///
    /// With `norm_pix` each target patch is normalized by its own mean and unbiased variance, ε = 1e-6.
    ///
    /// # Shapes
    /// - result `[1]`
    pub fn loss(&self, predicted: &Predicted, pixels: Tensor<4>, ids: &MaskIds, norm_pix: bool) -> Tensor<1> {
        let [b, n, values] = predicted.patches.dims();
        let rows = predicted.patches.clone().reshape([b * n, values]);
        let masked = masked_rows(ids);
        self.loss_of_rows(vit_ops::gather_rows(rows, masked.clone()), pixels, masked, norm_pix)
    }

    /// [`MaeNet::forward`] and [`MaeNet::loss`] in one: the decoder's last block, its norm and the predictions are only made of masked patches,
    /// which are all that the loss reads.
    ///
    /// # Shapes
    /// - `pixels`: `[B, 3, H, W]`, normalized; result `[1]`
    ///
    /// # Panics
    /// When the masks are of another grid.
    pub fn loss_of_masked(&self, pixels: Tensor<4>, ids: &MaskIds, norm_pix: bool) -> Tensor<1> {
        let n = ids.n_patches;
        let masked = masked_rows(ids);
        // The class token stands before the patches.
        let tokens = masked.iter().map(|&row| 1 + row as usize % n).collect();
        let wanted = Wanted::These { ids: tokens, n_per_image: n - ids.n_kept };
        let (x, _) = self.predict(pixels.clone(), ids, &wanted); // [B, M, P·P·3]
        let rows = x.flatten(0, 1); // [B·M, P·P·3]
        self.loss_of_rows(rows, pixels, masked, norm_pix)
    }

    /// The loss of the predictions of the `masked` patches of all images, `[B·M, P·P·3]`.
    fn loss_of_rows(
        &self,
        rows: Tensor<2>,
        pixels: Tensor<4>,
        masked: Vec<u32>,
        norm_pix: bool,
    ) -> Tensor<1> {
        let target = patchify(pixels.inner(), self.encoder.config.patch_px);
        let target = if norm_pix { normalize_patches(target) } else { target };
        let [b, n, values] = target.dims();
        let target = vit_ops::gather_rows(target.reshape([b * n, values]), masked);
        let difference = rows - Tensor::from_inner(target);
        (difference.clone() * difference).mean()
    }
}

/// The masked patches of all images, of `[B·N]`, in order.
fn masked_rows(ids: &MaskIds) -> Vec<u32> {
    (0u32..).zip(&ids.mask).filter(|(_, masked)| **masked).map(|(row, _)| row).collect()
}

/// `(t − mean)/√(var + 1e-6)` over the values of each patch, unbiased variance.
fn normalize_patches(target: Tensor<3>) -> Tensor<3> {
    let (var, mean) = target.clone().var_mean(2);
    (target - mean) / (var + 1e-6).sqrt()
}

/// Masked autoencoding.
///
/// # Source
/// He et al., Masked Autoencoders Are Scalable Vision Learners.
#[derive(Clone)]
pub struct Mae {
    net: MaeNet,
    config: MaeConfig,
}

impl Mae {
    fn masks(&self, batch: &Batch, seed: Seed) -> MaskIds {
        let [_, _, height, width] = batch.views[0].dims();
        let n_patches = Grid::of_image(height, width, self.net.encoder.config.patch_px).n_patches();
        random_masks(seed, batch.epoch, &batch.host.indices, n_patches, self.config.mask_ratio)
    }
}

impl Objective for Mae {
    const INFO: Info = Info {
        name: "mae",
        line: "restore the pixels of dropped patches",
        source: "He et al. 2022, Masked Autoencoders Are Scalable Vision Learners",
    };
    type Config = MaeConfig;
    type Student = MaeNet;
    type Carry = ();
    const ENCODER_PREFIX: &'static str = "encoder.";

    fn views(_: &MaeConfig, views: &ViewConfig) -> ViewPlan {
        views.plan()
    }

    fn init(
        config: &MaeConfig,
        encoder: &VitConfig,
        _: usize,
        device: &Device,
        seed: Seed,
    ) -> Result<Self, String> {
        if encoder.n_registers > 0 || encoder.drop_path > 0.0 {
            return Err("expected neither registers nor drop path for MAE; found one of them".into());
        }
        if encoder.distilled || encoder.relative_positions != RelativePositions::None {
            let expected = "expected neither a distillation token nor relative positions for MAE";
            return Err(format!("{expected}; found one of them"));
        }
        if !encoder.width.is_multiple_of(4) {
            return Err(format!("expected a width divisible by 4; found {}", encoder.width));
        }
        let n_patches = encoder.grid().n_patches();
        let n_kept = crate::mask::n_kept(n_patches, config.mask_ratio);
        if n_kept == 0 || n_kept == n_patches {
            return Err(format!(
                "expected a mask ratio that keeps some of {n_patches} patches; found {n_kept} kept"
            ));
        }
        Ok(Self { net: MaeNet::init(config, encoder, device, seed), config: config.clone() })
    }

    fn start_from(mut self, from: &Vit) -> Result<(Self, Vec<String>), String> {
        let started = start_from(self.net.encoder, from)?;
        self.net.encoder = started.vit;
        Ok((self, started.fresh))
    }

    fn sample_cost(&self) -> SampleCost {
        let encoder = &self.net.encoder.config;
        let n_patches = encoder.grid().n_patches();
        let n_kept = crate::mask::n_kept(n_patches, self.config.mask_ratio);
        let (d, width) = (encoder.width as u64, self.config.decoder_width as u64);
        let block = decoder_block(&self.config, encoder.eps);
        let decoder = (n_kept as u64 + 1) * d * width
            + self.config.decoder_depth as u64 * block_macs(&block, n_patches + 1)
            - (n_kept as u64 + 1) * behind_attention_macs(&block)
            + (n_patches - n_kept) as u64 * width * 3 * (encoder.patch_px * encoder.patch_px) as u64;
        SampleCost { forward_macs: encoder.macs(n_kept) + decoder, n_tokens: encoder.n_prefix() + n_kept }
    }

    fn student(&self) -> &MaeNet {
        &self.net
    }

    fn map_student(self, change: impl FnOnce(MaeNet) -> MaeNet) -> Self {
        Self { net: change(self.net), ..self }
    }

    /// As many patches are hidden in every image.
    fn is_separable(&self) -> bool {
        true
    }

    fn loss(&self, batch: &Batch, step: &mut Step) -> StepOut<()> {
        let ids = self.masks(batch, step.seed);
        let value = self.net.loss_of_masked(batch.views[0].clone(), &ids, self.config.norm_pix);
        StepOut { terms: vec![Term { name: "mse", value }], carry: () }
    }

    fn export(&self) -> Backbone {
        Backbone::Vit(self.net.encoder.valid())
    }

    fn preview(&self, config: &MaeConfig, batch: &Batch, seed: Seed) -> Option<Preview> {
        let ids = self.masks(batch, seed);
        let net = self.net.valid();
        let pixels = batch.views[0].clone();
        let predicted = net.forward(pixels.clone(), &ids);
        let pictures = restored(&pixels, predicted, &ids, config.norm_pix)?;
        let [_, _, height_px, width_px] = pixels.dims();
        let tiles = pictures.into_iter().map(|(rgb, caption)| Tile { width_px, height_px, rgb, caption });
        let note = if config.norm_pix {
            " Predictions are of normalized patches; here each gets back the mean and spread of its true patch."
        } else {
            ""
        };
        Some(Preview {
            title: "What MAE restores".into(),
            caption: format!(
                "Held-out images, what the encoder was shown ({:.0} % of the patches dropped), and what the decoder \
                 predicts for the dropped ones. Sharp detail cannot be expected: the loss rewards the mean of all \
                 that is plausible.{note}",
                100.0 * config.mask_ratio
            ),
            columns: vec!["image".into(), "shown".into(), "restored".into()],
            tiles: tiles.collect(),
        })
    }
}

/// Image, shown patches, and restoration of each image, as bytes `[H, W, 3]` with a caption.
fn restored(
    pixels: &Tensor<4>,
    predicted: Predicted,
    ids: &MaskIds,
    norm_pix: bool,
) -> Option<Vec<(Vec<u8>, String)>> {
    let [b, _, height, width] = pixels.dims();
    let Predicted { patches, grid } = predicted;
    let patch_px = height / grid.rows;
    let target = patchify(pixels.clone(), patch_px);
    let patches = if norm_pix {
        let (var, mean) = target.clone().var_mean(2);
        patches * (var + 1e-6).sqrt() + mean
    } else {
        patches
    };
    let hidden: Vec<f32> = ids.mask.iter().map(|&hidden| if hidden { 1.0 } else { 0.0 }).collect();
    let hidden = Tensor::<3>::from_data(TensorData::new(hidden, [b, grid.n_patches(), 1]), &pixels.device());
    let shown = target.clone() * (hidden.ones_like() - hidden.clone());
    let mixed = shown.clone() + patches * hidden;
    let host = |x: Tensor<3>| unpatchify(x, grid, patch_px).into_data().try_to_vec::<f32>().ok();
    let (target, shown, mixed) = (host(target)?, host(shown)?, host(mixed)?);
    let plane = height * width;
    let mut pictures = Vec::with_capacity(3 * b);
    for image in 0..b {
        // One scale per image, from its own range, so that any normalization can be shown.
        let own = &target[image * 3 * plane..][..3 * plane];
        let low = own.iter().copied().fold(f32::INFINITY, f32::min);
        let high = own.iter().copied().fold(f32::NEG_INFINITY, f32::max).max(low + 1e-6);
        for (values, caption) in [(&target, "image"), (&shown, "shown"), (&mixed, "restored")] {
            let values = &values[image * 3 * plane..][..3 * plane];
            let is_shown = |at: usize| {
                let (row, column) = (at / width / patch_px, at % width / patch_px);
                !ids.mask[image * grid.n_patches() + row * grid.columns + column]
            };
            let byte = |channel: usize, at: usize| {
                if caption == "shown" && !is_shown(at) {
                    return 128;
                }
                (255.0 * (values[channel * plane + at] - low) / (high - low)).clamp(0.0, 255.0) as u8
            };
            let rgb = (0..plane).flat_map(|at| (0..3).map(move |channel| (channel, at)));
            let rgb: Vec<u8> = rgb.map(|(channel, at)| byte(channel, at)).collect();
            pictures.push((rgb, caption.to_owned()));
        }
    }
    Some(pictures)
}
