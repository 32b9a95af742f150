//! Pictures of masks over images.

use burn::tensor::Tensor;
use vit_train::{Preview, Tile};

/// What hidden patches look like: gray.
const HIDDEN: u8 = 128;

/// Each image as it is, then under each of the masks.
///
/// # Shapes
/// - `pixels`: `[B, 3, H, W]`; each mask `[B·N]`, row by row
pub(crate) fn mask_preview(
    pixels: &Tensor<4>,
    patch_px: usize,
    masks: &[(&str, Vec<bool>)],
    title: &str,
    caption: &str,
) -> Option<Preview> {
    let [b, _, height, width] = pixels.dims();
    let values = pixels.clone().into_data().try_to_vec::<f32>().ok()?;
    let plane = height * width;
    let n_patches = (height / patch_px) * (width / patch_px);
    let mut tiles = Vec::with_capacity(b * (1 + masks.len()));
    for (image, values) in values.chunks_exact(3 * plane).enumerate() {
        let rgb = bytes(values, plane);
        let mut tile = |rgb: Vec<u8>, caption: &str| {
            tiles.push(Tile { width_px: width, height_px: height, rgb, caption: caption.to_owned() });
        };
        tile(rgb.clone(), "image");
        for (name, mask) in masks {
            let mask = &mask[image * n_patches..][..n_patches];
            let is_hidden = |at: usize| {
                let (row, column) = (at / width / patch_px, at % width / patch_px);
                mask[row * (width / patch_px) + column]
            };
            let shown = rgb.chunks_exact(3).enumerate();
            let shown = shown.flat_map(
                |(at, rgb)| {
                    if is_hidden(at) { [HIDDEN; 3] } else { [rgb[0], rgb[1], rgb[2]] }
                },
            );
            tile(shown.collect(), name);
        }
    }
    let columns = std::iter::once("image").chain(masks.iter().map(|(name, _)| *name));
    Some(Preview {
        title: title.into(),
        caption: caption.into(),
        columns: columns.map(str::to_owned).collect(),
        tiles,
    })
}

/// Planes as bytes, pixel by pixel, on one scale per image, so that any normalization can be shown.
fn bytes(values: &[f32], plane: usize) -> Vec<u8> {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max).max(low + 1e-6);
    let byte = |x: f32| (255.0 * (x - low) / (high - low)).clamp(0.0, 255.0) as u8;
    (0..plane).flat_map(|at| (0..3).map(move |channel| byte(values[channel * plane + at]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    #[test]
    fn hidden_patches_are_gray_and_the_others_as_they_were() {
        // Two patches of 1 px side by side: black and white.
        let pixels = TensorData::new(vec![0.0f32, 1.0, 0.0, 1.0, 0.0, 1.0], [1, 3, 1, 2]);
        let pixels = Tensor::<4>::from_data(pixels, &vit_ops::cpu_device());
        let preview = mask_preview(&pixels, 1, &[("mask", vec![true, false])], "t", "c").expect("floats");
        let rgb: Vec<&[u8]> = preview.tiles.iter().map(|tile| tile.rgb.as_slice()).collect();
        assert_eq!(rgb, [[0, 0, 0, 255, 255, 255], [128, 128, 128, 255, 255, 255]]);
        assert_eq!(preview.columns, ["image", "mask"]);
    }
}
