//! Masks on the grid of a view's patches: how much of each cell is covered.

use crate::transform::{Filter, Window, resize_window};
use crate::{CropBox, Image, LabelMap};

impl LabelMap {
    /// The share of each cell of a view that is covered by pixels whose id belongs.
    ///
    /// `share[cell] = |cell ∩ mask| / |cell|`, by area: a pixel that lies partly in a cell counts by that part. What of a
    /// view lies beyond the image is not covered.
    ///
    /// # Shapes
    /// - `crop`: where in the image the view was cut
    /// - `rows_columns`: the grid laid over the view; the result is `[rows · columns]`, 0–1, row by row
    ///
    /// # Panics
    /// When the box is empty or the grid has no cells.
    pub fn shares_on_grid(
        &self,
        crop: &CropBox,
        (rows, columns): (usize, usize),
        belongs: &dyn Fn(u8) -> bool,
    ) -> Vec<f64> {
        assert!(crop.w > 0.0 && crop.h > 0.0, "an empty view: {crop:?}");
        assert!(rows > 0 && columns > 0, "a grid of {rows}×{columns} cells");
        let across = overlaps(crop.x, crop.w, columns, self.width_px);
        let down = overlaps(crop.y, crop.h, rows, self.height_px);
        let cell_area = crop.w / columns as f64 * (crop.h / rows as f64);
        let mut shares = Vec::with_capacity(rows * columns);
        for down in &down {
            for column in 0..columns {
                let across = &across[if crop.flipped { columns - 1 - column } else { column }];
                let mut area = 0.0;
                for &(y, height) in down {
                    let row = &self.ids[y * self.width_px..(y + 1) * self.width_px];
                    let width: f64 =
                        across.iter().filter(|(x, _)| belongs(row[*x])).map(|(_, width)| width).sum();
                    area += width * height;
                }
                shares.push(area / cell_area);
            }
        }
        shares
    }

    /// What is left of the mask in each cell when a picture of 0 and 255 is resized to the grid as pictures are, 0–255.
    ///
    /// # Shapes
    /// As [`LabelMap::shares_on_grid`].
    ///
    /// # Panics
    /// As there, and when the box is not inside the image.
    ///
    /// # Source
    /// Pillow's bicubic `resize` of a mask, as in the released code of Walmer et al., Teaching Matters.
    pub fn bicubic_on_grid(
        &self,
        crop: &CropBox,
        (rows, columns): (usize, usize),
        belongs: &dyn Fn(u8) -> bool,
    ) -> Vec<u8> {
        let rgb = self.ids.iter().flat_map(|&id| [if belongs(id) { 255 } else { 0 }; 3]).collect();
        let image = Image { width_px: self.width_px, height_px: self.height_px, rgb };
        let window = Window { x: crop.x, y: crop.y, w: crop.w, h: crop.h };
        let small = resize_window(&image, window, columns, rows, Filter::Bicubic);
        let mut cells: Vec<u8> = small.rgb.chunks_exact(3).map(|pixel| pixel[0]).collect();
        if crop.flipped {
            cells.chunks_exact_mut(columns).for_each(<[u8]>::reverse);
        }
        cells
    }
}

/// For each of `n` equal stretches of `start..start + length`: the pixels that it touches and how much of each.
fn overlaps(start: f64, length: f64, n: usize, n_pixels: usize) -> Vec<Vec<(usize, f64)>> {
    let stretch = |i: usize| {
        let (low, high) = (start + length * i as f64 / n as f64, start + length * (i + 1) as f64 / n as f64);
        let first = low.max(0.0).floor() as usize;
        let last = (high.ceil().max(0.0) as usize).min(n_pixels);
        let part = |pixel: usize| high.min((pixel + 1) as f64) - low.max(pixel as f64);
        (first..last).map(|pixel| (pixel, part(pixel))).filter(|(_, part)| *part > 0.0).collect()
    };
    (0..n).map(stretch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 in the left upper 3 × 2 px of 4 × 4.
    fn map() -> LabelMap {
        let ids = (0..16).map(|i| u8::from(i % 4 < 3 && i / 4 < 2)).collect();
        LabelMap { width_px: 4, height_px: 4, ids }
    }

    fn view(x: f64, w: f64, flipped: bool) -> CropBox {
        CropBox { x, y: 0.0, w, h: 4.0, flipped }
    }

    #[test]
    fn shares_of_a_small_mask_by_hand() {
        let of = |crop: &CropBox| map().shares_on_grid(crop, (2, 2), &|id| id > 0);
        assert_eq!(of(&view(0.0, 4.0, false)), [1.0, 0.5, 0.0, 0.0]);
        assert_eq!(of(&view(0.0, 4.0, true)), [0.5, 1.0, 0.0, 0.0]);
        // From 1 to 4: cells 1.5 px wide, the second from 2.5 to 4, of which 0.5 px are covered.
        let shares = of(&view(1.0, 3.0, false));
        assert!((shares[0] - 1.0).abs() < 1e-12 && (shares[1] - 1.0 / 3.0).abs() < 1e-12, "{shares:?}");
        // Half of the view lies left of the image.
        assert_eq!(of(&view(-4.0, 8.0, false)), [0.0, 0.75, 0.0, 0.0]);
        assert_eq!(map().shares_on_grid(&view(0.0, 4.0, false), (1, 1), &|id| id > 0), [6.0 / 16.0]);
    }

    #[test]
    fn bicubic_keeps_what_is_clear_and_bleeds_into_neighbors() {
        let ids = (0..64 * 64).map(|i| u8::from(i % 64 < 17)).collect();
        let map = LabelMap { width_px: 64, height_px: 64, ids };
        let crop = CropBox { x: 0.0, y: 0.0, w: 64.0, h: 64.0, flipped: false };
        let cells = map.bicubic_on_grid(&crop, (4, 4), &|id| id == 1);
        let shares = map.shares_on_grid(&crop, (4, 4), &|id| id == 1);
        // One pixel of 16 in the second column: foreground by the published rule, not by area.
        assert!(cells[0] > 200 && cells[1] > 0 && cells[3] == 0, "{cells:?}");
        assert_eq!(shares[..4], [1.0, 1.0 / 16.0, 0.0, 0.0]);
        let mirrored = CropBox { flipped: true, ..crop };
        assert_eq!(map.bicubic_on_grid(&mirrored, (4, 4), &|id| id == 1)[3], cells[0]);
    }
}
