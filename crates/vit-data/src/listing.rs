//! What is in a folder, and what lists in text files name.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::DataError;

/// The ends of files that are pictures.
pub(crate) const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// One entry of a folder that is not hidden.
pub(crate) struct Entry {
    /// Its own name.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Whether it is a folder, or a link to one.
    pub(crate) is_dir: bool,
    /// Whether it is a link.
    pub(crate) is_link: bool,
}

impl Entry {
    /// Whether it is a file that ends as pictures do.
    pub(crate) fn is_picture(&self) -> bool {
        let extension = self.path.extension().and_then(|extension| extension.to_str());
        let known = |extension: &str| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension));
        !self.is_dir && extension.is_some_and(known)
    }

    /// The name without what stands after its last dot.
    pub(crate) fn stem(&self) -> &str {
        self.name.rsplit_once('.').map_or(&self.name, |(stem, _)| stem)
    }
}

/// What is in a folder, by name.
pub(crate) fn entries(dir: &Path) -> Result<Vec<Entry>, DataError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        |source| DataError::Io { source, path }
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io(dir))? {
        let entry = entry.map_err(io(dir))?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            return Err(DataError::Malformed {
                what: "file name",
                expected: "UTF-8".into(),
                found: format!("{:?}", entry.file_name()),
                path,
            });
        };
        if name.starts_with('.') {
            continue;
        }
        let is_link = entry.file_type().map_err(io(&path))?.is_symlink();
        let is_dir = fs::metadata(&path).map_err(io(&path))?.is_dir();
        found.push(Entry { name, path, is_dir, is_link });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The pictures in a folder, by name; at least one.
pub(crate) fn pictures(dir: &Path) -> Result<Vec<Entry>, DataError> {
    if !dir.is_dir() {
        let expected = "the pictures that a list names".into();
        return Err(DataError::Missing { what: "folder of pictures", expected, path: dir.to_owned() });
    }
    let found: Vec<Entry> = entries(dir)?.into_iter().filter(Entry::is_picture).collect();
    if found.is_empty() {
        let expected = format!("at least one file that ends in {}", EXTENSIONS.join(", "));
        return Err(DataError::Missing { what: "pictures", expected, path: dir.to_owned() });
    }
    Ok(found)
}

/// The lines of a list that are not blank, without blanks around them; at least one. `what` and `expected` say what the list
/// should be, where it is not there or names nothing.
pub(crate) fn lines(path: &Path, what: &'static str, expected: &str) -> Result<Vec<String>, DataError> {
    let missing = || DataError::Missing { what, expected: expected.to_owned(), path: path.to_owned() };
    if !path.is_file() {
        return Err(missing());
    }
    let text = fs::read_to_string(path).map_err(|source| DataError::Io { source, path: path.to_owned() })?;
    let lines: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if lines.is_empty() { Err(missing()) } else { Ok(lines) }
}

/// A name that a list or an annotation gives, of one file or folder: one that leads elsewhere is refused.
pub(crate) fn plain_name<'a>(name: &'a str, list: &Path) -> Result<&'a str, DataError> {
    let is_plain = !name.is_empty() && !name.contains(['/', '\\']) && name != "." && name != "..";
    if is_plain {
        return Ok(name);
    }
    Err(DataError::Malformed {
        what: "name in a list",
        expected: "the name of a file or folder".into(),
        found: format!("`{name}`"),
        path: list.to_owned(),
    })
}
