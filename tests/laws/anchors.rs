//! Numbers worked out elsewhere (specification of pretraining, section 15): a formula is right when they come out.

use burn::tensor::{Device, Tensor};
use ssl_pretrain::{MaeConfig, MaeNet, Predicted, mask_from_noise};
use std::collections::BTreeMap;
use testkit::{HostTensor, Recorder, Tolerance, assert_near, tiny};
use vit_core::weights::{assign, names};
use vit_core::{Block, BlockConfig, Draw, Grid, InitScheme, NoLook, Pass, Site, VitConfig, arch, stream};
use vit_data::Seed;

/// The anchors have six decimals; our arithmetic is `f32`.
const SIX_DECIMALS: Tolerance = Tolerance { abs: 1e-5, rel: 0.0 };

/// `T(n, s, d) = [sin(s + d·i)]`
fn t(n: usize, s: f64, d: f64) -> Vec<f64> {
    (0..n).map(|i| (s + d * i as f64).sin()).collect()
}

fn scaled(factor: f64, values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|x| factor * x).collect()
}

fn plus_one(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|x| 1.0 + x).collect()
}

/// The parameters of anchor L2; those of L1 are scaled otherwise.
fn block(device: &Device) -> Block {
    let config = BlockConfig {
        width: 4,
        n_heads: 2,
        hidden: 16,
        qkv_bias: true,
        layer_scale: None,
        drop_path: 0.0,
        eps: 1e-6,
        activation: vit_core::Activation::Gelu,
        swiglu: false,
        key_bias: true,
        relative_grid: None,
    };
    let mut draws = stream(0);
    let block = config.init(&mut Draw { stream: &mut draws, device, scheme: InitScheme::Timm });
    let values = BTreeMap::from([
        ("norm1.weight", plus_one(scaled(0.1, t(4, 0.5, 0.37)))),
        ("norm1.bias", scaled(0.05, t(4, 0.6, 0.37))),
        ("attn.qkv.weight", scaled(0.5, t(48, 0.25, 0.11))),
        ("attn.qkv.bias", scaled(0.1, t(12, 0.4, 0.23))),
        ("attn.proj.weight", scaled(0.5, t(16, 0.35, 0.19))),
        ("attn.proj.bias", scaled(0.1, t(4, 0.45, 0.37))),
        ("norm2.weight", plus_one(scaled(0.1, t(4, 0.55, 0.37)))),
        ("norm2.bias", scaled(0.05, t(4, 0.65, 0.37))),
        ("mlp.fc1.weight", scaled(0.5, t(64, 0.75, 0.07))),
        ("mlp.fc1.bias", scaled(0.1, t(16, 0.85, 0.37))),
        ("mlp.fc2.weight", scaled(0.5, t(64, 0.95, 0.13))),
        ("mlp.fc2.bias", scaled(0.1, t(4, 1.05, 0.37))),
    ]);
    let source = |name: &str, _: &[usize]| -> Result<Vec<f32>, String> {
        Ok(values.get(name).ok_or(name)?.iter().map(|&x| x as f32).collect())
    };
    assign(block, source).unwrap()
}

#[test]
fn attention_splits_its_rows_into_q_k_v_and_then_into_heads() {
    // L1: 3 tokens, 2 heads of 2, before the projection.
    let device = vit_ops::cpu_device();
    let tensor = |shape: Vec<usize>, values: Vec<f64>| HostTensor::new(shape, values);
    let x = tensor(vec![1, 3, 4], t(12, 0.15, 0.37)).on::<3>(&device);
    let weight = tensor(vec![12, 4], t(48, 0.25, 0.11)).on::<2>(&device);
    let bias = tensor(vec![12], t(12, 0.4, 0.23)).on::<1>(&device);
    let expected = HostTensor::new(
        [1, 3, 4],
        vec![
            -1.213907, -2.064132, 1.930849, 1.436432, //
            -1.218220, -2.072239, 2.070127, 1.554403, //
            1.751682, 1.820813, -1.460533, -1.414961,
        ],
    );
    let ours = vit_ops::attention(vit_ops::linear(x, weight, bias), 2);
    assert_near("L1", &HostTensor::of(ours), &expected, SIX_DECIMALS);
}

#[test]
fn a_block_gives_the_numbers_worked_out_elsewhere_whether_or_not_somebody_looks() {
    // L2
    let expected = HostTensor::new(
        [1, 3, 4],
        vec![
            0.276689, 0.991888, 0.640824, 1.169108, //
            1.399176, 0.980503, 0.671951, 0.893486, //
            0.431588, -0.274539, -0.662006, -0.378955,
        ],
    );
    for device in [vit_ops::cpu_device(), vit_ops::cpu_device().autodiff()] {
        let x = tiny::sines([1, 3, 4], 0.15, &device);
        let block = block(&device);
        let fused = block.forward(x.clone(), 0, &mut Pass::look(&mut NoLook));
        assert_near("L2, fused", &HostTensor::of(fused), &expected, SIX_DECIMALS);
        let mut seen = Recorder::wanting([Site::Attention(0), Site::Block(0)]);
        block.forward(x, 0, &mut Pass::look(&mut seen));
        assert_near("L2, in steps", seen.at(Site::Block(0)), &expected, SIX_DECIMALS);
    }
}

#[test]
fn the_patches_with_the_smallest_noise_are_kept_in_their_order() {
    // C1 gives the order only; noise that sorts so is the rank of each patch.
    let shuffled = [1, 5, 3, 7, 2, 4, 6, 0];
    let mut noise = [0.0f32; 8];
    for (rank, patch) in shuffled.into_iter().enumerate() {
        noise[patch] = rank as f32 / 8.0;
    }
    let ids = mask_from_noise(&noise, 8, 0.75);
    assert_eq!(ids.ids_keep, [1, 5]);
    assert_eq!(ids.ids_restore, [7, 0, 4, 2, 5, 1, 6, 3]);
    let mask: Vec<u8> = ids.mask.into_iter().map(u8::from).collect();
    assert_eq!(mask, [1, 0, 1, 1, 1, 0, 1, 1]);
}

/// The image of anchors D: `[1, 3, 4, 4]` counted from 0, cut into four patches of 2 px.
fn counted(device: &Device) -> Tensor<4> {
    HostTensor::new([1, 3, 4, 4], (0..48).map(f64::from).collect()).on(device)
}

/// The loss of a prediction `[1, 4, 12]` for the counted image, with these patches hidden.
fn mae_loss(prediction: Vec<f64>, hidden: [bool; 4], norm_pix: bool) -> f64 {
    let device = vit_ops::cpu_device().autodiff();
    let config = MaeConfig { decoder_width: 4, decoder_depth: 1, decoder_heads: 1, ..MaeConfig::default() };
    let encoder =
        VitConfig { image_px: 4, patch_px: 2, width: 4, depth: 1, n_heads: 1, ..VitConfig::default() };
    let net = MaeNet::init(&config, &encoder, &device, Seed(0));
    // Hidden patches sort last; which of them is first does not matter.
    let noise: Vec<f32> = hidden.iter().map(|&hidden| f32::from(u8::from(hidden))).collect();
    let n_hidden = hidden.iter().filter(|&&hidden| hidden).count();
    let ids = mask_from_noise(&noise, 4, n_hidden as f64 / 4.0);
    assert_eq!(ids.mask, hidden);
    let patches = HostTensor::new([1, 4, 12], prediction).on(&device);
    let predicted = Predicted { patches, grid: Grid { rows: 2, columns: 2 } };
    HostTensor::of(net.loss(&predicted, counted(&device), &ids, norm_pix)).values[0]
}

#[test]
fn a_prediction_of_the_normalized_patch_costs_nothing() {
    // D2: the first patch, normalized by its own mean and unbiased variance.
    let patch = [
        -1.339251, -0.180980, 0.977291, -1.266859, -0.108588, 1.049683, -1.049683, 0.108588, 1.266859,
        -0.977291, 0.180980, 1.339251,
    ];
    let mut prediction = vec![0.0; 48];
    prediction[..12].copy_from_slice(&patch);
    let loss = mae_loss(prediction.clone(), [true, false, false, false], true);
    assert!(loss < 1e-11, "the mean squared difference from the published patch is {loss}");
    prediction[3] += 0.1; // 0.1² / 12
    let loss = mae_loss(prediction, [true, false, false, false], true);
    assert!((loss - 0.01 / 12.0).abs() < 1e-6, "{loss}");
}

#[test]
fn maes_loss_is_the_mean_over_hidden_patches() {
    // D3
    let hidden = [true, false, true, true];
    let loss = mae_loss(t(48, 0.1, 0.37), hidden, true);
    assert!((loss - 1.612686).abs() < 1e-5, "with normalized patches: {loss}");
    let loss = mae_loss(t(48, 0.1, 0.37), hidden, false);
    assert!((loss - 798.200248).abs() < 1e-3, "with raw patches: {loss}");
}

#[test]
fn masked_autoencoders_have_the_published_numbers_of_parameters() {
    // J2, counted from the module's own parameters with one encoder block; the other blocks are like it.
    let published = [
        ("vit-b/16", 26_109_184, 111_907_840),
        ("vit-l/16", 26_240_256, 329_541_888),
        ("vit-h/14", 26_309_708, 657_074_508),
    ];
    for (name, decoder, total) in published {
        let config = arch(name).unwrap();
        let one_block = VitConfig { depth: 1, ..config.clone() };
        let net = MaeNet::init(&MaeConfig::default(), &one_block, &vit_ops::cpu_device(), Seed(0));
        let (mut n_encoder, mut n_block, mut n_decoder) = (0, 0, 0);
        for param in names(&net) {
            let n: usize = param.shape.iter().product();
            match param.name.strip_prefix("encoder.") {
                Some(encoder) if encoder.starts_with("blocks.0.") => n_block += n,
                Some(_) => n_encoder += n,
                None => n_decoder += n,
            }
        }
        assert_eq!(n_decoder, decoder, "{name}: decoder");
        assert_eq!(n_encoder + config.depth * n_block + n_decoder, total, "{name}: total");
    }
}
