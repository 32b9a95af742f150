//! The published sizes, and how an architecture is spelled out in words.

use crate::VitConfig;

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

/// Reads `vit-s/16` or `vit:dim=32,depth=3,heads=4,patch=8,image=32[,registers=4,…]`.
///
/// # Errors
/// One sentence that says what was expected and found.
pub fn arch(text: &str) -> Result<VitConfig, String> {
    let config = match (text.strip_prefix("vit:"), text.split_once('/')) {
        (Some(options), _) => spelled_out(options)?,
        (None, Some((name, patch))) => named(name, patch)?,
        (None, None) => {
            let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
            return Err(format!(
                "architecture: expected {}/PATCH or vit:dim=…,depth=…,heads=…,patch=…,image=…; found `{text}`",
                names.join("|")
            ));
        }
    };
    config.check()?;
    Ok(config)
}

fn named(name: &str, patch: &str) -> Result<VitConfig, String> {
    let preset = PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        format!("architecture: expected one of {}; found `{name}`", names.join(", "))
    })?;
    let patch_px = number("patch", patch)?;
    let Preset { width, depth, n_heads, image_px, .. } = *preset;
    Ok(VitConfig { width, depth, n_heads, image_px, patch_px, ..VitConfig::default() })
}

fn spelled_out(options: &str) -> Result<VitConfig, String> {
    const KEYS: &str = "dim, depth, heads, patch, image, registers, mlp_ratio, qkv_bias, class_token, pool, \
                        positions, position_of_class, layer_scale, drop_path, classes, eps, resample";
    let mut config = VitConfig::default();
    let mut missing = vec!["dim", "depth", "heads", "patch", "image"];
    for option in options.split(',') {
        let (key, value) = option
            .split_once('=')
            .ok_or_else(|| format!("architecture: expected key=value; found `{option}`"))?;
        missing.retain(|&name| name != key);
        let quoted = |value: &str| serde_json::Value::String(value.to_owned());
        match key {
            "dim" => config.width = number(key, value)?,
            "depth" => config.depth = number(key, value)?,
            "heads" => config.n_heads = number(key, value)?,
            "patch" => config.patch_px = number(key, value)?,
            "image" => config.image_px = number(key, value)?,
            "registers" => config.n_registers = number(key, value)?,
            "classes" => config.n_classes = number(key, value)?,
            "mlp_ratio" => config.mlp_ratio = number(key, value)?,
            "drop_path" => config.drop_path = number(key, value)?,
            "eps" => config.eps = number(key, value)?,
            "layer_scale" => config.layer_scale = Some(number(key, value)?),
            "qkv_bias" => config.qkv_bias = number(key, value)?,
            "class_token" => config.class_token = number(key, value)?,
            "position_of_class" => config.position_of_class = number(key, value)?,
            "pool" => config.pool = choice(key, quoted(value))?,
            "positions" => config.positions = choice(key, quoted(value))?,
            "resample" => config.resample = choice(key, quoted(value))?,
            _ => return Err(format!("architecture: expected one of {KEYS}; found `{key}`")),
        }
    }
    if let Some(key) = missing.first() {
        return Err(format!("architecture: expected `{key}=…`; found `vit:{options}`"));
    }
    Ok(config)
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, String> {
    let kind = std::any::type_name::<T>();
    value.parse().map_err(|_| format!("architecture, {key}: expected a {kind}; found `{value}`"))
}

fn choice<T: serde::de::DeserializeOwned>(key: &str, value: serde_json::Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("architecture, {key}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream;
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
        for text in
            ["vit-ti/16", "vit:dim=24,depth=2,heads=3,patch=8,image=32,registers=4,layer_scale=0.1,classes=7"]
        {
            let config = arch(text).expect(text);
            let model = config.init(&vit_ops::cpu_device(), &mut stream(0));
            assert_eq!(model.num_params(), config.n_params(), "{text}");
        }
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
