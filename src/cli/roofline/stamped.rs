//! Kernels timed by stamps around each dispatch, less what stamps cost.
//!
//! Stamps are not free: on a software driver each drains the queue and wakes the workers again, and an
//! interval around nothing reads more than many kernels take. So a dispatch of nothing, with stamps of
//! its own, follows each dispatch of the stamped step, and what it reads there goes off; and since a
//! dispatch of nothing takes time too, what it adds to the same step without stamps is put back. The
//! kernels' sum against the span of the plain step then checks all of this: nothing is fitted to it.

use std::time::Instant;

use super::meter::{Config, Meter, ROUNDS, Timed, median};
use crate::model::Profile;
use crate::profile::stats::Samples;
use crate::profile::{Dispatched, Stamps, StepTimes};
use crate::roofline::report::TimedBy;
use crate::roofline::{ABOVE_NULL, reading};

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
        let padded = stamps == Stamps::Inside;
        let mut raw = vec![Vec::new(); groups.len()];
        let mut net = vec![Vec::new(); groups.len()];
        let (mut walls, mut costs) = (Vec::new(), Vec::new());
        let start = Instant::now();
        for round in 0..ROUNDS[1] {
            if round >= ROUNDS[0] && start.elapsed() > self.budget {
                break;
            }
            let stamped = self.step(config, Profile { stamps, ..Profile::default() })?;
            walls.push(stamped.wall().0 as f64);
            let stamped = reading(&stamped, of, groups, false);
            for (to, mean) in raw.iter_mut().zip(stamped.groups) {
                to.extend(mean);
            }
            let real = self.step(config, Profile::default())?;
            if padded {
                let read = self.padded(config, stamps)?;
                let read = reading(&read, of, groups, true);
                let longer = self.padded(config, Stamps::Span)?;
                let added = self.time(&longer).zip(self.time(&real));
                let added = added.map(|(longer, real)| (longer - real) / of.len().max(1) as f64);
                if let Some(cost) = read.nothing.zip(added).map(|(read, added)| read - added) {
                    costs.push(cost);
                    for (to, mean) in net.iter_mut().zip(read.groups) {
                        to.extend(mean.map(|mean| mean - cost));
                    }
                }
            }
            plain.push(real);
        }
        let wall = |times: &[StepTimes]| {
            median(&times.iter().map(|t| t.wall().0 as f64).collect::<Vec<_>>()).unwrap_or(0.0)
        };
        // Where nothing was put between, the tax of a dispatch bounds what its stamps cost.
        let tax = (median(&walls).unwrap_or(0.0) - wall(plain)) / of.len().max(1) as f64;
        // What they cost at most: noise can make the median of a cost nothing, and all kernels long beside it.
        let most = Samples::new(costs).map(|costs| costs.median_interval().high);
        let cost = most.unwrap_or(tax).max(0.0);
        let timed = raw.into_iter().zip(net).map(|(raw, net)| {
            let by = if padded { TimedBy::InsidePass } else { TimedBy::PassPerDispatch };
            if median(&raw).is_some_and(|time| time > ABOVE_NULL * cost) {
                Some((raw, by))
            } else {
                padded.then_some((net, TimedBy::NullSubtracted))
            }
        });
        Ok((timed.collect(), walls))
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
