//! Clips as they come: frames wait until their clip is whole, then it is scored and only the scores are kept.

use super::clip::{ClipScores, FrameSeen, Likeness, Sizes, Told, followed, score};
use super::config::{CompareIn, Follow, LabelPropagationConfig};
use crate::patches::{ids_in_view, points_in_view};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_data::{CropBox, Frame, LabelMap, Truth, VOID};
use vit_features::StudyError;

/// Clips that are finished, and frames of those that are not.
///
/// Memory: the patches of the frames of one clip, or two where the data was cut inside one; some numbers for each clip.
#[derive(Serialize, Deserialize)]
pub(crate) struct Reel {
    study: String,
    config: LabelPropagationConfig,
    sizes: Sizes,
    likenesses: Vec<Likeness>,
    waiting: BTreeMap<usize, Vec<FrameSeen>>,
    done: BTreeMap<usize, ClipScores>,
}

impl Reel {
    /// Nothing yet.
    pub(crate) fn new(
        study: &str,
        config: &LabelPropagationConfig,
        sizes: Sizes,
        likenesses: Vec<Likeness>,
    ) -> Self {
        Self {
            study: study.to_owned(),
            config: config.clone(),
            sizes,
            likenesses,
            waiting: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    fn refuse<T>(&self, expected: &str, found: String) -> Result<T, StudyError> {
        Err(StudyError::Value { study: self.study.clone(), expected: expected.into(), found })
    }

    /// A frame with its truth; `patches` of every select come with it.
    pub(crate) fn frame(
        &self,
        index: usize,
        truth: &Truth,
        view: &CropBox,
        patches: Vec<Array2<f32>>,
    ) -> Result<(usize, FrameSeen), StudyError> {
        let Some(Frame { clip, frame }) = truth.frame else {
            return self.refuse("frames of clips", format!("none for sample {index}"));
        };
        let (told, map) = match (self.config.follow, truth.tracked.as_ref().or(truth.parts.as_ref())) {
            (Follow::Parts | Follow::Object, Some(map)) => (Told::Objects, Some(map)),
            // A clip of categories has frames of which nobody says anything.
            (Follow::Parts | Follow::Object | Follow::Categories, _) => {
                (Told::Categories, truth.semantic.as_ref())
            }
            (Follow::Points, _) => (Told::Categories, None),
        };
        // By the rules of DAVIS, where nobody says what is there is background.
        let plain = |ids: Array2<u8>| match told {
            Told::Objects => ids.mapv(|id| if id == VOID { 0 } else { id }),
            Told::Categories => ids,
        };
        let is_in_image = self.config.compare_in == CompareIn::Image;
        let (height, width) = self.sizes.view_px;
        let of = |ids: Array2<u8>| followed(self.config.follow, plain(ids));
        let seen = FrameSeen {
            frame,
            told,
            ids: map.map(|map| of(ids_in_view(map, view, (height, width)))),
            ids_in_image: map.filter(|_| is_in_image).map(|map| of(whole(map))),
            view: *view,
            points: points_in_view(&truth.keypoints, view, (height as f64, width as f64)),
            patches,
        };
        Ok((clip, seen))
    }

    /// Adds the frame that follows in a clip.
    pub(crate) fn push(&mut self, clip: usize, seen: FrameSeen) -> Result<(), StudyError> {
        let frames = self.waiting.entry(clip).or_default();
        if frames.last().is_some_and(|last| last.frame >= seen.frame) {
            let found = format!("frame {} of clip {clip} after a later one", seen.frame);
            return self.refuse("the frames of a clip in their order", found);
        }
        frames.push(seen);
        self.settle(Some(clip));
        Ok(())
    }

    /// Scores the clips that begin with their first frame, but for `but`, which may go on.
    fn settle(&mut self, but: Option<usize>) {
        let whole = |(&clip, frames): (&usize, &Vec<FrameSeen>)| {
            (Some(clip) != but && frames[0].frame == 0).then_some(clip)
        };
        let whole: Vec<usize> = self.waiting.iter().filter_map(whole).collect();
        for clip in whole {
            if let Some(frames) = self.waiting.remove(&clip)
                && frames.len() > 2
            {
                self.done.insert(clip, score(&self.config, &frames, self.sizes, &self.likenesses));
            }
        }
    }

    /// Joins clips that come later.
    pub(crate) fn merge(&mut self, later: Self) {
        for (clip, frames) in later.waiting {
            self.waiting.entry(clip).or_default().extend(frames);
        }
        self.done.extend(later.done);
    }

    /// The scores of all clips that show something to follow, and how many lack their first frame.
    pub(crate) fn finish(mut self) -> (Vec<ClipScores>, usize) {
        self.settle(None);
        let n_cut = self.waiting.len();
        (self.done.into_values().filter(|clip| !clip.still.is_empty()).collect(), n_cut)
    }
}

/// All ids of a map, `[H, W]`.
fn whole(map: &LabelMap) -> Array2<u8> {
    Array2::from_shape_fn((map.height_px, map.width_px), |(y, x)| map.ids[y * map.width_px + x])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_frame_is_followed_by_parts_by_categories_or_by_points() {
        let map = |id: u8| Some(LabelMap { width_px: 4, height_px: 4, ids: vec![id; 16] });
        let frame = Some(Frame { clip: 0, frame: 0 });
        let truth = Truth { parts: map(3), semantic: map(7), frame, ..Truth::default() };
        let view = CropBox { x: 0.0, y: 0.0, w: 4.0, h: 4.0, flipped: false };
        let sizes = Sizes { grid: (2, 2), view_px: (4, 4) };
        let seen = |follow| {
            let config = LabelPropagationConfig { follow, ..LabelPropagationConfig::default() };
            let reel = Reel::new("test", &config, sizes, Vec::new());
            let (_, seen) = reel.frame(0, &truth, &view, Vec::new()).expect("a frame");
            (seen.told, seen.ids.and_then(|ids| ids.first().copied()))
        };
        assert_eq!(seen(Follow::Parts), (Told::Objects, Some(3)));
        assert_eq!(seen(Follow::Object), (Told::Objects, Some(1)));
        assert_eq!(seen(Follow::Categories), (Told::Categories, Some(7)));
        assert_eq!(seen(Follow::Points), (Told::Categories, None));
    }
}
