//! Kind `self_distill_steps`: three steps of the optimizer, from stated weights, views and masks.

use burn::tensor::{Device, Tensor};
use ssl_pretrain::{
    CropsConfig, Dino, DinoConfig, DistillCarry, HeadConfig, Ibot, IbotConfig, PatchConfig, Projected,
    TeacherConfig, TempSchedule,
};
use std::collections::BTreeMap;
use testkit::HostTensor;
use testkit::golden::{Case, cases};
use vit_core::VitConfig;
use vit_data::{HostBatch, Seed};
use vit_train::{AdamW, Batch, Clip, Grads, Objective, Progress, Rates, Step, StepOut, TrainConfig};

fn crops(case: &Case) -> CropsConfig {
    CropsConfig {
        n_globals: case.needed("n_global"),
        n_locals: case.needed("n_local"),
        local_size_px: case.needed("local_size"),
        local_scale: (0.1, 0.4),
        ..CropsConfig::default()
    }
}

fn head(case: &Case, norm_last_layer: bool) -> HeadConfig {
    HeadConfig {
        n_layers: 3,
        hidden: case.needed("head_hidden"),
        bottleneck: case.needed("head_bottleneck"),
        out_dim: case.needed("head_out"),
        norm_last_layer,
    }
}

fn temp(case: &Case, prefix: &str) -> TempSchedule {
    TempSchedule {
        start: case.number(&format!("{prefix}temp_start")),
        end: case.number(&format!("{prefix}temp_end")),
        warmup_epochs: case.needed("temp_warmup_epochs"),
    }
}

fn teacher(case: &Case) -> TeacherConfig {
    TeacherConfig { momentum: case.number("momentum"), temp: temp(case, ""), ..TeacherConfig::default() }
}

fn train(case: &Case) -> TrainConfig {
    TrainConfig {
        batch: 256, // so that the rate is the base rate
        base_lr: case.number("lr"),
        min_lr: case.number("min_lr"),
        warmup_epochs: 0.0,
        weight_decay: case.number("weight_decay"),
        beta1: case.number("beta1"),
        beta2: case.number("beta2"),
        eps: case.number("eps"),
        clip: Clip::PerTensor { max_norm: case.number("clip") },
        ..TrainConfig::default()
    }
}

fn encoder(case: &Case) -> VitConfig {
    VitConfig {
        image_px: case.needed("img_size"),
        patch_px: case.needed("patch_size"),
        width: case.needed("embed_dim"),
        depth: case.needed("depth"),
        n_heads: case.needed("num_heads"),
        ..VitConfig::default()
    }
}

/// The views of a step.
fn batch(case: &Case, step: usize, device: &Device) -> Batch {
    let n_views = case.needed("n_global") + case.needed("n_local");
    let views = (0..n_views).map(|view| case.tensor(&format!("view.{step}.{view}")).on::<4>(device));
    let nothing = HostBatch {
        views: Vec::new(),
        labels: Vec::new(),
        indices: (0..case.needed("batch")).collect(),
        ids: Vec::new(),
        truths: Vec::new(),
    };
    Batch { views: views.collect(), host: nothing, epoch: (step / case.needed("steps_per_epoch")) as u64 }
}

/// Three steps as the loop takes them, and every tensor of the state after them.
fn follow<O>(
    case: &Case,
    objective: O,
    loss: impl Fn(&O, &Batch, &mut Step, usize) -> StepOut<DistillCarry>,
) -> BTreeMap<String, HostTensor>
where
    O: Objective<Student = Projected, Carry = DistillCarry>,
{
    let device = vit_ops::cpu_device().autodiff();
    let mut start: BTreeMap<&str, &HostTensor> = case.tensors("start.").collect();
    let mut objective = objective
        .with_state(&mut |name, shape| {
            let tensor = start.remove(name).unwrap_or_else(|| panic!("{}: no `start.{name}`", case.name));
            assert_eq!(tensor.shape, shape, "{}: `start.{name}`", case.name);
            Ok(tensor.to_f32())
        })
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    assert!(start.is_empty(), "{}: left over: {:?}", case.name, start.keys());
    let config = train(case);
    let Clip::PerTensor { max_norm } = config.clip else { panic!("clipped tensor by tensor") };
    let mut optimizer = AdamW::new(config.beta1, config.beta2, config.eps);
    for step in 0..3 {
        let progress = Progress {
            step,
            n_steps: case.needed("n_steps"),
            steps_per_epoch: case.needed("steps_per_epoch"),
        };
        let draws = Seed(0).stream("step", &[step as u64]);
        let batch = batch(case, step, &device);
        let out = loss(&objective, &batch, &mut Step { progress, seed: Seed(0), draws }, step);
        for term in &out.terms {
            case.assert_near(&format!("loss_{}.{step}", term.name), &HostTensor::of(term.value.clone()));
        }
        let total: Tensor<1> =
            out.terms.into_iter().map(|term| term.value).reduce(|a, b| a + b).expect("terms");
        let mut grads = Grads::of(objective.student(), total.backward()).clip_each(max_norm);
        objective.on_grads(&mut grads, progress);
        let Rates { lr, weight_decay } = objective.rates(&config, progress);
        let rates = |name: &str, shape: &[usize]| Rates {
            lr,
            weight_decay: if O::decays(name, shape) { weight_decay } else { 0.0 },
        };
        objective = objective.map_student(|student| optimizer.step(student, grads, &rates));
        objective = objective.after_step(out.carry, progress);
    }
    let state = objective.state().into_iter();
    state.map(|param| (param.name, HostTensor::from_f32(param.shape, &param.values))).collect()
}

fn assert_after(case: &Case, after: &BTreeMap<String, HostTensor>) {
    let mut n = 0;
    for (name, _) in case.tensors("after.") {
        let ours = after.get(name).unwrap_or_else(|| panic!("{}: no `{name}` in the state", case.name));
        case.assert_near(&format!("after.{name}"), ours);
        n += 1;
    }
    assert_eq!(n, after.len(), "{}: every tensor of the state is compared", case.name);
}

fn of_objective(name: &str) -> Vec<Case> {
    let cases = cases("self_distill_steps").into_iter();
    let cases: Vec<Case> = cases.filter(|case| case.meta.config["objective"] == name).collect();
    assert!(!cases.is_empty(), "no case of `{name}`");
    cases
}

#[test]
fn three_steps_of_dino_are_those_of_plain_pytorch() {
    for case in of_objective("dino") {
        let config = DinoConfig {
            student_temp: case.number("student_temp"),
            freeze_last_layer_epochs: case.needed("freeze_last_layer_epochs"),
            weight_decay_end: case.number("weight_decay_end"),
            crops: crops(&case),
            head: head(&case, true),
            teacher: teacher(&case),
        };
        let device = vit_ops::cpu_device().autodiff();
        let dino = Dino::init(&config, &encoder(&case), 0, &device, Seed(5)).unwrap();
        let after = follow(&case, dino, |dino, batch, step, _| dino.loss(batch, step));
        assert_after(&case, &after);
    }
}

#[test]
fn three_steps_of_ibot_are_those_of_plain_pytorch() {
    for case in of_objective("ibot") {
        let config = IbotConfig {
            student_temp: case.number("student_temp"),
            freeze_last_layer_epochs: case.needed("freeze_last_layer_epochs"),
            weight_decay_end: case.number("weight_decay_end"),
            crops: crops(&case),
            patch: PatchConfig {
                temp: temp(&case, "patch_"),
                center_momentum: case.number("patch_center_momentum"),
                ..PatchConfig::default()
            },
            head: head(&case, false),
            teacher: teacher(&case),
            ..IbotConfig::default()
        };
        let device = vit_ops::cpu_device().autodiff();
        let ibot = Ibot::init(&config, &encoder(&case), 0, &device, Seed(5)).unwrap();
        let after = follow(&case, ibot, |ibot, batch, step, at| {
            let mask = case.tensor(&format!("mask.{at}")).values.iter().map(|&hidden| hidden > 0.0).collect();
            ibot.loss_with_masks(batch, Some(mask), step)
        });
        assert_after(&case, &after);
    }
}
