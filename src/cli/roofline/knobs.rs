//! The knobs that can be turned without touching a kernel, and what each is predicted to gain.

use crate::profile::Dispatched;
use crate::quant::{Format, by_name};
use crate::roofline::report::Advice;
use crate::roofline::{Baseline, MeasuredStep, Overlap, Roof, grouped, reformatted, unit_bytes};

use super::growth::Growth;
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

/// A context of less is not shortened.
pub const SHORTEN: usize = 64;

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
        if context >= SHORTEN / 4 {
            knobs.push(Knob::Config { name: "context", to: Config { context, ..config } });
        }
    }
    for &from in weights {
        // Formats of single numbers have no smaller block to go to than the quantized ones.
        let smaller = |to: &&dyn Format| unit_bytes(*to) < 0.95 * unit_bytes(from) && to.block_len() > 1;
        let there = ENCODED.iter().filter_map(|name| by_name(name));
        let least = there.filter(smaller).min_by(|a, b| unit_bytes(*a).total_cmp(&unit_bytes(*b)));
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
    let resized = knobs.iter().any(|knob| matches!(knob, Knob::Config { .. }));
    let growth = if resized { Growth::measure(meter, config)? } else { None };
    let mut found = Predictions::default();
    for knob in knobs {
        let to = match &knob {
            Knob::Config { to, .. } => *to,
            Knob::Weights { .. } | Knob::Budget { .. } => config,
        };
        let mut described = meter.describe(to)?;
        if let Knob::Weights { from, to } = &knob {
            for d in described.iter_mut().filter(|d| of_format(d, *from)) {
                d.cost = reformatted(&d.cost, *from, *to);
            }
        }
        let (groups, _) = grouped(&described);
        let by_rows = match &base {
            Ok(base) => base.predict(roof, &groups).ok_or_else(|| "other kernels would run".to_string()),
            Err(weakness) => Err(weakness.clone()),
        };
        // Beyond the sizes that were measured by how they grow, which asks no row; else by what ceilings allow.
        let beyond = to.sequences > 2 * config.sequences || to.context < config.context / 2;
        let wall = match (by_rows, growth.as_ref().filter(|_| to != config)) {
            (Ok(wall), growth) if !beyond || growth.is_none() => Ok((wall, By::Ceilings)),
            (_, Some(growth)) => {
                let sequences = to.sequences as f64 / config.sequences as f64;
                growth.left(to).map(|left| (step.wall * left * sequences, By::Growth))
            }
            (rows, None) => rows.map(|wall| (wall, By::Ceilings)),
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

/// So many changes are measured for the sake of the first.
const TRIED: usize = 3;

/// The advice of all steps, the most gain first. What is first is measured, by `measure`, which gives the
/// wall clocks of two sizes in turn: walls of other minutes would tell of the machine's pace too.
pub fn advice(
    predicted: &[(Config, Vec<Predicted>)],
    measure: &mut dyn FnMut(Config, Config) -> anyhow::Result<(f64, f64)>,
) -> anyhow::Result<Vec<Advice>> {
    let all = predicted.iter().flat_map(|(config, all)| all.iter().map(|p| (*config, p)));
    let mut all: Vec<(Advice, Config, &Knob)> = all
        .map(|(config, p)| {
            let advice = Advice {
                step: config.name(),
                knob: p.knob.name().to_string(),
                change: p.knob.change(config),
                predicted_gain: p.gain,
                measured_gain: None,
                because: p.by.words().to_string(),
            };
            (advice, config, &p.knob)
        })
        .collect();
    let gain = |a: &Advice| a.measured_gain.unwrap_or(a.predicted_gain);
    for tried in 0.. {
        all.retain(|(a, ..)| gain(a) >= WORTH);
        all.sort_by(|(a, ..), (b, ..)| gain(b).total_cmp(&gain(a)));
        let Some((first, from, Knob::Config { to, .. })) = all.first_mut() else { break };
        if first.measured_gain.is_some() || tried == TRIED {
            break;
        }
        let (before, after) = measure(*from, *to)?;
        first.measured_gain = Some(before / after * to.sequences as f64 / from.sequences as f64);
    }
    Ok(all.into_iter().map(|(advice, ..)| advice).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Config = Config { tokens: 1, sequences: 1, context: 64 };

    fn batch(sequences: usize, gain: f64) -> Predicted {
        let to = Config { sequences, ..BASE };
        Predicted { knob: Knob::Config { name: "batch", to }, wall: 1.0, gain, by: By::Growth }
    }

    /// The gains of the advice, predicted and measured, and the batches that were measured in turn with one.
    fn advised(predicted: Vec<Predicted>, gains: &[(usize, f64)]) -> (Vec<(f64, Option<f64>)>, Vec<usize>) {
        let mut measured = Vec::new();
        let found = advice(&[(BASE, predicted)], &mut |from, to| {
            assert_eq!(from, BASE);
            measured.push(to.sequences);
            let gain = gains.iter().find(|(sequences, _)| *sequences == to.sequences).unwrap().1;
            Ok((100.0, 100.0 * to.sequences as f64 / gain))
        });
        (found.unwrap().iter().map(|a| (a.predicted_gain, a.measured_gain)).collect(), measured)
    }

    #[test]
    fn what_is_advised_first_was_measured() {
        // Eight are predicted best, bring less than four are predicted to, and four keep their promise.
        let all = || vec![batch(2, 1.5), batch(8, 2.5), batch(4, 2.2), batch(3, 1.05)];
        let (found, measured) = advised(all(), &[(8, 2.0), (4, 2.25)]);
        assert_eq!(found, [(2.2, Some(2.25)), (2.5, Some(2.0)), (1.5, None)]);
        assert_eq!(measured, [8, 4]);
        let (found, measured) = advised(all(), &[(8, 2.4)]);
        assert_eq!((found[0], measured), ((2.5, Some(2.4)), vec![8]));
        // What turned out to gain nothing is no advice, and three tries are enough.
        let more = [all(), vec![batch(5, 1.4)]].concat();
        let (found, measured) = advised(more, &[(8, 1.0), (4, 1.05), (2, 0.9)]);
        assert_eq!((found, measured), (vec![(1.4, None)], vec![8, 4, 2]));
    }

    #[test]
    fn weights_are_advised_as_predicted() {
        let [from, to] = ["Q8_0", "Q4_0"].map(|name| by_name(name).unwrap());
        let weights = Predicted { knob: Knob::Weights { from, to }, ..batch(1, 1.7) };
        let (found, measured) = advised(vec![batch(2, 1.5), weights], &[]);
        assert_eq!((found, measured), (vec![(1.7, None), (1.5, None)], vec![]));
    }
}
