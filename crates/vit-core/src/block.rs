//! The pre-norm transformer block.

use crate::attention::Attention;
use crate::{Draw, LayerNorm, LayerScale, Linear, Look, Pass, Seen, Site, drop_path};
use burn::module::Module;
use burn::tensor::Tensor;

/// The sizes and options of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockConfig {
    /// `D`
    pub width: usize,
    /// Attention heads.
    pub n_heads: usize,
    /// Width of the MLP's hidden layer.
    pub hidden: usize,
    /// Whether the fused projection has a bias.
    pub qkv_bias: bool,
    /// Initial LayerScale, if there is one.
    pub layer_scale: Option<f64>,
    /// Drop path rate of this block.
    pub drop_path: f64,
    /// LayerNorm's ε.
    pub eps: f64,
}

/// `fc2(GELU(fc1(x)))`
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[hidden, D]`
    pub fc1: Linear,
    /// `[D, hidden]`
    pub fc2: Linear,
}

/// `x ← x + DropPath(γ₁·Attn(LN₁(x)))`, `x ← x + DropPath(γ₂·MLP(LN₂(x)))`.
///
/// # Source
/// Dosovitskiy et al., An Image is Worth 16x16 Words; the block of timm, DINO, iBOT, MAE and DeiT.
#[derive(Module, Debug)]
pub struct Block {
    /// LN₁
    pub norm1: LayerNorm,
    /// Multi-head self-attention.
    pub attn: Attention,
    /// γ₁
    pub ls1: Option<LayerScale>,
    /// LN₂
    pub norm2: LayerNorm,
    /// The MLP.
    pub mlp: Mlp,
    /// γ₂
    pub ls2: Option<LayerScale>,
    /// The rate at which a sample's branch is dropped in training.
    #[module(skip)]
    pub drop_path: f64,
}

impl BlockConfig {
    /// A block with weights drawn by the scheme.
    pub fn init(&self, draw: &mut Draw) -> Block {
        let Self { width, n_heads, hidden, qkv_bias, layer_scale, drop_path, eps } = *self;
        let scale = |draw: &Draw| layer_scale.map(|value| LayerScale::init(width, value, draw));
        Block {
            norm1: LayerNorm::init(width, eps, draw),
            attn: Attention::init(width, n_heads, qkv_bias, draw),
            ls1: scale(draw),
            norm2: LayerNorm::init(width, eps, draw),
            mlp: Mlp {
                fc1: Linear::init(width, hidden, true, draw),
                fc2: Linear::init(hidden, width, true, draw),
            },
            ls2: scale(draw),
            drop_path,
        }
    }
}

/// Offers a token tensor at a site, if wanted.
pub(crate) fn show(look: &mut dyn Look, site: Site, x: &Tensor<3>) {
    if look.wants(site) {
        look.see(site, Seen::Tokens(x.clone()));
    }
}

fn scaled(x: Tensor<3>, scale: Option<&LayerScale>) -> Tensor<3> {
    match scale {
        Some(scale) => scale.forward(x),
        None => x,
    }
}

impl Block {
    /// # Shapes
    /// - `x`: `[B, T, D]`; result as `x`
    ///
    /// `block` is the number under which its sites are offered.
    pub fn forward(&self, x: Tensor<3>, block: usize, pass: &mut Pass) -> Tensor<3> {
        let normed = self.norm1.forward(x.clone());
        show(pass.look, Site::Norm1(block), &normed);
        let branch = self.attn.forward(normed, block, pass.look);
        show(pass.look, Site::AttnOut(block), &branch);
        let branch = scaled(branch, self.ls1.as_ref());
        let x = x + drop_path(branch, self.drop_path, pass.draws.as_deref_mut());
        show(pass.look, Site::Mid(block), &x);

        let normed = self.norm2.forward(x.clone());
        show(pass.look, Site::Norm2(block), &normed);
        let hidden = vit_ops::gelu(self.mlp.fc1.forward(normed));
        show(pass.look, Site::MlpHidden(block), &hidden);
        let branch = self.mlp.fc2.forward(hidden);
        show(pass.look, Site::MlpOut(block), &branch);
        let branch = scaled(branch, self.ls2.as_ref());
        let x = x + drop_path(branch, self.drop_path, pass.draws.as_deref_mut());
        show(pass.look, Site::Block(block), &x);
        x
    }
}
