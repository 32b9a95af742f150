//! `vitscope report`: saved results as one page, and what is refused.

mod desk;

use desk::{Desk, TINY};

/// A desk with two saved results: a probe and an analysis.
fn desk_with_runs() -> Desk {
    let desk = Desk::new().with_pixels();
    let data = ["--data", "pixels:pixels.safetensors", "-q"];
    let knn = ["probe", "knn", "--weights", TINY, "--set", "ks=[1]", "--set", "headline_k=1", "--out", "knn"];
    desk.run(&[&knn[..], &data].concat()).done();
    let distance = ["analyze", "attention-distance", "--weights", TINY, "--out", "more/distance"];
    desk.run(&[&distance[..], &data].concat()).done();
    desk
}

#[test]
fn saved_runs_become_one_page() {
    let desk = desk_with_runs();
    let one = desk.run(&["report", "knn", "--out", "one.html", "--expect", "best.top1>=0"]).done();
    assert_eq!(one.last_line(), "one.html");
    let page = std::fs::read_to_string(desk.path("one.html")).expect("a page");
    assert!(page.contains("kNN accuracy by layer") && page.contains("Beside what needs no learning"));
    assert!(page.contains("class=\"vs-line\""), "the figure is drawn again");

    let both =
        desk.run(&["report", "knn/report.json", "more/distance", "--out", "new/both.html", "--json"]).done();
    let json: serde_json::Value = serde_json::from_str(&both.stdout).expect("one document");
    let runs: std::collections::BTreeSet<&str> = json["metrics"]
        .as_array()
        .expect("metrics")
        .iter()
        .map(|metric| metric["params"]["run"].as_str().expect("a run"))
        .collect();
    assert_eq!(runs.len(), 2, "{runs:?}");
    let page = std::fs::read_to_string(desk.path("new/both.html")).expect("a page");
    assert!(page.contains("2 runs side by side") && page.contains("id=\"figure-run2-distance_by_depth\""));

    let missed =
        desk.run(&["report", "knn", "--out", "one.html", "--overwrite", "--expect", "best.top1>=1.5"]);
    assert_eq!(missed.code, Some(1), "{}", missed.stderr);
}

#[test]
fn what_is_no_saved_run_or_no_place_for_a_page_is_refused() {
    let desk = desk_with_runs();
    std::fs::write(desk.path("there.html"), "mine").expect("write");
    std::fs::create_dir_all(desk.path("folder.html")).expect("a folder");
    std::fs::create_dir_all(desk.path("broken")).expect("a folder");
    std::fs::write(desk.path("broken/report.json"), "{\"study\": 3}").expect("write");
    let text = std::fs::read_to_string(desk.path("knn/report.json")).expect("read");
    std::fs::create_dir_all(desk.path("bare")).expect("a folder");
    let bare = text.replace("\"data\":{\"line\"", "\"drawn\":{\"line\"");
    std::fs::write(desk.path("bare/report.json"), bare).expect("write");
    let cases: [(&[&str], &[&str]); 10] = [
        (&["report", "--out", "x.html"], &["<RUN>"]),
        (&["report", "knn"], &["--out"]),
        (
            &["report", "nothing", "--out", "x.html"],
            &["run: expected the folder", "found nothing there: nothing"],
        ),
        (&["report", "there.html", "--out", "x.html"], &["found a file: there.html"]),
        (&["report", "more", "--out", "x.html"], &["with report.json", "such as more/distance", ": more"]),
        (&["report", "knn", "knn/", "--out", "x.html"], &["every run once", "knn/"]),
        (&["report", "broken", "--out", "x.html"], &["not a report.json", "broken/report.json"]),
        (&["report", "bare", "--out", "x.html"], &["figure `knn_by_layer`", "its data", "bare/report.json"]),
        (&["report", "knn", "--out", "there.html"], &["--overwrite", "there.html"]),
        (&["report", "knn", "--out", "page.md"], &["ends in .html", "page.md"]),
    ];
    for (args, says) in cases {
        desk.run(args).refused(says);
    }
    desk.run(&["report", "knn", "--out", "folder.html"]).refused(&["expected a file", "folder.html"]);
    assert_eq!(std::fs::read_to_string(desk.path("there.html")).expect("read"), "mine");
    assert!(!desk.path("x.html").exists() && !desk.path("page.md").exists());
}
