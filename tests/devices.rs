//! `devices`, `doctor` and `models inspect` as a person or a script meets them.

use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The binary without settings from outside, with an empty cache of its own and no network.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let cache = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ridgepoint"));
    for name in ["RIDGEPOINT_ADAPTER", "RIDGEPOINT_LOG", "RIDGEPOINT_MODEL"] {
        command.env_remove(name);
    }
    command.env("RIDGEPOINT_CACHE", cache.path()).env("HF_HUB_OFFLINE", "1");
    command.envs(environment.iter().copied()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Stdout of a run that must succeed.
fn stdout(arguments: &[&str]) -> String {
    let output = run(arguments, &[]);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    text(&output.stdout)
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(arguments)).unwrap()
}

/// Stderr of a run that must exit with 1 and print no result.
fn stderr(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = run(arguments, environment);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    text(&output.stderr)
}

#[test]
fn devices_say_which_is_chosen_and_why() {
    let all = json(&["devices", "--json"]);
    let chosen = all["chosen"].as_u64().unwrap() as usize;
    let adapter = &all["adapters"][chosen];
    assert!(!all["why"].as_str().unwrap().is_empty());
    assert!(adapter["max_binding"].as_u64().unwrap() >= 1 << 27, "{adapter}");
    let name = adapter["name"].as_str().unwrap();
    let table = stdout(&["devices"]);
    assert!(
        table.contains(&format!("* {chosen}: {name}"))
            && table.contains(&format!("chosen: {chosen}, {name}")),
        "{table}"
    );
    let by_index = json(&["devices", "--json", "--adapter", &chosen.to_string()]);
    assert_eq!(by_index["why"], "asked for by index");
    // Where there are GPUs as well, a software adapter is chosen by name only.
    let is_software = |a: &Value| a["kind"] == "software";
    if !all["adapters"].as_array().unwrap().iter().all(is_software) {
        assert!(!is_software(adapter), "{all}");
    }
}

#[test]
fn a_choice_that_fits_nothing_lists_what_there_is() {
    let name = json(&["devices", "--json"])["adapters"][0]["name"].as_str().unwrap().to_owned();
    for command in [&["devices"][..], &["doctor", "--kernel", "argmax"]] {
        let error = stderr(command, &[("RIDGEPOINT_ADAPTER", "nosuch")]);
        assert!(error.contains("'nosuch'") && error.contains(&format!("0: {name}")), "{error}");
    }
    assert!(stderr(&["devices", "--json", "--adapter", "99"], &[]).contains("index 99"));
}

#[test]
#[cfg(target_os = "linux")]
fn without_an_adapter_it_says_what_to_install() {
    // Nothing for the Vulkan loader to find, under its new and its old name.
    const NO_DRIVER: [(&str, &str); 2] =
        [("VK_DRIVER_FILES", "/nonexistent.json"), ("VK_ICD_FILENAMES", "/nonexistent.json")];
    for command in [&["devices"][..], &["devices", "--json"], &["doctor", "--kernel", "argmax"]] {
        let error = stderr(command, &NO_DRIVER);
        assert!(error.contains("Install") && error.contains("mesa-vulkan-drivers"), "{error}");
    }
    let arguments = ["models", "inspect", "tests/data/tiny/llama"];
    let output = run(&arguments, &NO_DRIVER);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("What fits is unknown"), "{output:?}");
    let output = run(&["models", "inspect", "tests/data/tiny/llama", "--json"], &NO_DRIVER);
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(all["adapter"].is_null() && all["contexts"][0]["fit"].is_null(), "{all}");
    assert_eq!(all["kv_cache"][0]["bytes_per_token"], 2 * 2 * 2 * 16 * 2);
}

#[test]
fn the_doctor_checks_one_kernel() {
    let output = run(&["doctor", "--kernel", "argmax", "--checked"], &[]);
    assert!(output.status.success(), "{output:?}");
    let table = text(&output.stdout);
    let row = table.lines().find(|l| l.starts_with("argmax")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    // name, right, wrong, unsupported, worst, %, checked, bits differ
    assert!(cells.len() == 8 && cells[1] != "0" && cells[2] == "0" && cells[6] == cells[1], "{table}");
    assert!(table.contains("all is well") && !table.contains("tiny model"), "{table}");
    assert!(text(&output.stderr).contains("opening the adapter"));
    let quiet = run(&["doctor", "--kernel", "argmax", "--json", "--quiet"], &[]);
    let all: Value = serde_json::from_slice(&quiet.stdout).unwrap();
    assert!(quiet.stderr.is_empty() && all["ok"] == true, "{quiet:?}");
    assert_eq!(all["kernels"][0]["name"], "argmax");
    let unknown = stderr(&["doctor", "--kernel", "nosuch"], &[]);
    assert!(unknown.contains("'nosuch'") && unknown.contains("rope_cache"), "{unknown}");
}

#[test]
fn inspect_tells_sizes_formats_and_what_fits() {
    let all = json(&["models", "inspect", "tests/data/quant-models/tiny-Q4_K_M.gguf", "--json", "--tensors"]);
    assert_eq!((&all["kind"], &all["runs"]), (&Value::from("gguf"), &Value::from(true)), "{all}");
    assert_eq!(all["model"]["architecture"], "llama");
    let file = std::fs::metadata("tests/data/quant-models/tiny-Q4_K_M.gguf").unwrap().len();
    assert_eq!(all["file_bytes"], file);
    let tensors = all["tensors"].as_array().unwrap();
    let sum = |key: &str| tensors.iter().map(|t| t[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(all["gpu_bytes"], sum("gpu_bytes"));
    let formats = all["formats"].as_object().unwrap();
    assert!(formats.len() >= 2 && formats.contains_key("F32"), "{formats:?}");
    let total = |key: &str| formats.values().map(|f| f[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((total("tensors"), total("bytes")), (tensors.len() as u64, sum("bytes")));
    let longest = all["kv_cache"][0]["longest"].as_u64();
    assert_eq!(longest, all["model"]["context"].as_u64(), "a tiny model fits with its whole context");

    for name in ["llama", "llama3-rope", "mistral-window", "qwen2", "qwen3"] {
        let table = stdout(&["models", "inspect", &format!("tests/data/tiny/{name}"), "--tensors"]);
        for part in ["runs            yes, as ", "What fits ", "f32 KV cache: ", "model.embed_tokens.weight"]
        {
            assert!(table.contains(part), "{name}: no '{part}' in\n{table}");
        }
        assert_eq!(table.contains("sliding window"), name == "mistral-window", "{table}");
        assert_eq!(table.contains("llama3: long waves"), name == "llama3-rope", "{table}");
    }
    assert!(stderr(&["models", "inspect", "tests/data/README.md"], &[]).starts_with("error: "));
}

#[test]
fn inspect_shows_what_does_not_run_and_why() {
    let folder = TempDir::new().unwrap();
    for file in ["model.safetensors", "tokenizer.json"] {
        std::fs::copy(format!("tests/data/tiny/llama/{file}"), folder.path().join(file)).unwrap();
    }
    let config = std::fs::read_to_string("tests/data/tiny/llama/config.json").unwrap();
    let path = folder.path().to_str().unwrap();
    for (from, to, why) in [
        ("\"model_type\": \"llama\"", "\"model_type\": \"mamba\"", "mamba"),
        ("\"head_dim\": 16", "\"head_dim\": 12", "12"),
        ("\"rope_type\": \"default\"", "\"rope_type\": \"spiral\"", "spiral"),
    ] {
        std::fs::write(folder.path().join("config.json"), config.replace(from, to)).unwrap();
        let all = json(&["models", "inspect", path, "--json"]);
        assert!(all["runs"] == false && all["why_not"].as_str().unwrap().contains(why), "{all}");
        assert!(stdout(&["models", "inspect", path]).contains("runs            no: "));
    }
}
