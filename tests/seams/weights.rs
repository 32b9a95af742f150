//! Weights files: what was saved comes back bit by bit, and what is wrong with a file is said by name.

use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;
use testkit::tiny;
use vit_core::weights::{
    ModelConfig, NamedParam, TensorFile, WeightsError, load, params, save, save_tensors,
};
use vit_core::{Backbone, Pool, Positions, VitConfig};

fn tensors(model: &Backbone) -> Vec<NamedParam> {
    match model {
        Backbone::Vit(vit) => params(vit),
        Backbone::Conv(conv) => params(conv),
    }
}

/// A saved model, and what a file is like after a change.
struct Saved {
    dir: TempDir,
    path: PathBuf,
    model: Backbone,
}

fn saved() -> Saved {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("weights.safetensors");
    let model = tiny::vit(&tiny::vit_config(), 0);
    save(&model, &path).unwrap();
    Saved { dir, path, model }
}

/// What loading says after a change of the saved tensors.
fn after(change: impl FnOnce(&mut Vec<NamedParam>)) -> WeightsError {
    let saved = saved();
    let metadata = TensorFile::open(&saved.path).unwrap().metadata().unwrap().to_owned();
    let mut tensors = tensors(&saved.model);
    change(&mut tensors);
    save_tensors(&tensors, metadata, &saved.path).unwrap();
    let error = load(&saved.path, None, &vit_ops::cpu_device()).expect_err("a refusal");
    assert!(error.to_string().ends_with(&saved.path.display().to_string()), "where, last: {error}");
    drop(saved.dir);
    error
}

fn of<'a>(tensors: &'a mut [NamedParam], name: &str) -> &'a mut NamedParam {
    tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
}

#[test]
fn what_is_saved_comes_back_bit_by_bit_with_its_configuration() {
    let configs = [
        tiny::vit_config(),
        VitConfig {
            n_registers: 2,
            layer_scale: Some(0.1),
            n_classes: 5,
            mask_token: true,
            ..tiny::vit_config()
        },
        VitConfig {
            class_token: false,
            pool: Pool::Mean,
            qkv_bias: false,
            n_classes: 3,
            ..tiny::vit_config()
        },
        VitConfig { positions: Positions::SinCos, ..tiny::vit_config() },
    ];
    let models = configs.iter().map(|config| tiny::vit(config, 1)).chain([tiny::conv(1)]);
    let dir = TempDir::new().unwrap();
    let (path, again) = (dir.path().join("a.safetensors"), dir.path().join("b.safetensors"));
    for model in models {
        save(&model, &path).unwrap();
        let loaded = load(&path, None, &vit_ops::cpu_device()).unwrap();
        assert_eq!(ModelConfig::of(&loaded), ModelConfig::of(&model));
        assert_eq!(tensors(&loaded), tensors(&model));
        save(&loaded, &again).unwrap();
        assert!(TensorFile::open(&again).unwrap().names() == TensorFile::open(&path).unwrap().names());
    }
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "no temporary file is left: {left:?}");
}

#[test]
fn a_fixed_position_table_stays_fixed_and_the_rest_trainable_after_loading_for_training() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("weights.safetensors");
    let config = VitConfig { positions: Positions::SinCos, ..tiny::vit_config() };
    save(&tiny::vit(&config, 1), &path).unwrap();
    let loaded = load(&path, None, &vit_ops::cpu_device().autodiff()).unwrap();
    for param in tensors(&loaded) {
        assert_eq!(param.trainable, param.name != "pos_embed", "{}", param.name);
    }
}

#[test]
fn a_deleted_tensor_is_missing_by_name() {
    let error = after(|tensors| tensors.retain(|tensor| tensor.name != "blocks.1.norm2.bias"));
    assert!(
        matches!(&error, WeightsError::Missing { name, expected, .. } if name == "blocks.1.norm2.bias" && *expected == [24])
    );
    assert!(error.to_string().contains("blocks.1.norm2.bias"), "{error}");
}

#[test]
fn a_renamed_tensor_is_missing_under_its_name() {
    let error = after(|tensors| of(tensors, "cls_token").name = "class_token".into());
    assert!(matches!(&error, WeightsError::Missing { name, .. } if name == "cls_token"), "{error}");
}

#[test]
fn a_tensor_too_many_is_unexpected_by_name() {
    let error = after(|tensors| {
        let copy =
            NamedParam { name: "blocks.3.norm1.bias".into(), ..of(tensors, "blocks.2.norm1.bias").clone() };
        tensors.push(copy);
    });
    assert!(
        matches!(&error, WeightsError::Unexpected { name, .. } if name == "blocks.3.norm1.bias"),
        "{error}"
    );
}

#[test]
fn a_transposed_tensor_has_another_shape_by_name() {
    let error = after(|tensors| of(tensors, "blocks.0.mlp.fc1.weight").shape.reverse());
    let WeightsError::Shape { name, expected, found, .. } = &error else { panic!("{error}") };
    assert_eq!(
        (name.as_str(), expected.as_slice(), found.as_slice()),
        ("blocks.0.mlp.fc1.weight", &[96, 24][..], &[24, 96][..])
    );
    assert!(error.to_string().contains("expected shape [96, 24]; found [24, 96]"), "{error}");
}

#[test]
fn a_value_that_is_not_a_number_is_named_with_its_place() {
    for value in [f32::NAN, f32::INFINITY] {
        let error = after(|tensors| of(tensors, "blocks.2.attn.qkv.bias").values[7] = value);
        let WeightsError::NotFinite { name, index, .. } = &error else { panic!("{error}") };
        assert_eq!((name.as_str(), *index), ("blocks.2.attn.qkv.bias", 7));
    }
}

#[test]
fn a_truncated_file_is_malformed_wherever_it_is_cut() {
    let saved = saved();
    let bytes = fs::read(&saved.path).unwrap();
    for length in [0, 4, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&saved.path, &bytes[..length]).unwrap();
        let error = load(&saved.path, None, &vit_ops::cpu_device()).expect_err("a refusal");
        let WeightsError::Malformed { path, .. } = &error else { panic!("cut to {length} bytes: {error}") };
        assert_eq!(*path, saved.path);
    }
    let mut longer = bytes;
    longer.push(0);
    fs::write(&saved.path, longer).unwrap();
    let error = load(&saved.path, None, &vit_ops::cpu_device()).expect_err("a refusal");
    assert!(matches!(error, WeightsError::Malformed { .. }), "{error}");
}

#[test]
fn a_file_without_configuration_says_that_one_is_needed_and_one_that_is_not_there_says_so() {
    let saved = saved();
    let error = load(&saved.dir.path().join("none.safetensors"), None, &vit_ops::cpu_device())
        .expect_err("a refusal");
    assert!(matches!(error, WeightsError::Io { .. }), "{error}");
    save_tensors(&tensors(&saved.model), "{\"encoder\":\"swin\"}".into(), &saved.path).unwrap();
    let error = load(&saved.path, None, &vit_ops::cpu_device()).expect_err("a refusal");
    assert!(
        matches!(&error, WeightsError::Malformed { expected, .. } if expected.contains("configuration")),
        "{error}"
    );
    let given = ModelConfig::of(&saved.model);
    let loaded = load(&saved.path, Some(&given), &vit_ops::cpu_device()).unwrap();
    assert_eq!(tensors(&loaded), tensors(&saved.model), "a given configuration goes before the file's");
}
