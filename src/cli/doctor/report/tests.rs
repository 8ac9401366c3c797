//! The table and its verdict, on planted outcomes.

use super::*;

fn adapter() -> AdapterSummary {
    AdapterSummary {
        index: 0,
        name: "Fake".into(),
        kind: "discrete",
        backend: "vulkan".into(),
        driver: "fake 1.0".into(),
        subgroup_size: [32, 32],
        subgroups: true,
        f16: true,
        timestamps: "none",
        max_binding: 1 << 27,
        max_buffer: 1 << 31,
        max_storage_buffers: 8,
        max_workgroup: 256,
        max_workgroup_memory: 16384,
    }
}

fn right(worst: f64, bits: u8) -> Ran {
    Ok((Outcome::Right { worst }, vec![vec![bits]]))
}

fn wrong() -> Ran {
    Ok((Outcome::Wrong("number 3 is 1, expected 2 within 1e-6".into()), vec![vec![0]]))
}

fn text(report: &Report) -> String {
    let mut out = Vec::new();
    report.print(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_planted_mismatch_is_named_counted_and_fails() {
    let mut kernel = KernelReport::new("linear", "", false);
    kernel.add("plain", right(0.25, 0), None);
    kernel.add("f16", Ok((Outcome::Unsupported, vec![])), None);
    let mut report = Report::new(&adapter());
    report.kernels.push(kernel);
    assert_eq!(report.verdict(), Ok(()));
    assert!(text(&report).contains("all is well"));
    for i in 0..7 {
        report.kernels[0].add(&format!("ragged {i}"), wrong(), None);
    }
    let error = report.verdict().unwrap_err();
    assert!(error.contains("linear") && error.contains("fake 1.0"), "{error}");
    let table = text(&report);
    assert!(table.contains("mismatch: linear, ragged 0: number 3 is 1, expected 2"), "{table}");
    assert!(table.contains("linear: 2 more") && table.contains("NOT well"), "{table}");
    let cells: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(cells, ["linear", "1", "7", "1", "25.0", "%"]);
    assert_eq!(report.json()["ok"], false);
    assert_eq!(report.json()["kernels"][0]["wrong"], 7);
}

#[test]
fn a_checked_run_must_be_right_and_may_differ_in_bits() {
    let mut report = Report::new(&adapter());
    let mut kernel = KernelReport::new("embed", "", true);
    kernel.add("a", right(0.0, 1), Some(right(0.0, 1)));
    kernel.add("b", right(0.0, 1), Some(right(0.0, 2)));
    report.kernels.push(kernel);
    assert_eq!(report.verdict(), Ok(()));
    assert_eq!(report.json()["kernels"][0]["checked"]["differ"], 1);
    report.kernels[0].add("c", right(0.0, 1), Some(wrong()));
    assert!(report.verdict().is_err());
    assert!(text(&report).contains("embed, c with checks on: number 3"));
}

#[test]
fn a_kernel_that_never_ran_or_was_refused_is_not_well() {
    let mut report = Report::new(&adapter());
    report.kernels.push(KernelReport::new("gated", "", false));
    assert!(report.verdict().is_err() && text(&report).contains("no variant of it runs"));
    report.kernels[0].add("a", right(0.0, 0), None);
    assert!(report.verdict().is_ok());
    report.kernels[0].add("b", Err(Error::Kernel("refused".into())), None);
    assert!(report.verdict().is_err() && text(&report).contains("gated, b: refused"));
}

#[test]
fn a_model_that_is_off_or_not_a_number_is_not_well() {
    let run = |difference| ModelRun { label: "f32 cache".into(), difference, tolerance: 5e-4 };
    for (difference, well) in [(1e-5, true), (1e-3, false), (f64::NAN, false)] {
        let mut report = Report::new(&adapter());
        let runs = vec![run(difference), run(0.0)];
        report.model =
            Some(ModelReport { summary: String::new(), runs, failures: vec![], checked: None, seconds: 0.0 });
        assert_eq!(report.verdict().is_ok(), well, "{difference}");
        assert_eq!(text(&report).contains("mismatch: tiny model, f32 cache"), !well);
    }
}
