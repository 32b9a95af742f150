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
            .filter(|run| !run.curves.loss.is_empty())
            .map(|run| Series::new(format!("seed {}", run.seed), run.curves.loss.clone()))
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

/// What neighbors told of held-out samples on the way, of the first seed: one line a model, over the share of its training.
pub(super) fn scores(material: &Material) -> Option<Figure> {
    let answers = material.answers.iter().filter(|answers| answers.seed == material.seeds[0]);
    let series: Vec<Series> = answers
        .filter_map(|answers| {
            let curve = answers.curves.scores.get("knn_top1_mean")?;
            let last = curve.last()?.0.max(f64::MIN_POSITIVE);
            let points = curve.iter().map(|&(epoch, value)| (epoch / last, value)).collect();
            Some(Series::new(answers.model.clone(), points))
        })
        .collect();
    let chance = 1.0 / material.n_classes.max(1) as f64;
    let plot = LinePlot {
        x_label: "share of training".into(),
        y_label: "top-1".into(),
        series,
        reference_lines: vec![("chance".into(), chance)],
    };
    let caption = "Accuracy of the nearest neighbors of the mean of the patches, on a few held-out samples and from a few \
                   hundred to learn from, while training went on: a trend, not the number of the probe.";
    let has_lines = !plot.series.is_empty();
    has_lines
        .then(|| Figure::new("scores", "What the features tell on the way", caption, FigureData::Line(plot)))
}
