//! PartImageNet: ImageNet photographs with the region of every part of the object.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::instances::{self, Annotated};
use crate::{
    DataError, Dataset, DatasetEntry, LabelMap, Offers, Picture, RowsSeen, Sample, Seed, Split, Truth,
    dataset::all_rows, decode::decode_rows, split::stratified_split,
};

/// The registry row.
pub const ENTRY: DatasetEntry = DatasetEntry {
    name: "partimagenet",
    line: "PartImageNet: 158 ImageNet classes with part masks; its three sets pooled, then split 80/20",
    usage: "partimagenet:DIR",
    open,
};

/// The sets of the release, which divide the classes among them.
const SETS: [&str; 3] = ["train", "val", "test"];

struct PartImageNet {
    name: String,
    classes: Vec<String>,
    parts: Vec<String>,
    /// The annotation file of every set.
    files: Vec<PathBuf>,
    images: Vec<Photo>,
}

/// One photograph.
struct Photo {
    set: usize,
    path: PathBuf,
    label: u32,
    annotated: Annotated,
}

fn open(rest: &str, split: Split, seed: u64) -> Result<Box<dyn Dataset>, DataError> {
    if rest.is_empty() {
        return Err(DataError::Usage { expected: ENTRY.usage.into(), found: "partimagenet:".into() });
    }
    let root = Path::new(rest);
    let (mut files, mut found) = (Vec::new(), Vec::new());
    let mut parts: Option<Vec<String>> = None;
    for set in SETS {
        let Some(file) = annotations(root, set) else { continue };
        let read = instances::read(&file)?;
        let first = parts.get_or_insert_with(|| read.classes.clone());
        if *first != read.classes {
            let (expected, found) =
                (format!("the {} parts of the other sets", first.len()), read.classes.len());
            return Err(malformed(&file, expected, format!("{found} others")));
        }
        for annotated in read.images {
            let (path, wnid) = place(root, set, &annotated.file_name).ok_or_else(|| {
                let expected =
                    format!("a file name with a class before `_`, such as n01440764_10029.JPEG ({set})");
                malformed(&file, expected, annotated.file_name.clone())
            })?;
            found.push((files.len(), path, wnid, annotated));
        }
        files.push(file);
    }
    let parts = parts.unwrap_or_default();
    if files.is_empty() || found.is_empty() {
        return Err(DataError::Missing {
            what: "annotations",
            expected: "train.json, val.json or test.json".into(),
            path: root.to_owned(),
        });
    }
    if parts.len() > usize::from(u8::MAX) - 1 {
        return Err(malformed(&files[0], "at most 254 parts".into(), parts.len().to_string()));
    }
    // Photographs are known by their names, whichever set a release puts them into.
    found.sort_by(|a, b| a.1.file_name().cmp(&b.1.file_name()));
    let twice = found.windows(2).find(|pair| pair[0].1.file_name() == pair[1].1.file_name());
    if let Some([_, later]) = twice {
        let expected = "every photograph in one set".into();
        return Err(malformed(&files[later.0], expected, format!("{} again", later.3.file_name)));
    }
    let wnids: Vec<String> =
        found.iter().map(|(_, _, wnid, _)| wnid.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    let names = class_names(root)?;
    let classes = wnids.iter().map(|wnid| names.get(wnid).unwrap_or(wnid).clone()).collect();
    let images = found.into_iter().map(|(set, path, wnid, annotated)| {
        let label = wnids.binary_search(&wnid).unwrap_or_default() as u32;
        Photo { set, path, label, annotated }
    });
    let images = chosen(images.collect(), split, seed);
    let split_name = match split {
        Split::Train => "train",
        Split::Test => "test",
        Split::All => "all",
    };
    let name = format!("partimagenet:{rest}:{split_name} (seeded 80/20 split)");
    Ok(Box::new(PartImageNet { name, classes, parts, files, images }))
}

fn malformed(path: &Path, expected: String, found: String) -> DataError {
    DataError::Malformed { what: "annotations", expected, found, path: path.to_owned() }
}

/// The annotation file of a set, where releases put it.
fn annotations(root: &Path, set: &str) -> Option<PathBuf> {
    let places =
        [format!("{set}.json"), format!("annotations/{set}.json"), format!("annotations/{set}/{set}.json")];
    places.iter().map(|place| root.join(place)).find(|file| file.is_file())
}

/// Where a photograph lies, and its class. Where it is nowhere, the first place is where it is missed.
fn place(root: &Path, set: &str, file_name: &str) -> Option<(PathBuf, String)> {
    let base = Path::new(file_name).file_name()?.to_str()?;
    let (wnid, _) = base.split_once('_')?;
    let places = [
        format!("{set}/{wnid}/{base}"),
        format!("{set}/{base}"),
        format!("images/{set}/{wnid}/{base}"),
        format!("images/{set}/{base}"),
    ];
    let places = places.map(|place| root.join(place));
    let there = places.iter().position(|path| path.is_file()).unwrap_or(0);
    let [first, ..] = &places;
    Some((places.get(there).unwrap_or(first).clone(), wnid.to_owned()))
}

/// The words for the classes, where `imagenet_class_index.json` has them.
fn class_names(root: &Path) -> Result<BTreeMap<String, String>, DataError> {
    let file = root.join("imagenet_class_index.json");
    if !file.is_file() {
        return Ok(BTreeMap::new());
    }
    let text = fs::read_to_string(&file).map_err(|source| DataError::Io { source, path: file.clone() })?;
    let index: BTreeMap<String, (String, String)> =
        serde_json::from_str(&text).map_err(|error| DataError::Malformed {
            what: "class index",
            expected: "{\"0\": [\"n01440764\", \"tench\"], …}".into(),
            found: error.to_string(),
            path: file,
        })?;
    Ok(index.into_values().collect())
}

/// The photographs of a split, a fifth of every class held out.
fn chosen(images: Vec<Photo>, split: Split, seed: u64) -> Vec<Photo> {
    let labels: Vec<_> = images.iter().map(|image| Some(image.label)).collect();
    let halves = stratified_split(&labels, Seed(seed));
    let chosen = match split {
        Split::Train => halves.train,
        Split::Test => halves.test,
        Split::All => halves.train.into_iter().chain(halves.test).collect(),
    };
    let mut images: Vec<_> = images.into_iter().map(Some).collect();
    chosen.into_iter().filter_map(|index| images[index].take()).collect()
}

impl Dataset for PartImageNet {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        self.images.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn part_names(&self) -> &[String] {
        &self.parts
    }

    fn offers(&self) -> Offers {
        Offers { labels: true, masks: true, parts: true, ..Offers::default() }
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(self.images[index].label)
    }

    fn native_size_px(&self) -> Option<usize> {
        None
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        self.sample_rows(index, &all_rows)
    }

    fn sample_rows(&self, index: usize, n_rows: RowsSeen) -> Result<Sample, DataError> {
        let Photo { set, path, label, annotated } = &self.images[index];
        let file = &self.files[*set];
        let image = decode_rows(path, n_rows)?;
        instances::same_size(annotated, &image, file)?;
        let (width_px, height_px) = (annotated.width_px, annotated.height_px);
        let mut parts = LabelMap { width_px, height_px, ids: vec![0; width_px * height_px] };
        for (annotation, region) in annotated.regions(file)? {
            region.paint(&mut parts, annotation.class as u8 + 1);
        }
        let mask = LabelMap { ids: parts.ids.iter().map(|&id| u8::from(id > 0)).collect(), ..parts };
        Ok(Sample {
            picture: Picture::Image(image),
            truth: Truth { label: Some(*label), mask: Some(mask), parts: Some(parts), ..Truth::default() },
            id: annotated.file_name.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Three sets with five photographs of a class each, of 4 × 5 px: a head above a body.
    fn release() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        for (set, wnid) in [("train", "n01440764"), ("val", "n02102040"), ("test", "n01443537")] {
            let (mut images, mut annotations) = (Vec::new(), Vec::new());
            let folder = dir.path().join(set).join(wnid);
            fs::create_dir_all(&folder).expect("folders");
            for id in 0..5 {
                let file_name = format!("{wnid}_{id}.JPEG");
                let picture = image::RgbImage::from_pixel(4, 5, image::Rgb([id, 90, 200]));
                picture
                    .save_with_format(folder.join(&file_name), image::ImageFormat::Jpeg)
                    .expect("a picture");
                images.push(json!({"id": id, "file_name": file_name, "width": 4, "height": 5}));
                for (category, y) in [(3, 0), (8, 2)] {
                    let polygon = json!([[0, y, 4, y, 4, y + 2, 0, y + 2]]);
                    annotations
                        .push(json!({"image_id": id, "category_id": category, "segmentation": polygon}));
                }
                annotations.push(json!({"image_id": id, "category_id": 8, "segmentation": [[1, 1, 2, 2]]}));
            }
            let categories = json!([
                {"id": 3, "name": "Fish Head", "supercategory": "Fish"},
                {"id": 8, "name": "Fish Body", "supercategory": "Fish"},
            ]);
            let file = json!({"images": images, "annotations": annotations, "categories": categories});
            fs::write(dir.path().join(format!("{set}.json")), file.to_string()).expect("annotations");
        }
        let index = json!({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]});
        fs::write(dir.path().join("imagenet_class_index.json"), index.to_string()).expect("an index");
        dir
    }

    fn open_in(dir: &Path, split: Split) -> Result<Box<dyn Dataset>, DataError> {
        crate::open(&format!("partimagenet:{}", dir.display()), split, 0)
    }

    #[test]
    fn the_sets_are_pooled_and_every_class_is_split() {
        let dir = release();
        let (train, test) = (open_in(dir.path(), Split::Train), open_in(dir.path(), Split::Test));
        let (train, test) = (train.expect("opens"), test.expect("opens"));
        assert_eq!((train.len(), test.len()), (12, 3));
        assert_eq!(train.classes(), ["tench", "goldfish", "n02102040"]);
        assert_eq!(train.part_names(), ["Fish Head", "Fish Body"]);
        assert_eq!((0..3).map(|i| test.label(i)).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
        let sample = train.sample(0).expect("reads");
        let parts = sample.truth.parts.expect("parts");
        assert_eq!(parts.ids, [vec![1; 8], vec![2; 8], vec![0; 4]].concat());
        assert_eq!(sample.truth.mask.expect("a mask").ids, [vec![1; 16], vec![0; 4]].concat());
        assert!(test.name().ends_with(":test (seeded 80/20 split)"), "{}", test.name());
    }

    #[test]
    fn photographs_may_lie_as_newer_releases_put_them() {
        let dir = release();
        for set in SETS {
            fs::create_dir_all(dir.path().join("annotations").join(set)).expect("folders");
            let to = dir.path().join("annotations").join(set).join(format!("{set}.json"));
            fs::rename(dir.path().join(format!("{set}.json")), to).expect("moved");
            fs::create_dir_all(dir.path().join("images").join(set)).expect("folders");
            for class in fs::read_dir(dir.path().join(set)).expect("a folder").flatten() {
                for photo in fs::read_dir(class.path()).expect("a folder").flatten() {
                    let to = dir.path().join("images").join(set).join(photo.file_name());
                    fs::rename(photo.path(), to).expect("moved");
                }
            }
        }
        let data = open_in(dir.path(), Split::All).expect("opens");
        assert!((0..data.len()).all(|index| data.sample(index).is_ok()));
        assert_eq!(data.len(), 15);
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let dir = release();
        fs::remove_file(dir.path().join("train/n01440764/n01440764_0.JPEG")).expect("removed");
        let data = open_in(dir.path(), Split::All).expect("opens");
        let reads = |index: usize| data.sample(index);
        let message = (0..15).find_map(|index| reads(index).err()).expect("a refusal").to_string();
        assert!(message.ends_with("train/n01440764/n01440764_0.JPEG"), "{message}");
        fs::copy(dir.path().join("train.json"), dir.path().join("val.json")).expect("copied");
        let message = open_in(dir.path(), Split::All).err().expect("a refusal").to_string();
        assert!(message.contains("every photograph in one set") && message.contains("again"), "{message}");
        fs::write(dir.path().join("val.json"), "{").expect("written");
        let message = open_in(dir.path(), Split::All).err().expect("a refusal").to_string();
        assert!(message.contains("malformed annotations") && message.ends_with("val.json"), "{message}");
        let empty = tempfile::tempdir().expect("a folder");
        let message = open_in(empty.path(), Split::All).err().expect("a refusal").to_string();
        assert!(message.contains("train.json, val.json or test.json"), "{message}");
    }
}
