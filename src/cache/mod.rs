//! The paged KV cache's bookkeeping: which block holds which tokens of which sequence.
//!
//! The cache is a pool of `num_blocks` blocks, each with room for the keys and values of
//! `block_size` tokens in every layer. Nothing here touches the memory itself: a [`BlockId`] is an
//! index that the kernels turn into an address.
//!
//! * [`BlockPool`] counts owners and keeps the free blocks in the order in which they are given out.
//! * [`PrefixIndex`] finds full blocks by what they hold, so that a shared prefix is computed once.
//! * [`BlockTable`] is one sequence's blocks in order of position.
//! * [`BlockManager`] joins the three and is what the scheduler talks to.

mod manager;
mod pool;
mod prefix;
mod table;

pub use manager::{BlockManager, PrefixCounters, PrefixMatch};
pub use pool::{BlockPool, Retention};
pub use prefix::{Link, PrefixIndex, Salt};
pub use table::BlockTable;

/// The block size when nobody asks for another, in tokens.
pub const DEFAULT_BLOCK_SIZE: u32 = 16;

/// The number of one block of the pool, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct BlockId(pub u32);

impl BlockId {
    /// The number as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A block whose contents are to be copied before the step's kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockCopy {
    /// The block to read; its other owners keep it as it is.
    pub src: BlockId,
    /// The block to write; nobody else owns it.
    pub dst: BlockId,
}

/// The cache's size and whether prefixes are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// Tokens per block.
    pub block_size: u32,
    /// Blocks in the pool.
    pub num_blocks: u32,
    /// Whether full blocks are kept and found again by what they hold.
    pub enable_prefix_caching: bool,
}

impl CacheConfig {
    /// `num_blocks` blocks of [`DEFAULT_BLOCK_SIZE`] tokens, prefixes shared.
    pub fn new(num_blocks: u32) -> Self {
        Self { block_size: DEFAULT_BLOCK_SIZE, num_blocks, enable_prefix_caching: true }
    }

    /// How many tokens the whole pool holds.
    pub fn capacity_tokens(&self) -> u64 {
        u64::from(self.block_size) * u64::from(self.num_blocks)
    }

    /// How many blocks `tokens` tokens take.
    pub fn blocks_for(&self, tokens: u32) -> u32 {
        tokens.div_ceil(self.block_size)
    }

    fn check(&self) -> Result<(), CacheConfigError> {
        if self.block_size == 0 {
            return Err(CacheConfigError::NoTokensPerBlock);
        }
        if self.num_blocks == 0 {
            return Err(CacheConfigError::NoBlocks);
        }
        if self.capacity_tokens() >= u64::from(u32::MAX) {
            return Err(CacheConfigError::TooLarge { tokens: self.capacity_tokens(), limit: u32::MAX });
        }
        Ok(())
    }
}

/// Why a cache of the asked size can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheConfigError {
    /// The block size is 0.
    #[error("the block size is 0 tokens: give --block-size at least 1 (default {DEFAULT_BLOCK_SIZE})")]
    NoTokensPerBlock,
    /// The pool is empty.
    #[error("the KV cache has no blocks: give it more memory (--kv-cache-memory)")]
    NoBlocks,
    /// Token positions would not fit in 32 bits.
    #[error(
        "the KV cache would hold {tokens} tokens, more than the {limit} that can be addressed: give it less memory"
    )]
    TooLarge {
        /// Tokens that were asked for.
        tokens: u64,
        /// The bound, itself excluded.
        limit: u32,
    },
}
