//! Parity with the golden cases of kinds `knn`, `attention_stats`, `attention_rollout`, `cka`, `davis_jf`, `label_propagation`,
//! `log_bins`, `cluster_scores`, `interpolate`, `hungarian`, `segmentation_scores`, `retrieval_scores`, `pck`, `map_equation`,
//! `classification_scores`, `intervals`, `jaccard`, `projection` and `kmeans`.

use std::fs;
use std::path::{Path, PathBuf};

use measure::aligned::{add_aligned_maps, offset_xy};
use measure::attention::{TokenGrid, cls_share, entropy_nats, mean_distance_unit_square};
use measure::cka::{Gram, Moments, cka_from_hsic, hsic_matrix};
use measure::confusion::Confusion;
use measure::davis::{contour_accuracy, region_similarity};
use measure::interval::{mean, paired_t_interval, standard_error, t_interval};
use measure::kmeans::KMeans;
use measure::linear::ranking;
use measure::log_bins::log_bins;
use measure::map_equation::{Graph, Walk, best_of, code_length};
use measure::matching::{assign, one_to_one, pairwise_iou};
use measure::nearest::{l2_normalize_rows, top_k};
use measure::pck::{Located, Yardstick, pck};
use measure::projection::Spread;
use measure::propagate::{Context, Neighborhood, Rule, cosine, propagate, stretch};
use measure::resample::{bilinear, nearest};
use measure::retrieval::{Kind, average_precision, precision_at, ranks_of_positives};
use measure::rollout::rollout;
use measure::saliency;
use measure::vote::{top1, top5, weighted_votes};
use ndarray::{Array2, Array3, ArrayD, Axis, Ix2, Ix3, Ix4, Ix5, Slice};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// One folder: what its `meta.json` says and the bytes of its `io.safetensors`.
struct Case {
    folder: PathBuf,
    meta: Value,
    io: Vec<u8>,
}

impl Case {
    /// All cases of one kind: those of the workspace, and those below the folders that `VITSCOPE_GOLDEN` names.
    #[allow(clippy::disallowed_methods)] // tests may read VITSCOPE_*: it adds cases and changes no result
    fn all(kind: &str) -> Vec<Self> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
        let extra = std::env::var_os("VITSCOPE_GOLDEN").unwrap_or_default();
        let mut cases = Vec::new();
        for parent in std::iter::once(own).chain(std::env::split_paths(&extra)) {
            if parent.as_os_str().is_empty() {
                continue;
            }
            let entries = fs::read_dir(&parent).unwrap_or_else(|e| panic!("{}: {e}", parent.display()));
            let children = entries.map(|entry| entry.expect("a readable entry").path());
            for folder in children.chain([parent.clone()]) {
                let Ok(meta) = fs::read(folder.join("meta.json")) else { continue };
                let meta: Value = serde_json::from_slice(&meta).expect("meta.json is JSON");
                if meta["kind"] == kind {
                    let io = fs::read(folder.join("io.safetensors")).expect("a case has io.safetensors");
                    cases.push(Self { folder, meta, io });
                }
            }
        }
        assert!(!cases.is_empty(), "no golden case of kind {kind}");
        cases
    }

    fn config_usize(&self, value: &Value) -> usize {
        value.as_u64().unwrap_or_else(|| panic!("{}: {value} is not a count", self.folder.display())) as usize
    }

    fn array<A: FromLe>(&self, name: &str) -> ArrayD<A> {
        let file = SafeTensors::deserialize(&self.io).expect("io.safetensors is well formed");
        let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{}: {e}", self.folder.display()));
        assert_eq!(tensor.dtype(), A::DTYPE, "{}: {name}", self.folder.display());
        let values = tensor.data().chunks_exact(size_of::<A>()).map(A::from_le).collect();
        ArrayD::from_shape_vec(tensor.shape(), values).expect("as many values as the shape says")
    }

    fn matrix(&self, name: &str) -> Array2<f32> {
        self.array::<f32>(name).into_dimensionality::<Ix2>().expect("two axes")
    }

    fn labels(&self, name: &str) -> Vec<u32> {
        self.array::<i64>(name).iter().map(|&label| u32::try_from(label).expect("a class id")).collect()
    }

    /// `|ours − expected| ≤ abs + rel · |expected|`, elementwise.
    fn compare(&self, name: &str, ours: &ArrayD<f64>) {
        self.compare_with(name, ours, &self.array::<f64>(name));
    }

    /// The same where the case holds single precision.
    fn compare_f32(&self, name: &str, ours: &ArrayD<f64>) {
        self.compare_with(name, ours, &self.array::<f32>(name).mapv(f64::from));
    }

    fn compare_with(&self, name: &str, ours: &ArrayD<f64>, expected: &ArrayD<f64>) {
        assert_eq!(ours.shape(), expected.shape(), "{}: {name}", self.folder.display());
        let tolerance = |key| self.meta["tolerance"][key].as_f64().expect("a tolerance");
        let (abs, rel) = (tolerance("abs"), tolerance("rel"));
        for (ours, expected) in ours.iter().zip(expected) {
            let ok = (ours - expected).abs() <= abs + rel * expected.abs();
            assert!(ok, "{}: {name}: {ours} is not {expected}", self.folder.display());
        }
    }
}

/// A value that a safetensors file stores in little-endian order.
trait FromLe: Sized {
    const DTYPE: Dtype;
    fn from_le(bytes: &[u8]) -> Self;
}

macro_rules! from_le {
    ($($kind:ty => $dtype:ident),*) => {
        $(impl FromLe for $kind {
            const DTYPE: Dtype = Dtype::$dtype;
            fn from_le(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("one value's bytes"))
            }
        })*
    };
}
from_le!(u8 => U8, f32 => F32, f64 => F64, i64 => I64);

#[test]
fn weighted_votes_have_the_golden_accuracy_at_each_k() {
    for case in Case::all("knn") {
        let config = &case.meta["config"];
        let ks = config["ks"].as_array().expect("a list of k");
        let ks: Vec<usize> = ks.iter().map(|k| case.config_usize(k)).collect();
        let temperature = config["temperature"].as_f64().expect("a temperature");
        let (train, query) = (case.matrix("train"), case.matrix("query"));
        let k_max = ks.iter().copied().max().expect("at least one k");
        let top =
            top_k(l2_normalize_rows(query.view()).view(), l2_normalize_rows(train.view()).view(), k_max);
        let n_classes = case.config_usize(&config["classes"]);
        for vote in weighted_votes(&top, &case.labels("train_labels"), n_classes, &ks, &[temperature]) {
            let accuracy = top1(&vote.predicted(), &case.labels("query_labels"));
            case.compare(&format!("top1_k{}", vote.k), &ndarray::arr0(accuracy).into_dyn());
        }
    }
}

#[test]
fn attention_statistics_have_their_golden_values() {
    for case in Case::all("attention_stats") {
        let config = &case.meta["config"];
        let grid = TokenGrid {
            n_prefix: case.config_usize(&config["prefix"]),
            h: case.config_usize(&config["grid"][0]),
            w: case.config_usize(&config["grid"][1]),
        };
        let attention = case.array::<f32>("attention").into_dimensionality::<Ix4>().expect("four axes");
        let distance = mean_distance_unit_square(attention.view(), grid);
        case.compare("mean_distance_unit_square", &distance.into_dyn());
        case.compare("entropy_nats", &entropy_nats(attention.view()).into_dyn());
        case.compare("cls_share", &cls_share(attention.view(), grid).into_dyn());
        let heads = attention.dim().1;
        let mut aligned = Array3::zeros((heads, 2 * grid.h - 1, 2 * grid.w - 1));
        let mut common = Array2::zeros((heads, grid.n_patches()));
        add_aligned_maps(attention.view(), grid, &mut aligned, &mut common);
        case.compare("aligned_map_sum", &aligned.clone().into_dyn());
        let offsets: Vec<f64> = aligned.outer_iter().map(offset_xy).flat_map(|(x, y)| [x, y]).collect();
        let offsets = Array2::from_shape_vec((heads, 2), offsets).expect("two numbers a head");
        case.compare("offset_xy", &offsets.into_dyn());
    }
}

#[test]
fn centered_kernel_alignment_has_its_golden_values_by_minibatches_and_over_all_samples() {
    for case in Case::all("cka") {
        let activations = case.array::<f32>("activations"); // [layers, n, …]
        let layers: Vec<Array2<f32>> = activations
            .axis_iter(Axis(0))
            .map(|layer| {
                let n = layer.shape()[0];
                layer.to_owned().into_shape_with_order((n, layer.len() / n)).expect("one piece")
            })
            .collect();
        let (n, batch) = (layers[0].nrows(), case.config_usize(&case.meta["config"]["batch"]));
        let varies = vec![true; layers.len()];

        let mut hsic = Array2::zeros((layers.len(), layers.len()));
        for first in (0..n).step_by(batch) {
            let rows = Slice::from(first..(first + batch).min(n));
            let grams: Vec<Gram> =
                layers.iter().map(|layer| Gram::linear(layer.slice_axis(Axis(0), rows))).collect();
            hsic += &hsic_matrix(&grams);
        }
        case.compare("cka_minibatch", &cka_from_hsic(hsic.view(), &varies).into_dyn());

        let grams: Vec<Gram> = layers.iter().map(|layer| Gram::linear(layer.view())).collect();
        case.compare("cka_full", &cka_from_hsic(hsic_matrix(&grams).view(), &varies).into_dyn());

        let mut moments = Moments::default();
        for first in (0..n).step_by(7) {
            let rows = Slice::from(first..(first + 7).min(n));
            moments.add(&layers.iter().map(|layer| layer.slice_axis(Axis(0), rows)).collect::<Vec<_>>());
        }
        let (hsic, _) = moments.into_hsic();
        case.compare("cka_full", &cka_from_hsic(hsic.view(), &varies).into_dyn());
    }
}

#[test]
fn attention_rollout_has_its_golden_values() {
    for case in Case::all("attention_rollout") {
        let attention = case.array::<f32>("attention").into_dimensionality::<Ix5>().expect("five axes");
        let mut rolled: Option<Array3<f64>> = None;
        for layer in attention.outer_iter() {
            rolled = Some(rollout(layer, rolled.as_ref()));
        }
        case.compare("rollout", &rolled.expect("layers").into_dyn());
    }
}

#[test]
fn region_similarity_and_contour_accuracy_have_their_golden_values() {
    for case in Case::all("davis_jf") {
        let masks = |name: &str| {
            case.array::<u8>(name).into_dimensionality::<Ix3>().expect("three axes").mapv(|x| x > 0)
        };
        let (truth, predicted) = (masks("ground_truth"), masks("prediction"));
        let frames = || truth.outer_iter().zip(predicted.outer_iter());
        let j: Vec<f64> = frames().map(|(truth, predicted)| region_similarity(truth, predicted)).collect();
        let f: Vec<f64> = frames().map(|(truth, predicted)| contour_accuracy(truth, predicted)).collect();
        case.compare("j", &ndarray::arr1(&j).into_dyn());
        case.compare("f", &ndarray::arr1(&f).into_dyn());
    }
}

#[test]
fn propagated_labels_have_their_golden_values() {
    for case in Case::all("label_propagation") {
        let config = &case.meta["config"];
        let grid = (case.config_usize(&config["grid"][0]), case.config_usize(&config["grid"][1]));
        let is_dino = config["variant"] == "dino";
        let rule = Rule {
            neighborhood: match config["variant"].as_str() {
                Some("dino") => {
                    Neighborhood::Square { radius_patches: case.config_usize(&config["neighborhood"]) }
                }
                Some("crw") => {
                    Neighborhood::Circle { radius_patches: case.config_usize(&config["radius"]) as f64 }
                }
                other => panic!("{}: variant {other:?}", case.folder.display()),
            },
            first_in_neighborhood: is_dino,
            temperature: config["temperature"].as_f64().expect("a temperature"),
            n_top: case.config_usize(&config["topk"]),
            ties: is_dino,
        };
        let features =
            case.array::<f32>("context_features").into_dimensionality::<Ix3>().expect("three axes");
        let features: Vec<Array2<f32>> = features.outer_iter().map(l2_normalize_rows).collect();
        let views: Vec<_> = features.iter().map(|frame| frame.view()).collect();
        let target = l2_normalize_rows(case.matrix("target_features").view());
        let labels = case.array::<f32>("context_labels").into_dimensionality::<Ix4>().expect("four axes");
        let labels: Vec<Array2<f64>> = labels
            .outer_iter()
            .map(|frame| {
                let flat = frame
                    .to_owned()
                    .into_shape_with_order((frame.dim().0, grid.0 * grid.1))
                    .expect("one piece");
                flat.t().mapv(f64::from)
            })
            .collect();
        let contexts: Vec<Context> = labels
            .iter()
            .enumerate()
            .map(|(frame, labels)| Context { is_first: frame == 0, labels: labels.view() })
            .collect();
        let mut ours = propagate(cosine(target.view(), &views), &contexts, grid, &rule);
        let maps = |labels: &Array2<f64>| {
            let maps = labels.t().as_standard_layout().into_owned();
            maps.into_shape_with_order((labels.ncols(), grid.0, grid.1)).expect("one piece").into_dyn()
        };
        case.compare_f32("target_labels", &maps(&ours));
        if is_dino {
            stretch(ours.view_mut());
            case.compare_f32("target_labels_normalized", &maps(&ours));
        }
    }
}

#[test]
fn log_binned_descriptors_have_their_golden_values() {
    for case in Case::all("log_bins") {
        let config = &case.meta["config"];
        let grid = (case.config_usize(&config["grid"][0]), case.config_usize(&config["grid"][1]));
        let features = case.array::<f32>("features").into_dimensionality::<Ix4>().expect("four axes");
        let descriptors = features.outer_iter().map(|image| {
            // [heads, N, d] → [N, d, heads]: the source's order of channels.
            let tokens = image.permuted_axes([1, 2, 0]).as_standard_layout().into_owned();
            let (n, d, heads) = tokens.dim();
            let tokens = tokens.into_shape_with_order((n, d * heads)).expect("one piece");
            log_bins(tokens.view(), grid, case.config_usize(&config["hierarchy"])).mapv(f64::from)
        });
        let all: Vec<Array2<f64>> = descriptors.collect();
        let views: Vec<_> = all.iter().map(|image| image.view()).collect();
        case.compare_f32("descriptors", &ndarray::stack(Axis(0), &views).expect("equal shapes").into_dyn());
    }
}

#[test]
fn clusters_are_matched_to_classes_as_in_the_golden_case() {
    for case in Case::all("cluster_scores") {
        let n = case.config_usize(&case.meta["config"]["matching_classes"]);
        let (labels, clusters) = (case.labels("matching_labels"), case.labels("matching_clusters"));
        let counts = Confusion::of(&clusters, &labels, n).counts;
        let ours = one_to_one(counts.view());
        let expected: Vec<Option<usize>> =
            case.labels("matching_assignment").iter().map(|&class| Some(class as usize)).collect();
        assert_eq!(ours, expected, "{}", case.folder.display());
        let iou = pairwise_iou(counts.view());
        let matched = ours.iter().enumerate().filter_map(|(cluster, class)| Some(iou[[cluster, (*class)?]]));
        case.compare("matching_mean_iou", &ndarray::arr0(matched.sum::<f64>() / n as f64).into_dyn());
    }
}

#[test]
fn maps_are_resized_as_by_another_library() {
    for case in Case::all("interpolate") {
        let maps = case.array::<f64>("maps").into_dimensionality::<Ix3>().expect("three axes");
        let ids = case.array::<i64>("ids").into_dimensionality::<Ix2>().expect("two axes");
        for (i, size) in case.meta["config"]["sizes"].as_array().expect("sizes").iter().enumerate() {
            let (rows, columns) = (case.config_usize(&size[0]), case.config_usize(&size[1]));
            case.compare(&format!("bilinear.{i}"), &bilinear(maps.view(), rows, columns).into_dyn());
            let expected = case.array::<i64>(&format!("nearest.{i}"));
            assert_eq!(nearest(ids.view(), rows, columns).into_dyn(), expected, "{}", case.folder.display());
        }
    }
}

#[test]
fn assignments_cost_what_another_library_finds() {
    for case in Case::all("hungarian") {
        for i in 0..case.config_usize(&case.meta["config"]["cases"]) {
            let costs =
                case.array::<f64>(&format!("costs.{i}")).into_dimensionality::<Ix2>().expect("two axes");
            let ours = assign(costs.view());
            let pairs = ours.iter().enumerate().filter_map(|(row, column)| Some(costs[[row, (*column)?]]));
            case.compare(&format!("total.{i}"), &ndarray::arr0(pairs.sum::<f64>()).into_dyn());
            // Costs are random: the best assignment is one alone.
            let expected = case.array::<i64>(&format!("columns.{i}"));
            let expected: Vec<Option<usize>> =
                expected.iter().map(|&column| usize::try_from(column).ok()).collect();
            assert_eq!(ours, expected, "{}", case.folder.display());
        }
    }
}

#[test]
fn segmentations_have_the_scores_of_other_libraries() {
    for case in Case::all("segmentation_scores") {
        let n_classes = case.config_usize(&case.meta["config"]["classes"]);
        let ours = Confusion::of(&case.labels("labels"), &case.labels("predicted"), n_classes);
        let ious: Vec<f64> = (0..n_classes).map(|class| ours.iou(class).unwrap_or(0.0)).collect();
        case.compare("iou", &ndarray::arr1(&ious).into_dyn());
        case.compare("mean_iou", &ndarray::arr0(ours.mean_iou()).into_dyn());
        case.compare("mean_iou_of_all", &ndarray::arr0(ours.mean_iou_of_all()).into_dyn());
        case.compare("accuracy", &ndarray::arr0(ours.accuracy()).into_dyn());
    }
}

#[test]
fn classifications_have_the_scores_of_other_libraries() {
    for case in Case::all("classification_scores") {
        let n_classes = case.config_usize(&case.meta["config"]["classes"]);
        let labels = case.labels("labels");
        let scores = case.array::<f64>("scores").into_dimensionality::<Ix2>().expect("two axes");
        let ranked = ranking(scores.view(), 5);
        let predicted = ranked.column(0).to_vec();
        case.compare("top1", &ndarray::arr0(top1(&predicted, &labels)).into_dyn());
        case.compare("top5", &ndarray::arr0(top5(ranked.view(), &labels)).into_dyn());
        let ours = Confusion::of(&labels, &predicted, n_classes);
        let expected = case.array::<i64>("confusion").mapv(|count| count as usize);
        assert_eq!(ours.counts.clone().into_dyn(), expected, "{}", case.folder.display());
        let recalls: Vec<f64> = (0..n_classes).filter_map(|class| ours.recall(class)).collect();
        case.compare("recall", &ndarray::arr1(&recalls).into_dyn());
        let precisions: Vec<f64> = (0..n_classes).map(|class| ours.precision(class).unwrap_or(0.0)).collect();
        case.compare("precision", &ndarray::arr1(&precisions).into_dyn());
        case.compare("mean_recall", &ndarray::arr0(ours.mean_recall()).into_dyn());
    }
}

#[test]
fn intervals_of_means_are_those_of_another_library() {
    for case in Case::all("intervals") {
        for i in 0..case.config_usize(&case.meta["config"]["cases"]) {
            let numbers = |name: &str| case.array::<f64>(&format!("{name}.{i}")).into_raw_vec_and_offset().0;
            let (values, others) = (numbers("values"), numbers("others"));
            let ours = ndarray::arr1(&[mean(&values), standard_error(&values)]);
            case.compare(&format!("mean_sem.{i}"), &ours.into_dyn());
            let own = t_interval(&values);
            case.compare(&format!("interval.{i}"), &ndarray::arr1(&[own.low, own.high]).into_dyn());
            let paired = paired_t_interval(&values, &others);
            case.compare(&format!("paired.{i}"), &ndarray::arr1(&[paired.low, paired.high]).into_dyn());
        }
    }
}

#[test]
fn masks_overlap_as_another_library_counts() {
    for case in Case::all("jaccard") {
        let masks = |name: &str| {
            let bytes = case.array::<u8>(name).mapv(|byte| byte > 0);
            bytes.into_dimensionality::<Ix3>().expect("three axes")
        };
        let (truth, found) = (masks("truth"), masks("found"));
        let pairs = || truth.outer_iter().zip(found.outer_iter());
        let regions: Vec<f64> = pairs().map(|(truth, found)| region_similarity(truth, found)).collect();
        case.compare("jaccard", &ndarray::arr1(&regions).into_dyn());
        let flat = |mask: ndarray::ArrayView2<bool>| mask.iter().copied().collect::<Vec<bool>>();
        let ious = pairs().map(|(truth, found)| saliency::iou(&flat(truth), &flat(found)));
        case.compare("jaccard", &ndarray::Array1::from_iter(ious).into_dyn());
    }
}

#[test]
fn principal_directions_of_z_scores_are_those_of_another_library() {
    for case in Case::all("projection") {
        let (rows, k) = (case.matrix("features"), case.config_usize(&case.meta["config"]["directions"]));
        let mut spread = Spread::nothing(rows.ncols());
        spread.add(rows.view());
        let ours = spread.projection(k).apply(rows.view()).mapv(|x| f64::from(x.abs()));
        case.compare("projected", &ours.into_dyn());
    }
}

#[test]
fn clusters_that_lie_apart_are_those_of_another_library() {
    for case in Case::all("kmeans") {
        let (rows, k) = (case.matrix("features"), case.config_usize(&case.meta["config"]["clusters"]));
        let Ok(found) = KMeans::new(k, 0).fit::<std::convert::Infallible>(&rows.view());
        case.compare("inertia", &ndarray::arr0(found.inertia).into_dyn());
        // The numbers of clusters are arbitrary: each of ours holds one of theirs.
        let counts = Confusion::of(&found.of, &case.labels("clusters"), k).counts;
        assert!(counts.rows().into_iter().all(|row| row.iter().filter(|&&count| count > 0).count() == 1));
    }
}

#[test]
fn rankings_have_the_scores_of_other_libraries() {
    for case in Case::all("retrieval_scores") {
        let table = |name: &str| case.array::<i64>(name).into_dimensionality::<Ix2>().expect("two axes");
        let (rankings, kinds) = (table("rankings"), table("kinds"));
        let k = case.config_usize(&case.meta["config"]["k"]);
        let (mut aps, mut precisions) = (Vec::new(), Vec::new());
        for (ranking, kinds) in rankings.outer_iter().zip(kinds.outer_iter()) {
            let ranking: Vec<u32> = ranking.iter().map(|&item| item as u32).collect();
            let ranks = ranks_of_positives(&ranking, |item| {
                [Kind::Negative, Kind::Positive, Kind::Junk][kinds[item as usize] as usize]
            });
            assert!(
                ranks.last().is_some_and(|&last| last >= k),
                "{}: a positive below k",
                case.folder.display()
            );
            aps.push(average_precision(&ranks));
            precisions.push(precision_at(&ranks, k));
        }
        case.compare("average_precision", &ndarray::arr1(&aps).into_dyn());
        case.compare("precision_at_k", &ndarray::arr1(&precisions).into_dyn());
    }
}

#[test]
fn points_are_found_as_often_as_another_program_counts() {
    for case in Case::all("pck") {
        let numbers = |name: &str| case.array::<f64>(name);
        let groups = |name: &str| case.labels(name);
        let (distances, widths, heights) = (numbers("distance"), numbers("width"), numbers("height"));
        let alphas = case.meta["config"]["alphas"].as_array().expect("alphas");
        for (name, yardstick, group) in
            [("box", Yardstick::Box, "category"), ("box_diagonal", Yardstick::BoxDiagonal, "joint")]
        {
            let (images, groups) = (groups("image"), groups(group));
            let point = |i: usize| Located {
                distance_px: distances[[i]],
                yardstick_px: yardstick.length_px((widths[[i]], heights[[i]]), (0.0, 0.0)),
                image: images[i] as usize,
                category: groups[i] as usize,
            };
            let points: Vec<Located> = (0..distances.len()).map(point).collect();
            let shares = alphas.iter().flat_map(|alpha| {
                let found = pck(&points, alpha.as_f64().expect("a share"), yardstick);
                [found.per_point, found.per_image, found.per_category]
            });
            let shares = ArrayD::from_shape_vec(vec![alphas.len(), 3], shares.collect());
            case.compare(name, &shares.expect("three shares for each alpha"));
        }
    }
}

#[test]
fn communities_are_described_in_no_more_bits_than_another_program_needs() {
    for case in Case::all("map_equation") {
        for (i, config) in case.meta["config"]["graphs"].as_array().expect("graphs").iter().enumerate() {
            let edges = case.array::<i64>(&format!("edges.{i}"));
            let weights = case.array::<f64>(&format!("weights.{i}"));
            let edges =
                edges.outer_iter().zip(&weights).map(|(pair, &w)| (pair[0] as usize, pair[1] as usize, w));
            let graph = Graph { n_nodes: case.config_usize(&config["nodes"]), edges: edges.collect() };
            let walk = Walk {
                markov_time: config["markov_time"].as_f64().expect("a time"),
                preferred: config["preferred"].as_u64().map(|k| k as usize),
            };
            // The same partition has the same length; partitions themselves may differ.
            let name = format!("length.{i}");
            let module: Vec<usize> =
                case.array::<i64>(&format!("module.{i}")).iter().map(|&m| m as usize).collect();
            case.compare(&name, &ndarray::arr0(code_length(&graph, &module, &walk).total()).into_dyn());
            let expected = case.array::<f64>(&name).first().copied().expect("a length");
            let ours = best_of(&graph, &walk, 0..10).length.total();
            assert!(ours <= expected + 1e-9, "graph {i}: {ours} bits, more than {expected}");
        }
    }
}
