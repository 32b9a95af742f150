//! Pictures in a grid, as data URIs, enlarged without smoothing.

use crate::ImageGrid;
use crate::render::escape::xml;
use crate::render::png::data_uri;

pub(super) fn grid(grid: &ImageGrid) -> String {
    let (columns, scale) = (grid.columns.max(1), grid.scale.max(1));
    let has_rows = grid.row_titles.iter().any(|title| !title.is_empty());
    let rows = if has_rows { "max-content " } else { "" };
    let mut out = format!(
        "<div class=\"tiles\" style=\"--n:{columns};grid-template-columns:{rows}repeat({columns},max-content)\">\n"
    );
    if grid.column_titles.iter().any(|title| !title.is_empty()) {
        if has_rows {
            out.push_str("<span></span>\n");
        }
        for idx in 0..columns {
            let title = grid.column_titles.get(idx).map_or(String::new(), |title| xml(title));
            out.push_str(&format!("<span class=\"column\">{title}</span>\n"));
        }
    }
    for (idx, tile) in grid.tiles.iter().enumerate() {
        let title_of = |titles: &[String], idx: usize| titles.get(idx).cloned().unwrap_or_default();
        let (row, column) =
            (title_of(&grid.row_titles, idx / columns), title_of(&grid.column_titles, idx % columns));
        if has_rows && idx % columns == 0 {
            out.push_str(&format!("<span class=\"row\">{}</span>\n", xml(&row)));
        }
        let words: Vec<&str> = [&row, &column, &tile.caption].into_iter().map(String::as_str).collect();
        let mut words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        words.dedup();
        let (width, height) = (tile.width_px * scale, tile.height_px * scale);
        // A title that stands above the column is not said again below each tile.
        let caption = if tile.caption == column { String::new() } else { xml(&tile.caption) };
        let caption = if caption.is_empty() { caption } else { format!("<small>{caption}</small>") };
        out.push_str(&format!(
            "<div class=\"tile\" style=\"width:{width}px\"><img src=\"{}\" width=\"{width}\" height=\"{height}\" alt=\"{}\">{caption}</div>\n",
            data_uri(tile),
            xml(&words.join(", "))
        ));
    }
    out.push_str("</div>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tile;

    #[test]
    fn tiles_stand_under_their_titles_at_their_scale() {
        let tile =
            |caption: &str| Tile { width_px: 2, height_px: 1, rgb: vec![0; 6], caption: caption.into() };
        let html = grid(&ImageGrid {
            columns: 2,
            tiles: vec![tile("a"), tile(""), tile("in")],
            scale: 3,
            column_titles: vec!["in".into(), "out".into()],
            row_titles: vec!["dog".into()],
        });
        assert!(html.contains("grid-template-columns:max-content repeat(2,max-content)"));
        assert!(html.contains("width=\"6\" height=\"3\" alt=\"dog, in, a\"><small>a</small>"), "{html}");
        assert!(html.contains("alt=\"dog, out\"></div>"), "{html}");
        assert!(html.contains("alt=\"in\"></div>"), "what stands above is not said below: {html}");
    }
}
