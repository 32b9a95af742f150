//! What a study has found, before anybody adds where it came from.

use report::{Array, Block, Figure, Metric, Table};
use vit_data::CropBox;

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
    /// Test samples to be shown; whoever has the data makes figures of them.
    pub showcases: Vec<Showcase>,
}

/// Test samples worth seeing, by their index: a study has no pictures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Showcase {
    /// The name of the figure; the story may name it.
    pub name: String,
    /// Its title.
    pub title: String,
    /// How to read it.
    pub caption: String,
    /// The index of a sample in its data set, and what is said below its picture.
    pub samples: Vec<(usize, String)>,
    /// Maps that stand beside each picture, which is then the part of it that the model saw.
    pub maps: Option<Maps>,
}

/// Maps over the patches of views, a row for each sample of a showcase.
#[derive(Clone, Debug, PartialEq)]
pub struct Maps {
    /// What stands above each column.
    pub titles: Vec<String>,
    /// Rows and columns of patches.
    pub grid: (usize, usize),
    /// For each sample, where in its image the view was cut, and a map for each title.
    pub rows: Vec<(CropBox, Vec<PatchMap>)>,
}

/// One map over the patches of a view, row by row.
#[derive(Clone, Debug, PartialEq)]
pub enum PatchMap {
    /// Shares of 0–1 that are laid over the picture as light.
    Heat(Vec<f32>),
    /// A color for each patch.
    Colors(Vec<[u8; 3]>),
}

/// The array in which a probe says of every test sample, in the order of the test side, whether its headline (the best
/// layer, say) was right: 1 or 0. Models are compared sample by sample from it.
pub const CORRECT: &str = "correct";

impl Findings {
    /// Hands over which test samples the headline was right on, as the array [`CORRECT`].
    ///
    /// # Shapes
    /// `right`: `[n]`, every test sample in the order of its side.
    pub fn mark_correct(&mut self, right: &[bool]) {
        let values = right.iter().map(|&right| f32::from(u8::from(right))).collect();
        self.arrays.push(Array { name: CORRECT.into(), shape: vec![right.len()], values });
    }
}
