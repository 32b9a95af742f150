//! A mean teacher, written here against the objective's trait alone: what self-distillation relies on.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use report::Info;
use ssl_pretrain::{Supervised, SupervisedConfig};
use testkit::conformance::{ObjectiveTrial, objective_keeps_its_contract};
use vit_core::weights::{NamedParam, WeightsError, assign, params};
use vit_core::{Backbone, NoLook, Pass, Vit, VitConfig};
use vit_data::{Seed, ViewPlan};
use vit_train::{AdamW, Batch, Objective, Progress, SampleCost, Step, StepOut, Term, ViewConfig, ema_update};

/// Cross-entropy on the labels, and agreement with an average of past students. Momentum in percent.
#[derive(Clone)]
struct MeanTeacher<const MOMENTUM_PERCENT: u32> {
    student: Vit,
    teacher: Vit,
}

fn logits(vit: &Vit, pixels: Tensor<4>) -> Tensor<2> {
    vit.logits(&vit.encode(pixels, &mut Pass::look(&mut NoLook)))
}

impl<const MOMENTUM_PERCENT: u32> Objective for MeanTeacher<MOMENTUM_PERCENT> {
    const INFO: Info = Info {
        name: "mean-teacher",
        line: "agree with the average of past students",
        source: "Tarvainen and Valpola",
    };
    const NEEDS_LABELS: bool = true;
    type Config = SupervisedConfig;
    type Student = Vit;
    type Carry = ();

    fn views(config: &SupervisedConfig, views: &ViewConfig) -> ViewPlan {
        Supervised::views(config, views)
    }

    fn init(
        _: &SupervisedConfig,
        encoder: &VitConfig,
        n_classes: usize,
        device: &Device,
        seed: Seed,
    ) -> Result<Self, String> {
        let config = VitConfig { n_classes, ..encoder.clone() };
        let student = config.init(device, &mut seed.stream("weights", &[]));
        let teacher = student.clone().no_grad();
        Ok(Self { student, teacher })
    }

    fn sample_cost(&self) -> SampleCost {
        SampleCost { forward_macs: 2 * self.student.config.macs(4), n_tokens: 5 }
    }

    fn student(&self) -> &Vit {
        &self.student
    }

    fn map_student(self, change: impl FnOnce(Vit) -> Vit) -> Self {
        Self { student: change(self.student), ..self }
    }

    fn loss(&self, batch: &Batch, _: &mut Step) -> StepOut<()> {
        let pixels = batch.views[0].clone();
        let student = logits(&self.student, pixels.clone());
        let taught = HostLogits::of(logits(&self.teacher, pixels.inner())).on(&student.device());
        let labels: Vec<i32> = batch.host.labels.iter().map(|label| label.unwrap() as i32).collect();
        let labels =
            Tensor::<2, Int>::from_data(TensorData::new(labels, [student.dims()[0], 1]), &student.device());
        let agreement = (student.clone() - taught).powi_scalar(2).mean();
        let cross_entropy = log_softmax(student, 1).gather(1, labels).mean().neg();
        let terms = vec![
            Term { name: "cross_entropy", value: cross_entropy },
            Term { name: "agreement", value: agreement.mul_scalar(0.1) },
        ];
        StepOut { terms, carry: () }
    }

    fn after_step(self, (): (), _: Progress) -> Self {
        let momentum = f64::from(MOMENTUM_PERCENT) / 100.0;
        Self { teacher: ema_update(self.teacher, &self.student, momentum), ..self }
    }

    fn export(&self) -> Backbone {
        Backbone::Vit(self.student.valid())
    }

    fn state(&self) -> Vec<NamedParam> {
        let teacher = params(&self.teacher).into_iter();
        let teacher = teacher.map(|param| NamedParam { name: format!("teacher.{}", param.name), ..param });
        params(&self.student).into_iter().chain(teacher).collect()
    }

    fn with_state(
        self,
        read: &mut dyn FnMut(&str, &[usize]) -> Result<Vec<f32>, WeightsError>,
    ) -> Result<Self, WeightsError> {
        let student = assign(self.student, &mut *read)?;
        let teacher = assign(self.teacher, |name, shape| read(&format!("teacher.{name}"), shape))?;
        Ok(Self { student, teacher })
    }
}

/// Logits taken off their graph and device.
struct HostLogits(TensorData);

impl HostLogits {
    fn of(logits: Tensor<2>) -> Self {
        Self(logits.into_data())
    }

    fn on(self, device: &Device) -> Tensor<2> {
        Tensor::from_data(self.0, device)
    }
}

/// Values by name.
fn values(vit: &Vit) -> Vec<(String, Vec<f32>)> {
    params(vit).into_iter().map(|param| (param.name, param.values)).collect()
}

fn optimizer() -> AdamW {
    AdamW::new(0.9, 0.95, 1e-8)
}

#[test]
fn the_optimizer_never_changes_the_teacher() {
    let trial = ObjectiveTrial::<MeanTeacher<90>>::new("");
    let mut objective = trial.start(trial.seed);
    let mut optimizer = optimizer();
    for step in 0..3 {
        let (teacher, student) = (values(&objective.teacher), values(&objective.student));
        let mut between = |objective: &MeanTeacher<90>| {
            assert_eq!(values(&objective.teacher), teacher, "step {step}");
            assert_ne!(values(&objective.student), student, "step {step}");
        };
        (objective, _) = trial.step(objective, &mut optimizer, step, &mut between);
    }
}

#[test]
fn a_teacher_with_momentum_one_is_bit_equal_to_its_start() {
    let trial = ObjectiveTrial::<MeanTeacher<100>>::new("");
    let objective = trial.start(trial.seed);
    let (teacher, student) = (values(&objective.teacher), values(&objective.student));
    let (objective, _) = trial.steps(objective, &mut optimizer(), 0, 3);
    assert_ne!(values(&objective.student), student, "the student has learned");
    assert_eq!(values(&objective.teacher), teacher);
}

#[test]
fn a_teacher_with_momentum_zero_is_the_student() {
    let trial = ObjectiveTrial::<MeanTeacher<0>>::new("");
    let (objective, _) = trial.steps(trial.start(trial.seed), &mut optimizer(), 0, 2);
    assert_eq!(values(&objective.teacher), values(&objective.student));
}

#[test]
fn a_teacher_follows_its_student_by_the_momentum() {
    let trial = ObjectiveTrial::<MeanTeacher<90>>::new("");
    let mut objective = trial.start(trial.seed);
    let mut optimizer = optimizer();
    for step in 0..3 {
        let before = values(&objective.teacher);
        (objective, _) = trial.step(objective, &mut optimizer, step, &mut |_| {});
        let (teacher, student) = (values(&objective.teacher), values(&objective.student));
        assert_ne!(teacher, before);
        for (((name, now), (_, before)), (_, student)) in teacher.iter().zip(&before).zip(&student) {
            for ((&now, &before), &student) in now.iter().zip(before).zip(student) {
                let expected = 0.9 * f64::from(before) + 0.1 * f64::from(student);
                // The kernel rounds to f32 at each of its operations.
                let slack = 2.0 * f64::from(f32::EPSILON) * f64::from(before.abs().max(student.abs()));
                assert!(
                    (f64::from(now) - expected).abs() <= slack,
                    "step {step}: {name}: {now} against {expected}"
                );
            }
        }
    }
}

#[test]
fn an_objective_with_a_teacher_keeps_the_contract_of_objectives() {
    objective_keeps_its_contract::<MeanTeacher<90>>("");
}
