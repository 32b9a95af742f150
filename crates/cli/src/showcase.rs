//! Test samples that a study wants seen, as pictures: a study has no pictures, whoever has the data does.

use report::{Figure, FigureData, ImageGrid, Tile};
use vit_data::transform::{Filter, PixelRect, resize};
use vit_data::{Image, Picture};
use vit_features::{Findings, Passage};

/// The longer side of a thumbnail is at most this.
const THUMBNAIL_PX: usize = 96;
const COLUMNS: usize = 6;

/// Makes a figure of every showcase, with the names of the samples; none where the data has no pictures to look at.
///
/// # Errors
/// When a sample cannot be read.
pub(crate) fn show(findings: &mut Findings, side: &Passage) -> anyhow::Result<()> {
    for showcase in std::mem::take(&mut findings.showcases) {
        let mut tiles = Vec::with_capacity(showcase.samples.len());
        for (index, words) in &showcase.samples {
            let sample = side.data.sample(*index)?;
            let Picture::Image(image) = sample.picture else { break };
            let Image { width_px, height_px, rgb } = thumbnail(image);
            tiles.push(Tile { width_px, height_px, rgb, caption: format!("{}: {words}", sample.id) });
        }
        let Some(side_px) = tiles.iter().map(|tile| tile.width_px).max() else { continue };
        let scale = (THUMBNAIL_PX / side_px.max(1)).max(1);
        let grid = ImageGrid { columns: COLUMNS, tiles, scale, ..ImageGrid::default() };
        let figure = Figure::new(showcase.name, showcase.title, showcase.caption, FigureData::Image(grid));
        findings.story.push(report::Block::Figure(figure.name.clone()));
        findings.figures.push(figure);
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use vit_features::{Role, Showcase};

    #[test]
    fn samples_are_shown_with_their_names() {
        let data: Arc<dyn vit_data::Dataset> =
            Arc::from(vit_data::open("part-shapes", vit_data::Split::Test, 0).expect("built in"));
        let side = Passage { role: Role::Test, data, indices: Arc::new(vec![3, 5]) };
        let showcase = Showcase {
            name: "worst".into(),
            samples: vec![(5, "fish, not boat".into()), (3, "cup, not car".into())],
            ..Showcase::default()
        };
        let mut findings = Findings { showcases: vec![showcase], ..Findings::default() };
        show(&mut findings, &side).expect("shown");
        let [Figure { name, data: FigureData::Image(grid), .. }] = findings.figures.as_slice() else {
            panic!("one figure of pictures")
        };
        assert_eq!((name.as_str(), grid.tiles.len()), ("worst", 2));
        assert_eq!(grid.tiles[0].caption, "test/5: fish, not boat");
        assert!(findings.showcases.is_empty());
    }

    #[test]
    fn a_thumbnail_keeps_its_proportions() {
        let image = Image { width_px: 384, height_px: 96, rgb: vec![7; 384 * 96 * 3] };
        let small = thumbnail(image);
        assert_eq!((small.width_px, small.height_px), (96, 24));
        assert!(small.rgb.iter().all(|&byte| byte == 7));
    }
}
