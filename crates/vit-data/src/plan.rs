//! What views are wanted of every picture.

use serde::{Deserialize, Serialize};

use crate::{
    DataError, Stream,
    transform::{self, Blur, Erase, Filter, Jitter, Normalize, Solarize},
};

/// The views cut from every picture; one decode serves them all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewPlan {
    /// One entry per view, in the order in which a batch holds them.
    pub views: Vec<ViewSpec>,
}

impl ViewPlan {
    /// One view of the whole picture, resized to `size_px × size_px`.
    pub fn whole(size_px: usize, normalize: Normalize) -> Self {
        Self { views: vec![ViewSpec::plain(Crop::Whole, size_px, normalize)] }
    }

    /// One view as nearly all models are evaluated: shorter side to `resize_px`, then the central square.
    pub fn center(resize_px: usize, size_px: usize, normalize: Normalize) -> Self {
        Self { views: vec![ViewSpec::plain(Crop::Center { resize_px }, size_px, normalize)] }
    }

    /// Checks every view.
    ///
    /// # Errors
    /// When there is no view, or one of them fails [`ViewSpec::check`].
    pub fn check(&self) -> Result<(), DataError> {
        if self.views.is_empty() {
            return Err(wrong("at least one view", "none"));
        }
        self.views.iter().try_for_each(ViewSpec::check)
    }

    /// Whether a view does what can be done to bytes only.
    pub fn changes_bytes(&self) -> bool {
        self.views.iter().any(ViewSpec::changes_bytes)
    }

    /// How many rows of a picture, from the top, the views look at: down to the lowest edge of random crops, and all where
    /// another crop is among them.
    ///
    /// # Arguments
    /// - `stream_of`: the stream that [`cut`](crate::cut) is given for the view of that place in the plan
    pub fn rows_seen(&self, width_px: usize, height_px: usize, stream_of: impl Fn(usize) -> Stream) -> usize {
        let lowest = |(view_idx, spec): (usize, &ViewSpec)| match spec.crop {
            Crop::RandomResized { scale, ratio } => {
                let stream = &mut stream_of(view_idx);
                let kept = transform::random_resized_crop(width_px, height_px, scale, ratio, stream);
                kept.top_px + kept.height_px
            }
            Crop::Whole | Crop::Padded | Crop::Center { .. } => height_px,
        };
        self.views.iter().enumerate().map(lowest).max().unwrap_or(height_px)
    }
}

/// One view; the fields stand in the order in which they are applied, but for the flip, which comes with the crop.
///
/// All draws come from the view's own stream, in this order: the box of the crop (where it is random), the flip, and
/// then for each of jitter, gray, blur, solarize and erase whether it is done and, if so, how. One of probability 0
/// draws nothing, so a plan without them draws what it drew before they existed.
///
/// # Example
/// ```
/// use vit_data::{Crop, ViewPlan, ViewSpec, transform::{Blur, Jitter, Normalize, Solarize}};
/// // The views of DINO: two large crops that differ in blur and solarization, and eight small ones.
/// let crop = |low, high| Crop::RandomResized { scale: (low, high), ratio: (0.75, 4.0 / 3.0) };
/// let first = ViewSpec {
///     flip_prob: 0.5,
///     jitter: Jitter { prob: 0.8, ..Jitter::default() },
///     gray_prob: 0.2,
///     blur: Blur { prob: 1.0, ..Blur::default() },
///     ..ViewSpec::plain(crop(0.4, 1.0), 224, Normalize::IMAGENET)
/// };
/// let second = ViewSpec {
///     blur: Blur { prob: 0.1, ..first.blur },
///     solarize: Solarize { prob: 0.2, threshold: 128 },
///     ..first
/// };
/// let local = ViewSpec { crop: crop(0.05, 0.4), size_px: 96, blur: Blur { prob: 0.5, ..first.blur }, ..first };
/// let mut plan = ViewPlan { views: vec![first, second] };
/// plan.views.extend([local; 8]);
/// plan.check()?;
/// # Ok::<(), vit_data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSpec {
    /// What part of the picture.
    pub crop: Crop,
    /// Probability of mirroring it left to right, 0–1.
    pub flip_prob: f64,
    /// Side of the view in pixels.
    pub size_px: usize,
    /// How pixels are weighted when the crop is resized.
    #[serde(default)]
    pub filter: Filter,
    /// Random brightness, contrast, saturation and hue.
    #[serde(default)]
    pub jitter: Jitter,
    /// Probability of turning gray, 0–1; 0.2 in DINO, iBOT and MoCo v3.
    #[serde(default)]
    pub gray_prob: f64,
    /// Random blur.
    #[serde(default)]
    pub blur: Blur,
    /// Random inversion of what is bright.
    #[serde(default)]
    pub solarize: Solarize,
    /// How bytes become numbers; values that are normalized already are left as they are.
    pub normalize: Normalize,
    /// Random boxes of zeros or noise, after normalization.
    #[serde(default)]
    pub erase: Erase,
}

impl ViewSpec {
    /// A view that is only cropped, resized (bicubic) and normalized.
    pub fn plain(crop: Crop, size_px: usize, normalize: Normalize) -> Self {
        Self {
            crop,
            flip_prob: 0.0,
            size_px,
            filter: Filter::default(),
            jitter: Jitter::default(),
            gray_prob: 0.0,
            blur: Blur::default(),
            solarize: Solarize::default(),
            normalize,
            erase: Erase::default(),
        }
    }

    /// Whether it may do to a picture what can be done to bytes only: jitter, gray, blur, solarize.
    pub fn changes_bytes(&self) -> bool {
        [self.jitter.prob, self.gray_prob, self.blur.prob, self.solarize.prob].iter().any(|&prob| prob > 0.0)
    }

    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// When a size is 0, a probability is not in 0–1, bounds are out of order, or a center is larger than what it
    /// is cut from.
    pub fn check(&self) -> Result<(), DataError> {
        if self.size_px == 0 {
            return Err(wrong("size_px of at least 1", "0"));
        }
        let Self { jitter, blur, erase, .. } = self;
        let probs = [
            ("flip_prob", self.flip_prob),
            ("jitter.prob", jitter.prob),
            ("gray_prob", self.gray_prob),
            ("blur.prob", blur.prob),
            ("solarize.prob", self.solarize.prob),
            ("erase.prob", erase.prob),
        ];
        for (name, prob) in probs {
            if !(0.0..=1.0).contains(&prob) {
                return Err(wrong(format_args!("{name} in 0–1"), prob));
            }
        }
        let strengths = [
            ("jitter.brightness", jitter.brightness),
            ("jitter.contrast", jitter.contrast),
            ("jitter.saturation", jitter.saturation),
        ];
        for (name, strength) in strengths {
            if !(0.0..=100.0).contains(&strength) {
                return Err(wrong(format_args!("{name} in 0–100"), strength));
            }
        }
        if !(0.0..=0.5).contains(&jitter.hue) {
            return Err(wrong("jitter.hue in 0–0.5", jitter.hue));
        }
        if !(0.0 < blur.sigma_px.0 && blur.sigma_px.0 <= blur.sigma_px.1 && blur.sigma_px.1 <= 1000.0) {
            return Err(wrong(
                "blur.sigma_px with 0 < low ≤ high ≤ 1000",
                format_args!("{:?}", blur.sigma_px),
            ));
        }
        if !(0.0 < erase.area.0 && erase.area.0 <= erase.area.1 && erase.area.1 <= 1.0) {
            return Err(wrong("erase.area with 0 < low ≤ high ≤ 1", format_args!("{:?}", erase.area)));
        }
        if !(0.0 < erase.ratio.0 && erase.ratio.0 <= erase.ratio.1 && erase.ratio.1.is_finite()) {
            return Err(wrong("erase.ratio with 0 < low ≤ high", format_args!("{:?}", erase.ratio)));
        }
        if erase.count == 0 {
            return Err(wrong("erase.count of at least 1", "0"));
        }
        if !self.normalize.mean.iter().all(|mean| mean.is_finite()) {
            return Err(wrong("finite means", format_args!("{:?}", self.normalize.mean)));
        }
        if !self.normalize.std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return Err(wrong("standard deviations above 0", format_args!("{:?}", self.normalize.std)));
        }
        match self.crop {
            Crop::Whole | Crop::Padded => Ok(()),
            Crop::Center { resize_px } if resize_px < self.size_px => {
                Err(wrong(format_args!("resize_px of at least size_px = {}", self.size_px), resize_px))
            }
            Crop::Center { .. } => Ok(()),
            Crop::RandomResized { scale, .. } if !(0.0 < scale.0 && scale.0 <= scale.1 && scale.1 <= 1.0) => {
                Err(wrong("scale with 0 < low ≤ high ≤ 1", format_args!("{scale:?}")))
            }
            Crop::RandomResized { ratio, .. }
                if !(0.0 < ratio.0 && ratio.0 <= ratio.1 && ratio.1.is_finite()) =>
            {
                Err(wrong("ratio with 0 < low ≤ high", format_args!("{ratio:?}")))
            }
            Crop::RandomResized { .. } => Ok(()),
        }
    }
}

fn wrong(expected: impl std::fmt::Display, found: impl std::fmt::Display) -> DataError {
    DataError::Usage { expected: format!("a view with {expected}"), found: found.to_string() }
}

/// What part of the picture a view shows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", from = "CropForm")]
pub enum Crop {
    /// All of it, resized to a square whatever its shape.
    Whole,
    /// All of it in the middle of a square of its longer side, black (0 where values are normalized already) beside it.
    Padded,
    /// Its central square, after the shorter side was resized.
    Center {
        /// What the shorter side becomes, in pixels; at least the size of the view (256 for 224 is common).
        resize_px: usize,
    },
    /// A random box, as torchvision's `RandomResizedCrop`.
    RandomResized {
        /// Least and greatest share of the area, 0–1; (0.2, 1) for MAE, (0.08, 1) for supervised training.
        scale: (f64, f64),
        /// Least and greatest width over height; (3/4, 4/3) nearly everywhere.
        ratio: (f64, f64),
    },
}

/// How a crop is read: serde refuses unknown keys beside a tag only in variants with braces.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum CropForm {
    Whole {},
    Padded {},
    Center { resize_px: usize },
    RandomResized { scale: (f64, f64), ratio: (f64, f64) },
}

impl From<CropForm> for Crop {
    fn from(form: CropForm) -> Self {
        match form {
            CropForm::Whole {} => Self::Whole,
            CropForm::Padded {} => Self::Padded,
            CropForm::Center { resize_px } => Self::Center { resize_px },
            CropForm::RandomResized { scale, ratio } => Self::RandomResized { scale, ratio },
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A view of bytes between 0 and 1, perhaps mirrored.
    pub(crate) fn spec(crop: Crop, flip_prob: f64, size_px: usize) -> ViewSpec {
        ViewSpec { flip_prob, ..ViewSpec::plain(crop, size_px, Normalize::NONE) }
    }

    #[test]
    fn a_view_is_read_from_a_recipe_and_unknown_keys_are_refused() {
        let text = r#"{"views":[{"crop":{"kind":"whole"},"flip_prob":0.5,"size_px":32,"normalize":"half"},
            {"crop":{"kind":"random_resized","scale":[0.2,1.0],"ratio":[0.75,1.3]},"flip_prob":0.0,"size_px":32,"normalize":"none"}]}"#;
        let plan: ViewPlan = serde_json::from_str(text).expect("reads");
        assert_eq!(plan.views[0].crop, Crop::Whole);
        plan.check().expect("sound");
        let again: ViewPlan =
            serde_json::from_str(&serde_json::to_string(&plan).expect("writes")).expect("reads back");
        assert_eq!(again, plan);
        for bad in
            [r#"{"kind":"whole","size":3}"#, r#"{"kind":"center","resize_px":3,"x":1}"#, r#"{"kind":"half"}"#]
        {
            assert!(serde_json::from_str::<Crop>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bad_ranges_are_refused() {
        let bad = [
            spec(Crop::Whole, 1.5, 8),
            spec(Crop::Whole, f64::NAN, 8),
            spec(Crop::Whole, 0.0, 0),
            spec(Crop::Center { resize_px: 7 }, 0.0, 8),
            spec(Crop::RandomResized { scale: (0.5, 0.2), ratio: (0.75, 1.3) }, 0.0, 8),
            spec(Crop::RandomResized { scale: (0.0, 1.0), ratio: (0.75, 1.3) }, 0.0, 8),
            spec(Crop::RandomResized { scale: (0.2, 1.0), ratio: (1.3, 0.75) }, 0.0, 8),
            ViewSpec { normalize: Normalize { mean: [0.0; 3], std: [0.0; 3] }, ..spec(Crop::Whole, 0.0, 8) },
        ];
        for spec in bad {
            assert!(spec.check().is_err(), "{spec:?}");
        }
        let good = spec(Crop::Whole, 0.0, 8);
        good.check().expect("sound");
        let bad = [
            ("jitter.prob", ViewSpec { jitter: Jitter { prob: 1.1, ..Jitter::default() }, ..good }),
            ("jitter.contrast", ViewSpec { jitter: Jitter { contrast: -0.1, ..Jitter::default() }, ..good }),
            ("jitter.hue", ViewSpec { jitter: Jitter { hue: 0.6, ..Jitter::default() }, ..good }),
            ("gray_prob", ViewSpec { gray_prob: f64::NAN, ..good }),
            ("blur.prob", ViewSpec { blur: Blur { prob: -1.0, ..Blur::default() }, ..good }),
            ("blur.sigma_px", ViewSpec { blur: Blur { sigma_px: (0.0, 2.0), ..Blur::default() }, ..good }),
            ("solarize.prob", ViewSpec { solarize: Solarize { prob: 2.0, threshold: 0 }, ..good }),
            ("erase.area", ViewSpec { erase: Erase { area: (0.5, 0.1), ..Erase::default() }, ..good }),
            ("erase.ratio", ViewSpec { erase: Erase { ratio: (0.0, 1.0), ..Erase::default() }, ..good }),
            ("erase.count", ViewSpec { erase: Erase { count: 0, ..Erase::default() }, ..good }),
        ];
        for (key, spec) in bad {
            let message = spec.check().expect_err("is refused").to_string();
            assert!(message.contains(key), "{key}: {message}");
        }
        assert!(ViewPlan { views: vec![] }.check().is_err());
    }
}
