//! What a step would take in another configuration: each dispatch keeps its efficiency.
//!
//! A measured dispatch reaches some part of what the roof allows. The same kernel on another shape
//! is taken to reach the same part of what the roof allows there. What lies between the kernels and
//! the wall clock (host, launches that idle) stays as it is.

use super::analyse::MeasuredStep;
use super::report::{KernelRow, Step, Verdict};
use super::roof::Roof;
use super::verdict::THRESHOLDS;
use crate::cost::{Cost, Role};
use crate::profile::Dispatched;
use crate::quant::{Format, Layout, UNIT};
use crate::units::{Bytes, Flops};

/// Kernels that add up to more or less of the step's span are timed worse than predictions need.
pub(super) const COVERED: [f64; 2] = [0.95, 1.05];

/// Of the kernels' time, so much may be lost in noise: at such a row's uncertainty of a fifth or more, the
/// step is as uncertain as the 5 % above.
const LOST: f64 = 0.25;

/// Why a step's rows can carry no prediction, if they can't.
pub fn weakness(step: &Step, rows: &[&KernelRow]) -> Option<String> {
    let time = |row: &&KernelRow| row.median().map(|median| (row.calls as f64 * median).abs());
    let all: f64 = rows.iter().filter_map(time).sum();
    let unknown = rows.iter().filter(|row| row.verdict == Verdict::Unknown);
    let lost: f64 = unknown.copied().filter_map(|row| time(&row)).sum();
    if lost > LOST * all {
        let few = rows.iter().filter(|row| row.samples.is_some_and(|n| n < THRESHOLDS.samples as u64));
        let few: f64 = few.copied().filter_map(|row| time(&row)).sum();
        let why = if 2.0 * few > lost { "was seen too seldom" } else { "is lost in noise" };
        return Some(format!("{:.1} % of its kernels' time {why}", 100.0 * lost / all));
    }
    let Some(coverage) = step.coverage else { return Some("some of its kernels have no time".to_string()) };
    let covered = (COVERED[0]..=COVERED[1]).contains(&coverage);
    (!covered).then(|| format!("its kernels add up to {:.1} % of it", 100.0 * coverage))
}

/// Whether a device's pipes work side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// On a GPU: the slowest bounds.
    Apart,
    /// On a processor, vector units do everything in turn: times add up.
    Shared,
}

impl Roof {
    /// The least time of a cost in ns, given how pipes overlap.
    fn least(&self, cost: &Cost, step_bytes: u64, overlap: Overlap) -> f64 {
        let floors = self.floors(cost, step_bytes);
        match overlap {
            Overlap::Apart => floors.most(),
            Overlap::Shared => {
                let pipes = cost.work.pipes().into_iter();
                let sum: f64 = pipes.filter_map(|(pipe, work)| Some(work.0 as f64 / self.pipe(pipe)?)).sum();
                floors.launch + sum.max(floors.memory)
            }
        }
    }
}

/// A step's dispatches with what they were measured to take.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// (kernel, calls, cost, ns of one), in the order of first dispatch.
    groups: Vec<(String, u64, Cost, f64)>,
    /// Wall clock less kernels.
    rest: f64,
    bytes: u64,
    overlap: Overlap,
}

impl Baseline {
    /// The baseline of a measured step.
    ///
    /// # Errors
    /// Why its rows can carry no prediction: see [`weakness`].
    pub fn new(step: &MeasuredStep, roof: &Roof, overlap: Overlap) -> Result<Self, String> {
        let (rows, reconciled) = step.analyse(roof);
        if let Some(weakness) = weakness(&reconciled, &rows.iter().collect::<Vec<_>>()) {
            return Err(weakness);
        }
        // A row below nothing is lost in noise, and among the few that may be.
        let timed = step.groups.iter().zip(&rows);
        let groups =
            timed.map(|(g, row)| (g.kernel.clone(), g.calls, g.cost.clone(), row.time().unwrap_or(0.0)));
        let rest = (step.wall - reconciled.kernels_ns).max(0.0);
        Ok(Self { groups: groups.collect(), rest, bytes: step.lasting_bytes(), overlap })
    }

    /// The wall clock predicted for another configuration of the same model, ns; none if its
    /// dispatches don't correspond to these: another kernel reaches another part of the roof.
    pub fn predict(&self, roof: &Roof, other: &[(Dispatched, u64)]) -> Option<f64> {
        if other.len() != self.groups.len() {
            return None;
        }
        let lasting = |cost: &Cost| {
            let of = cost.traffic.iter().filter(|t| matches!(t.role, Role::Weights | Role::Cache));
            of.map(|t| t.floor.0).sum::<u64>()
        };
        let bytes: u64 = other.iter().map(|(d, calls)| lasting(&d.cost) * calls).sum();
        let mut total = self.rest;
        for ((kernel, calls, cost, time), (d, other_calls)) in self.groups.iter().zip(other) {
            if (kernel, calls) != (&d.kernel, other_calls) {
                return None;
            }
            let before = roof.least(cost, self.bytes, self.overlap);
            let after = roof.least(&d.cost, bytes, self.overlap);
            if before <= 0.0 {
                return None;
            }
            total += *calls as f64 * time * after / before;
        }
        Some(total)
    }
}

/// Bytes of a unit of weights on the GPU.
pub fn unit_bytes(format: &dyn Format) -> f64 {
    // No entry of a section serves more units.
    const UNITS: usize = 8;
    Layout::row_bytes(format, UNITS * UNIT).iter().sum::<u64>() as f64 / UNITS as f64
}

/// A cost whose weights are of another format: other bytes, and other operations to unpack a unit.
pub fn reformatted(cost: &Cost, from: &dyn Format, to: &dyn Format) -> Cost {
    let mut cost = cost.clone();
    let units = (cost.of(Role::Weights).0 as f64 / unit_bytes(from)).round() as u64;
    let scaled = |b: Bytes| Bytes((b.0 as f64 * unit_bytes(to) / unit_bytes(from)).round() as u64);
    for t in cost.traffic.iter_mut().filter(|t| t.role == Role::Weights) {
        (t.floor, t.issued) = (scaled(t.floor), scaled(t.issued));
    }
    let (before, after) = (from.unpacking(), to.unpacking());
    let other =
        |work: Flops, before: u64, after: u64| Flops((work.0 + units * after).saturating_sub(units * before));
    cost.work.int = other(cost.work.int, before.int, after.int);
    cost.work.f32 = other(cost.work.f32, before.float, after.float);
    cost
}

#[cfg(test)]
mod tests {
    use super::super::report::{Ceiling, Host, TimedBy};
    use super::*;
    use crate::cost::Work;

    fn roof() -> Roof {
        let all = [("read_cold", 10.0), ("fma_f32", 100.0), ("int_alu", 50.0), ("launch", 0.0)];
        let ceiling = |(name, value): (&str, f64)| Ceiling {
            name: name.into(),
            unit: String::new(),
            value,
            low: value,
            high: value,
            probe: String::new(),
            agreed: true,
        };
        Roof::new(all.map(ceiling).to_vec(), vec![])
    }

    fn cost(bytes: u64, f32: u64, int: u64) -> Cost {
        let work = Work { f32: Flops(f32), int: Flops(int), ..Work::default() };
        Cost { work, traffic: vec![] }.moves(Role::Weights, bytes, bytes)
    }

    fn step(cost: Cost, time: f64) -> MeasuredStep {
        let group = super::super::Group {
            kernel: "linear".into(),
            shape: String::new(),
            calls: 2,
            workgroups: 8,
            cost,
            timed_by: TimedBy::Simulated,
            samples: vec![time; 6],
        };
        MeasuredStep {
            name: String::new(),
            tokens: 1,
            sequences: 1,
            context: 1,
            groups: vec![group],
            gpu: None,
            wall: 2.0 * time + 500.0,
            profiled_wall: None,
            host: Host::default(),
        }
    }

    fn dispatched(cost: Cost) -> (Dispatched, u64) {
        (Dispatched { kernel: "linear".into(), shape: String::new(), cost, workgroups: 8 }, 2)
    }

    #[test]
    fn each_kernel_keeps_its_part_of_the_roof() {
        // 10 kB at 10 GB/s are 1000 ns; it took 1250. Half the bytes take half, the rest stays.
        let mut measured = step(cost(10_000, 0, 0), 1250.0);
        measured.gpu = Some(2500.0);
        let base = Baseline::new(&measured, &roof(), Overlap::Apart).unwrap();
        assert_eq!(base.predict(&roof(), &[dispatched(cost(5_000, 0, 0))]), Some(1250.0 + 500.0));
        assert_eq!(base.predict(&roof(), &[]), None);
    }

    #[test]
    fn rows_that_are_lost_or_do_not_add_up_predict_nothing() {
        let why = |change: &dyn Fn(&mut MeasuredStep)| {
            let mut measured = step(cost(10_000, 0, 0), 1250.0);
            measured.gpu = Some(2500.0);
            change(&mut measured);
            Baseline::new(&measured, &roof(), Overlap::Apart).err().unwrap_or_default()
        };
        assert_eq!(why(&|_| ()), "");
        assert_eq!(why(&|s| s.gpu = Some(2000.0)), "its kernels add up to 125.0 % of it");
        // A second kernel of a third of the time, too noisy to judge; one of a fifth would do.
        let second = |s: &mut MeasuredStep, part: f64| {
            let mut noisy = s.groups[0].clone();
            noisy.samples = [0.5, 0.6, 1.0, 1.0, 1.4, 1.5].map(|x| x * part * 1250.0).to_vec();
            s.groups.push(noisy);
            s.gpu = Some(2500.0 * (1.0 + part));
        };
        assert_eq!(why(&|s| second(s, 0.5)), "33.3 % of its kernels' time is lost in noise");
        assert_eq!(why(&|s| second(s, 0.2)), "");
        // Below nothing is not nothing.
        assert_eq!(why(&|s| second(s, -0.5)), "33.3 % of its kernels' time is lost in noise");
        assert_eq!(why(&|s| s.groups[0].samples.clear()), "some of its kernels have no time");
    }

    #[test]
    fn pipes_of_a_processor_add_up_and_those_of_a_gpu_overlap() {
        // 1000 ns of f32 and 1000 of integers, then four times the f32.
        let (before, after) = (cost(10, 100_000, 50_000), cost(10, 400_000, 50_000));
        let gain = |overlap| {
            let mut measured = step(before.clone(), 2000.0);
            measured.gpu = Some(4000.0);
            let base = Baseline::new(&measured, &roof(), overlap).unwrap();
            (base.predict(&roof(), &[dispatched(after.clone())]).unwrap() - 500.0) / 4000.0
        };
        assert_eq!((gain(Overlap::Shared), gain(Overlap::Apart)), (2.5, 4.0));
    }

    #[test]
    fn another_kernel_keeps_no_part_of_the_roof() {
        let mut measured = step(cost(10_000, 0, 0), 1250.0);
        measured.gpu = Some(2500.0);
        let base = Baseline::new(&measured, &roof(), Overlap::Apart).unwrap();
        let mut other = dispatched(cost(5_000, 0, 0));
        other.0.kernel = "linear_tiled".into();
        assert_eq!(base.predict(&roof(), &[other]), None);
    }

    #[test]
    fn another_format_changes_weights_and_unpacking_alone() {
        // Units of 32 weights; bytes of one: Q4_0 16 + 2, Q4_1 16 + 4, Q8_0 32 + 2, F16 64.
        let of = |name, units: u64, [bytes, int, float]: [u64; 3]| {
            // 1000 operations that are no unpacking.
            let cost = cost(units * bytes, 1000 + units * float, units * int).moves(Role::Input, 9, 9);
            (crate::quant::by_name(name).unwrap(), cost)
        };
        let units = 96;
        let (q4_0, expected) = of("Q4_0", units, [18, 47, 67]);
        for (name, counts) in [("F16", [64, 0, 32]), ("Q8_0", [34, 35, 66]), ("Q4_1", [20, 44, 98])] {
            let (from, before) = of(name, units, counts);
            assert_eq!(reformatted(&before, from, q4_0), expected, "{name}");
            assert_eq!(reformatted(&expected, q4_0, from), before, "{name}");
        }
        // Without weights nothing is unpacked.
        let other = Cost::default().moves(Role::Input, 9, 9);
        assert_eq!(reformatted(&other, q4_0, of("F16", 1, [64, 0, 32]).0), other);
    }
}
