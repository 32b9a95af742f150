//! One clip: labels of its first frame carried through it, and how right they are.

use super::config::{CompareIn, Follow, LabelPropagationConfig, Resize};
use crate::patches::{Point, box_of_points};
use measure::davis::{contour_accuracy, region_similarity};
use measure::pck::{Located, Yardstick};
use measure::propagate::{Context, cosine, fused, propagate, stretch};
use measure::resample::{bilinear, nearest};
use ndarray::{Array2, Array3, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_data::{CropBox, VOID};

/// The spread of a point's first map, in patches, and how far it reaches: videowalk's JHMDB labels.
const POINT_SIGMA: f64 = 0.5;
const POINT_REACH_SIGMAS: f64 = 3.0;
/// The patches of a point's map whose mean is the point.
const POINT_PEAKS: usize = 3;
/// The distance of a point that was lost on the way.
const LOST_PX: f64 = 1e9;

/// A frame as it was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FrameSeen {
    /// Its place in the clip.
    pub(crate) frame: usize,
    /// What its map tells apart.
    pub(crate) told: Told,
    /// What is where, `[H, W]` in pixels of the view; 0 is background. None where nobody says.
    pub(crate) ids: Option<Array2<u8>>,
    /// The same in pixels of the image, where labels are compared there.
    pub(crate) ids_in_image: Option<Array2<u8>>,
    /// Where the view was cut.
    pub(crate) view: CropBox,
    /// Visible points.
    pub(crate) points: Vec<Point>,
    /// `[N, D]` of every select, each patch of length 1.
    pub(crate) patches: Vec<Array2<f32>>,
}

/// What the maps of a clip tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told {
    /// Objects or parts: each is compared by itself.
    Objects,
    /// Categories: which pixel is taken for which.
    Categories,
}

/// The sizes of what is seen.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sizes {
    /// Rows and columns of patches.
    pub(crate) grid: (usize, usize),
    /// Height and width of the view in pixels.
    pub(crate) view_px: (usize, usize),
}

/// By which features patches are alike.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Likeness {
    /// By one select.
    One(usize),
    /// By two networks, the first weighed by `lambda`.
    Fused {
        /// The fine-grained network's select.
        first: usize,
        /// The other's.
        second: usize,
        /// `λ`
        lambda: f64,
    },
}

/// How right the labels of a clip are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClipScore {
    /// For each object: region similarity of every frame that counts.
    pub(crate) regions: Vec<Vec<f64>>,
    /// For each object: contour accuracy of every frame that counts.
    pub(crate) contours: Vec<Vec<f64>>,
    /// Points of every frame but the first.
    pub(crate) points: Vec<Located>,
    /// How many pixels of a category, first, were taken for which one, second, in the frames that have maps but for the first.
    pub(crate) taken_for: BTreeMap<(u8, u8), usize>,
}

/// The score by every likeness, what standing still gives, and what truth at the patches' resolution gives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ClipScores {
    pub(crate) by_likeness: Vec<ClipScore>,
    pub(crate) still: ClipScore,
    pub(crate) ceiling: ClipScore,
}

/// The scores of clips by one likeness.
pub(crate) fn by_likeness<'a>(clips: &[&'a ClipScores], at: usize) -> Vec<&'a ClipScore> {
    clips.iter().map(|clip| &clip.by_likeness[at]).collect()
}

/// The channels of a clip's labels.
struct Labels {
    told: Told,
    /// Ids of the objects in the first frame; channel 0 is background.
    objects: Vec<u8>,
    /// Points of the first frame; after the objects, behind one for no point.
    points: Vec<Point>,
}

/// Scores a clip of at least two frames, the first of which says what is followed.
pub(crate) fn score(
    config: &LabelPropagationConfig,
    frames: &[FrameSeen],
    sizes: Sizes,
    likenesses: &[Likeness],
) -> ClipScores {
    let first = &frames[0];
    let ids = first.ids.iter().flatten().copied();
    let mut objects: Vec<u8> = ids.filter(|&id| id > 0 && id != VOID).collect();
    objects.sort_unstable();
    objects.dedup();
    let labels = Labels { told: first.told, objects, points: first.points.clone() };
    let start = labels.of_frame(config, first, sizes);
    let by_likeness = likenesses
        .par_iter()
        .map(|&likeness| {
            let carried = carry(config, frames, likeness, &start, sizes.grid);
            labels.score(config, frames, &carried, sizes)
        })
        .collect();
    let still = vec![start; frames.len()];
    let truth: Vec<Array2<f64>> = frames
        .iter()
        .map(|frame| {
            let soft = LabelPropagationConfig { first_labels: Resize::Bilinear, ..config.clone() };
            labels.of_frame(&soft, frame, sizes)
        })
        .collect();
    // Truth is not stretched: it is compared as it is.
    let plain = LabelPropagationConfig { stretch: false, ..config.clone() };
    ClipScores {
        by_likeness,
        still: labels.score(config, frames, &still, sizes),
        ceiling: labels.score(&plain, frames, &truth, sizes),
    }
}

/// The labels of every frame, `[N, C]`: those of the first one carried on.
fn carry(
    config: &LabelPropagationConfig,
    frames: &[FrameSeen],
    likeness: Likeness,
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
        let patches =
            |select: usize| used.iter().map(|&(frame, _)| frames[frame].patches[select].view()).collect();
        let target = |select: usize| frames[at].patches[select].view();
        let labels = match likeness {
            Likeness::One(select) => {
                let patches: Vec<_> = patches(select);
                propagate(cosine(target(select), &patches), &contexts, grid, &rule)
            }
            Likeness::Fused { first, second, lambda } => {
                let (of_first, of_second): (Vec<_>, Vec<_>) = (patches(first), patches(second));
                let first = cosine(target(first), &of_first);
                let second = cosine(target(second), &of_second);
                let both = |frame: usize, to: usize, from: usize| {
                    fused(first(frame, to, from), second(frame, to, from), lambda)
                };
                propagate(both, &contexts, grid, &rule)
            }
        };
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
    fn of_frame(&self, config: &LabelPropagationConfig, frame: &FrameSeen, sizes: Sizes) -> Array2<f64> {
        let grid = sizes.grid;
        let n = grid.0 * grid.1;
        let mut labels = Array2::zeros((n, self.n_masks() + 1 + self.points.len()));
        let channel = |id: u8| self.objects.iter().position(|&object| object == id).map_or(0, |at| at + 1);
        match (&frame.ids, config.first_labels) {
            (None, _) => labels.column_mut(0).fill(1.0),
            (Some(ids), Resize::Nearest) => {
                for (patch, &id) in nearest(ids.view(), grid.0, grid.1).iter().enumerate() {
                    labels[[patch, channel(id)]] = 1.0;
                }
            }
            (Some(ids), Resize::Bilinear) => {
                let (h, w) = ids.dim();
                let mut maps = Array3::zeros((self.n_masks(), h, w));
                for ((y, x), &id) in ids.indexed_iter() {
                    maps[[channel(id), y, x]] = 1.0;
                }
                for (c, map) in bilinear(maps.view(), grid.0, grid.1).outer_iter().enumerate() {
                    labels.column_mut(c).iter_mut().zip(map).for_each(|(to, &from)| *to = from);
                }
            }
        }
        let (patch_w, patch_h) = sizes.patch_px();
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

    /// Compares labels with truth, frame by frame: objects in all frames but the first and the last, categories and points in all but the
    /// first.
    fn score(
        &self,
        config: &LabelPropagationConfig,
        frames: &[FrameSeen],
        carried: &[Array2<f64>],
        sizes: Sizes,
    ) -> ClipScore {
        let n_objects = if self.told == Told::Objects { self.objects.len() } else { 0 };
        let mut found = ClipScore {
            regions: vec![Vec::new(); n_objects],
            contours: vec![Vec::new(); n_objects],
            ..ClipScore::default()
        };
        for at in 1..frames.len() {
            let (frame, labels) = (&frames[at], &carried[at]);
            let counts = self.told == Told::Categories || at + 1 < frames.len();
            if let Some(truth) = frame.truth(config.compare_in).filter(|_| counts) {
                let ids = frame.compared(config.compare_in, self.ids(config, labels, sizes));
                self.compare(truth, &ids, &mut found);
            }
            let xy = |(x, y): (f64, f64)| frame.compared_xy(config.compare_in, (x, y), sizes);
            let points: Vec<Point> =
                frame.points.iter().map(|point| Point { xy_px: xy(point.xy_px), ..*point }).collect();
            let yardstick_px = Yardstick::BoxDiagonal.length_px(box_of_points(&points), (0.0, 0.0));
            if yardstick_px <= 0.0 {
                continue;
            }
            for (i, point) in self.points.iter().enumerate() {
                let truth = points.iter().find(|here| here.name_idx == point.name_idx);
                let Some(Point { xy_px: (x, y), .. }) = truth else { continue };
                let map = labels.column(self.n_masks() + 1 + i);
                let (patch_w, patch_h) = sizes.patch_px();
                let distance_px = peak(map.iter().copied(), sizes.grid).map_or(LOST_PX, |(u, v)| {
                    let (u, v) = xy((u * patch_w, v * patch_h));
                    (u - x).hypot(v - y)
                });
                found.points.push(Located { distance_px, yardstick_px, image: at, category: point.name_idx });
            }
        }
        found
    }

    /// Compares the objects or categories of one frame.
    fn compare(&self, truth: &Array2<u8>, ids: &Array2<u8>, found: &mut ClipScore) {
        if self.told == Told::Categories {
            for (&truth, &ours) in truth.iter().zip(ids).filter(|&(&truth, _)| truth != VOID) {
                *found.taken_for.entry((truth, ours)).or_default() += 1;
            }
            return;
        }
        for (object, &id) in self.objects.iter().enumerate() {
            let (truth, ours) = (truth.mapv(|other| other == id), ids.mapv(|other| other == id));
            found.regions[object].push(region_similarity(truth.view(), ours.view()));
            found.contours[object].push(contour_accuracy(truth.view(), ours.view()));
        }
    }

    /// The object at every pixel of the view.
    fn ids(&self, config: &LabelPropagationConfig, labels: &Array2<f64>, sizes: Sizes) -> Array2<u8> {
        let (grid, (h, w)) = (sizes.grid, sizes.view_px);
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

impl Sizes {
    /// Width and height of a patch in pixels of the view.
    fn patch_px(self) -> (f64, f64) {
        (self.view_px.1 as f64 / self.grid.1 as f64, self.view_px.0 as f64 / self.grid.0 as f64)
    }
}

impl FrameSeen {
    /// What is where, in the pixels in which labels are compared.
    fn truth(&self, compare_in: CompareIn) -> Option<&Array2<u8>> {
        match compare_in {
            CompareIn::View => self.ids.as_ref(),
            CompareIn::Image => self.ids_in_image.as_ref(),
        }
    }

    /// Ids of the view in the pixels in which they are compared: in the image by the nearest, and background beyond the view.
    fn compared(&self, compare_in: CompareIn, ids: Array2<u8>) -> Array2<u8> {
        let Some(image) = self.ids_in_image.as_ref().filter(|_| compare_in == CompareIn::Image) else {
            return ids;
        };
        let (h, w) = ids.dim();
        Array2::from_shape_fn(image.dim(), |(y, x)| {
            let (u, v) = self.view.view_from_image((x as f64 + 0.5, y as f64 + 0.5));
            if !((0.0..1.0).contains(&u) && (0.0..1.0).contains(&v)) {
                return 0;
            }
            ids[[((v * h as f64) as usize).min(h - 1), ((u * w as f64) as usize).min(w - 1)]]
        })
    }

    /// A place in the view in the pixels in which places are compared.
    fn compared_xy(&self, compare_in: CompareIn, (x, y): (f64, f64), sizes: Sizes) -> (f64, f64) {
        match compare_in {
            CompareIn::View => (x, y),
            CompareIn::Image => {
                let (h, w) = sizes.view_px;
                self.view.image_from_view((x / w as f64, y / h as f64))
            }
        }
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

/// What is followed in a frame: the ids of its map, or 1 where there is any.
pub(crate) fn followed(follow: Follow, ids: Array2<u8>) -> Array2<u8> {
    match follow {
        Follow::Parts | Follow::Categories | Follow::Points => ids,
        Follow::Object => ids.mapv(|id| if id == VOID { VOID } else { u8::from(id > 0) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::noise;

    const SIZES: Sizes = Sizes { grid: (6, 6), view_px: (24, 24) };
    const VIEW: CropBox = CropBox { x: 0.0, y: 0.0, w: 24.0, h: 24.0, flipped: false };

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
                FrameSeen {
                    frame,
                    told: Told::Objects,
                    ids_in_image: None,
                    ids: Some(ids),
                    view: VIEW,
                    points: vec![at(0, 2.0), at(1, 6.0)],
                    patches,
                }
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
                SIZES,
                &[Likeness::One(0)],
            );
            let ours = &scores.by_likeness[0];
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
        let scores = score(&config, &frames(nothing), SIZES, &[Likeness::One(0)]);
        assert!(mean(&scores.by_likeness[0].regions) < 0.3, "{:?}", scores.by_likeness[0].regions);
    }

    /// One-hot of what a patch shows.
    fn shown(id: u8) -> Vec<f32> {
        (0..3).map(|kind| f32::from(u8::from(kind == id))).collect()
    }

    #[test]
    fn what_lies_beyond_the_view_is_lost_where_labels_are_compared_in_the_image() {
        // The view is the left half of an image of 48 × 24 px; an object of 8 × 8 px lies in the right one from the second frame on.
        let mut clip = frames(|id, _, _| shown(id));
        for frame in &mut clip {
            let ids = frame.ids.clone().expect("ids");
            let beyond = frame.frame > 0;
            frame.ids_in_image = Some(Array2::from_shape_fn((24, 48), |(y, x)| match x {
                0..24 => ids[[y, x]],
                30..38 if beyond && y < 8 => 1,
                _ => 0,
            }));
        }
        let of = |compare_in: CompareIn| {
            let config = LabelPropagationConfig { compare_in, ..LabelPropagationConfig::default() };
            score(&config, &clip, SIZES, &[Likeness::One(0)])
        };
        let (view, image) = (of(CompareIn::View), of(CompareIn::Image));
        let distances = |scores: &ClipScores| -> Vec<f64> {
            scores.by_likeness[0].points.iter().map(|point| point.distance_px).collect()
        };
        assert!(distances(&view).iter().zip(distances(&image)).all(|(a, b)| (a - b).abs() < 1e-9));
        // The first object has 4 × 8 px in the view and 64 px beyond it.
        let (inside, all) = (&view.ceiling.regions[0], &image.ceiling.regions[0]);
        for (inside, all) in inside.iter().zip(all) {
            assert!(*all < 0.5 && *inside > 2.0 * all, "{inside} and {all}");
        }
        assert_eq!(view.ceiling.regions[1], image.ceiling.regions[1]);
    }

    #[test]
    fn categories_are_counted_where_there_are_maps_and_void_is_not() {
        let mut clip = frames(|id, _, _| shown(id));
        for frame in &mut clip {
            frame.told = Told::Categories;
            frame.points.clear();
            match (frame.frame, &mut frame.ids) {
                (1 | 3, ids) => *ids = None,
                (_, Some(ids)) => ids[[23, 23]] = VOID,
                (_, None) => {}
            }
        }
        let config =
            LabelPropagationConfig { first_labels: Resize::Nearest, ..LabelPropagationConfig::crw() };
        let found = score(&config, &clip, SIZES, &[Likeness::One(0)]);
        let ours = &found.by_likeness[0];
        // Two frames of 24 × 24 px, one pixel of each void.
        assert_eq!(ours.taken_for.values().sum::<usize>(), 2 * (24 * 24 - 1));
        assert!(ours.regions.is_empty() && ours.points.is_empty());
        let right = |score: &ClipScore| {
            let counts = score.taken_for.iter();
            counts.filter(|((truth, ours), _)| truth == ours && *truth > 0).map(|(_, n)| n).sum::<usize>()
        };
        assert!(right(ours) > 2 * right(&found.still), "{:?}", ours.taken_for);
    }

    #[test]
    fn two_networks_together_see_what_each_alone_mistakes() {
        // The first network tells the object from the background, the second its left from its right half.
        let clip: Vec<FrameSeen> = {
            let of = |kinds: [u8; 3]| {
                frames(move |id, _, _| shown(kinds[usize::from(id)])).into_iter().map(|frame| frame.patches)
            };
            let patches = of([0, 1, 1]).zip(of([1, 1, 2]));
            let join = |(mut frame, (a, b)): (FrameSeen, (Vec<_>, Vec<_>))| {
                frame.patches = [a, b].concat();
                frame
            };
            frames(|id, _, _| shown(id)).into_iter().zip(patches).map(join).collect()
        };
        let fused = Likeness::Fused { first: 0, second: 1, lambda: 1.75 };
        let likenesses = [Likeness::One(0), Likeness::One(1), fused];
        let found = score(&LabelPropagationConfig::crw(), &clip, SIZES, &likenesses);
        let [first, second, both] = [0, 1, 2].map(|i| mean(&found.by_likeness[i].regions));
        assert!(both > first + 0.1 && both > second + 0.1, "{first}, {second}, {both}");
    }
}
