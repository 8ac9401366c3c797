//! `ridgepoint roofline`, `ceilings` and `explain` as a person runs them, on a tiny model and the adapter that
//! is there. The device's ceilings are put where a measurement would have kept them, since measuring
//! takes a minute; no figure is judged here.

use std::path::Path;
use std::process::Command;

use ridgepoint::gpu::{AdapterChoice, Checks, Gpu};
use ridgepoint::roofline::report::{Ceiling, Report, TimedBy};
use ridgepoint::roofline::{DeviceReport, Key, grade};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/quant-models/tiny-Q4_1.gguf");

/// Keeps made-up ceilings for the adapter that is there. No stamps: everything is left out in turn.
fn keep(folder: &Path) {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted).expect("an adapter");
    let all = [
        ("read_cold", "GB/s", 10.0),
        ("write_cold", "GB/s", 8.0),
        ("fma_f32", "GFLOP/s", 100.0),
        ("int_alu", "GOP/s", 50.0),
        ("special", "GOP/s", 2.0),
        ("launch", "ns", 15_000.0),
        ("fill", "workgroups", 2.0),
    ];
    let ceiling = |(name, unit, value): (&str, &str, f64)| {
        let (name, unit) = (name.to_string(), unit.to_string());
        Ceiling { name, unit, value, low: value, high: value, probe: "made up".into(), agreed: true }
    };
    let report = DeviceReport {
        key: Key::of(&gpu),
        timer: grade(None, None),
        null_interval_ns: None,
        ceilings: all.map(ceiling).to_vec(),
        curves: vec![],
    };
    report.keep(&folder.join("ceilings")).expect("a folder that can be written");
}

fn run(cache: &Path, arguments: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
        .args(arguments)
        .env("RIDGEPOINT_CACHE", cache)
        .output()
        .expect("the program starts");
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

#[test]
fn a_tiny_model_s_report_is_whole() {
    let cache = tempfile::tempdir().expect("a folder");
    keep(cache.path());
    let file = |name: &str| cache.path().join(name).display().to_string();
    let (page, picture, trace) = (file("page.html"), file("picture.svg"), file("trace.json"));
    let steps = ["-p", "8", "--contexts", "16", "-b", "1,2", "--seconds", "0.1"];
    let mut arguments = vec!["roofline", MODEL, "--json", "--html", &page, "--svg", &picture];
    arguments.extend(["--trace", &trace]);
    arguments.extend(steps);
    let report = Report::from_json(&run(cache.path(), &arguments)).expect("a report");

    let names: Vec<&str> = report.steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["prefill 8", "decode x1 at 16", "decode x2 at 16"]);
    for step in &report.steps {
        let rows: Vec<_> = report.kernels.iter().filter(|r| r.step == step.name).collect();
        assert!(rows.len() >= 5, "{rows:?}");
        assert!(rows.iter().all(|r| r.timed_by == TimedBy::LeaveOneOutWall && r.floor_ns > 0.0));
        let shares: f64 = rows.iter().map(|r| r.share).sum();
        assert!((shares - 1.0).abs() < 1e-6 || step.kernels_ns <= 0.0, "{}: {shares}", step.name);
        assert!(step.wall_ns > 0.0 && step.gpu_ns.is_none(), "no stamps, so no span");
        assert!(step.host.record_ns > 0.0);
    }
    assert_eq!(report.ceiling("launch"), Some(15_000.0));
    assert!(report.summary.contains("decode x2 at 16"), "{}", report.summary);
    let read = |path: &str| std::fs::read_to_string(path).expect("a file");
    assert!(read(&page).contains("</html>") && read(&picture).contains("<svg"));
    let trace: serde_json::Value = serde_json::from_str(&read(&trace)).expect("JSON");
    assert!(trace.to_string().contains("decode x1 at 16"));

    let mut arguments = vec!["roofline", MODEL, "--csv", "--confirm"];
    arguments.extend(steps);
    let table = run(cache.path(), &arguments);
    let columns =
        |line: &str| line.split('"').step_by(2).map(|part| part.matches(',').count()).sum::<usize>();
    let mut lines = table.lines();
    let head = columns(lines.next().expect("a head"));
    assert!(lines.all(|line| columns(line) == head), "{table}");
    assert_eq!(table.lines().count(), report.kernels.len() + 1);

    let text = run(cache.path(), &["ceilings"]);
    assert!(text.contains("read_cold") && text.contains("made up"), "{text}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cache = tempfile::tempdir().expect("a folder");
    for (arguments, expected) in [
        (vec!["-p", "0", "-b", "0"], "no step to measure"),
        (vec!["--seconds", "0"], "expected 0.1 to 3600"),
        (vec!["--contexts", "0"], "at least 1 token"),
        (vec!["-p", "99999999"], "longer than the model's"),
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
            .args(["roofline", MODEL])
            .args(&arguments)
            .env("RIDGEPOINT_CACHE", cache.path())
            .output()
            .expect("the program starts");
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && error.contains(expected), "{arguments:?}: {error}");
    }
}
