//! What `roofline` and `explain` share: the device measured, the model loaded, the meter.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::super::Global;
use super::super::ceilings::DeviceArgs;
use super::super::load::LoadArgs;
use super::meter::{Config, Meter};
use crate::format::{ModelFile, Tokenizer};
use crate::model::Runner;
use crate::quant::Format;
use crate::roofline::DeviceReport;
use crate::roofline::report::Model;
use crate::server::debug::facts;

/// The model, the device and the time that it may take.
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// The model, instead of --model
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    positional: Option<String>,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// How long to time the kernels of one step, at least; up to seven times as long where noise hides rows
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    seconds: f64,
}

/// Decodes of more sequences at once are no step that anybody runs.
const MOST_SEQUENCES: usize = 1024;

/// From one format to another.
pub type Reformat = (&'static dyn Format, &'static dyn Format);

/// A measured device and a loaded model.
#[derive(Debug)]
pub struct Prepared {
    /// The device's figures.
    pub device: DeviceReport,
    /// The model's facts.
    pub model: Model,
    /// The model.
    pub runner: Runner,
    budget: Duration,
}

impl SetupArgs {
    /// The model's tokenizer.
    pub fn tokenizer(&self, global: &Global) -> anyhow::Result<Tokenizer> {
        Ok(ModelFile::open(&self.load().model.resolve(global)?)?.tokenizer()?)
    }

    /// Most tokens of a sequence, by the model.
    pub fn context_length(&self, global: &Global) -> anyhow::Result<usize> {
        Ok(ModelFile::open(&self.load().model.resolve(global)?)?.hyper()?.context_length)
    }

    /// Most tokens of a served step.
    ///
    /// # Errors
    /// When there is to be none.
    pub fn step_tokens(&self) -> anyhow::Result<usize> {
        let tokens = self.load.step_tokens() as usize;
        anyhow::ensure!(tokens > 0, "--max-num-batched-tokens 0: expected at least 1");
        Ok(tokens)
    }

    /// Made-up steps are of the sizes that other flags give them.
    ///
    /// # Errors
    /// When a budget was given, which would go unheard.
    pub fn without_budget(&self) -> anyhow::Result<&Self> {
        if let Some(n) = self.load.max_num_batched_tokens {
            anyhow::bail!(
                "--max-num-batched-tokens {n}: each step here is as large as its prompt or its batch; leave it out, or see what it does to a prompt with `ridgepoint explain --prefill`, or to requests with `ridgepoint roofline --workload`"
            );
        }
        Ok(self)
    }

    fn load(&self) -> LoadArgs {
        self.load.named(self.positional.as_ref())
    }

    /// Measures or recalls the device, and loads the model with room for all of `configs`.
    pub fn prepare(&self, global: &Global, configs: &[Config]) -> anyhow::Result<Prepared> {
        self.prepare_in(global, configs, None)
    }

    /// As [`SetupArgs::prepare`], with the matrices of one format in another.
    pub fn prepare_in(
        &self,
        global: &Global,
        configs: &[Config],
        change: Option<Reformat>,
    ) -> anyhow::Result<Prepared> {
        if !(0.1..=3600.0).contains(&self.seconds) {
            anyhow::bail!("--seconds {}: expected 0.1 to 3600", self.seconds);
        }
        if let Some(n) = self.load.max_model_len {
            anyhow::bail!(
                "--max-model-len {n}: the steps here say how long their contexts are; leave it out"
            );
        }
        if configs.is_empty() {
            anyhow::bail!("there is no step to measure: give --prefill or --batch");
        }
        let mut load = self.load();
        let most = |f: fn(&Config) -> usize| configs.iter().map(f).max().unwrap_or(1);
        let (context, sequences) = (most(|c| c.context), most(|c| c.sequences));
        let tokens = most(|c| c.tokens.saturating_mul(c.sequences));
        anyhow::ensure!(
            sequences <= MOST_SEQUENCES,
            "{sequences} sequences at once (--batch, --most-sequences or lines of --workload): expected at most {MOST_SEQUENCES}"
        );
        anyhow::ensure!(
            configs.iter().all(|c| c.context > 0),
            "a context of 0 tokens (--contexts or --context): expected at least 1"
        );
        load.max_num_batched_tokens = Some(u32::try_from(tokens).map_err(|_| {
            anyhow::anyhow!("a prompt of {tokens} tokens (--prefill): expected at most {}", u32::MAX)
        })?);
        let mut opened = load.open(global)?;
        if let Some((from, to)) = change {
            let changed = opened.file.requantize(from, to);
            anyhow::ensure!(changed > 0, "no matrix of {} can become {}", from.name(), to.name());
        }
        if context > opened.hyper.context_length {
            anyhow::bail!(
                "a context of {context} tokens is longer than the model's {}: expected fewer tokens of prompts, contexts and answers",
                opened.hyper.context_length
            );
        }
        opened.context = context;
        let mut limits = load.limits(&opened, sequences, sequences);
        // Each sequence has whole blocks of its own.
        let blocks = |c: &Config| c.context.div_ceil(limits.cache.block_size as usize) * c.sequences;
        let most = configs.iter().map(blocks).max().unwrap_or(1);
        limits.cache.num_blocks = u32::try_from(most).with_context(|| {
            format!("the cache would have {most} blocks: expected smaller contexts or batches")
        })?;
        Runner::fits(&opened.gpu, &opened.file, &limits)?;
        // Before the model is loaded: the probes take memory of their own.
        let device = self.device.report(global, &opened.gpu)?;
        let runner = opened.runner(global, limits)?;
        let mut model = facts(&opened.file, &runner.hyper, limits.cache_type);
        model.weight_bytes = runner.memory.weights.0;
        let budget = Duration::from_secs_f64(self.seconds);
        Ok(Prepared { device, model, runner, budget })
    }
}

impl Prepared {
    /// The meter of this model on this device.
    pub fn meter(&mut self) -> anyhow::Result<Meter<'_>> {
        Meter::new(&mut self.runner, &self.device.timer, self.budget)
    }
}
