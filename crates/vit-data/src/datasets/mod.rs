//! The data sets: one file each, and a row in [`crate::DATASETS`].
pub mod cifar;
pub mod coco;
pub mod idx;
pub mod image_folder;
mod instances;
pub mod part_imagenet;
pub mod part_shapes;
pub mod pixels;
pub mod voc;
