//! Files to pixels: data sets, views, and a loader whose order is a pure function of the seed.

mod dataset;
mod decode;
mod error;
mod folder;
mod ids;
mod jpeg;
mod listing;
mod loader;
mod on_grid;
mod order;
mod plan;
mod read_at;
mod region;
mod sample;
mod seed;
mod split;
mod tolerant;
mod view;

pub mod datasets;
pub mod transform;

pub use dataset::{Dataset, DatasetEntry, Offers, Opened, RowsSeen, Split, open};
pub use error::DataError;
pub use loader::{HostBatch, HostView, Loader, LoaderOptions};
pub use order::{Order, epoch_order, spread_over_classes};
pub use plan::{Crop, ViewPlan, ViewSpec};
pub use region::Region;
pub use sample::{Frame, Image, Keypoint, LabelMap, Object, PairSide, Picture, Query, Sample, Truth, VOID};
pub use seed::{Seed, Stream};
pub use split::{TrainTest, n_test, stratified_split};
pub use tolerant::{Unreadable, tolerate};
pub use view::{CropBox, View, cut, cut_into};

/// Every data set that can be named in a URI: one row each.
pub const DATASETS: &[DatasetEntry] = &[
    datasets::part_shapes::ENTRY,
    datasets::idx::FASHION_MNIST,
    datasets::idx::MNIST,
    datasets::cifar::CIFAR10,
    datasets::cifar::CIFAR100,
    datasets::image_folder::ENTRY,
    datasets::coco::ENTRY,
    datasets::part_imagenet::ENTRY,
    datasets::voc::ENTRY,
    datasets::voc::AUGMENTED,
    datasets::revisited::OXFORD,
    datasets::revisited::OXFORD_CROPPED,
    datasets::revisited::PARIS,
    datasets::revisited::PARIS_CROPPED,
    datasets::spair::ENTRY,
    datasets::davis::ENTRY,
    datasets::jhmdb::ENTRY,
    datasets::vip::ENTRY,
    datasets::pixels::ENTRY,
];
