//! CIFAR-10 and CIFAR-100, the binary version: one record after the other, labels first, then three planes of 32 × 32.

use std::path::Path;

use crate::{
    DataError, Dataset, DatasetEntry, Image, Offers, Picture, Sample, Split, Truth, read_at::FileAt,
};

/// The registry row of CIFAR-10.
pub const CIFAR10: DatasetEntry = DatasetEntry {
    name: "cifar10",
    line: "32 px color photos of 10 kinds of things: 50,000 train, 10,000 test",
    usage: "cifar10:DIR",
    open: |rest, split, _seed| open(&TEN, rest, split),
};

/// The registry row of CIFAR-100.
pub const CIFAR100: DatasetEntry = DatasetEntry {
    name: "cifar100",
    line: "32 px color photos of 100 kinds of things: 50,000 train, 10,000 test",
    usage: "cifar100:DIR",
    open: |rest, split, _seed| open(&HUNDRED, rest, split),
};

const SIDE_PX: usize = 32;
const PLANE: usize = SIDE_PX * SIDE_PX;

/// How one of the two is laid out.
struct Layout {
    scheme: &'static str,
    /// The folder that its archive holds.
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static [&'static str],
    /// The names, one a line, that the archive brings along.
    names: &'static str,
    /// Bytes before the pixels of a record; the last is the class (CIFAR-100: the coarse class comes before the fine).
    n_label_bytes: usize,
    classes: &'static [&'static str],
}

const TEN: Layout = Layout {
    scheme: "cifar10",
    folder: "cifar-10-batches-bin",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: &["test_batch.bin"],
    names: "batches.meta.txt",
    n_label_bytes: 1,
    classes: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
};

const HUNDRED: Layout = Layout {
    scheme: "cifar100",
    folder: "cifar-100-binary",
    train: &["train.bin"],
    test: &["test.bin"],
    names: "fine_label_names.txt",
    n_label_bytes: 2,
    classes: &[
        "apple",
        "aquarium_fish",
        "baby",
        "bear",
        "beaver",
        "bed",
        "bee",
        "beetle",
        "bicycle",
        "bottle",
        "bowl",
        "boy",
        "bridge",
        "bus",
        "butterfly",
        "camel",
        "can",
        "castle",
        "caterpillar",
        "cattle",
        "chair",
        "chimpanzee",
        "clock",
        "cloud",
        "cockroach",
        "couch",
        "crab",
        "crocodile",
        "cup",
        "dinosaur",
        "dolphin",
        "elephant",
        "flatfish",
        "forest",
        "fox",
        "girl",
        "hamster",
        "house",
        "kangaroo",
        "keyboard",
        "lamp",
        "lawn_mower",
        "leopard",
        "lion",
        "lizard",
        "lobster",
        "man",
        "maple_tree",
        "motorcycle",
        "mountain",
        "mouse",
        "mushroom",
        "oak_tree",
        "orange",
        "orchid",
        "otter",
        "palm_tree",
        "pear",
        "pickup_truck",
        "pine_tree",
        "plain",
        "plate",
        "poppy",
        "porcupine",
        "possum",
        "rabbit",
        "raccoon",
        "ray",
        "road",
        "rocket",
        "rose",
        "sea",
        "seal",
        "shark",
        "shrew",
        "skunk",
        "skyscraper",
        "snail",
        "snake",
        "spider",
        "squirrel",
        "streetcar",
        "sunflower",
        "sweet_pepper",
        "table",
        "tank",
        "telephone",
        "television",
        "tiger",
        "tractor",
        "train",
        "trout",
        "tulip",
        "turtle",
        "wardrobe",
        "whale",
        "willow_tree",
        "wolf",
        "woman",
        "worm",
    ],
};

impl Layout {
    fn record_bytes(&self) -> usize {
        self.n_label_bytes + 3 * PLANE
    }
}

struct Cifar {
    name: String,
    classes: Vec<String>,
    layout: &'static Layout,
    parts: Vec<Part>,
}

/// The train or the test files, one after the other.
struct Part {
    name: &'static str,
    files: Vec<Records>,
}

/// One file, and the class of each of its records.
struct Records {
    file: FileAt,
    labels: Vec<u8>,
}

fn open(layout: &'static Layout, rest: &str, split: Split) -> Result<Box<dyn Dataset>, DataError> {
    let scheme = layout.scheme;
    if rest.is_empty() {
        return Err(DataError::Usage { expected: format!("{scheme}:DIR"), found: format!("{scheme}:") });
    }
    let given = Path::new(rest);
    let nested = given.join(layout.folder);
    let dir = if nested.is_dir() { nested.as_path() } else { given };
    let (split_name, wanted): (_, &[(&'static str, &[&str])]) = match split {
        Split::Train => ("train", &[("train", layout.train)]),
        Split::Test => ("test", &[("test", layout.test)]),
        Split::All => ("all", &[("train", layout.train), ("test", layout.test)]),
    };
    let mut parts = Vec::new();
    for &(name, files) in wanted {
        let files = files.iter().map(|file| Records::open(dir, file, layout)).collect::<Result<_, _>>()?;
        parts.push(Part { name, files });
    }
    check_names(&dir.join(layout.names), layout)?;
    let classes = layout.classes.iter().map(|&class| class.to_owned()).collect();
    Ok(Box::new(Cifar { name: format!("{scheme}:{split_name}"), classes, layout, parts }))
}

/// The names beside the data, where they are there, have to be those known: the files may be of another data set.
fn check_names(path: &Path, layout: &Layout) -> Result<(), DataError> {
    if !path.is_file() {
        return Ok(());
    }
    let text =
        std::fs::read_to_string(path).map_err(|source| DataError::Io { source, path: path.to_owned() })?;
    let found: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if found == layout.classes {
        return Ok(());
    }
    let differs = found.iter().zip(layout.classes).find(|(found, known)| found != known);
    let (expected, found) = match differs {
        Some((found, known)) => {
            (format!("the classes of {}, here `{known}`", layout.scheme), format!("`{found}`"))
        }
        None => (format!("{} classes", layout.classes.len()), found.len().to_string()),
    };
    Err(DataError::Malformed { what: "names of classes", expected, found, path: path.to_owned() })
}

impl Records {
    /// Opens a file, and reads the class of every record; pixels are read when they are asked for.
    fn open(dir: &Path, name: &str, layout: &Layout) -> Result<Self, DataError> {
        let path = dir.join(name);
        if !path.is_file() {
            let expected = format!("{name}, from the binary version of the data set");
            return Err(DataError::Missing { what: "file of records", expected, path: dir.to_owned() });
        }
        let file = FileAt::open(&path)?;
        let record = layout.record_bytes() as u64;
        if file.n_bytes == 0 || !file.n_bytes.is_multiple_of(record) {
            let expected = format!("a multiple of {record} bytes, the size of a record");
            let found = format!("{} bytes", file.n_bytes);
            return Err(DataError::Malformed { what: "file of records", expected, found, path });
        }
        let n = file.n_bytes / record;
        let mut labels = Vec::with_capacity(n as usize);
        let mut label = [0];
        for index in 0..n {
            file.read_exact_at(index * record + layout.n_label_bytes as u64 - 1, &mut label)?;
            if usize::from(label[0]) >= layout.classes.len() {
                let expected = format!("classes below {}", layout.classes.len());
                let found = format!("{} in record {index}", label[0]);
                return Err(DataError::Malformed { what: "file of records", expected, found, path });
            }
            labels.push(label[0]);
        }
        Ok(Self { file, labels })
    }
}

impl Cifar {
    /// The file that holds sample `index`, its place there, and its name.
    fn place(&self, index: usize) -> (&Records, usize, String) {
        let mut rest = index;
        for part in &self.parts {
            let in_part = rest;
            for records in &part.files {
                if rest < records.labels.len() {
                    return (records, rest, format!("{}/{in_part}", part.name));
                }
                rest -= records.labels.len();
            }
        }
        panic!("sample {index} of {}", self.len());
    }
}

impl Dataset for Cifar {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        self.parts.iter().flat_map(|part| &part.files).map(|records| records.labels.len()).sum()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn offers(&self) -> Offers {
        Offers { labels: true, ..Offers::default() }
    }

    fn label(&self, index: usize) -> Option<u32> {
        let (records, place, _) = self.place(index);
        Some(u32::from(records.labels[place]))
    }

    fn native_size_px(&self) -> Option<usize> {
        Some(SIDE_PX)
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let (records, place, id) = self.place(index);
        let record = self.layout.record_bytes();
        let mut planes = vec![0; 3 * PLANE];
        records.file.read_exact_at((place * record + self.layout.n_label_bytes) as u64, &mut planes)?;
        let mut rgb = vec![0; 3 * PLANE];
        for (i, pixel) in rgb.chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(&[planes[i], planes[PLANE + i], planes[2 * PLANE + i]]);
        }
        Ok(Sample {
            picture: Picture::Image(Image { width_px: SIDE_PX, height_px: SIDE_PX, rgb }),
            truth: Truth { label: Some(u32::from(records.labels[place])), ..Truth::default() },
            id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// A record: labels, then planes whose first pixel is `(label, 1, 2)` and whose others are 0.
    fn record(labels: &[u8]) -> Vec<u8> {
        let mut bytes = labels.to_vec();
        for first in [labels[labels.len() - 1], 1, 2] {
            bytes.push(first);
            bytes.resize(bytes.len() + PLANE - 1, 0);
        }
        bytes
    }

    fn ten(under: &str) -> TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let at = dir.path().join(under);
        fs::create_dir_all(&at).expect("makes folders");
        for (i, name) in TEN.train.iter().enumerate() {
            fs::write(at.join(name), [record(&[i as u8]), record(&[9])].concat()).expect("writes");
        }
        fs::write(at.join("test_batch.bin"), record(&[3])).expect("writes");
        fs::write(at.join(TEN.names), format!("{}\n\n", TEN.classes.join("\n"))).expect("writes");
        dir
    }

    fn opened(layout: &'static Layout, dir: &TempDir, split: Split) -> Result<Box<dyn Dataset>, DataError> {
        open(layout, dir.path().to_str().expect("utf-8"), split)
    }

    #[test]
    fn the_records_of_all_files_follow_one_another() {
        for under in ["", "cifar-10-batches-bin"] {
            let data = opened(&TEN, &ten(under), Split::All).expect("opens");
            assert_eq!(data.len(), 11);
            let labels: Vec<u32> = (0..11).filter_map(|index| data.label(index)).collect();
            assert_eq!(labels, [0, 9, 1, 9, 2, 9, 3, 9, 4, 9, 3]);
            let sample = data.sample(6).expect("reads");
            assert_eq!((sample.id.as_str(), sample.truth.label), ("train/6", Some(3)));
            let Picture::Image(image) = sample.picture else { panic!("bytes") };
            // Planes become pixels: the first is (3, 1, 2).
            assert_eq!((&image.rgb[..4], image.rgb.len()), (&[3, 1, 2, 0][..], 3072));
            assert_eq!(data.sample(10).expect("reads").id, "test/0");
            assert_eq!(data.classes()[3], "cat");
        }
    }

    #[test]
    fn of_a_hundred_the_fine_class_is_taken() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("train.bin"), record(&[11, 19])).expect("writes");
        fs::write(dir.path().join("test.bin"), record(&[0, 99])).expect("writes");
        let data = opened(&HUNDRED, &dir, Split::All).expect("opens");
        assert_eq!((data.label(0), data.label(1)), (Some(19), Some(99)));
        assert_eq!(
            (data.classes().len(), data.classes()[19].as_str(), data.classes()[99].as_str()),
            (100, "cattle", "worm")
        );
        assert!(data.classes().is_sorted());
    }

    #[test]
    fn files_that_do_not_fit_are_refused_with_their_reason() {
        let cases: [(&str, Option<Vec<u8>>, &str); 5] = [
            ("data_batch_3.bin", None, "data_batch_3.bin, from the binary version"),
            ("data_batch_2.bin", Some(vec![0; 3073 + 5]), "multiple of 3073"),
            ("data_batch_2.bin", Some(vec![]), "multiple of 3073"),
            ("data_batch_4.bin", Some(record(&[10])), "10 in record 0"),
            ("batches.meta.txt", Some(b"airplane\ncar\n".to_vec()), "`automobile`"),
        ];
        for (name, bytes, reason) in cases {
            let dir = ten("");
            let path = dir.path().join(name);
            match bytes {
                Some(bytes) => fs::write(&path, bytes).expect("writes"),
                None => fs::remove_file(&path).expect("removes"),
            }
            let message = opened(&TEN, &dir, Split::Train).err().expect("is refused").to_string();
            assert!(message.contains(reason), "{message}");
        }
        assert!(matches!(open(&TEN, "", Split::Test), Err(DataError::Usage { .. })));
    }
}
