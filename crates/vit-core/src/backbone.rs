//! The encoders, a closed set, and how one pass through them is told what to do.

use crate::{ConvNet, Grid, Keep, Look, NoLook, Stream, Tokens, Vit, Wanted};
use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A skip connection that is left out of a pass: where it is cut, the block goes on with the branch alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cut {
    /// The one around the attention of a block.
    Attention(usize),
    /// The one around the MLP of a block.
    Mlp(usize),
}

/// One forward pass: what is masked, who looks, what is cut, and where drop path draws from.
pub struct Pass<'a> {
    /// Which patches the encoder sees.
    pub keep: &'a Keep,
    /// Who looks.
    pub look: &'a mut dyn Look,
    /// Random draws of training; none means inference.
    pub draws: Option<&'a mut Stream>,
    /// Skip connections of a Vision Transformer's blocks that are left out; none in any model as it is.
    pub cuts: &'a [Cut],
    /// Which tokens a Vision Transformer gives. It gives all of them where somebody looks at what stands behind the attention of its last
    /// block, and a convolutional network always does.
    pub wanted: &'a Wanted,
}

impl<'a> Pass<'a> {
    /// Inference on every patch, with somebody looking.
    pub fn look(look: &'a mut dyn Look) -> Self {
        Self { keep: &Keep::All, look, draws: None, cuts: &[], wanted: &Wanted::Every }
    }

    /// Whether this skip connection is left out.
    pub(crate) fn is_cut(&self, cut: Cut) -> bool {
        self.cuts.contains(&cut)
    }
}

/// Any encoder.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a process holds a handful, and parameters are behind pointers")]
pub enum Backbone {
    /// A Vision Transformer.
    Vit(Vit),
    /// A residual convolutional network; it has no attention and no prefix tokens.
    Conv(ConvNet),
}

impl Backbone {
    /// All of it: pixels `[B, 3, H, W]` to tokens.
    pub fn encode(&self, pixels: Tensor<4>, pass: &mut Pass) -> Tokens {
        match self {
            Self::Vit(vit) => vit.encode(pixels, pass),
            Self::Conv(conv) => conv.encode(pixels, pass),
        }
    }

    /// Inference with nobody looking: parts of the batch side by side, where the device works so.
    ///
    /// # Shapes
    /// - `pixels`: `[B, 3, H, W]`, at least one image; the tokens of all in their order
    pub fn infer(&self, pixels: Tensor<4>) -> Tokens {
        let [b, c, h, w] = pixels.dims();
        let parts = vit_ops::parts(b, &pixels.device());
        let parts = parts.into_iter().map(|part| pixels.clone().slice([part, 0..c, 0..h, 0..w])).collect();
        drop(pixels);
        let tokens = vit_ops::side_by_side(parts, |part| self.encode(part, &mut Pass::look(&mut NoLook)));
        let all = Tensor::cat(tokens.iter().map(|tokens| tokens.all.clone()).collect(), 0);
        match tokens.first() {
            Some(first) => first.with(all),
            None => panic!("a batch has a part"),
        }
    }

    /// What its kind is called.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Vit(_) => "vit",
            Self::Conv(_) => "conv",
        }
    }

    /// The number of blocks.
    pub fn depth(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.blocks.len(),
            Self::Conv(conv) => conv.blocks.len(),
        }
    }

    /// `D`
    pub fn width(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.config.width,
            Self::Conv(conv) => conv.config.width,
        }
    }

    /// Attention heads per block; none where there is no attention.
    pub fn n_heads(&self) -> Option<usize> {
        match self {
            Self::Vit(vit) => Some(vit.config.n_heads),
            Self::Conv(_) => None,
        }
    }

    /// Class and register tokens.
    pub fn n_prefix(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.config.n_prefix(),
            Self::Conv(_) => 0,
        }
    }

    /// Whether the first token is a class token.
    pub fn has_class(&self) -> bool {
        match self {
            Self::Vit(vit) => vit.config.class_token,
            Self::Conv(_) => false,
        }
    }

    /// Whether there is a norm over tokens after the last block.
    pub fn has_norm(&self) -> bool {
        match self {
            Self::Vit(vit) => vit.norm.is_some(),
            Self::Conv(_) => true,
        }
    }

    /// Side of the image in pixels that it was made for.
    pub fn image_px(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.config.image_px,
            Self::Conv(conv) => conv.config.image_px,
        }
    }

    /// Side of a patch in pixels.
    pub fn patch_px(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.config.patch_px,
            Self::Conv(conv) => conv.config.patch_px,
        }
    }

    /// The grid of an image of that size.
    ///
    /// # Panics
    /// When the image cannot be cut into patches.
    pub fn grid(&self, height_px: usize, width_px: usize) -> Grid {
        Grid::of_image(height_px, width_px, self.patch_px())
    }
}
