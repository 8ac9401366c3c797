//! Opening a model on a device, for every command that computes.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::model_arg::GpuLayersArg;
use super::progress::while_slow;
use super::quantize::QuantizeArg;
use super::{Global, ModelArg};
use crate::cache::{CacheConfig, DEFAULT_BLOCK_SIZE};
use crate::format::{Hyper, ModelFile};
use crate::gpu::{AdapterChoice, Checks, Gpu, Kept, OpenOptions};
use crate::hub::{Progress, cache_root};
use crate::kernels::rope_cache::CacheType;
use crate::model::{Architecture, Limits, Runner};
use crate::units::Bytes;

/// How the KV cache stores a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KvCacheDtype {
    /// 32-bit floats
    F32,
    /// 16-bit floats
    #[default]
    F16,
    /// 8 bits, and a 16-bit scale for 32 numbers
    #[value(name = "q8_0")]
    Q8_0,
}

impl From<KvCacheDtype> for CacheType {
    fn from(dtype: KvCacheDtype) -> Self {
        match dtype {
            KvCacheDtype::F32 => Self::F32,
            KvCacheDtype::F16 => Self::F16,
            KvCacheDtype::Q8_0 => Self::Q8_0,
        }
    }
}

/// Which model, and how much memory it may take.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// What becomes of floats.
    #[command(flatten)]
    pub quantize: QuantizeArg,
    /// Most tokens of a conversation, prompt and answer together [default: the model's own context,
    /// at most 4096]
    #[arg(long, visible_alias = "ctx-size", short = 'c', value_name = "TOKENS")]
    pub max_model_len: Option<u32>,
    /// Most tokens computed in one step [default: 512]
    #[arg(long, visible_alias = "ubatch-size", value_name = "TOKENS")]
    pub max_num_batched_tokens: Option<u32>,
    /// Layers on the GPU.
    #[command(flatten)]
    layers: GpuLayersArg,
    /// How the KV cache stores a number
    #[arg(long, visible_alias = "cache-type-k", value_enum, default_value_t, value_name = "TYPE")]
    pub kv_cache_dtype: KvCacheDtype,
    /// Must be the type of the keys: the cache has one
    #[arg(long, value_enum, value_name = "TYPE", hide = true)]
    pub cache_type_v: Option<KvCacheDtype>,
    /// Tokens of a block of the KV cache, a multiple of 16
    #[arg(long, value_name = "TOKENS", default_value_t = DEFAULT_BLOCK_SIZE)]
    pub block_size: u32,
}

/// The default bound on the context, so that a model made for 128K tokens fits a laptop.
const DEFAULT_CONTEXT: usize = 4096;

/// Most tokens of a step, by default.
const DEFAULT_STEP: u32 = 512;

/// An open model file and the device that it will run on.
#[derive(Debug)]
pub struct Opened {
    /// The device.
    pub gpu: Arc<Gpu>,
    /// Where the model lies.
    pub path: PathBuf,
    /// The file.
    pub file: ModelFile,
    /// The model's sizes.
    pub hyper: Hyper,
    /// Most tokens of a sequence.
    pub context: usize,
}

/// Opens the adapter that was asked for, and says so if it is a software one.
///
/// # Errors
/// When there is no such adapter.
pub fn open_gpu(global: &Global, checks: Checks) -> anyhow::Result<Arc<Gpu>> {
    let choice = global.adapter.as_deref().map_or(AdapterChoice::Best, AdapterChoice::from);
    // Without a cache folder, kernels are compiled at every start.
    let pipelines = cache_root().ok().map(|root| root.join("pipelines"));
    let options = OpenOptions { checks, limits: global.limits.into(), pipelines };
    let gpu = while_slow(global, "the adapter's driver", || Gpu::open_with(&choice, &options))?;
    if gpu.adapter.is_software() {
        global.note(&format!(
            "note: {} is a software adapter ({}): figures are this processor's, not a GPU's",
            gpu.adapter.name, gpu.why
        ));
    }
    Ok(gpu)
}

/// Keeps what the driver has compiled for the next start. That one being no faster is no error: the log
/// says what became of it.
pub fn keep_pipelines(gpu: &Gpu) {
    match gpu.keep_pipelines() {
        Ok(Kept::Bytes(bytes)) => tracing::info!("{bytes} bytes of pipelines kept for the next start"),
        Ok(Kept::Nothing) => tracing::info!("{} gives nothing to keep for the next start", gpu.adapter.name),
        Ok(Kept::Off) => tracing::info!("pipelines are not kept on this adapter"),
        Err(error) => tracing::warn!("pipelines could not be kept for the next start: {error}"),
    }
}

impl LoadArgs {
    /// The same, of a model that was named without a flag, if one was.
    pub fn named(&self, positional: Option<&String>) -> Self {
        let mut load = self.clone();
        load.model.model = positional.cloned().or(load.model.model);
        load
    }

    /// Finds and opens the model, and the adapter.
    ///
    /// # Errors
    /// When either can't be had, or the context asked for is longer than the model's.
    pub fn open(&self, global: &Global) -> anyhow::Result<Opened> {
        let gpu = open_gpu(global, Checks::Trusted)?;
        let path = self.model.resolve(global)?;
        let mut file = ModelFile::open(&path)?;
        self.quantize.apply(&mut file, global)?;
        Architecture::of(&file)?;
        let hyper = file.hyper()?;
        self.layers.are_all(hyper.layers)?;
        let context = match self.max_model_len.map(|n| n as usize) {
            None => hyper.context_length.min(DEFAULT_CONTEXT),
            Some(n) if n < 2 => anyhow::bail!("--max-model-len {n}: expected at least 2 tokens"),
            Some(n) if n > hyper.context_length => anyhow::bail!(
                "--max-model-len {n} is longer than the model's context of {} tokens",
                hyper.context_length
            ),
            Some(n) => n,
        };
        if self.cache_type_v.is_some_and(|v| v != self.kv_cache_dtype) {
            anyhow::bail!("--cache-type-v differs from --cache-type-k: keys and values have one type here");
        }
        if self.block_size == 0 || !self.block_size.is_multiple_of(16) || self.block_size > 1024 {
            anyhow::bail!("--block-size {}: expected a multiple of 16 up to 1024", self.block_size);
        }
        if self.max_num_batched_tokens == Some(0) {
            anyhow::bail!("--max-num-batched-tokens 0: expected at least 1");
        }
        Ok(Opened { gpu, path, file, hyper, context })
    }

    /// Most tokens of a step.
    pub fn step_tokens(&self) -> u32 {
        self.max_num_batched_tokens.unwrap_or(DEFAULT_STEP)
    }

    /// The sizes for `sequences` sequences of the whole context that want `outputs` logits a step.
    pub fn limits(&self, opened: &Opened, sequences: usize, outputs: usize) -> Limits {
        let blocks = opened.context.div_ceil(self.block_size as usize) * sequences;
        Limits {
            tokens: (self.step_tokens() as usize).min(opened.context * sequences).max(sequences),
            outputs,
            context: opened.context,
            sequences,
            cache: CacheConfig {
                block_size: self.block_size,
                num_blocks: blocks as u32,
                enable_prefix_caching: true,
            },
            cache_type: self.kv_cache_dtype.into(),
        }
    }
}

impl Opened {
    /// Loads the weights, with a progress bar.
    ///
    /// # Errors
    /// As [`Runner::load`].
    pub fn runner(&self, global: &Global, limits: Limits) -> anyhow::Result<Runner> {
        let bar = global.progress();
        let mut begun = false;
        let runner = Runner::load(&self.gpu, &self.file, limits, &mut |done, total| {
            if !std::mem::replace(&mut begun, true) {
                bar.begin("loading", Some(Bytes(total)));
            }
            bar.at(Bytes(done));
        });
        bar.end();
        let runner = runner?;
        let m = runner.memory;
        tracing::info!(
            "{}: weights {}, KV cache {} ({} tokens), activations {}, results {}, together {}",
            self.path.display(),
            m.weights,
            m.cache,
            limits.cache.capacity_tokens(),
            m.scratch,
            m.results,
            m.total()
        );
        Ok(runner)
    }
}
