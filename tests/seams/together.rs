//! Several models in one pass: the same samples, each model's own views; and CKA between them.

use super::studies::{Events, Witness, passage};
use analysis::ANALYSES;
use report::Metric;
use std::sync::Arc;
use testkit::conformance::StudyTrial;
use testkit::tiny::{self, TinyData};
use toml::Table;
use vit_core::{Backbone, Site};
use vit_data::ViewPlan;
use vit_data::transform::Normalize;
use vit_features::{Findings, Lab, Needs, Role, Source, StudyEntry, observe_together};

fn cka() -> &'static StudyEntry {
    ANALYSES.iter().find(|row| row.info.name == "cka").expect("the row of CKA")
}

fn lab(model: &Backbone, size_px: usize) -> Lab<'_> {
    Lab {
        source: Source::Model(model),
        plan: ViewPlan::whole(size_px, Normalize::HALF),
        batch: 4,
        n_threads: 0,
        device: vit_ops::cpu_device(),
        shelf: None,
    }
}

#[test]
fn every_model_sees_each_batch_in_turn_and_every_sample_is_decoded_once() {
    let models = [0, 1].map(|seed| tiny::vit(&tiny::vit_config(), seed));
    let data = Arc::new(TinyData::stripes(8, 2, 0));
    let events = Events::default();
    let needs = |block: usize| Needs { sites: vec![Site::Block(block)], ..Needs::default() };
    let mut studies = [
        Witness::boxed("one", needs(0), &events),
        Witness::of_models("both", vec![needs(1), needs(2)], &events),
    ];
    // The second model sees larger images, so more patches of the same size.
    let labs = [lab(&models[0], 16), lab(&models[1], 32)];
    observe_together(&labs, &passage(Role::Test, &data), &mut studies, &mut |_| Ok(())).unwrap();
    let mut expected = Vec::new();
    for first in [0, 4] {
        expected.push("one block0 of model 0, 17 tokens".to_owned());
        expected.push("both block1 of model 0, 17 tokens".to_owned());
        expected.extend(["one", "both"].map(|name| format!("{name} batch from {first}")));
        expected.push("both block2 of model 1, 65 tokens".to_owned());
        expected.push(format!("both batch from {first}"));
    }
    assert_eq!(*events.lock().unwrap(), expected);
    assert_eq!(data.n_reads(), 8, "every sample is decoded once");
}

#[test]
fn a_model_that_nobody_looks_at_is_not_run() {
    let model = tiny::vit(&tiny::vit_config(), 0);
    let events = Events::default();
    let needs = Needs { sites: vec![Site::Block(0)], ..Needs::default() };
    let mut studies = [Witness::boxed("one", needs, &events)];
    let data = Arc::new(TinyData::stripes(4, 2, 0));
    // 18 pixels do not fit the patches of 4: a forward of the second model would panic.
    let labs = [lab(&model, 16), lab(&model, 18)];
    observe_together(&labs, &passage(Role::Test, &data), &mut studies, &mut |_| Ok(())).unwrap();
    assert_eq!(events.lock().unwrap().len(), 2);
}

/// A matrix of CKA by its name.
fn matrix(findings: &Findings, name: &str) -> (Vec<usize>, Vec<f32>) {
    let array = findings.arrays.iter().find(|array| array.name == name);
    let array = array.unwrap_or_else(|| panic!("no array {name}"));
    (array.shape.clone(), array.values.clone())
}

#[test]
fn a_model_beside_itself_is_alike_as_it_is_within_itself() {
    let trial = StudyTrial { beside: vec![StudyTrial::new().model], ..StudyTrial::new() };
    let findings = trial.findings(cka(), &Table::new(), 16, 0);
    let alone = StudyTrial::new().findings(cka(), &Table::new(), 16, 0);
    for name in ["cka_minibatch", "cka_full"] {
        let (shape, within) = matrix(&alone, name);
        assert_eq!(shape, [3, 3]);
        for pair in [name.to_owned(), format!("{name}-0-0"), format!("{name}-1-1")] {
            let (_, values) = matrix(&findings, &pair);
            let difference = values.iter().zip(&within).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            assert!(difference < 1e-6, "{pair}: {values:?} and {within:?}");
        }
        let off: Vec<f32> = [1, 2, 5].map(|at| within[at]).into();
        assert!(off.iter().all(|&value| value > 0.0 && value < 0.9999), "layers differ: {within:?}");
    }
    let same = |metric: &Metric| {
        metric.name == "cka_full"
            && metric.params["other_model"] == "vit:beside-0"
            && metric.params["model"] == "vit:tiny"
            && metric.layer == Some(1)
            && metric.params["other_layer"] == 1
    };
    let found: Vec<f64> =
        findings.metrics.iter().filter(|metric| same(metric)).map(|metric| metric.value).collect();
    assert!(matches!(found[..], [value] if (value - 1.0).abs() < 1e-6), "{found:?}");
}

#[test]
fn every_kind_of_tokens_and_the_norms_give_a_matrix_of_their_size() {
    let trial = StudyTrial::new();
    for (options, n_layers) in [
        ("tokens = \"cls\"", 3),
        ("tokens = \"patches\"", 3),
        ("tokens = \"all\"", 3),
        ("places = \"norms\"", 6),
    ] {
        let findings = trial.findings(cka(), &options.parse().unwrap(), 16, 0);
        let (shape, values) = matrix(&findings, "cka_full");
        assert_eq!(shape, [n_layers, n_layers], "{options}");
        assert!(values.iter().any(|&value| value < 0.9999), "{options}: {values:?}");
    }
    let findings = trial.findings(cka(), &"places = \"residuals\"".parse().unwrap(), 16, 0);
    for name in ["cka_minibatch_attention", "cka_full_mlp"] {
        let (shape, values) = matrix(&findings, name);
        assert_eq!(shape, [3, 3], "{name}");
        assert!(values.iter().all(|&value| value < 0.9999), "{name}: {values:?}");
    }
    // Before the first block the class token is the same for every image: alike to nothing, and the report says so.
    let options = "tokens = \"cls\"\nplaces = \"norms\"".parse().unwrap();
    let findings = trial.findings(cka(), &options, 16, 0);
    let (_, values) = matrix(&findings, "cka_minibatch");
    assert!(values[..6].iter().all(|&value| value == 0.0), "{values:?}");
    assert!(findings.tables.iter().any(|table| table.note.contains("norm1.0.cls")));
}

#[test]
fn the_full_estimator_over_maps_says_its_memory_and_refuses_above_the_limit() {
    let trial = StudyTrial::new();
    let shapes = vit_features::Shapes { n_test: 100_000, ..trial.shapes() };
    let open = |options: &str| (cka().open)(&options.parse().unwrap(), &shapes);
    let error = open("tokens = \"patches\"").err().expect("a refusal").to_string();
    // 100,000 images of 16 · 24 numbers in 3 layers, and as many Gram matrices: 114,880 MiB.
    for what in ["cka", "2048 MiB", "full_limit_mb", "114881 MiB", "100000 images", "minibatch"] {
        assert!(error.contains(what), "`{what}` in: {error}");
    }
    assert!(open("tokens = \"mean\"").is_ok());
    assert!(open("tokens = \"patches\"\nestimators = [\"minibatch\"]").is_ok());
}
