//! Files that a command will write, looked at before it begins.

use std::fs::{self, OpenOptions};
use std::path::Path;

use anyhow::Context;

/// Finds out whether a file can be written, as far as that leaves everything as it was.
///
/// # Errors
/// When it can't, or is `-`, which is nobody's name of a file.
pub(super) fn writable(path: &Path) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        anyhow::bail!("'-': expected the name of a file; what goes to standard output has flags of its own");
    }
    let failed = || format!("can't write {}", path.display());
    match (fs::symlink_metadata(path), fs::metadata(path)) {
        (Err(_), _) => {
            OpenOptions::new().append(true).create_new(true).open(path).with_context(failed)?;
            fs::remove_file(path).with_context(failed)
        }
        (_, Ok(data)) if data.is_dir() => anyhow::bail!("{}: it is a folder", failed()),
        (_, Ok(data)) if data.is_file() => {
            OpenOptions::new().append(true).open(path).map(drop).with_context(failed)
        }
        // A pipe would be ended by a first look, and a link to nothing filled.
        _ => Ok(()),
    }
}
