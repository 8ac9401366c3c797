//! Times a model's real steps, kernel by kernel, in the way that this device's stamps allow.
//!
//! Where stamps can be trusted around a single dispatch, each gets its own; where an interval costs
//! more than the kernel, kernels are left out of the step, one group at a time, and the spans
//! compared. No kernel's control flow depends on data, so a step with garbage in it takes the same.

use std::time::{Duration, Instant};

use crate::cache::BlockId;
use crate::model::{Entry, Outputs, Profile, Results, Runner, Want};
use crate::profile::stats::Samples;
use crate::profile::{Counts, Dispatched, Nothing, Ring, Stamps, StepTimes};
use crate::roofline::report::{Grade, Host, TimedBy, Timer};
use crate::roofline::{Group, MeasuredStep, grouped};

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

/// Rounds at least and at most.
pub(super) const ROUNDS: [usize; 2] = [6, 60];
/// Steps before any is timed: at least this long, and two.
const WARM: Duration = Duration::from_millis(500);

/// Measures steps of one model.
#[derive(Debug)]
pub struct Meter<'a> {
    /// The model.
    pub runner: &'a mut Runner,
    pub(super) ring: Option<Ring>,
    /// Where stamps around a dispatch may go, if they tell of it.
    pub(super) stamps: Option<Stamps>,
    nothing: Nothing,
    pub(super) budget: Duration,
    results: Results,
    /// Whether all of a sequence's blocks are the same one.
    pub(super) one_block: bool,
}

/// The median of what nothing disturbed.
pub(super) fn calm(values: &[f64]) -> Option<f64> {
    Samples::new(values.to_vec()).map(|s| s.calm_median())
}

impl<'a> Meter<'a> {
    /// A meter. `budget` is for the kernels of one step.
    pub fn new(runner: &'a mut Runner, timer: &Timer, budget: Duration) -> anyhow::Result<Self> {
        let ring = if timer.grade == Grade::WallOnly { None } else { Ring::new(&runner.gpu) };
        let stamps = timer.around_a_dispatch(runner.gpu.device.features());
        let nothing = Nothing::new(&runner.gpu)?;
        let (results, one_block) = (Results::default(), false);
        Ok(Self { runner, ring, stamps, nothing, budget, results, one_block })
    }

    /// Whether shaders run on the host's processor.
    pub(super) fn software(&self) -> bool {
        self.runner.gpu.adapter.is_software()
    }

    /// What became of all stamps so far.
    pub fn counts(&self) -> Counts {
        self.ring.as_ref().map_or(Counts::default(), |ring| ring.counts)
    }

    /// One step, with what the profile says but the ring, which is the meter's.
    pub(super) fn step(&mut self, config: Config, profile: Profile<'_>) -> anyhow::Result<StepTimes> {
        let ring = self.ring.as_mut();
        let (runner, results) = (&mut *self.runner, &mut self.results);
        with_entries(runner, config, self.one_block, |runner, entries| {
            let Profile { stamps, without, nothing, .. } = profile;
            let profile = Profile { stamps, ring, without, nothing };
            Ok(runner.step(entries, Want::Argmax, results, profile)?)
        })
    }

    /// A step with a dispatch of nothing after each of its own.
    pub(super) fn padded(&mut self, config: Config, stamps: Stamps) -> anyhow::Result<StepTimes> {
        let nothing = self.nothing.clone();
        self.step(config, Profile { stamps, nothing: Some(&nothing), ..Profile::default() })
    }

    /// What a step of a configuration would run.
    pub fn describe(&mut self, config: Config) -> anyhow::Result<Vec<Dispatched>> {
        with_entries(self.runner, config, self.one_block, |runner, entries| {
            Ok(runner.describe(entries, Want::Argmax)?)
        })
    }

    /// The step's time: by the stamps around its pass, or by the wall clock.
    pub(super) fn time(&self, times: &StepTimes) -> Option<f64> {
        if self.ring.is_some() { times.spans.first().copied().flatten() } else { Some(times.wall().0 as f64) }
    }

    /// Measures a step and its kernels.
    pub fn measure(&mut self, config: Config) -> anyhow::Result<MeasuredStep> {
        let described = self.describe(config)?;
        let (groups, of) = grouped(&described);
        let warm = Instant::now();
        let mut plain = Vec::new();
        while plain.len() < ROUNDS[0] + 2 || warm.elapsed() < WARM {
            plain.push(self.step(config, Profile::default())?);
        }
        plain.drain(..2);
        let (mut timed, profiled) = self.stamped(config, &groups, &of, &mut plain)?;
        let short: Vec<usize> = (0..groups.len()).filter(|&g| timed[g].is_none()).collect();
        let rest = self.left_out(config, (&groups, &of), &short, &mut plain)?;
        for (group, samples) in short.into_iter().zip(rest) {
            timed[group] = Some(samples);
        }
        let part = |f: &dyn Fn(&StepTimes) -> f64| calm(&plain.iter().map(f).collect::<Vec<_>>());
        let wall = part(&|t| t.wall().0 as f64).unwrap_or(0.0);
        let spans: Vec<f64> = plain.iter().filter_map(|t| t.spans.first().copied().flatten()).collect();
        let groups = groups.into_iter().zip(timed.into_iter().flatten());
        let groups = groups.map(|((d, calls), timed)| group(d, calls, timed));
        Ok(MeasuredStep {
            name: config.name(),
            tokens: (config.tokens * config.sequences) as u64,
            sequences: config.sequences as u64,
            context: config.context as u64,
            groups: groups.collect(),
            gpu: calm(&spans),
            wall,
            profiled_wall: calm(&profiled),
            host: Host {
                plan_ns: part(&|t| t.plan.0 as f64).unwrap_or(0.0),
                record_ns: part(&|t| t.record.0 as f64).unwrap_or(0.0),
                submit_ns: part(&|t| t.submit.0 as f64).unwrap_or(0.0),
                wait_ns: part(&|t| t.wait.0 as f64).unwrap_or(0.0),
            },
        })
    }

    /// Wall clocks of two configurations, in turn: medians of what nothing disturbed, ns.
    pub fn compare(&mut self, a: Config, b: Config) -> anyhow::Result<(f64, f64)> {
        let mut configs = [a, b].into_iter().cycle();
        in_turn(self.budget, || match configs.next() {
            Some(config) => Ok(self.step(config, Profile::default())?.wall().0 as f64),
            None => Ok(0.0),
        })
    }

    /// Wall clocks of a step here and with another meter's model, in turn: medians, ns.
    pub fn against(&mut self, other: &mut Meter<'_>, config: Config) -> anyhow::Result<(f64, f64)> {
        let mut here = false;
        in_turn(self.budget, || {
            here = !here;
            let profile = Profile::default();
            let times = if here { self.step(config, profile)? } else { other.step(config, profile)? };
            Ok(times.wall().0 as f64)
        })
    }
}

/// Calm medians of what every first and every second run gives, once the first three of each have warmed up.
pub(super) fn in_turn(
    budget: Duration,
    mut run: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<(f64, f64)> {
    let mut walls = [Vec::new(), Vec::new()];
    let start = Instant::now();
    while walls[0].len() < 3 + ROUNDS[0] || (start.elapsed() < budget && walls[0].len() < 200) {
        for walls in &mut walls {
            walls.push(run()?);
        }
    }
    let middle = |walls: &[f64]| calm(&walls[3..]).unwrap_or(0.0);
    Ok((middle(&walls[0]), middle(&walls[1])))
}

/// Samples of one dispatch in ns, and how they were taken.
pub(super) type Timed = (Vec<f64>, TimedBy);

fn group(d: Dispatched, calls: u64, (samples, timed_by): Timed) -> Group {
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

/// Entries of a configuration: made-up tokens on blocks of their own.
fn with_entries<T>(
    runner: &mut Runner,
    config: Config,
    one_block: bool,
    act: impl FnOnce(&mut Runner, &[Entry<'_>]) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let Config { tokens, sequences, context } = config;
    let vocab = runner.hyper.vocab as u64;
    let ids: Vec<u32> = (0..tokens as u64).map(|i| (i * 7919 % vocab) as u32).collect();
    let per_sequence = context.div_ceil(runner.limits.cache.block_size as usize) as u32;
    let blocks: Vec<Vec<BlockId>> = (0..sequences as u32)
        .map(|s| {
            let own = s * per_sequence..(s + 1) * per_sequence;
            own.map(|b| BlockId(if one_block { s * per_sequence } else { b })).collect()
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
