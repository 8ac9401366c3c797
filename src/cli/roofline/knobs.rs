//! The knobs that can be turned without touching a kernel, and what each is predicted to gain.

use crate::profile::Dispatched;
use crate::quant::{Format, Layout, by_name};
use crate::roofline::report::{Advice, KernelRow, Step, Verdict};
use crate::roofline::{Baseline, MeasuredStep, Overlap, Roof, grouped, reformatted};

use super::meter::{Config, Meter};

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
}

impl Knob {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Config { name, .. } => name,
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

/// What each knob would gain, the most first.
pub fn predict(
    meter: &mut Meter<'_>,
    roof: &Roof,
    step: &MeasuredStep,
    config: Config,
    knobs: Vec<Knob>,
) -> anyhow::Result<Vec<Predicted>> {
    let overlap = if meter.runner.gpu.adapter.is_software() { Overlap::Shared } else { Overlap::Apart };
    let Some(base) = Baseline::new(step, overlap) else { return Ok(Vec::new()) };
    let mut predicted = Vec::new();
    for knob in knobs {
        let to = match &knob {
            Knob::Config { to, .. } => *to,
            Knob::Weights { .. } => config,
        };
        let mut described = meter.describe(to)?;
        if let Knob::Weights { from, to } = &knob {
            let unpacking = if from.block_len() == 1 { 0.0 } else { 1.0 };
            for d in described.iter_mut().filter(|d| of_format(d, *from)) {
                d.cost = reformatted(&d.cost, width(*to) / width(*from), unpacking);
            }
        }
        let (groups, _) = grouped(&described);
        if let Some(wall) = base.predict(roof, &groups) {
            let gain = step.wall / wall * to.sequences as f64 / config.sequences as f64;
            predicted.push(Predicted { knob, wall, gain });
        }
    }
    predicted.sort_by(|a, b| b.gain.total_cmp(&a.gain));
    Ok(predicted)
}

fn of_format(d: &Dispatched, format: &dyn Format) -> bool {
    d.shape.split(' ').next() == Some(format.name())
}

/// Knobs that gain less are no advice.
const WORTH: f64 = 1.02;

/// Advice of a step: its knobs, and the kernel that is furthest from its ceiling.
pub fn advice(step: &Step, config: Config, predicted: &[Predicted], rows: &[KernelRow]) -> Vec<Advice> {
    let mut all: Vec<Advice> = predicted
        .iter()
        .map(|p| Advice {
            step: step.name.clone(),
            knob: p.knob.name().to_string(),
            change: p.knob.change(config),
            predicted_gain: p.gain,
            because: "each kernel keeps the part of its ceiling that it reached".to_string(),
        })
        .collect();
    let told = |r: &&KernelRow| r.step == step.name && r.verdict != Verdict::Unknown && r.headroom_ns > 0.0;
    let rows = rows.iter().filter(told);
    if let Some(row) = rows.max_by(|a, b| a.headroom_ns.total_cmp(&b.headroom_ns)) {
        all.push(Advice {
            step: step.name.clone(),
            knob: "kernel".to_string(),
            change: format!("a {} ({}) at its ceiling", row.kernel, row.shape),
            predicted_gain: step.wall_ns / (step.wall_ns - row.headroom_ns).max(1.0),
            because: row.reason.clone(),
        });
    }
    all.retain(|a| a.predicted_gain >= WORTH);
    all.sort_by(|a, b| b.predicted_gain.total_cmp(&a.predicted_gain));
    all
}
