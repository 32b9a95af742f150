//! The objectives.

pub(crate) mod attmask;
pub(crate) mod dino;
pub(crate) mod ibot;
pub(crate) mod mae;
pub(crate) mod supervised;
