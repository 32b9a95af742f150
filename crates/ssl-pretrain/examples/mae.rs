//! A few steps of masked autoencoding on the built-in images, by the registry's row.
//!
//! ```sh
//! cargo run -p ssl-pretrain --example mae
//! ```

use std::io::{Write, stdout};
use std::sync::Arc;
use vit_data::Split;
use vit_train::{Flow, Init, PretrainRecipe, Request, StepReport, TrainConfig, ViewConfig, Watch};

/// Prints every step.
struct Print;

impl Watch for Print {
    fn step(&mut self, report: &StepReport) -> Flow {
        let line = writeln!(stdout(), "step {}: loss {:.4}", report.progress.step, report.loss);
        if line.is_ok() { Flow::Continue } else { Flow::Stop }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let recipe = PretrainRecipe {
        objective: "mae".into(),
        model: "vit:dim=32,depth=2,heads=4,patch=8,image=64".into(),
        data: "part-shapes".into(),
        init_from: None,
        init: Init::Encoder,
        seed: 0,
        drop_path: 0.0,
        views: ViewConfig { size_px: 64, normalize: "half".into(), ..ViewConfig::default() },
        train: TrainConfig {
            epochs: 1.0,
            batch: 32,
            base_lr: 4e-3,
            warmup_epochs: 0.2,
            ..TrainConfig::default()
        },
        options: "decoder_width = 32\ndecoder_depth = 1\ndecoder_heads = 2".parse()?,
    };
    let request = Request {
        recipe: &recipe,
        data: Arc::from(vit_data::open("part-shapes", Split::Train, 0)?),
        indices: Some(Arc::new((0..320).collect())),
        held_out: None,
        n_previews: 0,
        device: vit_ops::cpu_device(),
        run_dir: None,
        resume: false,
        n_threads: 1,
        init_from: None,
        clock: || 0.0,
    };
    let row = ssl_pretrain::OBJECTIVES.iter().find(|row| row.info.name == recipe.objective);
    let row = row.ok_or("no such objective")?;
    let plan = (row.plan)(&request)?;
    writeln!(stdout(), "{} parameters, {} steps", plan.n_params, plan.n_steps)?;
    let outcome = (row.run)(&request, &mut Print)?;
    writeln!(stdout(), "an encoder of {} blocks", outcome.backbone.depth())?;
    Ok(())
}
