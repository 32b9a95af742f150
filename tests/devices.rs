//! Every further device of this build against the CPU: a forward, a training step and a report of a tiny model agree.
//!
//! Built with a device's Cargo feature only; the gate (`cargo xtask ci`) builds everything with `ndarray` and `wgpu`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_macros,
    reason = "a test may stop where it stands, and print"
)]

use burn::tensor::{Device, Tensor};
use ssl_pretrain::{Mae, MaeConfig};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use testkit::{HostTensor, Tolerance, assert_near, gradients, tiny};
use vit_core::{Backbone, NoLook, Pass, VitConfig, stream};
use vit_data::{Dataset, Seed};
use vit_features::{Lab, Layers, Passage, Role, Shapes, Source, observe};
use vit_train::{AdamW, Grads, Objective, Progress, Rates, Step};

/// Sums in another order, and functions of other units in the last place.
const FORWARD: Tolerance = Tolerance { abs: 2e-5, rel: 2e-4 };
/// Gradients go through more of both.
const GRADIENT: Tolerance = Tolerance { abs: 5e-5, rel: 2e-3 };

/// The devices of this build but for the CPU; WGPU only where the machine has an adapter, of hardware or software.
fn others() -> Vec<(&'static str, Device)> {
    let names = ["ndarray", "wgpu"].into_iter().filter(|name| *name != "wgpu" || has_adapter());
    let found: Vec<_> = names.filter_map(|name| Some((name, vit_ops::device(name).ok()?))).collect();
    assert!(!found.is_empty() || !has_adapter(), "this test wants a build with `ndarray` or `wgpu`");
    found
}

/// Whether anything can be computed by WGPU: without an adapter its first operation panics and says so.
fn has_adapter() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let Ok(device) = vit_ops::device("wgpu") else { return false };
        let tried = std::panic::catch_unwind(move || {
            Tensor::<1>::from_floats([1.0, 2.0], &device).sum().into_scalar::<f32>()
        });
        match tried {
            Ok(sum) => {
                assert_eq!(sum, 3.0);
                true
            }
            Err(_) => {
                eprintln!("wgpu is left out: no adapter (Debian's mesa-vulkan-drivers has one in software)");
                false
            }
        }
    })
}

fn encoder() -> VitConfig {
    tiny::vit_config()
}

fn forward(device: &Device) -> HostTensor {
    let vit = encoder().init(device, &mut stream(3));
    let pixels = tiny::sines([2, 3, tiny::IMAGE_PX, tiny::IMAGE_PX], 0.3, device);
    HostTensor::of(vit.encode(pixels, &mut Pass::look(&mut NoLook)).all)
}

#[test]
fn a_forward_agrees_with_the_cpu() {
    let expected = forward(&vit_ops::cpu_device());
    for (name, device) in others() {
        assert_near(&format!("{name}: tokens"), &forward(&device), &expected, FORWARD);
    }
}

/// Loss and gradients of a first step, and the loss after it.
fn mae_step(device: &Device) -> (f32, BTreeMap<String, HostTensor>, f32) {
    let (device, seed) = (device.clone().autodiff(), Seed(11));
    let config = MaeConfig { decoder_width: 16, decoder_depth: 1, decoder_heads: 2, ..MaeConfig::default() };
    let data: Arc<dyn Dataset> = Arc::new(tiny::TinyData::stripes(4, 4, 0));
    let batch = tiny::batch(&data, Mae::views(&config, &tiny::views()), 4, seed, &device);
    let objective = Mae::init(&config, &encoder(), 4, &device, seed).unwrap();
    let progress = Progress { step: 0, n_steps: 10, steps_per_epoch: 10 };
    let loss = |objective: &Mae| -> Tensor<1> {
        let out = objective.loss(&batch, &mut Step { progress, seed, draws: seed.stream("step", &[0]) });
        out.terms.into_iter().map(|term| term.value).next().unwrap()
    };
    let first = loss(&objective);
    let value = first.clone().into_scalar::<f32>();
    let found = first.backward();
    let by_name = gradients(objective.student(), &found);
    let grads = Grads::of(objective.student(), found);
    let mut optimizer = AdamW::new(0.9, 0.95, 1e-8);
    let rates = |_: &str, _: &[usize]| Rates { lr: 1e-3, weight_decay: 0.05 };
    let objective = objective.map_student(|student| optimizer.step(student, grads, &rates));
    let after = loss(&objective).into_scalar::<f32>();
    (value, by_name, after)
}

#[test]
fn a_step_of_masked_autoencoding_agrees_with_the_cpu() {
    let (loss, grads, after) = mae_step(&vit_ops::cpu_device());
    for (name, device) in others() {
        let (other_loss, other_grads, other_after) = mae_step(&device);
        assert!((loss - other_loss).abs() <= 1e-4 * loss, "{name}: loss {other_loss}, on the CPU {loss}");
        assert_eq!(grads.keys().collect::<Vec<_>>(), other_grads.keys().collect::<Vec<_>>(), "{name}");
        for (param, expected) in &grads {
            assert_near(&format!("{name}: gradient of {param}"), &other_grads[param], expected, GRADIENT);
        }
        assert!(
            (after - other_after).abs() <= 1e-3 * after,
            "{name}: then {other_after}, on the CPU {after}"
        );
    }
}

/// Every metric of a study by its name, layer and head.
fn report(study: &str, device: &Device) -> BTreeMap<String, f64> {
    let model = Backbone::Vit(encoder().init(device, &mut stream(3)));
    let data: Arc<dyn Dataset> = Arc::new(tiny::TinyData::stripes(24, 4, 0));
    let row = analysis::ANALYSES.iter().find(|row| row.info.name == study).unwrap();
    let shapes = Shapes::of(&model, "tiny", tiny::IMAGE_PX, &Layers::All).unwrap().on(None, &*data);
    let mut studies = vec![(row.open)(&toml::Table::new(), &shapes).unwrap()];
    let lab = Lab {
        source: Source::Model(&model),
        plan: tiny::plan(),
        batch: 8,
        n_threads: 1,
        device: device.clone(),
        shelf: None,
    };
    let passage = Passage { role: Role::Test, data, indices: Arc::new((0..24).collect()) };
    observe(&lab, &passage, &mut studies, &mut |_| Ok(())).unwrap();
    let findings = studies.pop().unwrap().finish().unwrap();
    let name = |metric: &report::Metric| format!("{} {:?} {:?}", metric.name, metric.layer, metric.head);
    findings.metrics.iter().map(|metric| (name(metric), metric.value)).collect()
}

#[test]
fn reports_agree_with_the_cpu() {
    for study in ["attention-distance", "residual-ratio"] {
        let expected = report(study, &vit_ops::cpu_device());
        assert!(!expected.is_empty(), "{study}: no metric to compare");
        for (name, device) in others() {
            let found = report(study, &device);
            assert_eq!(found.len(), expected.len(), "{name}: {study}");
            for (metric, expected) in &expected {
                let ours = found[metric];
                assert!(
                    FORWARD.allows(ours, *expected),
                    "{name}: {study}: {metric} is {ours}, on the CPU {expected}"
                );
            }
        }
    }
}
