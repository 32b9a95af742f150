//! Reading a tensor's numbers from its place: one pass over the bytes in their order, whatever the strides are, so
//! that little is in memory besides the numbers.

use super::super::WeightsError;
use super::place::{Packing, Place, refusal, row_major};
use super::source::Source;
use super::{Dtype, Entry};
use flate2::Crc;
use flate2::read::DeflateDecoder;
use std::io::{self, BufReader, Read};

/// How much of a file is in memory at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// The longest span that is held in memory for a tensor whose axes overlap in its storage.
const MAX_OVERLAPPING_BYTES: u64 = 1 << 24;

/// A tensor's numbers as f32, row-major. Its place must have been checked.
pub(super) fn read(place: &Place, entry: &Entry, source: &Source) -> Result<Vec<f32>, WeightsError> {
    let refuse = |expected: String, found: String| refusal(&entry.name, expected, found, source.path());
    if !entry.dtype.is_readable() {
        let expected = "a type that can be read as F32";
        return Err(refuse(expected.into(), entry.dtype.name().into()));
    }
    numbers(place, entry).read(source).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            refuse(format!("{} bytes of numbers", place.bytes), error.to_string())
        }
        _ => WeightsError::Io { source: error, path: source.path().to_owned() },
    })
}

fn numbers<'a>(place: &'a Place, entry: &Entry) -> Numbers<'a> {
    let axes = entry.shape.iter().zip(place.strides.iter().zip(row_major(&entry.shape)));
    let mut axes: Vec<Axis> = axes
        .map(|(&size, (&stride, out))| Axis { size, stride, out: out as usize })
        .filter(|axis| axis.size != 1)
        .collect();
    let in_a_row = axes.iter().all(|axis| axis.stride == axis.out as u64);
    axes.sort_by_key(|axis| std::cmp::Reverse(axis.stride));
    Numbers { place, dtype: entry.dtype, n: entry.shape.iter().product(), in_a_row, axes }
}

/// One axis of a tensor.
struct Axis {
    size: usize,
    /// Numbers of the storage from one index to the next.
    stride: u64,
    /// Numbers of the row-major result from one index to the next.
    out: usize,
}

/// A tensor about to be read.
struct Numbers<'a> {
    place: &'a Place,
    dtype: Dtype,
    n: usize,
    in_a_row: bool,
    /// The axes by falling stride, without those of one index.
    axes: Vec<Axis>,
}

impl Numbers<'_> {
    fn read(&self, source: &Source) -> io::Result<Vec<f32>> {
        let place = self.place;
        let skip = place.header_bytes + place.offset * self.dtype.n_bytes() as u64;
        let mut bytes = match (place.packing, place.crc) {
            (Packing::Stored, None) => {
                let section = source.section(place.start + skip, place.bytes.saturating_sub(skip));
                Bytes { inner: Box::new(section), crc: None }
            }
            (Packing::Stored, Some(_)) => {
                Bytes::summed(Box::new(source.section(place.start, place.bytes)), skip)?
            }
            (Packing::Deflated(packed), _) => {
                Bytes::summed(Box::new(DeflateDecoder::new(source.section(place.start, packed))), skip)?
            }
        };
        let numbers = match self.n {
            0 => Vec::new(),
            _ if self.in_a_row => self.in_a_row(&mut bytes)?,
            _ if self.overlaps() => self.gathered(&mut bytes)?,
            _ => self.in_storage_order(&mut bytes)?,
        };
        if let Some(expected) = place.crc {
            if bytes.read(&mut [0])? != 0 {
                return Err(invalid("more bytes than declared".to_owned()));
            }
            let found = bytes.crc.map_or(expected, |crc| crc.sum());
            if found != expected {
                return Err(invalid(format!("checksum {found:08x} where the file says {expected:08x}")));
            }
        }
        Ok(numbers)
    }

    fn in_a_row(&self, bytes: &mut Bytes) -> io::Result<Vec<f32>> {
        let item = self.dtype.n_bytes();
        let mut chunk = vec![0u8; CHUNK_BYTES.min(self.n * item)];
        let mut numbers = Vec::with_capacity(self.n);
        while numbers.len() < self.n {
            let n = chunk.len().min((self.n - numbers.len()) * item);
            bytes.read_exact(&mut chunk[..n])?;
            self.dtype.decode(&chunk[..n], self.place.order, &mut numbers);
        }
        Ok(numbers)
    }

    /// Whether one pass over the axes by falling stride would have to go back.
    fn overlaps(&self) -> bool {
        let mut reach = 0;
        for axis in self.axes.iter().rev() {
            if axis.stride != 0 && axis.stride <= reach {
                return true;
            }
            reach += (axis.size as u64 - 1) * axis.stride;
        }
        false
    }

    fn in_storage_order(&self, bytes: &mut Bytes) -> io::Result<Vec<f32>> {
        let item = self.dtype.n_bytes() as u64;
        let mut bytes = BufReader::with_capacity(CHUNK_BYTES, bytes);
        let mut numbers = vec![0.0; self.n];
        let (mut one, mut number) = ([0u8; 8], Vec::with_capacity(1));
        let mut next = 0; // the first number of the storage that has not been read
        self.walk(|at, out| {
            if at >= next {
                skip(&mut bytes, (at - next) * item)?;
                let one = &mut one[..item as usize];
                bytes.read_exact(one)?;
                number.clear();
                self.dtype.decode(one, self.place.order, &mut number);
                next = at + 1;
            }
            numbers[out] = number[0];
            Ok(())
        })?;
        Ok(numbers)
    }

    fn gathered(&self, bytes: &mut Bytes) -> io::Result<Vec<f32>> {
        let span = 1 + self.axes.iter().map(|axis| (axis.size as u64 - 1) * axis.stride).sum::<u64>();
        let n_bytes = span * self.dtype.n_bytes() as u64;
        if n_bytes > MAX_OVERLAPPING_BYTES {
            return Err(invalid(format!("axes that overlap over {n_bytes} bytes")));
        }
        let mut held = vec![0u8; n_bytes as usize];
        bytes.read_exact(&mut held)?;
        let mut storage = Vec::with_capacity(span as usize);
        self.dtype.decode(&held, self.place.order, &mut storage);
        let mut numbers = vec![0.0; self.n];
        self.walk(|at, out| {
            numbers[out] = storage[at as usize];
            Ok(())
        })?;
        Ok(numbers)
    }

    /// Every index, the axis of the greatest stride slowest: its place in the storage and in the result.
    fn walk(&self, mut visit: impl FnMut(u64, usize) -> io::Result<()>) -> io::Result<()> {
        let mut index = vec![0usize; self.axes.len()];
        let (mut at, mut out) = (0u64, 0usize);
        for _ in 0..self.n {
            visit(at, out)?;
            for (i, axis) in index.iter_mut().zip(&self.axes).rev() {
                if *i + 1 < axis.size {
                    *i += 1;
                    at += axis.stride;
                    out += axis.out;
                    break;
                }
                at -= *i as u64 * axis.stride;
                out -= *i * axis.out;
                *i = 0;
            }
        }
        Ok(())
    }
}

/// A run of bytes, and their checksum so far where one is wanted.
struct Bytes<'a> {
    inner: Box<dyn Read + 'a>,
    crc: Option<Crc>,
}

impl<'a> Bytes<'a> {
    fn summed(inner: Box<dyn Read + 'a>, n_skipped: u64) -> io::Result<Self> {
        let mut bytes = Self { inner, crc: Some(Crc::new()) };
        skip(&mut bytes, n_skipped)?;
        Ok(bytes)
    }
}

impl Read for Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        if let Some(crc) = &mut self.crc {
            crc.update(&into[..n]);
        }
        Ok(n)
    }
}

fn skip(bytes: &mut impl Read, n: u64) -> io::Result<()> {
    if n > 0 && io::copy(&mut bytes.by_ref().take(n), &mut io::sink())? < n {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(())
}

fn invalid(found: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(values: &[f32]) -> (tempfile::TempDir, Source) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("numbers");
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(&path, bytes).expect("written");
        let source = Source::open(&path).expect("open");
        (dir, source)
    }

    #[test]
    fn every_way_to_stride_over_a_storage_gives_what_its_indices_say() {
        let values: Vec<f32> = (0..60).map(|i| i as f32).collect();
        let (_dir, source) = source(&values);
        for (shape, strides, offset) in [
            (&[60][..], &[1][..], 0),
            (&[3, 4, 5], &[20, 5, 1], 0),
            (&[5, 4, 3], &[1, 5, 20], 0),
            (&[4, 3, 5], &[5, 20, 1], 0),
            (&[4, 3], &[2, 13], 7),
            (&[3, 7], &[0, 2], 1),
            (&[7, 3], &[2, 0], 1),
            (&[5, 3], &[1, 1], 4),
            (&[1, 6, 1], &[99, 3, 99], 0),
            (&[], &[], 5),
            (&[0, 4], &[4, 1], 0),
        ] {
            let entry = Entry { name: "w".into(), dtype: Dtype::F32, shape: shape.to_vec() };
            let place = Place { offset, strides: strides.to_vec(), ..Place::stored(0, 0, 240, &[]) };
            place.check(&entry, &source).expect("inside");
            let mut expected = Vec::new();
            for flat in 0..shape.iter().product::<usize>() {
                let (mut rest, mut at) = (flat, offset);
                for (&size, &stride) in shape.iter().zip(strides).rev() {
                    at += (rest % size) as u64 * stride;
                    rest /= size;
                }
                expected.push(values[at as usize]);
            }
            assert_eq!(read(&place, &entry, &source).expect("read"), expected, "{shape:?} by {strides:?}");
        }
    }

    #[test]
    fn a_wrong_checksum_and_a_type_without_f32_are_refused_by_the_name_of_the_tensor() {
        let (_dir, source) = source(&[1.0, 2.0]);
        let mut entry = Entry { name: "w".into(), dtype: Dtype::F32, shape: vec![2] };
        let place = Place { crc: Some(1), ..Place::stored(0, 0, 8, &entry.shape) };
        let error = read(&place, &entry, &source).expect_err("refused").to_string();
        assert!(error.contains("`w`") && error.contains("checksum"), "{error}");
        entry.dtype = Dtype::Other("C64");
        let error = read(&place, &entry, &source).expect_err("refused").to_string();
        assert!(error.contains("`w`") && error.contains("C64"), "{error}");
    }
}
