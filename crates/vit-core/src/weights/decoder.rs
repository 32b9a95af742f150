//! MAE's decoder, which stands with the encoder in files of pre-training: under MAE's own names (MILAN's are the same, with
//! queries apart from keys and values), or under those of transformers. It is no part of the model, but is accounted for
//! as a whole, and read under MAE's names.

use super::audit::{Audit, Misshapen};
use super::files::TensorFile;
use super::layouts::{DECODER_BLOCKS, Dim, Form, Piece, Voter, capture, expand, parent_of, squeezed, vote};
use std::collections::{BTreeMap, BTreeSet};

/// MAE's names below the encoder's root, and shapes in symbols (`E` the decoder's width, `D` the encoder's).
const DECODER: &[(&str, &[&str])] = &[
    ("mask_token", &["1", "1", "E"]),
    ("decoder_embed.weight", &["E", "D"]),
    ("decoder_embed.bias", &["E"]),
    ("decoder_pos_embed", &["1", "T", "E"]),
    ("decoder_blocks.{i}.norm1.weight", &["E"]),
    ("decoder_blocks.{i}.norm1.bias", &["E"]),
    ("decoder_blocks.{i}.attn.qkv.weight", &["3E", "E"]),
    ("decoder_blocks.{i}.attn.qkv.bias", &["3E"]),
    ("decoder_blocks.{i}.attn.q.weight", &["E", "E"]),
    ("decoder_blocks.{i}.attn.q.bias", &["E"]),
    ("decoder_blocks.{i}.attn.kv.weight", &["2E", "E"]),
    ("decoder_blocks.{i}.attn.kv.bias", &["2E"]),
    ("decoder_blocks.{i}.attn.proj.weight", &["E", "E"]),
    ("decoder_blocks.{i}.attn.proj.bias", &["E"]),
    ("decoder_blocks.{i}.norm2.weight", &["E"]),
    ("decoder_blocks.{i}.norm2.bias", &["E"]),
    ("decoder_blocks.{i}.mlp.fc1.weight", &["M", "E"]),
    ("decoder_blocks.{i}.mlp.fc1.bias", &["M"]),
    ("decoder_blocks.{i}.mlp.fc2.weight", &["E", "M"]),
    ("decoder_blocks.{i}.mlp.fc2.bias", &["E"]),
    ("decoder_norm.weight", &["E"]),
    ("decoder_norm.bias", &["E"]),
    ("decoder_pred.weight", &["Q", "E"]),
    ("decoder_pred.bias", &["Q"]),
];

/// Whose names a decoder has.
#[derive(Clone, Copy)]
enum Names {
    Mae,
    /// One of transformers' three.
    Hf(usize),
}

/// A tensor of a decoder under names that are known.
struct Found {
    pattern: &'static str,
    block: Option<usize>,
    dims: Vec<Dim>,
    shape: Vec<usize>,
}

/// A decoder of which every tensor is accounted for.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// MAE's name of every parameter that is whole, and where it stands.
    pub(super) pieces: BTreeMap<String, Vec<Piece>>,
    /// All of its tensors in the file.
    pub(super) tensors: BTreeSet<String>,
}

/// A decoder has all of its tensors or none; what is missing or misshapen goes to the audit.
pub(super) fn decoder(file: &TensorFile, root: &str, audit: &mut Audit) -> Decoder {
    let ways = [Names::Mae, Names::Hf(0), Names::Hf(1), Names::Hf(2)];
    let of = |names: Names| (names, tensors(file, &place(names, root), names));
    let n_decoder = |found: &BTreeMap<String, Found>| {
        found.values().filter(|tensor| tensor.pattern.starts_with("decoder_")).count()
    };
    let best = ways.into_iter().map(of).rev().max_by_key(|(_, found)| n_decoder(found));
    let Some((names, found)) = best.filter(|(_, found)| n_decoder(found) > 0) else {
        return Decoder::default();
    };
    let place = place(names, root);
    let values = shapes(&found, audit);
    let depth = found.values().filter_map(|tensor| tensor.block).max().map_or(0, |last| last + 1);
    let has = |pattern: &str| found.values().any(|tensor| tensor.pattern == pattern);
    let split = has("decoder_blocks.{i}.attn.kv.weight");
    let mut pieces = BTreeMap::new();
    for (pattern, dims) in DECODER {
        let of_split = pattern.contains(".attn.q.") || pattern.contains(".attn.kv.");
        if of_split != split && (of_split || pattern.contains(".attn.qkv.")) {
            continue;
        }
        let blocks = if pattern.contains("{i}") { (0..depth).map(Some).collect() } else { vec![None] };
        for block in blocks {
            let mut whole = Vec::new();
            for (inner, part) in parts(names, pattern, block) {
                let name = format!("{place}{inner}");
                let Some(tensor) = found.get(&name) else {
                    audit.missing.push(name);
                    continue;
                };
                let dims = dims.iter().enumerate().map(|(axis, dim)| {
                    let dim = Dim::read(dim);
                    if axis == 0 { dim.part(part.1) } else { dim }
                });
                let expected: Option<Vec<usize>> = dims.map(|dim| dim.number(&values)).collect();
                match expected {
                    Some(expected) if expected != tensor.shape => {
                        let found = tensor.shape.clone();
                        audit.misshapen.push(Misshapen { name, expected, found, by: None });
                    }
                    _ => whole.push(Piece { source: name, part, form: Form::Same }),
                }
            }
            if whole.len() == parts(names, pattern, block).len() {
                pieces.insert(expand(pattern, block), whole);
            }
        }
    }
    Decoder { pieces, tensors: found.into_keys().collect() }
}

/// What stands before the names of a decoder.
fn place(names: Names, root: &str) -> String {
    match names {
        Names::Mae => root.to_owned(),
        Names::Hf(_) => format!("{}decoder.", parent_of(root)),
    }
}

/// The tensors below a place that have such names.
fn tensors(file: &TensorFile, place: &str, names: Names) -> BTreeMap<String, Found> {
    let mut found = BTreeMap::new();
    for entry in file.entries() {
        let Some(inner) = entry.name.strip_prefix(place) else { continue };
        let fit = DECODER.iter().find_map(|(pattern, dims)| {
            let (block, part) = match names {
                Names::Hf(at) if pattern.contains("{i}") => {
                    let lines = DECODER_BLOCKS[at].iter().copied().flatten();
                    let mut lines = lines.filter(|line| pattern.strip_prefix("decoder_") == Some(line.ours));
                    lines.find_map(|line| Some((line.capture(inner)?, line.part)))?
                }
                _ => (capture(pattern, inner)?, (0, 1)),
            };
            let mut dims: Vec<Dim> = dims.iter().map(|dim| Dim::read(dim)).collect();
            dims[0] = dims[0].part(part.1);
            Some(Found { pattern, block, dims, shape: entry.shape.clone() })
        });
        found.extend(fit.map(|fit| (entry.name.clone(), fit)));
    }
    found
}

/// The names of the parts of a parameter.
fn parts(names: Names, pattern: &str, block: Option<usize>) -> Vec<(String, (usize, usize))> {
    match names {
        Names::Hf(at) if pattern.contains("{i}") => {
            let lines = DECODER_BLOCKS[at].iter().copied().flatten();
            let lines = lines.filter(|line| pattern.strip_prefix("decoder_") == Some(line.ours));
            lines.map(|line| (line.name(block), line.part)).collect()
        }
        _ => vec![(expand(pattern, block), (0, 1))],
    }
}

/// The symbols' values: by vote among the tensors, and by the encoder.
fn shapes(found: &BTreeMap<String, Found>, audit: &Audit) -> BTreeMap<char, usize> {
    let voters: Vec<Voter> = found
        .iter()
        .filter_map(|(name, tensor)| {
            let (dims, shape) = squeezed(&tensor.dims, &tensor.shape)?;
            Some(Voter { name, dims, shape })
        })
        .collect();
    let voted = vote(&voters);
    let mut values: BTreeMap<char, usize> = voted.iter().map(|(s, (value, _))| (*s, *value)).collect();
    values.insert('D', audit.config.width);
    values.insert('T', 1 + audit.config.grid().n_patches());
    // MILAN predicts features, not pixels.
    if !found.values().any(|tensor| tensor.pattern.contains(".attn.kv.")) {
        values.insert('Q', 3 * audit.config.patch_px.pow(2));
    }
    values
}
