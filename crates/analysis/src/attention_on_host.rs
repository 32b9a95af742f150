//! One block's attention over one batch as an array; what analyses refuse alike.

use measure::attention::TokenGrid;
use ndarray::ArrayView4;
use vit_features::{Numbers, Shapes, StudyError};

/// Attention `[B, heads, T, T]`, or another site per head, as an array; studies reduce it and keep sums.
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
