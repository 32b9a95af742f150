//! What can be wrong with data: each error says what, expected, found, and where.

use std::path::PathBuf;

/// An error of reading data.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No data set has that name.
    #[error("unknown data set: expected one of {expected}; found `{found}`")]
    UnknownDataset {
        /// The usages known.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The URI is not as its data set wants it.
    #[error("bad data argument: expected {expected}; found `{found}`")]
    Usage {
        /// How it is written.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The operating system refused.
    #[error("cannot read data: {source}: {path}", path = path.display())]
    Io {
        /// Why.
        source: std::io::Error,
        /// Which file.
        path: PathBuf,
    },
    /// Something that has to be there is not.
    #[error("missing {what}: expected {expected}; found nothing: {path}", path = path.display())]
    Missing {
        /// What was looked for.
        what: &'static str,
        /// What would have done.
        expected: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file is not what it should be.
    #[error("malformed {what}: expected {expected}; found {found}: {path}", path = path.display())]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What it should have been.
        expected: String,
        /// What it was.
        found: String,
        /// Which file.
        path: PathBuf,
    },
    /// More samples than allowed cannot be read.
    #[error(
        "unreadable samples: expected at most {expected} of {len}; found more, the first: {first}: {data}"
    )]
    TooManyUnreadable {
        /// Those allowed.
        expected: usize,
        /// Samples there are.
        len: usize,
        /// The first of them, with their reasons.
        first: String,
        /// The data set.
        data: String,
    },
}

impl DataError {
    /// Whether one sample alone is at fault: its picture is malformed, or its file is gone or not to be opened.
    pub fn is_of_one_sample(&self) -> bool {
        use std::io::ErrorKind::{NotFound, PermissionDenied};
        match self {
            Self::Malformed { what, .. } => *what == PICTURE,
            Self::Io { source, .. } => matches!(source.kind(), NotFound | PermissionDenied),
            _ => false,
        }
    }
}

/// What is malformed where one picture of many is.
pub(crate) const PICTURE: &str = "picture";
