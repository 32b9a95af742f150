//! The data sets: one file each, and a row in [`crate::DATASETS`].
pub mod part_shapes;
