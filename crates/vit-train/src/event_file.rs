//! TensorBoard's event file: the same numbers as the log, as TensorBoard itself reads them.
//!
//! A file is a row of records `[length u64][masked CRC-32C of the length][bytes][masked CRC-32C of the bytes]`, little
//! endian; the bytes of each are a protobuf `Event`.
//!
//! # Source
//! TensorFlow's `record_writer` and `event.proto`.

use crate::TrainError;
use prost::Message;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file's name in a run folder; TensorBoard looks for `tfevents` in it.
pub const EVENT_FILE: &str = "events.out.tfevents.vitscope";

/// What TensorBoard expects in the first record.
const FILE_VERSION: &str = "brain.Event:2";

/// `tensorflow.Event`, as far as scalars need it.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_secs: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    /// One of several kinds of value: always there, as a kind left out is no scalar, even where it is 0.
    #[prost(float, optional, tag = "2")]
    value: Option<f32>,
}

/// An event file that is being written.
pub(crate) struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// Opens the event file of a run that has done `n_steps`: events of later steps, and a record cut short, are cut off.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(crate) fn open(path: &Path, n_steps: usize, now_secs: f64) -> Result<Self, TrainError> {
        let io = |source| TrainError::Io { source, path: path.to_owned() };
        let former = if n_steps > 0 && path.exists() { std::fs::read(path).map_err(io)? } else { Vec::new() };
        let mut kept = Vec::with_capacity(former.len());
        for record in records(&former) {
            let Ok(event) = Event::decode(record) else { break };
            if event.file_version.is_none() && event.step >= 0 && (event.step as usize) < n_steps {
                kept.extend(framed(record));
            }
        }
        let version =
            Event { wall_secs: now_secs, step: 0, file_version: Some(FILE_VERSION.into()), summary: None };
        let partial = path.with_extension("partial");
        std::fs::write(&partial, [framed(&version.encode_to_vec()), kept].concat()).map_err(io)?;
        std::fs::rename(&partial, path).map_err(io)?;
        let file = OpenOptions::new().append(true).open(path).map_err(io)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Appends the scalars of a step.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn scalars<'a>(
        &mut self,
        step: usize,
        now_secs: f64,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<(), TrainError> {
        let values =
            values.into_iter().map(|(tag, value)| Scalar { tag: tag.to_owned(), value: Some(value as f32) });
        let summary = Some(Summary { values: values.collect() });
        let event = Event { wall_secs: now_secs, step: step as i64, file_version: None, summary };
        let record = framed(&event.encode_to_vec());
        self.file.write_all(&record).map_err(|source| TrainError::Io { source, path: self.path.clone() })
    }
}

/// TensorFlow's mask, so that a checksum of data that holds checksums stays strong.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(bytes.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(bytes);
    record.extend(masked_crc(bytes).to_le_bytes());
    record
}

/// The records of a file up to the first that is cut short or damaged.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (crc_of_length, rest) = rest.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*crc_of_length) != masked_crc(length) {
            return None;
        }
        let (data, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*crc) != masked_crc(data) {
            return None;
        }
        bytes = rest;
        Some(data)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (step, loss) of every event after the first.
    fn read(path: &Path) -> Vec<(i64, f32)> {
        let bytes = std::fs::read(path).expect("reads");
        let events: Vec<Event> =
            records(&bytes).map(|bytes| Event::decode(bytes).expect("an event")).collect();
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
        let loss = |event: &Event| event.summary.as_ref().expect("scalars").values[0].value.expect("a value");
        events[1..].iter().map(|event| (event.step, loss(event))).collect()
    }

    #[test]
    fn checksums_are_those_of_the_format() {
        // CRC-32C of "123456789" is 0xe3069283; rotated right by 15 and shifted: 0x2507c60d + 0xa282ead8.
        assert_eq!(masked_crc(b"123456789"), 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn a_scalar_is_the_bytes_that_protobuf_wants() {
        let event = Event {
            wall_secs: 0.0,
            step: 3,
            file_version: None,
            summary: Some(Summary { values: vec![Scalar { tag: "loss".into(), value: Some(1.0) }] }),
        };
        // step: field 2 varint 3; summary: field 5 of 13 bytes; value: field 1 of 11; tag "loss"; float 1.0.
        let expected = [0x10, 3, 0x2a, 13, 0x0a, 11, 0x0a, 4, b'l', b'o', b's', b's', 0x15, 0, 0, 0x80, 0x3f];
        assert_eq!(event.encode_to_vec(), expected);
    }

    #[test]
    fn a_zero_is_written_out() {
        // tag "lr" (field 1 of 2), float 0.0 (field 2), which a field without presence would leave out.
        let scalar = Scalar { tag: "lr".into(), value: Some(0.0) };
        assert_eq!(scalar.encode_to_vec(), [0x0a, 2, b'l', b'r', 0x15, 0, 0, 0, 0]);
    }

    #[test]
    fn events_after_the_checkpoint_and_half_a_record_are_cut_off() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(EVENT_FILE);
        let mut events = EventFile::open(&path, 0, 1.0).expect("opens");
        for step in 0..5 {
            events.scalars(step, 2.0, [("loss", step as f64)]).expect("writes");
        }
        let whole = std::fs::read(&path).expect("reads");
        std::fs::write(&path, &whole[..whole.len() - 3]).expect("cuts");
        let mut events = EventFile::open(&path, 3, 3.0).expect("opens again");
        events.scalars(3, 4.0, [("loss", 30.0)]).expect("writes");
        assert_eq!(read(&path), [(0, 0.0), (1, 1.0), (2, 2.0), (3, 30.0)]);
    }
}
