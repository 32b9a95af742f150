//! Kind `vit`: timm's VisionTransformer.

use burn::tensor::Device;
use serde_json::Value;
use std::collections::BTreeMap;
use testkit::golden::{Case, cases, fill};
use testkit::{HostTensor, Recorder, Tolerance, assert_near, gradients};
use vit_core::weights::{ModelConfig, load};
use vit_core::{Backbone, Pass, Pool, Site, Vit, VitConfig, stream};

/// timm's arguments as our configuration; an argument that we do not know stops the test.
fn config_of(case: &Case) -> VitConfig {
    let mut config = VitConfig::default();
    for (key, value) in &case.meta.config {
        let understood = match key.as_str() {
            "img_size" => set(&mut config.image_px, count(value)),
            "patch_size" => set(&mut config.patch_px, count(value)),
            "embed_dim" => set(&mut config.width, count(value)),
            "depth" => set(&mut config.depth, count(value)),
            "num_heads" => set(&mut config.n_heads, count(value)),
            "num_classes" => set(&mut config.n_classes, count(value)),
            "reg_tokens" => set(&mut config.n_registers, count(value)),
            "mlp_ratio" => set(&mut config.mlp_ratio, value.as_f64()),
            "eps" => set(&mut config.eps, value.as_f64()),
            "qkv_bias" => set(&mut config.qkv_bias, value.as_bool()),
            "class_token" => set(&mut config.class_token, value.as_bool()),
            "no_embed_class" => set(&mut config.position_of_class, value.as_bool().map(|without| !without)),
            "init_values" => set(&mut config.layer_scale, Some(value.as_f64())),
            "global_pool" => set(&mut config.pool, pool(value)),
            "fc_norm" => value.as_bool().map(|_| ()),
            _ => None,
        };
        assert!(understood.is_some(), "{}: {key} = {value} is not understood", case.name);
    }
    if config.pool == Pool::Mean && case.meta.config.get("fc_norm").and_then(Value::as_bool) == Some(false) {
        config.pool = Pool::NormedMean;
    }
    config
}

fn set<T>(option: &mut T, value: Option<T>) -> Option<()> {
    *option = value?;
    Some(())
}

fn count(value: &Value) -> Option<usize> {
    value.as_u64()?.try_into().ok()
}

fn pool(value: &Value) -> Option<Pool> {
    match value.as_str()? {
        "avg" => Some(Pool::Mean),
        "token" => Some(Pool::Class),
        _ => None,
    }
}

fn model_of(case: &Case, device: &Device) -> Vit {
    let config = config_of(case);
    let Some(path) = case.safetensors() else {
        return fill(config.init(device, &mut stream(0)), case.weights(None), str::to_owned);
    };
    match load(&path, Some(&ModelConfig::Vit(config)), device) {
        Ok(Backbone::Vit(vit)) => vit,
        Ok(other) => panic!("{}: a {} was loaded", case.name, other.kind()),
        Err(error) => panic!("{}: {error}", case.name),
    }
}

/// Everything that a pass gives.
struct Passed {
    tokens: HostTensor,
    logits: Option<HostTensor>,
    seen: Recorder,
    grads: BTreeMap<String, HostTensor>,
}

fn pass(case: &Case, looks_at_attention: bool) -> Passed {
    let device = vit_ops::cpu_device().autodiff();
    let vit = model_of(case, &device);
    let depth = vit.config.depth;
    let mut sites: Vec<Site> = (0..depth).map(Site::Block).collect();
    if looks_at_attention {
        sites.extend((0..depth).map(Site::Attention));
    }
    let mut seen = Recorder::wanting(sites);
    let tokens = vit.encode(case.tensor("pixels").on(&device), &mut Pass::look(&mut seen));
    let host_tokens = HostTensor::of(tokens.all.clone());
    if vit.head.is_none() {
        return Passed { tokens: host_tokens, logits: None, seen, grads: BTreeMap::new() };
    }
    let logits = vit.logits(&tokens);
    let host_logits = HostTensor::of(logits.clone());
    let cotangent = case.tensor("logits_cotangent").on(&device);
    let grads = (logits * cotangent).sum().backward();
    Passed { tokens: host_tokens, logits: Some(host_logits), seen, grads: gradients(&vit, &grads) }
}

fn compare(case: &Case, passed: &Passed, looked_at_attention: bool) {
    let sites = |name: &str, site: fn(usize) -> Site| {
        let mut n = 0;
        for (block, _) in case.tensors(name) {
            let block_idx = block.parse().expect("a block's number");
            case.assert_near(&format!("{name}{block}"), passed.seen.at(site(block_idx)));
            n += 1;
        }
        assert!(n > 0, "{}: no {name}* to compare", case.name);
    };
    sites("block.", Site::Block);
    if looked_at_attention {
        sites("attention.", Site::Attention);
    }
    case.assert_near("tokens", &passed.tokens);
    if let Some(logits) = &passed.logits {
        case.assert_near("logits", logits);
        let mut n = 0;
        for (param, _) in case.tensors("grad.") {
            let grad =
                passed.grads.get(param).unwrap_or_else(|| panic!("{}: no gradient of {param}", case.name));
            case.assert_near(&format!("grad.{param}"), grad);
            n += 1;
        }
        assert!(n > 0, "{}: no gradient to compare", case.name);
    }
}

#[test]
fn the_fused_transformer_has_timms_tokens_logits_and_gradients() {
    for case in cases("vit") {
        compare(&case, &pass(&case, false), false);
    }
}

#[test]
fn the_transformer_that_is_looked_into_has_timms_attention_tokens_logits_and_gradients() {
    for case in cases("vit") {
        compare(&case, &pass(&case, true), true);
    }
}

#[test]
fn looking_at_attention_changes_no_output_and_no_gradient() {
    for case in cases("vit") {
        let (fused, in_steps) = (pass(&case, false), pass(&case, true));
        let near = |name: &str, fused: &HostTensor, in_steps: &HostTensor| {
            assert_near(&format!("{}: {name}", case.name), fused, in_steps, Tolerance::REORDERED);
        };
        near("tokens", &fused.tokens, &in_steps.tokens);
        assert_eq!(fused.grads.len(), in_steps.grads.len(), "{}: parameters with a gradient", case.name);
        for (param, grad) in &fused.grads {
            near(&format!("gradient of {param}"), grad, &in_steps.grads[param]);
        }
    }
}
