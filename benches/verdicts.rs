//! The analyzer judged on the adapter that is there, by kernels whose verdict is known.
//!
//! `cargo bench --bench verdicts`, on a quiet machine: times decide, so it is no test. Each kernel is measured
//! in its place and in the reversed order, in turn: verdicts must be right both times, and intervals meet.
//! Ends with 1 if one is not.

use std::process::ExitCode;

use ridgepoint::cost::{Cost, Role, Work};
use ridgepoint::gpu::{AdapterChoice, Checks, Gpu, Program};
use ridgepoint::profile::stats::Samples;
use ridgepoint::profile::{Budget, PROBES, Rig, Rounds, fill, measure};
use ridgepoint::roofline::report::{Ceiling, Host, TimedBy, Verdict};
use ridgepoint::roofline::{Group, MeasuredStep, Roof};
use ridgepoint::units::Flops;

/// Passes with each kernel in its place, and as many with the order reversed.
const PASSES: usize = 31;
/// Runs of T(2n) and T(n) in a pass. Those that nothing disturbed count.
const RUNS: usize = 9;
/// What T(n) takes, ns.
const BATCH: u64 = 10_000_000;

/// A kernel whose verdict is known.
struct Known {
    name: &'static str,
    verdict: Verdict,
    rig: Rig,
    cost: Cost,
    /// Repeats of a T(n).
    repeats: u32,
    /// T(2n) and T(n) of each pass, ns: in its place, and with the order reversed.
    passes: [Vec<Pass>; 2],
}

type Pass = [(f64, f64); RUNS];

impl Known {
    fn new(gpu: &Gpu, name: &'static str, verdict: Verdict, (rig, cost): (Rig, Cost)) -> Self {
        let once = rig.time(gpu, 1).and_then(|_| rig.time(gpu, 1)).unwrap();
        let repeats = (BATCH / once.0.max(1)).clamp(1, 2000) as u32;
        Self { name, verdict, rig, cost, repeats, passes: Default::default() }
    }

    fn pass(&self, gpu: &Gpu) -> Pass {
        let time = |repeats| self.rig.time(gpu, repeats).unwrap().0 as f64;
        std::array::from_fn(|_| (time(2 * self.repeats), time(self.repeats)))
    }

    /// One dispatch by T(2n) - T(n), so that the round trip cancels: a sample for each pass that was not
    /// disturbed throughout.
    fn samples(&self, passes: &[Pass]) -> Vec<f64> {
        let all = passes.concat();
        let limit = |of: fn(&(f64, f64)) -> f64| Samples::new(all.iter().map(of).collect()).unwrap().calm();
        let (twice, once) = (limit(|p| p.0), limit(|p| p.1));
        let each = f64::from(self.repeats) * self.rig.bound.len() as f64;
        let sample = |pass: &Pass| {
            let calm = pass.iter().filter(|p| p.0 <= twice && p.1 <= once);
            Samples::new(calm.map(|p| (p.0 - p.1) / each).collect()).map(|s| s.median())
        };
        passes.iter().filter_map(sample).collect()
    }
}

/// The first variant of a probe; of one whose ceiling is known, the variant that gave it.
fn variant(gpu: &Gpu, name: &str, ceilings: &[Ceiling]) -> Rig {
    let probe = PROBES.iter().find(|p| p.name() == name).unwrap();
    let mut rigs = probe.rigs(gpu).unwrap();
    let ceiling = ceilings.iter().find(|c| c.name == name);
    let best = ceiling.and_then(|c| rigs.iter().position(|rig| rig.program.label() == c.probe));
    rigs.swap_remove(best.unwrap_or(0))
}

/// Chains of multiply-adds, long, in so many groups of 64 lanes.
fn chains(gpu: &Gpu, groups: u32) -> (Rig, Cost) {
    let program =
        Program::new("probe/fma_f32").number("CHAINS", 12).number("ROUNDS", 4).number("STEPS", 4096);
    let c = gpu.uniform_with("c", bytemuck::cast_slice(&[0.25_f32, 0.0, 0.0, 0.0]));
    let out = gpu.storage("sums", u64::from(groups) * 256).unwrap();
    let bound = gpu.bind(&gpu.pipeline(&program).unwrap(), &[(&c).into(), (&out).into()]).unwrap();
    let flops = 64 * 12 * 4096 * 4 * 2 * u64::from(groups);
    let work = Work { f32: Flops(flops), ..Work::default() };
    let cost = Cost { work, traffic: vec![] }.moves(Role::Output, 256, 256);
    (Rig { program, bound: vec![bound], groups, most_groups: groups, work_per_group: 1 }, cost)
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
    (Rig { program, bound: vec![bound], groups, most_groups: groups, work_per_group: 1 }, cost)
}

fn moved(rig: &Rig, roles: &[Role]) -> Cost {
    let bytes = rig.work_per_group * u64::from(rig.groups) / roles.len() as u64;
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
    let best = filled.rates.iter().map(|r| r.1).fold(0.0, f64::max);
    // Without a rate of one group nothing is known of it.
    let alone = filled.rates.iter().find(|r| r.0 == 1).map_or(1.0, |r| r.1 / best);

    let copy = variant(&gpu, "copy_cold", &ceilings);
    let copied = moved(&copy, &[Role::Weights, Role::Output]);
    let empty = variant(&gpu, "launch", &ceilings);
    let nothing = Cost::default().moves(Role::Output, 4, 4);
    let full = 8 * filled.smallest.max(8);
    let mut kernels = vec![
        Known::new(&gpu, "copy", Verdict::MemoryBound, (copy, copied)),
        Known::new(&gpu, "empty", Verdict::LaunchOverhead, (empty, nothing)),
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
    // One order and the other in turn, so that a machine that changes its pace changes both.
    for pass in 0..2 * PASSES {
        for k in &mut kernels {
            let runs = k.pass(&gpu);
            k.passes[pass % 2].push(runs);
        }
        kernels.reverse();
    }
    let wrong = judged(&kernels, &Roof::new(ceilings, vec![]));
    wrong.iter().for_each(|what| eprintln!("{what}"));
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is wrong: another verdict than the known one, or a figure that depends on its place.
fn judged(kernels: &[Known], roof: &Roof) -> Vec<String> {
    let mut wrong = Vec::new();
    for k in kernels {
        let rows = k.passes.each_ref().map(|passes| {
            let group = Group {
                kernel: k.name.into(),
                shape: String::new(),
                calls: 1,
                workgroups: u64::from(k.rig.groups),
                cost: k.cost.clone(),
                timed_by: TimedBy::LeaveOneOutWall,
                samples: k.samples(passes),
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
        if let [Some(there), Some(here)] = rows.map(|row| row.interval_ns)
            && (here.low > there.high || here.high < there.low)
        {
            wrong.push(format!("{}: its figure depends on its place: {there:?}, {here:?}", k.name));
        }
    }
    wrong
}
