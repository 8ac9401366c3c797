//! Kernels timed by leaving them out: the step with and without a kernel's dispatches, in turn.
//!
//! Only pairs that nothing disturbed count. A neighbour on the same processor makes one step in some take half
//! as long again, and the difference of two steps is then anything; it makes none shorter.

use std::time::{Duration, Instant};

use super::meter::{Config, Meter, ROUNDS, Timed};
use crate::model::Profile;
use crate::profile::stats::{Samples, differences};
use crate::profile::{Dispatched, StepTimes};
use crate::roofline::report::TimedBy;
use crate::roofline::verdict::THRESHOLDS;

/// Where rows that count are not told yet, so many times the time that was asked for is taken.
const PATIENCE: u32 = 6;
/// Rows of a smaller part of the step are not waited for.
const WORTH: f64 = 0.05;

/// The step and the same without some dispatches, ns.
type Pair = (f64, f64);

impl Meter<'_> {
    /// A step without the dispatches of a group, where there is one.
    fn lacking(
        &mut self,
        config: Config,
        of: &[usize],
        group: Option<usize>,
    ) -> anyhow::Result<Option<StepTimes>> {
        let Some(group) = group else { return Ok(None) };
        let without = |at: usize| of.get(at) == Some(&group);
        self.step(config, Profile { without: Some(&without), ..Profile::default() }).map(Some)
    }

    /// The step with and without each of these groups, in turn: one group before and one after each
    /// whole step, and the other way round next time, so that neither place favours any.
    pub(super) fn left_out(
        &mut self,
        config: Config,
        (groups, of): (&[(Dispatched, u64)], &[usize]),
        which: &[usize],
        plain: &mut Vec<StepTimes>,
    ) -> anyhow::Result<Vec<Timed>> {
        let by = if self.ring.is_some() { TimedBy::LeaveOneOut } else { TimedBy::LeaveOneOutWall };
        let mut pairs: Vec<Vec<Pair>> = vec![Vec::new(); which.len()];
        let start = Instant::now();
        for round in 0..PATIENCE as usize * ROUNDS[1] {
            let elapsed = if round < ROUNDS[0] { Duration::ZERO } else { start.elapsed() };
            let open = open(elapsed, self.budget, &pairs);
            if open.is_empty() {
                break;
            }
            for [before, after] in places(&open, round) {
                let first = self.lacking(config, of, before.map(|i| which[i]))?;
                let whole = self.step(config, Profile::default())?;
                let last = self.lacking(config, of, after.map(|i| which[i]))?;
                for (i, rest) in before.zip(first).into_iter().chain(after.zip(last)) {
                    pairs[i].extend(self.time(&whole).zip(self.time(&rest)));
                }
                plain.push(whole);
            }
        }
        let each = |(i, pairs): (usize, &Vec<Pair>)| {
            let calls = groups[which[i]].1 as f64;
            (differences(pairs).into_iter().map(|took| took / calls).collect(), by)
        };
        Ok(pairs.iter().enumerate().map(each).collect())
    }
}

/// Which rows are left out before a whole step, and which after it: in turn, and the other way round in the next
/// round.
fn places(rows: &[usize], round: usize) -> Vec<[Option<usize>; 2]> {
    let of = |pair: &[usize]| {
        let mut places = [pair.first().copied(), pair.get(1).copied()];
        if round % 2 == 1 {
            places.reverse();
        }
        places
    };
    rows.chunks(2).map(of).collect()
}

/// Which rows are measured further: all within the time that was asked for, and until patience ends those that
/// count and are not told.
fn open(elapsed: Duration, asked: Duration, pairs: &[Vec<Pair>]) -> Vec<usize> {
    let told = |pairs: &Vec<Pair>| {
        let Some(took) = Samples::new(differences(pairs)) else { return false };
        let median = took.median();
        let whole = pairs.iter().map(|p| p.0).fold(f64::INFINITY, f64::min);
        let narrow = || {
            let interval = took.median_interval();
            interval.high - interval.low <= THRESHOLDS.interval * median
        };
        median < WORTH * whole || (took.count() >= THRESHOLDS.samples && narrow())
    };
    let goes_on = |pairs| elapsed <= asked || (elapsed <= asked * PATIENCE && !told(pairs));
    pairs.iter().enumerate().filter(|(_, pairs)| goes_on(pairs)).map(|(i, _)| i).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_place_favours_any() {
        assert_eq!(places(&[4, 7, 9], 0), [[Some(4), Some(7)], [Some(9), None]]);
        assert_eq!(places(&[4, 7, 9], 1), [[Some(7), Some(4)], [None, Some(9)]]);
    }

    #[test]
    fn rows_that_count_are_waited_for() {
        let seconds = Duration::from_secs;
        let sure: Vec<Pair> = (0..10).map(|i| (100.0, 60.0 + f64::from(i) / 10.0)).collect();
        let unsure: Vec<Pair> = (0..10).map(|i| (100.0, 80.0 + f64::from(i % 2) * 4.0)).collect();
        let small: Vec<Pair> = (0..10).map(|i| (100.0, 98.0 + f64::from(i % 2) * 4.0)).collect();
        let all = [sure, unsure, small];
        let open = |elapsed| open(seconds(elapsed), seconds(10), &all);
        assert_eq!([open(9), open(11), open(61)], [vec![0, 1, 2], vec![1], vec![]]);
    }
}
