//! Bad files, as a person meets them: each ends `run` with one clear error and exit code 1; no panic,
//! no signal, no half an answer.

mod directories;
#[path = "../gguf/mod.rs"]
mod gguf;
mod headers;
mod weights;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ridgepoint"));
    for name in ["RIDGEPOINT_LOG", "RIDGEPOINT_MODEL", "RIDGEPOINT_ADAPTER"] {
        command.env_remove(name);
    }
    command.env("HF_HUB_OFFLINE", "1").args(arguments).stdin(Stdio::null());
    command
}

/// What the error says.
fn refused(what: &str, output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{what}: {:?}: {stderr}", output.status);
    assert!(output.stdout.is_empty(), "{what}: {output:?}");
    assert!(!stderr.contains("panicked"), "{what}: {stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{what}: {stderr}");
    assert!(errors[0].len() < 1000, "{what}: {stderr}");
    stderr
}

/// Runs a model that can't be run; gives the parts of `why` that the error lacks.
#[must_use]
fn refuse(what: &str, model: &Path, prompt: &str, why: &[&str]) -> Vec<String> {
    let output = command(&["--quiet", "run", "-m", model.to_str().unwrap(), prompt]).output().unwrap();
    let stderr = refused(what, &output);
    let lacks = why.iter().filter(|part| !stderr.contains(**part));
    lacks.map(|part| format!("{what}: '{}' lacks '{part}'", stderr.trim())).collect()
}

/// A copy of a sound directory, which a test then spoils.
fn directory() -> TempDir {
    let dir = TempDir::new().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::write(dir.path().join(name), fs::read(data("tiny/llama").join(name)).unwrap()).unwrap();
    }
    dir
}
