//! Times a model's real steps, kernel by kernel, in the way that this device's stamps allow.
//!
//! Where stamps can be trusted around a single dispatch, each gets its own; where an interval costs
//! more than the kernel, kernels are left out of the step, one group at a time, and the spans
//! compared. No kernel's control flow depends on data, so a step with garbage in it takes the same.

use std::time::{Duration, Instant};

use crate::cache::BlockId;
use crate::model::{Entry, Loads, Outputs, Profile, Results, Runner, Stamps, Want};
use crate::profile::stats::Samples;
use crate::profile::{Dispatched, Ring, StepTimes};
use crate::roofline::report::{Grade, Host, KernelRow, TimedBy};
use crate::roofline::verdict::confirmed;
use crate::roofline::{Group, MeasuredStep};

/// A kind of step: so many new tokens of each sequence, which then has so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// New tokens of each sequence.
    pub tokens: usize,
    /// Sequences.
    pub sequences: usize,
    /// Tokens of each sequence after the step.
    pub context: usize,
}

impl Config {
    /// `prefill 512` or `decode x4 at 1024`.
    pub fn name(self) -> String {
        let Self { tokens, sequences, context } = self;
        match (tokens, sequences) {
            (1, _) => format!("decode x{sequences} at {context}"),
            (_, 1) => format!("prefill {tokens}"),
            _ => format!("prefill {tokens} x{sequences}"),
        }
    }
}

/// An interval must be so many times an empty one's before it is taken for the kernel's.
const ABOVE_NULL: f64 = 20.0;
/// Rounds at least and at most.
const ROUNDS: [usize; 2] = [5, 60];
/// Steps before any is timed: at least this long, and two.
const WARM: Duration = Duration::from_millis(500);

/// Measures steps of one model.
#[derive(Debug)]
pub struct Meter<'a> {
    /// The model.
    pub runner: &'a mut Runner,
    ring: Option<Ring>,
    grade: Grade,
    null: f64,
    launch: f64,
    budget: Duration,
    results: Results,
    loads: Loads,
}

/// A step's dispatches of the same kernel and shape.
pub fn grouped(described: &[Dispatched]) -> (Vec<(Dispatched, u64)>, Vec<usize>) {
    let mut groups: Vec<(Dispatched, u64)> = Vec::new();
    let mut of = Vec::with_capacity(described.len());
    for d in described {
        let at = groups.iter().position(|(g, _)| g == d).unwrap_or_else(|| {
            groups.push((d.clone(), 0));
            groups.len() - 1
        });
        groups[at].1 += 1;
        of.push(at);
    }
    (groups, of)
}

fn median(values: &[f64]) -> Option<f64> {
    Samples::new(values.to_vec()).map(|s| s.median())
}

impl<'a> Meter<'a> {
    /// A meter. `null` and `launch` are what an empty dispatch reads and costs, ns; `budget` is for
    /// the kernels of one step.
    pub fn new(runner: &'a mut Runner, grade: Grade, null: f64, launch: f64, budget: Duration) -> Self {
        let ring = if grade == Grade::WallOnly { None } else { Ring::new(&runner.gpu) };
        Self { runner, ring, grade, null, launch, budget, results: Results::default(), loads: Loads::Whole }
    }

    fn step(
        &mut self,
        config: Config,
        stamps: Stamps,
        without: Option<&dyn Fn(usize) -> bool>,
    ) -> anyhow::Result<StepTimes> {
        let ring = self.ring.as_mut();
        let (runner, results) = (&mut *self.runner, &mut self.results);
        with_entries(runner, config, self.loads, |runner, entries| {
            Ok(runner.step(entries, Want::Argmax, results, Profile { stamps, ring, without })?)
        })
    }

    /// What a step of a configuration would run.
    pub fn describe(&mut self, config: Config) -> anyhow::Result<Vec<Dispatched>> {
        with_entries(self.runner, config, self.loads, |runner, entries| {
            Ok(runner.describe(entries, Want::Argmax)?)
        })
    }

    /// The step's time: by the stamps around its pass, or by the wall clock.
    fn time(&self, times: &StepTimes) -> Option<f64> {
        if self.ring.is_some() { times.spans.first().copied().flatten() } else { Some(times.wall().0 as f64) }
    }

    /// Measures a step and its kernels.
    pub fn measure(&mut self, config: Config) -> anyhow::Result<MeasuredStep> {
        let described = self.describe(config)?;
        let (groups, of) = grouped(&described);
        let warm = Instant::now();
        let mut plain = Vec::new();
        while plain.len() < ROUNDS[0] + 2 || warm.elapsed() < WARM {
            plain.push(self.step(config, Stamps::Span, None)?);
        }
        plain.drain(..2);
        let times: Vec<f64> = plain.iter().filter_map(|t| self.time(t)).collect();
        let each = median(&times).unwrap_or(0.0) / described.len().max(1) as f64;
        let stamped = self.ring.is_some() && (self.grade == Grade::Trusted || each > ABOVE_NULL * self.null);
        let (samples, by, profiled) = if stamped {
            self.stamped(config, &groups, &of, &mut plain)?
        } else {
            self.left_out(config, &groups, &of, &mut plain)?
        };
        let part = |f: &dyn Fn(&StepTimes) -> f64| median(&plain.iter().map(f).collect::<Vec<_>>());
        let wall = part(&|t| t.wall().0 as f64).unwrap_or(0.0);
        let spans: Vec<f64> = plain.iter().filter_map(|t| t.spans.first().copied().flatten()).collect();
        let groups =
            groups.into_iter().zip(samples).map(|((d, calls), samples)| self.group(d, calls, samples, by));
        Ok(MeasuredStep {
            name: config.name(),
            tokens: (config.tokens * config.sequences) as u64,
            sequences: config.sequences as u64,
            context: config.context as u64,
            groups: groups.collect(),
            gpu: median(&spans),
            wall,
            profiled_wall: median(&profiled),
            host: Host {
                plan_ns: part(&|t| t.plan.0 as f64).unwrap_or(0.0),
                record_ns: part(&|t| t.record.0 as f64).unwrap_or(0.0),
                submit_ns: part(&|t| t.submit.0 as f64).unwrap_or(0.0),
                wait_ns: part(&|t| t.wait.0 as f64).unwrap_or(0.0),
            },
        })
    }

    /// Wall clocks of two configurations, in turn: medians, ns.
    pub fn compare(&mut self, a: Config, b: Config) -> anyhow::Result<(f64, f64)> {
        let mut walls = [Vec::new(), Vec::new()];
        let start = Instant::now();
        while walls[0].len() < 3 + ROUNDS[0] || (start.elapsed() < self.budget && walls[0].len() < 200) {
            for (walls, config) in walls.iter_mut().zip([a, b]) {
                walls.push(self.step(config, Stamps::Span, None)?.wall().0 as f64);
            }
        }
        // The first ones warm up.
        let middle = |walls: &[f64]| median(&walls[3..]).unwrap_or(0.0);
        Ok((middle(&walls[0]), middle(&walls[1])))
    }

    /// Measures again with weights and cache collapsed, and says what that makes of each verdict.
    pub fn confirm(&mut self, config: Config, rows: &mut [KernelRow]) -> anyhow::Result<()> {
        self.runner.loads(Loads::Collapsed);
        self.loads = Loads::Collapsed;
        let collapsed = self.measure(config);
        self.loads = Loads::Whole;
        self.runner.loads(Loads::Whole);
        for (row, group) in rows.iter_mut().zip(collapsed?.groups) {
            let lasting = row.roles.contains_key("weights") || row.roles.contains_key("cache");
            if let Some(without) = median(&group.samples).filter(|_| lasting) {
                row.confirmed = confirmed(row.verdict, 1.0 - without / row.time_ns.p50);
            }
        }
        Ok(())
    }

    /// A group's row. Where stamps cost more than the kernel, what they read of nothing goes off.
    fn group(&self, d: Dispatched, calls: u64, mut samples: Vec<f64>, by: TimedBy) -> Group {
        let mut timed_by = by;
        let single = matches!(by, TimedBy::InsidePass | TimedBy::PassPerDispatch);
        if single && median(&samples).is_some_and(|t| t < ABOVE_NULL * self.null) {
            timed_by = TimedBy::NullSubtracted;
            samples.iter_mut().for_each(|s| *s -= (self.null - self.launch).max(0.0));
        }
        Group {
            kernel: d.kernel,
            shape: d.shape,
            calls,
            workgroups: d.workgroups,
            cost: d.cost,
            timed_by,
            samples,
        }
    }

    /// Stamps around each dispatch, in turn with steps that have none.
    fn stamped(
        &mut self,
        config: Config,
        groups: &[(Dispatched, u64)],
        of: &[usize],
        plain: &mut Vec<StepTimes>,
    ) -> anyhow::Result<(Vec<Vec<f64>>, TimedBy, Vec<f64>)> {
        let inside = self.grade == Grade::Trusted
            && self.runner.gpu.has(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES);
        let (stamps, by) = if inside {
            (Stamps::Inside, TimedBy::InsidePass)
        } else {
            (Stamps::Passes, TimedBy::PassPerDispatch)
        };
        let mut samples = vec![Vec::new(); groups.len()];
        let mut walls = Vec::new();
        let start = Instant::now();
        for round in 0..ROUNDS[1] {
            if round >= ROUNDS[0] && start.elapsed() > self.budget {
                break;
            }
            let times = self.step(config, stamps, None)?;
            walls.push(times.wall().0 as f64);
            let mut sums = vec![Some(0.0); groups.len()];
            for (&group, span) in of.iter().zip(&times.spans) {
                sums[group] = sums[group].zip(*span).map(|(sum, span)| sum + span);
            }
            for ((to, sum), (_, calls)) in samples.iter_mut().zip(sums).zip(groups) {
                to.extend(sum.map(|sum| sum / *calls as f64));
            }
            plain.push(self.step(config, Stamps::Span, None)?);
        }
        Ok((samples, by, walls))
    }

    /// The step with and without each group, in turn.
    fn left_out(
        &mut self,
        config: Config,
        groups: &[(Dispatched, u64)],
        of: &[usize],
        plain: &mut Vec<StepTimes>,
    ) -> anyhow::Result<(Vec<Vec<f64>>, TimedBy, Vec<f64>)> {
        let by = if self.ring.is_some() { TimedBy::LeaveOneOut } else { TimedBy::LeaveOneOutWall };
        let mut samples = vec![Vec::new(); groups.len()];
        let start = Instant::now();
        for round in 0..ROUNDS[1] {
            if round >= ROUNDS[0] && start.elapsed() > self.budget {
                break;
            }
            // One group before and one after each whole step, and the other way round next time, so
            // that neither place favours any.
            let mut order: Vec<usize> = (0..groups.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for pair in order.chunks(2) {
                let mut rests =
                    vec![self.step(config, Stamps::Span, Some(&|at| of.get(at) == pair.first()))?];
                let whole = self.step(config, Stamps::Span, None)?;
                if pair.len() > 1 {
                    rests.push(self.step(config, Stamps::Span, Some(&|at| of.get(at) == pair.get(1)))?);
                }
                for (&group, rest) in pair.iter().zip(&rests) {
                    let both = self.time(&whole).zip(self.time(rest));
                    samples[group].extend(both.map(|(whole, rest)| (whole - rest) / groups[group].1 as f64));
                }
                plain.push(whole);
            }
        }
        // Nothing is stamped but the pass: profiling is only that there are more steps.
        Ok((samples, by, Vec::new()))
    }
}

/// Entries of a configuration: made-up tokens on blocks of their own.
fn with_entries<T>(
    runner: &mut Runner,
    config: Config,
    loads: Loads,
    act: impl FnOnce(&mut Runner, &[Entry<'_>]) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let Config { tokens, sequences, context } = config;
    let vocab = runner.hyper.vocab as u64;
    let ids: Vec<u32> = (0..tokens as u64).map(|i| (i * 7919 % vocab) as u32).collect();
    let per_sequence = context.div_ceil(runner.limits.cache.block_size as usize) as u32;
    let blocks: Vec<Vec<BlockId>> = (0..sequences as u32)
        .map(|s| {
            let own = s * per_sequence..(s + 1) * per_sequence;
            own.map(|b| BlockId(if loads == Loads::Whole { b } else { s * per_sequence })).collect()
        })
        .collect();
    let entry = |blocks| Entry {
        tokens: &ids,
        start: context.saturating_sub(tokens),
        blocks,
        outputs: Outputs::Last,
    };
    let entries: Vec<Entry<'_>> = blocks.iter().map(|blocks| entry(blocks)).collect();
    act(runner, &entries)
}
