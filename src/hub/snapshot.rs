//! Caches in Hugging Face's layout: `models--USER--REPO/refs/main` names a commit, and
//! `models--USER--REPO/snapshots/COMMIT` holds that commit's files.
//!
//! The cache that other programs have filled is only read. What Ridgepoint fetches itself lies in
//! the same layout in its own folder, so one reader serves both.

use std::fs;
use std::path::{Path, PathBuf};

use super::repository::{Choice, INDEX, Reference, choose, shards};

/// A snapshot may not hold more files, nor nest deeper, to be looked through.
const MAX_FILES: usize = 10_000;
const MAX_DEPTH: usize = 4;

/// The user's Hugging Face cache: the first of these that is set, in llama.cpp's order.
pub(super) fn users_cache(
    variable: impl Fn(&str) -> Option<PathBuf>,
    home: Option<PathBuf>,
) -> Option<PathBuf> {
    let whole = ["LLAMA_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"];
    let below = [("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")];
    let whole = whole.into_iter().find_map(&variable);
    let below = || below.into_iter().find_map(|(name, rest)| Some(variable(name)?.join(rest)));
    whole.or_else(below).or_else(|| Some(home?.join(".cache/huggingface/hub")))
}

/// The folder of one repository.
pub(super) fn folder(root: &Path, repo: &str) -> PathBuf {
    root.join(format!("models--{}", repo.replace('/', "--")))
}

/// Whether a commit is what its name says: 40 or more hexadecimal digits.
pub(super) fn is_commit(text: &str) -> bool {
    (40..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The file or directory that a reference means, if it lies there whole: of the commit that `main`
/// means there, or else of any commit.
pub(super) fn find(root: &Path, reference: &Reference) -> Option<PathBuf> {
    let folder = folder(root, &reference.repo);
    let main = folder.join("refs/main");
    // Of a pipe there would be no end.
    let main = if main.is_file() { fs::read_to_string(main).unwrap_or_default() } else { String::new() };
    let main = Some(main.trim()).filter(|commit| is_commit(commit));
    let snapshots = folder.join("snapshots");
    let mut all: Vec<PathBuf> = main.map(|commit| snapshots.join(commit)).into_iter().collect();
    let mut others: Vec<PathBuf> =
        fs::read_dir(&snapshots).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    others.sort();
    all.extend(others);
    all.iter().find_map(|snapshot| whole(snapshot, reference))
}

/// The model in one snapshot.
fn whole(snapshot: &Path, reference: &Reference) -> Option<PathBuf> {
    let mut files = Vec::new();
    list(snapshot, "", 0, &mut files);
    match choose(&files, reference.quant.as_deref()).ok()? {
        Choice::Gguf(parts) => Some(snapshot.join(parts.first()?)),
        Choice::Directory(names) => {
            if names.iter().any(|name| name == INDEX) {
                let index = fs::read(snapshot.join(INDEX)).ok()?;
                let there = |shard: &String| files.contains(shard);
                shards(&index).ok()?.iter().all(there).then_some(())?;
            }
            Some(snapshot.to_owned())
        }
    }
}

/// Collects the files below a folder, their paths joined by `/`. Files that are still being written
/// begin with a dot.
fn list(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || files.len() >= MAX_FILES {
            continue;
        }
        // Follows links: the cache's files are links to its blobs.
        let Ok(meta) = fs::metadata(entry.path()) else { continue };
        if meta.is_file() {
            files.push(format!("{prefix}{name}"));
        } else if depth < MAX_DEPTH {
            list(&entry.path(), &format!("{prefix}{name}/"), depth + 1, files);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_in_llama_cpps_order() {
        let order = ["LLAMA_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"];
        let expected = ["/0", "/1", "/2", "/3/hub", "/4/huggingface/hub"];
        for (first, expected) in expected.iter().enumerate() {
            let set = |name: &str| {
                let at = order.iter().position(|known| *known == name)?;
                (at >= first).then(|| PathBuf::from(format!("/{at}")))
            };
            assert_eq!(users_cache(set, Some("/h".into())), Some(PathBuf::from(expected)));
        }
        let home = users_cache(|_| None, Some("/h".into()));
        assert_eq!(home, Some(PathBuf::from("/h/.cache/huggingface/hub")));
        assert_eq!(users_cache(|_| None, None), None);
    }

    #[test]
    fn a_snapshot_is_found_by_its_reference() {
        let root = tempfile::tempdir().unwrap();
        let repo = folder(root.path(), "u/r");
        let commits = ["a".repeat(40), "b".repeat(40)];
        for (commit, file) in commits.iter().zip(["m-Q4_0.gguf", "sub/m-Q8_0.gguf"]) {
            let path = repo.join("snapshots").join(commit).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "GGUF").unwrap();
            fs::write(path.with_file_name(".part-Q5_0.gguf"), "GG").unwrap();
        }
        let found = |text: &str| {
            let path = find(root.path(), &Reference::parse(text).unwrap())?;
            let inside = path.strip_prefix(repo.join("snapshots")).unwrap().to_string_lossy();
            Some(inside.replace('\\', "/"))
        };
        assert_eq!(found("u/r").unwrap(), format!("{}/m-Q4_0.gguf", commits[0]));
        assert_eq!(found("u/r:q8_0").unwrap(), format!("{}/sub/m-Q8_0.gguf", commits[1]));
        assert_eq!(found("u/r:Q5_0"), None);
        assert_eq!(found("u/other"), None);
        fs::create_dir(repo.join("refs")).unwrap();
        fs::write(repo.join("refs/main"), format!("{}\n", commits[1])).unwrap();
        assert_eq!(found("u/r").unwrap(), format!("{}/sub/m-Q8_0.gguf", commits[1]));
        // A reference that climbs is none.
        fs::write(repo.join("refs/main"), "../../..").unwrap();
        assert_eq!(found("u/r").unwrap(), format!("{}/m-Q4_0.gguf", commits[0]));
    }

    #[test]
    fn a_directory_counts_when_it_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let snapshot = folder(root.path(), "u/r").join("snapshots").join("c".repeat(40));
        fs::create_dir_all(&snapshot).unwrap();
        let found = || find(root.path(), &Reference::parse("u/r").unwrap()).is_some();
        let index = r#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}"#;
        for (name, text) in [
            ("config.json", "{}"),
            ("tokenizer.json", "{}"),
            (INDEX, index),
            ("m-1.safetensors", ""),
            ("m-2.safetensors", ""),
        ] {
            assert!(!found(), "before {name}");
            fs::write(snapshot.join(name), text).unwrap();
        }
        assert!(found());
    }
}
