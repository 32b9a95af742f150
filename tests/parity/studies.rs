//! Kinds `knn`, `revisited`, `attention_stats`, `attention_rollout` and `cka` through the registry's rows, as a recipe reaches them;
//! kind `cluster_scores` by its measures.

use analysis::ANALYSES;
use burn::tensor::Tensor;
use measure::cluster_scores::Contingency;
use probes::PROBES;
use report::Metric;
use std::collections::BTreeMap;
use testkit::golden::{Case, cases};
use testkit::{HostTensor, assert_near};
use toml::Table;
use vit_core::{Grid, Seen, Site};
use vit_data::{Query, Truth};
use vit_features::{BatchInfo, Findings, Numbers, Part, Place, Role, Select, Shapes, StudyEntry, Taken};
use vit_ops::{AttentionGrid, AttentionSummary, AttentionWants};

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
    let info = BatchInfo { truths: &truths, ..BatchInfo::of_classes(role, &labels, &indices) };
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
fn the_retrieval_row_gives_the_golden_scores_of_revisited_oxford_in_every_setup() {
    for case in cases("revisited") {
        let features = case.tensor("features");
        let kinds = case.tensor("kinds");
        let (n_queries, n_database) = (kinds.shape[0], kinds.shape[1]);
        let ks = case.counts("precisions_at");
        let options: Table = format!("hold_out = false\nprecisions_at = {ks:?}").parse().unwrap();
        let shapes = Shapes::of_pixels(2);
        let mut study = (row(PROBES, "retrieval").open)(&options, &shapes).unwrap();
        let mut truths = vec![Truth::default(); n_database];
        for query in 0..n_queries {
            let list = |kind: f64| {
                let of_query = &kinds.values[query * n_database..(query + 1) * n_database];
                (0..n_database as u32).filter(|&item| of_query[item as usize] == kind).collect()
            };
            let query = Query { easy: list(1.0), hard: list(2.0), junk: list(3.0) };
            truths.push(Truth { query: Some(query), ..Truth::default() });
        }
        let labels = vec![None; truths.len()];
        let indices: Vec<usize> = (0..truths.len()).collect();
        let info = BatchInfo { truths: &truths, ..BatchInfo::of_classes(Role::Test, &labels, &indices) };
        let taken = BTreeMap::from([(Select::PIXELS, (features.shape.clone(), features.to_f32()))]);
        study.batch(&Taken { info, features: &taken }).unwrap();
        let metrics = study.finish().unwrap().metrics;
        for setup in ["medium", "hard", "easy"] {
            let names = std::iter::once(format!("map_{setup}"))
                .chain(ks.iter().map(|k| format!("precision_at_{k}_{setup}")));
            let value = |name: String| {
                let metric = metrics.iter().find(|metric| metric.name == name);
                metric.unwrap_or_else(|| panic!("{}: no {name}", case.name)).value
            };
            case.assert_near(setup, &HostTensor::new([1 + ks.len()], names.map(value).collect()));
        }
    }
}

/// A site of a block, by the block.
type SiteOf = fn(usize) -> Site;

/// What the kernel tells of given attention `[B, heads, T, T]`, by site of block 0: with queries and keys of zero, its logarithm
/// as the bias makes softmax give it back.
fn told(attention: &HostTensor, grid: AttentionGrid) -> Vec<(SiteOf, Tensor<4>)> {
    let &[_, heads, t, _] = attention.shape.as_slice() else { panic!("attention has four dimensions") };
    let device = vit_ops::cpu_device();
    let wants = AttentionWants { maps: true, over_heads: true, ..AttentionWants::default() };
    let of_image = |values: &[f64]| {
        let logs = values.iter().map(|&p| p.max(1e-35).ln()).collect();
        let bias = HostTensor::new([heads, t, t], logs).on::<3>(&device);
        let qkv = Tensor::zeros([1, t, 3 * heads], &device);
        vit_ops::attention_summed(qkv, Some(bias), heads, grid, wants)
    };
    let images: Vec<AttentionSummary> = attention.values.chunks(heads * t * t).map(of_image).collect();
    type Part = fn(&AttentionSummary) -> Tensor<4>;
    let parts: [(SiteOf, Part); 5] = [
        (Site::AttentionStatistics, |of| of.statistics.clone().unsqueeze_dim(2)),
        (Site::AttentionRows, |of| of.rows.clone().expect("wanted")),
        (Site::AttentionAligned, |of| of.aligned.clone().expect("wanted")),
        (Site::AttentionMean, |of| of.mean.clone().expect("wanted")),
        (Site::AttentionSpread, |of| of.spread.clone().expect("wanted")),
    ];
    parts.map(|(site, part)| (site, Tensor::cat(images.iter().map(part).collect(), 0))).into()
}

/// Shows a study what is told of attention at a block, where it wants it.
fn show_attention(
    study: &mut dyn vit_features::Opened,
    block: usize,
    attention: &HostTensor,
    grid: AttentionGrid,
    info: &BatchInfo,
) {
    for (site, tensor) in told(attention, grid) {
        let (site, seen) = (site(block), Seen::Heads(tensor));
        if study.needs().sites.contains(&site) {
            study.see(site, &seen, info).unwrap();
        }
        if study.needs().numbers.contains(&site) {
            study.see_numbers(site, &Numbers::of(seen), info).unwrap();
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
        let (labels, indices) = (vec![None; n_images], (0..n_images).collect::<Vec<_>>());
        let info = BatchInfo::of_classes(Role::Test, &labels, &indices);
        let grid = AttentionGrid { n_prefix, rows: sides[0], columns: sides[1] };
        show_attention(&mut *study, 0, attention, grid, &info);
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

#[test]
fn the_cka_row_gives_the_golden_matrices_for_vectors_and_for_maps_of_tokens() {
    for case in cases("cka") {
        let activations = case.tensor("activations"); // [layers, n, tokens, D]
        let [n_layers, n, n_tokens, width] = activations.shape[..] else {
            panic!("{}: expected four axes; found {:?}", case.name, activations.shape)
        };
        let flat = n_tokens * width;
        for (tokens, part, grid, width) in [
            ("mean", Part::Mean, Grid { rows: 1, columns: 1 }, flat),
            ("patches", Part::Patches, Grid { rows: 1, columns: n_tokens }, width),
        ] {
            let options = format!("tokens = \"{tokens}\"\nbatch = {}", case.needed("batch")).parse().unwrap();
            let blocks: Vec<usize> = (0..n_layers).collect();
            let shapes = Shapes { depth: n_layers, width, grid, n_test: n, blocks, ..Shapes::of_pixels(4) };
            let mut study = (row(ANALYSES, "cka").open)(&options, &shapes).unwrap();
            // Batches of the forward that fit into no group.
            for first in (0..n).step_by(7) {
                let b = (n - first).min(7);
                let features = (0..n_layers).map(|layer| {
                    let start = (layer * n + first) * flat;
                    let values = activations.values[start..start + b * flat].iter().map(|&x| x as f32);
                    let select = Select { place: Place::At(Site::Block(layer)), part };
                    (select, (vec![b, flat / width, width], values.collect()))
                });
                let (labels, indices) = (vec![None; b], (first..first + b).collect::<Vec<_>>());
                let info = BatchInfo { first, ..BatchInfo::of_classes(Role::Test, &labels, &indices) };
                study.batch(&Taken { info, features: &features.collect() }).unwrap();
            }
            let arrays = study.finish().unwrap().arrays;
            for name in ["cka_minibatch", "cka_full"] {
                let array = arrays.iter().find(|array| array.name == name).expect(name);
                case.assert_near(name, &HostTensor::from_f32(array.shape.clone(), &array.values));
            }
        }
    }
}

/// What a row finds in golden attention, one tensor `[B, heads, T, T]` a block.
fn found_in_attention(name: &str, blocks: &[HostTensor], n_prefix: usize, grid: Grid) -> Findings {
    let n_images = blocks[0].shape[0];
    let shapes = Shapes {
        depth: blocks.len(),
        n_heads: Some(blocks[0].shape[1]),
        n_prefix,
        has_class: n_prefix > 0,
        grid,
        patch_px: 16,
        n_test: n_images,
        blocks: (0..blocks.len()).collect(),
        ..Shapes::of_pixels(4)
    };
    let mut study = (row(ANALYSES, name).open)(&Table::new(), &shapes).unwrap();
    let (labels, indices) = (vec![None; n_images], (0..n_images).collect::<Vec<_>>());
    let info = BatchInfo::of_classes(Role::Test, &labels, &indices);
    let grid = AttentionGrid { n_prefix, rows: grid.rows, columns: grid.columns };
    for (block, attention) in blocks.iter().enumerate() {
        show_attention(&mut *study, block, attention, grid, &info);
    }
    study.batch(&Taken { info, features: &BTreeMap::new() }).unwrap();
    study.finish().unwrap()
}

/// An array of the findings.
fn array(findings: &Findings, name: &str) -> HostTensor {
    let array = findings.arrays.iter().find(|array| array.name == name).expect(name);
    HostTensor::from_f32(array.shape.clone(), &array.values)
}

#[test]
fn the_offset_and_entropy_rows_give_the_golden_maps_offsets_and_entropies() {
    for case in cases("attention_stats") {
        let sides = case.counts("grid");
        let grid = Grid { rows: sides[0], columns: sides[1] };
        let attention = [case.tensor("attention").clone()];
        let [n_images, n_heads] = attention[0].shape[..2] else { unreachable!("four axes") };
        let found = found_in_attention("attention-offset", &attention, case.needed("prefix"), grid);
        let offsets = array(&found, "offset_xy");
        case.assert_near("offset_xy", &HostTensor::new([n_heads, 2], offsets.values));
        let maps = array(&found, "aligned_maps");
        let n_queries = (n_images * sides[0] * sides[1]) as f64;
        let sums = maps.values.iter().map(|mean| mean * n_queries).collect();
        case.assert_near("aligned_map_sum", &HostTensor::new(&maps.shape[1..], sums));

        let found = found_in_attention("attention-entropy", &attention, case.needed("prefix"), grid);
        for name in ["entropy_nats", "cls_share"] {
            let per_image = case.tensor(name); // [B, heads]
            for head in 0..n_heads {
                let of_head = |metric: &&Metric| metric.name == name && metric.head == Some(head);
                let ours = found.metrics.iter().find(of_head).expect(name).value;
                let golden = (0..n_images).map(|image| per_image.values[image * n_heads + head]);
                let expected = HostTensor::new([], vec![golden.sum::<f64>() / n_images as f64]);
                let what = format!("{}: mean {name} of head {head}", case.name);
                assert_near(&what, &HostTensor::new([], vec![ours]), &expected, case.meta.tolerance);
            }
        }
    }
}

#[test]
fn the_rollout_row_gives_the_golden_row_of_the_class_token() {
    for case in cases("attention_rollout") {
        let all = case.tensor("attention"); // [layers, B, heads, T, T]
        let n_values: usize = all.shape[1..].iter().product();
        let layers: Vec<HostTensor> = all
            .values
            .chunks(n_values)
            .map(|values| HostTensor::new(&all.shape[1..], values.to_vec()))
            .collect();
        let (n_images, n_tokens) = (all.shape[1], all.shape[4]);
        let grid = Grid { rows: 1, columns: n_tokens - 1 };
        let found = found_in_attention("attention-rollout", &layers, 1, grid);
        let rollout = case.tensor("rollout"); // [B, T, T]
        let row = |token: usize| {
            (0..n_images).map(|image| rollout.values[image * n_tokens * n_tokens + token]).sum::<f64>()
                / n_images as f64
        };
        let expected = HostTensor::new([n_tokens], (0..n_tokens).map(row).collect());
        let ours = array(&found, "rollout").values;
        let last = HostTensor::new([n_tokens], ours[ours.len() - n_tokens..].to_vec());
        assert_near(&format!("{}: class row", case.name), &last, &expected, case.meta.tolerance);
    }
}

#[test]
fn purity_nmi_and_ari_are_the_golden_ones() {
    for case in cases("cluster_scores") {
        let ids =
            |name: &str| case.tensor(name).to_usize().into_iter().map(|id| id as u32).collect::<Vec<_>>();
        let counts = Contingency::of(&ids("clusters"), &ids("labels"));
        for (name, value) in [("nmi", counts.nmi()), ("ari", counts.ari()), ("purity", counts.purity())] {
            case.assert_near(name, &HostTensor::new(case.tensor(name).shape.clone(), vec![value]));
        }
    }
}
