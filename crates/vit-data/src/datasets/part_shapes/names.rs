//! The words of part-shapes: classes, parts, keypoints and textures, in the order of their indices.

/// The side in pixels of every image.
pub const SIZE_PX: usize = 64;

/// The names of the classes, `[12]`; a label is an index into it.
pub const CLASSES: [&str; 12] =
    ["car", "boat", "airplane", "house", "tree", "flower", "mug", "lamp", "person", "cat", "bird", "fish"];

/// The names of the textures, `[12]`; texture `t` is the home texture of class `t`.
pub const TEXTURES: [&str; 12] = [
    "plain",
    "level stripes",
    "checks",
    "bricks",
    "chevrons",
    "rings",
    "grid",
    "upright stripes",
    "blotches",
    "diagonal stripes",
    "waves",
    "dots",
];

/// The names of the parts; a part map holds index + 1. Classes share parts: a bird and an airplane have a `wing`.
pub const PARTS: &[&str] = &[
    "body", "head", "ear", "eye", "beak", "arm", "leg", "tail", "wing", "fin", "wheel", "window", "light",
    "roof", "chimney", "door", "hull", "mast", "sail", "flag", "trunk", "crown", "stem", "leaf", "petal",
    "handle", "rim", "shade", "foot",
];

/// One of [`PARTS`]; the discriminant is its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Part {
    Body,
    Head,
    Ear,
    Eye,
    Beak,
    Arm,
    Leg,
    Tail,
    Wing,
    Fin,
    Wheel,
    Window,
    Light,
    Roof,
    Chimney,
    Door,
    Hull,
    Mast,
    Sail,
    Flag,
    Trunk,
    Crown,
    Stem,
    Leaf,
    Petal,
    Handle,
    Rim,
    Shade,
    Foot,
}

impl Part {
    /// The value of the part in a part map: index + 1, because 0 is background.
    pub(super) fn id(self) -> u8 {
        self as u8 + 1
    }
}

/// The names of the keypoints. `front` is where the object faces; `left` and `right` are sides of the image plane
/// of objects that are never mirrored.
pub const KEYPOINTS: &[&str] = &[
    "nose",
    "eye",
    "tail tip",
    "front foot",
    "back foot",
    "front ear",
    "back ear",
    "wing tip",
    "upper wing tip",
    "lower wing tip",
    "fin tip",
    "head top",
    "left hand",
    "right hand",
    "left foot",
    "right foot",
    "front wheel",
    "back wheel",
    "front bumper",
    "back bumper",
    "roof middle",
    "roof apex",
    "left eave",
    "right eave",
    "left corner",
    "right corner",
    "door",
    "bow",
    "stern",
    "mast top",
    "tree top",
    "left bough",
    "right bough",
    "trunk foot",
    "blossom",
    "left leaf tip",
    "right leaf tip",
    "stem foot",
    "handle",
    "front rim",
    "back rim",
    "front base",
    "back base",
    "shade top",
    "left shade",
    "right shade",
    "lamp foot",
];

/// One of [`KEYPOINTS`]; the discriminant is its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Point {
    Nose,
    Eye,
    TailTip,
    FrontFoot,
    BackFoot,
    FrontEar,
    BackEar,
    WingTip,
    UpperWingTip,
    LowerWingTip,
    FinTip,
    HeadTop,
    LeftHand,
    RightHand,
    LeftFoot,
    RightFoot,
    FrontWheel,
    BackWheel,
    FrontBumper,
    BackBumper,
    RoofMiddle,
    RoofApex,
    LeftEave,
    RightEave,
    LeftCorner,
    RightCorner,
    Door,
    Bow,
    Stern,
    MastTop,
    TreeTop,
    LeftBough,
    RightBough,
    TrunkFoot,
    Blossom,
    LeftLeafTip,
    RightLeafTip,
    StemFoot,
    Handle,
    FrontRim,
    BackRim,
    FrontBase,
    BackBase,
    ShadeTop,
    LeftShade,
    RightShade,
    LampFoot,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_enums_count_like_the_lists_of_names() {
        assert_eq!(Part::Foot as usize + 1, PARTS.len());
        assert_eq!(PARTS[Part::Sail as usize], "sail");
        assert_eq!(Point::LampFoot as usize + 1, KEYPOINTS.len());
        assert_eq!(KEYPOINTS[Point::MastTop as usize], "mast top");
    }
}
