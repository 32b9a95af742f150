//! The rules of the workspace that no compiler checks, as a task and as a test.

mod book;
mod finding;
mod layers;
mod manifest;
mod recipes;
mod registry;
mod sources;
mod tree;

use std::path::Path;
use std::process::ExitCode;

use finding::Finding;
use tree::Tree;

/// Prints every finding; fails if there is one.
pub(crate) fn run(root: &Path) -> ExitCode {
    if report(root) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints every finding and returns how many there are.
pub(crate) fn report(root: &Path) -> usize {
    let findings = findings(&Tree::read(root));
    for finding in &findings {
        eprintln!("{finding}");
    }
    findings.len()
}

fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in [layers::check, sources::check, recipes::check, book::check, registry::check] {
        check(tree, &mut findings);
    }
    findings.sort();
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let findings = findings(&Tree::read(&crate::workspace_root()));
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(lines.is_empty(), "\n{}", lines.join("\n"));
    }
}
