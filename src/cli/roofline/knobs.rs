//! The knobs that can be turned without touching a kernel, and what each is predicted to gain.

use crate::profile::Dispatched;
use crate::quant::{Format, Layout, by_name};
use crate::roofline::report::{Advice, Step};
use crate::roofline::{Baseline, MeasuredStep, Overlap, Roof, grouped, reformatted};

use super::meter::{Config, Meter};
use super::prompt::Prompt;

/// A change of a configuration.
#[derive(Clone, Debug)]
pub enum Knob {
    /// Other sizes of the step.
    Config {
        /// Which: `batch` or `context`.
        name: &'static str,
        /// The sizes.
        to: Config,
    },
    /// A prompt in steps of another size.
    Budget {
        /// The prompt as it is.
        from: Prompt,
        /// With the other budget.
        to: Prompt,
    },
    /// Weights in another format.
    Weights {
        /// The format of those that change.
        from: &'static dyn Format,
        /// The other.
        to: &'static dyn Format,
    },
}

/// A knob with its prediction.
#[derive(Clone, Debug)]
pub struct Predicted {
    /// The knob.
    pub knob: Knob,
    /// Wall clock of a step, ns.
    pub wall: f64,
    /// Tokens a second over tokens a second.
    pub gain: f64,
    /// What it rests on.
    pub by: By,
}

/// What a prediction rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Each kernel keeps the part of its ceiling that it reached.
    Ceilings,
    /// How the step grew from the sizes next to it.
    Growth,
}

impl By {
    /// In words, after "predicted".
    pub fn words(self) -> &'static str {
        match self {
            Self::Ceilings => "if each kernel keeps the part of its ceiling that it reached",
            Self::Growth => "by how the step grew with the sequences and the context",
        }
    }
}

impl Knob {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Config { name, .. } => name,
            Self::Budget { .. } => "budget",
            Self::Weights { .. } => "weight_format",
        }
    }

    /// From what to what.
    pub fn change(&self, from: Config) -> String {
        match self {
            Self::Config { name: "batch", to } => {
                format!("a batch of {} sequences for {}", to.sequences, from.sequences)
            }
            Self::Config { to, .. } => format!("a context of {} tokens for {}", to.context, from.context),
            Self::Budget { from, to } => {
                format!("steps of {} tokens for steps of {}", to.budget, from.budget)
            }
            Self::Weights { from, to } => format!("weights in {} for {}", to.name(), from.name()),
        }
    }
}

/// Bytes of a weight on the GPU.
fn width(format: &dyn Format) -> f64 {
    Layout::new(format, 64, 4096).bytes() as f64 / (64.0 * 4096.0)
}

/// The knobs that a decode has.
pub fn knobs(config: Config, most_sequences: usize, weights: &[&'static dyn Format]) -> Vec<Knob> {
    let mut knobs = Vec::new();
    let mut sequences = config.sequences * 2;
    while sequences <= most_sequences {
        knobs.push(Knob::Config { name: "batch", to: Config { sequences, ..config } });
        sequences *= 2;
    }
    for part in [4, 16] {
        let context = config.context / part;
        if context >= 16 {
            knobs.push(Knob::Config { name: "context", to: Config { context, ..config } });
        }
    }
    for &from in weights {
        // Formats of single numbers have no smaller block to go to than the quantized ones.
        let smaller = |to: &&dyn Format| width(*to) < 0.95 * width(from) && to.block_len() > 1;
        let there = ENCODED.iter().filter_map(|name| by_name(name));
        let least = there.filter(smaller).min_by(|a, b| width(*a).total_cmp(&width(*b)));
        knobs.extend(least.map(|to| Knob::Weights { from, to }));
    }
    knobs
}

/// Formats that weights can be put into here.
const ENCODED: [&str; 3] = ["Q4_0", "Q4_1", "Q8_0"];
/// A format with less of the weights' bytes is no knob.
const SHARE: f64 = 0.1;

/// The formats that have much of the weights' bytes, the most first.
pub fn main_formats(formats: &std::collections::BTreeMap<String, u64>) -> Vec<&'static dyn Format> {
    let all: u64 = formats.values().sum();
    let mut much: Vec<_> = formats.iter().filter(|(_, bytes)| **bytes as f64 >= SHARE * all as f64).collect();
    much.sort_by(|a, b| b.1.cmp(a.1));
    much.into_iter().filter_map(|(name, _)| by_name(name)).collect()
}

/// A decode's wall clock over its sizes: `fixed + each sequences + key sequences context`, ns.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sizes {
    fixed: f64,
    each: f64,
    key: f64,
}

impl Sizes {
    /// From the walls of a decode, of one with an eighth of its context, and of one with more or fewer sequences.
    fn fitted(base: Config, [wall, shorter]: [f64; 2], other: Option<(usize, f64)>) -> Self {
        let (n, context) = (base.sequences as f64, base.context as f64);
        // Noise may make less work longer; a negative part would be carried far beyond what was measured.
        let key = ((wall - shorter) / (n * (context - (base.context / SHORTER) as f64))).max(0.0);
        let grown =
            |(sequences, other): (usize, f64)| (other - wall) / (sequences as f64 - n) - key * context;
        // Where a batch has no neighbour, nobody asks how it grows.
        let each = other.map_or(0.0, grown).max(0.0);
        Self { fixed: (wall - n * (each + key * context)).max(0.0), each, key }
    }

    fn wall(&self, config: Config) -> f64 {
        self.fixed + config.sequences as f64 * (self.each + self.key * config.context as f64)
    }
}

/// The part of the context that tells how a decode grows: between the two that are knobs, since a step does
/// not grow evenly (what half a context saves is not saved again by the rest).
const SHORTER: usize = 8;

/// How decodes grow, measured at sizes near the knobs'; none where no context is shorter.
fn sizes(meter: &mut Meter<'_>, base: Config) -> anyhow::Result<Option<Sizes>> {
    let shorter = Config { context: base.context / SHORTER, ..base };
    if base.tokens != 1 || shorter.context == 0 {
        return Ok(None);
    }
    let fits = |n: &usize| *n > 0 && *n <= meter.runner.limits.sequences;
    let other = [2 * base.sequences, base.sequences / 2].into_iter().find(fits);
    Ok(Some(match other {
        Some(sequences) => {
            let [wall, shorter, other] = meter.walls([base, shorter, Config { sequences, ..base }])?;
            Sizes::fitted(base, [wall, shorter], Some((sequences, other)))
        }
        None => Sizes::fitted(base, meter.walls([base, shorter])?, None),
    }))
}

/// Predictions, and knobs that have none.
#[derive(Clone, Debug, Default)]
pub struct Predictions {
    /// The most gain first.
    pub made: Vec<Predicted>,
    /// The knobs without, and why.
    pub withheld: Vec<(Knob, String)>,
}

/// What each knob would gain.
pub fn predict(
    meter: &mut Meter<'_>,
    roof: &Roof,
    step: &MeasuredStep,
    config: Config,
    knobs: Vec<Knob>,
) -> anyhow::Result<Predictions> {
    let overlap = if meter.runner.gpu.adapter.is_software() { Overlap::Shared } else { Overlap::Apart };
    let base = Baseline::new(step, roof, overlap);
    let sizes = if knobs.is_empty() { None } else { sizes(meter, config)? };
    let mut found = Predictions::default();
    for knob in knobs {
        let to = match &knob {
            Knob::Config { to, .. } => *to,
            Knob::Weights { .. } | Knob::Budget { .. } => config,
        };
        let mut described = meter.describe(to)?;
        if let Knob::Weights { from, to } = &knob {
            let unpacking = if from.block_len() == 1 { 0.0 } else { 1.0 };
            for d in described.iter_mut().filter(|d| of_format(d, *from)) {
                d.cost = reformatted(&d.cost, width(*to) / width(*from), unpacking);
            }
        }
        let (groups, _) = grouped(&described);
        // Beyond the sizes that were measured by how they grow, which asks no row; else by what ceilings allow.
        let beyond = to.sequences > 2 * config.sequences || to.context < config.context / 2;
        let resized = sizes.filter(|_| to != config);
        let grown = resized.map(|s| step.wall * s.wall(to) / s.wall(config));
        let by_rows = || match &base {
            Ok(base) => base.predict(roof, &groups).ok_or_else(|| "other kernels would run".to_string()),
            Err(weakness) => Err(weakness.clone()),
        };
        let wall = match grown.filter(|_| beyond || base.is_err()) {
            Some(wall) => Ok((wall, By::Growth)),
            None => by_rows().map(|wall| (wall, By::Ceilings)),
        };
        match wall {
            Ok((wall, by)) => {
                let gain = step.wall / wall * to.sequences as f64 / config.sequences as f64;
                found.made.push(Predicted { knob, wall, gain, by });
            }
            Err(why) => found.withheld.push((knob, why)),
        }
    }
    found.made.sort_by(|a, b| b.gain.total_cmp(&a.gain));
    Ok(found)
}

fn of_format(d: &Dispatched, format: &dyn Format) -> bool {
    d.shape.split(' ').next() == Some(format.name())
}

/// Knobs that gain less are no advice: predictions miss by as much.
const WORTH: f64 = 1.1;

/// The advice of all steps, the most gain first. What a change was measured to gain is known where the step
/// that it leads to was measured too.
pub fn advice(predicted: &[(Config, Vec<Predicted>)], steps: &[Step]) -> Vec<Advice> {
    let find = |config: Config| steps.iter().find(|step| step.name == config.name());
    let token = |step: &Step| step.wall_ns / step.tokens as f64;
    let all = predicted.iter().flat_map(|(config, all)| all.iter().map(|p| (*config, p)));
    let mut all: Vec<Advice> = all
        .map(|(config, p)| {
            let there = match p.knob {
                Knob::Config { to, .. } => find(to),
                Knob::Weights { .. } | Knob::Budget { .. } => None,
            };
            let measured = find(config).zip(there).map(|(from, to)| token(from) / token(to));
            Advice {
                step: config.name(),
                knob: p.knob.name().to_string(),
                change: p.knob.change(config),
                predicted_gain: p.gain,
                measured_gain: measured,
                because: p.by.words().to_string(),
            }
        })
        .collect();
    let gain = |a: &Advice| a.measured_gain.unwrap_or(a.predicted_gain);
    all.retain(|a| gain(a) >= WORTH);
    all.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::report::Host;

    #[test]
    fn growth_is_told_from_three_sizes() {
        let base = Config { tokens: 1, sequences: 1, context: 1000 };
        // 30 fixed, 10 a sequence, 0.02 a key.
        let wall = |n: f64, context: f64| 30.0 + n * (10.0 + 0.02 * context);
        let s = Sizes::fitted(base, [wall(1.0, 1000.0), wall(1.0, 125.0)], Some((2, wall(2.0, 1000.0))));
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(s.wall(Config { sequences: 8, ..base }), wall(8.0, 1000.0)), "{s:?}");
        assert!(near(s.wall(Config { context: 62, ..base }), wall(1.0, 62.0)), "{s:?}");
        // The largest batch is told from half of it, and without either a context is.
        let wide = Config { sequences: 8, ..base };
        let s = Sizes::fitted(wide, [wall(8.0, 1000.0), wall(8.0, 125.0)], Some((4, wall(4.0, 1000.0))));
        assert!(near(s.wall(base), wall(1.0, 1000.0)), "{s:?}");
        let s = Sizes::fitted(base, [wall(1.0, 1000.0), wall(1.0, 125.0)], None);
        assert!(near(s.wall(Config { context: 250, ..base }), wall(1.0, 250.0)), "{s:?}");
        // A shorter context that took longer is noise, and more sequences that took less.
        let s = Sizes::fitted(base, [60.0, 70.0], Some((2, 50.0)));
        assert_eq!((s.key, s.each, s.fixed), (0.0, 0.0, 60.0));
    }

    #[test]
    fn a_change_that_was_measured_has_its_measured_gain() {
        let base = Config { tokens: 1, sequences: 1, context: 64 };
        let wide = Config { sequences: 8, ..base };
        let step = |config: Config, wall_ns: f64| Step {
            name: config.name(),
            tokens: config.sequences as u64,
            sequences: config.sequences as u64,
            context: 64,
            kernels_ns: wall_ns,
            gpu_ns: None,
            wall_ns,
            coverage: Some(1.0),
            profiling_tax: None,
            gpu_idle: None,
            host: Host::default(),
        };
        let knob = |to| Knob::Config { name: "batch", to };
        let predicted = |sequences: usize, gain: f64| {
            let knob = knob(Config { sequences, ..base });
            Predicted { knob, wall: 1.0, gain, by: By::Growth }
        };
        let made = vec![(base, vec![predicted(8, 2.11), predicted(4, 2.2), predicted(2, 1.01)])];
        let found = advice(&made, &[step(base, 100.0), step(wide, 320.0)]);
        let gains: Vec<_> = found.iter().map(|a| (a.predicted_gain, a.measured_gain)).collect();
        assert_eq!(gains, [(2.11, Some(2.5)), (2.2, None)]);
        assert!(found.iter().all(|a| a.knob == "batch"), "what nothing turns is no knob: {found:?}");
    }
}
