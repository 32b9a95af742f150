//! The whole comparison in one table: models as columns, questions as rows, every number leading to its table.

use super::super::ALL_MODELS;
use super::super::answers::{Answers, Role};
use super::{Material, display_name, part_name};
use report::{Cell, Info, Metric, Table};

/// The table, and nothing where nobody was asked anything.
pub(super) fn table(material: &Material, tables: &[Table]) -> Option<Table> {
    let models: Vec<&str> = material.models.iter().map(|(name, _)| name.as_str()).collect();
    let columns = std::iter::once("question").chain(models.iter().copied());
    let mut overview = Table::new("overview", "Every question, every model", columns);
    for probe in &material.probes {
        let link = part_name(probe.name, "best_layers");
        let name = display_name(probe.name);
        let score = |model: &str| Cell::from(material.score(model, probe.name).map(|score| score.mean));
        let question = format!("{name}: {} at the best layer", material.metric_words(probe.name));
        overview.push_linked(row(material, probe, question, &score), known(tables, link.clone()));
        let layer = |model: &str| {
            let run = material.of(model).into_iter().next();
            Cell::from(run.and_then(|run| run.headline(probe.name)?.layer))
        };
        let question = format!("{name}: which layer that is");
        overview.push_linked(row(material, probe, question, &layer), known(tables, link));
    }
    for analysis in &material.analyses {
        let link = tables.iter().find(|table| table.name.starts_with(&part_name(analysis.name, "")));
        let link = link.map_or(String::new(), |table| table.name.clone());
        for (question, number) in questions(material, analysis) {
            let cell = |model: &str| Cell::from(number(model));
            overview.push_linked(row(material, analysis, question, &cell), link.clone());
        }
    }
    (!overview.rows.is_empty()).then(|| {
        overview.note(
            "One row a question; a number leads to the table it comes from. Means over heads say how a whole layer does, not \
             what its heads divide among themselves; blocks count from 0. The rows tell where to look, not why: read the \
             figure of a row before believing it.",
        )
    })
}

/// The name where there is such a table.
fn known(tables: &[Table], name: String) -> String {
    if tables.iter().any(|table| table.name == name) { name } else { String::new() }
}

/// A question and a cell for every model: a number, or why there is none.
fn row(material: &Material, study: &Info, question: String, cell: &dyn Fn(&str) -> Cell) -> Vec<Cell> {
    let of_model = |(model, role): &(String, Role)| match cell(model) {
        Cell::Empty => Cell::from(why_absent(material, study, model, *role)),
        cell => cell,
    };
    std::iter::once(Cell::from(question)).chain(material.models.iter().map(of_model)).collect()
}

/// Why a model has no number for a study.
fn why_absent(material: &Material, study: &Info, model: &str, role: Role) -> String {
    let place = (study.name.to_owned(), model.to_owned());
    match material.answers.iter().find_map(|run| run.absent.get(&place)) {
        Some(reason) => reason.clone(),
        None if role == Role::RawPixels => "no layers".into(),
        None => "–".into(),
    }
}

/// What gives the number of a model, by its name.
type Number<'a> = Box<dyn Fn(&str) -> Option<f64> + 'a>;

/// What can be asked of the first number of an analysis: its mean at the first and at the last layer, or, of several models
/// together, its mean over the pairs with other models.
fn questions<'a>(material: &'a Material, analysis: &'a Info) -> Vec<(String, Number<'a>)> {
    let name = display_name(analysis.name);
    let find = |wanted: fn(&Answers) -> bool| {
        let mut runs = material.answers.iter().filter(move |run| wanted(run));
        runs.find_map(|run| run.studies.get(analysis.name)?.metrics.first())
    };
    if let Some(first) = find(|run| run.model == ALL_MODELS) {
        let mean: Number<'a> = Box::new(move |model: &str| {
            let all = material.answers.iter().find(|run| run.model == ALL_MODELS)?;
            let is_of = |metric: &&Metric| {
                let sides =
                    ["model", "other_model"].map(|key| metric.params.get(key).and_then(|side| side.as_str()));
                sides[0] != sides[1] && sides.contains(&Some(model))
            };
            mean_of(all.metrics(analysis.name, &first.name).filter(is_of))
        });
        let question = format!("{name}: {}, mean over layers with the other models", words(first));
        return vec![(question, mean)];
    }
    let Some(first) = find(|run| run.model != ALL_MODELS).filter(|metric| metric.layer.is_some()) else {
        return Vec::new();
    };
    let at = move |is_last: bool| -> Number<'a> {
        Box::new(move |model: &str| {
            let run = material.of(model).into_iter().next()?;
            let all = run.metrics(analysis.name, &first.name);
            let alike: Vec<&Metric> = all.filter(|metric| metric.params == first.params).collect();
            let layers = alike.iter().filter_map(|metric| metric.layer);
            let layer = if is_last { layers.max() } else { layers.min() }?;
            mean_of(alike.into_iter().filter(|metric| metric.layer == Some(layer)))
        })
    };
    let what = words(first);
    vec![
        (format!("{name}: {what}, first block"), at(false)),
        (format!("{name}: {what}, last block"), at(true)),
    ]
}

fn mean_of<'a>(metrics: impl Iterator<Item = &'a Metric>) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0usize);
    for metric in metrics {
        sum += metric.value;
        n += 1;
    }
    (n > 0).then(|| sum / n as f64)
}

/// A metric's name, parameters and unit, for people.
fn words(metric: &Metric) -> String {
    let params = metric.params.iter().filter(|(key, _)| {
        !["model", "other_model", "other_layer", "other_select", "study", "seed"].contains(&key.as_str())
    });
    let params: Vec<String> = params
        .map(|(key, value)| {
            format!("{} {}", key.replace('_', " "), value.as_str().map_or(value.to_string(), str::to_owned))
        })
        .collect();
    let params = if params.is_empty() { String::new() } else { format!(" ({})", params.join(", ")) };
    format!("{}{params}", metric.name.replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::{Kind, Provenance, Report};
    use std::collections::BTreeMap;

    const ANALYSIS: Info = Info { name: "how-far", line: "a line", source: "a source" };

    fn answers(model: &str, values: &[(usize, usize, f64)]) -> Answers {
        let mut report = Report::new(ANALYSIS.name, Kind::Analysis, "", model, "d", Provenance::default());
        for &(layer, head, value) in values {
            report.metrics.push(Metric::new("distance_px", value, "px").layer(layer).head(head));
        }
        let (mut studies, mut absent) = (BTreeMap::new(), BTreeMap::new());
        match values {
            [] => {
                let place = (ANALYSIS.name.to_owned(), model.to_owned());
                absent.insert(place, "does not apply: needs attention".to_owned());
            }
            _ => drop(studies.insert(ANALYSIS.name.to_owned(), report)),
        }
        Answers { studies, absent, ..Answers::new(model, 0) }
    }

    #[test]
    fn a_model_has_a_number_or_the_reason_why_it_has_none() {
        let all = [answers("a", &[(0, 0, 1.0), (0, 1, 3.0), (5, 0, 7.0), (5, 1, 8.0)]), answers("b", &[])];
        let models = [("pixels", Role::RawPixels), ("a", Role::Given), ("b", Role::Given)];
        let material = Material {
            answers: &all,
            models: models.map(|(name, role)| (name.to_owned(), role)).to_vec(),
            probes: Vec::new(),
            analyses: vec![ANALYSIS],
            samples: None,
            n_classes: 2,
            seeds: &[0],
        };
        let tables = [Table::new("how-far_by_head", "T", ["a"])];
        let overview = table(&material, &tables).expect("a table");
        assert_eq!(overview.columns, ["question", "pixels", "a", "b"]);
        let numbers: Vec<&Cell> = overview.rows.iter().map(|row| &row[2]).collect();
        assert_eq!(numbers, [&Cell::Number(2.0), &Cell::Number(7.5)]);
        assert_eq!(overview.rows[0][1], Cell::from("no layers"));
        assert_eq!(overview.rows[1][3], Cell::from("does not apply: needs attention"));
        assert_eq!(overview.rows[1][0], Cell::from("How far: distance px, last block"));
        assert_eq!(overview.links, ["how-far_by_head", "how-far_by_head"]);
        assert_eq!(table(&Material { analyses: Vec::new(), ..material }, &tables), None);
    }
}
