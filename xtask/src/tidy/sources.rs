//! What every source file keeps: a head, a size, no unfinished marks, safety, no machine's paths.

use super::finding::Finding;
use super::layers::OPS;
use super::tree::Tree;

/// Lines of one file without its tests.
const MAX_LINES: usize = 500;

// The patterns are put together here, so that this file does not hold them.
const MARKS: [&str; 6] = [
    concat!("to", "do!("),
    concat!("TO", "DO"),
    concat!("unimple", "mented!("),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("#[ig", "nore"),
];
const UNCHECKED: &str = concat!("un", "safe");
const MACHINE_PATHS: [&str; 6] = [
    concat!("/", "tmp/"),
    concat!("/", "root/"),
    concat!("/", "home/"),
    concat!("/", "work/"),
    concat!("/", "Users/"),
    concat!("/", "usr/"),
];
/// Places that are the same on every machine that has them.
const SHARED_PATHS: [&str; 2] = [concat!("/", "usr/share/datasets"), concat!("/", "usr/bin/env")];

pub(crate) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.under("", "") {
        machine_paths(path, text, findings);
        if path.ends_with(".rs") || path.ends_with(".toml") {
            marks(path, text, findings);
        }
        if path.ends_with(".rs") {
            head(path, text, findings);
            size(path, text, findings);
            safety(path, text, findings);
        }
    }
}

fn head(path: &str, text: &str, findings: &mut Vec<Finding>) {
    if !text.starts_with("//!") {
        findings.push(Finding::new(path, 1, "the file does not start with `//!`: say what it is for"));
    }
}

fn size(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let is_test = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
    let n_lines = lines_without_tests(text);
    if !is_test && n_lines > MAX_LINES {
        let what = format!("{n_lines} lines without tests, at most {MAX_LINES}: split the file by its nouns");
        findings.push(Finding::new(path, MAX_LINES + 1, what));
    }
}

/// The lines before the test module.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let opens_tests = |at: &usize| {
        let next = lines[at + 1..].iter().find(|line| !line.starts_with("#["));
        lines[*at] == "#[cfg(test)]" && next.is_some_and(|line| line.starts_with("mod "))
    };
    (0..lines.len()).find(opens_tests).unwrap_or(lines.len())
}

fn marks(path: &str, text: &str, findings: &mut Vec<Finding>) {
    for (line, content) in (1..).zip(text.lines()) {
        for mark in MARKS.iter().filter(|mark| holds_word(content, mark)) {
            findings.push(Finding::new(path, line, format!("`{mark}`: finish it, or leave it out")));
        }
    }
}

fn safety(path: &str, text: &str, findings: &mut Vec<Finding>) {
    if path.starts_with(&format!("crates/{OPS}/")) {
        return;
    }
    for (line, content) in (1..).zip(text.lines()) {
        let code = content.split("//").next().unwrap_or_default();
        // A word that goes on behind a hyphen is no keyword: a page's policy says `…-inline`.
        let code = code.replace(&format!("{UNCHECKED}-"), "");
        if holds_word(&code, UNCHECKED) {
            findings.push(Finding::new(path, line, format!("`{UNCHECKED}`: only crates/{OPS} may write it")));
        }
    }
}

fn machine_paths(path: &str, text: &str, findings: &mut Vec<Finding>) {
    for (line, content) in (1..).zip(text.lines()) {
        for (at, _) in content.match_indices('/') {
            let rest = &content[at..];
            // In the middle of a longer path or an address it is no absolute path.
            let is_start = !content[..at].ends_with(|c: char| c.is_alphanumeric() || "_-./:$}>".contains(c));
            let is_shared = SHARED_PATHS.iter().any(|shared| rest.starts_with(shared));
            if is_start && !is_shared && MACHINE_PATHS.iter().any(|local| rest.starts_with(local)) {
                let shown: String =
                    rest.chars().take_while(|c| !c.is_whitespace() && !"\"'`)".contains(*c)).collect();
                findings.push(Finding::new(path, line, format!("`{shown}`: a path of one machine")));
            }
        }
    }
}

/// Whether `word` stands in `text` without a letter, digit or `_` running on before or after it.
fn holds_word(text: &str, word: &str) -> bool {
    let runs_on = |c: char| c.is_alphanumeric() || c == '_';
    let closed = !word.ends_with(runs_on);
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(runs_on) && (closed || !text[at + word.len()..].starts_with(runs_on))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<(usize, String)> {
        let mut findings = Vec::new();
        check(&Tree::of(&[(path, text)]), &mut findings);
        findings.into_iter().map(|finding| (finding.line, finding.what)).collect()
    }

    #[test]
    fn a_head_is_asked_for() {
        assert_eq!(faults("crates/a/src/lib.rs", "//! What.\n").len(), 0);
        assert!(faults("crates/a/src/lib.rs", "use std::fs;\n")[0].1.contains("//!"));
    }

    #[test]
    fn tests_do_not_count_as_lines() {
        let body = "x\n".repeat(MAX_LINES - 1);
        let long = format!("//! A.\n{body}#[cfg(test)]\nmod tests {{\n{body}}}\n");
        assert_eq!(faults("crates/a/src/lib.rs", &long), []);
        let longer = format!("//! A.\nx\n{body}");
        assert_eq!(faults("crates/a/src/lib.rs", &longer)[0].0, MAX_LINES + 1);
        assert_eq!(faults("crates/a/tests/all.rs", &longer), []);
        let attribute = format!("//! A.\n#[cfg(test)]\nuse x;\n{body}");
        assert_eq!(faults("crates/a/src/lib.rs", &attribute).len(), 1);
    }

    #[test]
    fn unfinished_marks_are_found_as_words() {
        for mark in MARKS {
            let text = format!("//! A.\nfn a() {{\n    {mark}\n}}\n");
            assert!(faults("crates/a/src/lib.rs", &text).iter().any(|(line, _)| *line == 3), "{mark}");
        }
        let inside = format!("//! A.\nlet a = 0x{}X;\n", MARKS[4]);
        assert_eq!(faults("crates/a/src/lib.rs", &inside), []);
    }

    #[test]
    fn unchecked_code_stays_in_one_crate() {
        let text = format!("//! A.\n{UNCHECKED} {{ }}\n#![forbid({UNCHECKED}_code)] // {UNCHECKED}\n");
        assert_eq!(faults("crates/measure/src/a.rs", &text).len(), 1);
        assert_eq!(faults("crates/vit-ops/src/a.rs", &text), []);
    }

    #[test]
    fn paths_of_one_machine_are_found_and_others_are_not() {
        for local in MACHINE_PATHS {
            let text = format!("see `{local}x/y.toml` there\n");
            assert_eq!(faults("docs/src/a.md", &text).len(), 1, "{local}");
            assert_eq!(
                faults("docs/src/a.md", &format!("see docs{local}x and https:/{local}x\n")),
                [],
                "{local}"
            );
        }
        let shared = format!("train = \"{}/fashion-mnist\"\n", SHARED_PATHS[0]);
        assert_eq!(faults("recipes/probe/a.toml", &shared), []);
    }
}
