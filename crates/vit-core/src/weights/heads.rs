//! Heads and decoders that stand beside an encoder: held together by their own rules, and read by name.
//!
//! They are no part of the model, but a damaged file shows in them too: a layer whose weight is gone but whose bias is
//! there, a layer that does not take what the one before it gives.

use super::audit::{Audit, Misshapen};
use super::files::TensorFile;
use std::collections::{BTreeMap, BTreeSet};

/// Adds what is missing from heads and other decoders than MAE's (`of_decoder` names the tensors of that one), and what
/// does not fit together.
pub(super) fn audit(file: &TensorFile, of_decoder: &BTreeSet<String>, audit: &mut Audit) {
    let names: Vec<String> = ["heads", "decoder", "another branch"]
        .iter()
        .filter_map(|why| audit.leftovers.get(*why))
        .flatten()
        .filter(|name| !of_decoder.contains(*name))
        .cloned()
        .collect();
    let mut layers: BTreeMap<String, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    for name in &names {
        if let (Some((layer, param)), Some(shape)) = (name.rsplit_once('.'), file.shape(name)) {
            layers.entry(layer.to_owned()).or_default().insert(param.to_owned(), shape);
        }
    }
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
    // SimMIM's decoder is one convolution of a single pixel.
    let of_simmim = layer.ends_with("decoder.0")
        && params.get("weight").is_some_and(|shape| shape.get(2..) == Some(&[1, 1][..]));
    if (layer.ends_with("pooler.dense") || of_simmim) && has("weight") && !has("bias") {
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
