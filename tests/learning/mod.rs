//! Learning: a tiny model learns what an untrained one cannot tell.

use ssl_pretrain::OBJECTIVES;
use std::sync::Arc;
use testkit::tiny::TinyData;
use vit_data::{Split, open};
use vit_train::{NoWatch, PretrainRecipe, Request, TrainConfig, ViewConfig};

/// Four classes of part-shapes.
const CLASSES: [u32; 4] = [0, 3, 6, 9];

/// 1 / 4
const CHANCE: f64 = 0.25;

fn shapes(split: Split, n_per_class: usize) -> Arc<TinyData> {
    let data = open("part-shapes", split, 0).unwrap();
    Arc::new(TinyData::some_classes(&*data, &CLASSES, n_per_class))
}

#[test]
fn a_tiny_supervised_transformer_tells_part_shapes_apart() {
    let recipe = PretrainRecipe {
        objective: "supervised".into(),
        model: "vit:dim=48,depth=3,heads=4,patch=4,image=32".into(),
        data: "part-shapes".into(),
        seed: 0,
        drop_path: 0.0,
        views: ViewConfig { size_px: 32, scale: (0.7, 1.0), normalize: "half".into(), ..ViewConfig::default() },
        train: TrainConfig { epochs: 25.0, batch: 32, base_lr: 1.2e-2, warmup_epochs: 2.0, ..TrainConfig::default() },
        options: toml::Table::new(),
    };
    let train = shapes(Split::Train, 100);
    let held_out = shapes(Split::Test, 50);
    let row = OBJECTIVES.iter().find(|row| row.info.name == "supervised").unwrap();
    let accuracy = |recipe: &PretrainRecipe| {
        let request = Request {
            recipe,
            data: train.clone(),
            indices: None,
            held_out: Some(held_out.clone()),
            n_previews: 0,
            device: vit_ops::cpu_device(),
            run_dir: None,
            resume: false,
            n_threads: 1,
        };
        (row.run)(&request, &mut NoWatch).unwrap().held_out_top1.unwrap()
    };
    let trained = accuracy(&recipe);
    // One step of warm-up from 0: the learning rate of the first step is 0, so nothing is learned.
    let untrained = PretrainRecipe { train: TrainConfig { epochs: 1.0 / 12.0, ..recipe.train.clone() }, ..recipe };
    let untrained = accuracy(&untrained);
    assert!(trained >= CHANCE + 0.2, "held-out accuracy {trained}, chance {CHANCE}");
    assert!(trained >= untrained + 0.1, "held-out accuracy {trained}, untrained {untrained}");
}
