//! The data sets: one file each, and a row in [`crate::DATASETS`].
pub mod cifar;
mod clips;
pub mod coco;
pub mod davis;
mod ground_truth;
pub mod idx;
pub mod image_folder;
mod instances;
pub mod jhmdb;
mod mat;
pub mod part_imagenet;
pub mod part_shapes;
pub mod pixels;
pub mod revisited;
pub mod spair;
pub mod vip;
pub mod voc;
