//! A probe's number at every layer, one line a model.

use super::super::answers::{Role, mean_over};
use super::{Material, display_name, part_name};
use measure::interval::t_interval;
use report::{Figure, FigureData, Info, LinePlot, Series, SeriesStyle};
use std::collections::BTreeSet;

/// One figure for each kind of features that the probe asked.
pub(super) fn curves(material: &Material, probe: &Info) -> Vec<Figure> {
    let all: BTreeSet<String> =
        material.answers.iter().flat_map(|run| run.layer_curves(probe.name).into_keys()).collect();
    let mut kinds: Vec<String> = all.into_iter().collect();
    // The mean of the patches is what every encoder has.
    kinds.sort_by_key(|kind| (kind != "mean", kind != "cls", kind.clone()));
    kinds.iter().filter_map(|features| curve(material, probe, features)).collect()
}

/// What features are called, in a title and in a name.
fn words(features: &str) -> (String, String) {
    match features {
        "mean" => ("the mean of the patch tokens".into(), "mean_of_patches".into()),
        "cls" => ("the class token".into(), "class_token".into()),
        other => (other.to_owned(), other.replace('*', "")),
    }
}

fn curve(material: &Material, probe: &Info, features: &str) -> Option<Figure> {
    let mut series = Vec::new();
    let mut deepest = 0.0_f64;
    for (model, role) in &material.models {
        if *role == Role::RawPixels {
            continue;
        }
        let runs = material.of(model);
        let curves: Vec<Vec<(f64, f64)>> =
            runs.iter().filter_map(|run| run.layer_curves(probe.name).remove(features)).collect();
        let Some(first) = curves.first().filter(|curve| !curve.is_empty()) else { continue };
        deepest = first.iter().fold(deepest, |most, point| most.max(point.0));
        let at = |i: usize| {
            curves.iter().filter_map(|curve| curve.get(i)).map(|point| point.1).collect::<Vec<_>>()
        };
        let points = first.iter().enumerate().map(|(i, point)| (point.0, mean_over(&at(i)))).collect();
        let mut line = Series::new(model.clone(), points);
        if curves.len() > 1 && (0..first.len()).all(|i| at(i).len() > 1) {
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
    let mut reference_lines = Vec::new();
    reference_lines.extend(material.chance_of(probe.name).map(|chance| ("chance".to_owned(), chance)));
    let raw = material.floor(Role::RawPixels, probe.name);
    reference_lines.extend(raw.map(|raw| ("raw pixels".to_owned(), raw)));
    let metric = material.metric_words(probe.name);
    let plot = LinePlot {
        x_label: format!("block ({deepest:.0} is after the last one)"),
        y_label: format!("{metric} on the test side"),
        series,
        reference_lines,
    };
    let bands = if material.seeds.len() > 1 { " Bands are 95 % intervals over seeds." } else { "" };
    let caption = format!(
        "{} Compare a line with the untrained one and with raw pixels before anything else: above both, the layer \
         holds something that was learned.{bands}",
        own_caption(material, probe)
    );
    let (title_words, name) = words(features);
    let title = format!("{} on {title_words}, layer by layer", display_name(probe.name));
    Some(Figure::new(part_name(probe.name, &name), title, caption.trim(), FigureData::Line(plot)))
}

/// How the probe itself says that its curve is to be read.
fn own_caption(material: &Material, probe: &Info) -> String {
    let figures = material
        .answers
        .iter()
        .filter_map(|run| run.studies.get(probe.name))
        .flat_map(|report| &report.figures);
    let curve =
        figures.filter(|figure| matches!(figure.data, FigureData::Line(_))).map(|figure| &figure.caption);
    curve.into_iter().next().cloned().unwrap_or_default()
}
