//! Scores on the way: they stand in the log where they are due, and change nothing.

use ssl_pretrain::OBJECTIVES;
use std::cell::RefCell;
use std::fs;
use std::sync::Arc;
use tempfile::TempDir;
use testkit::tiny::{self, TinyData};
use vit_core::Backbone;
use vit_train::{
    Flow, Monitor, MonitorConfig, PretrainRecipe, Request, StepReport, TrainConfig, TrainError, Watch,
};

/// Scores an encoder by its tokens of one picture.
#[derive(Default)]
struct OnePicture {
    seen: RefCell<Vec<f32>>,
}

impl Monitor for OnePicture {
    fn n_images(&self) -> usize {
        1
    }

    fn scores(&self, encoder: &Backbone) -> Result<Vec<(&'static str, f64)>, TrainError> {
        let tokens = encoder.infer(tiny::sines([1, 3, 16, 16], 0.3, &vit_ops::cpu_device()));
        let values = testkit::HostTensor::of(tokens.all).to_f32();
        self.seen.borrow_mut().push(values[0]);
        Ok(vec![("first_value", f64::from(values[0]))])
    }
}

struct Scored(Option<OnePicture>);

impl Watch for Scored {
    fn step(&mut self, _: &StepReport) -> Flow {
        Flow::Continue
    }

    fn monitor(&self) -> Option<&dyn Monitor> {
        self.0.as_ref().map(|monitor| monitor as &dyn Monitor)
    }
}

#[test]
fn scores_are_logged_where_they_are_due_and_change_nothing() {
    for row in OBJECTIVES {
        let name = row.info.name;
        let plain = tiny::recipe(name, &tiny::small_options(name), 3.0);
        let monitor = MonitorConfig { every_steps: 5, ..MonitorConfig::default() };
        let recipe = PretrainRecipe { train: TrainConfig { monitor, ..plain.train.clone() }, ..plain };
        let train = |watch: &mut Scored| {
            let dir = TempDir::new().unwrap();
            let request = Request {
                recipe: &recipe,
                data: Arc::new(TinyData::stripes(32, 4, 0)),
                indices: None,
                held_out: None,
                n_previews: 0,
                device: vit_ops::cpu_device(),
                run_dir: Some(dir.path()),
                resume: false,
                n_threads: 1,
                init_from: None,
                clock: || 0.0,
            };
            (row.run)(&request, watch).unwrap_or_else(|error| panic!("`{name}`: {error}"));
            let log = fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
            let lines: Vec<serde_json::Value> =
                log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            (lines, fs::read(dir.path().join("backbone.safetensors")).unwrap())
        };
        let mut scored = Scored(Some(OnePicture::default()));
        let ((lines, weights), (plain_lines, plain_weights)) = (train(&mut scored), train(&mut Scored(None)));
        assert!(weights == plain_weights, "`{name}`: scores changed the weights");
        let losses = |lines: &[serde_json::Value]| -> Vec<f64> {
            lines.iter().map(|line| line["loss"].as_f64().unwrap()).collect()
        };
        assert_eq!(losses(&lines), losses(&plain_lines), "`{name}`: scores changed the losses");
        // Twelve steps: every fifth from the first on, and the last.
        let due: Vec<u64> = lines
            .iter()
            .filter(|line| line["first_value"].is_f64())
            .map(|line| line["step"].as_u64().unwrap())
            .collect();
        assert_eq!(due, [0, 5, 10, 11], "`{name}`");
        let seen = scored.0.unwrap().seen.into_inner();
        assert!(seen[0] != seen[2], "`{name}`: the encoder that is scored is the one that is trained");
        assert!(plain_lines.iter().all(|line| line["first_value"].is_null()));
    }
}
