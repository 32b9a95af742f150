//! Parts of a study: what one part of the data gives is saved in a file, and the files of all parts are read again.

mod asking;
mod file;

pub(crate) use asking::{Asking, Origin};
pub(crate) use file::{Part, open_all};

use crate::args::Common;
use crate::data::{Sides, digest};
use crate::study_recipe::{StudyKind, StudyRecipe};
use anyhow::bail;
use report::Provenance;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use vit_data::Unreadable;
use vit_features::{Passage, Shapes};

/// Part I of N, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shard {
    /// Which part, from 1.
    pub(crate) part: usize,
    /// How many there are.
    pub(crate) of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shard = text
            .split_once('/')
            .and_then(|(part, of)| Some(Self { part: part.parse().ok()?, of: of.parse().ok()? }));
        let shard = shard.filter(|shard| (1..=shard.of).contains(&shard.part));
        shard.ok_or_else(|| format!("expected I/N, part I of N with I from 1 to N; found `{text}`"))
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
}

/// The options that `probe` and `analyze` share.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct InParts {
    /// Look at part I of N of the data only (I from 1 to N), and save what was accumulated, for `vitscope merge`
    #[arg(long, value_name = "I/N", requires = "save")]
    pub(crate) shard: Option<Shard>,
    /// The file in which --shard saves
    #[arg(long, value_name = "FILE", requires = "shard")]
    pub(crate) save: Option<PathBuf>,
}

impl InParts {
    /// Which part to look at, and the file of the result.
    ///
    /// # Errors
    /// When a folder for reports or an expectation is given too, or there is such a file already.
    pub(crate) fn target(&self, common: &Common) -> anyhow::Result<Option<(Shard, &Path)>> {
        let (Some(shard), Some(file)) = (self.shard, &self.save) else { return Ok(None) };
        if let Some(expectation) = common.expect.first() {
            bail!(
                "--expect {expectation}: expected none with --shard, which gives no numbers yet; found one"
            );
        }
        if let Some(out) = &common.out {
            bail!(
                "--out: expected none beside --shard, whose result is the file of --save; found {}",
                out.display()
            );
        }
        if file.is_dir() {
            bail!("--save: expected a file; found a folder: {}", file.display());
        }
        if file.exists() && !common.overwrite {
            bail!("--save: expected a new file, or --overwrite; found one that is there: {}", file.display());
        }
        Ok(Some((shard, file.as_path())))
    }
}

/// Whose accumulator it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Whose {
    /// The models that were given.
    Given,
    /// The pixels themselves, beside a probe.
    RawPixels,
    /// The same architecture with random weights, beside a probe.
    Untrained,
}

/// What one accumulator is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Section {
    /// Whose it is.
    pub(crate) whose: Whose,
    /// Digests of the models' weights; none of pixels.
    pub(crate) weights_sha256: Vec<String>,
    /// How views are cut for each model, in words.
    pub(crate) views: Vec<String>,
    /// Sizes of the models and of all of the data, not of the part.
    pub(crate) shapes: Shapes,
}

impl Section {
    /// The names of its models.
    pub(crate) fn name(&self) -> String {
        let names: Vec<&str> = self.shapes.models().map(|shapes| shapes.model.as_str()).collect();
        names.join(", ")
    }
}

/// One side of all of the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Side {
    /// Its name in reports.
    pub(crate) name: String,
    /// Samples used.
    pub(crate) n_samples: usize,
    /// Of the samples' order and classes.
    pub(crate) sha256: String,
}

impl Side {
    /// A side of the data.
    pub(crate) fn of(side: &Passage) -> Self {
        Self { name: side.data.name(), n_samples: side.indices.len(), sha256: digest(side) }
    }
}

/// What was looked at, and which part this is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Of vitscope.
    pub(crate) version: String,
    /// Which registry.
    pub(crate) kind: StudyKind,
    /// The resolved recipe.
    pub(crate) recipe: StudyRecipe,
    /// Of the run; its time is that of this part.
    pub(crate) provenance: Provenance,
    /// Samples in a batch of the forward pass; parts end at the border of one.
    pub(crate) batch: usize,
    /// The training side, where it was looked at, then the test side.
    pub(crate) sides: Vec<Side>,
    /// Which part.
    pub(crate) shard: Shard,
    /// Samples of this part that could not be read, with the name of their data set.
    pub(crate) unreadable: Vec<(String, usize, String)>,
    /// What the accumulators are of, in their order.
    pub(crate) sections: Vec<Section>,
}

impl Header {
    /// The samples that could not be read, as they are told in reports.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = (String, Unreadable)> {
        self.unreadable
            .iter()
            .map(|(data, index, reason)| (data.clone(), Unreadable { index: *index, reason: reason.clone() }))
    }
}

/// A part of both sides, cut at the border of batches, so that groups of samples stay whole.
///
/// # Errors
/// When there are fewer batches than parts.
pub(crate) fn cut(sides: &Sides, shard: Shard, batch: usize, border: usize) -> anyhow::Result<Sides> {
    let test_step = least_common_multiple(batch, border);
    let part = |side: &Passage, step: usize| {
        let n = side.indices.len();
        let n_steps = n.div_ceil(step);
        if n_steps < shard.of {
            bail!(
                "--shard {shard}: expected at most {n_steps} parts, because parts end where batches do, after a multiple \
                 of {step} of the {n} samples; found {} (--batch N makes batches smaller): {}",
                shard.of,
                side.data.name()
            );
        }
        let place = |part: usize| (n_steps * part / shard.of * step).min(n);
        let indices = side.indices[place(shard.part - 1)..place(shard.part)].to_vec();
        Ok(Passage { indices: Arc::new(indices), ..side.clone() })
    };
    let train = sides.train.as_ref().map(|side| part(side, batch)).transpose()?;
    Ok(Sides { train, test: part(&sides.test, test_step)? })
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x.max(1) * b
}
