//! The rendered book.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::ci::is_installed;

/// Renders `docs` into `docs/book`, or says why not.
pub(crate) fn run(root: &Path) -> ExitCode {
    if !is_installed(&["mdbook", "--version"]) {
        println!("docs: not rendered, `mdbook` is not installed; the pages are Markdown in docs/src");
        return ExitCode::SUCCESS;
    }
    match Command::new("mdbook").args(["build", "docs"]).current_dir(root).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
