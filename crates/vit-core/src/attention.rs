//! Multi-head self-attention: fused where nobody looks inside, step by step where somebody does.

use crate::relative_bias::RelativeBias;
use crate::{BlockConfig, Draw, Grid, Linear, Look, Seen, Site, Wanted};
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use vit_ops::{AttentionGrid, AttentionWants};

/// `softmax(q·kᵀ/√d + bias)·v` per head, merged and projected; the bias is a relative position's, where there is one.
///
/// # Source
/// Dosovitskiy et al., An Image is Worth 16x16 Words; timm's fused projection, rows ordered q, k, v. Relative positions
/// and a bias of queries and values only: Bao et al., BEiT.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[3D, D]`
    pub qkv: Linear,
    /// `[D]`, where keys have no bias
    pub q_bias: Option<Param<Tensor<1>>>,
    /// `[D]`, where keys have no bias
    pub v_bias: Option<Param<Tensor<1>>>,
    /// The block's own relative position bias; its table lies flat among the attention's parameters, as in BEiT.
    pub relative_position_bias_table: Option<Param<Tensor<2>>>,
    /// `[D, D]`
    pub proj: Linear,
    /// The grid of that table.
    #[module(skip)]
    pub relative_grid: Option<Grid>,
    /// The number of heads.
    #[module(skip)]
    pub n_heads: usize,
}

/// Merged heads of attention that was watched.
enum Watched {
    /// Nobody watched.
    Nothing,
    /// Statistics and sums were shown, the probabilities were not.
    SumsOnly(Tensor<3>),
    /// Whoever wanted any of them has them, or the probabilities.
    All(Tensor<3>),
}

impl Attention {
    pub(crate) fn init(config: &BlockConfig, draw: &mut Draw) -> Self {
        let BlockConfig { width, n_heads, qkv_bias, key_bias, relative_grid, .. } = *config;
        let part = |draw: &Draw| (qkv_bias && !key_bias).then(|| draw.constant([width], 0.0));
        let table = |grid| RelativeBias::init(grid, n_heads, draw).relative_position_bias_table;
        let relative_position_bias_table = relative_grid.map(table);
        Self {
            qkv: Linear::init(width, 3 * width, qkv_bias && key_bias, draw),
            q_bias: part(draw),
            v_bias: part(draw),
            relative_position_bias_table,
            proj: Linear::init(width, width, true, draw),
            relative_grid,
            n_heads,
        }
    }

    /// The block's own bias on the scores of a class token and the patches of `grid`, `[heads, 1 + N, 1 + N]`.
    pub(crate) fn relative_bias(&self, grid: Grid) -> Option<Tensor<3>> {
        let (own, table) = (self.relative_grid?, self.relative_position_bias_table.clone()?);
        Some(RelativeBias { relative_position_bias_table: table }.forward(own, grid))
    }

    /// The bias of the fused projections, `[3D]`.
    fn projection_bias(&self, x: &Tensor<3>) -> Tensor<1> {
        let (Some(q_bias), Some(v_bias)) = (&self.q_bias, &self.v_bias) else {
            return self.qkv.bias_or_zeros(x);
        };
        let (q_bias, v_bias) = (q_bias.val(), v_bias.val());
        Tensor::cat(vec![q_bias.clone(), q_bias.zeros_like(), v_bias], 0)
    }

    /// The fused projections, `[B, T, 3D]`.
    fn projections(&self, x: Tensor<3>) -> Tensor<3> {
        let bias = self.projection_bias(&x);
        vit_ops::linear(x, self.qkv.weight.val(), bias)
    }

    /// Merged heads of the first `n` tokens alone, `[B, n, D]`: keys and values are made of all tokens, queries of these.
    fn of_first(&self, x: Tensor<3>, n: usize) -> Tensor<3> {
        let [b, _, d] = x.dims();
        let (weight, bias) = (self.qkv.weight.val(), self.projection_bias(&x));
        let rows =
            |from: usize, n: usize| (weight.clone().narrow(0, from, n), bias.clone().narrow(0, from, n));
        let first = x.clone().slice([0..b, 0..n]);
        let ((q_weight, q_bias), (kv_weight, kv_bias)) = (rows(0, d), rows(d, 2 * d));
        let q = self.part(&vit_ops::linear(first, q_weight, q_bias), (0, 1)); // [B, heads, n, d]
        let kv = vit_ops::linear(x, kv_weight, kv_bias); // [B, T, 2D]
        let [k, v] = [0, 1].map(|part| self.part(&kv, (part, 2))); // [B, heads, T, d]
        merged(softmax(scores(q, k), 3).matmul(v))
    }

    /// # Shapes
    /// - `x`: `[B, T, D]`; result `[B, K, D]`, of the tokens that are wanted
    /// - `bias`: `[heads, T, T]`
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        block: usize,
        (bias, grid): (Option<Tensor<3>>, Option<Grid>),
        wanted: &Wanted,
        look: &mut dyn Look,
    ) -> Tensor<3> {
        if let Wanted::First { n } = *wanted
            && n < x.dims()[1]
            && bias.is_none()
            && !Site::inside_attention(block).iter().any(|&site| look.wants(site))
        {
            return self.proj.forward(self.of_first(x, n));
        }
        let qkv = self.projections(x); // [B, T, 3D]
        self.show_projections(&qkv, block, look);
        let inside = [Site::Scores(block), Site::Attention(block), Site::HeadOut(block)];
        let merged = match (self.watched(&qkv, &bias, block, grid, look), bias) {
            (Watched::All(merged), _) => merged,
            (_, bias) if inside.iter().any(|&site| look.wants(site)) => {
                self.in_steps(&qkv, block, bias, look)
            }
            (Watched::SumsOnly(merged), _) => merged,
            (Watched::Nothing, Some(bias)) => vit_ops::attention_biased(qkv, bias, self.n_heads),
            (Watched::Nothing, None) => vit_ops::attention(qkv, self.n_heads),
        };
        self.proj.forward(wanted.pick(merged))
    }

    /// Merged heads, where somebody wants the statistics of attention, its sums or its probabilities: they fall off on the way.
    fn watched(
        &self,
        qkv: &Tensor<3>,
        bias: &Option<Tensor<3>>,
        block: usize,
        grid: Option<Grid>,
        look: &mut dyn Look,
    ) -> Watched {
        let [b, t, _] = qkv.dims();
        let Some(grid) = grid.filter(|grid| grid.n_patches() <= t) else { return Watched::Nothing };
        let grid = AttentionGrid { n_prefix: t - grid.n_patches(), rows: grid.rows, columns: grid.columns };
        let goes_in_steps = [Site::Scores(block), Site::HeadOut(block)].iter().any(|&site| look.wants(site));
        let wants = AttentionWants {
            probabilities: look.wants(Site::Attention(block)) && !goes_in_steps,
            maps: look.wants(Site::AttentionRows(block)) || look.wants(Site::AttentionAligned(block)),
            over_heads: look.wants(Site::AttentionMean(block)) || look.wants(Site::AttentionSpread(block)),
        };
        if wants == AttentionWants::default() && !look.wants(Site::AttentionStatistics(block)) {
            return Watched::Nothing;
        }
        let found = vit_ops::attention_summed(qkv.clone(), bias.clone(), self.n_heads, grid, wants);
        let [_, heads, n] = found.statistics.dims();
        for (site, seen) in [
            (Site::AttentionStatistics(block), Some(found.statistics.reshape([b, heads, 1, n]))),
            (Site::AttentionRows(block), found.rows),
            (Site::AttentionAligned(block), found.aligned),
            (Site::AttentionMean(block), found.mean),
            (Site::AttentionSpread(block), found.spread),
            (Site::Attention(block), found.probabilities),
        ] {
            match seen {
                Some(seen) if look.wants(site) => look.see(site, Seen::Heads(seen)),
                _ => {}
            }
        }
        match wants.probabilities {
            true => Watched::All(found.merged),
            false => Watched::SumsOnly(found.merged),
        }
    }

    /// Part `part` of `n` projections that stand side by side, `[B, heads, T, d]`.
    fn part(&self, projections: &Tensor<3>, (part, n): (usize, usize)) -> Tensor<4> {
        let [b, t, width] = projections.dims();
        let d = width / n;
        let slab = projections.clone().slice([0..b, 0..t, part * d..(part + 1) * d]);
        slab.reshape([b, t, self.n_heads, d / self.n_heads]).swap_dims(1, 2)
    }

    fn show_projections(&self, qkv: &Tensor<3>, block: usize, look: &mut dyn Look) {
        for (part, site) in [Site::Query(block), Site::Key(block), Site::Value(block)].into_iter().enumerate()
        {
            if look.wants(site) {
                look.see(site, Seen::Heads(self.part(qkv, (part, 3))));
            }
        }
    }

    /// The same numbers with every intermediate made, for those who look.
    fn in_steps(
        &self,
        qkv: &Tensor<3>,
        block: usize,
        bias: Option<Tensor<3>>,
        look: &mut dyn Look,
    ) -> Tensor<3> {
        let [q, k, v] = [0, 1, 2].map(|part| self.part(qkv, (part, 3))); // [B, heads, T, d]
        let scores = scores(q, k); // [B, heads, T, T]
        let scores = match bias {
            Some(bias) => scores + bias.unsqueeze(),
            None => scores,
        };
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
        merged(gathered)
    }
}

/// `q·kᵀ/√d`: `[B, heads, n, d]` and `[B, heads, T, d]` → `[B, heads, n, T]`.
fn scores(q: Tensor<4>, k: Tensor<4>) -> Tensor<4> {
    let scale = (q.dims()[3] as f64).powf(-0.5);
    q.matmul(k.transpose()).mul_scalar(scale)
}

/// Heads side by side: `[B, heads, n, d]` → `[B, n, D]`.
fn merged(heads: Tensor<4>) -> Tensor<3> {
    let [b, n_heads, n, d] = heads.dims();
    heads.swap_dims(1, 2).reshape([b, n, n_heads * d])
}
