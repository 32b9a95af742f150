//! Supervised training: cross-entropy of a linear classifier on the pooled representation.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use report::{Info, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_core::{Backbone, Keep, NoLook, Pass, Pool, Vit, VitConfig, weights::start_from};
use vit_data::{Seed, ViewPlan};
use vit_train::{Batch, Objective, SampleCost, Step, StepOut, Term, ViewConfig};

/// The options of [`Supervised`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupervisedConfig {
    /// What the classifier reads: `class` (the class token after the final norm; ViT, DeiT) or `mean` (the normed
    /// mean of the patches).
    pub pool: Pool,
}

impl Default for SupervisedConfig {
    fn default() -> Self {
        Self { pool: Pool::Class }
    }
}

impl Recipe for SupervisedConfig {
    fn check(&self) -> Result<(), RecipeError> {
        Ok(())
    }
}

/// `loss = −mean over B of log softmax(W·pool(encode(x)) + b)[label]`
///
/// # Source
/// Dosovitskiy et al., An Image is Worth 16x16 Words; the decay rule of DeiT.
pub struct Supervised {
    student: Vit,
}

impl Objective for Supervised {
    const INFO: Info = Info {
        name: "supervised",
        line: "cross-entropy on the classes of the data",
        source: "Dosovitskiy et al. 2021; Touvron et al. 2021",
    };
    const NEEDS_LABELS: bool = true;
    type Config = SupervisedConfig;
    type Student = Vit;
    type Carry = ();

    fn views(_: &SupervisedConfig, views: &ViewConfig) -> ViewPlan {
        views.plan()
    }

    fn init(
        config: &SupervisedConfig,
        encoder: &VitConfig,
        n_classes: usize,
        device: &Device,
        seed: Seed,
    ) -> Result<Self, String> {
        if n_classes < 2 {
            return Err(format!("expected at least 2 classes; found {n_classes}"));
        }
        let encoder = VitConfig { n_classes, pool: config.pool, ..encoder.clone() };
        encoder.check()?;
        Ok(Self { student: encoder.init(device, &mut seed.stream("weights", &[])) })
    }

    fn decays(name: &str, shape: &[usize]) -> bool {
        shape.len() > 1 && !name.ends_with("pos_embed") && !name.ends_with("_token")
    }

    fn start_from(self, from: &Vit) -> Result<(Self, Vec<String>), String> {
        let started = start_from(self.student, from)?;
        Ok((Self { student: started.vit }, started.fresh))
    }

    fn sample_cost(&self) -> SampleCost {
        let config = &self.student.config;
        let n_patches = config.grid().n_patches();
        SampleCost { forward_macs: config.macs(n_patches), n_tokens: config.n_prefix() + n_patches }
    }

    fn student(&self) -> &Vit {
        &self.student
    }

    fn map_student(self, change: impl FnOnce(Vit) -> Vit) -> Self {
        Self { student: change(self.student) }
    }

    fn loss(&self, batch: &Batch, step: &mut Step) -> StepOut<()> {
        let mut look = NoLook;
        let mut pass = Pass { keep: &Keep::All, look: &mut look, draws: Some(&mut step.draws) };
        let tokens = self.student.encode(batch.views[0].clone(), &mut pass);
        let value = cross_entropy(self.student.logits(&tokens), &batch.host.labels);
        StepOut { terms: vec![Term { name: "cross_entropy", value }], carry: () }
    }

    fn export(&self) -> Backbone {
        Backbone::Vit(self.student.valid())
    }

    fn predict(&self, batch: &Batch) -> Option<Vec<u32>> {
        let student = self.student.valid();
        let tokens = student.encode(batch.views[0].clone(), &mut Pass::look(&mut NoLook));
        let best = student.logits(&tokens).argmax(1);
        let best = best.into_data().convert::<i64>().try_to_vec::<i64>().ok()?;
        Some(best.into_iter().map(|class| class as u32).collect())
    }
}

/// `−mean over B of log softmax(logits)[label]`, `[1]`.
fn cross_entropy(logits: Tensor<2>, labels: &[Option<u32>]) -> Tensor<1> {
    let [b, _] = logits.dims();
    let labels: Vec<i32> = labels.iter().map(|label| label.map_or(0, |class| class as i32)).collect();
    let labels = Tensor::<2, Int>::from_data(TensorData::new(labels, [b, 1]), &logits.device());
    log_softmax(logits, 1).gather(1, labels).mean().neg()
}
