//! Lists every `.wgsl` under shaders/ in one table, so that a new kernel needs no line here; and says
//! which commit this is, for whoever compares figures.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn collect(dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "wgsl") {
            found.push(path);
        }
    }
    Ok(())
}

/// The version of a crate in the lock file: reports say which wgpu gave them.
fn locked(lock: &str, name: &str) -> Option<String> {
    let start =
        lock.split("[[package]]").find(|p| p.trim_start().starts_with(&format!("name = \"{name}\"\n")))?;
    let version = start.lines().find_map(|line| line.strip_prefix("version = "))?;
    Some(version.trim_matches('"').to_string())
}

/// What git says of the repository that begins at `root`, on one line.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    // In a hook these name the repository of whoever commits.
    command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").arg("-C").arg(root).args(arguments);
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_string())
}

/// The commit's short hash and, as llama.cpp counts builds, how many commits lead to it: 0 where the
/// history is cut short (a shallow clone), since its count would be wrong.
fn commit(root: &Path) -> Option<(String, u32)> {
    // Without it (a published crate) git would find whatever repository lies around this folder.
    if !root.join(".git").exists() {
        return None;
    }
    let hash = git(root, &["rev-parse", "--short", "HEAD"])?;
    let is_whole = git(root, &["rev-parse", "--is-shallow-repository"]).is_some_and(|is| is == "false");
    let count = is_whole.then(|| git(root, &["rev-list", "--count", "HEAD"])?.parse().ok()).flatten();
    Some((hash, count.unwrap_or(0)))
}

/// The files that change when HEAD does: HEAD itself, the branch it names, and its log, which is written
/// where the branch is packed too. `git` knows where a worktree has them. Cargo takes a file that is
/// missing for one that has changed, always.
fn watch_head(root: &Path) {
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "logs/HEAD"].into_iter().chain(branch.as_deref()) {
        let path = git(root, &["rev-parse", "--git-path", name]).map(|path| root.join(path));
        if let Some(path) = path.filter(|path| path.is_file()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

fn main() -> io::Result<()> {
    // As a dependency of another crate this one has no lock file of its own.
    println!("cargo::rerun-if-changed=Cargo.lock");
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    println!("cargo::rustc-env=RIDGEPOINT_WGPU={}", locked(&lock, "wgpu").as_deref().unwrap_or("30"));
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let known = commit(&package);
    if known.is_some() {
        watch_head(&package);
    }
    let (hash, number) = known.unwrap_or_else(|| ("unknown".into(), 0));
    println!("cargo::rustc-env=RIDGEPOINT_COMMIT={hash}");
    println!("cargo::rustc-env=RIDGEPOINT_BUILD={number}");
    let root = package.join("shaders");
    println!("cargo::rerun-if-changed=shaders");
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&root).map_err(io::Error::other)?.with_extension("");
        let name = name.to_string_lossy().replace('\\', "/");
        let _ = writeln!(table, "    ({name:?}, include_str!({:?})),", file.to_string_lossy());
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("shaders.rs");
    fs::write(out, table)
}
