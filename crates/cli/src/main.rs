//! The vitscope binary: words to calls. The only place that prints, reads the clock, and gives exit codes.
#![allow(clippy::disallowed_methods, reason = "the command line measures the time that a run takes")]
#![allow(clippy::disallowed_macros, reason = "the command line prints")]

mod args;
mod builtin;
mod cache;
mod commands;
mod continued;
mod data;
mod embedding;
mod expect;
mod health;
mod models;
mod monitor;
mod names;
mod outcome;
mod progress;
mod settings;
mod shards;
mod showcase;
mod studies;
mod study_recipe;
mod tuning;

use args::{Cli, Verb};
use clap::Parser;
use clap::error::ErrorKind;
use outcome::{Done, Stop};
use std::any::Any;
use std::io::Write;
use std::process::ExitCode;
use vit_core::weights::WeightsError;
use vit_train::TrainError;

#[global_allocator]
static ALLOCATOR: vit_ops::Allocator = vit_ops::Allocator {};

fn main() -> ExitCode {
    vit_ops::keep_pages();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(text) = commands::probe::help_of(&words) {
        let written = std::io::stdout().lock().write_all(text.as_bytes());
        return if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) if help.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => help.exit(),
        Err(error) if error.use_stderr() => {
            eprintln!("error: {}", usage_line(&error));
            return ExitCode::from(2);
        }
        Err(help) => help.exit(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        eprintln!(
            "error: {}",
            one_line(&format!("a defect of vitscope: {} ({place})", words_of(panic.payload())))
        );
    }));
    progress::listen();
    let Ok(ran) = std::panic::catch_unwind(|| run(cli)) else { return ExitCode::from(2) };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", one_line(&chain(&error)));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// Runs a verb, prints what it has done, and checks what was stated of it.
fn run(cli: Cli) -> anyhow::Result<()> {
    let (done, expectations) = match cli.verb {
        Verb::List(args) => return print(&commands::list::run(&args)?, args.saying.json),
        Verb::Data(args) => {
            let (done, failed) = commands::data::run(&args)?;
            print(&done, args.json())?;
            return failed.map_or(Ok(()), |sentence| Err(anyhow::anyhow!(sentence)));
        }
        Verb::Completions(args) => return commands::completions::run(&args),
        Verb::Inspect(args) => {
            let (done, verdict) = commands::inspect::run(&args)?;
            print(&done, args.saying.json)?;
            return verdict;
        }
        Verb::Export(args) => return print(&commands::export::run(&args)?, args.saying.json),
        Verb::Compare(with) => stated(&with.common, || commands::compare::run(&with.args, &with.common))?,
        Verb::Pretrain(with) => stated(&with.common, || commands::pretrain::run(&with.args, &with.common))?,
        Verb::Probe(with) => stated(&with.common, || commands::probe::run(&with.args, &with.common))?,
        Verb::Analyze(with) => stated(&with.common, || commands::analyze::run(&with.args, &with.common))?,
        Verb::Merge(args) => stated(&args.common(), || commands::merge::run(&args))?,
        Verb::Report(args) => stated(&args.common(), || commands::report::run(&args))?,
        Verb::Embed(with) => stated(&with.common, || commands::embed::run(&with.args, &with.common))?,
    };
    expect::check(&expectations, &done.metrics)
}

/// Reads what is stated before the work, does it on the worker threads, and prints the result after it.
fn stated(
    common: &args::Common,
    work: impl FnOnce() -> anyhow::Result<Done> + Send,
) -> anyhow::Result<(Done, Vec<expect::Expectation>)> {
    let expectations = expect::parse(&common.expect)?;
    // Only the first call of a process can set the number; each process has one.
    let _ = vit_ops::set_threads(settings::n_threads(common));
    let done = vit_ops::on_threads(work)?;
    print(&done, common.json)?;
    Ok((done, expectations))
}

/// Prints to stdout; a reader who went away is no error.
fn print(done: &Done, json: bool) -> anyhow::Result<()> {
    let mut text = String::new();
    if json {
        text = serde_json::to_string_pretty(&done.json)?;
        text.push('\n');
    } else {
        for line in &done.lines {
            text.push_str(line);
            text.push('\n');
        }
        if let Some(path) = &done.path {
            text.push_str(&path.display().to_string());
            text.push('\n');
        }
    }
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// The causes of an error, each said once.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

/// What is wrong with a command line, in one line: the reason and the hint of the nearest name.
fn usage_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.split("\n\nUsage:").next().unwrap_or_default();
    let text = text.split("\n\nFor more information").next().unwrap_or_default();
    let text = text.split("\n\n  tip: to pass ").next().unwrap_or_default().replace("\n\n  tip: ", "; ");
    let line = one_line(text.trim_start_matches("error:"));
    format!("{line}; `--help` says more")
}

/// The text without line breaks.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn words_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".into())
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match (error.downcast_ref::<Stop>(), error.downcast_ref::<TrainError>()) {
        (Some(Stop::NotHeld(_)), _) | (_, Some(TrainError::NotFinite { .. })) => 1,
        _ if matches!(error.downcast_ref(), Some(WeightsError::Incomplete { .. })) => 1,
        (Some(Stop::Interrupted { .. }), _) | (_, Some(TrainError::Interrupted { .. })) => 130,
        _ => 2,
    }
}
