//! The knobs of an engine that serves many: by the names that people know, into the scheduler's and the
//! runner's settings, with everything that can be refused refused before a weight is read.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::Global;
use super::load::{LoadArgs, Opened};
use crate::cache::CacheConfig;
use crate::engine::{Ahead, Engine, Options, Spans};
use crate::kernels::Order;
use crate::model::{CacheBudget, Footprint, Limits, Runner};
use crate::scheduler::{Policy, Scheduler, SchedulerConfig};
use crate::units::Bytes;

/// In what order requests are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SchedulingPolicy {
    /// First come, first served
    #[default]
    Fcfs,
    /// The lowest 'priority' of a request first
    Priority,
}

/// An engine's settings.
#[derive(Clone, Debug, Args)]
pub struct EngineArgs {
    /// Model, context, batch and type of the cache.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Most sequences in a step
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_num_seqs: u32,
    /// Share of the device's memory for weights, activations and KV cache; a software adapter's cache
    /// takes 1 GiB at most [default: 0.9]
    #[arg(long, value_name = "SHARE", conflicts_with = "kv_cache_memory", value_parser = share)]
    pub gpu_memory_utilization: Option<f64>,
    /// Size of the KV cache instead: bytes, or a number with a unit as in 12MiB or 1GiB
    #[arg(long, visible_alias = "kv-cache-memory-bytes", value_name = "SIZE", value_parser = Bytes::parse)]
    pub kv_cache_memory: Option<Bytes>,
    /// Compute long prompts over several steps (the default)
    #[arg(long, overrides_with = "no_enable_chunked_prefill")]
    pub enable_chunked_prefill: bool,
    /// Compute every prompt in one step
    #[arg(long, overrides_with = "enable_chunked_prefill")]
    pub no_enable_chunked_prefill: bool,
    /// Most tokens of one prompt in a step; 0 for no bound
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    pub long_prefill_token_threshold: u32,
    /// Share the computed beginnings of prompts (the default)
    #[arg(long, overrides_with = "no_enable_prefix_caching")]
    pub enable_prefix_caching: bool,
    /// Compute every prompt anew
    #[arg(long, overrides_with = "enable_prefix_caching")]
    pub no_enable_prefix_caching: bool,
    /// In what order requests are served
    #[arg(long, value_enum, default_value_t, value_name = "POLICY")]
    pub scheduling_policy: SchedulingPolicy,
    /// Most requests that may wait; more are refused until some are served
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_queue: usize,
    /// Most tokens that may wait to be computed in front of a newcomer: a bound on its time to the first
    /// token [default: no bound]
    #[arg(long, value_name = "TOKENS")]
    pub max_num_queued_tokens: Option<u64>,
    /// Keep a step below so many milliseconds by computing less of a prompt in it, so that a long prompt
    /// doesn't hold up the others' tokens [default: no bound]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_step_ms: Option<u64>,
    /// Sum in an order that depends on nothing but the request, so that its logits are the same bits
    /// whatever else is in the batch
    #[arg(long)]
    pub batch_invariant: bool,
    /// Choose and record the next step while one runs (the default on GPUs)
    #[arg(long, overrides_with = "no_async_scheduling")]
    pub async_scheduling: bool,
    /// Begin a step only when the one before is read back (the default on software adapters)
    #[arg(long, overrides_with = "async_scheduling")]
    pub no_async_scheduling: bool,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err(format!("'{text}': expected a number above 0, at most 1")),
    }
}

impl EngineArgs {
    /// The scheduler's settings for a context of so many tokens.
    pub fn scheduler(&self, context: usize) -> SchedulerConfig {
        SchedulerConfig {
            max_num_seqs: self.max_num_seqs,
            max_num_batched_tokens: self.load.step_tokens(),
            max_num_logits: u32::MAX,
            max_model_len: context as u32,
            long_prefill_token_threshold: self.long_prefill_token_threshold,
            enable_chunked_prefill: !self.no_enable_chunked_prefill,
            policy: match self.scheduling_policy {
                SchedulingPolicy::Fcfs => Policy::Fcfs,
                SchedulingPolicy::Priority => Policy::Priority,
            },
            max_queue: self.max_queue,
            max_num_queued_tokens: self.max_num_queued_tokens.unwrap_or(u64::MAX),
        }
    }

    /// How the engine runs its steps.
    pub fn options(&self) -> Options {
        Options {
            order: if self.batch_invariant { Order::Fixed } else { Order::Free },
            max_step: self.max_step_ms.map(Duration::from_millis),
            ahead: match (self.async_scheduling, self.no_async_scheduling) {
                (true, _) => Ahead::On,
                (_, true) => Ahead::Never,
                _ => Ahead::Auto,
            },
            spans: Spans::Off,
        }
    }

    /// The sizes for an open model: the cache gets what weights and activations leave.
    ///
    /// # Errors
    /// When settings exclude each other or the memory does not hold them; says what would fit.
    pub fn limits(&self, opened: &Opened) -> anyhow::Result<Limits> {
        let config = self.scheduler(opened.context);
        let gpu = &opened.gpu;
        let sequences = self.max_num_seqs as usize;
        let binding = gpu.limits.max_storage_buffer_binding_size.min(gpu.limits.max_buffer_size);
        let logits = 4 * opened.hyper.vocab as u64;
        if sequences as u64 * logits > binding {
            anyhow::bail!(
                "--max-num-seqs {sequences}: their logits ({} tokens of vocabulary each) take {}, and {} allows {} in \
                 one buffer: at most --max-num-seqs {} fits",
                opened.hyper.vocab,
                Bytes(sequences as u64 * logits),
                gpu.adapter.name,
                Bytes(binding),
                binding / logits
            );
        }
        let tokens = self.load.step_tokens() as usize;
        let cache_type = self.load.kv_cache_dtype.into();
        let sizes = Footprint::new(
            &opened.file,
            &opened.hyper,
            tokens,
            sequences,
            opened.context,
            self.load.block_size,
            cache_type,
        );
        let budget = match (self.kv_cache_memory, self.gpu_memory_utilization) {
            (Some(bytes), _) => CacheBudget::Bytes(bytes),
            (None, share) => CacheBudget::Utilization(share.unwrap_or(0.9)),
        };
        let cache = CacheConfig {
            block_size: self.load.block_size,
            num_blocks: sizes.blocks(budget, gpu)?,
            enable_prefix_caching: !self.no_enable_prefix_caching,
        };
        let block = Runner::block_bytes(&opened.hyper, self.load.block_size as usize, cache_type);
        if let Some(asked) = self.kv_cache_memory {
            let taken = Bytes(block * u64::from(cache.num_blocks));
            if taken < asked {
                tracing::info!(
                    "of the asked --kv-cache-memory {asked} the cache takes {taken}: whole blocks of {}, and no more \
                     than {} sequences of {} tokens can use",
                    Bytes(block),
                    sequences,
                    opened.context
                );
            }
        }
        // What the scheduler would refuse is refused now.
        Scheduler::new(config, cache)?;
        if cache.capacity_tokens() < opened.context as u64 {
            tracing::warn!(
                "the KV cache holds {} tokens, less than one sequence of --max-model-len {}: longer texts end there",
                cache.capacity_tokens(),
                opened.context
            );
        }
        Ok(Limits { tokens, outputs: sequences, context: opened.context, sequences, cache, cache_type })
    }

    /// Loads an open model into an engine, and logs what the memory holds.
    ///
    /// # Errors
    /// As [`EngineArgs::limits`] and [`Opened::runner`].
    pub fn engine(&self, global: &Global, opened: &Opened) -> anyhow::Result<Engine> {
        let limits = self.limits(opened)?;
        let tokenizer = opened.file.tokenizer().context("the model's tokenizer")?;
        let runner = opened.runner(global, limits)?;
        let engine = Engine::with_options(
            runner,
            Arc::new(tokenizer),
            self.scheduler(opened.context),
            self.options(),
        )?;
        tracing::info!(
            "KV cache: {} blocks of {} tokens; maximum concurrency for {} tokens per request: {:.2}x",
            limits.cache.num_blocks,
            limits.cache.block_size,
            opened.context,
            limits.cache.capacity_tokens() as f64 / opened.context as f64
        );
        Ok(engine)
    }
}
