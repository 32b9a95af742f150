//! The percentage of correct keypoints, with its thresholds and its averages.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the distance of a keypoint is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yardstick {
    /// The longer side of the object's box: SPair-71k.
    Box,
    /// The longer side of the image: dense descriptors after Amir et al.
    Image,
    /// `0.6` of the diagonal of the object's box: JHMDB.
    BoxDiagonal,
}

impl Yardstick {
    /// The length in pixels.
    ///
    /// # Shapes
    /// `box_px`, `image_px`: width and height.
    ///
    /// # Panics
    /// Never.
    ///
    /// # Source
    /// SPair-71k (Min et al. 2019); kampta/dino-vit-features; videowalk's JHMDB script (Jabri et al. 2020).
    pub fn length_px(self, box_px: (f64, f64), image_px: (f64, f64)) -> f64 {
        match self {
            Self::Box => box_px.0.max(box_px.1),
            Self::Image => image_px.0.max(image_px.1),
            Self::BoxDiagonal => 0.6 * box_px.0.hypot(box_px.1),
        }
    }

    /// Whether a distance equal to the threshold is correct: JHMDB counts it, the others do not.
    fn counts_equal(self) -> bool {
        self == Self::BoxDiagonal
    }
}

/// One predicted keypoint.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Located {
    /// How far it is from the true one.
    pub distance_px: f64,
    /// What that is measured against.
    pub yardstick_px: f64,
    /// The image or pair that it belongs to.
    pub image: usize,
    /// Its category.
    pub category: usize,
}

/// Shares of correct keypoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Pck {
    /// Over all points.
    pub per_point: f64,
    /// The mean over images of each one's share.
    pub per_image: f64,
    /// The mean over categories of each one's share of points.
    pub per_category: f64,
    /// The share of points of every category that has any.
    pub by_category: BTreeMap<usize, f64>,
}

/// The shares of points with `distance < α · yardstick` (`≤` for [`Yardstick::BoxDiagonal`]), averaged in three ways.
///
/// # Panics
/// If there are no points.
///
/// # Source
/// Yang and Ramanan 2013; the three averages are in use side by side and differ by points.
pub fn pck(points: &[Located], alpha: f64, yardstick: Yardstick) -> Pck {
    assert!(!points.is_empty(), "pck: no points");
    let is_correct = |point: &Located| {
        let threshold_px = alpha * point.yardstick_px;
        point.distance_px < threshold_px || yardstick.counts_equal() && point.distance_px == threshold_px
    };
    let shares = |group: fn(&Located) -> usize| -> BTreeMap<usize, f64> {
        let mut counts: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for point in points {
            let (correct, all) = counts.entry(group(point)).or_default();
            *correct += usize::from(is_correct(point));
            *all += 1;
        }
        counts.into_iter().map(|(key, (correct, all))| (key, correct as f64 / all as f64)).collect()
    };
    let mean = |shares: &BTreeMap<usize, f64>| shares.values().sum::<f64>() / shares.len() as f64;
    let by_category = shares(|point| point.category);
    Pck {
        per_point: points.iter().filter(|point| is_correct(point)).count() as f64 / points.len() as f64,
        per_image: mean(&shares(|point| point.image)),
        per_category: mean(&by_category),
        by_category,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(distance_px: f64, image: usize, category: usize) -> Located {
        Located { distance_px, yardstick_px: 100.0, image, category }
    }

    #[test]
    fn three_averages_of_five_points_by_hand() {
        // Category 0: image 0 has 1 of 1; image 1 has 1 of 3. Category 1: image 2 has 0 of 1.
        let points = [at(1.0, 0, 0), at(9.9, 1, 0), at(10.0, 1, 0), at(50.0, 1, 0), at(30.0, 2, 1)];
        let found = pck(&points, 0.1, Yardstick::Box);
        assert_eq!(found.per_point, 2.0 / 5.0);
        assert!((found.per_image - (1.0 + 1.0 / 3.0) / 3.0).abs() < 1e-12);
        assert_eq!(found.per_category, (2.0 / 4.0 + 0.0) / 2.0);
        assert_eq!(found.by_category, BTreeMap::from([(0, 0.5), (1, 0.0)]));
        // A distance equal to the threshold counts for JHMDB only.
        assert_eq!(pck(&points, 0.1, Yardstick::BoxDiagonal).per_point, 3.0 / 5.0);
    }

    #[test]
    fn yardsticks_of_a_box_of_30_by_40_in_an_image_of_200_by_100() {
        let of = |yardstick: Yardstick| yardstick.length_px((30.0, 40.0), (200.0, 100.0));
        assert_eq!([Yardstick::Box, Yardstick::Image, Yardstick::BoxDiagonal].map(of), [40.0, 200.0, 30.0]);
    }
}
