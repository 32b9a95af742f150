//! A residual convolutional network on a grid of patches: the encoder without attention.

use crate::block::show;
use crate::{Draw, InitScheme, Keep, LayerNorm, Linear, Pass, PatchEmbed, Site, Stream, Tokens};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, module::conv2d, ops::ConvOptions};
use serde::{Deserialize, Serialize};

/// The sizes of a [`ConvNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvConfig {
    /// Side of the image in pixels.
    pub image_px: usize,
    /// Side of a patch in pixels.
    pub patch_px: usize,
    /// `D`
    pub width: usize,
    /// Blocks.
    pub depth: usize,
}

/// `x ← x + fc2(GELU(fc1(LN(dw3×3(x)))))`, the isotropic ConvNeXt block with a 3×3 kernel.
///
/// # Source
/// Liu et al., A ConvNet for the 2020s, its isotropic variant. *Differs*: kernel 3 instead of 7, no LayerScale.
#[derive(Module, Debug)]
pub struct ConvBlock {
    /// Depthwise kernel `[D, 1, 3, 3]`.
    pub dwconv: Param<Tensor<4>>,
    /// LayerNorm over channels.
    pub norm: LayerNorm,
    /// `[4D, D]`
    pub fc1: Linear,
    /// `[D, 4D]`
    pub fc2: Linear,
}

/// Patch projection, residual convolutional blocks, norm. One token per patch, no prefix.
#[derive(Module, Debug)]
pub struct ConvNet {
    /// The patch projection.
    pub patch_embed: PatchEmbed,
    /// The blocks.
    pub blocks: Vec<ConvBlock>,
    /// The final norm.
    pub norm: LayerNorm,
    /// The configuration.
    #[module(skip)]
    pub config: ConvConfig,
}

impl ConvConfig {
    /// A network with weights drawn from the stream.
    pub fn init(&self, device: &Device, stream: &mut Stream) -> ConvNet {
        let mut draw = Draw { stream, device, scheme: InitScheme::Timm };
        let d = self.width;
        let patch_embed = PatchEmbed::init(self.patch_px, d, true, &mut draw);
        let block = |draw: &mut Draw| ConvBlock {
            dwconv: draw.uniform([d, 1, 3, 3], 1.0 / 3.0),
            norm: LayerNorm::init(d, 1e-6, draw),
            fc1: Linear::init(d, 4 * d, true, draw),
            fc2: Linear::init(4 * d, d, true, draw),
        };
        let blocks = (0..self.depth).map(|_| block(&mut draw)).collect();
        ConvNet { patch_embed, blocks, norm: LayerNorm::init(d, 1e-6, &draw), config: self.clone() }
    }
}

impl ConvNet {
    /// Pixels `[B, 3, H, W]` to tokens `[B, N, D]`.
    ///
    /// # Panics
    /// When asked to mask: a convolution has no notion of an absent patch.
    pub fn encode(&self, pixels: Tensor<4>, pass: &mut Pass) -> Tokens {
        assert!(*pass.keep == Keep::All, "a convolutional encoder cannot mask patches");
        let (mut x, grid) = self.patch_embed.forward(pixels); // [B, N, D]
        let [b, n, d] = x.dims();
        show(pass.look, Site::Embed, &x);
        for (i, block) in self.blocks.iter().enumerate() {
            let map = x.clone().swap_dims(1, 2).reshape([b, d, grid.rows, grid.columns]);
            let options = ConvOptions::new([1, 1], [1, 1], [1, 1], d);
            let mixed = conv2d(map, block.dwconv.val(), None, options);
            let mixed = mixed.reshape([b, d, n]).swap_dims(1, 2); // [B, N, D]
            let hidden = vit_ops::gelu(block.fc1.forward(block.norm.forward(mixed)));
            x = x + block.fc2.forward(hidden);
            show(pass.look, Site::Block(i), &x);
        }
        let x = self.norm.forward(x);
        show(pass.look, Site::Norm, &x);
        Tokens { all: x, n_prefix: 0, has_class: false, grid }
    }
}
