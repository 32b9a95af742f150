//! Where the class token looks, brought to the host where attention is made; what probes of attention share.

use crate::dense::Reading;
use burn::tensor::Tensor;
use measure::saliency::mass_mask;
use ndarray::Array3;
use serde::{Deserialize, Serialize};
use vit_core::{Seen, Site};
use vit_features::{BatchInfo, Role, Shapes, StudyError};

/// Refuses a model without attention by name.
///
/// # Errors
/// When it has none.
pub(crate) fn needs_attention(study: &str, shapes: &Shapes) -> Result<(), StudyError> {
    match shapes.n_heads {
        Some(_) => Ok(()),
        None => Err(StudyError::Model {
            study: study.into(),
            needs: "attention".into(),
            found: "an encoder without attention".into(),
            model: shapes.model.clone(),
        }),
    }
}

/// Whose attention is a head's map of an image: the class token's, or the mean of the patches' where there is none.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Looking {
    n_prefix: usize,
    has_class: bool,
}

impl Looking {
    pub(crate) fn of(shapes: &Shapes) -> Self {
        Self { n_prefix: shapes.n_prefix, has_class: shapes.has_class }
    }

    /// Attention `[B, heads, T, T]` to the patches, `[B, heads, N]`.
    ///
    /// # Errors
    /// When the device gives no floats.
    pub(crate) fn maps(self, study: &str, attention: &Tensor<4>) -> Result<Array3<f32>, StudyError> {
        let [b, heads, _, t] = attention.dims();
        let queries = if self.has_class { 0..1 } else { self.n_prefix..t };
        let maps = attention.clone().slice([0..b, 0..heads, queries, self.n_prefix..t]).mean_dim(2); // [B, heads, 1, N]
        let n = t - self.n_prefix;
        let wrong = |found: String| {
            let expected = format!("attention [{b}, {heads}, {n}] as f32");
            StudyError::Value { study: study.into(), expected, found }
        };
        let values = maps.into_data().convert::<f32>().try_to_vec::<f32>();
        let values = values.map_err(|error| wrong(format!("{error:?}")))?;
        Array3::from_shape_vec((b, heads, n), values).map_err(|error| wrong(error.to_string()))
    }
}

/// The mean over heads of what the class token looks at in the last block, for every test image.
///
/// Memory: `images · N · 4` bytes.
#[derive(Serialize, Deserialize)]
pub(crate) struct Attended {
    looking: Looking,
    block: usize,
    /// `[N]` of each image, one after another.
    maps: Vec<f32>,
}

impl Attended {
    pub(crate) fn new(shapes: &Shapes) -> Self {
        Self { looking: Looking::of(shapes), block: shapes.depth.saturating_sub(1), maps: Vec::new() }
    }

    /// The site that it looks at.
    pub(crate) fn site(shapes: &Shapes) -> Site {
        Site::Attention(shapes.depth.saturating_sub(1))
    }

    pub(crate) fn see(
        &mut self,
        study: &str,
        site: Site,
        seen: &Seen,
        info: &BatchInfo,
    ) -> Result<(), StudyError> {
        let (Seen::Heads(attention), Role::Test) = (seen, info.role) else { return Ok(()) };
        if site != Site::Attention(self.block) {
            return Ok(());
        }
        let maps = self.looking.maps(study, attention)?;
        for image in maps.outer_iter() {
            let heads = image.nrows() as f32;
            self.maps.extend(image.columns().into_iter().map(|column| column.sum() / heads));
        }
        Ok(())
    }

    pub(crate) fn append(&mut self, later: Self) {
        self.maps.extend(later.maps);
    }

    /// For every patch of every image whether it is among the fewest that hold a share of the mass.
    pub(crate) fn marked(&self, reading: &Reading, mass: f64) -> Vec<bool> {
        let of_image = |map: &[f32]| {
            let map: Vec<f64> = map.iter().map(|&value| f64::from(value)).collect();
            mass_mask(&map, mass)
        };
        self.maps.chunks_exact(reading.n_patches()).flat_map(of_image).collect()
    }

    /// The map of every patch of every image, each image's brought to 0–1; 0 for an image that looks at all of them alike.
    pub(crate) fn scaled(&self, reading: &Reading) -> Vec<f32> {
        let of_image = |map: &[f32]| {
            let least = map.iter().copied().fold(f32::INFINITY, f32::min);
            let span = map.iter().copied().fold(f32::NEG_INFINITY, f32::max) - least;
            let at = |&value: &f32| if span > 0.0 { (value - least) / span } else { 0.0 };
            map.iter().map(at).collect::<Vec<_>>()
        };
        self.maps.chunks_exact(reading.n_patches()).flat_map(of_image).collect()
    }
}

/// Intersection over union of marked patches, made as large as the truth by the nearest one, and the pixels that are of a kind.
///
/// # Shapes
/// `cells`: the patch of each pixel; `counts`: whether a pixel of this kind counts at all.
pub(crate) fn jaccard(
    marked: &[bool],
    cells: &[usize],
    truth: &[u8],
    is_kind: &dyn Fn(u8) -> bool,
    counts: &dyn Fn(u8) -> bool,
) -> f64 {
    let (mut both, mut any) = (0usize, 0usize);
    for (&kind, &cell) in truth.iter().zip(cells).filter(|(kind, _)| counts(**kind)) {
        let (is_marked, is_there) = (marked[cell], is_kind(kind));
        both += usize::from(is_marked && is_there);
        any += usize::from(is_marked || is_there);
    }
    if any == 0 { 0.0 } else { both as f64 / any as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_of_patches_and_pixels_by_hand() {
        // Two patches, four pixels: the first patch is marked; pixels 1 and 2 are of kind 1, pixel 3 is void.
        let (marked, cells, truth) = ([true, false], [0, 0, 1, 1], [0u8, 1, 1, 255]);
        assert_eq!(jaccard(&marked, &cells, &truth, &|kind| kind == 1, &|_| true), 1.0 / 3.0);
        let all = [true, true];
        assert_eq!(jaccard(&all, &cells, &truth, &|kind| kind == 1, &|_| true), 0.5);
        assert_eq!(jaccard(&all, &cells, &truth, &|kind| kind == 1, &|kind| kind != 255), 2.0 / 3.0);
    }
}
