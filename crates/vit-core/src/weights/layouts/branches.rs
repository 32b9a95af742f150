//! Student and teacher of one file have the same tensors of the same shapes, in the encoder and in its heads; a difference
//! is named.

use super::super::audit::{Audit, Misshapen};
use super::super::files::{Entry, TensorFile};
use super::detect::parent_of;
use super::leftover::reason;
use std::collections::BTreeMap;

/// The tensors of one branch by their names below its root.
type Branch<'a> = BTreeMap<&'a str, &'a Entry>;

/// Holds every other encoder of the file against the chosen one, and their heads where both have some.
pub(super) fn audit(file: &TensorFile, root: &str, audit: &mut Audit) {
    for other in audit.other_roots.clone() {
        if root.is_empty() || other.is_empty() {
            continue;
        }
        compare((root, &encoder(file, root)), (&other, &encoder(file, &other)), audit);
        // Heads stand inside the encoder's root, or beside it where each branch has a place of its own.
        let (own, theirs) = match (parent_of(root), parent_of(&other)) {
            (own, theirs) if own == theirs => (root, other.as_str()),
            beside => beside,
        };
        let (own_heads, their_heads) = (heads(file, own, root), heads(file, theirs, &other));
        if !own_heads.is_empty() && !their_heads.is_empty() {
            compare((own, &own_heads), (theirs, &their_heads), audit);
        }
    }
}

fn encoder<'a>(file: &'a TensorFile, root: &str) -> Branch<'a> {
    let optional = |inner: &str| {
        inner.contains("masked_embed") || inner.contains("mask_token") || reason(inner, Some(inner)).is_some()
    };
    let inner = |entry: &'a Entry| Some((entry.name.strip_prefix(root)?, entry));
    file.entries().iter().filter_map(inner).filter(|(inner, _)| !optional(inner)).collect()
}

fn heads<'a>(file: &'a TensorFile, place: &str, root: &str) -> Branch<'a> {
    let is_head = |inner: &str| matches!(reason(inner, Some(inner)), Some("heads" | "queues and prototypes"));
    let inner = |entry: &'a Entry| {
        let outside = place == root || !entry.name.starts_with(root);
        Some((entry.name.strip_prefix(place).filter(|_| outside)?, entry))
    };
    file.entries().iter().filter_map(inner).filter(|(inner, _)| is_head(inner)).collect()
}

fn compare((root, own): (&str, &Branch), (other, theirs): (&str, &Branch), audit: &mut Audit) {
    for (inner, entry) in own {
        match theirs.get(inner) {
            None => miss(format!("{other}{inner}"), audit),
            Some(twin) if twin.shape != entry.shape => {
                let known = |name: &str| audit.misshapen.iter().any(|tensor| tensor.name == name);
                if !known(&entry.name) && !known(&twin.name) {
                    audit.misshapen.push(Misshapen {
                        name: twin.name.clone(),
                        expected: entry.shape.clone(),
                        found: twin.shape.clone(),
                        by: Some(entry.name.clone()),
                    });
                }
            }
            Some(_) => {}
        }
    }
    let alone: Vec<&&str> = theirs.keys().filter(|inner| !own.contains_key(*inner)).collect();
    for inner in alone {
        miss(format!("{root}{inner}"), audit);
    }
}

fn miss(name: String, audit: &mut Audit) {
    if !audit.missing.contains(&name) {
        audit.missing.push(name);
    }
}
