//! When a cached file is hashed, and when it is taken for what it was.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

use super::{BODY, HUGGING_FACE, Network, Progress, Server, hub, refusing_endpoint};
use crate::units::Bytes;

/// Counts how often a file is hashed.
#[derive(Default)]
struct Checks(AtomicUsize);

impl Progress for Checks {
    fn note(&self, _: &str) {}
    fn begin(&self, what: &str, _: Option<Bytes>) {
        self.0.fetch_add(usize::from(what.starts_with("checking")), Ordering::Relaxed);
    }
    fn at(&self, _: Bytes) {}
    fn end(&self) {}
}

#[test]
fn a_file_that_was_changed_is_hashed_once_and_not_trusted() {
    let cache = TempDir::new().unwrap();
    let server = Server::with_body(BODY);
    let mut hub = hub(&cache, server.endpoint(), HUGGING_FACE);
    let checks = Checks::default();
    let mut resolve_after = |network, hashed: usize| {
        hub.network = network;
        let path = hub.resolve("tiny", &checks);
        assert_eq!(checks.0.swap(0, Ordering::Relaxed), hashed);
        path
    };
    let path = resolve_after(Network::Online, 0).unwrap();
    let touch = |bytes: &[u8], seconds| {
        fs::write(&path, bytes).unwrap();
        let at = UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    };
    // What was fetched was hashed as it came; the same bytes of another time are hashed once.
    resolve_after(Network::Offline, 0).unwrap();
    touch(BODY, 1_000_000_000);
    resolve_after(Network::Offline, 1).unwrap();
    resolve_after(Network::Offline, 0).unwrap();
    // One bit, at the same size.
    let mut other = BODY.to_vec();
    other[20] ^= 1;
    touch(&other, 1_000_000_001);
    let error = resolve_after(Network::Offline, 1).unwrap_err().to_string();
    assert!(error.contains("another sha256") && error.contains("models pull tiny"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), other, "offline, nothing is taken away");
    assert_eq!(server.heads().len(), 1);
    // Once more under the lock, in case another process has fetched it.
    resolve_after(Network::Online, 2).unwrap();
    assert_eq!((fs::read(&path).unwrap().as_slice(), server.heads().len()), (BODY, 2));
    resolve_after(Network::Offline, 0).unwrap();
    // A stamp of something else, or none, is no stamp.
    for stamp in ["", "x", "\u{0}"] {
        fs::write(path.with_file_name(".tiny.gguf.checked"), stamp).unwrap();
        resolve_after(Network::Offline, 1).unwrap();
    }
}

/// Where the folder of models can't be written, the file of another program's cache is hashed each time,
/// and used.
#[test]
fn a_stamp_that_cannot_be_kept_is_no_error() {
    let cache = TempDir::new().unwrap();
    let mut hub = hub(&cache, refusing_endpoint(), HUGGING_FACE);
    let theirs = cache.path().join("theirs");
    let snapshot = theirs.join("models--owner--repo/snapshots/main");
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(snapshot.join("tiny.gguf"), BODY).unwrap();
    hub.users_cache = Some(theirs);
    fs::write(&hub.models, "a file where a folder should be").unwrap();
    for _ in 0..2 {
        let checks = Checks::default();
        assert_eq!(hub.resolve("tiny", &checks).unwrap(), snapshot.join("tiny.gguf"));
        assert_eq!(checks.0.into_inner(), 1);
    }
}
