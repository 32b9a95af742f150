//! Laws of the encoder: what masking, looking, batching and resampling may not change.

use burn::tensor::Tensor;
use proptest::prelude::*;
use testkit::{HostTensor, Recorder, Tolerance, assert_near, gradients, tiny};
use vit_core::weights::{map_params, params};
use vit_core::{
    Backbone, Cut, Grid, Keep, NoLook, Pass, RelativePositions, Resample, Site, Vit, VitConfig, Wanted,
    resample_table, stream,
};

/// The same sums in another order.
const NEAR: Tolerance = Tolerance { abs: 1e-5, rel: 1e-5 };

fn vit(config: &VitConfig, seed: u64) -> Vit {
    match tiny::vit(config, seed) {
        Backbone::Vit(vit) => vit,
        Backbone::Conv(_) => unreachable!("a Vision Transformer was asked for"),
    }
}

fn encode(vit: &Vit, pixels: Tensor<4>, keep: &Keep) -> HostTensor {
    HostTensor::of(vit.encode(pixels, &mut Pass { keep, ..Pass::look(&mut NoLook) }).all)
}

#[test]
fn rows_of_attention_sum_to_one_and_are_the_softmax_of_the_scores() {
    let vit = vit(&tiny::vit_config(), 1);
    let sites = (0..3).flat_map(|block| [Site::Attention(block), Site::Scores(block)]);
    let mut seen = Recorder::wanting(sites);
    vit.encode(tiny::sines([2, 3, 16, 16], 0.3, &vit_ops::cpu_device()), &mut Pass::look(&mut seen));
    for block in 0..3 {
        let (attention, scores) = (seen.at(Site::Attention(block)), seen.at(Site::Scores(block)));
        assert_eq!(attention.shape, [2, 3, 17, 17]);
        for (row, scores) in attention.values.chunks(17).zip(scores.values.chunks(17)) {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-6);
            let total: f64 = scores.iter().map(|s| s.exp()).sum();
            for (a, s) in row.iter().zip(scores) {
                assert!((a - s.exp() / total).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn a_site_is_shown_once_and_only_to_those_who_want_it() {
    let vit = vit(&tiny::vit_config(), 1);
    let wanted = [Site::Embed, Site::Query(1), Site::Key(2), Site::MlpHidden(0), Site::Block(2), Site::Norm];
    let mut seen = Recorder::wanting(wanted);
    let pixels = tiny::sines([1, 3, 16, 16], 0.3, &vit_ops::cpu_device());
    let looked_at = HostTensor::of(vit.encode(pixels.clone(), &mut Pass::look(&mut seen)).all);
    assert_eq!(seen.times.len(), wanted.len());
    assert!(seen.times.values().all(|&times| times == 1), "{:?}", seen.times);
    assert_eq!(
        looked_at,
        encode(&vit, pixels, &Keep::All),
        "looking at projections leaves the fused path as it is"
    );
}

#[test]
fn where_a_skip_connection_is_cut_the_branch_goes_on_alone_and_nothing_before_it_changes() {
    let vit = vit(&tiny::vit_config(), 1);
    let pixels: Tensor<4> = tiny::sines([2, 3, 16, 16], 0.3, &vit_ops::cpu_device());
    let sites = [Site::Block(0), Site::AttnAdded(1), Site::Mid(1), Site::MlpAdded(1), Site::Block(1)];
    let look = |cuts: &[Cut]| {
        let mut seen = Recorder::wanting(sites);
        vit.encode(pixels.clone(), &mut Pass { cuts, ..Pass::look(&mut seen) });
        seen
    };
    let plus = |a: &HostTensor, b: &HostTensor| {
        let sums = a.values.iter().zip(&b.values).map(|(a, b)| a + b).collect();
        HostTensor::new(a.shape.clone(), sums)
    };
    let whole = look(&[]);
    let [input, attention, mid, mlp, output] = sites.map(|site| whole.at(site));
    assert_near("the attention's addition", mid, &plus(input, attention), NEAR);
    assert_near("the MLP's addition", output, &plus(mid, mlp), NEAR);

    let cut = look(&[Cut::Attention(1)]);
    assert_eq!(cut.at(Site::Block(0)), input);
    assert_eq!(cut.at(Site::Mid(1)), attention);
    assert_near("after the cut", cut.at(Site::Block(1)), &plus(attention, cut.at(Site::MlpAdded(1))), NEAR);
    let cut = look(&[Cut::Mlp(1)]);
    assert_eq!((cut.at(Site::Mid(1)), cut.at(Site::Block(1))), (mid, mlp));
    // The cut of another block changes nothing here.
    assert_eq!(look(&[Cut::Mlp(2)]).at(Site::Block(1)), output);
}

#[test]
fn a_larger_image_uses_the_position_table_resampled_by_its_convention() {
    for resample in [Resample::Antialias, Resample::Size, Resample::Offset] {
        let small = VitConfig { resample, ..tiny::vit_config() };
        let (from, to) = (Grid { rows: 4, columns: 4 }, Grid { rows: 6, columns: 6 });
        let of_small = params(&vit(&small, 2));
        let large = vit(&VitConfig { image_px: 24, ..small.clone() }, 2);
        let large = map_params(large, |name, _, _| {
            let values = &of_small.iter().find(|param| param.name == name).unwrap().values;
            if name == "pos_embed" {
                resample_table(values, small.width, 1, (from, to), resample)
            } else {
                values.clone()
            }
        });
        let pixels = tiny::sines([1, 3, 24, 24], 0.1, &vit_ops::cpu_device());
        let ours = encode(&vit(&small, 2), pixels.clone(), &Keep::All);
        assert_near(&format!("{resample:?}"), &ours, &encode(&large, pixels, &Keep::All), NEAR);
    }
}

#[test]
fn what_stands_under_the_mask_token_does_not_matter() {
    let config = VitConfig { mask_token: true, ..tiny::vit_config() };
    let vit = vit(&config, 3);
    let device = vit_ops::cpu_device();
    let keep = Keep::Swap { mask: (0..16).map(|patch| patch == 0 || patch == 5).collect() };
    let pixels = tiny::sines::<4>([1, 3, 16, 16], 0.3, &device);
    // Patches 0 and 5 are rows 0–3, columns 0–3 and rows 4–7, columns 4–7.
    let mut other = HostTensor::of(pixels.clone());
    for (at, value) in other.values.iter_mut().enumerate() {
        let (y, x) = (at / 16 % 16, at % 16);
        if y / 4 == x / 4 && y < 8 {
            *value += 3.0;
        }
    }
    assert_eq!(encode(&vit, pixels.clone(), &keep), encode(&vit, other.on(&device), &keep));
    assert_ne!(encode(&vit, pixels.clone(), &Keep::All), encode(&vit, other.on(&device), &Keep::All));
}

/// Tokens `ids` `[B, K]` of all, picked by hand.
fn picked(all: Tensor<3>, ids: &[usize]) -> Tensor<3> {
    let [b, _, d] = all.dims();
    let k = ids.len() / b;
    let rows = ids.iter().enumerate().map(|(at, &id)| {
        let image = at / k;
        all.clone().slice([image..image + 1, id..id + 1]).reshape([1, d])
    });
    Tensor::cat(rows.collect(), 0).reshape([b, k, d])
}

#[test]
fn tokens_that_alone_are_wanted_have_the_values_and_gradients_that_they_have_among_all() {
    let device = vit_ops::cpu_device().autodiff();
    let registers = VitConfig { n_registers: 2, layer_scale: Some(0.3), ..tiny::vit_config() };
    let relative = VitConfig { relative_positions: RelativePositions::Shared, ..tiny::vit_config() };
    let (class, two) = ([0, 0], [0, 1, 0, 1]);
    let some = [3, 0, 16, 5, 9, 1];
    let these = Wanted::These { ids: some.to_vec(), n_per_image: 3 };
    for (config, wanted, ids) in [
        (tiny::vit_config(), Wanted::First { n: 1 }, &class[..]),
        (registers.clone(), Wanted::First { n: 2 }, &two),
        (registers, these.clone(), &some),
        (relative.clone(), Wanted::First { n: 1 }, &class),
        (relative, these, &some),
    ] {
        let vit = tiny::spread(config.init(&device, &mut stream(6)));
        let given = |wanted: &Wanted| {
            let pixels = tiny::sines([2, 3, 16, 16], 0.3, &device);
            vit.encode(pixels, &mut Pass { wanted, ..Pass::look(&mut NoLook) }).all
        };
        let learned = |tokens: &Tensor<3>| {
            let loss = (tokens.clone() * tiny::sines(tokens.dims(), 0.9, &device)).sum();
            gradients(&vit, &loss.backward())
        };
        let (ours, among_all) = (given(&wanted), picked(given(&Wanted::Every), ids));
        let name = format!("{wanted:?}");
        assert_near(&name, &HostTensor::of(ours.clone()), &HostTensor::of(among_all.clone()), NEAR);
        let (ours, all) = (learned(&ours), learned(&among_all));
        assert!(ours.contains_key("blocks.2.mlp.fc1.weight") && ours.keys().eq(all.keys()), "{name}");
        for (param, grad) in &ours {
            assert_near(&format!("{name}: {param}"), grad, &all[param], Tolerance { abs: 1e-4, rel: 1e-4 });
        }
    }
}

#[test]
fn who_looks_behind_the_last_attention_sees_every_token() {
    let vit = vit(&tiny::vit_config(), 1);
    let pixels: Tensor<4> = tiny::sines([2, 3, 16, 16], 0.3, &vit_ops::cpu_device());
    let of_class = |site: Site| {
        let mut seen = Recorder::wanting([site]);
        let wanted = &Wanted::First { n: 1 };
        let tokens = vit.encode(pixels.clone(), &mut Pass { wanted, ..Pass::look(&mut seen) });
        (tokens.all.dims()[1], seen.at(site).clone())
    };
    for site in [Site::AttnOut(2), Site::MlpHidden(2), Site::Block(2), Site::Norm] {
        let (n_tokens, seen) = of_class(site);
        assert_eq!((n_tokens, seen.shape[1]), (17, 17), "{site}");
    }
    for site in [Site::Block(1), Site::Norm1(2), Site::Attention(2), Site::Key(2)] {
        let (n_tokens, seen) = of_class(site);
        assert_eq!(n_tokens, 1, "{site}");
        assert!(seen.shape.contains(&17), "{site}: {:?}", seen.shape);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Masking by dropping: the encoder is blind to order, so kept patches come back in the order they were kept in.
    #[test]
    fn keeping_every_patch_in_any_order_is_keeping_all_of_them(order in Just((0..16usize).collect::<Vec<_>>()).prop_shuffle()) {
        let vit = vit(&tiny::vit_config(), 4);
        let pixels = tiny::sines([1, 3, 16, 16], 0.7, &vit_ops::cpu_device());
        let all = encode(&vit, pixels.clone(), &Keep::All);
        let visible = encode(&vit, pixels, &Keep::Visible { ids: order.clone(), n_per_image: 16 });
        let width = vit.config.width;
        let row = |tokens: &HostTensor, token: usize| tokens.values[token * width..][..width].to_vec();
        for (place, patch) in order.into_iter().enumerate() {
            let ours = HostTensor::new([width], row(&visible, 1 + place));
            assert_near("a kept patch", &ours, &HostTensor::new([width], row(&all, 1 + patch)), NEAR);
        }
        let class = |tokens: &HostTensor| HostTensor::new([width], row(tokens, 0));
        assert_near("the class token", &class(&visible), &class(&all), NEAR);
    }

    /// An image does not see the others of its batch.
    #[test]
    fn an_image_alone_gives_what_it_gives_in_a_batch(n in 1usize..6, start in 0.0f64..6.0) {
        let vit = vit(&tiny::vit_config(), 5);
        let pixels = tiny::sines::<4>([n, 3, 16, 16], start, &vit_ops::cpu_device());
        let together = encode(&vit, pixels.clone(), &Keep::All);
        let n_values = together.values.len() / n;
        for image in 0..n {
            let alone = encode(&vit, pixels.clone().narrow(0, image, 1), &Keep::All);
            let expected = HostTensor::new(alone.shape.clone(), together.values[image * n_values..][..n_values].to_vec());
            assert_near("an image of a batch", &alone, &expected, NEAR);
        }
    }
}
