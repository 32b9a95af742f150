//! What training did: pictures of the objectives, and losses.

use super::super::answers::Role;
use super::Material;
use report::{Figure, FigureData, ImageGrid, LinePlot, Series, Tile};

/// Pictures of what objectives do, of the first seed.
pub(super) fn previews(material: &Material) -> Vec<Figure> {
    let with_preview = material.answers.iter().filter(|answers| answers.seed == material.seeds[0]);
    with_preview
        .filter_map(|answers| {
            let preview = answers.preview.as_ref()?;
            let tiles = preview.tiles.iter().map(|tile| Tile {
                width_px: tile.width_px,
                height_px: tile.height_px,
                rgb: tile.rgb.clone(),
                caption: tile.caption.clone(),
            });
            let side = preview.tiles.first()?.width_px;
            // Several samples in a row: image, shown, restored, image, shown, restored, …
            let per_row = preview.columns.len() * (9 / preview.columns.len().max(1)).clamp(1, 3);
            let grid = ImageGrid {
                columns: per_row,
                tiles: tiles.collect(),
                scale: (96 / side.max(1)).max(1),
                column_titles: preview.columns.iter().cycle().take(per_row).cloned().collect(),
                row_titles: Vec::new(),
            };
            let title = format!("{} ({})", preview.title, answers.model);
            let name = format!("preview_{}", answers.model);
            Some(Figure::new(name, title, preview.caption.clone(), FigureData::Image(grid)))
        })
        .collect()
}

/// The losses of what was trained here, one line a seed.
pub(super) fn learning_curves(material: &Material) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (model, role) in &material.models {
        if *role != Role::Trained {
            continue;
        }
        let runs = material.of(model);
        let series: Vec<Series> = runs
            .iter()
            .filter(|run| !run.loss.is_empty())
            .map(|run| Series::new(format!("seed {}", run.seed), run.loss.clone()))
            .collect();
        if series.is_empty() {
            continue;
        }
        let plot = LinePlot {
            x_label: "epoch".into(),
            y_label: "training loss".into(),
            series,
            reference_lines: Vec::new(),
        };
        let caption = "The loss on training views. Losses of different objectives cannot be compared.";
        let (name, title) = (format!("loss_{model}"), format!("Training loss of {model}"));
        figures.push(Figure::new(name, title, caption, FigureData::Line(plot)));
    }
    figures
}
