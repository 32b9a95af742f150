//! What is told of one block's attention over one batch, as arrays; what analyses refuse alike.

use measure::attention::TokenGrid;
use ndarray::ArrayView4;
use vit_features::{Numbers, Shapes, StudyError};
use vit_ops::AttentionRow;

/// The numbers of a site per head as an array; studies keep sums of them.
///
/// # Errors
/// When it is not per head.
pub(crate) fn by_head<'a>(study: &str, seen: &'a Numbers) -> Result<ArrayView4<'a, f32>, StudyError> {
    let wrong = |found: String| StudyError::Value {
        study: study.to_owned(),
        expected: "numbers of every head, [B, heads, T, …]".into(),
        found,
    };
    let &[b, heads, rows, columns] = seen.shape.as_slice() else {
        return Err(wrong(format!("{:?}", seen.shape)));
    };
    ArrayView4::from_shape((b, heads, rows, columns), &seen.values).map_err(|error| wrong(error.to_string()))
}

/// The rows that are told of each head of each image.
pub(crate) struct Rows<'a> {
    n_images: usize,
    n_heads: usize,
    n_tokens: usize,
    values: &'a [f32],
}

impl<'a> Rows<'a> {
    /// Of the numbers of [`vit_core::Site::AttentionRows`].
    ///
    /// # Errors
    /// When they are others.
    pub(crate) fn of(study: &str, seen: &'a Numbers) -> Result<Self, StudyError> {
        match seen.shape.as_slice() {
            &[n_images, n_heads, AttentionRow::N, n_tokens] => {
                Ok(Self { n_images, n_heads, n_tokens, values: &seen.values })
            }
            other => Err(StudyError::Value {
                study: study.to_owned(),
                expected: format!("rows of every head, [B, heads, {}, T]", AttentionRow::N),
                found: format!("{other:?}"),
            }),
        }
    }

    /// Images and heads.
    pub(crate) fn dim(&self) -> (usize, usize) {
        (self.n_images, self.n_heads)
    }

    /// One row over all tokens, `[T]`.
    pub(crate) fn get(&self, image: usize, head: usize, row: AttentionRow) -> &'a [f32] {
        let at = (image * self.n_heads + head) * AttentionRow::N + row as usize;
        &self.values[at * self.n_tokens..(at + 1) * self.n_tokens]
    }

    /// One row over the patches, `[N]`.
    pub(crate) fn patches(&self, image: usize, head: usize, row: AttentionRow, grid: TokenGrid) -> &'a [f32] {
        &self.get(image, head, row)[grid.n_prefix..]
    }
}

/// Where the patches of a model stand among its tokens.
pub(crate) fn token_grid(shapes: &Shapes) -> TokenGrid {
    TokenGrid { n_prefix: shapes.n_prefix, h: shapes.grid.rows, w: shapes.grid.columns }
}

/// Refuses a model without attention by name.
///
/// # Errors
/// When it has none.
pub(crate) fn needs_attention(study: &str, shapes: &Shapes) -> Result<(), StudyError> {
    match shapes.n_heads {
        Some(_) => Ok(()),
        None => Err(StudyError::Model {
            study: study.to_owned(),
            needs: "attention".into(),
            found: "an encoder without attention".into(),
            model: shapes.model.clone(),
        }),
    }
}

/// Refuses what has no layers, such as raw pixels, by name.
///
/// # Errors
/// When it has none.
pub(crate) fn needs_layers(study: &str, shapes: &Shapes) -> Result<(), StudyError> {
    match shapes.blocks.is_empty() {
        false => Ok(()),
        true => Err(StudyError::Model {
            study: study.to_owned(),
            needs: "layers".into(),
            found: "none".into(),
            model: shapes.model.clone(),
        }),
    }
}

/// Refuses to finish without images.
///
/// # Errors
/// When none was seen.
pub(crate) fn needs_images(study: &str, n_images: usize) -> Result<(), StudyError> {
    match n_images {
        0 => Err(StudyError::Value {
            study: study.to_owned(),
            expected: "at least one image".into(),
            found: "none".into(),
        }),
        _ => Ok(()),
    }
}
