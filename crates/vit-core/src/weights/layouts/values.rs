//! What is said of a model beside its tensors: by a configuration file next to it, by metadata, by the checkpoint's own
//! arguments. Each becomes some options of a `VitConfig`.

use super::super::input::InputTransform;
use crate::Given;
use serde_json::Value;

/// Somebody's word on a model.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// Whose, for example `config.json`.
    pub(super) by: String,
    /// The options.
    pub(super) given: Given,
    /// The input transform.
    pub(super) input: Option<InputTransform>,
    /// Names of its kind, in lower case.
    pub(super) kind: String,
}

impl Said {
    /// What a JSON object says: the configuration of transformers or timm, or the arguments of a training script.
    pub(super) fn of_json(by: &str, json: &Value) -> Self {
        // CLIP's image tower stands inside; timm's arguments stand in `model_args`.
        let tower = json.get("vision_config").unwrap_or(json);
        let places = [tower.get("model_args"), Some(tower), json.get("pretrained_cfg"), json.get("args")];
        let places: Vec<&Value> = places.into_iter().flatten().collect();
        let find = |names: &[&str]| -> Option<&Value> {
            let in_place = |place: &'_ &Value| names.iter().find_map(|name| place.get(name).cloned());
            let at = places.iter().position(|place| in_place(place).is_some())?;
            names.iter().find_map(|name| places[at].get(name))
        };
        let mut given = Given::new();
        let mut put = |field: &str, value: Option<Value>| {
            if let Some(value) = value {
                given.insert(field.to_owned(), value);
            }
        };
        let count = |names: &[&str]| find(names).and_then(first_count).map(Value::from);
        put("width", count(&["hidden_size", "embed_dim"]));
        put("depth", count(&["num_hidden_layers", "depth"]));
        put("n_heads", count(&["num_attention_heads", "num_heads"]));
        put("patch_px", count(&["patch_size"]));
        put("image_px", count(&["image_size", "img_size"]));
        put("n_registers", count(&["num_register_tokens", "reg_tokens"]));
        put("eps", find(&["layer_norm_eps", "norm_eps", "eps"]).and_then(Value::as_f64).map(Value::from));
        put("qkv_bias", find(&["qkv_bias"]).and_then(Value::as_bool).map(Value::from));
        put("class_token", find(&["class_token"]).and_then(Value::as_bool).map(Value::from));
        let without = find(&["no_embed_class"]).and_then(Value::as_bool);
        put("position_of_class", without.map(|without| (!without).into()));
        put("activation", find(&["hidden_act"]).and_then(Value::as_str).and_then(activation));
        let words = ["model_type", "architecture", "architectures", "arch", "model"];
        let kind: Vec<String> = places
            .iter()
            .chain([&json])
            .flat_map(|place| words.iter().filter_map(|word| place.get(word)))
            .map(|word| word.to_string().to_lowercase())
            .filter(|word| word.len() < 200)
            .collect();
        Self { by: by.to_owned(), given, input: InputTransform::of_json(json), kind: kind.join(" ") }
    }
}

/// A count, or the first of several (`[3, 224, 224]` has the side last).
fn first_count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_array()?.last()?.as_u64())
}

fn activation(name: &str) -> Option<Value> {
    match name {
        "gelu" => Some("gelu".into()),
        "quick_gelu" => Some("quick-gelu".into()),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_python_tanh" => Some("gelu-tanh".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_words_of_transformers_and_timm_are_understood() {
        let said = Said::of_json(
            "config.json",
            &json!({"model_type": "clip", "vision_config": {"hidden_size": 768, "num_attention_heads": 12,
                "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "patch_size": 32}}),
        );
        assert_eq!((said.given["width"].as_u64(), said.given["n_heads"].as_u64()), (Some(768), Some(12)));
        assert_eq!((said.given["activation"].as_str(), said.kind.as_str()), (Some("quick-gelu"), "\"clip\""));
        let said = Said::of_json(
            "config.json",
            &json!({"img_size": 32, "embed_dim": 32, "no_embed_class": true, "architecture": "vit_x"}),
        );
        assert_eq!(said.given["position_of_class"], json!(false));
        let args =
            Said::of_json("args", &json!({"args": {"arch": "vit_small", "patch_size": 16}, "epoch": 3}));
        assert_eq!((args.given["patch_px"].as_u64(), args.kind.as_str()), (Some(16), "\"vit_small\""));
    }
}
