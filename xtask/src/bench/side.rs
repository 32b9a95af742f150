//! One side of a row: a process that does its work whenever it is told `go`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

/// One run: wall time and the time of all threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) wall_secs: f64,
    pub(crate) cpu_secs: f64,
}

/// What a side says first.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// It is set up; how far its outputs are from those in the file, and which libraries it uses.
    Ready { difference: f64, versions: String },
    /// It lacks a library.
    Absent { library: String },
}

impl Answer {
    fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("ready") => {
                let difference = words.next().map_or(Some(0.0), |word| word.parse().ok());
                let difference = difference.ok_or(format!("expected a difference; found `{line}`"))?;
                Ok(Self::Ready { difference, versions: words.collect() })
            }
            Some("absent") => Ok(Self::Absent { library: words.collect() }),
            _ => Err(format!("expected `ready` or `absent`; found `{line}`")),
        }
    }
}

/// A process at work.
pub(crate) struct Side {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Side {
    pub(crate) fn start(command: &mut Command) -> Result<(Self, Answer), String> {
        let shown = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("{shown} does not start: {error}"))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{shown}: no pipes"));
        };
        let mut side = Self { child, to, from: BufReader::new(from) };
        let answer = Answer::parse(&side.line()?)?;
        Ok((side, answer))
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let n = self.from.read_line(&mut line).map_err(|error| error.to_string())?;
        if n == 0 {
            return Err("a side ended before its work; what it said stands above".into());
        }
        Ok(line)
    }

    /// Does the work once.
    pub(crate) fn go(&mut self) -> Result<Run, String> {
        writeln!(self.to, "go").and_then(|()| self.to.flush()).map_err(|error| error.to_string())?;
        let line = self.line()?;
        let numbers: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [wall_secs, cpu_secs] => Ok(Run { wall_secs, cpu_secs }),
            _ => Err(format!("expected two times; found `{line}`")),
        }
    }

    /// Ends it; its peak memory in bytes.
    pub(crate) fn end(mut self) -> Result<u64, String> {
        writeln!(self.to, "end").and_then(|()| self.to.flush()).map_err(|error| error.to_string())?;
        let line = self.line()?;
        let peak = line.strip_prefix("peak ").and_then(|text| text.trim().parse().ok());
        self.child.wait().map_err(|error| error.to_string())?;
        peak.ok_or(format!("expected a peak; found `{line}`"))
    }
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Result<(), String> {
    match command.stdin(Stdio::null()).stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} ended with {status}", command.get_program().to_string_lossy())),
        Err(error) => Err(format!("{} does not start: {error}", command.get_program().to_string_lossy())),
    }
}

/// The wall time of a whole process; the time of its threads is not known.
pub(crate) fn start_secs(command: &mut Command) -> Result<Run, String> {
    let started = Instant::now();
    finish(command)?;
    let wall_secs = started.elapsed().as_secs_f64();
    Ok(Run { wall_secs, cpu_secs: f64::NAN })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let ready = Answer::Ready { difference: 2e-6, versions: "torch=2,timm=1".into() };
        assert_eq!(Answer::parse("ready 2e-6 torch=2,timm=1\n"), Ok(ready));
        assert_eq!(Answer::parse("ready\n"), Ok(Answer::Ready { difference: 0.0, versions: String::new() }));
        assert_eq!(Answer::parse("absent faiss\n"), Ok(Answer::Absent { library: "faiss".into() }));
        assert!(Answer::parse("Traceback\n").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_side_is_told_and_answers() {
        let script = "echo ready; read a; echo 0.5 0.25; read b; echo peak 7";
        let (mut side, answer) = Side::start(Command::new("sh").args(["-c", script])).expect("starts");
        assert_eq!(answer, Answer::Ready { difference: 0.0, versions: String::new() });
        assert_eq!(side.go(), Ok(Run { wall_secs: 0.5, cpu_secs: 0.25 }));
        assert_eq!(side.end(), Ok(7));
    }
}
