//! Files that a command will write, looked at before it begins.

use std::fs::{self, OpenOptions};
use std::path::Path;

use anyhow::Context;

/// Finds out whether a file can be written, and leaves it as it was.
///
/// # Errors
/// When it can't, or is `-`, which is nobody's name of a file.
pub(super) fn writable(path: &Path) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        anyhow::bail!("'-': expected the name of a file; what goes to standard output has flags of its own");
    }
    let there = path.exists();
    let failed = || format!("can't write {}", path.display());
    OpenOptions::new().append(true).create(true).open(path).with_context(failed)?;
    if !there {
        fs::remove_file(path).with_context(failed)?;
    }
    Ok(())
}
