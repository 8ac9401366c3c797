//! `--confirm`: what each larger kernel waits for, by changing its work and nothing else.
//!
//! Steps whose kernels' arithmetic is done twice, and steps whose loads all fall on a few lines, run in
//! turn with real ones. Where dispatches have stamps of their own, their intervals are compared, and
//! what stamps cost cancels; else one group at a time is changed, and the spans of steps are compared.

use std::time::Instant;

use super::meter::{Config, Meter, ROUNDS};
use crate::model::{Counterfactual, Profile};
use crate::profile::Dispatched;
use crate::profile::stats::differences;
use crate::roofline::elasticity::{elastic, mark, part_gone};
use crate::roofline::grouped;
use crate::roofline::report::{Elasticity, KernelRow, TimedBy};

/// Rows of a smaller part of the step are not tried: the span would not tell.
const WORTH: f64 = 0.02;

/// By how much a dispatch is longer with its arithmetic done twice, and shorter without its bytes, ns.
type Changes = [Vec<f64>; 2];

/// Whose work can be changed: of the kernels that multiply by weights, keys or values.
fn changes(kernel: &str) -> bool {
    ["linear", "attention"].iter().any(|name| kernel.starts_with(name)) && kernel != "attention_merge"
}

impl Meter<'_> {
    /// Tries the counterfactuals on a step's rows, which are in the order of its groups.
    pub fn confirm(&mut self, config: Config, rows: &mut [KernelRow]) -> anyhow::Result<()> {
        let (groups, of) = grouped(&self.describe(config)?);
        let parts = self.parts_gone(config, &groups, &of)?;
        let stamped =
            !rows.iter().any(|row| matches!(row.timed_by, TimedBy::LeaveOneOut | TimedBy::LeaveOneOutWall));
        let measured = if stamped && self.stamps.is_some() {
            self.by_interval(config, &groups, &of)
        } else {
            self.by_span(config, &groups, &of, rows)
        };
        // Whatever happened, the steps that follow are real ones.
        self.turn(Counterfactual::Real, &|_| true, false);
        for ((row, [longer, shorter]), part) in rows.iter_mut().zip(measured?).zip(parts) {
            let Some(time) = row.time().filter(|_| changes(&row.kernel) && row.share >= WORTH) else {
                continue;
            };
            let arithmetic = elastic(longer, time, 1.0);
            if let Some((arithmetic, bytes)) = arithmetic.zip(elastic(shorter, time, part)) {
                mark(row, Elasticity { arithmetic, bytes });
            }
        }
        Ok(())
    }

    /// The part of each group's bytes that goes where loads all fall on a few lines.
    fn parts_gone(
        &mut self,
        config: Config,
        groups: &[(Dispatched, u64)],
        of: &[usize],
    ) -> anyhow::Result<Vec<f64>> {
        self.turn(Counterfactual::Collapsed, &|_| true, true);
        let changed = self.describe(config);
        self.turn(Counterfactual::Real, &|_| true, false);
        let mut parts = vec![0.0; groups.len()];
        for (&group, d) in of.iter().zip(&changed?) {
            parts[group] = part_gone(&groups[group].0.cost, &d.cost);
        }
        Ok(parts)
    }

    fn turn(&mut self, change: Counterfactual, of: &dyn Fn(usize) -> bool, attention: bool) {
        self.runner.counterfactual(change, of);
        self.one_block = attention && change == Counterfactual::Collapsed;
    }

    /// All kernels changed at once, each judged by its own stamps.
    fn by_interval(
        &mut self,
        config: Config,
        groups: &[(Dispatched, u64)],
        of: &[usize],
    ) -> anyhow::Result<Vec<Changes>> {
        let mut found = vec![Changes::default(); groups.len()];
        let Some(stamps) = self.stamps else { return Ok(found) };
        self.in_turn(|meter, change| {
            meter.turn(change, &|_| true, true);
            meter.intervals(config, (groups, of), stamps)
        })?
        .into_iter()
        .for_each(|[real, twice, collapsed]| {
            for (group, found) in found.iter_mut().enumerate() {
                let difference = |a: &[Option<f64>], b: &[Option<f64>]| Some(a[group]? - b[group]?);
                found[0].extend(difference(&twice, &real));
                found[1].extend(difference(&real, &collapsed));
            }
        });
        Ok(found)
    }

    /// One group changed at a time, judged by the step's span.
    fn by_span(
        &mut self,
        config: Config,
        groups: &[(Dispatched, u64)],
        of: &[usize],
        rows: &[KernelRow],
    ) -> anyhow::Result<Vec<Changes>> {
        let mut found = vec![Changes::default(); groups.len()];
        for (group, (d, calls)) in groups.iter().enumerate() {
            if !changes(&d.kernel) || rows.get(group).is_none_or(|row| row.share < WORTH) {
                continue;
            }
            let attention = d.kernel.starts_with("attention");
            let spans = self.in_turn(|meter, change| {
                meter.turn(change, &|at| of.get(at) == Some(&group), attention);
                let times = meter.step(config, Profile::default())?;
                Ok(meter.time(&times))
            })?;
            let each = |longer: usize, shorter: usize| -> Vec<f64> {
                let pairs = spans.iter().filter_map(|spans| spans[longer].zip(spans[shorter]));
                differences(&pairs.collect::<Vec<_>>()).into_iter().map(|more| more / *calls as f64).collect()
            };
            let [real, twice, collapsed] = [0, 1, 2];
            found[group] = [each(twice, real), each(real, collapsed)];
        }
        Ok(found)
    }

    /// Runs the real step and both changed ones in turn; `[real, twice, collapsed]` of each round.
    fn in_turn<T>(
        &mut self,
        mut run: impl FnMut(&mut Self, Counterfactual) -> anyhow::Result<T>,
    ) -> anyhow::Result<Vec<[T; 3]>> {
        // Builds the pipelines.
        run(self, Counterfactual::Twice)?;
        let start = Instant::now();
        let mut rounds = Vec::new();
        for round in 0..ROUNDS[1] {
            if round >= ROUNDS[0] && start.elapsed() > self.budget / 2 {
                break;
            }
            // The real step lies between the others, from which side differs.
            let (twice, real, collapsed);
            if round % 2 == 0 {
                twice = run(self, Counterfactual::Twice)?;
                real = run(self, Counterfactual::Real)?;
                collapsed = run(self, Counterfactual::Collapsed)?;
            } else {
                collapsed = run(self, Counterfactual::Collapsed)?;
                real = run(self, Counterfactual::Real)?;
                twice = run(self, Counterfactual::Twice)?;
            }
            rounds.push([real, twice, collapsed]);
        }
        Ok(rounds)
    }
}
