//! One sample: an image and whatever truth its data set has.

use crate::Region;

/// An 8-bit colour image, row-major.
///
/// # Shapes
/// - `rgb`: `[height, width, 3]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Width in pixels.
    pub width_px: usize,
    /// Height in pixels.
    pub height_px: usize,
    /// `height · width · 3` bytes.
    pub rgb: Vec<u8>,
}

/// What the model will see before any view is cut.
#[derive(Clone, Debug, PartialEq)]
pub enum Picture {
    /// An ordinary image; views resize, crop and normalize it.
    Image(Image),
    /// Values already normalized, used as they are.
    Normalized {
        /// Height in pixels.
        height_px: usize,
        /// Width in pixels.
        width_px: usize,
        /// `[3, height, width]`
        values: Vec<f32>,
    },
}

/// A class per pixel of the image; 0 is background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMap {
    /// Width in pixels.
    pub width_px: usize,
    /// Height in pixels.
    pub height_px: usize,
    /// `[height, width]`
    pub ids: Vec<u8>,
}

/// The id in a class map where nobody says what is there.
pub const VOID: u8 = 255;

/// One object of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Index into the data set's names of object classes.
    pub class: u32,
    /// Whether it is a crowd: one region for many objects, which are not told apart.
    pub crowd: bool,
    /// Where it is.
    pub region: Region,
}

/// A named point of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keypoint {
    /// Index into the data set's keypoint names.
    pub name_idx: usize,
    /// `(x, y)` in pixels of the image, pixel centers at `+0.5`.
    pub xy_in_image_px: (f32, f32),
    /// Inside the frame and not hidden.
    pub visible: bool,
}

/// The place of a sample in a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frame {
    /// The clip, counted from 0.
    pub clip: usize,
    /// The frame in it, counted from 0.
    pub frame: usize,
}

/// One side of a pair of pictures that show the same kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PairSide {
    /// The pair, counted from 0.
    pub pair: usize,
    /// Whether it is the picture in which the points of the other are looked for.
    pub is_target: bool,
}

/// What a query is to find among the other samples, by their indices in the data set; what is in no list does not belong to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Samples that clearly show what the query shows.
    pub easy: Vec<u32>,
    /// Samples that show it from afar, from a side, or in part.
    pub hard: Vec<u32>,
    /// Samples that nobody can decide.
    pub junk: Vec<u32>,
}

/// Everything known of a sample beside its picture; what is absent is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    /// The class, counted from 0.
    pub label: Option<u32>,
    /// The class whose texture the object wears (part-shapes).
    pub texture: Option<u32>,
    /// 1 where the object is.
    pub mask: Option<LabelMap>,
    /// Part index + 1 where a part is.
    pub parts: Option<LabelMap>,
    /// Object class + 1 at every pixel, [`VOID`] where nobody says.
    pub semantic: Option<LabelMap>,
    /// Every object, where they are told apart.
    pub objects: Vec<Object>,
    /// Named points.
    pub keypoints: Vec<Keypoint>,
    /// Which frame of which clip it is.
    pub frame: Option<Frame>,
    /// The object at every pixel, told apart through a clip: an id means the same object in all of its frames, 0 none.
    pub tracked: Option<LabelMap>,
    /// The box around the object: left, top, right and bottom in pixels of the image.
    pub box_in_image_px: Option<[f32; 4]>,
    /// Which side of which pair it is.
    pub pair: Option<PairSide>,
    /// What it is to find, where it is a query.
    pub query: Option<Query>,
}

/// One sample of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The picture.
    pub picture: Picture,
    /// The truth that comes with it.
    pub truth: Truth,
    /// A name by which a person finds it again: a file name, or `train/17`.
    pub id: String,
}
