//! Parity with the golden cases of kinds `knn` and `attention_stats`.

use std::fs;
use std::path::{Path, PathBuf};

use measure::attention::{TokenGrid, cls_share, entropy_nats, mean_distance_unit_square};
use measure::nearest::{l2_normalize_rows, top_k};
use measure::vote::{top1, weighted_votes};
use ndarray::{Array2, ArrayD, Ix2, Ix4};
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
    }
}
