//! The sizes of what is studied: of the model, and of the data it is asked about.

use crate::{Layers, StudyError};
use serde::{Deserialize, Serialize};
use vit_core::{Backbone, Grid};
use vit_data::Dataset;
use vit_data::transform::Normalize;

/// What there is to study: the model's sizes and the data's classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shapes {
    /// The model's name in reports.
    pub model: String,
    /// Blocks; 0 where there is no model, only pixels.
    pub depth: usize,
    /// `D`
    pub width: usize,
    /// Attention heads; none where there is no attention.
    pub n_heads: Option<usize>,
    /// Class and register tokens.
    pub n_prefix: usize,
    /// Whether there is a class token.
    pub has_class: bool,
    /// Whether there is a norm over tokens after the last block.
    pub has_norm: bool,
    /// How bytes became the numbers of the views.
    pub normalize: Normalize,
    /// The grid of patches.
    pub grid: Grid,
    /// Side of a patch in pixels.
    pub patch_px: usize,
    /// Classes of the data; 0 where there are none.
    pub n_classes: usize,
    /// The names of those classes, where they have any.
    pub classes: Vec<String>,
    /// The names of the parts that part masks tell apart; none where there are none.
    pub parts: Vec<String>,
    /// The names of the classes that pixels have; none where nobody says.
    pub object_classes: Vec<String>,
    /// Samples to learn from.
    pub n_train: usize,
    /// Samples asked about.
    pub n_test: usize,
    /// The layers asked for.
    pub blocks: Vec<usize>,
    /// From which a study's own draws follow.
    pub seed: u64,
    /// The other models of a study of several; on the same data.
    pub beside: Vec<Shapes>,
}

impl Shapes {
    /// The shapes of a model on images of `size_px`.
    ///
    /// # Errors
    /// When a layer is asked for that the model does not have.
    pub fn of(model: &Backbone, name: &str, size_px: usize, layers: &Layers) -> Result<Self, StudyError> {
        let depth = model.depth();
        Ok(Self {
            model: name.to_owned(),
            depth,
            width: model.width(),
            n_heads: model.n_heads(),
            n_prefix: model.n_prefix(),
            has_class: model.has_class(),
            has_norm: model.has_norm(),
            grid: model.grid(size_px, size_px),
            patch_px: model.patch_px(),
            blocks: layers.blocks(depth)?,
            ..Self::of_pixels(size_px)
        })
    }

    /// The shapes of raw pixels: no layers, no attention.
    pub fn of_pixels(size_px: usize) -> Self {
        Self {
            model: "raw pixels".into(),
            depth: 0,
            width: 3 * size_px * size_px,
            n_heads: None,
            n_prefix: 0,
            has_class: false,
            has_norm: false,
            normalize: Normalize::NONE,
            grid: Grid { rows: size_px, columns: size_px },
            patch_px: 1,
            n_classes: 0,
            classes: Vec::new(),
            parts: Vec::new(),
            object_classes: Vec::new(),
            n_train: 0,
            n_test: 0,
            blocks: Vec::new(),
            seed: 0,
            beside: Vec::new(),
        }
    }

    /// The same on views of these numbers.
    #[must_use]
    pub fn seen_as(self, normalize: Normalize) -> Self {
        Self { normalize, ..self }
    }

    /// The same with other models beside this one, for a study of several.
    #[must_use]
    pub fn beside(self, beside: Vec<Self>) -> Self {
        Self { beside, ..self }
    }

    /// Every model, this one first; a batch's `model` counts in this order.
    pub fn models(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.beside)
    }

    /// The same with the data's classes and sizes.
    #[must_use]
    pub fn on(self, train: Option<&dyn Dataset>, test: &dyn Dataset) -> Self {
        Self {
            n_classes: test.classes().len(),
            classes: test.classes().to_vec(),
            parts: test.part_names().to_vec(),
            object_classes: test.object_classes().to_vec(),
            n_train: train.map_or(0, Dataset::len),
            n_test: test.len(),
            ..self
        }
    }
}
