//! Multi-head self-attention: fused where nobody looks inside, step by step where somebody does.

use crate::{Draw, Linear, Look, Seen, Site};
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

/// `softmax(q·kᵀ/√d)·v` per head, merged and projected.
///
/// # Source
/// Dosovitskiy et al., An Image is Worth 16x16 Words; timm's fused projection, rows ordered q, k, v.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[3D, D]`
    pub qkv: Linear,
    /// `[D, D]`
    pub proj: Linear,
    /// The number of heads.
    #[module(skip)]
    pub n_heads: usize,
}

impl Attention {
    pub(crate) fn init(width: usize, n_heads: usize, qkv_bias: bool, draw: &mut Draw) -> Self {
        let qkv = Linear::init(width, 3 * width, qkv_bias, draw);
        Self { qkv, proj: Linear::init(width, width, true, draw), n_heads }
    }

    /// # Shapes
    /// - `x`: `[B, T, D]`; result as `x`
    pub(crate) fn forward(&self, x: Tensor<3>, block: usize, look: &mut dyn Look) -> Tensor<3> {
        let qkv = self.qkv.forward(x); // [B, T, 3D]
        let inside = [Site::Scores(block), Site::Attention(block), Site::HeadOut(block)];
        let merged = if inside.iter().any(|&site| look.wants(site)) {
            self.in_steps(&qkv, block, look)
        } else {
            self.show_projections(&qkv, block, look);
            vit_ops::attention(qkv, self.n_heads)
        };
        self.proj.forward(merged)
    }

    /// q, k or v of `[B, heads, T, d]`.
    fn part(&self, qkv: &Tensor<3>, part: usize) -> Tensor<4> {
        let [b, t, width3] = qkv.dims();
        let d = width3 / 3;
        let slab = qkv.clone().slice([0..b, 0..t, part * d..(part + 1) * d]);
        slab.reshape([b, t, self.n_heads, d / self.n_heads]).swap_dims(1, 2)
    }

    fn show_projections(&self, qkv: &Tensor<3>, block: usize, look: &mut dyn Look) {
        for (part, site) in [Site::Query(block), Site::Key(block), Site::Value(block)].into_iter().enumerate()
        {
            if look.wants(site) {
                look.see(site, Seen::Heads(self.part(qkv, part)));
            }
        }
    }

    /// The same numbers with every intermediate made, for those who look.
    fn in_steps(&self, qkv: &Tensor<3>, block: usize, look: &mut dyn Look) -> Tensor<3> {
        self.show_projections(qkv, block, look);
        let [b, t, width3] = qkv.dims();
        let [q, k, v] = [0, 1, 2].map(|part| self.part(qkv, part)); // [B, heads, T, d]
        let scale = (q.dims()[3] as f64).powf(-0.5);
        let scores = q.matmul(k.transpose()).mul_scalar(scale); // [B, heads, T, T]
        if look.wants(Site::Scores(block)) {
            look.see(Site::Scores(block), Seen::Heads(scores.clone()));
        }
        let attention = softmax(scores, 3);
        if look.wants(Site::Attention(block)) {
            look.see(Site::Attention(block), Seen::Heads(attention.clone()));
        }
        let gathered = attention.matmul(v); // [B, heads, T, d]
        if look.wants(Site::HeadOut(block)) {
            look.see(Site::HeadOut(block), Seen::Heads(gathered.clone()));
        }
        gathered.swap_dims(1, 2).reshape([b, t, width3 / 3])
    }
}
