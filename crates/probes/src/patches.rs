//! What probes of patches share: which tokens are asked, and the truth of a view in its pixels and patches.

use measure::nearest::l2_normalize_rows;
use ndarray::{Array2, ArrayView2};
use report::RecipeError;
use serde::{Deserialize, Serialize};
use vit_core::Site;
use vit_data::{CropBox, Keypoint, LabelMap};
use vit_features::{Part, Place, Select, Shapes, StudyError, Taken};

/// The kinds of patch features: a block's output, or its queries, keys or values, all heads side by side.
const FACETS: [&str; 4] = ["token", "query", "key", "value"];

/// Refuses other facets.
pub(crate) fn check_facets(facets: &[String]) -> Result<(), RecipeError> {
    if facets.is_empty() || facets.iter().any(|facet| !FACETS.contains(&facet.as_str())) {
        let expected = "at least one of `token`, `query`, `key`, `value`";
        return Err(RecipeError::value("facets", expected, format!("{facets:?}")));
    }
    Ok(())
}

/// The patches of every block asked for, by facet; of `token` also after the final norm.
///
/// # Errors
/// When there is no model, or one without attention where every facet needs it.
pub(crate) fn candidates(study: &str, facets: &[String], shapes: &Shapes) -> Result<Vec<Select>, StudyError> {
    let refuse = |needs: &str, found: &str| {
        let (needs, found, model) = (needs.into(), found.into(), shapes.model.clone());
        Err(StudyError::Model { study: study.into(), needs, found, model })
    };
    if shapes.depth == 0 {
        return refuse("patch tokens", "pixels");
    }
    let mut places = Vec::new();
    for facet in facets {
        let site: fn(usize) -> Site = match facet.as_str() {
            "query" => Site::Query,
            "key" => Site::Key,
            "value" => Site::Value,
            _ => Site::Block,
        };
        // What an encoder without attention does not have is left out where something else is asked.
        if facet != "token" && shapes.n_heads.is_none() {
            continue;
        }
        places.extend(shapes.blocks.iter().map(|&block| Place::At(site(block))));
        if facet == "token" && shapes.has_norm && shapes.blocks.contains(&(shapes.depth - 1)) {
            places.push(Place::At(Site::Norm));
        }
    }
    if places.is_empty() {
        return refuse(&format!("attention (facets = {facets:?})"), "an encoder without attention");
    }
    Ok(places.into_iter().map(|place| Select { place, part: Part::Patches }).collect())
}

/// The patch features of one image of a batch.
///
/// # Errors
/// When they are missing, not those of the grid, or not finite.
pub(crate) fn of_image<'a>(
    study: &str,
    taken: &'a Taken,
    select: Select,
    image: usize,
    n_patches: usize,
) -> Result<ArrayView2<'a, f32>, StudyError> {
    let wrong = |expected: String, found: String| StudyError::Value { study: study.into(), expected, found };
    let Some((shape, values)) = taken.features.get(&select) else {
        return Err(wrong(format!("features of {select}"), "none".into()));
    };
    let n = n_patches * shape.last().copied().unwrap_or(0);
    let own = values.get(image * n..(image + 1) * n).unwrap_or(&[]);
    let rows = ArrayView2::from_shape((n_patches, n / n_patches.max(1)), own);
    let rows = rows.map_err(|_| wrong(format!("{n_patches} patches of {select}"), format!("{shape:?}")))?;
    match rows.iter().find(|x| !x.is_finite()) {
        Some(x) => Err(wrong("finite features".into(), format!("{x} in {select}"))),
        None => Ok(rows),
    }
}

/// The same, each patch of length 1.
///
/// # Errors
/// As [`of_image`].
pub(crate) fn unit_of_image(
    study: &str,
    taken: &Taken,
    select: Select,
    image: usize,
    n_patches: usize,
) -> Result<Array2<f32>, StudyError> {
    Ok(l2_normalize_rows(of_image(study, taken, select, image, n_patches)?))
}

/// The ids at the middles of `rows × columns` cells laid over the view; what lies beyond the image is 0.
pub(crate) fn ids_in_view(map: &LabelMap, view: &CropBox, (rows, columns): (usize, usize)) -> Array2<u8> {
    Array2::from_shape_fn((rows, columns), |(row, column)| {
        let uv = ((column as f64 + 0.5) / columns as f64, (row as f64 + 0.5) / rows as f64);
        let (x, y) = view.image_from_view(uv);
        let is_inside = x >= 0.0 && y >= 0.0 && x < map.width_px as f64 && y < map.height_px as f64;
        if is_inside { map.ids[y as usize * map.width_px + x as usize] } else { 0 }
    })
}

/// A visible point inside a view.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Index into the data set's names.
    pub(crate) name_idx: usize,
    /// `(x, y)` in pixels of the view, pixel centers at `+0.5`.
    pub(crate) xy_px: (f64, f64),
}

/// The visible points inside a view of `size_px` (height, width).
pub(crate) fn points_in_view(keypoints: &[Keypoint], view: &CropBox, size_px: (f64, f64)) -> Vec<Point> {
    let visible = keypoints.iter().filter(|keypoint| keypoint.visible).map(|keypoint| {
        let (x, y) = keypoint.xy_in_image_px;
        let (u, v) = view.view_from_image((f64::from(x), f64::from(y)));
        (keypoint.name_idx, u, v)
    });
    let inside = visible.filter(|(_, u, v)| (0.0..1.0).contains(u) && (0.0..1.0).contains(v));
    inside.map(|(name_idx, u, v)| Point { name_idx, xy_px: (u * size_px.1, v * size_px.0) }).collect()
}

/// Width and height of the box around what is not 0, in cells; none where everything is.
pub(crate) fn box_of_ids(ids: ArrayView2<u8>) -> Option<(f64, f64)> {
    let on = ids.indexed_iter().filter(|&(_, &id)| id > 0).map(|((row, column), _)| (row, column));
    let corners = on.fold(None, |corners: Option<[usize; 4]>, (row, column)| {
        let [top, bottom, left, right] = corners.unwrap_or([row, row, column, column]);
        Some([top.min(row), bottom.max(row), left.min(column), right.max(column)])
    });
    corners.map(|[top, bottom, left, right]| ((right - left + 1) as f64, (bottom - top + 1) as f64))
}

/// Width and height of the box around points.
pub(crate) fn box_of_points(points: &[Point]) -> (f64, f64) {
    let span = |of: fn(&Point) -> f64| {
        let (least, most) = points
            .iter()
            .map(of)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), x| (least.min(x), most.max(x)));
        (most - least).max(0.0)
    };
    (span(|point| point.xy_px.0), span(|point| point.xy_px.1))
}

/// Whether a sample, clip or query of this rank is one of those by which the layer is chosen: one in four, which then does not
/// count in the score.
///
/// In three fours that follow one another it is the one at the same place, and then at another. A data set whose classes take turns, as
/// those of part-shapes do, would else choose by some of its classes and score by the others.
pub(crate) fn is_held_out(rank: usize) -> bool {
    rank % 4 == (1 + turned(rank / 12, 4)) % 4
}

/// The same of one in `every`, by the index of a sample in its data set, so that it does not matter in which part it is seen.
pub(crate) fn is_one_in(every: usize, index: usize) -> bool {
    index % every == turned(index / every, every)
}

/// A place below `n` for each turn, 0 at first; places are taken evenly and do not repeat with the turns (Weyl's sequence of the golden
/// ratio).
fn turned(turn: usize, n: usize) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let share = (turn as u64).wrapping_mul(GOLDEN) >> 32;
    ((share * n as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    const VIEW: CropBox = CropBox { x: 1.0, y: 0.0, w: 4.0, h: 4.0, flipped: false };

    #[test]
    fn ids_and_points_are_brought_into_the_view() {
        let map = LabelMap { width_px: 4, height_px: 4, ids: (0..16).collect() };
        // Cells of 2 px: middles at (2, 1), (4, 1), (2, 3), (4, 3); x = 4 is beyond the image.
        assert_eq!(ids_in_view(&map, &VIEW, (2, 2)), array![[6, 0], [14, 0]]);
        let mirrored = CropBox { flipped: true, ..VIEW };
        assert_eq!(ids_in_view(&map, &mirrored, (2, 2)), array![[0, 6], [0, 14]]);
        let at = |name_idx, x, visible| Keypoint { name_idx, xy_in_image_px: (x, 1.0), visible };
        let points =
            points_in_view(&[at(3, 2.0, true), at(4, 0.5, true), at(5, 2.0, false)], &VIEW, (8.0, 8.0));
        assert_eq!(points, [Point { name_idx: 3, xy_px: (2.0, 2.0) }]);
    }

    #[test]
    fn one_in_four_is_held_out_of_every_class_whose_turn_it_is() {
        assert_eq!((0..12).filter(|&rank| is_held_out(rank)).collect::<Vec<_>>(), [1, 5, 9]);
        for first in (0..4000).step_by(4) {
            assert_eq!((first..first + 4).filter(|&rank| is_held_out(rank)).count(), 1);
        }
        for n_classes in [2, 3, 4, 8, 10, 12, 16, 48] {
            for class in 0..n_classes {
                let of_class = (class..1200).step_by(n_classes);
                let (n, held_out) = (of_class.clone().count(), of_class.filter(|&i| is_held_out(i)).count());
                let share = held_out as f64 / n as f64;
                assert!((0.15..0.35).contains(&share), "class {class} of {n_classes}: {share}");
                let taken = (class..12_000).step_by(n_classes).filter(|&i| is_one_in(8, i)).count();
                let share = 8.0 * taken as f64 / (12_000.0 / n_classes as f64);
                assert!((0.9..1.1).contains(&share), "class {class} of {n_classes}: {share} of its part");
            }
        }
    }

    #[test]
    fn boxes_hold_everything() {
        assert_eq!(box_of_ids(array![[0, 0, 0], [0, 7, 2]].view()), Some((2.0, 1.0)));
        assert_eq!(box_of_ids(array![[0u8]].view()), None);
        let at = |x, y| Point { name_idx: 0, xy_px: (x, y) };
        assert_eq!(box_of_points(&[at(1.0, 5.0), at(4.0, 3.0)]), (3.0, 2.0));
    }
}
