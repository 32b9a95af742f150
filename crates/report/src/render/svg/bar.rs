//! Horizontal bars in groups: labels of any length stay readable.

use super::canvas::{Anchor, Canvas, fit, tenth, text_width};
use super::ticks::{enclosing, extent};
use super::{WIDTH, legend};
use crate::Series;
use crate::render::escape::xml;
use crate::render::number::{decimals_of, fixed, minus, short};

const BAR: f64 = 15.0;
const BAR_GAP: f64 = 3.0;
const GROUP_GAP: f64 = 14.0;
const TOP: f64 = 34.0;

pub(crate) fn draw(labels: &[String], series: &[Series], y_label: &str) -> Canvas {
    let values = series.iter().flat_map(|one| one.points.iter().map(|point| point.1));
    let intervals =
        series.iter().flat_map(|one| one.low_high.iter().flatten().flat_map(|(low, high)| [*low, *high]));
    let (low, high) = extent(values.chain(intervals).chain([0.0]));
    let ticks = enclosing(low, high, 6);
    let (low, high) = (ticks.values[0], ticks.values[ticks.values.len() - 1]);
    let widest = labels.iter().map(|label| text_width(label, 12.5)).fold(0.0, f64::max).min(220.0);
    let (left, right) = (widest + 14.0, WIDTH - 56.0);
    let group = series.len().max(1) as f64 * (BAR + BAR_GAP) - BAR_GAP;
    let bottom = TOP + labels.len() as f64 * (group + GROUP_GAP) + 2.0;
    let x_of = |value: f64| left + (value - low) / (high - low) * (right - left);

    let decimals = decimals_of(series.iter().flat_map(|one| one.points.iter().map(|point| point.1)));
    let mut canvas = Canvas::new(WIDTH, bottom + 30.0);
    canvas.text("vs-strong", (0.0, 13.0), Anchor::Start, y_label);
    for (value, label) in ticks.values.iter().zip(ticks.labels()) {
        canvas.line("vs-grid", (x_of(*value), TOP - 6.0), (x_of(*value), bottom), "");
        canvas.text("", (x_of(*value), bottom + 18.0), Anchor::Middle, &label);
    }
    for (group_idx, label) in labels.iter().enumerate() {
        let middle = TOP + group_idx as f64 * (group + GROUP_GAP) + group / 2.0;
        canvas.text("vs-strong", (left - 10.0, middle + 4.0), Anchor::End, &fit(label, 12.5, 220.0));
    }
    for (idx, one) in series.iter().enumerate() {
        canvas.open_series(idx);
        for (point_idx, (x, value)) in one.points.iter().enumerate() {
            let top = TOP + x * (group + GROUP_GAP) + idx as f64 * (BAR + BAR_GAP);
            let (from, to) = (x_of(value.min(0.0)), x_of(value.max(0.0)));
            let name = labels.get(*x as usize).map_or("", String::as_str);
            let who = if one.name.is_empty() { name.to_owned() } else { format!("{name}, {}", one.name) };
            let interval = one.low_high.as_ref().and_then(|low_high| low_high.get(point_idx));
            let range = match interval {
                Some((low, high)) if low < high => format!(" ({} to {})", short(*low), short(*high)),
                _ => String::new(),
            };
            canvas.raw(&format!(
                "<rect class=\"vs-bar vs-pt\" data-r=\"{x}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{BAR}\" rx=\"1.5\" stroke=\"none\"><title>{}</title></rect>",
                tenth(from),
                tenth(top),
                tenth((to - from).max(1.0)),
                xml(&format!("{who}: {}{range}", short(*value))),
            ));
            let mut end = x_of(*value);
            if let Some((low, high)) = interval {
                let y = top + BAR / 2.0;
                canvas.line("vs-whisker", (x_of(*low), y), (x_of(*high), y), "stroke-width=\"1.4\"");
                end = if *value < 0.0 { x_of(*low) } else { x_of(*high) };
            }
            let (at, anchor) =
                if *value < 0.0 { (end - 5.0, Anchor::End) } else { (end + 5.0, Anchor::Start) };
            canvas.text("vs-small", (at, top + BAR - 3.5), anchor, &minus(fixed(*value, decimals)));
        }
        canvas.close();
    }
    canvas.line("vs-axis", (x_of(0.0), TOP - 6.0), (x_of(0.0), bottom), "");
    let names: Vec<&str> = series.iter().map(|one| one.name.as_str()).collect();
    if series.len() > 1 {
        legend::below(&mut canvas, &names, left, bottom + 46.0);
    }
    canvas
}
