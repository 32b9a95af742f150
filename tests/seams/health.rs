//! Alarms: sound self-distillation raises none, and each way of spoiling it is named within a hundred steps.

use ssl_pretrain::OBJECTIVES;
use std::collections::BTreeSet;
use std::sync::Arc;
use testkit::tiny;
use vit_data::Split;
use vit_train::{Clip, Flow, PretrainRecipe, Request, StepReport, TrainConfig, ViewConfig, Watch};

/// Every alarm's cause, and how many steps were looked at.
#[derive(Default)]
struct Heard {
    causes: BTreeSet<String>,
    n_watched: usize,
    last_step: usize,
}

impl Watch for Heard {
    fn step(&mut self, report: &StepReport) -> Flow {
        let causes = report.alarms.iter().map(|alarm| alarm.split(':').next().unwrap_or_default().to_owned());
        self.causes.extend(causes);
        self.n_watched += usize::from(!report.readings.is_empty());
        self.last_step = report.progress.step;
        Flow::Continue
    }
}

/// A small DINO on 128 images: 8 steps an epoch, 8 epochs, looked at every fourth step.
fn recipe(seed: u64) -> PretrainRecipe {
    let options = "\
freeze_last_layer_epochs = 0
weight_decay_end = 0.1
[crops]
n_locals = 1
local_size_px = 32
local_scale = [0.2, 0.5]
other_blur_prob = 0.0
other_solarize_prob = 0.0
local_blur_prob = 0.0
[head]
hidden = 64
bottleneck = 32
out_dim = 256
[teacher]
momentum = 0.99
temp = { start = 0.04, end = 0.04, warmup_epochs = 0 }
centering = { kind = \"mean\", momentum = 0.9 }
";
    let views =
        ViewConfig { size_px: 64, scale: (0.4, 1.0), normalize: "half".into(), ..ViewConfig::default() };
    let train = TrainConfig {
        epochs: 8.0,
        batch: 16,
        base_lr: 4e-3,
        warmup_epochs: 1.0,
        weight_decay: 0.04,
        beta2: 0.999,
        clip: Clip::PerTensor { max_norm: 3.0 },
        watch_every_steps: 4,
        ..TrainConfig::default()
    };
    let model = "vit:dim=32,depth=3,heads=4,patch=16,image=64".into();
    PretrainRecipe { seed, model, views, train, ..tiny::recipe("dino", options, 8.0) }
}

fn heard(recipe: &PretrainRecipe) -> Heard {
    let row = OBJECTIVES.iter().find(|row| row.info.name == "dino").unwrap();
    let request = Request {
        recipe,
        data: Arc::from(vit_data::open("part-shapes", Split::Train, 0).unwrap()),
        indices: Some(Arc::new((0..128).collect())),
        held_out: None,
        n_previews: 0,
        device: vit_ops::cpu_device(),
        run_dir: None,
        resume: false,
        n_threads: 0,
        init_from: None,
        clock: || 0.0,
    };
    let mut heard = Heard::default();
    (row.run)(&request, &mut heard).unwrap();
    assert_eq!((heard.last_step, heard.n_watched), (63, 16));
    heard
}

/// The recipe with other options.
fn with(recipe: PretrainRecipe, changes: &[&str]) -> PretrainRecipe {
    let mut options = recipe.options.clone();
    for change in changes {
        report::recipe::set(&mut options, change).unwrap();
    }
    PretrainRecipe { options, ..recipe }
}

#[test]
fn five_sound_runs_raise_no_alarm() {
    for seed in 0..5 {
        let causes = heard(&recipe(seed)).causes;
        assert!(causes.is_empty(), "seed {seed}: {causes:?}");
    }
}

#[test]
fn without_centering_the_collapse_onto_few_prototypes_is_named() {
    let causes = heard(&with(recipe(0), &["teacher.centering.momentum=1.0"])).causes;
    assert!(causes.contains("collapse onto few prototypes"), "{causes:?}");
}

#[test]
fn a_hot_teacher_is_named_by_its_uniform_targets() {
    let causes = heard(&with(recipe(0), &["teacher.temp.start=1.0", "teacher.temp.end=1.0"])).causes;
    assert!(causes.contains("collapse to uniform targets"), "{causes:?}");
}

#[test]
fn a_cold_teacher_is_named_by_its_targets_without_doubt() {
    let causes = heard(&with(recipe(0), &["teacher.temp.start=0.001", "teacher.temp.end=0.001"])).causes;
    assert!(causes.contains("targets without doubt"), "{causes:?}");
}

#[test]
fn a_learning_rate_a_hundred_times_too_large_is_named() {
    let sound = recipe(0);
    let train = TrainConfig { base_lr: 100.0 * sound.train.base_lr, ..sound.train.clone() };
    let causes = heard(&PretrainRecipe { train, ..sound }).causes;
    let named = ["divergence", "collapse of the features", "dead head"];
    assert!(named.iter().any(|cause| causes.contains(*cause)), "{causes:?}");
}

#[test]
fn identical_views_are_named() {
    let mut spoiled = with(recipe(0), &["crops.n_locals=0"]);
    spoiled.views.scale = (1.0, 1.0);
    spoiled.views.flip_prob = 0.0;
    let causes = heard(&spoiled).causes;
    assert!(causes.contains("identical views"), "{causes:?}");
}
