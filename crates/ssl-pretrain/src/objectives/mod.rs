//! The objectives.

pub(crate) mod mae;
pub(crate) mod supervised;
