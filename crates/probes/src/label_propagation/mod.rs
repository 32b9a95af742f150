//! Video label propagation: are parts and points of an object found again, frame after frame, by the likeness of patches?

mod clip;
mod config;

pub use config::{Follow, LabelPropagationConfig, Resize, Shape};

use crate::patches::{self, ids_in_view, is_held_out, points_in_view};
use crate::scores::{self, Score, Words};
use clip::{ClipScore, ClipScores, FrameSeen, followed, score};
use measure::davis::{Track, track};
use measure::interval::{Interval, t_interval};
use measure::pck::{Located, Yardstick, pck};
use report::{Info, Metric};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_features::{Accumulate, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken};

/// Labels of a clip's first frame are carried through it by the likeness of patches, and compared with the truth: J and F by the
/// rules of DAVIS, points by PCK as JHMDB has it.
///
/// # Source
/// Caron et al., DINO (`eval_video_segmentation.py`); Jabri et al., Contrastive Random Walk (videowalk); Pont-Tuset et al., DAVIS 2017.
/// *Differs*: masks are compared in the pixels of the model's view; every layer is asked, and the best one is chosen on one clip in
/// four, which then does not count.
pub struct LabelPropagation;

/// Clips that are finished, and frames of those that are not.
///
/// Memory: the patches of the frames of one clip, or two where the data was cut inside one; some numbers for each clip.
#[derive(Serialize, Deserialize)]
pub struct LabelPropagationAcc {
    config: LabelPropagationConfig,
    wanted: Vec<Select>,
    grid: (usize, usize),
    size_px: (usize, usize),
    waiting: BTreeMap<usize, Vec<FrameSeen>>,
    done: BTreeMap<usize, ClipScores>,
}

fn value_error(expected: impl Into<String>, found: impl Into<String>) -> StudyError {
    StudyError::Value {
        study: LabelPropagation::INFO.name.into(),
        expected: expected.into(),
        found: found.into(),
    }
}

impl LabelPropagationAcc {
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
                self.done.insert(clip, score(&self.config, &frames, self.grid));
            }
        }
    }
}

impl Accumulate for LabelPropagationAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role != Role::Test {
            return Ok(());
        }
        let n_patches = self.grid.0 * self.grid.1;
        for (image, (truth, view)) in taken.info.truths.iter().zip(taken.info.boxes).enumerate() {
            let index = taken.info.indices[image];
            let (Some(place), Some(parts)) = (truth.frame, &truth.parts) else {
                return Err(value_error(
                    "frames of clips with part masks",
                    format!("neither for sample {index}"),
                ));
            };
            let patches = self
                .wanted
                .iter()
                .map(|&select| {
                    patches::unit_of_image(LabelPropagation::INFO.name, taken, select, image, n_patches)
                })
                .collect::<Result<_, _>>()?;
            let size_px = (self.size_px.0 as f64, self.size_px.1 as f64);
            let seen = FrameSeen {
                frame: place.frame,
                ids: followed(self.config.follow, ids_in_view(parts, view, self.size_px)),
                points: points_in_view(&truth.keypoints, view, size_px),
                patches,
            };
            let frames = self.waiting.entry(place.clip).or_default();
            if frames.last().is_some_and(|last| last.frame >= seen.frame) {
                let found = format!("frame {} of clip {} after a later one", place.frame, place.clip);
                return Err(value_error("the frames of a clip in their order", found));
            }
            frames.push(seen);
            self.settle(Some(place.clip));
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        for (clip, frames) in later.waiting {
            self.waiting.entry(clip).or_default().extend(frames);
        }
        self.done.extend(later.done);
    }
}

impl Study for LabelPropagation {
    const INFO: Info = Info {
        name: "label-propagation",
        line: "parts and points of a clip's first frame carried through it by the likeness of patches, at every layer: J, F and PCK",
        source: "Jabri et al. 2020 (CRW); Caron et al. 2021 (DINO); Pont-Tuset et al. 2017 (DAVIS)",
    };
    const PROTOCOL: &'static str = "\
The masks of a clip's first frame are brought to the patches. In every later frame, each patch takes the mean label of the
most similar patches of the first and the former frames within a neighborhood, weighed by exp(similarity / T); labels stay
soft on the way. They are made larger bilinearly, and the greatest at each pixel is compared with the truth: region
similarity J and contour accuracy F over all frames but the first and the last, mean over objects, with the share above
0.5 (recall) and what is lost from the first to the last quarter (decay). Points are carried in the same way, as maps; the
mean of a map's three highest patches is right within alpha times 0.6 of the diagonal of the box around the true points.
One clip in four chooses the layer and does not count.";
    type Config = LabelPropagationConfig;

    fn protocols() -> Vec<(&'static str, &'static str, LabelPropagationConfig)> {
        let token = |config: LabelPropagationConfig| LabelPropagationConfig {
            facets: vec!["token".into()],
            ..config
        };
        vec![
            (
                "dino",
                "Caron et al. 2021: square of radius 12 on every frame, 7 former frames, top 5, T 0.1, maps stretched before the greatest",
                token(LabelPropagationConfig::default()),
            ),
            (
                "crw",
                "Jabri et al. 2020: circle of radius 12 but for the first frame, 20 former frames, top 10, T 0.05, soft labels throughout",
                token(LabelPropagationConfig::crw()),
            ),
        ]
    }
    type Acc = LabelPropagationAcc;

    fn needs(config: &LabelPropagationConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let selects = patches::candidates(Self::INFO.name, &config.facets, shapes)?;
        Ok(Needs { selects, parts: true, clips: true, ..Needs::default() })
    }

    fn open(config: &LabelPropagationConfig, shapes: &Shapes) -> LabelPropagationAcc {
        LabelPropagationAcc {
            config: config.clone(),
            // What the model cannot have was refused by `needs`.
            wanted: patches::candidates(Self::INFO.name, &config.facets, shapes).unwrap_or_default(),
            grid: (shapes.grid.rows, shapes.grid.columns),
            size_px: (shapes.grid.rows * shapes.patch_px, shapes.grid.columns * shapes.patch_px),
            waiting: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    fn finish(
        config: &LabelPropagationConfig,
        shapes: &Shapes,
        mut acc: LabelPropagationAcc,
    ) -> Result<Findings, StudyError> {
        acc.settle(None);
        let n_cut = acc.waiting.len();
        let clips: Vec<ClipScores> =
            acc.done.into_values().filter(|clip| !clip.still.regions.is_empty()).collect();
        let (held_out, test): (Vec<_>, Vec<_>) =
            clips.into_iter().enumerate().partition(|(rank, _)| is_held_out(*rank));
        if held_out.is_empty() || test.len() < 2 {
            let found = format!("{} ({n_cut} without their first frame)", held_out.len() + test.len());
            return Err(value_error(
                "at least 3 clips of 3 frames and more that show an object at first",
                found,
            ));
        }
        let unranked =
            |clips: Vec<(usize, ClipScores)>| clips.into_iter().map(|(_, clip)| clip).collect::<Vec<_>>();
        findings(config, shapes, &acc.wanted, &unranked(held_out), &unranked(test))
    }
}

/// The tracks of the objects of clips: of regions and of contours.
fn tracks<'a>(clips: impl Iterator<Item = &'a ClipScore>) -> Vec<(Track, Track)> {
    let of = |clip: &'a ClipScore| clip.regions.iter().zip(&clip.contours).map(|(j, f)| (track(j), track(f)));
    clips.flat_map(of).collect()
}

fn mean_of(tracks: &[(Track, Track)], of: impl Fn(&(Track, Track)) -> f64) -> f64 {
    tracks.iter().map(of).sum::<f64>() / tracks.len() as f64
}

/// `½ (J + F)` of an object.
fn j_and_f((j, f): &(Track, Track)) -> f64 {
    0.5 * (j.mean + f.mean)
}

/// The points of clips; images are told apart over clips.
fn points<'a>(clips: impl Iterator<Item = &'a ClipScore>) -> Vec<Located> {
    let of = |(clip, score): (usize, &'a ClipScore)| {
        score.points.iter().map(move |point| Located { image: clip << 16 | point.image, ..*point })
    };
    clips.enumerate().flat_map(of).collect()
}

/// One of a clip's scores.
type Of = fn(&ClipScores) -> &ClipScore;

const BESIDE: [&str; 6] = ["j", "f", "j_recall", "f_recall", "j_decay", "f_decay"];

fn findings(
    config: &LabelPropagationConfig,
    shapes: &Shapes,
    wanted: &[Select],
    held_out: &[ClipScores],
    test: &[ClipScores],
) -> Result<Findings, StudyError> {
    let mut findings = Findings::default();
    let mut scored = Vec::new();
    let floors: [(&str, Of); 2] = [("still", |clip| &clip.still), ("ceiling", |clip| &clip.ceiling)];
    for (place, &select) in wanted.iter().enumerate() {
        let all = tracks(test.iter().map(|clip| &clip.by_select[place]));
        let chosen_by = tracks(held_out.iter().map(|clip| &clip.by_select[place]));
        let clip_means: Vec<f64> = test
            .iter()
            .map(|clip| mean_of(&tracks(std::iter::once(&clip.by_select[place])), j_and_f))
            .collect();
        let interval = if clip_means.len() > 1 {
            t_interval(&clip_means)
        } else {
            Interval { low: clip_means[0], high: clip_means[0] }
        };
        scored.push(Score {
            select,
            held_out: mean_of(&chosen_by, j_and_f),
            test: mean_of(&all, j_and_f),
            interval,
            beside: vec![
                mean_of(&all, |(j, _)| j.mean),
                mean_of(&all, |(_, f)| f.mean),
                mean_of(&all, |(j, _)| j.recall),
                mean_of(&all, |(_, f)| f.recall),
                mean_of(&all, |(j, _)| j.decay),
                mean_of(&all, |(_, f)| f.decay),
            ],
        });
        let found = points(test.iter().map(|clip| &clip.by_select[place]));
        add_pck(config, &found, &mut findings, |metric| crate::by_layer::at(metric, select, shapes), "pck");
    }
    for (name, of) in floors {
        let found = points(test.iter().map(of));
        add_pck(config, &found, &mut findings, |metric| metric, &format!("{name}.pck"));
    }
    let floor = |of: Of| tracks(test.iter().map(of));
    let (still, ceiling) = (floor(floors[0].1), floor(floors[1].1));
    let words = Words {
        study: LabelPropagation::INFO.name,
        metric: "j_and_f",
        title: "Video label propagation",
        caption: "Mean of region similarity and contour accuracy of what is followed through clips. Chance is standing still: the first \
                  frame's labels kept where they are. The ceiling is the truth at the resolution of the patches.",
        settings: format!("{} clips, {} objects; {}", test.len(), still.len(), config.words()),
        beside: &BESIDE,
        chance: mean_of(&still, j_and_f),
        ceiling: mean_of(&ceiling, j_and_f),
    };
    scores::tell(&words, shapes, &scored, &mut findings)?;
    Ok(findings)
}

/// The share of points that are found, by each threshold; nothing where there are no points.
fn add_pck(
    config: &LabelPropagationConfig,
    points: &[Located],
    findings: &mut Findings,
    at: impl Fn(Metric) -> Metric,
    name: &str,
) {
    if points.is_empty() {
        return;
    }
    for &alpha in &config.alphas {
        // JHMDB: the mean over the kinds of points.
        let value = pck(points, alpha, Yardstick::BoxDiagonal).per_category;
        findings.metrics.push(at(Metric::new(name, value, "ratio")).param("alpha", alpha));
    }
}
