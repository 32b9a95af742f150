//! Supervised training: cross-entropy of a linear classifier on the pooled representation.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use report::{Info, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_core::{Backbone, NoLook, Pass, Pool, Vit, VitConfig, weights::start_from};
use vit_data::{Seed, ViewPlan};
use vit_train::{
    Batch, Mixing, Objective, SampleCost, Step, StepOut, Term, ViewConfig, mix_images, soft_targets,
};

/// The options of [`Supervised`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupervisedConfig {
    /// What the classifier reads: `class` (the class token after the final norm; ViT, DeiT) or `mean` (the normed
    /// mean of the patches).
    pub pool: Pool,
    /// `s`: the share of the target that is spread evenly over all classes, 0 up to 1; 0 in ViT, 0.1 in DeiT and MAE's
    /// fine-tuning.
    pub label_smoothing: f64,
    /// Mixup and CutMix; none in ViT.
    pub mixing: Mixing,
}

impl Default for SupervisedConfig {
    fn default() -> Self {
        Self { pool: Pool::Class, label_smoothing: 0.0, mixing: Mixing::default() }
    }
}

impl Recipe for SupervisedConfig {
    fn check(&self) -> Result<(), RecipeError> {
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return Err(RecipeError::value("label_smoothing", "0 up to 1", self.label_smoothing));
        }
        self.mixing.check("mixing")
    }
}

/// `loss = −mean over B of Σ_c t_c · log softmax(W·pool(encode(x)) + b)_c`
///
/// `t` is 1 at the class; with smoothing `s` over `C` classes it is `1 - s + s/C` there and `s/C` elsewhere; where `x` is
/// mixed with its partner, so is `t`.
///
/// # Source
/// Dosovitskiy et al., An Image is Worth 16x16 Words; the decay rule, smoothing and mixing of DeiT.
#[derive(Clone)]
pub struct Supervised {
    student: Vit,
    config: SupervisedConfig,
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
        let student = encoder.init(device, &mut seed.stream("weights", &[]));
        Ok(Self { student, config: config.clone() })
    }

    fn decays(name: &str, shape: &[usize]) -> bool {
        shape.len() > 1 && !name.ends_with("pos_embed") && !name.ends_with("_token")
    }

    fn start_from(self, from: &Vit) -> Result<(Self, Vec<String>), String> {
        let started = start_from(self.student, from)?;
        Ok((Self { student: started.vit, ..self }, started.fresh))
    }

    fn sample_cost(&self) -> SampleCost {
        let config = &self.student.config;
        let n_patches = config.grid().n_patches();
        SampleCost {
            forward_macs: config.macs_of(&self.student.pooled(), n_patches),
            n_tokens: config.n_prefix() + n_patches,
        }
    }

    fn student(&self) -> &Vit {
        &self.student
    }

    fn map_student(self, change: impl FnOnce(Vit) -> Vit) -> Self {
        Self { student: change(self.student), ..self }
    }

    /// Unless images are mixed with each other.
    fn is_separable(&self) -> bool {
        self.config.mixing.prob == 0.0
    }

    fn loss(&self, batch: &Batch, step: &mut Step) -> StepOut<()> {
        let mut look = NoLook;
        let wanted = &self.student.pooled();
        let mut pass = Pass { draws: Some(&mut step.draws), wanted, ..Pass::look(&mut look) };
        let labels: Vec<u32> = batch.host.labels.iter().map(|label| label.unwrap_or(0)).collect();
        let images = batch.views[0].clone();
        let SupervisedConfig { label_smoothing, mixing, .. } = self.config;
        let value = if label_smoothing == 0.0 && mixing.prob == 0.0 {
            let tokens = self.student.encode(images, &mut pass);
            cross_entropy(self.student.logits(&tokens), &labels)
        } else {
            let [b, _, h, w] = images.dims();
            let first = batch.host.indices.first().map_or(0, |&index| index as u64);
            let mixes = mixing.draw(b, (h, w), step.seed, (batch.epoch, first));
            let n_classes = self.student.config.n_classes;
            let targets = soft_targets(&labels, n_classes, label_smoothing, &mixes, &images.device());
            let tokens = self.student.encode(mix_images(images, &mixes), &mut pass);
            soft_cross_entropy(self.student.logits(&tokens), targets)
        };
        StepOut { terms: vec![Term { name: "cross_entropy", value }], carry: () }
    }

    fn export(&self) -> Backbone {
        Backbone::Vit(self.student.valid())
    }

    fn predict(&self, batch: &Batch) -> Option<Vec<u32>> {
        let student = self.student.valid();
        let wanted = &student.pooled();
        let tokens = student.encode(batch.views[0].clone(), &mut Pass { wanted, ..Pass::look(&mut NoLook) });
        let best = student.logits(&tokens).argmax(1);
        let best = best.into_data().convert::<i64>().try_to_vec::<i64>().ok()?;
        Some(best.into_iter().map(|class| class as u32).collect())
    }
}

/// `−mean over B of log softmax(logits)[label]`, `[1]`.
fn cross_entropy(logits: Tensor<2>, labels: &[u32]) -> Tensor<1> {
    let [b, _] = logits.dims();
    let labels: Vec<i32> = labels.iter().map(|&class| class as i32).collect();
    let labels = Tensor::<2, Int>::from_data(TensorData::new(labels, [b, 1]), &logits.device());
    log_softmax(logits, 1).gather(1, labels).mean().neg()
}

/// `−mean over B of Σ_c targets_c · log softmax(logits)_c`, `[1]`.
fn soft_cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    (log_softmax(logits, 1) * targets).sum_dim(1).mean().neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vit_train::Mix;

    fn value(tensor: Tensor<1>) -> f32 {
        tensor.into_scalar::<f32>()
    }

    #[test]
    fn soft_and_hard_targets_agree_where_nothing_is_soft_and_smoothing_is_as_by_hand() {
        let device = vit_ops::cpu_device();
        // softmax of (ln 1, ln 2, ln 5) is 1/8, 2/8, 5/8.
        let row = [1.0f32.ln(), 2.0f32.ln(), 5.0f32.ln()];
        let logits = || Tensor::<2>::from_data(TensorData::new([row, row].concat(), [2, 3]), &device);
        let plain = [Mix { lambda: 1.0, cut_px: None }; 2];
        let soft = |smoothing, mixes: &[Mix]| {
            value(soft_cross_entropy(logits(), soft_targets(&[0, 2], 3, smoothing, mixes, &device)))
        };
        // (ln 8 + ln 1.6) / 2
        let hard = value(cross_entropy(logits(), &[0, 2]));
        assert!((hard - (8.0f32.ln() + 1.6f32.ln()) / 2.0).abs() < 1e-6);
        assert!((soft(0.0, &plain) - hard).abs() < 1e-6);
        // s = 0.3: 0.7 of the above, and 0.1 of (ln 8 + ln 4 + ln 1.6) for each.
        let by_hand = 0.7 * hard + 0.1 * (8.0f32.ln() + 4.0f32.ln() + 1.6f32.ln());
        assert!((soft(0.3, &plain) - by_hand).abs() < 1e-6);
        // Mixed half and half, both rows have the mean of both classes: the same loss.
        assert!((soft(0.0, &[Mix { lambda: 0.5, cut_px: None }; 2]) - hard).abs() < 1e-6);
    }
}
