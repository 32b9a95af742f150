//! The hand-written gradients: one node per operation, from the trait's `*_backward` methods.

use crate::{AdamWStep, AttentionGrid, Curve, Gate, PatchCut, VitBackend};
use burn::backend::autodiff::{
    Autodiff, NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{AutodiffBackend, Backend, TensorMetadata};

/// One operation of the graph each.
macro_rules! nodes {
    ($($name:ident)*) => { $(#[derive(Debug)] struct $name;)* };
}
nodes! {
    Linear Gelu Gated LayerNorm Attention AttentionBiased LinearCurve Residual Gather Patchify Unpatchify CrossEntropy
}

/// Hands gradients to those parents that are part of the graph.
fn register<B: VitBackend, const N: usize>(
    parents: [Option<NodeId>; N],
    found: [FloatTensor<B>; N],
    grads: &mut Gradients,
) {
    for (parent, grad) in parents.into_iter().zip(found) {
        if let Some(node) = parent {
            grads.register::<B>(node, grad);
        }
    }
}

impl<B: VitBackend> Backward<B, 3> for Linear {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let parents = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight) = ops.state;
        if parents[0].is_some() {
            let (dx, dw, db) = B::vit_linear_backward(x, weight, grad);
            register::<B, 3>(parents.map(|node| node.map(|node| node.id)), [dx, dw, db], grads);
        } else {
            let (dw, db) = B::vit_linear_params_backward(x, grad);
            let [_, of_weight, of_bias] = parents;
            register::<B, 2>([of_weight, of_bias].map(|node| node.map(|node| node.id)), [dw, db], grads);
        }
    }
}

impl<B: VitBackend> Backward<B, 1> for Gelu {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::vit_gelu_backward(ops.state, grad));
        }
    }
}

impl<B: VitBackend> Backward<B, 1> for Gated {
    type State = (FloatTensor<B>, Gate);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (x, gate) = ops.state;
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::vit_gated_backward(x, grad, gate));
        }
    }
}

impl<B: VitBackend> Backward<B, 3> for LayerNorm {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let parents = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (x, gamma, eps) = ops.state;
        let (dx, dgamma, dbeta) = B::vit_layer_norm_backward(x, gamma, grad, eps);
        register::<B, 3>(parents.map(|node| node.map(|node| node.id)), [dx, dgamma, dbeta], grads);
    }
}

impl<B: VitBackend> Backward<B, 1> for Attention {
    type State = (FloatTensor<B>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (qkv, n_heads) = ops.state;
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::vit_attention_backward(qkv, grad, n_heads));
        }
    }
}

impl<B: VitBackend> Backward<B, 2> for AttentionBiased {
    type State = (FloatTensor<B>, FloatTensor<B>, usize);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [of_qkv, of_bias] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (qkv, bias, n_heads) = ops.state;
        if let Some(node) = of_bias {
            let dbias = B::vit_attention_bias_backward(qkv.clone(), bias.clone(), grad.clone(), n_heads);
            grads.register::<B>(node.id, dbias);
        }
        if let Some(node) = of_qkv {
            grads.register::<B>(node.id, B::vit_attention_biased_backward(qkv, bias, grad, n_heads));
        }
    }
}

impl<B: VitBackend> Backward<B, 3> for LinearCurve {
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, Curve);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let parents = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, kept, curve) = ops.state;
        let (dx, dw, db) = B::vit_linear_curve_backward(x, weight, kept, grad, curve);
        register::<B, 3>(parents.map(|node| node.map(|node| node.id)), [dx, dw, db], grads);
    }
}

impl<B: VitBackend> Backward<B, 3> for Residual {
    type State = (FloatTensor<B>, FloatTensor<B>, Vec<f32>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [of_x, of_branch, of_gamma] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (branch, gamma, factors) = ops.state;
        if let Some(node) = of_x {
            grads.register::<B>(node.id, grad.clone());
        }
        if of_branch.is_none() && of_gamma.is_none() {
            return;
        }
        let (dbranch, dgamma) = B::vit_residual_backward(branch, gamma, grad, factors);
        register::<B, 2>(
            [of_branch, of_gamma].map(|node| node.map(|node| node.id)),
            [dbranch, dgamma],
            grads,
        );
    }
}

impl<B: VitBackend> Backward<B, 1> for Gather {
    type State = (Vec<u32>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (ids, n) = ops.state;
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::vit_gather_backward(grad, ids, n));
        }
    }
}

impl<B: VitBackend> Backward<B, 1> for Patchify {
    type State = PatchCut;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::vit_unpatchify(grad, ops.state));
        }
    }
}

impl<B: VitBackend> Backward<B, 1> for Unpatchify {
    type State = PatchCut;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::vit_patchify(grad, ops.state));
        }
    }
}

impl<B: VitBackend> Backward<B, 1> for CrossEntropy {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (logits, targets, temperature) = ops.state;
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::vit_cross_entropy_backward(logits, targets, grad, temperature));
        }
    }
}

/// What Burn's own autodiff does for the same case: first order only.
const FIRST_ORDER: &str = "gradients of gradients are not available for this operation";

impl<B: Backend + VitBackend, C: CheckpointStrategy> VitBackend for Autodiff<B, C> {
    fn vit_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let guards = [x.node(), weight.node(), bias.node()];
        let (x, weight, bias) = (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
        match Linear.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::vit_linear(x.clone(), weight.clone(), bias);
                prep.finish((x, weight), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::vit_linear(x, weight, bias)),
        }
    }

    fn vit_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let guards = [x.node()];
        let x = x.into_primitive();
        match Gelu.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(x.clone(), B::vit_gelu(x)),
            OpsKind::UnTracked(prep) => prep.finish(B::vit_gelu(x)),
        }
    }

    fn vit_gated(x: FloatTensor<Self>, gate: Gate) -> FloatTensor<Self> {
        let guards = [x.node()];
        let x = x.into_primitive();
        match Gated.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x.clone(), gate), B::vit_gated(x, gate)),
            OpsKind::UnTracked(prep) => prep.finish(B::vit_gated(x, gate)),
        }
    }

    fn vit_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let guards = [x.node(), gamma.node(), beta.node()];
        let (x, gamma, beta) = (x.into_primitive(), gamma.into_primitive(), beta.into_primitive());
        match LayerNorm.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::vit_layer_norm(x.clone(), gamma.clone(), beta, eps);
                prep.finish((x, gamma, eps), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::vit_layer_norm(x, gamma, beta, eps)),
        }
    }

    fn vit_attention(qkv: FloatTensor<Self>, n_heads: usize) -> FloatTensor<Self> {
        let guards = [qkv.node()];
        let qkv = qkv.into_primitive();
        match Attention.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((qkv.clone(), n_heads), B::vit_attention(qkv, n_heads)),
            OpsKind::UnTracked(prep) => prep.finish(B::vit_attention(qkv, n_heads)),
        }
    }

    fn vit_attention_biased(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        n_heads: usize,
    ) -> FloatTensor<Self> {
        let guards = [qkv.node(), bias.node()];
        let (qkv, bias) = (qkv.into_primitive(), bias.into_primitive());
        match AttentionBiased.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::vit_attention_biased(qkv.clone(), bias.clone(), n_heads);
                prep.finish((qkv, bias, n_heads), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::vit_attention_biased(qkv, bias, n_heads)),
        }
    }

    fn vit_linear_curve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        curve: Curve,
    ) -> FloatTensor<Self> {
        let guards = [x.node(), weight.node(), bias.node()];
        let (x, weight, bias) = (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
        match LinearCurve.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (kept, y) = B::vit_linear_curve_forward(x.clone(), weight.clone(), bias, curve);
                prep.finish((x, weight, kept, curve), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::vit_linear_curve(x, weight, bias, curve)),
        }
    }

    fn vit_residual(
        x: FloatTensor<Self>,
        branch: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        factors: Vec<f32>,
    ) -> FloatTensor<Self> {
        let guards = [x.node(), branch.node(), gamma.node()];
        let (x, branch, gamma) = (x.into_primitive(), branch.into_primitive(), gamma.into_primitive());
        match Residual.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::vit_residual(x, branch.clone(), gamma.clone(), factors.clone());
                prep.finish((branch, gamma, factors), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::vit_residual(x, branch, gamma, factors)),
        }
    }

    fn vit_gather(x: FloatTensor<Self>, ids: Vec<u32>) -> FloatTensor<Self> {
        let guards = [x.node()];
        let x = x.into_primitive();
        let n = x.shape()[0];
        match Gather.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((ids.clone(), n), B::vit_gather(x, ids)),
            OpsKind::UnTracked(prep) => prep.finish(B::vit_gather(x, ids)),
        }
    }

    fn vit_patchify(pixels: FloatTensor<Self>, cut: PatchCut) -> FloatTensor<Self> {
        let guards = [pixels.node()];
        let pixels = pixels.into_primitive();
        match Patchify.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(cut, B::vit_patchify(pixels, cut)),
            OpsKind::UnTracked(prep) => prep.finish(B::vit_patchify(pixels, cut)),
        }
    }

    fn vit_unpatchify(patches: FloatTensor<Self>, cut: PatchCut) -> FloatTensor<Self> {
        let guards = [patches.node()];
        let patches = patches.into_primitive();
        match Unpatchify.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(cut, B::vit_unpatchify(patches, cut)),
            OpsKind::UnTracked(prep) => prep.finish(B::vit_unpatchify(patches, cut)),
        }
    }

    fn vit_cross_entropy(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self> {
        let guards = [logits.node()];
        let (logits, targets) = (logits.into_primitive(), targets.into_primitive());
        match CrossEntropy.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let loss = B::vit_cross_entropy(logits.clone(), targets.clone(), temperature);
                prep.finish((logits, targets, temperature), loss)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::vit_cross_entropy(logits, targets, temperature)),
        }
    }

    fn vit_linear_curve_forward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Curve,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        panic!("{FIRST_ORDER}")
    }

    fn vit_linear_curve_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Curve,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        panic!("{FIRST_ORDER}")
    }

    fn vit_residual_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Vec<f32>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        panic!("{FIRST_ORDER}")
    }

    fn vit_gather_backward(_: FloatTensor<Self>, _: Vec<u32>, _: usize) -> FloatTensor<Self> {
        panic!("{FIRST_ORDER}")
    }

    fn vit_cross_entropy_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: f64,
    ) -> FloatTensor<Self> {
        panic!("{FIRST_ORDER}")
    }

    // What is not differentiated is a constant of the graph.

    fn vit_centered_softmax(
        logits: FloatTensor<Self>,
        center: FloatTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self> {
        let (logits, center) = (logits.into_primitive(), center.into_primitive());
        Self::from_inner(B::vit_centered_softmax(logits, center, temperature))
    }

    fn vit_sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::vit_sum_of_squares(x.into_primitive()))
    }

    fn vit_attention_watched(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        n_heads: usize,
        grid: AttentionGrid,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (qkv, bias) = (qkv.into_primitive(), bias.into_primitive());
        let (out, found) = B::vit_attention_watched(qkv, bias, n_heads, grid);
        (Self::from_inner(out), Self::from_inner(found))
    }

    fn vit_linear_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        panic!("{FIRST_ORDER}")
    }

    fn vit_linear_params_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        panic!("{FIRST_ORDER}")
    }

    fn vit_gelu_backward(_: FloatTensor<Self>, _: FloatTensor<Self>) -> FloatTensor<Self> {
        panic!("{FIRST_ORDER}")
    }

    fn vit_gated_backward(_: FloatTensor<Self>, _: FloatTensor<Self>, _: Gate) -> FloatTensor<Self> {
        panic!("{FIRST_ORDER}")
    }

    fn vit_layer_norm_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        panic!("{FIRST_ORDER}")
    }

    fn vit_attention_backward(_: FloatTensor<Self>, _: FloatTensor<Self>, _: usize) -> FloatTensor<Self> {
        panic!("{FIRST_ORDER}")
    }

    fn vit_attention_biased_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: usize,
    ) -> FloatTensor<Self> {
        panic!("{FIRST_ORDER}")
    }

    fn vit_attention_bias_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: usize,
    ) -> FloatTensor<Self> {
        panic!("{FIRST_ORDER}")
    }

    fn vit_adamw(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        panic!("{FIRST_ORDER}")
    }

    fn vit_ema(_: FloatTensor<Self>, _: FloatTensor<Self>, _: f64) -> FloatTensor<Self> {
        panic!("{FIRST_ORDER}")
    }
}
