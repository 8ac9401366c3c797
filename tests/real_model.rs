//! The default model itself against llama.cpp on the same weights, dequantised to f32: log-probabilities
//! along its greedy continuations, perplexity, and the memory that a run takes.
//!
//! The model (94 MiB) is fetched by name once. Where it can't be had a test says so and passes, but fails
//! where `CI=true`.

use std::fs;
use std::process::Command;

use serde::Deserialize;
use sha2::{Digest, Sha256};

const MODEL: &str = "smollm2-135m-instruct";
/// Whether the model is there; fetched if it has to be.
fn model() -> bool {
    let pull = ridgepoint(&["models", "pull", MODEL]).output().unwrap();
    if !pull.status.success() {
        let why = String::from_utf8_lossy(&pull.stderr).into_owned();
        assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "{why}");
        eprintln!("not run: {why}");
    }
    pull.status.success()
}

fn ridgepoint(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ridgepoint"));
    command.env_remove("RIDGEPOINT_MODEL").env_remove("RIDGEPOINT_LOG").arg("--quiet").args(arguments);
    command
}

fn json<T: for<'a> Deserialize<'a>>(arguments: &[&str]) -> T {
    let output = ridgepoint(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[derive(Deserialize)]
struct Step {
    id: u32,
    logprob: f64,
    top: Vec<(u32, f64)>,
}

#[derive(Deserialize)]
struct Reference {
    prompt_ids: Vec<u32>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Logits {
    steps: Vec<Step>,
}

fn list(ids: impl Iterator<Item = u32>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",")
}

/// Teacher-forced: each of the reference's ten likeliest tokens within 0.05 of its log-probability, and the
/// reference's token ours wherever its margin is 0.05 or more.
#[test]
fn log_probabilities_are_llama_cpps() {
    if !model() {
        return;
    }
    for line in include_str!("data/smollm2/greedy.jsonl").lines() {
        let reference: Reference = serde_json::from_str(line).unwrap();
        let ids = list(reference.prompt_ids.iter().copied());
        let then = list(reference.steps.iter().map(|s| s.id));
        let logits = ["logits", "-m", MODEL, "--ids", &ids, "--then", &then, "--top", "64", "--json"];
        let ours: Logits = json(&logits);
        assert_eq!(ours.steps.len(), reference.steps.len());
        for (i, (step, our)) in reference.steps.iter().zip(&ours.steps).enumerate() {
            assert!((step.logprob - our.logprob).abs() < 0.05, "step {i}: {} {}", step.logprob, our.logprob);
            for (id, expected) in &step.top {
                let found = our.top.iter().find(|(ours, _)| ours == id);
                let found = found.unwrap_or_else(|| panic!("step {i}: {id} is not among our likeliest 64")).1;
                assert!((expected - found).abs() < 0.05, "step {i}, token {id}: {expected} {found}");
            }
            if step.top[0].1 - step.top[1].1 >= 0.05 {
                assert_eq!(our.top[0].0, step.id, "step {i}");
            }
        }
    }
}

#[derive(Deserialize)]
struct Perplexity {
    ppl: f64,
}

/// Over the start of a text that Debian's systems have: llama.cpp's figure after two chunks is 17.6838.
#[test]
fn perplexity_is_llama_cpps() {
    let Ok(text) = fs::read("/usr/share/common-licenses/GPL-3") else {
        eprintln!("not run: this system has no /usr/share/common-licenses/GPL-3");
        return;
    };
    let text = &text[..20_000];
    let digest: String = Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(digest, "859f14cbc534369bb4c0e1401ee9a1d4de3f07213058eaecf8b128d4005e133e");
    if !model() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    fs::write(&path, text).unwrap();
    let found: Perplexity =
        json(&["perplexity", "-m", MODEL, "--chunks", "2", "--json", path.to_str().unwrap()]);
    assert!((found.ppl / 17.6838 - 1.0).abs() < 0.005, "{}", found.ppl);
}

/// A run's largest resident memory is at most twice the file, 250 MB and the cache. A software driver's
/// device memory counts; a GPU's own does not.
#[cfg(target_os = "linux")]
#[test]
fn a_run_takes_little_memory() {
    use std::process::Stdio;
    use std::thread;
    use std::time::Duration;

    /// The model's file, in bytes.
    const FILE: u64 = 98_362_432;
    if !model() {
        return;
    }
    let run = ["run", "-m", MODEL, "-n", "8", "-c", "2048", "--temperature", "0", "Why is the sky blue?"];
    let mut child = ridgepoint(&run).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    let ended = loop {
        // The high-water mark, so that looking now and then misses nothing but the end.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
        most = most.max(kib.unwrap_or(0) * 1024);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert!(ended.success());
    // 30 layers of 3 KV heads of 64 numbers, keys and values, in f16.
    let cache = 2048 * 30 * 2 * 3 * 64 * 2;
    assert!(most > FILE, "{most} bytes were seen");
    assert!(most <= 2 * FILE + 250_000_000 + cache, "{most} bytes, {cache} of them the cache");
}
