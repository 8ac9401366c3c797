//! `ridgepoint roofline`, `ceilings` and `explain` as a person runs them, on a tiny model and the adapter that
//! is there. The device's ceilings are put where a measurement would have kept them, since measuring
//! takes a minute; no figure is judged here.

mod kept;

use std::path::Path;
use std::process::Command;

use kept::{keep, sound};
use ridgepoint::roofline::report::{Report, TimedBy, Verdict};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/quant-models/tiny-Q4_1.gguf");

/// What the program prints, or says when it fails.
fn tried(cache: &Path, arguments: &[&str]) -> Result<String, String> {
    let out = Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
        .args(arguments)
        .env("RIDGEPOINT_CACHE", cache)
        .output()
        .expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
}

fn run(cache: &Path, arguments: &[&str]) -> String {
    tried(cache, arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

fn refused(cache: &Path, arguments: &[&str]) -> String {
    tried(cache, arguments).err().unwrap_or_else(|| panic!("{arguments:?} went well"))
}

/// What `explain` prints, or none where noise made it predict nothing, of which it says so for each change.
fn explained(cache: &Path, arguments: &[&str], changes: &[&str]) -> Option<String> {
    let error = match tried(cache, arguments) {
        Ok(text) => return Some(text),
        Err(error) => error,
    };
    assert!(error.contains("no prediction can be made"), "{error}");
    assert!(changes.iter().all(|change| error.contains(&format!("{change}: "))), "{error}");
    None
}

#[test]
fn a_tiny_model_s_report_is_whole() {
    let cache = tempfile::tempdir().expect("a folder");
    keep(cache.path(), None);
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
    assert!(text.contains("timer wall_only: the device has no timestamps"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&run(cache.path(), &["ceilings", "--json"])).expect("JSON");
    assert!(json["schema_version"] == 1 && json["ceilings"].is_array() && json["null_interval_ns"].is_null());
}

/// What took long to measure is drawn though nobody reads what is printed.
#[test]
#[cfg(unix)]
fn a_closed_pipe_loses_no_picture() {
    let cache = tempfile::tempdir().expect("a folder");
    keep(cache.path(), None);
    let page = cache.path().join("page.html");
    let status = Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
        .args(["roofline", MODEL, "-p", "0", "--contexts", "16", "-b", "1", "--seconds", "0.1", "--html"])
        .arg(&page)
        .env("RIDGEPOINT_CACHE", cache.path())
        // Nobody reads from the first moment on.
        .stdout(std::io::pipe().expect("a pipe").1)
        .status()
        .expect("the program starts");
    assert!(status.success() && std::fs::read_to_string(&page).expect("a page").contains("</html>"));
}

#[test]
fn stamps_and_counterfactuals_mark_rows() {
    let cache = tempfile::tempdir().expect("a folder");
    keep(cache.path(), Some(&sound()));
    let arguments = [
        "roofline",
        MODEL,
        "--confirm",
        "--json",
        "-p",
        "8",
        "--contexts",
        "40",
        "-b",
        "1",
        "--seconds",
        "0.5",
    ];
    let report = Report::from_json(&run(cache.path(), &arguments)).expect("a report");
    let told = |by| matches!(by, TimedBy::InsidePass | TimedBy::NullSubtracted | TimedBy::LeaveOneOut);
    assert!(report.kernels.iter().all(|r| told(r.timed_by)), "{:?}", report.kernels);
    assert!(report.steps.iter().all(|s| s.gpu_ns > Some(0.0) && s.profiling_tax.is_some()));
    // Every larger row whose work can be changed was tried (a prompt of one block has no bytes to lose); a verdict that claims something is marked.
    let tried = report.kernels.iter().filter(|r| {
        let changes = r.kernel.starts_with("linear")
            || r.kernel.starts_with("attention")
                && r.kernel != "attention_merge"
                && r.step.starts_with("decode");
        changes && r.share >= 0.02 && r.time().is_some()
    });
    let mut count = 0;
    for row in tried {
        count += 1;
        let e = row.elasticity.expect("elasticities");
        assert!(e.arithmetic.low <= e.arithmetic.value && e.bytes.value <= e.bytes.high, "{e:?}");
        assert!(row.reason.contains("twice the arithmetic"), "{}", row.reason);
        let claims = !matches!(row.verdict, Verdict::Unknown | Verdict::OverRoof);
        assert_eq!(row.confirmed.is_some(), claims, "{row:?}");
    }
    assert!(count >= 2, "{:?}", report.kernels);
}

#[test]
fn a_workload_s_steps_are_reported() {
    let cache = tempfile::tempdir().expect("a folder");
    keep(cache.path(), Some(&sound()));
    let file = cache.path().join("w.jsonl");
    let line = "{\"prompt_tokens\": 6, \"max_tokens\": 24}\n";
    std::fs::write(&file, line.repeat(2)).expect("a file");
    let path = file.display().to_string();
    let arguments = ["roofline", MODEL, "--workload", &path, "--steps", "20", "--json"];
    let report = Report::from_json(&run(cache.path(), &arguments)).expect("a report");
    let step = report.steps.iter().find(|s| s.name.starts_with("decode x2 up to")).expect("decodes");
    assert!(step.gpu_ns > Some(0.0) && step.wall_ns > 0.0, "{step:?}");
    assert!(report.kernels.iter().filter(|r| r.step == step.name).count() >= 5);
}

#[test]
fn explain_turns_what_it_predicts() {
    let cache = tempfile::tempdir().expect("a folder");
    keep(cache.path(), None);
    let arguments = ["explain", MODEL, "--context", "64", "--most-sequences", "4", "--seconds", "1"];
    let changes = [
        "a batch of 2 sequences for 1",
        "a batch of 4 sequences for 1",
        "a context of 16 tokens for 64",
        "weights in Q4_0 for Q4_1",
    ];
    let text = explained(cache.path(), &[&arguments[..], &["--all"]].concat(), &changes);
    if let Some(text) = text {
        assert!(text.contains("decode x1 at 64 takes") && !text.contains("not turned"), "{text}");
        assert!(changes.iter().all(|change| text.contains(change)), "{text}");
        assert!(text.contains("predicted") && text.contains("measured"), "{text}");
    }
    let best = explained(cache.path(), &[&arguments[..], &["--json"]].concat(), &changes);
    let Some(best) = best else { return };
    let best: serde_json::Value = serde_json::from_str(&best).expect("JSON");
    assert_eq!(best["step"], "decode x1 at 64");
    let outcomes = best["outcomes"].as_array().expect("outcomes");
    assert_eq!(outcomes.len(), 1, "only the best is turned: {best}");
    // Each is turned, left or says why it has none.
    let count = |name: &str| best[name].as_array().expect("a list").len();
    assert_eq!(count("outcomes") + count("not_turned") + count("not_predicted"), changes.len(), "{best}");
    for outcome in outcomes {
        assert!(["batch", "context", "weight_format"].contains(&outcome["knob"].as_str().expect("a knob")));
        for figure in ["predicted_step_ns", "measured_step_ns", "predicted_gain", "measured_gain"] {
            assert!(outcome[figure].as_f64() > Some(0.0), "{figure}: {outcome}");
        }
        assert!(["growth", "ceilings"].contains(&outcome["by"].as_str().expect("what it rests on")));
    }
}

#[test]
fn a_decode_without_knobs_says_so_before_it_is_measured() {
    let cache = tempfile::tempdir().expect("a folder");
    keep(cache.path(), None);
    let model = MODEL.replace("Q4_1", "Q4_0");
    let error = refused(cache.path(), &["explain", &model, "-b", "8", "--context", "32"]);
    assert!(error.contains("decode x8 at 32: there is no knob to turn at these sizes"), "{error}");
    assert!(!error.contains("measuring decode"), "{error}");
}

#[test]
fn a_prompt_s_budget_is_heard() {
    let cache = tempfile::tempdir().expect("a folder");
    keep(cache.path(), Some(&sound()));
    let out = Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
        .args(["explain", MODEL, "-p", "32", "--max-num-batched-tokens", "16", "--all", "--seconds", "0.3"])
        .env("RIDGEPOINT_CACHE", cache.path())
        .output()
        .expect("the program starts");
    // Steps this small may be lost in noise; then it says so of each budget.
    let said = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(said.contains("measuring prefill 32 in steps of 16"), "{said}");
    for budget in [32, 8] {
        assert!(said.contains(&format!("steps of {budget} tokens for steps of 16")), "{said}");
    }
    assert_eq!(out.status.success(), said.contains(" before, predicted "), "{said}");
    assert!(out.status.success() || said.contains("no prediction can be made"), "{said}");
}

#[test]
fn a_workload_needs_stamps_that_can_be_trusted() {
    let cache = tempfile::tempdir().expect("a folder");
    keep(cache.path(), None);
    let file = cache.path().join("w.jsonl");
    std::fs::write(&file, "{\"prompt_tokens\": 6, \"max_tokens\": 4}\n").expect("a file");
    let error = refused(cache.path(), &["roofline", MODEL, "--workload", &file.display().to_string()]);
    assert!(error.contains("wall_only") && error.contains("no timestamps"), "{error}");
}

#[test]
fn a_workload_longer_than_the_context_is_refused() {
    let cache = tempfile::tempdir().expect("a folder");
    let file = cache.path().join("w.jsonl");
    std::fs::write(&file, "{\"prompt_tokens\": 1000000000000000, \"max_tokens\": 4}\n").expect("a file");
    let error = refused(cache.path(), &["roofline", MODEL, "--workload", &file.display().to_string()]);
    assert!(error.contains("w.jsonl:1: 1000000000000000 tokens of prompt"), "{error}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cache = tempfile::tempdir().expect("a folder");
    for (arguments, expected) in [
        (vec!["-p", "0", "-b", "0"], "no step to measure"),
        (vec!["--seconds", "0"], "expected 0.1 to 3600"),
        (vec!["--contexts", "0"], "a context of 0 tokens (--contexts or --context): expected at least 1"),
        (vec!["--contexts", "9", "-b", "0"], "--contexts 9: with --batch 0 nothing is decoded"),
        (
            vec!["-b", "2000"],
            "2000 sequences at once (--batch, --most-sequences or lines of --workload): exp",
        ),
        (vec!["-p", "99999999999"], "a prompt of 99999999999 tokens (--prefill): expected at most"),
        (vec!["-p", "99999999"], "longer than the model's"),
        (vec!["-p", "18446744073709551615"], "tokens (--prefill): expected at most 4294967295"),
        (vec!["--max-num-batched-tokens", "8"], "--max-num-batched-tokens 8: each step here"),
        (vec!["-c", "16"], "--max-model-len 16: the steps here"),
        // Before anything is measured.
        (vec!["--html", "no/such/folder/page.html"], "can't write no/such/folder/page.html"),
        (vec!["--trace", "/"], "can't write /"),
    ] {
        let error = refused(cache.path(), &[&["roofline", MODEL][..], &arguments].concat());
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    // A server has a device of its own. Nothing listens there.
    let attach = ["roofline", "--attach", "http://127.0.0.1:1"];
    for (arguments, expected) in [
        (["--adapter", "0"], "--adapter 0: the server has an adapter of its own"),
        (["--limits", "webgpu"], "--limits: the server has limits of its own"),
        (["--steps", "3"], "asking http://127.0.0.1:1"),
    ] {
        let error = refused(cache.path(), &[&attach[..], &arguments].concat());
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    // What nothing would hear is refused by name.
    for (arguments, expected) in [
        (["--max-num-batched-tokens", "1"], "--max-num-batched-tokens 1"),
        (["-c", "32"], "--max-model-len 32"),
        (["--confirm", "--json"], "'--confirm'"),
        (["-p", "18446744073709551615"], "--prefill 18446744073709551615: expected 1 to "),
        (["-p", "0"], "--prefill 0: expected 1 to "),
        // Before anything is measured.
        (["-p", "8"], "prefill 8 in steps of 8: there is no knob to turn at these sizes"),
    ] {
        let error = refused(cache.path(), &[&["explain", MODEL][..], &arguments].concat());
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}
