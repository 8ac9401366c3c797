//! Kernels timed by stamps around each dispatch, less what stamps cost.
//!
//! Stamps are not free: on a software driver each drains the queue and wakes the workers again, and an
//! interval around nothing reads more than many kernels take. So a dispatch of nothing, with stamps of
//! its own, follows each dispatch of the stamped step, and what it reads there goes off; and since a
//! dispatch of nothing takes time too, what it adds to the same step without stamps is put back. The
//! kernels' sum against the span of the plain step then checks all of this: nothing is fitted to it.
//!
//! That stamps cost every kernel the same holds on a GPU. A software driver's workers go to sleep at each
//! stamp, and how long two of them take to wake is no part of what nothing reads: what is short there is
//! left out of the step instead, where it is enough of it to be told.

use std::time::Instant;

use super::meter::{Config, Meter, ROUNDS, Timed, calm};
use crate::model::Profile;
use crate::profile::stats::{ENOUGH, Samples};
use crate::profile::{Dispatched, Stamps, StepTimes};
use crate::roofline::report::TimedBy;
use crate::roofline::{ABOVE_NULL, Reading, reading, stamp_cost};

/// Rounds in which a dispatch of nothing follows each, where all that counts is long beside it.
const PADDED: usize = ENOUGH;
/// A smaller part of a step is not told by leaving it out.
const WORTH: f64 = 0.01;

/// What was read so far.
#[derive(Debug, Default)]
struct Rounds {
    raw: Vec<Reading>,
    padded: Vec<Reading>,
    /// Spans of the steps with a dispatch of nothing after each of their own.
    longer: Vec<f64>,
    /// Walls of the stamped steps.
    walls: Vec<f64>,
}

impl Meter<'_> {
    /// The samples of each group (none where stamps can't tell), and the walls of the stamped steps.
    pub(super) fn stamped(
        &mut self,
        config: Config,
        groups: &[(Dispatched, u64)],
        of: &[usize],
        plain: &mut Vec<StepTimes>,
    ) -> anyhow::Result<(Vec<Option<Timed>>, Vec<f64>)> {
        let Some(stamps) = self.stamps else { return Ok((vec![None; groups.len()], Vec::new())) };
        let inside = stamps == Stamps::Inside;
        let mut rounds = Rounds::default();
        let start = Instant::now();
        for round in 0..ROUNDS[1] {
            if round >= ROUNDS[0] && (start.elapsed() > self.budget || self.leaves_out(&rounds, groups)) {
                break;
            }
            let stamped = self.step(config, Profile { stamps, ..Profile::default() })?;
            rounds.walls.push(stamped.wall().0 as f64);
            rounds.raw.push(reading(&stamped, of, groups, false));
            if inside && (round < PADDED || rounds.short(groups).contains(&true)) {
                rounds.padded.push(reading(&self.padded(config, stamps)?, of, groups, true));
                let longer = self.padded(config, Stamps::Span)?;
                rounds.longer.extend(self.time(&longer));
            }
            plain.push(self.step(config, Profile::default())?);
        }
        let timed = self.told(&rounds, groups, of, plain);
        Ok((timed, rounds.walls))
    }

    /// Whether each kernel that counts is to be left out of the step, so that stamps tell of none.
    fn leaves_out(&self, rounds: &Rounds, groups: &[(Dispatched, u64)]) -> bool {
        let worth = rounds.worth(groups);
        let short = rounds.short(groups);
        self.software() && worth.iter().zip(short).all(|(worth, short)| !worth || short)
    }

    /// Each group's samples by what stamps read, where that tells of it.
    fn told(
        &self,
        rounds: &Rounds,
        groups: &[(Dispatched, u64)],
        of: &[usize],
        plain: &[StepTimes],
    ) -> Vec<Option<Timed>> {
        let inside = self.stamps == Some(Stamps::Inside);
        let wall: Vec<f64> = plain.iter().map(|t| t.wall().0 as f64).collect();
        let spans: Vec<f64> = plain.iter().filter_map(|t| self.time(t)).collect();
        let read = rounds.nothing();
        let cost = if inside {
            let longer = calm(&rounds.longer).zip(calm(&spans)).map(|(longer, plain)| longer - plain);
            read.zip(longer).map(|(read, longer)| stamp_cost(read, longer, of.len()))
        } else {
            // Where nothing was put between, the tax of a dispatch bounds what its stamps cost.
            let tax = calm(&rounds.walls).zip(calm(&wall)).map(|(stamped, plain)| stamped - plain);
            tax.map(|tax| (tax / of.len().max(1) as f64).max(0.0))
        };
        let most = if inside { read } else { cost };
        let (raw, padded) = (at_one_pace(&rounds.raw, groups), at_one_pace(&rounds.padded, groups));
        let worth = rounds.worth(groups);
        let timed = raw.into_iter().zip(padded).zip(worth).map(|((raw, padded), worth)| {
            let by = if inside { TimedBy::InsidePass } else { TimedBy::PassPerDispatch };
            if calm(&raw).zip(most).is_some_and(|(time, most)| time > ABOVE_NULL * most) {
                return Some((raw, by));
            }
            let cost = cost.filter(|_| inside && !padded.is_empty() && !(worth && self.software()))?;
            Some((padded.into_iter().map(|time| time - cost).collect(), TimedBy::NullSubtracted))
        });
        timed.collect()
    }

    /// Mean intervals of a stamped step by group: for comparing one step with another.
    pub(super) fn intervals(
        &mut self,
        config: Config,
        (groups, of): (&[(Dispatched, u64)], &[usize]),
        stamps: Stamps,
    ) -> anyhow::Result<Vec<Option<f64>>> {
        let times = self.step(config, Profile { stamps, ..Profile::default() })?;
        Ok(reading(&times, of, groups, false).groups)
    }
}

impl Rounds {
    /// What stamps read around nothing.
    fn nothing(&self) -> Option<f64> {
        calm(&self.padded.iter().filter_map(|r| r.nothing).collect::<Vec<_>>())
    }

    fn reads(&self, group: usize) -> f64 {
        let means: Vec<f64> =
            self.raw.iter().filter_map(|r| r.groups.get(group).copied().flatten()).collect();
        calm(&means).unwrap_or(0.0)
    }

    /// Which groups are enough of the step to be told by leaving them out.
    fn worth(&self, groups: &[(Dispatched, u64)]) -> Vec<bool> {
        let all: Vec<f64> = groups.iter().enumerate().map(|(i, g)| self.reads(i) * g.1 as f64).collect();
        let sum: f64 = all.iter().sum();
        all.iter().map(|part| *part >= WORTH * sum).collect()
    }

    /// Which of those are not long beside what stamps read around nothing.
    fn short(&self, groups: &[(Dispatched, u64)]) -> Vec<bool> {
        let read = self.nothing().unwrap_or(0.0);
        let worth = self.worth(groups).into_iter().enumerate();
        worth.map(|(i, worth)| worth && self.reads(i) <= ABOVE_NULL * read).collect()
    }
}

/// Each group's readings, those of disturbed steps scaled to the pace of calm ones, in turn: a machine that changes
/// its pace changes all kernels of a step alike. The pace is told by the other groups, so that a kernel's own
/// scatter stays, and as many calm steps as there are give theirs.
fn at_one_pace(readings: &[Reading], groups: &[(Dispatched, u64)]) -> Vec<Vec<f64>> {
    let all = |r: &Reading| -> Option<Vec<f64>> {
        r.groups.iter().zip(groups).map(|(mean, g)| mean.map(|mean| mean * g.1 as f64)).collect()
    };
    let steps: Vec<Option<Vec<f64>>> = readings.iter().map(all).collect();
    let totals: Vec<Option<f64>> = steps.iter().map(|s| s.as_ref().map(|s| s.iter().sum())).collect();
    let limit = Samples::new(totals.iter().copied().flatten().collect()).map_or(0.0, |s| s.calm());
    let calm: Vec<&Vec<f64>> = steps
        .iter()
        .zip(&totals)
        .filter(|(_, total)| total.is_some_and(|t| t <= limit))
        .flat_map(|(s, _)| s)
        .collect();
    let scaled = |at: usize, group: usize| {
        let read = readings[at].groups.get(group).copied().flatten()?;
        let (Some(step), Some(total)) = (&steps[at], totals[at]) else { return Some(read) };
        if total <= limit {
            return Some(read);
        }
        let others = |step: &[f64]| step.iter().sum::<f64>() - step[group];
        let pace = others(calm[at % calm.len().max(1)]) / others(step);
        // Of one group alone nothing tells the pace.
        Some(if pace.is_finite() { read * pace } else { read })
    };
    (0..groups.len()).map(|group| (0..readings.len()).filter_map(|at| scaled(at, group)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Cost;

    fn groups() -> Vec<(Dispatched, u64)> {
        let d = |kernel: &str| Dispatched {
            kernel: kernel.into(),
            shape: String::new(),
            cost: Cost::default(),
            workgroups: 1,
        };
        vec![(d("linear"), 3), (d("argmax"), 1)]
    }

    fn read(linear: f64, argmax: Option<f64>, nothing: f64) -> Reading {
        Reading { groups: vec![Some(linear), argmax], nothing: Some(nothing) }
    }

    #[test]
    fn a_step_at_half_the_pace_tells_the_same() {
        let all = [read(100.0, Some(10.0), 0.0), read(200.0, Some(20.0), 0.0), read(101.0, Some(10.1), 0.0)];
        let found = at_one_pace(&all, &groups());
        assert_eq!((found[0][0], found[0][2]), (100.0, 101.0));
        assert!((found[0][1] - 101.0).abs() < 1.1 && (found[1][1] - 10.1).abs() < 0.2, "{found:?}");
        // Where a stamp was lost nobody knows the pace.
        assert_eq!(at_one_pace(&[read(100.0, None, 0.0)], &groups()), [vec![100.0], vec![]]);
        assert_eq!(at_one_pace(&[], &groups()), [vec![0.0; 0], vec![]]);
    }

    #[test]
    fn a_kernel_s_own_scatter_stays() {
        let scatter = [100.0, 110.0, 95.0, 105.0, 90.0, 102.0, 98.0];
        let alone = scatter.map(|ns| Reading { groups: vec![Some(ns)], nothing: None });
        let found = at_one_pace(&alone, &groups()[..1]).remove(0);
        assert_eq!(found, scatter);
        // Beside another that keeps its time, every one keeps its own.
        let beside = scatter.map(|ns| read(ns, Some(1000.0), 0.0));
        let found = at_one_pace(&beside, &groups()).remove(0);
        assert!(found.iter().zip(scatter).all(|(found, ns)| (found / ns - 1.0).abs() < 1e-9), "{found:?}");
    }

    #[test]
    fn what_is_a_hundredth_of_a_step_is_worth_leaving_out_and_short_beside_its_stamps() {
        let raw: Vec<Reading> = (0..5).map(|_| read(1000.0, Some(20.0), 0.0)).collect();
        let with = |nothing: f64| Rounds {
            raw: raw.clone(),
            padded: vec![read(1000.0, Some(20.0), nothing)],
            ..Rounds::default()
        };
        assert_eq!(with(60.0).worth(&groups()), [true, false]);
        assert_eq!(with(60.0).short(&groups()), [true, false]);
        assert_eq!(with(40.0).short(&groups()), [false, false]);
    }
}
