//! A file while it is fetched: verified as it is written, renamed when whole, and resumed after an
//! interruption.
//!
//! `.FILE.part` holds what has come, `.FILE.etag` what the server called the version that it comes
//! from. Whoever holds the file's [`Lock`] may write them.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use sha2::{Digest, Sha256 as Hasher};

use super::cache::{FetchError, Lock, refused, sync_folder};
use super::{Entry, Error, Progress, Sha256, SourceError};
use crate::units::Bytes;

pub(super) const CHUNK: usize = 256 * 1024;
/// Longer ones aren't kept.
const MAX_ETAG: usize = 1024;

/// What a file must be, as far as is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<Sha256>,
}

impl From<&Entry> for Expected {
    fn from(entry: &Entry) -> Self {
        Self { size: Some(entry.size), sha256: Some(entry.sha256) }
    }
}

/// What has come of a file.
#[derive(Debug)]
pub(super) struct Part<'a> {
    lock: &'a Lock,
    expected: Expected,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    /// Bytes that are there.
    pub(super) got: u64,
    /// The version that they come from, if the server named one strongly.
    pub(super) etag: Option<String>,
}

impl<'a> Part<'a> {
    /// Takes up what an earlier fetch left, or begins anew.
    pub(super) fn open(lock: &'a Lock, expected: Expected) -> Result<Self, Error> {
        let path = lock.beside("part");
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.map_err(refused("open", &path))?;
        let etag = fs::read_to_string(lock.beside("etag")).ok().filter(|tag| tag.len() <= MAX_ETAG);
        let mut part = Self { lock, expected, path, file, hasher: Hasher::new(), got: 0, etag };
        let length = part.file.metadata().map_err(refused("look at", &part.path))?.len();
        if length == 0 {
            return Ok(part);
        }
        // Without a version or a checksum nothing says that what follows belongs to what is there.
        let can_resume = part.etag.is_some() || expected.sha256.is_some();
        if !can_resume || expected.size.is_some_and(|size| length > size) {
            part.restart(None)?;
            return Ok(part);
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            match part.file.read(&mut chunk) {
                Ok(0) => return Ok(part),
                Ok(count) => {
                    part.hasher.update(&chunk[..count]);
                    part.got += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(refused("read", &part.path)(error)),
            }
        }
    }

    /// Forgets what is there. What comes next is of the version `etag`.
    pub(super) fn restart(&mut self, etag: Option<&str>) -> Result<(), Error> {
        let path = &self.path;
        self.file.set_len(0).map_err(refused("shorten", path))?;
        self.file.seek(SeekFrom::Start(0)).map_err(refused("write", path))?;
        self.hasher = Hasher::new();
        self.got = 0;
        // A weak tag doesn't promise the same bytes.
        self.etag = etag.filter(|tag| tag.starts_with('"') && tag.len() <= MAX_ETAG).map(str::to_owned);
        let beside = self.lock.beside("etag");
        match &self.etag {
            Some(tag) => fs::write(&beside, tag).map_err(refused("write", &beside)),
            None => {
                // Most often there is none.
                let _ = fs::remove_file(&beside);
                Ok(())
            }
        }
    }

    /// Whether all of it is there, as far as its size says.
    pub(super) fn is_whole(&self) -> bool {
        self.expected.size == Some(self.got)
    }

    /// Writes what `from` yields after what is there; at most one byte more is read than expected.
    pub(super) fn append(&mut self, from: &mut dyn Read, progress: &dyn Progress) -> Result<(), FetchError> {
        let mut chunk = vec![0; CHUNK];
        progress.at(Bytes(self.got));
        loop {
            let count = match from.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(SourceError::Read { got: Bytes(self.got), error }.into()),
            };
            if let Some(size) = self.expected.size.filter(|size| self.got + count as u64 > *size) {
                return Err(SourceError::Size { expected: Bytes(size), found: "more".to_owned() }.into());
            }
            self.write(&chunk[..count])?;
            progress.at(Bytes(self.got));
        }
    }

    /// Writes, hashes and counts piece by piece, so that what fits a disk that fills up is kept.
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(self.disk(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.hasher.update(&bytes[..count]);
                    self.got += count as u64;
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.disk(error)),
            }
        }
        Ok(())
    }

    fn disk(&self, error: io::Error) -> Error {
        let missing = self.expected.size.map(|size| Bytes(size.saturating_sub(self.got)));
        Error::Write { path: self.path.clone(), got: Bytes(self.got), missing, error }
    }

    /// Checks it and gives it its name.
    pub(super) fn finish(self) -> Result<(), FetchError> {
        if let Some(size) = self.expected.size.filter(|size| *size != self.got) {
            return Err(SourceError::Size { expected: Bytes(size), found: self.got.to_string() }.into());
        }
        let found = Sha256(self.hasher.clone().finalize().into());
        if let Some(expected) = self.expected.sha256.filter(|expected| *expected != found) {
            return Err(SourceError::Checksum { expected, found }.into());
        }
        self.file.sync_all().map_err(|error| self.disk(error))?;
        let path = self.lock.path();
        fs::rename(&self.path, &path).map_err(refused("rename the fetched file to", &path))?;
        let _ = fs::remove_file(self.lock.beside("etag"));
        sync_folder(&self.lock.folder)?;
        Ok(())
    }
}

/// Removes what is useless after a failure: everything but what an interruption left.
pub(super) fn clean_up(lock: &Lock, failed: &FetchError) {
    let is_wrong = matches!(
        failed,
        FetchError::Source(
            SourceError::Size { .. } | SourceError::Checksum { .. } | SourceError::Wheel { .. }
        )
    );
    let is_empty = lock.beside("part").metadata().is_ok_and(|data| data.len() == 0);
    if is_wrong || is_empty {
        // The error that matters is the first; a part that stays is looked at by the next try.
        let _ = fs::remove_file(lock.beside("part"));
        let _ = fs::remove_file(lock.beside("etag"));
    }
}
