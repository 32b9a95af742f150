//! The pre-norm transformer block.

use crate::attention::Attention;
use crate::{
    Activation, Cut, Draw, Grid, LayerNorm, LayerScale, Linear, Look, Pass, Seen, Site, Wanted, residual,
};
use burn::module::Module;
use burn::tensor::Tensor;

/// The sizes and options of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockConfig {
    /// `D`
    pub width: usize,
    /// Attention heads.
    pub n_heads: usize,
    /// Width of the MLP's hidden layer, after gating where there is a gate.
    pub hidden: usize,
    /// The MLP's activation.
    pub activation: Activation,
    /// Whether hidden values are gated by SiLU instead of activated.
    pub swiglu: bool,
    /// Whether the fused projection has a bias.
    pub qkv_bias: bool,
    /// Whether that bias covers keys.
    pub key_bias: bool,
    /// The grid of the block's own relative position bias, if it has one.
    pub relative_grid: Option<Grid>,
    /// Initial LayerScale, if there is one.
    pub layer_scale: Option<f64>,
    /// Drop path rate of this block.
    pub drop_path: f64,
    /// LayerNorm's ε.
    pub eps: f64,
}

/// `fc2(act(fc1(x)))`, or SwiGLU: `fc2(SiLU(a)·b)` with `[a; b] = fc1(x)`.
///
/// # Source
/// Dosovitskiy et al.; SwiGLU: Shazeer, GLU Variants Improve Transformer, as in DINOv2's giant.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[hidden, D]`; `[2·hidden, D]` with a gate.
    pub fc1: Linear,
    /// `[D, hidden]`
    pub fc2: Linear,
    /// What stands between them; a gate where it is none.
    #[module(skip)]
    pub activation: Option<Activation>,
}

impl Mlp {
    /// The hidden values, after activation or gating: `[B, T, D]` → `[B, T, hidden]`.
    fn hidden(&self, x: Tensor<3>) -> Tensor<3> {
        match self.activation {
            Some(activation) => activation.after(&self.fc1, x),
            None => {
                let x = self.fc1.forward(x);
                let [b, t, width2] = x.dims();
                let half = |from: usize| x.clone().slice([0..b, 0..t, from..from + width2 / 2]);
                vit_ops::silu(half(0)) * half(width2 / 2)
            }
        }
    }
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
        let Self { width, hidden, layer_scale, drop_path, eps, .. } = *self;
        let inner = if self.swiglu { 2 * hidden } else { hidden };
        let scale = |draw: &Draw| layer_scale.map(|value| LayerScale::init(width, value, draw));
        Block {
            norm1: LayerNorm::init(width, eps, draw),
            attn: Attention::init(self, draw),
            ls1: scale(draw),
            norm2: LayerNorm::init(width, eps, draw),
            mlp: Mlp {
                fc1: Linear::init(width, inner, true, draw),
                fc2: Linear::init(hidden, width, true, draw),
                activation: (!self.swiglu).then_some(self.activation),
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

impl Block {
    /// # Shapes
    /// - `x`: `[B, T, D]`; result `[B, K, D]`, of the tokens that the pass wants: all of them, unless it says otherwise
    ///
    /// `block` is the number under which its sites are offered.
    ///
    /// # Panics
    /// When the block has a relative position bias, which needs the grid.
    pub fn forward(&self, x: Tensor<3>, block: usize, pass: &mut Pass) -> Tensor<3> {
        assert!(self.attn.relative_grid.is_none(), "a relative position bias needs the grid");
        self.forward_with(x, block, (None, None), pass.wanted, pass)
    }

    /// The same on the patches of a grid, with the bias that the blocks share or the block's own, and with other tokens wanted than the
    /// pass says.
    pub(crate) fn forward_on(
        &self,
        x: Tensor<3>,
        block: usize,
        (grid, shared): (Grid, Option<&Tensor<3>>),
        wanted: &Wanted,
        pass: &mut Pass,
    ) -> Tensor<3> {
        let bias = self.attn.relative_bias(grid).or_else(|| shared.cloned());
        self.forward_with(x, block, (bias, Some(grid)), wanted, pass)
    }

    fn forward_with(
        &self,
        x: Tensor<3>,
        block: usize,
        (bias, grid): (Option<Tensor<3>>, Option<Grid>),
        wanted: &Wanted,
        pass: &mut Pass,
    ) -> Tensor<3> {
        let normed = self.norm1.forward(x.clone());
        show(pass.look, Site::Norm1(block), &normed);
        let branch = self.attn.forward(normed, block, (bias, grid), wanted, pass.look);
        show(pass.look, Site::AttnOut(block), &branch);
        let x = wanted.pick(x);
        let x =
            self.joined(x, branch, self.ls1.as_ref(), (Site::AttnAdded(block), Cut::Attention(block)), pass);
        show(pass.look, Site::Mid(block), &x);

        let normed = self.norm2.forward(x.clone());
        show(pass.look, Site::Norm2(block), &normed);
        let hidden = self.mlp.hidden(normed);
        show(pass.look, Site::MlpHidden(block), &hidden);
        let branch = self.mlp.fc2.forward(hidden);
        show(pass.look, Site::MlpOut(block), &branch);
        let x = self.joined(x, branch, self.ls2.as_ref(), (Site::MlpAdded(block), Cut::Mlp(block)), pass);
        show(pass.look, Site::Block(block), &x);
        x
    }

    /// `x` with what a branch adds to it: in one pass, unless somebody looks at what is added, or the skip connection is cut.
    fn joined(
        &self,
        x: Tensor<3>,
        branch: Tensor<3>,
        scale: Option<&LayerScale>,
        (added, cut): (Site, Cut),
        pass: &mut Pass,
    ) -> Tensor<3> {
        let is_cut = pass.is_cut(cut);
        if !is_cut && !pass.look.wants(added) {
            return residual(x, branch, scale, self.drop_path, pass.draws.as_deref_mut());
        }
        let branch = residual(x.zeros_like(), branch, scale, self.drop_path, pass.draws.as_deref_mut());
        show(pass.look, added, &branch);
        if is_cut { branch } else { x + branch }
    }
}
