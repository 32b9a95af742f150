//! Every registry row has its page in the book, and every objective a recipe.

use super::finding::Finding;
use super::tree::Tree;

/// A family of files, one for each registry row.
struct Family {
    folder: &'static str,
    pages: &'static str,
    needs_recipe: bool,
}

const FAMILIES: [Family; 3] = [
    Family {
        folder: "crates/ssl-pretrain/src/objectives/",
        pages: "docs/src/objectives/",
        needs_recipe: true,
    },
    Family { folder: "crates/probes/src/", pages: "docs/src/probes/", needs_recipe: false },
    Family { folder: "crates/analysis/src/", pages: "docs/src/analyses/", needs_recipe: false },
];
const RECIPES: &str = "recipes/pretrain/";

/// What a file that is a registry row says of itself; files that only help one do not.
const SAYS_WHAT_IT_IS: [&str; 2] = ["INFO: Info", " Info {"];

pub(crate) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for family in &FAMILIES {
        for (path, text) in tree.under(family.folder, ".rs") {
            let Some(name) =
                row_name(family, path).filter(|_| SAYS_WHAT_IT_IS.iter().any(|it| text.contains(it)))
            else {
                continue;
            };
            let page = format!("{}{name}.md", family.pages);
            if tree.text(&page).is_none() {
                findings.push(Finding::new(path, 1, format!("`{name}` has no page {page}")));
            }
            if family.needs_recipe && !has_recipe(tree, &name) {
                findings.push(Finding::new(path, 1, format!("`{name}` has no recipe {RECIPES}{name}….toml")));
            }
        }
    }
}

/// The registry's name of a file `attention_distance.rs` or `attention_distance/mod.rs`: `attention-distance`.
fn row_name(family: &Family, path: &str) -> Option<String> {
    let stem = path.strip_prefix(family.folder)?.strip_suffix(".rs")?;
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    let is_row = !["lib", "mod"].contains(&stem) && !stem.contains('/');
    is_row.then(|| stem.replace('_', "-"))
}

/// Whether a recipe is called after the objective, alone or before the data: `mae.toml`, `mae-part-shapes.toml`.
fn has_recipe(tree: &Tree, name: &str) -> bool {
    tree.under(RECIPES, ".toml").any(|(path, _)| {
        let rest = path[RECIPES.len()..].strip_suffix(".toml").and_then(|stem| stem.strip_prefix(name));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "const INFO: Info = Info { };";

    #[test]
    fn rows_without_page_or_recipe_are_found() {
        let tree = Tree::of(&[
            ("crates/ssl-pretrain/src/objectives/mae.rs", ROW),
            ("crates/ssl-pretrain/src/objectives/mod.rs", ROW),
            ("crates/ssl-pretrain/src/objectives/att_mask.rs", ROW),
            ("crates/probes/src/knn/mod.rs", ROW),
            ("crates/probes/src/readout.rs", "pub fn readout() {}"),
            ("crates/analysis/src/attention_distance.rs", ROW),
            ("docs/src/objectives/mae.md", ""),
            ("docs/src/probes/knn.md", ""),
            ("recipes/pretrain/mae-part-shapes.toml", ""),
            ("recipes/pretrain/att-mask2.toml", ""),
        ]);
        let mut findings = Vec::new();
        check(&tree, &mut findings);
        let found: Vec<&str> = findings.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(
            found,
            [
                "`att-mask` has no page docs/src/objectives/att-mask.md",
                "`att-mask` has no recipe recipes/pretrain/att-mask….toml",
                "`attention-distance` has no page docs/src/analyses/attention-distance.md",
            ]
        );
    }
}
