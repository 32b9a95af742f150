//! A file read by position, from many threads at once: data never has to be held whole.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use crate::DataError;

/// An open file of known length.
pub(crate) struct FileAt {
    #[cfg(unix)]
    file: File,
    #[cfg(not(unix))]
    file: std::sync::Mutex<File>,
    /// The length when it was opened.
    pub(crate) n_bytes: u64,
    /// Where it is, for errors.
    pub(crate) path: PathBuf,
}

impl FileAt {
    /// Opens `path` for reading.
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let io = |source| DataError::Io { source, path: path.to_owned() };
        let file = File::open(path).map_err(io)?;
        let n_bytes = file.metadata().map_err(io)?.len();
        #[cfg(not(unix))]
        let file = std::sync::Mutex::new(file);
        Ok(Self { file, n_bytes, path: path.to_owned() })
    }

    /// Fills `into` from `offset`; the file has to hold that much.
    pub(crate) fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> Result<(), DataError> {
        let io = |source| DataError::Io { source, path: self.path.clone() };
        #[cfg(unix)]
        {
            std::os::unix::fs::FileExt::read_exact_at(&self.file, into, offset).map_err(io)
        }
        #[cfg(not(unix))]
        {
            use std::io::{Read, Seek, SeekFrom};
            let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(into)).map_err(io)
        }
    }
}
