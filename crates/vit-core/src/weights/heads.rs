//! Heads and decoders that stand beside an encoder: held together by their own rules, and read by name.
//!
//! They are no part of the model, but a damaged file shows in them too: a layer whose weight is gone but whose bias is
//! there, a layer that does not take what the one before it gives.

use super::audit::{Audit, Misshapen};
use super::files::TensorFile;
use super::layouts::{Dim, Voter, capture, expand, squeezed, vote};
use std::collections::{BTreeMap, BTreeSet};

/// MAE's decoder: names below the encoder's root, and shapes in symbols (`E` its width, `D` the encoder's).
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

/// Adds what is missing from heads and decoders, and what does not fit together.
pub(super) fn audit(file: &TensorFile, root: &str, audit: &mut Audit) {
    decoder(file, root, audit);
    let names: Vec<String> = ["heads", "decoder", "another branch"]
        .iter()
        .filter_map(|why| audit.leftovers.get(*why))
        .flatten()
        .cloned()
        .collect();
    let mut layers: BTreeMap<String, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    for name in &names {
        if let (Some((layer, param)), Some(shape)) = (name.rsplit_once('.'), file.shape(name)) {
            layers.entry(layer.to_owned()).or_default().insert(param.to_owned(), shape);
        }
    }
    let own_decoder = format!("{root}decoder_");
    layers.retain(|layer, _| !layer.starts_with(&own_decoder));
    for (layer, params) in &layers {
        one_layer(layer, params, audit);
    }
    chains(&layers, audit);
}

fn misfit(audit: &mut Audit, name: String, (expected, found): (Vec<usize>, Vec<usize>), by: String) {
    if expected != found && !audit.misshapen.iter().any(|tensor| tensor.name == name) {
        audit.misshapen.push(Misshapen { name, expected, found, by: Some(by) });
    }
}

/// A layer has a weight where it has anything else, and its parts agree.
fn one_layer(layer: &str, params: &BTreeMap<String, Vec<usize>>, audit: &mut Audit) {
    let has = |param: &str| params.contains_key(param);
    let name = |param: &str| format!("{layer}.{param}");
    let pairs = [("weight_g", "weight_v"), ("original0", "original1")];
    for (g, v) in pairs {
        match (params.get(g), params.get(v)) {
            (Some(found), Some(shape)) => {
                let mut expected = vec![1; shape.len()];
                expected[0] = shape[0];
                misfit(audit, name(g), (expected, found.clone()), name(v));
            }
            (None, Some(_)) => audit.missing.push(name(g)),
            (Some(_), None) => audit.missing.push(name(v)),
            (None, None) => {}
        }
    }
    let normed = pairs.iter().any(|(g, v)| has(g) || has(v));
    if has("bias") && !has("weight") && !normed {
        audit.missing.push(name("weight"));
    }
    if layer.ends_with("pooler.dense") && has("weight") && !has("bias") {
        audit.missing.push(name("bias"));
    }
    if let (Some(weight), Some(bias)) = (params.get("weight"), params.get("bias")) {
        // A convolution that widens has its outputs on the second axis.
        let n_out = if weight.len() == 4 && layer.ends_with("convTrans") { weight[1] } else { weight[0] };
        let mut expected = weight.clone();
        if let (Some(first), &[n]) = (expected.first_mut(), bias.as_slice())
            && n_out != n
        {
            *first = n;
            if weight.len() == 2 && weight[1] == n {
                expected.swap(0, 1);
                expected = vec![n, weight[0]];
            }
            misfit(audit, name("weight"), (expected, weight.clone()), name("bias"));
        }
    }
}

/// In a sequence of layers each takes what the one before gives, and all have a bias or none has.
fn chains(layers: &BTreeMap<String, BTreeMap<String, Vec<usize>>>, audit: &mut Audit) {
    let mut sequences: BTreeMap<&str, BTreeMap<usize, &str>> = BTreeMap::new();
    for layer in layers.keys() {
        if let Some((sequence, index)) = layer.rsplit_once('.')
            && let Ok(index) = index.parse()
        {
            sequences.entry(sequence).or_default().insert(index, layer);
        }
    }
    for (sequence, members) in sequences {
        let linear: Vec<&str> = members
            .values()
            .copied()
            .filter(|l| layers[*l].get("weight").is_some_and(|w| w.len() == 2))
            .collect();
        let with_bias = linear.iter().filter(|layer| layers[**layer].contains_key("bias")).count();
        if 2 * with_bias > linear.len() {
            let without = linear.iter().filter(|layer| !layers[**layer].contains_key("bias"));
            let missing: Vec<String> = without.map(|layer| format!("{layer}.bias")).collect();
            audit.missing.extend(missing);
        }
        for pair in linear.windows(2) {
            let (before, after) = (&layers[pair[0]]["weight"], &layers[pair[1]]["weight"]);
            let expected = vec![after[0], before[0]];
            misfit(
                audit,
                format!("{}.weight", pair[1]),
                (expected, after.clone()),
                format!("{}.weight", pair[0]),
            );
        }
        // DINO's last layer takes what the projector gives.
        let last = sequence.rsplit_once('.').map(|(head, _)| format!("{head}.last_layer"));
        if let (Some(last), Some(projector)) = (last, linear.last())
            && let Some(v) = layers.get(&last).and_then(|params| params.get("weight_v"))
            && v.len() == 2
        {
            let expected = vec![v[0], layers[*projector]["weight"][0]];
            misfit(audit, format!("{last}.weight_v"), (expected, v.clone()), format!("{projector}.weight"));
        }
    }
}

/// MAE's decoder has all of its tensors, or none.
fn decoder(file: &TensorFile, root: &str, audit: &mut Audit) {
    let mut found: BTreeMap<String, (Vec<Dim>, Vec<usize>)> = BTreeMap::new();
    let mut patterns = BTreeSet::new();
    let mut depth = 0;
    for entry in file.entries() {
        let Some(inner) = entry.name.strip_prefix(root) else { continue };
        let fits =
            DECODER.iter().find_map(|(pattern, dims)| Some((*pattern, *dims, capture(pattern, inner)?)));
        if let Some((pattern, dims, block)) = fits {
            patterns.insert(pattern);
            depth = depth.max(block.map_or(0, |block| block + 1));
            let dims = dims.iter().map(|dim| Dim::read(dim)).collect();
            found.insert(inner.to_owned(), (dims, entry.shape.clone()));
        }
    }
    let n_decoder = patterns.iter().filter(|pattern| pattern.starts_with("decoder_")).count();
    if n_decoder == 0 {
        return;
    }
    let split = patterns.contains("decoder_blocks.{i}.attn.kv.weight");
    for (pattern, _) in DECODER {
        let of_split = pattern.contains(".attn.q.") || pattern.contains(".attn.kv.");
        if of_split != split && (of_split || pattern.contains(".attn.qkv.")) {
            continue;
        }
        let blocks: Vec<Option<usize>> =
            if pattern.contains("{i}") { (0..depth).map(Some).collect() } else { vec![None] };
        for block in blocks {
            let name = expand(pattern, block);
            if !found.contains_key(&name) {
                audit.missing.push(format!("{root}{name}"));
            }
        }
    }
    let voters: Vec<Voter> = found
        .iter()
        .filter_map(|(name, (dims, shape))| {
            let (dims, shape) = squeezed(dims, shape)?;
            Some(Voter { name, dims, shape })
        })
        .collect();
    let voted = vote(&voters);
    let mut values: BTreeMap<char, usize> = voted.iter().map(|(s, (value, _))| (*s, *value)).collect();
    values.insert('D', audit.config.width);
    values.insert('T', 1 + audit.config.grid().n_patches());
    values.insert('Q', 3 * audit.config.patch_px.pow(2));
    if voters.iter().any(|voter| voter.name.starts_with("decoder_pred") && split) {
        values.insert('Q', voted.get(&'Q').map_or(0, |(value, _)| *value));
    }
    for (name, (dims, shape)) in &found {
        let expected: Option<Vec<usize>> = dims.iter().map(|dim| dim.number(&values)).collect();
        if let Some(expected) = expected
            && expected != *shape
        {
            let (name, found) = (format!("{root}{name}"), shape.clone());
            audit.misshapen.push(Misshapen { name, expected, found, by: None });
        }
    }
}
