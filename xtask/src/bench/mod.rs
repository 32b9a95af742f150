//! The comparison with other libraries: the same work on both sides, in turns, into one table of the book.

mod machine;
mod rows;
mod side;
mod table;

use rows::{ROWS, Row};
use side::{Answer, Side, start_secs};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use table::Measured;

const USAGE: &str = "\
Usage: cargo xtask bench --peer PYTHON [OPTIONS]

Measures our side and the same work in the Python interpreter's libraries, in turns, and writes docs/src/performance.md.

Options:
  --peer PYTHON    an interpreter with torch and timm; rows of others (transformers, torchvision, faiss, torch_cka) where
                   they can be imported
  --rows A,B       only these rows; the table keeps the others as they were
  --runs N         runs of each side in each row [default: 7]
  --threads N      threads of both sides [default: all]
  --quick          smaller sizes and three runs; the page is left alone
  --binary PATH    our side, already built; otherwise `cargo build --release --package bench` builds it";

/// What was asked for.
struct Options {
    peer: String,
    rows: Vec<&'static Row>,
    n_runs: usize,
    n_threads: usize,
    quick: bool,
    binary: Option<PathBuf>,
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self, String> {
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (mut peer, mut n_runs) = (None, None);
        let mut options = Self {
            peer: String::new(),
            rows: ROWS.iter().collect(),
            n_runs: 7,
            n_threads,
            quick: false,
            binary: None,
        };
        let mut words = arguments.iter();
        while let Some(&word) = words.next() {
            let mut value = || words.next().copied().ok_or(format!("{word}: expected a value"));
            match word {
                "--peer" => peer = Some(value()?.to_owned()),
                "--rows" => options.rows = rows_of(value()?)?,
                "--runs" => n_runs = Some(count(word, value()?)?),
                "--threads" => options.n_threads = count(word, value()?)?,
                "--binary" => options.binary = Some(PathBuf::from(value()?)),
                "--quick" => options.quick = true,
                _ => return Err(format!("expected one of the options; found `{word}`")),
            }
        }
        options.n_runs = n_runs.unwrap_or(if options.quick { 3 } else { options.n_runs });
        options.peer = peer.ok_or("--peer: expected an interpreter; found none")?;
        Ok(options)
    }
}

fn count(option: &str, text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(format!("{option}: expected a number above 0; found `{text}`")),
    }
}

fn rows_of(text: &str) -> Result<Vec<&'static Row>, String> {
    let names = || ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
    let row = |name: &str| {
        let found = ROWS.iter().find(|row| row.name == name);
        found.ok_or_else(|| format!("--rows: expected some of {}; found `{name}`", names()))
    };
    text.split(',').map(row).collect()
}

/// Measures and writes the page in `root`.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> ExitCode {
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("bench: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match measure(root, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(root: &Path, options: &Options) -> Result<(), String> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(root)?,
    };
    let dir = root.join("target/bench");
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut measured = Vec::new();
    for row in &options.rows {
        println!("── {}: {}", row.name, row.work);
        let found = match row.name {
            "start" => starts(&binary, &dir, options)?,
            _ => in_turns(&binary, root, &dir, row, options)?,
        };
        println!("{}", found.line());
        measured.push(found);
    }
    if options.quick {
        return Ok(());
    }
    let page = root.join("docs/src/performance.md");
    let before = std::fs::read_to_string(&page).map_err(|error| format!("{}: {error}", page.display()))?;
    let after = table::written(&before, &measured, &machine::described(root, options.n_threads))?;
    std::fs::write(&page, after).map_err(|error| format!("{}: {error}", page.display()))
}

fn build(root: &Path) -> Result<PathBuf, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--release", "--package", "bench"]);
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(_) => return Err("our side does not build".into()),
        Err(error) => return Err(format!("cargo does not start: {error}")),
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release/bench"))
}

/// Checks that both sides give the same, then lets them work one after the other.
fn in_turns(
    binary: &Path,
    root: &Path,
    dir: &Path,
    row: &'static Row,
    options: &Options,
) -> Result<Measured, String> {
    let size: &[&str] = if options.quick { &["quick"] } else { &[] };
    let threads = row.n_threads.unwrap_or(options.n_threads).to_string();
    let shown = dir.display().to_string();
    side::finish(Command::new(binary).args(["prepare", row.name, &shown]).args(size))?;
    let script = root.join("crates/bench/peer/peer.py");
    let mut command = Command::new(&options.peer);
    command.arg(script).args([row.name, &shown, &threads]).args(size);
    let (mut peer, answer) = Side::start(&mut command)?;
    let (difference, versions) = match answer {
        Answer::Ready { difference, versions } => (difference, versions),
        Answer::Absent { library } => return Ok(Measured::absent(row, library)),
    };
    if difference.is_nan() || difference > row.tolerance {
        let expected = row.tolerance;
        return Err(format!("{}: outputs differ by {difference:e}, expected at most {expected:e}", row.name));
    }
    let (mut ours, _) =
        Side::start(Command::new(binary).args(["run", row.name, &shown, &threads]).args(size))?;
    let (mut our_runs, mut peer_runs) = (Vec::new(), Vec::new());
    for _ in 0..options.n_runs {
        our_runs.push(ours.go()?);
        peer_runs.push(peer.go()?);
    }
    let (our_peak, peer_peak) = (ours.end()?, peer.end()?);
    Ok(Measured::of(row, (&our_runs, our_peak), (&peer_runs, peer_peak), difference, versions))
}

/// Whole processes: ours embeds a picture, the peer's only imports.
fn starts(binary: &Path, dir: &Path, options: &Options) -> Result<Measured, String> {
    let row = rows_of("start")?[0];
    let shown = dir.display().to_string();
    side::finish(Command::new(binary).args(["prepare", row.name, &shown]))?;
    let (mut our_runs, mut peer_runs) = (Vec::new(), Vec::new());
    for _ in 0..options.n_runs {
        our_runs.push(start_secs(Command::new(binary).args(["start", &shown]))?);
        peer_runs.push(start_secs(Command::new(&options.peer).args(["-c", "import torch, timm"]))?);
    }
    Ok(Measured::of(row, (&our_runs, 0), (&peer_runs, 0), 0.0, String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_refused_by_name() {
        let options = Options::parse(&["--peer", "python3", "--rows", "knn,cka", "--quick"]).expect("fits");
        assert_eq!((options.peer.as_str(), options.n_runs, options.rows.len()), ("python3", 3, 2));
        let refused = |arguments: &[&str]| Options::parse(arguments).err().expect("is refused");
        assert!(refused(&[]).contains("--peer"));
        assert!(refused(&["--peer", "p", "--rows", "x"]).contains("forward-ti"));
        assert!(refused(&["--peer", "p", "--runs", "0"]).contains("above 0"));
        assert!(refused(&["--fast"]).contains("--fast"));
    }
}
