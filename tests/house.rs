//! The house rules that no compiler checks: which folder imports which, where `unsafe` and what differs
//! by system may be, that commands are submitted in one place, how long a file may grow, what a shader
//! begins with, and that no path of a developer's machine stays.

use std::fs;
use std::path::{Path, PathBuf};

/// What a folder of `src/` may import of those listed before it.
enum May {
    /// These.
    Only(&'static [&'static str]),
    /// All but these.
    AllBut(&'static [&'static str]),
}
use May::{AllBut, Only};

/// The folders of `src/`, lowest first. Those that hold no GPU types may name only what they need.
const LAYERS: [(&str, May); 18] = [
    ("units", Only(&[])),
    ("gpu", Only(&["units"])),
    ("quant", Only(&["units"])),
    ("cost", Only(&["units"])),
    ("kernels", AllBut(&[])),
    ("profile", Only(&["units", "gpu", "cost"])),
    ("roofline", AllBut(&[])),
    ("format", Only(&["units", "quant"])),
    ("hub", Only(&["units"])),
    ("cache", Only(&["units"])),
    ("scheduler", Only(&["units", "cache"])),
    ("model", AllBut(&["roofline", "hub"])),
    ("sample", Only(&["units"])),
    ("engine", AllBut(&["roofline", "hub"])),
    ("server", AllBut(&[])),
    ("bench", AllBut(&[])),
    ("cli", AllBut(&[])),
    ("lib", AllBut(&[])),
];

/// Where `unsafe` may be: each place says why it is sound.
const UNSAFE: [&str; 4] =
    ["src/gpu/raw.rs", "src/gpu/isa.rs", "tests/scheduler_steady.rs", "tests/format_memory.rs"];

/// Where what is compiled may differ by system or feature: beside drivers, signals and the profiler.
const BY_SYSTEM: [&str; 2] = ["src/gpu/", "src/cli/"];

/// Lines that a file may have, and the tables that may have more.
const LINES: usize = 400;
const TABLES: &[&str] = &[];

/// Every file of the tree that is written by hand and text: its path from the root, and its text.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        "src",
        "shaders",
        "tests",
        "benches",
        "examples",
        "scripts",
        "models",
        "docs",
        "fuzz/src",
        "fuzz/targets",
    ];
    let mut found = Vec::new();
    let mut rest: Vec<PathBuf> = folders.map(|name| root.join(name)).into();
    rest.extend(entries(root).into_iter().filter(|path| path.is_file()));
    while let Some(path) = rest.pop() {
        if path.is_dir() && !path.ends_with("tests/data") {
            rest.extend(entries(&path));
        } else if let Ok(text) = fs::read_to_string(&path) {
            let name = path.strip_prefix(root).unwrap().to_string_lossy();
            found.push((name.replace('\\', "/"), text));
        }
    }
    found.sort();
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    // Hidden ones are git's and the editor's.
    let shown = |path: &PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with('.');
    paths.filter(shown).collect()
}

fn fails_on(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// The folder of `src/` that a file belongs to.
fn layer(path: &str) -> Option<&str> {
    let name = path.strip_prefix("src/")?.split('/').next()?;
    Some(name.strip_suffix(".rs").unwrap_or(name)).filter(|name| *name != "main")
}

/// The modules that a text names after `crate::`, also in braces. Comments may name what they like.
fn imports(text: &str) -> Vec<String> {
    let code = |line: &&str| !line.trim_start().starts_with("//");
    let text: Vec<&str> = text.lines().filter(code).collect();
    let text = text.join(" ");
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, word) in text.match_indices("crate::") {
        if text[..at].ends_with(is_word) {
            continue;
        }
        let rest = &text[at + word.len()..];
        let mut depth = 0;
        let mut name = String::new();
        for c in rest.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                // One brace deep, each name after a comma is a module; deeper ones are its items.
                c if is_word(c) && depth <= 1 => {
                    name.push(c);
                    continue;
                }
                _ => {}
            }
            if !name.is_empty() {
                found.push(std::mem::take(&mut name));
            }
            if depth <= 0 {
                break;
            }
            if c == ':' {
                name.push('-'); // What follows is a path inside the module, up to the next comma.
            }
        }
        found.extend((!name.is_empty()).then_some(name));
    }
    found.retain(|name| !name.starts_with('-'));
    found
}

#[test]
fn imports_are_found() {
    let names = |text| imports(text).join(" ");
    assert_eq!(names("use crate::gpu::{Gpu, Program};"), "gpu");
    assert_eq!(names("use crate::{\n    cost::{Cost, Role},\n    gpu,\n};"), "cost gpu");
    assert_eq!(names("let x: crate::quant::Layout = crate::cost();"), "quant cost");
    assert_eq!(names("/// See [`crate::cli`].\nuse mycrate::bench;"), "");
}

#[test]
fn folders_import_only_what_lies_below() {
    let place = |name: &str| LAYERS.iter().position(|(layer, _)| *layer == name);
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, text) in files() {
        let Some(from) = layer(&path) else { continue };
        let Some(above) = place(from) else {
            wrong.push(format!("{path}: add '{from}' to LAYERS"));
            continue;
        };
        for to in imports(&text).iter().filter(|to| *to != from) {
            seen += 1;
            // What is no folder is an item of lib.rs, such as a macro.
            let Some(below) = place(to) else { continue };
            let listed = match LAYERS[above].1 {
                Only(names) => names.contains(&to.as_str()),
                AllBut(names) => !names.contains(&to.as_str()),
            };
            if below >= above || !listed {
                wrong.push(format!("{path}: '{from}' may not import '{to}'"));
            }
        }
    }
    assert!(seen > 20, "only {seen} imports were found");
    fails_on("imports against the order in LAYERS", &wrong);
}

#[test]
fn unsafe_stays_where_it_is_justified() {
    // In two parts, so that this file does not name it.
    let lint = concat!("unsafe", "_code");
    let holds = |(path, text): &(String, String)| path.ends_with(".rs") && text.contains(lint);
    let mut found: Vec<String> = files().into_iter().filter(holds).map(|f| f.0).collect();
    assert!(found.iter().any(|path| path == UNSAFE[0]), "{found:?}");
    found.retain(|path| !UNSAFE.contains(&path.as_str()));
    fails_on("the lint against unsafe code is lifted in", &found);
}

#[test]
fn systems_differ_only_beside_drivers_and_signals() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    let in_src = |path: &str| path.starts_with("src/") && !path.ends_with("/tests.rs");
    for (path, text) in files().into_iter().filter(|(path, _)| in_src(path)) {
        for (number, line) in text.lines().enumerate() {
            // Also `cfg!` and `cfg_attr`.
            let conditional = ["#[cfg", "#![cfg", "cfg!("].iter().any(|word| line.contains(word));
            if !conditional || line.contains("cfg(test)") {
                continue;
            }
            seen += 1;
            if !BY_SYSTEM.iter().any(|folder| path.starts_with(folder)) {
                wrong.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(seen > 4, "only {seen} conditions were found");
    fails_on("what is compiled differs by system outside of src/gpu and src/cli", &wrong);
}

#[test]
fn every_submission_passes_the_counter() {
    let mut found = Vec::new();
    for (path, text) in files() {
        // By rustfmt a call may begin on the line after its queue.
        let text: String = text.split_whitespace().collect();
        // In two parts, so that this file does not name it.
        let n = text.matches(concat!("queue.", "submit(")).count();
        found.extend((n > 0).then(|| format!("{path}: {n}")));
    }
    assert_eq!(found, ["src/gpu/device.rs: 1"], "use Gpu::submit, which counts");
    // Nor is the queue taken elsewhere under another name.
    let mut taken = Vec::new();
    for (path, text) in files().into_iter().filter(|(path, _)| path.ends_with(".rs")) {
        let text: String = text.split_whitespace().collect();
        let rests = text.match_indices(concat!(".", "queue")).map(|(at, word)| &text[at + word.len()..]);
        let uses = |rest: &&str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let other = rests.filter(uses).filter(|rest| !rest.starts_with(".get_timestamp_period(")).count();
        taken.extend((other > 0 && !path.starts_with("src/gpu/")).then(|| format!("{path}: {other}")));
    }
    fails_on("the queue taken outside of src/gpu", &taken);
}

#[test]
fn files_stay_short() {
    let code = |path: &str| path.ends_with(".rs") || path.ends_with(".wgsl");
    let mut long = Vec::new();
    for (path, text) in files() {
        let lines = text.lines().count();
        if code(&path) && lines > LINES && !TABLES.contains(&path.as_str()) {
            long.push(format!("{path}: {lines} lines"));
        }
    }
    fails_on("files longer than 400 lines: split by what each part is for", &long);
}

#[test]
fn shaders_begin_with_what_they_compute() {
    let shaders = files().into_iter().filter(|(path, _)| path.ends_with(".wgsl"));
    let bare: Vec<String> = shaders.filter(|(_, text)| !text.starts_with("// ")).map(|f| f.0).collect();
    fails_on("shaders whose first line is no comment", &bare);
}

#[test]
fn no_path_of_a_machine_stays() {
    let roots = ["work", "root", "home", "tmp/wheel"].map(|folder| format!("/{folder}/"));
    let mut found = Vec::new();
    for (path, text) in files() {
        for (number, line) in text.lines().enumerate() {
            if roots.iter().any(|root| line.contains(root.as_str())) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    fails_on("paths of somebody's machine", &found);
}
