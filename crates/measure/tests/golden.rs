//! Parity with the golden cases of kinds `knn`, `attention_stats`, `attention_rollout` and `cka`.

use std::fs;
use std::path::{Path, PathBuf};

use measure::aligned::{add_aligned_maps, offset_xy};
use measure::attention::{TokenGrid, cls_share, entropy_nats, mean_distance_unit_square};
use measure::cka::{Gram, Moments, cka_from_hsic, hsic_matrix};
use measure::nearest::{l2_normalize_rows, top_k};
use measure::rollout::rollout;
use measure::vote::{top1, weighted_votes};
use ndarray::{Array2, Array3, ArrayD, Axis, Ix2, Ix4, Ix5, Slice};
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
        let expected = self.array::<f64>(name);
        assert_eq!(ours.shape(), expected.shape(), "{}: {name}", self.folder.display());
        let tolerance = |key| self.meta["tolerance"][key].as_f64().expect("a tolerance");
        let (abs, rel) = (tolerance("abs"), tolerance("rel"));
        for (ours, expected) in ours.iter().zip(&expected) {
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
from_le!(f32 => F32, f64 => F64, i64 => I64);

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
        add_aligned_maps(attention.view(), grid, &mut aligned);
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
