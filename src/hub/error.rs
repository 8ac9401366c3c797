//! What can go wrong between a model's name and its file.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Sha256;
use crate::units::Bytes;

/// Why a model could not be had.
#[derive(Debug, Error)]
pub enum Error {
    /// The catalog has no such name, and no such path exists.
    #[error("no model is called '{name}'{}; known names: {}. USER/REPO[:QUANT] on Hugging Face works as well, and so does a path to a .gguf file or to a directory that holds config.json",
        nearest.as_ref().map(|name| format!(", did you mean '{name}'?")).unwrap_or_default(), known.join(", "))]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// The most similar name of the catalog, if one is similar.
        nearest: Option<String>,
        /// Every name of the catalog.
        known: Vec<String>,
    },
    /// A path was given and nothing is there.
    #[error("{}: no such file or directory", .0.display())]
    NoSuchPath(PathBuf),
    /// A path was given, and what is there is no model.
    #[error("{} is no model: expected a GGUF file, or a directory that holds config.json and .safetensors files; found {found}", path.display())]
    NotAModel {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// The cache lacks the file and sources must not be asked.
    #[error("'{name}' is not in the cache ({}), and --offline or HF_HUB_OFFLINE forbids fetching it; type `ridgepoint models pull {name}` while online", models.display())]
    Offline {
        /// The model.
        name: String,
        /// The folder of cached models.
        models: PathBuf,
    },
    /// What the cache holds is not what was fetched, and sources must not be asked.
    #[error("{} has another sha256 than '{name}' should have, and --offline or HF_HUB_OFFLINE forbids fetching it again; type `ridgepoint models pull {name}` while online, or name the file itself by its path", path.display())]
    Damaged {
        /// The model.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// No cache holds the repository's files and the endpoint must not be asked.
    #[error("'{name}' is not in {}, and --offline or HF_HUB_OFFLINE forbids fetching it; type `ridgepoint models pull {name}` while online",
        looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" nor in "))]
    OfflineRepository {
        /// `USER/REPO[:QUANT]`.
        name: String,
        /// The caches looked into.
        looked: Vec<PathBuf>,
    },
    /// The repository has no such file, or nothing that can be run.
    #[error("{name}: {what}")]
    NoModelIn {
        /// `USER/REPO[:QUANT]`.
        name: String,
        /// What was expected, and what is there.
        what: String,
    },
    /// The endpoint did not deliver.
    #[error("{name} could not be fetched{}: {reason}{}", from(endpoint, reason), hint(reason))]
    Repository {
        /// `USER/REPO[:QUANT]`.
        name: String,
        /// The endpoint's address.
        endpoint: String,
        /// Why.
        reason: SourceError,
    },
    /// A fetched file can't be written: most often the disk is full.
    #[error("can't write {} after {got}: {error}. What has come is kept; make room{} or set RIDGEPOINT_CACHE to another folder, and try again",
        path.display(), missing.map(|m| format!(" for {m} more")).unwrap_or_default())]
    Write {
        /// The file.
        path: PathBuf,
        /// Bytes that it has.
        got: Bytes,
        /// Bytes that it lacks, if its size is known.
        missing: Option<Bytes>,
        /// The system's word on it.
        error: io::Error,
    },
    /// No source delivered the file.
    #[error(transparent)]
    AllSourcesFailed(Box<AllSourcesFailed>),
    /// The local file system refused.
    #[error("can't {what} {}; RIDGEPOINT_CACHE says where fetched models go", path.display())]
    Cache {
        /// What was tried: a verb.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's word on it.
        #[source]
        error: io::Error,
    },
    /// There is no home folder to keep a cache in.
    #[error(
        "no cache folder: neither a home directory nor RIDGEPOINT_CACHE is set; set RIDGEPOINT_CACHE to a folder"
    )]
    NoCacheFolder,
    /// `HF_HUB_OFFLINE` can't be read.
    #[error("HF_HUB_OFFLINE is '{0}': expected 1, on, yes or true to fetch nothing, or 0, off, no or false")]
    Switch(String),
    /// `HF_ENDPOINT` can't be used.
    #[error("HF_ENDPOINT is '{0}': expected an address that starts with https:// or http://")]
    Endpoint(String),
    /// `HF_TOKEN` can't be sent.
    #[error(
        "HF_TOKEN holds a character that no token has, such as a space or a line's end inside it: copy it again"
    )]
    Token,
    /// A catalog is malformed.
    #[error("bad model catalog: {0}")]
    Catalog(String),
}

/// No source delivered the file.
#[derive(Debug, Error)]
#[error("'{name}' could not be fetched; each source failed:{}\n  Fetch {file} (sha256 {sha256}) by other means and put it in {}, or give its path as the model",
    list(failures), models.display())]
pub struct AllSourcesFailed {
    /// The model.
    pub name: String,
    /// Its file.
    pub file: String,
    /// The file's checksum.
    pub sha256: Sha256,
    /// The folder of cached models.
    pub models: PathBuf,
    /// Each source in the order tried, and why it failed.
    pub failures: Vec<Failure>,
}

/// One source that failed.
#[derive(Debug)]
pub struct Failure {
    /// The source as people read it.
    pub source: String,
    /// Why it failed.
    pub reason: SourceError,
}

/// Why one source did not deliver the file.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The host can't be reached, or the connection broke.
    #[error("{0}")]
    Http(String),
    /// The host answered what can't be used.
    #[error("{0}")]
    Answer(String),
    /// The host answered with another status than 200.
    #[error("HTTP status {status} for {url}{}", match status { 401 | 403 => " (HF_TOKEN may be missing or lack access)", _ => "" })]
    Status {
        /// The status.
        status: u16,
        /// The address asked.
        url: String,
    },
    /// Fewer bytes or more than the catalog says.
    #[error("expected {} bytes, found {found}", expected.0)]
    Size {
        /// The catalog's size.
        expected: Bytes,
        /// What came, as text: a number, or `more`.
        found: String,
    },
    /// The bytes are other ones than the catalog's.
    #[error("expected sha256 {expected}, found {found}")]
    Checksum {
        /// The catalog's.
        expected: Sha256,
        /// What came.
        found: Sha256,
    },
    /// The stream broke.
    #[error("reading stopped after {} bytes: {error}", got.0)]
    Read {
        /// Bytes read so far.
        got: Bytes,
        /// Why.
        error: io::Error,
    },
    /// There is no pip.
    #[error("pip is not there (tried {0}); install Python with pip")]
    NoPip(String),
    /// pip failed.
    #[error("`{command}` failed: {stderr}")]
    Pip {
        /// The command.
        command: String,
        /// The end of what it said.
        stderr: String,
    },
    /// The wheel holds no such file, or is damaged.
    #[error("{wheel}: {what}")]
    Wheel {
        /// The wheel's file name.
        wheel: String,
        /// What is wrong with it.
        what: String,
    },
}

/// The endpoint, unless the reason names an address of it.
fn from(endpoint: &str, reason: &SourceError) -> String {
    if reason.to_string().contains(endpoint) { String::new() } else { format!(" from {endpoint}") }
}

/// What to do about a repository that doesn't come.
fn hint(reason: &SourceError) -> &'static str {
    match reason {
        SourceError::Status { status: 404, .. } => "; is the name spelled right?",
        // Hugging Face says 401 of what doesn't exist as well, so that nobody can probe for names.
        SourceError::Status { status: 401 | 403, .. } => "; it may also not exist",
        SourceError::Read { .. } => "; what has come is kept: try again to go on from there",
        SourceError::Http(_) => {
            "; is the network up, and HF_ENDPOINT right? A model on disk can be named by its path"
        }
        _ => "",
    }
}

fn list(failures: &[Failure]) -> String {
    let mut text = String::new();
    for failure in failures {
        // Writing to a String can't fail.
        let _ = write!(text, "\n  - {}: {}", failure.source, failure.reason);
    }
    text
}
