//! `report.json`: keys in a fixed order, floats in their shortest round-trip form, one row or metric a line.

use super::figure_files;
use crate::{Report, SavedFigure, SavedReport, SavedTable};
use serde_json::Value;

impl Report {
    /// The document that `write` stores as `report.json`.
    ///
    /// Numbers that are not finite become `null` here; [`check`](Self::check) refuses them.
    pub fn to_json(&self) -> Value {
        let tables = self.tables.iter().map(|table| SavedTable {
            name: table.name.clone(),
            columns: table.columns.clone(),
            rows: table.rows.clone(),
            title: table.title.clone(),
            note: table.note.clone(),
            links: table.links.clone(),
        });
        let figures = self.figures.iter().zip(figure_files(self)).map(|(figure, file)| SavedFigure {
            name: figure.name.clone(),
            kind: figure.data.kind().to_owned(),
            file,
            title: figure.title.clone(),
            caption: figure.caption.clone(),
            data: Some(figure.data.clone()),
        });
        let saved = SavedReport {
            study: self.study.clone(),
            kind: self.kind,
            model: self.model.clone(),
            data: self.data.clone(),
            provenance: self.provenance.clone(),
            metrics: self.metrics.clone(),
            tables: tables.collect(),
            figures: figures.collect(),
            title: self.title.clone(),
            story: self.story.clone(),
        };
        // Every map of a report has string keys, so that this cannot fail.
        serde_json::to_value(saved).unwrap_or(Value::Null)
    }
}

/// The text of a document: two levels are laid out, what is deeper stands on one line.
pub(crate) fn text(document: &Value) -> String {
    let mut out = String::new();
    lay_out(document, 0, &mut out);
    out.push('\n');
    out
}

fn lay_out(value: &Value, depth: usize, out: &mut String) {
    let (open, close, lines): (char, char, Vec<(Option<&String>, &Value)>) = match value {
        Value::Object(map) if depth < 2 && !map.is_empty() => {
            ('{', '}', map.iter().map(|(key, value)| (Some(key), value)).collect())
        }
        Value::Array(items) if depth < 2 && !items.is_empty() => {
            ('[', ']', items.iter().map(|item| (None, item)).collect())
        }
        other => return out.push_str(&other.to_string()),
    };
    out.push(open);
    for (idx, (key, value)) in lines.iter().enumerate() {
        out.push_str(if idx == 0 { "\n" } else { ",\n" });
        out.push_str(&"  ".repeat(depth + 1));
        if let Some(key) = key {
            out.push_str(&Value::from(key.as_str()).to_string());
            out.push_str(": ");
        }
        lay_out(value, depth + 1, out);
    }
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
    out.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Figure, FigureData, Kind, Metric, Provenance, ScatterPlot, Table};
    use proptest::prelude::*;

    #[test]
    fn the_document_has_the_shape_of_the_contract() {
        let provenance =
            Provenance { version: "0.1.0".into(), device: "cpu".into(), ..Provenance::default() };
        let mut report = Report::new("knn", Kind::Probe, "T", "m", "d", provenance);
        report
            .metrics
            .push(Metric::new("top1", 0.913, "ratio").layer(11).select("block11.cls").param("k", 20));
        report.tables.push(Table::new("t", "Title", ["a", "b"]).row([0.into(), 0.1.into()]));
        report.figures.push(Figure::new("f", "F", "", FigureData::Scatter(ScatterPlot::default())));
        insta::assert_snapshot!(text(&report.to_json()), @r##"
        {
          "study": "knn",
          "kind": "probe",
          "model": "m",
          "data": "d",
          "provenance": {
            "version": "0.1.0",
            "seed": 0,
            "weights_sha256": null,
            "device": "cpu",
            "kernel_path": "",
            "recipe": null,
            "elapsed_secs": 0.0
          },
          "metrics": [
            {"name":"top1","value":0.913,"unit":"ratio","layer":11,"head":null,"select":"block11.cls","params":{"k":20}}
          ],
          "tables": [
            {"name":"t","columns":["a","b"],"rows":[[0,0.1]],"title":"Title"}
          ],
          "figures": [
            {"name":"f","kind":"scatter","file":"figures/f.svg","title":"F","data":{"scatter":{"x_label":"","y_label":"","series":[]}}}
          ],
          "title": "T"
        }
        "##);
    }

    proptest! {
        #[test]
        fn the_text_parses_back_to_the_document(
            words in proptest::collection::vec(any::<String>(), 1..6),
            numbers in proptest::collection::vec(proptest::num::f64::NORMAL, 1..6),
            seed in any::<u64>(),
        ) {
            let provenance = Provenance { seed, ..Provenance::default() };
            let mut report = Report::new(&words[0], Kind::Probe, "", "", "", provenance);
            report.metrics = numbers.iter().map(|value| Metric::new(&words[0], *value, "")).collect();
            report.tables.push(Table::new("t", "", words.clone()).row(words.iter().map(|word| word.as_str().into())));
            let document = report.to_json();
            prop_assert_eq!(&serde_json::from_str::<Value>(&text(&document)).expect("parses"), &document);
            let saved: SavedReport = serde_json::from_value(document).expect("reads");
            prop_assert_eq!(saved.metrics, report.metrics);
            prop_assert_eq!(saved.provenance.seed, seed);
        }
    }
}
