//! Probes on data sets in their published layouts, each made here in small.

mod desk;

use desk::{Desk, TINY};
use serde_json::Value;
use std::fs;

/// A picture of 40 × 32 px whose bright square stands at `(x, y)`, over a ground that differs.
fn picture(at: (u32, u32), ground: u8) -> image::RgbImage {
    image::RgbImage::from_fn(40, 32, |x, y| {
        let is_in = (at.0..at.0 + 8).contains(&x) && (at.1..at.1 + 8).contains(&y);
        image::Rgb(if is_in { [240, 220 - ground, 30] } else { [ground, (x * 2) as u8, (y * 3) as u8] })
    })
}

fn save(desk: &Desk, name: &str, picture: &image::RgbImage) {
    let path = desk.path(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    picture.save(path).expect("written");
}

/// The map of the square: `id` where it is.
fn save_map(desk: &Desk, name: &str, at: (u32, u32), id: u8) {
    let path = desk.path(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let is_in = |x: u32, y: u32| (at.0..at.0 + 8).contains(&x) && (at.1..at.1 + 8).contains(&y);
    let map = image::GrayImage::from_fn(40, 32, |x, y| image::Luma([if is_in(x, y) { id } else { 0 }]));
    map.save(path).expect("written");
}

fn write(desk: &Desk, name: &str, text: &str) {
    let path = desk.path(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, text).expect("written");
}

/// The first number of a name in a report.
fn number(report: &Value, name: &str) -> f64 {
    let metrics = report["metrics"].as_array().expect("metrics");
    let metric = metrics.iter().find(|metric| metric["name"] == name);
    metric.unwrap_or_else(|| panic!("no {name}"))["value"].as_f64().expect("a number")
}

/// Asks a probe of the tiny model, and of what needs no learning.
fn ask(desk: &Desk, probe: &str, data: &str, more: &[&str]) -> Value {
    let args = ["probe", probe, "--weights", TINY, "--data", data, "--json"];
    let answer = desk.run(&[&args[..], more].concat()).done();
    let result: Value = serde_json::from_str(&answer.stdout).expect("one document");
    result
}

/// Frames of videos in which a square moves by two pixels a frame.
fn frames() -> impl Iterator<Item = (usize, usize, (u32, u32))> {
    (0..4).flat_map(|video| {
        (0..4).map(move |frame| (video, frame, (2 + 2 * frame as u32, 4 + 5 * video as u32)))
    })
}

#[test]
fn davis_is_checked_and_followed_by_the_published_protocol() {
    let desk = Desk::new();
    for (video, frame, at) in frames() {
        save(
            &desk,
            &format!("DAVIS/JPEGImages/480p/v{video}/{frame:05}.jpg"),
            &picture(at, 20 * video as u8),
        );
        save_map(&desk, &format!("DAVIS/Annotations/480p/v{video}/{frame:05}.png"), at, 1);
    }
    write(&desk, "DAVIS/ImageSets/2017/val.txt", "v0\nv1\nv2\nv3\n");
    let checked = desk.run(&["data", "check", "davis:DAVIS"]).done();
    assert!(checked.stdout.contains("sound: 16 samples"), "{}", checked.stdout);
    let found = ask(&desk, "label-propagation", "davis:DAVIS", &["--protocol", "dino", "--out", "dino"]);
    let recipe = fs::read_to_string(desk.path("dino/recipe.toml")).expect("a recipe");
    assert!(recipe.contains("framing = \"whole\"") && recipe.contains("compare_in = \"image\""), "{recipe}");
    // A square of eight pixels that moves by two: patches of eight follow it badly, and truth at their resolution bounds them.
    let (best, ceiling) = (number(&found, "best.j_and_f"), number(&found, "ceiling"));
    assert!(best >= 0.0 && best <= ceiling && ceiling < 1.0, "{best} of {ceiling}");
    // Two networks together, and a model alone with itself.
    let two = ask(&desk, "fused-propagation", "davis:DAVIS", &["--weights", TINY, "--layers", "0,1"]);
    let (first, second) = (number(&two, "first_alone"), number(&two, "second_alone"));
    assert_eq!(first, second, "the same weights twice");
    assert!((number(&two, "j_and_f") - first).abs() < 1e-9);
    desk.run(&["probe", "knn", "--weights", TINY, "--weights", TINY, "--data", "davis:DAVIS"])
        .refused(&["expected one model", "found 2"]);
    write(&desk, "DAVIS/ImageSets/2017/train.txt", "v0\n");
    desk.run(&["probe", "knn", "--weights", TINY, "--data", "davis:DAVIS"])
        .refused(&["a class for every sample"]);
}

#[test]
fn vip_gives_the_mean_iou_of_categories_where_frames_have_maps() {
    let desk = Desk::new();
    for (video, frame, at) in frames() {
        save(&desk, &format!("VIP/Images/v{video}/{frame:012}.jpg"), &picture(at, 20 * video as u8));
        if frame % 2 == 0 {
            save_map(&desk, &format!("VIP/Category_ids/v{video}/{frame:012}.png"), at, 3 + (video % 2) as u8);
        }
    }
    let checked = desk.run(&["data", "check", "vip:VIP"]).done();
    assert!(checked.stdout.contains("sound: 16 samples"), "{}", checked.stdout);
    let found = ask(&desk, "label-propagation", "vip:VIP", &["--set", "compare_in=image"]);
    assert!(number(&found, "best.miou") <= number(&found, "ceiling"));
    let missing = desk.run(&["probe", "label-propagation", "--weights", TINY, "--data", "vip:none"]);
    missing.refused(&["VIP with Images and Category_ids"]);
}

#[test]
fn pairs_of_spair_are_asked_whole_and_all_points_lie_in_padded_views() {
    let desk = Desk::new();
    let (mut list, n_pairs) = (String::new(), 6u32);
    for pair in 0..n_pairs {
        let category = if pair < 3 { "cat" } else { "dog" };
        let at = |side: u32| (3 + 4 * pair + 2 * side, 2 + 3 * pair + side);
        let mut words = Vec::new();
        for (side, name) in ["src", "trg"].into_iter().enumerate() {
            let (x, y) = at(side as u32);
            let file = format!("p{pair}{name}.jpg");
            save(
                &desk,
                &format!("SPair-71k/JPEGImages/{category}/{file}"),
                &picture((x, y), 10 * pair as u8),
            );
            words.push(format!(
                r#""{name}_imname": "{file}", "{name}_imsize": [40, 32, 3], "{name}_bndbox": [{x}, {y}, {}, {}],
                "{name}_kps": [[{x}, {y}], [{}, {}]]"#,
                x + 8,
                y + 8,
                x + 7,
                y + 7
            ));
        }
        let text = format!(
            r#"{{"category": "{category}", "mirror": 0, "kps_ids": ["0", "4"], {}}}"#,
            words.join(", ")
        );
        let name = format!("00000{pair}-a-b");
        write(&desk, &format!("SPair-71k/PairAnnotation/test/{name}:{category}.json"), &text);
        list.push_str(&format!("{name}:{category}\n"));
    }
    write(&desk, "SPair-71k/Layout/large/test.txt", &list);
    desk.run(&["data", "check", "spair:SPair-71k", "--split", "test"]).done();
    let args = ["--protocol", "spair", "--out", "padded"];
    let padded = ask(&desk, "correspondence", "spair:SPair-71k", &args);
    assert!(number(&padded, "best.pck") <= number(&padded, "ceiling"));
    let report = fs::read_to_string(desk.path("padded/report.md")).expect("a report");
    assert!(report.contains("6 pairs, 12 points") && !report.contains("outside the views"), "{report}");
    // The central square of 40 × 32 px loses points of the first and the last pairs.
    ask(&desk, "correspondence", "spair:SPair-71k", &["--framing", "center", "--out", "center"]);
    let report = fs::read_to_string(desk.path("center/report.md")).expect("a report");
    assert!(report.contains("outside the views"), "{report}");
    let pixels = ask(&desk, "correspondence", "spair:SPair-71k", &["--protocol", "walmer", "--size", "32"]);
    assert!(number(&pixels, "ceiling") >= number(&padded, "ceiling"));
    // Half of the samples: whole pairs, of both categories.
    let half = ["--protocol", "spair", "--limit", "8", "--out", "half"];
    ask(&desk, "correspondence", "spair:SPair-71k", &half);
    let report = fs::read_to_string(desk.path("half/report.md")).expect("a report");
    assert!(report.contains("4 pairs, 8 points"), "{report}");
    // One pair is too few to choose a layer by.
    desk.run(&["probe", "correspondence", "--weights", TINY, "--data", "spair:SPair-71k", "--limit", "2"])
        .refused(&["at least 2 pairs", "found 1"]);
}

#[test]
fn revisited_oxford_is_ranked_in_its_setups() {
    let desk = Desk::new();
    let database: Vec<String> = (0..8).map(|i| format!("all_souls_{i}")).collect();
    let queries: Vec<String> = (0..4).map(|i| format!("query_{i}")).collect();
    for (i, name) in database.iter().chain(&queries).enumerate() {
        let place = i as u32 % 4;
        save(&desk, &format!("roxford5k/jpg/{name}.jpg"), &picture((7 * place, 5 * place), 3 * i as u8));
    }
    let gnd: Vec<String> = (0..4)
        .map(|i| {
            let [easy, hard, junk] = [i, i + 4, (i + 1) % 4].map(|item| format!("[{item}]"));
            format!(r#"{{"bbx": [2, 2, 30, 28.5], "easy": {easy}, "hard": {hard}, "junk": {junk}}}"#)
        })
        .collect();
    let text = format!(r#"{{"imlist": {database:?}, "qimlist": {queries:?}, "gnd": [{}]}}"#, gnd.join(", "));
    write(&desk, "roxford5k/gnd_roxford5k.json", &text);
    let checked = desk.run(&["data", "check", "roxford5k:roxford5k"]).done();
    assert!(checked.stdout.contains("sound: 12 samples"), "{}", checked.stdout);
    let found = ask(&desk, "retrieval", "roxford5k:roxford5k", &["--protocol", "dino", "--out", "found"]);
    for name in ["map_medium", "map_hard", "map_easy", "precision_at_1_medium", "precision_at_10_hard"] {
        assert!((0.0..=1.0).contains(&number(&found, name)), "{name}");
    }
    assert_eq!(number(&found, "map"), number(&found, "map_medium"));
    let report = fs::read_to_string(desk.path("found/report.md")).expect("a report");
    assert!(report.contains("4 queries, each ranked against 8 samples"), "{report}");
    ask(&desk, "retrieval", "roxford5k-crop:roxford5k", &["--protocol", "dino"]);
    desk.run(&["probe", "linear", "--weights", TINY, "--data", "roxford5k:roxford5k"]).refused(&["learn"]);
}
