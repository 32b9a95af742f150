//! Self-distillation of the class token between crops: a student learns what its slow average says of other views.

use crate::crops::CropsConfig;
use crate::distilled::{Distilled, Scheme};
use crate::heads::HeadConfig;
use crate::self_distill::{Distill, DistillConfig};
use crate::target::TeacherConfig;
use report::{Info, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_core::Tokens;
use vit_train::{Batch, Step};

/// The options of [`Dino`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DinoConfig {
    /// Temperature of the student; 0.1 in the paper.
    pub student_temp: f64,
    /// Epochs in which the prototypes are frozen; 1 in the paper, up to 3 where training is unsteady.
    pub freeze_last_layer_epochs: usize,
    /// Weight decay at the end, to which `train.weight_decay` moves along a half cosine; 0.4 in the paper, from 0.04.
    pub weight_decay_end: f64,
    /// The views.
    pub crops: CropsConfig,
    /// The projection head.
    pub head: HeadConfig,
    /// The teacher.
    pub teacher: TeacherConfig,
}

impl Default for DinoConfig {
    fn default() -> Self {
        Self {
            student_temp: 0.1,
            freeze_last_layer_epochs: 1,
            weight_decay_end: 0.4,
            crops: CropsConfig::default(),
            head: HeadConfig::default(),
            teacher: TeacherConfig::default(),
        }
    }
}

impl Recipe for DinoConfig {
    fn check(&self) -> Result<(), RecipeError> {
        self.distill().check()
    }
}

/// `loss = mean over pairs (i, v), i one of G large views, v ≠ i any view, of −Σ softmax((t_i − c)/τ_t) log softmax(s_v/τ_s)`
///
/// # Source
/// Caron et al., Emerging Properties in Self-Supervised Vision Transformers.
pub type Dino = Distilled<DinoConfig>;

impl Scheme for DinoConfig {
    const INFO: Info = Info {
        name: "dino",
        line: "say of every crop what a slow average of oneself says of the large ones",
        source: "Caron et al. 2021, Emerging Properties in Self-Supervised Vision Transformers",
    };

    fn distill(&self) -> DistillConfig {
        DistillConfig {
            crops: self.crops.clone(),
            head: self.head.clone(),
            teacher: self.teacher,
            student_temp: self.student_temp,
            class_weight: 1.0,
            freeze_last_layer_epochs: self.freeze_last_layer_epochs,
            weight_decay_end: self.weight_decay_end,
            patch: None,
            masks: false,
        }
    }

    fn teach(&self, inner: &Distill, batch: &Batch, _: &Step) -> (Tokens, Option<Vec<bool>>) {
        (inner.taught(inner.globals(batch)), None)
    }
}
