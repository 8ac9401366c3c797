//! `USER/REPO[:QUANT]`: a model in a Hugging Face repository, and which of its files are the model.

use std::collections::BTreeSet;
use std::fmt;

/// The quantization that is taken where none is asked for, if the repository has it.
const DEFAULT_QUANT: &str = "Q4_K_M";
/// More parts than any split model has.
const MAX_PARTS: usize = 512;
/// Files beside safetensors weights, in the order fetched; those marked so must be there.
const BESIDE: [(&str, bool); 7] = [
    ("config.json", true),
    ("tokenizer.json", true),
    ("tokenizer_config.json", false),
    ("generation_config.json", false),
    ("chat_template.jinja", false),
    ("chat_template.json", false),
    (INDEX, false),
];
const WEIGHTS: &str = "model.safetensors";
/// The list of the shards where weights are several files.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// A repository and, if need be, one of its quantizations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `USER/REPO`.
    pub repo: String,
    /// Such as `Q4_K_M` (case doesn't matter), or the name of a `.gguf` file.
    pub quant: Option<String>,
}

impl Reference {
    /// Reads `USER/REPO` or `USER/REPO:QUANT`. `None` if it is neither: a part that is empty, begins
    /// with `.` or `-`, or has other characters than letters, digits, `.`, `_` and `-`.
    pub fn parse(text: &str) -> Option<Self> {
        let (repo, quant) = match text.split_once(':') {
            Some((repo, quant)) => (repo, Some(quant)),
            None => (text, None),
        };
        let (user, name) = repo.split_once('/')?;
        let sound = [user, name].into_iter().chain(quant).all(is_plain);
        sound.then(|| Self { repo: repo.to_owned(), quant: quant.map(str::to_owned) })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        self.quant.as_ref().map_or(Ok(()), |quant| write!(f, ":{quant}"))
    }
}

/// A part of a path that can't climb, hide, or read as an option.
pub(super) fn is_plain(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= 200
        && !part.starts_with(['.', '-'])
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// The files that are the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// One file, or all parts of a split one, the first first.
    Gguf(Vec<String>),
    /// config.json, weights (or their index, which names the shards), and what lies beside them.
    Directory(Vec<String>),
}

/// Chooses among the files of a repository: the quantization asked for; else Q4_K_M; else the first
/// GGUF file; else safetensors. The `Err` says what is there instead.
pub(super) fn choose(files: &[String], quant: Option<&str>) -> Result<Choice, String> {
    let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let mut models: Vec<&String> = files
        .iter()
        .filter(|path| {
            let name = base(path);
            // Projectors of images and importance matrices are no language models.
            name.ends_with(".gguf") && !name.contains("mmproj") && !name.contains("imatrix")
        })
        .collect();
    models.sort();
    let matching = |wanted: &str| {
        let fits =
            models.iter().filter(|path| base(path) == wanted.to_ascii_lowercase() || has_tag(path, wanted));
        fits.min_by_key(|path| (part_of(path).map_or(0, |(_, part, _)| part), path.len())).copied()
    };
    let chosen = match quant {
        Some(quant) => Some(matching(quant).ok_or_else(|| none_for(quant, &models))?),
        None => matching(DEFAULT_QUANT).or(models.first().copied()),
    };
    match chosen {
        Some(path) => parts(path, files).map(Choice::Gguf),
        None => directory(files).map(Choice::Directory),
    }
}

fn none_for(quant: &str, models: &[&String]) -> String {
    let names: Vec<&str> = models.iter().take(40).map(|path| path.as_str()).collect();
    match names.as_slice() {
        [] => format!("there is no GGUF file, so no quantization '{quant}'; leave ':{quant}' out"),
        names => format!("no GGUF file is called after '{quant}'; there are {}", names.join(", ")),
    }
}

/// Whether a file's path names a quantization: `model-Q4_K_M.gguf` is no `Q4_K`.
fn has_tag(path: &str, tag: &str) -> bool {
    let (path, tag) = (path.to_ascii_uppercase(), tag.to_ascii_uppercase());
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(['.', '-', '/']);
    let begins = |before: &str| before.is_empty() || before.ends_with(['.', '-', '_', '/']);
    path.match_indices(&tag).any(|(at, _)| begins(&path[..at]) && ends(&path[at + tag.len()..]))
}

/// `STEM-00001-of-00003.gguf` as stem, part and count.
fn part_of(path: &str) -> Option<(&str, usize, usize)> {
    let (rest, count) = path.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, part) = rest.rsplit_once('-')?;
    let number = |digits: &str| (digits.len() == 5).then(|| digits.parse().ok()).flatten();
    Some((stem, number(part)?, number(count)?))
}

/// Every file of the model that `path` is or belongs to.
fn parts(path: &str, files: &[String]) -> Result<Vec<String>, String> {
    let Some((stem, _, count)) = part_of(path).filter(|(_, _, count)| *count <= MAX_PARTS) else {
        return Ok(vec![path.to_owned()]);
    };
    let all: Vec<String> = (1..=count).map(|i| format!("{stem}-{i:05}-of-{count:05}.gguf")).collect();
    match all.iter().find(|part| !files.contains(part)) {
        Some(missing) => Err(format!("the part {missing} of a split model is missing")),
        None => Ok(all),
    }
}

fn directory(files: &[String]) -> Result<Vec<String>, String> {
    let has = |name: &str| files.iter().any(|file| file == name);
    let weights = if has(WEIGHTS) { WEIGHTS } else { INDEX };
    let required = BESIDE.iter().filter(|(_, required)| *required).map(|(name, _)| *name);
    if let Some(missing) = required.chain([weights]).find(|name| !has(name)) {
        let count = files.len();
        return Err(format!(
            "expected a .gguf file, or config.json, tokenizer.json and {WEIGHTS}; \
             among its {count} files there is no .gguf and no {missing}"
        ));
    }
    let beside = BESIDE.iter().map(|(name, _)| *name).filter(|name| has(name));
    let names: Vec<&str> = if weights == INDEX {
        beside.collect()
    } else {
        beside.filter(|name| *name != INDEX).chain([WEIGHTS]).collect()
    };
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// The shards that an index names, each once. The `Err` says what is wrong with it.
pub(super) fn shards(index: &[u8]) -> Result<Vec<String>, String> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|error| format!("{INDEX}: {error}"))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    match names.iter().find(|name| !is_plain(name)) {
        Some(name) => Err(format!("{INDEX} names the shard '{name}': expected a plain file name")),
        None => Ok(names.into_iter().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let parse = |text| Reference::parse(text).map(|r| (r.repo, r.quant));
        assert_eq!(parse("a/b"), Some(("a/b".into(), None)));
        assert_eq!(parse("a/b-GGUF:Q4_K_M"), Some(("a/b-GGUF".into(), Some("Q4_K_M".into()))));
        for bad in
            ["a", "a/b/c", "../b", "a/..", "a/b:", "a/b:../c", "a/-b", "/b", "a/", "a b/c", "a/b:c:d", "~/b"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn files_are_chosen_as_people_expect() {
        let files = |names: &[&str]| names.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let first = |names: &[&str], quant| match choose(&files(names), quant) {
            Ok(Choice::Gguf(all)) => all[0].clone(),
            other => format!("{other:?}"),
        };
        let all = [
            "README.md",
            "m-Q4_K.gguf",
            "m-Q4_K_M.gguf",
            "m.q8_0.gguf",
            "mmproj-m-F16.gguf",
            "UD-Q4_K_M/m.gguf",
        ];
        assert_eq!(first(&all, None), "m-Q4_K_M.gguf");
        assert_eq!(first(&all, Some("q4_k")), "m-Q4_K.gguf");
        assert_eq!(first(&all, Some("Q8_0")), "m.q8_0.gguf");
        assert_eq!(first(&all, Some("m.q8_0.gguf")), "m.q8_0.gguf");
        assert_eq!(first(&["b.gguf", "a.gguf"], None), "a.gguf");
        let none = first(&all, Some("F16"));
        assert!(none.contains("m-Q4_K_M.gguf") && !none.contains("mmproj"), "{none}");
        let split = ["q/m-Q8_0-00002-of-00002.gguf", "q/m-Q8_0-00001-of-00002.gguf"];
        let parts = files(&[split[1], split[0]]);
        assert_eq!(choose(&files(&split), Some("q8_0")), Ok(Choice::Gguf(parts)));
        assert!(choose(&files(&split[..1]), None).unwrap_err().contains("00001-of-00002"));
        assert!(first(&["a-00001-of-99999.gguf"], None).contains("99999"), "no list of 99,999 names");
    }

    #[test]
    fn safetensors_are_chosen_whole_or_not() {
        let files = |names: &[&str]| names.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let small = files(&["config.json", "model.safetensors", "tokenizer.json", "pytorch_model.bin"]);
        let chosen = files(&["config.json", "tokenizer.json", "model.safetensors"]);
        assert_eq!(choose(&small, None), Ok(Choice::Directory(chosen)));
        assert!(choose(&small, Some("Q8_0")).unwrap_err().contains("leave ':Q8_0' out"));
        assert!(choose(&small[..2], None).unwrap_err().contains("no tokenizer.json"));
        assert!(choose(&[], None).unwrap_err().contains("expected a .gguf"));
        let map =
            br#"{"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}}"#;
        assert_eq!(shards(map).unwrap(), ["m-1.safetensors", "m-2.safetensors"]);
        assert!(shards(br#"{"weight_map": {"a": "../x"}}"#).unwrap_err().contains("'../x'"));
        assert!(shards(b"[]").is_err());
    }
}
