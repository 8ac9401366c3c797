//! The analyzer judged on the adapter that is there, by kernels whose verdict is known.
//!
//! `cargo bench --bench verdicts`, on a quiet machine: times decide, so it is no test. Each kernel is measured
//! in its place and in the reversed order, in turn: verdicts must be right both times, medians within 5 %, and the
//! median of either order within p10 and p90 of the other's. Ends with 1 if one is not.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ridgepoint::cost::{Cost, Role, Work};
use ridgepoint::gpu::{self, AdapterChoice, Checks, Gpu, Program};
use ridgepoint::profile::{Budget, Draws, PROBES, Probe, Repeat, Rig, Rounds, Timing, batch, fill, measure};
use ridgepoint::roofline::report::{Ceiling, Host, Percentiles, TimedBy, Verdict};
use ridgepoint::roofline::{Group, MeasuredStep, Roof};
use ridgepoint::units::{Flops, Nanos};

/// Passes with each kernel in its place, and as many with the order reversed.
const PASSES: usize = 31;
/// A pass takes as many draws of T(n) and of a longer run as have T(n) take the time of so many of 50 ms.
const DRAWS: usize = 2;
/// The two orders' medians are no further apart: what windows of a ceiling agree within.
const APART: f64 = 0.05;
/// Before each, since what ran before leaves its caches and its clock.
const WARM_UP: Duration = Duration::from_millis(100);

/// A kernel whose verdict is known.
struct Known<'a> {
    name: &'static str,
    verdict: Verdict,
    gpu: &'a Gpu,
    rig: Rig,
    cost: Cost,
    timing: Timing,
    /// Repeats of a T(n).
    repeats: u32,
    /// A dispatch in each pass, ns: in its place, and with the order reversed.
    samples: [Vec<f64>; 2],
}

impl Repeat for Known<'_> {
    fn run(&mut self, repeats: u32) -> Result<Nanos, gpu::Error> {
        self.rig.time(self.gpu, repeats)
    }

    fn timing(&self) -> Timing {
        self.timing
    }
}

impl<'a> Known<'a> {
    fn new(gpu: &'a Gpu, name: &'static str, verdict: Verdict, (rig, cost): (Rig, Cost)) -> Self {
        let timing = Timing::of(gpu);
        Self { name, verdict, gpu, rig, cost, timing, repeats: 1, samples: Default::default() }
    }

    /// One dispatch by the slope, so that the round trip cancels; no sample if the pass was disturbed throughout.
    fn pass(&mut self, order: usize) -> Result<(), gpu::Error> {
        let start = Instant::now();
        while start.elapsed() < WARM_UP {
            self.run(self.repeats)?;
        }
        let (repeats, draws) = (self.repeats, self.timing.draws(DRAWS));
        let slope = Draws::take(self, repeats, draws)?.slope();
        let dispatches = self.rig.bound.len() as f64;
        self.samples[order].extend(slope.map(|s| s.seconds * 1e9 / dispatches));
        Ok(())
    }
}

fn probe(name: &str) -> &'static dyn Probe {
    *PROBES.iter().find(|p| p.name() == name).unwrap()
}

/// The first variant of a probe; of one whose ceiling is known, the variant that gave it.
fn variant(gpu: &Gpu, name: &str, ceilings: &[Ceiling]) -> Rig {
    let mut rigs = probe(name).rigs(gpu).unwrap();
    let ceiling = ceilings.iter().find(|c| c.name == name);
    let best = ceiling.and_then(|c| rigs.iter().position(|rig| rig.program.label() == c.probe));
    rigs.swap_remove(best.unwrap_or(0))
}

/// Chains of multiply-adds in so many groups of 64 lanes, long beside a launch.
fn chains(gpu: &Gpu, groups: u32) -> (Rig, Cost) {
    let steps = if groups == 1 { 1 << 16 } else { 1 << 12 };
    let program =
        Program::new("probe/fma_f32").number("CHAINS", 12).number("ROUNDS", 4).number("STEPS", steps);
    let c = gpu.uniform_with("c", bytemuck::cast_slice(&[0.25_f32, 0.0, 0.0, 0.0]));
    let out = gpu.storage("sums", u64::from(groups) * 256).unwrap();
    let bound = gpu.bind(&gpu.pipeline(&program).unwrap(), &[(&c).into(), (&out).into()]).unwrap();
    let flops = 64 * 12 * u64::from(steps) * 4 * 2 * u64::from(groups);
    let work = Work { f32: Flops(flops), ..Work::default() };
    let cost = Cost { work, traffic: vec![] }.moves(Role::Output, 256, 256);
    (Rig { program, bound: vec![bound], groups, most_groups: groups, work_per_group: 1.0 }, cost)
}

fn chase(gpu: &Gpu, groups: u32) -> (Rig, Cost) {
    let program = Program::new("probe/chase");
    // A permutation in one cycle of steps that no prefetcher guesses: i -> a i + c modulo 2^24.
    let words = 1_u32 << 24;
    let next: Vec<u32> =
        (0..words).map(|i| i.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) % words).collect();
    let next = gpu.storage_with("next", bytemuck::cast_slice(&next)).unwrap();
    let ends = gpu.storage("ends", 4 * u64::from(groups)).unwrap();
    let bound = gpu.bind(&gpu.pipeline(&program).unwrap(), &[(&next).into(), (&ends).into()]).unwrap();
    let bytes = 4 * 65_536 * u64::from(groups);
    let cost = Cost::default().moves(Role::Weights, bytes, bytes);
    (Rig { program, bound: vec![bound], groups, most_groups: groups, work_per_group: 1.0 }, cost)
}

fn moved(rig: &Rig, roles: &[Role]) -> Cost {
    let bytes = rig.work_per_group as u64 * u64::from(rig.groups) / roles.len() as u64;
    roles.iter().fold(Cost::default(), |cost, role| cost.moves(*role, bytes, bytes))
}

fn main() -> ExitCode {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted).expect("an adapter");
    let names = ["read_cold", "read_resident", "write_cold", "copy_cold", "fma_f32", "launch"];
    let mut ceilings: Vec<Ceiling> = measure(&gpu, &names, Budget::Full)
        .expect("a quiet machine")
        .into_iter()
        .map(|c| Ceiling {
            name: c.name.into(),
            unit: c.unit.to_string(),
            value: c.value,
            low: c.low,
            high: c.high,
            probe: c.probe,
            agreed: matches!(c.rounds, Rounds::Agreed(_)),
        })
        .collect();
    let filled = fill(&gpu, Budget::Full).expect("a device that runs").expect("grids");
    let smallest = f64::from(filled.smallest);
    ceilings.push(Ceiling {
        name: "fill".into(),
        unit: "workgroups".into(),
        value: smallest,
        low: smallest,
        high: smallest,
        probe: filled.probe.clone(),
        agreed: true,
    });
    let value = |name: &str| ceilings.iter().find(|c| c.name == name).map_or(0.0, |c| c.value);
    let best = filled.rates.iter().map(|r| r.rate).fold(0.0, f64::max);
    // Without a rate of one group nothing is known of it.
    let alone = filled.rates.iter().find(|r| r.size == 1).map_or(1.0, |r| r.rate / best);

    let copy = variant(&gpu, "copy_cold", &ceilings);
    let copied = moved(&copy, &[Role::Weights, Role::Output]);
    let empty = variant(&gpu, "launch", &ceilings);
    let launches = probe("launch").part(&gpu).timing;
    let nothing = Cost::default().moves(Role::Output, 4, 4);
    let full = 8 * filled.smallest.max(8);
    let mut kernels = vec![
        Known::new(&gpu, "copy", Verdict::MemoryBound, (copy, copied)),
        Known { timing: launches, ..Known::new(&gpu, "empty", Verdict::LaunchOverhead, (empty, nothing)) },
        Known::new(&gpu, "chain", Verdict::ComputeBound, chains(&gpu, full)),
        Known::new(&gpu, "chase", Verdict::Latency, chase(&gpu, full / 8)),
    ];
    if alone < 0.6 {
        kernels.push(Known::new(&gpu, "one group", Verdict::Underfilled, chains(&gpu, 1)));
    } else {
        println!("one workgroup reaches {:.0} %: 'underfilled' can't be told here", 100.0 * alone);
    }
    if value("read_resident") > 1.15 * value("read_cold") {
        let mut reread = variant(&gpu, "read_resident", &ceilings);
        reread.groups = 4096.min(reread.most_groups);
        let cost = moved(&reread, &[Role::Weights]);
        kernels.push(Known::new(&gpu, "re-read", Verdict::OverRoof, (reread, cost)));
    } else {
        println!("caches are no faster than memory: 'over-roof' can't be told here");
    }
    for k in &mut kernels {
        k.repeats = batch(k).expect("a device that runs").0;
    }
    // One order and the other in turn, so that a machine that changes its pace changes both.
    for pass in 0..2 * PASSES {
        for k in &mut kernels {
            k.pass(pass % 2).expect("a device that runs");
        }
        kernels.reverse();
    }
    println!("{} of 6 kernels can be judged here", kernels.len());
    let wrong = judged(&kernels, &Roof::new(ceilings, vec![]));
    wrong.iter().for_each(|what| eprintln!("{what}"));
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is wrong: another verdict than the known one, or a figure that depends on its place.
fn judged(kernels: &[Known<'_>], roof: &Roof) -> Vec<String> {
    let mut wrong = Vec::new();
    for k in kernels {
        let rows = k.samples.each_ref().map(|samples| {
            let group = Group {
                kernel: k.name.into(),
                shape: String::new(),
                calls: 1,
                workgroups: u64::from(k.rig.groups),
                cost: k.cost.clone(),
                timed_by: TimedBy::LeaveOneOutWall,
                samples: samples.clone(),
            };
            let step = MeasuredStep {
                name: "test".into(),
                tokens: 1,
                sequences: 1,
                context: 1,
                groups: vec![group],
                gpu: None,
                wall: 1.0,
                profiled_wall: None,
                host: Host::default(),
            };
            step.analyse(roof).0.remove(0)
        });
        for (row, order) in rows.iter().zip(["in order", "reversed"]) {
            let median = row.median().unwrap_or(f64::NAN);
            println!("{:<10} {order} {median:>12.0} ns  {:?}: {}", k.name, row.verdict, row.reason);
            if row.verdict != k.verdict {
                wrong.push(format!(
                    "{} {order}: {:?}, not {:?}: {}",
                    k.name, row.verdict, k.verdict, row.reason
                ));
            }
        }
        if let [Some(there), Some(here)] = rows.map(|row| row.time_ns) {
            let within = |a: Percentiles, b: Percentiles| (b.p10..=b.p90).contains(&a.p50);
            let apart = here.p50 / there.p50 - 1.0;
            println!("{:<10} reversed {:+.1} %", k.name, 100.0 * apart);
            if apart.abs() > APART || !within(here, there) || !within(there, here) {
                wrong.push(format!("{}: its figure depends on its place: {there:?}, {here:?}", k.name));
            }
        }
    }
    wrong
}
