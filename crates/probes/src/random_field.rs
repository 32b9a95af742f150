//! Borders that follow colors: a random field over the pixels of what was found by patches.

use measure::crf::{Crf, Picture};
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};
use vit_data::transform::Normalize;

/// What is done with what was found by patches, before it is compared with the truth by pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refine {
    /// Nothing: a pixel has the answer of the nearest patch.
    #[default]
    None,
    /// A fully connected random field over the colors of the view, [`Crf::amir`].
    Crf,
}

/// The views of images as bytes, one after another.
///
/// Memory: `3 · side²` bytes an image.
#[derive(Serialize, Deserialize)]
pub(crate) struct Pictures {
    side_px: usize,
    normalize: Normalize,
    rgb: Vec<u8>,
}

impl Pictures {
    /// None yet; they are kept with `side_px` pixels along a side.
    pub(crate) fn new(side_px: usize, normalize: Normalize) -> Self {
        Self { side_px, normalize, rgb: Vec::new() }
    }

    /// Keeps a view `[3, H, W]`, `H = W`, of which each pixel that is kept is the one at its middle.
    pub(crate) fn push(&mut self, view: &[f32]) {
        let area = view.len() / 3;
        let view_px = area.isqrt();
        let at = |place: usize| (2 * place + 1) * view_px / (2 * self.side_px);
        for pixel in 0..self.side_px * self.side_px {
            let from = at(pixel / self.side_px) * view_px + at(pixel % self.side_px);
            for channel in 0..3 {
                let share =
                    view[channel * area + from] * self.normalize.std[channel] + self.normalize.mean[channel];
                self.rgb.push((255.0 * share).round().clamp(0.0, 255.0) as u8);
            }
        }
    }

    pub(crate) fn append(&mut self, later: Self) {
        self.rgb.extend(later.rgb);
    }

    /// The label of every pixel of an image, the first of the most probable.
    ///
    /// # Shapes
    /// `unary`: `[N, labels]`, what each label costs at each patch; `cells`: the patch of each pixel.
    pub(crate) fn labels(&self, image: usize, unary: ArrayView2<f64>, cells: &[usize]) -> Vec<usize> {
        let n = self.side_px * self.side_px;
        let rgb = &self.rgb[3 * n * image..3 * n * (image + 1)];
        let of_pixels =
            Array2::from_shape_fn((n, unary.ncols()), |(pixel, label)| unary[(cells[pixel], label)]);
        let picture = Picture { rgb, width: self.side_px, height: self.side_px };
        let found = Crf::amir().refine(picture, of_pixels.view());
        let best = |row: ndarray::ArrayView1<f64>| {
            (0..row.len()).fold(0, |best, label| if row[label] > row[best] { label } else { best })
        };
        found.rows().into_iter().map(best).collect()
    }
}

/// The squared distance of a row to the nearest of some centers; infinite where there are none.
pub(crate) fn nearest_squared<'a>(
    row: ndarray::ArrayView1<f32>,
    centers: impl Iterator<Item = ndarray::ArrayView1<'a, f64>>,
) -> f64 {
    let squared = |center: ndarray::ArrayView1<f64>| {
        row.iter().zip(center).map(|(&x, &c)| (f64::from(x) - c).powi(2)).sum::<f64>()
    };
    centers.map(squared).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_become_the_bytes_they_were_made_of_and_borders_move_to_where_colors_change() {
        // 8 × 8 px, dark in the three columns on the left, bright in the others; kept as they are.
        let byte = |pixel: usize| if pixel % 8 < 3 { 30u8 } else { 200 };
        let view: Vec<f32> = (0..3)
            .flat_map(|channel| (0..64).map(move |pixel| Normalize::IMAGENET.value(channel, byte(pixel))))
            .collect();
        let mut pictures = Pictures::new(8, Normalize::IMAGENET);
        pictures.push(&view);
        assert_eq!(pictures.rgb, (0..64).flat_map(|pixel| [byte(pixel); 3]).collect::<Vec<u8>>());
        // Patches of 4 px: the border lies between columns 3 and 4, and is not sure of itself.
        let cells: Vec<usize> = (0..64).map(|pixel| pixel / 32 * 2 + pixel % 8 / 4).collect();
        let unary = ndarray::array![[0.4, 0.6], [0.6, 0.4], [0.4, 0.6], [0.6, 0.4]];
        let labels = pictures.labels(0, unary.view(), &cells);
        for (pixel, label) in labels.into_iter().enumerate() {
            assert_eq!(label, usize::from(pixel % 8 >= 3), "pixel {pixel}");
        }
    }

    #[test]
    fn distances_to_the_nearest_center_by_hand() {
        let (row, centers) =
            (ndarray::array![1.0f32, 1.0], ndarray::array![[0.0, 0.0], [1.0, 3.0], [4.0, 1.0]]);
        assert_eq!(nearest_squared(row.view(), centers.rows().into_iter()), 2.0);
        assert_eq!(nearest_squared(row.view(), std::iter::empty()), f64::INFINITY);
    }
}
