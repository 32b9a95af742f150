//! What DINO, iBOT and AttMask share: a student, its slow average as teacher, and how targets, losses, centers and
//! state are made of the two.

use crate::crops::CropsConfig;
use crate::cross_view::{MaskedRows, cross_view_loss, masked_patch_loss};
use crate::heads::{HeadConfig, ProjectionHead};
use crate::health::{ClassAttention, Vitals, view_distance};
use crate::target::{RowSum, TeacherConfig, TempSchedule};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use report::RecipeError;
use vit_core::weights::{NamedParam, Read, WeightsError, assign, params, start_from};
use vit_core::{Backbone, Draw, Keep, NoLook, Pass, Pool, Resample, Stream, Tokens, Vit, VitConfig, Wanted};
use vit_data::Seed;
use vit_train::schedule::dino_cosine;
use vit_train::{Batch, Grads, Merge, Progress, Rates, SampleCost, StepOut, Term, TrainConfig, ema_update};

/// An encoder and what projects its tokens.
#[derive(Module, Debug)]
pub struct Projected {
    /// The encoder.
    pub backbone: Vit,
    /// The projection head.
    pub head: ProjectionHead,
}

/// Patch targets, beside those of the class token.
#[derive(Clone, Debug)]
pub struct PatchTerm {
    /// Temperature of patch targets.
    pub temp: TempSchedule,
    /// Of their center's moving average.
    pub center_momentum: f64,
    /// Their weight in the loss.
    pub weight: f64,
    /// The first epoch with masks, from which the temperature's warm-up counts.
    pub start_epoch: usize,
    /// Prototypes of their own; none: they share those of the class token.
    pub out_dim: Option<usize>,
}

/// How student and teacher are made and trained.
#[derive(Clone, Debug)]
pub struct DistillConfig {
    pub crops: CropsConfig,
    pub head: HeadConfig,
    pub teacher: TeacherConfig,
    pub student_temp: f64,
    pub class_weight: f64,
    pub freeze_last_layer_epochs: usize,
    pub weight_decay_end: f64,
    pub patch: Option<PatchTerm>,
    /// Whether the student has a token to put in place of masked patches.
    pub masks: bool,
}

impl DistillConfig {
    /// Checks what every objective of the family has.
    pub(crate) fn check(&self) -> Result<(), RecipeError> {
        self.crops.check()?;
        self.head.check()?;
        self.teacher.check()?;
        let rules = [
            ("options.student_temp", self.student_temp > 0.0, "above 0", self.student_temp),
            (
                "options.class_weight",
                self.class_weight >= 0.0 && self.class_weight.is_finite(),
                "at least 0",
                self.class_weight,
            ),
            ("options.weight_decay_end", self.weight_decay_end >= 0.0, "at least 0", self.weight_decay_end),
        ];
        match rules.into_iter().find(|(_, holds, ..)| !holds) {
            Some((key, _, expected, found)) => Err(RecipeError::value(key, expected, found.to_string())),
            None => Ok(()),
        }
    }
}

/// Student, teacher and centers.
#[derive(Clone)]
pub struct Distill {
    pub config: DistillConfig,
    pub student: Projected,
    pub teacher: Projected,
    /// `[1, K]`
    pub center: Tensor<2>,
    /// `[1, K]`, where patches have targets.
    pub patch_center: Option<Tensor<2>>,
}

/// What a step leaves for the update after it.
pub struct DistillCarry {
    class: RowSum,
    patch: Option<RowSum>,
    pub(crate) vitals: Vitals,
}

impl Merge for DistillCarry {
    fn merge(self, later: Self) -> Self {
        let patch = match (self.patch, later.patch) {
            (Some(a), Some(b)) => Some(a.plus(b)),
            (a, b) => a.or(b),
        };
        Self { class: self.class.plus(later.class), patch, vitals: self.vitals.merge(later.vitals) }
    }
}

impl Distill {
    /// A fresh start.
    pub(crate) fn init(
        config: DistillConfig,
        encoder: &VitConfig,
        device: &Device,
        seed: Seed,
    ) -> Result<Self, String> {
        if !encoder.class_token {
            return Err("expected an encoder with a class token; found none".into());
        }
        if encoder.pool != Pool::Class {
            return Err("expected an encoder that is read at its class token; found mean pooling".into());
        }
        config.crops.fits(encoder)?;
        let encoder = VitConfig {
            resample: Resample::Offset,
            n_classes: 0,
            mask_token: config.masks,
            ..encoder.clone()
        };
        let mut stream = seed.stream("weights", &[]);
        let mut backbone = encoder.init(device, &mut stream);
        let mut draw = Draw { stream: &mut stream, device, scheme: encoder.init };
        // Unlike timm's, this family's class token starts as wide as its positions.
        backbone.cls_token = Some(draw.normal([1, 1, encoder.width], 0.02));
        let patch_out_dim = config.patch.as_ref().and_then(|patch| patch.out_dim);
        let head = config.head.init(encoder.width, patch_out_dim, &mut draw);
        let student = Projected { backbone, head };
        let teacher = teacher_of(&student);
        let plain = teacher.head.last_layer.weight_v.val().device();
        let center = Tensor::zeros([1, config.head.out_dim], &plain);
        let patch_center = config
            .patch
            .as_ref()
            .map(|patch| Tensor::zeros([1, patch.out_dim.unwrap_or(config.head.out_dim)], &plain));
        Ok(Self { config, student, teacher, center, patch_center })
    }

    /// Starts student and teacher from an encoder's weights; heads stay fresh.
    pub(crate) fn start_from(mut self, from: &Vit) -> Result<(Self, Vec<String>), String> {
        let started = start_from(self.student.backbone, from)?;
        self.student.backbone = started.vit;
        self.teacher = teacher_of(&self.student);
        Ok((self, started.fresh))
    }

    /// The student through a function.
    pub(crate) fn map_student(self, change: impl FnOnce(Projected) -> Projected) -> Self {
        Self { student: change(self.student), ..self }
    }

    /// What a sample costs, forward: the student on all views, the teacher on the large ones, heads of class tokens and,
    /// where patches have targets, of all patches of large views.
    pub(crate) fn sample_cost(&self) -> SampleCost {
        let encoder = &self.student.backbone.config;
        let (n_globals, n_locals) = (self.config.crops.n_globals, self.config.crops.n_locals);
        let (n, n_local) = (encoder.grid().n_patches(), self.config.crops.n_local_patches(encoder));
        let encoded = 2 * n_globals as u64 * encoder.macs_of(&self.wanted_of_globals(), n)
            + n_locals as u64 * encoder.macs_of(&Wanted::First { n: 1 }, n_local);
        let patches = if self.config.patch.is_some() { n } else { 0 };
        let n_projected = n_globals * (2 + patches) + n_locals;
        SampleCost {
            forward_macs: encoded + n_projected as u64 * self.config.head.macs(encoder.width),
            n_tokens: n_globals * (encoder.n_prefix() + n) + n_locals * (encoder.n_prefix() + n_local),
        }
    }

    /// Learning rate and weight decay: warm-up and half cosine by step.
    pub(crate) fn rates(&self, train: &TrainConfig, at: Progress) -> Rates {
        let n_warmup = (train.warmup_epochs * at.steps_per_epoch as f64).round() as usize;
        let (decay, end) = (train.weight_decay, self.config.weight_decay_end);
        Rates {
            lr: dino_cosine(at.step, at.n_steps, n_warmup, (0.0, train.peak_lr(), train.min_lr)),
            weight_decay: dino_cosine(at.step, at.n_steps, 0, (0.0, decay, end)),
        }
    }

    /// Takes the gradients of the prototypes out while they are frozen.
    pub(crate) fn on_grads(&self, grads: &mut Grads, at: Progress) {
        if at.epoch() >= self.config.freeze_last_layer_epochs {
            return;
        }
        let frozen = grads.names().filter(|name| name.contains("last_layer")).map(str::to_owned);
        for name in frozen.collect::<Vec<_>>() {
            grads.remove(&name);
        }
    }

    /// The large views as one batch, `[G·B, 3, H, W]`, on a plain device.
    pub(crate) fn globals(&self, batch: &Batch) -> Tensor<4> {
        let globals = &batch.views[..self.config.crops.n_globals];
        Tensor::cat(globals.iter().map(|view| view.clone().inner()).collect(), 0)
    }

    /// The teacher on plain pixels, all patches shown, `[n, P + N, D]`; where patches have no targets, `[n, 1, D]`.
    pub(crate) fn taught(&self, pixels: Tensor<4>) -> Tokens {
        let wanted = &self.wanted_of_globals();
        self.teacher.backbone.encode(pixels, &mut Pass { wanted, ..Pass::look(&mut NoLook) })
    }

    /// What is read of large views: their class token, and their patches where these have targets.
    fn wanted_of_globals(&self) -> Wanted {
        if self.config.patch.is_some() { Wanted::Every } else { Wanted::First { n: 1 } }
    }

    /// The same, and the attention of the last block's class token to patches, mean over heads, `[n·N]`.
    pub(crate) fn taught_with_attention(&self, pixels: Tensor<4>) -> (Tokens, Vec<f32>) {
        let mut look = ClassAttention::of_last_block(&self.teacher.backbone.config);
        let wanted = &self.wanted_of_globals();
        let tokens = self.teacher.backbone.encode(pixels, &mut Pass { wanted, ..Pass::look(&mut look) });
        (tokens, look.mean_over_heads())
    }

    /// The loss of a batch against what the teacher said; `mask` `[G·B·N]` hides patches of large views from the
    /// student.
    pub(crate) fn loss(
        &self,
        batch: &Batch,
        taught: &Tokens,
        mask: Option<Vec<bool>>,
        draws: &mut Stream,
        at: Progress,
    ) -> StepOut<DistillCarry> {
        let b = batch.views[0].dims()[0];
        let epoch = at.epoch();
        let n_globals = self.config.crops.n_globals;

        let features = class_of(taught); // [G·B, D]
        let logits = self.teacher.head.class_logits(features.clone()); // [G·B, K]
        let targets =
            self.config.teacher.targets(logits.clone(), &self.center, self.config.teacher.temp.at(epoch));

        let keep = mask.as_ref().map_or(Keep::All, |mask| Keep::Swap { mask: mask.clone() });
        let wanted = self.wanted_of_globals();
        let tokens = self.student_tokens(&batch.views[..n_globals], (&keep, &wanted), draws);
        let mut classes = vec![class_of(&tokens)];
        // Views of one size are one batch.
        for locals in batch.views[n_globals..].chunk_by(|a, b| a.dims() == b.dims()) {
            classes.push(class_of(&self.student_tokens(
                locals,
                (&Keep::All, &Wanted::First { n: 1 }),
                draws,
            )));
        }
        let student = self.student.head.class_logits(Tensor::cat(classes, 0)); // [V·B, K]
        let k = student.dims()[1];
        let class_loss = cross_view_loss(
            student.reshape([batch.views.len() as i32, b as i32, k as i32]),
            targets.clone().reshape([n_globals, b, k]),
            self.config.student_temp,
        );
        let class_value = class_loss.clone().inner();
        let mut terms = vec![Term { name: "class", value: class_loss.mul_scalar(self.config.class_weight) }];
        let mut patch_sum = None;
        if let (Some(patch), Some(center)) = (&self.config.patch, &self.patch_center) {
            let mask = mask.unwrap_or_else(|| vec![false; taught.patches().dims()[1] * n_globals * b]);
            let (value, sum) = self.patch_loss(patch, center, (taught, &tokens), &mask, epoch);
            terms.push(Term { name: "patch", value: value.mul_scalar(patch.weight) });
            patch_sum = Some(sum);
        }
        let vitals = Vitals { targets, features, class_loss: class_value };
        StepOut { terms, carry: DistillCarry { class: RowSum::of(&logits), patch: patch_sum, vitals } }
    }

    /// The loss of the masked patches, and the sum over all of the teacher's patch logits.
    fn patch_loss(
        &self,
        patch: &PatchTerm,
        center: &Tensor<2>,
        (taught, student): (&Tokens, &Tokens),
        mask: &[bool],
        epoch: usize,
    ) -> (Tensor<1>, RowSum) {
        let flat = |tokens: &Tokens| {
            let [b, n, d] = tokens.patches().dims();
            tokens.patches().reshape([b * n, d]) // [G·B·N, D]
        };
        let n_patches = taught.patches().dims()[1];
        let sphere = self.teacher.head.sphere(flat(taught)); // [G·B·N, bottleneck]
        // The sum of logits over patches is the logits of the sum: the prototypes see it once instead of every patch.
        let n_rows = sphere.dims()[0];
        let layer = self.teacher.head.patch_layer();
        let sum = RowSum { sum: layer.forward(sphere.clone().sum_dim(0)), n_rows };
        let masked = MaskedRows::of(mask, n_patches);
        if masked.rows.is_empty() {
            return (Tensor::zeros([1], &student.all.device()), sum);
        }
        let temp = patch.temp.shifted(epoch, patch.start_epoch);
        let logits = layer.forward(masked.pick(sphere)); // [M, K]
        let targets = self.config.teacher.targets(logits, center, temp);
        let picked = self.student.head.sphere(masked.pick(flat(student)));
        let student = self.student.head.patch_layer().forward(picked); // [M, K]
        (masked_patch_loss(student, targets, &masked, self.config.student_temp), sum)
    }

    /// The student on views of one size as one batch, `[n·B, K, D]` of the tokens that are wanted.
    fn student_tokens(
        &self,
        views: &[Tensor<4>],
        (keep, wanted): (&Keep, &Wanted),
        draws: &mut Stream,
    ) -> Tokens {
        let pixels = Tensor::cat(views.to_vec(), 0);
        let mut pass = Pass { keep, look: &mut NoLook, draws: Some(draws), cuts: &[], wanted };
        self.student.backbone.encode(pixels, &mut pass)
    }

    /// Teacher and centers after the optimizer's step.
    pub(crate) fn after_step(self, carry: DistillCarry, at: Progress) -> Self {
        let momentum = self.config.teacher.momentum_at(at);
        let teacher = ema_update(self.teacher, &self.student, momentum);
        let center = self.config.teacher.next_center(self.center, carry.class);
        let patch_center = match (self.patch_center, carry.patch, &self.config.patch) {
            (Some(center), Some(seen), Some(patch)) => {
                let own = TeacherConfig {
                    centering: self.config.teacher.centering.with_momentum(patch.center_momentum),
                    ..self.config.teacher
                };
                Some(own.next_center(center, seen))
            }
            (center, ..) => center,
        };
        Self { teacher, center, patch_center, ..self }
    }

    /// The health of a step.
    pub(crate) fn readings(
        &self,
        batch: &Batch,
        carry: &DistillCarry,
        at: Progress,
    ) -> Vec<(&'static str, f64)> {
        let mut readings = carry.vitals.readings(&self.teacher.head);
        readings.extend(ClassAttention::entropy_on(&self.teacher.backbone, batch.views[0].clone().inner()));
        readings.extend(view_distance(batch.views[0].clone().inner(), batch.views[1].clone().inner()));
        readings.push(("center_norm", norm(&self.center)));
        readings.extend(self.patch_center.as_ref().map(|center| ("patch_center_norm", norm(center))));
        readings.push(("teacher_temp", self.config.teacher.temp.at(at.epoch())));
        readings.push(("teacher_momentum", self.config.teacher.momentum_at(at)));
        readings
    }

    /// The teacher's encoder.
    pub(crate) fn export(&self) -> Backbone {
        Backbone::Vit(self.teacher.backbone.valid())
    }

    /// Student, teacher (under `teacher.`) and centers.
    pub(crate) fn state(&self) -> Vec<NamedParam> {
        let mut state = params(&self.student);
        let teacher = params(&self.teacher).into_iter();
        state.extend(teacher.map(|param| NamedParam { name: format!("teacher.{}", param.name), ..param }));
        let centers =
            [Some(("center", &self.center)), self.patch_center.as_ref().map(|c| ("patch_center", c))];
        for (name, center) in centers.into_iter().flatten() {
            let shape = center.dims().to_vec();
            state.push(NamedParam { name: name.into(), shape, values: host(center), trainable: false });
        }
        state
    }

    /// Takes back what [`Distill::state`] gave.
    pub(crate) fn with_state(self, read: Read) -> Result<Self, WeightsError> {
        let student = assign(self.student, &mut *read)?;
        let teacher = assign(self.teacher, |name, shape| read(&format!("teacher.{name}"), shape))?;
        let mut center = |name: &str, old: &Tensor<2>| -> Result<Tensor<2>, WeightsError> {
            let shape = old.dims();
            let values = read(name, &shape)?;
            Ok(Tensor::from_data(TensorData::new(values, shape), &old.device()))
        };
        let patch_center = self.patch_center.as_ref().map(|old| center("patch_center", old)).transpose()?;
        let center = center("center", &self.center)?;
        Ok(Self { student, teacher, center, patch_center, ..self })
    }
}

/// A teacher as its student stands, on a plain device; it never sees masks, so it has no token for them.
fn teacher_of(student: &Projected) -> Projected {
    let mut teacher = student.valid();
    teacher.backbone.mask_token = None;
    teacher.backbone.config.mask_token = false;
    teacher.backbone.config.drop_path = 0.0;
    teacher
}

/// The class token of every image, `[n, D]`.
fn class_of(tokens: &Tokens) -> Tensor<2> {
    match tokens.class() {
        Some(class) => class,
        None => panic!("an encoder without class token was refused at the start"),
    }
}

fn host(x: &Tensor<2>) -> Vec<f32> {
    match x.clone().into_data().try_to_vec::<f32>() {
        Ok(values) => values,
        Err(error) => panic!("centers are f32: {error:?}"),
    }
}

/// `‖x‖`
fn norm(x: &Tensor<2>) -> f64 {
    host(x).iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}
