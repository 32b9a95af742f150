//! Every kernel beside a plain form of it made of the tensor library's primitives, at the sizes of ViT-Ti/16 on eight images.

use burn::tensor::activation::{gelu, log_softmax, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};
use criterion::{BatchSize, Criterion};
use std::hint::black_box;
use vit_ops::{AdamWStep, AttentionGrid, Curve, PatchCut, PatchOrder};

#[global_allocator]
static ALLOCATOR: vit_ops::Allocator = vit_ops::Allocator {};

const B: usize = 8;
const T: usize = 197;
const D: usize = 192;
const HEADS: usize = 3;

fn main() {
    vit_ops::keep_pages();
    let mut criterion = Criterion::default().configure_from_args();
    forward(&mut criterion);
    backward(&mut criterion);
    look(&mut criterion);
    optimizer(&mut criterion);
    criterion.final_summary();
}

fn plain() -> Device {
    vit_ops::cpu_device()
}

/// Values in about [-1, 1].
fn wave<const R: usize>(shape: [usize; R], device: &Device) -> Tensor<R> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (0.37 * i as f32 + 0.1).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Our form and the plain one, each under its name.
fn pair<T>(
    criterion: &mut Criterion,
    name: &str,
    mut ours: impl FnMut() -> T,
    mut reference: impl FnMut() -> T,
) {
    let mut group = criterion.benchmark_group(name);
    group.bench_function("fused", |bencher| bencher.iter(|| black_box(ours())));
    group.bench_function("plain", |bencher| bencher.iter(|| black_box(reference())));
    group.finish();
}

fn plain_linear(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<3> {
    let [b, t, _] = x.dims();
    let n_out = bias.dims()[0];
    (x.flatten::<2>(0, 1).matmul(weight.transpose()) + bias.unsqueeze()).reshape([b, t, n_out])
}

fn plain_layer_norm(x: Tensor<3>, gamma: Tensor<1>, beta: Tensor<1>) -> Tensor<3> {
    let centered = x.clone() - x.mean_dim(2);
    let var = (centered.clone() * centered.clone()).mean_dim(2);
    centered / (var + 1e-6).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}

fn plain_attention(qkv: Tensor<3>) -> Tensor<3> {
    let parts = qkv.reshape([B, T, 3, HEADS, D / HEADS]).permute([2, 0, 3, 1, 4]);
    let part = |i: usize| parts.clone().slice([i..i + 1]).reshape([B, HEADS, T, D / HEADS]);
    let scale = (D as f64 / HEADS as f64).powf(-0.5);
    let p = softmax(part(0).matmul(part(1).transpose()).mul_scalar(scale), 3);
    p.matmul(part(2)).swap_dims(1, 2).reshape([B, T, D])
}

fn forward(criterion: &mut Criterion) {
    let device = plain();
    let x = wave([B, T, D], &device);
    let (weight, bias) = (wave([4 * D, D], &device), wave([4 * D], &device));
    let (gamma, beta) = (wave([D], &device), wave([D], &device));
    let qkv = wave([B, T, 3 * D], &device);
    pair(
        criterion,
        "linear",
        || vit_ops::linear(x.clone(), weight.clone(), bias.clone()),
        || plain_linear(x.clone(), weight.clone(), bias.clone()),
    );
    pair(
        criterion,
        "linear and GELU",
        || vit_ops::linear_curve(x.clone(), weight.clone(), bias.clone(), Curve::Gelu),
        || gelu(plain_linear(x.clone(), weight.clone(), bias.clone())),
    );
    pair(
        criterion,
        "LayerNorm",
        || vit_ops::layer_norm(x.clone(), gamma.clone(), beta.clone(), 1e-6),
        || plain_layer_norm(x.clone(), gamma.clone(), beta.clone()),
    );
    pair(criterion, "attention", || vit_ops::attention(qkv.clone(), HEADS), || plain_attention(qkv.clone()));
    pair(
        criterion,
        "residual with LayerScale and drop path",
        || vit_ops::residual(x.clone(), x.clone(), gamma.clone(), vec![0.5; B]),
        || {
            let factors = Tensor::<3>::full([B, 1, 1], 0.5, &device);
            x.clone() + x.clone() * factors * gamma.clone().unsqueeze()
        },
    );
    let pixels = wave([B, 3, 224, 224], &device);
    let cut = PatchCut { channels: 3, rows: 14, columns: 14, patch_px: 16, order: PatchOrder::ChannelFirst };
    pair(
        criterion,
        "patchify",
        || vit_ops::patchify(pixels.clone(), cut),
        || pixels.clone().reshape([B, 3, 14, 16, 14, 16]).permute([0, 2, 4, 1, 3, 5]).reshape([B, 196, 768]),
    );
    let rows = wave([B * T, D], &device);
    let ids: Vec<u32> = (0..B as u32 * 49).map(|i| i * 31 % (B * T) as u32).collect();
    pair(
        criterion,
        "gather of rows",
        || vit_ops::gather_rows(rows.clone(), ids.clone()),
        || {
            let n = ids.len();
            let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
            rows.clone().select(0, Tensor::<1, Int>::from_data(TensorData::new(ids, [n]), &device))
        },
    );
}

fn backward(criterion: &mut Criterion) {
    let device = plain().autodiff();
    let x = || wave([B, T, D], &device).require_grad();
    let qkv = || wave([B, T, 3 * D], &device).require_grad();
    let (weight, bias) = (wave([4 * D, D], &device).require_grad(), wave([4 * D], &device).require_grad());
    let (gamma, beta) = (wave([D], &device).require_grad(), wave([D], &device).require_grad());
    pair(
        criterion,
        "linear and GELU, forward and backward",
        || vit_ops::linear_curve(x(), weight.clone(), bias.clone(), Curve::Gelu).sum().backward(),
        || gelu(plain_linear(x(), weight.clone(), bias.clone())).sum().backward(),
    );
    pair(
        criterion,
        "LayerNorm, forward and backward",
        || vit_ops::layer_norm(x(), gamma.clone(), beta.clone(), 1e-6).sum().backward(),
        || plain_layer_norm(x(), gamma.clone(), beta.clone()).sum().backward(),
    );
    pair(
        criterion,
        "attention, forward and backward",
        || vit_ops::attention(qkv(), HEADS).sum().backward(),
        || plain_attention(qkv()).sum().backward(),
    );
    let targets = softmax(wave([64, 8192], &plain()), 1);
    let logits = || wave([64, 8192], &device).require_grad();
    pair(
        criterion,
        "cross-entropy of 64 × 8192, forward and backward",
        || vit_ops::cross_entropy(logits(), Tensor::from_inner(targets.clone()), 0.1).backward(),
        || {
            let log_p = log_softmax(logits().div_scalar(0.1), 1);
            (log_p * Tensor::from_inner(targets.clone())).sum().neg().backward()
        },
    );
}

fn look(criterion: &mut Criterion) {
    let device = plain();
    let qkv = wave([B, T, 3 * D], &device);
    let grid = AttentionGrid { n_prefix: 1, rows: 14, columns: 14 };
    pair(
        criterion,
        "attention with its statistics, beside attention alone",
        || vit_ops::attention_watched(qkv.clone(), None, HEADS, grid).0,
        || vit_ops::attention(qkv.clone(), HEADS),
    );
    let (logits, center) = (wave([64, 8192], &device), wave([8192], &device));
    pair(
        criterion,
        "centered softmax of 64 × 8192",
        || vit_ops::centered_softmax(logits.clone(), center.clone(), 0.04),
        || softmax((logits.clone() - center.clone().unsqueeze()).div_scalar(0.04), 1),
    );
}

fn optimizer(criterion: &mut Criterion) {
    let device = plain();
    let n = 1 << 20;
    let step = AdamWStep { lr: 1e-3, weight_decay: 0.05, beta1: 0.9, beta2: 0.999, eps: 1e-8, t: 7 };
    let state = || [0; 4].map(|_| wave([n], &device).abs());
    let mut group = criterion.benchmark_group("AdamW over a million values");
    group.bench_function("fused", |bencher| {
        bencher.iter_batched(
            state,
            |[param, grad, m, v]| black_box(vit_ops::adamw_step(param, grad, m, v, step)),
            BatchSize::LargeInput,
        );
    });
    group.bench_function("plain", |bencher| {
        bencher.iter_batched(
            state,
            |[param, grad, m, v]| {
                let m = m.mul_scalar(0.9) + grad.clone().mul_scalar(0.1);
                let v = v.mul_scalar(0.999) + (grad.clone() * grad).mul_scalar(0.001);
                let root = v.clone().div_scalar(1.0 - 0.999f64.powi(7)).sqrt() + 1e-8;
                let update = m.clone().div_scalar(1.0 - 0.9f64.powi(7)) / root;
                black_box((param.mul_scalar(1.0 - 5e-5) - update.mul_scalar(1e-3), m, v))
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
    let (teacher, student) = (wave([n], &device), wave([n], &device));
    pair(
        criterion,
        "moving average over a million values",
        || vit_ops::ema_step(teacher.clone(), student.clone(), 0.99),
        || teacher.clone().mul_scalar(0.99) + student.clone().mul_scalar(0.01),
    );
    pair(
        criterion,
        "sum of squares over a million values",
        || vit_ops::sum_of_squares(teacher.clone()),
        || (teacher.clone() * teacher.clone()).sum(),
    );
}
