//! `bench model` as a script meets it, on a tiny model.

mod pipelines;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn tests_at_depths_are_rows_with_llama_benchs_names() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny/llama");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ridgepoint"));
    let cache = tempfile::tempdir().unwrap();
    command.env("RIDGEPOINT_LOG", "ridgepoint=info").env("RIDGEPOINT_CACHE", cache.path());
    command.env("HF_HUB_OFFLINE", "1");
    command.args(["--quiet", "bench", "model", "-m", model, "-p", "8", "-n", "4", "-r", "2", "-o", "jsonl"]);
    command.args(["-pg", "6,2", "-d", "0-16+16", "-b", "2048,3", "--quantize", "q8_0"]);
    // What is so anyway may be asked for.
    command.args(["-ngl", "99", "-fa", "1", "-mmp", "0", "-sm", "none", "-nkvo", "0", "-embd", "0"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    pipelines::kept_as_said(&String::from_utf8_lossy(&output.stderr), cache.path());
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let number = |row: &Value, name: &str| row[name].as_f64().unwrap();
    let tests: Vec<[u64; 4]> = rows
        .iter()
        .map(|row| ["n_prompt", "n_gen", "n_depth", "n_batch"].map(|name| row[name].as_u64().unwrap()))
        .collect();
    let each = |depth, batch| [[8, 0, depth, batch], [0, 4, depth, batch], [6, 2, depth, batch]];
    assert_eq!(tests, [each(0, 2048), each(0, 3), each(16, 2048), each(16, 3)].concat());
    for row in &rows {
        assert_eq!(built(&row["build_commit"]), row["build_number"].as_u64(), "{row}");
        let names =
            ["gpu_info", "backends", "model_type", "model_n_params", "n_ubatch", "type_k", "test_time"];
        assert!(names.iter().all(|name| !row[name].is_null()), "{row}");
        let tokens = number(row, "n_prompt") + number(row, "n_gen");
        let samples = row["samples_ns"].as_array().unwrap();
        assert_eq!(samples.len(), 2);
        for (ns, ts) in samples.iter().zip(row["samples_ts"].as_array().unwrap()) {
            let expected = tokens * 1e9 / ns.as_f64().unwrap();
            assert!((ts.as_f64().unwrap() / expected - 1.0).abs() < 1e-6, "{row}");
        }
        assert!(number(row, "of_fma") > 0.0 && number(row, "of_read") > 0.0, "{row}");
    }
    // 32 weights become 34 bytes instead of 64.
    let per_weight = number(&rows[0], "model_size") / number(&rows[0], "model_n_params");
    assert!((1.06..1.2).contains(&per_weight), "{per_weight}");
}

/// What git counts up to the commit that a program says it was built from; 0 in a shallow clone, and
/// where there is no repository, or none that git reads.
fn built(commit: &Value) -> Option<u64> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = |arguments: &[&str]| -> Option<String> {
        let output = Command::new("git").current_dir(root).args(arguments).output();
        let output = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).unwrap().trim().into())
    };
    if !root.join(".git").exists()
        || git(&["rev-parse", "--is-shallow-repository"]).as_deref() != Some("false")
    {
        return Some(0);
    }
    git(&["rev-list", "--count", commit.as_str()?])?.parse().ok()
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny/llama");
    for (arguments, code, why) in [
        (&["-p", "200", "-d", "100"][..], 1, "300 tokens does not fit the context of 256"),
        (&["-d", "18446744073709551615"], 1, "does not fit"),
        (&["-r", "0"], 1, "at least one repetition"),
        (&["-b", "0"], 1, "at least one token"),
        (&["-t", "4"], 2, "no threads to set"),
        (&["-ngl", "0"], 1, "every layer is on the GPU"),
        (&["-fa", "0"], 2, "attention is always one kernel"),
        (&["-p", "32-16"], 2, "a range such as 128-512+128"),
        (&["-pg", "512"], 2, "expected two numbers, such as 512,128"),
        (&["-o", "xml"], 2, "jsonl"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ridgepoint"));
        command.env("HF_HUB_OFFLINE", "1").args(["--quiet", "bench", "model", "-m", model]);
        let output = command.args(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(why), "{arguments:?}: {stderr}");
    }
}

/// A run that is ended early keeps what it was started for.
#[test]
#[cfg(all(unix, feature = "cpu-profile"))]
fn an_interrupt_writes_the_profile_so_far() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cpu.pb");
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny/llama");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
        .args(["bench", "model", "-m", model, "-p", "8", "-n", "4", "-r", "1000000", "--cpu-profile"])
        .arg(&path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!std::fs::read(&path).unwrap().is_empty());
}
