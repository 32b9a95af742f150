//! What stands on top of an encoder while it is trained, and is thrown away afterwards.

mod projection;

pub use projection::{HeadConfig, ProjectionHead, WeightNorm};
