//! What probes of every layer share: which features are asked, and how their scores are told.

use measure::interval::Interval;
use report::{Block, Cell, Figure, FigureData, LinePlot, Metric, RecipeError, Series, Table};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use vit_core::Site;
use vit_features::{Bank, Findings, Part, Place, Select, Shapes, StudyError};

/// Refuses tokens other than `cls` and `mean`.
pub(crate) fn check_tokens(tokens: &[String]) -> Result<(), RecipeError> {
    if tokens.is_empty() || tokens.iter().any(|token| token != "cls" && token != "mean") {
        return Err(RecipeError::value("tokens", "`cls`, `mean`, or both", format!("{tokens:?}")));
    }
    Ok(())
}

/// The keys of an alternative, with its `kind` where none is said: so that one key of the default can be set alone.
pub(crate) fn with_kind<'de, D: Deserializer<'de>>(deserializer: D, kind: &str) -> Result<Value, D::Error> {
    let mut keys = serde_json::Map::deserialize(deserializer)?;
    keys.entry("kind").or_insert_with(|| kind.into());
    Ok(Value::Object(keys))
}

/// What is asked: pixels where there is no model, else tokens at every block and after the final norm.
pub(crate) fn candidates(study: &str, tokens: &[String], shapes: &Shapes) -> Result<Vec<Select>, StudyError> {
    if shapes.depth == 0 {
        return Ok(vec![Select::PIXELS]);
    }
    let mut parts = Vec::new();
    for token in tokens {
        match token.as_str() {
            "cls" if shapes.has_class => parts.push(Part::Class),
            "cls" => {}
            _ => parts.push(Part::Mean),
        }
    }
    if parts.is_empty() {
        return Err(StudyError::Model {
            study: study.into(),
            needs: "a class token (tokens = [\"cls\"])".into(),
            found: "a model without one".into(),
            model: shapes.model.clone(),
        });
    }
    let mut places: Vec<Place> = shapes.blocks.iter().map(|&block| Place::At(Site::Block(block))).collect();
    if shapes.has_norm && shapes.blocks.contains(&(shapes.depth - 1)) {
        places.push(Place::At(Site::Norm));
    }
    Ok(places.into_iter().flat_map(|place| parts.iter().map(move |&part| Select { place, part })).collect())
}

/// The classes of the data, or as many as its labels name.
pub(crate) fn n_classes(shapes: &Shapes, train: &Bank, test: &Bank) -> usize {
    let most = train.labels().iter().chain(test.labels()).max().map_or(0, |&class| class as usize + 1);
    shapes.n_classes.max(most)
}

/// The name of a class, or its number.
pub(crate) fn class_name(shapes: &Shapes, class: usize) -> String {
    shapes.classes.get(class).cloned().unwrap_or_else(|| class.to_string())
}

/// The metric at a select and its layer.
pub(crate) fn at(metric: Metric, select: Select, shapes: &Shapes) -> Metric {
    let metric = metric.select(select.to_string());
    match select.layer(shapes.depth) {
        Some(layer) => metric.layer(layer),
        None => metric,
    }
}

/// How well the features of one select do.
pub(crate) struct Scored {
    /// Where they are from.
    pub(crate) select: Select,
    /// Accuracy on held-out training samples, by which the best layer is chosen.
    pub(crate) held_out: f64,
    /// Accuracy on the test side.
    pub(crate) test: f64,
    /// How far that may be trusted.
    pub(crate) interval: Interval,
    /// What tells its metrics from their siblings.
    pub(crate) params: Vec<(&'static str, Value)>,
    /// Which test samples it is right on; none where its accuracy is a mean over episodes.
    pub(crate) right: Option<Vec<bool>>,
}

/// The words in which scores are told.
pub(crate) struct Words {
    /// The study's name.
    pub(crate) study: &'static str,
    /// What stands in titles before `accuracy by layer`.
    pub(crate) title: &'static str,
    /// How the curve is read.
    pub(crate) caption: String,
    /// What the table's note says first: the settings.
    pub(crate) settings: String,
    /// What the intervals are.
    pub(crate) intervals: &'static str,
    /// The parameter that was chosen for each select, where there is one.
    pub(crate) chosen: Option<&'static str>,
}

/// Adds the metrics `held_out_top1`, `best.…`, `oracle.top1` and `chance`, the table `by_layer` and the curve, and
/// tells which score is the best on the held-out samples.
pub(crate) fn tell(
    words: &Words,
    shapes: &Shapes,
    n_classes: usize,
    scored: &[Scored],
    findings: &mut Findings,
) -> Result<usize, StudyError> {
    let mut columns = vec!["features", "layer", "held-out top-1"];
    columns.extend(words.chosen);
    columns.extend(["test top-1", "95 % low", "95 % high"]);
    let mut table = Table::new("by_layer", format!("{} accuracy by layer", words.title), columns);
    let mut curves: BTreeMap<Part, Vec<(f64, f64)>> = BTreeMap::new();
    let metric = |name: &str, value: f64, of: &Scored| {
        let metric = at(Metric::new(name, value, "ratio"), of.select, shapes);
        of.params.iter().fold(metric, |metric, (key, value)| metric.param(*key, value.clone()))
    };
    for one in scored {
        findings.metrics.push(metric("held_out_top1", one.held_out, one));
        let layer = one.select.layer(shapes.depth);
        let mut row = vec![Cell::from(one.select.to_string()), Cell::from(layer), Cell::from(one.held_out)];
        if let Some(chosen) = words.chosen {
            let value =
                one.params.iter().find(|(key, _)| *key == chosen).and_then(|(_, value)| value.as_f64());
            row.push(Cell::from(value));
        }
        row.extend([one.test, one.interval.low, one.interval.high].map(Cell::from));
        table.push(row);
        // What a select is called on the axis: the block, or one past the last for the final norm.
        let position = layer.map_or(0.0, |layer| layer as f64);
        curves.entry(one.select.part).or_default().push((position, one.test));
    }
    let first_best = |score: fn(&Scored) -> f64| {
        let best = scored
            .iter()
            .enumerate()
            .reduce(|best, next| if score(next.1) > score(best.1) { next } else { best });
        best.ok_or_else(|| StudyError::Value {
            study: words.study.into(),
            expected: "at least one layer".into(),
            found: "none".into(),
        })
    };
    let (best_idx, best) = first_best(|one| one.held_out)?;
    let (_, oracle) = first_best(|one| one.test)?;
    findings.metrics.push(metric("best.top1", best.test, best));
    findings.metrics.push(metric("best.top1_low", best.interval.low, best));
    findings.metrics.push(metric("best.top1_high", best.interval.high, best));
    findings.metrics.push(metric("best.held_out_top1", best.held_out, best));
    findings.metrics.push(metric("oracle.top1", oracle.test, oracle));
    findings.metrics.push(Metric::new("chance", 1.0 / n_classes as f64, "ratio"));
    if let Some(right) = &best.right {
        findings.mark_correct(right);
    }
    findings.tables.push(table.note(format!(
        "{}. The best layer ({}) is chosen on held-out training samples; choosing on the test side itself would give \
         {:.3} ({}). {}.",
        words.settings, best.select, oracle.test, oracle.select, words.intervals
    )));
    if shapes.depth > 0 {
        let figure = curve(words, shapes, curves, n_classes);
        findings.story.push(Block::Figure(figure.name.clone()));
        findings.figures.push(figure);
    }
    findings.story.push(Block::Table("by_layer".into()));
    Ok(best_idx)
}

fn curve(
    words: &Words,
    shapes: &Shapes,
    curves: BTreeMap<Part, Vec<(f64, f64)>>,
    n_classes: usize,
) -> Figure {
    let series = curves.into_iter().map(|(part, points)| {
        let name = match part {
            Part::Class => "class token",
            Part::Mean => "mean of patches",
            Part::Registers => "registers",
            Part::Patches => "single patches",
        };
        Series::new(name, points)
    });
    let plot = LinePlot {
        x_label: format!("block ({} is after the final norm)", shapes.depth),
        y_label: "top-1".into(),
        series: series.collect(),
        reference_lines: vec![("chance".into(), 1.0 / n_classes as f64)],
    };
    let name = format!("{}_by_layer", words.study.replace('-', "_"));
    let title = format!("{} accuracy by layer", words.title);
    Figure::new(name, title, words.caption.clone(), FigureData::Line(plot))
}
