//! Views: what is cut from a picture, and where in the picture it came from.

use serde::{Deserialize, Serialize};

use crate::{
    Crop, Image, Picture, Stream, ViewSpec, order,
    transform::{self, JitterDraw, PixelRect, Planes, Window},
};

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

/// Cuts a view; all draws come from `stream`, in the order that [`ViewSpec`] states.
///
/// Bytes are resized and changed as bytes and then normalized. Values that are normalized already are resampled as
/// floats, and pass unchanged where nothing is random and the sizes agree.
///
/// # Panics
/// When the picture is empty or its buffer has the wrong length, the spec fails [`ViewSpec::check`], or it
/// [changes bytes](ViewSpec::changes_bytes) and the picture is normalized already.
///
/// # Example
/// ```
/// use vit_data::{Crop, Image, Picture, Seed, ViewSpec, cut, transform::Normalize};
/// let picture = Picture::Image(Image { width_px: 8, height_px: 6, rgb: vec![255; 8 * 6 * 3] });
/// let crop = Crop::RandomResized { scale: (0.2, 1.0), ratio: (0.75, 4.0 / 3.0) };
/// let spec = ViewSpec { flip_prob: 0.5, ..ViewSpec::plain(crop, 4, Normalize::HALF) };
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
    if spec.crop == Crop::Padded {
        let (square, left, top) = padded(picture, (width, height));
        let whole = ViewSpec { crop: Crop::Whole, ..*spec };
        let found = cut_into(&square, &whole, stream, into);
        return CropBox { x: found.x - left as f64, y: found.y - top as f64, ..found };
    }
    let fits = (width, height) == (size, size);
    let all = PixelRect { left_px: 0, top_px: 0, width_px: width, height_px: height };
    let every = Window { x: 0.0, y: 0.0, w: width as f64, h: height as f64 };

    // What is kept, the part of it that is shown, and whether that is the picture as it stands.
    let (kept, shown, as_it_is) = match spec.crop {
        Crop::Whole | Crop::Padded => (all, every, fits),
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
    let changes = Changes::draw(spec, stream);

    match picture {
        Picture::Image(image) if as_it_is && changes == Changes::default() => {
            transform::planes_from_image(image, &spec.normalize, flipped, into)
        }
        Picture::Image(image) => {
            let resized: Image = match spec.crop {
                _ if as_it_is => image.clone(),
                Crop::RandomResized { .. } => transform::resize(image, kept, size, size, spec.filter),
                _ => transform::resize_window(image, shown, size, size, spec.filter),
            };
            if changes == Changes::default() {
                transform::planes_from_image(&resized, &spec.normalize, flipped, into);
            } else {
                let mut planes = Planes::of(&resized);
                changes.apply(&mut planes);
                planes.normalize(&spec.normalize, flipped, into);
            }
        }
        Picture::Normalized { values, .. } => {
            assert!(
                !spec.changes_bytes(),
                "jitter, gray, blur and solarize need bytes, not normalized values"
            );
            if as_it_is {
                into.copy_from_slice(values);
            } else {
                let sizes = ((width, height), (size, size));
                let resized = transform::resize_planes(values, sizes.0, kept, shown, sizes.1, spec.filter);
                into.copy_from_slice(&resized);
            }
            if flipped {
                into.chunks_exact_mut(size).for_each(<[f32]>::reverse);
            }
        }
    }
    if happens(spec.erase.prob, stream) {
        transform::erase(into, size, &spec.erase, stream);
    }
    let (x, y) = (kept.left_px as f64 + shown.x, kept.top_px as f64 + shown.y);
    CropBox { x, y, w: shown.w, h: shown.h, flipped }
}

/// A picture in the middle of a square of its longer side, and how far it stands from the left and upper edge.
fn padded(picture: &Picture, (width, height): (usize, usize)) -> (Picture, usize, usize) {
    let side = width.max(height);
    let (left, top) = ((side - width) / 2, (side - height) / 2);
    let square = match picture {
        Picture::Image(image) => {
            let mut rgb = vec![0; 3 * side * side];
            for (y, row) in image.rgb.chunks_exact(3 * width).enumerate() {
                let start = 3 * ((top + y) * side + left);
                rgb[start..start + 3 * width].copy_from_slice(row);
            }
            Picture::Image(Image { width_px: side, height_px: side, rgb })
        }
        Picture::Normalized { values, .. } => {
            let mut planes = vec![0.0; 3 * side * side];
            for (row_idx, row) in values.chunks_exact(width).enumerate() {
                let (plane, y) = (row_idx / height, row_idx % height);
                let start = (plane * side + top + y) * side + left;
                planes[start..start + width].copy_from_slice(row);
            }
            Picture::Normalized { width_px: side, height_px: side, values: planes }
        }
    };
    (square, left, top)
}

/// Whether something of this probability is done; nothing is drawn where it is 0.
fn happens(prob: f64, stream: &mut Stream) -> bool {
    prob > 0.0 && order::unit(stream) < prob
}

/// What was drawn to be done to the bytes of one view.
#[derive(Debug, Default, PartialEq)]
struct Changes {
    jitter: Option<JitterDraw>,
    gray: bool,
    blur_sigma_px: Option<f64>,
    solarize_threshold: Option<u8>,
}

impl Changes {
    fn draw(spec: &ViewSpec, stream: &mut Stream) -> Self {
        let jitter = happens(spec.jitter.prob, stream).then(|| spec.jitter.draw(stream));
        let gray = happens(spec.gray_prob, stream);
        let blur_sigma_px = happens(spec.blur.prob, stream).then(|| spec.blur.draw(stream));
        let solarize_threshold = happens(spec.solarize.prob, stream).then_some(spec.solarize.threshold);
        Self { jitter, gray, blur_sigma_px, solarize_threshold }
    }

    fn apply(&self, planes: &mut Planes) {
        if let Some(draw) = &self.jitter {
            planes.jitter(draw);
        }
        if self.gray {
            planes.gray();
        }
        if let Some(sigma_px) = self.blur_sigma_px {
            planes.gaussian_blur(sigma_px);
        }
        if let Some(threshold) = self.solarize_threshold {
            planes.solarize(threshold);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use crate::plan::tests::spec;
    use crate::transform::{Blur, Erase, Jitter, Normalize, Solarize};
    use proptest::prelude::*;

    fn stream() -> Stream {
        Seed(0).stream("view", &[0, 0, 0])
    }

    fn ramp(width_px: usize, height_px: usize) -> Image {
        let rgb = (0..width_px * height_px * 3).map(|i| (i * 7 % 256) as u8).collect();
        Image { width_px, height_px, rgb }
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
    fn a_padded_picture_stands_whole_in_black() {
        // 4 × 2 px of white in a view of 4: rows 1 and 2.
        let image = Image { width_px: 4, height_px: 2, rgb: vec![255; 24] };
        let values = (0..24).map(|i| i as f32 + 1.0).collect();
        let normalized = Picture::Normalized { width_px: 4, height_px: 2, values };
        for picture in [Picture::Image(image), normalized] {
            let view = cut(&picture, &spec(Crop::Padded, 0.0, 4), &mut stream());
            let shown: Vec<bool> = view.pixels[..16].iter().map(|&value| value > 0.0).collect();
            assert_eq!(shown, [[false; 4], [true; 4], [true; 4], [false; 4]].concat());
            let found = view.crop_from_image;
            assert_eq!(found, CropBox { x: 0.0, y: -1.0, w: 4.0, h: 4.0, flipped: false });
            // The middle of the image is the middle of the view.
            assert_eq!(found.view_from_image((2.0, 1.0)), (0.5, 0.5));
        }
        // Of a tall picture the third plane, too: 1 × 3 px in 3 × 3.
        let tall =
            Picture::Normalized { width_px: 1, height_px: 3, values: (1..10).map(|i| i as f32).collect() };
        let view = cut(&tall, &spec(Crop::Padded, 0.0, 3), &mut stream());
        assert_eq!(view.pixels[18..], [0.0, 7.0, 0.0, 0.0, 8.0, 0.0, 0.0, 9.0, 0.0]);
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
    fn a_view_without_operations_draws_its_box_and_its_flip_and_nothing_more() {
        let picture = Picture::Image(ramp(20, 16));
        for sample in 0..50 {
            let (mut used, mut by_hand) =
                (Seed(0).stream("view", &[sample]), Seed(0).stream("view", &[sample]));
            let found = cut(&picture, &spec(RANDOM, 0.5, 8), &mut used).crop_from_image;
            let kept = transform::random_resized_crop(20, 16, (0.2, 1.0), (0.75, 4.0 / 3.0), &mut by_hand);
            let flipped = order::unit(&mut by_hand) < 0.5;
            assert_eq!(
                (found.x, found.w, found.flipped),
                (kept.left_px as f64, kept.width_px as f64, flipped)
            );
            assert_eq!(order::unit(&mut used), order::unit(&mut by_hand));
        }
    }

    #[test]
    fn every_operation_leaves_the_draws_before_it_alone() {
        let picture = Picture::Image(ramp(20, 16));
        let draw = |spec: &ViewSpec| cut(&picture, spec, &mut Seed(5).stream("view", &[0, 1, 0]));
        let plain = spec(RANDOM, 0.5, 8);
        let busy = ViewSpec {
            jitter: Jitter { prob: 1.0, ..Jitter::default() },
            gray_prob: 1.0,
            blur: Blur { prob: 1.0, ..Blur::default() },
            solarize: Solarize { prob: 1.0, ..Solarize::default() },
            erase: Erase { prob: 1.0, ..Erase::default() },
            ..plain
        };
        assert_eq!(draw(&busy).crop_from_image, draw(&plain).crop_from_image);
        assert_eq!(draw(&busy), draw(&busy));
        // Only the erasing differs: what it left is gray and solarized.
        let view =
            draw(&ViewSpec { erase: Erase { mode: transform::EraseMode::Const, ..busy.erase }, ..busy });
        let (red, rest) = view.pixels.split_at(64);
        assert!(red == &rest[..64] && red == &rest[64..]);
        assert!(view.pixels.iter().all(|&value| value < 0.5) && view.pixels.contains(&0.0));
    }

    #[test]
    fn probabilities_are_kept_each_by_itself() {
        let picture = Picture::Image(Image { width_px: 1, height_px: 1, rgb: vec![200, 40, 10] });
        let good = spec(Crop::Whole, 0.0, 1);
        let share = |spec: &ViewSpec| {
            let plain = cut(&picture, &good, &mut stream()).pixels;
            let changed =
                |sample| cut(&picture, spec, &mut Seed(1).stream("view", &[0, sample, 0])).pixels != plain;
            (0..1000).filter(|&sample| changed(sample)).count()
        };
        // 200 of 1000 with a standard deviation of 12.6.
        let near_200 = |n: usize| (150..250).contains(&n);
        assert!(near_200(share(&ViewSpec { gray_prob: 0.2, ..good })));
        assert!(near_200(share(&ViewSpec { solarize: Solarize { prob: 0.2, threshold: 128 }, ..good })));
        assert!(near_200(share(&ViewSpec { jitter: Jitter { prob: 0.2, ..Jitter::default() }, ..good })));
        let dot =
            Picture::Image(Image { width_px: 3, height_px: 1, rgb: vec![0, 0, 0, 255, 255, 255, 0, 0, 0] });
        let blurred =
            ViewSpec { blur: Blur { prob: 0.2, sigma_px: (1.0, 2.0) }, ..spec(Crop::Whole, 0.0, 3) };
        let plain = cut(&dot, &spec(Crop::Whole, 0.0, 3), &mut stream()).pixels;
        let changed =
            |sample| cut(&dot, &blurred, &mut Seed(1).stream("view", &[0, sample, 0])).pixels != plain;
        assert!(near_200((0..1000).filter(|&sample| changed(sample)).count()));
    }
}
