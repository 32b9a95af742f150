//! Checkpoints as other programs write them: every tensor in its place, plain values beside them.

use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use vit_core::weights::{Dtype, Format, TensorFile, WeightsError};

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name)
}

fn open(name: &str) -> TensorFile {
    TensorFile::open(&here(name)).unwrap()
}

fn ramp(n: usize, start: f32) -> Vec<f32> {
    (0..n).map(|i| start + i as f32 * 0.5).collect()
}

#[test]
fn both_forms_of_a_pytorch_checkpoint_give_the_same_tensors_and_values() {
    for (name, format) in [("zip.pth", Format::Torch), ("legacy.pth", Format::TorchLegacy)] {
        let file = open(name);
        assert_eq!(file.format(), format);
        let at = |name: &str| format!("student.backbone.{name}");
        for (tensor, dtype, shape, values) in [
            ("f32", Dtype::F32, &[2, 3][..], ramp(6, -1.0)),
            ("f64", Dtype::F64, &[2, 3], ramp(6, 0.0)),
            ("f16", Dtype::F16, &[2, 3], ramp(6, -1.0)),
            ("bf16", Dtype::Bf16, &[2, 3], ramp(6, -1.0)),
            ("i64", Dtype::I64, &[3], vec![-1.0, 0.0, 1_048_576.0]),
            ("u8", Dtype::U8, &[2], vec![0.0, 200.0]),
            ("bool", Dtype::Bool, &[2], vec![1.0, 0.0]),
            ("scalar", Dtype::F32, &[], vec![2.5]),
            ("empty", Dtype::F32, &[0, 3], vec![]),
            // The rest look at a ramp of [4, 6] in their own way: index [r, c] is (6 r + c) / 2.
            ("window", Dtype::F32, &[2, 3], vec![4.0, 4.5, 5.0, 7.0, 7.5, 8.0]),
            ("expanded", Dtype::F32, &[3, 2], [1.5, 2.5].repeat(3)),
            ("blocks.0.weight", Dtype::F32, &[3], ramp(3, 0.0)),
        ] {
            let entry = file.entry(&at(tensor)).unwrap_or_else(|| panic!("{tensor} in {:?}", file.names()));
            assert_eq!((entry.dtype, entry.shape.as_slice()), (dtype, shape), "{tensor}");
            assert_eq!(file.read_f32(&at(tensor)).unwrap(), values, "{tensor} of {name}");
        }
        let transposed: Vec<f32> = (0..24).map(|i| (6 * (i % 4) + i / 4) as f32 / 2.0).collect();
        assert_eq!(file.read(&at("transposed"), &[6, 4]).unwrap(), transposed);
        assert_eq!(file.read_f32("tied.0").unwrap(), file.read_f32("tied.1").unwrap());
        assert_eq!(file.read_f32("optimizer.state.0.step").unwrap(), [3.0]);
        assert_eq!(file.entries().len(), 16);
        let expected = json!({
            "epoch": 7,
            "loss": "NaN",
            "score": 2.5,
            "order": "<numpy.ndarray>",
            "args": {
                "arch": "vit_small", "patch_size": 16, "lr": 0.25, "betas": [0.9, 0.95], "amp": true, "resume": null,
            },
            "path": "/data/run",
            "when": "<datetime.date>",
            "device": "cpu",
            "optimizer": {"param_groups": [{"lr": 0.1, "params": [0]}]},
        });
        assert_eq!(*file.meta(), expected, "{name}");
    }
}

#[test]
fn modules_and_scripts_show_their_parameters_under_dotted_names() {
    let (module, script) = (open("module.pth"), open("script.pt"));
    assert_eq!((module.format(), script.format()), (Format::Torch, Format::TorchScript));
    for (file, dtype) in [(module, Dtype::F32), (script, Dtype::F16)] {
        let names: Vec<&str> = file.entries().iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["visual.0.fc.bias", "visual.0.fc.weight", "visual.0.scale"]);
        assert!(file.entries().iter().all(|entry| entry.dtype == dtype));
        assert_eq!(file.read("visual.0.fc.weight", &[2, 3]).unwrap(), ramp(6, -1.0));
        assert_eq!(file.read("visual.0.fc.bias", &[2]).unwrap(), ramp(2, 0.0));
        assert_eq!(file.read("visual.0.scale", &[]).unwrap(), [2.0]);
        assert_eq!(file.meta()["size"], 32);
    }
}

#[test]
fn a_checkpoint_of_the_other_byte_order_is_read_in_its_order() {
    let file = open("big.pth");
    assert_eq!(file.read("a", &[2, 3]).unwrap(), ramp(6, 0.0));
    assert_eq!(file.read("b", &[4]).unwrap(), ramp(4, 0.0));
}

#[test]
fn arrays_of_numpy_are_read_packed_or_not() {
    for name in ["stored.npz", "deflated.npz"] {
        let file = open(name);
        assert_eq!(file.format(), Format::Npz);
        let kernel = "Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel";
        for (tensor, dtype, shape, values) in [
            (kernel, Dtype::F32, &[3, 4][..], ramp(12, 0.0)),
            ("column_major", Dtype::F32, &[2, 3], ramp(6, 0.0)),
            ("cls", Dtype::F16, &[1, 1, 3], ramp(3, 0.0)),
            ("bf16", Dtype::Bf16, &[4], ramp(4, 0.0)),
            ("big", Dtype::F32, &[3], ramp(3, 0.0)),
            ("step", Dtype::I64, &[], vec![300.0]),
            ("i64", Dtype::I64, &[2], vec![1.0, -2.0]),
        ] {
            assert_eq!(file.entry(tensor).map(|entry| entry.dtype), Some(dtype), "{tensor}");
            assert_eq!(file.read(tensor, shape).unwrap(), values, "{tensor} of {name}");
        }
    }
}

#[test]
fn shards_open_from_the_index_the_folder_or_any_shard() {
    for name in ["", "model.safetensors.index.json", "model-00001-of-00002.safetensors"] {
        let file = TensorFile::open(&here("sharded").join(name)).unwrap();
        assert_eq!(file.format(), Format::Sharded);
        assert_eq!(file.read("a", &[2, 3]).unwrap(), ramp(6, 0.0));
        assert_eq!(file.read("b", &[4]).unwrap(), ramp(4, 0.0));
        assert_eq!(file.read("c", &[2]).unwrap(), ramp(2, 0.0));
        assert_eq!(*file.meta(), json!({"total_size": 36, "format": "pt"}));
    }
}

#[test]
fn an_index_that_does_not_fit_its_shards_is_refused_by_the_tensors_name() {
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let refusal = |weight_map: &[(&str, &str)]| {
        let dir = tempfile::tempdir().unwrap();
        for shard in [first, second] {
            fs::copy(here("sharded").join(shard), dir.path().join(shard)).unwrap();
        }
        let weight_map: BTreeMap<_, _> = weight_map.iter().copied().collect();
        let index = json!({ "weight_map": weight_map }).to_string();
        fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
        TensorFile::open(dir.path()).expect_err("a refusal")
    };
    for (weight_map, name) in [
        (&[("a", first), ("b", second)][..], "c"),
        (&[("a", first), ("b", second), ("c", second), ("d", second)], "d"),
        (&[("a", second), ("b", second), ("c", second)], "a"),
        (&[("a", first), ("b", first), ("c", second)], "b"),
    ] {
        let error = refusal(weight_map);
        assert!(matches!(&error, WeightsError::Tensor { name: found, .. } if found == name), "{error}");
    }
    let error = refusal(&[("a", "../model-00001-of-00002.safetensors")]);
    assert!(error.to_string().contains("names of files beside the index"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    fs::copy(here("sharded").join(first), dir.path().join(first)).unwrap();
    let error = TensorFile::open(&dir.path().join(first)).expect_err("a refusal").to_string();
    assert!(error.contains("the index of the shards"), "{error}");
}

#[test]
fn what_is_no_checkpoint_is_said_for_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.pth");
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, found) in [
        (tar.as_slice(), "a tar file"),
        (b"\x93NUMPY\x01\x00".as_slice(), "a single npy array"),
        (b"\x1f\x8b\x08", "a gzip file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer to a large file"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\x80\x04K\x01.", "a pickle of something else"),
        (b"", "0 bytes"),
        (b"GIF89a", "6 bytes of something else"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = TensorFile::open(&path).expect_err("a refusal");
        assert!(matches!(error, WeightsError::Malformed { .. }), "{error}");
        assert!(error.to_string().contains(found), "{error}");
    }
}

#[test]
fn golden_checkpoints_of_pytorch_open() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    for (case, prefix) in [("dino_checkpoint", "teacher."), ("mae", ""), ("moco_v3", "")] {
        let file = TensorFile::open(&golden.join(case).join("weights.pth")).unwrap();
        assert!(
            file.names()
                .iter()
                .any(|name| name.starts_with(prefix) && name.ends_with("blocks.0.attn.qkv.weight"))
        );
        for entry in file.entries() {
            let values = file.read(&entry.name, &entry.shape).unwrap();
            assert_eq!(values.len(), entry.shape.iter().product::<usize>());
        }
    }
}

#[test]
fn a_call_in_a_pickle_is_a_name_and_is_not_made() {
    let file = open("calls.pth");
    assert_eq!(file.read("w", &[4]).unwrap(), [0.0; 4]);
    assert_eq!(*file.meta(), json!({"evil": "<posix.system>"}));
    assert!(!Path::new("pwned").exists());
}

#[test]
fn an_ordered_dictionary_of_python_2_is_a_dictionary() {
    assert_eq!(open("python2.pth").read("w", &[4]).unwrap(), [0.0; 4]);
}

#[test]
fn an_array_that_is_longer_than_declared_or_changed_is_refused_when_it_is_read() {
    let error = open("longer.npz").read_f32("a").expect_err("a refusal").to_string();
    assert!(error.contains("`a`") && error.contains("declared"), "{error}");
    let mut bytes = fs::read(here("stored.npz")).unwrap();
    let header = bytes.windows(9).position(|window| window == b"'<f4', 'f").unwrap();
    let numbers = header + bytes[header..].iter().position(|&byte| byte == b'\n').unwrap() + 1;
    bytes[numbers + 5] ^= 1;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("changed.npz");
    fs::write(&path, bytes).unwrap();
    let file = TensorFile::open(&path).unwrap();
    let broken: Vec<String> = file
        .entries()
        .iter()
        .filter_map(|entry| file.read_f32(&entry.name).err().map(|error| error.to_string()))
        .collect();
    assert_eq!(broken.len(), 1);
    assert!(broken[0].contains("checksum"), "{}", broken[0]);
}

#[test]
fn a_header_whose_length_looks_like_a_pickle_is_still_safetensors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    let mut header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.to_owned();
    header.extend(std::iter::repeat_n(' ', 0x0280 - header.len()));
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &1.5f32.to_le_bytes()].concat();
    assert_eq!(bytes[..2], [0x80, 0x02], "protocol 2");
    fs::write(&path, bytes).unwrap();
    let file = TensorFile::open(&path).unwrap();
    assert_eq!((file.format(), file.read_f32("a").unwrap()), (Format::Safetensors, vec![1.5]));
}
