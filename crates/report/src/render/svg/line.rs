//! Lines over a common axis, with interval bands, reference lines and names at their ends.

use super::canvas::{Anchor, Canvas, path, text_width};
use super::frame::Frame;
use super::{WIDTH, canvas, legend, mark};
use crate::figure::xs_in_order;
use crate::{LinePlot, Series, SeriesStyle};

const HEIGHT: f64 = 380.0;
/// Lines with more points than this show no marks.
const MOST_MARKS: usize = 48;
/// At most this many points of a line speak when touched.
const MOST_TITLES: usize = 240;
const LABEL_GAP: f64 = 16.0;
const WIDEST_LABEL: f64 = 190.0;

/// A name that wants to stand at a height: a series, or a reference line.
struct Label {
    text: String,
    y: f64,
    series_idx: Option<usize>,
}

pub(crate) fn draw(plot: &LinePlot) -> Canvas {
    let xs = plot.series.iter().flat_map(|one| one.points.iter().map(|point| point.0));
    let intervals = plot.series.iter().flat_map(|one| one.low_high.iter().flatten());
    let ys = plot.series.iter().flat_map(|one| one.points.iter().map(|point| point.1));
    let ys = ys.chain(intervals.flat_map(|(low, high)| [*low, *high]));
    let ys: Vec<f64> = ys.chain(plot.reference_lines.iter().map(|(_, y)| *y)).collect();

    let x_end = xs.clone().fold(f64::NEG_INFINITY, f64::max);
    let x_start = xs.clone().fold(f64::INFINITY, f64::min);
    let nearly_at_end = |one: &Series| match one.points.last() {
        Some((x, _)) => *x >= x_end - 0.08 * (x_end - x_start),
        None => true,
    };
    let mut label_series = plot.series.iter().all(nearly_at_end);
    let names = |with_series: bool| -> Vec<&str> {
        let series = plot.series.iter().filter(|_| with_series).map(|one| one.name.as_str());
        series.chain(plot.reference_lines.iter().map(|(name, _)| name.as_str())).collect()
    };
    let room = HEIGHT - super::frame::TOP - super::frame::BOTTOM;
    if names(true).len() as f64 * LABEL_GAP > room {
        label_series = false;
    }
    let widest =
        names(label_series).iter().map(|name| text_width(name, 12.5)).fold(0.0, f64::max).min(WIDEST_LABEL);
    let right_margin = if widest > 0.0 { widest + 34.0 } else { 0.0 };
    let frame = Frame::around(xs, ys.into_iter(), (WIDTH, HEIGHT), right_margin);

    let mut canvas = Canvas::new(WIDTH, HEIGHT);
    frame.draw(&mut canvas, &plot.x_label, &plot.y_label);
    for (_, y) in &plot.reference_lines {
        let (_, y) = frame.at((0.0, *y));
        canvas.line("vs-ref", (frame.left, y), (frame.right, y), "stroke-dasharray=\"5 4\"");
    }
    for (idx, one) in plot.series.iter().enumerate() {
        draw_band(&mut canvas, &frame, idx, one);
    }
    // Later series lie below earlier ones: the first is the one that the figure is about.
    let rows = xs_in_order(&plot.series);
    for (idx, one) in plot.series.iter().enumerate().rev() {
        draw_series(&mut canvas, &frame, (idx, one), plot, &rows);
    }

    let series = plot.series.iter().enumerate().filter(|_| label_series).filter_map(|(idx, one)| {
        let last = frame.at(*one.points.last()?);
        Some(Label { text: one.name.clone(), y: last.1, series_idx: Some(idx) })
    });
    let references = plot.reference_lines.iter().map(|(name, y)| {
        let (_, y) = frame.at((0.0, *y));
        Label { text: name.clone(), y, series_idx: None }
    });
    draw_labels(&mut canvas, &frame, &series.chain(references).collect::<Vec<_>>());
    if !label_series {
        let names: Vec<&str> = plot.series.iter().map(|one| one.name.as_str()).collect();
        legend::below(&mut canvas, &names, frame.left, HEIGHT + 16.0);
    }
    canvas
}

fn draw_band(canvas: &mut Canvas, frame: &Frame, idx: usize, one: &Series) {
    let Some(low_high) = &one.low_high else { return };
    let above = one.points.iter().zip(low_high).map(|((x, _), (_, high))| frame.at((*x, *high)));
    let below = one.points.iter().zip(low_high).rev().map(|((x, _), (low, _))| frame.at((*x, *low)));
    let outline = path(above.chain(below));
    canvas.open_series(idx);
    canvas.raw(&format!("<path class=\"vs-band\" d=\"{outline}Z\" fill-opacity=\"0.14\" stroke=\"none\"/>"));
    canvas.close();
}

fn draw_series(
    canvas: &mut Canvas,
    frame: &Frame,
    (idx, one): (usize, &Series),
    plot: &LinePlot,
    rows: &[f64],
) {
    let dash = match one.style {
        SeriesStyle::Solid => "",
        SeriesStyle::Dashed => " stroke-dasharray=\"7 4\"",
        SeriesStyle::Dotted => " stroke-dasharray=\"1 5\" stroke-linecap=\"round\"",
    };
    let outline = path(one.points.iter().map(|point| frame.at(*point)));
    canvas.open_series(idx);
    canvas.raw(&format!(
        "<path class=\"vs-line\" d=\"{outline}\" fill=\"none\" stroke-width=\"2\" stroke-linejoin=\"round\"{dash}/>"
    ));
    let has_marks = one.points.len() <= MOST_MARKS;
    let stride = one.points.len().div_ceil(MOST_TITLES).max(1);
    for (point_idx, point) in one.points.iter().enumerate() {
        let is_last = point_idx + 1 == one.points.len();
        if point_idx % stride != 0 && !is_last {
            continue;
        }
        let interval = one.low_high.as_ref().and_then(|low_high| low_high.get(point_idx).copied());
        let words = mark::words(&one.name, (&plot.x_label, point.0), (&plot.y_label, point.1), interval);
        let row = rows.partition_point(|x| x.total_cmp(&point.0).is_lt());
        let meaning = mark::Meaning { words, row };
        if has_marks {
            mark::titled(canvas, idx, frame.at(*point), 3.6, &meaning);
        } else {
            mark::hidden(canvas, frame.at(*point), &meaning);
        }
    }
    canvas.close();
}

/// Names to the right of the frame, moved apart where they would touch, joined to their lines.
fn draw_labels(canvas: &mut Canvas, frame: &Frame, labels: &[Label]) {
    let wanted: Vec<f64> = labels.iter().map(|label| label.y).collect();
    let bounds = (frame.top - 6.0, frame.bottom + 4.0);
    let Some(places) = legend::spread(&wanted, LABEL_GAP, bounds) else { return };
    for (label, place) in labels.iter().zip(places) {
        let (from, to) = ((frame.right + 3.0, label.y), (frame.right + 18.0, place));
        let text = canvas::fit(&label.text, 12.5, WIDEST_LABEL);
        let at = (frame.right + 23.0, place + 4.0);
        match label.series_idx {
            Some(idx) => {
                canvas.open_series(idx);
                canvas.line("vs-line", from, to, "stroke-width=\"1.5\"");
                canvas.close();
                canvas.text("vs-strong", at, Anchor::Start, &text);
            }
            None => {
                canvas.line("vs-axis", from, to, "");
                canvas.text("", at, Anchor::Start, &text);
            }
        }
    }
}
