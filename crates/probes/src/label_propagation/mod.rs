//! Video label propagation: are parts and points of an object found again, frame after frame, by the likeness of patches?

mod clip;
mod config;
mod outcome;
mod reel;

pub use config::{CompareIn, Follow, LabelPropagationConfig, Resize, Shape};

pub(crate) use clip::{ClipScore, ClipScores, FrameSeen, Likeness, Sizes, by_likeness};
pub(crate) use outcome::Headline;
pub(crate) use reel::Reel;

use crate::patches;
use crate::scores::{self, ChosenBy, Score, Words};
use ndarray::Array2;
use report::Info;
use serde::{Deserialize, Serialize};
use vit_features::{
    Accumulate, Findings, Needs, ProtocolView, Role, Select, Shapes, Study, StudyError, Taken,
};

/// Labels of a clip's first frame are carried through it by the likeness of patches, and compared with the truth: objects by J and F
/// with the rules of DAVIS, categories by the mean intersection over union as VIP has it, points by PCK as JHMDB has it.
///
/// # Source
/// Caron et al., DINO (`eval_video_segmentation.py`); Jabri et al., Contrastive Random Walk (videowalk); Pont-Tuset et al., DAVIS 2017;
/// Zhou et al., VIP; Jhuang et al., JHMDB. *Differs*: views are square; every layer is asked, and by default the best one is chosen on one
/// clip in four, which then does not count.
pub struct LabelPropagation;

/// Clips that are finished, and frames of those that are not.
///
/// Memory: the patches of the frames of one clip, or two where the data was cut inside one; some numbers for each clip.
#[derive(Serialize, Deserialize)]
pub struct LabelPropagationAcc {
    wanted: Vec<Select>,
    n_patches: usize,
    reel: Reel,
}

impl Accumulate for LabelPropagationAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role != Role::Test {
            return Ok(());
        }
        for (image, (truth, view)) in taken.info.truths.iter().zip(taken.info.boxes).enumerate() {
            let patches =
                patches_of(LabelPropagation::INFO.name, taken, &self.wanted, image, self.n_patches)?;
            let (clip, seen) = self.reel.frame(taken.info.indices[image], truth, view, patches)?;
            self.reel.push(clip, seen)?;
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.reel.merge(later.reel);
    }
}

/// The patches of one image of a batch by every select.
pub(crate) fn patches_of(
    study: &str,
    taken: &Taken,
    wanted: &[Select],
    image: usize,
    n_patches: usize,
) -> Result<Vec<Array2<f32>>, StudyError> {
    wanted.iter().map(|&select| patches::unit_of_image(study, taken, select, image, n_patches)).collect()
}

impl Sizes {
    /// Of a model's grid of patches.
    pub(crate) fn of(shapes: &Shapes) -> Self {
        let (rows, columns) = (shapes.grid.rows, shapes.grid.columns);
        Self { grid: (rows, columns), view_px: (rows * shapes.patch_px, columns * shapes.patch_px) }
    }
}

impl Study for LabelPropagation {
    const INFO: Info = Info {
        name: "label-propagation",
        line: "what a clip's first frame marks carried through it by the likeness of patches, at every layer: J and F, mIoU or PCK",
        source: "Jabri et al. 2020 (CRW); Caron et al. 2021 (DINO); Pont-Tuset et al. 2017 (DAVIS)",
    };
    const PROTOCOL: &'static str = "\
What is marked in a clip's first frame is brought to the patches. In every later frame, each patch takes the mean label of the
most similar patches of the first and the former frames within a neighborhood, weighed by exp(similarity / T); labels stay
soft on the way. They are made larger bilinearly, and the greatest at each pixel is compared with the truth. Objects and parts
(davis, part-shapes:clips): region similarity J and contour accuracy F over all frames but the first and the last, mean over
objects, with the share above 0.5 (recall) and what is lost from the first to the last quarter (decay). Categories (vip): the
mean intersection over union in all frames that have a map but the first. Points (jhmdb) are carried in the same way, as maps;
the mean of a map's three highest patches is right within alpha times 0.6 of the diagonal of the box around the true points.
One clip in four chooses the layer and does not count, unless hold_out is false.";
    type Config = LabelPropagationConfig;

    fn protocols() -> Vec<(&'static str, &'static str, LabelPropagationConfig)> {
        LabelPropagationConfig::protocols()
    }

    fn protocol_view(name: &str) -> ProtocolView {
        LabelPropagationConfig::protocol_view(name)
    }
    type Acc = LabelPropagationAcc;

    fn needs(config: &LabelPropagationConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let selects = patches::candidates(Self::INFO.name, &config.facets, shapes)?;
        Ok(Needs { selects, clips: true, ..Needs::default() })
    }

    fn open(config: &LabelPropagationConfig, shapes: &Shapes) -> LabelPropagationAcc {
        // What the model cannot have was refused by `needs`.
        let wanted = patches::candidates(Self::INFO.name, &config.facets, shapes).unwrap_or_default();
        let likenesses = (0..wanted.len()).map(Likeness::One).collect();
        let sizes = Sizes::of(shapes);
        let reel = Reel::new(Self::INFO.name, config, sizes, likenesses);
        LabelPropagationAcc { wanted, n_patches: sizes.grid.0 * sizes.grid.1, reel }
    }

    fn finish(
        config: &LabelPropagationConfig,
        shapes: &Shapes,
        acc: LabelPropagationAcc,
    ) -> Result<Findings, StudyError> {
        let (clips, n_cut) = acc.reel.finish();
        let headline = Headline::of(&clips);
        let clips: Vec<ClipScores> = clips.into_iter().filter(|clip| headline.has(clip)).collect();
        let (held_out, test) = scores::halves(&clips, config.hold_out);
        if held_out.is_empty() || test.len() < 1 + usize::from(config.hold_out) {
            return Err(too_few(Self::INFO.name, clips.len(), n_cut));
        }
        findings(config, shapes, &acc.wanted, headline, (&held_out, &test))
    }
}

/// The refusal of too few clips.
pub(crate) fn too_few(study: &str, n_clips: usize, n_cut: usize) -> StudyError {
    let found = format!("{n_clips} ({n_cut} without their first frame)");
    StudyError::too_few(study, "at least 3 clips of 3 frames and more that mark something at first", found)
}

fn findings(
    config: &LabelPropagationConfig,
    shapes: &Shapes,
    wanted: &[Select],
    headline: Headline,
    (held_out, test): (&[&ClipScores], &[&ClipScores]),
) -> Result<Findings, StudyError> {
    let mut findings = Findings::default();
    let mut scored = Vec::new();
    for (place, &select) in wanted.iter().enumerate() {
        let (chosen_by, all) = (by_likeness(held_out, place), by_likeness(test, place));
        scored.push(Score {
            select,
            held_out: headline.over(config, &chosen_by),
            test: headline.over(config, &all),
            interval: headline.interval(config, &all),
            beside: headline.numbers_beside(&all),
        });
        outcome::add_pck(
            config,
            &all,
            &mut findings,
            |metric| crate::by_layer::at(metric, select, shapes),
            "pck",
        );
    }
    let still: Vec<&ClipScore> = test.iter().map(|clip| &clip.still).collect();
    let ceiling: Vec<&ClipScore> = test.iter().map(|clip| &clip.ceiling).collect();
    for (name, clips) in [("still.pck", &still), ("ceiling.pck", &ceiling)] {
        outcome::add_pck(config, clips, &mut findings, |metric| metric, name);
    }
    let words = Words {
        study: LabelPropagation::INFO.name,
        metric: headline.name(),
        title: "Video label propagation",
        caption: headline.caption(),
        settings: format!("{} clips, {}; {}", test.len(), headline.followed(&still), config.words()),
        beside: headline.beside(),
        chance: headline.over(config, &still),
        ceiling: headline.over(config, &ceiling),
    };
    scores::tell_as(&words, ChosenBy::of(config.hold_out), shapes, &scored, &mut findings)?;
    Ok(findings)
}
