//! Revisited Oxford and Paris: photographs of buildings, and queries with lists of what they are to find.

use std::path::{Path, PathBuf};

use super::ground_truth::{self, Asked, GroundTruth};
use crate::{
    DataError, Dataset, DatasetEntry, Image, Offers, Picture, Query, Sample, Split, Truth,
    decode::decode_file,
    folder::{path_of, root_of},
    listing::plain_name,
};

/// The registry row of Oxford, queries shown whole.
pub const OXFORD: DatasetEntry = DatasetEntry {
    name: "roxford5k",
    line: "revisited Oxford: 4,993 photographs and 70 queries, shown whole; for retrieval",
    usage: "roxford5k:DIR",
    open: |rest, split, _| open(rest, split, &Kind { scheme: "roxford5k", set: "roxford5k", crops: false }),
};

/// The registry row of Oxford, queries cut to their boxes.
pub const OXFORD_CROPPED: DatasetEntry = DatasetEntry {
    name: "roxford5k-crop",
    line: "revisited Oxford with every query cut to its box, as the benchmark asks",
    usage: "roxford5k-crop:DIR",
    open: |rest, split, _| {
        open(rest, split, &Kind { scheme: "roxford5k-crop", set: "roxford5k", crops: true })
    },
};

/// The registry row of Paris, queries shown whole.
pub const PARIS: DatasetEntry = DatasetEntry {
    name: "rparis6k",
    line: "revisited Paris: 6,322 photographs and 70 queries, shown whole; for retrieval",
    usage: "rparis6k:DIR",
    open: |rest, split, _| open(rest, split, &Kind { scheme: "rparis6k", set: "rparis6k", crops: false }),
};

/// The registry row of Paris, queries cut to their boxes.
pub const PARIS_CROPPED: DatasetEntry = DatasetEntry {
    name: "rparis6k-crop",
    line: "revisited Paris with every query cut to its box, as the benchmark asks",
    usage: "rparis6k-crop:DIR",
    open: |rest, split, _| open(rest, split, &Kind { scheme: "rparis6k-crop", set: "rparis6k", crops: true }),
};

struct Kind {
    scheme: &'static str,
    /// The name of the folder and of the ground truth.
    set: &'static str,
    /// Whether queries are cut to their boxes.
    crops: bool,
}

/// The database, then the queries: the lists count in this order.
struct Revisited {
    name: String,
    pictures: PathBuf,
    crops: bool,
    truth: GroundTruth,
}

fn open(rest: &str, split: Split, kind: &Kind) -> Result<Box<dyn Dataset>, DataError> {
    let Kind { scheme, set, crops } = *kind;
    let expected = format!("{set} with jpg and gnd_{set}.pkl");
    let root = root_of(path_of(rest, &format!("{scheme}:DIR"))?, &[set], "jpg", &expected)?;
    if split == Split::Train {
        return Err(DataError::Missing {
            what: "photographs to learn from",
            expected: "the test side: retrieval learns nothing".into(),
            path: root,
        });
    }
    let [pickle, json] = ["pkl", "json"].map(|end| root.join(format!("gnd_{set}.{end}")));
    let file = if pickle.is_file() || !json.is_file() { &pickle } else { &json };
    let truth = if file == &json { ground_truth::of_json(file)? } else { ground_truth::of_pickle(file)? };
    for name in truth.database.iter().chain(truth.queries.iter().map(|query| &query.name)) {
        plain_name(name, file)?;
    }
    Ok(Box::new(Revisited { name: format!("{scheme}:{rest}"), pictures: root.join("jpg"), crops, truth }))
}

impl Revisited {
    fn query(&self, index: usize) -> Option<&Asked> {
        self.truth.queries.get(index.checked_sub(self.truth.database.len())?)
    }
}

impl Dataset for Revisited {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        self.truth.database.len() + self.truth.queries.len()
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn offers(&self) -> Offers {
        Offers { queries: true, ..Offers::default() }
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn native_size_px(&self) -> Option<usize> {
        None
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let file = |name: &str| self.pictures.join(format!("{name}.jpg"));
        let Some(asked) = self.query(index) else {
            let name = &self.truth.database[index];
            let picture = Picture::Image(decode_file(&file(name))?);
            return Ok(Sample { picture, truth: Truth::default(), id: name.clone() });
        };
        let whole = decode_file(&file(&asked.name))?;
        let Asked { bounds, easy, hard, junk, .. } = asked;
        let image = if self.crops { cut(&whole, *bounds, &file(&asked.name))? } else { whole };
        let query = Query { easy: easy.clone(), hard: hard.clone(), junk: junk.clone() };
        // A picture that was cut is its own box.
        let box_in_image_px = if self.crops { None } else { Some(bounds.map(|side| side as f32)) };
        Ok(Sample {
            picture: Picture::Image(image),
            truth: Truth { query: Some(query), box_in_image_px, ..Truth::default() },
            id: format!("query/{}", asked.name),
        })
    }
}

/// The pixels inside a box whose sides are rounded to the nearest, as far as the picture goes.
fn cut(image: &Image, bounds: [f64; 4], path: &Path) -> Result<Image, DataError> {
    let side = |at: f64, most: usize| (at.round_ties_even().max(0.0) as usize).min(most);
    let [left, right] = [bounds[0], bounds[2]].map(|x| side(x, image.width_px));
    let [top, bottom] = [bounds[1], bounds[3]].map(|y| side(y, image.height_px));
    if left >= right || top >= bottom {
        return Err(DataError::Malformed {
            what: "box of a query",
            expected: format!("a box in a picture of {} × {} px", image.width_px, image.height_px),
            found: format!("{bounds:?}"),
            path: path.to_owned(),
        });
    }
    let rows = image.rgb.chunks_exact(3 * image.width_px).skip(top).take(bottom - top);
    let rgb = rows.flat_map(|row| &row[3 * left..3 * right]).copied().collect();
    Ok(Image { width_px: right - left, height_px: bottom - top, rgb })
}

#[cfg(test)]
mod tests {
    use super::super::ground_truth::tests::OF_PYTHON;
    use super::*;
    use std::fs;

    /// Revisited Oxford in small: five photographs of 8 × 6 px and two queries, the ground truth as a pickle of Python.
    fn oxford(dir: &Path) {
        fs::create_dir_all(dir.join("jpg")).expect("folders");
        for (i, name) in ["all_souls_1", "b_2", "c_3", "d_4", "e_5", "q_1", "q_2"].iter().enumerate() {
            // Columns differ, so that a cut shows.
            let picture =
                image::RgbImage::from_fn(8, 6, |x, _| image::Rgb([if x < 4 { 0 } else { 255 }, 0, i as u8]));
            picture.save(dir.join(format!("jpg/{name}.jpg"))).expect("a picture");
        }
        fs::write(dir.join("gnd_roxford5k.pkl"), OF_PYTHON[0].1).expect("a pickle");
    }

    fn open_in(scheme: &str, dir: &Path, split: Split) -> Result<Box<dyn Dataset>, DataError> {
        crate::open(&format!("{scheme}:{}", dir.display()), split, 0)
    }

    #[test]
    fn the_database_comes_first_and_queries_say_what_they_are_to_find() {
        let dir = tempfile::tempdir().expect("a folder");
        oxford(&dir.path().join("roxford5k"));
        let data = open_in("roxford5k", dir.path(), Split::Test).expect("opens");
        let samples: Vec<Sample> = (0..data.len()).map(|i| data.sample(i).expect("reads")).collect();
        let ids: Vec<&str> = samples.iter().map(|sample| sample.id.as_str()).collect();
        assert_eq!(ids, ["all_souls_1", "b_2", "c_3", "d_4", "e_5", "query/q_1", "query/q_2"]);
        assert!(samples[..5].iter().all(|sample| sample.truth == Truth::default()));
        let query = samples[5].truth.query.as_ref().expect("a query");
        assert_eq!((&query.easy[..], &query.hard[..], &query.junk[..]), (&[0, 3][..], &[1][..], &[4][..]));
        assert_eq!(samples[5].truth.box_in_image_px, Some([4.0, 1.0, 7.6, 5.0]));
        assert!(data.offers().queries && !data.offers().labels);
        assert!(open_in("rparis6k", dir.path(), Split::Test).is_err());
        let message = open_in("roxford5k", dir.path(), Split::Train).err().expect("refused").to_string();
        assert!(message.contains("learns nothing"), "{message}");
    }

    #[test]
    fn queries_are_cut_to_their_boxes_where_that_is_asked() {
        let dir = tempfile::tempdir().expect("a folder");
        oxford(dir.path());
        let data = open_in("roxford5k-crop", dir.path(), Split::All).expect("opens");
        let Picture::Image(image) = data.sample(5).expect("reads").picture else { panic!("an image") };
        // From 4 to 8 (7.6 rounded) and from 1 to 5: only the bright columns.
        assert_eq!((image.width_px, image.height_px), (4, 4));
        assert!(image.rgb.chunks_exact(3).all(|pixel| pixel[0] > 150), "{:?}", image.rgb);
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let refusal = || match open_in("roxford5k-crop", dir.path(), Split::Test) {
            Err(error) => error.to_string(),
            Ok(data) => data.sample(5).expect_err("a refusal").to_string(),
        };
        assert!(refusal().contains("roxford5k with jpg and gnd_roxford5k.pkl"));
        oxford(dir.path());
        fs::remove_file(dir.path().join("gnd_roxford5k.pkl")).expect("removed");
        assert!(refusal().ends_with("gnd_roxford5k.pkl"));
        let json = |text: &str| fs::write(dir.path().join("gnd_roxford5k.json"), text).expect("written");
        let one = |bounds: &str, name: &str| {
            format!(
                r#"{{"imlist": ["a", "b", "c", "d", "e"], "qimlist": ["{name}"],
                "gnd": [{{"bbx": {bounds}, "easy": [0], "hard": [], "junk": []}}]}}"#
            )
        };
        json(&one("[9, 0, 12, 4]", "q_1"));
        let message = refusal();
        assert!(message.contains("a box in a picture of 8 × 6 px; found [9.0"), "{message}");
        json(&one("[0, 0, 3, 4]", "../jpg/q_1"));
        assert!(refusal().contains("the name of a file or folder"));
        json(&one("[0, 0, 3, 4]", "none"));
        assert!(refusal().ends_with("none.jpg"));
        assert!(crate::open("rparis6k:", Split::Test, 0).is_err());
    }
}
