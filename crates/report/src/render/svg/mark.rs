//! Marks of points: a shape as well as a color for each series, so that color is never alone.

use super::canvas::{Canvas, path, tenth};
use crate::render::escape::xml;
use crate::render::number::short;

/// A mark without words.
pub(crate) fn plain(canvas: &mut Canvas, series_idx: usize, at: (f64, f64), radius: f64) {
    canvas.raw(&element(series_idx, at, radius, ("", "")));
}

/// What a mark stands for.
pub(crate) struct Meaning {
    /// What it says when it is touched.
    pub(crate) words: String,
    /// The row of the figure's table of numbers that it is from.
    pub(crate) row: usize,
}

/// A mark that says its series, x and y.
pub(crate) fn titled(
    canvas: &mut Canvas,
    series_idx: usize,
    at: (f64, f64),
    radius: f64,
    Meaning { words, row }: &Meaning,
) {
    canvas.raw(&element(series_idx, at, radius, (&format!(" data-r=\"{row}\""), &title(words))));
}

/// A place that speaks when it is touched, without a visible mark.
pub(crate) fn hidden(canvas: &mut Canvas, (x, y): (f64, f64), Meaning { words, row }: &Meaning) {
    let (x, y, title) = (tenth(x), tenth(y), title(words));
    canvas.raw(&format!("<circle class=\"vs-pt\" data-r=\"{row}\" cx=\"{x}\" cy=\"{y}\" r=\"4\" fill-opacity=\"0\" stroke=\"none\">{title}</circle>"));
}

fn title(words: &str) -> String {
    format!("<title>{}</title>", xml(words))
}

/// `series`, then x and y with the names of their axes, then the interval.
pub(crate) fn words(
    series: &str,
    (x_label, x): (&str, f64),
    (y_label, y): (&str, f64),
    low_high: Option<(f64, f64)>,
) -> String {
    let named = |label: &str, fallback: &str, value: f64| {
        format!("{}: {}", if label.is_empty() { fallback } else { label }, short(value))
    };
    // What an axis says in parentheses of x (where the layers end) is for the axis alone.
    let x_label = x_label.split(" (").next().unwrap_or_default();
    let interval =
        low_high.map_or(String::new(), |(low, high)| format!(" ({} to {})", short(low), short(high)));
    let head = if series.is_empty() { String::new() } else { format!("{series}\n") };
    format!("{head}{}\n{}{interval}", named(x_label, "x", x), named(y_label, "y", y))
}

fn element(series_idx: usize, (x, y): (f64, f64), r: f64, (row, inner): (&str, &str)) -> String {
    let shape = match series_idx % 4 {
        0 => {
            return format!(
                "<circle class=\"vs-dot vs-pt\"{row} cx=\"{}\" cy=\"{}\" r=\"{}\">{inner}</circle>",
                tenth(x),
                tenth(y),
                tenth(r)
            );
        }
        1 => path(
            [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)].map(|p| shrink(p, (x, y), 0.88)),
        ),
        2 => path([(x, y - 1.25 * r), (x + 1.15 * r, y + 0.8 * r), (x - 1.15 * r, y + 0.8 * r)]),
        _ => path([(x, y - 1.3 * r), (x + 1.3 * r, y), (x, y + 1.3 * r), (x - 1.3 * r, y)]),
    };
    format!("<path class=\"vs-dot vs-pt\"{row} d=\"{shape}Z\">{inner}</path>")
}

fn shrink(point: (f64, f64), to: (f64, f64), by: f64) -> (f64, f64) {
    (to.0 + (point.0 - to.0) * by, to.1 + (point.1 - to.1) * by)
}
