//! Test samples that a study wants seen, as pictures: a study has no pictures, whoever has the data does.

use report::{Block, Figure, FigureData, ImageGrid, Tile};
use vit_data::transform::{Filter, PixelRect, Window, resize, resize_window};
use vit_data::{CropBox, Image, Picture};
use vit_features::{Findings, Maps, Passage, PatchMap, Showcase};

/// The longer side of a thumbnail is at most this, and the side of a picture beside its maps.
const THUMBNAIL_PX: usize = 96;
const COLUMNS: usize = 6;
/// What stands for a picture that is none to look at.
const GRAY: u8 = 128;

/// Light from the least to the greatest: dark blue, violet, red, orange, pale yellow; each lighter than the one before.
const HEAT: [[f64; 3]; 5] = [
    [12.0, 7.0, 60.0],
    [105.0, 15.0, 110.0],
    [205.0, 55.0, 70.0],
    [250.0, 150.0, 30.0],
    [252.0, 255.0, 180.0],
];

/// Makes a figure of every showcase, with the names of the samples; none where the data has no pictures to look at.
///
/// # Errors
/// When a sample cannot be read.
pub(crate) fn show(findings: &mut Findings, side: &Passage) -> anyhow::Result<()> {
    for showcase in std::mem::take(&mut findings.showcases) {
        let grid = match &showcase.maps {
            Some(maps) => Some(beside_maps(&showcase, maps, side)?),
            None => thumbnails(&showcase, side)?,
        };
        let Some(grid) = grid else {
            leave_out(findings, &showcase.name);
            continue;
        };
        let figure = Figure::new(showcase.name, showcase.title, showcase.caption, FigureData::Image(grid));
        let block = Block::Figure(figure.name.clone());
        if !findings.story.contains(&block) {
            findings.story.push(block);
        }
        findings.figures.push(figure);
    }
    Ok(())
}

/// Takes every showcase away, where there are no pictures.
pub(crate) fn leave_all_out(findings: &mut Findings) {
    for showcase in std::mem::take(&mut findings.showcases) {
        leave_out(findings, &showcase.name);
    }
}

fn leave_out(findings: &mut Findings, name: &str) {
    findings.story.retain(|block| !matches!(block, Block::Figure(figure) if figure == name));
}

fn thumbnails(showcase: &Showcase, side: &Passage) -> anyhow::Result<Option<ImageGrid>> {
    let mut tiles = Vec::with_capacity(showcase.samples.len());
    for (index, words) in &showcase.samples {
        let sample = side.data.sample(*index)?;
        let Picture::Image(image) = sample.picture else { break };
        let Image { width_px, height_px, rgb } = thumbnail(image);
        tiles.push(Tile { width_px, height_px, rgb, caption: format!("{}: {words}", sample.id) });
    }
    let Some(side_px) = tiles.iter().map(|tile| tile.width_px).max() else { return Ok(None) };
    let scale = (THUMBNAIL_PX / side_px.max(1)).max(1);
    Ok(Some(ImageGrid { columns: COLUMNS, tiles, scale, ..ImageGrid::default() }))
}

fn thumbnail(image: Image) -> Image {
    let longer_px = image.width_px.max(image.height_px);
    if longer_px <= THUMBNAIL_PX {
        return image;
    }
    let shrunk = |px: usize| (px * THUMBNAIL_PX / longer_px).max(1);
    let whole = PixelRect { left_px: 0, top_px: 0, width_px: image.width_px, height_px: image.height_px };
    resize(&image, whole, shrunk(image.width_px), shrunk(image.height_px), Filter::Bicubic)
}

/// A row for each sample: what the model saw of it, then its maps in the same size.
fn beside_maps(showcase: &Showcase, maps: &Maps, side: &Passage) -> anyhow::Result<ImageGrid> {
    let mut tiles = Vec::with_capacity(maps.rows.len() * (1 + maps.titles.len()));
    for ((index, words), (crop, row)) in showcase.samples.iter().zip(&maps.rows) {
        let sample = side.data.sample(*index)?;
        let picture = match &sample.picture {
            Picture::Image(image) => seen(image, crop),
            Picture::Normalized { .. } => vec![GRAY; 3 * THUMBNAIL_PX * THUMBNAIL_PX],
        };
        let tile = |rgb: Vec<u8>, caption: String| Tile {
            width_px: THUMBNAIL_PX,
            height_px: THUMBNAIL_PX,
            rgb,
            caption,
        };
        let gap = if words.is_empty() { "" } else { ": " };
        tiles.push(tile(picture.clone(), format!("{}{gap}{words}", sample.id)));
        tiles.extend(row.iter().map(|map| tile(drawn(map, maps.grid, &picture), String::new())));
    }
    let titles = std::iter::once("picture".to_owned()).chain(maps.titles.clone());
    let columns = 1 + maps.titles.len();
    Ok(ImageGrid { columns, tiles, scale: 1, column_titles: titles.collect(), row_titles: Vec::new() })
}

/// The part of an image that a view shows, as a square.
fn seen(image: &Image, crop: &CropBox) -> Vec<u8> {
    let (width, height) = (image.width_px as f64, image.height_px as f64);
    let (x, y) = (crop.x.clamp(0.0, width - 1.0), crop.y.clamp(0.0, height - 1.0));
    let window = Window { x, y, w: crop.w.min(width - x), h: crop.h.min(height - y) };
    let mut seen = resize_window(image, window, THUMBNAIL_PX, THUMBNAIL_PX, Filter::Bicubic);
    if crop.flipped {
        for row in seen.rgb.chunks_exact_mut(3 * THUMBNAIL_PX) {
            let mirrored: Vec<u8> = row.chunks_exact(3).rev().flatten().copied().collect();
            row.copy_from_slice(&mirrored);
        }
    }
    seen.rgb
}

/// A map in the size of the picture: colors as they are, light laid over the picture in gray.
fn drawn(map: &PatchMap, (rows, columns): (usize, usize), picture: &[u8]) -> Vec<u8> {
    let place = |px: usize, n: usize| (px as f64 + 0.5) / THUMBNAIL_PX as f64 * n as f64;
    let mut rgb = Vec::with_capacity(picture.len());
    for (at, pixel) in picture.chunks_exact(3).enumerate() {
        let (y, x) = (place(at / THUMBNAIL_PX, rows), place(at % THUMBNAIL_PX, columns));
        match map {
            PatchMap::Colors(colors) => {
                let (row, column) = ((y as usize).min(rows - 1), (x as usize).min(columns - 1));
                rgb.extend(colors.get(row * columns + column).copied().unwrap_or([GRAY; 3]));
            }
            PatchMap::Heat(shares) => {
                let share = between(shares, (rows, columns), (y, x));
                let light: f64 =
                    pixel.iter().zip([0.299, 0.587, 0.114]).map(|(&byte, part)| f64::from(byte) * part).sum();
                let opacity = 0.45 + 0.35 * share;
                rgb.extend(heat(share).map(|color| {
                    (opacity * color + (1.0 - opacity) * light).round().clamp(0.0, 255.0) as u8
                }));
            }
        }
    }
    rgb
}

/// The share at a place of the grid, straight between the centers of patches.
fn between(shares: &[f32], (rows, columns): (usize, usize), (y, x): (f64, f64)) -> f64 {
    let around = |place: f64, n: usize| {
        let place = (place - 0.5).clamp(0.0, (n - 1) as f64);
        let low = place as usize;
        (low, (low + 1).min(n - 1), place - low as f64)
    };
    let ((y0, y1, down), (x0, x1, right)) = (around(y, rows), around(x, columns));
    let at =
        |row: usize, column: usize| f64::from(shares.get(row * columns + column).copied().unwrap_or(0.0));
    let upper = at(y0, x0) * (1.0 - right) + at(y0, x1) * right;
    let lower = at(y1, x0) * (1.0 - right) + at(y1, x1) * right;
    upper * (1.0 - down) + lower * down
}

/// The color of a share of 0–1.
fn heat(share: f64) -> [f64; 3] {
    let place = share.clamp(0.0, 1.0) * (HEAT.len() - 1) as f64;
    let low = (place as usize).min(HEAT.len() - 2);
    let part = place - low as f64;
    std::array::from_fn(|channel| HEAT[low][channel] * (1.0 - part) + HEAT[low + 1][channel] * part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use vit_features::Role;

    fn side() -> Passage {
        let data: Arc<dyn vit_data::Dataset> =
            Arc::from(vit_data::open("part-shapes", vit_data::Split::Test, 0).expect("built in"));
        Passage { role: Role::Test, data, indices: Arc::new(vec![3, 5]) }
    }

    #[test]
    fn samples_are_shown_with_their_names() {
        let showcase = Showcase {
            name: "worst".into(),
            samples: vec![(5, "fish, not boat".into()), (3, "cup, not car".into())],
            ..Showcase::default()
        };
        let mut findings = Findings { showcases: vec![showcase], ..Findings::default() };
        show(&mut findings, &side()).expect("shown");
        let [Figure { name, data: FigureData::Image(grid), .. }] = findings.figures.as_slice() else {
            panic!("one figure of pictures")
        };
        assert_eq!((name.as_str(), grid.tiles.len()), ("worst", 2));
        assert_eq!(grid.tiles[0].caption, "test/5: fish, not boat");
        assert!(findings.showcases.is_empty());
        assert_eq!(findings.story, [Block::Figure("worst".into())]);
    }

    #[test]
    fn maps_stand_beside_what_the_model_saw() {
        let crop = CropBox { x: 0.0, y: 0.0, w: 64.0, h: 64.0, flipped: false };
        let red_and_blue = PatchMap::Colors(vec![[255, 0, 0], [0, 0, 255]]);
        let maps = Maps {
            titles: vec!["block 0".into(), "block 1".into()],
            grid: (1, 2),
            rows: vec![(crop, vec![red_and_blue, PatchMap::Heat(vec![0.0, 1.0])])],
        };
        let showcase = Showcase {
            name: "maps".into(),
            samples: vec![(5, String::new())],
            maps: Some(maps),
            ..Showcase::default()
        };
        let story = vec![Block::Figure("maps".into())];
        let mut findings = Findings { showcases: vec![showcase], story, ..Findings::default() };
        show(&mut findings, &side()).expect("shown");
        assert_eq!(findings.story.len(), 1, "named once");
        let [Figure { data: FigureData::Image(grid), .. }] = findings.figures.as_slice() else {
            panic!("one figure")
        };
        assert_eq!((grid.columns, grid.tiles.len()), (3, 3));
        assert_eq!(grid.column_titles, ["picture", "block 0", "block 1"]);
        let [picture, colors, heat] = grid.tiles.as_slice() else { panic!("three tiles") };
        assert_eq!((picture.caption.as_str(), heat.caption.as_str()), ("test/5", ""));
        let half = 3 * (THUMBNAIL_PX / 2);
        assert_eq!((&colors.rgb[..3], &colors.rgb[half..half + 3]), (&[255, 0, 0][..], &[0, 0, 255][..]));
        let lightness = |at: usize| heat.rgb[at..at + 3].iter().map(|&byte| u32::from(byte)).sum::<u32>();
        assert!(lightness(3 * (THUMBNAIL_PX - 1)) > lightness(0) + 100);
    }

    #[test]
    fn where_there_is_no_picture_the_story_does_not_name_one() {
        let showcase = Showcase { name: "worst".into(), ..Showcase::default() };
        let story = vec![Block::Figure("worst".into()), Block::Figure("other".into())];
        let mut findings = Findings { showcases: vec![showcase], story, ..Findings::default() };
        show(&mut findings, &side()).expect("nothing to show");
        assert_eq!(findings.story, [Block::Figure("other".into())]);
    }

    #[test]
    fn light_lies_straight_between_the_centers_of_patches() {
        let shares = [0.0, 1.0, 1.0, 0.0];
        assert_eq!(between(&shares, (2, 2), (0.5, 0.5)), 0.0);
        assert_eq!(between(&shares, (2, 2), (1.0, 1.0)), 0.5);
        assert_eq!(between(&shares, (2, 2), (0.0, 1.5)), 1.0);
        assert_eq!(between(&shares, (2, 2), (0.5, 0.75)), 0.25);
        assert_eq!((heat(0.0), heat(1.0)), (HEAT[0], HEAT[4]));
    }

    #[test]
    fn a_thumbnail_keeps_its_proportions() {
        let image = Image { width_px: 384, height_px: 96, rgb: vec![7; 384 * 96 * 3] };
        let small = thumbnail(image);
        assert_eq!((small.width_px, small.height_px), (96, 24));
        assert!(small.rgb.iter().all(|&byte| byte == 7));
    }
}
