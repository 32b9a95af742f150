//! How the scores of every layer are told where they are not accuracies: the choice on held-out samples, floor and ceiling.

use measure::interval::{Interval, t_interval};
use report::{Block, Cell, Figure, FigureData, LinePlot, Metric, Series, Table};
use std::collections::BTreeMap;
use vit_features::{Findings, Select, Shapes, StudyError};

use crate::by_layer::at;

/// How well the features of one select do.
pub(crate) struct Score {
    /// Where they are from.
    pub(crate) select: Select,
    /// The score of what is held out, by which the best layer is chosen.
    pub(crate) held_out: f64,
    /// The score that counts.
    pub(crate) test: f64,
    /// How far that may be trusted.
    pub(crate) interval: Interval,
    /// Further numbers of the same samples, in the order of [`Words::beside`].
    pub(crate) beside: Vec<f64>,
}

/// The words in which scores are told.
pub(crate) struct Words<'a> {
    /// The study's name.
    pub(crate) study: &'static str,
    /// The score's name among the metrics.
    pub(crate) metric: &'static str,
    /// What people call it.
    pub(crate) title: &'static str,
    /// How the curve is read.
    pub(crate) caption: &'a str,
    /// What the table's note says first: the settings.
    pub(crate) settings: String,
    /// The names of further metrics.
    pub(crate) beside: &'a [&'a str],
    /// The score without looking.
    pub(crate) chance: f64,
    /// The score of perfect features, where something other than features bounds it.
    pub(crate) ceiling: f64,
}

/// Those by which the layer is chosen, and those that count: one in four and the others, or all for both, as published numbers have it.
pub(crate) fn halves<T>(all: &[T], hold_out: bool) -> (Vec<&T>, Vec<&T>) {
    if !hold_out {
        return (all.iter().collect(), all.iter().collect());
    }
    let (held_out, counting): (Vec<_>, Vec<_>) =
        all.iter().enumerate().partition(|(rank, _)| crate::patches::is_held_out(*rank));
    let only = |ranked: Vec<(usize, _)>| ranked.into_iter().map(|(_, one)| one).collect();
    (only(held_out), only(counting))
}

/// Adds the metrics `NAME`, `held_out_NAME`, `best.NAME` with its interval, `oracle.NAME`, `chance` and `ceiling`, the table `by_layer` and the
/// curve; tells which score is the best on what was held out.
pub(crate) fn tell(
    words: &Words,
    shapes: &Shapes,
    scores: &[Score],
    findings: &mut Findings,
) -> Result<usize, StudyError> {
    tell_as(words, ChosenBy::HeldOut, shapes, scores, findings)
}

/// By what the best layer is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChosenBy {
    /// By what is held out and does not count.
    HeldOut,
    /// By what counts.
    WhatCounts,
}

impl ChosenBy {
    /// Of the option `hold_out`.
    pub(crate) fn of(hold_out: bool) -> Self {
        if hold_out { Self::HeldOut } else { Self::WhatCounts }
    }
}

/// The same, where the choice may be that of published numbers.
pub(crate) fn tell_as(
    words: &Words,
    chosen_by: ChosenBy,
    shapes: &Shapes,
    scores: &[Score],
    findings: &mut Findings,
) -> Result<usize, StudyError> {
    let mut columns = vec!["features", "layer", "held out", words.metric, "95 % low", "95 % high"];
    columns.extend(words.beside);
    let mut table = Table::new("by_layer", format!("{} by layer", words.title), columns);
    let metric =
        |name: &str, value: f64, of: &Score| at(Metric::new(name, value, "ratio"), of.select, shapes);
    for score in scores {
        findings.metrics.push(metric(words.metric, score.test, score));
        findings.metrics.push(metric(&format!("held_out_{}", words.metric), score.held_out, score));
        for (name, &value) in words.beside.iter().zip(&score.beside) {
            findings.metrics.push(metric(name, value, score));
        }
        let layer = score.select.layer(shapes.depth);
        let mut row = vec![Cell::from(score.select.to_string()), Cell::from(layer)];
        row.extend([score.held_out, score.test, score.interval.low, score.interval.high].map(Cell::from));
        row.extend(score.beside.iter().map(|&value| Cell::from(value)));
        table.push(row);
    }
    let first_best = |value: fn(&Score) -> f64| {
        let all = scores.iter().enumerate();
        let best = all.reduce(|best, next| if value(next.1) > value(best.1) { next } else { best });
        best.ok_or_else(|| StudyError::Value {
            study: words.study.into(),
            expected: "at least one layer".into(),
            found: "none".into(),
        })
    };
    let (best_idx, best) = first_best(|score| score.held_out)?;
    let (_, oracle) = first_best(|score| score.test)?;
    let name = words.metric;
    for (suffix, value) in [("", best.test), ("_low", best.interval.low), ("_high", best.interval.high)] {
        findings.metrics.push(metric(&format!("best.{name}{suffix}"), value, best));
    }
    findings.metrics.push(metric(&format!("best.held_out_{name}"), best.held_out, best));
    findings.metrics.push(metric(&format!("oracle.{name}"), oracle.test, oracle));
    findings.metrics.push(Metric::new("chance", words.chance, "ratio"));
    findings.metrics.push(Metric::new("ceiling", words.ceiling, "ratio"));
    let choice = match chosen_by {
        ChosenBy::HeldOut => format!(
            "is chosen on what is held out, which does not count; choosing on what counts would give {:.3} ({})",
            oracle.test, oracle.select
        ),
        ChosenBy::WhatCounts => "is the best on what counts, as published numbers have it".to_owned(),
    };
    findings.tables.push(table.note(format!(
        "{}. The best layer ({}) {choice}. Without looking: {:.3}; with perfect features: {:.3}.",
        words.settings, best.select, words.chance, words.ceiling
    )));
    let mut curves: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for score in scores {
        let Some(layer) = score.select.layer(shapes.depth) else { continue };
        curves.entry(kind(score.select)).or_default().push((layer as f64, score.test));
    }
    let plot = LinePlot {
        x_label: format!("block ({} is after the final norm)", shapes.depth),
        y_label: words.title.into(),
        series: curves.into_iter().map(|(name, points)| Series::new(name, points)).collect(),
        reference_lines: vec![("chance".into(), words.chance), ("ceiling".into(), words.ceiling)],
    };
    let name = format!("{}_by_layer", words.study.replace('-', "_"));
    let title = format!("{} by layer", words.title);
    findings.story.push(Block::Figure(name.clone()));
    findings.figures.push(Figure::new(name, title, words.caption, FigureData::Line(plot)));
    findings.story.push(Block::Table("by_layer".into()));
    Ok(best_idx)
}

/// An interval around a number of all pixels, as wide as that of the images' own.
pub(crate) fn around(value: f64, by_image: &[f64]) -> Interval {
    if by_image.len() < 2 {
        return Interval { low: value, high: value };
    }
    let own = t_interval(by_image);
    let half = 0.5 * (own.high - own.low);
    Interval { low: value - half, high: value + half }
}

/// What selects of all layers have in common, for people.
fn kind(select: Select) -> String {
    let name = select.to_string();
    let facet =
        ["query", "key", "value", "attention", "cls", "mean"].into_iter().find(|word| name.contains(word));
    match facet {
        Some("query") => "queries".into(),
        Some("key") => "keys".into(),
        Some("value") => "values".into(),
        Some("attention") => "attention".into(),
        Some("cls") => "class token".into(),
        Some(_) => "mean of patches".into(),
        None => "patch tokens".into(),
    }
}
