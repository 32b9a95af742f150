//! The text files of the workspace, read once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Kinds of files that a rule may speak about.
const TEXT: [&str; 10] = [".rs", ".toml", ".md", ".css", ".js", ".html", ".sh", ".json", ".yml", ".yaml"];
/// Folders, from the root, that hold what was made and not what was written.
const MADE: [&str; 4] = ["target", "runs", "docs/book", ".git"];

/// Text by path from the root, with `/`, in order of the paths.
pub(crate) struct Tree {
    pub(crate) files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the text files under `root`; hidden folders other than `.cargo` are not ours.
    pub(crate) fn read(root: &Path) -> Self {
        let mut tree = Self { files: BTreeMap::new() };
        tree.walk(root, "");
        tree
    }

    fn walk(&mut self, folder: &Path, prefix: &str) {
        let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries {
            let entry = entry.unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let is_hidden = name.starts_with('.') && name != ".cargo";
            if is_folder && !is_hidden && !MADE.contains(&path.as_str()) && name != "target" {
                self.walk(&entry.path(), &format!("{path}/"));
            } else if !is_folder && TEXT.iter().any(|ending| name.ends_with(ending)) {
                // A file that vanishes between listing and reading was not part of the tree.
                if let Ok(text) = fs::read_to_string(entry.path()) {
                    self.files.insert(path, text);
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|&(path, text)| (path.into(), text.into())).collect() }
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Files in or below `folder` (with its `/`) that end in `ending`.
    pub(crate) fn under<'a>(
        &'a self,
        folder: &'a str,
        ending: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let below =
            self.files.iter().filter(move |(path, _)| path.starts_with(folder) && path.ends_with(ending));
        below.map(|(path, text)| (path.as_str(), text.as_str()))
    }
}
