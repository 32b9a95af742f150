//! `data`: what is in a data set, and what is wrong with it.

mod check;
mod ink;
mod sheet;
mod show;
mod survey;

use crate::outcome::Done;

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vitscope data show part-shapes --out shapes.png
  vitscope data show folder:photos --recipe mae-part-shapes --size 224 --out views.html
  vitscope data check folder:photos
  vitscope data check cifar10:cifar --json";

/// The options of `data`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Draw a contact sheet of samples, truth and augmented views
    #[command(after_help = show::EXAMPLES)]
    Show(show::Args),
    /// Read every sample and say what is missing or malformed; exit code 2 where something is
    #[command(after_help = check::EXAMPLES)]
    Check(check::Args),
}

impl Args {
    /// Whether the result is printed as one JSON document.
    pub(crate) fn json(&self) -> bool {
        match &self.verb {
            Verb::Show(args) => args.saying.json,
            Verb::Check(args) => args.saying.json,
        }
    }
}

/// Shows or checks; what is printed, and the sentence with which the program then fails, if it does.
pub(crate) fn run(args: &Args) -> anyhow::Result<(Done, Option<String>)> {
    match &args.verb {
        Verb::Show(args) => Ok((show::run(args)?, None)),
        Verb::Check(args) => check::run(args),
    }
}
