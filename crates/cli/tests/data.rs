//! `data show` and `data check`, and a run over data of which a little is unreadable.

mod desk;

use desk::{Desk, TINY};
use serde_json::Value;

#[test]
fn a_data_set_is_shown_and_checked() {
    let desk = Desk::new();
    let shown =
        desk.run(&["data", "show", "part-shapes", "--samples", "2", "--out", "sheet.png", "--json"]).done();
    let json: Value = serde_json::from_str(&shown.stdout).expect("one document");
    assert_eq!(json["samples"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["samples"][0]["boxes"].as_array().map(Vec::len), Some(3));
    let sheet = image::open(desk.path("sheet.png")).expect("a picture").to_rgb8();
    assert!(sheet.width() > 800 && sheet.height() > 300, "{:?}", sheet.dimensions());
    let page = desk.run(&["data", "show", "part-shapes", "--samples", "1", "--out", "sheet.html"]).done();
    assert!(page.stdout.trim_end().ends_with("sheet.html"));
    let page = std::fs::read_to_string(desk.path("sheet.html")).expect("a page");
    assert!(page.contains("data:image/png;base64,") && !page.contains("http"));

    // Ten pictures in two classes; then one is spoiled.
    for at in 0..10_u8 {
        let path = desk.path(&format!("photos/{}/{at}.png", if at < 5 { "a" } else { "b" }));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        image::RgbImage::from_pixel(3, 2, image::Rgb([at / 9 * 9, 0, 0])).save(&path).expect("written");
    }
    let sound = desk.run(&["data", "check", "folder:photos", "--json"]).done();
    let json: Value = serde_json::from_str(&sound.stdout).expect("one document");
    assert_eq!((json["sound"].as_bool(), json["n_samples"].as_u64()), (Some(true), Some(10)));
    assert_eq!(json["same_picture"][0].as_array().map(Vec::len), Some(9));
    assert_eq!(json["splits"][0]["sizes"][0]["width_px"], 3);
    std::fs::write(desk.path("photos/a/3.png"), b"not a picture").expect("written");
    let spoiled = desk.run(&["data", "check", "folder:photos"]);
    assert_eq!(spoiled.code, Some(2));
    assert!(spoiled.stdout.contains("malformed: ") && spoiled.stdout.contains("3.png"), "{}", spoiled.stdout);
    assert!(spoiled.stderr.starts_with("error: data: expected nothing missing"), "{}", spoiled.stderr);

    // One of eight may be unreadable if that is said; it is named in the report.
    let embed = [
        "embed",
        "--weights",
        TINY,
        "--data",
        "folder:photos",
        "--split",
        "all",
        "--size",
        "32",
        "--out",
        "x.npz",
    ];
    assert_eq!(desk.run(&embed).code, Some(2));
    let done = desk.run(&[&embed[..], &["--max-unreadable", "0.2", "--json"]].concat()).done();
    let json: Value = serde_json::from_str(&done.stdout).expect("one document");
    let metrics = json["metrics"].as_array().expect("metrics");
    assert!(
        metrics.iter().any(|metric| metric["name"] == "n_unreadable" && metric["value"] == 1.0),
        "{metrics:?}"
    );
    assert!(done.stderr.contains("skipped sample"), "{}", done.stderr);
}
