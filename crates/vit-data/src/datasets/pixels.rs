//! Values that somebody normalized already, in a safetensors file that is read by position, a sample at a time.

use std::path::Path;

use serde::Deserialize;

use crate::{DataError, Dataset, DatasetEntry, Offers, Picture, Sample, Split, Truth, read_at::FileAt};

/// The registry row.
pub const ENTRY: DatasetEntry = DatasetEntry {
    name: "pixels",
    line: "values normalized already, used as they are: `pixels` [n, 3, H, W], and `labels` where there are any",
    usage: "pixels:FILE.safetensors",
    open,
};

/// The longest header accepted, as the safetensors library has it.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Labels have to be below this: their names are made from the greatest.
const MAX_CLASSES: i64 = 1_000_000;

struct Pixels {
    name: String,
    file: FileAt,
    parts: Vec<Part>,
    classes: Vec<String>,
}

/// One tensor of values and its labels.
struct Part {
    tensor: &'static str,
    n: usize,
    height_px: usize,
    width_px: usize,
    /// Where its values begin in the file.
    start: u64,
    labels: Option<Vec<u32>>,
}

/// One tensor, as the header has it.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

fn open(rest: &str, split: Split, _seed: u64) -> Result<Box<dyn Dataset>, DataError> {
    if rest.is_empty() {
        return Err(DataError::Usage { expected: ENTRY.usage.into(), found: "pixels:".into() });
    }
    let file = FileAt::open(Path::new(rest))?;
    let header = Header::read(&file)?;
    let train = Part::read(&file, &header, "train_pixels", "train_labels")?;
    let test = Part::read(&file, &header, "pixels", "labels")?;
    let absent = |tensor: &str, why: &str| DataError::Malformed {
        what: "pixels file",
        expected: format!("a tensor `{tensor}` of f32 [n, 3, H, W], {why}"),
        found: format!("the tensors {}", header.names()),
        path: file.path.clone(),
    };
    // Names count over both splits, so that they agree.
    let labels = [&train, &test].into_iter().flatten().filter_map(|part| part.labels.as_ref()).flatten();
    let n_classes = labels.max().map_or(0, |&label| label + 1);
    let test = test.ok_or_else(|| absent("pixels", "which every pixels file has"))?;
    let (split_name, parts) = match split {
        Split::Test => ("test", vec![test]),
        Split::Train => (
            "train",
            vec![train.ok_or_else(|| absent("train_pixels", "which is what there is to learn from"))?],
        ),
        Split::All => ("all", train.into_iter().chain([test]).collect()),
    };
    let classes = (0..n_classes).map(|class| class.to_string()).collect();
    Ok(Box::new(Pixels { name: format!("pixels:{rest}:{split_name}"), file, parts, classes }))
}

/// What stands before the data.
struct Header {
    tensors: serde_json::Map<String, serde_json::Value>,
    /// Where the data begin.
    data_start: u64,
}

impl Header {
    fn read(file: &FileAt) -> Result<Self, DataError> {
        let malformed = |expected: String, found: String| DataError::Malformed {
            what: "safetensors header",
            expected,
            found,
            path: file.path.clone(),
        };
        if file.n_bytes < 8 {
            return Err(malformed("at least 8 bytes".into(), format!("a file of {}", file.n_bytes)));
        }
        let mut length = [0; 8];
        file.read_exact_at(0, &mut length)?;
        let length = u64::from_le_bytes(length);
        let most = (file.n_bytes - 8).min(MAX_HEADER_BYTES);
        if length > most {
            return Err(malformed(
                format!("a header of at most {most} bytes in a file of {}", file.n_bytes),
                format!("a length of {length}"),
            ));
        }
        let mut text = vec![0; length as usize];
        file.read_exact_at(8, &mut text)?;
        let tensors = serde_json::from_slice(&text)
            .map_err(|error| malformed("a JSON object of tensors".into(), error.to_string()))?;
        Ok(Self { tensors, data_start: 8 + length })
    }

    fn names(&self) -> String {
        let names: Vec<&str> =
            self.tensors.keys().map(String::as_str).filter(|name| *name != "__metadata__").collect();
        if names.is_empty() { "none".into() } else { names.join(", ") }
    }

    /// Shape and place of a tensor, `None` where there is none of that name; checked against the file's length.
    fn find(
        &self,
        file: &FileAt,
        name: &'static str,
        dtype: &str,
        item_bytes: u64,
    ) -> Result<Option<(Vec<u64>, u64)>, DataError> {
        let Some(entry) = self.tensors.get(name) else { return Ok(None) };
        let malformed = |expected: String, found: String| DataError::Malformed {
            what: name,
            expected,
            found,
            path: file.path.clone(),
        };
        let Entry { dtype: found, shape, data_offsets: [begin, end] } = Entry::deserialize(entry)
            .map_err(|error| malformed("dtype, shape and data_offsets".into(), error.to_string()))?;
        if found != dtype {
            return Err(malformed(format!("dtype {dtype}"), found));
        }
        let n_bytes = shape.iter().try_fold(item_bytes, |product, &dim| product.checked_mul(dim));
        if n_bytes.is_none() || begin.checked_add(n_bytes.unwrap_or(0)) != Some(end) {
            return Err(malformed(
                format!("as many bytes as {shape:?} takes"),
                format!("offsets {begin} to {end}"),
            ));
        }
        let room = file.n_bytes - self.data_start;
        if end > room {
            return Err(malformed(
                format!("data that end by byte {room} of the data"),
                format!("an end at {end}"),
            ));
        }
        Ok(Some((shape, self.data_start + begin)))
    }
}

impl Part {
    fn read(
        file: &FileAt,
        header: &Header,
        tensor: &'static str,
        labels: &'static str,
    ) -> Result<Option<Self>, DataError> {
        let Some((shape, start)) = header.find(file, tensor, "F32", 4)? else { return Ok(None) };
        let &[n, 3, height, width] = shape.as_slice() else {
            return Err(DataError::Malformed {
                what: tensor,
                expected: "shape [n, 3, H, W]".into(),
                found: format!("{shape:?}"),
                path: file.path.clone(),
            });
        };
        if n == 0 || height == 0 || width == 0 {
            return Err(DataError::Malformed {
                what: tensor,
                expected: "at least one value".into(),
                found: format!("shape {shape:?}"),
                path: file.path.clone(),
            });
        }
        let labels = match header.find(file, labels, "I64", 8)? {
            Some((shape, start)) => Some(read_labels(file, labels, &shape, start, n)?),
            None => None,
        };
        // The lengths were checked against the file's, so that they fit.
        let (n, height_px, width_px) = (n as usize, height as usize, width as usize);
        Ok(Some(Self { tensor, n, height_px, width_px, start, labels }))
    }
}

fn read_labels(
    file: &FileAt,
    what: &'static str,
    shape: &[u64],
    start: u64,
    n: u64,
) -> Result<Vec<u32>, DataError> {
    let malformed = |expected, found| DataError::Malformed { what, expected, found, path: file.path.clone() };
    if shape != [n] {
        return Err(malformed(format!("shape [{n}], one per sample"), format!("{shape:?}")));
    }
    let mut bytes = vec![0; 8 * n as usize];
    file.read_exact_at(start, &mut bytes)?;
    let words = bytes.as_chunks::<8>().0.iter().map(|&word| i64::from_le_bytes(word));
    let label = |(index, label): (usize, i64)| match u32::try_from(label) {
        Ok(small) if label < MAX_CLASSES => Ok(small),
        _ => Err(malformed(format!("labels from 0 to {}", MAX_CLASSES - 1), format!("{label} at {index}"))),
    };
    words.enumerate().map(label).collect()
}

impl Pixels {
    /// The part that holds sample `index`, and its place there.
    fn place(&self, index: usize) -> (&Part, usize) {
        let mut place = index;
        for part in &self.parts {
            if place < part.n {
                return (part, place);
            }
            place -= part.n;
        }
        panic!("sample {index} of {}", self.len());
    }
}

impl Dataset for Pixels {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.n).sum()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn offers(&self) -> Offers {
        Offers { labels: self.parts.iter().all(|part| part.labels.is_some()), ..Offers::default() }
    }

    fn label(&self, index: usize) -> Option<u32> {
        let (part, place) = self.place(index);
        part.labels.as_ref().map(|labels| labels[place])
    }

    fn native_size_px(&self) -> Option<usize> {
        let size = self.parts.first()?.height_px;
        self.parts.iter().all(|part| part.height_px == size && part.width_px == size).then_some(size)
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let (part, place) = self.place(index);
        let (height_px, width_px) = (part.height_px, part.width_px);
        let mut bytes = vec![0; 4 * 3 * height_px * width_px];
        self.file.read_exact_at(part.start + place as u64 * bytes.len() as u64, &mut bytes)?;
        let values: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect();
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let (channel, y, x) = (at / (height_px * width_px), at / width_px % height_px, at % width_px);
            return Err(DataError::Malformed {
                what: part.tensor,
                expected: "finite values".into(),
                found: format!("{} in sample {place} at [{channel}, {y}, {x}]", values[at]),
                path: self.file.path.clone(),
            });
        }
        Ok(Sample {
            picture: Picture::Normalized { height_px, width_px, values },
            truth: Truth { label: part.labels.as_ref().map(|labels| labels[place]), ..Truth::default() },
            id: format!("{}/{place}", part.tensor),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::{Dtype, tensor::TensorView};
    use tempfile::TempDir;

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn i64s(values: &[i64]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    type Tensor<'a> = (&'a str, Dtype, Vec<usize>, Vec<u8>);

    fn write(tensors: &[Tensor]) -> (TempDir, String) {
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (name.to_string(), TensorView::new(*dtype, shape.clone(), data).expect("a sound tensor"))
        });
        write_bytes(&safetensors::serialize(views, None).expect("serializes"))
    }

    fn write_bytes(bytes: &[u8]) -> (TempDir, String) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("some.safetensors");
        std::fs::write(&path, bytes).expect("writes");
        let path = path.to_str().expect("utf-8").to_owned();
        (dir, path)
    }

    fn test_values() -> Vec<f32> {
        (0..24).map(|i| i as f32 / 4.0).collect()
    }

    /// Two test samples and one train sample of 2 × 2 px.
    fn both() -> (TempDir, String) {
        write(&[
            ("labels", Dtype::I64, vec![2], i64s(&[1, 0])),
            ("pixels", Dtype::F32, vec![2, 3, 2, 2], f32s(&test_values())),
            ("train_labels", Dtype::I64, vec![1], i64s(&[4])),
            ("train_pixels", Dtype::F32, vec![1, 3, 2, 2], f32s(&[-1.0; 12])),
            ("unrelated", Dtype::I64, vec![1], i64s(&[-3])),
        ])
    }

    fn refusal(path: &str, split: Split) -> String {
        open(path, split, 0).err().expect("is refused").to_string()
    }

    #[test]
    fn every_split_reads_its_own_samples() {
        let (_dir, path) = both();
        let test = open(&path, Split::Test, 0).expect("opens");
        assert_eq!((test.len(), test.native_size_px(), test.classes().len()), (2, Some(2), 5));
        let second = test.sample(1).expect("reads");
        let values = test_values()[12..].to_vec();
        assert_eq!(second.picture, Picture::Normalized { height_px: 2, width_px: 2, values });
        assert_eq!((second.id.as_str(), second.truth.label), ("pixels/1", Some(0)));
        let all = open(&path, Split::All, 0).expect("opens");
        assert_eq!((0..3).map(|i| all.label(i)).collect::<Vec<_>>(), [Some(4), Some(1), Some(0)]);
        assert_eq!(all.sample(0).expect("reads").id, "train_pixels/0");
        assert_eq!(open(&path, Split::Train, 0).expect("opens").len(), 1);
        assert!(all.offers().labels);
    }

    #[test]
    fn without_train_pixels_all_is_test_and_there_is_nothing_to_learn_from() {
        let (_dir, path) = write(&[("pixels", Dtype::F32, vec![2, 3, 2, 2], f32s(&test_values()))]);
        assert_eq!(open(&path, Split::All, 0).expect("opens").len(), 2);
        let test = open(&path, Split::Test, 0).expect("opens");
        assert!(!test.offers().labels && test.label(0).is_none() && test.classes().is_empty());
        let message = refusal(&path, Split::Train);
        assert!(message.contains("`train_pixels`") && message.contains("the tensors pixels"), "{message}");
    }

    #[test]
    fn values_that_are_not_finite_name_their_sample() {
        let mut values = test_values();
        values[12 + 7] = f32::NAN; // sample 1, channel 1, row 1, column 1
        let (_dir, path) = write(&[("pixels", Dtype::F32, vec![2, 3, 2, 2], f32s(&values))]);
        let test = open(&path, Split::Test, 0).expect("opens");
        test.sample(0).expect("is sound");
        let message = test.sample(1).expect_err("is refused").to_string();
        assert!(message.contains("NaN in sample 1 at [1, 1, 1]"), "{message}");
        values[19] = f32::INFINITY;
        let (_dir, path) = write(&[("pixels", Dtype::F32, vec![2, 3, 2, 2], f32s(&values))]);
        assert!(open(&path, Split::Test, 0).expect("opens").sample(1).is_err());
    }

    #[test]
    fn malformed_tensors_are_refused_with_their_reason() {
        let pixels = || ("pixels", Dtype::F32, vec![2, 3, 2, 2], f32s(&test_values()));
        let cases: [(Vec<Tensor>, &str); 8] = [
            (vec![("images", Dtype::I64, vec![1], i64s(&[0]))], "`pixels`"),
            (vec![("pixels", Dtype::F32, vec![2, 12], f32s(&test_values()))], "shape [n, 3, H, W]"),
            (vec![("pixels", Dtype::F32, vec![6, 1, 2, 2], f32s(&test_values()))], "shape [n, 3, H, W]"),
            (vec![("pixels", Dtype::I64, vec![1, 3, 2, 2], i64s(&[0; 12]))], "dtype F32; found I64"),
            (vec![("pixels", Dtype::F32, vec![0, 3, 2, 2], vec![])], "at least one value"),
            (vec![pixels(), ("labels", Dtype::I64, vec![3], i64s(&[0; 3]))], "shape [2], one per sample"),
            (vec![pixels(), ("labels", Dtype::I64, vec![2], i64s(&[0, -1]))], "-1 at 1"),
            (vec![pixels(), ("labels", Dtype::I64, vec![2], i64s(&[1 << 40, 0]))], "1099511627776 at 0"),
        ];
        for (tensors, reason) in cases {
            let (_dir, path) = write(&tensors);
            let message = refusal(&path, Split::Test);
            assert!(message.contains(reason) && message.ends_with("some.safetensors"), "{message}");
        }
    }

    #[test]
    fn a_header_that_lies_is_refused_before_it_is_believed() {
        let with_header = |length: u64, header: &str| [&length.to_le_bytes()[..], header.as_bytes()].concat();
        let entry = |shape: &str, end: u64| {
            let header =
                format!(r#"{{"pixels":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
            with_header(header.len() as u64, &header)
        };
        let cases = [
            (vec![1, 2, 3], "at least 8 bytes"),
            (with_header(u64::MAX, "{}"), "a length of 18446744073709551615"),
            (with_header(3, "{}"), "at most 2 bytes"),
            (with_header(2, "{]"), "a JSON object"),
            (entry("[1,3,2,2]", 48), "an end at 48"),
            (entry("[1,3,2,2]", 40), "as many bytes as [1, 3, 2, 2] takes"),
            (entry("[9223372036854775807,3,9,9]", 40), "as many bytes"),
            (entry("[-1,3,2,2]", 48), "dtype, shape and data_offsets"),
        ];
        for (bytes, reason) in cases {
            let (_dir, path) = write_bytes(&bytes);
            let message = refusal(&path, Split::Test);
            assert!(message.contains(reason), "{message}");
        }
        assert!(matches!(open("/nowhere/x.safetensors", Split::Test, 0), Err(DataError::Io { .. })));
    }
}
