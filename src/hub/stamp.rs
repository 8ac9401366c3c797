//! What a file of the cache was when its sha256 was last seen to be right.
//!
//! Hashing a model takes longer than starting with it; so it is done once, and again whenever the file
//! is another one: of another path, size or time of change, or meant to have another sha256. A change
//! that sets the time back is not seen; `ridgepoint models pull` hashes always.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::cache::{refused, write_small};
use super::{Entry, Error};

/// A file as it is now, to be kept once its sha256 is known to be the entry's.
#[derive(Debug)]
pub(super) struct Stamp {
    /// The folder of models: ours, wherever the file lies.
    folder: PathBuf,
    /// The stamp's name there.
    file: String,
    /// What is written into it: one line.
    line: String,
}

impl Stamp {
    /// Looks at the file at `path`, which holds the entry's bytes or should. Taken before the file is
    /// hashed, so that a change meanwhile shows.
    pub(super) fn of(models: &Path, entry: &Entry, path: &Path) -> Result<Self, Error> {
        let data = path.metadata().map_err(refused("look at", path))?;
        let changed = data.modified().map_err(refused("look at", path))?;
        // Before 1970 is a time like any other.
        let nanos = changed.duration_since(UNIX_EPOCH).map_or_else(
            |before| format!("-{}", before.duration().as_nanos()),
            |since| since.as_nanos().to_string(),
        );
        let line = format!("{} {} {nanos} {}\n", entry.sha256, data.len(), path.display());
        Ok(Self { folder: models.to_owned(), file: format!(".{}.checked", entry.file), line })
    }

    /// Whether this very file was found right before.
    pub(super) fn is_kept(&self) -> bool {
        fs::read_to_string(self.folder.join(&self.file)).is_ok_and(|kept| kept == self.line)
    }

    /// Keeps it. Where that can't be done, the file is hashed at the next start as well.
    pub(super) fn keep(&self) {
        if let Err(error) = write_small(&self.folder, &self.file, &self.line) {
            tracing::info!("the next start checks the model's sha256 again: {error}");
        }
    }
}
