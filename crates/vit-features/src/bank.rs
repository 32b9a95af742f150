//! Labeled features of one side of the data: in memory while they are few, else in a temporary file for each select.

use crate::{Select, StudyError, Taken};
use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::{ByteBuf, Bytes};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Bytes that are turned into numbers at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Bytes of features that [`Bank::blocks`] hands out at once.
pub const BLOCK_BYTES: usize = 4 << 20;

/// Bytes of features that a bank holds in memory where nothing else is said. A comparison has a bank for each side and each
/// probe: all of them together stay small beside one model.
pub const BANK_BYTES: usize = 4 << 20;

/// Labeled features, row by row in the order of the data.
///
/// Memory: `samples · Σ D over the selects · 4` bytes, at most `memory_bytes` and one batch; beyond that, everything
/// goes to files in the system's folder for temporary files, which vanish with the bank.
#[derive(Serialize, Deserialize)]
pub struct Bank {
    study: Cow<'static, str>,
    memory_bytes: usize,
    in_memory_bytes: usize,
    labels: Vec<u32>,
    indices: Vec<usize>,
    columns: BTreeMap<Select, Column>,
}

/// One select's features: parts in the order of the data.
#[derive(Serialize, Deserialize)]
struct Column {
    width: usize,
    parts: Vec<Piece>,
}

enum Piece {
    Memory(Vec<f32>),
    /// The file has one position, which whoever reads or writes moves first.
    Disk {
        file: Mutex<File>,
        n_values: usize,
    },
}

impl Piece {
    /// Values in it.
    fn len(&self) -> usize {
        match self {
            Self::Memory(values) => values.len(),
            Self::Disk { n_values, .. } => *n_values,
        }
    }
}

impl Bank {
    /// What stands among the labels where a sample has none.
    pub const UNLABELED: u32 = u32::MAX;

    /// Nothing yet; `study` is named in errors.
    pub fn new(study: &'static str, memory_bytes: usize) -> Self {
        let (labels, indices) = (Vec::new(), Vec::new());
        Self {
            study: study.into(),
            memory_bytes,
            in_memory_bytes: 0,
            labels,
            indices,
            columns: BTreeMap::new(),
        }
    }

    /// The class of each sample; [`Bank::UNLABELED`] of one that came without.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The index of each sample in its data set.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Adds the samples of a batch: of the `wanted` selects, what is not there was asked for by another study.
    ///
    /// # Errors
    /// When a sample has no class, a feature is not finite, or the temporary file cannot be written.
    pub fn push(&mut self, taken: &Taken, wanted: &[Select]) -> Result<(), StudyError> {
        let mut samples = taken.info.labels.iter().zip(taken.info.indices);
        if let Some((_, index)) = samples.find(|(label, _)| label.is_none()) {
            return Err(self.error("a class for every sample", format!("none for sample {index}")));
        }
        self.push_any(taken, wanted)
    }

    /// The same of samples that may have no class.
    ///
    /// # Errors
    /// As [`Bank::push`], but for the classes.
    pub fn push_any(&mut self, taken: &Taken, wanted: &[Select]) -> Result<(), StudyError> {
        self.labels.extend(taken.info.labels.iter().map(|label| label.unwrap_or(Self::UNLABELED)));
        self.indices.extend(taken.info.indices);
        for (&select, (shape, values)) in taken.features.iter().filter(|(select, _)| wanted.contains(select))
        {
            if let Some(at) = values.iter().position(|x| !x.is_finite()) {
                return Err(self.error("finite features", format!("{} in {select}", values[at])));
            }
            self.in_memory_bytes += size_of_val(values.as_slice());
            let column = self.columns.entry(select).or_insert(Column { width: shape[1], parts: Vec::new() });
            match column.parts.last_mut() {
                Some(Piece::Memory(all)) => all.extend_from_slice(values),
                _ => column.parts.push(Piece::Memory(values.clone())),
            }
        }
        if self.in_memory_bytes > self.memory_bytes {
            self.spill().map_err(|source| self.failed(source))?;
        }
        Ok(())
    }

    /// Appends the samples of later batches. What does not fit in memory goes to temporary files; where they cannot be
    /// written, it stays in memory.
    pub fn append(&mut self, later: Self) {
        self.labels.extend(later.labels);
        self.indices.extend(later.indices);
        self.in_memory_bytes += later.in_memory_bytes;
        for (select, column) in later.columns {
            let own = self.columns.entry(select).or_insert(Column { width: column.width, parts: Vec::new() });
            own.parts.extend(column.parts);
        }
        if self.in_memory_bytes > self.memory_bytes {
            let _ = self.spill();
        }
    }

    /// The features of one select: their width, and all of them row by row.
    ///
    /// # Errors
    /// When there are none for every sample, or the temporary file cannot be read.
    pub fn features(&self, select: Select) -> Result<(usize, Vec<f32>), StudyError> {
        Ok((self.width(select)?, self.rows(select, 0..self.len())?))
    }

    /// The width of the features of one select, of which there is one row for every sample.
    ///
    /// # Errors
    /// When there are none for every sample.
    pub fn width(&self, select: Select) -> Result<usize, StudyError> {
        Ok(self.column(select)?.width)
    }

    /// Shows the features of one select block by block, in the order of the data: parts in memory as they are, files in
    /// pieces. However often they are shown, they come in the same blocks.
    ///
    /// # Errors
    /// When there are none for every sample, or the temporary file cannot be read.
    pub fn each_block(&self, select: Select, visit: &mut dyn FnMut(&[f32])) -> Result<(), StudyError> {
        let column = self.column(select)?;
        for part in &column.parts {
            match part {
                Piece::Memory(part) => visit(part),
                Piece::Disk { file, n_values } => {
                    let step = rows_of(CHUNK_BYTES, column.width) * column.width;
                    for first in (0..*n_values).step_by(step) {
                        let mut values = Vec::with_capacity(step.min(n_values - first));
                        self.read(file, first, step.min(n_values - first), &mut values)?;
                        visit(&values);
                    }
                }
            }
        }
        Ok(())
    }

    /// One sample's features of a select.
    ///
    /// # Errors
    /// As [`Bank::each_block`].
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn row(&self, select: Select, at: usize) -> Result<Vec<f32>, StudyError> {
        self.rows(select, at..at + 1)
    }

    /// The features of some samples that follow one another, row by row.
    ///
    /// # Errors
    /// As [`Bank::each_block`].
    ///
    /// # Panics
    /// When there are not so many samples.
    pub fn rows(&self, select: Select, samples: Range<usize>) -> Result<Vec<f32>, StudyError> {
        assert!(samples.end <= self.len(), "samples {samples:?} of {}", self.len());
        let column = self.column(select)?;
        let (mut first, last) = (samples.start * column.width, samples.end * column.width);
        let mut values = Vec::with_capacity(last - first);
        let mut begins = 0;
        for part in &column.parts {
            let ends = begins + part.len();
            if first < last && first < ends {
                let (from, n_values) = (first - begins, last.min(ends) - first);
                match part {
                    Piece::Memory(part) => values.extend_from_slice(&part[from..from + n_values]),
                    Piece::Disk { file, .. } => self.read(file, from, n_values, &mut values)?,
                }
                first += n_values;
            }
            begins = ends;
        }
        Ok(values)
    }

    /// All samples in pieces of about [`BLOCK_BYTES`], so that what is read at once does not grow with their number.
    ///
    /// # Errors
    /// When there are no features of the select for every sample.
    pub fn blocks(&self, select: Select) -> Result<impl Iterator<Item = Range<usize>> + use<>, StudyError> {
        let (n, n_rows) = (self.len(), rows_of(BLOCK_BYTES, self.width(select)?));
        Ok((0..n).step_by(n_rows).map(move |first| first..n.min(first + n_rows)))
    }

    /// The column of a select, complete.
    fn column(&self, select: Select) -> Result<&Column, StudyError> {
        let missing = || self.error("features of every layer", format!("none of {select}"));
        let column = self.columns.get(&select).ok_or_else(missing)?;
        let n_values: usize = column.parts.iter().map(Piece::len).sum();
        if n_values != self.len() * column.width {
            let expected = format!("{} features of {select} for {} samples", column.width, self.len());
            return Err(self.error(&expected, format!("{n_values} numbers")));
        }
        Ok(column)
    }

    /// Some values of a file, behind what is there.
    fn read(
        &self,
        file: &Mutex<File>,
        first: usize,
        n_values: usize,
        values: &mut Vec<f32>,
    ) -> Result<(), StudyError> {
        read(file, first, n_values, &mut |chunk| values.extend(values_of(chunk)))
            .map_err(|source| self.failed(source))
    }

    /// Writes what is in memory behind what is on disk; what cannot be written stays in memory.
    fn spill(&mut self) -> std::io::Result<()> {
        for column in self.columns.values_mut() {
            let mut kept: Vec<Piece> = Vec::with_capacity(column.parts.len());
            let mut failed = None;
            for part in std::mem::take(&mut column.parts) {
                match &part {
                    Piece::Memory(values) if failed.is_none() => match behind(kept.last_mut(), values) {
                        Ok(new) => kept.extend(new),
                        Err(error) => {
                            failed = Some(error);
                            kept.push(part);
                        }
                    },
                    _ => kept.push(part),
                }
            }
            column.parts = kept;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        self.in_memory_bytes = 0;
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> StudyError {
        StudyError::TemporaryFile { study: self.study.to_string(), source }
    }

    fn error(&self, expected: &str, found: String) -> StudyError {
        StudyError::Value { study: self.study.to_string(), expected: expected.into(), found }
    }
}

/// Writes values behind the last piece where that is on disk, else to a file of their own, which is handed back.
fn behind(last: Option<&mut Piece>, values: &[f32]) -> std::io::Result<Option<Piece>> {
    if let Some(Piece::Disk { file, n_values }) = last {
        write(file.get_mut().unwrap_or_else(PoisonError::into_inner), *n_values, values)?;
        *n_values += values.len();
        return Ok(None);
    }
    let mut file = tempfile::tempfile()?;
    write(&mut file, 0, values)?;
    Ok(Some(Piece::Disk { file: Mutex::new(file), n_values: values.len() }))
}

/// Writes behind the first `n_values`.
fn write(file: &mut File, n_values: usize, values: &[f32]) -> std::io::Result<()> {
    file.seek(SeekFrom::Start((n_values * size_of::<f32>()) as u64))?;
    values.chunks(CHUNK_BYTES / size_of::<f32>()).try_for_each(|chunk| file.write_all(&bytes_of(chunk)))
}

/// Reads `n_values` from the one at `first`, chunk by chunk; several threads may.
fn read(
    file: &Mutex<File>,
    first: usize,
    n_values: usize,
    each: &mut dyn FnMut(&[u8]),
) -> std::io::Result<()> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start((first * size_of::<f32>()) as u64))?;
    let mut left = n_values * size_of::<f32>();
    let mut bytes = vec![0u8; CHUNK_BYTES.min(left)];
    while left > 0 {
        let now = bytes.len().min(left);
        file.read_exact(&mut bytes[..now])?;
        each(&bytes[..now]);
        left -= now;
    }
    Ok(())
}

/// Rows of a width that fit into so many bytes, at least one.
fn rows_of(bytes: usize, width: usize) -> usize {
    (bytes / size_of::<f32>() / width.max(1)).max(1)
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn values_of(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(size_of::<f32>()).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

/// Whether it is on disk, then its values as byte strings of one chunk each: neither side holds all of them twice.
impl Serialize for Piece {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (n_values, is_on_disk) = match self {
            Self::Memory(values) => (values.len(), false),
            Self::Disk { n_values, .. } => (*n_values, true),
        };
        let n_chunks = (n_values * size_of::<f32>()).div_ceil(CHUNK_BYTES);
        let mut seq = serializer.serialize_seq(Some(1 + n_chunks))?;
        seq.serialize_element(&is_on_disk)?;
        match self {
            Self::Memory(values) => {
                for chunk in values.chunks(CHUNK_BYTES / size_of::<f32>()) {
                    seq.serialize_element(Bytes::new(&bytes_of(chunk)))?;
                }
            }
            Self::Disk { file, n_values } => {
                let mut written = Ok(());
                let read = read(file, 0, *n_values, &mut |chunk| {
                    if written.is_ok() {
                        written = seq.serialize_element(Bytes::new(chunk));
                    }
                });
                read.map_err(serde::ser::Error::custom)?;
                written?;
            }
        }
        seq.end()
    }
}

impl<'de> Deserialize<'de> for Piece {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Chunks;
        impl<'de> Visitor<'de> for Chunks {
            type Value = Piece;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("features in chunks")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Piece, A::Error> {
                let is_on_disk = seq.next_element::<bool>()?;
                let is_on_disk = is_on_disk.ok_or_else(|| A::Error::custom("an empty piece of features"))?;
                let (mut all, mut n_values) = (Vec::new(), 0);
                let mut file =
                    if is_on_disk { Some(tempfile::tempfile().map_err(A::Error::custom)?) } else { None };
                while let Some(chunk) = seq.next_element::<ByteBuf>()? {
                    match &mut file {
                        Some(file) => file.write_all(&chunk).map_err(A::Error::custom)?,
                        None => all.extend(values_of(&chunk)),
                    }
                    n_values += chunk.len() / size_of::<f32>();
                }
                Ok(file.map_or(Piece::Memory(all), |file| Piece::Disk { file: Mutex::new(file), n_values }))
            }
        }
        deserializer.deserialize_seq(Chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchInfo, Role};

    /// A bank of `n` batches of two samples; the values count on.
    fn bank(from: usize, n: usize, memory_bytes: usize) -> Bank {
        let mut bank = Bank::new("test", memory_bytes);
        for first in (from..from + n).map(|batch| 2 * batch) {
            let (labels, indices) = ([Some(first as u32), Some(first as u32 + 1)], [first, first + 1]);
            let info = BatchInfo {
                model: 0,
                role: Role::Train,
                first,
                labels: &labels,
                indices: &indices,
                truths: &[],
                boxes: &[],
            };
            let values = (0..6).map(|i| (3 * first + i) as f32).collect();
            let features = BTreeMap::from([(Select::PIXELS, (vec![2, 3], values))]);
            bank.push(&Taken { info, features: &features }, &[Select::PIXELS]).expect("pushed");
        }
        bank
    }

    #[test]
    fn features_come_back_in_the_order_of_the_data_from_memory_disk_and_both() {
        let expected: Vec<f32> = (0..30).map(|i| i as f32).collect();
        // Nothing, a part (every second batch overflows 30 bytes), and everything on disk.
        for memory_bytes in [usize::MAX, 30, 0] {
            let whole = bank(0, 5, memory_bytes);
            assert_eq!(whole.features(Select::PIXELS).expect("features"), (3, expected.clone()));
            let mut merged = bank(0, 2, memory_bytes);
            merged.append(bank(2, 3, memory_bytes));
            assert_eq!(merged.features(Select::PIXELS).expect("features"), (3, expected.clone()));
            for at in [0, 3, 9] {
                let row = merged.row(Select::PIXELS, at).expect("there");
                assert_eq!(row, expected[3 * at..3 * at + 3]);
            }
            assert_eq!(merged.labels(), whole.labels());
            assert_eq!(merged.indices(), (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_bank_that_was_saved_and_read_is_the_same_from_memory_disk_and_both() {
        for memory_bytes in [usize::MAX, 30, 0] {
            let whole = bank(0, 5, memory_bytes);
            let bytes = rmp_serde::to_vec_named(&whole).expect("saved");
            let mut again: Bank = rmp_serde::from_slice(&bytes).expect("read");
            assert_eq!(rmp_serde::to_vec_named(&again).expect("saved again"), bytes);
            again.append(bank(5, 2, memory_bytes));
            let expected = bank(0, 7, memory_bytes).features(Select::PIXELS).expect("features");
            assert_eq!(again.features(Select::PIXELS).expect("features"), expected);
            assert_eq!(again.labels(), bank(0, 7, 0).labels());
        }
    }

    #[test]
    fn what_is_appended_goes_to_disk_when_it_does_not_fit() {
        let mut merged = bank(0, 1, 30);
        merged.append(bank(1, 1, 30));
        assert_eq!(merged.in_memory_bytes, 0);
        merged.append(bank(2, 1, 30));
        assert_eq!(
            merged.features(Select::PIXELS).expect("features").1,
            (0..18).map(|i| i as f32).collect::<Vec<_>>()
        );
    }

    #[test]
    fn however_many_samples_come_few_are_in_memory() {
        // A batch is 24 bytes.
        for n_batches in [5, 50, 500] {
            let whole = bank(0, n_batches, 100);
            let in_memory = |column: &Column| -> usize {
                let parts = column.parts.iter().filter(|part| matches!(part, Piece::Memory(_)));
                parts.map(|part| part.len() * size_of::<f32>()).sum()
            };
            let bytes: usize = whole.columns.values().map(in_memory).sum();
            assert!(bytes <= 100 && bytes == whole.in_memory_bytes, "{n_batches} batches: {bytes}");
        }
    }

    #[test]
    fn blocks_cover_every_sample_once_and_hold_their_rows() {
        for memory_bytes in [usize::MAX, 30, 0] {
            let whole = bank(0, 5, memory_bytes);
            let blocks: Vec<Range<usize>> = whole.blocks(Select::PIXELS).expect("there").collect();
            assert!(blocks.len() == 1 && blocks[0] == (0..10), "{blocks:?}");
            for samples in [0..10, 3..7, 4..4, 9..10] {
                let rows = whole.rows(Select::PIXELS, samples.clone()).expect("there");
                let expected: Vec<f32> = (3 * samples.start..3 * samples.end).map(|i| i as f32).collect();
                assert_eq!(rows, expected, "{samples:?} of {memory_bytes}");
            }
        }
        assert_eq!((rows_of(BLOCK_BYTES, 768), rows_of(8, 100)), (1365, 1));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let select = Select { part: crate::Part::Class, ..Select::PIXELS };
        let sentence = bank(0, 1, 0).features(select).expect_err("a refusal").to_string();
        assert!(sentence.contains("`test`") && sentence.contains("features of every layer"), "{sentence}");
    }
}
