//! The folder in which a published data set lies.

use std::path::{Path, PathBuf};

use crate::{DataError, Split};

/// What a URI says behind its scheme: the path of a folder, or of a file; `usage` is how it should be written.
///
/// # Errors
/// When it says nothing.
pub(crate) fn path_of<'a>(rest: &'a str, usage: &str) -> Result<&'a Path, DataError> {
    if rest.is_empty() {
        let scheme = usage.split(':').next().unwrap_or_default();
        return Err(DataError::Usage { expected: usage.to_owned(), found: format!("{scheme}:") });
    }
    Ok(Path::new(rest))
}

/// The folder given, or the first of those that archives put into it, that has the folder `holds`; `expected` says what it should be.
///
/// # Errors
/// When there is none.
pub(crate) fn root_of(
    given: &Path,
    inner: &[&str],
    holds: &str,
    expected: &str,
) -> Result<PathBuf, DataError> {
    let mut candidates = std::iter::once(given.to_owned()).chain(inner.iter().map(|inner| given.join(inner)));
    candidates.find(|dir| dir.join(holds).is_dir()).ok_or_else(|| DataError::Missing {
        what: "folder",
        expected: expected.to_owned(),
        path: given.to_owned(),
    })
}

/// The published sets that make up a split: one to learn from, one held out.
pub(crate) fn sets<T: Copy>(split: Split, train: T, test: T) -> Vec<T> {
    match split {
        Split::Train => vec![train],
        Split::Test => vec![test],
        Split::All => vec![train, test],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_found_where_archives_put_it_and_missed_by_what_it_should_hold() {
        let dir = tempfile::tempdir().expect("a folder");
        let sought = |given: &Path| root_of(given, &["inner"], "pictures", "a set with pictures");
        let sentence = sought(dir.path()).expect_err("nothing is there").to_string();
        assert!(sentence.contains("a set with pictures"), "{sentence}");
        std::fs::create_dir_all(dir.path().join("inner/pictures")).expect("folders");
        assert_eq!(sought(dir.path()).expect("found"), dir.path().join("inner"));
        std::fs::create_dir_all(dir.path().join("pictures")).expect("folders");
        assert_eq!(sought(dir.path()).expect("found"), dir.path(), "the folder itself comes first");
        assert!(path_of("", "set:DIR").expect_err("nothing").to_string().contains("set:DIR"));
        assert_eq!(sets(Split::All, "train", "val"), ["train", "val"]);
    }
}
