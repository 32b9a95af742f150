//! Tasks of the workspace: `cargo xtask ci`, `cargo xtask tidy`, `cargo xtask docs`, `cargo xtask new`,
//! `cargo xtask bench`.
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a developer's tool prints, reads the environment and measures time; no result depends on it"
)]

mod bench;
mod ci;
mod docs;
mod new;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask <TASK>

Tasks:
  ci     the gate: format, tidy, clippy, rustdoc, then all tests; stops at the first failure
  tidy   the rules that no compiler checks: layers, file heads and sizes, pages and recipes
  docs   the rendered book, where mdbook is installed
  new    objective|probe|analysis NAME: a method that works, its registry line, recipe and page
  bench  --peer PYTHON: our speed beside that of other libraries, into the book";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["ci"] => ci::run(&workspace_root()),
        ["tidy"] => tidy::run(&workspace_root()),
        ["docs"] => docs::run(&workspace_root()),
        ["bench", ref options @ ..] => bench::run(&workspace_root(), options),
        ["new", kind, name] => new::run(&workspace_root(), kind, name),
        ["help" | "-h" | "--help"] => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{HELP}");
            ExitCode::from(2)
        }
    }
}

/// The folder that holds the workspace's `Cargo.toml`.
fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}
