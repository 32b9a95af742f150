//! What is done to pixels between the file and the model: crop, resize, change colors, blur, flip, normalize, erase.

mod blur;
mod color;
mod crop;
mod erase;
mod normalize;
mod planes;
mod resize;

pub use blur::{Blur, gaussian_blur};
pub use color::{Jitter, JitterDraw, JitterOp, Solarize, gray, jitter, solarize};
pub use crop::{PixelRect, center_crop, random_resized_crop};
pub use erase::{Erase, EraseMode, erase};
pub use normalize::{Normalize, planes_from_image};
pub use planes::Planes;
pub use resize::{Filter, Window, resize, resize_planes, resize_window};
