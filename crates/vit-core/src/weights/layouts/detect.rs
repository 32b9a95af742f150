//! Which layout a file has, and where in it the encoder stands.

use super::super::files::Entry;
use super::line::Line;
use super::plan::Branch;
use super::{LAYOUTS, Layout};
use std::collections::{BTreeMap, BTreeSet};

/// A tensor that has a place.
pub(super) struct Placed<'a> {
    pub(super) entry: &'a Entry,
    pub(super) line: &'static Line,
    pub(super) block: Option<usize>,
}

/// A layout at a place in the file.
pub(super) struct Candidate {
    pub(super) layout: &'static Layout,
    pub(super) root: String,
    pub(super) score: usize,
}

/// Every layout at every root where one of its anchors stands, best first.
pub(super) fn candidates(entries: &[Entry]) -> Vec<Candidate> {
    let mut found = Vec::new();
    for &layout in LAYOUTS {
        let mut roots = BTreeSet::new();
        for entry in entries {
            for anchor in layout.anchors {
                if let Some(root) = entry.name.strip_suffix(anchor)
                    && (root.is_empty() || root.ends_with(['.', '/']))
                    && !root.contains("decoder")
                {
                    roots.insert(root.to_owned());
                }
            }
        }
        for root in roots {
            let score = place(entries, layout, &root).len();
            found.push(Candidate { layout, root, score });
        }
    }
    found.retain(|candidate| candidate.score > 1);
    // Stable: of equals the first layout of the table, and the first root by name.
    found.sort_by_key(|candidate| std::cmp::Reverse(candidate.score));
    found
}

/// The tensors of a layout below a root; a line that begins with `^` stands beside the root, not below it.
pub(super) fn place<'a>(entries: &'a [Entry], layout: &'static Layout, root: &str) -> Vec<Placed<'a>> {
    let parent = parent_of(root);
    let mut placed = Vec::new();
    for entry in entries {
        let inner = entry.name.strip_prefix(root);
        let beside = entry.name.strip_prefix(parent);
        let fits = |line: &'static Line| {
            let name = if line.is_beside() { beside } else { inner };
            Some((line, line.capture(name?)?))
        };
        if let Some((line, block)) = layout.lines().find_map(fits) {
            placed.push(Placed { entry, line, block });
        }
    }
    placed
}

/// What stands before the last part of a root: of `a.b.` it is `a.`.
pub(crate) fn parent_of(root: &str) -> &str {
    let trimmed = root.trim_end_matches(['.', '/']);
    trimmed.rfind(['.', '/']).map_or("", |at| &root[..=at])
}

pub(super) fn is_teacher(root: &str) -> bool {
    let words = ["teacher", "momentum_encoder", "model_ema", "state_dict_ema", "ema", "target_encoder"];
    root.split(['.', '/']).any(|part| words.contains(&part))
}

/// The root of the branch that was asked for; without asking DINO's teacher, and elsewhere the trained network.
pub(super) fn chosen<'a>(roots: &[&'a Candidate], branch: Option<Branch>) -> Result<&'a str, String> {
    let has = |word: &str| roots.iter().any(|c| c.root.split('.').any(|part| part == word));
    let wanted = match branch {
        Some(branch) => branch,
        None if has("student") && has("teacher") => Branch::Teacher,
        None if roots.iter().all(|candidate| is_teacher(&candidate.root)) => Branch::Teacher,
        None => Branch::Student,
    };
    let found = roots.iter().find(|c| is_teacher(&c.root) == (wanted == Branch::Teacher));
    found.map(|candidate| candidate.root.as_str()).ok_or_else(|| {
        let names: Vec<String> = roots.iter().map(|c| format!("`{}`", c.root)).collect();
        let word = if wanted == Branch::Teacher { "a teacher" } else { "a student" };
        format!("branch: expected {word} in the file; found encoders only below {}", names.join(", "))
    })
}

/// The number of blocks: up to the last one that has at least half of what a block usually has.
pub(super) fn depth_of(placed: &[Placed]) -> usize {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for block in placed.iter().filter_map(|placed| placed.block) {
        *counts.entry(block).or_default() += 1;
    }
    let mut sizes: Vec<usize> = counts.values().copied().collect();
    sizes.sort_unstable();
    let usual = sizes.get(sizes.len() / 2).copied().unwrap_or(0);
    let last = counts.iter().rev().find(|(block, n)| 2 * **n >= usual && **block < 1000);
    last.map_or(0, |(block, _)| block + 1)
}
