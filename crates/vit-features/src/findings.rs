//! What a study has found, before anybody adds where it came from.

use report::{Array, Block, Figure, Metric, Table};

/// Numbers, tables and figures of a study.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Every number.
    pub metrics: Vec<Metric>,
    /// Numbers side by side.
    pub tables: Vec<Table>,
    /// Figures as data.
    pub figures: Vec<Figure>,
    /// Large arrays.
    pub arrays: Vec<Array>,
    /// The order of reading.
    pub story: Vec<Block>,
}
