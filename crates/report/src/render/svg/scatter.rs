//! Dots over two axes, where they are: no jitter.

use super::canvas::Canvas;
use super::frame::Frame;
use super::{WIDTH, legend, mark};
use crate::ScatterPlot;

const HEIGHT: f64 = 380.0;
/// Beyond this many, dots no longer say who they are.
const MOST_TITLES: usize = 4000;

pub(crate) fn draw(plot: &ScatterPlot) -> Canvas {
    let xs = plot.series.iter().flat_map(|one| one.points.iter().map(|point| point.0 + one.x_shift));
    let ys = plot.series.iter().flat_map(|one| one.points.iter().map(|point| point.1));
    let n_points = ys.clone().count();
    let radius = if n_points > 600 { 2.4 } else { 3.8 };
    let frame = Frame::around(xs, ys, (WIDTH, HEIGHT), 0.0);
    let mut canvas = Canvas::new(WIDTH, HEIGHT);
    frame.draw(&mut canvas, &plot.x_label, &plot.y_label);
    let mut row = 0;
    for (idx, one) in plot.series.iter().enumerate() {
        canvas.open_series(idx);
        canvas.raw("<g fill-opacity=\"0.8\" stroke-width=\"0.8\">");
        for point in &one.points {
            let at = frame.at((point.0 + one.x_shift, point.1));
            if n_points > MOST_TITLES {
                mark::plain(&mut canvas, idx, at, radius);
                continue;
            }
            let words = mark::words(&one.name, (&plot.x_label, point.0), (&plot.y_label, point.1), None);
            mark::titled(&mut canvas, idx, at, radius, &mark::Meaning { words, row });
            row += 1;
        }
        canvas.close();
        canvas.close();
    }
    let names: Vec<&str> = plot.series.iter().map(|one| one.name.as_str()).collect();
    if names.iter().any(|name| !name.is_empty()) {
        legend::below(&mut canvas, &names, frame.left, HEIGHT + 16.0);
    }
    canvas
}
