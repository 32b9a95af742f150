//! What every objective keeps.

use crate::{gradients, tiny};
use burn::tensor::{Device, Tensor};
use report::recipe;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vit_core::VitConfig;
use vit_core::weights::{NamedParam, WeightsError, names, params};
use vit_data::{Dataset, Seed};
use vit_train::{AdamW, Batch, Grads, LearnAt, Objective, Progress, Rates, Step, Term, learn, upload};

/// An objective around a tiny encoder, with a batch to learn.
#[derive(Clone)]
pub struct ObjectiveTrial<O: Objective> {
    /// Its options.
    pub config: O::Config,
    /// Around what it is started.
    pub encoder: VitConfig,
    /// What it learns.
    pub batch: Batch,
    /// Classes of the data.
    pub n_classes: usize,
    /// Where it lives: an autodiff device.
    pub device: Device,
    /// From which everything is drawn.
    pub seed: Seed,
    /// The learning rate of [`ObjectiveTrial::step`].
    pub lr: f64,
}

impl<O: Objective> ObjectiveTrial<O> {
    /// 16 striped images of 4 classes, and [`tiny::vit_config`].
    ///
    /// # Panics
    /// When the options are not the objective's.
    pub fn new(options: &str) -> Self {
        let table: toml::Table = options.parse().expect("options are TOML");
        let config: O::Config =
            recipe::from_table(table, "options").unwrap_or_else(|error| panic!("{error}"));
        let device = vit_ops::cpu_device().autodiff();
        let seed = Seed(11);
        let data: Arc<dyn Dataset> = Arc::new(tiny::TinyData::stripes(16, 4, 0));
        let batch = tiny::batch(&data, O::views(&config, &tiny::views()), 16, seed, &device);
        Self { config, encoder: tiny::vit_config(), batch, n_classes: 4, device, seed, lr: 2e-3 }
    }

    /// A fresh start.
    ///
    /// # Panics
    /// When the objective refuses the encoder.
    pub fn start(&self, seed: Seed) -> O {
        O::init(&self.config, &self.encoder, self.n_classes, &self.device, seed)
            .unwrap_or_else(|problem| panic!("`{}`: {problem}", O::INFO.name))
    }

    fn draws(&self, step: usize) -> Step {
        let progress = Progress { step, n_steps: 100, steps_per_epoch: 10 };
        Step { progress, seed: self.seed, draws: self.seed.stream("step", &[step as u64]) }
    }

    /// The loss of the batch at a step, term by term.
    pub fn terms(&self, objective: &O, step: usize) -> Vec<(&'static str, f32)> {
        let out = objective.loss(&self.batch, &mut self.draws(step));
        out.terms.into_iter().map(|term| (term.name, term.value.into_scalar::<f32>())).collect()
    }

    /// One step of training: loss, gradients, AdamW, after the step. `between` sees the objective after the optimizer
    /// and before [`Objective::after_step`].
    ///
    /// # Panics
    /// When the objective gives no loss.
    pub fn step(
        &self,
        objective: O,
        optimizer: &mut AdamW,
        step: usize,
        between: &mut dyn FnMut(&O),
    ) -> (O, f32) {
        let (total, carry) = self.total(&objective, step);
        let loss = total.clone().into_scalar::<f32>();
        let objective = self.optimize(objective, optimizer, step, total);
        between(&objective);
        let objective = objective.after_step(carry, self.draws(step).progress);
        (objective, loss)
    }

    /// The loss at a step, and what is carried to the update after it.
    fn total(&self, objective: &O, step: usize) -> (Tensor<1>, O::Carry) {
        let out = objective.loss(&self.batch, &mut self.draws(step));
        let total = out.terms.into_iter().map(|Term { value, .. }| value).reduce(|sum, term| sum + term);
        (total.unwrap_or_else(|| panic!("`{}` gave no loss term", O::INFO.name)), out.carry)
    }

    /// What the optimizer makes of a loss.
    fn optimize(&self, objective: O, optimizer: &mut AdamW, step: usize, total: Tensor<1>) -> O {
        let mut grads = Grads::of(objective.student(), total.backward());
        objective.on_grads(&mut grads, self.draws(step).progress);
        let rates = |name: &str, shape: &[usize]| Rates {
            lr: self.lr,
            weight_decay: if O::decays(name, shape) { 0.05 } else { 0.0 },
        };
        objective.map_student(|student| optimizer.step(student, grads, &rates))
    }

    /// Some steps from `first` on; the losses.
    pub fn steps(&self, mut objective: O, optimizer: &mut AdamW, first: usize, n: usize) -> (O, Vec<f32>) {
        let mut losses = Vec::with_capacity(n);
        for step in first..first + n {
            let loss;
            (objective, loss) = self.step(objective, optimizer, step, &mut |_| {});
            losses.push(loss);
        }
        (objective, losses)
    }
}

fn optimizer() -> AdamW {
    AdamW::new(0.9, 0.95, 1e-8)
}

/// Everything that section 5 of the house asks of an objective, on tiny data.
///
/// - the loss is finite, has named terms, and falls while what is not trained by gradients stands still
/// - every trainable parameter of the student gets a gradient that is finite and not all zero; no other gets one
/// - same seed, same loss, bit for bit; another seed, another loss
/// - the optimizer changes the student and nothing else of the state
/// - what was saved and restored into a fresh objective goes on with the same loss, bit for bit
/// - what is said to be separable is: a batch in parts has the loss, the gradients and the state afterwards that the whole has
/// - the exported encoder runs without autodiff
///
/// # Panics
/// With the objective's name and what it breaks.
pub fn objective_keeps_its_contract<O: Objective>(options: &str) {
    let trial = ObjectiveTrial::<O>::new(options);
    terms_are_named_and_finite(&trial);
    every_trainable_parameter_gets_a_gradient(&trial);
    the_loss_falls(&trial);
    the_seed_decides_the_loss(&trial);
    the_optimizer_sees_the_student_only(&trial);
    what_is_restored_goes_on_alike(&trial);
    parts_are_as_the_whole(&trial);
    the_export_runs_without_autodiff(&trial);
}

fn terms_are_named_and_finite<O: Objective>(trial: &ObjectiveTrial<O>) {
    let name = O::INFO.name;
    let terms = trial.terms(&trial.start(trial.seed), 0);
    assert!(!terms.is_empty(), "`{name}` has no loss term");
    let names: BTreeSet<&str> = terms.iter().map(|(term, _)| *term).collect();
    assert!(
        names.len() == terms.len() && !names.contains(""),
        "`{name}`: terms {names:?} are not named one by one"
    );
    for (term, value) in terms {
        assert!(value.is_finite(), "`{name}`: term `{term}` is {value}");
    }
}

fn every_trainable_parameter_gets_a_gradient<O: Objective>(trial: &ObjectiveTrial<O>) {
    let name = O::INFO.name;
    let objective = trial.start(trial.seed);
    let out = objective.loss(&trial.batch, &mut trial.draws(0));
    let total = out.terms.into_iter().map(|term| term.value).reduce(|sum, term| sum + term).expect("a loss");
    let found = gradients(objective.student(), &total.backward());
    for NamedParam { name: param, shape, trainable, .. } in names(objective.student()) {
        let Some(grad) = found.get(&param) else {
            assert!(!trainable, "`{name}`: trainable parameter `{param}` has no gradient");
            continue;
        };
        assert!(trainable, "`{name}`: frozen parameter `{param}` has a gradient");
        assert_eq!(grad.shape, shape, "`{name}`: gradient of `{param}`");
        assert!(
            grad.values.iter().all(|x| x.is_finite()),
            "`{name}`: the gradient of `{param}` is not finite"
        );
        assert!(grad.values.iter().any(|&x| x != 0.0), "`{name}`: the gradient of `{param}` is zero");
    }
}

fn the_loss_falls<O: Objective>(trial: &ObjectiveTrial<O>) {
    // Without the update after the step: a teacher's targets stand still, or the loss would be another every time.
    let (mut objective, mut optimizer) = (trial.start(trial.seed), optimizer());
    let mut losses = Vec::new();
    for step in 0..20 {
        let (total, _) = trial.total(&objective, step);
        losses.push(total.clone().into_scalar::<f32>());
        objective = trial.optimize(objective, &mut optimizer, step, total);
    }
    let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
    let (first, last) = (mean(&losses[..3]), mean(&losses[17..]));
    assert!(
        last < first,
        "`{}`: the loss does not fall on a batch it sees again and again: {losses:?}",
        O::INFO.name
    );
}

fn the_seed_decides_the_loss<O: Objective>(trial: &ObjectiveTrial<O>) {
    let name = O::INFO.name;
    let run = |seed: Seed| trial.steps(trial.start(seed), &mut optimizer(), 0, 3).1;
    assert_eq!(run(trial.seed), run(trial.seed), "`{name}`: the same seed gives another loss");
    assert_ne!(run(trial.seed), run(Seed(12)), "`{name}`: another seed gives the same loss");
}

fn by_name(state: Vec<NamedParam>) -> BTreeMap<String, NamedParam> {
    state.into_iter().map(|param| (param.name.clone(), param)).collect()
}

fn the_optimizer_sees_the_student_only<O: Objective>(trial: &ObjectiveTrial<O>) {
    let name = O::INFO.name;
    let objective = trial.start(trial.seed);
    let student = by_name(params(objective.student()));
    let beside = |objective: &O| {
        let mut state = by_name(objective.state());
        state.retain(|param, _| !student.contains_key(param));
        state
    };
    let before = beside(&objective);
    let mut after = BTreeMap::new();
    let mut moved = false;
    trial.step(objective, &mut optimizer(), 0, &mut |objective| {
        after = beside(objective);
        moved = by_name(params(objective.student())) != student;
    });
    assert!(moved, "`{name}`: a step leaves the student as it was");
    assert!(before == after, "`{name}`: the optimizer changed what is not the student's");
}

fn what_is_restored_goes_on_alike<O: Objective>(trial: &ObjectiveTrial<O>) {
    let name = O::INFO.name;
    let (objective, _) = trial.steps(trial.start(trial.seed), &mut optimizer(), 0, 4);
    let mut saved = by_name(objective.state());
    let mut read = |param: &str, shape: &[usize]| -> Result<Vec<f32>, WeightsError> {
        let saved = saved.remove(param).unwrap_or_else(|| panic!("`{name}`: state has no `{param}`"));
        assert_eq!(saved.shape, shape, "`{name}`: shape of `{param}` in the state");
        Ok(saved.values)
    };
    let restored =
        trial.start(Seed(99)).with_state(&mut read).unwrap_or_else(|error| panic!("`{name}`: {error}"));
    assert!(saved.is_empty(), "`{name}`: saved, but never read again: {:?}", saved.keys());
    assert_eq!(
        trial.terms(&objective, 4),
        trial.terms(&restored, 4),
        "`{name}`: the next loss after restoring"
    );
    // The update after the step must go on alike too, and what was restored must still be trainable.
    let next = |objective: O| trial.steps(objective, &mut optimizer(), 4, 3).1;
    assert_eq!(next(objective), next(restored), "`{name}`: training after restoring");
}

fn parts_are_as_the_whole<O: Objective>(trial: &ObjectiveTrial<O>) {
    let name = O::INFO.name;
    // After some steps, so that no center is still 0; an odd number of samples, so that parts are not alike.
    let (objective, _) = trial.steps(trial.start(trial.seed), &mut optimizer(), 0, 3);
    if !objective.is_separable() {
        return;
    }
    let host = trial.batch.host.part(0..trial.batch.host.indices.len() - 1);
    let draws = trial.draws(3);
    let at = LearnAt { progress: draws.progress, seed: draws.seed, epoch: trial.batch.epoch, draws: 3 };
    let mut parts = learn(&objective, &host, &trial.device, &at);
    let whole = ObjectiveTrial { batch: upload(host, trial.batch.epoch, &trial.device), ..trial.clone() };
    let terms = whole.terms(&objective, 3);
    assert_eq!(terms.len(), parts.terms.len(), "`{name}`: terms of parts");
    for ((term, of_whole), (_, of_parts)) in terms.iter().zip(&parts.terms) {
        near(&[*of_whole], &[*of_parts as f32], &format!("`{name}`: term `{term}` of parts"));
    }
    let (total, carry) = whole.total(&objective, 3);
    let mut grads = Grads::of(objective.student(), total.backward());
    let names: Vec<String> = grads.names().map(str::to_owned).collect();
    assert!(names.iter().map(String::as_str).eq(parts.grads.names()), "`{name}`: gradients of parts");
    for param in names {
        let values = |grads: &mut Grads| {
            grads.remove(&param).map(|grad| {
                crate::HostTensor::of(grad).values.iter().map(|&x| x as f32).collect::<Vec<f32>>()
            })
        };
        let (of_whole, of_parts) = (values(&mut grads), values(&mut parts.grads));
        near(
            &of_whole.unwrap_or_default(),
            &of_parts.unwrap_or_default(),
            &format!("`{name}`: gradient of `{param}` of parts"),
        );
    }
    let after = |carry: O::Carry| objective.clone().after_step(carry, at.progress).state();
    for (of_whole, of_parts) in after(carry).iter().zip(after(parts.carry)) {
        let what = format!("`{name}`: `{}` after a step of parts", of_whole.name);
        near(&of_whole.values, &of_parts.values, &what);
    }
}

/// Equal within 2e-5 of the largest value.
fn near(expected: &[f32], found: &[f32], what: &str) {
    let largest = expected.iter().fold(1e-3f32, |largest, x| largest.max(x.abs()));
    assert_eq!(expected.len(), found.len(), "{what}");
    let worst = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
    assert!(worst <= 2e-5 * largest, "{what}: {worst} apart of {largest}");
}

fn the_export_runs_without_autodiff<O: Objective>(trial: &ObjectiveTrial<O>) {
    let backbone = trial.start(trial.seed).export();
    let tokens = backbone.infer(trial.batch.views[0].clone().inner()).all;
    assert!(!tokens.is_autodiff(), "`{}`: the exported encoder is on an autodiff device", O::INFO.name);
    let values = crate::HostTensor::of(tokens).values;
    assert!(
        values.iter().all(|x| x.is_finite()),
        "`{}`: the exported encoder gives {values:?}",
        O::INFO.name
    );
}
