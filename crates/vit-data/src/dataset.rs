//! What a data set is, what it offers, and the registry that opens one from a URI.

use crate::{DataError, Frame, Sample, Unreadable};

/// Which samples of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The samples to learn from.
    Train,
    /// The samples held out.
    Test,
    /// Train, then test.
    All,
}

/// The truth that every sample of a data set carries; a study's needs are checked against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// A class per image.
    pub labels: bool,
    /// An object mask per image.
    pub masks: bool,
    /// Part masks.
    pub parts: bool,
    /// A class for every pixel.
    pub semantic: bool,
    /// Every object by itself.
    pub objects: bool,
    /// Keypoints with visibility.
    pub keypoints: bool,
    /// Samples are frames of clips, in their order.
    pub clips: bool,
    /// Every object of a clip by itself, the same id in all of its frames.
    pub tracked: bool,
    /// Samples are sides of pairs with points in common: the source, then the target of each.
    pub pairs: bool,
    /// Some samples are queries with lists of what they are to find.
    pub queries: bool,
}

/// How many rows of a picture, from the top, are looked at: a function of its width and height in pixels.
pub type RowsSeen<'a> = &'a dyn Fn(usize, usize) -> usize;

/// Every row of a picture is looked at.
pub(crate) fn all_rows(_width_px: usize, height_px: usize) -> usize {
    height_px
}

/// An indexed collection of samples. `sample(i)` is a pure function of `i`, called from many threads.
pub trait Dataset: Send + Sync {
    /// The name shown in reports, for example `part-shapes:test`.
    fn name(&self) -> String;
    /// The number of samples.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The names of the classes; empty where there are no labels.
    fn classes(&self) -> &[String];
    /// The names of the parts in [`Truth::parts`](crate::Truth); empty where they have none.
    fn part_names(&self) -> &[String] {
        &[]
    }
    /// The names of the classes in [`Truth::semantic`](crate::Truth) and [`Truth::objects`](crate::Truth).
    fn object_classes(&self) -> &[String] {
        &[]
    }
    /// The place of sample `index` in its clip, without decoding the picture; `None` where samples are no frames.
    fn frame(&self, _index: usize) -> Option<Frame> {
        None
    }
    /// The number that samples share which mean something only together: frames of a clip, sides of a pair. `None` where
    /// each stands for itself.
    fn group(&self, index: usize) -> Option<usize> {
        self.frame(index).map(|frame| frame.clip)
    }
    /// What truth every sample carries.
    fn offers(&self) -> Offers;
    /// The class of sample `index`, without decoding the picture; `None` where there are no labels.
    fn label(&self, index: usize) -> Option<u32>;
    /// The side in pixels of the pictures where all are square and equal; `None` otherwise.
    fn native_size_px(&self) -> Option<usize>;
    /// Reads sample `index`.
    ///
    /// # Errors
    /// When the file behind it cannot be read or decoded.
    ///
    /// # Panics
    /// When `index >= len()`.
    fn sample(&self, index: usize) -> Result<Sample, DataError>;
    /// Reads sample `index` for views that look at the first rows of its picture only, as many as `n_rows` says; what is read of
    /// the rows below may be black, and damage there may go unnoticed.
    ///
    /// # Errors
    /// As [`Dataset::sample`].
    ///
    /// # Panics
    /// As [`Dataset::sample`].
    fn sample_rows(&self, index: usize, _n_rows: RowsSeen) -> Result<Sample, DataError> {
        self.sample(index)
    }
    /// The samples that could not be read so far and were replaced, by index; none where one stops the reading, as
    /// it does unless [`tolerate`](crate::tolerate) allows some.
    fn unreadable(&self) -> Vec<Unreadable> {
        Vec::new()
    }
}

/// A data set that was opened, or why it could not be.
pub type Opened = Result<Box<dyn Dataset>, DataError>;

/// One row of the registry.
pub struct DatasetEntry {
    /// The scheme before the colon of a URI.
    pub name: &'static str,
    /// One line that says what it is.
    pub line: &'static str,
    /// How its URI is written.
    pub usage: &'static str,
    /// Opens one split. Arguments: what stands after the colon, the split, the seed (of a split that has to be made).
    pub open: fn(&str, Split, u64) -> Opened,
}

/// Opens the split of a data set named by a URI such as `fashion-mnist:DIR` or `part-shapes`.
///
/// # Errors
/// When the scheme is unknown (the message lists those known), or the data behind it is missing or malformed.
pub fn open(uri: &str, split: Split, seed: u64) -> Result<Box<dyn Dataset>, DataError> {
    let (scheme, rest) = uri.split_once(':').unwrap_or((uri, ""));
    let entry = crate::DATASETS.iter().find(|entry| entry.name == scheme);
    let entry = entry.ok_or_else(|| DataError::UnknownDataset {
        found: match std::path::Path::new(uri).is_dir() {
            true => format!("{uri}`, which is a folder: `folder:{uri}"),
            false => scheme.to_owned(),
        },
        expected: crate::DATASETS.iter().map(|entry| entry.usage).collect::<Vec<_>>().join(", "),
    })?;
    (entry.open)(rest, split, seed)
}
