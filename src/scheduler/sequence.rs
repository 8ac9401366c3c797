//! One text being continued, and what is known about it.

use crate::cache::{BlockId, BlockTable, Salt};

/// Names a sequence from [`add`](super::Scheduler::add) on; never names another one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl SeqId {
    /// A number for tables that are kept beside the scheduler's: below the most sequences that
    /// were ever alive at once. Used again after the sequence's end.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

/// Whether a request may take its first tokens' keys and values from the prefix cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrefixUse {
    /// Yes.
    #[default]
    Read,
    /// No, since every position's result is wanted (the prompt's log-probabilities, embeddings).
    Recompute,
}

/// Which of a prompt's positions give logits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PromptLogits {
    /// The last, to sample the first token.
    #[default]
    Last,
    /// Each, once: goes with [`PrefixUse::Recompute`]. The prompt is computed in pieces of as many
    /// positions as a step has logits for, chunked prefill or not.
    Each,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// Most tokens of output; 0 computes the prompt and nothing else.
    pub max_tokens: u32,
    /// Lower is served first under [`Policy::Priority`](super::Policy::Priority).
    pub priority: i32,
    /// Only requests with equal salts share blocks.
    pub salt: Salt,
    /// Whether the prefix cache may be read.
    pub prefix_use: PrefixUse,
    /// Which of the prompt's positions give logits.
    pub prompt_logits: PromptLogits,
    /// Whether it came with one that was taken: the bounds on the queue are for what others wait for.
    pub companion: bool,
}

impl Request {
    /// A request of priority 0 without salt that may read the prefix cache.
    pub fn new(prompt: Vec<u32>, max_tokens: u32) -> Self {
        Self {
            prompt,
            max_tokens,
            priority: 0,
            salt: Salt::default(),
            prefix_use: PrefixUse::Read,
            prompt_logits: PromptLogits::Last,
            companion: false,
        }
    }
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// It came to a stop token, a stop string or a grammar's end.
    Stop,
    /// It has as many tokens as it may have, by its request, the model's length or the cache's size.
    Length,
    /// The client went away or the server shuts down.
    Abort,
    /// The engine could not go on with it.
    Error,
}

/// Where a sequence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It has never run.
    Waiting,
    /// It takes part in every step and owns blocks.
    Running,
    /// It gave its blocks up to others and will be computed again.
    Preempted,
    /// It is over and no longer with the scheduler.
    Finished(FinishReason),
}

/// The order of service: by priority, then arrival, then, among forks of one request, by birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) priority: i32,
    pub(super) arrival: u64,
    pub(super) birth: u64,
    pub(super) id: SeqId,
}

/// A prompt and the output so far.
#[derive(Debug)]
pub struct Sequence {
    pub(super) rank: Rank,
    pub(super) status: Status,
    /// Prompt, then output.
    pub(super) tokens: Vec<u32>,
    pub(super) prompt_len: u32,
    /// It ends when it has this many tokens.
    pub(super) limit: u32,
    /// Tokens that are sampled by a scheduled step but whose ids aren't known yet.
    pub(super) pending: u32,
    /// Tokens whose keys and values are in the cache or will be after the scheduled steps.
    pub(super) computed: u32,
    /// Counts preemptions, so that results of earlier steps can be told apart.
    pub(super) epoch: u32,
    /// Step and item that sample the last token, pending or known by now.
    pub(super) sampled_by: (u64, u32),
    pub(super) cached: u32,
    pub(super) prefix_use: PrefixUse,
    /// What is still to come of it: nothing special once the whole prompt has been scheduled.
    pub(super) prompt_logits: PromptLogits,
    pub(super) table: BlockTable,
}

impl Sequence {
    /// Its name.
    pub fn id(&self) -> SeqId {
        self.rank.id
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Prompt and known output.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The prompt's tokens.
    pub fn prompt(&self) -> &[u32] {
        &self.tokens[..self.prompt_len as usize]
    }

    /// The known output.
    pub fn output(&self) -> &[u32] {
        &self.tokens[self.prompt_len as usize..]
    }

    /// Tokens whose keys and values are in the cache, or will be once the scheduled steps have run.
    pub fn computed(&self) -> u32 {
        self.computed
    }

    /// Prompt tokens that the prefix cache had when the sequence first ran.
    pub fn cached(&self) -> u32 {
        self.cached
    }

    /// How often it was preempted.
    pub fn preemptions(&self) -> u32 {
        self.epoch
    }

    /// The blocks that hold its tokens, in order of position; empty unless running.
    pub fn blocks(&self) -> &[BlockId] {
        self.table.blocks()
    }

    /// Known tokens.
    pub(super) fn known(&self) -> u32 {
        self.tokens.len() as u32
    }

    /// Known and pending tokens.
    pub(super) fn total(&self) -> u32 {
        self.known() + self.pending
    }

    /// Tokens that a step could compute now. The last token of a full sequence needs no computing,
    /// and a second pending one is as far as is looked ahead.
    pub(super) fn remaining(&self) -> u32 {
        if self.pending > 1 {
            return 0;
        }
        let target = self.total().min(self.prompt_len.max(self.limit - 1));
        target.saturating_sub(self.computed)
    }
}
