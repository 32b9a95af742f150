//! The operations around attention, each fused kernel against its portable f64 reference: the layer with its activation, the
//! residual connection, picking rows, patches, the cross-entropy, and what attention tells of itself.

mod against_reference;

use against_reference::{assert_near, check, device, tensor, values, wave};
use burn::tensor::{DType, Tensor};
use proptest::prelude::*;
use vit_ops::{
    AttentionGrid, AttentionWants, Curve, Gate, PatchCut, PatchOrder, attention, attention_biased,
    attention_rolled, attention_shown, attention_summed, attention_watched, centered_softmax, cross_entropy,
    gather_rows, lengths, linear_curve, patchify, residual, sum_of_squares, unpatchify,
};

fn op_linear_curve(x: &[Tensor<2>], sizes: &[usize]) -> Tensor<2> {
    let curve = [Curve::Gelu, Curve::Gated(Gate::gelu_tanh()), Curve::Gated(Gate::QUICK_GELU)][sizes[0]];
    linear_curve(x[0].clone(), x[1].clone(), x[2].clone().flatten(0, 1), curve)
}

/// `sizes`: images, whether there are factors.
fn op_residual(x: &[Tensor<2>], sizes: &[usize]) -> Tensor<2> {
    let [rows, width] = x[0].dims();
    let images = |x: &Tensor<2>| x.clone().reshape([sizes[0], rows / sizes[0], width]);
    let factors = [vec![], (0..sizes[0]).map(|i| i as f32 * 0.5).collect()][sizes[1]].clone();
    residual(images(&x[0]), images(&x[1]), x[2].clone().flatten(0, 1), factors).flatten(0, 1)
}

/// `sizes`: rows picked. Some rows are picked often, some never.
fn op_gather(x: &[Tensor<2>], sizes: &[usize]) -> Tensor<2> {
    let n = x[0].dims()[0];
    gather_rows(x[0].clone(), (0..sizes[0]).map(|i| (i * i % n) as u32).collect())
}

fn cut_of(sizes: &[usize]) -> PatchCut {
    let &[channels, rows, columns, patch_px, order] = sizes else { panic!("five sizes") };
    let order = [PatchOrder::ChannelFirst, PatchOrder::ChannelLast][order];
    PatchCut { channels, rows, columns, patch_px, order }
}

fn op_patchify(x: &[Tensor<2>], sizes: &[usize]) -> Tensor<2> {
    let (b, cut) = (x[0].dims()[0], cut_of(sizes));
    let (height, width) = (cut.rows * cut.patch_px, cut.columns * cut.patch_px);
    patchify(x[0].clone().reshape([b, cut.channels, height, width]), cut).flatten(0, 1)
}

fn op_unpatchify(x: &[Tensor<2>], sizes: &[usize]) -> Tensor<2> {
    let (b, cut) = (x[0].dims()[0], cut_of(sizes));
    let of_patch = cut.channels * cut.patch_px * cut.patch_px;
    let pixels = unpatchify(x[0].clone().reshape([b, cut.rows * cut.columns, of_patch]), cut);
    let n: usize = pixels.dims().iter().product();
    pixels.reshape([b, n / b])
}

/// Targets are shares of their own; the second input is not differentiated, so it is added with no weight to be tracked.
fn op_cross_entropy(x: &[Tensor<2>], _: &[usize]) -> Tensor<2> {
    let [n, k] = x[0].dims();
    let targets = tensor(&wave(n * k, 0.6), [n, k], x[0].dtype()).detach().abs();
    cross_entropy(x[0].clone(), targets, 0.7).reshape([1, 1])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_layer_with_its_activation_agrees_with_its_reference(
        n in 1usize..60, i in 1usize..30, o in 1usize..40, which in 0usize..3,
    ) {
        check(op_linear_curve, &[[n, i], [o, i], [1, o]], &[which]);
    }

    #[test]
    fn the_residual_connection_agrees_with_its_reference(
        b in 1usize..5, t in 1usize..20, w in 1usize..40, has_factors in 0usize..2,
    ) {
        check(op_residual, &[[b * t, w], [b * t, w], [1, w]], &[b, has_factors]);
    }

    #[test]
    fn picked_rows_agree_with_their_reference(n in 1usize..30, w in 1usize..40, m in 1usize..60) {
        check(op_gather, &[[n, w]], &[m]);
    }

    #[test]
    fn patches_agree_with_their_reference(
        b in 1usize..4, c in 1usize..4, rows in 1usize..5, columns in 1usize..5, p in 1usize..5, order in 0usize..2,
    ) {
        let sizes = [c, rows, columns, p, order];
        check(op_patchify, &[[b, c * rows * columns * p * p]], &sizes);
        check(op_unpatchify, &[[b, c * rows * columns * p * p]], &sizes);
    }

    #[test]
    fn the_cross_entropy_agrees_with_its_reference(n in 1usize..20, k in 1usize..70) {
        check(op_cross_entropy, &[[n, k]], &[]);
    }

    #[test]
    fn unpatchify_undoes_patchify(c in 1usize..4, rows in 1usize..5, columns in 1usize..5, p in 1usize..5, order in 0usize..2) {
        let cut = cut_of(&[c, rows, columns, p, order]);
        let shape = [2, c, rows * p, columns * p];
        let n: usize = shape.iter().product();
        let pixels = tensor(&wave(n, 0.1), [1, n], DType::F32).reshape(shape);
        let back = unpatchify(patchify(pixels.clone(), cut), cut);
        prop_assert_eq!(back.into_data(), pixels.into_data());
    }

    #[test]
    fn what_attention_tells_agrees_with_its_reference(
        prefix in 0usize..3, rows in 1usize..6, columns in 1usize..6, heads in 1usize..4, d in 1usize..9, has_bias in 0usize..2,
    ) {
        let grid = AttentionGrid { n_prefix: prefix, rows, columns };
        let t = prefix + rows * columns;
        let found = |dtype| {
            let qkv = tensor(&wave(2 * t * 3 * heads * d, 0.3), [2 * t, 3 * heads * d], dtype).detach();
            let bias = tensor(&wave(heads * t * t, 0.8), [heads * t, t], dtype).detach().reshape([heads, t, t]);
            let qkv = qkv.reshape([2, t, 3 * heads * d]);
            let plain = match has_bias {
                0 => attention(qkv.clone(), heads),
                _ => attention_biased(qkv.clone(), bias.clone(), heads),
            };
            let bias = (has_bias == 1).then_some(bias);
            let (out, found) = attention_watched(qkv.clone(), bias.clone(), heads, grid);
            let (again, told, shown) = attention_shown(qkv, bias, heads, grid);
            let told = (values(again.flatten(0, 1)), values(told.flatten(0, 1)), values(shown.flatten(0, 2)));
            (values(plain.flatten(0, 1)), values(out.flatten(0, 1)), values(found.flatten(0, 1)), told)
        };
        let (reference, fused) = (found(DType::F64), found(DType::F32));
        assert_near("merged", &reference.1, &reference.0, 1e-9);
        assert_near("merged", &fused.1, &fused.0, 1e-5);
        assert_near("statistics", &fused.2, &reference.2, 2e-5);
        // Who looks at the probabilities is told the same, and what they are.
        assert_near("merged, shown", &fused.3.0, &fused.1, 1e-6);
        assert_near("statistics, shown", &fused.3.1, &fused.2, 1e-6);
        assert_near("probabilities", &fused.3.2, &reference.3.2, 1e-5);
    }
}

#[test]
fn what_attention_sums_up_and_rollout_agree_with_their_references() {
    for (n_prefix, rows, columns, heads) in [(0, 1, 1, 1), (1, 2, 3, 2), (2, 12, 11, 3)] {
        let grid = AttentionGrid { n_prefix, rows, columns };
        let t = n_prefix + rows * columns;
        let wants = AttentionWants { probabilities: true, maps: true, over_heads: true };
        let found = |dtype| {
            let qkv = tensor(&wave(2 * t * 3 * heads * 4, 0.3), [2 * t, 12 * heads], dtype).detach();
            let of = attention_summed(qkv.reshape([2, t, 12 * heads]), None, heads, grid, wants);
            let mean = of.mean.clone().expect("wanted").reshape([2, t, t]);
            let (first, _) = attention_rolled(mean.clone(), None, grid);
            let (second, numbers) = attention_rolled(mean, Some(first), grid);
            let of_four = [of.probabilities, of.rows, of.aligned, of.mean, of.spread];
            let mut all: Vec<Vec<f64>> =
                of_four.into_iter().map(|x| values(x.expect("wanted").flatten(0, 2))).collect();
            let of_three = [of.merged, of.statistics, second, numbers];
            all.extend(of_three.into_iter().map(|x| values(x.flatten(0, 1))));
            all
        };
        for (at, (fused, reference)) in found(DType::F32).iter().zip(&found(DType::F64)).enumerate() {
            assert_near(&format!("part {at} on {grid:?}"), fused, reference, 2e-5);
        }
    }
}

#[test]
fn lengths_agree_with_their_reference_and_have_the_worked_value() {
    // ‖(3, 4)‖ = 5; from there to (3, 9) it is 5.
    let row = |values: &[f64]| tensor(values, [1, 2], DType::F32).detach().reshape([1, 1, 2]);
    let found = lengths(row(&[3.0, 4.0]), row(&[3.0, 9.0]));
    assert_near("lengths", &values(found.flatten(0, 1)), &[5.0, 5.0], 1e-6);
    for (tokens, width) in [(1, 1), (7, 16), (300, 37)] {
        let found = |dtype| {
            let of = |phase| tensor(&wave(2 * tokens * width, phase), [2 * tokens, width], dtype).detach();
            let [z, x] = [of(0.2), of(1.1)].map(|x| x.reshape([2, tokens, width]));
            values(lengths(z, x).flatten(0, 1))
        };
        assert_near("lengths", &found(DType::F32), &found(DType::F64), 2e-6);
    }
}

#[test]
fn a_head_that_looks_everywhere_alike_has_the_entropy_and_distance_of_the_uniform() {
    // Zeros score alike: every row of a class token and 2 × 2 patches is 1/5. Entropy ln 5 = 1.609438, share 0.2; without
    // the class token a patch looks at itself, two neighbors at 1 and one at √2: (0 + 1 + 1 + 1.414214)/4 = 0.853553.
    let grid = AttentionGrid { n_prefix: 1, rows: 2, columns: 2 };
    for dtype in [DType::F32, DType::F64] {
        let qkv = tensor(&[0.0; 5 * 6], [5, 6], dtype).detach().reshape([1, 5, 6]);
        let found = values(attention_watched(qkv, None, 1, grid).1.flatten(0, 1));
        assert_near("statistics", &found, &[1.609_438, 0.2, 0.853_553, 0.853_553], 1e-6);
    }
}

#[test]
fn the_cross_entropy_has_the_worked_value() {
    // Logits (1, 2) at τ = 0.5 are (2, 4): log Z = 4 + ln(1 + e⁻²) = 4.126928; targets (0.25, 0.75): 0.25·2.126928 +
    // 0.75·0.126928 = 0.626928.
    for dtype in [DType::F32, DType::F64] {
        let loss = cross_entropy(
            tensor(&[1.0, 2.0], [1, 2], dtype),
            tensor(&[0.25, 0.75], [1, 2], dtype).detach(),
            0.5,
        );
        assert_near("loss", &values(loss.reshape([1, 1])), &[0.626_928], 1e-6);
    }
}

#[test]
fn centered_targets_are_shares() {
    // (1 − 0.5, 2 − 2)/0.5 = (1, 0): e/(e + 1) = 0.731059
    for dtype in [DType::F32, DType::F64] {
        let center = tensor(&[0.5, 2.0], [1, 2], dtype).flatten(0, 1);
        let found = centered_softmax(tensor(&[1.0, 2.0], [1, 2], dtype), center, 0.5);
        assert_near("targets", &values(found), &[0.731_059, 0.268_941], 1e-6);
    }
    let (fused, reference) = (DType::F32, DType::F64);
    let found = |dtype| {
        let center = tensor(&wave(77, 0.2), [1, 77], dtype).flatten(0, 1);
        values(centered_softmax(tensor(&wave(9 * 77, 0.5), [9, 77], dtype), center, 0.07))
    };
    assert_near("targets", &found(fused), &found(reference), 2e-5);
}

#[test]
fn the_sum_of_squares_is_taken_in_one_pass() {
    let x = |n: usize| tensor(&wave(n, 0.4), [1, n], DType::F32);
    // 3² + 4² = 25
    let found = sum_of_squares(tensor(&[3.0, 4.0], [1, 2], DType::F32));
    assert_eq!(values(found.reshape([1, 1])), [25.0]);
    for n in [1, 15, 4096, 4097, 100_003] {
        let expected: f64 = values(x(n)).iter().map(|x| x * x).sum();
        assert_near("sum", &values(sum_of_squares(x(n)).reshape([1, 1])), &[expected], 1e-6);
    }
}

#[test]
fn strided_inputs_give_what_copies_give() {
    let x = tensor(&wave(6 * 10, 0.1), [6, 10], DType::F32);
    let view = x.transpose().slice([1..9, 0..6]); // [8, 6], neither contiguous nor at offset 0
    let copy = tensor(&values(view.clone()), [8, 6], DType::F32);
    let both =
        |op: &dyn Fn(Tensor<2>) -> Tensor<2>| assert_eq!(values(op(view.clone())), values(op(copy.clone())));
    both(&|x| gather_rows(x, vec![7, 0, 7, 3]));
    both(&|x| cross_entropy(x.clone(), x.detach().abs(), 1.0).reshape([1, 1]));
    both(&|x| {
        residual(x.clone().unsqueeze(), x.unsqueeze(), Tensor::ones([6], &device()), vec![0.5]).flatten(0, 1)
    });
    both(&|x| sum_of_squares(x.detach()).reshape([1, 1]));
}
