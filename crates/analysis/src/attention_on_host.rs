//! One block's attention over one batch, brought to the host where it is made; what analyses refuse alike.

use burn::tensor::Tensor;
use measure::attention::TokenGrid;
use ndarray::Array4;
use vit_features::{Shapes, StudyError};

/// Attention `[B, heads, T, T]` on the host, for the time of one call; studies reduce it and keep sums.
///
/// # Errors
/// When the device gives no floats.
pub(crate) fn on_host(study: &str, attention: &Tensor<4>) -> Result<Array4<f32>, StudyError> {
    let [b, heads, rows, columns] = attention.dims();
    let wrong = |found: String| StudyError::Value {
        study: study.to_owned(),
        expected: format!("attention [{b}, {heads}, {rows}, {columns}] as f32"),
        found,
    };
    let values = attention.clone().into_data().convert::<f32>().try_into_vec::<f32>();
    let values = values.map_err(|error| wrong(format!("{error:?}")))?;
    Array4::from_shape_vec((b, heads, rows, columns), values).map_err(|error| wrong(error.to_string()))
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
