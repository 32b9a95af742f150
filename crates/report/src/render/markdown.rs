//! `report.md`: the same reading order as the HTML, for terminals, diffs and code hosts.

use super::escape::markdown as escape;
use super::figure_files;
use super::number::{column, duration, short};
use crate::{Block, Card, Cell, Metric, Report, Table};

impl Report {
    /// The report as Markdown; figures are links to the files that [`write`](Self::write) stores.
    pub fn to_markdown(&self) -> String {
        let mut out = format!("# {}\n\n", escape(&self.title));
        out.push_str(&format!("- model: {}\n- data: {}\n", escape(&self.model), escape(&self.data)));
        out.push_str(&format!("- study: {} ({})\n", escape(&self.study), self.kind.name()));
        let files = figure_files(self);
        for block in &self.reading_order() {
            out.push('\n');
            match block {
                Block::Heading(text) => out.push_str(&format!("## {}\n", escape(text))),
                Block::Subheading(text) => out.push_str(&format!("### {}\n", escape(text))),
                Block::Text(text) => {
                    let paragraphs = text.split("\n\n").map(|part| part.trim().replace('<', "&lt;"));
                    out.push_str(&paragraphs.collect::<Vec<_>>().join("\n\n"));
                    out.push('\n');
                }
                Block::Numbers(cards) => {
                    for Card { label, value, note, .. } in cards {
                        let note =
                            if note.is_empty() { String::new() } else { format!(" ({})", escape(note)) };
                        out.push_str(&format!("- {}: **{}**{note}\n", escape(label), escape(value)));
                    }
                }
                Block::Table(name) => {
                    if let Some(table) = self.table(name) {
                        out.push_str(&table_text(table));
                    }
                }
                Block::Figure(name) => {
                    let found = self.figures.iter().zip(&files).find(|(figure, _)| figure.name == *name);
                    if let Some((figure, file)) = found {
                        let (title, caption) = (escape(&figure.title), escape(&figure.caption));
                        out.push_str(&format!("**{title}**\n\n![{title}]({file})\n"));
                        if !caption.is_empty() {
                            out.push_str(&format!("\n{caption}\n"));
                        }
                    }
                }
            }
        }
        if self.story.is_empty() && !self.metrics.is_empty() {
            out.push_str("\n## Metrics\n\n");
            out.push_str(&grid(&METRIC_COLUMNS.map(str::to_owned), &metric_rows(&self.metrics)));
        }
        out.push_str(&format!("\n## Provenance\n\n{}", self.provenance_lines()));
        out
    }

    fn provenance_lines(&self) -> String {
        let from = &self.provenance;
        let mut lines = vec![("version", from.version.clone()), ("seed", from.seed.to_string())];
        lines.push(("weights sha256", from.weights_sha256.clone().unwrap_or_default()));
        lines.push(("device", from.device.clone()));
        lines.push(("kernels", from.kernel_path.clone()));
        lines.push(("time", duration(from.elapsed_secs)));
        lines.retain(|(_, value)| !value.is_empty());
        lines.iter().map(|(key, value)| format!("- {key}: {}\n", escape(value))).collect()
    }
}

/// Heads of the table of all metrics.
pub(crate) const METRIC_COLUMNS: [&str; 7] = ["metric", "value", "unit", "layer", "head", "select", "params"];

/// One row a metric, under [`METRIC_COLUMNS`].
pub(crate) fn metric_rows(metrics: &[Metric]) -> Vec<Vec<Cell>> {
    let row = |metric: &Metric| {
        let params = metric.params.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
        vec![
            metric.name.as_str().into(),
            Cell::Text(short(metric.value)),
            metric.unit.as_str().into(),
            metric.layer.into(),
            metric.head.into(),
            metric.select.clone().into(),
            params.join(", ").into(),
        ]
    };
    metrics.iter().map(row).collect()
}

fn table_text(table: &Table) -> String {
    let mut out = format!("**{}**\n\n", escape(&table.title));
    out.push_str(&grid(&table.columns, &table.rows));
    if !table.note.is_empty() {
        out.push_str(&format!("\n{}\n", escape(&table.note)));
    }
    out
}

fn grid(columns: &[String], rows: &[Vec<Cell>]) -> String {
    let texts: Vec<Vec<String>> = (0..columns.len())
        .map(|idx| column(&rows.iter().map(|row| row.get(idx).unwrap_or(&Cell::Empty)).collect::<Vec<_>>()))
        .collect();
    let heads: Vec<String> = columns.iter().map(|head| escape(head)).collect();
    let rules: Vec<&str> =
        (0..columns.len()).map(|idx| if is_numeric(rows, idx) { "---:" } else { "---" }).collect();
    let mut out = format!("| {} |\n| {} |\n", heads.join(" | "), rules.join(" | "));
    for row_idx in 0..rows.len() {
        let cells: Vec<String> = texts.iter().map(|column| escape(&column[row_idx])).collect();
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    out
}

/// Whether a column holds numbers only, so that it is set to the right.
pub(crate) fn is_numeric(rows: &[Vec<Cell>], column_idx: usize) -> bool {
    let mut cells =
        rows.iter().filter_map(|row| row.get(column_idx)).filter(|cell| **cell != Cell::Empty).peekable();
    cells.peek().is_some() && cells.all(|cell| matches!(cell, Cell::Int(_) | Cell::Number(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Figure, FigureData, Kind, Provenance, ScatterPlot};
    use proptest::prelude::*;

    fn tiny() -> Report {
        let provenance = Provenance {
            version: "0.1.0".into(),
            device: "cpu".into(),
            elapsed_secs: 75.0,
            ..Provenance::default()
        };
        let mut report =
            Report::new("knn", Kind::Probe, "k nearest neighbors", "vit-s/16", "part-shapes", provenance);
        report.metrics.push(Metric::new("top1", 0.9134, "ratio").layer(11).param("k", 20));
        let table = Table::new("t", "By layer", ["layer", "top1", "note"]);
        report.tables.push(
            table
                .row([0.into(), 0.5.into(), "a|b".into()])
                .row([11.into(), 0.9134.into(), Cell::Empty])
                .note("Chance is 1/12."),
        );
        report.figures.push(Figure::new(
            "f",
            "Dots",
            "Each dot is a head.",
            FigureData::Scatter(ScatterPlot::default()),
        ));
        report
    }

    #[test]
    fn without_a_story_tables_figures_and_metrics_are_told() {
        insta::assert_snapshot!(tiny().to_markdown(), @r##"
        # k nearest neighbors

        - model: vit-s/16
        - data: part-shapes
        - study: knn (probe)

        ## Tables

        **By layer**

        | layer | top1 | note |
        | ---: | ---: | --- |
        | 0 | 0.500 | a\|b |
        | 11 | 0.913 | – |

        Chance is 1/12.

        ## Figures

        **Dots**

        ![Dots](figures/f.svg)

        Each dot is a head.

        ## Metrics

        | metric | value | unit | layer | head | select | params |
        | --- | --- | --- | ---: | --- | --- | --- |
        | top1 | 0.913 | ratio | 11 | – | – | k=20 |

        ## Provenance

        - version: 0.1.0
        - seed: 0
        - device: cpu
        - time: 1 min 15 s
        "##);
    }

    #[test]
    fn a_story_is_told_in_its_order() {
        let mut report = tiny();
        report.story = vec![
            Block::Numbers(vec![Card::new("best", "0.913", "block 11")]),
            Block::Figure("f".into()),
            Block::Text("One.\n\nTwo <b>.".into()),
        ];
        let text = report.to_markdown();
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} in {text}"));
        assert!(at("- best: **0.913** (block 11)") < at("![Dots](figures/f.svg)"));
        assert!(at("![Dots]") < at("One.\n\nTwo &lt;b>."));
        assert!(!text.contains("By layer"));
    }

    proptest! {
        #[test]
        fn any_text_stays_in_its_cell(text in any::<String>()) {
            let rows = vec![vec![Cell::Text(text), 1.into()]];
            let written = grid(&["a".to_owned(), "b".to_owned()], &rows);
            prop_assert_eq!(written.lines().count(), 3);
            let row = written.lines().nth(2).expect("a row").replace("\\\\", "").replace("\\|", "");
            prop_assert_eq!(row.matches('|').count(), 3);
        }
    }
}
