//! Every recipe opens with a comment that shows its command.

use super::finding::Finding;
use super::tree::Tree;

pub(crate) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.under("recipes/", ".toml") {
        let header: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        if header.is_empty() {
            findings.push(Finding::new(path, 1, "no header comment: command, time, expected result, source"));
        } else if !header.iter().any(|line| line.contains("vitscope ")) {
            findings.push(Finding::new(path, 1, "the header comment shows no `vitscope …` command"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_its_command_is_asked_for() {
        let faults = |text| {
            let mut findings = Vec::new();
            check(&Tree::of(&[("recipes/probe/knn.toml", text)]), &mut findings);
            findings.len()
        };
        assert_eq!(faults("# vitscope probe knn --recipe knn\nk = [20]\n"), 0);
        assert_eq!(faults("# Nearest neighbours.\nk = [20]\n"), 1);
        assert_eq!(faults("k = [20]\n# vitscope probe knn\n"), 1);
    }
}
