//! COCO: photographs with the region and the category of every object.

use std::path::{Path, PathBuf};

use super::instances::{self, Annotated};
use crate::{
    DataError, Dataset, DatasetEntry, LabelMap, Object, Offers, Picture, RowsSeen, Sample, Split, Truth,
    dataset::all_rows, decode::decode_rows,
};

/// The registry row.
pub const ENTRY: DatasetEntry = DatasetEntry {
    name: "coco",
    line: "COCO instances: the region of every object, the sets train2017 and val2017 (or 2014)",
    usage: "coco:DIR",
    open,
};

/// The years of which the sets are known, the one preferred first.
const YEARS: [&str; 2] = ["2017", "2014"];

struct Coco {
    name: String,
    classes: Vec<String>,
    /// The annotation file and the folder of pictures of every side.
    sides: Vec<(PathBuf, PathBuf)>,
    /// The side and the image of every sample.
    images: Vec<(usize, Annotated)>,
}

fn open(rest: &str, split: Split, _: u64) -> Result<Box<dyn Dataset>, DataError> {
    if rest.is_empty() {
        return Err(DataError::Usage { expected: ENTRY.usage.into(), found: "coco:".into() });
    }
    let root = Path::new(rest);
    let wanted: &[&str] = match split {
        Split::Train => &["train"],
        Split::Test => &["val"],
        Split::All => &["train", "val"],
    };
    let (mut sides, mut images, mut sets) = (Vec::new(), Vec::new(), Vec::new());
    let mut classes: Option<Vec<String>> = None;
    for side in wanted {
        let (set, file) = annotations(root, side)?;
        let folder = root.join(&set);
        if !folder.is_dir() {
            return Err(DataError::Missing {
                what: "folder of pictures",
                expected: "the pictures that the annotations name".into(),
                path: folder,
            });
        }
        let read = instances::read(&file)?;
        let first = classes.get_or_insert_with(|| read.classes.clone());
        if *first != read.classes {
            return Err(DataError::Malformed {
                what: "annotations",
                expected: format!("the {} categories of the training side", first.len()),
                found: format!("{} others", read.classes.len()),
                path: file,
            });
        }
        if read.images.is_empty() {
            let expected = "at least one".into();
            return Err(DataError::Missing { what: "images in annotations", expected, path: file });
        }
        images.extend(read.images.into_iter().map(|image| (sides.len(), image)));
        sides.push((file, folder));
        sets.push(set);
    }
    let name = format!("coco:{rest}:{}", sets.join("+"));
    Ok(Box::new(Coco { name, classes: classes.unwrap_or_default(), sides, images }))
}

/// The name of a set and its annotation file.
fn annotations(root: &Path, side: &str) -> Result<(String, PathBuf), DataError> {
    let file = |set: &str| root.join("annotations").join(format!("instances_{set}.json"));
    let sets = YEARS.map(|year| format!("{side}{year}"));
    match sets.iter().find(|set| file(set).is_file()) {
        Some(set) => Ok((set.clone(), file(set))),
        None => Err(DataError::Missing {
            what: "annotations",
            expected: format!("instances_{}.json", sets.join(".json or instances_")),
            path: root.join("annotations"),
        }),
    }
}

impl Dataset for Coco {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        self.images.len()
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn object_classes(&self) -> &[String] {
        &self.classes
    }

    fn offers(&self) -> Offers {
        Offers { masks: true, objects: true, ..Offers::default() }
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn native_size_px(&self) -> Option<usize> {
        None
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        self.sample_rows(index, &all_rows)
    }

    fn sample_rows(&self, index: usize, n_rows: RowsSeen) -> Result<Sample, DataError> {
        let (side, annotated) = &self.images[index];
        let (file, folder) = &self.sides[*side];
        let (width_px, height_px) = (annotated.width_px, annotated.height_px);
        let image = decode_rows(&folder.join(&annotated.file_name), n_rows)?;
        instances::same_size(annotated, &image, file)?;
        let mut mask = LabelMap { width_px, height_px, ids: vec![0; width_px * height_px] };
        let mut objects = Vec::new();
        for (annotation, region) in annotated.regions(file)? {
            if !annotation.crowd {
                region.paint(&mut mask, 1);
            }
            objects.push(Object { class: annotation.class, crowd: annotation.crowd, region });
        }
        Ok(Sample {
            picture: Picture::Image(image),
            truth: Truth { mask: Some(mask), objects, ..Truth::default() },
            id: annotated.file_name.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::fs;

    fn annotation(image: u64, category: u64, crowd: u8, segmentation: Value) -> Value {
        json!({"id": 7, "image_id": image, "category_id": category, "iscrowd": crowd, "area": 1.0,
               "bbox": [0, 0, 1, 1], "segmentation": segmentation})
    }

    /// Two pictures of 4 × 5 px, their ids and categories with gaps, as in COCO.
    fn instances() -> Value {
        let square = json!([[1, 1, 3, 1, 3, 4, 1, 4], [0, 0, 1, 1]]);
        json!({
            "info": {"year": 2017}, "licenses": [],
            "images": [
                {"id": 139, "file_name": "000000000139.jpg", "width": 4, "height": 5, "license": 2},
                {"id": 42, "file_name": "000000000042.jpg", "width": 4, "height": 5},
            ],
            "categories": [
                {"id": 90, "name": "toothbrush", "supercategory": "indoor"},
                {"id": 1, "name": "person", "supercategory": "person"},
            ],
            "annotations": [
                annotation(139, 90, 0, square),
                annotation(139, 1, 1, json!({"size": [5, 4], "counts": [0, 2, 18]})),
                annotation(139, 1, 0, json!([[0, 0, 1, 1]])),
            ],
        })
    }

    fn coco(annotations: &Value) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        for set in ["train2017", "val2017"] {
            fs::create_dir_all(dir.path().join(set)).expect("folders");
            for id in ["000000000139", "000000000042"] {
                let picture = image::RgbImage::from_pixel(4, 5, image::Rgb([9, 90, 200]));
                picture.save(dir.path().join(set).join(format!("{id}.jpg"))).expect("a picture");
            }
        }
        fs::create_dir_all(dir.path().join("annotations")).expect("folders");
        for set in ["train2017", "val2017"] {
            let file = dir.path().join(format!("annotations/instances_{set}.json"));
            fs::write(file, annotations.to_string()).expect("annotations");
        }
        dir
    }

    fn open_in(dir: &Path, split: Split) -> Result<Box<dyn Dataset>, DataError> {
        crate::open(&format!("coco:{}", dir.display()), split, 0)
    }

    #[test]
    fn polygons_and_run_lengths_give_objects_and_crowds_are_no_part_of_the_mask() {
        let dir = coco(&instances());
        let data = open_in(dir.path(), Split::Test).expect("opens");
        assert_eq!(
            (data.len(), data.object_classes()),
            (2, &["person".to_owned(), "toothbrush".to_owned()][..])
        );
        assert!(data.name().ends_with(":val2017"), "{}", data.name());
        let sample = data.sample(0).expect("reads");
        assert_eq!(sample.id, "000000000139.jpg");
        // The polygon of four numbers is skipped, and with it the annotation that has no other.
        let objects: Vec<_> = sample
            .truth
            .objects
            .iter()
            .map(|object| (object.class, object.crowd, object.region.area_px()))
            .collect();
        assert_eq!(objects, [(1, false, 6), (0, true, 2)]);
        let mask = sample.truth.mask.expect("a mask");
        assert_eq!(mask.ids, [0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0]);
        let empty = data.sample(1).expect("reads");
        assert!(empty.truth.objects.is_empty() && empty.truth.mask.is_some_and(|mask| mask.ids == [0; 20]));
        assert_eq!(open_in(dir.path(), Split::All).expect("opens").len(), 4);
    }

    #[test]
    fn the_first_rows_of_a_jpeg_come_with_the_truth_of_the_whole() {
        let tall = json!({
            "images": [{"id": 1, "file_name": "000000000139.jpg", "width": 40, "height": 100}],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [annotation(1, 1, 0, json!([[0, 50, 40, 50, 40, 100, 0, 100]]))],
        });
        let dir = coco(&tall);
        let picture = include_bytes!("../../tests/jpeg/half-colors.jpg");
        fs::write(dir.path().join("val2017/000000000139.jpg"), picture).expect("writes");
        let data = open_in(dir.path(), Split::Test).expect("opens");
        let pixels = |sample: Sample| match sample.picture {
            Picture::Image(image) => (image.width_px, image.height_px, image.rgb),
            other @ Picture::Normalized { .. } => panic!("an image was expected, found {other:?}"),
        };
        let (whole, above) =
            (data.sample(0).expect("reads"), data.sample_rows(0, &|_, _| 10).expect("reads"));
        assert_eq!(whole.truth, above.truth);
        let ((w, h, whole), (_, h_above, above)) = (pixels(whole), pixels(above));
        assert_eq!((w, h, h_above), (40, 100, 100));
        assert_eq!(whole[..10 * 3 * w], above[..10 * 3 * w]);
        assert_ne!(whole, above, "nothing was saved");
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let refusal = |change: &dyn Fn(&mut Value)| {
            let mut written = instances();
            change(&mut written);
            let dir = coco(&written);
            match open_in(dir.path(), Split::Train) {
                Err(error) => error.to_string(),
                Ok(data) => data.sample(0).expect_err("a refusal").to_string(),
            }
        };
        let object = |key: &'static str, value: Value| {
            move |written: &mut Value| written["annotations"][0][key] = value.clone()
        };
        let cases: [(String, &[&str]); 8] = [
            (refusal(&object("image_id", json!(5))), &["an image for every annotation", "id 5"]),
            (refusal(&object("category_id", json!(2))), &["a category for every annotation", "id 2"]),
            (refusal(&object("segmentation", json!([[1, 2, 3, 4, 5]]))), &["even number", "found 5"]),
            (
                refusal(&object("segmentation", json!({"size": [5, 4], "counts": [3, 4]}))),
                &["fill 4 × 5 px", "000000000139.jpg"],
            ),
            (
                refusal(&object("segmentation", json!({"size": [4, 5], "counts": [20]}))),
                &["4 × 5 px", "5 × 4"],
            ),
            (
                refusal(&object("segmentation", json!(3))),
                &["malformed annotations", "polygons or run lengths"],
            ),
            (
                refusal(&|written| written["images"][0]["width"] = json!(6)),
                &["6 × 5 px", "4 × 5", "000000000139.jpg"],
            ),
            (
                refusal(&|written| written["images"][1]["id"] = json!(139)),
                &["images with an id of their own", "139 twice"],
            ),
        ];
        for (message, says) in cases {
            for what in says {
                assert!(message.contains(what), "`{what}` in: {message}");
            }
            assert!(message.ends_with("instances_train2017.json"), "{message}");
        }
        let dir = coco(&instances());
        fs::remove_dir_all(dir.path().join("val2017")).expect("removed");
        let message = open_in(dir.path(), Split::Test).err().expect("a refusal").to_string();
        assert!(message.contains("missing folder of pictures") && message.ends_with("val2017"), "{message}");
        fs::remove_file(dir.path().join("annotations/instances_val2017.json")).expect("removed");
        let message = open_in(dir.path(), Split::Test).err().expect("a refusal").to_string();
        assert!(message.contains("instances_val2017.json or instances_val2014.json"), "{message}");
    }
}
