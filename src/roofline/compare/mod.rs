//! Reports side by side: what differs, whether by more than the noise, and why.
//!
//! A kernel's time is what its cost takes at least on its device, over the part of that which it
//! reaches. So the ratio of two times is a product of three: the devices' (the same cost under both
//! ceilings), the work's (both costs under one device's ceilings) and the kernels' (the rest: their
//! efficiency). The one that is farthest from 1 is blamed. `judged` says what can be judged at all and
//! `significance` which ratios are more than noise, `figures` is what comes out, `html` draws.

mod figures;
mod html;
mod judged;
mod place;
mod significance;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use super::doubts::doubts;
use super::hover::lost;
use super::report::{KernelRow, Report};
pub use figures::{
    Became, Blame, CeilingRatio, Comparison, Factors, Figures, KernelRatio, Other, StepRatio, Subject,
};
pub use html::html;
use place::{named, paired};
use significance::holm;

/// The version of the JSON's shape.
pub const SCHEMA_VERSION: u32 = 1;

/// What is smaller than this is no cause.
const CAUSE: f64 = 1.03;

/// Rows below this part of their step can't make a comparison fail alone: their steps can.
const LEAST_SHARE: f64 = 0.01;

/// Ratios beyond these are of figures that no two measurements give.
const SENSIBLE: std::ops::RangeInclusive<f64> = 1e-12..=1e12;

/// The chance of a false alarm that a whole comparison may have.
const ALPHA: f64 = 0.05;

impl Comparison {
    /// Compares reports, each with the file that it comes from, with the first.
    pub fn new(baseline: (&str, &Report), others: &[(&str, &Report)]) -> Self {
        let other = |(file, report): &(&str, &Report)| Other::new(baseline.1, file, report);
        Self {
            schema_version: SCHEMA_VERSION,
            baseline: Subject::new(baseline.0, baseline.1, baseline.1),
            others: others.iter().map(other).collect(),
        }
    }

    /// The files of reports of which no step and no kernel could be judged against the baseline's.
    pub fn untested(&self) -> Vec<&str> {
        let tested = |other: &&Other| {
            other.steps.iter().any(|s| s.p.is_some()) || other.kernels.iter().any(|k| k.p.is_some())
        };
        self.others.iter().filter(|other| !tested(other)).map(|other| other.subject.file.as_str()).collect()
    }

    /// Of all pairs of rows those that could not be judged, and how many pairs there are.
    pub fn not_judged(&self) -> (usize, usize) {
        let rows = || self.others.iter().flat_map(|other| &other.kernels);
        (rows().filter(|k| k.p.is_none()).count(), rows().count())
    }

    /// What is slower than the baseline by more than `threshold` (0.1 is 10 %) and by more than
    /// noise, in words.
    pub fn slower(&self, threshold: f64) -> Vec<String> {
        let mut found = Vec::new();
        for other in &self.others {
            let name = &other.subject.file;
            for s in other.steps.iter().filter(|s| s.significant) {
                let Some(ratio) = s.tested_ratio().filter(|ratio| *ratio > 1.0 + threshold) else { continue };
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

    /// Steps whose wall clock grew by more than `threshold` while their kernels are not known to have, in
    /// words: the host, gaps between kernels, or noise.
    pub fn walls(&self, threshold: f64) -> Vec<String> {
        let grew = |ratio: Option<f64>| ratio.is_some_and(|ratio| ratio > 1.0 + threshold);
        let kernels = |s: &StepRatio| s.significant && grew(s.tested_ratio());
        let steps = self.others.iter().flat_map(|other| other.steps.iter().map(move |s| (other, s)));
        let alone = steps.filter(|(_, s)| grew(s.wall_ratio) && !kernels(s));
        let said = |(other, s): (&Other, &StepRatio)| {
            format!(
                "{}: {}: the wall clock is {} times as long, its kernels {} times{}",
                other.subject.file,
                s.step,
                factor(s.wall_ratio.unwrap_or_default()),
                s.ratio.map_or("unknown".to_string(), factor),
                s.caution().map_or(String::new(), |caution| format!(" ({caution})"))
            )
        };
        alone.map(said).collect()
    }
}

impl Subject {
    fn new(file: &str, report: &Report, baseline: &Report) -> Self {
        let mut doubts: Vec<String> = doubts(&report.ceilings).into_iter().map(|doubt| doubt.why).collect();
        if report.probes != baseline.probes {
            let version =
                |probes: Option<u32>| probes.map_or("an earlier version".into(), |v| format!("version {v}"));
            doubts.push(format!(
                "probes of {} gave them, the baseline's were of {}",
                version(report.probes),
                version(baseline.probes)
            ));
        }
        Self {
            file: file.to_string(),
            device: report.device.name.clone(),
            driver: report.device.driver.clone(),
            processor: report.device.processor.clone(),
            version: report.version.clone(),
            model: report.model.as_ref().map(|m| m.name.clone()),
            doubt: Some(doubts).filter(|why| !why.is_empty()).map(|why| why.join("; ")),
        }
    }
}

impl Other {
    fn new(baseline: &Report, file: &str, here: &Report) -> Self {
        let ceilings = baseline.ceilings.iter().filter_map(|a| {
            let b = here.ceilings.iter().find(|b| b.name == a.name && b.unit == a.unit)?;
            let ratio = ratio(Some(a.value), Some(b.value))?;
            let (name, unit) = (a.name.clone(), a.unit.clone());
            Some(CeilingRatio { name, unit, baseline: a.value, here: b.value, ratio })
        });
        let pairs = paired(&baseline.kernels, &here.kernels);
        let weak: HashMap<&str, String> = baseline
            .steps
            .iter()
            .filter_map(|step| Some((step.name.as_str(), judged::weak([baseline, here], &step.name)?)))
            .collect();
        let weak = |step: &str| weak.get(step).cloned();
        let mut kernels: Vec<KernelRatio> = pairs
            .both
            .iter()
            .map(|(a, b)| KernelRatio::new([baseline, here], [a, b], weak(&a.step)))
            .collect();
        let mut steps: Vec<StepRatio> = baseline
            .steps
            .iter()
            .filter_map(|a| {
                let b = here.steps.iter().find(|b| b.name == a.name)?;
                let sums = judged::step(&pairs, &a.name);
                let p = weak(&a.name).map_or(sums.p, Err);
                Some(StepRatio {
                    step: a.name.clone(),
                    kernels_ns: [a.kernels_ns, b.kernels_ns],
                    wall_ns: [a.wall_ns, b.wall_ns],
                    ratio: ratio(Some(a.kernels_ns), Some(b.kernels_ns)),
                    wall_ratio: ratio(Some(a.wall_ns), Some(b.wall_ns)),
                    tested_ns: sums.tested,
                    left_out: sums.left_out,
                    p: p.as_ref().ok().copied(),
                    not_judged: p.err(),
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
            subject: Subject::new(file, here, baseline),
            ceilings: ceilings.collect(),
            steps,
            kernels,
            only_in_baseline: pairs.only_in_baseline.into_iter().map(named).collect(),
            only_here: pairs.only_here.into_iter().map(named).collect(),
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
    Some(time(b)? / time(a)?).filter(|ratio| SENSIBLE.contains(ratio))
}

/// A factor with two digits behind the point, or two that count: `0.0041`.
pub fn factor(value: f64) -> String {
    let digits = if value.abs() < 0.1 && value != 0.0 { 1 - value.abs().log10().floor() as i32 } else { 2 };
    format!("{value:.*}", digits.clamp(2, 12) as usize)
}

impl KernelRatio {
    /// Of two rows; `weak` is why their step's can't be judged.
    fn new([baseline, here]: [&Report; 2], [a, b]: [&KernelRow; 2], weak: Option<String>) -> Self {
        let figures = |row: &KernelRow| Figures {
            time_ns: row.time_ns,
            lost: lost(row),
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
        let told = !(lost(a) || lost(b));
        let ratio = ratio.filter(|_| told);
        let factors = ratio.filter(|_| known).map(|ratio| {
            let (device, work) = (moved / own, other / moved);
            Factors { device, work, kernel: ratio / (device * work) }
        });
        let p = weak.map_or_else(|| judged::rows(a, b), Err);
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
            p: p.as_ref().ok().copied(),
            not_judged: p.err(),
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
