//! The comparison as something to read: what was found, in the order in which a person asks.

use super::answers::{Answers, Role, mean_over};
use super::together;
use measure::interval::t_interval;
use report::{
    Block, Cell, Figure, FigureData, ImageGrid, LinePlot, Report, ScatterPlot, Series, SeriesStyle, Table,
    Tile,
};
use vit_features::Part;

/// What the story is told from.
pub(super) struct Material<'a> {
    /// Every model in every run; the first run's come first.
    pub answers: &'a [Answers],
    /// Names in the order of the report.
    pub models: Vec<(String, Role)>,
    /// Sample pictures with their classes.
    pub samples: Option<ImageGrid>,
    /// Classes of the data.
    pub n_classes: usize,
    /// Seeds used.
    pub seeds: &'a [u64],
    /// The probe of the headline.
    pub headline_k: usize,
}

/// A number over seeds.
#[derive(Clone, Copy)]
struct Score {
    mean: f64,
    low_high: Option<(f64, f64)>,
}

impl Material<'_> {
    fn of(&self, model: &str) -> Vec<&Answers> {
        self.answers.iter().filter(|answers| answers.model == model).collect()
    }

    /// A metric of the kNN probe over seeds; with one seed the interval is the bootstrap's.
    fn score(&self, model: &str, metric: &str) -> Option<Score> {
        let runs = self.of(model);
        let values: Vec<f64> = runs.iter().filter_map(|run| run.value("knn", metric)).collect();
        if values.is_empty() {
            return None;
        }
        let low_high = if values.len() > 1 {
            let interval = t_interval(&values);
            Some((interval.low, interval.high))
        } else {
            let bound = |end: &str| runs[0].value("knn", &format!("{metric}_{end}"));
            bound("low").zip(bound("high"))
        };
        Some(Score { mean: mean_over(&values), low_high })
    }

    fn floor(&self, role: Role) -> Option<f64> {
        let (name, _) = self.models.iter().find(|(_, other)| *other == role)?;
        Some(self.score(name, "best.top1")?.mean)
    }
}

/// Fills the report: cards, sentences, tables, figures.
pub(super) fn tell(report: &mut Report, material: &Material) {
    let (cards, summary) = (cards(material), summary(material));
    report.story.push(Block::Numbers(cards));
    report.story.push(Block::Heading("What was found".into()));
    report.story.push(Block::Text(summary));
    add_table(report, best_layers(material));
    report.story.push(Block::Heading("How good is every layer?".into()));
    for (part, name, title) in [
        (Part::Mean, "knn_mean_of_patches", "kNN on the mean of the patch tokens, layer by layer"),
        (Part::Class, "knn_class_token", "kNN on the class token, layer by layer"),
    ] {
        if let Some(figure) = layer_curves(material, part, name, title) {
            add_figure(report, figure);
        }
    }
    if let Some(figure) = distances(material) {
        report.story.push(Block::Heading("How far do the heads look?".into()));
        add_figure(report, figure);
    }
    if let Some(figure) = together::layers_alike(material) {
        report.story.push(Block::Heading("Which layers are alike?".into()));
        add_figure(report, figure);
    }
    let previews = previews(material);
    let curves = learning_curves(material);
    if !previews.is_empty() || !curves.is_empty() {
        report.story.push(Block::Heading("What training did".into()));
    }
    for figure in previews.into_iter().chain(curves) {
        add_figure(report, figure);
    }
    if let Some(samples) = &material.samples {
        report.story.push(Block::Heading("The data".into()));
        let caption = "Samples of the test side, at the size at which the models see them.";
        add_figure(report, Figure::new("samples", "Samples", caption, FigureData::Image(samples.clone())));
    }
}

fn add_table(report: &mut Report, table: Table) {
    report.story.push(Block::Table(table.name.clone()));
    report.tables.push(table);
}

fn add_figure(report: &mut Report, figure: Figure) {
    report.story.push(Block::Figure(figure.name.clone()));
    report.figures.push(figure);
}

fn percent(value: f64) -> String {
    format!("{:.1} %", 100.0 * value)
}

fn points(value: f64) -> String {
    let sign = if value < 0.0 { '−' } else { '+' };
    format!("{sign}{:.1} points", 100.0 * value.abs())
}

fn cards(material: &Material) -> Vec<(String, String, String)> {
    let mut cards = Vec::new();
    for (name, _) in &material.models {
        let Some(score) = material.score(name, "best.top1") else { continue };
        let note = match score.low_high {
            Some((low, high)) => {
                format!("kNN top-1, best layer; 95 %: {:.1}–{:.1}", 100.0 * low, 100.0 * high)
            }
            None => "kNN top-1, best layer".into(),
        };
        cards.push((name.clone(), percent(score.mean), note));
    }
    let chance = 1.0 / material.n_classes.max(1) as f64;
    cards.push(("chance".into(), percent(chance), format!("{} classes", material.n_classes)));
    cards
}

fn summary(material: &Material) -> String {
    let mut sentences = Vec::new();
    let (raw, untrained) = (material.floor(Role::RawPixels), material.floor(Role::Untrained));
    for (name, role) in &material.models {
        if matches!(role, Role::RawPixels | Role::Untrained) {
            continue;
        }
        let Some(score) = material.score(name, "best.top1") else { continue };
        let mut sentence = format!("`{name}` reaches {} at its best layer", percent(score.mean));
        if let Some(untrained) = untrained {
            sentence += &format!(", {} against the untrained model", points(score.mean - untrained));
        }
        if let Some(raw) = raw {
            let difference = score.mean - raw;
            sentence += &format!(" and {} against raw pixels", points(difference));
            if difference < 0.0 {
                sentence += ": it stays below the pixels it was given";
            }
        }
        sentences.push(sentence + ".");
        let heads: Vec<f64> = material.of(name).iter().filter_map(|run| run.own_top1).collect();
        if !heads.is_empty() {
            sentences.push(format!(
                "Its own classifier is right on {} of the test side.",
                percent(mean_over(&heads))
            ));
        }
    }
    let n_seeds = material.seeds.len();
    sentences.push(if n_seeds > 1 {
        format!(
            "All numbers are means over {n_seeds} seeds with Student's 95 % intervals; the best layer is chosen on \
             held-out training samples, never on the test side."
        )
    } else {
        "One seed: intervals are bootstrap over test samples and say nothing of other seeds. The best layer is chosen \
         on held-out training samples, never on the test side."
            .into()
    });
    sentences.join(" ")
}

fn best_layers(material: &Material) -> Table {
    let mut table = Table::new(
        "best_layers",
        "Best layers",
        [
            "model",
            "best features",
            "held-out top-1",
            "test top-1",
            "95 % low",
            "95 % high",
            "vs untrained",
            "vs raw pixels",
            "own classifier",
        ],
    );
    let (raw, untrained) = (material.floor(Role::RawPixels), material.floor(Role::Untrained));
    for (name, _) in &material.models {
        let Some(score) = material.score(name, "best.top1") else { continue };
        let runs = material.of(name);
        let mut selects: Vec<String> =
            runs.iter().filter_map(|run| run.metric("knn", "best.top1")?.select.clone()).collect();
        selects.dedup();
        let heads: Vec<f64> = runs.iter().filter_map(|run| run.own_top1).collect();
        table.push([
            Cell::from(name.clone()),
            Cell::from(selects.join(", ")),
            Cell::from(material.score(name, "best.held_out_top1").map(|score| score.mean)),
            Cell::from(score.mean),
            Cell::from(score.low_high.map(|(low, _)| low)),
            Cell::from(score.low_high.map(|(_, high)| high)),
            Cell::from(untrained.map(|floor| score.mean - floor)),
            Cell::from(raw.map(|floor| score.mean - floor)),
            Cell::from((!heads.is_empty()).then(|| mean_over(&heads))),
        ]);
    }
    let chance = 1.0 / material.n_classes.max(1) as f64;
    table.push(
        [Cell::from("chance"), Cell::Empty, Cell::Empty, Cell::from(chance)]
            .into_iter()
            .chain(std::iter::repeat_n(Cell::Empty, 5)),
    );
    table.note(format!(
        "kNN with k = {}; the same candidates (every block and the final norm, class token and mean of patches) for \
         every model, the best chosen on held-out training samples.",
        material.headline_k
    ))
}

fn layer_curves(material: &Material, part: Part, name: &str, title: &str) -> Option<Figure> {
    let mut series = Vec::new();
    let mut depth = 0;
    for (model, role) in &material.models {
        if *role == Role::RawPixels {
            continue;
        }
        let curves: Vec<Vec<(f64, f64)>> = material
            .of(model)
            .iter()
            .map(|run| run.layer_curve("knn", "top1", part, material.headline_k))
            .collect();
        let Some(first) = curves.first().filter(|curve| !curve.is_empty()) else { continue };
        depth = depth.max(first.len().saturating_sub(1));
        let at = |i: usize| {
            curves.iter().filter_map(|curve| curve.get(i)).map(|point| point.1).collect::<Vec<_>>()
        };
        let points = first.iter().enumerate().map(|(i, point)| (point.0, mean_over(&at(i)))).collect();
        let mut line = Series::new(model.clone(), points);
        if curves.len() > 1 {
            let intervals = (0..first.len()).map(|i| t_interval(&at(i)));
            line = line.band(intervals.map(|interval| (interval.low, interval.high)).collect());
        }
        if *role == Role::Untrained {
            line = line.style(SeriesStyle::Dashed);
        }
        series.push(line);
    }
    if series.is_empty() {
        return None;
    }
    let mut reference_lines = vec![("chance".into(), 1.0 / material.n_classes.max(1) as f64)];
    if let Some(raw) = material.floor(Role::RawPixels) {
        reference_lines.push(("raw pixels".into(), raw));
    }
    let plot = LinePlot {
        x_label: format!("block ({depth} is after the final norm)"),
        y_label: "top-1 on the test side".into(),
        series,
        reference_lines,
    };
    let caption = "Share of test samples whose class wins the vote of their nearest training samples. A line above \
                   raw pixels means that the layer brings pictures of one class together; a line below does not mean \
                   that the class cannot be read out by a trained classifier.";
    Some(Figure::new(name, title, caption, FigureData::Line(plot)))
}

fn distances(material: &Material) -> Option<Figure> {
    let mut series = Vec::new();
    let mut uniform = None;
    let shown: Vec<&String> =
        material.models.iter().filter(|(_, role)| *role != Role::RawPixels).map(|(name, _)| name).collect();
    for (place, model) in shown.iter().enumerate() {
        let Some(run) = material.of(model).into_iter().next() else { continue };
        // Side by side within a block, so that no model hides another.
        let shift = (place as f64 - (shown.len() as f64 - 1.0) / 2.0) * 0.18;
        let dots: Vec<(f64, f64)> = run
            .metrics("attention-distance", "distance_unit_square")
            .filter_map(|metric| Some((metric.layer? as f64 + shift, metric.value)))
            .collect();
        uniform = uniform.or(run.value("attention-distance", "uniform.distance_unit_square"));
        if !dots.is_empty() {
            series.push(Series::new((*model).clone(), dots));
        }
    }
    if series.is_empty() {
        return None;
    }
    let uniform = uniform.map_or(String::new(), |value| {
        format!(" A head that looks everywhere alike would stand at {value:.2}.")
    });
    let caption = format!(
        "One dot a head: the mean distance between a patch and where it looks, on the unit square, over test images \
         of the first seed; models stand side by side within each block.{uniform} Heads low in the figure look near. \
         The mean says nothing of direction or of what is looked at."
    );
    let plot = ScatterPlot { x_label: "block".into(), y_label: "distance (unit square)".into(), series };
    Some(Figure::new(
        "attention_distance",
        "Mean attention distance of every head",
        caption,
        FigureData::Scatter(plot),
    ))
}

fn previews(material: &Material) -> Vec<Figure> {
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

fn learning_curves(material: &Material) -> Vec<Figure> {
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
