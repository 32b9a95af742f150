//! What every study keeps.

use crate::tiny::{self, TinyData};
use report::{Cell, Metric};
use std::sync::Arc;
use toml::Table;
use vit_core::{Backbone, Pool, VitConfig};
use vit_data::transform::Normalize;
use vit_data::{Dataset, Picture, ViewPlan};
use vit_features::{
    Findings, Lab, Layers, Opened, Passage, Role, Shapes, Source, StudyEntry, Tuned, observe_together,
};

/// Numbers of a study may differ by this much when its data comes in other batches: kernels add in another order.
const OTHER_BATCHES: f64 = 1e-6;

/// Numbers of a study may differ by this much when halves were merged: sums of `f64` in another order.
const MERGED: f64 = 1e-12;

/// A frozen model and two sides of data to study.
pub struct StudyTrial {
    /// The model.
    pub model: Backbone,
    /// Further models for studies of several; each sees the images in its own size.
    pub beside: Vec<Backbone>,
    /// Samples to learn from.
    pub train: Arc<dyn Dataset>,
    /// Samples asked about.
    pub test: Arc<dyn Dataset>,
}

impl StudyTrial {
    /// A tiny random Vision Transformer, 96 and 48 striped images of 4 classes.
    pub fn new() -> Self {
        Self {
            model: tiny::vit(&tiny::vit_config(), 5),
            beside: Vec::new(),
            train: Arc::new(TinyData::stripes(96, 4, 0)),
            test: Arc::new(TinyData::stripes(48, 4, 1)),
        }
    }

    /// The same with a second model of other sizes, without class token, on images twice as large.
    #[must_use]
    pub fn with_another_model(self) -> Self {
        let config = VitConfig {
            image_px: 2 * tiny::IMAGE_PX,
            patch_px: 8,
            width: 16,
            depth: 2,
            n_heads: 2,
            class_token: false,
            pool: Pool::Mean,
            ..tiny::vit_config()
        };
        Self { beside: vec![tiny::vit(&config, 8)], ..self }
    }

    /// The models' sizes and the data's.
    ///
    /// # Panics
    /// Never for the models of [`tiny`].
    pub fn shapes(&self) -> Shapes {
        let of = |model: &Backbone, name: &str| {
            let shapes = Shapes::of(model, name, model.image_px(), &Layers::All).expect("every layer");
            shapes.on(Some(&*self.train), &*self.test)
        };
        let beside = self.beside.iter().enumerate();
        let beside = beside.map(|(i, model)| of(model, &format!("vit:beside-{i}"))).collect();
        of(&self.model, "vit:tiny").beside(beside)
    }

    /// The study with these options, having seen nothing.
    ///
    /// # Panics
    /// When it refuses.
    pub fn open(&self, entry: &StudyEntry, options: &Table) -> Box<dyn Opened> {
        (entry.open)(options, &self.shapes()).unwrap_or_else(|error| panic!("`{}`: {error}", entry.info.name))
    }

    /// Shows studies a part of both sides: samples `part` of every `of`.
    ///
    /// # Panics
    /// When one of them cannot use what it sees.
    pub fn show(
        &self,
        studies: &mut [Box<dyn Opened>],
        (part, of): (usize, usize),
        batch: usize,
        n_threads: usize,
    ) {
        let lab = |model| {
            let plan = ViewPlan::whole(Backbone::image_px(model), Normalize::HALF);
            let source = Source::Model(model);
            Lab { source, plan, batch, n_threads, device: vit_ops::cpu_device(), shelf: None }
        };
        let labs: Vec<Lab> = std::iter::once(&self.model).chain(&self.beside).map(lab).collect();
        for (role, data) in [(Role::Train, &self.train), (Role::Test, &self.test)] {
            let n = data.len() / of;
            let indices = Arc::new((part * n..(part + 1) * n).collect());
            let passage = Passage { role, data: Arc::clone(data), indices };
            observe_together(&labs, &passage, studies, &mut |_| Ok(()))
                .unwrap_or_else(|error| panic!("{error}"));
        }
        for study in studies.iter_mut().filter(|study| study.needs().training.is_some()) {
            study.tuned(self.stand_in((part, of)));
        }
    }

    /// In the place of whoever trains: the classes of the training samples that are nearest in their pixels, for a part of the
    /// test side.
    fn stand_in(&self, (part, of): (usize, usize)) -> Tuned {
        let pixels =
            |data: &Arc<dyn Dataset>, index: usize| match data.sample(index).map(|sample| sample.picture) {
                Ok(Picture::Image(image)) => image.rgb,
                other => panic!("an image is expected: {other:?}"),
            };
        let train: Vec<Vec<u8>> = (0..self.train.len()).map(|index| pixels(&self.train, index)).collect();
        let n = self.test.len() / of;
        let nearest = |index: usize| {
            let own = pixels(&self.test, index);
            let apart = |other: &Vec<u8>| -> u64 {
                own.iter().zip(other).map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2)).sum()
            };
            let best = (0..train.len()).min_by_key(|&at| apart(&train[at]));
            best.and_then(|best| self.train.label(best)).unwrap_or(0)
        };
        let ranking = (part * n..(part + 1) * n).map(nearest).collect();
        Tuned { ranking, n_ranked: 1, losses: Vec::new(), n_steps: 1 }
    }

    /// What the study finds in all of the data.
    ///
    /// # Panics
    /// When it cannot.
    pub fn findings(&self, entry: &StudyEntry, options: &Table, batch: usize, n_threads: usize) -> Findings {
        let mut studies = [self.open(entry, options)];
        self.show(&mut studies, (0, 1), batch, n_threads);
        let [study] = studies;
        study.finish().unwrap_or_else(|error| panic!("`{}`: {error}", entry.info.name))
    }
}

impl Default for StudyTrial {
    fn default() -> Self {
        Self::new()
    }
}

/// Everything that section 5 of the house asks of a study.
///
/// - it finds something, all of it finite, every metric told from its siblings
/// - the same for any batch size, within 1e-6, and exactly the same for any number of threads
/// - halves of the data that were merged equal the whole, and so do halves that were saved and read before
///
/// # Panics
/// With the study's name and what it breaks.
pub fn study_keeps_its_contract(trial: &StudyTrial, entry: &StudyEntry, options: &Table) {
    let name = entry.info.name;
    let whole = trial.findings(entry, options, 12, 0);
    numbers_are_finite_and_told_apart(name, &whole);

    let threaded = trial.findings(entry, options, 12, 2);
    assert_same_findings(&format!("`{name}` with 2 threads"), &threaded, &whole, 0.0);
    for batch in [5, 48] {
        let other = trial.findings(entry, options, batch, 0);
        assert_same_findings(&format!("`{name}` in batches of {batch}"), &other, &whole, OTHER_BATCHES);
    }

    let halves = [0, 1].map(|half| {
        let mut studies = [trial.open(entry, options)];
        trial.show(&mut studies, (half, 2), 12, 0);
        let [study] = studies;
        study
    });
    let saved = halves.each_ref().map(|half| saved(name, half.as_ref()));
    let [mut merged, later] = halves;
    merged.merge(later);
    let merged = merged.finish().unwrap_or_else(|error| panic!("`{name}`, merged: {error}"));
    assert_same_findings(&format!("`{name}` from merged halves"), &merged, &whole, MERGED);

    let [mut again, later] = saved.map(|bytes| {
        let mut study = trial.open(entry, options);
        let mut from = bytes.as_slice();
        study.load(&mut from).unwrap_or_else(|error| panic!("{error}"));
        assert!(from.is_empty(), "`{name}`: {} bytes of what was saved were not read", from.len());
        assert!(self::saved(name, study.as_ref()) == bytes, "`{name}`: what is read is not what was saved");
        let cut = &bytes[..bytes.len() - 1];
        let error = trial.open(entry, options).load(&mut &cut[..]).err();
        assert!(error.is_some_and(|error| error.to_string().contains(name)), "`{name}`: read from a part");
        study
    });
    again.merge(later);
    let again = again.finish().unwrap_or_else(|error| panic!("`{name}`, saved and merged: {error}"));
    assert_same_findings(&format!("`{name}` from saved halves"), &again, &merged, 0.0);
}

fn saved(name: &str, study: &dyn Opened) -> Vec<u8> {
    let mut bytes = Vec::new();
    study.save(&mut bytes).unwrap_or_else(|error| panic!("`{name}`: {error}"));
    bytes
}

fn numbers_are_finite_and_told_apart(name: &str, findings: &Findings) {
    assert!(!findings.metrics.is_empty(), "`{name}` found no number");
    let mut seen = std::collections::BTreeSet::new();
    for metric in &findings.metrics {
        assert!(metric.value.is_finite(), "`{name}`: {metric:?}");
        assert!(seen.insert(place(metric)), "`{name}`: two numbers for {}", place(metric));
    }
    for array in &findings.arrays {
        assert_eq!(
            array.shape.iter().product::<usize>(),
            array.values.len(),
            "`{name}`: array `{}`",
            array.name
        );
        assert!(array.values.iter().all(|x| x.is_finite()), "`{name}`: array `{}`", array.name);
    }
}

/// What tells a metric from its siblings.
fn place(metric: &Metric) -> String {
    let Metric { name, layer, head, select, params, .. } = metric;
    format!("{name}, layer {layer:?}, head {head:?}, select {select:?}, {params:?}")
}

/// Compares metrics, tables and arrays of two findings: names and order exactly, numbers within `abs`.
///
/// # Panics
/// With the first difference.
pub fn assert_same_findings(what: &str, ours: &Findings, expected: &Findings, abs: f64) {
    let near = |place: &str, ours: f64, expected: f64| {
        assert!((ours - expected).abs() <= abs, "{what}: {place}: ours {ours}, expected {expected}");
    };
    assert_eq!(ours.metrics.len(), expected.metrics.len(), "{what}: number of metrics");
    for (ours, expected) in ours.metrics.iter().zip(&expected.metrics) {
        assert_eq!(place(ours), place(expected), "{what}");
        near(&place(ours), ours.value, expected.value);
    }
    assert_eq!(ours.tables.len(), expected.tables.len(), "{what}: number of tables");
    for (ours, expected) in ours.tables.iter().zip(&expected.tables) {
        let table = &expected.name;
        assert_eq!((&ours.name, &ours.columns), (table, &expected.columns), "{what}");
        assert_eq!(ours.rows.len(), expected.rows.len(), "{what}: rows of `{table}`");
        for (ours, expected) in ours.rows.iter().flatten().zip(expected.rows.iter().flatten()) {
            match (ours, expected) {
                (Cell::Number(ours), Cell::Number(expected)) => near(table, *ours, *expected),
                (ours, expected) => assert_eq!(ours, expected, "{what}: table `{table}`"),
            }
        }
    }
    assert_eq!(ours.arrays.len(), expected.arrays.len(), "{what}: number of arrays");
    for (ours, expected) in ours.arrays.iter().zip(&expected.arrays) {
        assert_eq!((&ours.name, &ours.shape), (&expected.name, &expected.shape), "{what}");
        for (&ours, &value) in ours.values.iter().zip(&expected.values) {
            // An array is f32: one unit in the last place beside what `abs` allows in f64.
            let ulp = f64::from(f32::EPSILON) * f64::from(value).abs() * f64::from(u8::from(abs > 0.0));
            let place = &expected.name;
            let difference = (f64::from(ours) - f64::from(value)).abs();
            assert!(difference <= abs + ulp, "{what}: array `{place}`: ours {ours}, expected {value}");
        }
    }
}
