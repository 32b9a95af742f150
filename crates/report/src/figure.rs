//! Figures as data. Nothing here knows how it is drawn.

use serde::{Deserialize, Serialize};

/// A figure of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Unique in the report, kebab-case; names the file.
    pub name: String,
    /// What a reader sees above it.
    pub title: String,
    /// How to read it, and what it cannot tell.
    pub caption: String,
    /// What is drawn.
    pub data: FigureData,
}

impl Figure {
    /// A figure with its title and the sentence that says how to read it.
    pub fn new(
        name: impl Into<String>,
        title: impl Into<String>,
        caption: impl Into<String>,
        data: FigureData,
    ) -> Self {
        Self { name: name.into(), title: title.into(), caption: caption.into(), data }
    }
}

/// What a figure shows. In `report.json`, `{"line": {…}}` and so on; the pixels of pictures stay in the figure's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FigureData {
    /// Lines over a common axis, with intervals and horizontal reference lines.
    Line(LinePlot),
    /// A matrix in color.
    Heatmap {
        /// One label a row, top to bottom; empty: rows are counted from 0.
        row_labels: Vec<String>,
        /// One label a column; empty: columns are counted from 0.
        col_labels: Vec<String>,
        /// Name and unit of the columns.
        x_label: String,
        /// Name and unit of the rows.
        y_label: String,
        /// Row by row, all rows of one length.
        values: Vec<Vec<f64>>,
        /// What the two ends of the color scale mean; `None`: least and greatest value.
        range: Option<(f64, f64)>,
        /// Name and unit of the values.
        unit: String,
    },
    /// Dots, one color and shape a series.
    Scatter(ScatterPlot),
    /// Horizontal bars in groups.
    Bar {
        /// One label a group.
        labels: Vec<String>,
        /// The points of a series are (group index, value); `low_high` becomes a whisker.
        series: Vec<Series>,
        /// Name and unit of the values.
        y_label: String,
    },
    /// Pictures in a grid.
    Image(ImageGrid),
}

impl FigureData {
    /// The word for it in `report.json`: `line`, `heatmap`, `scatter`, `bar`, `image`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Line(_) => "line",
            Self::Heatmap { .. } => "heatmap",
            Self::Scatter(_) => "scatter",
            Self::Bar { .. } => "bar",
            Self::Image(_) => "image",
        }
    }
}

/// Lines over a common axis.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LinePlot {
    /// Name and unit of the horizontal axis.
    pub x_label: String,
    /// Name and unit of the vertical axis.
    pub y_label: String,
    /// The lines; a dozen are drawn apart, eight in different colors.
    pub series: Vec<Series>,
    /// Horizontal dashed lines: chance, raw pixels, a published value.
    pub reference_lines: Vec<(String, f64)>,
}

/// Dots over two axes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ScatterPlot {
    /// Name and unit of the horizontal axis.
    pub x_label: String,
    /// Name and unit of the vertical axis.
    pub y_label: String,
    /// The groups of dots.
    pub series: Vec<Series>,
}

/// Named points.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// (x, y), in the order in which a line joins them.
    pub points: Vec<(f64, f64)>,
    /// An interval in y for each point: drawn as a band, or as whiskers on bars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_high: Option<Vec<(f64, f64)>>,
    /// How the line is drawn.
    #[serde(default, skip_serializing_if = "is_solid")]
    pub style: SeriesStyle,
    /// How far to the right the points are drawn of where they are, in units of x, so that the dots of several series
    /// at one x do not hide one another. What they say when they are touched is their own x.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub x_shift: f64,
}

fn is_solid(style: &SeriesStyle) -> bool {
    *style == SeriesStyle::Solid
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Series {
    /// A solid series without intervals.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, ..Self::default() }
    }

    /// The same series with an interval (low, high) for each point.
    #[must_use]
    pub fn band(mut self, low_high: Vec<(f64, f64)>) -> Self {
        self.low_high = Some(low_high);
        self
    }

    /// The same series in another line style.
    #[must_use]
    pub fn style(mut self, style: SeriesStyle) -> Self {
        self.style = style;
        self
    }

    /// The same series, drawn that far to the right.
    #[must_use]
    pub fn shifted(mut self, x_shift: f64) -> Self {
        self.x_shift = x_shift;
        self
    }
}

/// Values at x = 0, 1, 2 …: layers, or the groups of a bar chart.
pub fn points_by_index(values: impl IntoIterator<Item = f64>) -> Vec<(f64, f64)> {
    values.into_iter().enumerate().map(|(idx, value)| (idx as f64, value)).collect()
}

/// Every x of some series once, ascending: the rows of a table of them.
pub(crate) fn xs_in_order(series: &[Series]) -> Vec<f64> {
    let mut xs: Vec<f64> = series.iter().flat_map(|one| one.points.iter().map(|point| point.0)).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup_by(|a, b| a.total_cmp(b).is_eq());
    xs
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeriesStyle {
    /// A learned number.
    #[default]
    Solid,
    /// A baseline.
    Dashed,
    /// Something lesser still.
    Dotted,
}

/// Pictures in rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageGrid {
    /// Tiles in a row; at least 1.
    pub columns: usize,
    /// Row by row.
    pub tiles: Vec<Tile>,
    /// Integer enlargement without smoothing; at least 1.
    pub scale: usize,
    /// One title a column; may be empty.
    pub column_titles: Vec<String>,
    /// One title a row; may be empty.
    pub row_titles: Vec<String>,
}

/// One small picture.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    /// Width in pixels.
    pub width_px: usize,
    /// Height in pixels.
    pub height_px: usize,
    /// Row by row, three bytes a pixel: `width_px · height_px · 3`. Not part of `report.json`.
    #[serde(skip)]
    pub rgb: Vec<u8>,
    /// What stands below it; may be empty.
    pub caption: String,
}
