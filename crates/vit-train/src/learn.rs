//! What a batch teaches: its loss and gradients, parts of it side by side where the objective allows it.

use crate::{Batch, Grads, Merge, Objective, Progress, Step, StepOut};
use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use vit_core::weights::{MapByName, map_by_name};
use vit_data::{HostBatch, Seed};

/// Where training is when a batch is learned, and what may be drawn.
#[derive(Clone, Copy, Debug)]
pub struct LearnAt {
    /// Where training is.
    pub progress: Progress,
    /// The run's seed.
    pub seed: Seed,
    /// The epoch that the draws belong to.
    pub epoch: u64,
    /// Names the stream of drop path: the batch's number in the run.
    pub draws: u64,
}

/// What a batch gives.
pub struct Learned<C> {
    /// The named terms of the loss.
    pub terms: Vec<(&'static str, f64)>,
    /// The gradients of their sum.
    pub grads: Grads,
    /// What the update after the optimizer needs.
    pub carry: C,
}

/// A host batch on the device.
pub fn upload(host: HostBatch, epoch: u64, device: &Device) -> Batch {
    let views = host
        .views
        .iter()
        .map(|view| Tensor::from_data(TensorData::new(view.pixels.clone(), view.shape), device))
        .collect();
    Batch { views, host, epoch }
}

/// Forward and backward of a batch.
///
/// Where [`Objective::is_separable`], the halves of the batch are worked on side by side, each by a student with leaves of its own:
/// `L = Σ over parts of nₚ/n · Lₚ`, and the same of gradients.
///
/// # Panics
/// When the objective gives no loss.
pub fn learn<O: Objective>(
    objective: &O,
    host: &HostBatch,
    device: &Device,
    at: &LearnAt,
) -> Learned<O::Carry> {
    let n = host.indices.len();
    let parts =
        if objective.is_separable() { vit_ops::parts(n, device) } else { std::iter::once(0..n).collect() };
    if parts.len() == 1 {
        return learn_part(objective.clone(), host.clone(), device, at, (0, 1.0));
    }
    // Parts that shared a leaf would wait for each other: their operations would be one graph.
    let own = |(part, samples): (usize, std::ops::Range<usize>)| {
        let student = objective.clone().map_student(|student| map_by_name(student, &mut OwnLeaves));
        let share = samples.len() as f64 / n as f64;
        (student, host.part(samples), (part as u64, share))
    };
    let parts = parts.into_iter().enumerate().map(own).collect();
    let learned =
        vit_ops::side_by_side(parts, |(objective, host, part)| learn_part(objective, host, device, at, part));
    let joined = learned.into_iter().reduce(|all, part| Learned {
        terms: all.terms.into_iter().zip(part.terms).map(|((name, a), (_, b))| (name, a + b)).collect(),
        grads: all.grads.plus(part.grads),
        carry: all.carry.merge(part.carry),
    });
    match joined {
        Some(joined) => joined,
        None => panic!("a batch has a part"),
    }
}

/// The same for samples that are worked on together, which are a share of the batch.
fn learn_part<O: Objective>(
    objective: O,
    host: HostBatch,
    device: &Device,
    at: &LearnAt,
    (part, share): (u64, f64),
) -> Learned<O::Carry> {
    let batch = upload(host, at.epoch, device);
    let draws = at.seed.stream("step", &[at.draws, part]);
    let StepOut { terms, carry } =
        objective.loss(&batch, &mut Step { progress: at.progress, seed: at.seed, draws });
    let value = |value: &Tensor<1>| share * f64::from(value.clone().into_scalar::<f32>());
    let found = terms.iter().map(|term| (term.name, value(&term.value))).collect();
    let total = terms.into_iter().map(|term| term.value).reduce(|sum, term| sum + term);
    let Some(total) = total else { panic!("objective `{}` gave no loss term", O::INFO.name) };
    let total = if share < 1.0 { total.mul_scalar(share) } else { total };
    Learned { terms: found, grads: Grads::of(objective.student(), total.backward()), carry }
}

/// Gives every trainable parameter a leaf of its own, with the same values.
struct OwnLeaves;

impl MapByName for OwnLeaves {
    fn change<const D: usize>(&mut self, _: &str, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if param.is_require_grad() { param.map(|tensor| tensor.detach().require_grad()) } else { param }
    }
}
