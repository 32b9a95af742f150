//! Where a tensor's numbers are in a file, and whether they can be there.

use super::super::WeightsError;
use super::Entry;
use super::dtype::Order;
use super::source::Source;
use std::path::Path;

/// Numbers that may be shown more than once without more bytes in the file, as an expanded tensor does.
const MAX_REPEATED: u64 = 1 << 20;

/// More axes than any library can write.
const MAX_RANK: usize = 64;

/// How the bytes of a storage stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// As they are.
    Stored,
    /// Deflated into so many bytes.
    Deflated(u64),
}

/// A tensor's place: a window on a storage, which is a run of bytes in one file.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Which of the files.
    pub(super) source: usize,
    /// The storage's first byte in the file.
    pub(super) start: u64,
    /// The storage's bytes, unpacked.
    pub(super) bytes: u64,
    /// How they stand in the file.
    pub(super) packing: Packing,
    /// Bytes of the storage before number 0, such as the header of an npy file.
    pub(super) header_bytes: u64,
    /// The checksum of the whole storage, where the file has one that can be relied upon.
    pub(super) crc: Option<u32>,
    /// Which byte of a number comes first.
    pub(super) order: Order,
    /// The tensor's first number, counted in numbers.
    pub(super) offset: u64,
    /// Numbers from one index to the next on each axis.
    pub(super) strides: Vec<u64>,
}

/// Strides of a row-major tensor; those of a shape that is too large to exist are never used.
pub(super) fn row_major(shape: &[usize]) -> Vec<u64> {
    let mut strides = vec![1u64; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis] as u64);
    }
    strides
}

/// How many numbers a shape has, where that can be said.
pub(super) fn n_numbers(shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(1u64, |n, &size| n.checked_mul(size as u64))
}

impl Place {
    /// A row-major tensor that fills `bytes` from `start`.
    pub(super) fn stored(source: usize, start: u64, bytes: u64, shape: &[usize]) -> Self {
        Self {
            source,
            start,
            bytes,
            packing: Packing::Stored,
            header_bytes: 0,
            crc: None,
            order: Order::Little,
            offset: 0,
            strides: row_major(shape),
        }
    }

    /// Holds a tensor against its storage and its file: after this, reading it stays inside both.
    pub(super) fn check(&self, entry: &Entry, source: &Source) -> Result<(), WeightsError> {
        let refuse = |expected: String, found: String| refusal(&entry.name, expected, found, source.path());
        let shape = &entry.shape;
        if shape.len() > MAX_RANK || shape.len() != self.strides.len() {
            let found = format!("{} axes and {} strides", shape.len(), self.strides.len());
            return Err(refuse(format!("at most {MAX_RANK} axes, each with a stride"), found));
        }
        let file_bytes = match self.packing {
            Packing::Stored => self.bytes,
            Packing::Deflated(bytes) => bytes,
        };
        if self.start.checked_add(file_bytes).is_none_or(|end| end > source.len()) {
            let found = format!("a file of {} bytes", source.len());
            return Err(refuse(format!("{file_bytes} bytes from byte {}", self.start), found));
        }
        let item = entry.dtype.n_bytes() as u64;
        let held = self.bytes.checked_sub(self.header_bytes).map(|bytes| match item {
            // Of a type that is not read nothing is known but that a number has a bit at least.
            0 => bytes.saturating_mul(8),
            item => bytes / item,
        });
        let (Some(held), Some(n)) = (held, n_numbers(shape)) else {
            return Err(refuse(format!("a shape that {} bytes can hold", self.bytes), format!("{shape:?}")));
        };
        if n > held.max(MAX_REPEATED) || usize::try_from(n).is_err() {
            return Err(refuse(format!("a shape that {held} numbers can fill"), format!("{shape:?}")));
        }
        if n > 0 && self.last(shape).is_none_or(|last| last >= held) {
            let found = format!("shape {shape:?}, offset {}, strides {:?}", self.offset, self.strides);
            return Err(refuse(format!("indices inside a storage of {held} numbers"), found));
        }
        Ok(())
    }

    /// The storage's number that the tensor's last index shows; none when it is too large to say.
    fn last(&self, shape: &[usize]) -> Option<u64> {
        shape.iter().zip(&self.strides).try_fold(self.offset, |last, (&size, &stride)| {
            last.checked_add((size as u64).saturating_sub(1).checked_mul(stride)?)
        })
    }
}

/// Says what is wrong with a tensor of a file.
pub(super) fn refusal(name: &str, expected: String, found: String, path: &Path) -> WeightsError {
    WeightsError::Tensor { name: name.to_owned(), expected, found, path: path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::Dtype;
    use super::*;

    fn source(n_bytes: usize) -> (tempfile::TempDir, Source) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("numbers");
        std::fs::write(&path, vec![0; n_bytes]).expect("written");
        let source = Source::open(&path).expect("open");
        (dir, source)
    }

    #[test]
    fn a_tensor_must_lie_inside_its_storage_and_its_storage_inside_the_file() {
        let (_dir, source) = source(64);
        let check = |shape: &[usize], strides: &[u64], offset: u64, start: u64, bytes: u64| {
            let entry = Entry { name: "w".into(), dtype: Dtype::F32, shape: shape.into() };
            let strides = strides.to_vec();
            Place { start, bytes, offset, strides, ..Place::stored(0, 0, 0, &[]) }.check(&entry, &source)
        };
        assert!(check(&[2, 8], &[8, 1], 0, 0, 64).is_ok(), "the whole");
        assert!(check(&[8, 2], &[1, 8], 0, 0, 64).is_ok(), "transposed");
        assert!(check(&[4], &[1], 12, 0, 64).is_ok(), "a tail");
        assert!(check(&[1000, 16], &[0, 1], 0, 0, 64).is_ok(), "expanded");
        assert!(check(&[0, 5], &[5, 1], 0, 0, 64).is_ok(), "empty");
        for (shape, strides, offset, start, bytes) in [
            (&[17][..], &[1][..], 0, 0, 64),
            (&[4], &[1], 13, 0, 64),
            (&[2], &[16], 0, 0, 64),
            (&[16], &[1], 0, 1, 64),
            (&[16], &[1], 0, u64::MAX, 64),
            (&[2], &[u64::MAX], 1, 0, 64),
            (&[1], &[1], u64::MAX, 0, 64),
            (&[usize::MAX, 2], &[0, 0], 0, 0, 64),
            (&[1 << 21], &[0], 0, 0, 64),
            (&[2, 2], &[1], 0, 0, 64),
        ] {
            let error = check(shape, strides, offset, start, bytes).expect_err("refused");
            assert!(matches!(&error, WeightsError::Tensor { name, .. } if name == "w"), "{error}");
        }
    }
}
