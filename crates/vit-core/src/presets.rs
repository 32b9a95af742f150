//! The published sizes, and how an architecture is spelled out in words.

use crate::VitConfig;
use serde_json::Value;

/// A named size.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// The name before the slash.
    pub name: &'static str,
    /// `D`
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub n_heads: usize,
    /// Side of the image in pixels.
    pub image_px: usize,
    /// Where the size comes from.
    pub source: &'static str,
}

/// Every named size; the number after the slash of a model's name is the patch.
///
/// # Source
/// ViT-B, L and H: Dosovitskiy et al.; Ti and S: Touvron et al., DeiT. Nano is ours, for small images.
pub const PRESETS: &[Preset] = &[
    Preset { name: "vit-nano", width: 128, depth: 6, n_heads: 4, image_px: 32, source: "vitscope" },
    Preset { name: "vit-ti", width: 192, depth: 12, n_heads: 3, image_px: 224, source: "DeiT" },
    Preset { name: "vit-s", width: 384, depth: 12, n_heads: 6, image_px: 224, source: "DeiT" },
    Preset { name: "vit-b", width: 768, depth: 12, n_heads: 12, image_px: 224, source: "ViT" },
    Preset { name: "vit-l", width: 1024, depth: 24, n_heads: 16, image_px: 224, source: "ViT" },
    Preset { name: "vit-h", width: 1280, depth: 32, n_heads: 16, image_px: 224, source: "ViT" },
];

/// Some options of a [`VitConfig`], by the names of its fields.
pub type Given = serde_json::Map<String, Value>;

/// Reads `vit-s/16` or `vit:dim=32,depth=3,heads=4,patch=8,image=32[,registers=4,…]`.
///
/// # Errors
/// One sentence that says what was expected and found.
pub fn arch(text: &str) -> Result<VitConfig, String> {
    let mut given = given_by_arch(text)?;
    if let Some(preset) = text.split_once('/').and_then(|(name, _)| preset(name)) {
        given.insert("image_px".into(), preset.image_px.into());
    }
    let needed = [
        ("width", "dim"),
        ("depth", "depth"),
        ("n_heads", "heads"),
        ("patch_px", "patch"),
        ("image_px", "image"),
    ];
    if let Some((_, word)) = needed.iter().find(|(field, _)| !given.contains_key(*field)) {
        return Err(format!("architecture: expected `{word}=…`; found `{text}`"));
    }
    let config = config_of(given)?;
    config.check()?;
    Ok(config)
}

/// The options that a text gives, and no others: of a named size its width, depth, heads and patch.
///
/// # Errors
/// As [`arch`], but nothing needs to be given.
pub fn given_by_arch(text: &str) -> Result<Given, String> {
    match (text.strip_prefix("vit:"), text.split_once('/')) {
        (Some(options), _) => spelled_out(options),
        (None, Some((name, patch))) => named(name, patch),
        (None, None) => {
            let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
            Err(format!(
                "architecture: expected {}/PATCH or vit:dim=…,depth=…,heads=…,patch=…,image=…; found `{text}`",
                names.join("|")
            ))
        }
    }
}

/// The default configuration with these options.
pub(crate) fn config_of(given: Given) -> Result<VitConfig, String> {
    serde_json::from_value(Value::Object(given)).map_err(|error| format!("architecture: {error}"))
}

fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

fn named(name: &str, patch: &str) -> Result<Given, String> {
    let preset = preset(name).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        format!("architecture: expected one of {}; found `{name}`", names.join(", "))
    })?;
    let patch_px: usize = number("patch", patch)?;
    let sizes = [
        ("width", preset.width),
        ("depth", preset.depth),
        ("n_heads", preset.n_heads),
        ("patch_px", patch_px),
    ];
    Ok(sizes.into_iter().map(|(field, size)| (field.to_owned(), size.into())).collect())
}

fn spelled_out(options: &str) -> Result<Given, String> {
    const KEYS: &str = "dim, depth, heads, patch, image, registers, mlp_ratio, activation, swiglu, qkv_bias, \
                        key_bias, patch_bias, class_token, distilled, pool, positions, position_of_class, \
                        position_of_registers, relative_positions, pre_norm, layer_scale, drop_path, classes, \
                        head_bias, mask_token, eps, resample, init";
    let mut given = Given::new();
    for option in options.split(',') {
        let (key, value) = option
            .split_once('=')
            .ok_or_else(|| format!("architecture: expected key=value; found `{option}`"))?;
        let count = || number::<usize>(key, value).map(Value::from);
        let (field, value) = match key {
            "dim" => ("width", count()?),
            "heads" => ("n_heads", count()?),
            "patch" => ("patch_px", count()?),
            "image" => ("image_px", count()?),
            "registers" => ("n_registers", count()?),
            "classes" => ("n_classes", count()?),
            "depth" => ("depth", count()?),
            "mlp_ratio" | "drop_path" | "eps" | "layer_scale" => (key, number::<f64>(key, value)?.into()),
            "qkv_bias"
            | "key_bias"
            | "patch_bias"
            | "class_token"
            | "distilled"
            | "position_of_class"
            | "position_of_registers"
            | "pre_norm"
            | "head_bias"
            | "mask_token"
            | "swiglu" => (key, number::<bool>(key, value)?.into()),
            "pool" | "positions" | "resample" | "activation" | "relative_positions" | "init" => {
                let alone = Given::from_iter([(key.to_owned(), value.into())]);
                config_of(alone)
                    .map_err(|error| error.replacen("architecture", &format!("architecture, {key}"), 1))?;
                (key, value.into())
            }
            _ => return Err(format!("architecture: expected one of {KEYS}; found `{key}`")),
        };
        given.insert(field.to_owned(), value);
    }
    Ok(given)
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, String> {
    let kind = std::any::type_name::<T>();
    value.parse().map_err(|_| format!("architecture, {key}: expected a {kind}; found `{value}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InitScheme, stream};
    use burn::module::Module;

    #[test]
    fn the_published_sizes_have_the_published_numbers_of_parameters() {
        let counts = [
            ("vit-ti/16", 5_717_416, 5_524_416),
            ("vit-s/16", 22_050_664, 21_665_664),
            ("vit-b/16", 86_567_656, 85_798_656),
            ("vit-l/16", 304_326_632, 303_301_632),
            ("vit-h/14", 632_045_800, 630_764_800),
            ("vit-b/32", 88_224_232, 87_455_232),
            ("vit-s/8", 22_055_272, 21_670_272),
        ];
        for (name, with_head, without) in counts {
            let config = arch(name).expect(name);
            assert_eq!(VitConfig { n_classes: 1000, ..config.clone() }.n_params(), with_head, "{name}");
            assert_eq!(config.n_params(), without, "{name}");
        }
    }

    #[test]
    fn the_count_from_sizes_is_the_count_of_the_module() {
        for text in [
            "vit-ti/16",
            "vit:dim=24,depth=2,heads=3,patch=8,image=32,registers=4,layer_scale=0.1,classes=7",
            "vit:dim=24,depth=2,heads=3,patch=8,image=32,distilled=true,classes=7,swiglu=true,pre_norm=true",
            "vit:dim=24,depth=2,heads=3,patch=8,image=32,positions=none,relative_positions=per-block,key_bias=false",
            "vit:dim=24,depth=2,heads=3,patch=8,image=32,relative_positions=shared,patch_bias=false,head_bias=false,classes=2",
        ] {
            let config = arch(text).expect(text);
            let model = config.init(&vit_ops::cpu_device(), &mut stream(0));
            assert_eq!(model.num_params(), config.n_params(), "{text}");
        }
    }

    #[test]
    fn an_architecture_may_say_how_its_weights_start() {
        let small = "vit:dim=32,depth=3,heads=4,patch=8,image=32";
        assert_eq!(arch(small).expect("plain").init, InitScheme::Timm);
        assert_eq!(arch(&format!("{small},init=mae")).expect("init").init, InitScheme::Mae);
        let error = arch(&format!("{small},init=blank")).expect_err("blank is not for recipes");
        assert!(error.contains("architecture, init") && error.contains("`timm` or `mae`"), "{error}");
    }

    #[test]
    fn a_misspelled_architecture_says_what_was_expected() {
        let error = |text: &str| arch(text).expect_err(text);
        assert!(error("vit-xl/16").contains("vit-nano, vit-ti"));
        assert!(
            error("vit:dim=32,depth=3,heads=5,patch=8,image=32").contains("multiple of heads (5); found 32")
        );
        assert!(error("vit:dim=32,depth=3,heads=4,patch=8").contains("expected `image=…`"));
        assert!(error("vit-s/x").contains("found `x`"));
    }
}
