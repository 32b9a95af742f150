//! Pictures: a tile as PNG, and a whole grid as one sheet.

use crate::{ImageGrid, Tile};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// Room between tiles of a sheet, in pixels.
const GAP_PX: usize = 4;

/// One tile as a `data:` URI; empty when the tile does not hold what it says.
pub(crate) fn data_uri(tile: &Tile) -> String {
    let png = encode(&tile.rgb, tile.width_px, tile.height_px).unwrap_or_default();
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png))
}

/// All tiles, enlarged without smoothing, on one white sheet.
///
/// # Errors
/// The encoder's words.
pub(crate) fn sheet(grid: &ImageGrid) -> Result<Vec<u8>, String> {
    let scale = grid.scale.max(1);
    let layout = Layout::of(grid);
    let (width, height) = (layout.width, layout.height);
    let mut rgb = vec![255; width * height * 3];
    for (idx, tile) in grid.tiles.iter().enumerate() {
        let (left, top) = layout.place(idx);
        for y in 0..tile.height_px * scale {
            for x in 0..tile.width_px * scale {
                let from = (y / scale * tile.width_px + x / scale) * 3;
                let to = ((top + y) * width + left + x) * 3;
                if let Some(pixel) = tile.rgb.get(from..from + 3) {
                    rgb[to..to + 3].copy_from_slice(pixel);
                }
            }
        }
    }
    encode(&rgb, width, height)
}

/// Puts the pixels of a [`sheet`] back into the tiles that it was made of.
///
/// # Errors
/// When the picture is not one, or of another size than the sheet of these tiles.
pub(crate) fn fill_from_sheet(grid: &mut ImageGrid, png: &[u8]) -> Result<(), String> {
    let scale = grid.scale.max(1);
    let layout = Layout::of(grid);
    let sheet = image::load_from_memory(png).map_err(|error| error.to_string())?.to_rgb8();
    let (width, height) = (sheet.width() as usize, sheet.height() as usize);
    if (width, height) != (layout.width, layout.height) {
        return Err(format!(
            "{width}×{height} pixels where {}×{} were expected",
            layout.width, layout.height
        ));
    }
    let bytes = sheet.as_raw();
    for (idx, tile) in grid.tiles.iter_mut().enumerate() {
        let (left, top) = layout.place(idx);
        tile.rgb = Vec::with_capacity(tile.width_px * tile.height_px * 3);
        for y in 0..tile.height_px {
            for x in 0..tile.width_px {
                let from = ((top + y * scale) * width + left + x * scale) * 3;
                tile.rgb.extend_from_slice(&bytes[from..from + 3]);
            }
        }
    }
    Ok(())
}

/// Where the tiles of a grid stand on their sheet.
struct Layout {
    columns: usize,
    cell_width: usize,
    cell_height: usize,
    width: usize,
    height: usize,
}

impl Layout {
    fn of(grid: &ImageGrid) -> Self {
        let (columns, scale) = (grid.columns.max(1), grid.scale.max(1));
        let n_columns = columns.min(grid.tiles.len()).max(1);
        let n_rows = grid.tiles.len().div_ceil(columns).max(1);
        let widest = |side: fn(&Tile) -> usize| grid.tiles.iter().map(side).max().unwrap_or(1);
        // Sizes from a file may be anything: what overflows fits no sheet.
        let cell_width = widest(|tile| tile.width_px).saturating_mul(scale);
        let cell_height = widest(|tile| tile.height_px).saturating_mul(scale);
        let across = |n: usize, cell: usize| n.saturating_mul(cell.saturating_add(GAP_PX)) - GAP_PX;
        let (width, height) = (across(n_columns, cell_width), across(n_rows, cell_height));
        Self { columns, cell_width, cell_height, width, height }
    }

    /// The left and the top of a tile.
    fn place(&self, idx: usize) -> (usize, usize) {
        (idx % self.columns * (self.cell_width + GAP_PX), idx / self.columns * (self.cell_height + GAP_PX))
    }
}

fn encode(rgb: &[u8], width: usize, height: usize) -> Result<Vec<u8>, String> {
    if width == 0 || height == 0 || rgb.len() != width * height * 3 {
        return Err(format!("{width}×{height} pixels do not fit {} bytes", rgb.len()));
    }
    let (width, height) = (u32::try_from(width), u32::try_from(height));
    let (Ok(width), Ok(height)) = (width, height) else {
        return Err("more pixels than a PNG can hold".to_owned());
    };
    let mut png = Vec::new();
    let written = PngEncoder::new(&mut png).write_image(rgb, width, height, ExtendedColorType::Rgb8);
    written.map_err(|error| error.to_string()).map(|()| png)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_enlarges_tiles_and_keeps_them_apart() {
        let tile =
            |rgb: [u8; 3]| Tile { width_px: 1, height_px: 1, rgb: rgb.to_vec(), caption: String::new() };
        let grid = ImageGrid {
            columns: 2,
            tiles: vec![tile([9, 8, 7]), tile([1, 2, 3])],
            scale: 2,
            ..ImageGrid::default()
        };
        let png = image::load_from_memory(&sheet(&grid).expect("encodes")).expect("decodes").to_rgb8();
        assert_eq!(png.dimensions(), (2 + 4 + 2, 2));
        assert_eq!(png.get_pixel(1, 1).0, [9, 8, 7]);
        assert_eq!(png.get_pixel(3, 0).0, [255; 3]);
        assert_eq!(png.get_pixel(7, 1).0, [1, 2, 3]);
    }

    #[test]
    fn a_sheet_gives_its_tiles_back() {
        let tile = |width_px: usize, height_px: usize, first: u8| Tile {
            width_px,
            height_px,
            rgb: (0..width_px * height_px * 3).map(|at| first + at as u8).collect(),
            caption: String::new(),
        };
        let grid = ImageGrid {
            columns: 2,
            tiles: vec![tile(2, 1, 0), tile(1, 2, 40), tile(2, 2, 90)],
            scale: 3,
            ..ImageGrid::default()
        };
        let png = sheet(&grid).expect("encodes");
        let mut bare = grid.clone();
        bare.tiles.iter_mut().for_each(|tile| tile.rgb.clear());
        fill_from_sheet(&mut bare, &png).expect("fits");
        assert_eq!(bare, grid);
        bare.tiles[0].width_px = 9;
        let refused = fill_from_sheet(&mut bare, &png).expect_err("another size");
        assert_eq!(refused, "16×16 pixels where 58×16 were expected");
    }

    #[test]
    fn a_tile_that_lies_about_its_size_is_refused() {
        assert!(encode(&[0; 3], 2, 1).is_err());
    }
}
