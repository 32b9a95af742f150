//! What a verb hands back: where its result is, what is printed, and why it stopped.

use anyhow::{Context, bail};
use report::{Metric, Report};
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a verb has done.
pub(crate) struct Done {
    /// The folder or file of the result; printed last.
    pub(crate) path: Option<PathBuf>,
    /// Lines printed before it.
    pub(crate) lines: Vec<String>,
    /// The result as one document, for `--json`.
    pub(crate) json: Value,
    /// The numbers that `--expect` looks at.
    pub(crate) metrics: Vec<Metric>,
}

impl Done {
    /// A report that was stored at a path.
    pub(crate) fn of_report(report: &Report, path: &Path) -> Self {
        Self {
            path: Some(path.to_owned()),
            lines: Vec::new(),
            json: report.to_json(),
            metrics: report.metrics.clone(),
        }
    }

    /// The same with a line to print.
    #[must_use]
    pub(crate) fn line(mut self, line: String) -> Self {
        self.lines.push(line);
        self
    }
}

/// Why a verb stopped although nothing was wrong with what it was given.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Something stated did not hold; exit code 1.
    NotHeld(String),
    /// Ctrl-C; exit code 130.
    Interrupted {
        /// What is kept.
        saved: String,
        /// The command that goes on.
        command: String,
    },
}

impl Stop {
    /// Interrupted with nothing to go on from: the same command again.
    pub(crate) fn again(saved: &str) -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        Self::Interrupted { saved: saved.to_owned(), command: command_line(&words) }
    }

    /// Interrupted with a result in `out` that `--resume` goes on with.
    pub(crate) fn resumable(saved: &str, out: &Path) -> Self {
        let mut words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--overwrite").collect();
        if !words.iter().any(|word| word == "--out" || word.starts_with("--out=")) {
            words.extend(["--out".to_owned(), out.display().to_string()]);
        }
        if !words.iter().any(|word| word == "--resume") {
            words.push("--resume".to_owned());
        }
        Self::Interrupted { saved: saved.to_owned(), command: command_line(&words) }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::NotHeld(what) => f.write_str(what),
            Self::Interrupted { saved, command } => write!(f, "interrupted; {saved}; go on with: {command}"),
        }
    }
}

impl std::error::Error for Stop {}

/// Words as a line that a shell reads as the same words.
pub(crate) fn command_line(words: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_=./:,+@%".contains(c))
    };
    let quoted = words
        .iter()
        .map(|word| if plain(word) { word.clone() } else { format!("'{}'", word.replace('\'', r"'\''")) });
    ["vitscope".to_owned()].into_iter().chain(quoted).collect::<Vec<_>>().join(" ")
}

/// What a former result may consist of; nothing else is removed by `--overwrite`.
const OURS: &[&str] = &[
    "report.json",
    "report.md",
    "report.html",
    "recipe.toml",
    "data.toml",
    "arrays.safetensors",
    "figures",
    "metrics.jsonl",
    vit_train::EVENT_FILE,
    "checkpoints",
    "backbone.safetensors",
];

/// The folder of a result. One that was made for it and stayed empty is removed again.
pub(crate) struct OutDir {
    path: PathBuf,
    /// Folders made here, outermost first.
    made: Vec<PathBuf>,
}

impl OutDir {
    /// The folder given, or `runs/<verb>-<n>` with the next free n.
    ///
    /// # Errors
    /// When it is there and not empty, and neither to be overwritten nor resumed.
    pub(crate) fn claim(
        out: Option<&Path>,
        verb: &str,
        overwrite: bool,
        resume: bool,
    ) -> anyhow::Result<Self> {
        let Some(path) = out else { return Self::next_free(verb) };
        let shown = path.display();
        if path.exists() && !path.is_dir() {
            bail!("--out: expected a folder; found a file: {shown}");
        }
        let is_empty = !path.exists()
            || std::fs::read_dir(path)
                .with_context(|| format!("cannot read --out: {shown}"))?
                .next()
                .is_none();
        if !is_empty && !overwrite && !resume {
            bail!(
                "--out: expected a new or empty folder, or --overwrite; found one that is not empty: {shown}"
            );
        }
        let mut made = Vec::new();
        make_dirs(path, &mut made)?;
        Ok(Self { path: path.to_owned(), made })
    }

    fn next_free(verb: &str) -> anyhow::Result<Self> {
        let runs = Path::new("runs");
        let mut made = Vec::new();
        make_dirs(runs, &mut made)?;
        for n in 1.. {
            let path = runs.join(format!("{verb}-{n}"));
            match std::fs::create_dir(&path) {
                Ok(()) => {
                    made.push(path.clone());
                    return Ok(Self { path, made });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make the folder {}", path.display()));
                }
            }
        }
        bail!("runs: expected a free number; found none")
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what a former result left here, and nothing else.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(crate) fn clear(&self) -> anyhow::Result<()> {
        for name in OURS {
            let path = self.path.join(name);
            let removed = match std::fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(&path),
                Ok(_) => std::fs::remove_file(&path),
                Err(_) => continue,
            };
            removed.with_context(|| format!("cannot remove the former result: {}", path.display()))?;
        }
        Ok(())
    }
}

/// Makes a folder and those above it, and remembers which.
fn make_dirs(path: &Path, made: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let mut missing: Vec<&Path> =
        path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    missing.reverse();
    for dir in missing {
        match std::fs::create_dir(dir) {
            Ok(()) => made.push(dir.to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make the folder {}", dir.display()));
            }
        }
    }
    Ok(())
}

impl Drop for OutDir {
    fn drop(&mut self) {
        for dir in self.made.iter().rev() {
            // Only an empty folder can be removed so; one with a result stays.
            let _ = std::fs::remove_dir(dir);
        }
    }
}
