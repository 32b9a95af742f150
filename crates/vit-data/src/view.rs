//! Views: what is cut from a picture, and where in the picture it came from.

use serde::{Deserialize, Serialize};

use crate::{
    DataError, Image, Picture, Stream, order,
    transform::{self, Filter, Normalize, PixelRect, Window},
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
        Self { views: vec![ViewSpec { crop: Crop::Whole, flip_prob: 0.0, size_px, normalize }] }
    }

    /// One view as nearly all models are evaluated: shorter side to `resize_px`, then the central square.
    pub fn center(resize_px: usize, size_px: usize, normalize: Normalize) -> Self {
        Self {
            views: vec![ViewSpec { crop: Crop::Center { resize_px }, flip_prob: 0.0, size_px, normalize }],
        }
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
}

/// One view.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSpec {
    /// What part of the picture.
    pub crop: Crop,
    /// Probability of mirroring it left to right, 0–1.
    pub flip_prob: f64,
    /// Side of the view in pixels.
    pub size_px: usize,
    /// How bytes become numbers; values that are normalized already are left as they are.
    pub normalize: Normalize,
}

impl ViewSpec {
    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// When a size is 0, a probability is not in 0–1, bounds are out of order, or a center is larger than what it
    /// is cut from.
    pub fn check(&self) -> Result<(), DataError> {
        if self.size_px == 0 {
            return Err(wrong("size_px of at least 1", "0"));
        }
        if !(0.0..=1.0).contains(&self.flip_prob) {
            return Err(wrong("flip_prob in 0–1", self.flip_prob));
        }
        if !self.normalize.mean.iter().all(|mean| mean.is_finite()) {
            return Err(wrong("finite means", format_args!("{:?}", self.normalize.mean)));
        }
        if !self.normalize.std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return Err(wrong("standard deviations above 0", format_args!("{:?}", self.normalize.std)));
        }
        match self.crop {
            Crop::Whole => Ok(()),
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

/// What part of the picture a view shows. All resizing is bicubic, as Pillow's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", from = "CropForm")]
pub enum Crop {
    /// All of it, resized to a square whatever its shape.
    Whole,
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
    Center { resize_px: usize },
    RandomResized { scale: (f64, f64), ratio: (f64, f64) },
}

impl From<CropForm> for Crop {
    fn from(form: CropForm) -> Self {
        match form {
            CropForm::Whole {} => Self::Whole,
            CropForm::Center { resize_px } => Self::Center { resize_px },
            CropForm::RandomResized { scale, ratio } => Self::RandomResized { scale, ratio },
        }
    }
}

/// Where in the image a view was cut: `crop_from_image`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CropBox {
    /// Left edge in pixels of the image.
    pub x: f64,
    /// Upper edge in pixels of the image.
    pub y: f64,
    /// Width in pixels of the image.
    pub w: f64,
    /// Height in pixels of the image.
    pub h: f64,
    /// Whether the view was then mirrored left to right.
    pub flipped: bool,
}

impl CropBox {
    /// The place in the view of a point of the image: `u = (x - x₀) / w`, `v = (y - y₀) / h`, and `1 - u` where it
    /// is mirrored.
    ///
    /// # Shapes
    /// - `xy_in_image_px`: pixel centers at `+0.5`
    /// - returns `(u, v)` as shares of the view's sides: inside the view where both are in 0–1
    pub fn view_from_image(&self, xy_in_image_px: (f64, f64)) -> (f64, f64) {
        let (u, v) = ((xy_in_image_px.0 - self.x) / self.w, (xy_in_image_px.1 - self.y) / self.h);
        (if self.flipped { 1.0 - u } else { u }, v)
    }

    /// The place in the image of a point of the view; the inverse of [`CropBox::view_from_image`].
    ///
    /// # Shapes
    /// - `uv_in_view`: shares of the view's sides
    /// - returns `(x, y)` in pixels of the image, pixel centers at `+0.5`
    pub fn image_from_view(&self, uv_in_view: (f64, f64)) -> (f64, f64) {
        let u = if self.flipped { 1.0 - uv_in_view.0 } else { uv_in_view.0 };
        (self.x + u * self.w, self.y + uv_in_view.1 * self.h)
    }
}

/// A view, ready for a model.
///
/// # Shapes
/// - `pixels`: `[3, size_px, size_px]`
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Normalized values.
    pub pixels: Vec<f32>,
    /// Where they came from.
    pub crop_from_image: CropBox,
}

/// Cuts a view; all draws come from `stream`: the box (if it is random), then the flip.
///
/// Bytes are resized as bytes and then normalized. Values that are normalized already are resampled as floats, and
/// pass unchanged where nothing is random and the sizes agree.
///
/// # Panics
/// When the picture is empty or its buffer has the wrong length, or the spec fails [`ViewSpec::check`].
///
/// # Example
/// ```
/// use vit_data::{Crop, Image, Picture, Seed, ViewSpec, cut, transform::Normalize};
/// let picture = Picture::Image(Image { width_px: 8, height_px: 6, rgb: vec![255; 8 * 6 * 3] });
/// let crop = Crop::RandomResized { scale: (0.2, 1.0), ratio: (0.75, 4.0 / 3.0) };
/// let spec = ViewSpec { crop, flip_prob: 0.5, size_px: 4, normalize: Normalize::HALF };
/// let view = cut(&picture, &spec, &mut Seed(0).stream("view", &[0, 0, 0]));
/// assert_eq!(view.pixels, [1.0; 3 * 4 * 4]);
/// ```
pub fn cut(picture: &Picture, spec: &ViewSpec, stream: &mut Stream) -> View {
    let mut pixels = vec![0.0; 3 * spec.size_px * spec.size_px];
    let crop_from_image = cut_into(picture, spec, stream, &mut pixels);
    View { pixels, crop_from_image }
}

/// Cuts a view into a place that is there already, for example one of a batch.
///
/// # Shapes
/// - `into`: `[3, size_px, size_px]`
///
/// # Panics
/// As [`cut`], and when `into` has another length.
pub fn cut_into(picture: &Picture, spec: &ViewSpec, stream: &mut Stream, into: &mut [f32]) -> CropBox {
    let size = spec.size_px;
    assert_eq!(into.len(), 3 * size * size, "a view is [3, {size}, {size}]");
    let (width, height) = match picture {
        Picture::Image(image) => (image.width_px, image.height_px),
        Picture::Normalized { width_px, height_px, .. } => (*width_px, *height_px),
    };
    assert!(width > 0 && height > 0, "a picture of {width}×{height} px has no views");
    let fits = (width, height) == (size, size);
    let all = PixelRect { left_px: 0, top_px: 0, width_px: width, height_px: height };
    let every = Window { x: 0.0, y: 0.0, w: width as f64, h: height as f64 };

    // What is kept, the part of it that is shown, and whether that is the picture as it stands.
    let (kept, shown, as_it_is) = match spec.crop {
        Crop::Whole => (all, every, fits),
        // Normalized values are used as they are, whatever the evaluation would resize an image to.
        Crop::Center { .. } if fits && matches!(picture, Picture::Normalized { .. }) => (all, every, true),
        Crop::Center { resize_px } => {
            (all, transform::center_crop(width, height, resize_px, size), fits && resize_px == size)
        }
        Crop::RandomResized { scale, ratio } => {
            let kept = transform::random_resized_crop(width, height, scale, ratio, stream);
            let shown = Window { x: 0.0, y: 0.0, w: kept.width_px as f64, h: kept.height_px as f64 };
            (kept, shown, fits && kept == all)
        }
    };
    let flipped = order::unit(stream) < spec.flip_prob;

    match picture {
        Picture::Image(image) if as_it_is => {
            transform::planes_from_image(image, &spec.normalize, flipped, into)
        }
        Picture::Image(image) => {
            let resized: Image = match spec.crop {
                Crop::RandomResized { .. } => transform::resize(image, kept, size, size, Filter::Bicubic),
                _ => transform::resize_window(image, shown, size, size, Filter::Bicubic),
            };
            transform::planes_from_image(&resized, &spec.normalize, flipped, into);
        }
        Picture::Normalized { values, .. } => {
            if as_it_is {
                into.copy_from_slice(values);
            } else {
                let sizes = ((width, height), (size, size));
                let resized =
                    transform::resize_planes(values, sizes.0, kept, shown, sizes.1, Filter::Bicubic);
                into.copy_from_slice(&resized);
            }
            if flipped {
                into.chunks_exact_mut(size).for_each(<[f32]>::reverse);
            }
        }
    }
    let (x, y) = (kept.left_px as f64 + shown.x, kept.top_px as f64 + shown.y);
    CropBox { x, y, w: shown.w, h: shown.h, flipped }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use proptest::prelude::*;

    fn stream() -> Stream {
        Seed(0).stream("view", &[0, 0, 0])
    }

    fn ramp(width_px: usize, height_px: usize) -> Image {
        let rgb = (0..width_px * height_px * 3).map(|i| (i * 7 % 256) as u8).collect();
        Image { width_px, height_px, rgb }
    }

    fn spec(crop: Crop, flip_prob: f64, size_px: usize) -> ViewSpec {
        ViewSpec { crop, flip_prob, size_px, normalize: Normalize::NONE }
    }

    const RANDOM: Crop = Crop::RandomResized { scale: (0.2, 1.0), ratio: (0.75, 4.0 / 3.0) };

    #[test]
    fn points_are_mapped_as_by_hand() {
        let crop = CropBox { x: 10.0, y: 20.0, w: 40.0, h: 20.0, flipped: true };
        // u = 1 - (20 - 10) / 40 = 0.75, v = (35 - 20) / 20 = 0.75
        assert_eq!(crop.view_from_image((20.0, 35.0)), (0.75, 0.75));
        assert_eq!(crop.image_from_view((0.75, 0.75)), (20.0, 35.0));
    }

    proptest! {
        #[test]
        fn a_point_comes_back_from_the_view(
            x in -50.0f64..50.0, y in -50.0f64..50.0, w in 0.5f64..300.0, h in 0.5f64..300.0, flipped: bool,
            px in -500.0f64..500.0, py in -500.0f64..500.0,
        ) {
            let crop = CropBox { x, y, w, h, flipped };
            let (qx, qy) = crop.image_from_view(crop.view_from_image((px, py)));
            prop_assert!((qx - px).abs() < 1e-9 && (qy - py).abs() < 1e-9);
        }

        #[test]
        fn a_box_is_inside_its_picture(width in 1usize..60, height in 1usize..60, size in 1usize..30, seed: u64) {
            for crop in [Crop::Whole, Crop::Center { resize_px: size + 3 }, RANDOM] {
                let picture = Picture::Image(ramp(width, height));
                let view = cut(&picture, &spec(crop, 0.5, size), &mut Seed(seed).stream("view", &[0, 0, 0]));
                let found = view.crop_from_image;
                prop_assert!(found.x >= 0.0 && found.x + found.w <= width as f64 + 1e-9);
                prop_assert!(found.y >= 0.0 && found.y + found.h <= height as f64 + 1e-9);
                prop_assert!(found.w > 0.0 && found.h > 0.0);
                prop_assert!(view.pixels.iter().all(|value| (0.0..=1.0).contains(value)));
            }
        }

        #[test]
        fn a_flipped_view_is_the_mirror_of_the_same_box(seed: u64, normalized: bool) {
            let picture = match normalized {
                false => Picture::Image(ramp(20, 16)),
                true => Picture::Normalized { width_px: 20, height_px: 16, values: (0..960).map(|i| i as f32).collect() },
            };
            let draw = |flip_prob| cut(&picture, &spec(RANDOM, flip_prob, 8), &mut Seed(seed).stream("view", &[0]));
            let (straight, mirrored) = (draw(0.0), draw(1.0));
            prop_assert_eq!(mirrored.crop_from_image, CropBox { flipped: true, ..straight.crop_from_image });
            let back: Vec<f32> = mirrored.pixels.chunks(8).flat_map(|row| row.iter().rev().copied()).collect();
            prop_assert_eq!(back, straight.pixels);
        }
    }

    #[test]
    fn a_picture_of_the_right_size_is_only_normalized() {
        let image = ramp(6, 6);
        for crop in [Crop::Whole, Crop::Center { resize_px: 6 }] {
            let view = cut(&Picture::Image(image.clone()), &spec(crop, 0.0, 6), &mut stream());
            for (i, byte) in image.rgb.iter().enumerate() {
                assert_eq!(view.pixels[(i % 3) * 36 + i / 3], f32::from(*byte) / 255.0);
            }
            assert_eq!(view.crop_from_image, CropBox { x: 0.0, y: 0.0, w: 6.0, h: 6.0, flipped: false });
        }
    }

    #[test]
    fn normalized_values_pass_an_evaluation_unchanged() {
        let values: Vec<f32> = (0..48).map(|i| i as f32 - 20.5).collect();
        let picture = Picture::Normalized { width_px: 4, height_px: 4, values: values.clone() };
        for crop in [Crop::Whole, Crop::Center { resize_px: 5 }] {
            let spec = ViewSpec { normalize: Normalize::IMAGENET, ..spec(crop, 0.0, 4) };
            assert_eq!(cut(&picture, &spec, &mut stream()).pixels, values);
        }
    }

    #[test]
    fn a_center_of_bytes_and_of_values_is_the_same_place() {
        let image = ramp(30, 20);
        let view = cut(&Picture::Image(image), &spec(Crop::Center { resize_px: 10 }, 0.0, 8), &mut stream());
        // 30 × 20 to 15 × 10: half. left = round(3.5) = 4, top = 1: x = 8, y = 2, side 16.
        assert_eq!(view.crop_from_image, CropBox { x: 8.0, y: 2.0, w: 16.0, h: 16.0, flipped: false });
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
        assert!(ViewPlan { views: vec![] }.check().is_err());
    }
}
