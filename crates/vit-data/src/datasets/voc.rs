//! PASCAL VOC 2012: a class for every pixel, in palette or gray PNGs.

use std::path::{Path, PathBuf};

use crate::{
    DataError, Dataset, DatasetEntry, LabelMap, Offers, Picture, RowsSeen, Sample, Split, Truth, VOID,
    dataset::all_rows,
    decode::decode_rows,
    folder::{path_of, root_of, sets},
    ids::read_ids_of,
    listing::lines,
};

/// The registry row.
pub const ENTRY: DatasetEntry = DatasetEntry {
    name: "voc",
    line: "PASCAL VOC 2012 segmentation: 20 classes by the pixel, the sets train and val",
    usage: "voc:DIR",
    open: |rest, split, _| open(rest, split, &PLAIN),
};

/// The registry row with the maps of SBD.
pub const AUGMENTED: DatasetEntry = DatasetEntry {
    name: "voc-aug",
    line: "PASCAL VOC 2012 with the maps of SBD: the sets trainaug and val",
    usage: "voc-aug:DIR",
    open: |rest, split, _| open(rest, split, &WITH_SBD),
};

/// The names of the classes; a map holds the index + 1.
const CLASSES: [&str; 20] = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

/// One side: the list of names, and the folder of maps.
struct Side {
    set: &'static str,
    maps: &'static str,
}

/// The two sides of a registry row.
struct Kind {
    scheme: &'static str,
    train: Side,
    test: Side,
}

const VAL: Side = Side { set: "val", maps: "SegmentationClass" };
const PLAIN: Kind =
    Kind { scheme: "voc", train: Side { set: "train", maps: "SegmentationClass" }, test: VAL };
const WITH_SBD: Kind =
    Kind { scheme: "voc-aug", train: Side { set: "trainaug", maps: "SegmentationClassAug" }, test: VAL };

struct Voc {
    name: String,
    classes: Vec<String>,
    files: Vec<Files>,
}

/// One picture and its map.
struct Files {
    name: String,
    picture: PathBuf,
    map: PathBuf,
}

fn open(rest: &str, split: Split, kind: &Kind) -> Result<Box<dyn Dataset>, DataError> {
    let expected = "VOC2012 with JPEGImages, SegmentationClass and ImageSets/Segmentation";
    let inner = ["VOC2012", "VOCdevkit/VOC2012"];
    let root = root_of(path_of(rest, &format!("{}:DIR", kind.scheme))?, &inner, "JPEGImages", expected)?;
    let sides = sets(split, &kind.train, &kind.test);
    let mut files = Vec::new();
    for side in &sides {
        files.extend(list(&root, side)?);
    }
    let sets: Vec<&str> = sides.iter().map(|side| side.set).collect();
    let name = format!("{}:{rest}:{}", kind.scheme, sets.join("+"));
    Ok(Box::new(Voc { name, classes: CLASSES.map(str::to_owned).to_vec(), files }))
}

/// The pictures of a set, each with its map; that both are there is seen when they are read.
fn list(root: &Path, side: &Side) -> Result<Vec<Files>, DataError> {
    let list = root.join("ImageSets/Segmentation").join(format!("{}.txt", side.set));
    let names = lines(&list, "list of a set", "a name on every line")?;
    let maps = root.join(side.maps);
    if !maps.is_dir() {
        return Err(DataError::Missing {
            what: "folder of maps",
            expected: "a PNG of ids for every picture".into(),
            path: maps,
        });
    }
    // SBD's own lists name both files.
    let names = names.iter().map(|line| {
        let last = line.split_whitespace().next_back().unwrap_or(line);
        Path::new(last).file_stem().map_or(last.into(), |stem| stem.to_string_lossy())
    });
    let files = names
        .map(|name| Files {
            picture: root.join("JPEGImages").join(format!("{name}.jpg")),
            map: maps.join(format!("{name}.png")),
            name: name.into_owned(),
        })
        .collect();
    Ok(files)
}

impl Dataset for Voc {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        self.files.len()
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn object_classes(&self) -> &[String] {
        &self.classes
    }

    fn offers(&self) -> Offers {
        Offers { masks: true, semantic: true, ..Offers::default() }
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
        let files = &self.files[index];
        let image = decode_rows(&files.picture, n_rows)?;
        let map = read_ids_of(&files.map, (image.width_px, image.height_px))?;
        if let Some(id) = map.ids.iter().find(|&&id| usize::from(id) > CLASSES.len() && id != VOID) {
            return Err(DataError::Malformed {
                what: "class map",
                expected: format!("ids from 0 to {} and {VOID}", CLASSES.len()),
                found: id.to_string(),
                path: files.map.clone(),
            });
        }
        let is_object = |&id: &u8| u8::from(id != 0 && id != VOID);
        let mask = LabelMap { ids: map.ids.iter().map(is_object).collect(), ..map };
        Ok(Sample {
            picture: Picture::Image(image),
            truth: Truth { mask: Some(mask), semantic: Some(map), ..Truth::default() },
            id: files.name.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::tests::write_ids;
    use png::{BitDepth, ColorType};
    use std::fs;

    /// VOC2012 in small: pictures of 6 × 4 px, maps whose first pixels are 0, 1, 20 and void.
    fn voc(dir: &Path) {
        for folder in ["JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"] {
            fs::create_dir_all(dir.join(folder)).expect("folders");
        }
        for name in ["2007_000001", "2007_000002", "2008_000003"] {
            let picture = image::RgbImage::from_pixel(6, 4, image::Rgb([90, 10, 200]));
            picture.save(dir.join("JPEGImages").join(format!("{name}.jpg"))).expect("a picture");
            let mut ids = vec![0; 24];
            ids[1..4].copy_from_slice(&[1, 20, VOID]);
            let map = LabelMap { width_px: 6, height_px: 4, ids };
            let of = |folder: &str| dir.join(folder).join(format!("{name}.png"));
            write_ids(&of("SegmentationClass"), &map, ColorType::Indexed, BitDepth::Eight);
            write_ids(&of("SegmentationClassAug"), &map, ColorType::Grayscale, BitDepth::Eight);
        }
        let set = |name: &str, text: &str| {
            fs::write(dir.join("ImageSets/Segmentation").join(format!("{name}.txt")), text).expect("a set");
        };
        set("train", "2007_000001\n");
        set("val", "2007_000002 \n\n");
        set("trainaug", "/JPEGImages/2007_000001.jpg /SegmentationClassAug/2007_000001.png\n2008_000003\n");
    }

    fn open_in(dir: &Path, scheme: &str, split: Split) -> Result<Box<dyn Dataset>, DataError> {
        crate::open(&format!("{scheme}:{}", dir.display()), split, 0)
    }

    #[test]
    fn palette_and_gray_maps_give_classes_void_and_the_object() {
        let dir = tempfile::tempdir().expect("a folder");
        voc(&dir.path().join("VOCdevkit/VOC2012"));
        for (scheme, split, ids) in [
            ("voc", Split::Train, vec!["2007_000001"]),
            ("voc", Split::Test, vec!["2007_000002"]),
            ("voc-aug", Split::Train, vec!["2007_000001", "2008_000003"]),
            ("voc-aug", Split::All, vec!["2007_000001", "2008_000003", "2007_000002"]),
        ] {
            let data = open_in(dir.path(), scheme, split).expect("opens");
            let samples: Vec<Sample> = (0..data.len()).map(|i| data.sample(i).expect("reads")).collect();
            assert_eq!(samples.iter().map(|sample| sample.id.as_str()).collect::<Vec<_>>(), ids);
            for sample in samples {
                let semantic = sample.truth.semantic.expect("classes");
                assert_eq!(semantic.ids[..5], [0, 1, 20, VOID, 0]);
                assert_eq!(sample.truth.mask.expect("a mask").ids[..5], [0, 1, 1, 0, 0]);
            }
            assert_eq!((data.object_classes().len(), data.classes().len()), (20, 0));
        }
        let name = open_in(dir.path(), "voc-aug", Split::All).expect("opens").name();
        assert!(name.ends_with(":trainaug+val"), "{name}");
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let refusal = |scheme: &str| match open_in(dir.path(), scheme, Split::Train) {
            Err(error) => error.to_string(),
            Ok(data) => data.sample(0).expect_err("a refusal").to_string(),
        };
        assert!(refusal("voc").contains("JPEGImages"));
        voc(dir.path());
        let map = dir.path().join("SegmentationClass/2007_000001.png");
        let write = |width_px: usize, id: u8| {
            let map_of = LabelMap { width_px, height_px: 4, ids: vec![id; 4 * width_px] };
            write_ids(&map, &map_of, ColorType::Indexed, BitDepth::Eight);
        };
        write(5, 0);
        let message = refusal("voc");
        assert!(message.contains("6 × 4 px as the picture") && message.contains("5 × 4"), "{message}");
        write(6, 21);
        let message = refusal("voc");
        assert!(message.contains("0 to 20 and 255") && message.contains("found 21"), "{message}");
        fs::remove_file(&map).expect("removed");
        assert!(refusal("voc").ends_with("2007_000001.png"));
        fs::remove_dir_all(dir.path().join("SegmentationClassAug")).expect("removed");
        assert!(refusal("voc-aug").contains("missing folder of maps"));
        fs::remove_file(dir.path().join("ImageSets/Segmentation/train.txt")).expect("removed");
        assert!(refusal("voc").contains("missing list of a set"));
        assert!(crate::open("voc:", Split::Train, 0).is_err());
    }
}
