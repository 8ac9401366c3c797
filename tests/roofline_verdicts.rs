//! The analyzer judged: devices that are simulated, so that the truth is known and no GPU is needed.
//!
//! A simulated device has hidden rates. A kernel's true time is what those make of its work; the
//! analyzer sees samples of that time and the device's ceilings, right or planted wrong.

use ridgepoint::cost::{Cost, Role, Work};
use ridgepoint::roofline::elasticity::mark;
use ridgepoint::roofline::report::{
    Ceiling, Confirmed, Elastic, Elasticity, Host, KernelRow, Side, Step, TimedBy, Verdict,
};
use ridgepoint::roofline::{Group, MeasuredStep, Roof};
use ridgepoint::units::Flops;

/// What a device truly can do: GB/s, 10^9 operations a second, ns, workgroups.
struct Simulated {
    read: f64,
    resident: f64,
    write: f64,
    fma: f64,
    int: f64,
    launch: f64,
    /// Groups that run at once; one alone gets its part.
    groups: f64,
    /// A load that waits for the one before it.
    latency: f64,
}

const LAPTOP: Simulated = Simulated {
    read: 60.0,
    resident: 400.0,
    write: 50.0,
    fma: 2000.0,
    int: 900.0,
    launch: 4000.0,
    groups: 96.0,
    latency: 500.0,
};

const SERVER: Simulated = Simulated {
    read: 3000.0,
    resident: 9000.0,
    write: 2500.0,
    fma: 60_000.0,
    int: 30_000.0,
    launch: 1500.0,
    groups: 1056.0,
    latency: 700.0,
};

impl Simulated {
    /// The ceilings as an honest measurement gives them, each changed by `plant`.
    fn roof(&self, plant: impl Fn(&str, f64) -> f64) -> Roof {
        let all = [
            ("read_cold", "GB/s", self.read),
            ("read_resident", "GB/s", self.resident),
            ("write_cold", "GB/s", self.write),
            ("fma_f32", "GFLOP/s", self.fma),
            ("int_alu", "GOP/s", self.int),
            ("launch", "ns", self.launch),
            ("fill", "workgroups", 0.9 * self.groups),
        ];
        let ceiling = |(name, unit, value): (&str, &str, f64)| {
            let value = plant(name, value);
            let (name, unit) = (name.to_string(), unit.to_string());
            Ceiling { name, unit, value, low: value, high: value, probe: "simulated".into(), agreed: true }
        };
        Roof::new(all.map(ceiling).to_vec(), vec![])
    }
}

/// What a kernel truly waits for.
#[derive(Clone, Copy, Default)]
struct Truth {
    workgroups: u64,
    /// f32 operations.
    ops: u64,
    /// Bytes read, and written.
    reads: u64,
    writes: u64,
    /// Whether a cache holds what it reads.
    cached: bool,
    /// Loads one after the other.
    chain: u64,
    /// The part of the device's rates that it reaches.
    reached: f64,
}

/// What a counterfactual changes of a kernel, and nothing else.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    Nothing,
    TwiceTheArithmetic,
    LoadsFromAFewLines,
}

impl Simulated {
    /// Nanoseconds: the launch, or else the slowest of arithmetic, memory and the chain of loads.
    fn time(&self, of: &Truth, change: Change) -> f64 {
        let times = if change == Change::TwiceTheArithmetic { 2.0 } else { 1.0 };
        let near = change == Change::LoadsFromAFewLines;
        let filled = (of.workgroups as f64 / self.groups).min(1.0);
        let arithmetic = times * of.ops as f64 / (self.fma * filled);
        let read = if of.cached || near { self.resident } else { self.read };
        let memory = of.reads as f64 / read + of.writes as f64 / self.write;
        // A load from a cache is a tenth as far.
        let chain = of.chain as f64 * self.latency * if near { 0.1 } else { 1.0 };
        self.launch.max(arithmetic).max(memory).max(chain) / of.reached
    }

    /// What the counterfactuals of a kernel find.
    fn elasticity(&self, of: &Truth) -> Elasticity {
        let real = self.time(of, Change::Nothing);
        let exact = |value: f64| Elastic { value, low: value, high: value };
        Elasticity {
            arithmetic: exact(self.time(of, Change::TwiceTheArithmetic) / real - 1.0),
            bytes: exact(1.0 - self.time(of, Change::LoadsFromAFewLines) / real),
        }
    }
}

/// A kernel: what it states, and the nanoseconds that it truly takes.
struct Kernel {
    name: &'static str,
    workgroups: u64,
    cost: Cost,
    time: f64,
    truth: Truth,
}

impl Kernel {
    /// One that states what it does.
    fn new(d: &Simulated, name: &'static str, truth: Truth) -> Self {
        let cost = Cost { work: work(truth.ops), traffic: vec![] }
            .moves(Role::Input, truth.reads, truth.reads)
            .moves(Role::Output, truth.writes, truth.writes);
        Self { name, workgroups: truth.workgroups, cost, time: d.time(&truth, Change::Nothing), truth }
    }
}

/// Samples with a spread of 4 %, in an order without a trend; no two kernels have the same.
fn samples(time: f64, seed: u64) -> Vec<f64> {
    (0..25).map(|i| time * (1.0 + 0.04 * (((i * 7 + seed) % 25) as f64 / 24.0 - 0.5))).collect()
}

fn step(kernels: &[Kernel]) -> MeasuredStep {
    let group = |(i, k): (usize, &Kernel)| Group {
        kernel: k.name.into(),
        shape: String::new(),
        calls: 1,
        workgroups: k.workgroups,
        cost: k.cost.clone(),
        timed_by: TimedBy::Simulated,
        samples: samples(k.time, i as u64),
    };
    let gpu: f64 = kernels.iter().map(|k| k.time).sum();
    MeasuredStep {
        name: "test".into(),
        tokens: 1,
        sequences: 1,
        context: 1,
        groups: kernels.iter().enumerate().map(group).collect(),
        gpu: Some(gpu),
        wall: 1.1 * gpu,
        profiled_wall: Some(1.3 * gpu),
        host: Host::default(),
    }
}

fn work(f32: u64) -> Work {
    Work { f32: Flops(f32), ..Work::default() }
}

fn copy(d: &Simulated) -> Kernel {
    let bytes = 512 << 20;
    let truth = Truth { workgroups: 4096, reads: bytes, writes: bytes, reached: 0.93, ..Truth::default() };
    Kernel::new(d, "copy", truth)
}

fn chain(d: &Simulated) -> Kernel {
    let truth = Truth { workgroups: 4096, ops: 1 << 40, writes: 1 << 20, reached: 0.9, ..Truth::default() };
    Kernel::new(d, "chain", truth)
}

fn empty(d: &Simulated) -> Kernel {
    Kernel::new(d, "empty", Truth { workgroups: 1, writes: 16, reached: 0.9, ..Truth::default() })
}

fn one_group(d: &Simulated) -> Kernel {
    let truth = Truth { workgroups: 1, ops: 1 << 34, writes: 256, reached: 1.0, ..Truth::default() };
    Kernel::new(d, "one_group", truth)
}

fn chase(d: &Simulated) -> Kernel {
    let truth = Truth { workgroups: 4096, reads: 64 << 20, chain: 1 << 16, reached: 1.0, ..Truth::default() };
    Kernel::new(d, "chase", truth)
}

/// Reads that the cost takes for cold ones and a cache serves.
fn reread(d: &Simulated) -> Kernel {
    let bytes = 256 << 20;
    let truth = Truth { workgroups: 4096, reads: bytes, cached: true, reached: 0.9, ..Truth::default() };
    let cost = Cost::default().moves(Role::Weights, bytes, bytes);
    Kernel { cost, ..Kernel::new(d, "reread", truth) }
}

fn all(d: &Simulated) -> [Kernel; 6] {
    [copy(d), chain(d), empty(d), one_group(d), chase(d), reread(d)]
}

const EXPECTED: [(&str, Verdict); 6] = [
    ("copy", Verdict::MemoryBound),
    ("chain", Verdict::ComputeBound),
    ("empty", Verdict::LaunchOverhead),
    ("one_group", Verdict::Underfilled),
    ("chase", Verdict::Latency),
    ("reread", Verdict::OverRoof),
];

fn analyse(kernels: &[Kernel], roof: &Roof) -> (Vec<KernelRow>, Step) {
    step(kernels).analyse(roof)
}

fn verdict_of(rows: &[KernelRow], name: &str) -> Verdict {
    rows.iter().find(|r| r.kernel == name).unwrap().verdict
}

#[test]
fn six_planted_kernels_get_their_verdicts_on_two_devices() {
    for device in [LAPTOP, SERVER] {
        let (rows, _) = analyse(&all(&device), &device.roof(|_, v| v));
        for (name, verdict) in EXPECTED {
            let row = rows.iter().find(|r| r.kernel == name).unwrap();
            assert_eq!(row.verdict, verdict, "{name}: {}", row.reason);
        }
        let row = |name: &str| rows.iter().find(|r| r.kernel == name).unwrap();
        assert_eq!(row("chain").pipe.as_deref(), Some("fma_f32"));
        assert_eq!((row("copy").side, row("chain").side), (Side::Memory, Side::Compute));
        // Never clamped: a re-read at the cache's rate is far above the memory's.
        assert!(row("reread").of_ceiling.memory > Some(2.0), "{:?}", row("reread").of_ceiling);
        assert!(row("reread").headroom_ns < Some(0.0));
    }
}

#[test]
fn counterfactuals_contradict_none_of_the_six() {
    for device in [LAPTOP, SERVER] {
        let kernels = all(&device);
        let (mut rows, _) = analyse(&kernels, &device.roof(|_, v| v));
        for (row, kernel) in rows.iter_mut().zip(&kernels) {
            mark(row, device.elasticity(&kernel.truth));
            let expected = match row.kernel.as_str() {
                "chain" | "empty" | "one_group" | "chase" => Some(Confirmed::Confirmed),
                "copy" => Some(Confirmed::Unclear),
                _ => None,
            };
            assert_eq!(row.confirmed, expected, "{}: {:?}", row.kernel, row.verdict);
        }
    }
}

#[test]
fn what_could_not_be_measured_is_null_and_never_0() {
    let roof = LAPTOP.roof(|_, v| v);
    let mut step = step(&[copy(&LAPTOP), chain(&LAPTOP), empty(&LAPTOP)]);
    step.groups[0].samples.clear();
    step.groups[1].samples.iter_mut().for_each(|s| *s = -*s);
    let (rows, step) = step.analyse(&roof);
    let json = serde_json::to_value(&rows).unwrap();
    for path in
        ["/0/time_ns", "/0/interval_ns", "/0/headroom_ns", "/0/of_ceiling/memory", "/0/of_ceiling/pipe"]
    {
        assert!(json.pointer(path).unwrap().is_null(), "{path}: {json}");
    }
    // A difference below nothing is told as it is, and is no time.
    assert!(rows[1].median() < Some(0.0) && rows[1].time().is_none());
    for path in ["/1/headroom_ns", "/1/of_ceiling/memory", "/1/of_ceiling/pipe"] {
        assert!(json.pointer(path).unwrap().is_null(), "{path}: {json}");
    }
    assert_eq!(step.coverage, None, "a sum without one of its parts covers nothing");
}

#[test]
fn the_busiest_pipe_is_named() {
    let ints = Work { f32: Flops(1 << 30), int: Flops(1 << 40), ..Work::default() };
    let cost = Cost { work: ints, traffic: vec![] }.moves(Role::Weights, 1 << 20, 1 << 20);
    let time = (1_u64 << 40) as f64 / LAPTOP.int / 0.95;
    let kernels = [Kernel { name: "unpack", workgroups: 4096, cost, time, truth: Truth::default() }];
    let (rows, _) = analyse(&kernels, &LAPTOP.roof(|_, v| v));
    assert_eq!((rows[0].verdict, rows[0].pipe.as_deref()), (Verdict::ComputeBound, Some("int_alu")));
    assert_eq!(rows[0].ops["int_alu"], 1 << 40);
}

#[test]
fn the_side_of_a_ridge_that_is_not_known_is_unknown() {
    let device = &LAPTOP;
    let kernels = [copy(device), chain(device)];
    let sides = |missing: &[&str]| {
        let roof = device.roof(|name, v| if missing.contains(&name) { 0.0 } else { v });
        let known = roof.ceilings().iter().filter(|c| !missing.contains(&c.name.as_str()));
        let (rows, _) = analyse(&kernels, &Roof::new(known.cloned().collect(), vec![]));
        [rows[0].side, rows[1].side]
    };
    assert_eq!(sides(&[]), [Side::Memory, Side::Compute]);
    // A copy has no arithmetic: it is memory's whatever the pipes are.
    assert_eq!(sides(&["fma_f32"]), [Side::Memory, Side::Unknown]);
    let memory = ["read_cold", "read_resident", "write_cold", "write_resident"];
    assert_eq!(sides(&memory), [Side::Memory, Side::Unknown]);
}

#[test]
fn a_step_without_a_span_is_covered_by_its_wall_clock() {
    let mut step = step(&[copy(&LAPTOP), chain(&LAPTOP)]);
    step.gpu = None;
    let (_, step) = step.analyse(&LAPTOP.roof(|_, v| v));
    assert!((step.coverage.unwrap() - 1.0 / 1.1).abs() < 0.02, "{:?}", step.coverage);
    assert_eq!(step.gpu_idle, None);
}

#[test]
fn shares_add_up_and_steps_reconcile() {
    let (rows, step) = analyse(&all(&LAPTOP), &LAPTOP.roof(|_, v| v));
    assert!((rows.iter().map(|r| r.share).sum::<f64>() - 1.0).abs() < 1e-9);
    assert!((step.coverage.unwrap() - 1.0).abs() < 0.02, "{:?}", step.coverage);
    assert!((step.gpu_idle.unwrap() - (1.0 - 1.0 / 1.1)).abs() < 1e-9);
    assert!((step.profiling_tax.unwrap() - (1.3 / 1.1 - 1.0)).abs() < 1e-9);
}

#[test]
fn a_cost_twice_too_high_is_caught() {
    let mut kernels = [copy(&LAPTOP), chain(&LAPTOP)];
    for t in &mut kernels[0].cost.traffic {
        t.floor.0 *= 2;
        t.issued.0 *= 2;
    }
    kernels[1].cost.work.f32.0 *= 2;
    let (rows, _) = analyse(&kernels, &LAPTOP.roof(|_, v| v));
    assert_eq!([rows[0].verdict, rows[1].verdict], [Verdict::OverRoof; 2]);
}

/// What costs too low look like: slower than their ceilings allow by as much, which no verdict of a bound
/// survives, and counterfactuals say what the kernel truly waits for.
#[test]
fn a_cost_half_as_high_is_caught() {
    let mut kernels = [copy(&LAPTOP), chain(&LAPTOP)];
    for t in &mut kernels[0].cost.traffic {
        t.floor.0 /= 2;
        t.issued.0 /= 2;
    }
    kernels[1].cost.work.f32.0 /= 2;
    let (mut rows, _) = analyse(&kernels, &LAPTOP.roof(|_, v| v));
    assert_eq!([rows[0].verdict, rows[1].verdict], [Verdict::Latency; 2]);
    let exact = |value: f64| Elastic { value, low: value - 0.02, high: value + 0.02 };
    let truly = [(0.0, 0.93), (0.9, 0.0)];
    for (row, (arithmetic, bytes)) in rows.iter_mut().zip(truly) {
        mark(row, Elasticity { arithmetic: exact(arithmetic), bytes: exact(bytes) });
        assert_eq!(row.confirmed, Some(Confirmed::Contradicted), "{}", row.kernel);
    }
}

#[test]
fn a_ceiling_half_as_high_is_caught() {
    for (planted, kernel) in [("read_cold", "copy"), ("fma_f32", "chain")] {
        let roof = LAPTOP.roof(|name, v| if name == planted { v / 2.0 } else { v });
        let (rows, _) = analyse(&all(&LAPTOP), &roof);
        assert_eq!(verdict_of(&rows, kernel), Verdict::OverRoof, "{planted}");
    }
}

#[test]
fn times_in_wrong_units_are_caught() {
    // Ticks of 41.67 ns taken for nanoseconds: everything is faster than any ceiling.
    let mut kernels = [copy(&LAPTOP), chain(&LAPTOP)];
    kernels.iter_mut().for_each(|k| k.time /= 41.67);
    let (rows, _) = analyse(&kernels, &LAPTOP.roof(|_, v| v));
    assert_eq!([rows[0].verdict, rows[1].verdict], [Verdict::OverRoof; 2]);
    // And the other way the step does not reconcile with its wall clock.
    let mut slow = step(&[copy(&LAPTOP)]);
    slow.groups[0].samples.iter_mut().for_each(|s| *s *= 41.67);
    let (_, step) = slow.analyse(&LAPTOP.roof(|_, v| v));
    assert!(step.coverage > Some(40.0));
}

#[test]
fn no_samples_few_samples_and_noise_are_unknown() {
    let roof = LAPTOP.roof(|_, v| v);
    for change in [
        |s: &mut Vec<f64>| s.clear(),
        |s: &mut Vec<f64>| s.truncate(3),
        |s: &mut Vec<f64>| s.iter_mut().for_each(|v| *v = 0.0),
        |s: &mut Vec<f64>| s.iter_mut().for_each(|v| *v = -*v),
        |s: &mut Vec<f64>| s.iter_mut().enumerate().for_each(|(i, v)| *v *= 1.0 + (i % 2) as f64),
        |s: &mut Vec<f64>| s[0] = f64::NAN,
    ] {
        let mut step = step(&[copy(&LAPTOP)]);
        change(&mut step.groups[0].samples);
        let (rows, _) = step.analyse(&roof);
        assert_eq!(rows[0].verdict, Verdict::Unknown, "{:?}", step.groups[0].samples);
    }
}
