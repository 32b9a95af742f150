//! A growing drawing: elements with coordinates to a tenth of a pixel, all text escaped.

use crate::render::escape::xml;
use std::fmt::Write;

/// A drawing and its size.
pub(crate) struct Canvas {
    width: f64,
    height: f64,
    body: String,
}

/// Where the given point of a text stands on its baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Canvas {
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    pub(crate) fn width(&self) -> f64 {
        self.width
    }

    pub(crate) fn height(&self) -> f64 {
        self.height
    }

    pub(crate) fn set_height(&mut self, height: f64) {
        self.height = height;
    }

    pub(crate) fn body(&self) -> &str {
        &self.body
    }

    /// Adds markup as it is; every text in it is already escaped.
    pub(crate) fn raw(&mut self, markup: &str) {
        self.body.push_str(markup);
        self.body.push('\n');
    }

    /// Opens a group in the color of a series.
    pub(crate) fn open_series(&mut self, series_idx: usize) {
        let (class, color) = series_color(series_idx);
        self.raw(&format!("<g class=\"{class}\" fill=\"{color}\" stroke=\"{color}\">"));
    }

    pub(crate) fn close(&mut self) {
        self.raw("</g>");
    }

    pub(crate) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64), rest: &str) {
        let (x1, y1, x2, y2) = (tenth(from.0), tenth(from.1), tenth(to.0), tenth(to.1));
        let color = match class {
            "vs-grid" => " stroke=\"#e7e9ec\"",
            "vs-axis" | "vs-ref" => " stroke=\"#8a929c\"",
            _ => "",
        };
        let rest = if rest.is_empty() { String::new() } else { format!(" {rest}") };
        self.raw(&format!(
            "<line class=\"{class}\"{color} x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"{rest}/>"
        ));
    }

    pub(crate) fn text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let (x, y) = (tenth(at.0), tenth(at.1));
        self.raw(&format!(
            "<text{class} x=\"{x}\" y=\"{y}\"{anchor} fill=\"#444\" stroke=\"none\">{}</text>",
            xml(text)
        ));
    }

    /// Text that ends at a point and climbs to it.
    pub(crate) fn slanted_text(&mut self, at: (f64, f64), text: &str) {
        let (x, y) = (tenth(at.0), tenth(at.1));
        let text = xml(text);
        self.raw(&format!("<text transform=\"translate({x} {y}) rotate(-40)\" text-anchor=\"end\" fill=\"#444\">{text}</text>"));
    }

    /// A PNG, given as base64, without smoothing.
    pub(crate) fn picture(&mut self, x: f64, y: f64, width: f64, height: f64, png_base64: &str) {
        let (x, y, width, height) = (tenth(x), tenth(y), tenth(width), tenth(height));
        let place = format!("x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"");
        self.raw(&format!(
            "<image {place} preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{png_base64}\"/>"
        ));
    }
}

/// Class and light-scheme color of a series; they repeat after eight.
pub(crate) fn series_color(series_idx: usize) -> (&'static str, &'static str) {
    const COLORS: [(&str, &str); 8] = [
        ("vs-c1", "#0969b0"),
        ("vs-c2", "#cf5200"),
        ("vs-c3", "#0a8f6b"),
        ("vs-c4", "#a8509a"),
        ("vs-c5", "#8a6d00"),
        ("vs-c6", "#3fa0d8"),
        ("vs-c7", "#6f7782"),
        ("vs-c8", "#8c2f2f"),
    ];
    COLORS[series_idx % COLORS.len()]
}

/// A coordinate with at most one decimal.
pub(crate) fn tenth(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Points as the data of a path.
pub(crate) fn path(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let mut out = String::new();
    for (x, y) in points {
        let verb = if out.is_empty() { 'M' } else { 'L' };
        let _ = write!(out, "{verb}{} {}", tenth(x), tenth(y)); // Writing to a String cannot fail.
    }
    out
}

/// About how wide a text is set, in pixels; a little more than it is.
pub(crate) fn text_width(text: &str, size_px: f64) -> f64 {
    let ems = text.chars().map(|c| match c {
        'i' | 'j' | 'l' | 't' | 'f' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' | '(' | ')' => {
            0.33
        }
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.9,
        'A'..='Z' => 0.7,
        c if u32::from(c) > 0x2E7F => 1.05,
        _ => 0.57,
    });
    ems.sum::<f64>() * size_px
}

/// The text, cut with an ellipsis where it would be wider than `width_px`.
pub(crate) fn fit(text: &str, size_px: f64, width_px: f64) -> String {
    if text_width(text, size_px) <= width_px {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        if text_width(&cut, size_px) + size_px * 1.6 > width_px {
            break;
        }
        cut.push(c);
    }
    format!("{}…", cut.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short() {
        assert_eq!([tenth(1.0), tenth(-0.01), tenth(2.25), tenth(-3.16)], ["1", "0", "2.2", "-3.2"]);
        assert_eq!(path([(0.0, 1.0), (2.5, 3.0)]), "M0 1L2.5 3");
    }

    #[test]
    fn long_text_is_cut_to_its_room() {
        assert_eq!(fit("short", 12.0, 100.0), "short");
        let cut = fit("a very long name of a model", 12.0, 60.0);
        assert!(cut.ends_with('…') && text_width(&cut, 12.0) <= 66.0, "{cut}");
    }
}
