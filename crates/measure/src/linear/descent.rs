//! Heads trained side by side by gradient descent on the cross-entropy: one pass over the features for all learning
//! rates.

use super::Linear;
use super::scale::{Scale, moments};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, Slice};
use rayon::prelude::*;

/// How a step is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `μ ← m μ + g + wd · p`, `p ← p − lr · μ`.
    Sgd,
    /// The same with the gradient of each weight matrix brought to the length of `trust` times the weights' own.
    Lars {
        /// 0.001 in MAE.
        trust: f64,
    },
}

/// How the learning rate moves over the epochs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// `lr · ½ (1 + cos(π e / E))`, changed with each epoch `e`, as DINO's linear protocol does.
    CosineByEpoch,
    /// Linear from 0 over `warmup_epochs`, then a cosine to 0, changed with each step, as MAE's does.
    WarmupCosineByStep {
        /// 10 in MAE.
        warmup_epochs: f64,
    },
}

impl Schedule {
    /// What the learning rate is multiplied by at `epoch` (a fraction where it moves by steps) of `n_epochs`.
    pub fn factor(self, epoch: f64, n_epochs: f64) -> f64 {
        let cosine = |at: f64| 0.5 * (1.0 + (std::f64::consts::PI * at).cos());
        match self {
            Self::CosineByEpoch => cosine(epoch.floor() / n_epochs),
            Self::WarmupCosineByStep { warmup_epochs } if epoch < warmup_epochs => epoch / warmup_epochs,
            Self::WarmupCosineByStep { warmup_epochs } => {
                cosine((epoch - warmup_epochs) / (n_epochs - warmup_epochs).max(f64::MIN_POSITIVE))
            }
        }
    }
}

/// Batch normalization without an affine part in front of the head.
///
/// `x̂ = (x − mean_B) / √(var_B + ε)` with the batch's own statistics (`var_B` divided by `B`) while it learns; the
/// running ones, `r ← (1 − m) r + m · s` with `var_B` divided by `B − 1`, when it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// 1e-6 in MAE.
    pub eps: f64,
    /// 0.1 in the usual libraries.
    pub momentum: f64,
}

/// How heads are trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Descent {
    /// Passes over the samples.
    pub n_epochs: usize,
    /// Samples in a step; all of them where there are fewer.
    pub batch: usize,
    /// Whether what is left of an epoch after its last whole batch is a step, too.
    pub keeps_rest: bool,
    /// How a step is taken.
    pub rule: Rule,
    /// 0.9 in DINO and MAE.
    pub momentum: f64,
    /// 0 in DINO and MAE.
    pub weight_decay: f64,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// In front of the head, where there is one.
    pub batch_norm: Option<BatchNorm>,
}

/// What is learned from.
#[derive(Clone, Copy)]
pub struct Lesson<'a> {
    /// `[n, D]`
    pub rows: ArrayView2<'a, f32>,
    /// `[n]`, below `n_classes`.
    pub labels: &'a [u32],
    /// `K`
    pub n_classes: usize,
    /// The rows of an epoch, in its order; as many in every epoch.
    pub order: &'a (dyn Fn(u64) -> Vec<usize> + Sync),
    /// The weights at the start, the same for every head, `[K · D]`; biases start at 0.
    pub start: &'a [f32],
}

/// A trained head, with what its features go through first.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// `[K, D]`
    pub weights: Array2<f32>,
    /// `[K]`
    pub bias: Array1<f32>,
    /// The running statistics of the batch normalization; the identity without one.
    pub scale: Scale,
}

impl Head {
    /// The classifier of the features as they came.
    pub fn linear(&self) -> Linear {
        let (weights, bias) = (self.weights.mapv(f64::from), self.bias.mapv(f64::from));
        Linear { weights, bias }.after(&self.scale)
    }
}

/// Heads that share a product; never seen in the result but for its speed.
const HEADS_AT_ONCE: usize = 4;

/// Trains one head for each learning rate on the same batches.
///
/// The mean over a batch of `−log softmax(W x + b)[y]`; every head has its own weights, moments and step. Batches follow
/// the order of each epoch, products are of `f32`, and each head's numbers are the same bits for any number of threads.
///
/// # Shapes
/// `rates`: one learning rate a head; the result has as many heads, in that order.
///
/// # Panics
/// If sizes differ, there are no samples, or a label is not below `n_classes`.
///
/// # Source
/// Caron et al., DINO (SGD, momentum 0.9, cosine); Zhou et al., iBOT (several learning rates at once); He et al., MAE
/// (LARS, batch normalization without affine part).
pub fn train(lesson: &Lesson, rates: &[f64], how: &Descent) -> Vec<Head> {
    let (n_rows, width) = lesson.rows.dim();
    let n = (lesson.order)(0).len();
    assert_eq!(n_rows, lesson.labels.len(), "descent: rows and labels differ in number");
    assert_eq!(lesson.start.len(), lesson.n_classes * width, "descent: weights at the start of another size");
    assert!(n > 0 && how.batch > 0, "descent: {n} samples in batches of {}", how.batch);
    let wrong = lesson.labels.iter().find(|&&label| label as usize >= lesson.n_classes);
    assert!(wrong.is_none(), "descent: label {wrong:?} of {} classes", lesson.n_classes);
    // At least two groups, so that two threads have work; the same groups for any number of threads.
    let group = rates.len().div_ceil(2).clamp(1, HEADS_AT_ONCE);
    rates.par_chunks(group).flat_map_iter(|rates| train_group(lesson, n, rates, how)).collect()
}

/// The state of heads that learn side by side: head after head, `[heads · K, D]`.
struct Group {
    weights: Array2<f32>,
    weights_velocity: Array2<f32>,
    bias: Array1<f32>,
    bias_velocity: Array1<f32>,
}

fn train_group(lesson: &Lesson, n: usize, rates: &[f64], how: &Descent) -> Vec<Head> {
    let (width, n_classes) = (lesson.rows.ncols(), lesson.n_classes);
    let n_rows = rates.len() * n_classes;
    let start: Vec<f32> = rates.iter().flat_map(|_| lesson.start.iter().copied()).collect();
    let mut group = Group {
        weights: Array2::from_shape_vec((n_rows, width), start)
            .unwrap_or_else(|_| Array2::zeros((n_rows, width))),
        weights_velocity: Array2::zeros((n_rows, width)),
        bias: Array1::zeros(n_rows),
        bias_velocity: Array1::zeros(n_rows),
    };
    let mut running = (vec![0.0f64; width], vec![1.0f64; width]);
    let batch = how.batch.min(n);
    let n_steps = if how.keeps_rest { n.div_ceil(batch) } else { n / batch };
    let mut inputs = Array2::<f32>::zeros((batch, width));
    let mut scores = Array2::<f32>::zeros((batch, n_rows));
    let mut gradient = Array2::<f32>::zeros((n_rows, width));
    let mut bias_gradient = Array1::<f32>::zeros(n_rows);
    let mut labels = Vec::with_capacity(batch);
    for epoch in 0..how.n_epochs {
        let order = (lesson.order)(epoch as u64);
        assert_eq!(order.len(), n, "descent: epochs of one length");
        for (step, chosen) in order.chunks(batch).take(n_steps).enumerate() {
            let b = chosen.len();
            let mut x = inputs.slice_axis_mut(Axis(0), Slice::from(..b));
            for (mut row, &from) in x.rows_mut().into_iter().zip(chosen) {
                row.assign(&lesson.rows.row(from));
            }
            labels.clear();
            labels.extend(chosen.iter().map(|&from| lesson.labels[from] as usize));
            if let Some(norm) = how.batch_norm {
                normalize(&mut x, &mut running, norm);
            }
            let mut scores = scores.slice_axis_mut(Axis(0), Slice::from(..b)); // [B, heads · K]
            scores.assign(&group.bias);
            general_mat_mul(1.0, &x, &group.weights.t(), 1.0, &mut scores);
            softmax_minus_truth(&mut scores, &labels, n_classes);
            general_mat_mul(1.0, &scores.t(), &x, 0.0, &mut gradient);
            bias_gradient.fill(0.0);
            for row in scores.rows() {
                bias_gradient += &row;
            }
            let at = epoch as f64 + step as f64 / n_steps as f64;
            let factor = how.schedule.factor(at, how.n_epochs as f64);
            for (head_idx, rate) in rates.iter().enumerate() {
                let rows = head_idx * n_classes..(head_idx + 1) * n_classes;
                let values = rows.start * width..rows.end * width;
                let mut matrix = Step { how, rate: rate * factor, is_matrix: true };
                let parts = (&mut group.weights, &mut group.weights_velocity, &gradient);
                if let (Some(p), Some(v), Some(g)) =
                    (parts.0.as_slice_mut(), parts.1.as_slice_mut(), parts.2.as_slice())
                {
                    matrix.take(&mut p[values.clone()], &mut v[values.clone()], &g[values]);
                }
                matrix.is_matrix = false;
                let parts = (&mut group.bias, &mut group.bias_velocity, &bias_gradient);
                if let (Some(p), Some(v), Some(g)) =
                    (parts.0.as_slice_mut(), parts.1.as_slice_mut(), parts.2.as_slice())
                {
                    matrix.take(&mut p[rows.clone()], &mut v[rows.clone()], &g[rows]);
                }
            }
        }
    }
    let scale = match how.batch_norm {
        None => Scale::identity(width),
        Some(norm) => Scale {
            factor: running.1.iter().map(|variance| 1.0 / (variance + norm.eps).sqrt()).collect(),
            mean: running.0,
        },
    };
    let head = |head_idx: usize| {
        let rows = Slice::from(head_idx * n_classes..(head_idx + 1) * n_classes);
        let bias = group.bias.slice_axis(Axis(0), rows).to_owned();
        Head { weights: group.weights.slice_axis(Axis(0), rows).to_owned(), bias, scale: scale.clone() }
    };
    (0..rates.len()).map(head).collect()
}

/// Normalizes a batch by its own statistics and moves the running ones.
fn normalize(x: &mut ArrayViewMut2<f32>, running: &mut (Vec<f64>, Vec<f64>), norm: BatchNorm) {
    let b = x.nrows() as f64;
    let (mean, variance) = moments(x.view());
    let unbiased = b / (b - 1.0).max(1.0);
    for j in 0..mean.len() {
        running.0[j] += norm.momentum * (mean[j] - running.0[j]);
        running.1[j] += norm.momentum * (variance[j] * unbiased - running.1[j]);
    }
    let factor: Vec<f64> = variance.iter().map(|variance| 1.0 / (variance + norm.eps).sqrt()).collect();
    for mut row in x.rows_mut() {
        for ((x, mean), factor) in row.iter_mut().zip(&mean).zip(&factor) {
            *x = ((f64::from(*x) - mean) * factor) as f32;
        }
    }
}

/// Scores to the gradient of the mean cross-entropy: `(softmax(s) − [y]) / B`, for each head of a row.
fn softmax_minus_truth(scores: &mut ArrayViewMut2<f32>, labels: &[usize], n_classes: usize) {
    let share = 1.0 / labels.len() as f32;
    for (row, &label) in scores.rows_mut().into_iter().zip(labels) {
        let row = row.into_slice().expect("a row of the scores lies in one piece");
        for head in row.chunks_exact_mut(n_classes) {
            let top = head.iter().fold(f32::NEG_INFINITY, |top, &x| top.max(x));
            let mut sum = 0.0f32;
            for x in &mut *head {
                *x = (*x - top).exp();
                sum += *x;
            }
            let factor = share / sum;
            head.iter_mut().for_each(|x| *x *= factor);
            head[label] -= share;
        }
    }
}

/// One step of one parameter of one head.
pub struct Step<'a> {
    /// The rule, its momentum and decay.
    pub how: &'a Descent,
    /// The learning rate now.
    pub rate: f64,
    /// Whether the parameter has two dimensions; a bias has neither decay nor trust under LARS.
    pub is_matrix: bool,
}

impl Step<'_> {
    /// Moves a parameter.
    ///
    /// `d = g + wd · p`; LARS, for matrices, where both norms are above 0: `d ← d · trust · ‖p‖ / ‖d‖`;
    /// `μ ← m μ + d`; `p ← p − lr · μ`. Norms are summed in `f64`.
    ///
    /// # Shapes
    /// All slices of one length; `velocity` is `μ`.
    ///
    /// # Panics
    /// Never.
    ///
    /// # Source
    /// You et al., *Large Batch Training of Convolutional Networks*, 2017, as MAE's linear probe uses it.
    pub fn take(&self, parameter: &mut [f32], velocity: &mut [f32], gradient: &[f32]) {
        let (decay, stretch) = match self.how.rule {
            Rule::Sgd => (self.how.weight_decay, 1.0),
            Rule::Lars { .. } if !self.is_matrix => (0.0, 1.0),
            Rule::Lars { trust } => {
                let decay = self.how.weight_decay;
                let with_decay = |(p, g): (&f32, &f32)| f64::from(*g) + decay * f64::from(*p);
                let norm_p = parameter.iter().map(|&p| f64::from(p) * f64::from(p)).sum::<f64>().sqrt();
                let squares = parameter.iter().zip(gradient).map(with_decay).map(|d| d * d);
                let norm_d = squares.sum::<f64>().sqrt();
                (decay, if norm_p > 0.0 && norm_d > 0.0 { trust * norm_p / norm_d } else { 1.0 })
            }
        };
        let (decay, stretch) = (decay as f32, stretch as f32);
        let (momentum, rate) = (self.how.momentum as f32, self.rate as f32);
        for ((p, v), g) in parameter.iter_mut().zip(velocity).zip(gradient) {
            *v = momentum * *v + stretch * (g + decay * *p);
            *p -= rate * *v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Samples, logistic::loss_and_gradient};
    use super::*;
    use ndarray::array;

    const SGD: Descent = Descent {
        n_epochs: 3,
        batch: 4,
        keeps_rest: true,
        rule: Rule::Sgd,
        momentum: 0.9,
        weight_decay: 0.01,
        schedule: Schedule::CosineByEpoch,
        batch_norm: None,
    };

    #[test]
    fn two_lars_steps_by_hand() {
        // p = [1, 2, 2], ‖p‖ = 3; g = [.3, −.1, .2], ‖g‖ = .374166: d = g · .003/.374166 = [.0024053, −.0008018, …];
        // p₁ = 1 − 6.4 · .0024053 = .984606. The second step adds .9 of the first.
        let how = Descent { rule: Rule::Lars { trust: 0.001 }, weight_decay: 0.0, ..SGD };
        let step = Step { how: &how, rate: 6.4, is_matrix: true };
        let (mut p, mut v) = ([1.0f32, 2.0, 2.0], [0.0f32; 3]);
        for (gradient, expected) in [
            ([0.3f32, -0.1, 0.2], [0.984_606, 2.005_131, 1.989_737]),
            ([0.1, 0.1, -0.3], [0.964_978, 2.003_977, 1.997_818]),
        ] {
            step.take(&mut p, &mut v, &gradient);
            for (ours, expected) in p.iter().zip(expected) {
                assert!((f64::from(*ours) - expected).abs() < 2e-6, "{p:?}");
            }
        }
        // A bias has no trust: p − lr · g.
        let step = Step { how: &how, rate: 0.5, is_matrix: false };
        let (mut p, mut v) = ([1.0f32], [0.0f32]);
        step.take(&mut p, &mut v, &[0.4]);
        assert_eq!(p, [0.8]);
    }

    #[test]
    fn schedules_by_hand() {
        let factors =
            |schedule: Schedule, at: &[f64]| at.iter().map(|&e| schedule.factor(e, 20.0)).collect::<Vec<_>>();
        let near = |ours: Vec<f64>, expected: &[f64]| {
            assert!(ours.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{ours:?}");
        };
        near(factors(Schedule::CosineByEpoch, &[0.0, 0.9, 10.5]), &[1.0, 1.0, 0.5]);
        let warmup = Schedule::WarmupCosineByStep { warmup_epochs: 10.0 };
        near(factors(warmup, &[0.0, 2.5, 10.0, 15.0, 20.0]), &[0.0, 0.25, 1.0, 0.5, 0.0]);
    }

    /// The order of an epoch.
    fn order(n: usize, epoch: u64) -> Vec<usize> {
        (0..n).map(|i| (i * 3 + epoch as usize) % n).collect()
    }

    fn example(n: usize) -> (Array2<f32>, Vec<u32>) {
        let x = Array2::from_shape_fn((n, 5), |(i, j)| ((i * (j + 1)) as f32 * 0.61 + j as f32).sin());
        (x, (0..n as u32).map(|i| i * i % 3).collect())
    }

    /// The same training written out in `f64` with the gradient of the logistic regression, one head at a time.
    fn reference(rows: &Array2<f32>, labels: &[u32], rate: f64) -> Linear {
        let mut at = Linear::zeros(3, 5);
        at.weights = Array2::from_shape_fn((3, 5), |(c, j)| f64::from(start()[c * 5 + j]));
        let mut velocity = Linear::zeros(3, 5);
        for epoch in 0..3 {
            for chosen in order(10, epoch).chunks(4) {
                let x = Array2::from_shape_fn((chosen.len(), 5), |(i, j)| rows[[chosen[i], j]]);
                let y: Vec<u32> = chosen.iter().map(|&i| labels[i]).collect();
                let of: Vec<usize> = (0..y.len()).collect();
                let samples = Samples { rows: x.view(), labels: &y, of: &of };
                let (_, gradient) = loss_and_gradient(&samples, 0.0, &at);
                velocity.weights = velocity.weights * 0.9 + gradient.weights + &at.weights * 0.01;
                velocity.bias = velocity.bias * 0.9 + gradient.bias + &at.bias * 0.01;
                let now = rate * Schedule::CosineByEpoch.factor(epoch as f64, 3.0);
                at.weights.scaled_add(-now, &velocity.weights);
                at.bias.scaled_add(-now, &velocity.bias);
            }
        }
        at
    }

    fn start() -> Vec<f32> {
        (0..15).map(|i| (i as f32).cos() * 0.01).collect()
    }

    #[test]
    fn heads_side_by_side_learn_what_each_learns_alone_in_f64() {
        let (rows, labels) = example(10); // batches of 4, 4 and a rest of 2
        let (start, rates) = (start(), [0.01, 0.1, 0.5, 0.03, 1.0]);
        let order = |epoch| order(10, epoch);
        let lesson =
            Lesson { rows: rows.view(), labels: &labels, n_classes: 3, order: &order, start: &start };
        let heads = train(&lesson, &rates, &SGD);
        assert_eq!(heads.len(), 5);
        for (head, &rate) in heads.iter().zip(&rates) {
            let expected = reference(&rows, &labels, rate);
            let worst =
                head.weights.iter().zip(&expected.weights).chain(head.bias.iter().zip(&expected.bias));
            let worst = worst.fold(0.0f64, |worst, (a, b)| worst.max((f64::from(*a) - b).abs()));
            assert!(worst < 2e-6, "at {rate}: {worst}");
        }
    }

    #[test]
    fn a_rest_that_is_not_kept_is_no_step() {
        let (rows, labels) = example(10);
        let start = start();
        let whole = |epoch| order(10, epoch);
        let first = |epoch| order(10, epoch)[..8].to_vec();
        let lesson =
            Lesson { rows: rows.view(), labels: &labels, n_classes: 3, order: &whole, start: &start };
        let cut = Lesson { order: &first, ..lesson };
        let how = Descent { keeps_rest: false, ..SGD };
        assert_eq!(train(&lesson, &[0.1], &how), train(&cut, &[0.1], &SGD));
    }

    #[test]
    fn batch_normalization_by_hand() {
        // Values 1, 3: mean 2, variance 1 (of 2) and 2 (of 1). Running: .1 · 2 = .2 and 1 + .1 · (2 − 1) = 1.1.
        let mut x = array![[1.0f32], [3.0]];
        let mut running = (vec![0.0], vec![1.0]);
        normalize(&mut x.view_mut(), &mut running, BatchNorm { eps: 1e-6, momentum: 0.1 });
        assert!((x[[1, 0]] - 0.999_999_5).abs() < 1e-6 && (x[[0, 0]] + x[[1, 0]]).abs() < 1e-6);
        assert!((running.0[0] - 0.2).abs() < 1e-12 && (running.1[0] - 1.1).abs() < 1e-12);
    }

    #[test]
    fn a_normalized_head_does_not_mind_the_scale_of_its_features() {
        let (rows, labels) = example(12);
        let order = |_| (0..12).collect::<Vec<usize>>();
        let how = Descent {
            n_epochs: 80,
            batch: 12,
            keeps_rest: false,
            rule: Rule::Lars { trust: 0.001 },
            weight_decay: 0.0,
            schedule: Schedule::WarmupCosineByStep { warmup_epochs: 10.0 },
            batch_norm: Some(BatchNorm { eps: 1e-6, momentum: 0.1 }),
            ..SGD
        };
        let start = start();
        let of = |rows: &Array2<f32>| {
            let lesson =
                Lesson { rows: rows.view(), labels: &labels, n_classes: 3, order: &order, start: &start };
            let mut heads = train(&lesson, &[6.4], &how);
            heads.remove(0).linear().scores(rows.view(), &order(0))
        };
        let (plain, far) = (of(&rows), of(&rows.mapv(|x| 100.0 * x + 7.0)));
        // The running statistics still remember their start (.9^80 = 2e-4) of another scale: not bit-equal.
        assert!((&plain - &far).iter().all(|x| x.abs() < 0.05), "{plain}\n{far}");
    }
}
