//! Selects: which tokens of which place become a feature, in words such as `block*.cls` or `norm.patches`.

use crate::StudyError;
use serde::{Deserialize, Serialize};
use std::fmt;
use vit_core::{Backbone, Site};

/// Where a feature is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// The pixels themselves, no model.
    Pixels,
    /// At a site of the encoder.
    At(Site),
    /// A block's output through the final norm.
    NormedBlock(usize),
}

/// Which tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Part {
    /// The class token, `[D]`.
    Class,
    /// The register tokens, `[registers, D]`.
    Registers,
    /// The patch tokens, `[N, D]`.
    Patches,
    /// The mean of the patch tokens, `[D]`.
    Mean,
}

/// A place and a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Select {
    /// Where.
    pub place: Place,
    /// Which tokens.
    pub part: Part,
}

impl Select {
    /// The pixels of the view as one vector.
    pub const PIXELS: Self = Self { place: Place::Pixels, part: Part::Mean };

    /// The site that must be looked at.
    pub fn site(self) -> Option<Site> {
        match self.place {
            Place::Pixels => None,
            Place::At(site) => Some(site),
            Place::NormedBlock(i) => Some(Site::Block(i)),
        }
    }

    /// The layer it belongs to: the block, or `depth` for the final norm.
    pub fn layer(self, depth: usize) -> Option<usize> {
        match self.place {
            Place::NormedBlock(i)
            | Place::At(
                Site::Block(i)
                | Site::Norm1(i)
                | Site::Norm2(i)
                | Site::Query(i)
                | Site::Key(i)
                | Site::Value(i)
                | Site::Attention(i),
            ) => Some(i),
            Place::At(Site::Norm) => Some(depth),
            Place::Pixels | Place::At(_) => None,
        }
    }

    /// Whether one sample is one vector, not a map of tokens.
    pub fn is_vector(self) -> bool {
        matches!(self.part, Part::Class | Part::Mean)
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let part = match self.part {
            Part::Class => "cls",
            Part::Registers => "registers",
            Part::Patches => "patches",
            Part::Mean => "mean",
        };
        match self.place {
            Place::Pixels => write!(f, "pixels"),
            Place::At(site) => write!(f, "{site}.{part}"),
            Place::NormedBlock(i) => write!(f, "normed.block{i}.{part}"),
        }
    }
}

const SYNTAX: &str = "block{i}.cls|registers|patches|mean, block{i}.query|key|value.patches, norm1.{i}.…, norm2.{i}.…, \
                      norm.…, normed.block{i}.… with {i} from 0 or *";

/// Reads comma-separated selects; `*` stands for every block of the model.
///
/// # Errors
/// When one is not written as selects are, or names a block, token or norm that the model does not have.
pub fn parse_selects(text: &str, model: &Backbone) -> Result<Vec<Select>, StudyError> {
    let mut selects = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let wrong = || StudyError::Select { expected: SYNTAX.into(), found: item.into() };
        let (place, part) = item.rsplit_once('.').ok_or_else(wrong)?;
        let part = match part {
            "cls" => Part::Class,
            "registers" => Part::Registers,
            "patches" => Part::Patches,
            "mean" => Part::Mean,
            _ => return Err(wrong()),
        };
        for place in places(place, model.depth()).ok_or_else(wrong)? {
            let select = Select { place, part };
            check(select, model)?;
            selects.push(select);
        }
    }
    if selects.is_empty() {
        return Err(StudyError::Select { expected: SYNTAX.into(), found: text.into() });
    }
    Ok(selects)
}

/// The places that a text names, `*` expanded.
fn places(text: &str, depth: usize) -> Option<Vec<Place>> {
    if text == "norm" {
        return Some(vec![Place::At(Site::Norm)]);
    }
    let blocks = |index: &str| -> Option<Vec<usize>> {
        if index == "*" {
            return Some((0..depth).collect());
        }
        Some(vec![index.parse().ok()?])
    };
    let expand =
        |index: &str, place: fn(usize) -> Place| Some(blocks(index)?.into_iter().map(place).collect());
    if let Some(index) = text.strip_prefix("normed.block") {
        return expand(index, Place::NormedBlock);
    }
    if let Some(index) = text.strip_prefix("norm1.") {
        return expand(index, |i| Place::At(Site::Norm1(i)));
    }
    if let Some(index) = text.strip_prefix("norm2.") {
        return expand(index, |i| Place::At(Site::Norm2(i)));
    }
    let block = text.strip_prefix("block")?;
    match block.split_once('.') {
        None => expand(block, |i| Place::At(Site::Block(i))),
        Some((index, "query")) => expand(index, |i| Place::At(Site::Query(i))),
        Some((index, "key")) => expand(index, |i| Place::At(Site::Key(i))),
        Some((index, "value")) => expand(index, |i| Place::At(Site::Value(i))),
        Some(_) => None,
    }
}

fn check(select: Select, model: &Backbone) -> Result<(), StudyError> {
    let depth = model.depth();
    let problem = match select {
        _ if select.layer(depth).is_some_and(|layer| layer > depth)
            || matches!(select.place, Place::At(site) if site != Site::Norm)
                && select.layer(depth) == Some(depth)
            || select.place == Place::NormedBlock(depth) =>
        {
            Some(format!("a block from 0 to {}", depth - 1))
        }
        Select { part: Part::Class, .. } if !model.has_class() => Some("a model with a class token".into()),
        Select { part: Part::Registers, .. } if model.n_prefix() <= usize::from(model.has_class()) => {
            Some("a model with register tokens".into())
        }
        Select { place: Place::At(Site::Norm) | Place::NormedBlock(_), .. } if !model.has_norm() => {
            Some("a model with a norm over tokens".into())
        }
        Select { place: Place::At(site), .. } if site.needs_attention() && model.n_heads().is_none() => {
            Some("a model with attention".into())
        }
        _ => None,
    };
    match problem {
        Some(expected) => Err(StudyError::Select { expected, found: select.to_string() }),
        None => Ok(()),
    }
}
