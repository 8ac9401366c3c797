//! Reports side by side: what differs, whether by more than the noise, and why.
//!
//! A kernel's time is what its cost takes at least on its device, over the part of that which it
//! reaches. So the ratio of two times is a product of three: the devices' (the same cost under both
//! ceilings), the work's (both costs under one device's ceilings) and the kernels' (the rest: their
//! efficiency). The one that is farthest from 1 is blamed. `significance` says which ratios are more
//! than noise, `html` draws.

mod html;
mod place;
mod significance;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::report::{KernelRow, Percentiles, Range, Report, Side, Verdict};
pub use html::html;
use place::{Pairs, named, paired};
use significance::{Medians, holm};

/// The version of the JSON's shape.
pub const SCHEMA_VERSION: u32 = 1;

/// What is smaller than this is no cause.
const CAUSE: f64 = 1.03;

/// Rows below this part of their step can't make a comparison fail alone: their steps can.
const LEAST_SHARE: f64 = 0.01;

/// The chance of a false alarm that a whole comparison may have.
const ALPHA: f64 = 0.05;

/// Everything against the first report.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// [`SCHEMA_VERSION`].
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
    /// Ridgepoint's version.
    pub version: String,
    /// The model, if there is one.
    pub model: Option<String>,
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
    /// The chance of such a ratio by noise alone; none where nothing tells.
    pub p: Option<f64>,
    /// Whether it is more than noise, all comparisons of the report considered.
    pub significant: bool,
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
    /// The ceiling that is nearest, memory or the pipe, and the part of it that is reached.
    pub fn nearest(&self) -> Option<(&str, f64)> {
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
    /// The chance of such a ratio by noise alone; none where nothing tells.
    pub p: Option<f64>,
    /// Whether it is more than noise, all comparisons of the report considered.
    pub significant: bool,
}

impl Comparison {
    /// Compares reports, each with the file that it comes from, with the first.
    pub fn new(baseline: (&str, &Report), others: &[(&str, &Report)]) -> Self {
        let other = |(file, report): &(&str, &Report)| Other::new(baseline.1, file, report);
        Self {
            schema_version: SCHEMA_VERSION,
            baseline: Subject::new(baseline.0, baseline.1),
            others: others.iter().map(other).collect(),
        }
    }

    /// The files of reports of which no step and no kernel could be tested against the baseline's.
    pub fn untested(&self) -> Vec<&str> {
        let tested = |other: &&Other| {
            other.steps.iter().any(|s| s.p.is_some()) || other.kernels.iter().any(|k| k.p.is_some())
        };
        self.others.iter().filter(|other| !tested(other)).map(|other| other.subject.file.as_str()).collect()
    }

    /// What is slower than the baseline by more than `threshold` (0.1 is 10 %) and by more than
    /// noise, in words.
    pub fn slower(&self, threshold: f64) -> Vec<String> {
        let mut found = Vec::new();
        for other in &self.others {
            let name = &other.subject.file;
            for s in other.steps.iter().filter(|s| s.significant) {
                let Some(ratio) = s.ratio.filter(|ratio| *ratio > 1.0 + threshold) else { continue };
                found.push(format!("{name}: {}: kernels take {ratio:.2} times as long", s.step));
            }
            let large = |k: &&KernelRatio| k.baseline.share.max(k.here.share) >= LEAST_SHARE;
            for k in other.kernels.iter().filter(|k| k.significant).filter(large) {
                let Some(ratio) = k.ratio.filter(|ratio| *ratio > 1.0 + threshold) else { continue };
                found.push(format!(
                    "{name}: {}: {} takes {ratio:.2} times as long{}",
                    k.step,
                    k.title(),
                    match k.blame {
                        Blame::None => "",
                        Blame::Device => " (the device)",
                        Blame::Work => " (more work)",
                        Blame::Kernel => " (the kernel)",
                    }
                ));
            }
        }
        found
    }
}

impl Subject {
    fn new(file: &str, report: &Report) -> Self {
        Self {
            file: file.to_string(),
            device: report.device.name.clone(),
            driver: report.device.driver.clone(),
            version: report.version.clone(),
            model: report.model.as_ref().map(|m| m.name.clone()),
        }
    }
}

impl Other {
    fn new(baseline: &Report, file: &str, here: &Report) -> Self {
        let ceilings = baseline.ceilings.iter().filter_map(|a| {
            let b = here.ceilings.iter().find(|b| b.name == a.name && b.unit == a.unit)?;
            let ratio = b.value / a.value;
            let (name, unit) = (a.name.clone(), a.unit.clone());
            Some(CeilingRatio { name, unit, baseline: a.value, here: b.value, ratio })
        });
        let Pairs { both, only_in_baseline, only_here } = paired(&baseline.kernels, &here.kernels);
        let mut kernels: Vec<KernelRatio> =
            both.into_iter().map(|(a, b)| KernelRatio::new(baseline, a, here, b)).collect();
        let mut steps: Vec<StepRatio> = baseline
            .steps
            .iter()
            .filter_map(|a| {
                let b = here.steps.iter().find(|b| b.name == a.name)?;
                let sum = |report: &Report| Medians::sum(report.kernels.iter().filter(|r| r.step == a.name));
                Some(StepRatio {
                    step: a.name.clone(),
                    kernels_ns: [a.kernels_ns, b.kernels_ns],
                    wall_ns: [a.wall_ns, b.wall_ns],
                    ratio: ratio(Some(a.kernels_ns), Some(b.kernels_ns)),
                    p: significance::p(sum(baseline), sum(here)),
                    significant: false,
                })
            })
            .collect();
        // One family: the more is compared, the less a single p says.
        let all: Vec<Option<f64>> = steps.iter().map(|s| s.p).chain(kernels.iter().map(|k| k.p)).collect();
        let mut sure = holm(&all, ALPHA).into_iter();
        steps.iter_mut().zip(&mut sure).for_each(|(s, sure)| s.significant = sure);
        kernels.iter_mut().zip(&mut sure).for_each(|(k, sure)| k.judge(sure));
        Self {
            subject: Subject::new(file, here),
            ceilings: ceilings.collect(),
            steps,
            kernels,
            only_in_baseline: only_in_baseline.into_iter().map(named).collect(),
            only_here: only_here.into_iter().map(named).collect(),
        }
    }
}

/// The least that a row's cost takes by a report's ceilings, by those that the other one has too.
fn least(cost: &KernelRow, by: &Report, other: &Report) -> f64 {
    let both = |name: &str| by.ceiling(name).filter(|v| *v > 0.0 && other.ceiling(name).is_some());
    let memory = both("read_cold").map(|rate| cost.bytes.low / rate);
    let pipes = cost.ops.iter().filter_map(|(pipe, ops)| both(pipe).map(|rate| *ops as f64 / rate));
    pipes.chain(memory).chain(both("launch")).fold(0.0, f64::max)
}

/// `b` over `a`, of times.
fn ratio(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    let time = |t: Option<f64>| t.filter(|t| *t > 0.0);
    Some(time(b)? / time(a)?)
}

impl KernelRatio {
    fn new(baseline: &Report, a: &KernelRow, here: &Report, b: &KernelRow) -> Self {
        let figures = |row: &KernelRow| Figures {
            time_ns: row.time_ns,
            share: row.share,
            intensity: row.intensity,
            of_memory: row.of_ceiling.memory,
            of_pipe: row.of_ceiling.pipe,
            pipe: row.pipe.clone(),
            side: row.side,
            verdict: row.verdict,
        };
        let ratio = ratio(a.median(), b.median());
        let own = least(a, baseline, here);
        let moved = least(a, here, baseline);
        let other = least(b, here, baseline);
        let known = own > 0.0 && moved > 0.0 && other > 0.0;
        let factors = ratio.filter(|_| known).map(|ratio| {
            let (device, work) = (moved / own, other / moved);
            Factors { device, work, kernel: ratio / (device * work) }
        });
        Self {
            step: a.step.clone(),
            kernel: a.kernel.clone(),
            shape: a.shape.clone(),
            became: place::became(a, b),
            baseline: figures(a),
            here: figures(b),
            ratio,
            factors,
            blame: Blame::None,
            p: significance::p(Medians::of(a), Medians::of(b)),
            significant: false,
        }
    }

    /// The kernel and what it works on, with what it became.
    pub fn title(&self) -> String {
        let name = format!("{} {}", self.kernel, self.shape);
        let Some(became) = &self.became else { return name };
        place::changed(&name, &format!("{} {}", became.kernel, became.shape))
    }

    fn judge(&mut self, significant: bool) {
        self.significant = significant;
        let Some((ratio, f)) = self.ratio.zip(self.factors).filter(|_| significant) else { return };
        let causes = [(Blame::Device, f.device), (Blame::Work, f.work), (Blame::Kernel, f.kernel)];
        // Only what pushed the time the way that it went.
        let way = ratio.ln().signum();
        let push = |factor: f64| factor.ln() * way;
        let greatest = causes.into_iter().max_by(|x, y| push(x.1).total_cmp(&push(y.1)));
        self.blame = greatest.filter(|(_, f)| push(*f) > CAUSE.ln()).map_or(Blame::None, |(blame, _)| blame);
    }
}
