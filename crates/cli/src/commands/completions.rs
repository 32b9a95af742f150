//! `completions`: what the shell offers while a command is typed.

use crate::args::Cli;
use clap::CommandFactory;
use clap_complete::{Shell, generate};
use std::io::Write;

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vitscope completions bash > /etc/bash_completion.d/vitscope
  vitscope completions zsh > ~/.zfunc/_vitscope
  vitscope completions fish > ~/.config/fish/completions/vitscope.fish";

/// The options of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "vitscope", &mut script);
    match std::io::stdout().lock().write_all(&script) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
