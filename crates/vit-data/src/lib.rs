//! Files to pixels: data sets, views, and a loader whose order is a pure function of the seed.

mod dataset;
mod error;
mod sample;
mod seed;

pub mod datasets;

pub use dataset::{Dataset, DatasetEntry, Offers, Split, open};
pub use error::DataError;
pub use sample::{Image, Keypoint, LabelMap, Picture, Sample, Truth};
pub use seed::{Seed, Stream};

/// Every data set that can be named in a URI: one row each.
pub const DATASETS: &[DatasetEntry] = &[datasets::part_shapes::ENTRY];
