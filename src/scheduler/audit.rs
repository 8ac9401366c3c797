//! The whole state counted anew, for tests.

use super::{Scheduler, Status};

impl Scheduler {
    /// Compares every list, count and owner with every other. Takes time in proportion to all
    /// sequences and blocks.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn audit(&self) -> Result<(), String> {
        self.cache.pool().audit()?;
        let mut owners = vec![0; self.cache.pool().total() as usize];
        let (mut running, mut waiting, mut newcomers, mut waiting_tokens) = (0, 0, 0, 0);
        for sequence in self.store.iter() {
            let id = sequence.id();
            if sequence.status == Status::Running {
                running += 1;
                if self.running.binary_search(&sequence.rank).is_err() {
                    return Err(format!("{id:?} runs but isn't listed"));
                }
                if sequence.blocks().len() < self.cache.config().blocks_for(sequence.computed) as usize {
                    return Err(format!(
                        "{id:?} has {} tokens in {} blocks",
                        sequence.computed,
                        sequence.table.len()
                    ));
                }
            } else {
                waiting += 1;
                newcomers += usize::from(sequence.status == Status::Waiting);
                waiting_tokens += u64::from(sequence.known());
                if !self.waiting.contains(&sequence.rank) {
                    return Err(format!("{id:?} waits but isn't listed"));
                }
                if !sequence.table.is_empty() {
                    return Err(format!("{id:?} waits and owns blocks"));
                }
            }
            if sequence.total() > sequence.limit || sequence.computed > sequence.total() {
                return Err(format!("{sequence:?} is beyond its limit"));
            }
            let mut seen = std::collections::HashSet::new();
            for block in sequence.blocks() {
                owners[block.index()] += 1;
                if !seen.insert(block) {
                    return Err(format!("{id:?} has block {} twice", block.0));
                }
            }
        }
        if (running, waiting, waiting_tokens) != (self.running.len(), self.waiting.len(), self.waiting_tokens)
        {
            return Err(format!(
                "{running} run, {waiting} wait with {waiting_tokens} tokens; counted {}, {}, {}",
                self.running.len(),
                self.waiting.len(),
                self.waiting_tokens
            ));
        }
        if newcomers != self.newcomers {
            return Err(format!("{newcomers} were never admitted; counted {}", self.newcomers));
        }
        if !self.running.is_sorted() || self.running.len() > self.config.max_num_seqs as usize {
            return Err("the running sequences are out of order or too many".into());
        }
        for (block, count) in (0..).zip(owners) {
            let counted = self.cache.pool().owners(crate::cache::BlockId(block));
            if counted != count {
                return Err(format!("block {block} has {count} owners; counted {counted}"));
            }
        }
        Ok(())
    }
}
