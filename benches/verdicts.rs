//! The analyzer judged on the adapter that is there, by kernels whose verdict is known.
//!
//! `cargo bench --bench verdicts`, on a quiet machine: times decide, so it is no test. Each kernel is measured
//! in its place and in the reversed order: verdicts must be right both times, and intervals meet. Ends with
//! 1 if one is not.

use std::process::ExitCode;

use ridgepoint::cost::{Cost, Role, Work};
use ridgepoint::gpu::{AdapterChoice, Checks, Gpu, Program};
use ridgepoint::profile::{Budget, PROBES, Rig, fill, measure};
use ridgepoint::roofline::report::{Ceiling, Host, Range, TimedBy, Verdict};
use ridgepoint::roofline::{Group, MeasuredStep, Roof};
use ridgepoint::units::Flops;

const SAMPLES: usize = 15;

/// Samples of one dispatch: T(2n) - T(n), so that the round trip cancels.
fn samples(gpu: &Gpu, rig: &Rig) -> Vec<f64> {
    let once = rig.time(gpu, 1).and_then(|_| rig.time(gpu, 1)).unwrap();
    let n = (20_000_000 / once.0.max(1)).clamp(1, 2000) as u32;
    let sample = |_| {
        let (short, long) = (rig.time(gpu, n).unwrap(), rig.time(gpu, 2 * n).unwrap());
        (long.0 as f64 - short.0 as f64) / f64::from(n) / rig.bound.len() as f64
    };
    (0..SAMPLES).map(sample).collect()
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
    let program = Program::new("probe/fma_f32").number("CHAINS", 12).number("STEPS", 16_384);
    let c = gpu.uniform_with("c", bytemuck::cast_slice(&[0.25_f32, 0.0, 0.0, 0.0]));
    let out = gpu.storage("sums", u64::from(groups) * 256).unwrap();
    let bound = gpu.bind(&gpu.pipeline(&program).unwrap(), &[(&c).into(), (&out).into()]).unwrap();
    let flops = 64 * 12 * 16_384 * 8 * 2 * u64::from(groups);
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
    let names = ["read_cold", "read_resident", "write_cold", "fma_f32", "launch"];
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
            agreed: true,
        })
        .collect();
    let filled = fill(&gpu).expect("a quiet machine");
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
    let alone = filled.rates[0].1 / best;

    let copy = variant(&gpu, "copy_cold", &ceilings);
    let copied = moved(&copy, &[Role::Weights, Role::Output]);
    let empty = variant(&gpu, "launch", &ceilings);
    let mut kernels = vec![
        ("copy", Verdict::MemoryBound, copy, copied),
        ("empty", Verdict::LaunchOverhead, empty, Cost::default().moves(Role::Output, 4, 4)),
    ];
    let full = 8 * filled.smallest.max(8);
    let (rig, cost) = chains(&gpu, full);
    kernels.push(("chain", Verdict::ComputeBound, rig, cost));
    let (rig, cost) = chase(&gpu, full);
    kernels.push(("chase", Verdict::Latency, rig, cost));
    if alone < 0.6 {
        let (rig, cost) = chains(&gpu, 1);
        kernels.push(("one group", Verdict::Underfilled, rig, cost));
    } else {
        println!("one workgroup reaches {:.0} %: 'underfilled' can't be told here", 100.0 * alone);
    }
    if value("read_resident") > 1.15 * value("read_cold") {
        let mut reread = variant(&gpu, "read_resident", &ceilings);
        reread.groups = 4096.min(reread.most_groups);
        let cost = moved(&reread, &[Role::Weights]);
        kernels.push(("re-read", Verdict::OverRoof, reread, cost));
    } else {
        println!("caches are no faster than memory: 'over-roof' can't be told here");
    }
    let roof = Roof::new(ceilings, vec![]);
    // In this order and the other way round: a figure doesn't depend on its place.
    let mut wrong = Vec::new();
    let mut intervals: Vec<(&str, Range)> = Vec::new();
    for round in 0..2 {
        for (name, expected, rig, cost) in &kernels {
            let group = Group {
                kernel: (*name).into(),
                shape: String::new(),
                calls: 1,
                workgroups: u64::from(rig.groups),
                cost: cost.clone(),
                timed_by: TimedBy::LeaveOneOutWall,
                samples: samples(&gpu, rig),
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
            let row = step.analyse(&roof).0.remove(0);
            println!(
                "{name:<10} {:>12.0} ns  {:?}: {}",
                row.median().unwrap_or(f64::NAN),
                row.verdict,
                row.reason
            );
            if let Some(here) = row.interval_ns {
                let before = intervals.iter().find(|(of, _)| of == name);
                if before.is_some_and(|(_, there)| here.low > there.high || here.high < there.low) {
                    wrong.push(format!("{name}: its figure depends on its place: {here:?}, {before:?}"));
                }
                intervals.push((name, here));
            }
            if row.verdict != *expected {
                wrong.push(format!(
                    "{name}, round {round}: {:?}, not {expected:?}: {}",
                    row.verdict, row.reason
                ));
            }
        }
        kernels.reverse();
    }
    wrong.iter().for_each(|what| eprintln!("{what}"));
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
