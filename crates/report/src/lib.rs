//! Recipe in, report out.
//!
//! A *recipe* is the whole truth of a run, read strictly from TOML ([`recipe`]). A [`Report`] is what a study
//! answers with: numbers, tables and figures as data. It is rendered, without a plotting library and without the
//! network, to `report.json`, `report.md`, one SVG (or PNG) a figure and one offline HTML file.
//!
//! The crate knows nothing of tensors, models or data sets.
//!
//! ```
//! use report::{Kind, Metric, Provenance, Report, Table};
//!
//! let mut report = Report::new("knn", Kind::Probe, "k-nearest neighbours", "vit-s/16", "part-shapes", Provenance::default());
//! report.metrics.push(Metric::new("top1", 0.913, "ratio").layer(11).select("block11.cls").param("k", 20));
//! report.tables.push(Table::new("by-layer", "Accuracy by layer", ["layer", "top1"]).row([11.into(), 0.913.into()]));
//! assert!(report.check().is_ok());
//! assert!(report.to_markdown().contains("0.913"));
//! ```

mod figure;
mod info;
pub mod recipe;
mod render;
mod report;
mod report_error;
mod saved;
pub mod store;
mod table;

pub use crate::figure::{
    Figure, FigureData, ImageGrid, LinePlot, ScatterPlot, Series, SeriesStyle, Tile, points_by_index,
};
pub use crate::info::Info;
pub use crate::recipe::{Recipe, RecipeError};
pub use crate::render::number::short as short_number;
pub use crate::report::{Array, Block, Card, Kind, Metric, Provenance, Report};
pub use crate::report_error::ReportError;
pub use crate::saved::{SavedFigure, SavedReport, SavedTable};
pub use crate::table::{Cell, Table};
