//! Compiled pipelines on disk: what a driver compiled once it need not compile at the next start.
//!
//! A file per adapter, driver and driver version: a SHA-256, then what wgpu gave. A file that is cut
//! off, damaged or of another driver is not used, and is overwritten. Written to a neighbour first and
//! renamed, so that two processes never see half a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::adapter::AdapterSummary;

/// Bytes of the hash in front.
const HASH: usize = 32;
/// wgpu's own header (64) and Vulkan's (32): a driver that keeps nothing gives no more.
const EMPTY: usize = 96;
/// Nothing larger is read: no driver's data for our kernels comes near.
const MOST: u64 = 1 << 30;

/// What became of pipelines that were to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The file holds this many bytes.
    Bytes(usize),
    /// The driver gives nothing beyond a header, as llvmpipe and SwiftShader do: there is no file.
    Nothing,
    /// No folder was named, or the adapter's API has no pipeline cache.
    Off,
}

/// The file of one adapter and driver.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
}

impl Store {
    /// The file for an adapter in `folder`; its name holds what the data depends on.
    pub fn new(folder: &Path, adapter: &AdapterSummary) -> Self {
        let facts = format!("{} {} {}", adapter.backend, adapter.name, adapter.driver);
        let hash = Sha256::digest(facts.as_bytes());
        let key: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let readable: String =
            adapter.name.chars().take(24).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        Self { path: folder.join(format!("{readable}-{key}.pipelines")) }
    }

    /// What was kept, if it is whole. A damaged file is as none, and said so in the log.
    pub fn read(&self) -> Option<Vec<u8>> {
        let size = fs::metadata(&self.path).ok()?.len();
        let bytes = if size <= MOST { fs::read(&self.path).ok()? } else { Vec::new() };
        match bytes.split_at_checked(HASH) {
            Some((hash, data)) if Sha256::digest(data).as_slice() == hash => Some(data.to_vec()),
            _ => {
                tracing::warn!("{}: damaged, so kernels are compiled anew", self.path.display());
                None
            }
        }
    }

    /// Keeps `data`, unless it is a header only.
    ///
    /// # Errors
    /// When the file can't be written: nothing depends on it but the next start's time.
    pub fn write(&self, data: &[u8]) -> io::Result<Kept> {
        if data.len() <= EMPTY {
            // What an earlier driver left there would be looked at by each start.
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(Kept::Nothing),
            };
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut bytes = Sha256::digest(data).to_vec();
        bytes.extend_from_slice(data);
        let beside = self.path.with_extension(format!("{}.part", std::process::id()));
        let written = fs::write(&beside, &bytes).and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            // What is left of it is of no use, and may be why the disk is full.
            let _ = fs::remove_file(&beside);
        }
        written.map(|()| Kept::Bytes(bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{AdapterChoice, Gpu, OpenOptions, Program, adapters};

    fn adapter(driver: &str) -> AdapterSummary {
        let mut adapter = adapters().into_iter().next().expect("an adapter");
        adapter.driver = driver.into();
        adapter
    }

    #[test]
    fn what_was_kept_comes_back_and_another_driver_sees_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("new"), &adapter("a 1.0"));
        assert_eq!(store.read(), None);
        let data = vec![7; 1000];
        assert_eq!(store.write(&data).unwrap(), Kept::Bytes(1032));
        assert_eq!(store.read(), Some(data));
        assert_eq!(Store::new(&folder.path().join("new"), &adapter("a 1.1")).read(), None);
        // No half-written neighbour stays.
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
    }

    #[test]
    fn damaged_files_are_as_none_and_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), &adapter("a"));
        let data: Vec<u8> = (0..200).collect();
        store.write(&data).unwrap();
        let whole = fs::read(&store.path).unwrap();
        for cut in [0, 5, 32, 33, whole.len() - 1] {
            fs::write(&store.path, &whole[..cut]).unwrap();
            // The hash of nothing is no hash of these.
            assert_eq!(store.read(), None, "cut to {cut}");
        }
        for at in [0, 31, 32, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&store.path, &bytes).unwrap();
            assert_eq!(store.read(), None, "byte {at} changed");
        }
        store.write(&data).unwrap();
        assert_eq!(store.read(), Some(data));
    }

    /// Whatever the file holds, the device opens, kernels are compiled, and what is kept then is sound:
    /// the path of every start, also where the driver has nothing of its own to keep.
    #[test]
    fn a_start_survives_any_file() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let pipelines = Some(folder.path().to_path_buf());
            Gpu::open_with(&AdapterChoice::Best, &OpenOptions { pipelines, ..Default::default() }).unwrap()
        };
        let store = Store::new(folder.path(), &open().adapter);
        // Hashes are right, so that the driver gets to see what is no data of its own.
        let sound = |data: &[u8]| [Sha256::digest(data).as_slice(), data].concat();
        let mut header = vec![0_u8; 200];
        header[..8].copy_from_slice(b"WGPUPLCH");
        for bytes in [b"damaged".to_vec(), sound(b""), sound(&[7; 40]), sound(&[0xff; 5000]), sound(&header)]
        {
            fs::create_dir_all(folder.path()).unwrap();
            fs::write(&store.path, &bytes).unwrap();
            let gpu = open();
            gpu.pipeline(&Program::new("argmax")).unwrap();
            match gpu.keep_pipelines().unwrap() {
                Kept::Bytes(size) => assert_eq!(fs::metadata(&store.path).unwrap().len(), size as u64),
                Kept::Nothing => assert!(!store.path.exists()),
                Kept::Off => assert_eq!(fs::read(&store.path).unwrap(), bytes),
            }
        }
    }

    #[test]
    fn a_header_alone_is_not_kept_and_a_folder_that_is_a_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), &adapter("a"));
        assert_eq!(store.write(&[0; EMPTY]).unwrap(), Kept::Nothing);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(Store::new(&file, &adapter("a")).write(&[0; 200]).is_err());
    }
}
