//! The report: what `ridgepoint roofline --json` writes and every picture and comparison reads.
//!
//! Times are nanoseconds, rates are 10^9 a second, shares and ratios are 1 for 100 % and are never
//! clamped. What could not be measured is `null`, never 0. docs/roofline.md documents the fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use super::elasticity::{Confirmed, Elastic, Elasticity};
pub use super::machine::Device;
pub use super::read::Unreadable;
pub use super::timer::{Grade, Inside, Timer};

/// The schema that this version writes; it grows when a field changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

/// A whole report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`] of whoever wrote it.
    pub schema_version: u32,
    /// Ridgepoint's version.
    pub version: String,
    /// The version of the probes that gave the ceilings; reports of earlier ones don't say.
    #[serde(default)]
    pub probes: Option<u32>,
    /// The device.
    pub device: Device,
    /// How far its timestamps can be trusted.
    pub timer: Timer,
    /// The model; none where only the device was measured.
    pub model: Option<Model>,
    /// What the device can do.
    pub ceilings: Vec<Ceiling>,
    /// Ceilings over a working set or a grid.
    pub curves: Vec<Curve>,
    /// A row per step, kernel and shape, in the order of dispatch.
    pub kernels: Vec<KernelRow>,
    /// The steps that were run.
    pub steps: Vec<Step>,
    /// What would gain most, the greatest gain first.
    pub advice: Vec<Advice>,
    /// Steps of a serving engine that were watched; none where steps were made up and repeated.
    #[serde(default)]
    pub watched_steps: Option<u64>,
    /// All of this in plain words.
    pub summary: String,
}

/// The model that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Its name or architecture.
    pub name: String,
    /// Weight formats of its matrices with their number of bytes on the GPU.
    pub formats: BTreeMap<String, u64>,
    /// Parameters.
    pub parameters: u64,
    /// Bytes of all weights on the GPU.
    pub weight_bytes: u64,
    /// How the KV cache stores a number.
    pub kv_cache_dtype: String,
}

/// The fastest that the device was seen to do one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// `read_cold`, `read_resident`, `write_cold`, `write_resident`, `copy_cold`, `copy_resident`,
    /// `fma_f32`, `fma_f32_tile`, `fma_f16`, `dot4_i8`, `int_alu`, `special`, `launch`, `fill`; of a
    /// software adapter also `native_f32`, a loop of the host's own, which bounds the first two.
    pub name: String,
    /// `GB/s`, `GFLOP/s`, `GOP/s`, `ns` or `workgroups`.
    pub unit: String,
    /// The figure.
    pub value: f64,
    /// Lower end of its spread.
    pub low: f64,
    /// Upper end of its spread.
    pub high: f64,
    /// The shader and variant that gave it.
    pub probe: String,
    /// Whether rounds of it agreed within 5 %, and probes of the same pipe within 15 %.
    pub agreed: bool,
}

/// A ceiling over a size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// `read`, `write` or `copy` over the working set, `fill` over the number of workgroups.
    pub name: String,
    /// What `x` is: `bytes` or `workgroups`.
    pub x_unit: String,
    /// The unit of the values.
    pub unit: String,
    /// Points, `x` ascending.
    pub points: Vec<Point>,
    /// Stretches of `x` where the value stays within 15 %, smallest first.
    pub plateaus: Vec<Plateau>,
}

/// A point of a curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The size.
    pub x: f64,
    /// The rate.
    pub value: f64,
    /// The least that it is with any one round left out; reports of earlier probes don't say.
    #[serde(default)]
    pub low: Option<f64>,
    /// The most.
    #[serde(default)]
    pub high: Option<f64>,
    /// The shader and variant that gave it.
    #[serde(default)]
    pub probe: Option<String>,
}

/// A stretch of a curve that is flat: a level of memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// First size.
    pub from: f64,
    /// Last size.
    pub to: f64,
    /// Median of its values.
    pub value: f64,
}

/// The dispatches of one kernel and shape in one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelRow {
    /// The step's name.
    pub step: String,
    /// The kernel.
    pub kernel: String,
    /// What it works on, in words.
    pub shape: String,
    /// Dispatches in the step.
    pub calls: u64,
    /// Workgroups of a dispatch.
    pub workgroups: u64,
    /// How it was timed.
    pub timed_by: TimedBy,
    /// Time of one dispatch over the samples; below 0 where a difference is lost in noise, none without samples.
    pub time_ns: Option<Percentiles>,
    /// How many samples; none in an older report.
    #[serde(default)]
    pub samples: Option<u64>,
    /// 95 % interval of the median of `time_ns`.
    pub interval_ns: Option<Range>,
    /// Part of the step's kernel time: a step's shares add up to 1, and a row without a time has none of it.
    pub share: f64,
    /// Bytes of one dispatch: each distinct byte once, and what the loads ask for.
    pub bytes: Range,
    /// The floor of the bytes by role: `weights`, `input`, `output`, `cache`, `tables`.
    pub roles: BTreeMap<String, u64>,
    /// Operations of one dispatch by pipe, named as the ceilings are: `fma_f32`, `int_alu`, ...
    pub ops: BTreeMap<String, u64>,
    /// Operations of the busiest pipe per byte.
    pub intensity: Range,
    /// What the intensity predicts.
    pub side: Side,
    /// What the measurement says.
    pub verdict: Verdict,
    /// The pipe of the verdict or, without one, the busiest: a ceiling's name.
    pub pipe: Option<String>,
    /// What the verdict rests on, in words.
    pub reason: String,
    /// Whether counterfactuals agree; none where they weren't tried or the verdict claims nothing.
    pub confirmed: Option<Confirmed>,
    /// What counterfactuals found; none where they weren't tried.
    #[serde(default)]
    pub elasticity: Option<Elasticity>,
    /// The least time of one dispatch that costs and ceilings allow.
    pub floor_ns: f64,
    /// What all of its calls could save in this step at best; none without a time above 0.
    pub headroom_ns: Option<f64>,
    /// Parts of the ceilings that were reached.
    pub of_ceiling: OfCeiling,
}

/// 10, 50 and 90 of a hundred samples lie below these.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// 10 %.
    pub p10: f64,
    /// The median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
}

/// An interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// Parts of ceilings, 1 for all of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfCeiling {
    /// Of the memory's, by the compulsory bytes; none without a time above 0.
    pub memory: Option<f64>,
    /// Of the busiest pipe's, likewise.
    pub pipe: Option<f64>,
}

/// How a row was timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimedBy {
    /// Stamps around each dispatch inside one pass.
    InsidePass,
    /// A pass for each dispatch.
    PassPerDispatch,
    /// Stamps, less the interval of an empty dispatch.
    NullSubtracted,
    /// The step's GPU span with and without the row's dispatches.
    LeaveOneOut,
    /// The same by the wall clock.
    LeaveOneOutWall,
    /// A given time (a simulated device).
    Simulated,
}

/// The side of the ridge that the intensity interval lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Below: memory is predicted to bound.
    Memory,
    /// Above: arithmetic is.
    Compute,
    /// On both: it depends on how caches serve the re-reads, which can't be seen.
    Straddles,
    /// A ceiling that the ridge is made of is not known.
    Unknown,
}

/// What bounds a kernel by measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The memory's ceiling is near.
    MemoryBound,
    /// A pipe's ceiling is near.
    ComputeBound,
    /// Both are, within ten points.
    Balanced,
    /// Launching takes most of it.
    LaunchOverhead,
    /// Too few workgroups to fill the device.
    Underfilled,
    /// Far from every ceiling, with enough workgroups: dependencies, conflicts, synchronisation.
    Latency,
    /// Faster than the ceilings allow: the cost, the residency or a ceiling is wrong.
    OverRoof,
    /// The measurement can't tell.
    Unknown,
}

/// One kind of step and its reconciliation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// `prefill 512`, `decode x4 at 512`: kernel rows name it.
    pub name: String,
    /// Tokens computed.
    pub tokens: u64,
    /// Sequences in it.
    pub sequences: u64,
    /// Tokens of each sequence after the step.
    pub context: u64,
    /// Sum of its kernels' medians, of those that have one.
    pub kernels_ns: f64,
    /// GPU span of the same step, unprofiled; none without trusted stamps.
    pub gpu_ns: Option<f64>,
    /// Wall clock of the same step, unprofiled.
    pub wall_ns: f64,
    /// `kernels_ns` over `gpu_ns` (over `wall_ns` where there is none); none where a kernel has no time.
    pub coverage: Option<f64>,
    /// Wall clock of the profiled step over the unprofiled one, less 1.
    pub profiling_tax: Option<f64>,
    /// 1 - `gpu_ns` / `wall_ns`.
    pub gpu_idle: Option<f64>,
    /// The host's parts.
    pub host: Host,
}

/// What the host does in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Checking the step and filling its buffer.
    pub plan_ns: f64,
    /// Recording its commands.
    pub record_ns: f64,
    /// Handing them over.
    pub submit_ns: f64,
    /// Waiting for results and reading them.
    pub wait_ns: f64,
}

/// A change and what it would gain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// The step that gains.
    pub step: String,
    /// `weight_format`, `batch` or `context`: what `ridgepoint explain` can turn.
    pub knob: String,
    /// From what to what, in words.
    pub change: String,
    /// Time a token before over time a token after, predicted: 1.3 is 30 % more tokens.
    pub predicted_gain: f64,
    /// The same as measured in turn with the step; none where it was not.
    #[serde(default)]
    pub measured_gain: Option<f64>,
    /// What the prediction rests on.
    pub because: String,
}
