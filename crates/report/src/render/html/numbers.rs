//! The numbers of a figure as a table below it: what is drawn can be read, sorted and copied.

use super::table::grid;
use crate::figure::xs_in_order;
use crate::render::escape::xml;
use crate::render::number::short;
use crate::render::slug;
use crate::{Cell, Figure, FigureData, Series, Table};

/// A figure with more numbers than this leaves them to `report.json`.
const MOST_NUMBERS: usize = 12_000;

/// Where the numbers of a figure stand in the page.
pub(super) fn id(figure: &Figure) -> String {
    format!("numbers-{}", slug(&figure.name))
}

/// The table below a figure, closed; nothing where there are no numbers, or too many.
pub(super) fn below(figure: &Figure, number: usize) -> Option<String> {
    let table = of(&figure.data)?;
    let n_numbers = table.rows.len() * table.columns.len();
    if table.rows.is_empty() || n_numbers > MOST_NUMBERS {
        return None;
    }
    let note = if table.note.is_empty() {
        String::new()
    } else {
        format!("<p class=\"caption\">{}</p>\n", xml(&table.note))
    };
    let title = format!("The numbers of figure {number}");
    Some(format!(
        "<details class=\"table drawn\" id=\"{}\">\n<summary>{title}</summary>\n{}{note}</details>\n",
        id(figure),
        grid(&title, &table.columns, &table.rows, &table.links)
    ))
}

/// What is drawn, as rows: a mark's `data-r` counts them.
fn of(data: &FigureData) -> Option<Table> {
    match data {
        FigureData::Line(plot) => {
            let note = plot.reference_lines.iter().map(|(name, y)| format!("{name}: {}", short(*y)));
            let rows = xs_in_order(&plot.series);
            let labels: Vec<Cell> = rows.iter().map(|&x| number(x)).collect();
            let row_of = |x: f64| rows.partition_point(|other| other.total_cmp(&x).is_lt());
            let table = side_by_side((&plot.x_label, labels), (&plot.y_label, &plot.series), &row_of);
            Some(table.note(note.collect::<Vec<_>>().join(", ")))
        }
        FigureData::Bar { labels, series, y_label } => {
            let labels = labels.iter().map(|label| Cell::from(label.as_str())).collect();
            Some(side_by_side(("", labels), (y_label, series), &|x| x as usize))
        }
        FigureData::Scatter(plot) => {
            let mut table = Table::new("", "", ["", &plot.x_label, &plot.y_label]);
            for one in &plot.series {
                for &(x, y) in &one.points {
                    table.push([Cell::from(one.name.as_str()), number(x), y.into()]);
                }
            }
            Some(table)
        }
        FigureData::Heatmap { row_labels, col_labels, y_label, x_label, values, .. } => {
            let label = |labels: &[String], idx: usize| labels.get(idx).cloned().unwrap_or(idx.to_string());
            let n_columns = values.first().map_or(0, Vec::len);
            let corner = [y_label.as_str(), x_label].map(str::trim).join(" \\ ");
            let columns = (0..n_columns).map(|idx| label(col_labels, idx));
            let mut table = Table::new("", "", std::iter::once(corner).chain(columns));
            for (idx, row) in values.iter().enumerate() {
                let head = Cell::from(label(row_labels, idx));
                table.push(std::iter::once(head).chain(row.iter().map(|&value| value.into())));
            }
            Some(table)
        }
        FigureData::Image(_) => None,
    }
}

/// Layers and counts without a point.
fn number(x: f64) -> Cell {
    if x.fract() == 0.0 && x.abs() < 1e9 { Cell::Int(x as i64) } else { Cell::Number(x) }
}

/// A column for each series, and two more for its interval.
fn side_by_side(
    (x_label, labels): (&str, Vec<Cell>),
    (y_label, series): (&str, &[Series]),
    row_of: &dyn Fn(f64) -> usize,
) -> Table {
    let mut columns = vec![x_label.to_owned()];
    let mut rows: Vec<Vec<Cell>> = labels.into_iter().map(|label| vec![label]).collect();
    for one in series {
        let name = if one.name.is_empty() { y_label } else { &one.name };
        let first = columns.len();
        columns.push(name.to_owned());
        if one.low_high.is_some() {
            columns.extend(["low", "high"].map(|end| format!("{name}, {end}")));
        }
        rows.iter_mut().for_each(|row| row.resize(columns.len(), Cell::Empty));
        for (idx, &(x, y)) in one.points.iter().enumerate() {
            let Some(row) = rows.get_mut(row_of(x)) else { continue };
            row[first] = y.into();
            if let Some(&(low, high)) = one.low_high.as_ref().and_then(|low_high| low_high.get(idx)) {
                row[first + 1] = low.into();
                row[first + 2] = high.into();
            }
        }
    }
    let table = Table::new("", "", columns);
    rows.into_iter().fold(table, Table::row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinePlot, ScatterPlot};

    #[test]
    fn lines_of_different_places_stand_in_one_table_by_their_x() {
        let a = Series::new("a", vec![(0.0, 0.1), (2.0, 0.3)]).band(vec![(0.0, 0.2), (0.2, 0.4)]);
        let b = Series::new("b", vec![(1.0, 0.5), (2.0, 0.6)]);
        let plot = LinePlot {
            x_label: "block".into(),
            y_label: "top-1".into(),
            series: vec![a, b],
            reference_lines: vec![("chance".into(), 0.125)],
        };
        let table = of(&FigureData::Line(plot)).expect("numbers");
        assert_eq!(table.columns, ["block", "a", "a, low", "a, high", "b"]);
        let number = Cell::Number;
        assert_eq!(
            table.rows,
            [
                vec![Cell::Int(0), number(0.1), number(0.0), number(0.2), Cell::Empty],
                vec![Cell::Int(1), Cell::Empty, Cell::Empty, Cell::Empty, number(0.5)],
                vec![Cell::Int(2), number(0.3), number(0.2), number(0.4), number(0.6)],
            ]
        );
        assert_eq!(table.note, "chance: 0.125");
    }

    #[test]
    fn dots_bars_and_cells_keep_the_order_in_which_they_are_drawn() {
        let dots = ScatterPlot {
            series: vec![Series::new("a", vec![(1.0, 0.2), (0.5, 0.1)]), Series::new("b", vec![(1.0, 0.3)])],
            ..ScatterPlot::default()
        };
        let rows = of(&FigureData::Scatter(dots)).expect("numbers").rows;
        assert_eq!(rows[1], [Cell::from("a"), Cell::Number(0.5), Cell::Number(0.1)]);
        assert_eq!(rows[2], [Cell::from("b"), Cell::Int(1), Cell::Number(0.3)]);
        let bars = FigureData::Bar {
            labels: vec!["m".into(), "n".into()],
            series: vec![Series::new("kNN", vec![(1.0, 0.4)])],
            y_label: "top-1".into(),
        };
        let rows = of(&bars).expect("numbers").rows;
        assert_eq!(rows, [vec![Cell::from("m"), Cell::Empty], vec![Cell::from("n"), Cell::Number(0.4)]]);
        let cells = FigureData::Heatmap {
            row_labels: vec!["r".into()],
            col_labels: Vec::new(),
            x_label: "head".into(),
            y_label: "block".into(),
            values: vec![vec![0.5, 0.25]],
            range: None,
            unit: String::new(),
        };
        let table = of(&cells).expect("numbers");
        assert_eq!(table.columns, ["block \\ head", "0", "1"]);
        assert_eq!(table.rows, [[Cell::from("r"), Cell::Number(0.5), Cell::Number(0.25)]]);
        assert_eq!(of(&FigureData::Image(crate::ImageGrid::default())), None);
    }
}
