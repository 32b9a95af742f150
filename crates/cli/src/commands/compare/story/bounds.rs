//! Every probe's number between what is had without looking and what perfect features give.

use super::{Material, display_name, part_name};
use report::{Cell, Table};

/// The table, and nothing where no probe was asked.
pub(super) fn table(material: &Material) -> Option<Table> {
    let models: Vec<&str> = material.models.iter().map(|(name, _)| name.as_str()).collect();
    let columns = ["probe", "number", "chance"].into_iter().chain(models.iter().copied()).chain(["ceiling"]);
    let mut table = Table::new("bounds", "Between chance and ceiling", columns);
    for probe in &material.probes {
        let scores: Vec<Option<f64>> =
            models.iter().map(|model| material.score(model, probe.name).map(|score| score.mean)).collect();
        if scores.iter().all(Option::is_none) {
            continue;
        }
        let ceiling = material.answers.iter().find_map(|run| run.value(probe.name, "ceiling"));
        let mut row =
            vec![Cell::from(display_name(probe.name)), Cell::from(material.metric_words(probe.name))];
        row.push(Cell::from(material.chance_of(probe.name)));
        row.extend(scores.into_iter().map(Cell::from));
        // Accuracies are bounded by all being right.
        row.push(Cell::from(ceiling.unwrap_or(1.0)));
        table.push_linked(row, part_name(probe.name, "best_layers"));
    }
    (!table.rows.is_empty()).then(|| {
        table.note(
            "The best layer of every model, chosen on what does not count. Chance is what each probe says can be had without \
             looking at the picture; the ceiling is what perfect features would have, which is less than 1 where patches are \
             coarser than the truth.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::answers::{Answers, Role};
    use super::*;
    use report::{Info, Kind, Metric, Provenance, Report};
    use std::collections::BTreeMap;

    #[test]
    fn a_row_goes_from_chance_to_ceiling() {
        let info = Info { name: "over-lap", line: "a line", source: "a source" };
        let mut report = Report::new(info.name, Kind::Probe, "", "a", "d", Provenance::default());
        for (name, value) in [("best.miou", 0.4), ("chance", 0.1), ("ceiling", 0.8)] {
            report.metrics.push(Metric::new(name, value, "ratio"));
        }
        let studies = BTreeMap::from([(info.name.to_owned(), report)]);
        let answers = Answers { studies, ..Answers::new("a", 0) };
        let material = Material {
            answers: &[answers],
            models: vec![("a".into(), Role::Given), ("b".into(), Role::Given)],
            probes: vec![info],
            analyses: Vec::new(),
            samples: None,
            n_classes: 2,
            seeds: &[0],
        };
        let table = table(&material).expect("a table");
        assert_eq!(table.columns, ["probe", "number", "chance", "a", "b", "ceiling"]);
        let expected = ["Over lap", "miou"].map(Cell::from).into_iter().chain([0.1, 0.4].map(Cell::from));
        let expected: Vec<Cell> = expected.chain([Cell::Empty, Cell::from(0.8)]).collect();
        assert_eq!(table.rows, [expected]);
    }
}
