//! MNIST and Fashion-MNIST: idx files, gzipped or not.
//!
//! A plain file is read by position; a gzipped one has to be held (47 MB for 60,000 images), and is only unpacked
//! when its header, its length and the most that deflate can hold agree.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use crate::{
    DataError, Dataset, DatasetEntry, Image, Offers, Picture, Sample, Split, Truth, read_at::FileAt,
};

/// The registry row of Fashion-MNIST.
pub const FASHION_MNIST: DatasetEntry = DatasetEntry {
    name: "fashion-mnist",
    line: "28 px grey pictures of 10 kinds of clothing: 60,000 train, 10,000 test",
    usage: "fashion-mnist:DIR",
    open: |rest, split, _seed| open("fashion-mnist", CLOTHING, rest, split),
};

/// The registry row of MNIST.
pub const MNIST: DatasetEntry = DatasetEntry {
    name: "mnist",
    line: "28 px grey handwritten digits: 60,000 train, 10,000 test",
    usage: "mnist:DIR",
    open: |rest, split, _seed| open("mnist", DIGITS, rest, split),
};

const CLOTHING: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];
const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// Unsigned bytes in three dimensions.
const IMAGES_MAGIC: u32 = 0x803;
/// Unsigned bytes in one dimension.
const LABELS_MAGIC: u32 = 0x801;
/// A byte of deflate holds at most this many (zlib's technical notes).
const DEFLATE_MAX_RATIO: u64 = 1032;
/// The largest side accepted.
const MAX_SIDE_PX: u64 = 4096;

struct Idx {
    name: String,
    classes: Vec<String>,
    parts: Vec<Part>,
    /// Of all parts.
    size_px: (usize, usize),
}

/// The train or the test files.
struct Part {
    name: &'static str,
    images: Bytes,
    labels: Vec<u8>,
}

fn open(scheme: &str, classes: [&str; 10], rest: &str, split: Split) -> Result<Box<dyn Dataset>, DataError> {
    if rest.is_empty() {
        return Err(DataError::Usage { expected: format!("{scheme}:DIR"), found: format!("{scheme}:") });
    }
    let dir = Path::new(rest);
    let (split_name, wanted): (_, &[(&'static str, &str)]) = match split {
        Split::Train => ("train", &[("train", "train")]),
        Split::Test => ("test", &[("test", "t10k")]),
        Split::All => ("all", &[("train", "train"), ("test", "t10k")]),
    };
    let mut parts = Vec::new();
    let mut sizes_px = Vec::new();
    for &(name, prefix) in wanted {
        let images_path = find(dir, &format!("{prefix}-images-idx3-ubyte"))?;
        let labels_path = find(dir, &format!("{prefix}-labels-idx1-ubyte"))?;
        let (images, [n, rows, columns]) = Bytes::open(&images_path, "idx images", IMAGES_MAGIC)?;
        let (labels, [n_labels]) = Bytes::open(&labels_path, "idx labels", LABELS_MAGIC)?;
        let side = 1..=MAX_SIDE_PX;
        if n == 0 || !side.contains(&rows) || !side.contains(&columns) {
            let expected = format!("at least one image of 1 to {MAX_SIDE_PX} px");
            let found = format!("{n} of {rows} rows and {columns} columns");
            return Err(DataError::Malformed { what: "idx images", expected, found, path: images_path });
        }
        if n_labels != n {
            let (expected, found) = (format!("{n} labels, one per image"), n_labels.to_string());
            return Err(DataError::Malformed { what: "idx labels", expected, found, path: labels_path });
        }
        let labels = labels.into_vec()?;
        if let Some(index) = labels.iter().position(|&label| usize::from(label) >= classes.len()) {
            let expected = format!("labels below {}", classes.len());
            let found = format!("{} at {index}", labels[index]);
            return Err(DataError::Malformed { what: "idx labels", expected, found, path: labels_path });
        }
        let size_px = (columns as usize, rows as usize);
        sizes_px.push(size_px);
        if size_px != sizes_px[0] {
            let expected = format!("{:?} px as in the train split", sizes_px[0]);
            let found = format!("{size_px:?} px");
            return Err(DataError::Malformed { what: "idx images", expected, found, path: images_path });
        }
        parts.push(Part { name, images, labels });
    }
    Ok(Box::new(Idx {
        name: format!("{scheme}:{split_name}"),
        classes: classes.map(str::to_owned).to_vec(),
        parts,
        size_px: sizes_px[0],
    }))
}

/// The file of that name, or of that name with `.gz`.
fn find(dir: &Path, name: &str) -> Result<PathBuf, DataError> {
    let candidates = [dir.join(name), dir.join(format!("{name}.gz"))];
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| DataError::Missing {
        what: "idx file",
        expected: format!("{name} or {name}.gz"),
        path: dir.to_owned(),
    })
}

impl Idx {
    /// The part that holds sample `index`, and its place there.
    fn place(&self, index: usize) -> (&Part, usize) {
        let mut place = index;
        for part in &self.parts {
            if place < part.labels.len() {
                return (part, place);
            }
            place -= part.labels.len();
        }
        panic!("sample {index} of {}", self.len());
    }
}

impl Dataset for Idx {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.labels.len()).sum()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn offers(&self) -> Offers {
        Offers { labels: true, ..Offers::default() }
    }

    fn label(&self, index: usize) -> Option<u32> {
        let (part, place) = self.place(index);
        Some(u32::from(part.labels[place]))
    }

    fn native_size_px(&self) -> Option<usize> {
        let (width, height) = self.size_px;
        (width == height).then_some(width)
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let (part, place) = self.place(index);
        let (width_px, height_px) = self.size_px;
        let mut grey = vec![0; width_px * height_px];
        part.images.read(place * grey.len(), &mut grey)?;
        let mut rgb = vec![0; 3 * grey.len()];
        for (pixel, value) in rgb.chunks_exact_mut(3).zip(grey) {
            pixel.fill(value);
        }
        Ok(Sample {
            picture: Picture::Image(Image { width_px, height_px, rgb }),
            truth: Truth { label: Some(u32::from(part.labels[place])), ..Truth::default() },
            id: format!("{}/{place}", part.name),
        })
    }
}

/// The bytes after the header of an idx file.
enum Bytes {
    Held(Vec<u8>),
    OnDisk { file: FileAt, header_bytes: u64 },
}

impl Bytes {
    /// Opens a file with `R` dimensions and checks magic and length before anything is allocated.
    fn open<const R: usize>(
        path: &Path,
        what: &'static str,
        magic: u32,
    ) -> Result<(Self, [u64; R]), DataError> {
        let malformed = |expected: String, found: String| DataError::Malformed {
            what,
            expected,
            found,
            path: path.to_owned(),
        };
        let io = |source| DataError::Io { source, path: path.to_owned() };
        let file = FileAt::open(path)?;
        let header_bytes = 4 + 4 * R;
        let zipped = path.extension().is_some_and(|extension| extension == "gz");
        let mut reader: Box<dyn Read> = match zipped {
            true => {
                Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(File::open(path).map_err(io)?)))
            }
            false => Box::new(File::open(path).map_err(io)?),
        };
        let mut header = vec![0; header_bytes];
        reader.read_exact(&mut header).map_err(|error| {
            malformed(
                format!("a header of {header_bytes} bytes"),
                format!("a file that ends or fails: {error}"),
            )
        })?;
        let mut words =
            header.chunks_exact(4).map(|word| word.iter().fold(0u32, |n, &b| n << 8 | u32::from(b)));
        let found_magic = words.next().unwrap_or(0);
        if found_magic != magic {
            return Err(malformed(format!("magic {magic:#010x}"), format!("{found_magic:#010x}")));
        }
        let mut dims = [0; R];
        for (dim, word) in dims.iter_mut().zip(words) {
            *dim = u64::from(word);
        }
        let says = || format!("a header that says {dims:?}");
        let n_bytes = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
        let n_bytes = n_bytes.ok_or_else(|| malformed("a length that fits in 64 bits".into(), says()))?;
        let room = match zipped {
            true => file.n_bytes.saturating_mul(DEFLATE_MAX_RATIO),
            false => file.n_bytes - header_bytes as u64,
        };
        if n_bytes > room || (!zipped && n_bytes != room) {
            let at_most = if zipped { "at most " } else { "" };
            return Err(malformed(
                format!("{n_bytes} bytes of data ({})", says()),
                format!("{at_most}{room}"),
            ));
        }
        if !zipped {
            return Ok((Self::OnDisk { file, header_bytes: header_bytes as u64 }, dims));
        }
        let mut held = vec![0; n_bytes as usize];
        let filled = reader.read_exact(&mut held);
        filled.map_err(|error| malformed(format!("{n_bytes} bytes of data"), format!("fewer: {error}")))?;
        let beyond = reader
            .read(&mut [0])
            .map_err(|error| malformed("a whole gzip file".into(), error.to_string()))?;
        if beyond > 0 {
            return Err(malformed(format!("{n_bytes} bytes of data"), "more".into()));
        }
        Ok((Self::Held(held), dims))
    }

    /// Fills `into` from the place `start`.
    fn read(&self, start: usize, into: &mut [u8]) -> Result<(), DataError> {
        match self {
            Self::Held(bytes) => into.copy_from_slice(&bytes[start..start + into.len()]),
            Self::OnDisk { file, header_bytes } => file.read_exact_at(header_bytes + start as u64, into)?,
        }
        Ok(())
    }

    /// All of it, for labels.
    fn into_vec(self) -> Result<Vec<u8>, DataError> {
        match self {
            Self::Held(bytes) => Ok(bytes),
            Self::OnDisk { ref file, header_bytes } => {
                let mut bytes = vec![0; (file.n_bytes - header_bytes) as usize];
                self.read(0, &mut bytes)?;
                Ok(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn idx(magic: u32, dims: &[u32], data: &[u8]) -> Vec<u8> {
        let words = std::iter::once(magic).chain(dims.iter().copied());
        words.flat_map(u32::to_be_bytes).chain(data.iter().copied()).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).expect("to memory");
        encoder.finish().expect("to memory")
    }

    /// Three train images of 2 rows and 3 columns; one test image; the test files gzipped.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("writes");
        let pixels: Vec<u8> = (0..18).collect();
        write("train-images-idx3-ubyte", &idx(0x803, &[3, 2, 3], &pixels));
        write("train-labels-idx1-ubyte", &idx(0x801, &[3], &[9, 0, 4]));
        write("t10k-images-idx3-ubyte.gz", &gzip(&idx(0x803, &[1, 2, 3], &[7; 6])));
        write("t10k-labels-idx1-ubyte.gz", &gzip(&idx(0x801, &[1], &[2])));
        dir
    }

    fn open_in(dir: &tempfile::TempDir, split: Split) -> Result<Box<dyn Dataset>, DataError> {
        (FASHION_MNIST.open)(dir.path().to_str().expect("utf-8"), split, 0)
    }

    #[test]
    fn plain_and_gzipped_files_are_read_and_grey_becomes_three_channels() {
        let dir = folder();
        let all = open_in(&dir, Split::All).expect("opens");
        assert_eq!((all.len(), all.name().as_str(), all.native_size_px()), (4, "fashion-mnist:all", None));
        assert_eq!((0..4).map(|i| all.label(i)).collect::<Vec<_>>(), [Some(9), Some(0), Some(4), Some(2)]);
        let second = all.sample(1).expect("reads");
        // The second image is bytes 6 to 11, each three times.
        let rgb: Vec<u8> = (6..12).flat_map(|value| [value; 3]).collect();
        assert_eq!(second.picture, Picture::Image(Image { width_px: 3, height_px: 2, rgb }));
        assert_eq!((second.id.as_str(), second.truth.label), ("train/1", Some(0)));
        assert_eq!(all.sample(3).expect("reads").id, "test/0");
        assert_eq!(all.classes()[9], "Ankle boot");
        assert_eq!(open_in(&dir, Split::Test).expect("opens").len(), 1);
    }

    #[test]
    fn malformed_files_are_refused_with_their_reason() {
        let huge = idx(0x803, &[u32::MAX, 4096, 4096], &[]);
        let cases = [
            ("train-images-idx3-ubyte", idx(0x802, &[3, 2, 3], &[0; 18]), "expected magic 0x00000803"),
            ("train-images-idx3-ubyte", idx(0x803, &[3, 2, 3], &[0; 17]), "expected 18 bytes of data"),
            ("train-images-idx3-ubyte", idx(0x803, &[3, 2, 3], &[0; 19]), "found 19"),
            ("train-images-idx3-ubyte", huge.clone(), "bytes of data"),
            ("train-images-idx3-ubyte", idx(0x803, &[u32::MAX; 3], &[]), "fits in 64 bits"),
            ("train-images-idx3-ubyte", vec![0, 0, 8], "a header of 16 bytes"),
            ("train-images-idx3-ubyte", idx(0x803, &[0, 2, 3], &[]), "at least one image"),
            ("train-labels-idx1-ubyte", idx(0x801, &[2], &[0; 2]), "expected 3 labels, one per image"),
            ("train-labels-idx1-ubyte", idx(0x801, &[3], &[1, 10, 1]), "found 10 at 1"),
            ("t10k-images-idx3-ubyte.gz", gzip(&huge), "at most"),
            ("t10k-images-idx3-ubyte.gz", gzip(&idx(0x803, &[1, 2, 3], &[0; 5])), "fewer"),
            ("t10k-images-idx3-ubyte.gz", gzip(&idx(0x803, &[1, 2, 3], &[0; 7])), "found more"),
            ("t10k-images-idx3-ubyte.gz", idx(0x803, &[1, 2, 3], &[0; 6]), "a header of 16 bytes"),
        ];
        for (name, bytes, reason) in cases {
            let dir = folder();
            std::fs::write(dir.path().join(name), bytes).expect("writes");
            let message = open_in(&dir, Split::All).err().expect("is refused").to_string();
            assert!(message.contains(reason) && message.ends_with(name), "{message}");
        }
    }

    #[test]
    fn an_absent_file_is_named() {
        let dir = folder();
        std::fs::remove_file(dir.path().join("train-labels-idx1-ubyte")).expect("removes");
        let message = open_in(&dir, Split::Train).err().expect("is refused").to_string();
        assert!(message.contains("train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz"), "{message}");
        assert!((MNIST.open)("", Split::Train, 0).is_err());
    }

    #[test]
    fn the_real_fashion_mnist_is_read_where_it_is_installed() {
        let dir = "/usr/share/datasets/fashion-mnist";
        if !Path::new(dir).is_dir() {
            use std::io::stderr;
            let _ = writeln!(stderr(), "skipped: install Debian's dataset-fashion-mnist to read {dir}");
            return;
        }
        let test = (FASHION_MNIST.open)(dir, Split::Test, 0).expect("opens");
        assert_eq!((test.len(), test.native_size_px()), (10_000, Some(28)));
        // The test split holds 1,000 of each class, and begins with an ankle boot and a pullover.
        for class in 0..10 {
            assert_eq!((0..10_000).filter(|&index| test.label(index) == Some(class)).count(), 1000);
        }
        assert_eq!((test.label(0), test.label(1)), (Some(9), Some(2)));
        let Picture::Image(image) = test.sample(0).expect("reads").picture else { panic!("an image") };
        assert_eq!((image.width_px, image.height_px, image.rgb.len()), (28, 28, 28 * 28 * 3));
        assert!(image.rgb.iter().any(|&value| value > 200));
    }
}
