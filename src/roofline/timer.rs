//! From the timer's self-test to its grade.

use serde::{Deserialize, Serialize};

use crate::gpu;
use crate::profile::timer::{Clock, Findings, Found, examine};
use crate::profile::{Counts, Stamps};

/// The timer's self-test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timer {
    /// What it may be used for.
    pub grade: Grade,
    /// Why it is no better, in words; empty for a trusted one.
    pub reason: String,
    /// The smallest difference seen between stamps (greatest common divisor).
    pub resolution_ns: Option<f64>,
    /// T(2n) / T(n) of stamps at the ends of passes, 2 at best.
    pub linearity: Option<f64>,
    /// A light pass after a heavy one over the same alone, 1 at best.
    pub isolation: Option<f64>,
    /// Stamps over the wall clock on a long batch, 1 at best.
    pub wall_agreement: Option<f64>,
    /// The interval around an empty dispatch over what one costs by slope: 1 at best, and the
    /// reason why short kernels can't be timed one by one where it is large.
    pub stamp_cost: Option<f64>,
    /// Of stamps inside a pass; none where the device has none.
    pub inside: Option<Inside>,
    /// Pairs of stamps that were read: by the self-test, and by the steps of a report.
    pub samples: u64,
    /// Of these, pairs with a stamp of zero.
    pub zeros: u64,
    /// Of these, pairs whose end came before their begin.
    pub negatives: u64,
}

/// The self-test of stamps inside a pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inside {
    /// T(2n) / T(n), 2 at best.
    pub linearity: Option<f64>,
    /// Light work after heavy over the same alone, 1 at best.
    pub isolation: Option<f64>,
    /// What an interval around an empty dispatch reads, ns: in a step it is measured anew, and goes off.
    pub null_ns: Option<f64>,
    /// Why they tell nothing of single dispatches, in words; empty where they do.
    pub reason: String,
}

/// What timestamps may be used for, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Single dispatches.
    Trusted,
    /// Whole passes; single dispatches only inside a pass, where [`Inside`] allows it, less what stamps cost
    /// there.
    BatchOnly,
    /// Nothing: the wall clock times, by slope.
    WallOnly,
}

/// Twice the work may take this part of twice the time.
const LINEAR: [f64; 2] = [1.9, 2.1];
/// A light pass after a heavy one may be off by this.
const ISOLATED: f64 = 0.1;
/// Stamps may differ from the wall clock by this.
const AGREES: f64 = 0.05;
/// An interval around an empty dispatch may read so many times what the dispatch costs, before
/// short kernels can't be timed one by one.
const STAMP_COST: f64 = 2.0;
/// Of all pairs, this part may be lost.
const LOST: f64 = 0.01;

/// Stamps may come in steps of this part of what a dispatch costs, before short kernels can't be timed one
/// by one.
const COARSE: f64 = 0.25;
/// How often a clock is examined until it passes.
const EXAMINATIONS: usize = 3;

/// Examines a clock until it passes, three times at most, and gives the best: a busy machine can spoil what a
/// sound timer passes, and a wrong one fails each time. `launch` is what a dispatch costs by slope, in
/// nanoseconds.
///
/// # Errors
/// Whatever keeps the device from running.
pub fn graded(clock: &mut dyn Clock, launch: Option<f64>) -> Result<(Timer, Findings), gpu::Error> {
    let examined = |clock: &mut dyn Clock| {
        let findings = examine(clock)?;
        Ok::<_, gpu::Error>((grade(Some(&findings), launch), findings))
    };
    let before = clock.counts();
    let mut best = examined(clock)?;
    for _ in 1..EXAMINATIONS {
        if best.0.rank() == (Grade::Trusted, false) {
            break;
        }
        let next = examined(clock)?;
        if next.0.rank() < best.0.rank() {
            best = next;
        }
    }
    // Each examination is judged by its own stamps; what became of all is told.
    let all = clock.counts().since(before);
    (best.0.samples, best.0.zeros, best.0.negatives) = (all.pairs, all.zeros, all.negatives);
    Ok(best)
}

/// Grades findings; `launch` is what a dispatch costs by slope, in nanoseconds.
pub fn grade(findings: Option<&Findings>, launch: Option<f64>) -> Timer {
    let none = Findings::default();
    let f = findings.unwrap_or(&none);
    let stamp_cost = f.passes.null.zip(launch).map(|(null, launch)| null / launch).filter(|r| r.is_finite());
    let coarse =
        f.resolution.zip(launch).filter(|(step, launch)| *launch > 0.0 && *step > COARSE * launch).map(
            |(step, launch)| {
                format!("stamps come in steps of {step:.0} ns, where a dispatch costs {launch:.0}, {SHORT}")
            },
        );
    let inside = f.inside.map(|found| Inside {
        linearity: found.linearity,
        isolation: found.isolation,
        null_ns: found.null,
        reason: nonlinear(&found).or_else(|| leaking(&found)).or_else(|| coarse.clone()).unwrap_or_default(),
    });
    let (grade, reason) = judged(findings, stamp_cost, coarse);
    Timer {
        grade,
        reason,
        resolution_ns: f.resolution,
        linearity: f.passes.linearity,
        isolation: f.passes.isolation,
        wall_agreement: f.agreement,
        stamp_cost,
        inside,
        samples: f.counts.pairs,
        zeros: f.counts.zeros,
        negatives: f.counts.negatives,
    }
}

impl Timer {
    /// Less is better: the grade, and whether there are stamps inside passes that failed.
    fn rank(&self) -> (Grade, bool) {
        (self.grade, self.inside.as_ref().is_some_and(|inside| !inside.reason.is_empty()))
    }

    /// Where stamps around a single dispatch may go on a device with these features; none where they tell
    /// nothing of it.
    pub fn around_a_dispatch(&self, features: wgpu::Features) -> Option<Stamps> {
        let has = |feature| features.contains(feature);
        let inside = self.inside.as_ref().is_some_and(|inside| inside.reason.is_empty());
        match self.grade {
            Grade::WallOnly => None,
            _ if !has(wgpu::Features::TIMESTAMP_QUERY) => None,
            _ if inside && has(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES) => Some(Stamps::Inside),
            Grade::Trusted => Some(Stamps::Passes),
            Grade::BatchOnly => None,
        }
    }

    /// Why [`Timer::around_a_dispatch`] gives none.
    pub fn refusal(&self) -> String {
        let inside =
            self.inside.as_ref().map(|inside| inside.reason.as_str()).filter(|why| *why != self.reason);
        let inside = inside.filter(|why| !why.is_empty()).map(|why| format!("; inside passes {why}"));
        format!(
            "this device's timer is {} ({}{}), so that its stamps tell nothing of single dispatches",
            self.grade.name(),
            self.reason,
            inside.unwrap_or_default()
        )
    }

    /// What may come out better on a quieter machine, in words; none of a timer that passed, or of no stamps.
    pub fn doubt(&self) -> Option<String> {
        let inside = self.inside.as_ref().is_some_and(|inside| inside.reason.is_empty());
        let usable = self.grade == Grade::Trusted || (self.grade == Grade::BatchOnly && inside);
        (!usable && self.samples > 0).then(|| {
            let (name, reason) = (self.grade.name(), &self.reason);
            format!("the timer is {name} ({reason}): if this machine was busy then, --remeasure")
        })
    }

    /// Counts a run's stamps with those of the self-test.
    pub fn count(&mut self, counts: Counts) {
        self.samples += counts.pairs;
        self.zeros += counts.zeros;
        self.negatives += counts.negatives;
    }
}

impl Grade {
    fn name(self) -> &'static str {
        match self {
            Self::WallOnly => "wall_only",
            Self::BatchOnly => "batch_only",
            Self::Trusted => "trusted",
        }
    }
}

const SHORT: &str = "so short kernels can't be timed one by one";

/// What is wrong with twice the work.
fn nonlinear(found: &Found) -> Option<String> {
    let Some(linearity) = found.linearity else { return Some(FEW.into()) };
    let wrong = !(LINEAR[0]..=LINEAR[1]).contains(&linearity);
    wrong.then(|| format!("twice the work takes {linearity:.2} times as long by the stamps"))
}

/// What leaks into an interval from the work before it.
fn leaking(found: &Found) -> Option<String> {
    let Some(isolation) = found.isolation else { return Some(FEW.into()) };
    let wrong = (isolation - 1.0).abs() > ISOLATED;
    wrong.then(|| format!("light work after heavy reads {isolation:.2} times what it takes alone"))
}

const FEW: &str = "the self-test gave too few stamps";

fn judged(findings: Option<&Findings>, stamp_cost: Option<f64>, coarse: Option<String>) -> (Grade, String) {
    let Some(f) = findings else {
        return (Grade::WallOnly, "the device has no timestamps".into());
    };
    let wall = |reason: String| (Grade::WallOnly, reason);
    let batch = |reason: String| (Grade::BatchOnly, reason);
    let lost = f.counts.zeros + f.counts.negatives;
    if f.counts.pairs == 0 || lost as f64 > LOST * f.counts.pairs as f64 {
        return wall(format!(
            "of {} pairs of stamps {} have zeros and {} end before they begin",
            f.counts.pairs, f.counts.zeros, f.counts.negatives
        ));
    }
    let (Some(agreement), Some(_)) = (f.agreement, f.passes.isolation) else { return wall(FEW.into()) };
    if (agreement - 1.0).abs() > AGREES {
        return wall(format!("stamps say {agreement:.3} times what the wall clock says: wrong units"));
    }
    if let Some(reason) = nonlinear(&f.passes) {
        return wall(reason);
    }
    if let Some(reason) = leaking(&f.passes).or(coarse) {
        return batch(reason);
    }
    match stamp_cost {
        Some(cost) if cost <= STAMP_COST => (Grade::Trusted, String::new()),
        Some(cost) => batch(format!(
            "an interval around an empty dispatch reads {cost:.1} times what the dispatch costs, {SHORT}"
        )),
        None => {
            let missing = if f.passes.null.is_none() { "reads" } else { "costs by slope" };
            batch(format!("what an empty dispatch {missing} isn't known, {SHORT}"))
        }
    }
}
