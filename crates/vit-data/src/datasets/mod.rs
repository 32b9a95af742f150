//! The data sets: one file each, and a row in [`crate::DATASETS`].
pub mod cifar;
pub mod idx;
pub mod image_folder;
pub mod part_shapes;
pub mod pixels;
