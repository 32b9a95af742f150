//! Our side of `cargo xtask bench`: prepares what both sides work on, and does one row's work as often as it is told.
//!
//! ```text
//! bench prepare ROW DIR [quick]   writes DIR/ROW.safetensors (weights, inputs, our outputs) and pictures
//! bench run ROW DIR THREADS [quick]
//! ```
//!
//! `run` says `ready`; for every line `go` it does the work once and answers `wall-seconds cpu-seconds`; at the end of its
//! input it says `peak BYTES`: the peak of its resident memory since it was ready.
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a developer's tool prints and measures time; no result depends on it"
)]

mod case;
mod forward;
mod look;
mod neighbors;
mod pictures;
mod train;

use case::{Case, Scope};
use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: vit_ops::Allocator = vit_ops::Allocator {};

fn main() -> ExitCode {
    vit_ops::keep_pages();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (arguments, quick) = match arguments.as_slice() {
        [first @ .., "quick"] => (first, true),
        all => (all, false),
    };
    let done = match *arguments {
        ["prepare", row, dir] => prepare(row, &Scope { dir: Path::new(dir), quick }),
        ["run", row, dir, threads] => run(row, &Scope { dir: Path::new(dir), quick }, threads),
        ["start", dir] => start(Path::new(dir)),
        _ => Err("expected prepare ROW DIR, run ROW DIR THREADS or start DIR".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A row's work, by its name.
fn case_of(row: &str, scope: &Scope) -> Result<Case, case::Error> {
    match row {
        "forward-ti" => forward::case("vit-ti/16", 8),
        "forward-s" => forward::case("vit-s/16", 8),
        "forward-b" => forward::case("vit-b/16", 8),
        "forward-nano" => forward::case("vit-nano/4", 256),
        "train-ti" => train::supervised("vit-ti/16", 8, 1000),
        "train-s" => train::supervised("vit-s/16", 8, 1000),
        "train-nano" => train::supervised("vit-nano/4", 256, 10),
        "mae-ti" => train::mae("vit-ti/16", 8),
        "attention-distance" => look::attention_distance(scope),
        "cka" => look::cka(scope),
        "knn" => neighbors::case(scope),
        "jpeg-mae" => pictures::mae(scope),
        "jpeg-dino" => pictures::dino(scope),
        "start" => pictures::first_embedding(scope),
        _ => Err(format!("no row `{row}`").into()),
    }
}

fn prepare(row: &str, scope: &Scope) -> Result<(), case::Error> {
    std::fs::create_dir_all(scope.dir)?;
    let mut case = case_of(row, scope)?;
    let outputs = (case.work)()?;
    for (name, shape, values) in outputs {
        case.tensors.push((format!("output.{name}"), shape, values));
    }
    case::save(&case.tensors, &scope.dir.join(format!("{row}.safetensors")))
}

fn run(row: &str, scope: &Scope, threads: &str) -> Result<(), case::Error> {
    vit_ops::set_threads(threads.parse()?)?;
    vit_ops::on_threads(|| serve(row, scope))
}

fn serve(row: &str, scope: &Scope) -> Result<(), case::Error> {
    let mut case = case_of(row, scope)?;
    case.tensors = Vec::new();
    (case.work)()?; // warm
    // The peak so far is forgotten, where the system can: what follows is the work's own.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    println!("ready");
    for line in stdin().lock().lines() {
        if line? != "go" {
            break;
        }
        let (started, cpu) = (Instant::now(), cpu_secs());
        (case.work)()?;
        println!("{} {}", started.elapsed().as_secs_f64(), cpu_secs() - cpu);
        stdout().flush()?;
    }
    println!("peak {}", vit_ops::peak_memory_bytes().unwrap_or(0));
    Ok(())
}

/// The whole life of a process that embeds one picture: weights are read, a file decoded, one forward made.
fn start(dir: &Path) -> Result<(), case::Error> {
    vit_ops::set_threads(std::thread::available_parallelism().map_or(1, usize::from))?;
    let norm = vit_ops::on_threads(|| pictures::embed_one(dir))?;
    println!("{norm}");
    Ok(())
}

/// The time that all threads of the process have run.
fn cpu_secs() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let nanos = |path: std::path::PathBuf| -> Option<f64> {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    tasks.flatten().filter_map(|task| nanos(task.path())).sum::<f64>() / 1e9
}
