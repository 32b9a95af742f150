//! One classifier of the features of one select: what was tried, what was chosen, what came out.

use super::config::{Input, Solver};
use measure::linear::descent::{Descent, Lesson, train};
use measure::linear::logistic::{Stop, fit};
use measure::linear::ridge::{Moments, Products};
use measure::linear::scale::Scale;
use measure::linear::{Linear, Samples, ranking};
use measure::vote::top1;
use ndarray::Array2;
use rand::RngExt;
use vit_data::{Seed, epoch_order};

/// The standard deviation of weights at the start: DINO and MAE.
const START_STD: f64 = 0.01;

/// The training side of one select.
pub(crate) struct Task<'a> {
    /// `[n, D]`
    pub(crate) rows: Array2<f32>,
    /// `[n]`
    pub(crate) labels: &'a [u32],
    /// Samples that are learned from until the choice is made.
    pub(crate) fit: &'a [usize],
    /// Samples by which it is made.
    pub(crate) held_out: &'a [usize],
    /// `K`
    pub(crate) n_classes: usize,
    /// Of the order of samples and the weights at the start.
    pub(crate) seed: u64,
}

/// What came out.
pub(crate) struct Answer {
    /// Learning rates or penalties.
    pub(crate) settings: Vec<f64>,
    /// Held-out accuracy of each.
    pub(crate) held_out: Vec<f64>,
    /// The one that was chosen: the first of the best.
    pub(crate) chosen: usize,
    /// Learned with it on the whole training side, for features as they come.
    pub(crate) classifier: Linear,
}

/// Finds a classifier.
pub(crate) fn solve(solver: &Solver, mut task: Task) -> Answer {
    let input = match solver {
        Solver::Sgd(sgd) => sgd.input,
        Solver::Logistic(logistic) => logistic.input,
        // LARS has its batch normalization; ridge regression is on standardized features.
        Solver::Lars(_) => Input::AsIs,
        Solver::Ridge(_) => Input::UnitVariance,
    };
    let scale = match (solver, input) {
        (Solver::Ridge(_), _) => Scale::standardizing(task.rows.view()),
        (_, Input::AsIs) => Scale::identity(task.rows.ncols()),
        (_, Input::UnitVariance) => Scale::to_unit_variance(task.rows.view()),
    };
    task.rows = scale.apply(task.rows);
    let all: Vec<usize> = (0..task.labels.len()).collect();
    let answer = match solver {
        Solver::Sgd(sgd) => descend(&task, &sgd.descent(), &sgd.base_lrs, &all),
        Solver::Lars(lars) => descend(&task, &lars.descent(), &lars.base_lrs, &all),
        // With fewer samples than features, products of samples cost less than products of features.
        Solver::Ridge(ridge) if all.len() < task.rows.ncols() => {
            let fit = task.products(task.fit);
            let on_all = |lambda: f64, _: Option<&Linear>| task.products(&all).into_solution(lambda);
            task.choose(ridge.lambdas(), |lambda, _| fit.solve(lambda), on_all)
        }
        Solver::Ridge(ridge) => {
            let moments = |of: &[usize]| Moments::of(&task.samples(of), task.n_classes);
            let (fit, held_out) = (moments(task.fit), moments(task.held_out));
            let whole = fit.plus(&held_out);
            task.choose(ridge.lambdas(), |lambda, _| fit.solve(lambda), |lambda, _| whole.solve(lambda))
        }
        Solver::Logistic(logistic) => {
            let stop = Stop { gradient: logistic.tolerance, max_steps: logistic.max_steps };
            let mut lambdas = logistic.lambdas.clone();
            lambdas.sort_by(|a, b| b.total_cmp(a));
            let nothing = || Linear::zeros(task.n_classes, task.rows.ncols());
            let on = |of: &[usize], lambda: f64, before: Option<&Linear>| {
                fit(&task.samples(of), lambda, before.cloned().unwrap_or_else(nothing), stop)
            };
            task.choose(
                lambdas,
                |lambda, before| on(task.fit, lambda, before),
                |lambda, before| on(&all, lambda, before),
            )
        }
    };
    Answer { classifier: answer.classifier.after(&scale), ..answer }
}

impl Task<'_> {
    fn samples<'a>(&'a self, of: &'a [usize]) -> Samples<'a> {
        Samples { rows: self.rows.view(), labels: self.labels, of }
    }

    fn products<'a>(&'a self, of: &'a [usize]) -> Products<'a> {
        Products::of(&self.samples(of), self.n_classes)
    }

    /// The share of held-out samples that a classifier gets right.
    fn held_out_top1(&self, classifier: &Linear) -> f64 {
        let scores = classifier.scores(self.rows.view(), self.held_out);
        let labels: Vec<u32> = self.held_out.iter().map(|&i| self.labels[i]).collect();
        top1(&ranking(scores.view(), 1).column(0).to_vec(), &labels)
    }

    /// Learns with one setting after another, each from where the one before ended, chooses, and learns with the
    /// chosen one on everything.
    fn choose(
        &self,
        settings: Vec<f64>,
        mut fit: impl FnMut(f64, Option<&Linear>) -> Linear,
        refit: impl FnOnce(f64, Option<&Linear>) -> Linear,
    ) -> Answer {
        let (mut held_out, mut best, mut last) = (Vec::new(), None, None);
        for &setting in &settings {
            let classifier = fit(setting, last.as_ref());
            let top1 = self.held_out_top1(&classifier);
            held_out.push(top1);
            if held_out[..held_out.len() - 1].iter().all(|&other| other < top1) {
                best = Some(classifier.clone());
            }
            last = Some(classifier);
        }
        let chosen = first_best(&held_out);
        let classifier = refit(settings[chosen], best.as_ref());
        Answer { settings, held_out, chosen, classifier }
    }
}

fn first_best(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// Heads of all learning rates side by side, then the chosen one on everything.
fn descend(task: &Task, how: &Descent, base_lrs: &[f64], all: &[usize]) -> Answer {
    let start = start(task.n_classes * task.rows.ncols(), Seed(task.seed));
    let heads = |of: &[usize], base_lrs: &[f64]| -> Vec<Linear> {
        let order = |epoch: u64| epoch_order(of.iter().copied(), Seed(task.seed), epoch);
        let lesson = Lesson {
            rows: task.rows.view(),
            labels: task.labels,
            n_classes: task.n_classes,
            order: &order,
            start: &start,
        };
        let per_batch = how.batch.min(of.len()) as f64 / 256.0;
        let rates: Vec<f64> = base_lrs.iter().map(|base_lr| base_lr * per_batch).collect();
        train(&lesson, &rates, how).iter().map(|head| head.linear()).collect()
    };
    let held_out: Vec<f64> = heads(task.fit, base_lrs).iter().map(|head| task.held_out_top1(head)).collect();
    let chosen = first_best(&held_out);
    let classifier = heads(all, &base_lrs[chosen..=chosen]).swap_remove(0);
    Answer { settings: base_lrs.to_vec(), held_out, chosen, classifier }
}

/// Normal numbers of mean 0.
fn start(n: usize, seed: Seed) -> Vec<f32> {
    let mut stream = seed.stream("linear-head", &[]);
    let mut values = Vec::with_capacity(n + 1);
    while values.len() < n {
        // Box and Muller; 1 − u is never 0.
        let (u, angle) = (stream.random::<f64>(), stream.random::<f64>() * std::f64::consts::TAU);
        let radius = START_STD * (-2.0 * libm::log(1.0 - u)).sqrt();
        values.push((radius * libm::cos(angle)) as f32);
        values.push((radius * libm::sin(angle)) as f32);
    }
    values.truncate(n);
    values
}

#[cfg(test)]
mod tests {
    use super::super::config::{Lars, Logistic, Ridge, Sgd};
    use super::*;

    /// Three classes around three corners of a square, each feature on a scale of its own.
    fn solved(solver: &Solver) -> Answer {
        let labels: Vec<u32> = (0..90).map(|i| i % 3).collect();
        let x = |i: usize, j: usize| {
            let corner = [[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]][i % 3];
            let away = ((i * 37 + j * 11) % 17) as f64 / 17.0 - 0.5;
            (if j == 2 { 1e-3 * away } else { (corner[j] + away) * [1.0, 100.0][j] + 5.0 }) as f32
        };
        let rows = Array2::from_shape_fn((90, 3), |(i, j)| x(i, j));
        let held_out: Vec<usize> = (0..30).collect();
        let fit: Vec<usize> = (30..90).collect();
        solve(solver, Task { rows, labels: &labels, fit: &fit, held_out: &held_out, n_classes: 3, seed: 1 })
    }

    #[test]
    fn every_solver_tells_three_corners_apart_whatever_the_scale_of_the_features() {
        let sgd = Sgd { batch: 8, ..Sgd::default() };
        let lars = Lars { batch: 15, base_lrs: vec![0.1, 100.0], ..Lars::default() };
        for solver in [
            Solver::Sgd(sgd),
            Solver::Lars(lars),
            Solver::Ridge(Ridge::default()),
            Solver::Logistic(Logistic::default()),
        ] {
            let answer = solved(&solver);
            assert_eq!(answer.held_out[answer.chosen], 1.0, "{solver:?}: {:?}", answer.held_out);
            assert_eq!(answer.settings.len(), answer.held_out.len());
            // For features as they come: the corner of class 1 is (2, 0), on the scales (1, 100) and moved by 5.
            let corner = ndarray::array![[7.0f32, 5.0, 0.0]];
            let scores = answer.classifier.scores(corner.view(), &[0]);
            assert_eq!(ranking(scores.view(), 1)[[0, 0]], 1, "{solver:?}: {scores}");
        }
    }

    #[test]
    fn of_equal_settings_the_first_is_chosen() {
        assert_eq!(first_best(&[0.2, 0.7, 0.7, 0.1]), 1);
        // Everything up to a penalty that drowns the features is as good: the strongest of those.
        let answer = solved(&Solver::Ridge(Ridge { log2_lambdas: [-3, -1] }));
        assert_eq!((answer.settings[0], answer.chosen), (0.5, 0));
    }

    #[test]
    fn weights_start_small_normal_and_the_same() {
        let start_of = |seed| start(10_001, Seed(seed));
        let values = start_of(0);
        let std = (values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 10_001.0).sqrt();
        assert!((std - 0.01).abs() < 3e-4, "{std}");
        assert_eq!(values, start_of(0));
        assert_ne!(values[..10], start_of(1)[..10]);
    }
}
