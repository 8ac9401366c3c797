//! Files that a command will write, looked at before it begins.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

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

/// Whether two paths lead to one file, be it there or yet to be written.
pub(super) fn same_file(a: &Path, b: &Path) -> bool {
    place(a).zip(place(b)).is_some_and(|(a, b)| a == b)
}

/// Where a path leads, also through links to what isn't there yet.
fn place(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_path_buf();
    // As many links in a row as Linux follows.
    for _ in 0..40 {
        if let Ok(found) = path.canonicalize() {
            return Some(found);
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
        match fs::read_link(&path) {
            Ok(target) => path = folder.join(target),
            Err(_) => return Some(folder.join(path.file_name()?)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_by_several_paths() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(same_file(&at("x"), &at("./x")) && !same_file(&at("x"), &at("y")));
        assert!(same_file(Path::new("no-such-file"), Path::new("./no-such-file")));
        assert!(!same_file(&at("none/x"), &at("none/x")), "no folder, no file");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("x", at("link")).unwrap();
            assert!(same_file(&at("x"), &at("link")), "a link to nothing yet");
            fs::write(at("x"), "").unwrap();
            assert!(same_file(&at("x"), &at("link")));
        }
    }
}
