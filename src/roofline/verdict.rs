//! What bounds a kernel: a measured time against its floors, in a fixed order of questions.
//!
//! 1. Can the measurement tell at all? Else `unknown`.
//! 2. Is it faster than its floor? Then the cost, the residency or a ceiling is wrong: `over_roof`.
//! 3. Does launching take half of it? `launch_overhead`.
//! 4. Is a ceiling near? `memory_bound`, `compute_bound`, or `balanced` when both are and neither is reached.
//! 5. Far from all: `underfilled` if the grid is smaller than what fills the device, else `latency`.

use super::report::{Range, Side, Verdict};
use super::roof::Floors;
use crate::cost::Pipe;
use crate::profile::stats::ENOUGH;

/// Where one verdict ends and the next begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Fewer samples tell nothing. Source: a median of fewer has no interval of 95 %: all of five lie on one
    /// side of it with a chance of 2 / 2^5, all of six with 2 / 2^6.
    pub samples: usize,
    /// The median's interval over the median. Source: ours, twice the gap between neighbouring
    /// verdicts below.
    pub interval: f64,
    /// Floor over time. Source: CubeCL's rule that a score is never clamped, with the 5 % within
    /// which two windows of a ceiling agree.
    pub over_roof: f64,
    /// Launch over time. Source: ours; from here on fusing gains more than any faster kernel.
    pub launch: f64,
    /// Floor over time from which a unit is as good as busy. Source: Nsight Compute's SOLBottleneck
    /// rule, `no_bound`.
    pub at_roof: f64,
    /// Floor over time below which nothing is near. Source: the same rule, `latency_bound`.
    pub far: f64,
    /// Points that memory and pipe are apart, below `at_roof`. Source: the same rule, `balanced`.
    pub apart: f64,
}

/// The thresholds of every report.
pub const THRESHOLDS: Thresholds = Thresholds {
    samples: ENOUGH,
    interval: 0.2,
    over_roof: 1.05,
    launch: 0.5,
    at_roof: 0.8,
    far: 0.6,
    apart: 0.1,
};

/// A kernel's measurement beside its floors. Times are nanoseconds of one dispatch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// The median.
    pub time: f64,
    /// The median's 95 % interval.
    pub interval: Range,
    /// How many samples.
    pub samples: usize,
    /// Whether what stamps cost was taken off it, which can be as much as a launch.
    pub subtracted: bool,
    /// The floors.
    pub floors: Floors,
    /// Workgroups of a dispatch.
    pub workgroups: u64,
    /// Workgroups that fill the device, if that is known.
    pub fill: Option<f64>,
}

/// A verdict and what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The pipe, where arithmetic bounds or nearly does.
    pub pipe: Option<Pipe>,
    /// Why.
    pub reason: String,
}

/// Judges.
pub fn judge(e: &Evidence) -> Judgement {
    let t = THRESHOLDS;
    let pipe = e.floors.pipe.map(|(pipe, _)| pipe);
    let verdict = |verdict, reason| Judgement { verdict, pipe, reason };
    if let Some(reason) = untold(e) {
        return verdict(Verdict::Unknown, reason);
    }
    let part = |floor: f64| floor / e.time;
    let memory = part(e.floors.memory);
    let compute = e.floors.pipe.map_or(0.0, |(_, floor)| part(floor));
    let name = pipe.map_or("no pipe", Pipe::name);
    let percent = |part: f64| format!("{:.0} %", 100.0 * part);
    // By the slow end of the interval: noise alone must not make a finding.
    if e.floors.most() > t.over_roof * e.interval.high.max(e.time) {
        let reason = format!(
            "{} of what costs and ceilings allow: the cost, the residency or a ceiling is wrong",
            percent(part(e.floors.most()))
        );
        return verdict(Verdict::OverRoof, reason);
    }
    if part(e.floors.launch) >= t.launch {
        let reason = format!("launching a dispatch is {} of it", percent(part(e.floors.launch)));
        return verdict(Verdict::LaunchOverhead, reason);
    }
    let reached = format!("{} of the memory's ceiling, {} of {name}", percent(memory), percent(compute));
    let near = memory.max(compute);
    if near >= t.far {
        let at = near >= t.at_roof;
        // A unit that is as good as busy bounds, whatever comes close to it.
        let apart = at || (memory - compute).abs() >= t.apart;
        let bound = match (apart, memory > compute) {
            (false, _) => Verdict::Balanced,
            (true, true) => Verdict::MemoryBound,
            (true, false) => Verdict::ComputeBound,
        };
        let how = if at { "at its ceiling" } else { "near its ceiling" };
        return verdict(bound, format!("{how}: {reached}"));
    }
    match e.fill {
        Some(fill) if (e.workgroups as f64) < fill => {
            let reason =
                format!("{reached}; {} of the {fill:.0} workgroups that fill the device", e.workgroups);
            verdict(Verdict::Underfilled, reason)
        }
        _ => verdict(
            Verdict::Latency,
            format!(
                "far from every ceiling: {reached}; dependencies, conflicts, synchronisation or unpacking"
            ),
        ),
    }
}

/// Why the measurement can't tell, if it can't.
fn untold(e: &Evidence) -> Option<String> {
    let t = THRESHOLDS;
    if e.samples < t.samples {
        let samples = if e.samples == 1 { "sample" } else { "samples" };
        return Some(format!("{} {samples}, at least {} are needed", e.samples, t.samples));
    }
    if !e.time.is_finite() || e.time <= 0.0 {
        return Some(format!("a median of {:.0} ns: lost in noise", e.time));
    }
    let width = (e.interval.high - e.interval.low) / e.time;
    if width > t.interval {
        return Some(format!("the interval is {:.0} % wide", 100.0 * width));
    }
    let less = e.subtracted && e.floors.launch > t.over_roof * e.interval.high.max(e.time);
    less.then(|| "less than a launch, when what stamps cost was taken off it: lost in that".to_string())
}

/// The side of the ridge on which an intensity interval lies. The ridge is in operations per byte.
pub fn side(intensity: Range, ridge: f64) -> Side {
    if intensity.high < ridge {
        Side::Memory
    } else if intensity.low > ridge {
        Side::Compute
    } else {
        Side::Straddles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence() -> Evidence {
        Evidence {
            time: 1000.0,
            interval: Range { low: 980.0, high: 1020.0 },
            samples: 30,
            subtracted: false,
            floors: Floors { launch: 10.0, memory: 100.0, pipe: Some((Pipe::F32, 100.0)) },
            workgroups: 100,
            fill: Some(50.0),
        }
    }

    fn with(change: impl Fn(&mut Evidence)) -> Verdict {
        let mut e = evidence();
        change(&mut e);
        judge(&e).verdict
    }

    #[test]
    fn thresholds_are_where_the_table_says() {
        assert_eq!(with(|e| e.floors.memory = 690.0), Verdict::MemoryBound);
        assert_eq!(with(|e| e.floors.memory = 590.0), Verdict::Latency);
        assert_eq!(with(|e| e.floors.pipe = Some((Pipe::Int, 850.0))), Verdict::ComputeBound);
        let both =
            |memory, pipe| with(|e| (e.floors.memory, e.floors.pipe) = (memory, Some((Pipe::F32, pipe))));
        assert_eq!(both(790.0, 700.0), Verdict::Balanced);
        assert_eq!(both(790.0, 680.0), Verdict::MemoryBound);
        // At a ceiling nothing is balanced.
        assert_eq!(both(850.0, 800.0), Verdict::MemoryBound);
        assert_eq!(both(790.0, 800.0), Verdict::ComputeBound);
        assert_eq!(with(|e| e.floors.launch = 500.0), Verdict::LaunchOverhead);
        assert_eq!(with(|e| e.workgroups = 49), Verdict::Underfilled);
        assert_eq!(with(|e| (e.workgroups, e.fill) = (1, None)), Verdict::Latency);
        // 5 % above the slow end of the interval.
        assert_eq!(with(|e| e.floors.memory = 1070.0), Verdict::MemoryBound);
        assert_eq!(with(|e| e.floors.memory = 1072.0), Verdict::OverRoof);
        // Less than a launch is told by nothing from which as much was taken.
        assert_eq!(with(|e| e.floors.launch = 1072.0), Verdict::OverRoof);
        assert_eq!(with(|e| (e.floors.launch, e.subtracted) = (1072.0, true)), Verdict::Unknown);
        assert_eq!(with(|e| (e.floors.launch, e.subtracted) = (1070.0, true)), Verdict::LaunchOverhead);
        assert_eq!(with(|e| (e.floors.memory, e.subtracted) = (1072.0, true)), Verdict::OverRoof);
    }

    #[test]
    fn what_can_not_be_told_is_unknown() {
        assert_eq!(with(|e| e.samples = 5), Verdict::Unknown);
        assert_eq!(with(|e| e.interval.high = 1190.0), Verdict::Unknown);
        for time in [0.0, -5.0, f64::NAN] {
            assert_eq!(with(|e| e.time = time), Verdict::Unknown);
        }
    }

    #[test]
    fn a_straddling_intensity_says_so() {
        assert_eq!(side(Range { low: 1.0, high: 4.0 }, 5.0), Side::Memory);
        assert_eq!(side(Range { low: 6.0, high: 9.0 }, 5.0), Side::Compute);
        assert_eq!(side(Range { low: 4.0, high: 9.0 }, 5.0), Side::Straddles);
    }
}
