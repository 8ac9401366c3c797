//! What a comparison says: the JSON of `ridgepoint compare`.

use serde::Serialize;

use crate::roofline::report::{Percentiles, Range, Side, Verdict};

/// Everything against the first report.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// `compare::SCHEMA_VERSION`.
    pub schema_version: u32,
    /// The first report.
    pub baseline: Subject,
    /// Each of the others against it.
    pub others: Vec<Other>,
}

/// Which report.
#[derive(Debug, Serialize)]
pub struct Subject {
    /// The file it was read from.
    pub file: String,
    /// The device's name.
    pub device: String,
    /// Driver and version.
    pub driver: String,
    /// The processor that a software adapter computes on, if the report says so.
    pub processor: Option<String>,
    /// Ridgepoint's version.
    pub version: String,
    /// The model, if there is one.
    pub model: Option<String>,
    /// What makes its ceilings doubtful, in words; none if nothing does.
    pub doubt: Option<String>,
}

/// A report against the baseline.
#[derive(Debug, Serialize)]
pub struct Other {
    /// Which.
    pub subject: Subject,
    /// Ceilings that both have.
    pub ceilings: Vec<CeilingRatio>,
    /// Steps that both have.
    pub steps: Vec<StepRatio>,
    /// Kernels that both have, in the baseline's order.
    pub kernels: Vec<KernelRatio>,
    /// Rows of the baseline alone, as `step: kernel shape`.
    pub only_in_baseline: Vec<String>,
    /// Rows of this report alone.
    pub only_here: Vec<String>,
}

/// A ceiling of two devices.
#[derive(Debug, Serialize)]
pub struct CeilingRatio {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The baseline's.
    pub baseline: f64,
    /// This report's.
    pub here: f64,
    /// `here / baseline`.
    pub ratio: f64,
}

/// The kernels of a step together.
#[derive(Debug, Serialize)]
pub struct StepRatio {
    /// The step's name.
    pub step: String,
    /// Sums of kernel times, the baseline's and this report's.
    pub kernels_ns: [f64; 2],
    /// Wall clocks.
    pub wall_ns: [f64; 2],
    /// Of the sums, this report's over the baseline's; none where either is not above 0.
    pub ratio: Option<f64>,
    /// Of the wall clocks. Of each there is one median without an interval, so nothing tests it.
    pub wall_ratio: Option<f64>,
    /// Sums of the rows that `p` is about: those that have a time beyond noise in both reports.
    pub tested_ns: [f64; 2],
    /// Rows of either report that are in neither of these sums, a pair counted once.
    pub left_out: usize,
    /// Why it was not judged, in words; none if it was.
    pub not_judged: Option<String>,
    /// The chance of such a ratio by noise alone; none where it was not judged.
    pub p: Option<f64>,
    /// Whether it is more than noise, all comparisons of the report considered.
    pub significant: bool,
}

impl StepRatio {
    /// Of the tested rows' sums.
    pub fn tested_ratio(&self) -> Option<f64> {
        let [a, b] = self.tested_ns.map(Some);
        super::ratio(a, b)
    }

    /// Whether the ratio is noise, not judged, or of some rows only, in words; none if there is nothing to add.
    pub fn caution(&self) -> Option<String> {
        if self.not_judged.is_some() {
            return Some("not judged".to_string());
        }
        let noise = (!self.significant).then(|| "within noise".to_string());
        let rows = if self.left_out == 1 { "row" } else { "rows" };
        let without = (self.left_out > 0).then(|| format!("tested without {} {rows}", self.left_out));
        let all: Vec<String> = noise.into_iter().chain(without).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

/// What a ratio is made of; 1 is no difference, 2 twice the time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Factors {
    /// The same cost under the other device's ceilings.
    pub device: f64,
    /// The other cost.
    pub work: f64,
    /// The kernel's efficiency.
    pub kernel: f64,
}

/// What a difference is blamed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// Nothing: the difference is small, or no more than noise.
    None,
    /// The device's ceilings.
    Device,
    /// Other bytes or operations, as another weight format's.
    Work,
    /// The kernel reaches another part of what is possible.
    Kernel,
}

/// One side of a kernel's row.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Time of a dispatch, if there is one.
    pub time_ns: Option<Percentiles>,
    /// Whether that can't be told from nothing.
    pub lost: bool,
    /// Part of its step.
    pub share: f64,
    /// Operations per byte.
    pub intensity: Range,
    /// Part of the own memory ceiling.
    pub of_memory: Option<f64>,
    /// Part of the own pipe's ceiling.
    pub of_pipe: Option<f64>,
    /// Which pipe.
    pub pipe: Option<String>,
    /// Predicted side.
    pub side: Side,
    /// Verdict.
    pub verdict: Verdict,
}

impl Figures {
    /// The ceiling that is nearest, memory or the pipe, and the part of it that is reached; none where
    /// the time is lost in noise.
    pub fn nearest(&self) -> Option<(&str, f64)> {
        if self.lost {
            return None;
        }
        let pipe = self.pipe.as_deref().zip(self.of_pipe);
        let both = [self.of_memory.map(|part| ("memory", part)), pipe];
        both.into_iter().flatten().max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// Another kernel or format at the same place of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Became {
    /// The kernel.
    pub kernel: String,
    /// What it works on.
    pub shape: String,
}

/// A kernel of both reports.
#[derive(Debug, Serialize)]
pub struct KernelRatio {
    /// The step.
    pub step: String,
    /// The kernel.
    pub kernel: String,
    /// What it works on.
    pub shape: String,
    /// What does the same here, where another format or another kernel is at this place of the step.
    pub became: Option<Became>,
    /// The baseline's figures.
    pub baseline: Figures,
    /// This report's.
    pub here: Figures,
    /// Of the medians, this report's over the baseline's; none where either is no time above 0.
    pub ratio: Option<f64>,
    /// Its factors; none where the ceilings don't tell.
    pub factors: Option<Factors>,
    /// The greatest of them.
    pub blame: Blame,
    /// Why it was not judged, in words; none if it was.
    pub not_judged: Option<String>,
    /// The chance of such a ratio by noise alone; none where it was not judged.
    pub p: Option<f64>,
    /// Whether it is more than noise, all comparisons of the report considered.
    pub significant: bool,
}
