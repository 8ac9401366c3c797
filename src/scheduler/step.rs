//! Choosing a step's work.

use super::sequence::Rank;
use super::{
    Batch, BatchItem, Logits, PrefixUse, PromptLogits, Scheduler, SeqId, Sequence, Status, TokenSource,
};

/// What is left of a step's budget.
struct Budget {
    tokens: u32,
    prefill: u32,
    /// Positions that may give logits.
    logits: u32,
}

impl Scheduler {
    /// Chooses the next step's work into `batch`, overwriting it. An empty batch while
    /// [`has_work`](Self::has_work) means that results of earlier batches must be
    /// [completed](Self::complete) first.
    ///
    /// A step may be scheduled before the results of the one before are known: the sequences then
    /// go on with [`TokenSource::Pending`]. Two unknown tokens are the most that a sequence has.
    pub fn schedule(&mut self, batch: &mut Batch) {
        batch.clear();
        self.steps += 1;
        batch.step = self.steps;
        let mut budget = Budget {
            tokens: self.config.max_num_batched_tokens,
            prefill: self.prefill_limit,
            logits: self.config.max_num_logits,
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
            // One token, and its logits, stay for each that comes after, so that every one advances.
            let behind = (self.running.len() - at - 1) as u32;
            let len = self.chunk(sequence.prompt_logits, sequence.remaining(), budget, behind);
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
        while self.running.len() < self.config.max_num_seqs as usize && budget.tokens > 0 && budget.logits > 0
        {
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
            let (known, logits) = (sequence.known(), sequence.prompt_logits);
            let len = self.chunk(logits, known - found.tokens(), budget, 0);
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
            self.newcomers -= usize::from(sequence.status == Status::Waiting);
            sequence.status = Status::Running;
            self.waiting.pop_first();
            self.waiting_tokens -= u64::from(known);
            self.insert_running(rank);
            // Preempts nobody: `admits` has seen to it that there is room.
            if !self.make_room(rank.id, len, batch) {
                debug_assert!(false, "an admitted sequence has no room");
                break;
            }
            self.place(rank.id, len, batch, budget);
            promised += self.lacking(rank.id);
        }
    }

    /// How many of `remaining` tokens a step may take that leaves `behind` to others.
    fn chunk(&self, logits: PromptLogits, remaining: u32, budget: &Budget, behind: u32) -> u32 {
        let tokens = budget.tokens.saturating_sub(behind);
        if remaining <= 1 {
            return remaining.min(tokens);
        }
        let most = match logits {
            PromptLogits::Each => budget.logits.saturating_sub(behind),
            PromptLogits::Last if self.config.enable_chunked_prefill => u32::MAX,
            PromptLogits::Last => return if remaining <= tokens { remaining } else { 0 },
        };
        let threshold = match self.config.long_prefill_token_threshold {
            0 => u32::MAX,
            threshold => threshold,
        };
        remaining.min(tokens).min(budget.prefill).min(threshold).min(most)
    }

    /// Prepares blocks for `len` more tokens of `id`, preempting the last ranks for them. Returns
    /// false if `id` itself had to go.
    fn make_room(&mut self, id: SeqId, len: u32, batch: &mut Batch) -> bool {
        loop {
            let Some(sequence) = self.store.get_mut(id) else {
                return false;
            };
            let (start, end) = (sequence.computed, sequence.computed + len);
            if self.cache.prepare(&mut sequence.table, start, end, &mut batch.copies) {
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
            let (step, item) = sequence.sampled_by;
            TokenSource::Pending { step, item }
        };
        if sequence.remaining() > 1 {
            budget.prefill = budget.prefill.saturating_sub(len);
            batch.prefill_tokens += len;
        }
        budget.tokens -= len;
        batch.tokens += len;
        sequence.computed += len;
        let samples = sequence.computed == sequence.total() && sequence.total() < sequence.limit;
        let logits = match (sequence.prompt_logits, samples) {
            (PromptLogits::Last, false) => Logits::None,
            (PromptLogits::Last, true) => Logits::Last,
            (PromptLogits::Each, false) => Logits::Each,
            (PromptLogits::Each, true) => Logits::EachAndToken,
        };
        if samples {
            sequence.pending += 1;
            sequence.sampled_by = (batch.step, batch.items.len() as u32);
        }
        if sequence.computed >= sequence.prompt_len {
            sequence.prompt_logits = PromptLogits::Last;
        }
        let item = BatchItem { seq: id, start, len, source, logits, epoch: sequence.epoch };
        budget.logits = budget.logits.saturating_sub(item.rows());
        batch.items.push(item);
    }

    /// Blocks that `id` still needs for the tokens that it has.
    fn lacking(&self, id: SeqId) -> u32 {
        let blocks = |s: &Sequence| self.cache.config().blocks_for(s.known()).saturating_sub(s.table.len());
        self.store.get(id).map_or(0, blocks)
    }
}
