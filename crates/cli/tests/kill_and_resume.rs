//! Runs that are killed for real, at many moments, and go on: bit for bit the run that was never killed.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests may read `VITSCOPE_*`, and print"
)]
#![cfg(unix)]

mod desk;

use desk::Desk;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Six steps an epoch, four epochs, a checkpoint every fifth step.
const N_STEPS: usize = 24;

/// The objectives of the registry.
fn objectives(desk: &Desk) -> Vec<String> {
    let listed = desk.run(&["list", "objectives", "--json"]).done().stdout;
    let rows: Value = serde_json::from_str(&listed).expect("one document");
    let names = rows.as_array().expect("rows").iter().map(|row| row["name"].as_str().expect("a name"));
    names.map(str::to_owned).collect()
}

/// A short run of an objective by its built-in recipe for part-shapes.
fn command(desk: &Desk, objective: &str, out: &str, resume: bool) -> Command {
    let recipe = format!("{objective}-part-shapes");
    let mut args = vec!["pretrain", &recipe, "--out", out, "-q", "--limit", "96", "--batch", "16"];
    for set in [
        "model=vit:dim=32,depth=2,heads=4,patch=16,image=64",
        "train.epochs=4",
        "train.warmup_epochs=1",
        "train.log_every_steps=1",
        "train.checkpoint_every_steps=5",
    ] {
        args.extend(["--set", set]);
    }
    if resume {
        args.push("--resume");
    }
    let mut command = desk.command(&args);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn finish(mut command: Command) {
    let output = command.output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Waits until the log has so many lines, or the run is over, then kills.
fn kill_after(mut child: Child, log: &Path, n_lines: usize) {
    let lines = || std::fs::read_to_string(log).map_or(0, |text| text.lines().count());
    while lines() < n_lines && child.try_wait().expect("a child").is_none() {
        std::thread::yield_now();
    }
    // What is in the middle of being written stays as it is: nothing in the process can react to this.
    let _ = child.kill();
    child.wait().expect("it ends");
}

/// Every byte that must be the same: the log, the weights, and the last checkpoint.
fn traces(desk: &Desk, run: &str) -> Vec<(String, Vec<u8>)> {
    let last = format!("checkpoints/step-{N_STEPS}");
    let files = ["metrics.jsonl", "backbone.safetensors", "recipe.toml"].map(str::to_owned);
    let saved = ["objective.safetensors", "optimizer.safetensors", "state.json"];
    let files = files.into_iter().chain(saved.map(|file| format!("{last}/{file}")));
    let read = |file: String| {
        let path = desk.path(run).join(&file);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (file, bytes)
    };
    files.map(read).collect()
}

#[test]
fn a_run_killed_at_any_moment_goes_on_as_if_nothing_had_happened() {
    let n_kills = if std::env::var_os("VITSCOPE_TEST_SLOW").is_some() { 20 } else { 3 };
    let desk = Desk::new();
    for objective in objectives(&desk) {
        finish(command(&desk, &objective, "whole", false));
        let whole = traces(&desk, "whole");
        let n_lines = String::from_utf8_lossy(&whole[0].1).lines().count();
        assert_eq!(n_lines, N_STEPS, "a line a step");
        for kill in 0..n_kills {
            // From before the first step to the last.
            let after = kill * N_STEPS / (n_kills - 1);
            let child = command(&desk, &objective, "parts", false).spawn().expect("the binary runs");
            kill_after(child, &desk.path("parts/metrics.jsonl"), after);
            if !desk.path("parts").exists() {
                std::fs::create_dir(desk.path("parts")).expect("a folder");
            }
            finish(command(&desk, &objective, "parts", true));
            for ((file, ours), (_, whole)) in traces(&desk, "parts").into_iter().zip(&whole) {
                assert!(ours == *whole, "`{objective}` killed after {after} steps: {file} is another");
            }
            std::fs::remove_dir_all(desk.path("parts")).expect("removed");
        }
        std::fs::remove_dir_all(desk.path("whole")).expect("removed");
    }
}

#[test]
fn a_checkpoint_that_was_cut_short_is_passed_over_and_named() {
    let desk = Desk::new();
    finish(command(&desk, "supervised", "whole", false));
    let whole = traces(&desk, "whole");
    finish(command(&desk, "supervised", "cut", false));
    let newest = desk.path("cut/checkpoints").join(format!("step-{N_STEPS}/optimizer.safetensors"));
    let bytes = std::fs::read(&newest).expect("a checkpoint");
    std::fs::write(&newest, &bytes[..bytes.len() / 2]).expect("cut short");
    let mut again = command(&desk, "supervised", "cut", true);
    let args: Vec<_> = again.get_args().filter(|arg| *arg != "-q").map(ToOwned::to_owned).collect();
    let output =
        Command::new(again.get_program()).args(args).current_dir(desk.path("")).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("passed over: checkpoint: expected") && said.contains("optimizer.safetensors"),
        "{said}"
    );
    assert!(traces(&desk, "cut") == whole, "what was lost is done again alike");
    // With every checkpoint damaged there is nothing to go on from, and nothing is changed.
    for entry in std::fs::read_dir(desk.path("cut/checkpoints")).expect("a folder") {
        std::fs::write(entry.expect("an entry").path().join("state.json"), "{").expect("damaged");
    }
    let log = std::fs::read(desk.path("cut/metrics.jsonl")).expect("a log");
    let refused = again.output().expect("runs");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("state.json"));
    assert_eq!(std::fs::read(desk.path("cut/metrics.jsonl")).expect("a log"), log);
}
