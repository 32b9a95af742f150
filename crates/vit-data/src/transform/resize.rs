//! Resizing with the field's filters, as Pillow does it: antialiased when shrinking, one axis at a time
//! (horizontal, then vertical), bytes rounded after each.

use fast_image_resize::{
    FilterType, ImageView, PixelTrait, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedCroppedImage, TypedImage, TypedImageRef},
    pixels::{F32, U8x3},
};
use serde::{Deserialize, Serialize};

use super::PixelRect;
use crate::Image;

/// How pixels are weighted; Pillow's filters of the same names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Equal weights.
    Box,
    /// The triangle; torchvision's default, so that of MoCo and many supervised models.
    Bilinear,
    /// A raised cosine of half the width of bicubic.
    Hamming,
    /// Keys' cubic with `a = -1/2` (Catmull–Rom), Pillow's `BICUBIC`; DINO, MAE, DeiT and nearly all others.
    #[default]
    Bicubic,
    /// A sinc of three lobes; the targets of BEiT.
    Lanczos,
}

/// A box inside an image, in pixels from its left upper corner; it need not begin or end at whole pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

/// Crops to `crop`, then resizes what is left: pixels beyond the crop have no weight.
///
/// # Shapes
/// - returns an image of `width_px × height_px`
///
/// # Panics
/// When the crop is empty or not inside the image, or the new size is 0.
///
/// # Source
/// torchvision `resized_crop` on PIL images. *Differs* from Pillow by at most 1 in a byte now and then: weights
/// have 16 bits here, 22 there.
pub fn resize(image: &Image, crop: PixelRect, width_px: usize, height_px: usize, filter: Filter) -> Image {
    let whole = Window { x: 0.0, y: 0.0, w: crop.width_px as f64, h: crop.height_px as f64 };
    resize_bytes(image, crop, whole, (width_px, height_px), filter)
}

/// Resizes a window of the image; pixels beyond its edge are weighted where the filter reaches them.
///
/// This is "resize the whole, then crop", computed only where it is kept.
///
/// # Shapes
/// - returns an image of `width_px × height_px`
///
/// # Panics
/// When the window is empty or not inside the image, or the new size is 0.
pub fn resize_window(
    image: &Image,
    window: Window,
    width_px: usize,
    height_px: usize,
    filter: Filter,
) -> Image {
    let all = PixelRect { left_px: 0, top_px: 0, width_px: image.width_px, height_px: image.height_px };
    resize_bytes(image, all, window, (width_px, height_px), filter)
}

/// Crops three planes of floats to `crop`, then resizes `window` of the crop.
///
/// # Shapes
/// - `planes`: `[3, height, width]` of `size_px = (width, height)`
/// - returns `[3, to_px.1, to_px.0]`
///
/// # Panics
/// When the crop or the window is empty or not inside, or a size is 0.
pub fn resize_planes(
    planes: &[f32],
    size_px: (usize, usize),
    crop: PixelRect,
    window: Window,
    to_px: (usize, usize),
    filter: Filter,
) -> Vec<f32> {
    assert_eq!(planes.len(), 3 * size_px.0 * size_px.1, "three planes of {}×{} px", size_px.0, size_px.1);
    let mut resized = Vec::with_capacity(3 * to_px.0 * to_px.1);
    for plane in planes.chunks_exact(size_px.0 * size_px.1) {
        let pixels: Vec<F32> = plane.iter().map(|&value| F32::new(value)).collect();
        let source = TypedImageRef::new(fit(size_px.0), fit(size_px.1), &pixels);
        let source = source.unwrap_or_else(|error| unreachable!("the plane's length was checked: {error}"));
        let mut plane = TypedImage::<F32>::new(fit(to_px.0), fit(to_px.1));
        resample(source, crop, window, &mut plane, filter);
        resized.extend(plane.pixels().iter().map(|pixel| pixel.0));
    }
    resized
}

fn resize_bytes(
    image: &Image,
    crop: PixelRect,
    window: Window,
    to_px: (usize, usize),
    filter: Filter,
) -> Image {
    let source = TypedImageRef::<U8x3>::from_buffer(fit(image.width_px), fit(image.height_px), &image.rgb);
    let source = source.unwrap_or_else(|error| {
        panic!("{} bytes are not {}×{} px: {error}", image.rgb.len(), image.width_px, image.height_px)
    });
    let mut rgb = vec![0; 3 * to_px.0 * to_px.1];
    let resized = TypedImage::<U8x3>::from_buffer(fit(to_px.0), fit(to_px.1), &mut rgb);
    let mut resized = resized.unwrap_or_else(|error| unreachable!("the buffer was made for it: {error}"));
    resample(source, crop, window, &mut resized, filter);
    Image { width_px: to_px.0, height_px: to_px.1, rgb }
}

/// Horizontal pass, then vertical pass.
fn resample<P: PixelTrait>(
    source: impl ImageView<Pixel = P>,
    crop: PixelRect,
    window: Window,
    resized: &mut TypedImage<P>,
    filter: Filter,
) {
    let to_px = (resized.width(), resized.height());
    assert!(to_px.0 > 0 && to_px.1 > 0, "a new size of {}×{} px", to_px.0, to_px.1);
    assert!(window.w > 0.0 && window.h > 0.0, "an empty window: {window:?}");
    let (left, top) = (fit(crop.left_px), fit(crop.top_px));
    let size_px = (source.width(), source.height());
    let cropped = TypedCroppedImage::new(source, left, top, fit(crop.width_px), fit(crop.height_px));
    let cropped = cropped.unwrap_or_else(|error| panic!("{crop:?} is not inside {size_px:?} px: {error}"));
    let height = crop.height_px as f64;
    let filter = match filter {
        Filter::Box => FilterType::Box,
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Hamming => FilterType::Hamming,
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Lanczos => FilterType::Lanczos3,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
    let mut resizer = Resizer::new();
    let refused = |error| panic!("{window:?} is not inside {}×{} px: {error}", crop.width_px, crop.height_px);

    let mut narrow = TypedImage::<P>::new(to_px.0, fit(crop.height_px));
    let columns = options.crop(window.x, 0.0, within(window.x, window.w, crop.width_px as f64), height);
    resizer.resize_typed(&cropped, &mut narrow, &columns).unwrap_or_else(refused);
    let rows = options.crop(0.0, window.y, f64::from(to_px.0), within(window.y, window.h, height));
    resizer.resize_typed(&narrow, resized, &rows).unwrap_or_else(refused);
}

/// The length from `start`, without what the rounding of a division has put beyond `side`.
fn within(start: f64, length: f64, side: f64) -> f64 {
    const ROUNDING_PX: f64 = 1e-6;
    let beyond = start + length - side;
    if beyond <= 0.0 || beyond > ROUNDING_PX {
        return length;
    }
    let room = side - start;
    if start + room > side { room.next_down() } else { room }
}

fn fit(n: usize) -> u32 {
    u32::try_from(n).unwrap_or_else(|_| panic!("a side of {n} px is beyond 2^32"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gray(width_px: usize, height_px: usize, values: &[u8]) -> Image {
        Image { width_px, height_px, rgb: values.iter().flat_map(|&value| [value; 3]).collect() }
    }

    fn whole(image: &Image) -> PixelRect {
        PixelRect { left_px: 0, top_px: 0, width_px: image.width_px, height_px: image.height_px }
    }

    #[test]
    fn halving_bilinearly_is_as_by_hand() {
        // Scale 2, so the triangle is 2 px wide on each side. Output 0 has its center at 1.0; the centers of the
        // inputs are at 0.5, 1.5, 2.5 (3.5 is beyond): distances 0.5, 0.5, 1.5, weights 1 - d / 2 = 0.75, 0.75,
        // 0.25, their sum 1.75. (0.75 · 0 + 0.75 · 100 + 0.25 · 200) / 1.75 = 125 / 1.75 = 71.43 → 71.
        // Output 1, mirrored: (0.25 · 100 + 0.75 · 200 + 0.75 · 40) / 1.75 = 205 / 1.75 = 117.14 → 117.
        let image = gray(4, 1, &[0, 100, 200, 40]);
        let found = resize(&image, whole(&image), 2, 1, Filter::Bilinear);
        assert_eq!(found, gray(2, 1, &[71, 117]));
    }

    #[test]
    fn doubling_bicubically_is_as_by_hand() {
        // Output 1 of 4 has its center at 0.75 of a source of 2: distances to 0.5 and 1.5 are 0.25 and 0.75.
        // k(0.25) = 1.5 · 0.015625 - 2.5 · 0.0625 + 1 = 0.8671875; k(0.75) = 1.5 · 0.421875 - 2.5 · 0.5625 + 1 =
        // 0.2265625; sum 1.09375. (0.2265625 / 1.09375) · 200 = 41.43 → 41; output 2 is 200 - 41.43 = 158.57 → 159.
        // Output 0 at 0.25: k(0.25) = 0.8671875, k(1.25) = -0.5 · (1.953125 - 7.8125 + 10 - 4) = -0.0703125;
        // sum 0.796875; -0.0703125 / 0.796875 · 200 = -17.6 → 0; output 3: 217.6 → 218.
        let image = gray(2, 1, &[0, 200]);
        assert_eq!(resize(&image, whole(&image), 4, 1, Filter::Bicubic), gray(4, 1, &[0, 41, 159, 218]));
    }

    #[test]
    fn a_crop_does_not_see_beyond_its_edge_and_a_window_does() {
        // The crop [1, 3) of 0 100 100 255 is uniform; the window is not, since the filter reaches 255.
        let image = gray(4, 1, &[0, 100, 100, 255]);
        let crop = PixelRect { left_px: 1, top_px: 0, width_px: 2, height_px: 1 };
        assert_eq!(resize(&image, crop, 4, 1, Filter::Bicubic), gray(4, 1, &[100; 4]));
        let window = Window { x: 1.0, y: 0.0, w: 2.0, h: 1.0 };
        assert_ne!(resize_window(&image, window, 4, 1, Filter::Bicubic), gray(4, 1, &[100; 4]));
    }

    #[test]
    fn a_window_is_a_crop_of_the_resized_whole() {
        let values: Vec<u8> = (0..40 * 30).map(|i| (i * 37 % 251) as u8).collect();
        let image = gray(40, 30, &values);
        // 40 × 30 to 20 × 15, then columns 4..14 and rows 3..13.
        let resized = resize(&image, whole(&image), 20, 15, Filter::Bicubic);
        let window = Window { x: 8.0, y: 6.0, w: 20.0, h: 20.0 };
        let found = resize_window(&image, window, 10, 10, Filter::Bicubic);
        for y in 0..10 {
            for x in 0..10 {
                assert_eq!(found.rgb[3 * (10 * y + x)], resized.rgb[3 * (20 * (y + 3) + x + 4)]);
            }
        }
    }

    #[test]
    fn a_window_that_ends_at_the_edge_but_for_rounding_is_taken() {
        // 224 · (116 / 224) as sizes of views make it: 116.00000000000001.
        let image = gray(116, 117, &[7; 116 * 117]);
        let window = Window { x: 0.0, y: 0.52, w: 116.00000000000001, h: 116.48 };
        let found = resize_window(&image, window, 8, 8, Filter::Bicubic);
        assert_eq!(found, gray(8, 8, &[7; 64]));
        assert_eq!(within(0.1, 0.9, 1.0), 0.9, "what fits stays as it is");
        assert_eq!(within(0.0, 1.5, 1.0), 1.5, "what is truly beyond is left for the caller to hear of");
    }

    proptest! {
        #[test]
        fn one_color_stays_one_color(
            width in 1usize..40, height in 1usize..40, to in 1usize..40, color: u8, bicubic: bool,
        ) {
            let image = gray(width, height, &vec![color; width * height]);
            let filter = if bicubic { Filter::Bicubic } else { Filter::Bilinear };
            prop_assert_eq!(resize(&image, whole(&image), to, to, filter), gray(to, to, &vec![color; to * to]));
        }

        #[test]
        fn planes_and_bytes_agree(width in 2usize..30, height in 2usize..30, to in 1usize..30, key: u8) {
            let values: Vec<u8> = (0..width * height).map(|i| 60 + ((i * 31 + usize::from(key)) % 128) as u8).collect();
            let image = gray(width, height, &values);
            let planes: Vec<f32> = (0..3).flat_map(|_| values.iter().map(|&value| f32::from(value))).collect();
            let bytes = resize(&image, whole(&image), to, to, Filter::Bilinear);
            let all = Window { x: 0.0, y: 0.0, w: width as f64, h: height as f64 };
            let found = resize_planes(&planes, (width, height), whole(&image), all, (to, to), Filter::Bilinear);
            for (i, value) in found[..to * to].iter().enumerate() {
                // Bytes are rounded after each of the two passes: half a level each, and the weights' 16 bits.
                prop_assert!((value - f32::from(bytes.rgb[3 * i])).abs() <= 1.1);
            }
        }
    }
}
