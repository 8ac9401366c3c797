//! Counterfactuals: what a kernel's time does when its arithmetic is doubled, or its bytes are taken
//! away, and what that says of its verdict.
//!
//! An elasticity is the part of the time that changes per part of the work that changes: 1 where a
//! kernel waits for nothing else, 0 where it doesn't wait for that at all. No counter is asked, so it
//! is had on every back end.

use serde::{Deserialize, Serialize};

use super::report::{KernelRow, OfCeiling, Verdict};
use crate::cost::Cost;
use crate::profile::stats::Samples;

/// What the time of a dispatch does when its work changes and all else stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Elasticity {
    /// The part that it takes longer with its arithmetic done twice.
    pub arithmetic: Elastic,
    /// The part that it takes less with all loads of weights or cache from a few lines.
    pub bytes: Elastic,
}

/// A median of parts of the time, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Elastic {
    /// The median.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What a counterfactual says of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmed {
    /// It agrees.
    Confirmed,
    /// It doesn't.
    Contradicted,
    /// It was tried and does not tell.
    Unclear,
}

/// From here on a kernel waits for it. Source: ours; beyond it, halving the work gains a fifth.
const ELASTIC: f64 = 0.4;
/// Below this it doesn't. Source: ours, of the size of what doubling adds beside the arithmetic.
const STIFF: f64 = 0.15;
/// A wider interval tells nothing: it spans the two above.
const WIDE: f64 = ELASTIC - STIFF;
/// Above this the change did more than it was to: of a change of all its work no kernel's time changes by more than
/// all of it. Registers that ran out, say. Source: ours, 1 and the size of STIFF.
const IMPOSSIBLE: f64 = 1.0 + STIFF;

/// An elasticity from the nanoseconds by which each changed run of one dispatch differed from the
/// real one, which takes `time`, where `part` of the work changed; none without samples, or where nothing changed.
pub fn elastic(differences: Vec<f64>, time: f64, part: f64) -> Option<Elastic> {
    if part <= 0.0 {
        return None;
    }
    let samples = Samples::new(differences.into_iter().map(|d| d / time / part).collect())?;
    let interval = samples.median_interval();
    Some(Elastic { value: samples.median(), low: interval.low, high: interval.high })
}

/// The part of a dispatch's bytes that a changed one no longer has, each counted once.
pub fn part_gone(real: &Cost, changed: &Cost) -> f64 {
    let [real, changed] = [real, changed].map(|cost| cost.bytes().0.0 as f64);
    if real > 0.0 { (real - changed) / real } else { 0.0 }
}

/// Marks a row by its elasticities.
pub fn mark(row: &mut KernelRow, elasticity: Elasticity) {
    row.confirmed = confirmed(row.verdict, elasticity, row.of_ceiling);
    let by = |change: f64| {
        format!("{:.0} % {}", 100.0 * change.abs(), if change < 0.0 { "shorter" } else { "longer" })
    };
    let more = |e: Elastic| {
        let said = " (more than all of it, so the change did more than it was to)";
        if e.low > IMPOSSIBLE { said } else { "" }
    };
    row.reason += &format!(
        "; with twice the arithmetic it is {}{}, without its bytes {}{}",
        by(elasticity.arithmetic.value),
        more(elasticity.arithmetic),
        by(-elasticity.bytes.value),
        more(elasticity.bytes)
    );
    row.elasticity = Some(elasticity);
}

fn impossible(e: Elasticity) -> bool {
    [e.arithmetic, e.bytes].iter().any(|e| e.low > IMPOSSIBLE)
}

/// What elasticities say of a verdict. None: the verdict claims nothing.
///
/// `latency` and `underfilled` claim that no ceiling is near, not that nothing is waited for: a chain in one
/// workgroup waits for arithmetic alone, a pointer chase for its loads, and neither at a ceiling's rate. So
/// waiting for something confirms them where its ceiling accounts for less than half of the wait, and
/// contradicts them where the ceiling accounts for as much as makes a kernel elastic.
pub fn confirmed(verdict: Verdict, e: Elasticity, of: OfCeiling) -> Option<Confirmed> {
    let (arithmetic, bytes) = (e.arithmetic.value, e.bytes.value);
    let both = [(arithmetic, of.pipe.unwrap_or(0.0)), (bytes, of.memory.unwrap_or(0.0))];
    let (agrees, disagrees) = match verdict {
        Verdict::MemoryBound => (bytes >= ELASTIC && bytes > arithmetic, bytes < STIFF),
        Verdict::ComputeBound => (arithmetic >= ELASTIC && arithmetic > bytes, arithmetic < STIFF),
        Verdict::Balanced => (arithmetic.min(bytes) >= STIFF, arithmetic.max(bytes) < STIFF),
        // It waits for neither.
        Verdict::LaunchOverhead => (arithmetic.max(bytes) < STIFF, arithmetic.max(bytes) >= ELASTIC),
        Verdict::Latency | Verdict::Underfilled => (
            both.iter().all(|(wait, reached)| *wait < STIFF || *reached < wait / 2.0),
            both.iter().any(|(wait, reached)| *wait >= ELASTIC && *reached >= ELASTIC),
        ),
        Verdict::OverRoof | Verdict::Unknown => return None,
    };
    let wide = |e: Elastic| e.high - e.low > WIDE;
    Some(match (agrees, disagrees) {
        _ if impossible(e) || wide(e.arithmetic) || wide(e.bytes) => Confirmed::Unclear,
        (true, _) => Confirmed::Confirmed,
        (_, true) => Confirmed::Contradicted,
        _ => Confirmed::Unclear,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No verdict but latency and underfilled asks for it.
    const NEAR: OfCeiling = OfCeiling { memory: Some(0.5), pipe: Some(0.5) };

    fn of(arithmetic: f64, bytes: f64) -> Elasticity {
        let exact = |value: f64| Elastic { value, low: value - 0.02, high: value + 0.02 };
        Elasticity { arithmetic: exact(arithmetic), bytes: exact(bytes) }
    }

    #[test]
    fn counterfactuals_confirm_and_contradict() {
        use Confirmed::{Confirmed as Yes, Contradicted as No, Unclear};
        for (verdict, arithmetic, bytes, expected) in [
            (Verdict::MemoryBound, 0.05, 0.8, Some(Yes)),
            (Verdict::MemoryBound, 0.9, 0.05, Some(No)),
            (Verdict::MemoryBound, 0.1, 0.3, Some(Unclear)),
            (Verdict::ComputeBound, 0.9, 0.05, Some(Yes)),
            (Verdict::ComputeBound, 0.05, 0.8, Some(No)),
            (Verdict::ComputeBound, 0.5, 0.6, Some(Unclear)),
            (Verdict::Balanced, 0.4, 0.5, Some(Yes)),
            (Verdict::Balanced, 0.05, 0.1, Some(No)),
            (Verdict::Latency, 0.05, 0.1, Some(Yes)),
            (Verdict::LaunchOverhead, 0.3, 0.0, Some(Unclear)),
            (Verdict::Unknown, 0.9, 0.8, None),
        ] {
            assert_eq!(
                confirmed(verdict, of(arithmetic, bytes), NEAR),
                expected,
                "{verdict:?} {arithmetic} {bytes}"
            );
        }
    }

    #[test]
    fn a_wide_interval_tells_nothing() {
        let mut e = of(0.05, 0.8);
        e.bytes.low = 0.5;
        assert_eq!(confirmed(Verdict::MemoryBound, e, NEAR), Some(Confirmed::Unclear));
    }

    #[test]
    fn more_than_all_of_the_time_confirms_nothing() {
        let say = |arithmetic| confirmed(Verdict::ComputeBound, of(arithmetic, 0.05), NEAR);
        assert_eq!(
            [1.1, 1.2, 2.8].map(say),
            [Confirmed::Confirmed, Confirmed::Unclear, Confirmed::Unclear].map(Some)
        );
        let of_bytes = |bytes| confirmed(Verdict::MemoryBound, of(0.05, bytes), NEAR);
        assert_eq!(of_bytes(1.3), Some(Confirmed::Unclear));
    }

    #[test]
    fn bytes_that_stay_are_no_part_of_an_elasticity() {
        use crate::cost::Role;
        let cost = |weights, input| {
            Cost::default().moves(Role::Weights, weights, 9 * weights).moves(Role::Input, input, input)
        };
        // Of ten units one stays, and all of x.
        let part = part_gone(&cost(1000, 200), &cost(100, 200));
        assert_eq!(part, 0.75);
        // A kernel that waits for bytes alone takes a quarter of its time without them.
        assert_eq!(elastic(vec![75.0; 5], 100.0, part).unwrap().value, 1.0);
        // Attention of one block, of which none went: that it takes as long says nothing.
        assert_eq!(part_gone(&cost(100, 200), &cost(100, 200)), 0.0);
        assert_eq!(elastic(vec![0.0; 5], 100.0, 0.0), None);
    }

    #[test]
    fn waiting_far_from_a_ceiling_is_what_latency_means() {
        let reached = |pipe: f64, memory: f64| OfCeiling { pipe: Some(pipe), memory: Some(memory) };
        for verdict in [Verdict::Latency, Verdict::Underfilled] {
            let say = |arithmetic, bytes, of_ceiling| confirmed(verdict, of(arithmetic, bytes), of_ceiling);
            // A chain in one workgroup of a hundred, and a pointer chase.
            assert_eq!(say(1.0, 0.0, reached(0.01, 0.0)), Some(Confirmed::Confirmed));
            assert_eq!(say(0.0, 0.9, reached(0.0, 0.03)), Some(Confirmed::Confirmed));
            // Waits for arithmetic, and its ceiling accounts for most of the wait.
            assert_eq!(say(0.6, 0.0, reached(0.55, 0.1)), Some(Confirmed::Contradicted));
            assert_eq!(say(0.5, 0.0, reached(0.35, 0.1)), Some(Confirmed::Unclear));
        }
    }

    #[test]
    fn an_elasticity_is_a_part_of_the_time() {
        let e = elastic(vec![90.0, 110.0, 100.0], 200.0, 1.0).unwrap();
        assert_eq!(e.value, 0.5);
        assert!(e.low >= 0.45 && e.high <= 0.55, "{e:?}");
        assert_eq!(elastic(vec![], 200.0, 1.0), None);
        assert_eq!(elastic(vec![1.0], 0.0, 1.0), None);
    }
}
