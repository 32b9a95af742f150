//! The probes of a comparison beside one another: what each says of every model at its best layer.

use super::answers::{Answers, Role, mean_over};
use super::story::Material;
use report::{Cell, Table};

/// The probes that were asked, by name: those that have a best layer.
pub(super) fn probes(material: &Material) -> Vec<String> {
    let mut names: Vec<String> = material
        .answers
        .iter()
        .flat_map(|answers| {
            answers.studies.keys().filter(|study| answers.value(study, "best.top1").is_some())
        })
        .cloned()
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What a probe makes of raw pixels, over the runs.
pub(super) fn raw_pixels(material: &Material, probe: &str) -> Option<f64> {
    let (name, _) = material.models.iter().find(|(_, role)| *role == Role::RawPixels)?;
    let runs = material.answers.iter().filter(|answers| answers.model == *name);
    let values: Vec<f64> = runs.filter_map(|run| run.value(probe, "best.top1")).collect();
    (!values.is_empty()).then(|| mean_over(&values))
}

/// One row a model: for each probe the best layer and its accuracy on the test side; nothing for a single probe.
pub(super) fn table(material: &Material) -> Option<Table> {
    let probes = probes(material);
    if probes.len() < 2 {
        return None;
    }
    let mut columns = vec!["model".to_owned()];
    columns.extend(
        probes.iter().flat_map(|probe| [format!("{probe}: best features"), format!("{probe} top-1")]),
    );
    let mut table = Table::new("best_layers_by_probe", "Best layers by probe", columns);
    for (model, _) in &material.models {
        let runs: Vec<&Answers> = material.answers.iter().filter(|answers| answers.model == *model).collect();
        let mut row = vec![Cell::from(model.clone())];
        for probe in &probes {
            let best = runs.iter().filter_map(|run| run.metric(probe, "best.top1"));
            let mut selects: Vec<String> = best.clone().filter_map(|metric| metric.select.clone()).collect();
            selects.dedup();
            let values: Vec<f64> = best.map(|metric| metric.value).collect();
            row.push(Cell::from(selects.join(", ")));
            row.push(Cell::from((!values.is_empty()).then(|| mean_over(&values))));
        }
        table.push(row);
    }
    Some(table.note(
        "Each probe chooses its best layer on held-out training samples. A trained probe far above the nearest \
         neighbors says that the class can be read out but does not order the features.",
    ))
}
