//! Passes of a study's own: asked for by need, beside the one forward that all studies share.

use super::studies::{Events, passage};
use analysis::ANALYSES;
use burn::tensor::Tensor;
use report::Info;
use std::any::Any;
use std::io::{Read, Write};
use std::sync::Arc;
use testkit::conformance::StudyTrial;
use testkit::tiny::{self, TinyData};
use testkit::{HostTensor, Recorder};
use toml::Table;
use vit_core::{Backbone, Pass, Seen, Site};
use vit_data::ViewPlan;
use vit_data::transform::Normalize;
use vit_features::{
    BatchInfo, Findings, Lab, Needs, Opened, Role, Source, StudyEntry, StudyError, Taken, observe,
};

fn row(name: &str) -> &'static StudyEntry {
    ANALYSES.iter().find(|row| row.info.name == name).unwrap_or_else(|| panic!("no row `{name}`"))
}

/// Writes down when it was given what.
struct Passer {
    needs: Needs,
    events: Events,
}

impl Opened for Passer {
    fn needs(&self) -> &Needs {
        &self.needs
    }
    fn info(&self) -> Info {
        Info { name: "passer", line: "passes", source: "this test" }
    }
    fn see(&mut self, site: Site, _: &Seen, _: &BatchInfo) -> Result<(), StudyError> {
        self.events.lock().unwrap().push(format!("see {site}"));
        Ok(())
    }
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        self.events.lock().unwrap().push(format!("batch from {}", taken.info.first));
        Ok(())
    }
    fn pass(&mut self, model: &Backbone, views: &Tensor<4>, info: &BatchInfo) -> Result<(), StudyError> {
        let (kind, shape) = (model.kind(), views.dims());
        assert_eq!(info.boxes.len(), shape[0], "where each view was cut");
        self.events.lock().unwrap().push(format!("pass of a {kind} with {shape:?}"));
        Ok(())
    }
    fn merge(&mut self, _: Box<dyn Opened>) {}
    fn finish(self: Box<Self>) -> Result<Findings, StudyError> {
        Ok(Findings::default())
    }
    fn border(&self) -> usize {
        1
    }
    fn save(&self, _: &mut dyn Write) -> Result<(), StudyError> {
        Ok(())
    }
    fn load(&mut self, _: &mut dyn Read) -> Result<(), StudyError> {
        Ok(())
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[test]
fn a_study_is_given_the_model_and_the_views_only_when_it_asks() {
    let model = tiny::vit(&tiny::vit_config(), 0);
    let data = Arc::new(TinyData::stripes(4, 2, 0));
    let lab = Lab {
        source: Source::Model(&model),
        plan: tiny::plan(),
        batch: 4,
        n_threads: 0,
        device: vit_ops::cpu_device(),
        shelf: None,
    };
    let seen_by = |needs: Needs| {
        let events = Events::default();
        let mut studies: [Box<dyn Opened>; 1] = [Box::new(Passer { needs, events: Arc::clone(&events) })];
        observe(&lab, &passage(Role::Test, &data), &mut studies, &mut |_| Ok(())).unwrap();
        events.lock().unwrap().clone()
    };
    let needs = Needs { sites: vec![Site::Block(1)], ..Needs::default() };
    assert_eq!(seen_by(needs.clone()), ["see block1", "batch from 0"]);
    let pass = "pass of a vit with [4, 3, 16, 16]";
    assert_eq!(seen_by(Needs { passes: true, ..needs }), ["see block1", "batch from 0", pass]);
    assert_eq!(seen_by(Needs { passes: true, ..Needs::default() }), ["batch from 0", pass]);
}

/// `Σ_c` of a token's channels.
fn sum_of_token(model: &Backbone, pixels: &HostTensor, site: Site, token: usize) -> f64 {
    let mut seen = Recorder::wanting([site]);
    model.encode(pixels.on(&vit_ops::cpu_device()), &mut Pass::look(&mut seen));
    let tokens = seen.at(site);
    let width = tokens.shape[2];
    tokens.values[token * width..(token + 1) * width].iter().sum()
}

#[test]
fn the_receptive_field_is_what_finite_differences_say() {
    let trial = StudyTrial { test: Arc::new(TinyData::stripes(1, 1, 0)), ..StudyTrial::new() };
    let found = trial.findings(row("receptive-field"), &Table::new(), 1, 0);
    let array = found.arrays.iter().find(|array| array.name == "receptive_field").expect("the maps");
    assert_eq!(array.shape, [3, 2, 16, 16]);
    // The image as the model sees it.
    let sample = trial.test.sample(0).unwrap();
    let plan = ViewPlan::whole(16, Normalize::HALF);
    let view = vit_data::cut(&sample.picture, &plan.views[0], &mut vit_data::Seed(0).stream("view", &[0]));
    let pixels = HostTensor::from_f32([1, 3, 16, 16], &view.pixels);
    // 4 × 4 patches behind the class token: the middle one is in row 2 and column 2.
    let token = 1 + 2 * 4 + 2;
    for (block, kind, site) in [(0, 0, Site::Block(0)), (2, 0, Site::Block(2)), (1, 1, Site::AttnOut(1))] {
        let difference = |at: usize| -> f64 {
            let by_channel = |channel: usize| {
                let step = 0.02;
                let moved = |step: f64| {
                    let mut pixels = pixels.clone();
                    pixels.values[channel * 256 + at] += step;
                    sum_of_token(&trial.model, &pixels, site, token)
                };
                ((moved(step) - moved(-step)) / (2.0 * step)).abs()
            };
            (0..3).map(by_channel).sum()
        };
        let map = &array.values[(block * 2 + kind) * 256..][..256];
        // Each map is divided by its greatest value: ratios to one pixel.
        let of_map = |at: usize| f64::from(map[at]) / f64::from(map[9 * 16 + 9]);
        let middle = difference(9 * 16 + 9);
        for at in [0, 5 * 16 + 3, 10 * 16 + 10, 15 * 16 + 2] {
            let (ours, expected) = (of_map(at), difference(at) / middle);
            assert!((ours - expected).abs() < 0.02 * (1.0 + expected), "{site}, {at}: {ours} and {expected}");
        }
    }
}

#[test]
fn what_needs_no_attention_also_answers_for_a_convolutional_encoder_and_the_rest_refuses_by_name() {
    let trial = StudyTrial { model: tiny::conv(0), ..StudyTrial::new() };
    for name in ["clustering", "spatial-cka", "receptive-field"] {
        let options = (row(name).small)().parse().unwrap();
        let found = trial.findings(row(name), &options, 12, 0);
        assert!(found.metrics.iter().all(|metric| metric.value.is_finite()), "{name}");
    }
    for name in ["saliency-iou", "skip-removal"] {
        let error = (row(name).open)(&Table::new(), &trial.shapes()).err().expect("a refusal").to_string();
        assert!(error.contains(name) && error.contains("attention"), "{error}");
    }
}

#[test]
fn a_cut_is_told_at_every_block_and_the_intact_model_beside_it() {
    let trial = StudyTrial::new();
    let options = (row("skip-removal").small)().parse().unwrap();
    let found = trial.findings(row("skip-removal"), &options, 12, 0);
    let cka = found.arrays.iter().find(|array| array.name == "cka_after_cut").expect("the heatmap");
    assert_eq!(cka.shape, [6, 3]);
    for (cut, row) in cka.values.chunks(3).enumerate() {
        let (before, behind) = row.split_at(cut / 2);
        assert!(before.iter().all(|&value| value == 1.0), "{cut}: {row:?}");
        assert!(behind.iter().all(|&value| (-1.0..0.999).contains(&value)), "{cut}: {row:?}");
    }
    let value = |name: &str| found.metrics.iter().find(|metric| metric.name == name).expect(name).value;
    assert!((value("intact.top1") + value("top1_change") - value("top1")).abs() < 1e-12);
    // The intact model's vote is that of the kNN probe on the same features.
    let knn = probes::PROBES.iter().find(|row| row.info.name == "knn").expect("the kNN row");
    let options = "ks = [5]\nheadline_k = 5\ntokens = [\"mean\"]".parse().unwrap();
    let by_knn = trial.findings(knn, &options, 12, 0);
    let of_norm =
        |metric: &&report::Metric| metric.name == "top1" && metric.select.as_deref() == Some("norm.mean");
    assert_eq!(value("intact.top1"), by_knn.metrics.iter().find(of_norm).expect("behind the norm").value);
}
