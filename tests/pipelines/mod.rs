//! Whether a command kept what the driver has compiled, by its log and by its cache folder.

use std::fs;
use std::path::Path;

/// The log says once what became of pipelines, and it is what lies in the cache folder: a file, or none
/// where the driver gives nothing (llvmpipe and SwiftShader).
pub fn kept_as_said(log: &str, cache: &Path) {
    let said = |words: &str| log.matches(words).count();
    let kept = said("bytes of pipelines kept for the next start");
    let none =
        said("gives nothing to keep for the next start") + said("pipelines are not kept on this adapter");
    assert_eq!(kept + none, 1, "{log}");
    let files = fs::read_dir(cache.join("pipelines")).map_or(0, Iterator::count);
    assert_eq!(files, kept, "{log}");
}
