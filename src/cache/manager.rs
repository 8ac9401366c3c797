//! Pool, prefix index and tables together: every change of a block's owners goes through here.

use super::{
    BlockCopy, BlockId, BlockPool, BlockTable, CacheConfig, CacheConfigError, Link, PrefixIndex, Retention,
};

/// How much of what was looked up in the prefix cache was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixCounters {
    /// Tokens looked up.
    pub queries: u64,
    /// Tokens found.
    pub hits: u64,
}

/// The longest cached prefix of a sequence, found but not yet owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixMatch {
    blocks: u32,
    tokens: u32,
    /// Matched blocks that nobody owns at present: owning them takes them from the free ones.
    ownerless: u32,
    tip: Link,
}

impl PrefixMatch {
    /// Tokens that need not be computed: a multiple of the block size.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Blocks that hold them.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }
}

/// The cache's blocks and who owns them.
///
/// A [`BlockTable`] is filled and emptied only by the manager that made its first entry.
#[derive(Debug)]
pub struct BlockManager {
    config: CacheConfig,
    pool: BlockPool,
    index: Option<PrefixIndex>,
    /// The blocks of the last match, kept to spare an allocation per look-up.
    matched: Vec<BlockId>,
    counters: PrefixCounters,
}

impl BlockManager {
    /// A cache with every block free and nothing to be found.
    ///
    /// # Errors
    /// When the sizes are 0 or beyond 32-bit token positions.
    pub fn new(config: CacheConfig) -> Result<Self, CacheConfigError> {
        config.check()?;
        let index =
            config.enable_prefix_caching.then(|| PrefixIndex::new(config.num_blocks, config.block_size));
        let matched = Vec::with_capacity(if index.is_some() { config.num_blocks as usize } else { 0 });
        let pool = BlockPool::new(config.num_blocks);
        Ok(Self { config, pool, index, matched, counters: PrefixCounters::default() })
    }

    /// The sizes that the cache was made with.
    pub fn config(&self) -> &CacheConfig {
        &self.config
    }

    /// The blocks' owners and order.
    pub fn pool(&self) -> &BlockPool {
        &self.pool
    }

    /// Tokens looked up and found so far, as told by [`count`](Self::count).
    pub fn counters(&self) -> PrefixCounters {
        self.counters
    }

    /// Blocks that could be found by a later request.
    pub fn indexed(&self) -> u32 {
        self.index.as_ref().map_or(0, PrefixIndex::len)
    }

    /// Finds the longest cached prefix of `tokens` for an empty `table`, leaving at least the last
    /// token to compute, since its logits are wanted. Nothing is owned until
    /// [`attach`](Self::attach).
    pub fn lookup(&mut self, table: &BlockTable, tokens: &[u32]) -> PrefixMatch {
        self.matched.clear();
        let mut found = PrefixMatch { blocks: 0, tokens: 0, ownerless: 0, tip: Link::Root(table.salt()) };
        let Some(index) = &self.index else {
            return found;
        };
        let all_but_last = &tokens[..tokens.len().saturating_sub(1)];
        for chunk in all_but_last.chunks_exact(self.config.block_size as usize) {
            let Some((block, tip)) = index.find(found.tip, chunk) else {
                break;
            };
            found.tip = tip;
            found.blocks += 1;
            found.tokens += self.config.block_size;
            found.ownerless += u32::from(self.pool.owners(block) == 0);
            self.matched.push(block);
        }
        found
    }

    /// The match of a sequence that must not read the prefix cache.
    pub fn no_match(&mut self, table: &BlockTable) -> PrefixMatch {
        self.lookup(table, &[])
    }

    /// Whether the rest of `tokens` tokens would fit after `found` with `spare` blocks left over.
    pub fn admits(&self, found: &PrefixMatch, tokens: u32, spare: u32) -> bool {
        let fresh = self.config.blocks_for(tokens).saturating_sub(found.blocks);
        let wanted = u64::from(fresh) + u64::from(found.ownerless) + u64::from(spare);
        wanted <= u64::from(self.pool.free())
    }

    /// Makes the empty `table` an owner of the blocks of `found`, which must be the last look-up.
    pub fn attach(&mut self, table: &mut BlockTable, found: &PrefixMatch) {
        debug_assert!(table.is_empty() && self.matched.len() == found.blocks as usize);
        for block in &self.matched {
            self.pool.retain(*block);
        }
        table.blocks.extend_from_slice(&self.matched);
        table.indexed = self.matched.len();
        table.tip = found.tip;
    }

    /// Adds a look-up of `queries` tokens, of which `hits` were found, to the counters.
    pub fn count(&mut self, queries: u32, hits: u32) {
        if self.index.is_some() {
            self.counters.queries += u64::from(queries);
            self.counters.hits += u64::from(hits);
        }
    }

    /// Makes `table` ready for writing the tokens from position `start` up to `end`: appends
    /// blocks, and replaces the block of `start` by one of its own when others share it, adding to
    /// `copies` what must be copied first. Returns whether it could; when it could not, nothing
    /// has changed.
    ///
    /// Sources in `copies` keep one owner extra until [`settle`](Self::settle), so that no source
    /// is a destination as well and the copies may run in any order or at once.
    #[must_use]
    pub fn prepare(
        &mut self,
        table: &mut BlockTable,
        start: u32,
        end: u32,
        copies: &mut Vec<BlockCopy>,
    ) -> bool {
        let grow = self.config.blocks_for(end).saturating_sub(table.len());
        let at = (start / self.config.block_size) as usize;
        let written = table.blocks.get(at).copied();
        let shared = written.filter(|block| {
            let pinned = copies.iter().filter(|copy| copy.src == *block).count() as u32;
            self.pool.owners(*block) > pinned + 1
        });
        if grow + u32::from(shared.is_some()) > self.pool.free() {
            return false;
        }
        if let Some(src) = shared
            && let Some(dst) = self.take()
        {
            table.blocks[at] = dst;
            copies.push(BlockCopy { src, dst });
        } else if let (Some(block), Some(index)) = (written, &mut self.index) {
            // A sequence that shared the block may have filled and published it before it ended.
            index.remove(block);
        }
        for _ in 0..grow {
            table.blocks.extend(self.take());
        }
        true
    }

    /// Lets go of the sources that [`prepare`](Self::prepare) held for a step's copies.
    pub fn settle(&mut self, copies: &[BlockCopy]) {
        for copy in copies {
            self.drop_owner(copy.src);
        }
    }

    /// Makes the full blocks among the first `computed` tokens findable. `tokens` are the
    /// sequence's, from its first.
    pub fn publish(&mut self, table: &mut BlockTable, tokens: &[u32], computed: u32) {
        let Some(index) = &mut self.index else { return };
        let size = self.config.block_size as usize;
        let full = (computed as usize).min(tokens.len()) / size;
        while table.indexed < full.min(table.blocks.len()) {
            let at = table.indexed;
            table.tip = index.insert(table.blocks[at], table.tip, &tokens[at * size..][..size]);
            table.indexed += 1;
        }
    }

    /// A table that shares the blocks of the first `tokens` tokens of `table`.
    pub fn fork(&mut self, table: &BlockTable, tokens: u32) -> BlockTable {
        let mut child = BlockTable::new(table.salt());
        let shared = &table.blocks[..table.blocks.len().min(self.config.blocks_for(tokens) as usize)];
        for block in shared {
            self.pool.retain(*block);
        }
        child.blocks.extend_from_slice(shared);
        child.indexed = table.indexed;
        child.tip = table.tip;
        child
    }

    /// Empties `table`. Its last block goes first, so that the ends of prefixes are evicted before
    /// their beginnings.
    pub fn release(&mut self, table: &mut BlockTable) {
        for block in table.blocks.iter().rev() {
            self.drop_owner(*block);
        }
        table.forget();
    }

    /// Forgets every prefix and returns how many blocks could be found before. Running sequences
    /// keep their blocks.
    pub fn reset_prefixes(&mut self) -> u32 {
        self.index.as_mut().map_or(0, PrefixIndex::clear)
    }

    /// Reorders the free blocks; see [`BlockPool::scatter`].
    pub fn scatter(&mut self, seed: u64) {
        self.pool.scatter(seed);
    }

    fn take(&mut self) -> Option<BlockId> {
        let block = self.pool.allocate()?;
        if let Some(index) = &mut self.index {
            index.remove(block);
        }
        Some(block)
    }

    fn drop_owner(&mut self, block: BlockId) {
        let known = self.index.as_ref().is_some_and(|index| index.contains(block));
        self.pool.release(block, if known { Retention::Keep } else { Retention::Discard });
    }
}
