//! How well a mask follows an object through a video: region similarity and contour accuracy by the rules of DAVIS.

use ndarray::{Array2, ArrayView2};

/// The share of the image's diagonal by which contours may be apart.
pub const CONTOUR_TOLERANCE: f64 = 0.008;

/// The overlap of two masks, the Jaccard index: `|∩| / |∪|`, 1 where both are empty.
///
/// # Shapes
/// `truth`, `predicted`: `[H, W]`.
///
/// # Panics
/// If the shapes differ.
///
/// # Source
/// Perazzi et al., DAVIS 2016; davis2017-evaluation `db_eval_iou`.
///
/// # Example
/// ```
/// use ndarray::array;
/// let (truth, predicted) = (array![[true, true, false]], array![[false, true, true]]);
/// assert_eq!(measure::davis::region_similarity(truth.view(), predicted.view()), 1.0 / 3.0);
/// ```
pub fn region_similarity(truth: ArrayView2<bool>, predicted: ArrayView2<bool>) -> f64 {
    let (both, either) = overlap(truth, predicted);
    if either == 0 { 1.0 } else { both as f64 / either as f64 }
}

/// How many pixels are in both masks, and in either.
///
/// # Shapes
/// `a`, `b`: `[H, W]`.
///
/// # Panics
/// If the shapes differ.
///
/// # Source
/// Definition.
pub fn overlap(a: ArrayView2<bool>, b: ArrayView2<bool>) -> (usize, usize) {
    assert_eq!(a.dim(), b.dim(), "overlap: masks of different shapes");
    let (mut both, mut either) = (0, 0);
    for (&a, &b) in a.iter().zip(&b) {
        both += usize::from(a && b);
        either += usize::from(a || b);
    }
    (both, either)
}

/// The contour of a mask: where it differs from its right, lower or lower right neighbor.
///
/// In the last row only the right, in the last column only the lower neighbor counts; the last corner is none.
///
/// # Shapes
/// `mask` and the result: `[H, W]`.
///
/// # Panics
/// Never.
///
/// # Source
/// davis2017-evaluation `_seg2bmap`, at the mask's own size.
pub fn contour(mask: ArrayView2<bool>) -> Array2<bool> {
    let (h, w) = mask.dim();
    Array2::from_shape_fn((h, w), |(y, x)| {
        let differs = |dy: usize, dx: usize| mask[[y, x]] != mask[[y + dy, x + dx]];
        match (y + 1 < h, x + 1 < w) {
            (true, true) => differs(0, 1) || differs(1, 0) || differs(1, 1),
            (false, true) => differs(0, 1),
            (true, false) => differs(1, 0),
            (false, false) => false,
        }
    })
}

/// By how many pixels contours may be apart: `⌈0.008 · √(H² + W²)⌉`.
///
/// # Panics
/// Never.
///
/// # Source
/// davis2017-evaluation `f_measure`.
pub fn contour_tolerance_px(height_px: usize, width_px: usize) -> usize {
    let (h, w) = (height_px as f64, width_px as f64);
    (CONTOUR_TOLERANCE * (h * h + w * w).sqrt()).ceil() as usize
}

/// How well two contours meet: the harmonic mean of precision and recall of their pixels, each counted as met within
/// [`contour_tolerance_px`] of the other contour.
///
/// `F = 2 P R / (P + R)`; one contour empty: 0; both: 1.
///
/// # Shapes
/// `truth`, `predicted`: masks `[H, W]`.
///
/// # Panics
/// If the shapes differ.
///
/// # Source
/// Martin et al. 2004; davis2017-evaluation `f_measure` (a disk `x² + y² ≤ r²` for the tolerance).
pub fn contour_accuracy(truth: ArrayView2<bool>, predicted: ArrayView2<bool>) -> f64 {
    assert_eq!(truth.dim(), predicted.dim(), "contour_accuracy: masks of different shapes");
    let (h, w) = truth.dim();
    let tolerance_px = contour_tolerance_px(h, w);
    let (truth, predicted) = (contour(truth), contour(predicted));
    let count = |map: &Array2<bool>| map.iter().filter(|&&on| on).count();
    let (n_truth, n_predicted) = (count(&truth), count(&predicted));
    let (precision, recall) = match (n_truth, n_predicted) {
        (0, 0) => (1.0, 1.0),
        (0, _) => (0.0, 1.0),
        (_, 0) => (1.0, 0.0),
        _ => {
            let met = |of: &Array2<bool>, by: &Array2<bool>| {
                let near = dilate(by.view(), tolerance_px);
                of.iter().zip(&near).filter(|&(&on, &near)| on && near).count() as f64
            };
            (met(&predicted, &truth) / n_predicted as f64, met(&truth, &predicted) / n_truth as f64)
        }
    };
    if precision + recall == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) }
}

/// A map widened by a disk of radius `radius_px`.
fn dilate(map: ArrayView2<bool>, radius_px: usize) -> Array2<bool> {
    let (h, w) = map.dim();
    let mut wide = Array2::from_elem((h, w), false);
    // For each row of the disk, half its width.
    let half_widths: Vec<usize> = (0..=radius_px)
        .map(|dy| (0..=radius_px).rev().find(|dx| dx * dx + dy * dy <= radius_px * radius_px).unwrap_or(0))
        .collect();
    for ((y, x), _) in map.indexed_iter().filter(|&(_, &on)| on) {
        for row in y.saturating_sub(radius_px)..(y + radius_px + 1).min(h) {
            let half = half_widths[row.abs_diff(y)];
            for column in x.saturating_sub(half)..(x + half + 1).min(w) {
                wide[[row, column]] = true;
            }
        }
    }
    wide
}

/// One object's scores through a video, in three numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Track {
    /// The mean over frames.
    pub mean: f64,
    /// The share of frames above 0.5.
    pub recall: f64,
    /// The mean of the first quarter of the frames less that of the last: what is lost on the way.
    pub decay: f64,
}

/// Mean, recall and decay of an object's scores, frame by frame.
///
/// Quarters run from index `round(1 + (n − 1) q / 4) − 1` to the next, both ends included.
///
/// # Shapes
/// `scores`: one for each frame that counts; by the rules of DAVIS those are all but the first and the last.
///
/// # Panics
/// If there are none.
///
/// # Source
/// davis2017-evaluation `db_statistics`. *Differs*: indices do not wrap at 256 frames.
pub fn track(scores: &[f64]) -> Track {
    assert!(!scores.is_empty(), "track: no frames");
    let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
    let n = scores.len();
    let end = |quarter: usize| {
        let at = 1.0 + (n - 1) as f64 * quarter as f64 / 4.0;
        (at + 1e-10).round() as usize - 1
    };
    Track {
        mean: mean(scores),
        recall: scores.iter().filter(|&&score| score > 0.5).count() as f64 / n as f64,
        decay: mean(&scores[..=end(1)]) - mean(&scores[end(3)..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    #[test]
    fn the_tolerance_at_the_sizes_of_davis() {
        // 0.008 · √(480² + 854²) = 7.84; √(480² + 910²) gives 8.23.
        assert_eq!((contour_tolerance_px(480, 854), contour_tolerance_px(480, 910)), (8, 9));
    }

    #[test]
    fn contour_of_a_square_by_hand() {
        let mask = array![
            [false, false, false, false],
            [false, true, true, false],
            [false, true, true, false],
            [false, false, false, false],
        ];
        // Right, lower and lower right neighbors differ around the square and along its right and lower edge.
        let expected = array![
            [true, true, true, false],
            [true, false, true, false],
            [true, true, true, false],
            [false, false, false, false]
        ];
        assert_eq!(contour(mask.view()), expected);
        // A mask that fills the image has no contour.
        assert!(contour(Array2::from_elem((3, 3), true).view()).iter().all(|&on| !on));
    }

    #[test]
    fn empty_masks_by_the_rules() {
        let empty = Array2::from_elem((4, 4), false);
        let mut one = empty.clone();
        one[[1, 1]] = true;
        assert_eq!(region_similarity(empty.view(), empty.view()), 1.0);
        assert_eq!(region_similarity(one.view(), empty.view()), 0.0);
        assert_eq!(contour_accuracy(empty.view(), empty.view()), 1.0);
        assert_eq!(contour_accuracy(one.view(), empty.view()), 0.0);
        assert_eq!(contour_accuracy(empty.view(), one.view()), 0.0);
    }

    #[test]
    fn quarters_share_their_ends() {
        // n = 8: ends at round(1, 2.75, 4.5, 6.25, 8) − 1 = 0, 2, 4, 5, 7: the first quarter is 0..=2, the last 5..=7.
        let found = track(&[1.0, 0.9, 0.8, 0.5, 0.5, 0.3, 0.2, 0.1]);
        assert!((found.mean - 4.3 / 8.0).abs() < 1e-12);
        assert_eq!(found.recall, 3.0 / 8.0);
        assert!((found.decay - (0.9 - 0.2)).abs() < 1e-12);
        assert_eq!(track(&[0.7]), Track { mean: 0.7, recall: 1.0, decay: 0.0 });
    }

    proptest! {
        #[test]
        fn both_scores_are_symmetric_and_perfect_on_the_same_mask(
            a in prop::collection::vec(any::<bool>(), 48),
            b in prop::collection::vec(any::<bool>(), 48),
        ) {
            let [a, b] = [a, b].map(|mask| Array2::from_shape_vec((6, 8), mask).expect("48"));
            prop_assert_eq!(region_similarity(a.view(), b.view()), region_similarity(b.view(), a.view()));
            let (there, back) = (contour_accuracy(a.view(), b.view()), contour_accuracy(b.view(), a.view()));
            prop_assert!((there - back).abs() < 1e-12 && (0.0..=1.0).contains(&there));
            prop_assert_eq!(region_similarity(a.view(), a.view()), 1.0);
            prop_assert_eq!(contour_accuracy(a.view(), a.view()), 1.0);
        }
    }
}
