//! Tables that open, scroll in their own room and sort by a click on a head.

use crate::render::escape::xml;
use crate::render::markdown::{METRIC_COLUMNS, is_numeric, metric_rows};
use crate::render::number::column;
use crate::render::slug;
use crate::{Cell, Metric, Table};

/// Longer tables begin closed.
const MOST_OPEN_ROWS: usize = 24;
/// More metrics than this are left to `report.json`.
const MOST_METRICS: usize = 2000;

/// A table of the story.
pub(super) fn table(table: &Table, number: usize) -> String {
    let open = if table.rows.len() <= MOST_OPEN_ROWS { " open" } else { "" };
    let note = xml(&table.note);
    let note = if note.is_empty() { note } else { format!("<p class=\"caption\">{note}</p>\n") };
    format!(
        "<details class=\"table\" id=\"table-{}\"{open}>\n<summary><b>Table {number}.</b> {}{}</summary>\n{}{note}</details>\n",
        slug(&table.name),
        xml(&table.title),
        rows_note(table.rows.len()),
        grid(&table.title, &table.columns, &table.rows, &table.links)
    )
}

/// Every metric, closed, at the end of the page.
pub(super) fn all_metrics(metrics: &[Metric]) -> String {
    let shown = &metrics[..metrics.len().min(MOST_METRICS)];
    let columns = METRIC_COLUMNS.map(str::to_owned);
    let rest = metrics.len() - shown.len();
    let rest = match rest {
        0 => String::new(),
        _ => format!("<p class=\"caption\">{rest} more stand in report.json.</p>\n"),
    };
    format!(
        "<section>\n<h2 id=\"all-metrics\">All metrics</h2>\n<details class=\"table\">\n<summary>Every number with its place{}</summary>\n{}{rest}</details>\n</section>\n",
        rows_note(metrics.len()),
        grid("All metrics", &columns, &metric_rows(shown), &[])
    )
}

fn rows_note(n_rows: usize) -> String {
    let plural = if n_rows == 1 { "" } else { "s" };
    format!(" <span class=\"count\">{n_rows} row{plural}</span>")
}

pub(super) fn grid(title: &str, columns: &[String], rows: &[Vec<Cell>], links: &[String]) -> String {
    let texts: Vec<Vec<String>> = (0..columns.len())
        .map(|idx| column(&rows.iter().map(|row| row.get(idx).unwrap_or(&Cell::Empty)).collect::<Vec<_>>()))
        .collect();
    // The table of all metrics writes its values as text, each with its own digits.
    let looks_numeric =
        |idx: usize| is_numeric(rows, idx) || columns.get(idx).is_some_and(|name| name == "value");
    let classes: Vec<&str> =
        (0..columns.len()).map(|idx| if looks_numeric(idx) { " class=\"n\"" } else { "" }).collect();
    let mut out = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{}\"><table class=\"sortable\">\n<thead><tr>",
        xml(title)
    );
    for (name, class) in columns.iter().zip(&classes) {
        out.push_str(&format!(
            "<th scope=\"col\"{class}><button type=\"button\">{}</button></th>",
            xml(name)
        ));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (row_idx, row) in rows.iter().enumerate() {
        out.push_str("<tr>");
        for (idx, class) in classes.iter().enumerate() {
            let value = match row.get(idx) {
                Some(Cell::Number(value)) => format!(" data-v=\"{value}\""),
                Some(Cell::Int(value)) => format!(" data-v=\"{value}\""),
                _ => String::new(),
            };
            let text = xml(&texts[idx][row_idx]);
            let link = links.get(row_idx).filter(|link| !link.is_empty() && !value.is_empty());
            let text =
                link.map_or(text.clone(), |link| format!("<a href=\"#table-{}\">{text}</a>", slug(link)));
            out.push_str(&format!("<td{class}{value}>{text}</td>"));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_keep_their_value_for_sorting() {
        let html = table(&Table::new("t", "T", ["model", "top1"]).row(["mae".into(), 0.91342.into()]), 2);
        assert!(html.contains("<td>mae</td><td class=\"n\" data-v=\"0.91342\">0.913</td>"), "{html}");
        assert!(html.contains("<b>Table 2.</b> T <span class=\"count\">1 row</span>"), "{html}");
        assert!(html.contains(" open>"));
    }

    #[test]
    fn numbers_of_a_row_lead_to_the_table_that_they_come_from() {
        let mut overview = Table::new("t", "T", ["question", "mae"]);
        overview.push(["k".into(), 1.into()]);
        overview.push_linked(["kNN".into(), 0.5.into()], "knn_best");
        let html = table(&overview, 1);
        assert!(html.contains("data-v=\"0.5\"><a href=\"#table-knn_best\">0.5"), "{html}");
        assert!(html.contains("<td>k</td>") && html.matches("<a ").count() == 1, "{html}");
    }

    #[test]
    fn a_long_table_begins_closed() {
        let long = (0..30).fold(Table::new("t", "T", ["a"]), |table, idx| table.row([idx.into()]));
        assert!(!table(&long, 1).contains(" open>"));
    }
}
