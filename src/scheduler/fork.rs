//! Several continuations of one text.

use super::sequence::Rank;
use super::{BatchItem, PromptLogits, Scheduler, Sequence, Status};
use crate::cache::BlockTable;

impl Scheduler {
    /// Starts a second continuation from the logits of `item`, to be called after the item's step
    /// has run and before the item is [completed](Scheduler::complete). Returns the item to
    /// complete for the new sequence, with its own sampled token and before the next
    /// [`schedule`](Scheduler::schedule); `None` if the item wants no token, was completed, or its
    /// sequence is over.
    ///
    /// The new sequence has the same tokens, bounds and rank (after its elder), and shares the
    /// blocks that hold them; whichever writes first to the last one gets a copy of its own. If
    /// all places of `max_num_seqs` are taken it waits, without blocks, to be computed again.
    pub fn fork(&mut self, item: &BatchItem) -> Option<BatchItem> {
        let elder = self.store.get(item.seq)?;
        if !item.wants_token() || elder.pending == 0 || elder.known() != item.end() {
            return None;
        }
        let has_blocks = elder.status == Status::Running && elder.epoch == item.epoch;
        let runs = has_blocks && self.running.len() < self.config.max_num_seqs as usize;
        let mut tokens = Vec::with_capacity(elder.limit as usize);
        tokens.extend_from_slice(&elder.tokens);
        let mut table = if runs {
            self.cache.fork(&elder.table, item.end())
        } else {
            BlockTable::new(elder.table.salt())
        };
        table.reserve(self.cache.config().blocks_for(elder.limit));
        let elder_rank = elder.rank;
        let (prompt_len, limit, cached, prefix_use) =
            (elder.prompt_len, elder.limit, elder.cached, elder.prefix_use);
        let birth = self.next_birth();
        let id = self.store.insert(|id| Sequence {
            rank: Rank { birth, id, ..elder_rank },
            status: if runs { Status::Running } else { Status::Preempted },
            tokens,
            prompt_len,
            limit,
            pending: 1,
            computed: if runs { item.end() } else { 0 },
            epoch: 0,
            sampled_by: (0, 0),
            cached,
            prefix_use,
            prompt_logits: PromptLogits::Last,
            table,
        });
        let rank = Rank { birth, id, ..elder_rank };
        if runs {
            self.insert_running(rank);
        } else {
            self.enqueue(rank, u64::from(item.end()));
        }
        // An epoch that never comes keeps a sequence without blocks from claiming the item's.
        let epoch = if runs { 0 } else { u32::MAX };
        Some(BatchItem { seq: id, epoch, ..*item })
    }
}
