//! Kinds `knn` and `attention_stats` through the registry's rows, as a recipe reaches them.

use analysis::ANALYSES;
use probes::PROBES;
use report::Metric;
use std::collections::BTreeMap;
use testkit::golden::{Case, cases};
use testkit::{HostTensor, assert_near};
use toml::Table;
use vit_core::{Grid, Seen, Site};
use vit_data::Truth;
use vit_features::{BatchInfo, Role, Select, Shapes, StudyEntry, Taken};

fn row(rows: &'static [StudyEntry], name: &str) -> &'static StudyEntry {
    rows.iter().find(|row| row.info.name == name).unwrap_or_else(|| panic!("no row `{name}`"))
}

/// One side of a golden kNN case, as a lab hands over raw pixels.
fn show_side(study: &mut dyn vit_features::Opened, case: &Case, role: Role, features: &str, labels: &str) {
    let features = case.tensor(features);
    let labels: Vec<Option<u32>> =
        case.tensor(labels).to_usize().into_iter().map(|class| Some(class as u32)).collect();
    let indices: Vec<usize> = (0..labels.len()).collect();
    let truths: Vec<Truth> = labels.iter().map(|&label| Truth { label, ..Truth::default() }).collect();
    let info = BatchInfo { role, first: 0, labels: &labels, indices: &indices, truths: &truths };
    let taken = BTreeMap::from([(Select::PIXELS, (features.shape.clone(), features.to_f32()))]);
    study.batch(&Taken { info, features: &taken }).unwrap();
}

#[test]
fn the_knn_row_gives_the_golden_accuracy_at_each_k() {
    for case in cases("knn") {
        let ks = case.counts("ks");
        let temperature = case.number("temperature");
        let options: Table =
            format!("ks = {ks:?}\ntemperatures = [{temperature}]\nheadline_k = {}", ks[0]).parse().unwrap();
        let shapes = Shapes { n_classes: case.needed("classes"), ..Shapes::of_pixels(4) };
        let mut study = (row(PROBES, "knn").open)(&options, &shapes).unwrap();
        show_side(&mut *study, &case, Role::Train, "train", "train_labels");
        show_side(&mut *study, &case, Role::Test, "query", "query_labels");
        let metrics = study.finish().unwrap().metrics;
        for k in ks {
            let of_k = |metric: &&Metric| metric.name == "top1" && metric.params["k"] == k;
            let metric =
                metrics.iter().find(of_k).unwrap_or_else(|| panic!("{}: no top1 at k = {k}", case.name));
            case.assert_near(&format!("top1_k{k}"), &HostTensor::new([], vec![metric.value]));
        }
    }
}

#[test]
fn the_attention_distance_row_gives_the_golden_means_over_images() {
    for case in cases("attention_stats") {
        let sides = case.counts("grid");
        let attention = case.tensor("attention");
        let (n_images, n_heads) = (attention.shape[0], attention.shape[1]);
        let n_prefix = case.needed("prefix");
        let shapes = Shapes {
            depth: 1,
            n_heads: Some(n_heads),
            n_prefix,
            has_class: n_prefix > 0,
            grid: Grid { rows: sides[0], columns: sides[1] },
            patch_px: 16,
            n_test: n_images,
            blocks: vec![0],
            ..Shapes::of_pixels(4)
        };
        let mut study = (row(ANALYSES, "attention-distance").open)(&Table::new(), &shapes).unwrap();
        let (labels, indices, truths) = (vec![None; n_images], (0..n_images).collect::<Vec<_>>(), Vec::new());
        let info =
            BatchInfo { role: Role::Test, first: 0, labels: &labels, indices: &indices, truths: &truths };
        let seen = Seen::Heads(attention.on(&vit_ops::cpu_device()));
        study.see(Site::Attention(0), &seen, &info).unwrap();
        study.batch(&Taken { info, features: &BTreeMap::new() }).unwrap();
        let metrics = study.finish().unwrap().metrics;
        let golden = [
            ("distance_unit_square", "mean_distance_unit_square"),
            ("entropy_nats", "entropy_nats"),
            ("cls_share", "cls_share"),
        ];
        for (name, expected) in golden {
            let per_image = case.tensor(expected); // [B, heads]
            let mean = |head: usize| {
                (0..n_images).map(|image| per_image.values[image * n_heads + head]).sum::<f64>()
                    / n_images as f64
            };
            let ours: Vec<f64> =
                metrics.iter().filter(|m| m.name == name && m.head.is_some()).map(|m| m.value).collect();
            let expected = HostTensor::new([n_heads], (0..n_heads).map(mean).collect());
            let what = format!("{}: mean {name} per head", case.name);
            assert_near(&what, &HostTensor::new([ours.len()], ours), &expected, case.meta.tolerance);
        }
    }
}
