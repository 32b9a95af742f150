//! What the user types.

// Doc comments here are the help texts, shown as they stand: brackets and angles are no links or tags.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]

use crate::commands::{
    analyze, compare, completions, data, embed, export, inspect, list, merge, pretrain, probe, report,
};
use crate::names::Names;
use clap::{ArgAction, Parser, Subcommand};
use std::path::PathBuf;

/// What does a Vision Transformer learn? Pretrain, probe and explain, layer by layer.
#[derive(Debug, Parser)]
#[command(name = "vitscope", version, max_term_width = 110, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXAMPLES: &str = "\
MODEL is a weights file, a run folder, or an architecture with random weights:
  vit-ti/16, vit-s/16, vit-b/16, vit-l/16, vit-h/14, vit-nano/8,
  vit:dim=32,depth=3,heads=4,patch=8,image=32
DATA is a URI:
  part-shapes[:SPLIT], fashion-mnist:DIR, mnist:DIR, cifar10:DIR, cifar100:DIR,
  folder:DIR, coco:DIR, partimagenet:DIR, voc:DIR, voc-aug:DIR, roxford5k:DIR, rparis6k:DIR,
  spair:DIR, davis:DIR, jhmdb:DIR, vip:DIR, pixels:FILE.safetensors

Examples:
  vitscope pretrain mae-part-shapes --out runs/mae
  vitscope probe knn --weights runs/mae --data part-shapes
  vitscope analyze attention-distance --weights runs/mae --weights vit-nano/8 --data part-shapes
  vitscope embed --weights runs/mae --data folder:photos --out photos.npz
  vitscope data show part-shapes --out shapes.png
  vitscope list

Exit codes: 0 done, 1 something stated did not hold (--expect, a loss that is not finite), 2 bad usage, recipe or
file, 130 interrupted (training saves first and says how to go on).";

/// The verbs.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub(crate) enum Verb {
    /// Train or load several models, ask everything of each, one report
    #[command(after_help = compare::EXAMPLES)]
    Compare(With<compare::Args>),
    /// Train an encoder by a recipe
    #[command(after_help = pretrain::EXAMPLES)]
    Pretrain(With<pretrain::Args>),
    /// How good are the features of a frozen model, layer by layer?
    #[command(after_help = probe::EXAMPLES)]
    Probe(With<probe::Args>),
    /// What does a trained network do?
    #[command(after_help = analyze::EXAMPLES)]
    Analyze(With<analyze::Args>),
    /// Write features of a frozen model to a file
    #[command(after_help = embed::EXAMPLES, mut_arg("set", |set| set.hide(true)))]
    Embed(With<embed::Args>),
    /// Look at a data set, or check that it is whole
    #[command(after_help = data::EXAMPLES)]
    Data(data::Args),
    /// Join what `probe` and `analyze` saved of the parts of the data
    #[command(after_help = merge::EXAMPLES)]
    Merge(merge::Args),
    /// Render saved results into one HTML page
    #[command(after_help = report::EXAMPLES)]
    Report(report::Args),
    /// Which layout, which model: every tensor of a checkpoint accounted for
    #[command(after_help = inspect::EXAMPLES)]
    Inspect(inspect::Args),
    /// Write a checkpoint's model as safetensors under other names
    #[command(after_help = export::EXAMPLES)]
    Export(export::Args),
    /// What there is: objectives, probes, analyses, models, data sets, recipes
    #[command(after_help = list::EXAMPLES)]
    List(list::Args),
    /// Completions for a shell, on stdout
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Args),
}

/// A verb's own options, and those it shares with others.
#[derive(Debug, clap::Args)]
pub(crate) struct With<A: clap::Args> {
    /// Its own.
    #[command(flatten)]
    pub(crate) args: A,
    /// Shared.
    #[command(flatten)]
    pub(crate) common: Common,
}

/// How a verb that does not compute says its result.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Saying {
    /// Print the result as one JSON document, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
    /// Print less: only the result, or what is wrong
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print more: everything that was found out
    #[arg(short, long, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

/// The options of every verb that computes.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Common {
    /// Where to compute: cpu, ndarray, wgpu or cuda[:N]
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
    /// Threads that decode and compute [default: all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) threads: Option<usize>,
    /// Seed of every draw [default: 0, or the recipe's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) seed: Option<u64>,
    /// Samples in a batch [default: 64, or the recipe's]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) batch: Option<usize>,
    /// Use N samples of each split, spread evenly over the classes
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    /// The share of samples that may be unreadable; each is replaced by the next of its class and named in the report
    #[arg(long, value_name = "SHARE", value_parser = a_share, default_value_t = MAX_UNREADABLE)]
    pub(crate) max_unreadable: f64,
    /// Side of the images in pixels [default: the model's, or the recipe's]
    #[arg(long, value_name = "PX", value_parser = at_least_one)]
    pub(crate) size: Option<usize>,
    /// How bytes become numbers [default: the model's, or the recipe's]
    #[arg(long, value_name = "NAME", value_parser = ["imagenet", "half", "clip", "none"])]
    pub(crate) normalize: Option<String>,
    /// Where the result goes [default: runs/<verb>-<n>]
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
    /// Replace a former result at --out
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Change one value of the recipe or the options of the study; may be given again
    #[arg(long, value_name = "KEY=VALUE", value_parser = Names(crate::names::keys), hide_possible_values = true)]
    pub(crate) set: Vec<String>,
    /// Exit with 1 unless this holds, e.g. 'top1[layer=11,k=20]>=0.7'; every number that fits is meant
    #[arg(long, value_name = "EXPR")]
    pub(crate) expect: Vec<String>,
    /// Print the result as one JSON document, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Say what was found out on the way
    #[arg(short, long, action = ArgAction::SetTrue)]
    pub(crate) verbose: bool,
}

/// The share of samples of a data set that may be unreadable where nobody says otherwise.
pub(crate) const MAX_UNREADABLE: f64 = 0.01;

fn a_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("expected a share from 0 to 1; found `{text}`"))
}

/// A whole number of at least 1.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("expected a whole number of at least 1; found `{text}`")),
        Ok(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
