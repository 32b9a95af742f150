//! Samples in fixed groups in the data's order, so that neither the forward's batches nor parts that were merged show.

use super::{Cka, CkaConfig, Compat, Estimator, Layer};
use measure::cka::{
    Energy, FEWEST_SAMPLES, Gram, Moments, cka_from_hsic, hsic_matrix, kernel_range, linear_grams,
};
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_features::{Accumulate, Role, Study, StudyError, Taken};

/// Sums over groups of samples, and the samples that wait for their group to be full. Memory does not grow with the
/// number of samples, but for the full estimator over maps of tokens, which keeps them.
#[derive(Serialize, Deserialize)]
pub struct CkaAcc {
    group: usize,
    compat: Compat,
    layers: Vec<Layer>,
    /// Samples × width of every layer; the next group, once all models have shown it. One queue, or one for each class.
    waiting: BTreeMap<u32, Vec<Vec<f32>>>,
    minibatch: Option<Minibatch>,
    full: Option<Full>,
    /// Samples in groups that are closed.
    n_closed: usize,
    /// Samples of groups that were too small for the minibatch estimator.
    n_left_out: usize,
    /// How often parts were joined inside a group, so that groups are others than in one run.
    n_off_border: usize,
}

/// Sums of the minibatch estimator.
#[derive(Serialize, Deserialize)]
struct Minibatch {
    hsic: Array2<f64>,
    energies: Vec<Energy>,
    n_groups: usize,
}

impl Minibatch {
    /// Adds a group.
    fn add(&mut self, grams: &[Gram]) {
        self.hsic += &hsic_matrix(grams);
        for (sum, gram) in self.energies.iter_mut().zip(grams) {
            sum.raw += gram.energy().raw;
            sum.centered += gram.energy().centered;
        }
        self.n_groups += 1;
    }

    /// Joins the sums of later groups.
    fn merge(&mut self, later: Self) {
        self.hsic += &later.hsic;
        for (ours, later) in self.energies.iter_mut().zip(later.energies) {
            ours.raw += later.raw;
            ours.centered += later.centered;
        }
        self.n_groups += later.n_groups;
    }
}

/// What the full estimator keeps.
#[derive(Serialize, Deserialize)]
enum Full {
    /// Sums for each pair of layers.
    Moments(Moments),
    /// All samples of every layer.
    Kept(Vec<Vec<f32>>),
}

/// What was found: CKA of every pair of layers by each estimator, and how it was come by.
pub(super) struct Alike {
    /// `[layers, layers]` by the minibatch estimator.
    pub minibatch: Option<Array2<f64>>,
    /// `[layers, layers]` over all samples.
    pub full: Option<Array2<f64>>,
    /// Layers whose features do not vary.
    pub constant: Vec<usize>,
    /// Groups of the minibatch estimator.
    pub n_groups: usize,
    /// All samples.
    pub n_samples: usize,
    /// Samples that the minibatch estimator could not use.
    pub n_left_out: usize,
    /// How often parts were joined inside a group.
    pub n_off_border: usize,
}

impl CkaAcc {
    /// Nothing seen yet.
    pub(super) fn new(config: &CkaConfig, layers: Vec<Layer>) -> Self {
        let n = layers.len();
        let minibatch = config.wants(Estimator::Minibatch).then(|| Minibatch {
            hsic: Array2::zeros((n, n)),
            energies: vec![Energy::default(); n],
            n_groups: 0,
        });
        let full = config.wants(Estimator::Full).then(|| match config.tokens.is_vector() {
            true => Full::Moments(Moments::default()),
            false => Full::Kept(vec![Vec::new(); n]),
        });
        Self {
            group: config.batch,
            compat: config.compat,
            waiting: BTreeMap::new(),
            layers,
            minibatch,
            full,
            n_closed: 0,
            n_left_out: 0,
            n_off_border: 0,
        }
    }

    /// The bytes of all samples and sums held.
    pub fn n_bytes(&self) -> usize {
        let kept = match &self.full {
            None => 0,
            Some(Full::Moments(moments)) => moments.n_bytes(),
            Some(Full::Kept(kept)) => kept.iter().map(|values| size_of::<f32>() * values.len()).sum(),
        };
        let waiting = self.waiting.values().flatten();
        let waiting: usize = waiting.map(|values| size_of::<f32>() * values.capacity()).sum();
        let sums = self.minibatch.as_ref().map_or(0, |sums| size_of::<f64>() * sums.hsic.len());
        kept + waiting + sums
    }

    /// Samples of a queue that every model has shown and that wait for their group.
    fn n_waiting(&self, queue: u32) -> usize {
        let Some(waiting) = self.waiting.get(&queue) else { return 0 };
        let samples = waiting.iter().zip(&self.layers).map(|(values, layer)| values.len() / layer.width);
        samples.min().unwrap_or(0)
    }

    fn queues(&self) -> Vec<u32> {
        self.waiting.keys().copied().collect()
    }

    /// Closes every group that is full.
    fn close_full_groups(&mut self) {
        for queue in self.queues() {
            while self.n_waiting(queue) >= self.group {
                self.close(queue, self.group);
            }
        }
    }

    /// Closes a group of the first `n` samples that wait in a queue.
    fn close(&mut self, queue: u32, n: usize) {
        let Some(waiting) = self.waiting.get_mut(&queue).filter(|_| n > 0) else { return };
        let views: Vec<ArrayView2<f32>> =
            waiting.iter().zip(&self.layers).map(|(values, layer)| rows(values, n, layer.width)).collect();
        match &mut self.minibatch {
            None => {}
            Some(_) if n < FEWEST_SAMPLES => self.n_left_out += n,
            Some(sums) => sums.add(&match self.compat {
                Compat::None => linear_grams(&views),
                Compat::VitAnalysis => scaled_grams(&views),
            }),
        }
        match &mut self.full {
            None => {}
            Some(Full::Moments(moments)) => moments.add(&views),
            Some(Full::Kept(kept)) => {
                for (kept, view) in kept.iter_mut().zip(&views) {
                    kept.extend(view.iter());
                }
            }
        }
        self.n_closed += n;
        for (values, layer) in waiting.iter_mut().zip(&self.layers) {
            values.drain(..n * layer.width);
        }
    }

    /// Closes what is left, class after class in one queue.
    fn close_the_rest(&mut self) {
        let mut rest = vec![Vec::new(); self.layers.len()];
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            rest.iter_mut().zip(waiting).for_each(|(rest, waiting)| rest.extend(waiting));
        }
        self.waiting.insert(0, rest);
        self.close_full_groups();
        self.close(0, self.n_waiting(0));
    }

    /// Closes the last group, and gives what was found.
    pub(super) fn finish(mut self) -> Result<Alike, StudyError> {
        self.close_the_rest();
        let n_samples = self.n_closed;
        if n_samples < FEWEST_SAMPLES {
            return Err(StudyError::Value {
                study: Cka::INFO.name.into(),
                expected: format!("at least {FEWEST_SAMPLES} images"),
                found: n_samples.to_string(),
            });
        }
        let mut constant = Vec::new();
        let mut alike = |hsic: &Array2<f64>, energies: &[Energy]| {
            let varies: Vec<bool> = energies.iter().map(|energy| energy.varies()).collect();
            constant.extend((0..varies.len()).filter(|&layer| !varies[layer]));
            cka_from_hsic(hsic.view(), &varies)
        };
        let n_groups = self.minibatch.as_ref().map_or(0, |sums| sums.n_groups);
        let minibatch = self.minibatch.map(|sums| alike(&sums.hsic, &sums.energies));
        let full = self.full.map(|full| {
            let (hsic, energies) = match full {
                Full::Moments(moments) => moments.into_hsic(),
                Full::Kept(kept) => {
                    let layers = kept.iter().zip(&self.layers);
                    let views: Vec<_> =
                        layers.map(|(kept, layer)| rows(kept, n_samples, layer.width)).collect();
                    let grams = linear_grams(&views);
                    (hsic_matrix(&grams), grams.iter().map(Gram::energy).collect())
                }
            };
            alike(&hsic, &energies)
        });
        constant.sort_unstable();
        constant.dedup();
        Ok(Alike {
            minibatch,
            full,
            constant,
            n_groups,
            n_samples,
            n_left_out: self.n_left_out,
            n_off_border: self.n_off_border,
        })
    }
}

/// The Gram matrix of every layer, scaled to 0–1.
fn scaled_grams(layers: &[ArrayView2<f32>]) -> Vec<Gram> {
    let scaled = |(gram, features): (Gram, &ArrayView2<f32>)| match kernel_range(*features) {
        0.0 => gram,
        range => gram.times(1.0 / range),
    };
    linear_grams(layers).into_iter().zip(layers).map(scaled).collect()
}

/// The first `n` rows of a layer.
fn rows(values: &[f32], n: usize, width: usize) -> ArrayView2<'_, f32> {
    match ArrayView2::from_shape((n, width), &values[..n * width]) {
        Ok(view) => view,
        Err(error) => panic!("{n} samples of {width} numbers: {error}"),
    }
}

impl Accumulate for CkaAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role != Role::Test {
            return Ok(());
        }
        let n = taken.info.labels.len();
        let n_layers = self.layers.len();
        for (at, layer) in self.layers.iter().enumerate() {
            if layer.model != taken.info.model {
                continue;
            }
            let parts: Vec<&[f32]> =
                layer.selects.iter().map(|select| taken.features[select].1.as_slice()).collect();
            let found = parts.iter().map(|part| part.len()).sum::<usize>();
            if found != n * layer.width {
                return Err(StudyError::Value {
                    study: Cka::INFO.name.into(),
                    expected: format!("{} numbers a sample of {}", layer.width, layer.name),
                    found: format!("{found} in {n} samples"),
                });
            }
            for sample in 0..n {
                let queue = match self.compat {
                    Compat::None => 0,
                    Compat::VitAnalysis => taken.info.labels[sample].unwrap_or(0),
                };
                let queue = self.waiting.entry(queue).or_insert_with(|| vec![Vec::new(); n_layers]);
                let waiting = &mut queue[at];
                for part in &parts {
                    let width = part.len() / n;
                    waiting.extend_from_slice(&part[sample * width..(sample + 1) * width]);
                }
            }
        }
        self.close_full_groups();
        Ok(())
    }

    /// Exact where this part ends at the border of a group, or the later one has no full group yet. Elsewhere the last
    /// samples of this part become a smaller group of their own; the findings say so.
    fn merge(&mut self, later: Self) {
        if later.n_closed > 0 {
            let is_off = self.queues().into_iter().any(|queue| self.n_waiting(queue) > 0);
            self.n_off_border += usize::from(is_off);
            if self.compat == Compat::None {
                self.close(0, self.n_waiting(0));
            }
        }
        self.n_closed += later.n_closed;
        self.n_left_out += later.n_left_out;
        self.n_off_border += later.n_off_border;
        if let (Some(ours), Some(later)) = (&mut self.minibatch, later.minibatch) {
            ours.merge(later);
        }
        match (&mut self.full, later.full) {
            (Some(Full::Moments(ours)), Some(Full::Moments(later))) => ours.merge(later),
            (Some(Full::Kept(ours)), Some(Full::Kept(later))) => {
                ours.iter_mut().zip(later).for_each(|(ours, later)| ours.extend(later));
            }
            _ => {}
        }
        let n_layers = self.layers.len();
        for (queue, later) in later.waiting {
            let ours = self.waiting.entry(queue).or_insert_with(|| vec![Vec::new(); n_layers]);
            ours.iter_mut().zip(later).for_each(|(ours, later)| ours.extend(later));
        }
        self.close_full_groups();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vit_core::Site;
    use vit_features::{BatchInfo, Part, Place, Select};

    const WIDTHS: [usize; 3] = [5, 3, 4];

    fn layers() -> Vec<Layer> {
        let layer = |(at, &width): (usize, &usize)| Layer {
            // The third layer is of a second model.
            model: at / 2,
            block: at,
            site: Site::Block(at),
            selects: vec![Select { place: Place::At(Site::Block(at)), part: Part::Mean }],
            width,
            name: format!("block{at}.mean"),
        };
        WIDTHS.iter().enumerate().map(layer).collect()
    }

    /// A number that looks random.
    fn value(layer: usize, sample: usize, column: usize) -> f32 {
        let shared = ((sample * 7919 + column % 2 * 31) % 101) as f32 / 101.0;
        let own = ((sample * 104_729 + column * 1299 + layer * 17) % 97) as f32 / 97.0;
        2.0 + shared + own
    }

    /// Shows one sample of a class.
    fn show_as(acc: &mut CkaAcc, sample: usize, label: Option<u32>) {
        for model in 0..2 {
            let of_model = layers().into_iter().filter(|layer| layer.model == model);
            let features: BTreeMap<_, _> = of_model
                .map(|layer| {
                    let row = (0..layer.width).map(|column| value(layer.block, sample, column)).collect();
                    (layer.selects[0], (vec![1, layer.width], row))
                })
                .collect();
            let info = BatchInfo {
                model,
                role: Role::Test,
                first: 0,
                labels: &[label],
                indices: &[sample],
                truths: &[],
                boxes: &[],
            };
            acc.batch(&Taken { info, features: &features }).expect("fits");
        }
    }

    /// Shows samples `from..to` in batches.
    fn show(acc: &mut CkaAcc, from: usize, to: usize, batch: usize) {
        for first in (from..to).step_by(batch) {
            let n = batch.min(to - first);
            for model in 0..2 {
                let features: BTreeMap<_, _> = layers()
                    .into_iter()
                    .filter(|layer| layer.model == model)
                    .map(|layer| {
                        let samples = first..first + n;
                        let row = |sample| (0..layer.width).map(move |column| (sample, column));
                        let cells = samples.flat_map(row);
                        let values =
                            cells.map(|(sample, column)| value(layer.block, sample, column)).collect();
                        (layer.selects[0], (vec![n, layer.width], values))
                    })
                    .collect();
                let (labels, indices) = (vec![None; n], (first..first + n).collect::<Vec<_>>());
                let info = BatchInfo {
                    model,
                    role: Role::Test,
                    first,
                    labels: &labels,
                    indices: &indices,
                    truths: &[],
                    boxes: &[],
                };
                acc.batch(&Taken { info, features: &features }).expect("fits");
            }
        }
    }

    fn open() -> CkaAcc {
        CkaAcc::new(&CkaConfig { batch: 8, ..CkaConfig::default() }, layers())
    }

    fn seen(from: usize, to: usize, batch: usize) -> CkaAcc {
        let mut acc = open();
        show(&mut acc, from, to, batch);
        acc
    }

    fn farthest(ours: &Option<Array2<f64>>, expected: &Option<Array2<f64>>) -> f64 {
        let (Some(ours), Some(expected)) = (ours, expected) else { panic!("both estimators are asked for") };
        (ours - expected).iter().fold(0.0, |worst, difference| f64::max(worst, difference.abs()))
    }

    #[test]
    fn batches_of_the_forward_do_not_show() {
        let whole = seen(0, 44, 44).finish().expect("enough");
        assert_eq!((whole.n_groups, whole.n_left_out, whole.n_samples), (6, 0, 44));
        for batch in [1, 3, 8, 16] {
            let other = seen(0, 44, batch).finish().expect("enough");
            assert_eq!(farthest(&other.minibatch, &whole.minibatch), 0.0, "{batch}");
            assert_eq!(farthest(&other.full, &whole.full), 0.0, "{batch}");
        }
    }

    #[test]
    fn parts_that_end_at_the_border_of_a_group_or_have_no_full_group_merge_into_the_whole() {
        let whole = seen(0, 44, 5).finish().expect("enough");
        for cut in [8, 24, 38, 43] {
            let mut merged = seen(0, cut, 5);
            merged.merge(seen(cut, 44, 5));
            let merged = merged.finish().expect("enough");
            assert_eq!((merged.n_groups, merged.n_off_border), (6, 0), "{cut}");
            assert!(farthest(&merged.minibatch, &whole.minibatch) < 1e-13, "{cut}");
            assert!(farthest(&merged.full, &whole.full) < 1e-12, "{cut}");
        }
    }

    #[test]
    fn parts_joined_inside_a_group_are_said_to_be_and_the_full_estimate_is_the_same() {
        let whole = seen(0, 44, 5).finish().expect("enough");
        let mut merged = seen(0, 11, 5);
        merged.merge(seen(11, 44, 5));
        let merged = merged.finish().expect("enough");
        // Groups of 8, 3 (too small), then 8, 8, 8, 8, 1 (too small).
        assert_eq!((merged.n_off_border, merged.n_groups, merged.n_left_out), (1, 5, 4));
        assert!(farthest(&merged.full, &whole.full) < 1e-12);
    }

    #[test]
    fn memory_is_flat_in_the_number_of_samples() {
        let few = seen(0, 8 * 3 + 5, 7);
        let many = seen(0, 8 * 300 + 5, 7);
        assert_eq!(few.n_bytes(), many.n_bytes());
        // Sums for 6 pairs of 3 layers of some 4 numbers, and groups of 8 samples: no more than 4 KiB.
        assert!(many.n_bytes() < 4096, "{}", many.n_bytes());
    }

    #[test]
    fn groups_of_one_class_do_not_depend_on_the_order_of_classes() {
        let config = CkaConfig { batch: 4, compat: Compat::VitAnalysis, ..CkaConfig::default() };
        // Samples 0, 1, 2, 3 of class 0 and 10, 11, 12, 13 of class 1, in turn and one class after the other.
        let in_order = |order: [usize; 8]| {
            let mut acc = CkaAcc::new(&config, layers());
            for sample in order {
                show_as(&mut acc, sample, Some(sample as u32 / 10));
            }
            acc.finish().expect("enough")
        };
        let sorted = in_order([0, 1, 2, 3, 10, 11, 12, 13]);
        let in_turn = in_order([0, 10, 1, 11, 2, 12, 3, 13]);
        assert_eq!((sorted.n_groups, in_turn.n_groups), (2, 2));
        assert_eq!(farthest(&sorted.minibatch, &in_turn.minibatch), 0.0);
        // Scaled Gram matrices weigh their groups differently.
        let plain = CkaConfig { compat: Compat::None, ..config.clone() };
        let mut acc = CkaAcc::new(&plain, layers());
        for sample in [0, 1, 2, 3, 10, 11, 12, 13] {
            show_as(&mut acc, sample, None);
        }
        let unscaled = acc.finish().expect("enough");
        assert!(farthest(&sorted.minibatch, &unscaled.minibatch) > 1e-4);
    }

    #[test]
    fn three_samples_are_refused() {
        let error = seen(0, 3, 3).finish().err().expect("too few");
        assert_eq!(error.to_string(), "`cka`: expected at least 4 images; found 3");
    }
}
