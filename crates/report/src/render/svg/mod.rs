//! Figures as SVG: a small renderer of its own, the same drawing inline in HTML and alone in a file.
//!
//! Colors are CSS variables (`figure.css`) with plain attributes below them, so that both color schemes work in a
//! browser and a viewer without CSS still shows the light one.

mod bar;
mod canvas;
mod colormap;
mod frame;
mod heatmap;
mod legend;
mod line;
mod mark;
mod scatter;
mod ticks;

pub(crate) use self::canvas::{Canvas, series_color};

use super::escape::xml;
use super::png;
use crate::{Figure, FigureData};
use base64::prelude::{BASE64_STANDARD, Engine as _};

/// Colors and type of every figure; also part of the HTML page.
pub(crate) const STYLE: &str = include_str!("figure.css");

/// Width of a plot in user units; a page shows it at about this many pixels.
const WIDTH: f64 = 720.0;

impl Figure {
    /// The figure as one standalone SVG document with its title, readable in light and dark.
    ///
    /// Pictures become one embedded sheet.
    pub fn to_svg(&self) -> String {
        let drawing = draw(&self.data);
        let (margin, head) = (20.0, if self.title.is_empty() { 20.0 } else { 52.0 });
        let (width, height) = (drawing.width() + 2.0 * margin, drawing.height() + head + margin);
        let mut out = String::new();
        out.push_str("<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" ");
        out.push_str(&format!(
            "viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" "
        ));
        out.push_str("font-family=\"sans-serif\" font-size=\"12.5\">\n");
        out.push_str(&format!("<title>{}</title>\n<desc>{}</desc>\n", xml(&self.title), xml(&self.caption)));
        out.push_str(&format!("<style>{STYLE}</style>\n"));
        out.push_str(&format!(
            "<rect class=\"vs-paper\" width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#fff\"/>\n"
        ));
        if !self.title.is_empty() {
            let title = xml(&self.title);
            out.push_str(&format!(
                "<text class=\"vs-title\" x=\"{margin}\" y=\"31\" font-size=\"15\">{title}</text>\n"
            ));
        }
        out.push_str(&format!("<g class=\"vs-fig\" transform=\"translate({margin} {head})\">\n"));
        out.push_str(drawing.body());
        out.push_str("</g>\n</svg>\n");
        out
    }
}

/// The drawing as an element of an HTML page; title and caption stand around it there.
pub(crate) fn inline(figure: &Figure) -> String {
    let drawing = draw(&figure.data);
    let (width, height) = (drawing.width(), drawing.height());
    let least = width.min(600.0);
    format!(
        "<svg class=\"vs-fig\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         style=\"min-width:{least:.0}px;max-width:{:.0}px\">\n{}</svg>",
        xml(&figure.title),
        width * 1.15,
        drawing.body()
    )
}

fn draw(data: &FigureData) -> Canvas {
    match data {
        FigureData::Line(plot) => line::draw(plot),
        FigureData::Scatter(plot) => scatter::draw(plot),
        FigureData::Bar { labels, series, y_label } => bar::draw(labels, series, y_label),
        FigureData::Heatmap { row_labels, col_labels, x_label, y_label, values, range, unit } => {
            heatmap::draw(&heatmap::Matrix {
                row_labels,
                col_labels,
                x_label,
                y_label,
                values,
                range: *range,
                unit,
            })
        }
        FigureData::Image(grid) => {
            let bytes = png::sheet(grid).unwrap_or_default();
            let size =
                image::load_from_memory(&bytes).map_or((1, 1), |sheet| (sheet.width(), sheet.height()));
            let mut canvas = Canvas::new(f64::from(size.0), f64::from(size.1));
            canvas.picture(0.0, 0.0, canvas.width(), canvas.height(), &BASE64_STANDARD.encode(bytes));
            canvas
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageGrid, LinePlot, ScatterPlot, Series, SeriesStyle, Tile};
    use proptest::prelude::*;

    fn tiny() -> Figure {
        let mae = Series::new("mae", vec![(0.0, 0.25), (1.0, 0.5)]).band(vec![(0.2, 0.3), (0.4, 0.6)]);
        let plot = LinePlot {
            x_label: "block".into(),
            y_label: "top-1".into(),
            series: vec![
                mae,
                Series::new("untrained", vec![(0.0, 0.2), (1.0, 0.2)]).style(SeriesStyle::Dashed),
            ],
            reference_lines: vec![("chance".into(), 0.1)],
        };
        Figure::new("knn", "kNN <by> block", "Higher is better.", FigureData::Line(plot))
    }

    #[test]
    fn a_tiny_line_plot_keeps_its_drawing() {
        insta::assert_snapshot!(draw(&tiny().data).body(), @r##"
        <line class="vs-grid" stroke="#e7e9ec" x1="30.4" y1="330" x2="627.9" y2="330"/>
        <text x="21.4" y="334" text-anchor="end" fill="#444" stroke="none">0</text>
        <line class="vs-grid" stroke="#e7e9ec" x1="30.4" y1="231.3" x2="627.9" y2="231.3"/>
        <text x="21.4" y="235.3" text-anchor="end" fill="#444" stroke="none">0.2</text>
        <line class="vs-grid" stroke="#e7e9ec" x1="30.4" y1="132.7" x2="627.9" y2="132.7"/>
        <text x="21.4" y="136.7" text-anchor="end" fill="#444" stroke="none">0.4</text>
        <line class="vs-grid" stroke="#e7e9ec" x1="30.4" y1="34" x2="627.9" y2="34"/>
        <text x="21.4" y="38" text-anchor="end" fill="#444" stroke="none">0.6</text>
        <line class="vs-axis" stroke="#8a929c" x1="30.4" y1="330" x2="627.9" y2="330"/>
        <line class="vs-axis" stroke="#8a929c" x1="41.9" y1="330" x2="41.9" y2="335"/>
        <text x="41.9" y="349" text-anchor="middle" fill="#444" stroke="none">0</text>
        <line class="vs-axis" stroke="#8a929c" x1="616.4" y1="330" x2="616.4" y2="335"/>
        <text x="616.4" y="349" text-anchor="middle" fill="#444" stroke="none">1</text>
        <text class="vs-strong" x="0" y="13" fill="#444" stroke="none">top-1</text>
        <text class="vs-strong" x="329.1" y="371" text-anchor="middle" fill="#444" stroke="none">block</text>
        <line class="vs-ref" stroke="#8a929c" x1="30.4" y1="280.7" x2="627.9" y2="280.7" stroke-dasharray="5 4"/>
        <g class="vs-c1" fill="#0969b0" stroke="#0969b0">
        <path class="vs-band" d="M41.9 182L616.4 34L616.4 132.7L41.9 231.3Z" fill-opacity="0.14" stroke="none"/>
        </g>
        <g class="vs-c2" fill="#cf5200" stroke="#cf5200">
        <path class="vs-line" d="M41.9 231.3L616.4 231.3" fill="none" stroke-width="2" stroke-linejoin="round" stroke-dasharray="7 4"/>
        <path class="vs-dot vs-pt" data-r="0" d="M38.7 228.2L45 228.2L45 234.5L38.7 234.5Z"><title>untrained
        block: 0
        top-1: 0.2</title></path>
        <path class="vs-dot vs-pt" data-r="1" d="M613.2 228.2L619.6 228.2L619.6 234.5L613.2 234.5Z"><title>untrained
        block: 1
        top-1: 0.2</title></path>
        </g>
        <g class="vs-c1" fill="#0969b0" stroke="#0969b0">
        <path class="vs-line" d="M41.9 206.7L616.4 83.3" fill="none" stroke-width="2" stroke-linejoin="round"/>
        <circle class="vs-dot vs-pt" data-r="0" cx="41.9" cy="206.7" r="3.6"><title>mae
        block: 0
        top-1: 0.25 (0.2 to 0.3)</title></circle>
        <circle class="vs-dot vs-pt" data-r="1" cx="616.4" cy="83.3" r="3.6"><title>mae
        block: 1
        top-1: 0.5 (0.4 to 0.6)</title></circle>
        </g>
        <g class="vs-c1" fill="#0969b0" stroke="#0969b0">
        <line class="vs-line" x1="630.9" y1="83.3" x2="645.9" y2="83.3" stroke-width="1.5"/>
        </g>
        <text class="vs-strong" x="650.9" y="87.3" fill="#444" stroke="none">mae</text>
        <g class="vs-c2" fill="#cf5200" stroke="#cf5200">
        <line class="vs-line" x1="630.9" y1="231.3" x2="645.9" y2="231.3" stroke-width="1.5"/>
        </g>
        <text class="vs-strong" x="650.9" y="235.3" fill="#444" stroke="none">untrained</text>
        <line class="vs-axis" stroke="#8a929c" x1="630.9" y1="280.7" x2="645.9" y2="280.7"/>
        <text x="650.9" y="284.7" fill="#444" stroke="none">chance</text>
        "##);
    }

    #[test]
    fn a_standalone_file_is_a_titled_document_for_both_schemes() {
        let svg = tiny().to_svg();
        assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
        assert!(svg.contains("<title>kNN &lt;by&gt; block</title>") && svg.contains("prefers-color-scheme"));
        assert_eq!(svg.matches("http").count(), 1);
    }

    #[test]
    fn every_kind_draws_even_when_it_is_empty() {
        let heatmap = FigureData::Heatmap {
            row_labels: vec![],
            col_labels: vec![],
            x_label: String::new(),
            y_label: String::new(),
            values: vec![],
            range: None,
            unit: String::new(),
        };
        let bar = FigureData::Bar { labels: vec![], series: vec![], y_label: String::new() };
        let tile = Tile { width_px: 1, height_px: 1, rgb: vec![0; 3], caption: String::new() };
        let grid = ImageGrid { columns: 1, tiles: vec![tile], scale: 1, ..ImageGrid::default() };
        let line = FigureData::Line(LinePlot::default());
        let scatter = FigureData::Scatter(ScatterPlot::default());
        for data in [heatmap, bar, FigureData::Image(grid), line, scatter] {
            let svg = Figure::new("f", "", "", data.clone()).to_svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}: {svg}", data.kind());
        }
    }

    proptest! {
        #[test]
        fn points_stay_inside_the_drawing(
            points in proptest::collection::vec((-1e9_f64..1e9, -1e-3_f64..1e6), 1..12),
            name in "\\PC{0,12}",
        ) {
            let plot = ScatterPlot { series: vec![Series::new(name, points)], ..ScatterPlot::default() };
            let svg = inline(&Figure::new("f", "", "", FigureData::Scatter(plot.clone())));
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf"));
            let width = draw(&FigureData::Scatter(plot)).width();
            for part in svg.split("translate(").skip(1) {
                let x: f64 = part.split([' ', ')']).next().and_then(|x| x.parse().ok()).expect("a number");
                prop_assert!((0.0..=width).contains(&x), "{x}");
            }
        }
    }
}
