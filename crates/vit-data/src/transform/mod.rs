//! What is done to pixels between the file and the model: crop, resize, flip, normalize.

mod crop;
mod normalize;
mod resize;

pub use crop::{PixelRect, center_crop, random_resized_crop};
pub use normalize::{Normalize, planes_from_image};
pub use resize::{Filter, Window, resize, resize_planes, resize_window};
