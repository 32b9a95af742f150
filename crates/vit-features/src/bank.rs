//! Labeled features of one side of the data: in memory while they are few, else in a temporary file for each select.

use crate::{Select, StudyError, Taken};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

/// Bytes that are turned into numbers at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Labeled features, row by row in the order of the data.
///
/// Memory: `samples · Σ D over the selects · 4` bytes, at most `memory_bytes` and one batch; beyond that, everything
/// goes to files in the system's folder for temporary files, which vanish with the bank.
pub struct Bank {
    study: &'static str,
    memory_bytes: usize,
    in_memory_bytes: usize,
    labels: Vec<u32>,
    indices: Vec<usize>,
    columns: BTreeMap<Select, Column>,
}

/// One select's features: parts in the order of the data.
struct Column {
    width: usize,
    parts: Vec<Piece>,
}

enum Piece {
    Memory(Vec<f32>),
    Disk { file: File, n_values: usize },
}

impl Bank {
    /// Nothing yet; `study` is named in errors.
    pub fn new(study: &'static str, memory_bytes: usize) -> Self {
        let (labels, indices) = (Vec::new(), Vec::new());
        Self { study, memory_bytes, in_memory_bytes: 0, labels, indices, columns: BTreeMap::new() }
    }

    /// The class of each sample.
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
        for (label, index) in taken.info.labels.iter().zip(taken.info.indices) {
            let missing = || self.error("a class for every sample", format!("none for sample {index}"));
            let label = label.ok_or_else(missing)?;
            self.labels.push(label);
            self.indices.push(*index);
        }
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
            self.spill().map_err(|source| StudyError::TemporaryFile { study: self.study.into(), source })?;
        }
        Ok(())
    }

    /// Appends the samples of later batches.
    pub fn append(&mut self, later: Self) {
        self.labels.extend(later.labels);
        self.indices.extend(later.indices);
        self.in_memory_bytes += later.in_memory_bytes;
        for (select, column) in later.columns {
            let own = self.columns.entry(select).or_insert(Column { width: column.width, parts: Vec::new() });
            own.parts.extend(column.parts);
        }
    }

    /// The features of one select: their width, and all of them row by row.
    ///
    /// # Errors
    /// When there are none for every sample, or the temporary file cannot be read.
    pub fn features(&self, select: Select) -> Result<(usize, Vec<f32>), StudyError> {
        let missing = || self.error("features of every layer", format!("none of {select}"));
        let column = self.columns.get(&select).ok_or_else(missing)?;
        let mut values = Vec::with_capacity(self.len() * column.width);
        for part in &column.parts {
            match part {
                Piece::Memory(part) => values.extend_from_slice(part),
                Piece::Disk { file, n_values } => {
                    let failed = |source| StudyError::TemporaryFile { study: self.study.into(), source };
                    read(file, *n_values, &mut values).map_err(failed)?;
                }
            }
        }
        if values.len() != self.len() * column.width {
            let expected = format!("{} features of {select} for {} samples", column.width, self.len());
            return Err(self.error(&expected, format!("{} numbers", values.len())));
        }
        Ok((column.width, values))
    }

    /// Writes what is in memory behind what is on disk.
    fn spill(&mut self) -> std::io::Result<()> {
        for column in self.columns.values_mut() {
            let mut parts = Vec::with_capacity(column.parts.len());
            for part in column.parts.drain(..) {
                match (part, parts.last_mut()) {
                    (Piece::Memory(values), Some(Piece::Disk { file, n_values })) => {
                        write(file, &values)?;
                        *n_values += values.len();
                    }
                    (Piece::Memory(values), _) => {
                        let mut file = tempfile::tempfile()?;
                        write(&mut file, &values)?;
                        parts.push(Piece::Disk { file, n_values: values.len() });
                    }
                    (part, _) => parts.push(part),
                }
            }
            column.parts = parts;
        }
        self.in_memory_bytes = 0;
        Ok(())
    }

    fn error(&self, expected: &str, found: String) -> StudyError {
        StudyError::Value { study: self.study.into(), expected: expected.into(), found }
    }
}

fn write(file: &mut File, values: &[f32]) -> std::io::Result<()> {
    file.seek(SeekFrom::End(0))?;
    for chunk in values.chunks(CHUNK_BYTES / size_of::<f32>()) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|x| x.to_le_bytes()).collect();
        file.write_all(&bytes)?;
    }
    Ok(())
}

fn read(mut file: &File, n_values: usize, into: &mut Vec<f32>) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut left = n_values * size_of::<f32>();
    let mut bytes = vec![0u8; CHUNK_BYTES.min(left)];
    while left > 0 {
        let now = bytes.len().min(left);
        file.read_exact(&mut bytes[..now])?;
        into.extend(bytes[..now].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        left -= now;
    }
    Ok(())
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
            assert_eq!(merged.labels(), whole.labels());
            assert_eq!(merged.indices(), (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let select = Select { part: crate::Part::Class, ..Select::PIXELS };
        let sentence = bank(0, 1, 0).features(select).expect_err("a refusal").to_string();
        assert!(sentence.contains("`test`") && sentence.contains("features of every layer"), "{sentence}");
    }
}
