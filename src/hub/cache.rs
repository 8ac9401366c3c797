//! The folder of fetched models: verified while written, renamed when whole.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use sha2::{Digest, Sha256 as Hasher};

use super::{Entry, Error, Progress, Sha256, SourceError};
use crate::units::Bytes;

/// The folder of everything that Ridgepoint keeps for itself: `RIDGEPOINT_CACHE`, or `ridgepoint`
/// in the user's cache folder.
///
/// # Errors
/// If neither the variable nor a home directory is set.
pub fn cache_root() -> Result<PathBuf, Error> {
    if let Some(root) = std::env::var_os("RIDGEPOINT_CACHE").filter(|root| !root.is_empty()) {
        return Ok(PathBuf::from(root));
    }
    let user = etcetera::choose_base_strategy().map_err(|_| Error::NoCacheFolder)?;
    Ok(user.cache_dir().join("ridgepoint"))
}

/// A failed fetch: the source's fault, so that the next is tried, or the cache's, so that it isn't.
#[derive(Debug)]
pub(super) enum FetchError {
    Source(SourceError),
    Cache(Error),
}

impl From<SourceError> for FetchError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<Error> for FetchError {
    fn from(error: Error) -> Self {
        Self::Cache(error)
    }
}

/// Names the file system's refusal.
fn refused(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Cache { what, path: path.to_owned(), error }
}

pub(super) fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(refused("remove", path))
}

/// The right to fetch one file. Held by one process at a time and given up when it ends, however it
/// ends; so the temporary names need not be unique, and what a killed process left is overwritten.
#[derive(Debug)]
pub(super) struct Lock {
    models: PathBuf,
    file: String,
    _held: File,
}

impl Lock {
    /// Waits for the right to fetch `file` into the folder `models`, which is made if absent.
    pub(super) fn acquire(models: &Path, file: &str, progress: &dyn Progress) -> Result<Self, Error> {
        fs::create_dir_all(models).map_err(refused("make the folder", models))?;
        let path = models.join(format!(".{file}.lock"));
        let held = File::options().create(true).truncate(false).write(true).open(&path);
        let held = held.map_err(refused("open", &path))?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress.note(&format!("another process is fetching {file}: waiting for it"));
                held.lock().map_err(refused("lock", &path))?;
            }
            Err(TryLockError::Error(error)) => return Err(refused("lock", &path)(error)),
        }
        Ok(Self { models: models.to_owned(), file: file.to_owned(), _held: held })
    }

    /// An empty folder beside the destination, removed again when the value is dropped.
    pub(super) fn scratch_folder(&self) -> Result<ScratchFolder, Error> {
        let path = self.models.join(format!(".{}.d", self.file));
        if path.exists() {
            fs::remove_dir_all(&path).map_err(refused("remove", &path))?;
        }
        fs::create_dir(&path).map_err(refused("make the folder", &path))?;
        Ok(ScratchFolder(path))
    }

    /// Puts what `from` yields into the cache if its size and sha256 are the entry's; otherwise the
    /// cache stays as it was. Reads at most one byte more than the entry's size.
    pub(super) fn receive(
        &self,
        entry: &Entry,
        from: &mut dyn Read,
        progress: &dyn Progress,
    ) -> Result<(), FetchError> {
        let part = self.models.join(format!(".{}.part", self.file));
        let received = write_verified(entry, from, &part, progress);
        if received.is_err() {
            // The error that matters is the first; a part that stays is overwritten by the next try.
            let _ = fs::remove_file(&part);
            return received;
        }
        let path = self.models.join(&self.file);
        fs::rename(&part, &path).map_err(refused("rename the fetched file to", &path))?;
        sync_folder(&self.models)?;
        Ok(())
    }
}

/// A folder that goes away with the value.
#[derive(Debug)]
pub(super) struct ScratchFolder(pub(super) PathBuf);

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!("can't remove {}: {error}", self.0.display());
        }
    }
}

/// Makes a rename last through a power cut. Only Unix opens folders as files.
fn sync_folder(folder: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(refused("sync", folder))?;
    }
    Ok(())
}

const CHUNK: usize = 256 * 1024;

fn write_verified(
    entry: &Entry,
    from: &mut dyn Read,
    part: &Path,
    progress: &dyn Progress,
) -> Result<(), FetchError> {
    let mut to = File::create(part).map_err(refused("create", part))?;
    let wrong_size = |found: String| SourceError::Size { expected: Bytes(entry.size), found };
    let mut hasher = Hasher::new();
    let mut chunk = vec![0; CHUNK];
    let mut got = 0;
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(SourceError::Read { got: Bytes(got), error }.into());
            }
        };
        got += count as u64;
        if got > entry.size {
            return Err(wrong_size("more".to_owned()).into());
        }
        hasher.update(&chunk[..count]);
        to.write_all(&chunk[..count]).map_err(refused("write", part))?;
        progress.at(Bytes(got));
    }
    if got != entry.size {
        return Err(wrong_size(got.to_string()).into());
    }
    let found = Sha256(hasher.finalize().into());
    if found != entry.sha256 {
        return Err(SourceError::Checksum { expected: entry.sha256, found }.into());
    }
    to.sync_all().map_err(refused("sync", part))?;
    Ok(())
}

/// Whether a cached file has the entry's sha256.
pub(super) fn is_intact(entry: &Entry, path: &Path, progress: &dyn Progress) -> Result<bool, Error> {
    let mut file = File::open(path).map_err(refused("open", path))?;
    progress.begin(&format!("checking {}", entry.file), Some(Bytes(entry.size)));
    let mut hasher = Hasher::new();
    let mut chunk = vec![0; CHUNK];
    let mut got = 0;
    loop {
        let count = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(refused("read", path)(error)),
        };
        got += count as u64;
        hasher.update(&chunk[..count]);
        progress.at(Bytes(got));
    }
    progress.end();
    Ok(Sha256(hasher.finalize().into()) == entry.sha256)
}
