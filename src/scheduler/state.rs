//! What the scheduler holds, and its figures.

use std::collections::BTreeSet;

use super::sequence::Rank;
use super::store::Store;
use super::{BatchItem, ConfigError, Row, SchedulerConfig, SeqId, Sequence, Status};
use crate::cache::{BlockManager, CacheConfig};

/// Sequences, their blocks, and the order in which they advance.
#[derive(Debug)]
pub struct Scheduler {
    pub(super) config: SchedulerConfig,
    pub(super) cache: BlockManager,
    pub(super) store: Store,
    /// In order of rank.
    pub(super) running: Vec<Rank>,
    pub(super) waiting: BTreeSet<Rank>,
    /// How many of them were never admitted.
    pub(super) newcomers: usize,
    /// Known tokens of the waiting.
    pub(super) waiting_tokens: u64,
    pub(super) births: u64,
    pub(super) prefill_limit: u32,
    pub(super) preemptions: u64,
    pub(super) steps: u64,
}

impl Scheduler {
    /// A scheduler without sequences over an empty cache.
    ///
    /// # Errors
    /// When the settings exclude each other; the message names the knobs.
    pub fn new(config: SchedulerConfig, cache: CacheConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            cache: BlockManager::new(cache)?,
            store: Store::default(),
            // Forks aside, no more can run than there are blocks.
            running: Vec::with_capacity(config.max_num_seqs.min(cache.num_blocks) as usize),
            waiting: BTreeSet::new(),
            newcomers: 0,
            waiting_tokens: 0,
            births: 0,
            prefill_limit: u32::MAX,
            preemptions: 0,
            steps: 0,
            config,
        })
    }

    /// The settings.
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// The cache's figures.
    pub fn cache(&self) -> &BlockManager {
        &self.cache
    }

    /// Sequences that take part in steps.
    pub fn num_running(&self) -> usize {
        self.running.len()
    }

    /// Sequences that wait, the preempted ones included.
    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether any sequence is left.
    pub fn has_work(&self) -> bool {
        !(self.running.is_empty() && self.waiting.is_empty())
    }

    /// Preemptions so far.
    pub fn preemptions(&self) -> u64 {
        self.preemptions
    }

    /// A sequence that isn't over.
    pub fn sequence(&self, id: SeqId) -> Option<&Sequence> {
        self.store.get(id)
    }

    /// The sequences that take part in steps, in order of rank.
    pub fn running(&self) -> impl Iterator<Item = &Sequence> {
        self.running.iter().filter_map(|rank| self.store.get(rank.id))
    }

    /// What the model needs to compute `item`; `None` once its sequence is over or was preempted.
    /// Valid until the next change of the scheduler.
    pub fn row<'a>(&'a self, item: &'a BatchItem) -> Option<Row<'a>> {
        let sequence = self.store.get(item.seq)?;
        let current = sequence.status == Status::Running && sequence.epoch == item.epoch;
        current.then(|| Row::new(item, sequence))
    }

    /// Bounds the tokens of a step that belong to sequences with more than one token to compute,
    /// from the next step on, so that prompts don't hold up other sequences' tokens; `None` for no
    /// bound beside the budget. At least one token a step remains. Without chunked prefill a
    /// prompt can't be split and the bound isn't applied.
    pub fn limit_prefill(&mut self, tokens: Option<u32>) {
        self.prefill_limit = tokens.unwrap_or(u32::MAX).max(1);
    }

    /// Forgets every cached prefix and returns how many blocks could be found before.
    pub fn reset_prefix_cache(&mut self) -> u32 {
        self.cache.reset_prefixes()
    }

    /// Reorders the free blocks by `seed`, for tests; see
    /// [`BlockPool::scatter`](crate::cache::BlockPool::scatter).
    pub fn scatter_blocks(&mut self, seed: u64) {
        self.cache.scatter(seed);
    }

    pub(super) fn enqueue(&mut self, rank: Rank, known: u64) {
        self.waiting.insert(rank);
        self.waiting_tokens += known;
    }

    pub(super) fn next_birth(&mut self) -> u64 {
        self.births += 1;
        self.births - 1
    }

    pub(super) fn insert_running(&mut self, rank: Rank) {
        let at = self.running.partition_point(|other| *other < rank);
        self.running.insert(at, rank);
    }
}
