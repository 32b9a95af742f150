//! Kinds of bad input, each answered by one line that says what, expected, found and where, with exit code 2, and with
//! nothing lost of what was there.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests may read `VITSCOPE_*`, and print"
)]

mod data;
#[path = "../desk/mod.rs"]
mod desk;
mod models;
mod places;
mod recipes;
mod spoiled;
mod studies;

use data::DATA;
use desk::TINY;
use models::MODELS;
use places::PLACES;
use recipes::RECIPES;
use spoiled::spoiled_desk;
use std::collections::BTreeMap;
use std::path::Path;
use studies::STUDIES;

/// One kind: its name, the command line, and words that the answer must hold.
type Case = (&'static str, &'static str, &'static [&'static str]);

/// Everything below a folder, by path.
fn everything(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                found.insert(path.display().to_string(), Vec::new());
                open.push(path);
            } else {
                found.insert(path.display().to_string(), std::fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

/// Each kind is refused as it should be, and everything that was there is there, and nothing else.
fn all_refused(cases: &[Case]) {
    let desk = spoiled_desk();
    let before = everything(&desk.path(""));
    let mut wrong = Vec::new();
    for (kind, line, says) in cases {
        let line = line.replace('@', TINY).replace('#', "pixels:pixels.safetensors");
        let args: Vec<&str> = line.split(' ').collect();
        let answer = desk.run(&args);
        let errors: Vec<&str> = answer.stderr.lines().filter(|line| line.starts_with("error:")).collect();
        let is_last = answer.stderr.lines().last() == errors.last().copied();
        let is_said = errors.len() == 1 && says.iter().all(|what| errors[0].contains(what));
        if answer.code != Some(2) || !is_last || !is_said || !answer.stdout.is_empty() {
            wrong.push(format!("{kind}: code {:?}, {says:?} in:\n{}", answer.code, answer.stderr));
        }
        if std::env::var_os("VITSCOPE_TEST_SHOW").is_some() {
            println!("{kind}:\n    {}", answer.stderr.trim());
        }
        let after = everything(&desk.path(""));
        if after != before {
            let paths = |of: &BTreeMap<String, Vec<u8>>| of.keys().cloned().collect::<Vec<_>>();
            wrong.push(format!(
                "{kind}: changed what was there: {:?} to {:?}",
                paths(&before),
                paths(&after)
            ));
            break;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn there_are_sixty_kinds_and_more() {
    assert!([DATA, MODELS, STUDIES, RECIPES, PLACES].iter().map(|cases| cases.len()).sum::<usize>() >= 60);
}

#[test]
fn bad_data_is_refused() {
    all_refused(DATA);
}

#[test]
fn bad_models_are_refused() {
    all_refused(MODELS);
}

#[test]
fn bad_questions_are_refused() {
    all_refused(STUDIES);
}

#[test]
fn bad_recipes_are_refused() {
    all_refused(RECIPES);
}

#[test]
fn bad_places_and_command_lines_are_refused() {
    all_refused(PLACES);
}

/// A disk with no room: the run stops with the file's name, and the checkpoint that was there still goes on.
#[cfg(unix)]
#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let desk = spoiled_desk();
    let args = "pretrain tiny.toml --out run --set train.checkpoint_every_steps=2 --set train.epochs=1";
    desk.run(&args.split(' ').collect::<Vec<_>>()).done();
    let before = everything(&desk.path("run"));
    // No file may grow beyond 40 blocks of 512 bytes, and the signal for it is ignored: writing fails, as on a full disk.
    let binary = env!("CARGO_BIN_EXE_vitscope");
    let script = format!("trap '' XFSZ; ulimit -f 40; exec {binary} pretrain tiny.toml --out full");
    let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(desk.path("")).output();
    let output = output.expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    let error = said.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(error.starts_with("error:") && error.contains("full") && error.contains("checkpoints"), "{said}");
    let script = format!(
        "trap '' XFSZ; ulimit -f 40; exec {binary} {args} --resume --set train.checkpoint_every_steps=2"
    );
    let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(desk.path("")).output();
    assert_eq!(output.expect("a shell").status.code(), Some(2), "the weights cannot be written either");
    let after = everything(&desk.path("run"));
    let kept = before
        .keys()
        .filter(|path| path.contains("checkpoints"))
        .all(|path| after.get(path) == before.get(path));
    assert!(kept, "checkpoints are as they were");
    desk.run(&[&args.split(' ').collect::<Vec<_>>()[..], &["--resume"]].concat()).done();
}
