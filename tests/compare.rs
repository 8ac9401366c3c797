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

/// A verdict and a page are there whether or not anybody reads what is printed.
#[test]
#[cfg(unix)]
fn a_closed_pipe_and_a_full_disk_lose_neither_verdict_nor_page() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("f.html");
    let run = |args: &[&str], out: std::process::Stdio| {
        let _ = std::fs::remove_file(&page);
        let code = Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/roofline"))
            .args(["compare", "simulated.json", "slow-kernel.json", "--html", page.to_str().unwrap()])
            .args(args)
            .stdout(out)
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap()
            .code();
        assert!(std::fs::read_to_string(&page).unwrap().contains("</html>"), "{args:?}");
        code
    };
    // Nobody reads from the first moment on.
    let closed = || std::process::Stdio::from(std::io::pipe().unwrap().1);
    assert_eq!(run(&["--threshold", "5"], closed()), Some(1));
    assert_eq!(run(&["--threshold", "150"], closed()), Some(0));
    assert_eq!(run(&[], closed()), Some(0));
    #[cfg(target_os = "linux")]
    {
        let full = || std::fs::File::options().write(true).open("/dev/full").unwrap().into();
        assert_eq!(run(&["--json"], full()), Some(1));
    }
}

/// An error is cut, and says how much it leaves out.
#[test]
fn what_is_slower_is_listed_as_far_as_it_goes() {
    let mut slow: Value = serde_json::from_str(include_str!("data/roofline/simulated.json")).unwrap();
    for row in slow["kernels"].as_array_mut().unwrap() {
        ["time_ns", "interval_ns"].iter().for_each(|times| scale(&mut row[*times], 2.0));
    }
    add_up(&mut slow);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.json");
    std::fs::write(&path, slow.to_string()).unwrap();
    let output = compare(&["simulated.json", path.to_str().unwrap(), "--threshold", "5"]);
    let said = text(&output.stderr);
    let listed = said.lines().filter(|line| line.contains(" times as long")).count();
    let more = said.lines().find_map(|line| line.trim().strip_prefix("and ")?.strip_suffix(" more"));
    let more: usize = more.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
    assert!(listed == 20 && more > 0 && !said.contains("..."), "{said}");
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
    assert_eq!(error.matches("expected value").count(), 1, "each cause once: {error}");
    let output = compare(&["simulated.json", "missing.json"]);
    assert!(text(&output.stderr).contains("missing.json"));
}

/// A report of a real device.
fn real(name: &str) -> Value {
    let path = format!("{}/docs/reports/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Compares two reports; what was printed as JSON, and the exit code.
fn compared(a: &Value, b: &Value, more: &[&str]) -> (Value, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let paths = [(a, "a.json"), (b, "b.json")].map(|(report, name)| {
        let path = folder.path().join(name);
        std::fs::write(&path, report.to_string()).unwrap();
        path.display().to_string()
    });
    let output = compare(&[&[paths[0].as_str(), &paths[1], "--json"], more].concat());
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.code())
}

fn scale(value: &mut Value, by: f64) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|v| scale(v, by)),
        Value::Number(n) => *value = (n.as_f64().unwrap() * by).into(),
        _ => {}
    }
}

/// Makes the sums of steps those of their rows.
fn add_up(report: &mut Value) {
    let rows = report["kernels"].as_array().unwrap().clone();
    for step in report["steps"].as_array_mut().unwrap() {
        let of = rows.iter().filter(|row| row["step"] == step["name"]);
        let time =
            |row: &Value| row["calls"].as_f64().unwrap() * row["time_ns"]["p50"].as_f64().unwrap_or(0.0);
        step["kernels_ns"] = of.map(time).sum::<f64>().into();
    }
}

#[test]
fn a_real_kernel_that_takes_twice_as_long_is_to_blame_itself() {
    let report = real("smollm2-135m-q4_1-llvmpipe");
    let mut slow = report.clone();
    let row = slow["kernels"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .filter(|r| r["verdict"] != "unknown")
        .max_by(|a, b| a["share"].as_f64().unwrap().total_cmp(&b["share"].as_f64().unwrap()))
        .unwrap();
    for times in ["time_ns", "interval_ns"] {
        scale(&mut row[times], 2.0);
    }
    let name = [row["step"].clone(), row["kernel"].clone(), row["shape"].clone()];
    add_up(&mut slow);
    let (found, code) = compared(&report, &slow, &["--threshold", "20"]);
    assert_eq!(code, Some(1));
    let rows = found["others"][0]["kernels"].as_array().unwrap();
    for k in rows {
        let is_it = [&k["step"], &k["kernel"], &k["shape"]] == name.each_ref();
        assert_eq!(k["blame"] == "kernel", is_it, "{k}");
    }
    assert_eq!(compared(&report, &report, &["--threshold", "1"]).1, Some(0));
}

#[test]
fn half_the_bandwidth_of_a_real_device_is_the_device_s_fault() {
    let report = real("smollm2-135m-q4_1-llvmpipe");
    let mut half = report.clone();
    let is_rate = |c: &&mut Value| c["unit"] == "GB/s";
    for ceiling in half["ceilings"].as_array_mut().unwrap().iter_mut().filter(is_rate) {
        for figure in ["value", "low", "high"] {
            scale(&mut ceiling[figure], 0.5);
        }
    }
    // What waits for memory alone takes twice as long then: as found by the comparison's own factors.
    let (found, _) = compared(&report, &half, &[]);
    let rows = found["others"][0]["kernels"].as_array().unwrap();
    let waits: Vec<bool> = rows.iter().map(|k| k["factors"]["device"].as_f64() > Some(1.9)).collect();
    assert!(waits.contains(&true) && waits.contains(&false), "{waits:?}");
    for (row, _) in half["kernels"].as_array_mut().unwrap().iter_mut().zip(&waits).filter(|(_, w)| **w) {
        for times in ["time_ns", "interval_ns"] {
            scale(&mut row[times], 2.0);
        }
    }
    add_up(&mut half);
    let (found, _) = compared(&report, &half, &[]);
    let mut blamed = 0;
    for (k, waits) in found["others"][0]["kernels"].as_array().unwrap().iter().zip(&waits) {
        if k["significant"] == true {
            assert_eq!(k["blame"] == "device", *waits, "{k}");
            blamed += 1;
        }
    }
    assert!(blamed > 0, "{found}");
}

/// One tiny model on two software drivers of one machine: SwiftShader has no subgroups of 8, so that other kernels
/// run, and its multiply-adds are some hundred times slower.
#[test]
fn a_slow_driver_is_to_blame_for_its_kernels() {
    let (fast, slow) = ("tiny-llvmpipe.json", "tiny-swiftshader.json");
    let found: Value = serde_json::from_slice(&compare(&[fast, slow, "--json"]).stdout).unwrap();
    let other = &found["others"][0];
    let judged: Vec<&Value> =
        other["kernels"].as_array().unwrap().iter().filter(|k| k["significant"] == true).collect();
    // Of one step of three: the others are lost in noise, or do not add up.
    assert!(judged.len() >= 4, "{}", judged.len());
    for k in judged {
        assert!(k["ratio"].as_f64() > Some(10.0), "{k}");
        assert_eq!(k["blame"], "device", "{k}");
    }
    let named = other["only_in_baseline"].as_array().unwrap();
    assert!(named.iter().any(|row| row.as_str().unwrap().contains("attention_keys")), "{named:?}");
    let slower = compare(&[fast, slow, "--threshold", "5"]);
    assert_eq!(slower.status.code(), Some(1));
    assert!(text(&slower.stderr).contains("(the device)"), "{}", text(&slower.stderr));
    assert_eq!(compare(&[slow, fast, "--threshold", "5"]).status.code(), Some(0));
}

#[test]
fn reports_of_two_models_fail_no_threshold() {
    let mixed = compare(&["simulated.json", "tiny-llvmpipe.json", "--threshold", "5"]);
    assert_eq!(mixed.status.code(), Some(1));
    assert!(text(&mixed.stderr).contains("reports of one model"), "{}", text(&mixed.stderr));
    assert!(mixed.stdout.is_empty());
    assert_eq!(compare(&["simulated.json", "tiny-llvmpipe.json"]).status.code(), Some(0));
}

#[test]
fn what_was_judged_is_said_and_a_wall_clock_alone_is_a_note() {
    let report: Value = serde_json::from_str(include_str!("data/roofline/simulated.json")).expect("a report");
    let mut other = report.clone();
    scale(&mut other["steps"][0]["wall_ns"], 3.0);
    other["kernels"][0]["verdict"] = "unknown".into();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.json");
    std::fs::write(&path, other.to_string()).unwrap();
    let output = compare(&["simulated.json", path.to_str().unwrap(), "--threshold", "5"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("of what could be judged, no kernel") && said.contains("no step's kernels"),
        "{said}"
    );
    assert!(said.contains("the wall clock is 3.00 times as long") && !said.contains("nothing is"), "{said}");
    assert!(said.contains("1 of 27 rows were not judged"), "{said}");
    assert!(text(&output.stdout).contains("wall 3.48\u{a0}ms -> 10.4\u{a0}ms (3.00 x)"));
    // Where nothing at all can be judged, a threshold can't be held.
    other["kernels"].as_array_mut().unwrap().iter_mut().for_each(|row| row["verdict"] = "unknown".into());
    std::fs::write(&path, other.to_string()).unwrap();
    let output = compare(&["simulated.json", path.to_str().unwrap(), "--threshold", "5"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("can't tell anything"), "{}", text(&output.stderr));
}

#[test]
fn what_can_be_no_report_is_refused_before_it_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let base = include_str!("data/roofline/simulated.json");
    let error = |path: &str| text(&compare(&["simulated.json", path]).stderr);
    #[cfg(unix)]
    assert!(error("/dev/zero").contains("expected a file"), "{}", error("/dev/zero"));
    assert!(error(".").contains("expected a file"), "{}", error("."));
    let long = file("long.json", &vec![b' '; (64 << 20) + 1]);
    assert!(error(&long).contains("more than 64 MiB"), "{}", error(&long));
    let marked = file("marked.json", format!("\u{feff}{base}").as_bytes());
    assert_eq!(compare(&["simulated.json", &marked]).status.code(), Some(0));
    let ceilings = file("ceilings.json", br#"{"schema_version": 1, "ceilings": [], "curves": []}"#);
    assert!(error(&ceilings).contains("these are ceilings alone"), "{}", error(&ceilings));
    let tiny = file("tiny.json", base.replacen("288.0", "1e-300", 1).as_bytes());
    assert!(error(&tiny).contains("ceilings[0] (read_cold).value is"), "{}", error(&tiny));
    assert_eq!(compare(&["-", "-"]).status.code(), Some(1));
}
