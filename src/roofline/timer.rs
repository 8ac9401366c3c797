//! From the timer's self-test to its grade.

use super::report::{Grade, Timer};
use crate::profile::timer::Findings;
use crate::profile::{Counts, Stamps};

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

/// Grades findings; `launch` is what a dispatch costs by slope, in nanoseconds.
pub fn grade(findings: Option<&Findings>, launch: Option<f64>) -> Timer {
    let none = Findings::default();
    let f = findings.unwrap_or(&none);
    let stamp_cost = f.null.zip(launch).map(|(null, launch)| null / launch).filter(|r| r.is_finite());
    let (grade, reason) = judged(findings, stamp_cost);
    Timer {
        grade,
        reason,
        resolution_ns: f.resolution,
        linearity: f.linearity,
        isolation: f.isolation,
        wall_agreement: f.agreement,
        stamp_cost,
        samples: f.counts.pairs,
        zeros: f.counts.zeros,
        negatives: f.counts.negatives,
    }
}

impl Timer {
    /// Where stamps around a single dispatch may go on a device with these features; none where they tell
    /// nothing of it.
    pub fn around_a_dispatch(&self, features: wgpu::Features) -> Option<Stamps> {
        let has = |feature| features.contains(feature);
        // Once what stamps cost is taken off, nothing else of the device may leak into an interval.
        let isolates = self.isolation.is_some_and(|i| (i - 1.0).abs() <= ISOLATED);
        match self.grade {
            Grade::WallOnly => None,
            _ if !has(wgpu::Features::TIMESTAMP_QUERY) => None,
            _ if isolates && has(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES) => Some(Stamps::Inside),
            Grade::Trusted => Some(Stamps::Passes),
            Grade::BatchOnly => None,
        }
    }

    /// Why [`Timer::around_a_dispatch`] gives none.
    pub fn refusal(&self) -> String {
        let grade = match self.grade {
            Grade::WallOnly => "wall_only",
            Grade::BatchOnly => "batch_only",
            Grade::Trusted => "trusted",
        };
        format!(
            "this device's timer is {grade} ({}), so that its stamps tell nothing of single dispatches",
            self.reason
        )
    }

    /// Counts a run's stamps with those of the self-test.
    pub fn count(&mut self, counts: Counts) {
        self.samples += counts.pairs;
        self.zeros += counts.zeros;
        self.negatives += counts.negatives;
    }
}

fn judged(findings: Option<&Findings>, stamp_cost: Option<f64>) -> (Grade, String) {
    let Some(f) = findings else {
        return (Grade::WallOnly, "the device has no timestamps".into());
    };
    let wall = |reason: String| (Grade::WallOnly, reason);
    let lost = f.counts.zeros + f.counts.negatives;
    if f.counts.pairs == 0 || lost as f64 > LOST * f.counts.pairs as f64 {
        return wall(format!(
            "of {} pairs of stamps {} have zeros and {} end before they begin",
            f.counts.pairs, f.counts.zeros, f.counts.negatives
        ));
    }
    let (Some(agreement), Some(linearity), Some(isolation)) = (f.agreement, f.linearity, f.isolation) else {
        return wall("the self-test gave too few stamps".into());
    };
    if (agreement - 1.0).abs() > AGREES {
        return wall(format!("stamps say {agreement:.3} times what the wall clock says: wrong units"));
    }
    if !(LINEAR[0]..=LINEAR[1]).contains(&linearity) {
        return wall(format!("twice the work takes {linearity:.2} times as long by the stamps"));
    }
    if (isolation - 1.0).abs() > ISOLATED {
        return (
            Grade::BatchOnly,
            format!("a light pass after a heavy one reads {isolation:.2} times what it takes alone"),
        );
    }
    let short = "so short kernels can't be timed one by one";
    match stamp_cost {
        Some(cost) if cost <= STAMP_COST => (Grade::Trusted, String::new()),
        Some(cost) => (
            Grade::BatchOnly,
            format!(
                "an interval around an empty dispatch reads {cost:.1} times what the dispatch costs, {short}"
            ),
        ),
        None => {
            let missing = if f.null.is_none() { "reads" } else { "costs by slope" };
            (Grade::BatchOnly, format!("what an empty dispatch {missing} isn't known, {short}"))
        }
    }
}
