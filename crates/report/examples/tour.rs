//! Writes a compare report with invented numbers, to see every kind of block: `cargo run -p report --example tour -- report.html`.

use report::{
    Block, Card, Figure, FigureData, ImageGrid, Kind, LinePlot, Metric, Provenance, Report, ReportError,
    ScatterPlot, Series, SeriesStyle, Table, Tile, points_by_index,
};
use std::path::Path;

const N_LAYERS: usize = 12;
const CHANCE: f64 = 1.0 / 12.0;
const RAW_PIXELS: f64 = 0.327;

fn main() -> Result<(), ReportError> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| "report.html".to_owned());
    let report = tour();
    report.write_html(Path::new(&file))?;
    match arguments.next() {
        Some(dir) => report.write(Path::new(&dir)),
        None => Ok(()),
    }
}

pub(crate) fn tour() -> Report {
    let recipe = serde_json::json!({
        "data": "part-shapes", "seeds": 3,
        "probe": { "kind": "knn", "neighbors": [1, 5, 20], "temperature": 0.07 },
        "models": { "supervised": { "epochs": 20, "lr_base": 5e-4 }, "mae": { "epochs": 60, "mask_ratio": 0.75, "lr_base": 1.5e-4 } },
    });
    let provenance = Provenance {
        version: "0.1.0".into(),
        seed: 0,
        weights_sha256: None,
        device: "cpu".into(),
        kernel_path: "avx512".into(),
        recipe,
        elapsed_secs: 1187.4,
        ..Provenance::default()
    };
    let mut report = Report::new(
        "compare",
        Kind::Compare,
        "What does each model know, and in which layer?",
        "raw pixels, untrained, supervised, mae (vit-nano/4, 12 blocks)",
        "part-shapes, 20,000 train and 5,000 test images, 12 classes",
        provenance,
    );
    let (supervised, mae, untrained) = (curve(0.90, 5.5), curve(0.66, 3.0), curve(0.30, 0.6));
    for (layer, value) in mae.iter().enumerate() {
        report
            .metrics
            .push(Metric::new("top1", *value, "ratio").layer(layer).param("model", "mae").param("k", 20));
    }
    report.metrics.push(Metric::new("chance", CHANCE, "ratio"));
    report.figures =
        vec![knn(&supervised, &mae, &untrained), distance(), by_class(), heads(), reconstructions()];
    report.tables.push(best_layers());
    report.story = vec![
        Block::Numbers(vec![
            Card::new("Supervised, best layer", "0.894", "top-1, block 11"),
            Card::new("MAE, best layer", "0.649", "top-1, block 8; no labels used"),
            Card::new("Untrained", "0.291", "same architecture, random weights"),
            Card::new("Raw pixels", "0.327", "chance is 0.083"),
        ]),
        Block::Heading("How well can classes be read from each layer?".into()),
        Block::Text("Every layer's patch tokens are averaged and classified by their 20 nearest neighbors among the training images (`probe knn`, cosine distance, temperature 0.07). Nothing is trained here, so what a line gains over the untrained model was learned before.".into()),
        Block::Figure("knn-by-layer".into()),
        Block::Table("best-layer".into()),
        Block::Figure("by-class".into()),
        Block::Heading("How far does each head look?".into()),
        Block::Text("Mean attention distance is the average distance between a patch and what it attends to, weighted by attention. Small values mean local heads, as in early convolutions; large ones mean heads that gather from the whole image.".into()),
        Block::Figure("attention-distance".into()),
        Block::Figure("distance-by-head".into()),
        Block::Heading("What can the masked autoencoder fill in?".into()),
        Block::Text("Three quarters of the patches are hidden; the decoder sees the rest.".into()),
        Block::Figure("reconstructions".into()),
    ];
    report
}

/// Accuracy that rises to `best` at a depth.
fn curve(best: f64, steepness: f64) -> Vec<f64> {
    let value = |layer: usize| {
        let depth = layer as f64 / 11.0;
        let bend = 1.0 - (-steepness * depth).exp() / 1.15 - 0.12 * (depth - 0.75).max(0.0);
        0.24 + (best - 0.24) * bend.clamp(0.0, 1.0) + 0.006 * wave(layer as f64 * 2.3)
    };
    (0..N_LAYERS).map(value).collect()
}

fn knn(supervised: &[f64], mae: &[f64], untrained: &[f64]) -> Figure {
    let band = |values: &[f64], half: f64| values.iter().map(|value| (value - half, value + half)).collect();
    let series = vec![
        Series::new("supervised", points_by_index(supervised.iter().copied())).band(band(supervised, 0.018)),
        Series::new("mae", points_by_index(mae.iter().copied())).band(band(mae, 0.022)),
        Series::new("untrained", points_by_index(untrained.iter().copied())).style(SeriesStyle::Dashed),
    ];
    let plot = LinePlot {
        x_label: "block".into(),
        y_label: "kNN top-1 accuracy".into(),
        series,
        reference_lines: vec![("raw pixels".into(), RAW_PIXELS), ("chance".into(), CHANCE)],
    };
    let caption = "Top-1 accuracy of 20 nearest neighbors after each block; bands are the range over 3 seeds. Compare a line with the untrained one and with raw pixels, not with chance. Low accuracy does not mean that the classes are absent: a linear probe may still find them.";
    Figure::new("knn-by-layer", "Nearest-neighbor accuracy by layer", caption, FigureData::Line(plot))
}

fn distance() -> Figure {
    let dots = |offset: f64, early: f64, late: f64, spread: f64| {
        let at = |layer: usize, head: usize| {
            let depth = layer as f64 / 11.0;
            let y = early
                + (late - early) * depth
                + spread * (1.0 - 0.6 * depth) * wave((layer * 4 + head) as f64 * 1.7 + offset);
            (layer as f64, y.clamp(0.03, 0.62))
        };
        (0..N_LAYERS).flat_map(|layer| (0..4).map(move |head| (layer, head))).map(|(l, h)| at(l, h)).collect()
    };
    let series = vec![
        Series::new("supervised", dots(-0.2, 0.26, 0.47, 0.17)).shifted(-0.2),
        Series::new("mae", dots(0.0, 0.18, 0.36, 0.14)),
        Series::new("untrained", dots(0.2, 0.50, 0.51, 0.012)).shifted(0.2),
    ];
    let plot = ScatterPlot {
        x_label: "block".into(),
        y_label: "mean attention distance (image widths)".into(),
        series,
    };
    let caption = "One dot a head. The models stand side by side at each block so that dots do not hide one another. Distance says where a head looks, not whether the model needs it.";
    Figure::new(
        "attention-distance",
        "Attention distance by head and depth",
        caption,
        FigureData::Scatter(plot),
    )
}

fn by_class() -> Figure {
    let labels = ["car", "long-necked animal", "bird", "house", "chair"].map(str::to_owned).to_vec();
    let bars = |values: [f64; 5]| points_by_index(values);
    let supervised = Series::new("supervised", bars([0.95, 0.91, 0.88, 0.97, 0.76]));
    let supervised =
        supervised.band(vec![(0.94, 0.96), (0.89, 0.93), (0.86, 0.90), (0.96, 0.98), (0.71, 0.80)]);
    let series = vec![supervised, Series::new("mae", bars([0.74, 0.62, 0.55, 0.81, 0.40]))];
    let data = FigureData::Bar { labels, series, y_label: "kNN top-1 accuracy at the best layer".into() };
    Figure::new("by-class", "The five most frequent classes", "Whiskers are the range over 3 seeds.", data)
}

fn heads() -> Figure {
    let value =
        |layer: usize, head: usize| 0.18 + 0.02 * layer as f64 + 0.13 * wave((layer * 4 + head) as f64 * 1.7);
    let values = (0..4).map(|head| (0..N_LAYERS).map(|layer| value(layer, head)).collect()).collect();
    let data = FigureData::Heatmap {
        row_labels: vec![],
        col_labels: vec![],
        x_label: "block".into(),
        y_label: "head".into(),
        values,
        range: Some((0.0, 0.6)),
        unit: "image widths".into(),
    };
    Figure::new(
        "distance-by-head",
        "Attention distance of every head of mae",
        "Heads have no order of their own: compare columns, not rows.",
        data,
    )
}

fn best_layers() -> Table {
    Table::new(
        "best-layer",
        "Best layer of each model",
        ["model", "block", "top-1", "± seeds", "above raw pixels", "labels"],
    )
    .row([
        "raw pixels".into(),
        None::<i64>.into(),
        0.327.into(),
        None::<f64>.into(),
        0.0.into(),
        "none".into(),
    ])
    .row(["untrained".into(), 9.into(), 0.291.into(), 0.004.into(), (-0.036).into(), "none".into()])
    .row(["supervised".into(), 11.into(), 0.894.into(), 0.018.into(), 0.567.into(), "20,000".into()])
    .row(["mae".into(), 8.into(), 0.649.into(), 0.022.into(), 0.322.into(), "none".into()])
    .note("The layer is chosen on held-out training images, the number is measured on the test split.")
}

fn reconstructions() -> Figure {
    const SIDE: usize = 32;
    let pictures: [fn(f64, f64) -> [f64; 3]; 3] = [disc, stripes, hill];
    let mut tiles = Vec::new();
    for (row, picture) in pictures.into_iter().enumerate() {
        let is_hidden = |x: usize, y: usize| wave((x / 4 * 7 + y / 4 * 13 + row * 5) as f64 * 1.31) < 0.45;
        let soft = |x: f64, y: f64| {
            let near = [(-0.07, 0.0), (0.07, 0.0), (0.0, -0.07), (0.0, 0.07)]
                .map(|(dx, dy)| picture(x + dx, y + dy));
            [0, 1, 2].map(|channel| near.iter().map(|rgb| rgb[channel]).sum::<f64>() / 4.0)
        };
        let paint = |color: &dyn Fn(usize, usize, f64, f64) -> [f64; 3], caption: &str| {
            let pixel = |idx: usize| {
                let (x, y) = (idx % SIDE, idx / SIDE);
                let place = |at: usize| (at as f64 + 0.5) / SIDE as f64;
                color(x, y, place(x), place(y)).map(|c| (c.clamp(0.0, 1.0) * 255.0).round() as u8)
            };
            let rgb = (0..SIDE * SIDE).flat_map(pixel).collect();
            Tile { width_px: SIDE, height_px: SIDE, rgb, caption: caption.to_owned() }
        };
        tiles.push(paint(&|_, _, u, v| picture(u, v), ""));
        tiles.push(paint(&|x, y, u, v| if is_hidden(x, y) { [0.55; 3] } else { picture(u, v) }, ""));
        tiles.push(paint(&|_, _, u, v| soft(u, v), ["mse 0.021", "mse 0.064", "mse 0.012"][row]));
        tiles.push(paint(&|x, y, u, v| if is_hidden(x, y) { soft(u, v) } else { picture(u, v) }, ""));
    }
    let grid = ImageGrid {
        columns: 4,
        tiles,
        scale: 5,
        column_titles: ["image", "visible patches", "reconstruction", "with visible pasted in"]
            .map(str::to_owned)
            .to_vec(),
        row_titles: ["disc", "stripes", "hill"].map(str::to_owned).to_vec(),
    };
    let caption = "Test images, 75% of patches hidden. Blur is what minimizes squared error when several completions are possible; it does not by itself mean poor features.";
    Figure::new("reconstructions", "Masked patches and what was filled in", caption, FigureData::Image(grid))
}

fn disc(x: f64, y: f64) -> [f64; 3] {
    if (x - 0.45).hypot(y - 0.55) < 0.3 { [0.86, 0.36, 0.22] } else { [0.20 + 0.3 * y, 0.42, 0.58] }
}

fn stripes(x: f64, y: f64) -> [f64; 3] {
    if ((x + y) * 5.0).fract() < 0.5 { [0.93, 0.85, 0.60] } else { [0.24, 0.34, 0.30] }
}

fn hill(x: f64, y: f64) -> [f64; 3] {
    let ridge = 0.55 + 0.12 * wave(x * 6.0);
    if y > ridge { [0.25, 0.45 + 0.2 * (y - ridge), 0.25] } else { [0.62, 0.76 + 0.1 * y, 0.92] }
}

/// A smooth number between −1 and 1.
fn wave(x: f64) -> f64 {
    (x.sin() + (x * 2.7 + 1.0).sin()) / 2.0
}
