//! The axes of a plot: where data land on the page, the grid behind them and the words around them.

use super::canvas::{Anchor, Canvas, text_width};
use super::ticks::{Ticks, enclosing, extent, inside};

/// Room for the label of the vertical axis, which stands above it.
pub(crate) const TOP: f64 = 34.0;
/// Room for the numbers and the label of the horizontal axis.
pub(crate) const BOTTOM: f64 = 50.0;

/// A rectangle of the page and the data that it spans.
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
    x_span: (f64, f64),
    y_span: (f64, f64),
    x_ticks: Ticks,
    y_ticks: Ticks,
}

impl Frame {
    /// Fits a frame of the given outer size around points; the left margin follows the widest number.
    pub(crate) fn around(
        xs: impl Iterator<Item = f64> + Clone,
        ys: impl Iterator<Item = f64>,
        outer: (f64, f64),
        right_margin: f64,
    ) -> Self {
        let (low, high) = extent(ys);
        let low = if low > 0.0 && low < 0.4 * high { 0.0 } else { low };
        let y_ticks = enclosing(low, high, 5);
        let y_span = (y_ticks.values[0], y_ticks.values[y_ticks.values.len() - 1]);
        let widest = y_ticks.labels().iter().map(|label| text_width(label, 12.5)).fold(0.0, f64::max);
        let left = widest.max(14.0) + 12.0;
        let right = outer.0 - right_margin.max(16.0);
        let whole = xs.clone().all(|x| x.fract() == 0.0);
        let (x_low, x_high) = extent(xs);
        let pad = (x_high - x_low) * 0.02;
        let x_span = (x_low - pad, x_high + pad);
        let n_wanted = ((right - left) / 42.0) as usize;
        // Blocks, heads and epochs get a number each where there is room, also when dots stand beside them.
        let is_counted = (whole || x_high - x_low >= 6.0) && x_high - x_low <= n_wanted as f64;
        let n_wanted = if is_counted { n_wanted } else { n_wanted.min(8) };
        let x_ticks = inside(x_low, x_high, n_wanted, whole || is_counted);
        Self { left, right, top: TOP, bottom: outer.1 - BOTTOM, x_span, y_span, x_ticks, y_ticks }
    }

    /// Where a point of the data stands on the page.
    pub(crate) fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let across = (x - self.x_span.0) / (self.x_span.1 - self.x_span.0);
        let up = (y - self.y_span.0) / (self.y_span.1 - self.y_span.0);
        (self.left + across * (self.right - self.left), self.bottom - up * (self.bottom - self.top))
    }

    /// Draws grid, numbers and labels.
    pub(crate) fn draw(&self, canvas: &mut Canvas, x_label: &str, y_label: &str) {
        for (value, label) in self.y_ticks.values.iter().zip(self.y_ticks.labels()) {
            let (_, y) = self.at((self.x_span.0, *value));
            canvas.line("vs-grid", (self.left, y), (self.right, y), "");
            canvas.text("", (self.left - 9.0, y + 4.0), Anchor::End, &label);
        }
        canvas.line("vs-axis", (self.left, self.bottom), (self.right, self.bottom), "");
        for (value, label) in self.x_ticks.values.iter().zip(self.x_ticks.labels()) {
            let (x, _) = self.at((*value, self.y_span.0));
            canvas.line("vs-axis", (x, self.bottom), (x, self.bottom + 5.0), "");
            canvas.text("", (x, self.bottom + 19.0), Anchor::Middle, &label);
        }
        canvas.text("vs-strong", (0.0, 13.0), Anchor::Start, y_label);
        canvas.text(
            "vs-strong",
            ((self.left + self.right) / 2.0, self.bottom + 41.0),
            Anchor::Middle,
            x_label,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_land_inside_and_upside_up() {
        let frame = Frame::around([0.0, 10.0].into_iter(), [0.2, 0.9].into_iter(), (700.0, 300.0), 100.0);
        let ((left, low), (right, high)) = (frame.at((0.0, 0.2)), frame.at((10.0, 0.9)));
        assert!(frame.left < left && left < right && right < frame.right);
        assert!(frame.top < high && high < low && low < frame.bottom);
        assert_eq!(frame.at((0.0, 0.0)).1, frame.bottom); // From 0, because 0.2 is far below 0.9.
    }
}
