//! Fused kernels of the CPU backend; anything that is not contiguous f32 falls back to the portable bodies.

mod attention;
mod buffer;
mod elementwise;
mod lengths;
mod linear;
mod norm;
mod patches;
mod rolled;
mod rows;
mod simd;
mod summed;
mod transposed;
mod watched;

use crate::{AdamWStep, AttentionGrid, AttentionWants, Curve, Gate, PatchCut, VitBackend, portable};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Bytes, DType, Shape};

/// The values of a contiguous f32 tensor; call [`FlexTensor::to_contiguous`] first.
fn values(x: &FlexTensor) -> &[f32] {
    let start = x.layout().start_offset();
    &x.storage::<f32>()[start..start + x.layout().num_elements()]
}

fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}

fn all_f32(tensors: &[&FlexTensor]) -> bool {
    tensors.iter().all(|x| x.dtype() == DType::F32)
}

/// The size of the last dimension.
fn width(x: &FlexTensor) -> usize {
    let shape = x.shape();
    shape[shape.num_dims() - 1]
}

/// The shape with another last dimension.
fn with_width(x: &FlexTensor, width: usize) -> Shape {
    let mut shape = x.shape();
    let last = shape.num_dims() - 1;
    shape[last] = width;
    shape
}

impl VitBackend for Flex {
    fn vit_linear(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        if !all_f32(&[&x, &weight, &bias]) {
            return portable::linear::<Self>(x, weight, bias);
        }
        let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
        let y = linear::forward(values(&x), values(&weight), values(&bias), width(&x), |_| {});
        tensor(y, with_width(&x, width(&bias)))
    }

    fn vit_linear_backward(
        x: FlexTensor,
        weight: FlexTensor,
        grad: FlexTensor,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        if !all_f32(&[&x, &weight, &grad]) {
            return portable::linear_backward::<Self>(x, weight, grad);
        }
        let (x, weight, grad) = (x.to_contiguous(), weight.to_contiguous(), grad.to_contiguous());
        let (n_in, n_out) = (width(&x), width(&grad));
        let dx = linear::input_gradient(values(&weight), values(&grad), n_in, n_out);
        let (dw, db) = linear::params_gradient(values(&x), values(&grad), n_in, n_out);
        (tensor(dx, x.shape()), tensor(dw, weight.shape()), tensor(db, Shape::new([n_out])))
    }

    fn vit_linear_params_backward(x: FlexTensor, grad: FlexTensor) -> (FlexTensor, FlexTensor) {
        if !all_f32(&[&x, &grad]) {
            return portable::linear_params_backward::<Self>(x, grad);
        }
        let (x, grad) = (x.to_contiguous(), grad.to_contiguous());
        let (n_in, n_out) = (width(&x), width(&grad));
        let (dw, db) = linear::params_gradient(values(&x), values(&grad), n_in, n_out);
        (tensor(dw, Shape::new([n_out, n_in])), tensor(db, Shape::new([n_out])))
    }

    fn vit_gelu(x: FlexTensor) -> FlexTensor {
        if !all_f32(&[&x]) {
            return portable::gelu::<Self>(x);
        }
        let x = x.to_contiguous();
        tensor(elementwise::gelu(values(&x)), x.shape())
    }

    fn vit_gelu_backward(x: FlexTensor, grad: FlexTensor) -> FlexTensor {
        if !all_f32(&[&x, &grad]) {
            return portable::gelu_backward::<Self>(x, grad);
        }
        let (x, grad) = (x.to_contiguous(), grad.to_contiguous());
        tensor(elementwise::gelu_backward(values(&x), values(&grad)), x.shape())
    }

    fn vit_gated(x: FlexTensor, gate: Gate) -> FlexTensor {
        if !all_f32(&[&x]) {
            return portable::gated::<Self>(x, gate);
        }
        let x = x.to_contiguous();
        tensor(elementwise::gated(values(&x), gate), x.shape())
    }

    fn vit_gated_backward(x: FlexTensor, grad: FlexTensor, gate: Gate) -> FlexTensor {
        if !all_f32(&[&x, &grad]) {
            return portable::gated_backward::<Self>(x, grad, gate);
        }
        let (x, grad) = (x.to_contiguous(), grad.to_contiguous());
        tensor(elementwise::gated_backward(values(&x), values(&grad), gate), x.shape())
    }

    fn vit_linear_curve(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, curve: Curve) -> FlexTensor {
        if !all_f32(&[&x, &weight, &bias]) {
            return portable::curve::<Self>(portable::linear::<Self>(x, weight, bias), curve);
        }
        let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
        let curve = |y: &mut [f32]| elementwise::curve_in_place(y, curve);
        let y = linear::forward(values(&x), values(&weight), values(&bias), width(&x), curve);
        tensor(y, with_width(&x, width(&bias)))
    }

    fn vit_linear_curve_forward(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        curve: Curve,
    ) -> (FlexTensor, FlexTensor) {
        if !all_f32(&[&x, &weight, &bias]) {
            let before = portable::linear::<Self>(x, weight, bias);
            return (before.clone(), portable::curve::<Self>(before, curve));
        }
        let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
        // What the gradient needs is the slope alone.
        let curve = |h: &mut [f32], y: &mut [f32]| elementwise::curve_with_slope(h, y, curve);
        let (slope, y) = linear::forward_curve(values(&x), values(&weight), values(&bias), width(&x), curve);
        let shape = with_width(&x, width(&bias));
        (tensor(slope, shape.clone()), tensor(y, shape))
    }

    fn vit_linear_curve_backward(
        x: FlexTensor,
        weight: FlexTensor,
        kept: FlexTensor,
        grad: FlexTensor,
        curve: Curve,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        if !all_f32(&[&x, &weight, &kept, &grad]) {
            let grad = portable::curve_backward::<Self>(kept, grad, curve);
            return portable::linear_backward::<Self>(x, weight, grad);
        }
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let (slope, grad) = (kept.to_contiguous(), grad.to_contiguous());
        let (n_in, n_out) = (width(&x), width(&grad));
        let (dh, dx) =
            linear::input_gradient_curve(values(&weight), values(&slope), values(&grad), (n_in, n_out));
        let (dw, db) = linear::params_gradient(values(&x), &dh, n_in, n_out);
        (tensor(dx, x.shape()), tensor(dw, weight.shape()), tensor(db, Shape::new([n_out])))
    }

    fn vit_residual(x: FlexTensor, branch: FlexTensor, gamma: FlexTensor, factors: Vec<f32>) -> FlexTensor {
        if !all_f32(&[&x, &branch, &gamma]) {
            return portable::residual::<Self>(x, branch, gamma, factors);
        }
        let (x, branch, gamma) = (x.to_contiguous(), branch.to_contiguous(), gamma.to_contiguous());
        let [_, t, width] = x.shape().dims::<3>();
        let y = rows::residual(values(&x), values(&branch), values(&gamma), &factors, t * width);
        tensor(y, x.shape())
    }

    fn vit_residual_backward(
        branch: FlexTensor,
        gamma: FlexTensor,
        grad: FlexTensor,
        factors: Vec<f32>,
    ) -> (FlexTensor, FlexTensor) {
        if !all_f32(&[&branch, &gamma, &grad]) {
            return portable::residual_backward::<Self>(branch, gamma, grad, factors);
        }
        let (branch, gamma, grad) = (branch.to_contiguous(), gamma.to_contiguous(), grad.to_contiguous());
        let [_, t, width] = branch.shape().dims::<3>();
        let (dbranch, dgamma) =
            rows::residual_backward(values(&branch), values(&gamma), values(&grad), &factors, t * width);
        (tensor(dbranch, branch.shape()), tensor(dgamma, gamma.shape()))
    }

    fn vit_gather(x: FlexTensor, ids: Vec<u32>) -> FlexTensor {
        if !all_f32(&[&x]) {
            return portable::gather::<Self>(x, ids);
        }
        let x = x.to_contiguous();
        let shape = Shape::new([ids.len(), width(&x)]);
        tensor(rows::gather(values(&x), width(&x), &ids), shape)
    }

    fn vit_gather_backward(grad: FlexTensor, ids: Vec<u32>, n: usize) -> FlexTensor {
        if !all_f32(&[&grad]) {
            return portable::gather_backward::<Self>(grad, ids, n);
        }
        let grad = grad.to_contiguous();
        let shape = Shape::new([n, width(&grad)]);
        tensor(rows::gather_backward(values(&grad), width(&grad), &ids, n), shape)
    }

    fn vit_patchify(pixels: FlexTensor, cut: PatchCut) -> FlexTensor {
        if !all_f32(&[&pixels]) {
            return portable::patchify::<Self>(pixels, cut);
        }
        let pixels = pixels.to_contiguous();
        let of_patch = cut.channels * cut.patch_px * cut.patch_px;
        let shape = Shape::new([pixels.shape()[0], cut.rows * cut.columns, of_patch]);
        tensor(patches::patchify(values(&pixels), cut), shape)
    }

    fn vit_unpatchify(patches: FlexTensor, cut: PatchCut) -> FlexTensor {
        if !all_f32(&[&patches]) {
            return portable::unpatchify::<Self>(patches, cut);
        }
        let patches = patches.to_contiguous();
        let PatchCut { channels, rows, columns, patch_px, .. } = cut;
        let shape = Shape::new([patches.shape()[0], channels, rows * patch_px, columns * patch_px]);
        tensor(patches::unpatchify(values(&patches), cut), shape)
    }

    fn vit_cross_entropy(logits: FlexTensor, targets: FlexTensor, temperature: f64) -> FlexTensor {
        if !all_f32(&[&logits, &targets]) {
            return portable::cross_entropy::<Self>(logits, targets, temperature);
        }
        let (logits, targets) = (logits.to_contiguous(), targets.to_contiguous());
        let loss = rows::cross_entropy(values(&logits), values(&targets), width(&logits), temperature);
        tensor(vec![loss as f32], Shape::new([1]))
    }

    fn vit_cross_entropy_backward(
        logits: FlexTensor,
        targets: FlexTensor,
        grad: FlexTensor,
        temperature: f64,
    ) -> FlexTensor {
        if !all_f32(&[&logits, &targets, &grad]) {
            return portable::cross_entropy_backward::<Self>(logits, targets, grad, temperature);
        }
        let (logits, targets, grad) = (logits.to_contiguous(), targets.to_contiguous(), grad.to_contiguous());
        let (k, scale) = (width(&logits), values(&grad)[0]);
        let dlogits = rows::cross_entropy_backward(values(&logits), values(&targets), scale, k, temperature);
        tensor(dlogits, logits.shape())
    }

    fn vit_centered_softmax(logits: FlexTensor, center: FlexTensor, temperature: f64) -> FlexTensor {
        if !all_f32(&[&logits, &center]) {
            return portable::centered_softmax::<Self>(logits, center, temperature);
        }
        let (logits, center) = (logits.to_contiguous(), center.to_contiguous());
        tensor(rows::centered_softmax(values(&logits), values(&center), temperature), logits.shape())
    }

    fn vit_sum_of_squares(x: FlexTensor) -> FlexTensor {
        if !all_f32(&[&x]) {
            return portable::sum_of_squares::<Self>(x);
        }
        let x = x.to_contiguous();
        tensor(vec![elementwise::sum_of_squares(values(&x)) as f32], Shape::new([1]))
    }

    fn vit_attention_watched(
        qkv: FlexTensor,
        bias: FlexTensor,
        n_heads: usize,
        grid: AttentionGrid,
    ) -> (FlexTensor, FlexTensor) {
        if !all_f32(&[&qkv, &bias]) {
            return portable::attention_watched::<Self>(qkv, bias, n_heads, grid);
        }
        let (told, size) = watch(qkv, bias, n_heads, grid, AttentionWants::default());
        let statistics = Shape::new([size.b, n_heads, watched::STATISTICS]);
        (tensor(told.merged, size.merged()), tensor(told.statistics, statistics))
    }

    fn vit_attention_shown(
        qkv: FlexTensor,
        bias: FlexTensor,
        n_heads: usize,
        grid: AttentionGrid,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        if !all_f32(&[&qkv, &bias]) {
            return portable::attention_shown::<Self>(qkv, bias, n_heads, grid);
        }
        let wants = AttentionWants { probabilities: true, ..AttentionWants::default() };
        let (told, size) = watch(qkv, bias, n_heads, grid, wants);
        let statistics = Shape::new([size.b, n_heads, watched::STATISTICS]);
        let shown = tensor(told.probabilities, Shape::new([size.b, n_heads, size.t, size.t]));
        (tensor(told.merged, size.merged()), tensor(told.statistics, statistics), shown)
    }

    fn vit_attention_summed(
        qkv: FlexTensor,
        bias: FlexTensor,
        n_heads: usize,
        grid: AttentionGrid,
        wants: AttentionWants,
    ) -> (FlexTensor, FlexTensor, Vec<FlexTensor>) {
        if !all_f32(&[&qkv, &bias]) {
            return portable::attention_summed::<Self>(qkv, bias, n_heads, grid, wants);
        }
        let (told, size) = watch(qkv, bias, n_heads, grid, wants);
        let (b, t) = (size.b, size.t);
        let wanted = [
            (wants.probabilities, told.probabilities, Shape::new([b, n_heads, t, t])),
            (wants.maps, told.maps, Shape::new([b, n_heads, watched::n_of_maps(grid)])),
            (wants.over_heads, told.over_heads, Shape::new([b, t * t + 1])),
        ];
        let wanted = wanted.into_iter().filter(|(is_wanted, ..)| *is_wanted);
        let wanted = wanted.map(|(_, values, shape)| tensor(values, shape)).collect();
        let statistics = tensor(told.statistics, Shape::new([b, n_heads, watched::STATISTICS]));
        (tensor(told.merged, size.merged()), statistics, wanted)
    }

    fn vit_attention_rolled(
        mean: FlexTensor,
        below: FlexTensor,
        grid: AttentionGrid,
    ) -> (FlexTensor, FlexTensor) {
        if !all_f32(&[&mean, &below]) {
            return portable::attention_rolled::<Self>(mean, below, grid);
        }
        let (mean, below) = (mean.to_contiguous(), below.to_contiguous());
        let (all, below) = (values(&mean), values(&below));
        let (rolled, found) = rolled::forward(all, (below.len() == all.len()).then_some(below), grid);
        let shape = mean.shape();
        let found = tensor(found, Shape::new([shape[0], 1, watched::STATISTICS]));
        (tensor(rolled, shape), found)
    }

    fn vit_lengths(z: FlexTensor, x: FlexTensor) -> FlexTensor {
        if !all_f32(&[&z, &x]) {
            return portable::lengths::<Self>(z, x);
        }
        let (z, x) = (z.to_contiguous(), x.to_contiguous());
        tensor(lengths::lengths(values(&z), values(&x), width(&z)), with_width(&z, 2))
    }

    fn vit_layer_norm(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, eps: f64) -> FlexTensor {
        if !all_f32(&[&x, &gamma, &beta]) {
            return portable::layer_norm::<Self>(x, gamma, beta, eps);
        }
        let (x, gamma, beta) = (x.to_contiguous(), gamma.to_contiguous(), beta.to_contiguous());
        tensor(norm::forward(values(&x), values(&gamma), values(&beta), eps as f32), x.shape())
    }

    fn vit_layer_norm_backward(
        x: FlexTensor,
        gamma: FlexTensor,
        grad: FlexTensor,
        eps: f64,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        if !all_f32(&[&x, &gamma, &grad]) {
            return portable::layer_norm_backward::<Self>(x, gamma, grad, eps);
        }
        let (x, gamma, grad) = (x.to_contiguous(), gamma.to_contiguous(), grad.to_contiguous());
        let (dx, dgamma, dbeta) = norm::backward(values(&x), values(&gamma), values(&grad), eps as f32);
        (tensor(dx, x.shape()), tensor(dgamma, gamma.shape()), tensor(dbeta, gamma.shape()))
    }

    fn vit_attention(qkv: FlexTensor, n_heads: usize) -> FlexTensor {
        if !all_f32(&[&qkv]) {
            return portable::attention::<Self>(qkv, n_heads);
        }
        let qkv = qkv.to_contiguous();
        let size = attention_size(&qkv, n_heads);
        tensor(attention::forward(values(&qkv), None, size), size.merged())
    }

    fn vit_attention_backward(qkv: FlexTensor, grad: FlexTensor, n_heads: usize) -> FlexTensor {
        if !all_f32(&[&qkv, &grad]) {
            return portable::attention_backward::<Self>(qkv, grad, n_heads);
        }
        let (qkv, grad) = (qkv.to_contiguous(), grad.to_contiguous());
        let size = attention_size(&qkv, n_heads);
        tensor(attention::backward(values(&qkv), None, values(&grad), size), qkv.shape())
    }

    fn vit_attention_biased(qkv: FlexTensor, bias: FlexTensor, n_heads: usize) -> FlexTensor {
        if !all_f32(&[&qkv, &bias]) {
            return portable::attention_biased::<Self>(qkv, bias, n_heads);
        }
        let (qkv, bias) = (qkv.to_contiguous(), bias.to_contiguous());
        let size = attention_size(&qkv, n_heads);
        tensor(attention::forward(values(&qkv), Some(values(&bias)), size), size.merged())
    }

    fn vit_attention_biased_backward(
        qkv: FlexTensor,
        bias: FlexTensor,
        grad: FlexTensor,
        n_heads: usize,
    ) -> FlexTensor {
        if !all_f32(&[&qkv, &bias, &grad]) {
            return portable::attention_biased_backward::<Self>(qkv, bias, grad, n_heads).0;
        }
        let (qkv, bias, grad) = (qkv.to_contiguous(), bias.to_contiguous(), grad.to_contiguous());
        let size = attention_size(&qkv, n_heads);
        let dqkv = attention::backward(values(&qkv), Some(values(&bias)), values(&grad), size);
        tensor(dqkv, qkv.shape())
    }

    fn vit_attention_bias_backward(
        qkv: FlexTensor,
        bias: FlexTensor,
        grad: FlexTensor,
        n_heads: usize,
    ) -> FlexTensor {
        if !all_f32(&[&qkv, &bias, &grad]) {
            return portable::attention_biased_backward::<Self>(qkv, bias, grad, n_heads).1;
        }
        let (qkv, bias, grad) = (qkv.to_contiguous(), bias.to_contiguous(), grad.to_contiguous());
        let size = attention_size(&qkv, n_heads);
        tensor(attention::bias_gradient(values(&qkv), values(&bias), values(&grad), size), bias.shape())
    }

    fn vit_adamw(
        param: FlexTensor,
        grad: FlexTensor,
        m: FlexTensor,
        v: FlexTensor,
        step: AdamWStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        if !all_f32(&[&param, &grad, &m, &v]) {
            return portable::adamw::<Self>(param, grad, m, v, step);
        }
        let shape = param.shape();
        let [mut param, grad, mut m, mut v] = [param, grad, m, v].map(owned);
        {
            let grad = values(&grad);
            elementwise::adamw(param.storage_mut(), grad, m.storage_mut(), v.storage_mut(), step);
        }
        debug_assert_eq!(param.shape(), shape);
        (param, m, v)
    }

    fn vit_ema(teacher: FlexTensor, student: FlexTensor, momentum: f64) -> FlexTensor {
        if !all_f32(&[&teacher, &student]) {
            return portable::ema::<Self>(teacher, student, momentum);
        }
        let (mut teacher, student) = (owned(teacher), student.to_contiguous());
        elementwise::ema(teacher.storage_mut(), values(&student), momentum as f32);
        teacher
    }
}

/// Attention of tensors in f32 that tells what is wanted, and its sizes.
fn watch(
    qkv: FlexTensor,
    bias: FlexTensor,
    n_heads: usize,
    grid: AttentionGrid,
    wants: AttentionWants,
) -> (watched::Told, attention::Size) {
    let (qkv, bias) = (qkv.to_contiguous(), bias.to_contiguous());
    let size = attention_size(&qkv, n_heads);
    // A single value for all scores changes no probability.
    let bias = (bias.shape().num_elements() > 1).then(|| values(&bias));
    (watched::forward(values(&qkv), bias, size, grid, wants), size)
}

fn attention_size(qkv: &FlexTensor, n_heads: usize) -> attention::Size {
    let [b, t, width3] = qkv.shape().dims::<3>();
    attention::Size { b, t, n_heads, d: width3 / 3 / n_heads }
}

/// A tensor whose buffer holds exactly its values, in place where it already does.
fn owned(x: FlexTensor) -> FlexTensor {
    let whole = x.layout().start_offset() == 0 && x.storage::<f32>().len() == x.layout().num_elements();
    if whole && x.is_contiguous() {
        return x;
    }
    x.to_contiguous()
}
