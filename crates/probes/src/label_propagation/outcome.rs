//! What clips' scores come to: by objects as DAVIS counts, by categories as VIP does, or by points as JHMDB does.

use super::clip::{ClipScore, ClipScores};
use super::config::LabelPropagationConfig;
use measure::confusion::Confusion;
use measure::davis::{Track, track};
use measure::interval::{Interval, t_interval};
use measure::pck::{Located, Yardstick, pck};
use report::Metric;
use vit_features::Findings;

/// The number by which layers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Headline {
    /// The mean of region similarity and contour accuracy.
    JAndF,
    /// The mean intersection over union of categories.
    Miou,
    /// The share of points that are found, within the first threshold.
    Pck,
}

impl Headline {
    /// The first that there is something for: objects, categories, points.
    pub(crate) fn of(clips: &[ClipScores]) -> Self {
        let has = |of: fn(&ClipScore) -> bool| clips.iter().any(|clip| of(&clip.still));
        if has(|score| !score.regions.is_empty()) {
            return Self::JAndF;
        }
        if has(|score| !score.taken_for.is_empty()) { Self::Miou } else { Self::Pck }
    }

    /// Its name among the metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::JAndF => "j_and_f",
            Self::Miou => "miou",
            Self::Pck => "pck",
        }
    }

    /// What is told beside it.
    pub(crate) fn beside(self) -> &'static [&'static str] {
        match self {
            Self::JAndF => &["j", "f", "j_recall", "f_recall", "j_decay", "f_decay"],
            Self::Miou => &["miou_of_all", "pixel_accuracy"],
            Self::Pck => &[],
        }
    }

    /// How its curve is read.
    pub(crate) fn caption(self) -> &'static str {
        match self {
            Self::JAndF => {
                "Mean of region similarity and contour accuracy of what is followed through clips. Chance is standing still: the first \
                 frame's labels kept where they are. The ceiling is the truth at the resolution of the patches."
            }
            Self::Miou => {
                "Mean intersection over union of the categories that are followed through clips. Chance is standing still: the first \
                 frame's labels kept where they are. The ceiling is the truth at the resolution of the patches."
            }
            Self::Pck => {
                "Share of points that are found again in the frames of clips. Chance is standing still: the first frame's points kept where \
                 they are. The ceiling is the truth at the resolution of the patches."
            }
        }
    }

    /// Clips in which there is something for it.
    pub(crate) fn has(self, clip: &ClipScores) -> bool {
        match self {
            Self::JAndF => {
                let regions = &clip.still.regions;
                !regions.is_empty() && regions.iter().all(|frames| !frames.is_empty())
            }
            Self::Miou => !clip.still.taken_for.is_empty(),
            Self::Pck => !clip.still.points.is_empty(),
        }
    }

    /// The number over clips.
    pub(crate) fn over(self, config: &LabelPropagationConfig, clips: &[&ClipScore]) -> f64 {
        match self {
            Self::JAndF => mean_of(&tracks(clips), |(j, f)| 0.5 * (j.mean + f.mean)),
            Self::Miou => confusion(clips).mean_iou(),
            Self::Pck => pck(&points(clips), config.alphas[0], Yardstick::BoxDiagonal).per_category,
        }
    }

    /// How far it may be trusted: Student's interval over clips, around the number of all of them.
    pub(crate) fn interval(self, config: &LabelPropagationConfig, clips: &[&ClipScore]) -> Interval {
        let all = self.over(config, clips);
        if clips.len() < 2 {
            return Interval { low: all, high: all };
        }
        let own: Vec<f64> = clips.iter().map(|clip| self.over(config, &[*clip])).collect();
        let own = t_interval(&own);
        if self == Self::JAndF {
            return own;
        }
        let half = 0.5 * (own.high - own.low);
        Interval { low: all - half, high: all + half }
    }

    /// The numbers of [`Headline::beside`].
    pub(crate) fn numbers_beside(self, clips: &[&ClipScore]) -> Vec<f64> {
        match self {
            Self::JAndF => {
                let all = tracks(clips);
                /// A number of the tracks of J and F.
                type Number = fn(&(Track, Track)) -> f64;
                let of: [Number; 6] = [
                    |(j, _)| j.mean,
                    |(_, f)| f.mean,
                    |(j, _)| j.recall,
                    |(_, f)| f.recall,
                    |(j, _)| j.decay,
                    |(_, f)| f.decay,
                ];
                of.map(|of| mean_of(&all, of)).to_vec()
            }
            Self::Miou => {
                let all = confusion(clips);
                vec![all.mean_iou_of_all(), all.accuracy()]
            }
            Self::Pck => Vec::new(),
        }
    }

    /// What is followed, for people.
    pub(crate) fn followed(self, clips: &[&ClipScore]) -> String {
        match self {
            Self::JAndF => format!("{} objects", tracks(clips).len()),
            Self::Miou => {
                let all = confusion(clips);
                let n = (0..all.counts.nrows()).filter(|&category| all.n_true(category) > 0).count();
                format!("{n} categories, background among them")
            }
            Self::Pck => format!("{} points", points(clips).len()),
        }
    }
}

impl ClipScore {
    /// Whether there was nothing to follow.
    pub(crate) fn is_empty(&self) -> bool {
        self.regions.is_empty() && self.taken_for.is_empty() && self.points.is_empty()
    }
}

/// The tracks of the objects of clips: of regions and of contours.
fn tracks(clips: &[&ClipScore]) -> Vec<(Track, Track)> {
    let of = |clip: &&ClipScore| -> Vec<(Track, Track)> {
        clip.regions.iter().zip(&clip.contours).map(|(j, f)| (track(j), track(f))).collect()
    };
    clips.iter().flat_map(of).collect()
}

fn mean_of(tracks: &[(Track, Track)], of: impl Fn(&(Track, Track)) -> f64) -> f64 {
    tracks.iter().map(of).sum::<f64>() / tracks.len() as f64
}

/// The points of clips; images are told apart over clips.
fn points(clips: &[&ClipScore]) -> Vec<Located> {
    let of = |(clip, score): (usize, &&ClipScore)| -> Vec<Located> {
        score.points.iter().map(|point| Located { image: clip << 16 | point.image, ..*point }).collect()
    };
    clips.iter().enumerate().flat_map(of).collect()
}

/// Which category was taken for which, in all clips.
fn confusion(clips: &[&ClipScore]) -> Confusion {
    let counts = || clips.iter().flat_map(|clip| &clip.taken_for);
    let most = counts().map(|(&(truth, ours), _)| truth.max(ours)).max().unwrap_or(0);
    let mut all = Confusion::nothing(usize::from(most) + 1);
    for (&(truth, ours), n) in counts() {
        all.counts[[usize::from(truth), usize::from(ours)]] += n;
    }
    all
}

/// Adds the share of points that are found, by each threshold; nothing where there are no points.
pub(crate) fn add_pck(
    config: &LabelPropagationConfig,
    clips: &[&ClipScore],
    findings: &mut Findings,
    at: impl Fn(Metric) -> Metric,
    name: &str,
) {
    let points = points(clips);
    if points.is_empty() {
        return;
    }
    for &alpha in &config.alphas {
        // JHMDB: the mean over the kinds of points.
        let value = pck(&points, alpha, Yardstick::BoxDiagonal).per_category;
        findings.metrics.push(at(Metric::new(name, value, "ratio")).param("alpha", alpha));
    }
}
