//! Every fused kernel against its portable f64 reference, forward and backward, and the reference against finite
//! differences. Tensors in f64 take the portable path, tensors in f32 the fused one.

mod against_reference;

use against_reference::{assert_near, check, device, tensor, values, wave};
use burn::tensor::{DType, Tensor, TensorData};
use proptest::prelude::*;
use vit_ops::{
    AdamWStep, adamw_step, attention, attention_biased, ema_step, gelu, gelu_tanh, layer_norm, linear,
    quick_gelu, silu,
};

fn op_linear(x: &[Tensor<2>], _: &[usize]) -> Tensor<2> {
    linear(x[0].clone(), x[1].clone(), x[2].clone().flatten(0, 1))
}

fn op_gelu(x: &[Tensor<2>], _: &[usize]) -> Tensor<2> {
    gelu(x[0].clone())
}

fn op_gated(x: &[Tensor<2>], sizes: &[usize]) -> Tensor<2> {
    [gelu_tanh, quick_gelu, silu][sizes[0]](x[0].clone())
}

fn op_layer_norm(x: &[Tensor<2>], _: &[usize]) -> Tensor<2> {
    layer_norm(x[0].clone(), x[1].clone().flatten(0, 1), x[2].clone().flatten(0, 1), 1e-6)
}

/// `sizes`: images, tokens, heads.
fn op_attention(x: &[Tensor<2>], sizes: &[usize]) -> Tensor<2> {
    let width3 = x[0].dims()[1];
    attention(x[0].clone().reshape([sizes[0], sizes[1], width3]), sizes[2]).flatten(0, 1)
}

/// `sizes`: images, tokens, heads.
fn op_attention_biased(x: &[Tensor<2>], sizes: &[usize]) -> Tensor<2> {
    let &[b, t, heads] = sizes else { panic!("three sizes") };
    let width3 = x[0].dims()[1];
    let bias = x[1].clone().reshape([heads, t, t]);
    attention_biased(x[0].clone().reshape([b, t, width3]), bias, heads).flatten(0, 1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn linear_agrees_with_its_reference(n in 1usize..70, i in 1usize..40, o in 1usize..40) {
        check(op_linear, &[[n, i], [o, i], [1, o]], &[]);
    }

    #[test]
    fn gelu_agrees_with_its_reference(n in 1usize..50, w in 1usize..70) {
        check(op_gelu, &[[n, w]], &[]);
    }

    #[test]
    fn gated_activations_agree_with_their_reference(n in 1usize..50, w in 1usize..70, which in 0usize..3) {
        check(op_gated, &[[n, w]], &[which]);
    }

    #[test]
    fn attention_with_a_bias_agrees_with_its_reference(
        b in 1usize..3, t in 1usize..20, heads in 1usize..4, d in 1usize..9,
    ) {
        check(op_attention_biased, &[[b * t, 3 * heads * d], [heads * t, t]], &[b, t, heads]);
    }

    // From three values a row on: two that nearly agree leave their difference from the mean no digits in f32.
    #[test]
    fn layer_norm_agrees_with_its_reference(n in 1usize..150, w in 6usize..70) {
        // Narrower rows of nearly equal values are ill-conditioned: single precision itself cannot agree there.
        check(op_layer_norm, &[[n, w], [1, w], [1, w]], &[]);
    }

    #[test]
    fn attention_agrees_with_its_reference(b in 1usize..3, t in 1usize..40, heads in 1usize..4, d in 1usize..9) {
        check(op_attention, &[[b * t, 3 * heads * d]], &[b, t, heads]);
    }
}

#[test]
fn attention_over_more_queries_than_one_tile_agrees_with_its_reference() {
    check(op_attention, &[[301, 3 * 2 * 4]], &[1, 301, 2]);
}

#[test]
fn attention_with_a_bias_over_more_queries_than_one_tile_agrees_with_its_reference() {
    check(op_attention_biased, &[[301, 3 * 2 * 4], [602, 301]], &[1, 301, 2]);
}

#[test]
fn a_bias_of_zeros_changes_nothing() {
    let qkv = tensor(&wave(5 * 12, 0.4), [5, 12], DType::F32).reshape([1, 5, 12]);
    let bias = Tensor::zeros([2, 5, 5], &device());
    assert_eq!(attention_biased(qkv.clone(), bias, 2).into_data(), attention(qkv, 2).into_data());
}

#[test]
fn the_gated_activations_have_the_published_values() {
    let x = || tensor(&[-1.0, 0.5, 2.0], [1, 3], DType::F32);
    assert_near("tanh", &values(gelu_tanh(x())), &[-0.158_808_0, 0.345_714_0, 1.954_597_7], 2e-7);
    assert_near("quick", &values(quick_gelu(x())), &[-0.154_204_2, 0.350_388_4, 1.935_658_6], 2e-7);
    // x/(1 + e^−x): −1/(1 + e), 0.5/(1 + e^−½), 2/(1 + e^−2)
    assert_near("silu", &values(silu(x())), &[-0.268_941_4, 0.311_229_7, 1.761_594_2], 2e-7);
}

#[test]
fn gelu_has_the_published_values() {
    // x = −1, 0.5, 2: −0.1586553, 0.3457312, 1.9544997 (erf form)
    let x = tensor(&[-1.0, 0.5, 2.0], [1, 3], DType::F32);
    assert_near("gelu", &values(gelu(x)), &[-0.158_655_3, 0.345_731_2, 1.954_499_7], 2e-7);
}

#[test]
fn layer_norm_uses_the_biased_variance() {
    // T(4, .3) = sin(.3 + .37·i), eps 1e-6
    let x: Vec<f64> = (0..4).map(|i| (0.3 + 0.37 * f64::from(i)).sin()).collect();
    let (one, zero) = (tensor(&[1.0; 4], [1, 4], DType::F32), tensor(&[0.0; 4], [1, 4], DType::F32));
    let y = layer_norm(tensor(&x, [1, 4], DType::F32), one.flatten(0, 1), zero.flatten(0, 1), 1e-6);
    assert_near("layer_norm", &values(y), &[-1.501_065, -0.267_310, 0.647_843, 1.120_532], 1e-6);
}

#[test]
fn strided_and_sliced_inputs_give_what_copies_give() {
    let x = tensor(&wave(6 * 10, 0.1), [6, 10], DType::F32);
    let view = x.clone().transpose().slice([1..9, 0..6]); // [8, 6], neither contiguous nor at offset 0
    let copy = tensor(&values(view.clone()), [8, 6], DType::F32);
    assert_eq!(values(gelu(view.clone())), values(gelu(copy.clone())));
    let weight = tensor(&wave(18, 0.7), [3, 6], DType::F32);
    let bias = || tensor(&wave(3, 0.2), [1, 3], DType::F32).flatten(0, 1);
    assert_eq!(values(linear(view, weight.clone(), bias())), values(linear(copy, weight, bias())));
}

#[test]
fn adamw_follows_the_worked_example() {
    // p = 1, gradients .5, −.2, .1, lr .01, wd .05, betas .9/.95
    let plain = |x: f64, dtype| {
        Tensor::<2>::from_data(
            TensorData::new(vec![x], [1, 1]).convert_dtype(dtype),
            (&vit_ops::cpu_device(), dtype),
        )
    };
    for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 1e-6)] {
        let (mut p, mut m, mut v) = (plain(1.0, dtype), plain(0.0, dtype), plain(0.0, dtype));
        let expected = [0.989_500_000, 0.985_517_284, 0.981_152_404];
        for (i, (grad, expected)) in [0.5, -0.2, 0.1].into_iter().zip(expected).enumerate() {
            let step = AdamWStep {
                lr: 0.01,
                weight_decay: 0.05,
                beta1: 0.9,
                beta2: 0.95,
                eps: 1e-8,
                t: i as u32 + 1,
            };
            (p, m, v) = adamw_step(p, plain(grad, dtype), m, v, step);
            assert_near("p", &values(p.clone()), &[expected], tolerance);
        }
    }
}

#[test]
fn the_moving_average_keeps_its_share() {
    let plain = |x: Vec<f64>| {
        Tensor::<2>::from_data(TensorData::new(x, [1, 2]).convert_dtype(DType::F32), &vit_ops::cpu_device())
    };
    // .75·(4, 0) + .25·(0, 8) = (3, 2)
    let mean = ema_step(plain(vec![4.0, 0.0]), plain(vec![0.0, 8.0]), 0.75);
    assert_eq!(values(mean), vec![3.0, 2.0]);
}
