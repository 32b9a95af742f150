//! Learning: a tiny model learns what an untrained one cannot tell.

use ssl_pretrain::OBJECTIVES;
use std::sync::Arc;
use testkit::tiny::{self, TinyData};
use vit_train::{NoWatch, PretrainRecipe, Request, TrainConfig, ViewConfig};

/// One of four corners.
const CHANCE: f64 = 0.25;

#[test]
fn a_tiny_supervised_transformer_learns_in_which_corner_something_lies() {
    let recipe = PretrainRecipe {
        model: "vit:dim=48,depth=2,heads=4,patch=4,image=16".into(),
        // Where something lies is the class: neither cropped nor mirrored.
        views: ViewConfig { scale: (1.0, 1.0), flip_prob: 0.0, ..tiny::views() },
        train: TrainConfig {
            epochs: 24.0,
            batch: 32,
            base_lr: 1.6e-2,
            warmup_epochs: 1.0,
            ..TrainConfig::default()
        },
        ..tiny::recipe("supervised", "", 1.0)
    };
    let data = Arc::new(TinyData::corners(480, 0));
    let row = OBJECTIVES.iter().find(|row| row.info.name == "supervised").unwrap();
    let accuracy = |recipe: &PretrainRecipe| {
        let request = Request {
            recipe,
            data: data.clone(),
            indices: None,
            held_out: Some(Arc::new(TinyData::corners(200, 1))),
            n_previews: 0,
            device: vit_ops::cpu_device(),
            run_dir: None,
            resume: false,
            n_threads: 0,
            init_from: None,
            clock: || 0.0,
        };
        (row.run)(&request, &mut NoWatch).unwrap().held_out_top1.unwrap()
    };
    let trained = accuracy(&recipe);
    // One step, at the learning rate 0 with which the warm-up begins.
    let untrained =
        PretrainRecipe { train: TrainConfig { epochs: 1.0 / 15.0, ..recipe.train.clone() }, ..recipe };
    let untrained = accuracy(&untrained);
    assert!(trained >= CHANCE + 0.2, "held-out accuracy {trained}, chance {CHANCE}");
    assert!(trained >= untrained + 0.1, "held-out accuracy {trained}, untrained {untrained}");
}
