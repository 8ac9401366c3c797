//! Every committed report is one that today's analyzer could have written: from a row's own cost, time and
//! interval, and the report's ceilings, comes the row again.

use std::fs;
use std::path::PathBuf;

use ridgepoint::cost::{Cost, Role, Work};
use ridgepoint::roofline::elasticity::mark;
use ridgepoint::roofline::html::html;
use ridgepoint::roofline::plot::roofline;
use ridgepoint::roofline::report::{KernelRow, Range, Report, Step, TimedBy};
use ridgepoint::roofline::verdict::{Evidence, judge};
use ridgepoint::roofline::{Group, MeasuredStep, Roof, summary};
use ridgepoint::units::Flops;

const SIMULATED: [&str; 3] = ["simulated", "half-bandwidth", "slow-kernel"];
/// The report that docs/ shows, and its pictures.
const SHOWN: &str = "smollm2-135m-q4_1-llvmpipe";
const MEASURED: [&str; 3] = ["tiny-llvmpipe", "tiny-swiftshader", SHOWN];

fn path(name: &str) -> PathBuf {
    let folder = if name == SHOWN { "docs/reports" } else { "tests/data/roofline" };
    PathBuf::from(format!("{}/{folder}/{name}.json", env!("CARGO_MANIFEST_DIR")))
}

fn read(name: &str) -> Report {
    Report::from_json(&fs::read_to_string(path(name)).unwrap()).unwrap()
}

/// The cost that a row states: floors by role, and what loads ask for beyond them.
fn cost(row: &KernelRow) -> Cost {
    let of = |pipe: &str| Flops(row.ops.get(pipe).copied().unwrap_or(0));
    let work = Work {
        f32: of("fma_f32"),
        f16: of("fma_f16"),
        dot4_i8: of("dot4_i8"),
        int: of("int_alu"),
        special: of("special"),
    };
    let floors: u64 = row.roles.values().sum();
    let mut beyond = (row.bytes.high as u64).saturating_sub(floors);
    let mut cost = Cost { work, traffic: vec![] };
    for role in [Role::Weights, Role::Input, Role::Output, Role::Cache, Role::Tables] {
        if let Some(&floor) = row.roles.get(role.name()) {
            cost = cost.moves(role, floor, floor + std::mem::take(&mut beyond));
        }
    }
    cost
}

/// A step with samples of its rows as `samples` makes them of a median.
fn measured(report: &Report, step: &Step, samples: impl Fn(usize, f64) -> Vec<f64>) -> MeasuredStep {
    let rows = report.kernels.iter().filter(|row| row.step == step.name);
    let group = |(i, row): (usize, &KernelRow)| Group {
        kernel: row.kernel.clone(),
        shape: row.shape.clone(),
        calls: row.calls,
        workgroups: row.workgroups,
        cost: cost(row),
        timed_by: row.timed_by,
        samples: row.median().map_or(Vec::new(), |median| samples(i, median)),
    };
    MeasuredStep {
        name: step.name.clone(),
        tokens: step.tokens,
        sequences: step.sequences,
        context: step.context,
        groups: rows.enumerate().map(group).collect(),
        gpu: step.gpu_ns,
        wall: step.wall_ns,
        profiled_wall: step.profiling_tax.map(|tax| step.wall_ns * (1.0 + tax)),
        host: step.host,
    }
}

fn roof(report: &Report) -> Roof {
    Roof::new(report.ceilings.clone(), report.curves.clone())
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

/// The row as its own figures have it; what samples alone tell is taken from it.
fn again(row: &KernelRow, analysed: &KernelRow, roof: &Roof, step_bytes: u64) -> KernelRow {
    let mut found = KernelRow { time_ns: row.time_ns, interval_ns: row.interval_ns, ..analysed.clone() };
    // Of too few samples only the reason tells how many there were.
    let few = row.reason.split_once(" samples, at least").and_then(|(n, _)| n.parse().ok());
    let judgement = judge(&Evidence {
        time: row.median().unwrap_or(f64::NAN),
        interval: row.interval_ns.unwrap_or(Range { low: f64::NAN, high: f64::NAN }),
        samples: few.unwrap_or(30),
        subtracted: row.timed_by == TimedBy::NullSubtracted,
        floors: roof.floors(&cost(row), step_bytes),
        workgroups: row.workgroups,
        fill: roof.fill(),
    });
    (found.verdict, found.reason) = (judgement.verdict, judgement.reason);
    if let Some(elasticity) = row.elasticity {
        mark(&mut found, elasticity);
    }
    found
}

#[test]
fn every_committed_report_analyses_to_itself() {
    for name in SIMULATED.into_iter().chain(MEASURED) {
        let report = read(name);
        let roof = roof(&report);
        for step in &report.steps {
            let measured = measured(&report, step, |_, median| vec![median; 5]);
            let (rows, reconciled) = measured.analyse(&roof);
            assert!(near(reconciled.kernels_ns, step.kernels_ns), "{name}: {step:?}\n{reconciled:?}");
            assert_eq!(reconciled.coverage.is_some(), step.coverage.is_some(), "{name}: {step:?}");
            let own: Vec<&KernelRow> = report.kernels.iter().filter(|row| row.step == step.name).collect();
            for (row, analysed) in own.iter().zip(&rows) {
                let found = again(row, analysed, &roof, measured.lasting_bytes());
                let told = |r: &KernelRow| {
                    let known = (r.verdict, r.side, r.pipe.clone(), r.confirmed, r.reason.clone());
                    (known, r.roles.clone(), r.ops.clone(), r.bytes)
                };
                assert_eq!(told(row), told(&found), "{name}: {} {} {}", row.step, row.kernel, row.shape);
                let figures = |r: &KernelRow| {
                    let some = [r.headroom_ns, r.of_ceiling.memory, r.of_ceiling.pipe];
                    let known = [r.share, r.floor_ns, r.intensity.low, r.intensity.high];
                    known.into_iter().chain(some.map(|f| f.unwrap_or(f64::MAX)))
                };
                let same = figures(row).zip(figures(&found)).all(|(a, b)| near(a, b));
                assert!(same, "{name}: {row:#?}\nagain: {found:#?}");
            }
        }
        assert_eq!(report.summary, summary(&report), "{name}: {ANEW}");
    }
}

/// What writes the committed reports.
const ANEW: &str = "if the analyzer changed: cargo test --test roofline_reports -- --ignored";

/// A report's page and picture, as docs/ has them.
fn pictures(report: &Report) -> [(&'static str, String); 2] {
    [("html", html(report)), ("svg", roofline(report, None).file("Roofline"))]
}

#[test]
fn the_shown_report_has_today_s_pictures() {
    for (kind, drawn) in pictures(&read(SHOWN)) {
        let committed = fs::read_to_string(path(SHOWN).with_extension(kind)).unwrap();
        // Byte for byte, without printing either.
        let line = committed.lines().zip(drawn.lines()).position(|(a, b)| a != b);
        assert!(committed == drawn, "the {kind} differs from line {line:?} on; {ANEW}");
    }
}

/// Samples with a spread of 4 %, in an order without a trend.
fn samples(seed: usize, median: f64) -> Vec<f64> {
    (0..25).map(|i| median * (1.0 + 0.04 * (((i * 7 + seed) % 25) as f64 / 24.0 - 0.5))).collect()
}

/// Writes the reports of simulated devices anew, as the analyzer has them: their medians, costs and ceilings stay.
/// Of those that were measured, only the words and pictures are.
#[test]
#[ignore = "writes the committed reports after the analyzer changed: cargo test --test roofline_reports -- --ignored"]
fn write_the_reports_anew() {
    for name in SIMULATED.into_iter().chain(MEASURED) {
        let mut report = read(name);
        if SIMULATED.contains(&name) {
            let roof = roof(&report);
            let mut kernels = Vec::new();
            for i in 0..report.steps.len() {
                let (rows, step) = measured(&report, &report.steps[i], samples).analyse(&roof);
                assert!(rows.iter().all(|row| row.timed_by == TimedBy::Simulated));
                kernels.extend(rows);
                report.steps[i] = step;
            }
            report.kernels = kernels;
        }
        report.summary = summary(&report);
        fs::write(path(name), serde_json::to_string_pretty(&report).unwrap() + "\n").unwrap();
        if name == SHOWN {
            for (kind, drawn) in pictures(&report) {
                fs::write(path(name).with_extension(kind), drawn).unwrap();
            }
        }
    }
}
