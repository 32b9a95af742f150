//! Runs that end before their time: interrupted, killed, or spoiled by a number that is none.

use burn::tensor::Device;
use report::{Info, RecipeError};
use ssl_pretrain::{OBJECTIVES, Supervised, SupervisedConfig};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use testkit::tiny::{self, TinyData};
use vit_core::{Backbone, Vit, VitConfig};
use vit_data::{Dataset, Seed, ViewPlan};
use vit_train::{
    Batch, Flow, Method, NoWatch, Objective, Outcome, PretrainRecipe, Request, SampleCost, Step, StepOut,
    StepReport, TrainError, ViewConfig, Watch, latest_checkpoint, method,
};

/// Three epochs of four steps.
const N_STEPS: usize = 12;

fn recipe(objective: &str) -> PretrainRecipe {
    let options = if objective == "spoiled" { String::new() } else { tiny::small_options(objective) };
    tiny::recipe(objective, &options, 3.0)
}

fn run(
    method: &Method,
    recipe: &PretrainRecipe,
    dir: &Path,
    resume: bool,
    watch: &mut dyn Watch,
) -> Result<Outcome, TrainError> {
    let request = Request {
        recipe,
        data: Arc::new(TinyData::stripes(35, 4, 0)), // the last three are left over in every epoch
        indices: None,
        held_out: None,
        n_previews: 0,
        device: vit_ops::cpu_device(),
        run_dir: Some(dir),
        resume,
        n_threads: 1,
        init_from: None,
        clock: || 0.0,
    };
    (method.run)(&request, watch)
}

/// Stops, or dies, after a step.
enum Ending {
    Stop { after: usize },
    Die { after: usize },
}

impl Watch for Ending {
    fn step(&mut self, report: &StepReport) -> Flow {
        match *self {
            Self::Stop { after } if report.progress.step == after => Flow::Stop,
            Self::Die { after } if report.progress.step == after => panic!("killed"),
            _ => Flow::Continue,
        }
    }
}

/// The log and the weights that a whole run leaves.
fn traces(dir: &Path) -> (Vec<String>, Vec<u8>) {
    let log = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), N_STEPS, "one line a step: {log}");
    (lines, fs::read(dir.join("backbone.safetensors")).unwrap())
}

fn assert_same_run(name: &str, ours: &Path, whole: &Path) {
    let ((ours_log, ours), (whole_log, whole)) = (traces(ours), traces(whole));
    for (ours, whole) in ours_log.iter().zip(&whole_log) {
        assert_eq!(ours, whole, "`{name}`: a line of metrics.jsonl");
    }
    assert!(ours == whole, "`{name}`: final weights are not bit-equal");
}

#[test]
fn an_interrupted_run_that_goes_on_is_the_uninterrupted_run() {
    for row in OBJECTIVES {
        let name = row.info.name;
        let (whole, parts) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        run(row, &recipe(name), whole.path(), false, &mut NoWatch).unwrap();
        // Step 6 is in the middle of the second epoch.
        match run(row, &recipe(name), parts.path(), false, &mut Ending::Stop { after: 5 }) {
            Err(TrainError::Interrupted { step: 6, path }) => assert!(path.ends_with("checkpoints/step-6")),
            Err(error) => panic!("`{name}`: {error}"),
            Ok(_) => panic!("`{name}`: did not stop"),
        }
        run(row, &recipe(name), parts.path(), true, &mut NoWatch).unwrap();
        assert_same_run(name, parts.path(), whole.path());
    }
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint_and_repeats_what_was_lost() {
    let row = &OBJECTIVES[0];
    let name = row.info.name;
    let (whole, parts) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    run(row, &recipe(name), whole.path(), false, &mut NoWatch).unwrap();
    // A checkpoint every third step; killed in the fifth, the steps after the third are lost.
    let killed =
        AssertUnwindSafe(|| run(row, &recipe(name), parts.path(), false, &mut Ending::Die { after: 4 }));
    assert!(catch_unwind(killed).is_err());
    assert!(latest_checkpoint(parts.path()).unwrap().ends_with("step-3"));
    // What a kill in the middle of saving leaves behind, and in the middle of a line.
    fs::create_dir(parts.path().join("checkpoints/partial-6")).unwrap();
    let log = parts.path().join("metrics.jsonl");
    let torn = format!("{}{{\"step\":5,\"ep", fs::read_to_string(&log).unwrap());
    fs::write(&log, torn).unwrap();
    run(row, &recipe(name), parts.path(), true, &mut NoWatch).unwrap();
    assert_same_run(name, parts.path(), whole.path());
}

#[test]
fn resuming_a_finished_run_changes_nothing() {
    let row = &OBJECTIVES[0];
    let dir = TempDir::new().unwrap();
    run(row, &recipe(row.info.name), dir.path(), false, &mut NoWatch).unwrap();
    let before = traces(dir.path());
    run(row, &recipe(row.info.name), dir.path(), true, &mut NoWatch).unwrap();
    assert!(before == traces(dir.path()));
}

#[test]
fn only_the_last_checkpoints_are_kept() {
    let row = &OBJECTIVES[0];
    let dir = TempDir::new().unwrap();
    run(row, &recipe(row.info.name), dir.path(), false, &mut NoWatch).unwrap();
    let mut kept: Vec<String> = fs::read_dir(dir.path().join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    assert_eq!(kept, ["step-12", "step-9"]);
}

#[test]
fn another_recipe_on_resuming_is_refused_with_the_line_that_differs() {
    let row = &OBJECTIVES[0];
    let dir = TempDir::new().unwrap();
    let recipe = recipe(row.info.name);
    let _ = run(row, &recipe, dir.path(), false, &mut Ending::Stop { after: 2 });
    let saved = fs::read_to_string(dir.path().join("recipe.toml")).unwrap();
    let mut other = recipe;
    other.train.base_lr = 0.5;
    match run(row, &other, dir.path(), true, &mut NoWatch) {
        Err(TrainError::Checkpoint { expected, found, path }) => {
            assert!(expected.contains("base_lr = 0.03"), "{expected}");
            assert!(found.contains("base_lr = 0.5"), "{found}");
            assert!(path.starts_with(dir.path()));
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("another recipe was accepted"),
    }
    assert_eq!(fs::read_to_string(dir.path().join("recipe.toml")).unwrap(), saved, "the saved recipe stands");
}

/// Supervised training whose loss is not a number from step 3 on.
#[derive(Clone)]
struct Spoiled(Supervised);

impl Objective for Spoiled {
    const INFO: Info = Info { name: "spoiled", line: "not a number from step 3 on", source: "this test" };
    type Config = SupervisedConfig;
    type Student = Vit;
    type Carry = ();

    fn views(config: &SupervisedConfig, views: &ViewConfig) -> ViewPlan {
        Supervised::views(config, views)
    }

    fn init(
        config: &SupervisedConfig,
        encoder: &VitConfig,
        n_classes: usize,
        device: &Device,
        seed: Seed,
    ) -> Result<Self, String> {
        Supervised::init(config, encoder, n_classes, device, seed).map(Self)
    }

    fn sample_cost(&self) -> SampleCost {
        self.0.sample_cost()
    }

    fn student(&self) -> &Vit {
        self.0.student()
    }

    fn map_student(self, change: impl FnOnce(Vit) -> Vit) -> Self {
        Self(self.0.map_student(change))
    }

    fn loss(&self, batch: &Batch, step: &mut Step) -> StepOut<()> {
        let mut out = self.0.loss(batch, step);
        if step.progress.step >= 3 {
            let value = out.terms[0].value.clone().mul_scalar(f64::NAN);
            out.terms.push(vit_train::Term { name: "spoiled_term", value });
        }
        out
    }

    fn export(&self) -> Backbone {
        self.0.export()
    }
}

#[test]
fn a_loss_that_is_not_a_number_stops_the_run_and_names_step_term_and_last_checkpoint() {
    let mut recipe = recipe("spoiled");
    for (every, last_checkpoint) in [(2, "step-2"), (100, "no checkpoint was saved yet")] {
        let dir = TempDir::new().unwrap();
        recipe.train.checkpoint_every_steps = every;
        let error =
            run(&method::<Spoiled>(), &recipe, dir.path(), false, &mut NoWatch).err().expect("a refusal");
        let TrainError::NotFinite { step, term, found, last } = &error else { panic!("{error}") };
        assert_eq!((*step, term.as_str()), (3, "spoiled_term"));
        assert!(found.is_nan());
        assert!(last.contains(last_checkpoint), "{last}");
        let sentence = error.to_string();
        assert!(
            sentence.contains("`spoiled_term` at step 3") && sentence.contains(last_checkpoint),
            "{sentence}"
        );
        assert!(!dir.path().join("backbone.safetensors").exists(), "a spoiled run leaves no weights");
    }
}

#[test]
fn a_run_that_cannot_begin_says_why() {
    let row = OBJECTIVES.iter().find(|row| row.info.name == "supervised").unwrap();
    let begin = |recipe: &PretrainRecipe, data: Arc<dyn Dataset>| {
        let request = Request {
            recipe,
            data,
            indices: None,
            held_out: None,
            n_previews: 0,
            device: vit_ops::cpu_device(),
            run_dir: None,
            resume: false,
            n_threads: 0,
            init_from: None,
            clock: || 0.0,
        };
        (row.run)(&request, &mut NoWatch).err().expect("a refusal")
    };
    let sound = recipe("supervised");
    let few = begin(&sound, Arc::new(TinyData::stripes(7, 2, 0)));
    assert!(matches!(few, TrainError::TooFew { batch: 8, found: 7, .. }), "{few}");
    let unlabeled = begin(&sound, Arc::new(TinyData::stripes(16, 2, 0).without_labels()));
    assert!(matches!(unlabeled, TrainError::Needs { objective: "supervised", .. }), "{unlabeled}");
    let stripes = || Arc::new(TinyData::stripes(16, 2, 0));
    let model = begin(&PretrainRecipe { model: "vit-xl/16".into(), ..sound.clone() }, stripes());
    assert!(
        matches!(&model, TrainError::Recipe(RecipeError::Value { key, .. }) if key == "model"),
        "{model}"
    );
    let mut uncut = sound;
    uncut.views.size_px = 18; // no multiple of the patch
    let uncut = begin(&uncut, stripes());
    assert!(uncut.to_string().contains("18"), "{uncut}");
}
