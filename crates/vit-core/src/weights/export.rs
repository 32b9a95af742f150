//! Writing a model under the names that other libraries read, in the type of the file it came from.

use super::checkpoint::Checkpoint;
use super::files::{Dtype, METADATA_KEY};
use super::input::{Framing, InputTransform, Interpolation};
use super::layouts::{Place, hf_kind, hf_places, timm_places};
use super::{INPUT_KEY, ModelConfig, WeightsError};
use crate::{Activation, VitConfig};
use half::{bf16, f16};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Whose names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// timm's, which are ours.
    Timm,
    /// transformers', as its published files have them.
    Hf,
}

/// Writes a checkpoint's model to a safetensors file, tensor by tensor, each in the type it was stored in; to a
/// temporary name first, then renamed. With transformers' names its `config.json`, and the `preprocessor_config.json`
/// where the transform is known, are written beside it where there are none. Gives all files that were written.
///
/// # Errors
/// When the checkpoint is not complete, the names have no place for a parameter, or a file cannot be read or written.
pub fn export(checkpoint: &Checkpoint, names: Names, path: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    let audit = checkpoint.audit();
    if !audit.is_complete() {
        let (problems, path) = (audit.summary(), audit.path.clone());
        return Err(WeightsError::Incomplete { problems, path });
    }
    let io = |source| WeightsError::Io { source, path: path.to_owned() };
    let foreign = |found: String| WeightsError::Malformed {
        expected: "a model that transformers has too".into(),
        found,
        path: audit.path.clone(),
    };
    let places = match names {
        Names::Timm => timm_places(&audit.config),
        Names::Hf => hf_places(&audit.config)
            .map_err(|name| foreign(format!("a parameter `{name}` that none of its models has")))?,
    };
    if names == Names::Hf && hf_kind(&audit.config) == "hf-dinov2" && dinov2_ratio(&audit.config).is_none() {
        let (hidden, width) = (audit.config.hidden(), audit.config.width);
        return Err(foreign(format!(
            "an MLP of hidden width {hidden}, which its DINOv2 of width {width} cannot have"
        )));
    }
    let partial = path.with_extension("partial");
    let written = File::create(&partial).map_err(io).and_then(|file| {
        let mut file = BufWriter::new(file);
        stream(checkpoint, &places, &mut file, path)?;
        let file = file.into_inner().map_err(|error| io(error.into_error()))?;
        file.sync_all().map_err(io)?;
        std::fs::rename(&partial, path).map_err(io)
    });
    if let Err(error) = written {
        // Best effort: the error that matters is the one of writing.
        let _ = std::fs::remove_file(&partial);
        return Err(error);
    }
    let mut files = vec![path.to_owned()];
    if names == Names::Hf {
        let preprocessor = audit.input.map(|input| preprocessor(&input, audit.config.image_px));
        for (name, json) in
            [("config.json", Some(hf_config(&audit.config))), ("preprocessor_config.json", preprocessor)]
        {
            let beside = path.with_file_name(name);
            if let Some(json) = json
                && !beside.exists()
            {
                std::fs::write(&beside, format!("{json:#}\n")).map_err(io)?;
                files.push(beside);
            }
        }
    }
    Ok(files)
}

fn stream(
    checkpoint: &Checkpoint,
    places: &[Place],
    file: &mut impl Write,
    path: &Path,
) -> Result<(), WeightsError> {
    let io = |source| WeightsError::Io { source, path: path.to_owned() };
    let audit = checkpoint.audit();
    let text = |json: Result<String, serde_json::Error>| json.map_err(|error| io(error.into()));
    let mut metadata = Map::new();
    metadata.insert("format".into(), "pt".into());
    let config = ModelConfig::Vit(audit.config.clone());
    metadata.insert(METADATA_KEY.into(), text(serde_json::to_string(&config))?.into());
    if let Some(input) = audit.input {
        metadata.insert(INPUT_KEY.into(), text(serde_json::to_string(&input))?.into());
    }
    let mut header = Map::new();
    header.insert("__metadata__".into(), Value::Object(metadata));
    let mut at = 0;
    for place in places {
        let dtype = checkpoint.dtype(&place.ours);
        let n: usize = place.shape.iter().product();
        let end = at + n * dtype.n_bytes();
        let entry = json!({"dtype": dtype.name(), "shape": place.shape, "data_offsets": [at, end]});
        header.insert(place.theirs.clone(), entry);
        at = end;
    }
    let mut header = text(serde_json::to_string(&header))?;
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
    file.write_all(header.as_bytes()).map_err(io)?;
    // Parts of one parameter stand in a row, so it is read once.
    let mut last: Option<(&str, Vec<f32>)> = None;
    for place in places {
        if last.as_ref().is_none_or(|(name, _)| *name != place.ours) {
            last = Some((&place.ours, checkpoint.read(&place.ours, &place.ours_shape)?));
        }
        let Some((_, values)) = &last else { continue };
        let n = values.len() / place.part.1;
        let values = place.to_theirs(values[place.part.0 * n..][..n].to_vec());
        let bytes: Vec<u8> = match checkpoint.dtype(&place.ours) {
            Dtype::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            Dtype::Bf16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        file.write_all(&bytes).map_err(io)?;
    }
    file.flush().map_err(io)
}

/// What transformers' `config.json` must say for the model to be the same.
fn hf_config(config: &VitConfig) -> Value {
    let activation = match config.activation {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
        Activation::QuickGelu => "quick_gelu",
    };
    let mut json = json!({
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.n_heads,
        "image_size": config.image_px,
        "patch_size": config.patch_px,
        "num_channels": 3,
        "layer_norm_eps": config.eps,
        "hidden_act": activation,
    });
    let (kind, class, more) = match hf_kind(config) {
        "hf-clip" => (
            "clip_vision_model",
            "CLIPVisionModelWithProjection",
            json!({"intermediate_size": config.hidden(), "projection_dim": config.n_classes}),
        ),
        "hf-dinov2" => {
            let registers = config.n_registers > 0;
            let (kind, class) = match registers {
                true => ("dinov2_with_registers", "Dinov2WithRegistersModel"),
                false => ("dinov2", "Dinov2Model"),
            };
            let ratio = dinov2_ratio(config);
            let more = json!({"mlp_ratio": ratio, "use_swiglu_ffn": config.swiglu, "qkv_bias": config.qkv_bias,
                "num_register_tokens": config.n_registers, "layerscale_value": 1.0});
            (kind, class, more)
        }
        "hf-beit" => {
            let shared = config.relative_positions == crate::RelativePositions::Shared;
            let more = json!({"intermediate_size": config.hidden(), "use_relative_position_bias": !shared,
                "use_shared_relative_position_bias": shared, "use_mask_token": config.mask_token,
                "use_mean_pooling": config.pool == crate::Pool::Mean, "layer_scale_init_value": 0.1,
                "use_absolute_position_embeddings": config.positions != crate::Positions::None});
            ("beit", if config.n_classes > 0 { "BeitForImageClassification" } else { "BeitModel" }, more)
        }
        _ => {
            let more = json!({"intermediate_size": config.hidden(), "qkv_bias": config.qkv_bias});
            let classes = config.n_classes > 0;
            match config.distilled {
                true if classes => ("deit", "DeiTForImageClassificationWithTeacher", more),
                true => ("deit", "DeiTModel", more),
                false if classes => ("vit", "ViTForImageClassification", more),
                false => ("vit", "ViTModel", more),
            }
        }
    };
    json["model_type"] = kind.into();
    json["architectures"] = json!([class]);
    if config.n_classes > 0 && kind != "clip_vision_model" {
        let labels: Map<String, Value> =
            (0..config.n_classes).map(|k| (k.to_string(), format!("LABEL_{k}").into())).collect();
        json["id2label"] = Value::Object(labels);
    }
    for (key, value) in more.as_object().into_iter().flatten() {
        json[key] = value.clone();
    }
    json
}

/// The ratio of which transformers makes the hidden width, a whole number: with a gate it takes two thirds of it, up to
/// the next multiple of 8.
fn dinov2_ratio(config: &VitConfig) -> Option<usize> {
    let hidden = |ratio: usize| match config.swiglu {
        true => (config.width * ratio * 2 / 3).div_ceil(8) * 8,
        false => config.width * ratio,
    };
    (1..=32).find(|&ratio| hidden(ratio) == config.hidden())
}

fn preprocessor(input: &InputTransform, image_px: usize) -> Value {
    let resample = match input.interpolation {
        Interpolation::Lanczos => 1,
        Interpolation::Bilinear => 2,
        Interpolation::Bicubic => 3,
    };
    let square = json!({"height": image_px, "width": image_px});
    let size = match input.framing {
        Framing::Squash => square.clone(),
        Framing::Center(_) => json!({"shortest_edge": input.resize_px(image_px)}),
    };
    json!({
        "do_resize": true, "size": size, "resample": resample,
        "do_center_crop": input.framing != Framing::Squash, "crop_size": square,
        "do_rescale": true, "rescale_factor": 1.0 / 255.0,
        "do_normalize": true, "image_mean": input.mean, "image_std": input.std,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{Hints, params};
    use safetensors::SafeTensors;
    use safetensors::tensor::{Dtype as Stored, TensorView};

    #[test]
    fn files_in_half_precision_come_back_bit_for_bit() {
        let config =
            VitConfig { image_px: 16, patch_px: 8, width: 8, depth: 2, n_heads: 2, ..VitConfig::default() };
        let vit = config.init(&vit_ops::cpu_device(), &mut crate::stream(3));
        let model = serde_json::to_string(&ModelConfig::Vit(config)).expect("text");
        let dir = tempfile::tempdir().expect("a folder");
        let (from, to) = (dir.path().join("from.safetensors"), dir.path().join("to.safetensors"));
        for stored in [Stored::F16, Stored::BF16] {
            let bytes_of = |x: f32| match stored {
                Stored::F16 => f16::from_f32(x).to_le_bytes(),
                _ => bf16::from_f32(x).to_le_bytes(),
            };
            let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = params(&vit)
                .into_iter()
                .map(|param| (param.name, param.shape, param.values.into_iter().flat_map(bytes_of).collect()))
                .collect();
            let views = tensors.iter().map(|(name, shape, bytes)| {
                (name.as_str(), TensorView::new(stored, shape.clone(), bytes).expect("a tensor"))
            });
            let metadata = Some([(METADATA_KEY.to_owned(), model.clone())].into());
            safetensors::serialize_to_file(views, metadata, &from).expect("written");
            let checkpoint = Checkpoint::open(&from, &Hints::default()).expect("a whole model");
            export(&checkpoint, Names::Timm, &to).expect("exported");
            let file = std::fs::read(&to).expect("a file");
            let exported = SafeTensors::deserialize(&file).expect("safetensors");
            assert_eq!(exported.len(), tensors.len());
            for (name, shape, bytes) in &tensors {
                let view = exported.tensor(name).expect(name);
                assert_eq!(
                    (view.dtype(), view.shape(), view.data()),
                    (stored, &shape[..], &bytes[..]),
                    "{name}"
                );
            }
        }
    }
}
