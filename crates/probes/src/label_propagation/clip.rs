//! One clip: labels of its first frame carried through it, and how right they are.

use super::config::{Follow, LabelPropagationConfig, Resize};
use crate::patches::{Point, box_of_points};
use measure::davis::{contour_accuracy, region_similarity};
use measure::pck::{Located, Yardstick};
use measure::propagate::{Context, cosine, propagate, stretch};
use measure::resample::{bilinear, nearest};
use ndarray::{Array2, Array3, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The spread of a point's first map, in patches, and how far it reaches: videowalk's JHMDB labels.
const POINT_SIGMA: f64 = 0.5;
const POINT_REACH_SIGMAS: f64 = 3.0;
/// The patches of a point's map whose mean is the point.
const POINT_PEAKS: usize = 3;
/// The distance of a point that was lost on the way.
const LOST_PX: f64 = 1e9;

/// A frame as it was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FrameSeen {
    /// Its place in the clip.
    pub(super) frame: usize,
    /// What is where, `[H, W]` in pixels of the view; 0 is background.
    pub(super) ids: Array2<u8>,
    /// Visible points.
    pub(super) points: Vec<Point>,
    /// `[N, D]` of every select, each patch of length 1.
    pub(super) patches: Vec<Array2<f32>>,
}

/// How right the labels of a clip are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ClipScore {
    /// For each object: region similarity of every frame that counts.
    pub(super) regions: Vec<Vec<f64>>,
    /// For each object: contour accuracy of every frame that counts.
    pub(super) contours: Vec<Vec<f64>>,
    /// Points of every frame but the first.
    pub(super) points: Vec<Located>,
}

/// Every select's score, what standing still gives, and what truth at the patches' resolution gives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ClipScores {
    pub(super) by_select: Vec<ClipScore>,
    pub(super) still: ClipScore,
    pub(super) ceiling: ClipScore,
}

/// The channels of a clip's labels.
struct Labels {
    /// Ids of the objects in the first frame; channel 0 is background.
    objects: Vec<u8>,
    /// Points of the first frame; after the objects, behind one for no point.
    points: Vec<Point>,
}

/// Scores a clip of at least two frames, the first of which says what is followed.
pub(super) fn score(
    config: &LabelPropagationConfig,
    frames: &[FrameSeen],
    grid: (usize, usize),
) -> ClipScores {
    let first = &frames[0];
    let mut objects: Vec<u8> = first.ids.iter().copied().filter(|&id| id > 0).collect();
    objects.sort_unstable();
    objects.dedup();
    let labels = Labels { objects, points: first.points.clone() };
    let start = labels.of_frame(config, first, grid);
    let by_select = (0..first.patches.len())
        .into_par_iter()
        .map(|select| {
            let carried = carry(config, frames, select, &start, grid);
            labels.score(config, frames, &carried, grid)
        })
        .collect();
    let still = vec![start; frames.len()];
    let truth: Vec<Array2<f64>> = frames
        .iter()
        .map(|frame| {
            let soft = LabelPropagationConfig { first_labels: Resize::Bilinear, ..config.clone() };
            labels.of_frame(&soft, frame, grid)
        })
        .collect();
    // Truth is not stretched: it is compared as it is.
    let plain = LabelPropagationConfig { stretch: false, ..config.clone() };
    ClipScores {
        by_select,
        still: labels.score(config, frames, &still, grid),
        ceiling: labels.score(&plain, frames, &truth, grid),
    }
}

/// The labels of every frame, `[N, C]`: those of the first one carried on.
fn carry(
    config: &LabelPropagationConfig,
    frames: &[FrameSeen],
    select: usize,
    start: &Array2<f64>,
    grid: (usize, usize),
) -> Vec<Array2<f64>> {
    let rule = config.rule();
    let mut carried = vec![start.clone()];
    for at in 1..frames.len() {
        // The first frame, then former ones; where there are none, copies of the first or nothing.
        let former = (1..=config.n_context).filter_map(|back| match at.checked_sub(back) {
            Some(frame) if frame > 0 => Some(frame),
            _ if config.pad_with_first => Some(0),
            _ => None,
        });
        let used: Vec<(usize, bool)> =
            std::iter::once((0, true)).chain(former.map(|frame| (frame, false))).collect();
        let contexts: Vec<Context> = used
            .iter()
            .map(|&(frame, is_first)| Context { is_first, labels: carried[frame].view() })
            .collect();
        let patches: Vec<_> = used.iter().map(|&(frame, _)| frames[frame].patches[select].view()).collect();
        let target = frames[at].patches[select].view();
        let labels = propagate(cosine(target, &patches), &contexts, grid, &rule);
        carried.push(labels);
    }
    carried
}

impl Labels {
    /// Channels of masks: background and objects.
    fn n_masks(&self) -> usize {
        1 + self.objects.len()
    }

    /// The labels of a frame from its truth, `[N, C]`.
    fn of_frame(
        &self,
        config: &LabelPropagationConfig,
        frame: &FrameSeen,
        grid: (usize, usize),
    ) -> Array2<f64> {
        let n = grid.0 * grid.1;
        let mut labels = Array2::zeros((n, self.n_masks() + 1 + self.points.len()));
        let channel = |id: u8| self.objects.iter().position(|&object| object == id).map_or(0, |at| at + 1);
        match config.first_labels {
            Resize::Nearest => {
                for (patch, &id) in nearest(frame.ids.view(), grid.0, grid.1).iter().enumerate() {
                    labels[[patch, channel(id)]] = 1.0;
                }
            }
            Resize::Bilinear => {
                let (h, w) = frame.ids.dim();
                let mut maps = Array3::zeros((self.n_masks(), h, w));
                for ((y, x), &id) in frame.ids.indexed_iter() {
                    maps[[channel(id), y, x]] = 1.0;
                }
                for (c, map) in bilinear(maps.view(), grid.0, grid.1).outer_iter().enumerate() {
                    labels.column_mut(c).iter_mut().zip(map).for_each(|(to, &from)| *to = from);
                }
            }
        }
        let (patch_w, patch_h) = self.patch_px(frame, grid);
        let no_point = self.n_masks();
        for patch in 0..n {
            let middle = ((patch % grid.1) as f64 + 0.5, (patch / grid.1) as f64 + 0.5);
            for (i, point) in self.points.iter().enumerate() {
                // Where this frame has the point of the first one.
                let here = frame.points.iter().find(|here| here.name_idx == point.name_idx);
                let Some(Point { xy_px: (x, y), .. }) = here else { continue };
                let distance = (x / patch_w - middle.0).hypot(y / patch_h - middle.1);
                if distance <= POINT_REACH_SIGMAS * POINT_SIGMA {
                    labels[[patch, no_point + 1 + i]] = (-0.5 * (distance / POINT_SIGMA).powi(2)).exp();
                }
            }
            if labels.row(patch).iter().skip(no_point + 1).all(|&value| value == 0.0) {
                labels[[patch, no_point]] = 1.0;
            }
        }
        labels
    }

    /// Width and height of a patch in pixels of the view.
    fn patch_px(&self, frame: &FrameSeen, grid: (usize, usize)) -> (f64, f64) {
        let (h, w) = frame.ids.dim();
        (w as f64 / grid.1 as f64, h as f64 / grid.0 as f64)
    }

    /// Compares labels with truth, frame by frame: masks of all frames but the first and the last, points of all but the first.
    fn score(
        &self,
        config: &LabelPropagationConfig,
        frames: &[FrameSeen],
        carried: &[Array2<f64>],
        grid: (usize, usize),
    ) -> ClipScore {
        let n_objects = self.objects.len();
        let mut found = ClipScore {
            regions: vec![Vec::new(); n_objects],
            contours: vec![Vec::new(); n_objects],
            points: Vec::new(),
        };
        for at in 1..frames.len() {
            let (frame, labels) = (&frames[at], &carried[at]);
            if at + 1 < frames.len() {
                let ids = self.ids(config, labels, frame.ids.dim(), grid);
                for (object, &id) in self.objects.iter().enumerate() {
                    let (truth, ours) = (frame.ids.mapv(|other| other == id), ids.mapv(|other| other == id));
                    found.regions[object].push(region_similarity(truth.view(), ours.view()));
                    found.contours[object].push(contour_accuracy(truth.view(), ours.view()));
                }
            }
            let yardstick_px = Yardstick::BoxDiagonal.length_px(box_of_points(&frame.points), (0.0, 0.0));
            if yardstick_px <= 0.0 {
                continue;
            }
            for (i, point) in self.points.iter().enumerate() {
                let truth = frame.points.iter().find(|here| here.name_idx == point.name_idx);
                let Some(Point { xy_px: (x, y), .. }) = truth else { continue };
                let map = labels.column(self.n_masks() + 1 + i);
                let (patch_w, patch_h) = self.patch_px(frame, grid);
                let distance_px = peak(map.iter().copied(), grid)
                    .map_or(LOST_PX, |(u, v)| (u * patch_w - x).hypot(v * patch_h - y));
                found.points.push(Located { distance_px, yardstick_px, image: at, category: point.name_idx });
            }
        }
        found
    }

    /// The object at every pixel of the view.
    fn ids(
        &self,
        config: &LabelPropagationConfig,
        labels: &Array2<f64>,
        (h, w): (usize, usize),
        grid: (usize, usize),
    ) -> Array2<u8> {
        let n_masks = self.n_masks();
        let maps = Array3::from_shape_fn((n_masks, grid.0, grid.1), |(c, y, x)| labels[[y * grid.1 + x, c]]);
        let maps = bilinear(maps.view(), h, w);
        let mut pixels =
            Array2::from_shape_fn((h * w, n_masks), |(pixel, c)| maps[[c, pixel / w, pixel % w]]);
        if config.stretch {
            stretch(pixels.view_mut());
        }
        let id = |row: ndarray::ArrayView1<f64>| {
            let best = (0..n_masks).fold(0, |best, c| if row[c] > row[best] { c } else { best });
            if best == 0 { 0 } else { self.objects[best - 1] }
        };
        let ids: Vec<u8> = pixels.axis_iter(Axis(0)).map(id).collect();
        Array2::from_shape_fn((h, w), |(y, x)| ids[y * w + x])
    }
}

/// The mean of the middles of a map's highest patches by their values, in patches; none of a map without any.
fn peak(map: impl Iterator<Item = f64>, grid: (usize, usize)) -> Option<(f64, f64)> {
    let mut values: Vec<(usize, f64)> = map.enumerate().collect();
    values.sort_by(|a, b| b.1.total_cmp(&a.1));
    values.truncate(POINT_PEAKS);
    let total: f64 = values.iter().map(|(_, value)| value).sum();
    let sum = |of: &dyn Fn(usize) -> f64| values.iter().map(|&(patch, value)| value * of(patch)).sum::<f64>();
    (total > 0.0).then(|| {
        (
            sum(&|patch| (patch % grid.1) as f64 + 0.5) / total,
            sum(&|patch| (patch / grid.1) as f64 + 0.5) / total,
        )
    })
}

/// What is followed in a frame: the ids of its parts, or 1 where the object is.
pub(super) fn followed(follow: Follow, parts: Array2<u8>) -> Array2<u8> {
    match follow {
        Follow::Parts => parts,
        Follow::Object => parts.mapv(|id| u8::from(id > 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number that looks random, in −0.5 to 0.5.
    fn noise(of: usize) -> f32 {
        let mut z = (of as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }

    #[test]
    fn a_peak_is_the_mean_of_the_highest_three() {
        // 2 of patch 0, 1 of patches 1 and 2; the fourth does not count.
        let found = peak([2.0, 1.0, 1.0, 0.5].into_iter(), (2, 2)).expect("a peak");
        assert_eq!(found, ((2.0 * 0.5 + 1.5 + 0.5) / 4.0, (2.0 * 0.5 + 0.5 + 1.5) / 4.0));
        assert_eq!(peak([0.0; 4].into_iter(), (2, 2)), None);
    }

    /// A square of 4 × 4 px that moves by one patch of 4 px a frame in a view of 24 px, seen by features of `of(id, patch, frame)`.
    fn frames(of: impl Fn(u8, usize, usize) -> Vec<f32>) -> Vec<FrameSeen> {
        (0..5)
            .map(|frame| {
                let is_in =
                    |y: usize, x: usize| (8..16).contains(&y) && (4 * frame..4 * frame + 8).contains(&x);
                let ids = Array2::from_shape_fn((24, 24), |(y, x)| {
                    if !is_in(y, x) { 0 } else { 1 + u8::from(x >= 4 * frame + 4) }
                });
                let at =
                    |name_idx: usize, dx: f64| Point { name_idx, xy_px: (4.0 * frame as f64 + dx, 10.0) };
                let rows: Vec<Vec<f32>> = (0..36)
                    .map(|patch| of(ids[[patch / 6 * 4 + 2, patch % 6 * 4 + 2]], patch, frame))
                    .collect();
                let width = rows[0].len();
                let rows = Array2::from_shape_vec((36, width), rows.concat()).expect("36 rows");
                let patches = vec![measure::nearest::l2_normalize_rows(rows.view())];
                FrameSeen { frame, ids, points: vec![at(0, 2.0), at(1, 6.0)], patches }
            })
            .collect()
    }

    fn mean(scores: &[Vec<f64>]) -> f64 {
        scores.iter().flatten().sum::<f64>() / scores.iter().flatten().count() as f64
    }

    #[test]
    fn perfect_features_reach_the_ceiling_in_both_ways_and_standing_still_does_not() {
        for config in [LabelPropagationConfig::default(), LabelPropagationConfig::crw()] {
            // One-hot of what the patch shows, and its row in the object so that points are told apart.
            let scores = score(
                &config,
                &frames(|id, patch, _| {
                    let mut row = vec![0.0; 5];
                    row[if id == 0 { 0 } else { 1 + (usize::from(id) - 1) * 2 + (patch / 6) % 2 }] = 1.0;
                    row
                }),
                (6, 6),
            );
            let ours = &scores.by_select[0];
            // Patches hold whole parts: truth at their resolution is nearly truth.
            assert!(mean(&scores.ceiling.regions) > 0.6, "{:?}", scores.ceiling.regions);
            assert!(
                mean(&ours.regions) > mean(&scores.ceiling.regions) - 0.1,
                "{config:?}: {:?}",
                ours.regions
            );
            assert!(mean(&scores.still.regions) < 0.5 * mean(&ours.regions), "{:?}", scores.still.regions);
            assert!(ours.points.iter().all(|point| point.distance_px < 3.0), "{config:?}: {:?}", ours.points);
            assert_eq!((ours.regions.len(), ours.regions[0].len(), ours.points.len()), (2, 3, 8));
        }
    }

    #[test]
    fn features_that_say_nothing_smear_labels() {
        let config = LabelPropagationConfig::default();
        let nothing =
            |_: u8, patch: usize, frame: usize| (0..8).map(|d| noise((frame * 36 + patch) * 8 + d)).collect();
        let scores = score(&config, &frames(nothing), (6, 6));
        assert!(mean(&scores.by_select[0].regions) < 0.3, "{:?}", scores.by_select[0].regions);
    }
}
