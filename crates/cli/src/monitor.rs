//! Scores of an encoder while it is trained: nearest neighbors and a linear probe, on held-out data.

use crate::data::Subset;
use burn::tensor::{Device, Tensor, TensorData};
use measure::linear::ridge::Moments;
use measure::linear::scale::Scale;
use measure::linear::{Samples, ranking};
use measure::nearest::{l2_normalize_rows, top_k};
use measure::vote::{top1, weighted_votes};
use ndarray::Array2;
use std::cell::OnceCell;
use std::sync::Arc;
use vit_core::Backbone;
use vit_data::{DataError, Dataset, HostBatch, Loader, LoaderOptions, Order, ViewPlan, spread_over_classes};
use vit_features::Passage;
use vit_train::{Monitor, PretrainRecipe, TrainError};

/// Neighbors that vote, where there are as many, and the temperature of their votes; as in the kNN probe.
const N_NEIGHBORS: usize = 20;
const TEMPERATURE: f64 = 0.07;

/// The penalty of the linear probe on standardized features.
const LAMBDA: f64 = 0.1;

/// Images in a batch.
const BATCH: usize = 64;

/// Views are kept between scores where those of both sides take no more than this; otherwise they are cut anew.
const MOST_KEPT_BYTES: usize = 64 << 20;

/// Names of the scores of a token: nearest neighbors, then the linear probe.
const OF_CLASS: [&str; 2] = ["knn_top1_cls", "linear_top1_cls"];
const OF_MEAN: [&str; 2] = ["knn_top1_mean", "linear_top1_mean"];

/// Some samples of one side of the data.
struct Side {
    data: Arc<dyn Dataset>,
    indices: Arc<Vec<usize>>,
    /// Their views, where they are kept.
    kept: OnceCell<Vec<HostBatch>>,
}

/// Features of some samples, with their classes.
struct Rows {
    /// `[n, D]`
    class: Option<Array2<f32>>,
    /// `[n, D]`
    mean: Array2<f32>,
    labels: Vec<u32>,
}

/// Scores an encoder by what a few samples of the training side tell of a few held-out ones.
pub(crate) struct HeldOut {
    train: Side,
    test: Side,
    n_classes: usize,
    plan: ViewPlan,
    device: Device,
    n_threads: usize,
    is_kept: bool,
}

impl HeldOut {
    /// For a run by a recipe; nothing where it does not want scores, or the data has no classes.
    ///
    /// # Errors
    /// When the normalization is unknown.
    pub(crate) fn of(
        recipe: &PretrainRecipe,
        (train, test): (&Passage, Option<&Passage>),
        device: &Device,
        n_threads: usize,
    ) -> anyhow::Result<Option<Self>> {
        let config = recipe.train.monitor;
        let n_classes = train.data.classes().len();
        let has_labels = |side: &Passage| side.data.offers().labels;
        let Some(test) =
            test.filter(|test| config.n_train > 0 && n_classes > 1 && has_labels(test) && has_labels(train))
        else {
            return Ok(None);
        };
        let some = |side: &Passage, n: usize| {
            let data = Subset::of(side.clone());
            Side { indices: Arc::new(spread_over_classes(data.as_ref(), n)), data, kept: OnceCell::new() }
        };
        let (train, test) = (some(train, config.n_train), some(test, config.n_test));
        let size_px = recipe.views.size_px;
        let bytes = (train.indices.len() + test.indices.len()) * 3 * size_px * size_px * size_of::<f32>();
        Ok(Some(Self {
            train,
            test,
            n_classes,
            plan: ViewPlan::center(size_px, size_px, recipe.views.normalization()?),
            device: device.clone(),
            n_threads,
            is_kept: bytes <= MOST_KEPT_BYTES,
        }))
    }

    /// The features of one side.
    fn rows(&self, side: &Side, encoder: &Backbone) -> Result<Rows, DataError> {
        let cut = || {
            let options = LoaderOptions { batch: BATCH, threads: self.n_threads, ..LoaderOptions::default() };
            let order = Order::Indices(Arc::clone(&side.indices));
            Loader::new(Arc::clone(&side.data), order, self.plan.clone(), options)
        };
        let mut taken = Features::default();
        if !self.is_kept {
            for host in cut() {
                taken.push(&host?, encoder, &self.device);
            }
        } else if let Some(kept) = side.kept.get() {
            kept.iter().for_each(|host| taken.push(host, encoder, &self.device));
        } else {
            let all = cut().collect::<Result<Vec<HostBatch>, DataError>>()?;
            side.kept.get_or_init(|| all).iter().for_each(|host| taken.push(host, encoder, &self.device));
        }
        Ok(taken.rows(encoder.width()))
    }
}

impl Monitor for HeldOut {
    fn n_images(&self) -> usize {
        self.train.indices.len() + self.test.indices.len()
    }

    fn scores(&self, encoder: &Backbone) -> Result<Vec<(&'static str, f64)>, TrainError> {
        let (train, test) = (self.rows(&self.train, encoder)?, self.rows(&self.test, encoder)?);
        if train.labels.is_empty() || test.labels.is_empty() {
            return Ok(Vec::new());
        }
        let labels = (train.labels.as_slice(), test.labels.as_slice());
        let mut scores = Vec::new();
        if let (Some(train), Some(test)) = (&train.class, &test.class) {
            scores.extend(OF_CLASS.into_iter().zip(score((train, test), labels, self.n_classes)));
        }
        scores.extend(OF_MEAN.into_iter().zip(score((&train.mean, &test.mean), labels, self.n_classes)));
        Ok(scores)
    }
}

/// What is gathered batch by batch, row by row.
#[derive(Default)]
struct Features {
    class: Vec<f32>,
    mean: Vec<f32>,
    labels: Vec<u32>,
}

impl Features {
    /// The samples of a batch that have a class.
    fn push(&mut self, host: &HostBatch, encoder: &Backbone, device: &Device) {
        let Some(view) = host.views.first() else { return };
        let pixels = Tensor::from_data(TensorData::new(view.pixels.clone(), view.shape), device);
        let tokens = encoder.infer(pixels);
        let known: Vec<usize> = (0..host.labels.len()).filter(|&at| host.labels[at].is_some()).collect();
        let mut add = |rows: Tensor<2>, to: fn(&mut Self) -> &mut Vec<f32>| {
            let width = rows.dims()[1];
            let values = match rows.into_data().try_to_vec::<f32>() {
                Ok(values) => values,
                Err(error) => panic!("features are f32: {error:?}"),
            };
            known.iter().for_each(|&at| to(self).extend(&values[at * width..][..width]));
        };
        if let Some(class) = tokens.class() {
            add(class, |features| &mut features.class);
        }
        add(tokens.mean(), |features| &mut features.mean);
        self.labels.extend(host.labels.iter().flatten());
    }

    fn rows(self, width: usize) -> Rows {
        let n = self.labels.len();
        let matrix = |values: Vec<f32>| match Array2::from_shape_vec((n, width), values) {
            Ok(rows) => rows,
            Err(error) => panic!("features: {n} rows of {width}: {error}"),
        };
        let class = (!self.class.is_empty()).then(|| matrix(self.class));
        Rows { class, mean: matrix(self.mean), labels: self.labels }
    }
}

/// Accuracy of the nearest neighbors, then of the linear probe.
fn score(
    (train, test): (&Array2<f32>, &Array2<f32>),
    (train_labels, test_labels): (&[u32], &[u32]),
    n_classes: usize,
) -> [f64; 2] {
    let k = N_NEIGHBORS.min(train.nrows());
    let (bank, queries) = (l2_normalize_rows(train.view()), l2_normalize_rows(test.view()));
    let top = top_k(queries.view(), bank.view(), k);
    let votes = weighted_votes(&top, train_labels, n_classes, &[k], &[TEMPERATURE]);
    let of_neighbors = votes.first().map_or(0.0, |votes| top1(&votes.predicted(), test_labels));

    let scale = Scale::standardizing(train.view());
    let (train, test) = (scale.apply(train.clone()), scale.apply(test.clone()));
    let every = |rows: &Array2<f32>| (0..rows.nrows()).collect::<Vec<usize>>();
    let samples = Samples { rows: train.view(), labels: train_labels, of: &every(&train) };
    let probe = Moments::of(&samples, n_classes).solve(LAMBDA);
    let predicted = ranking(probe.scores(test.view(), &every(&test)).view(), 1);
    [of_neighbors, top1(&predicted.column(0).to_vec(), test_labels)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn both_scores_are_worked_by_hand() {
        // Class 0 lies along the first axis and class 1 along the second; the third sample asked lies where class 1 does,
        // but is called 0.
        let train = array![[1.0f32, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 2.0]];
        let test = array![[3.0f32, 0.2], [0.1, 1.5], [0.0, 2.5]];
        let labels: (&[u32], &[u32]) = (&[0, 0, 1, 1], &[0, 1, 0]);
        let [knn, linear] = score((&train, &test), labels, 2);
        assert!((knn - 2.0 / 3.0).abs() < 1e-12 && (linear - 2.0 / 3.0).abs() < 1e-12, "{knn}, {linear}");
    }

    #[test]
    fn views_that_are_kept_and_views_that_are_cut_anew_score_the_same() {
        let text = "objective = 'mae'\nmodel = 'vit:dim=32,depth=1,heads=4,patch=16,image=64'\ndata = 'part-shapes'\n\
                    [views]\nsize_px = 64\nnormalize = 'half'\n[train.monitor]\nn_train = 24\nn_test = 13\n";
        let table = report::recipe::parse_table(text, "a test").expect("TOML");
        let recipe: PretrainRecipe = report::recipe::from_table(table, "a test").expect("a recipe");
        let side = |split, role| {
            let data: Arc<dyn Dataset> =
                Arc::from(vit_data::open("part-shapes", split, 0).expect("built in"));
            Passage { role, indices: Arc::new((0..60).collect()), data }
        };
        let train = side(vit_data::Split::Train, vit_features::Role::Train);
        let test = side(vit_data::Split::Test, vit_features::Role::Test);
        let device = vit_ops::cpu_device();
        let monitor = |recipe: &PretrainRecipe| {
            HeldOut::of(recipe, (&train, Some(&test)), &device, 0).expect("a normalization that is known")
        };
        let kept = monitor(&recipe).expect("scores are wanted");
        let anew = HeldOut { is_kept: false, ..monitor(&recipe).expect("scores are wanted") };
        assert_eq!(kept.n_images(), 24 + 13);
        let config = vit_core::arch(&recipe.model).expect("an architecture");
        let encoder = vit_core::weights::ModelConfig::Vit(config).init(&device, 0);
        let scores = kept.scores(&encoder).expect("scores");
        let names: Vec<&str> = scores.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["knn_top1_cls", "linear_top1_cls", "knn_top1_mean", "linear_top1_mean"]);
        assert!(scores.iter().all(|(_, score)| (0.0..=1.0).contains(score)), "{scores:?}");
        // The second time the kept views are used.
        assert_eq!(kept.scores(&encoder).expect("scores"), scores);
        assert_eq!(anew.scores(&encoder).expect("scores"), scores);

        let mut off = recipe.clone();
        off.train.monitor.n_train = 0;
        assert!(monitor(&off).is_none());
    }
}
