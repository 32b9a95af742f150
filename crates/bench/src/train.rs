//! One training step: forward, backward, AdamW.

use crate::case::{Case, Error, Named, images, weights};
use burn::tensor::Tensor;
use ssl_pretrain::{Mae, MaeConfig, Supervised, SupervisedConfig, random_masks};
use vit_core::{VitConfig, arch};
use vit_data::{HostBatch, Seed};
use vit_train::{AdamW, Batch, Grads, Objective, Progress, Rates, Step};

/// What the other side is told too.
const LR: f64 = 1e-4;
const WEIGHT_DECAY: f64 = 0.05;
/// Steps whose losses are compared.
const COMPARED: usize = 3;

fn batch_of(pixels: Tensor<4>, n_classes: usize) -> Batch {
    let n = pixels.dims()[0];
    let host = HostBatch {
        views: Vec::new(),
        labels: (0..n).map(|i| Some((i * 7 % n_classes) as u32)).collect(),
        indices: (0..n).collect(),
        ids: Vec::new(),
        truths: Vec::new(),
    };
    Batch { views: vec![pixels], host, epoch: 0 }
}

/// One step of an objective, as the training loop does it; gives the loss before the step.
fn step<O: Objective>(objective: O, optimizer: &mut AdamW, batch: &Batch) -> Result<(O, f32), Error> {
    let progress = Progress { step: 0, n_steps: 1, steps_per_epoch: 1 };
    let seed = Seed(0);
    let out = objective.loss(batch, &mut Step { progress, seed, draws: seed.stream("step", &[0]) });
    let total =
        out.terms.into_iter().map(|term| term.value).reduce(|sum, term| sum + term).ok_or("no loss")?;
    let loss = total.clone().into_scalar::<f32>();
    let grads = Grads::of(objective.student(), total.backward());
    let rates = |name: &str, shape: &[usize]| Rates {
        lr: LR,
        weight_decay: if O::decays(name, shape) { WEIGHT_DECAY } else { 0.0 },
    };
    let objective = objective.map_student(|student| optimizer.step(student, grads, &rates));
    Ok((objective.after_step(out.carry, progress), loss))
}

fn case_of<O: Objective + 'static>(objective: O, batch: Batch, tensors: Vec<Named>) -> Case {
    let mut state = Some((objective, AdamW::new(0.9, 0.999, 1e-8)));
    let mut first = true;
    let work = move || {
        // The first call is the one whose losses the other side repeats.
        let n_steps = if std::mem::take(&mut first) { COMPARED } else { 1 };
        let mut losses = Vec::new();
        for _ in 0..n_steps {
            let (objective, mut optimizer) = state.take().ok_or("the work failed before")?;
            let (objective, loss) = step(objective, &mut optimizer, &batch)?;
            losses.push(loss);
            state = Some((objective, optimizer));
        }
        Ok(vec![("losses".to_owned(), vec![losses.len()], losses)])
    };
    Case { tensors, work: Box::new(work) }
}

pub(crate) fn supervised(model: &str, batch: usize, n_classes: usize) -> Result<Case, Error> {
    let encoder: VitConfig = arch(model)?;
    let device = vit_ops::cpu_device().autodiff();
    let objective = Supervised::init(&SupervisedConfig::default(), &encoder, n_classes, &device, Seed(0))?;
    let (pixels, input) = images(batch, encoder.image_px, &device);
    let batch = batch_of(pixels, n_classes);
    let mut tensors = weights(objective.student());
    let labels: Vec<f32> = batch.host.labels.iter().map(|label| label.unwrap_or(0) as f32).collect();
    tensors.extend([input, ("input.labels".into(), vec![labels.len()], labels)]);
    Ok(case_of(objective, batch, tensors))
}

pub(crate) fn mae(model: &str, batch: usize) -> Result<Case, Error> {
    let encoder: VitConfig = arch(model)?;
    let device = vit_ops::cpu_device().autodiff();
    let config = MaeConfig::default();
    let objective = Mae::init(&config, &encoder, 0, &device, Seed(0))?;
    let (pixels, input) = images(batch, encoder.image_px, &device);
    let batch = batch_of(pixels, 1);
    let n_patches = encoder.grid().n_patches();
    let masks = random_masks(Seed(0), batch.epoch, &batch.host.indices, n_patches, config.mask_ratio);
    // Noise whose order is the masks': the place of each patch in the shuffled order.
    let noise: Vec<f32> = masks.ids_restore.iter().map(|&place| place as f32).collect();
    let mut tensors = weights(objective.student());
    tensors.extend([input, ("input.noise".into(), vec![noise.len() / n_patches, n_patches], noise)]);
    Ok(case_of(objective, batch, tensors))
}
