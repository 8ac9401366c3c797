//! Lists every `.wgsl` under shaders/ in one table, so that a new kernel needs no line here.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
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

fn main() -> io::Result<()> {
    // As a dependency of another crate this one has no lock file of its own.
    println!("cargo::rerun-if-changed=Cargo.lock");
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    println!("cargo::rustc-env=RIDGEPOINT_WGPU={}", locked(&lock, "wgpu").as_deref().unwrap_or("30"));
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("shaders");
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
