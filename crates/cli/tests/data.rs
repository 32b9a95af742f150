//! `data show` and `data check`, of pictures and of annotations as they are published, and a run over data of which a little is
//! unreadable.

mod desk;

use desk::{Desk, TINY};
use serde_json::{Value, json};
use std::fs;

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
    let page = fs::read_to_string(desk.path("sheet.html")).expect("a page");
    assert!(page.contains("data:image/png;base64,") && !page.contains("http"));

    // Ten pictures in two classes; then one is spoiled.
    for at in 0..10_u8 {
        let path = desk.path(&format!("photos/{}/{at}.png", if at < 5 { "a" } else { "b" }));
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        image::RgbImage::from_pixel(3, 2, image::Rgb([at / 9 * 9, 0, 0])).save(&path).expect("written");
    }
    let sound = desk.run(&["data", "check", "folder:photos", "--json"]).done();
    let json: Value = serde_json::from_str(&sound.stdout).expect("one document");
    assert_eq!((json["sound"].as_bool(), json["n_samples"].as_u64()), (Some(true), Some(10)));
    assert_eq!(json["same_picture"][0].as_array().map(Vec::len), Some(9));
    assert_eq!(json["splits"][0]["sizes"][0]["width_px"], 3);
    fs::write(desk.path("photos/a/3.png"), b"not a picture").expect("written");
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

fn write(desk: &Desk, name: &str, bytes: &[u8]) {
    let path = desk.path(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, bytes).expect("written");
}

/// A photograph of 4 × 5 px, in a color of its own.
fn photo(desk: &Desk, name: &str, red: u8) {
    let path = desk.path(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let picture = image::RgbImage::from_pixel(4, 5, image::Rgb([red, 90, 200]));
    picture.save_with_format(path, image::ImageFormat::Jpeg).expect("a picture");
}

/// A map of 4 × 5 px as VOC's augmented ones are: ids in gray.
fn map(desk: &Desk, name: &str, id: u8) {
    let path = desk.path(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    image::GrayImage::from_pixel(4, 5, image::Luma([id])).save(path).expect("a map");
}

fn is_sound(desk: &Desk, data: &str, n_samples: usize) {
    let answer = desk.run(&["data", "check", data]).done();
    assert!(answer.stdout.contains(&format!("sound: {n_samples} samples")), "{data}: {}", answer.stdout);
}

/// Exit code 2, and everything that was said has these words.
fn is_spoiled(desk: &Desk, data: &str, words: &[&str]) {
    let answer = desk.run(&["data", "check", data]);
    assert_eq!(answer.code, Some(2), "{data}: {}{}", answer.stdout, answer.stderr);
    let said = format!("{}{}", answer.stdout, answer.stderr);
    for word in words {
        assert!(said.contains(word), "{data}: no `{word}` in: {said}");
    }
}

/// COCO's annotations of one set: two photographs, of which one has an object and a crowd.
fn coco() -> Value {
    let object = |id: u64, crowd: u8, segmentation: Value| {
        json!({"id": id, "image_id": 139, "category_id": 90, "iscrowd": crowd, "area": 6.0, "bbox": [1, 1, 2, 3],
               "segmentation": segmentation})
    };
    json!({
        "info": {"year": 2017}, "licenses": [],
        "images": [
            {"id": 139, "file_name": "000000000139.jpg", "width": 4, "height": 5},
            {"id": 42, "file_name": "000000000042.jpg", "width": 4, "height": 5},
        ],
        "categories": [{"id": 90, "name": "toothbrush", "supercategory": "indoor"}],
        "annotations": [
            object(1, 0, json!([[1, 1, 3, 1, 3, 4, 1, 4]])),
            object(2, 1, json!({"size": [5, 4], "counts": [0, 2, 18]})),
        ],
    })
}

#[test]
fn coco_is_checked() {
    let desk = Desk::new();
    let set = |name: &str, written: &Value| {
        write(&desk, &format!("coco/annotations/instances_{name}2017.json"), written.to_string().as_bytes());
    };
    for (of_set, name) in ["train", "val"].into_iter().enumerate() {
        set(name, &coco());
        for (at, id) in [139, 42].into_iter().enumerate() {
            photo(&desk, &format!("coco/{name}2017/{id:012}.jpg"), (of_set * 100 + at * 50) as u8);
        }
    }
    is_sound(&desk, "coco:coco", 4);
    fs::remove_file(desk.path("coco/val2017/000000000042.jpg")).expect("removed");
    is_spoiled(&desk, "coco:coco", &["malformed: test", "000000000042.jpg"]);
    let mut orphan = coco();
    orphan["annotations"][0]["image_id"] = json!(5);
    set("val", &orphan);
    is_spoiled(&desk, "coco:coco", &["an image for every annotation", "id 5"]);
}

#[test]
fn part_imagenet_is_checked() {
    let desk = Desk::new();
    for (set, wnid) in [("train", "n01440764"), ("val", "n02102040"), ("test", "n01443537")] {
        let (mut images, mut annotations) = (Vec::new(), Vec::new());
        for id in 0..5u8 {
            let file = format!("{wnid}_{id}.JPEG");
            photo(&desk, &format!("parts/{set}/{wnid}/{file}"), 40 * id + set.len() as u8);
            images.push(json!({"id": id, "file_name": file, "width": 4, "height": 5}));
            let polygon = json!([[0, 0, 4, 0, 4, 2, 0, 2]]);
            annotations.push(json!({"image_id": id, "category_id": 3, "segmentation": polygon}));
        }
        let categories = json!([{"id": 3, "name": "Fish Head", "supercategory": "Fish"}]);
        let file = json!({"images": images, "annotations": annotations, "categories": categories});
        write(&desk, &format!("parts/{set}.json"), file.to_string().as_bytes());
    }
    is_sound(&desk, "partimagenet:parts", 15);
    write(&desk, "parts/train/n01440764/n01440764_2.JPEG", b"not a picture");
    is_spoiled(&desk, "partimagenet:parts", &["malformed: ", "n01440764_2.JPEG"]);
    write(&desk, "parts/val.json", b"{");
    is_spoiled(&desk, "partimagenet:parts", &["malformed annotations", "val.json"]);
}

#[test]
fn voc_is_checked() {
    let desk = Desk::new();
    let names = ["2007_000001", "2007_000002"];
    for (at, name) in names.into_iter().enumerate() {
        photo(&desk, &format!("voc/JPEGImages/{name}.jpg"), 100 * at as u8);
        map(&desk, &format!("voc/SegmentationClass/{name}.png"), 20);
        map(&desk, &format!("voc/SegmentationClassAug/{name}.png"), 20);
    }
    for (set, name) in [("train", names[0]), ("trainaug", names[0]), ("val", names[1])] {
        write(&desk, &format!("voc/ImageSets/Segmentation/{set}.txt"), name.as_bytes());
    }
    is_sound(&desk, "voc:voc", 2);
    is_sound(&desk, "voc-aug:voc", 2);
    map(&desk, "voc/SegmentationClass/2007_000002.png", 21);
    is_spoiled(&desk, "voc:voc", &["0 to 20 and 255", "found 21", "2007_000002"]);
    fs::remove_file(desk.path("voc/ImageSets/Segmentation/trainaug.txt")).expect("removed");
    fs::remove_file(desk.path("voc/ImageSets/Segmentation/val.txt")).expect("removed");
    is_spoiled(&desk, "voc-aug:voc", &["missing list of a set"]);
}
