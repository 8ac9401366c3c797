//! What every `cargo bench -- --baseline FILE` does: the comparison with an earlier run, and when it fails.

#[path = "../benches/report/mod.rs"]
mod report;

use std::path::Path;

use clap::Parser;
use report::{Flags, Row, Run, quick};
use ridgepoint::gpu::Gpu;

fn flags(arguments: &[&str]) -> Flags {
    Flags::parse_from([&["bench"], arguments].concat())
}

fn row(name: &str, unit: &str, value: f64) -> Row {
    let (name, unit, note) = (name.to_string(), unit.to_string(), String::new());
    Row { name, unit, value, low: 0.97 * value, high: 1.03 * value, samples: 9, note }
}

struct Bench {
    gpu: std::sync::Arc<Gpu>,
    folder: tempfile::TempDir,
}

impl Bench {
    /// A run of two rows: a time and a rate.
    fn run(&self, time: f64, rate: f64) -> Run {
        let mut run = Run::new("test", &self.gpu);
        run.quick = false;
        let silent = flags(&["--json"]);
        run.push(&silent, row("a time", "ns", time));
        run.push(&silent, row("a rate", "GB/s", rate));
        run
    }

    fn keep(&self, run: &Run) -> String {
        let path = self.folder.path().join("baseline.json");
        std::fs::write(&path, serde_json::to_string(run).unwrap()).unwrap();
        path.display().to_string()
    }
}

fn against(run: Run, baseline: &str, more: &[&str]) -> Result<(), String> {
    let arguments = [&["--baseline", baseline], more].concat();
    run.finish(&flags(&arguments)).map_err(|error| format!("{error:#}"))
}

#[test]
fn a_baseline_fails_what_is_worse_and_nothing_else() {
    let gpu = flags(&[]).open().expect("an adapter");
    let bench = Bench { gpu, folder: tempfile::tempdir().unwrap() };
    let kept = bench.keep(&bench.run(100.0, 10.0));
    assert_eq!(against(bench.run(100.0, 10.0), &kept, &[]), Ok(()));
    // Better is no failure, nor is what the intervals leave open.
    assert_eq!(against(bench.run(50.0, 20.0), &kept, &[]), Ok(()));
    assert_eq!(against(bench.run(105.5, 9.5), &kept, &[]), Ok(()));
    let slower = against(bench.run(150.0, 10.0), &kept, &[]).unwrap_err();
    assert!(
        slower.contains("a time") && slower.contains("1.50 times") && !slower.contains("a rate"),
        "{slower}"
    );
    let lower = against(bench.run(100.0, 5.0), &kept, &[]).unwrap_err();
    assert!(lower.contains("a rate") && lower.contains("2.00 times") && !lower.contains("a time"), "{lower}");
    assert_eq!(against(bench.run(150.0, 5.0), &kept, &["--threshold", "150"]), Ok(()));

    let mut run = bench.run(100.0, 10.0);
    run.quick = true;
    assert!(against(run, &kept, &[]).unwrap_err().contains("QUICK=1"));
    assert!(flags(&["--adapter", "no such adapter"]).open().is_err());
    let missing = bench.folder.path().join("none.json").display().to_string();
    assert!(against(bench.run(1.0, 1.0), &missing, &[]).unwrap_err().contains("none.json"));
    // Before anything is measured, too.
    let early = |path: &str| format!("{:#}", flags(&["--baseline", path]).open().err().unwrap());
    assert!(early(&missing).contains("none.json"), "{}", early(&missing));
    for bad in ["nan", "-1", "inf", "five"] {
        assert!(Flags::try_parse_from(["bench", &format!("--threshold={bad}")]).is_err(), "{bad}");
    }
    std::fs::write(Path::new(&missing), "{}").unwrap();
    assert!(against(bench.run(1.0, 1.0), &missing, &[]).unwrap_err().contains("is not what --json printed"));
}

#[test]
fn a_baseline_of_something_else_is_refused() {
    let gpu = flags(&[]).open().expect("an adapter");
    let bench = Bench { gpu, folder: tempfile::tempdir().unwrap() };
    let run = || bench.run(100.0, 10.0);
    let mut other = run();
    other.bench = "other".into();
    assert!(against(run(), &bench.keep(&other), &[]).unwrap_err().contains("of the bench 'other'"));
    other = run();
    other.device = format!("Another {}", other.device);
    assert!(against(run(), &bench.keep(&other), &[]).unwrap_err().contains("another device: Another"));
    // A driver is updated on the same device.
    other = run();
    other.device = other.device.replace(" (", " (older ");
    assert_eq!(against(run(), &bench.keep(&other), &[]), Ok(()));
    other = run();
    other.rows.iter_mut().for_each(|row| row.name += ", renamed");
    assert!(against(run(), &bench.keep(&other), &[]).unwrap_err().contains("none of these rows"));
}

#[test]
fn a_row_that_vanished_is_told() {
    let gpu = flags(&[]).open().expect("an adapter");
    let bench = Bench { gpu, folder: tempfile::tempdir().unwrap() };
    let old = bench.run(100.0, 10.0);
    let mut new = bench.run(100.0, 10.0);
    new.rows.remove(0);
    let gone = |words: &[&str]| new.gone(&old, &flags(words)).map(str::to_string).collect::<Vec<_>>();
    assert_eq!(gone(&[]), ["a time"]);
    assert!(gone(&["rate"]).is_empty(), "it was not asked for");
}

#[test]
fn rows_are_chosen_by_words() {
    let chosen = flags(&["linear", "Q4"]);
    assert!(chosen.want("linear_lanes Q4_1") && !chosen.want("linear_lanes Q8_0"));
    assert_eq!(quick(), std::env::var("QUICK").is_ok_and(|v| !v.is_empty() && v != "0"));
}
