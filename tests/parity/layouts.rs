//! Every kind with a model, imported through the door that users take: layout found by names, sizes from `meta.json` as
//! `--arch` would give them, then every block, attention map, token and head.

use burn::tensor::{Device, Tensor, TensorData, activation};
use serde_json::Value;
use std::path::PathBuf;
use testkit::golden::{Case, cases};
use testkit::{HostTensor, Recorder, Tolerance, assert_near};
use vit_core::weights::{Branch, Checkpoint, Hints};
use vit_core::{Given, NoLook, Pass, Site, Vit};

/// Kinds whose checkpoint is one encoder.
const KINDS: [&str; 6] = ["vit", "mae", "clip_vision", "beit", "dinov2_hf", "wrapped_vit"];

fn weights_of(case: &Case) -> PathBuf {
    let names = ["weights.safetensors", "weights.pth", "weights.npz"];
    let file = names.iter().map(|name| case.folder.join(name)).find(|file| file.exists());
    file.unwrap_or_else(|| panic!("{}: no weights", case.name))
}

/// What a user would say with `--arch`, from the case's own words.
fn given_of(case: &Case) -> Given {
    let mut given = Given::new();
    let fields = [
        ("img_size", "image_px"),
        ("patch_size", "patch_px"),
        ("embed_dim", "width"),
        ("depth", "depth"),
        ("num_heads", "n_heads"),
        ("reg_tokens", "n_registers"),
        ("mlp_ratio", "mlp_ratio"),
        ("eps", "eps"),
        ("qkv_bias", "qkv_bias"),
        ("class_token", "class_token"),
    ];
    for (theirs, ours) in fields {
        if let Some(value) = case.meta.config.get(theirs) {
            given.insert(ours.to_owned(), value.clone());
        }
    }
    let config = |key: &str| case.meta.config.get(key);
    if config("global_pool").and_then(Value::as_str) == Some("avg")
        && config("fc_norm").and_then(Value::as_bool) == Some(false)
    {
        given.insert("pool".into(), "normed-mean".into());
    }
    given
}

fn open(case: &Case, branch: Option<Branch>) -> Checkpoint {
    let hints = Hints { given: given_of(case), branch, ..Hints::default() };
    let checkpoint = Checkpoint::open(&weights_of(case), &hints);
    let checkpoint = checkpoint.unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let audit = checkpoint.audit();
    assert!(audit.is_complete(), "{}: {audit}", case.name);
    checkpoint
}

fn load(case: &Case, branch: Option<Branch>, device: &Device) -> Vit {
    open(case, branch).load(device).unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

fn tokens_of(vit: &Vit, pixels: &HostTensor, device: &Device) -> HostTensor {
    HostTensor::of(vit.encode(pixels.on(device), &mut Pass::look(&mut NoLook)).all)
}

#[test]
fn imported_checkpoints_give_the_references_blocks_attention_tokens_and_heads() {
    let device = vit_ops::cpu_device();
    for case in KINDS.into_iter().filter(|kind| *kind != "mae").flat_map(cases) {
        let vit = load(&case, None, &device);
        let depth = vit.config.depth;
        let mut n = 0;
        for sites in [
            (0..depth).map(Site::Block).collect::<Vec<_>>(),
            (0..depth).flat_map(|i| [Site::Block(i), Site::Attention(i)]).collect(),
        ] {
            let mut seen = Recorder::wanting(sites);
            let tokens = vit.encode(case.tensor("pixels").on(&device), &mut Pass::look(&mut seen));
            for (block, _) in case.tensors("block.") {
                let site = Site::Block(block.parse().expect("a block's number"));
                case.assert_near(&format!("block.{block}"), seen.at(site));
                n += 1;
            }
            for (block, _) in case.tensors("attention.") {
                if let Some(map) = seen.seen.get(&Site::Attention(block.parse().expect("a number"))) {
                    case.assert_near(&format!("attention.{block}"), map);
                    n += 1;
                }
            }
            if case.io.contains_key("tokens") {
                case.assert_near("tokens", &HostTensor::of(tokens.all.clone()));
                n += 1;
            }
            for head in ["logits", "image_embeds"] {
                if case.io.contains_key(head) {
                    case.assert_near(head, &HostTensor::of(vit.logits(&tokens)));
                    n += 1;
                }
            }
        }
        assert!(n > 0, "{}: nothing to compare", case.name);
        // A file of both networks: what stands above is that of the one taken without asking.
        for (name, branch) in [("student_tokens", Branch::Student), ("teacher_tokens", Branch::Teacher)] {
            if case.io.contains_key(name) {
                let vit = load(&case, Some(branch), &device);
                case.assert_near(name, &tokens_of(&vit, case.tensor("pixels"), &device));
            }
        }
    }
}

#[test]
fn looking_into_an_imported_model_changes_nothing() {
    let device = vit_ops::cpu_device();
    for case in ["beit", "clip_vision", "dinov2_hf"].into_iter().flat_map(cases) {
        let vit = load(&case, None, &device);
        let fused = tokens_of(&vit, case.tensor("pixels"), &device);
        let mut seen = Recorder::wanting((0..vit.config.depth).map(Site::Attention));
        let tokens = vit.encode(case.tensor("pixels").on(&device), &mut Pass::look(&mut seen));
        assert_near(&case.name, &fused, &HostTensor::of(tokens.all), Tolerance::REORDERED);
    }
}

/// DINO's head on class tokens: the projector, then cosines to the prototypes.
fn dino_head(checkpoint: &Checkpoint, class: Tensor<2>) -> Tensor<2> {
    let device = class.device();
    let shapes = checkpoint.beside("head.");
    let read = |name: &str| -> Tensor<2> {
        let (_, shape) = shapes.iter().find(|(rest, _)| rest == name).expect("a tensor of the head");
        let shape = [shape[0], shape.get(1).copied().unwrap_or(1)];
        let values = checkpoint.read_beside("head.", name).expect("read");
        Tensor::from_data(TensorData::new(values, shape), &device)
    };
    let mut x = class;
    for layer in ["mlp.0", "mlp.2", "mlp.4"] {
        let (weight, bias) = (read(&format!("{layer}.weight")), read(&format!("{layer}.bias")));
        x = vit_ops::linear(x, weight, bias.flatten(0, 1));
        if layer != "mlp.4" {
            x = activation::gelu(x);
        }
    }
    let unit = |x: Tensor<2>| {
        let norm = (x.clone() * x.clone()).sum_dim(1).sqrt();
        x / norm
    };
    let (g, v) = (read("last_layer.weight_g"), read("last_layer.weight_v"));
    unit(x).matmul((unit(v) * g).transpose())
}

#[test]
fn both_branches_of_a_training_checkpoint_and_their_heads_are_the_references() {
    let device = vit_ops::cpu_device();
    for case in cases("dino_checkpoint") {
        for (name, branch) in [("student", Branch::Student), ("teacher", Branch::Teacher)] {
            let checkpoint = open(&case, Some(branch));
            let vit = checkpoint.load(&device).unwrap();
            let tokens = vit.encode(case.tensor("pixels").on(&device), &mut Pass::look(&mut NoLook));
            case.assert_near(&format!("{name}_tokens"), &HostTensor::of(tokens.all.clone()));
            let head = dino_head(&checkpoint, tokens.class().expect("a class token"));
            case.assert_near(&format!("{name}_head_cls"), &HostTensor::of(head));
        }
        assert_eq!(open(&case, None).audit().root, open(&case, Some(Branch::Teacher)).audit().root);
    }
}

#[test]
fn the_gradients_of_an_imported_model_are_those_of_finite_differences() {
    // Relative positions, biases of queries and values, and scales are trained too: the slope along one random
    // direction of each parameter of BEiT, in f32, so with a wide step.
    let device = vit_ops::cpu_device().autodiff();
    for case in cases("beit").into_iter().filter(|case| case.io.contains_key("logits")) {
        let vit = load(&case, None, &device);
        let loss = |vit: &Vit| {
            let tokens = vit.encode(case.tensor("pixels").on(&device), &mut Pass::look(&mut NoLook));
            let logits = vit.logits(&tokens);
            (logits.clone() * logits).sum()
        };
        let grads = testkit::gradients(&vit, &loss(&vit).backward());
        for name in
            ["blocks.1.attn.relative_position_bias_table", "blocks.0.attn.q_bias", "blocks.2.ls1.gamma"]
        {
            let grad = grads.get(name).unwrap_or_else(|| panic!("no gradient of {name}"));
            let norm = grad.values.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert!(norm > 0.0, "{name}: a gradient of 0");
            let step = 1e-2 / norm;
            let moved = |sign: f64| {
                let vit = vit_core::weights::map_params(vit.clone(), |at, mut values, _| {
                    if at == name {
                        let pairs = values.iter_mut().zip(&grad.values);
                        pairs.for_each(|(x, g)| *x += (sign * step * g) as f32);
                    }
                    values
                });
                HostTensor::of(loss(&vit)).values[0]
            };
            let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
            assert!(
                (slope - norm * norm).abs() < 0.02 * norm * norm,
                "{name}: {slope} against {}",
                norm * norm
            );
        }
    }
}
