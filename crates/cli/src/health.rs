//! What a run's log tells of its health, as figures and sentences of its report.

use anyhow::Context;
use report::{Block, Figure, FigureData, LinePlot, Metric, Report, Series};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Readings between 0 and 1, with what they are called in a figure.
const SHARES: [(&str, &str); 5] = [
    ("teacher_entropy_share", "entropy of targets / ln K"),
    ("mean_target_entropy_share", "entropy of the mean target / ln K"),
    ("class_loss_share", "class loss / ln K"),
    ("feature_std", "spread of class tokens"),
    ("head_std", "spread of the head's output"),
];

/// Scores of the encoder on held-out data, with what they are called in a figure.
pub(crate) const SCORES: [(&str, &str); 4] = [
    ("knn_top1_cls", "kNN, class token"),
    ("knn_top1_mean", "kNN, mean of the patches"),
    ("linear_top1_cls", "linear probe, class token"),
    ("linear_top1_mean", "linear probe, mean of the patches"),
];

/// Curves of the health of training and of the encoder's scores, and the alarms that were raised; nothing where nothing
/// was looked at.
pub(crate) fn describe(report: &mut Report, log: &Path, n_classes: usize) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(log).with_context(|| format!("cannot read the log {}", log.display()))?;
    let mut curves: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let (mut alarms, mut causes) = (Vec::new(), BTreeSet::new());
    for line in text.lines() {
        let line: Value =
            serde_json::from_str(line).with_context(|| format!("malformed log {}", log.display()))?;
        let Some(epoch) = line["epoch"].as_f64() else { continue };
        for name in SHARES.iter().chain(&SCORES).map(|(name, _)| *name).chain(["rank_me"]) {
            if let Some(value) = line[name].as_f64() {
                curves.entry(name.to_owned()).or_default().push((epoch, value));
            }
        }
        for alarm in line["alarms"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let cause = alarm.split(':').next().unwrap_or_default().to_owned();
            if causes.insert(cause) {
                alarms.push(format!("step {}: {alarm}", line["step"]));
            }
        }
    }
    let shares =
        SHARES.iter().filter_map(|(name, label)| Some(Series::new(*label, curves.get(*name)?.clone())));
    let shares: Vec<Series> = shares.collect();
    if !shares.is_empty() {
        report.figures.push(figure(
            "health",
            "Health of training",
            "share",
            "Targets should be neither uniform (entropy 1) nor all alike (entropy of the mean near 0), and features \
             should spread; see the page on training.",
            shares,
        ));
    }
    if let Some(rank) = curves.get("rank_me") {
        report.figures.push(figure(
            "rank_me",
            "Effective rank of the class tokens",
            "RankMe",
            "How many dimensions the teacher's class tokens of a batch use.",
            vec![Series::new("RankMe", rank.clone())],
        ));
    }
    let scores =
        SCORES.iter().filter_map(|(name, label)| Some(Series::new(*label, curves.get(*name)?.clone())));
    let scores: Vec<Series> = scores.collect();
    if !scores.is_empty() {
        for (name, _) in SCORES {
            let last = curves.get(name).and_then(|curve| curve.last());
            report.metrics.extend(last.map(|(_, value)| Metric::new(name, *value, "ratio")));
        }
        report.figures.push(scores_figure(scores, n_classes));
    }
    if !alarms.is_empty() {
        report.story.push(Block::Text(format!("Alarms: {}.", alarms.join("; "))));
    }
    Ok(())
}

/// Scores over the epochs, with chance.
pub(crate) fn scores_figure(series: Vec<Series>, n_classes: usize) -> Figure {
    let mut figure = figure(
        "scores",
        "What the features tell on the way",
        "top-1",
        "Accuracy on a few held-out samples, learned from a few hundred of the training side: a trend, not the number \
         that a probe of the whole data gives. The first point is the untrained encoder.",
        series,
    );
    if let FigureData::Line(plot) = &mut figure.data {
        plot.reference_lines.push(("chance".into(), 1.0 / n_classes.max(1) as f64));
    }
    figure
}

fn figure(name: &str, title: &str, y_label: &str, caption: &str, series: Vec<Series>) -> Figure {
    let plot =
        LinePlot { x_label: "epoch".into(), y_label: y_label.into(), series, reference_lines: Vec::new() };
    Figure::new(name, title, caption, FigureData::Line(plot))
}
