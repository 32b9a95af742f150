//! A matrix in color, with a color bar.

use super::canvas::{Anchor, Canvas, fit, tenth, text_width};
use super::colormap::{hex_at, rgb_at, wants_dark_text};
use super::ticks::{extent, inside};
use crate::Tile;
use crate::render::escape::xml;
use crate::render::number::{decimals_of, fixed, minus, short};
use crate::render::png;

const TOP: f64 = 34.0;
/// Above this many cells the matrix is drawn as one picture and cells do not speak.
const MOST_CELLS: usize = 4096;
const WIDEST: f64 = 560.0;

/// What `FigureData::Heatmap` holds.
pub(crate) struct Matrix<'a> {
    pub(crate) row_labels: &'a [String],
    pub(crate) col_labels: &'a [String],
    pub(crate) x_label: &'a str,
    pub(crate) y_label: &'a str,
    pub(crate) values: &'a [Vec<f64>],
    pub(crate) range: Option<(f64, f64)>,
    pub(crate) unit: &'a str,
}

pub(crate) fn draw(matrix: &Matrix) -> Canvas {
    let (n_rows, n_cols) = (matrix.values.len(), matrix.values.first().map_or(0, Vec::len));
    let (low, high) = matrix.range.unwrap_or_else(|| extent(matrix.values.iter().flatten().copied()));
    let span = if high > low { high - low } else { 1.0 };
    let share = |value: f64| (value - low) / span;
    let rows = labels_or_indices(matrix.row_labels, n_rows);
    let cols = labels_or_indices(matrix.col_labels, n_cols);
    let widest_row = rows.iter().map(|label| text_width(label, 12.5)).fold(0.0, f64::max).min(180.0);
    let widest_col = cols.iter().map(|label| text_width(label, 12.5)).fold(0.0, f64::max).min(150.0);
    let cell = (WIDEST / n_cols.max(1) as f64).min(460.0 / n_rows.max(1) as f64).min(40.0);
    let is_slanted =
        widest_col + 6.0 > cell && !matrix.col_labels.iter().all(|label| label.parse::<f64>().is_ok());
    // A slanted label of the first column reaches to the left of the matrix.
    let reach = if is_slanted { widest_col * 0.77 - cell / 2.0 } else { 0.0 };
    let left = (widest_row + 12.0).max(reach);
    let (grid_width, grid_height) = (cell * n_cols as f64, cell * n_rows as f64);
    let (right, bottom) = (left + grid_width, TOP + grid_height);
    let label_height = if is_slanted { widest_col * 0.66 + 14.0 } else { 22.0 };
    let bar_height = grid_height.clamp(90.0, 240.0);
    let x_label_height = if matrix.x_label.is_empty() { 4.0 } else { 24.0 };
    let height = (bottom + label_height + x_label_height).max(TOP + bar_height + 12.0);
    let unit_width = text_width(matrix.unit, 12.5) + 8.0;
    let head_width = text_width(matrix.y_label, 12.5) + 24.0;
    let bar_left = (right + 26.0).max(head_width);
    let mut canvas = Canvas::new(bar_left + unit_width.max(76.0), height);

    canvas.text("vs-strong", (0.0, 13.0), Anchor::Start, matrix.y_label);
    if n_rows * n_cols > MOST_CELLS {
        draw_as_picture(&mut canvas, matrix, (left, TOP), (grid_width, grid_height), share);
    } else {
        draw_cells(&mut canvas, matrix, (left, TOP), cell, (&rows, &cols), share);
    }
    let every = (15.0 / cell).ceil().max(1.0) as usize;
    for (idx, label) in rows.iter().enumerate().step_by(every) {
        let y = TOP + (idx as f64 + 0.5) * cell + 4.0;
        canvas.text("", (left - 8.0, y), Anchor::End, &fit(label, 12.5, 180.0));
    }
    let every = if is_slanted { every } else { ((widest_col + 6.0) / cell).ceil().max(1.0) as usize };
    for (idx, label) in cols.iter().enumerate().step_by(every) {
        let x = left + (idx as f64 + 0.5) * cell;
        if is_slanted {
            canvas.slanted_text((x + 4.0, bottom + 13.0), &fit(label, 12.5, 150.0));
        } else {
            canvas.text("", (x, bottom + 17.0), Anchor::Middle, label);
        }
    }
    let x_label_at = (left + grid_width / 2.0, bottom + label_height + 18.0);
    canvas.text("vs-strong", x_label_at, Anchor::Middle, matrix.x_label);
    draw_color_bar(&mut canvas, (bar_left, TOP), bar_height, (low, low + span), matrix.unit);
    canvas
}

fn draw_cells(
    canvas: &mut Canvas,
    matrix: &Matrix,
    (left, top): (f64, f64),
    cell: f64,
    (rows, cols): (&[String], &[String]),
    share: impl Fn(f64) -> f64,
) {
    // One digit less than a table shows: the color says the rest.
    let decimals = (decimals_of(matrix.values.iter().flatten().copied()) - 1).max(0);
    let gap = if cell > 12.0 { 1.0 } else { 0.0 };
    for (row_idx, row) in matrix.values.iter().enumerate() {
        for (col_idx, value) in row.iter().enumerate() {
            let (x, y) = (left + col_idx as f64 * cell, top + row_idx as f64 * cell);
            let place = |label: &str, at: &str| {
                if label.is_empty() { at.to_owned() } else { format!("{label} {at}") }
            };
            let (row_name, col_name) =
                (place(matrix.y_label, &rows[row_idx]), place(matrix.x_label, &cols[col_idx]));
            let title = xml(format!("{row_name}, {col_name}\n{} {}", short(*value), matrix.unit).trim_end());
            // Without a gap a hair of overlap keeps seams from showing.
            let side = tenth(if gap > 0.0 { cell - gap } else { cell + 0.3 });
            canvas.raw(&format!(
                "<rect data-r=\"{row_idx}\" x=\"{}\" y=\"{}\" width=\"{side}\" height=\"{side}\" fill=\"{}\"><title>{title}</title></rect>",
                tenth(x),
                tenth(y),
                hex_at(share(*value)),
            ));
            let text = minus(fixed(*value, decimals));
            if cell >= 34.0 && text_width(&text, 11.0) < cell - 4.0 {
                let class = if wants_dark_text(share(*value)) {
                    "vs-small vs-on-light"
                } else {
                    "vs-small vs-on-dark"
                };
                canvas.raw(&format!(
                    "<text class=\"{class}\" x=\"{}\" y=\"{}\" text-anchor=\"middle\" pointer-events=\"none\">{text}</text>",
                    tenth(x + cell / 2.0),
                    tenth(y + cell / 2.0 + 3.5),
                ));
            }
        }
    }
}

fn draw_as_picture(
    canvas: &mut Canvas,
    matrix: &Matrix,
    (left, top): (f64, f64),
    (width, height): (f64, f64),
    share: impl Fn(f64) -> f64,
) {
    let rgb = matrix.values.iter().flatten().flat_map(|value| rgb_at(share(*value))).collect();
    let (height_px, width_px) = (matrix.values.len(), matrix.values.first().map_or(0, Vec::len));
    let uri = png::data_uri(&Tile { width_px, height_px, rgb, caption: String::new() });
    let base64 = uri.split_once(',').map_or("", |(_, base64)| base64);
    canvas.picture(left, top, width, height, base64);
}

fn draw_color_bar(
    canvas: &mut Canvas,
    (left, top): (f64, f64),
    height: f64,
    (low, high): (f64, f64),
    unit: &str,
) {
    const N_STEPS: usize = 48;
    let step = height / N_STEPS as f64;
    for idx in 0..N_STEPS {
        let (y, side) = (tenth(top + idx as f64 * step), tenth(step + 0.4));
        let color = hex_at(1.0 - (idx as f64 + 0.5) / N_STEPS as f64);
        canvas.raw(&format!(
            "<rect x=\"{}\" y=\"{y}\" width=\"12\" height=\"{side}\" fill=\"{color}\" shape-rendering=\"crispEdges\"/>",
            tenth(left)
        ));
    }
    let ticks = inside(low, high, if height > 150.0 { 5 } else { 3 }, false);
    for (value, label) in ticks.values.iter().zip(ticks.labels()) {
        let y = top + height * (1.0 - (value - low) / (high - low));
        canvas.line("vs-axis", (left + 12.0, y), (left + 16.0, y), "");
        canvas.text("", (left + 20.0, y + 4.0), Anchor::Start, &label);
    }
    canvas.text("vs-strong", (left, 13.0), Anchor::Start, unit);
}

fn labels_or_indices(labels: &[String], n: usize) -> Vec<String> {
    if labels.len() == n { labels.to_vec() } else { (0..n).map(|idx| idx.to_string()).collect() }
}
