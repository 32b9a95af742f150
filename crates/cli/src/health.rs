//! What a run's log tells of its health, as figures and sentences of its report.

use anyhow::Context;
use report::{Block, Figure, FigureData, LinePlot, Report, Series};
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

/// Curves of the health of training, and the alarms that were raised; nothing where nothing was looked at.
pub(crate) fn describe(report: &mut Report, log: &Path) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(log).with_context(|| format!("cannot read the log {}", log.display()))?;
    let mut curves: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let (mut alarms, mut causes) = (Vec::new(), BTreeSet::new());
    for line in text.lines() {
        let line: Value =
            serde_json::from_str(line).with_context(|| format!("malformed log {}", log.display()))?;
        let Some(epoch) = line["epoch"].as_f64() else { continue };
        for name in SHARES.iter().map(|(name, _)| *name).chain(["rank_me"]) {
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
    if !alarms.is_empty() {
        report.story.push(Block::Text(format!("Alarms: {}.", alarms.join("; "))));
    }
    Ok(())
}

fn figure(name: &str, title: &str, y_label: &str, caption: &str, series: Vec<Series>) -> Figure {
    let plot =
        LinePlot { x_label: "epoch".into(), y_label: y_label.into(), series, reference_lines: Vec::new() };
    Figure::new(name, title, caption, FigureData::Line(plot))
}
