//! VOC and COCO on real files: the examples of labelme, as Debian's package `labelme-examples` has them.
//!
//! `VITSCOPE_TEST_LABELME` names the folder with them; without it, the tests say so and end.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests read `VITSCOPE_*` and print")]

use std::fs;
use std::path::{Path, PathBuf};
use vit_data::{Split, VOID};

fn examples() -> Option<PathBuf> {
    let dir = std::env::var_os("VITSCOPE_TEST_LABELME").map(PathBuf::from).filter(|dir| dir.is_dir());
    if dir.is_none() {
        eprintln!("skipped: VITSCOPE_TEST_LABELME names no folder with the examples of labelme");
    }
    dir
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

#[test]
fn the_voc_photographs_of_labelme_have_their_classes() {
    let Some(examples) = examples() else { return };
    let from = examples.join("semantic_segmentation/data_dataset_voc");
    let dir = tempfile::tempdir().expect("a folder");
    copy_all(&from.join("JPEGImages"), &dir.path().join("JPEGImages"));
    copy_all(&from.join("SegmentationClassPNG"), &dir.path().join("SegmentationClass"));
    fs::create_dir_all(dir.path().join("ImageSets/Segmentation")).expect("a folder");
    fs::write(dir.path().join("ImageSets/Segmentation/val.txt"), "2011_000003\n2011_000006\n2011_000025\n")
        .expect("written");
    let data = vit_data::open(&format!("voc:{}", dir.path().display()), Split::Test, 0).expect("opens");
    assert_eq!(data.len(), 3);
    let mut seen = std::collections::BTreeSet::new();
    for index in 0..3 {
        let truth = data.sample(index).expect("reads").truth;
        let semantic = truth.semantic.expect("classes");
        seen.extend(semantic.ids.iter().copied().filter(|&id| id > 0 && id != VOID));
        let n_object = truth.mask.expect("a mask").ids.iter().filter(|&&id| id == 1).count();
        assert!(n_object > 0 && n_object < semantic.ids.len());
    }
    let names: Vec<&str> =
        seen.iter().map(|&id| data.object_classes()[usize::from(id) - 1].as_str()).collect();
    assert!(names.contains(&"person") && names.contains(&"bus"), "{names:?}");
}

#[test]
fn the_polygons_of_labelme_have_the_areas_that_pycocotools_gave_them() {
    let Some(examples) = examples() else { return };
    let from = examples.join("instance_segmentation/data_dataset_coco");
    let dir = tempfile::tempdir().expect("a folder");
    copy_all(&from.join("JPEGImages"), &dir.path().join("val2017/JPEGImages"));
    fs::create_dir_all(dir.path().join("annotations")).expect("a folder");
    let file = dir.path().join("annotations/instances_val2017.json");
    fs::copy(from.join("annotations.json"), &file).expect("copied");
    let text = fs::read_to_string(&file).expect("read");
    let written: serde_json::Value = serde_json::from_str(&text).expect("json");
    let areas: Vec<f64> = written["annotations"]
        .as_array()
        .expect("annotations")
        .iter()
        .map(|annotation| annotation["area"].as_f64().expect("an area"))
        .collect();
    let data = vit_data::open(&format!("coco:{}", dir.path().display()), Split::Test, 0).expect("opens");
    let objects: Vec<_> =
        (0..data.len()).flat_map(|index| data.sample(index).expect("reads").truth.objects).collect();
    assert_eq!(objects.len(), areas.len());
    let (mut ours, mut expected): (Vec<f64>, Vec<f64>) =
        (objects.iter().map(|object| object.region.area_px() as f64).collect(), areas);
    ours.sort_by(f64::total_cmp);
    expected.sort_by(f64::total_cmp);
    for (ours, expected) in ours.iter().zip(&expected) {
        // labelme draws its own masks from the same corners: pixels at the edge may differ.
        assert!((ours - expected).abs() <= 0.02 * expected + 40.0, "{ours} {expected}");
    }
}
