//! The binary as a person or a script meets it.

use std::fs;
#[cfg(unix)]
use std::io::Read;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The binary with an empty cache of its own, no settings from outside, and no network.
fn ridgepoint(cache: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ridgepoint"));
    for name in ["RIDGEPOINT_ADAPTER", "RIDGEPOINT_LOG", "RIDGEPOINT_MODEL", "HF_ENDPOINT", "HF_TOKEN"] {
        command.env_remove(name);
    }
    command.env("RIDGEPOINT_CACHE", cache.path()).env("HF_HUB_OFFLINE", "1").args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    let cache = TempDir::new().unwrap();
    ridgepoint(&cache, arguments).output().unwrap()
}

/// Stdout of a run that must succeed.
fn stdout(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Stderr of a run that must exit with `code` and print no result.
fn stderr(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn help_and_version() {
    let help = stdout(&["--help"]);
    for word in ["models", "completions", "man", "--adapter", "--offline", "--quiet", "--log"] {
        assert!(help.contains(word), "{help}");
    }
    let version = stdout(&["--version"]);
    let commit = version
        .strip_prefix(concat!("ridgepoint ", env!("CARGO_PKG_VERSION"), " ("))
        .and_then(|rest| rest.strip_suffix(")\n"))
        .unwrap_or_else(|| panic!("{version}"));
    let is_hash = commit.len() >= 7 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(commit == "unknown" || is_hash, "{version}");
    assert!(stdout(&["models", "list", "--help"]).contains("--json"));
    assert!(stderr(&[], 2).contains("Usage:"));
    assert!(stderr(&["no-such-command"], 2).contains("no-such-command"));
}

#[test]
fn models_are_listed_and_the_cache_is_seen() {
    let cache = TempDir::new().unwrap();
    let list = || -> Vec<serde_json::Value> {
        let output = ridgepoint(&cache, &["models", "list", "--json"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let first = list()[0].clone();
    assert_eq!(first["name"], "smollm2-135m-instruct");
    assert_eq!(first["size"], 98_362_432);
    assert_eq!(first["cached"], false);
    let path = first["path"].as_str().unwrap();
    fs::create_dir_all(cache.path().join("models")).unwrap();
    // A sparse file of the right size: `list` looks at no contents.
    fs::File::create(path).unwrap().set_len(98_362_432).unwrap();
    assert_eq!(list()[0]["cached"], true);
    let table = ridgepoint(&cache, &["models", "list"]).output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    let row = table.lines().find(|line| line.starts_with("smollm2-135m-instruct ")).unwrap();
    for cell in ["93.8 MiB", "Apache-2.0", "yes"] {
        assert!(row.contains(cell), "{row}");
    }
}

#[test]
fn errors_are_one_line_on_stderr_and_exit_code_1() {
    let unknown = stderr(&["models", "pull", "smollm-135m-instruct"], 1);
    assert!(unknown.starts_with("error: no model is called 'smollm-135m-instruct'"), "{unknown}");
    assert!(unknown.contains("did you mean 'smollm2-135m-instruct'?"), "{unknown}");
    let offline = stderr(&["models", "pull", "smollm2-135m-instruct"], 1);
    assert!(offline.contains("is not in the cache") && offline.contains("--offline"), "{offline}");
    assert!(stderr(&["--log", "a=b=c", "models", "list"], 1).contains("--log 'a=b=c'"));
}

#[test]
fn a_cache_that_cannot_be_made_names_its_cause() {
    let cache = TempDir::new().unwrap();
    fs::write(cache.path().join("models"), "in the way").unwrap();
    let mut command = ridgepoint(&cache, &["models", "pull"]);
    let output = command.env_remove("HF_HUB_OFFLINE").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("error: can't make the folder") && text.contains("\n  caused by: "), "{text}");
    assert!(text.contains("RIDGEPOINT_CACHE"), "{text}");
}

#[test]
fn variables_that_are_empty_count_for_nothing_and_bad_ones_are_named() {
    let cache = TempDir::new().unwrap();
    let with = |variable: &str, value: &str| {
        let output = ridgepoint(&cache, &["models", "list"]).env(variable, value).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for variable in
        ["RIDGEPOINT_LIMITS", "RIDGEPOINT_ADAPTER", "RIDGEPOINT_LOG", "RIDGEPOINT_MODEL", "HF_HUB_OFFLINE"]
    {
        assert_eq!(with(variable, ""), (Some(0), String::new()), "{variable}");
    }
    let (code, text) = with("RIDGEPOINT_LIMITS", "tiny");
    assert!(code == Some(2) && text.contains("--limits") && text.contains("RIDGEPOINT_LIMITS"), "{text}");
    let (code, text) = with("HF_HUB_OFFLINE", "maybe");
    assert!(code == Some(1) && text.contains("HF_HUB_OFFLINE is 'maybe'"), "{text}");
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&["completions", shell]);
        assert!(script.contains("ridgepoint") && script.contains("models"), "{shell}: {script}");
    }
}

#[test]
fn manual_pages() {
    let page = stdout(&["man"]);
    assert!(page.contains(".TH ridgepoint 1") && page.contains("RIDGEPOINT_CACHE"), "{page}");
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("man1");
    stdout(&["man", "--out", out.to_str().unwrap()]);
    assert!(fs::read_to_string(out.join("ridgepoint-models-pull.1")).unwrap().contains("sha256"));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let cache = TempDir::new().unwrap();
    let mut command = ridgepoint(&cache, &["completions", "bash"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// WebGPU's limits give the same answer as the adapter's own, and the doctor runs its model on them.
#[test]
fn webgpus_limits_run_a_model_and_the_doctor() {
    let answer = |limits: &str| {
        let model = ["-m", "tests/data/tiny/llama", "--raw", "--temperature", "0", "--max-tokens", "12"];
        stdout(&[&["run", "--quiet", "--limits", limits], &model[..], &["abc"]].concat())
    };
    let (held, free) = (answer("webgpu"), answer("adapter"));
    assert!(held == free && held.trim().len() > 1, "{held:?}, {free:?}");

    let report = stdout(&["doctor", "--quiet", "--limits", "webgpu", "--tiny-model", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["ok"], true);
    assert_eq!(report["model"]["runs"].as_array().map(Vec::len), Some(9), "{report}");

    let refused = stderr(&["run", "--quiet", "--limits", "downlevel", "-m", "tests/data/tiny/llama", "x"], 1);
    assert!(refused.contains("raise --limits"), "{refused}");
}

/// A checked run says how every index was known to be in bounds.
#[test]
fn the_doctor_says_what_its_checks_covered() {
    let report =
        stdout(&["doctor", "--quiet", "--checked", "--kernel", "gated", "--kernel", "top_k", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["ok"], true);
    for kernel in report["kernels"].as_array().unwrap() {
        assert!(kernel["right"].as_u64() > Some(0), "{kernel}");
        assert_eq!(kernel["right"], kernel["checked"]["right"], "{kernel}");
    }
    assert!(report["watched"]["programs"].as_u64() > Some(1), "{}", report["watched"]);
    assert!(report["watched"]["indices"]["watched"].as_u64() > Some(10), "{}", report["watched"]);
    assert!(report["watched"]["loops"]["watched"].as_u64() > Some(1), "{}", report["watched"]);
}

/// Ctrl-C ends the answer and not its account.
#[cfg(unix)]
#[test]
fn an_interrupted_answer_leaves_its_figures() {
    let cache = TempDir::new().unwrap();
    let model = ["-m", "tests/data/tiny/llama", "--raw", "--ignore-eos", "--max-tokens", "240", "abc"];
    // An answer takes a third of a second, so one may end before it is interrupted.
    for _ in 0..20 {
        let mut command = ridgepoint(&cache, &["run"]);
        let mut child = command.args(model).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        if ended.status.success() {
            continue;
        }
        assert_eq!(ended.status.code(), Some(130), "{said}");
        assert!(said.contains("interrupted after ") && said.contains("TTFT "), "{said}");
        return;
    }
    panic!("no answer was interrupted in time");
}
