//! How images become the numbers that a model was trained on.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How pixels between pixels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// Linear in both axes.
    Bilinear,
    /// Cubic convolution, a = −0.5, as Pillow's.
    Bicubic,
    /// A windowed sinc of three lobes.
    Lanczos,
}

/// What part of an image is shown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// All of it, resized to a square whatever its shape.
    Squash,
    /// The central square that is this share of the shorter side (0–1; 0.875 is 224 of 256).
    Center(f64),
}

/// A family's input transform; everything in it is of values in 0–1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputTransform {
    /// Mean of each channel.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub std: [f32; 3],
    /// How the image is resized.
    pub interpolation: Interpolation,
    /// What part of it is shown.
    pub framing: Framing,
}

impl InputTransform {
    /// ImageNet's statistics, the central 224 of 256, bicubic: DINO, MAE, DeiT and most others.
    pub const IMAGENET: Self = Self {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        interpolation: Interpolation::Bicubic,
        framing: Framing::Center(0.875),
    };
    /// To `[−1, 1]`: BEiT.
    pub const HALF: Self = Self { mean: [0.5; 3], std: [0.5; 3], ..Self::IMAGENET };
    /// CLIP's statistics; the shorter side becomes the size.
    pub const CLIP: Self = Self {
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        interpolation: Interpolation::Bicubic,
        framing: Framing::Center(1.0),
    };

    /// What the shorter side becomes for a view of `size_px`; as timm rounds it.
    pub fn resize_px(&self, size_px: usize) -> usize {
        match self.framing {
            Framing::Squash => size_px,
            Framing::Center(share) => ((size_px as f64 / share).floor() as usize).max(size_px),
        }
    }

    /// What transformers' `preprocessor_config.json` or timm's `pretrained_cfg` says, as far as it says all of it.
    pub(super) fn of_json(json: &Value) -> Option<Self> {
        if let Some(cfg) = json.get("pretrained_cfg") {
            return Self::of_timm(cfg);
        }
        let three = |key: &str| three(json.get(key)?);
        let (mean, std) = (three("image_mean")?, three("image_std")?);
        let interpolation = match json.get("resample").and_then(Value::as_u64) {
            Some(1) => Interpolation::Lanczos,
            Some(2) => Interpolation::Bilinear,
            Some(3) | None => Interpolation::Bicubic,
            Some(_) => return None,
        };
        let side = |key: &str| -> Option<(f64, bool)> {
            let size = json.get(key)?;
            let number = size.as_f64().or_else(|| size.get("height")?.as_f64()).map(|side| (side, false));
            number.or_else(|| Some((size.get("shortest_edge")?.as_f64()?, true)))
        };
        let crops = json.get("do_center_crop").and_then(Value::as_bool).unwrap_or(false);
        let framing = match (side("size"), side("crop_size")) {
            (Some((resize, _)), Some((crop, _))) if crops && crop <= resize => Framing::Center(crop / resize),
            (Some((_, true)), _) => Framing::Center(1.0),
            _ => Framing::Squash,
        };
        Some(Self { mean, std, interpolation, framing })
    }

    fn of_timm(cfg: &Value) -> Option<Self> {
        let interpolation = match cfg.get("interpolation").and_then(Value::as_str) {
            Some("bilinear") => Interpolation::Bilinear,
            Some("bicubic") | None => Interpolation::Bicubic,
            Some("lanczos") => Interpolation::Lanczos,
            Some(_) => return None,
        };
        let share = cfg.get("crop_pct").and_then(Value::as_f64).unwrap_or(0.875);
        let framing = match cfg.get("crop_mode").and_then(Value::as_str) {
            Some("squash") => Framing::Squash,
            _ if share > 0.0 && share <= 1.0 => Framing::Center(share),
            _ => return None,
        };
        Some(Self { mean: three(cfg.get("mean")?)?, std: three(cfg.get("std")?)?, interpolation, framing })
    }
}

fn three(value: &Value) -> Option<[f32; 3]> {
    let numbers: Vec<f32> = value.as_array()?.iter().filter_map(|x| x.as_f64().map(|x| x as f32)).collect();
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_preprocessor_of_transformers_is_understood() {
        let json = json!({"do_center_crop": true, "crop_size": {"height": 224, "width": 224}, "resample": 3,
            "size": {"shortest_edge": 256}, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]});
        assert_eq!(InputTransform::of_json(&json), Some(InputTransform::IMAGENET));
        let json =
            json!({"size": 224, "resample": 2, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]});
        let squashed = InputTransform::of_json(&json).expect("understood");
        assert_eq!((squashed.framing, squashed.interpolation), (Framing::Squash, Interpolation::Bilinear));
    }

    #[test]
    fn the_shorter_side_is_rounded_as_timm_does() {
        assert_eq!(InputTransform::IMAGENET.resize_px(224), 256);
        assert_eq!(
            InputTransform { framing: Framing::Center(0.9), ..InputTransform::HALF }.resize_px(224),
            248
        );
        assert_eq!(InputTransform::CLIP.resize_px(224), 224);
    }
}
