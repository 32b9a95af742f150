//! Renderers: from data to JSON, Markdown, SVG, PNG and HTML.

pub(crate) mod escape;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod markdown;
pub(crate) mod number;
pub(crate) mod png;
pub(crate) mod svg;

use crate::{FigureData, Report};
use std::collections::BTreeSet;

/// The file of each figure, as a path from the report's folder; names become safe and stay apart.
pub(crate) fn figure_files(report: &Report) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut files = Vec::with_capacity(report.figures.len());
    for figure in &report.figures {
        let ending = if matches!(figure.data, FigureData::Image(_)) { "png" } else { "svg" };
        let stem = slug(&figure.name);
        let mut file = format!("figures/{stem}.{ending}");
        let mut n_same = 2;
        while !taken.insert(file.clone()) {
            file = format!("figures/{stem}-{n_same}.{ending}");
            n_same += 1;
        }
        files.push(file);
    }
    files
}

/// Letters, digits, `.`, `_` and single `-`: safe in file names, in URLs and as an element's id.
pub(crate) fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    let out = out.trim_matches(['-', '.']);
    if out.is_empty() { "unnamed".to_owned() } else { out.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_safe_names() {
        assert_eq!(slug("cka"), "cka");
        assert_eq!(slug("../a b/é?c"), "a-b-c");
        assert_eq!(slug("…"), "unnamed");
    }
}
