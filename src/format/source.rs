//! An open file that is read at positions.
//!
//! Files are read, not mapped: a mapped file that another process shortens ends in a signal,
//! a read of it in an error. Seeking and reading are the same on every system; a lock keeps the two
//! together, which costs nothing beside the read, since weights are read by one thread.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::Error;

/// A file, its length when it was opened, and its path for messages.
#[derive(Debug)]
pub struct Source {
    file: Mutex<File>,
    /// Bytes, when it was opened.
    pub len: u64,
    /// Where it lies.
    pub path: PathBuf,
}

impl Source {
    /// Opens a regular file.
    ///
    /// # Errors
    /// When it can't be opened, or is a directory or a device.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // Asked before it is opened: a pipe would wait for whoever writes into it.
        let meta = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
        if !meta.is_file() {
            return Err(Error::malformed(
                path,
                "expected a regular file, found a directory, a pipe or a device",
            ));
        }
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let meta = file.metadata().map_err(|e| Error::io(path, e))?;
        Ok(Self { file: Mutex::new(file), len: meta.len(), path: path.into() })
    }

    /// Fills `into` from byte `offset` on.
    ///
    /// # Errors
    /// When the file ends before, as it does when it was shortened since it was opened.
    pub fn read_at(&self, into: &mut [u8], offset: u64) -> Result<(), Error> {
        self.read_exact_at(into, offset).map_err(|e| {
            if e.kind() == io::ErrorKind::UnexpectedEof {
                let end = offset.saturating_add(into.len() as u64);
                Error::malformed(
                    &self.path,
                    format!(
                        "it ends before byte {end}, though it had {} bytes when it was opened; \
                         was it changed meanwhile?",
                        self.len
                    ),
                )
            } else {
                Error::io(&self.path, e)
            }
        })
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        // A place has no state that a panic could have left half done: each read seeks first.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(into)
    }

    /// All of a small file (`limit` bytes at most), such as a configuration.
    ///
    /// # Errors
    /// When it is larger, or can't be read.
    pub fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
        let source = Self::open(path)?;
        if source.len > limit {
            let found = source.len;
            return Err(Error::malformed(path, format!("expected at most {limit} bytes, found {found}")));
        }
        let mut bytes = vec![0; source.len as usize];
        source.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, [7; 100]).unwrap();
        let source = Source::open(&path).unwrap();
        let mut bytes = [0; 10];
        source.read_at(&mut bytes, 90).unwrap();
        assert_eq!(bytes, [7; 10]);
        std::fs::write(&path, [7; 50]).unwrap();
        let e = source.read_at(&mut bytes, 90).unwrap_err().to_string();
        assert!(e.contains("had 100 bytes when it was opened"), "{e}");
        assert!(Source::open(dir.path()).is_err());
        // No offset that a header can name makes anything but an error.
        for offset in [1 << 40, i64::MAX as u64, u64::MAX] {
            assert!(source.read_at(&mut bytes, offset).is_err());
        }
        assert!(Source::read_small(&path, 10).is_err());
    }
}
