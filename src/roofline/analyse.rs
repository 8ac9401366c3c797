//! From a step's measured times to the report's rows: floors, sides, verdicts, reconciliation.

use std::collections::BTreeMap;

use super::report::{Host, KernelRow, OfCeiling, Percentiles, Range, Side, Step, TimedBy};
use super::roof::Roof;
use super::verdict::{Evidence, judge, side};
use crate::cost::{Cost, Pipe, Role};
use crate::profile::stats::Samples;

/// The dispatches of one kernel and shape in a step, with the times of one of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The kernel.
    pub kernel: String,
    /// Its shape in words.
    pub shape: String,
    /// Dispatches.
    pub calls: u64,
    /// Workgroups of one.
    pub workgroups: u64,
    /// The cost of one.
    pub cost: Cost,
    /// How it was timed.
    pub timed_by: TimedBy,
    /// Nanoseconds of one; differences may be negative.
    pub samples: Vec<f64>,
}

/// A step as it was measured. Times are medians in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredStep {
    /// Its name.
    pub name: String,
    /// Tokens computed.
    pub tokens: u64,
    /// Sequences.
    pub sequences: u64,
    /// Tokens of each sequence after the step.
    pub context: u64,
    /// Its dispatches.
    pub groups: Vec<Group>,
    /// GPU span, unprofiled.
    pub gpu: Option<f64>,
    /// Wall clock, unprofiled.
    pub wall: f64,
    /// Wall clock, profiled.
    pub profiled_wall: Option<f64>,
    /// The host's parts, unprofiled.
    pub host: Host,
}

impl MeasuredStep {
    /// Bytes of weights and cache that the step goes through before it meets the same ones again.
    pub fn lasting_bytes(&self) -> u64 {
        let lasting = |group: &Group| {
            let of = group.cost.traffic.iter().filter(|t| matches!(t.role, Role::Weights | Role::Cache));
            of.map(|t| t.floor.0).sum::<u64>() * group.calls
        };
        self.groups.iter().map(lasting).sum()
    }

    /// The rows and the step's reconciliation.
    pub fn analyse(&self, roof: &Roof) -> (Vec<KernelRow>, Step) {
        let step_bytes = self.lasting_bytes();
        let mut rows: Vec<KernelRow> =
            self.groups.iter().map(|group| row(roof, &self.name, group, step_bytes)).collect();
        let all = |row: &KernelRow| row.median().map(|median| median * row.calls as f64);
        let kernels: f64 = rows.iter().filter_map(all).sum();
        let whole = rows.iter().all(|row| row.time_ns.is_some());
        for row in &mut rows {
            row.share = all(row).filter(|_| kernels > 0.0).map_or(0.0, |time| time / kernels);
        }
        let step = Step {
            name: self.name.clone(),
            tokens: self.tokens,
            sequences: self.sequences,
            context: self.context,
            kernels_ns: kernels,
            gpu_ns: self.gpu,
            wall_ns: self.wall,
            // Where there is no span, each kernel was timed by the wall clock too.
            coverage: (whole && kernels > 0.0).then(|| kernels / self.gpu.unwrap_or(self.wall)),
            profiling_tax: self.profiled_wall.map(|profiled| profiled / self.wall - 1.0),
            gpu_idle: self.gpu.map(|gpu| 1.0 - gpu / self.wall),
            host: self.host,
        };
        (rows, step)
    }
}

/// The pipe whose work takes longest, or that has the most where no ceiling is known.
fn busiest(roof: &Roof, cost: &Cost) -> Option<(Pipe, f64)> {
    let time = |(pipe, work): (Pipe, crate::units::Flops)| {
        let rate = roof.pipe(pipe).unwrap_or(f64::INFINITY);
        (pipe, work.0 as f64, work.0 as f64 / rate)
    };
    let all = cost.work.pipes().map(time).into_iter().filter(|(_, work, _)| *work > 0.0);
    all.max_by(|a, b| a.2.total_cmp(&b.2).then(a.1.total_cmp(&b.1))).map(|(pipe, work, _)| (pipe, work))
}

fn row(roof: &Roof, step: &str, group: &Group, step_bytes: u64) -> KernelRow {
    let floors = roof.floors(&group.cost, step_bytes);
    let samples = Samples::new(group.samples.clone());
    let time_ns = samples.as_ref().map(|s| {
        let [p10, p50, p90] = [10.0, 50.0, 90.0].map(|p| s.percentile(p));
        Percentiles { p10, p50, p90 }
    });
    let interval = samples.as_ref().map(Samples::median_interval);
    let interval_ns = interval.map(|i| Range { low: i.low, high: i.high });
    let judgement = judge(&Evidence {
        time: time_ns.map_or(f64::NAN, |t| t.p50),
        interval: interval_ns.unwrap_or(Range { low: f64::NAN, high: f64::NAN }),
        samples: group.samples.len(),
        subtracted: group.timed_by == TimedBy::NullSubtracted,
        floors,
        workgroups: group.workgroups,
        fill: roof.fill(),
    });
    let (low, high) = group.cost.bytes();
    let bytes = Range { low: low.0 as f64, high: high.0 as f64 };
    let busiest = busiest(roof, &group.cost);
    let work = busiest.map_or(0.0, |(_, work)| work);
    let intensity = Range { low: work / bytes.high.max(1.0), high: work / bytes.low.max(1.0) };
    // The ridge at this working set: the pipe's rate over the rate at which these bytes come.
    let rate = if floors.memory > 0.0 { bytes.low / floors.memory } else { 0.0 };
    let ridge = busiest.and_then(|(pipe, _)| roof.pipe(pipe)).filter(|_| rate > 0.0).map(|p| p / rate);
    let floor_ns = floors.most();
    let time = time_ns.map(|t| t.p50).filter(|time| *time > 0.0);
    let part = |floor: f64| time.map(|time| floor / time);
    KernelRow {
        step: step.to_string(),
        kernel: group.kernel.clone(),
        shape: group.shape.clone(),
        calls: group.calls,
        workgroups: group.workgroups,
        timed_by: group.timed_by,
        time_ns,
        samples: Some(group.samples.len() as u64),
        interval_ns,
        share: 0.0,
        bytes,
        roles: roles(&group.cost),
        ops: ops(&group.cost),
        intensity,
        side: match (busiest, ridge) {
            // Nothing but memory is asked for.
            (None, _) => Side::Memory,
            (Some(_), None) => Side::Unknown,
            (Some(_), Some(ridge)) => side(intensity, ridge),
        },
        verdict: judgement.verdict,
        pipe: busiest.map(|(pipe, _)| pipe.name().to_string()),
        reason: judgement.reason,
        confirmed: None,
        elasticity: None,
        floor_ns,
        headroom_ns: time.map(|time| group.calls as f64 * (time - floor_ns)),
        of_ceiling: OfCeiling {
            memory: part(floors.memory),
            pipe: floors.pipe.and_then(|(_, floor)| part(floor)),
        },
    }
}

fn roles(cost: &Cost) -> BTreeMap<String, u64> {
    let mut roles = BTreeMap::new();
    for traffic in &cost.traffic {
        *roles.entry(traffic.role.name().to_string()).or_default() += traffic.floor.0;
    }
    roles
}

fn ops(cost: &Cost) -> BTreeMap<String, u64> {
    let some = cost.work.pipes().into_iter().filter(|(_, work)| work.0 > 0);
    some.map(|(pipe, work)| (pipe.name().to_string(), work.0)).collect()
}
