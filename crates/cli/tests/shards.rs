//! Parts of a run: saved, merged, and refused when they are not the parts of one run.

mod desk;

use desk::{Desk, TINY};
use serde_json::Value;

/// Another model of two blocks, of other width, on the same pixels.
const OTHER: &str = "vit:dim=48,depth=2,heads=3,patch=16,image=32";
const DATA: [&str; 4] = ["--data", "pixels:pixels.safetensors", "--batch", "4"];

/// Runs a study whole and in parts, merges the parts from the last to the first, and gives both reports.
fn whole_and_merged(desk: &Desk, study: &[&str], of: usize) -> (Value, Value) {
    let study = [study, &DATA].concat();
    desk.run(&[&study[..], &["--out", "whole"]].concat()).done();
    let mut merge = vec!["merge".to_owned()];
    for part in (1..=of).rev() {
        let (shard, file) = (format!("{part}/{of}"), format!("parts/{part}.acc"));
        let saved = desk.run(&[&study[..], &["--shard", &shard, "--save", &file]].concat()).done();
        assert_eq!(saved.last_line(), file);
        merge.push(file);
    }
    merge.extend(["--out".to_owned(), "merged".to_owned()]);
    let merge: Vec<&str> = merge.iter().map(String::as_str).collect();
    assert_eq!(desk.run(&merge).done().last_line(), "merged");
    let report = |dir: &str| {
        let mut report = desk.json(&format!("{dir}/report.json"));
        report["provenance"]["elapsed_secs"] = Value::Null;
        report
    };
    (report("whole"), report("merged"))
}

/// The same metrics in the same order; their numbers differ by at most `abs`.
fn assert_same_metrics(merged: &Value, whole: &Value, abs: f64) {
    let metrics = |report: &Value| report["metrics"].as_array().expect("metrics").clone();
    let (merged, whole) = (metrics(merged), metrics(whole));
    assert_eq!(merged.len(), whole.len());
    assert!(!whole.is_empty());
    for (mut merged, mut whole) in merged.into_iter().zip(whole) {
        let take = |metric: &mut Value| metric["value"].take().as_f64().expect("a number");
        let (ours, expected) = (take(&mut merged), take(&mut whole));
        assert_eq!(merged, whole);
        assert!((ours - expected).abs() <= abs, "{merged}: ours {ours}, expected {expected}");
    }
}

#[test]
fn an_analysis_of_parts_is_that_of_the_whole() {
    let desk = Desk::new().with_pixels();
    let (whole, merged) = whole_and_merged(&desk, &["analyze", "attention-distance", "--weights", TINY], 3);
    assert_same_metrics(&merged, &whole, 1e-12);
    assert_eq!(merged["provenance"], whole["provenance"]);
    assert_eq!((&merged["study"], &merged["data"]), (&whole["study"], &whole["data"]));
}

#[test]
fn an_analysis_of_parts_of_two_models_one_by_one_is_that_of_the_whole() {
    let desk = Desk::new().with_pixels();
    let study = ["analyze", "residual-ratio", "--weights", TINY, "--weights", OTHER];
    let (whole, merged) = whole_and_merged(&desk, &study, 2);
    assert_same_metrics(&merged, &whole, 1e-9);
    for folder in std::fs::read_dir(desk.path("whole")).expect("a folder").flatten() {
        assert!(desk.path("merged").join(folder.file_name()).exists(), "{folder:?}");
    }
}

#[test]
fn cka_of_parts_of_two_models_is_that_of_the_whole_because_parts_end_at_the_border_of_a_group() {
    let desk = Desk::new().with_pixels();
    let study = ["analyze", "cka", "--weights", TINY, "--weights", OTHER, "--set", "batch=6"];
    let (whole, merged) = whole_and_merged(&desk, &study, 1);
    assert_same_metrics(&merged, &whole, 0.0);
    // Groups of 6 in batches of 4: only after 12 do both end.
    let args = [&study[..], &DATA, &["--shard", "1/2", "--save", "x.acc"]].concat();
    desk.run(&args).refused(&["--shard 1/2", "at most 1 parts", "a multiple of 12", "found 2"]);
    let desk = Desk::new().with_pixels();
    let study = ["analyze", "cka", "--weights", TINY, "--weights", OTHER, "--set", "batch=4"];
    let (whole, merged) = whole_and_merged(&desk, &study, 3);
    assert_same_metrics(&merged, &whole, 1e-12);
}

#[test]
fn a_probe_of_parts_with_its_floors_is_that_of_the_whole_to_the_byte() {
    let desk = Desk::new().with_pixels();
    let study = ["probe", "knn", "--weights", TINY, "--set", "ks=[1, 3]", "--set", "headline_k=3"];
    let (whole, merged) = whole_and_merged(&desk, &study, 3);
    assert_eq!(merged, whole);
    assert!(
        merged["metrics"].as_array().expect("metrics").iter().any(|metric| metric["name"] == "untrained")
    );
    let bytes = |dir: &str, file: &str| std::fs::read(desk.path(dir).join(file)).expect("a file");
    for file in ["recipe.toml", "arrays.safetensors"] {
        assert!(bytes("merged", file) == bytes("whole", file), "{file}");
    }
    let page = |dir: &str| {
        let text = String::from_utf8(bytes(dir, "report.md")).expect("text");
        let lines = text.lines().filter(|line| !line.starts_with("- time: ")).map(str::to_owned);
        lines.collect::<Vec<_>>()
    };
    assert_eq!(page("merged"), page("whole"));
    desk.run(&[
        "merge",
        "parts/1.acc",
        "parts/2.acc",
        "parts/3.acc",
        "--out",
        "x",
        "--expect",
        "best.top1>=2",
    ])
    .stopped(1, &["best.top1"]);
}

#[test]
fn what_are_not_the_parts_of_one_run_is_refused() {
    let desk = Desk::new().with_pixels();
    let save = |file: &str, shard: &str, more: &[&str]| {
        let study = ["analyze", "attention-distance", "--shard", shard, "--save", file];
        let more = if more.contains(&"--weights") {
            more.to_vec()
        } else {
            [&["--weights", TINY][..], more].concat()
        };
        desk.run(&[&study[..], &DATA, &more].concat())
    };
    save("1.acc", "1/2", &[]).done();
    save("2.acc", "2/2", &[]).done();
    let merge = |files: &[&str]| desk.run(&[&["merge"][..], files, &["--out", "merged"]].concat());
    merge(&["1.acc"]).refused(&["expected 2 parts", "found 1", "without 2/2"]);
    merge(&["2.acc", "1.acc", "2.acc"]).refused(&["every part once", "2/2", "2.acc"]);
    merge(&["none.acc"]).refused(&["none.acc"]);
    merge(&["pixels.safetensors"]).refused(&["`--shard I/N --save FILE`", "pixels.safetensors"]);

    let others: [(&str, &[&str], &[&str]); 5] = [
        ("weights", &["--weights", OTHER], &["the weights of 1.acc", "other.acc"]),
        ("seed", &["--seed", "3"], &["the seed of 1.acc, 0", "found 3"]),
        ("limit", &["--limit", "8"], &["the recipe of 1.acc", "limit = 8"]),
        ("batch", &["--batch", "5"], &["the batch of 1.acc, 4", "found 5"]),
        ("layers", &["--layers", "0"], &["the recipe of 1.acc", "layers"]),
    ];
    for (what, more, says) in others {
        let study = ["analyze", "attention-distance", "--shard", "2/2", "--save", "other.acc", "--overwrite"];
        let weights: &[&str] = if what == "weights" { &[] } else { &["--weights", TINY] };
        let batch: &[&str] = if what == "batch" { &[] } else { &["--batch", "4"] };
        let data = ["--data", "pixels:pixels.safetensors"];
        desk.run(&[&study[..], &data, weights, batch, more].concat()).done();
        merge(&["1.acc", "other.acc"]).refused(says);
    }
    save("third.acc", "2/3", &[]).done();
    merge(&["1.acc", "third.acc"]).refused(&["the number of parts of 1.acc, 2", "found 3", "third.acc"]);

    // The same URI with other classes.
    let bytes = std::fs::read(desk.path("pixels.safetensors")).expect("pixels");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
    let mut labels = file.tensor("labels").expect("labels").data().to_vec();
    labels.rotate_left(8);
    let changed: Vec<_> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let data = if name == "labels" { labels.as_slice() } else { view.data() };
            (
                name,
                safetensors::tensor::TensorView::new(view.dtype(), view.shape().to_vec(), data)
                    .expect("a view"),
            )
        })
        .collect();
    safetensors::serialize_to_file(changed, None, &desk.path("pixels.safetensors")).expect("written");
    save("changed.acc", "2/2", &[]).done();
    merge(&["1.acc", "changed.acc"]).refused(&["the samples of 1.acc", "changed.acc"]);

    let whole = std::fs::read(desk.path("2.acc")).expect("a part");
    let spoil = |name: &str, bytes: &[u8]| std::fs::write(desk.path(name), bytes).expect("written");
    for n in [30, whole.len() / 2, whole.len() - 1] {
        spoil("cut.acc", &whole[..n]);
        merge(&["1.acc", "cut.acc"]).refused(&["a whole file", &n.to_string(), "cut.acc"]);
    }
    for at in [40, whole.len() - 100, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        spoil("flipped.acc", &bytes);
        merge(&["1.acc", "flipped.acc"]).refused(&["the digest", "changed", "flipped.acc"]);
    }
    assert!(!desk.path("merged").exists(), "a refusal leaves no folder");
}

#[test]
fn parts_are_counted_from_1_to_n_and_saved_in_a_new_file() {
    let desk = Desk::new().with_pixels();
    let run = |more: &[&str]| {
        let study = ["analyze", "attention-distance", "--weights", TINY];
        desk.run(&[&study[..], &DATA, more].concat())
    };
    for shard in ["0/2", "3/2", "1/0", "1", "a/b", "-1/2"] {
        let shard = format!("--shard={shard}");
        run(&[&shard, "--save", "x.acc"]).refused(&["--shard", "I from 1 to N"]);
    }
    run(&["--shard", "1/2"]).refused(&["--save"]);
    run(&["--save", "x.acc"]).refused(&["--shard"]);
    run(&["--shard", "1/2", "--save", "x.acc", "--out", "y"]).refused(&["--out", "--save"]);
    run(&["--shard", "1/2", "--save", "x.acc", "--expect", "a>=1"]).refused(&["--expect", "--shard"]);
    run(&["--shard", "1/4", "--save", "x.acc"]).refused(&["at most 3 parts", "found 4", "--batch"]);
    run(&["--shard", "1/2", "--save", "."]).refused(&["--save", "a folder"]);
    run(&["--shard", "1/2", "--save", "x.acc"]).done();
    run(&["--shard", "1/2", "--save", "x.acc"]).refused(&["--save", "--overwrite", "x.acc"]);
    run(&["--shard", "1/2", "--save", "x.acc", "--overwrite"]).done();
    let document = run(&["--shard", "2/2", "--save", "y.acc", "--json"]).done().stdout;
    let document: Value = serde_json::from_str(&document).expect("one document");
    assert_eq!(document["shard"], serde_json::json!({ "part": 2, "of": 2 }));
    assert!(!desk.path("runs").exists(), "no report, no folder");
}
