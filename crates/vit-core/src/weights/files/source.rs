//! A file that is read by position: what is asked for is checked against its length before anything is allocated.

use super::super::WeightsError;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// An open file of known length.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    len: u64,
    path: PathBuf,
}

impl Source {
    /// Opens a file; a folder is an error of the operating system here.
    pub(super) fn open(path: &Path) -> Result<Self, WeightsError> {
        let io = |source| WeightsError::Io { source, path: path.to_owned() };
        let file = File::open(path).map_err(io)?;
        let facts = file.metadata().map_err(io)?;
        if facts.is_dir() {
            return Err(io(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        Ok(Self { file, len: facts.len(), path: path.to_owned() })
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Says that the file is not what it should be.
    pub(super) fn malformed(&self, expected: impl Into<String>, found: impl Into<String>) -> WeightsError {
        WeightsError::Malformed { expected: expected.into(), found: found.into(), path: self.path.clone() }
    }

    /// `n` bytes from `offset`; `what` they are is said when the file does not have them.
    pub(super) fn bytes(&self, what: &str, offset: u64, n: u64) -> Result<Vec<u8>, WeightsError> {
        let end = offset.checked_add(n).filter(|&end| end <= self.len);
        let (Some(_), Ok(n)) = (end, usize::try_from(n)) else {
            let found = format!("a file of {} bytes", self.len);
            return Err(self.malformed(format!("{what}: {n} bytes from byte {offset}"), found));
        };
        let mut bytes = vec![0; n];
        self.section(offset, n as u64)
            .read_exact(&mut bytes)
            .map_err(|source| WeightsError::Io { source, path: self.path.clone() })?;
        Ok(bytes)
    }

    /// A reader of `n` bytes from `offset`, which keeps no position in the file itself.
    pub(super) fn section(&self, offset: u64, n: u64) -> Section<'_> {
        Section { file: &self.file, at: offset, left: n }
    }
}

impl pickle::Source for Source {
    type Error = WeightsError;

    fn n_bytes(&self) -> u64 {
        self.len()
    }

    fn bytes(&self, what: &str, offset: u64, n: u64) -> Result<Vec<u8>, WeightsError> {
        Self::bytes(self, what, offset, n)
    }

    fn malformed(&self, expected: String, found: String) -> WeightsError {
        Self::malformed(self, expected, found)
    }
}

/// A part of a file, read from its start to its end.
pub(super) struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = read_at(self.file, &mut into[..n], self.at)?;
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

#[cfg(unix)]
fn read_at(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, into, at)
}

#[cfg(windows)]
fn read_at(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, into, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_from_their_place_and_never_from_past_the_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("five");
        std::fs::write(&path, [1, 2, 3, 4, 5]).expect("written");
        let source = Source::open(&path).expect("open");
        assert_eq!(source.bytes("two", 3, 2).expect("there"), [4, 5]);
        assert_eq!(source.bytes("two again", 0, 2).expect("there"), [1, 2]);
        for (offset, n) in [(4, 2), (6, 0), (u64::MAX, 2), (0, u64::MAX)] {
            let error = source.bytes("the name", offset, n).expect_err("past the end");
            assert!(error.to_string().contains("the name"), "{error}");
        }
        assert!(matches!(Source::open(dir.path()), Err(WeightsError::Io { .. })));
    }
}
