//! The steps: choosing the work, and taking in its results.

use std::collections::BTreeSet;

use super::sequence::Rank;
use super::store::Store;
use super::{
    Batch, BatchItem, ConfigError, FinishReason, Logits, PrefixUse, Row, SchedulerConfig, SeqId,
    Sequence, Status, TokenSource,
};
use crate::cache::{BlockManager, CacheConfig};

/// What became of a sequence by an item's completion.
#[derive(Debug)]
pub enum Progress {
    /// It goes on.
    Continues,
    /// It is over and its blocks are free: it has as many tokens as it may have.
    Finished(Box<Sequence>),
    /// It was over before: the result is of no use.
    Stale,
}

/// A result that doesn't belong to its item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompletionError {
    /// A token was to be sampled and none came.
    #[error(
        "no token came for an item that wants one: finish the sequence instead if none can be sampled"
    )]
    TokenMissing,
    /// A token came that nobody asked for, or came twice.
    #[error("a token came for an item that wants none or has had it")]
    TokenUnexpected,
}

/// What is left of a step's budget.
struct Budget {
    tokens: u32,
    prefill: u32,
}

/// Sequences, their blocks, and the order in which they advance.
#[derive(Debug)]
pub struct Scheduler {
    pub(super) config: SchedulerConfig,
    pub(super) cache: BlockManager,
    pub(super) store: Store,
    /// In order of rank.
    pub(super) running: Vec<Rank>,
    pub(super) waiting: BTreeSet<Rank>,
    /// Known tokens of the waiting.
    pub(super) waiting_tokens: u64,
    pub(super) births: u64,
    prefill_limit: u32,
    preemptions: u64,
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
            waiting_tokens: 0,
            births: 0,
            prefill_limit: u32::MAX,
            preemptions: 0,
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

    /// Chooses the next step's work into `batch`, overwriting it. An empty batch while
    /// [`has_work`](Self::has_work) means that results of earlier batches must be
    /// [completed](Self::complete) first.
    ///
    /// A step may be scheduled before the results of the one before are known: the sequences then
    /// go on with [`TokenSource::Pending`]. Two unknown tokens are the most that a sequence has.
    pub fn schedule(&mut self, batch: &mut Batch) {
        batch.clear();
        let mut budget = Budget {
            tokens: self.config.max_num_batched_tokens,
            prefill: self.prefill_limit,
        };
        let promised = self.advance_running(batch, &mut budget);
        if batch.preempted.is_empty() {
            self.admit_waiting(batch, &mut budget, promised);
        }
        self.cache.settle(&batch.copies);
    }

    /// Gives each running sequence its tokens, preempting from the end when blocks run out.
    /// Returns how many blocks the running ones still need for the tokens that they have.
    fn advance_running(&mut self, batch: &mut Batch, budget: &mut Budget) -> u32 {
        let mut promised = 0;
        let mut at = 0;
        while at < self.running.len() {
            let id = self.running[at].id;
            batch.examined += 1;
            let Some(sequence) = self.store.get(id) else {
                debug_assert!(false, "a running sequence isn't stored");
                self.running.remove(at);
                continue;
            };
            // One token stays for each that comes after, so that every one advances.
            let behind = (self.running.len() - at - 1) as u32;
            let len = self.chunk(
                sequence.remaining(),
                budget.tokens.saturating_sub(behind),
                budget.prefill,
            );
            if len > 0 {
                if !self.make_room(id, len, batch) {
                    break;
                }
                self.place(id, len, batch, budget);
            }
            promised += self.lacking(id);
            at += 1;
        }
        promised
    }

    /// Admits waiting sequences in order of rank, each only if its whole text fits beside what the
    /// running ones need. Nobody is skipped, so nobody starves.
    fn admit_waiting(&mut self, batch: &mut Batch, budget: &mut Budget, mut promised: u32) {
        while self.running.len() < self.config.max_num_seqs as usize && budget.tokens > 0 {
            let Some(rank) = self.waiting.first().copied() else {
                break;
            };
            batch.examined += 1;
            let Some(sequence) = self.store.get_mut(rank.id) else {
                debug_assert!(false, "a waiting sequence isn't stored");
                self.waiting.pop_first();
                continue;
            };
            if sequence.pending > 0 {
                break;
            }
            let found = match sequence.prefix_use {
                PrefixUse::Read => self.cache.lookup(&sequence.table, &sequence.tokens),
                PrefixUse::Recompute => self.cache.no_match(&sequence.table),
            };
            let known = sequence.known();
            let len = self.chunk(known - found.tokens(), budget.tokens, budget.prefill);
            if len == 0 || !self.cache.admits(&found, known, promised) {
                break;
            }
            let Some(sequence) = self.store.get_mut(rank.id) else {
                break;
            };
            if sequence.status == Status::Waiting && sequence.prefix_use == PrefixUse::Read {
                self.cache.count(known, found.tokens());
                sequence.cached = found.tokens();
            }
            // All that it will need, so that its steps allocate nothing.
            let most = sequence.limit.max(known);
            sequence.tokens.reserve_exact((most - known) as usize);
            sequence.table.reserve(self.cache.config().blocks_for(most));
            self.cache.attach(&mut sequence.table, &found);
            sequence.computed = found.tokens();
            sequence.status = Status::Running;
            self.waiting.pop_first();
            self.waiting_tokens -= u64::from(known);
            self.insert_running(rank);
            // Nothing is left to preempt for: `admits` has seen to it that there is room.
            if !self.make_room(rank.id, len, batch) {
                debug_assert!(false, "an admitted sequence has no room");
                break;
            }
            self.place(rank.id, len, batch, budget);
            promised += self.lacking(rank.id);
        }
    }

    /// How many of `remaining` tokens a step may take.
    fn chunk(&self, remaining: u32, tokens: u32, prefill: u32) -> u32 {
        if remaining <= 1 {
            return remaining.min(tokens);
        }
        if !self.config.enable_chunked_prefill {
            return if remaining <= tokens { remaining } else { 0 };
        }
        let threshold = match self.config.long_prefill_token_threshold {
            0 => u32::MAX,
            threshold => threshold,
        };
        remaining.min(tokens).min(prefill).min(threshold)
    }

    /// Prepares blocks for `len` more tokens of `id`, preempting the last ranks for them. Returns
    /// false if `id` itself had to go.
    fn make_room(&mut self, id: SeqId, len: u32, batch: &mut Batch) -> bool {
        loop {
            let Some(sequence) = self.store.get_mut(id) else {
                return false;
            };
            let (start, end) = (sequence.computed, sequence.computed + len);
            if self
                .cache
                .prepare(&mut sequence.table, start, end, &mut batch.copies)
            {
                return true;
            }
            let Some(last) = self.running.pop() else {
                return false;
            };
            self.preempt(last, batch);
            if last.id == id {
                return false;
            }
        }
    }

    fn preempt(&mut self, rank: Rank, batch: &mut Batch) {
        let Some(sequence) = self.store.get_mut(rank.id) else {
            return;
        };
        self.cache.release(&mut sequence.table);
        sequence.status = Status::Preempted;
        sequence.computed = 0;
        sequence.epoch += 1;
        let known = u64::from(sequence.known());
        // Its rank puts it ahead of all that arrived later and matter no more.
        self.enqueue(rank, known);
        self.preemptions += 1;
        batch.preempted.push(rank.id);
    }

    /// Writes the item of `id`, whose blocks are prepared.
    fn place(&mut self, id: SeqId, len: u32, batch: &mut Batch, budget: &mut Budget) {
        let Some(sequence) = self.store.get_mut(id) else {
            return;
        };
        let start = sequence.computed;
        let source = if start < sequence.known() {
            TokenSource::Known
        } else {
            TokenSource::Pending {
                item: sequence.last_item,
            }
        };
        if sequence.remaining() > 1 {
            budget.prefill = budget.prefill.saturating_sub(len);
            batch.prefill_tokens += len;
        }
        budget.tokens -= len;
        batch.tokens += len;
        sequence.computed += len;
        let mut logits = Logits::None;
        if sequence.computed == sequence.total() && sequence.total() < sequence.limit {
            logits = Logits::Last;
            sequence.pending += 1;
            sequence.last_item = batch.items.len() as u32;
        }
        batch.items.push(BatchItem {
            seq: id,
            start,
            len,
            source,
            logits,
            epoch: sequence.epoch,
        });
    }

    /// Blocks that `id` still needs for the tokens that it has.
    fn lacking(&self, id: SeqId) -> u32 {
        let blocks = |s: &Sequence| {
            self.cache
                .config()
                .blocks_for(s.known())
                .saturating_sub(s.table.len())
        };
        self.store.get(id).map_or(0, blocks)
    }

    /// Takes in the result of an item: its keys and values are in the cache, and `token` is what
    /// was sampled, where the item [wants one](BatchItem::wants_token). Items of one sequence are
    /// completed in the order in which they were scheduled.
    ///
    /// Whether the token ends the text is the engine's to see: it calls [`finish`](Self::finish)
    /// then, and in case of [`Progress::Finished`] has its own reason take precedence.
    ///
    /// # Errors
    /// When there is a token and none was wanted, or the reverse; nothing has changed then.
    pub fn complete(
        &mut self,
        item: &BatchItem,
        token: Option<u32>,
    ) -> Result<Progress, CompletionError> {
        let Some(sequence) = self.store.get_mut(item.seq) else {
            return Ok(Progress::Stale);
        };
        match token {
            None if item.wants_token() => return Err(CompletionError::TokenMissing),
            None => {}
            Some(_)
                if !item.wants_token()
                    || sequence.pending == 0
                    || sequence.known() != item.end() =>
            {
                return Err(CompletionError::TokenUnexpected);
            }
            Some(token) => {
                sequence.tokens.push(token);
                sequence.pending -= 1;
                self.waiting_tokens += u64::from(sequence.status != Status::Running);
            }
        }
        if sequence.epoch == item.epoch {
            self.cache
                .publish(&mut sequence.table, &sequence.tokens, item.end());
        }
        let full = sequence.known() >= sequence.limit;
        let wants_nothing_more =
            sequence.known() > sequence.prompt_len || item.end() >= sequence.prompt_len;
        if full && wants_nothing_more {
            return Ok(self
                .finish(item.seq, FinishReason::Length)
                .map_or(Progress::Stale, Progress::Finished));
        }
        Ok(Progress::Continues)
    }

    /// Ends a sequence, frees its blocks, and hands it over; `None` if it was over before.
    pub fn finish(&mut self, id: SeqId, reason: FinishReason) -> Option<Box<Sequence>> {
        let mut sequence = self.store.remove(id)?;
        match self.running.binary_search(&sequence.rank) {
            Ok(at) => {
                self.running.remove(at);
            }
            Err(_) => {
                self.waiting.remove(&sequence.rank);
                self.waiting_tokens -= u64::from(sequence.known());
            }
        }
        self.cache.release(&mut sequence.table);
        sequence.status = Status::Finished(reason);
        Some(sequence)
    }

    /// Ends a sequence that nobody waits for any more; `None` if it was over before.
    pub fn abort(&mut self, id: SeqId) -> Option<Box<Sequence>> {
        self.finish(id, FinishReason::Abort)
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
