//! `ridgepoint isa` as a script meets it. RADV compiles without a GPU; where it isn't installed, the
//! command must say so.

use std::process::{Command, Output};

use serde_json::Value;

fn ridgepoint(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ridgepoint")).args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn two_families_compile_a_program_each_its_own_way() {
    // A name as people write it, and once more: one target each.
    let output = ridgepoint(&["isa", "gated", "--family", "VEGA10, navi21,vega10", "--json", "--quiet"]);
    if !output.status.success() {
        let error = stderr(&output);
        assert!(error.contains("RADV") && error.contains("mesa-vulkan-drivers"), "{error}");
        // A machine that proves a change has what it needs to.
        assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "{error}");
        eprintln!("RADV is not installed here: {error}");
        return;
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let targets = report["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 2);
    for (target, family) in targets.iter().zip(["vega10", "navi21"]) {
        assert_eq!(target["family"], family);
        assert!(target["adapter"].as_str().unwrap().to_lowercase().contains(family), "{target}");
        let programs = target["programs"].as_array().unwrap();
        assert_eq!(programs.len(), 2, "one without and one with GELU");
        for program in programs {
            let figure = |name: &str| program["statistics"][name].as_u64().unwrap();
            assert!(figure("VGPRs") > 0 && figure("Instructions") > 10, "{program}");
            assert_eq!(figure("Spilled VGPRs"), 0, "{program}");
            let most = if family == "vega10" { 10 } else { 32 };
            assert_eq!(figure("Subgroups per SIMD"), most, "a small program fills the device");
        }
        // GELU is the longer one.
        let instructions = |i: usize| programs[i]["statistics"]["VALU"].as_u64().unwrap();
        assert!(instructions(0) < instructions(1));
    }
}

#[test]
fn what_is_unknown_is_named_with_what_there_is() {
    let output = ridgepoint(&["isa", "nonsense"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("linear_split"), "{}", stderr(&output));
    let output = ridgepoint(&["isa", "gated", "--family", "geforce"]);
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.contains("'geforce'"), "{error}");
    assert!(error.contains("--families") || error.contains("mesa-vulkan-drivers"), "{error}");
}

#[test]
fn what_stands_for_nothing_is_refused() {
    let refused = |args: &[&str]| {
        let output = ridgepoint(args);
        assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}");
        stderr(&output)
    };
    assert!(refused(&["isa", ""]).contains("leave it out"));
    for family in ["", "navi21,", ","] {
        assert!(refused(&["isa", "gated", "--family", family]).contains("--families"), "{family}");
    }
    for rest in [&["--family", "navi21"][..], &["--emit", "wgsl"], &["--families"]] {
        let error = refused(&[&["isa", "--adapter", "nosuch"], rest].concat());
        assert!(error.contains("only with --here"), "{error}");
    }
    assert!(refused(&["isa", "gated", "--here", "--adapter", "1"]).contains("a part of the adapter's name"));
    let error = refused(&["isa", "gated", "--here", "--adapter", "nosuch"]);
    assert!(error.contains("'nosuch'") || error.contains("Vulkan"), "{error}");
}

#[test]
fn the_list_of_families_says_its_shape() {
    let output = ridgepoint(&["isa", "--families", "--json", "--quiet"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["schema_version"], 1);
    let families = list["families"].as_array().unwrap();
    let named = |name: &str| families.iter().find(|f| f["family"] == name).unwrap();
    assert_eq!(named("mi200")["architecture"], "CDNA 2");
    assert!(named("vega10")["accepted"].is_boolean() && named("vega10")["driver"].is_string());
}

#[test]
fn every_language_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (language, extension, has) in [
        ("wgsl", "wgsl", "@compute"),
        ("msl", "metal", "kernel void"),
        ("hlsl", "hlsl", "[numthreads(64, 1, 1)]"),
    ] {
        let output = ridgepoint(&["isa", "gated", "gelu", "--emit", language]);
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.contains(has), "{language}: {printed}");
        let path = folder.path().to_str().unwrap();
        assert!(ridgepoint(&["isa", "gated", "--emit", language, "--output", path]).status.success());
        let written =
            std::fs::read_to_string(folder.path().join("gated-gelu-wg64").with_extension(extension));
        assert!(printed.contains(&written.unwrap()), "{language}");
    }
    let spirv = ridgepoint(&["isa", "gated", "gelu", "--emit", "spirv"]).stdout;
    assert_eq!(spirv[..4], 0x0723_0203_u32.to_le_bytes(), "the magic number");
    let several = ridgepoint(&["isa", "gated", "--emit", "spirv"]);
    let error = stderr(&several);
    assert!(error.contains("--output") && error.contains("in full, as in 'gated "), "{error}");
    // All words of this name are in the other's too.
    let plain = ridgepoint(&["isa", "gated", "wg64", "--emit", "spirv"]).stdout;
    assert!(plain[..4] == spirv[..4] && plain != spirv);
}
