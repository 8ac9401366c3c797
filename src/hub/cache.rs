//! The folder of what was fetched, and the right to write a file of it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use sha2::{Digest, Sha256 as Hasher};

use super::part::{CHUNK, Part, clean_up};
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
pub(super) fn refused(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Cache { what, path: path.to_owned(), error }
}

pub(super) fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(refused("remove", path))
}

/// The right to fetch one file. Held by one process at a time and given up when it ends, however it
/// ends; so the temporary names need not be unique.
#[derive(Debug)]
pub(super) struct Lock {
    /// Where the file will lie.
    pub(super) folder: PathBuf,
    /// Its name there.
    pub(super) file: String,
    _held: File,
}

impl Lock {
    /// Waits for the right to fetch `file` into `folder`, which is made if absent.
    pub(super) fn acquire(folder: &Path, file: &str, progress: &dyn Progress) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(refused("make the folder", folder))?;
        let path = folder.join(format!(".{file}.lock"));
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
        Ok(Self { folder: folder.to_owned(), file: file.to_owned(), _held: held })
    }

    /// The file once it is whole.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(&self.file)
    }

    /// A hidden companion of the file.
    pub(super) fn beside(&self, end: &str) -> PathBuf {
        self.folder.join(format!(".{}.{end}", self.file))
    }

    /// An empty folder beside the destination, removed again when the value is dropped.
    pub(super) fn scratch_folder(&self) -> Result<ScratchFolder, Error> {
        let path = self.beside("d");
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
        let mut whole = || {
            let mut part = Part::open(self, entry.into())?;
            part.restart(None)?;
            part.append(from, progress)?;
            part.finish()
        };
        whole().inspect_err(|error| clean_up(self, error))
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

/// Makes a rename last through a power cut, where folders can be opened as files: not on Windows.
pub(super) fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).map_or(Ok(()), |open| open.sync_all().map_err(refused("sync", folder)))
}

/// Writes a small file of a folder, which is made if absent, so that no reader sees half of it.
pub(super) fn write_small(folder: &Path, file: &str, text: &str) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(refused("make the folder", folder))?;
    let part = folder.join(format!(".{file}.{}", std::process::id()));
    fs::write(&part, text).map_err(refused("write", &part))?;
    let path = folder.join(file);
    fs::rename(&part, &path).map_err(refused("rename the written file to", &path))
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
