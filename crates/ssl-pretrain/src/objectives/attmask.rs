//! Attention-guided masking: the patches that the teacher's class token looks at most are hidden from the student.

use crate::attention_mask::{AttentionMaskConfig, MaskStrategy, StepDraw};
use crate::crops::CropsConfig;
use crate::distilled::{Distilled, Scheme};
use crate::heads::HeadConfig;
use crate::mask_preview::mask_preview;
use crate::objectives::ibot::PatchConfig;
use crate::self_distill::{Distill, DistillConfig};
use crate::target::TeacherConfig;
use report::{Info, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_core::Tokens;
use vit_data::Seed;
use vit_train::{Batch, Preview, Step};

/// What is trained on masked views.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Base {
    /// Class and patch loss, as iBOT.
    #[default]
    Ibot,
    /// The class loss alone, as DINO: masks only make views harder. The keys of `patch` are not used.
    Dino,
}

/// The options of [`AttMask`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttMaskConfig {
    /// What is trained on masked views: `ibot` in most of the paper, or `dino`.
    pub base: Base,
    /// Temperature of the student; 0.1 in the paper.
    pub student_temp: f64,
    /// Weight of the class loss; 1 in the paper.
    pub class_weight: f64,
    /// Epochs in which the prototypes are frozen; 1 in the paper.
    pub freeze_last_layer_epochs: usize,
    /// Weight decay at the end, to which `train.weight_decay` moves along a half cosine; 0.4 in the paper, from 0.04.
    pub weight_decay_end: f64,
    /// The views.
    pub crops: CropsConfig,
    /// The masks of large views.
    pub mask: AttentionMaskConfig,
    /// The patch loss.
    pub patch: PatchConfig,
    /// The projection head.
    pub head: HeadConfig,
    /// The teacher.
    pub teacher: TeacherConfig,
}

impl Default for AttMaskConfig {
    fn default() -> Self {
        Self {
            base: Base::Ibot,
            student_temp: 0.1,
            class_weight: 1.0,
            freeze_last_layer_epochs: 1,
            weight_decay_end: 0.4,
            crops: CropsConfig { n_locals: 10, local_scale: (0.05, 0.25), ..CropsConfig::default() },
            mask: AttentionMaskConfig::default(),
            patch: PatchConfig::default(),
            head: HeadConfig { out_dim: 8192, norm_last_layer: false, ..HeadConfig::default() },
            teacher: TeacherConfig::default(),
        }
    }
}

impl Recipe for AttMaskConfig {
    fn check(&self) -> Result<(), RecipeError> {
        self.distill().check()?;
        self.mask.check()?;
        self.patch.check()
    }
}

/// iBOT's loss, or DINO's, on views from which the patches with the most of the teacher's attention are hidden:
/// `a_n = mean over heads of A[class, n]` in the teacher's last block, hidden are the `⌊N·r⌋` largest.
///
/// # Source
/// Kakogeorgiou et al., What to Hide from Your Students: Attention-Guided Masked Image Modeling.
pub type AttMask = Distilled<AttMaskConfig>;

impl AttMaskConfig {
    /// The masks of large views, `[n_views·B·N]`. What is drawn is a pure function of seed, step, epoch, sample and view.
    fn masks(&self, attention: &[f32], batch: &Batch, n_views: usize, step: &Step) -> Vec<bool> {
        let n_images = batch.host.indices.len();
        let drawn = self.mask.draw(&mut step.seed.stream("mask-ratio", &[step.progress.step as u64]));
        let n_patches = attention.len() / (n_images * n_views);
        let mut masks = Vec::with_capacity(attention.len());
        for (row, attention) in attention.chunks_exact(n_patches).enumerate() {
            let (view, sample) = (row / n_images, batch.host.indices[row % n_images]);
            let mut stream = step.seed.stream("mask", &[batch.epoch, sample as u64, view as u64]);
            masks.extend(self.mask.mask(attention, drawn, &mut stream));
        }
        masks
    }
}

impl Scheme for AttMaskConfig {
    const INFO: Info = Info {
        name: "attmask",
        line: "iBOT or DINO, with the patches hidden that the teacher looks at most",
        source: "Kakogeorgiou et al. 2022, What to Hide from Your Students: Attention-Guided Masked Image Modeling",
    };

    fn distill(&self) -> DistillConfig {
        DistillConfig {
            crops: self.crops.clone(),
            head: self.head.clone(),
            teacher: self.teacher,
            student_temp: self.student_temp,
            class_weight: self.class_weight,
            freeze_last_layer_epochs: self.freeze_last_layer_epochs,
            weight_decay_end: self.weight_decay_end,
            patch: (self.base == Base::Ibot).then(|| self.patch.term(0)),
            masks: true,
        }
    }

    fn teach(&self, inner: &Distill, batch: &Batch, step: &Step) -> (Tokens, Option<Vec<bool>>) {
        let (taught, attention) = inner.taught_with_attention(inner.globals(batch));
        let masks = self.masks(&attention, batch, inner.config.crops.n_globals, step);
        (taught, Some(masks))
    }

    fn preview(&self, inner: &Distill, batch: &Batch, seed: Seed) -> Option<Preview> {
        let [_, _, height, width] = batch.views[0].dims();
        let patch_px = inner.student.backbone.config.patch_px;
        let n_patches = (height / patch_px) * (width / patch_px);
        let (_, attention) = inner.taught_with_attention(batch.views[0].clone().inner());
        let step = StepDraw { ratio: self.mask.ratio.ratio, shown: self.mask.ratio.ratio };
        let masks_of = |strategy: MaskStrategy| {
            let rule = AttentionMaskConfig { strategy, masking_prob: 1.0, ..self.mask };
            let rows = attention.chunks_exact(n_patches).zip(&batch.host.indices);
            let masks = rows.flat_map(|(attention, &sample)| {
                rule.mask(attention, step, &mut seed.stream("mask", &[0, sample as u64, 0]))
            });
            masks.collect::<Vec<bool>>()
        };
        let mut strategies =
            vec![("high", MaskStrategy::High), ("hint", MaskStrategy::Hint), ("low", MaskStrategy::Low)];
        if self.mask.strategy == MaskStrategy::Random {
            strategies.insert(0, ("random, as in training", MaskStrategy::Random));
        }
        let columns = strategies.into_iter().map(|(name, strategy)| (name, masks_of(strategy)));
        let columns: Vec<(&str, Vec<bool>)> = columns.collect();
        mask_preview(
            &batch.views[0],
            patch_px,
            &columns,
            "What AttMask hides",
            &format!(
                "Held-out images, and what each strategy hides from the student at a share of {:.0} %: the patches to \
                 which the teacher's class token pays the most attention, the same but for a few hints, and those to \
                 which it pays the least. Every image is masked here; in training, {:.0} % of them are.",
                100.0 * self.mask.ratio.ratio,
                100.0 * self.mask.masking_prob
            ),
        )
    }
}
