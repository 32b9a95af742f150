//! Kind `mae`: masks, predictions, losses and gradients of a masked autoencoder under the public checkpoint's names.

use burn::tensor::Device;
use serde_json::Value;
use ssl_pretrain::{MaeConfig, MaeNet, MaskIds, mask_from_noise};
use testkit::golden::{Case, cases};
use testkit::{HostTensor, gradients};
use vit_core::weights::{Checkpoint, Hints, assign};
use vit_core::{Given, VitConfig};
use vit_data::Seed;

/// The public name of one of our parameters: the encoder's carry no prefix.
fn public_name(ours: &str) -> String {
    ours.strip_prefix("encoder.").unwrap_or(ours).to_owned()
}

fn net_of(case: &Case, device: &Device) -> MaeNet {
    let config = MaeConfig {
        mask_ratio: case.number("mask_ratio"),
        norm_pix: true,
        decoder_width: case.needed("decoder_embed_dim"),
        decoder_depth: case.needed("decoder_depth"),
        decoder_heads: case.needed("decoder_num_heads"),
    };
    let encoder = VitConfig {
        image_px: case.needed("img_size"),
        patch_px: case.needed("patch_size"),
        width: case.needed("embed_dim"),
        depth: case.needed("depth"),
        n_heads: case.needed("num_heads"),
        eps: case.meta.config.get("eps").and_then(Value::as_f64).unwrap_or(1e-6),
        ..VitConfig::default()
    };
    let net = MaeNet::init(&config, &encoder, device, Seed(0));
    // Through the importer, which finds encoder and decoder under whatever names they have.
    let given = Given::from_iter([("n_heads".to_owned(), encoder.n_heads.into())]);
    let file = ["weights.safetensors", "weights.pth"]
        .iter()
        .map(|name| case.folder.join(name))
        .find(|file| file.exists());
    let file = file.unwrap_or_else(|| panic!("{}: no weights", case.name));
    let checkpoint = Checkpoint::open(&file, &Hints { given, ..Hints::default() });
    let checkpoint = checkpoint.unwrap_or_else(|error| panic!("{}: {error}", case.name));
    assert!(checkpoint.audit().is_complete() && checkpoint.has_decoder(), "{}", checkpoint.audit());
    assert_eq!(checkpoint.audit().config.eps, encoder.eps, "{}", case.name);
    let net = assign(net, |name, shape| match name.strip_prefix("encoder.") {
        Some(name) => checkpoint.read(name, shape),
        None => checkpoint.read_decoder(name, shape),
    });
    net.unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

fn masks_of(case: &Case) -> MaskIds {
    let noise = case.tensor("noise");
    mask_from_noise(&noise.to_f32(), noise.shape[1], case.number("mask_ratio"))
}

#[test]
fn noise_gives_maes_masks_and_the_order_that_restores_them() {
    for case in cases("mae") {
        let ids = masks_of(&case);
        let mask: Vec<usize> = ids.mask.iter().map(|&hidden| usize::from(hidden)).collect();
        assert_eq!(mask, case.tensor("mask").to_usize(), "{}: mask", case.name);
        assert_eq!(ids.ids_restore, case.tensor("ids_restore").to_usize(), "{}: ids_restore", case.name);
    }
}

#[test]
fn the_masked_autoencoder_has_the_public_predictions_losses_and_gradients() {
    for case in cases("mae") {
        let device = vit_ops::cpu_device().autodiff();
        let net = net_of(&case, &device);
        let ids = masks_of(&case);
        let pixels = case.tensor("pixels").on::<4>(&device);
        let predicted = net.forward(pixels.clone(), &ids);
        case.assert_near("pred", &HostTensor::of(predicted.patches.clone()));
        let raw = net.loss(&predicted, pixels.clone(), &ids, false);
        case.assert_near("loss_raw_pix", &HostTensor::of(raw));
        let loss = net.loss(&predicted, pixels.clone(), &ids, true);
        case.assert_near("loss_norm_pix", &HostTensor::of(loss.clone()));

        // Training predicts masked patches only.
        let raw = net.loss_of_masked(pixels.clone(), &ids, false);
        case.assert_near("loss_raw_pix", &HostTensor::of(raw));
        let trained = net.loss_of_masked(pixels, &ids, true);
        case.assert_near("loss_norm_pix", &HostTensor::of(trained.clone()));

        for loss in [loss, trained] {
            let grads = gradients(&net, &loss.backward());
            let mut expected = case.tensors("grad.").map(|(name, _)| name).peekable();
            assert!(expected.peek().is_some(), "{}: no gradient to compare", case.name);
            for public in expected {
                let ours = grads.iter().find(|(ours, _)| public_name(ours) == public);
                let (_, grad) = ours.unwrap_or_else(|| panic!("{}: no gradient of {public}", case.name));
                case.assert_near(&format!("grad.{public}"), grad);
            }
        }
    }
}
