//! One sequence on a device, for the commands that print a model's own figures.

use super::Global;
use super::load::{KvCacheDtype, Opened, open_gpu};
use crate::cache::{BlockId, CacheConfig};
use crate::format::ModelFile;
use crate::gpu::Checks;
use crate::kernels::Noise;
use crate::model::{Entry, Limits, Outputs, Results, Runner, Want};

/// Most tokens in a step, unless the caller bounds it further.
pub(super) const STEP: usize = 512;

/// Blocks of the pool that the sequence never uses, so that even a short one is not at its start.
const SPARE_BLOCKS: u32 = 3;

/// What a sequence needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Most tokens of the sequence.
    pub context: usize,
    /// Most tokens of a step.
    pub step: usize,
    /// Most rows of logits of a step.
    pub outputs: usize,
    /// How the KV cache stores a number.
    pub cache: KvCacheDtype,
}

/// A model with room for one sequence, whose blocks lie in random order: nothing may rely on a
/// sequence's cache being contiguous.
#[derive(Debug)]
pub(super) struct Sequence {
    runner: Runner,
    blocks: Vec<BlockId>,
    length: usize,
    results: Results,
}

impl Sequence {
    /// Opens the adapter and loads the model.
    ///
    /// # Errors
    /// When there is no adapter, the model can't be run, or memory runs out.
    pub fn open(global: &Global, file: ModelFile, sizes: Sizes) -> anyhow::Result<Self> {
        let tokens = u32::try_from(sizes.context)?;
        let mut cache = CacheConfig::new(0);
        let used = cache.blocks_for(tokens);
        cache.num_blocks = used.saturating_add(SPARE_BLOCKS);
        let order = Noise::new(u64::from(tokens)).shuffled(cache.num_blocks as usize);
        let limits = Limits {
            tokens: sizes.step.min(sizes.context),
            outputs: sizes.outputs,
            context: sizes.context,
            sequences: 1,
            cache,
            cache_type: sizes.cache.into(),
        };
        let opened = Opened {
            gpu: open_gpu(global, Checks::Trusted)?,
            path: file.path().to_path_buf(),
            hyper: file.hyper()?,
            file,
            context: sizes.context,
        };
        Ok(Self {
            runner: opened.runner(global, limits)?,
            blocks: order.into_iter().take(used as usize).map(BlockId).collect(),
            length: 0,
            results: Results::default(),
        })
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Computes more tokens, in one step. Gives the wanted rows of logits, `[rows, vocab]`.
    ///
    /// # Errors
    /// When a step doesn't take so many, or the device fails.
    pub fn extend(&mut self, tokens: &[u32], outputs: Outputs) -> anyhow::Result<&[f32]> {
        let entry = Entry { tokens, start: self.length, blocks: &self.blocks, outputs };
        self.runner.run(&[entry], Want::Rows, &mut self.results)?;
        self.length += tokens.len();
        Ok(&self.results.logits)
    }
}
