//! Fused kernels of the CPU backend; anything that is not contiguous f32 falls back to the portable bodies.

mod attention;
mod elementwise;
mod linear;
mod norm;
mod simd;

use crate::{AdamWStep, Gate, VitBackend, portable};
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

impl VitBackend for Flex {
    fn vit_linear(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        if !all_f32(&[&x, &weight, &bias]) {
            return portable::linear::<Self>(x, weight, bias);
        }
        let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
        let (n_in, n_out) = (width(&x), width(&bias));
        let mut shape = x.shape();
        let last = shape.num_dims() - 1;
        shape[last] = n_out;
        let y = linear::forward(values(&x), values(&weight), values(&bias), n_in, n_out);
        tensor(y, shape)
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
        let (dx, dw, db) = linear::backward(values(&x), values(&weight), values(&grad), n_in, n_out);
        (tensor(dx, x.shape()), tensor(dw, weight.shape()), tensor(db, Shape::new([n_out])))
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
