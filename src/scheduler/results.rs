//! Taking in a step's results, and ending sequences.

use super::{BatchItem, FinishReason, Scheduler, SeqId, Sequence, Status};

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
    #[error("no token came for an item that wants one: finish the sequence instead if none can be sampled")]
    TokenMissing,
    /// A token came that nobody asked for, or came twice.
    #[error("a token came for an item that wants none or has had it")]
    TokenUnexpected,
}

impl Scheduler {
    /// Takes in the result of an item: its keys and values are in the cache, and `token` is what
    /// was sampled, where the item [wants one](BatchItem::wants_token). Items of one sequence are
    /// completed in the order in which they were scheduled.
    ///
    /// Whether the token ends the text is the engine's to see: it calls [`finish`](Self::finish)
    /// then, and in case of [`Progress::Finished`] has its own reason take precedence.
    ///
    /// # Errors
    /// When there is a token and none was wanted, or the reverse; nothing has changed then.
    pub fn complete(&mut self, item: &BatchItem, token: Option<u32>) -> Result<Progress, CompletionError> {
        let Some(sequence) = self.store.get_mut(item.seq) else {
            return Ok(Progress::Stale);
        };
        match token {
            None if item.wants_token() => return Err(CompletionError::TokenMissing),
            None => {}
            Some(_) if !item.wants_token() || sequence.pending == 0 || sequence.known() != item.end() => {
                return Err(CompletionError::TokenUnexpected);
            }
            Some(token) => {
                sequence.tokens.push(token);
                sequence.pending -= 1;
                self.waiting_tokens += u64::from(sequence.status != Status::Running);
            }
        }
        if sequence.epoch == item.epoch {
            self.cache.publish(&mut sequence.table, &sequence.tokens, item.end());
        }
        let full = sequence.known() >= sequence.limit;
        let wants_nothing_more = sequence.known() > sequence.prompt_len || item.end() >= sequence.prompt_len;
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
                self.newcomers -= usize::from(sequence.status == Status::Waiting);
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
}
