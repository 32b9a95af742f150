//! SPair-71k: pairs of pictures of the same category, with the points that both show.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    DataError, Dataset, DatasetEntry, Keypoint, Offers, PairSide, Picture, Sample, Split, Truth,
    decode::decode_file,
    folder::{path_of, root_of, sets},
    listing::{lines, plain_name},
};

/// The registry row.
pub const ENTRY: DatasetEntry = DatasetEntry {
    name: "spair",
    line: "SPair-71k: pairs of pictures of a category with their common points, the sets trn and test",
    usage: "spair:DIR",
    open,
};

/// What is malformed where an annotation is.
const ANNOTATION: &str = "annotation of a pair";

/// Sample `2 i` is the source of pair `i`, and `2 i + 1` its target.
struct Spair {
    name: String,
    root: PathBuf,
    categories: Vec<String>,
    pairs: Vec<Pair>,
}

/// One pair.
struct Pair {
    /// As the list names it, without its category.
    name: String,
    category: u32,
    annotation: PathBuf,
}

/// The annotation of a pair; what else it says is not asked for.
#[derive(Deserialize)]
struct Written {
    category: String,
    #[serde(default)]
    mirror: u32,
    src_imname: String,
    trg_imname: String,
    src_imsize: Vec<usize>,
    trg_imsize: Vec<usize>,
    src_bndbox: [f32; 4],
    trg_bndbox: [f32; 4],
    src_kps: Vec<Option<[f32; 2]>>,
    trg_kps: Vec<Option<[f32; 2]>>,
    kps_ids: Vec<String>,
}

/// One side of it.
struct Side<'a> {
    picture: &'a str,
    size: &'a [usize],
    bounds: [f32; 4],
    points: &'a [Option<[f32; 2]>],
}

fn open(rest: &str, split: Split, _: u64) -> Result<Box<dyn Dataset>, DataError> {
    let expected = "SPair-71k with JPEGImages, PairAnnotation and Layout";
    let root = root_of(path_of(rest, ENTRY.usage)?, &["SPair-71k"], "PairAnnotation", expected)?;
    let sets = sets(split, "trn", "test");
    let mut listed = Vec::new();
    for set in &sets {
        let list = root.join("Layout/large").join(format!("{set}.txt"));
        for line in lines(&list, "list of pairs", "SOURCE-TARGET:CATEGORY on every line")? {
            let (name, category) = parts(&line).ok_or_else(|| DataError::Malformed {
                what: "list of pairs",
                expected: "NUMBER-SOURCE-TARGET:CATEGORY".into(),
                found: format!("`{line}`"),
                path: list.clone(),
            })?;
            let (name, category) = (plain_name(name, &list)?, plain_name(category, &list)?);
            let annotation = annotation(&root.join("PairAnnotation").join(set), name, category);
            listed.push((name.to_owned(), category.to_owned(), annotation));
        }
    }
    let mut categories: Vec<String> = listed.iter().map(|(_, category, _)| category.clone()).collect();
    categories.sort_unstable();
    categories.dedup();
    let pairs = listed
        .into_iter()
        .map(|(name, category, annotation)| {
            let category = categories.partition_point(|known| *known < category) as u32;
            Pair { name, category, annotation }
        })
        .collect();
    let name = format!("spair:{rest}:{}", sets.join("+"));
    Ok(Box::new(Spair { name, root, categories, pairs }))
}

/// What a line says before its category, and the category. The colon between them is written otherwise where file systems
/// do not have it.
fn parts(line: &str) -> Option<(&str, &str)> {
    line.rsplit_once(':').or_else(|| line.rsplit_once("%3A")).or_else(|| line.rsplit_once('_'))
}

/// The annotation's file, by the name that it has here.
fn annotation(dir: &Path, name: &str, category: &str) -> PathBuf {
    let files = [":", "_", "%3A"].map(|between| dir.join(format!("{name}{between}{category}.json")));
    let found = files.iter().find(|file| file.is_file());
    found.unwrap_or(&files[0]).clone()
}

impl Pair {
    fn read(&self) -> Result<Written, DataError> {
        let path = &self.annotation;
        let text = fs::read_to_string(path).map_err(|source| DataError::Io { source, path: path.clone() })?;
        serde_json::from_str(&text).map_err(|error| {
            let keys = "category, src_imname, src_imsize, src_bndbox, src_kps, the same of trg, and kps_ids";
            self.malformed(format!("JSON with {keys}"), error.to_string())
        })
    }

    fn malformed(&self, expected: String, found: String) -> DataError {
        DataError::Malformed { what: ANNOTATION, expected, found, path: self.annotation.clone() }
    }

    /// The points of a side that both sides show, by their numbers.
    fn points(&self, written: &Written, side: &Side) -> Result<Vec<Keypoint>, DataError> {
        let n = written.kps_ids.len();
        let lengths = [written.src_kps.len(), written.trg_kps.len()];
        if lengths != [n, n] {
            let found = format!("{} in the source and {} in the target", lengths[0], lengths[1]);
            return Err(self.malformed(format!("{n} points, as kps_ids"), found));
        }
        let mut points = Vec::new();
        for (i, id) in written.kps_ids.iter().enumerate() {
            let Ok(name_idx) = id.parse() else {
                return Err(self.malformed("numbers in kps_ids".into(), format!("`{id}`")));
            };
            let (Some(_), Some(_), Some([x, y])) = (written.src_kps[i], written.trg_kps[i], side.points[i])
            else {
                continue;
            };
            // Points are pixels, whose middle is half a pixel further.
            points.push(Keypoint { name_idx, xy_in_image_px: (x + 0.5, y + 0.5), visible: true });
        }
        Ok(points)
    }
}

impl Dataset for Spair {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        2 * self.pairs.len()
    }

    fn classes(&self) -> &[String] {
        &self.categories
    }

    fn group(&self, index: usize) -> Option<usize> {
        Some(index / 2)
    }

    fn offers(&self) -> Offers {
        Offers { labels: true, keypoints: true, pairs: true, ..Offers::default() }
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(self.pairs[index / 2].category)
    }

    fn native_size_px(&self) -> Option<usize> {
        None
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let place = PairSide { pair: index / 2, is_target: index % 2 == 1 };
        let pair = &self.pairs[place.pair];
        let written = pair.read()?;
        let category = &self.categories[pair.category as usize];
        if written.category != *category {
            let expected = format!("the category {category}, as the pair's name says");
            return Err(pair.malformed(expected, written.category));
        }
        if written.mirror != 0 {
            let expected = "mirror 0: pictures as they are".into();
            return Err(pair.malformed(expected, written.mirror.to_string()));
        }
        let side = match place.is_target {
            false => Side {
                picture: &written.src_imname,
                size: &written.src_imsize,
                bounds: written.src_bndbox,
                points: &written.src_kps,
            },
            true => Side {
                picture: &written.trg_imname,
                size: &written.trg_imsize,
                bounds: written.trg_bndbox,
                points: &written.trg_kps,
            },
        };
        let keypoints = pair.points(&written, &side)?;
        let [left, top, right, bottom] = side.bounds;
        if !(left < right && top < bottom) {
            return Err(pair.malformed("a box of some size".into(), format!("{:?}", side.bounds)));
        }
        let file = plain_name(side.picture, &pair.annotation)?;
        let image = decode_file(&self.root.join("JPEGImages").join(category).join(file))?;
        let size = [image.width_px, image.height_px];
        if !side.size.starts_with(&size) {
            let expected = format!("{} × {} px, as the picture `{file}`", size[0], size[1]);
            return Err(pair.malformed(expected, format!("{:?}", side.size)));
        }
        Ok(Sample {
            picture: Picture::Image(image),
            truth: Truth {
                label: Some(pair.category),
                keypoints,
                box_in_image_px: Some(side.bounds),
                pair: Some(place),
                ..Truth::default()
            },
            id: format!("{}/{}", pair.name, if place.is_target { "target" } else { "source" }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: &str = r#"{"pair_id": 7, "filename": "x", "category": "cat", "mirror": 0, "viewpoint_variation": 1,
        "src_imname": "a.jpg", "trg_imname": "b.jpg", "src_imsize": [8, 6, 3], "trg_imsize": [6, 8, 3],
        "src_bndbox": [1, 1, 7, 5], "trg_bndbox": [0, 2, 5, 8],
        "src_kps": [[2, 3], [6, 4], null], "trg_kps": [[1, 2], [4, 7], [3, 3]], "kps_ids": ["0", "12", "13"]}"#;

    /// SPair-71k in small: a pair of cats for testing, its name with `between` before the category, and one of dogs to learn from.
    fn spair(dir: &Path, between: &str) {
        for set in ["trn", "test"] {
            fs::create_dir_all(dir.join("PairAnnotation").join(set)).expect("folders");
        }
        fs::create_dir_all(dir.join("Layout/large")).expect("folders");
        for (set, category, text) in
            [("test", "cat", PAIR.to_owned()), ("trn", "dog", PAIR.replace("cat", "dog"))]
        {
            let pictures = dir.join("JPEGImages").join(category);
            fs::create_dir_all(&pictures).expect("folders");
            for (name, w, h) in [("a", 8, 6), ("b", 6, 8)] {
                image::RgbImage::from_pixel(w, h, image::Rgb([90, 10, 200]))
                    .save(pictures.join(format!("{name}.jpg")))
                    .expect("a picture");
            }
            let file = format!("000007-a-b{between}{category}.json");
            fs::write(dir.join("PairAnnotation").join(set).join(file), text).expect("an annotation");
            fs::write(dir.join(format!("Layout/large/{set}.txt")), format!("000007-a-b:{category}\n"))
                .expect("a list");
        }
    }

    fn open_in(dir: &Path, split: Split) -> Result<Box<dyn Dataset>, DataError> {
        crate::open(&format!("spair:{}", dir.display()), split, 0)
    }

    #[test]
    fn a_pair_is_two_samples_with_the_points_that_both_show() {
        for between in [":", "_", "%3A"] {
            let dir = tempfile::tempdir().expect("a folder");
            spair(&dir.path().join("SPair-71k"), between);
            let data = open_in(dir.path(), Split::Test).expect("opens");
            let [source, target] = [0, 1].map(|i| data.sample(i).expect("reads"));
            let points = |sample: &Sample| -> Vec<(usize, (f32, f32))> {
                sample.truth.keypoints.iter().map(|point| (point.name_idx, point.xy_in_image_px)).collect()
            };
            assert_eq!(points(&source), [(0, (2.5, 3.5)), (12, (6.5, 4.5))]);
            assert_eq!(points(&target), [(0, (1.5, 2.5)), (12, (4.5, 7.5))]);
            assert_eq!(target.truth.box_in_image_px, Some([0.0, 2.0, 5.0, 8.0]));
            let sides = [&source, &target].map(|sample| sample.truth.pair.expect("a side"));
            assert_eq!(sides.map(|side| (side.pair, side.is_target)), [(0, false), (0, true)]);
            assert_eq!([source.id, target.id], ["000007-a-b/source", "000007-a-b/target"]);
        }
    }

    #[test]
    fn both_sets_share_their_categories_and_pairs_stay_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        spair(dir.path(), ":");
        let data = open_in(dir.path(), Split::All).expect("opens");
        assert_eq!((data.len(), data.classes()), (4, &["cat".to_owned(), "dog".to_owned()][..]));
        assert_eq!((0..4).map(|i| data.label(i)).collect::<Vec<_>>(), [Some(1), Some(1), Some(0), Some(0)]);
        // A pair of the first class; three samples would cut the second.
        assert_eq!(crate::spread_over_classes(data.as_ref(), 3), [2, 3]);
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let refusal = || match open_in(dir.path(), Split::Test) {
            Err(error) => error.to_string(),
            Ok(data) => data.sample(1).expect_err("a refusal").to_string(),
        };
        assert!(refusal().contains("SPair-71k with JPEGImages"));
        spair(dir.path(), ":");
        let file = dir.path().join("PairAnnotation/test/000007-a-b:cat.json");
        for (from, to, complaint) in [
            ("\"cat\"", "\"dog\"", "expected the category cat"),
            ("\"mirror\": 0", "\"mirror\": 1", "mirror 0"),
            ("\"12\", \"13\"]", "\"12\"]", "2 points, as kps_ids; found 3 in the source"),
            ("\"12\"", "\"ear\"", "found `ear`"),
            ("[0, 2, 5, 8]", "[5, 2, 5, 8]", "a box of some size"),
            ("[6, 8, 3]", "[8, 6, 3]", "6 × 8 px, as the picture `b.jpg`"),
            ("b.jpg", "../cat/b.jpg", "the name of a file or folder"),
            ("b.jpg", "none.jpg", "none.jpg"),
            ("\"kps_ids\"", "\"ids\"", "missing field `kps_ids`"),
            ("[6, 4]", "[6, 1e999]", "malformed annotation of a pair"),
        ] {
            assert!(PAIR.contains(from), "{from}");
            fs::write(&file, PAIR.replace(from, to)).expect("written");
            let message = refusal();
            assert!(message.contains(complaint), "{message}");
        }
        fs::remove_file(&file).expect("removed");
        assert!(refusal().ends_with("000007-a-b:cat.json"));
        let list = dir.path().join("Layout/large/test.txt");
        for (text, complaint) in [
            ("nothing\n", "NUMBER-SOURCE-TARGET:CATEGORY; found `nothing`"),
            ("../x:cat\n", "the name of a file or folder"),
            ("\n", "missing list of pairs"),
        ] {
            fs::write(&list, text).expect("a list");
            let message = refusal();
            assert!(message.contains(complaint), "{message}");
        }
        assert!(crate::open("spair:", Split::Test, 0).is_err());
    }
}
