//! What a step would take in another configuration: each dispatch keeps its efficiency.
//!
//! A measured dispatch reaches some part of what the roof allows. The same kernel on another shape
//! is taken to reach the same part of what the roof allows there. What lies between the kernels and
//! the wall clock (host, launches that idle) stays as it is.

use super::analyse::MeasuredStep;
use super::roof::Roof;
use crate::cost::{Cost, Role};
use crate::profile::Dispatched;
use crate::profile::stats::Samples;
use crate::units::{Bytes, Flops};

/// Kernels must add up to so much of the step's span.
const COVERED: [f64; 2] = [0.75, 1.25];

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
    /// (kernel, shape, calls, cost, ns of one), in the order of first dispatch.
    groups: Vec<(String, u64, Cost, f64)>,
    /// Wall clock less kernels.
    rest: f64,
    bytes: u64,
    overlap: Overlap,
}

impl Baseline {
    /// The baseline of a measured step; none if its kernels don't add up to it: from times that are
    /// lost in noise nothing can be predicted.
    pub fn new(step: &MeasuredStep, overlap: Overlap) -> Option<Self> {
        let timed = |g: &super::Group| {
            let time = Samples::new(g.samples.clone())?.median().max(0.0);
            Some((g.kernel.clone(), g.calls, g.cost.clone(), time))
        };
        let groups = step.groups.iter().map(timed).collect::<Option<Vec<_>>>()?;
        let kernels: f64 = groups.iter().map(|(_, calls, _, time)| *calls as f64 * time).sum();
        let covered = kernels / step.gpu.unwrap_or(step.wall);
        if !(COVERED[0]..=COVERED[1]).contains(&covered) {
            return None;
        }
        Some(Self { groups, rest: (step.wall - kernels).max(0.0), bytes: step.lasting_bytes(), overlap })
    }

    /// The wall clock predicted for another configuration of the same model, ns; none if its
    /// dispatches don't correspond to these.
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
        for ((_, calls, cost, time), (d, other_calls)) in self.groups.iter().zip(other) {
            if calls != other_calls {
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

/// A cost whose weights are of another format: so many times the bytes, with or without unpacking.
pub fn reformatted(cost: &Cost, bytes: f64, unpacking: f64) -> Cost {
    let mut cost = cost.clone();
    let mut weights = false;
    let scaled = |b: Bytes, by: f64| Bytes((b.0 as f64 * by) as u64);
    for t in cost.traffic.iter_mut().filter(|t| t.role == Role::Weights) {
        (t.floor, t.issued) = (scaled(t.floor, bytes), scaled(t.issued, bytes));
        weights = true;
    }
    if weights {
        cost.work.int = Flops((cost.work.int.0 as f64 * unpacking) as u64);
    }
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
            samples: vec![time; 5],
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
        let base = Baseline::new(&step(cost(10_000, 0, 0), 1250.0), Overlap::Apart).unwrap();
        let mut noisy = step(cost(10_000, 0, 0), 1250.0);
        noisy.wall *= 2.0;
        assert!(Baseline::new(&noisy, Overlap::Apart).is_none());
        assert_eq!(base.predict(&roof(), &[dispatched(cost(5_000, 0, 0))]), Some(1250.0 + 500.0));
        assert_eq!(base.predict(&roof(), &[]), None);
    }

    #[test]
    fn pipes_of_a_processor_add_up_and_those_of_a_gpu_overlap() {
        // 1000 ns of f32 and 1000 of integers, then four times the f32.
        let (before, after) = (cost(10, 100_000, 50_000), cost(10, 400_000, 50_000));
        let gain = |overlap| {
            let base = Baseline::new(&step(before.clone(), 2000.0), overlap).unwrap();
            (base.predict(&roof(), &[dispatched(after.clone())]).unwrap() - 500.0) / 4000.0
        };
        assert_eq!((gain(Overlap::Shared), gain(Overlap::Apart)), (2.5, 4.0));
    }

    #[test]
    fn another_format_changes_weights_and_unpacking_alone() {
        let changed = reformatted(&cost(1000, 7, 48).moves(Role::Input, 9, 9), 0.5, 0.0);
        assert_eq!(changed, cost(500, 7, 0).moves(Role::Input, 9, 9));
    }
}
