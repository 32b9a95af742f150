//! A probe's number at every layer, one line a model; over relative depth where models differ in depth.

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
    let mut figures = Vec::new();
    for features in &kinds {
        figures.extend(curve(material, probe, features, Axis::Block));
        // Blocks of models of different depth are not the same places.
        if depths(material, probe).len() > 1 {
            figures.extend(curve(material, probe, features, Axis::RelativeDepth));
        }
    }
    figures
}

/// What the horizontal axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    /// Blocks, from 0.
    Block,
    /// From 0, the first block, to 1, the last place that was asked.
    RelativeDepth,
}

/// The last place that a probe asked of a model; none of raw pixels.
pub(super) fn depth(material: &Material, model: &str, probe: &str) -> Option<f64> {
    let runs = material.of(model);
    let curves = runs.first()?.layer_curves(probe);
    curves.values().flatten().map(|point| point.0).reduce(f64::max)
}

/// The different depths of the models, in blocks.
fn depths(material: &Material, probe: &Info) -> BTreeSet<u64> {
    let of = |(model, _): &(String, Role)| depth(material, model, probe.name).map(|depth| depth as u64);
    material.models.iter().filter_map(of).collect()
}

/// What features are called, in a title and in a name.
fn words(features: &str) -> (String, String) {
    match features {
        "mean" => ("the mean of the patch tokens".into(), "mean_of_patches".into()),
        "cls" => ("the class token".into(), "class_token".into()),
        other => (other.to_owned(), other.replace('*', "")),
    }
}

fn curve(material: &Material, probe: &Info, features: &str, axis: Axis) -> Option<Figure> {
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
        let last =
            depth(material, model, probe.name).filter(|&last| axis == Axis::RelativeDepth && last > 0.0);
        let place = |layer: f64| last.map_or(layer, |last| layer / last);
        let points = first.iter().enumerate().map(|(i, point)| (place(point.0), mean_over(&at(i)))).collect();
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
        x_label: match axis {
            Axis::Block => format!("block ({deepest:.0} is after the last one)"),
            Axis::RelativeDepth => "relative depth (0 is the first block, 1 the last place)".into(),
        },
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
    let (how, name) = match axis {
        Axis::Block => ("layer by layer", name),
        Axis::RelativeDepth => ("by relative depth", format!("{name}_by_depth")),
    };
    let title = format!("{} on {title_words}, {how}", display_name(probe.name));
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

#[cfg(test)]
mod tests {
    use super::super::super::answers::Answers;
    use super::*;
    use report::{Kind, Metric, Provenance, Report};
    use std::collections::BTreeMap;

    /// A model with a number at each of `depth` blocks and behind the norm.
    fn answers(model: &str, depth: usize) -> Answers {
        let mut report = Report::new("p", Kind::Probe, "", model, "d", Provenance::default());
        for layer in 0..=depth {
            let select = if layer == depth { "norm.mean".to_owned() } else { format!("block{layer}.mean") };
            report.metrics.push(Metric::new("top1", 0.5, "ratio").layer(layer).select(select));
        }
        report.metrics.push(Metric::new("best.top1", 0.5, "ratio").layer(1).select("block1.mean"));
        report.metrics.push(Metric::new("oracle.top1", 0.5, "ratio").layer(depth).select("norm.mean"));
        let studies = BTreeMap::from([("p".to_owned(), report)]);
        Answers { studies, ..Answers::new(model, 0) }
    }

    const PROBE: Info = Info { name: "p", line: "a probe", source: "this test" };

    fn material(answers: &[Answers]) -> Material<'_> {
        Material {
            answers,
            models: answers.iter().map(|run| (run.model.clone(), Role::Given)).collect(),
            probes: vec![PROBE],
            analyses: Vec::new(),
            samples: None,
            n_classes: 2,
            seeds: &[0],
        }
    }

    #[test]
    fn models_of_different_depth_are_also_shown_over_relative_depth() {
        let alike = [answers("a", 4), answers("b", 4)];
        assert_eq!(curves(&material(&alike), &PROBE).len(), 1);
        let different = [answers("a", 4), answers("b", 8)];
        let figures = curves(&material(&different), &PROBE);
        let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(names, ["p_mean_of_patches", "p_mean_of_patches_by_depth"]);
        let FigureData::Line(plot) = &figures[1].data else { panic!("lines") };
        for series in &plot.series {
            let (first, last) = (series.points[0].0, series.points[series.points.len() - 1].0);
            assert_eq!((first, last), (0.0, 1.0), "{}", series.name);
        }
    }

    #[test]
    fn the_table_of_best_layers_has_a_row_for_each_model_and_two_columns_for_each_probe() {
        let different = [answers("a", 4), answers("b", 8)];
        let table = super::super::scores::best_layer_by_task(&material(&different)).expect("a table");
        assert_eq!(table.columns, ["model", "P", "P, best on test"]);
        let texts: Vec<String> = table.rows.iter().flatten().map(|cell| format!("{cell:?}")).collect();
        let expected =
            ["a", "block1.mean (0.25)", "norm.mean (1.00)", "b", "block1.mean (0.12)", "norm.mean (1.00)"];
        assert_eq!(texts, expected.map(|text| format!("Text({text:?})")));
    }
}
