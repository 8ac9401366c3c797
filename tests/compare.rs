//! `ridgepoint compare` as a script meets it: what it prints, and how it exits.

use std::process::{Command, Output};

use serde_json::Value;

fn compare(args: &[&str]) -> Output {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/roofline");
    Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
        .current_dir(folder)
        .arg("compare")
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_exit_code_tells_a_regression() {
    let code = |args: &[&str]| compare(args).status.code();
    let (base, slow, half) = ("simulated.json", "slow-kernel.json", "half-bandwidth.json");
    assert_eq!(code(&[base, base, "--threshold", "5"]), Some(0));
    assert_eq!(code(&[base, slow]), Some(0), "without a threshold, a comparison only tells");
    assert_eq!(code(&[base, slow, "--threshold", "5"]), Some(1));
    assert_eq!(code(&[base, half, "--threshold", "50"]), Some(1));
    assert_eq!(code(&[base, slow, "--threshold", "150"]), Some(0), "twice the time is 100 % more");
    // What got faster is no regression.
    assert_eq!(code(&[slow, base, "--threshold", "5"]), Some(0));
    assert_eq!(code(&[base, slow, "--threshold", "often"]), Some(2));
    assert_eq!(code(&[base]), Some(2));
}

#[test]
fn who_is_to_blame_is_printed() {
    let output = compare(&["simulated.json", "slow-kernel.json", "--threshold", "10"]);
    let printed = text(&output.stdout);
    let row = |name: &str| printed.lines().find(|l| l.trim_start().starts_with(name)).unwrap().to_string();
    assert!(row("attention_tiled").contains(" kernel "), "{printed}");
    assert!(text(&output.stderr).contains("attention_tiled"), "{}", text(&output.stderr));
    let printed = text(&compare(&["simulated.json", "half-bandwidth.json"]).stdout);
    assert!(printed.contains("read_cold 288 -> 144 GB/s (0.50 x)"), "{printed}");
    assert!(printed.lines().any(|l| l.contains("gate+up") && l.contains(" device ")), "{printed}");
}

#[test]
fn json_and_a_page_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("compare.html");
    let args = ["simulated.json", "half-bandwidth.json", "slow-kernel.json", "--json", "--html"];
    let output = compare(&[&args[..], &[page.to_str().unwrap()]].concat());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["schema_version"], 1);
    assert_eq!(json["others"].as_array().unwrap().len(), 2);
    let slow = &json["others"][1]["kernels"];
    let blamed =
        slow.as_array().unwrap().iter().filter(|k| k["blame"] == "kernel" && k["ratio"].as_f64() > Some(1.5));
    assert_eq!(blamed.count(), 3, "attention in three steps");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("half-bandwidth.json"));
}

#[test]
fn what_is_no_report_is_refused_with_its_name() {
    let output = compare(&["simulated.json", "../README.md"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("README.md") && error.contains("--json"), "{error}");
    let output = compare(&["simulated.json", "missing.json"]);
    assert!(text(&output.stderr).contains("missing.json"));
}
