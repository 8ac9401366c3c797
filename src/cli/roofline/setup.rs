//! What `roofline` and `explain` share: the device measured, the model loaded, the meter.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;

use super::super::Global;
use super::super::ceilings::DeviceArgs;
use super::super::load::{LoadArgs, Opened};
use super::knobs::cache_name;
use super::meter::{Config, Meter};
use crate::model::Runner;
use crate::roofline::DeviceReport;
use crate::roofline::report::Model;

/// The model, the device and the time that it may take.
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// The model, instead of --model
    #[arg(value_name = "MODEL")]
    positional: Option<String>,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// About how long to time the kernels of one step
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    seconds: f64,
    /// Confirm verdicts: do each larger kernel's arithmetic twice, and take its bytes away, and see what
    /// the time does
    #[arg(long)]
    confirm: bool,
}

/// A measured device and a loaded model.
#[derive(Debug)]
pub struct Prepared {
    /// The device's figures.
    pub device: DeviceReport,
    /// The model's facts.
    pub model: Model,
    /// The model.
    pub runner: Runner,
    /// Whether verdicts are to be confirmed.
    pub confirm: bool,
    budget: Duration,
}

impl SetupArgs {
    /// Measures or recalls the device, and loads the model with room for all of `configs`.
    pub fn prepare(&self, global: &Global, configs: &[Config]) -> anyhow::Result<Prepared> {
        if !(0.1..=3600.0).contains(&self.seconds) {
            anyhow::bail!("--seconds {}: expected 0.1 to 3600", self.seconds);
        }
        if configs.is_empty() {
            anyhow::bail!("there is no step to measure: give --prefill or --batch");
        }
        let mut load = self.load.clone();
        if let Some(model) = &self.positional {
            load.model.model.clone_from(model);
        }
        let most = |f: fn(&Config) -> usize| configs.iter().map(f).max().unwrap_or(1);
        let (context, sequences) = (most(|c| c.context), most(|c| c.sequences));
        let tokens = most(|c| c.tokens * c.sequences);
        if configs.iter().any(|c| c.context == 0 || c.sequences > 1024) {
            anyhow::bail!("expected contexts of at least 1 token and at most 1024 sequences");
        }
        load.max_num_batched_tokens = u32::try_from(tokens)?;
        let mut opened = load.open(global)?;
        if context > opened.hyper.context_length {
            anyhow::bail!(
                "a context of {context} tokens is longer than the model's {}",
                opened.hyper.context_length
            );
        }
        opened.context = context;
        // Before the model is loaded: the probes take memory of their own.
        let device = self.device.report(global, &opened.gpu)?;
        let mut limits = load.limits(&opened, sequences, sequences);
        // Each sequence has whole blocks of its own.
        let blocks = |c: &Config| c.context.div_ceil(limits.cache.block_size as usize) * c.sequences;
        limits.cache.num_blocks = u32::try_from(configs.iter().map(blocks).max().unwrap_or(1))?;
        let runner = opened.runner(global, limits)?;
        let model = facts(&opened, &runner);
        let budget = Duration::from_secs_f64(self.seconds);
        Ok(Prepared { device, model, runner, confirm: self.confirm, budget })
    }
}

fn facts(opened: &Opened, runner: &Runner) -> Model {
    let mut formats = BTreeMap::new();
    let mut parameters = 0;
    for tensor in opened.file.tensors() {
        *formats.entry(tensor.format.name().to_string()).or_default() += tensor.bytes;
        parameters += (tensor.rows() * tensor.columns()) as u64;
    }
    Model {
        name: runner.hyper.name.clone().unwrap_or_else(|| runner.hyper.architecture.clone()),
        formats,
        parameters,
        weight_bytes: runner.memory.weights.0,
        kv_cache_dtype: cache_name(runner.limits.cache_type).to_string(),
    }
}

impl Prepared {
    /// The meter of this model on this device.
    pub fn meter(&mut self) -> anyhow::Result<Meter<'_>> {
        Meter::new(&mut self.runner, &self.device.timer, self.budget)
    }
}
