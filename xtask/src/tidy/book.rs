//! The book lists every page it has, and every link between files leads somewhere.

use super::finding::Finding;
use super::tree::Tree;

const PAGES: &str = "docs/src/";
const SUMMARY: &str = "docs/src/SUMMARY.md";

pub(crate) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let summary = tree.text(SUMMARY).unwrap_or_default();
    let listed: Vec<String> = links(summary).map(|(_, target)| format!("{PAGES}{target}")).collect();
    for (path, _) in tree.under(PAGES, ".md").filter(|(path, _)| *path != SUMMARY) {
        if !listed.iter().any(|page| page == path) {
            findings.push(Finding::new(path, 1, format!("the page is not listed in {SUMMARY}")));
        }
    }
    for (path, text) in tree.under("", ".md") {
        for (line, target) in links(text) {
            if !tree.files.contains_key(&resolved(path, target)) {
                findings.push(Finding::new(path, line, format!("the link to `{target}` leads nowhere")));
            }
        }
    }
}

/// Line and target of every link to a Markdown file of the workspace; addresses and anchors aside.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).flat_map(|(line, content)| {
        let targets = content.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        targets
            .filter(|target| target.ends_with(".md") && !target.contains("://"))
            .map(move |target| (line, target))
    })
}

/// The path from the root of a link `target` in the file `from`.
fn resolved(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlisted_pages_and_dead_links_are_found() {
        let tree = Tree::of(&[
            (SUMMARY, "# Book\n- [Start](start.md)\n- [Gone](probes/gone.md)\n"),
            ("docs/src/start.md", "[up](../../README.md#use) [out](https://example.org/x.md)\n[bad](x.md)\n"),
            ("docs/src/probes/knn.md", "[back](../start.md)\n"),
            ("README.md", "[book](docs/src/start.md)\n"),
        ]);
        let mut findings = Vec::new();
        check(&tree, &mut findings);
        let found: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert_eq!(
            found,
            [
                "docs/src/probes/knn.md:1: the page is not listed in docs/src/SUMMARY.md",
                "docs/src/SUMMARY.md:3: the link to `probes/gone.md` leads nowhere",
                "docs/src/start.md:2: the link to `x.md` leads nowhere",
            ]
        );
    }
}
