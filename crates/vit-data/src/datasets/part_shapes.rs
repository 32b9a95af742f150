//! part-shapes: objects made of named parts, drawn from a seed.
use crate::{DataError, Dataset, DatasetEntry, Split};

/// The registry row.
pub const ENTRY: DatasetEntry = DatasetEntry {
    name: "part-shapes",
    line: "built-in drawn objects with class, mask, parts, keypoints and clips",
    usage: "part-shapes[:SPLIT]",
    open,
};

fn open(rest: &str, _split: Split, _seed: u64) -> Result<Box<dyn Dataset>, DataError> {
    Err(DataError::Usage { expected: "part-shapes".into(), found: rest.into() })
}
