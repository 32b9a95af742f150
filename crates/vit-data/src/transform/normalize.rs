//! From bytes to the numbers a model was trained on.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, value::MapAccessDeserializer},
};

use crate::{DataError, Image};

/// `value = (byte / 255 - mean) / std`, per channel.
///
/// In a recipe it is a name (`normalize = "imagenet"`) or its numbers
/// (`normalize = { mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalize {
    /// Mean of each channel, of values in 0–1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, of values in 0–1.
    pub std: [f32; 3],
}

impl Normalize {
    /// The statistics of ImageNet: DINO, MAE, iBOT, DeiT and nearly all others.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    /// To `[-1, 1]`: the original ViT, BEiT, Inception style.
    pub const HALF: Self = Self { mean: [0.5; 3], std: [0.5; 3] };
    /// The statistics of CLIP's training set.
    pub const CLIP: Self = Self {
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    };
    /// Only to `[0, 1]`.
    pub const NONE: Self = Self { mean: [0.0; 3], std: [1.0; 3] };
    /// The constants by name.
    pub const NAMED: [(&'static str, Self); 4] =
        [("imagenet", Self::IMAGENET), ("half", Self::HALF), ("clip", Self::CLIP), ("none", Self::NONE)];

    /// The constant of that name.
    ///
    /// # Errors
    /// When the name is none of `imagenet`, `half`, `clip`, `none`.
    pub fn from_name(name: &str) -> Result<Self, DataError> {
        let known = Self::NAMED.iter().find(|(known, _)| *known == name);
        known.map(|(_, normalize)| *normalize).ok_or_else(|| DataError::Usage {
            expected: "a normalization imagenet, half, clip or none".into(),
            found: name.into(),
        })
    }

    /// The name of this constant, where it has one.
    pub fn name(&self) -> Option<&'static str> {
        Self::NAMED.iter().find(|(_, known)| known == self).map(|(name, _)| *name)
    }

    /// The normalized value of one byte of `channel`.
    ///
    /// # Panics
    /// When `channel >= 3`.
    pub fn value(&self, channel: usize, byte: u8) -> f32 {
        (f32::from(byte) / 255.0 - self.mean[channel]) / self.std[channel]
    }
}

/// The numbers, spelled out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    mean: [f32; 3],
    std: [f32; 3],
}

impl Serialize for Normalize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.name() {
            Some(name) => serializer.serialize_str(name),
            None => Numbers { mean: self.mean, std: self.std }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Normalize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrNumbers;
        impl<'de> de::Visitor<'de> for NameOrNumbers {
            type Value = Normalize;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("imagenet, half, clip, none, or a table with mean and std")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Normalize, E> {
                Normalize::from_name(name).map_err(E::custom)
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Normalize, A::Error> {
                let Numbers { mean, std } = Numbers::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Normalize { mean, std })
            }
        }
        deserializer.deserialize_any(NameOrNumbers)
    }
}

/// Writes an image as three normalized planes, in one pass, mirrored left to right where asked.
///
/// # Shapes
/// - `image`: `[H, W, 3]` bytes
/// - `into`: `[3, H, W]`
///
/// # Panics
/// When `into` is not `3 · H · W` long.
pub fn planes_from_image(image: &Image, normalize: &Normalize, mirrored: bool, into: &mut [f32]) {
    let (width, area) = (image.width_px, image.width_px * image.height_px);
    assert_eq!(image.rgb.len(), 3 * area, "an image of {width}×{} px has 3 bytes a pixel", image.height_px);
    assert_eq!(into.len(), 3 * area, "three planes of {width}×{} px", image.height_px);
    if area == 0 {
        return;
    }
    // Three tables of the 256 bytes: two divisions a value would cost more than all the rest.
    let table = |channel| std::array::from_fn::<f32, 256, _>(|byte| normalize.value(channel, byte as u8));
    let tables = [table(0), table(1), table(2)];
    let (red, rest) = into.split_at_mut(area);
    let (green, blue) = rest.split_at_mut(area);
    let rows =
        red.chunks_exact_mut(width).zip(green.chunks_exact_mut(width)).zip(blue.chunks_exact_mut(width));
    for (((red, green), blue), row) in rows.zip(image.rgb.chunks_exact(3 * width)) {
        for (((r, g), b), pixel) in red.iter_mut().zip(&mut *green).zip(&mut *blue).zip(row.chunks_exact(3)) {
            *r = tables[0][usize::from(pixel[0])];
            *g = tables[1][usize::from(pixel[1])];
            *b = tables[2][usize::from(pixel[2])];
        }
        if mirrored {
            red.reverse();
            green.reverse();
            blue.reverse();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pixel_is_normalized_as_by_hand() {
        let image = Image { width_px: 1, height_px: 1, rgb: vec![255, 0, 51] };
        let mut planes = [0.0; 3];
        // (1 - 0.5) / 0.5 = 1, (0 - 0.5) / 0.5 = -1, (0.2 - 0.5) / 0.5 = -0.6
        planes_from_image(&image, &Normalize::HALF, false, &mut planes);
        assert!(planes.iter().zip([1.0, -1.0, -0.6]).all(|(found, by_hand)| (found - by_hand).abs() < 1e-6));
        // (1 - 0.485) / 0.229 = 2.248908, (0 - 0.456) / 0.224 = -2.035714, (0.2 - 0.406) / 0.225 = -0.915556
        planes_from_image(&image, &Normalize::IMAGENET, false, &mut planes);
        let by_hand = [2.248_908, -2.035_714, -0.915_556];
        assert!(
            planes.iter().zip(by_hand).all(|(found, by_hand)| (found - by_hand).abs() < 1e-5),
            "{planes:?}"
        );
    }

    #[test]
    fn mirroring_turns_every_row_of_every_plane() {
        // Two columns, two rows; the red of the pixels is 0, 255 / 51, 102.
        let image = Image { width_px: 2, height_px: 2, rgb: vec![0, 1, 2, 255, 1, 2, 51, 1, 2, 102, 1, 2] };
        let mut planes = [0.0; 12];
        planes_from_image(&image, &Normalize::NONE, true, &mut planes);
        assert_eq!(planes[..4], [1.0, 0.0, 0.4, 0.2]);
    }

    #[test]
    fn a_name_and_its_numbers_are_read_and_others_refused() {
        for (name, normalize) in Normalize::NAMED {
            let text = serde_json::to_string(&normalize).expect("serializes");
            assert_eq!(text, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<Normalize>(&text).expect("reads back"), normalize);
        }
        let own = Normalize { mean: [0.1, 0.2, 0.3], std: [1.0, 2.0, 3.0] };
        let text = serde_json::to_string(&own).expect("serializes");
        assert_eq!(serde_json::from_str::<Normalize>(&text).expect("reads back"), own);
        assert!(serde_json::from_str::<Normalize>("\"imagnet\"").is_err());
        assert!(serde_json::from_str::<Normalize>(r#"{"mean":[0,0,0],"std":[1,1,1],"var":1}"#).is_err());
    }
}
