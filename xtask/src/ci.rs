//! The gate: every check in the order of its cost, the tests last so that the output ends in their summary.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::tidy;

/// One command of the gate.
struct Step {
    name: &'static str,
    /// Program and arguments; `cargo` stands for the one that runs us.
    command: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

const FORMAT: Step = Step { name: "fmt", command: &["cargo", "fmt", "--all", "--check"], environment: &[] };

/// With the features of the tests, so that what expands macros is built once for all three.
const LINTS: [Step; 2] = [
    Step {
        name: "clippy",
        command: &[
            "cargo",
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            FURTHER_DEVICES,
            "--",
            "-D",
            "warnings",
        ],
        environment: &[],
    },
    Step {
        name: "rustdoc",
        command: &["cargo", "doc", "--workspace", "--no-deps", "--features", FURTHER_DEVICES],
        environment: &[("RUSTDOCFLAGS", "-D warnings")],
    },
];

/// Each with the command that tells whether its tool is installed. Advisories are left out: they need a network.
const WHERE_INSTALLED: [(&[&str], Step); 3] = [
    (&["typos", "--version"], Step { name: "spelling", command: &["typos"], environment: &[] }),
    (
        &["cargo", "deny", "--version"],
        Step {
            name: "dependency policy",
            command: &["cargo", "deny", "check", "bans", "licenses", "sources"],
            environment: &[],
        },
    ),
    (
        &["mdbook", "--version"],
        Step { name: "book", command: &["mdbook", "build", "docs"], environment: &[] },
    ),
];

/// Everything once, with the further devices that can be tested on any machine compiled in: building the tensor library
/// twice would cost more than all tests.
const TESTS: Step = Step {
    name: "test",
    command: &["cargo", "test", "--workspace", "--features", FURTHER_DEVICES],
    environment: &[],
};

/// A second CPU, and the GPU interface, which a software driver offers too.
const FURTHER_DEVICES: &str = "vitscope-tests/ndarray,vitscope-tests/wgpu";

/// Runs the gate in `root`; the first failing step's exit code is ours.
pub(crate) fn run(root: &Path) -> ExitCode {
    match gate(root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn gate(root: &Path) -> Result<(), ExitCode> {
    timed(&FORMAT, root)?;
    announce("tidy");
    let started = Instant::now();
    if tidy::report(root) > 0 {
        return Err(ExitCode::FAILURE);
    }
    done("tidy", started);
    for step in &LINTS {
        timed(step, root)?;
    }
    for (probe, step) in &WHERE_INSTALLED {
        if is_installed(probe) {
            timed(step, root)?;
        } else {
            println!("── {}: skipped, `{}` is not installed", step.name, probe[..probe.len() - 1].join(" "));
        }
    }
    announce(TESTS.name);
    execute(&TESTS, root) // nothing is printed after the tests' own summary
}

fn timed(step: &Step, root: &Path) -> Result<(), ExitCode> {
    announce(step.name);
    let started = Instant::now();
    execute(step, root)?;
    done(step.name, started);
    Ok(())
}

fn execute(step: &Step, root: &Path) -> Result<(), ExitCode> {
    let mut command = command(step.command);
    command.current_dir(root).envs(step.environment.iter().copied());
    let code = match command.status() {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.code(),
        Err(error) => {
            eprintln!("ci: `{}` does not start: {error}", step.command.join(" "));
            None
        }
    };
    Err(code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn command(words: &[&str]) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(if words[0] == "cargo" { &cargo } else { words[0] });
    command.args(&words[1..]);
    command
}

/// Whether `probe`, a question for the tool's version, runs.
pub(crate) fn is_installed(probe: &[&str]) -> bool {
    let status = command(probe).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn announce(name: &str) {
    println!("── {name}");
}

fn done(name: &str, started: Instant) {
    println!("── {name}: {:.1} s", started.elapsed().as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_does_not_exist_is_not_installed() {
        assert!(is_installed(&["cargo", "--version"]));
        assert!(!is_installed(&["no-such-tool-anywhere", "--version"]));
    }

    #[cfg(unix)]
    #[test]
    fn a_failing_step_hands_on_its_exit_code() {
        let step = Step { name: "seven", command: &["sh", "-c", "exit 7"], environment: &[] };
        let code = execute(&step, &crate::workspace_root()).expect_err("it fails");
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(7)));
    }
}
