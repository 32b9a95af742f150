//! Features that outlive a run: the same report with a cache and without, and what the user is told of it.

mod desk;

use desk::{Answer, Desk, TINY};
use serde_json::Value;

const PROBE: [&str; 5] = ["--weights", TINY, "--data", "pixels:pixels.safetensors", "--no-floor"];

/// A probe's report but for the time that it took, and what was said meanwhile.
fn report(desk: &Desk, probe: &[&str], out: &str) -> (Value, String) {
    let said: Answer = desk.run(&[&["probe"], probe, &PROBE[..], &["--out", out]].concat()).done();
    let mut report = desk.json(&format!("{out}/report.json"));
    report["provenance"]["elapsed_secs"] = Value::Null;
    (report, said.stderr)
}

#[test]
fn a_second_probe_takes_the_features_of_the_first_and_reports_are_those_without_a_cache() {
    let desk = Desk::new().with_pixels();
    let knn = ["knn", "--set", "ks=[1, 3]", "--set", "headline_k=3"];
    let ridge = ["linear", "--set", "solver.kind=ridge"];
    let keep = ["--cache", "kept/features"];
    let (without, said) = report(&desk, &knn, "a");
    assert!(!said.contains("cache"), "{said}");
    let (cold, said) = report(&desk, &[&knn[..], &keep].concat(), "b");
    assert!(said.contains("features of 0 images were there, those of 36 were made"), "{said}");
    let (warm, said) = report(&desk, &[&knn[..], &keep].concat(), "c");
    assert!(said.contains("features of 36 images were there, those of 0 were made"), "{said}");
    assert_eq!((&cold, &warm), (&without, &without));
    let (other, said) = report(&desk, &[&ridge[..], &keep].concat(), "d");
    assert!(said.contains("features of 36 images were there"), "{said}");
    assert_eq!(other, report(&desk, &ridge, "e").0);

    // A damaged file is told by its name and made again.
    let mut folders: Vec<_> =
        std::fs::read_dir(desk.path("kept/features")).expect("there").flatten().collect();
    let model = folders.pop().expect("of one model").path();
    assert!(folders.is_empty());
    let damaged =
        std::fs::read_dir(model.join("block1.cls")).expect("there").flatten().next().expect("a batch");
    std::fs::write(damaged.path(), "damaged").expect("written");
    let (again, said) = report(&desk, &[&knn[..], &keep].concat(), "f");
    let name = damaged.file_name().to_string_lossy().into_owned();
    assert!(said.contains("damaged, so made again") && said.contains(&name), "{said}");
    assert_eq!(again, without);
}

#[test]
fn embed_takes_what_is_there_and_what_looks_inside_is_named() {
    let desk = Desk::new().with_pixels();
    let data = ["--weights", TINY, "--data", "pixels:pixels.safetensors", "--batch", "5"];
    let embed =
        |more: &[&str]| desk.run(&[&["embed", "--select", "block*.cls"], &data[..], more].concat()).done();
    embed(&["--out", "without.npz"]);
    embed(&["--out", "cold.npz", "--cache", "kept"]);
    let said = embed(&["--out", "warm.npz", "--cache", "kept"]).stderr;
    assert!(said.contains("features of 12 images were there"), "{said}");
    let bytes =
        ["without.npz", "cold.npz", "warm.npz"].map(|name| std::fs::read(desk.path(name)).expect(name));
    assert!(bytes[0] == bytes[1] && bytes[0] == bytes[2]);
    // Time and date of the first array in the archive: midnight of the first day that zip knows, 1980-01-01.
    assert_eq!(bytes[0][10..14], [0, 0, 0x21, 0]);
    let look =
        [&["analyze", "attention-distance"], &data[..], &["--cache", "kept", "--out", "look"]].concat();
    let said = desk.run(&look).done().stderr;
    assert!(said.contains("for what looks inside: attention-distance"), "{said}");
}

#[test]
fn a_cache_that_cannot_be_one_is_refused_in_one_sentence() {
    let desk = Desk::new().with_pixels();
    std::fs::write(desk.path("file"), "not a folder").expect("written");
    let args =
        ["probe", "knn", "--weights", TINY, "--data", "pixels:pixels.safetensors", "--cache", "file/below"];
    desk.run(&args).refused(&["cache of features", "file/below"]);
}
