//! Progress on stderr: bars on a terminal, plain lines elsewhere, nothing with `-q`; and Ctrl-C.

use crate::args::Common;
use crate::monitor::HeldOut;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vit_train::{Flow, Monitor, StepReport, Watch};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Listens for Ctrl-C: the first asks to stop, the second stops at once.
pub(crate) fn listen() {
    let heard = || {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    };
    // Without a handler Ctrl-C ends the process as ever.
    let _ = ctrlc::set_handler(heard);
}

/// Whether Ctrl-C was pressed.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Silent,
    Lines,
    Bars,
}

/// Tells the user what is going on.
#[derive(Clone, Copy)]
pub(crate) struct Progress {
    mode: Mode,
    verbose: bool,
}

impl Progress {
    /// As the common options want it.
    pub(crate) fn of(common: &Common) -> Self {
        let mode = match (common.quiet, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Silent,
            (false, true) => Mode::Bars,
            (false, false) => Mode::Lines,
        };
        Self { mode, verbose: common.verbose && !common.quiet }
    }

    /// A line for everybody.
    pub(crate) fn say(&self, line: &str) {
        if self.mode != Mode::Silent {
            eprintln!("{line}");
        }
    }

    /// A line for `-v`.
    pub(crate) fn detail(&self, line: &str) {
        if self.verbose {
            eprintln!("{line}");
        }
    }

    /// Something that takes `total` units.
    pub(crate) fn task(&self, label: &str, total: usize, unit: &'static str) -> Task {
        let bar = (self.mode == Mode::Bars).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
            let template = "{prefix} {wide_bar} {pos}/{len} {msg} {per_sec}, {eta} left";
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_prefix(label.to_owned());
            bar
        });
        let now = Instant::now();
        Task {
            bar,
            lines: self.mode == Mode::Lines,
            label: label.to_owned(),
            unit,
            total,
            done: 0,
            skipped: 0,
            note: String::new(),
            started: now,
            last_line: now,
        }
    }
}

/// One thing that takes a while.
pub(crate) struct Task {
    bar: Option<ProgressBar>,
    lines: bool,
    label: String,
    unit: &'static str,
    total: usize,
    done: usize,
    /// What was done before this process began.
    skipped: usize,
    note: String,
    started: Instant,
    last_line: Instant,
}

impl Task {
    /// `n` more units are done.
    pub(crate) fn advance(&mut self, n: usize) {
        self.done += n;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done as u64);
        }
        if self.lines && self.done < self.total && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let rate = self.rate();
            let left = (self.total - self.done) as f64 / rate.max(1e-9);
            let note = if self.note.is_empty() { String::new() } else { format!(", {}", self.note) };
            let (label, done, total, unit) = (&self.label, self.done, self.total, self.unit);
            eprintln!("{label}: {done} of {total} {unit}{note}, {rate:.1}/s, {left:.0} s left");
        }
    }

    /// `n` units were done before this process began.
    fn skip(&mut self, n: usize) {
        self.skipped = n;
        self.done = n;
        if let Some(bar) = &self.bar {
            bar.set_position(n as u64);
            bar.reset_eta();
        }
    }

    /// What stands beside the rate.
    fn note(&mut self, note: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(note.clone());
        }
        self.note = note;
    }

    /// It is over.
    pub(crate) fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.lines || self.bar.is_some() {
            let (label, done, unit) = (&self.label, self.done - self.skipped, self.unit);
            let (secs, rate) = (self.started.elapsed().as_secs_f64(), self.rate());
            let note = if self.note.is_empty() { String::new() } else { format!(", {}", self.note) };
            eprintln!("{label}: {done} {unit} in {secs:.1} s{note}, {rate:.1}/s");
        }
    }

    fn rate(&self) -> f64 {
        (self.done - self.skipped) as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }
}

/// Watches training and stops it after Ctrl-C.
pub(crate) struct TrainWatch<'a> {
    progress: &'a Progress,
    label: String,
    task: Option<Task>,
    held_out: Option<HeldOut>,
}

impl<'a> TrainWatch<'a> {
    /// A watch that has not seen a step yet, with what scores the encoder on the way.
    pub(crate) fn new(progress: &'a Progress, label: &str, held_out: Option<HeldOut>) -> Self {
        Self { progress, label: label.to_owned(), task: None, held_out }
    }

    /// Training is over.
    pub(crate) fn finish(self) {
        if let Some(task) = self.task {
            task.finish();
        }
    }
}

impl Watch for TrainWatch<'_> {
    fn step(&mut self, report: &StepReport) -> Flow {
        let at = report.progress;
        let task = self.task.get_or_insert_with(|| {
            let mut task = self.progress.task(&self.label, at.n_steps, "steps");
            task.skip(at.step);
            task
        });
        task.note(format!("epoch {:.2}, loss {:.4}, lr {:.2e}", at.epochs(), report.loss, report.lr));
        task.advance(1);
        if interrupted() { Flow::Stop } else { Flow::Continue }
    }

    fn note(&mut self, sentence: &str) {
        self.progress.say(sentence);
    }

    fn monitor(&self) -> Option<&dyn Monitor> {
        self.held_out.as_ref().map(|held_out| held_out as &dyn Monitor)
    }
}
