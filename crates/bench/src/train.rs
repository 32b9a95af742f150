//! One training step: forward, backward, AdamW.

use crate::case::{Case, Error, Named, images, weights};
use burn::tensor::Device;
use ssl_pretrain::{Mae, MaeConfig, Supervised, SupervisedConfig, random_masks};
use vit_core::{VitConfig, arch};
use vit_data::{CropBox, HostBatch, HostView, Seed, Truth};
use vit_train::{AdamW, LearnAt, Learned, Objective, Progress, Rates, learn};

/// What the other side is told too.
const LR: f64 = 1e-4;
const WEIGHT_DECAY: f64 = 0.05;
/// Steps whose losses are compared.
const COMPARED: usize = 3;

/// A batch of one view; `input` is what the other side is given.
fn batch_of((_, shape, pixels): &Named, n_classes: usize) -> HostBatch {
    let &[n, c, h, w] = shape.as_slice() else { panic!("pixels [B, 3, H, W]") };
    let boxes = vec![CropBox { x: 0.0, y: 0.0, w: w as f64, h: h as f64, flipped: false }; n];
    HostBatch {
        views: vec![HostView { pixels: pixels.clone(), shape: [n, c, h, w], boxes }],
        labels: (0..n).map(|i| Some((i * 7 % n_classes) as u32)).collect(),
        indices: (0..n).collect(),
        ids: vec![String::new(); n],
        truths: vec![Truth::default(); n],
    }
}

/// One step of an objective, as the training loop does it; gives the loss before the step.
fn step<O: Objective>(objective: O, optimizer: &mut AdamW, batch: &HostBatch, device: &Device) -> (O, f32) {
    let progress = Progress { step: 0, n_steps: 1, steps_per_epoch: 1 };
    let at = LearnAt { progress, seed: Seed(0), epoch: 0, draws: 0 };
    let Learned { terms, grads, carry } = learn(&objective, batch, device, &at);
    let loss = terms.iter().map(|(_, value)| value).sum::<f64>() as f32;
    let rates = |name: &str, shape: &[usize]| Rates {
        lr: LR,
        weight_decay: if O::decays(name, shape) { WEIGHT_DECAY } else { 0.0 },
    };
    let objective = objective.map_student(|student| optimizer.step(student, grads, &rates));
    (objective.after_step(carry, progress), loss)
}

fn case_of<O: Objective + 'static>(
    objective: O,
    batch: HostBatch,
    tensors: Vec<Named>,
    device: Device,
) -> Case {
    let mut state = Some((objective, AdamW::new(0.9, 0.999, 1e-8)));
    let mut first = true;
    let work = move || {
        // The first call is the one whose losses the other side repeats.
        let n_steps = if std::mem::take(&mut first) { COMPARED } else { 1 };
        let mut losses = Vec::new();
        for _ in 0..n_steps {
            let (objective, mut optimizer) = state.take().ok_or("the work failed before")?;
            let (objective, loss) = step(objective, &mut optimizer, &batch, &device);
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
    let (_, input) = images(batch, encoder.image_px, &device);
    let batch = batch_of(&input, n_classes);
    let mut tensors = weights(objective.student());
    let labels: Vec<f32> = batch.labels.iter().map(|label| label.unwrap_or(0) as f32).collect();
    tensors.extend([input, ("input.labels".into(), vec![labels.len()], labels)]);
    Ok(case_of(objective, batch, tensors, device))
}

pub(crate) fn mae(model: &str, batch: usize) -> Result<Case, Error> {
    let encoder: VitConfig = arch(model)?;
    let device = vit_ops::cpu_device().autodiff();
    let config = MaeConfig::default();
    let objective = Mae::init(&config, &encoder, 0, &device, Seed(0))?;
    let (_, input) = images(batch, encoder.image_px, &device);
    let batch = batch_of(&input, 1);
    let n_patches = encoder.grid().n_patches();
    let masks = random_masks(Seed(0), 0, &batch.indices, n_patches, config.mask_ratio);
    // Noise whose order is the masks': the place of each patch in the shuffled order.
    let noise: Vec<f32> = masks.ids_restore.iter().map(|&place| place as f32).collect();
    let mut tensors = weights(objective.student());
    tensors.extend([input, ("input.noise".into(), vec![noise.len() / n_patches, n_patches], noise)]);
    Ok(case_of(objective, batch, tensors, device))
}
