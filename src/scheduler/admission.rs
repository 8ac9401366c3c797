//! Taking requests in, or refusing them at once with the figures.

use super::sequence::Rank;
use super::{Policy, Request, Scheduler, SeqId, Sequence, Status};
use crate::cache::BlockTable;

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing to continue.
    #[error("the prompt is empty: at least one token is needed")]
    EmptyPrompt,
    /// It can never fit: no room for the prompt and one token of output.
    #[error(
        "the prompt and its output need {asked} tokens at least, but {available} is the longest that this model is \
         served with: shorten the prompt or raise --max-model-len"
    )]
    TooLong {
        /// Tokens needed.
        asked: u64,
        /// `max_model_len`.
        available: u32,
    },
    /// It can never fit: the prompt alone takes more blocks than there are.
    #[error(
        "the prompt needs {asked} cache blocks of {block_size} tokens, but the cache has {available}: shorten the \
         prompt or raise --kv-cache-memory"
    )]
    ExceedsCache {
        /// Blocks needed.
        asked: u64,
        /// Blocks in the pool.
        available: u32,
        /// Tokens per block.
        block_size: u32,
    },
    /// Too many wait.
    #[error(
        "{waiting} requests wait to be admitted and the queue holds {limit}: try again later or raise --max-queue"
    )]
    QueueFull {
        /// Requests that wait and were never admitted.
        waiting: usize,
        /// `max_queue`.
        limit: usize,
    },
    /// Too much would be computed first.
    #[error(
        "{queued} tokens wait to be computed first, more than {limit}: try again later or raise \
         --max-num-queued-tokens"
    )]
    TooMuchQueued {
        /// Tokens before the request's own.
        queued: u64,
        /// `max_num_queued_tokens`.
        limit: u64,
    },
}

impl Refusal {
    /// Whether the same request may be taken later: the difference between "too many requests" and
    /// "bad request".
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::QueueFull { .. } | Self::TooMuchQueued { .. })
    }
}

impl Scheduler {
    /// Takes a request into the queue. Its length is cut to what fits: it ends with
    /// [`Length`](super::FinishReason::Length) at `max_tokens`, `max_model_len` or the cache's
    /// size, whichever comes first.
    ///
    /// # Errors
    /// A [`Refusal`] if it can never run, or if the queue is full.
    pub fn add(&mut self, request: Request) -> Result<SeqId, Refusal> {
        let prompt = request.prompt.len() as u64;
        let cache = *self.cache.config();
        if prompt == 0 {
            return Err(Refusal::EmptyPrompt);
        }
        let asked = prompt + u64::from(request.max_tokens.min(1));
        if asked > u64::from(self.config.max_model_len) {
            return Err(Refusal::TooLong { asked, available: self.config.max_model_len });
        }
        let blocks = prompt.div_ceil(u64::from(cache.block_size));
        if blocks > u64::from(cache.num_blocks) {
            let (available, block_size) = (cache.num_blocks, cache.block_size);
            return Err(Refusal::ExceedsCache { asked: blocks, available, block_size });
        }
        // Those that were admitted once have places, whether or not they run at present.
        let admitted = self.running.len() + self.waiting.len() - self.newcomers;
        let places = (self.config.max_num_seqs as usize).saturating_sub(admitted);
        if !request.companion && self.newcomers >= self.config.max_queue.saturating_add(places) {
            return Err(Refusal::QueueFull { waiting: self.newcomers, limit: self.config.max_queue });
        }
        let queued = self.queued_tokens();
        if !request.companion && queued > self.config.max_num_queued_tokens {
            return Err(Refusal::TooMuchQueued { queued, limit: self.config.max_num_queued_tokens });
        }

        // The last token of a sequence is never written to the cache, hence one above its capacity.
        let limit = (prompt + u64::from(request.max_tokens))
            .min(u64::from(self.config.max_model_len))
            .min(cache.capacity_tokens() + 1) as u32;
        let arrival = self.births;
        let birth = self.next_birth();
        let priority = match self.config.policy {
            Policy::Fcfs => 0,
            Policy::Priority => request.priority,
        };
        let id = self.store.insert(|id| Sequence {
            rank: Rank { priority, arrival, birth, id },
            status: Status::Waiting,
            prompt_len: prompt as u32,
            tokens: request.prompt,
            limit,
            pending: 0,
            computed: 0,
            epoch: 0,
            sampled_by: (0, 0),
            cached: 0,
            prefix_use: request.prefix_use,
            prompt_logits: request.prompt_logits,
            table: BlockTable::new(request.salt),
        });
        self.enqueue(Rank { priority, arrival, birth, id }, prompt);
        self.newcomers += 1;
        Ok(id)
    }

    /// Tokens that are to be computed before a newcomer's: everything that waits, and what running
    /// sequences lack of their prompts. Prefix hits to come are not foreseen. Takes time in
    /// proportion to the running sequences.
    pub fn queued_tokens(&self) -> u64 {
        let running = self.running.iter().filter_map(|rank| self.store.get(rank.id));
        let prefill = running.map(Sequence::remaining).filter(|remaining| *remaining > 1);
        self.waiting_tokens + prefill.map(u64::from).sum::<u64>()
    }
}
