//! What one step computes.

use super::{SeqId, Sequence};
use crate::cache::{BlockCopy, BlockId};

/// Where the ids of an item's tokens are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// The sequence has them: [`Row::tokens`].
    Known,
    /// The item's only token is what an earlier item samples, and its id hasn't come back yet.
    Pending {
        /// The [step](Batch::step) of that item: the one before this, unless more than one step's
        /// results are outstanding.
        step: u64,
        /// Its index in that step's batch.
        item: u32,
    },
}

/// Which positions of an item need logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// None: more of the prompt is to come, or nothing is to be sampled.
    None,
    /// The last one, to sample the sequence's next token.
    Last,
    /// Each, for what they say of the prompt's tokens ([`PromptLogits::Each`](super::PromptLogits));
    /// more of the prompt is to come, or nothing is to be sampled.
    Each,
    /// Each, and the sequence's next token is sampled from the last.
    EachAndToken,
}

impl Logits {
    /// Whether they tell of the prompt's own tokens.
    pub fn of_the_prompt(self) -> bool {
        matches!(self, Self::Each | Self::EachAndToken)
    }
}

/// One sequence's part of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchItem {
    /// Whose.
    pub seq: SeqId,
    /// Position of the first token to compute: so many tokens are in the cache already.
    pub start: u32,
    /// Tokens to compute, at least one.
    pub len: u32,
    /// Where their ids are.
    pub source: TokenSource,
    /// Which of them need logits.
    pub logits: Logits,
    pub(super) epoch: u32,
}

impl BatchItem {
    /// The position after the last token to compute.
    pub fn end(&self) -> u32 {
        self.start + self.len
    }

    /// Whether a token is to be sampled from this item's last position.
    pub fn wants_token(&self) -> bool {
        matches!(self.logits, Logits::Last | Logits::EachAndToken)
    }

    /// How many of its positions need logits: the last so many.
    pub fn rows(&self) -> u32 {
        match self.logits {
            Logits::None => 0,
            Logits::Last => 1,
            Logits::Each | Logits::EachAndToken => self.len,
        }
    }
}

/// What the model needs to know to compute an item.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The item.
    pub item: &'a BatchItem,
    /// Its token ids: `item.len` of them, or none if its token is pending.
    pub tokens: &'a [u32],
    /// The sequence's blocks, which have room for `item.end()` tokens.
    pub blocks: &'a [BlockId],
}

impl<'a> Row<'a> {
    pub(super) fn new(item: &'a BatchItem, sequence: &'a Sequence) -> Self {
        let tokens = match item.source {
            TokenSource::Known => &sequence.tokens()[item.start as usize..item.end() as usize],
            TokenSource::Pending { .. } => &[],
        };
        Self { item, tokens, blocks: sequence.blocks() }
    }
}

/// A step's work. Used again for every step, so that its memory is.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) items: Vec<BatchItem>,
    pub(super) preempted: Vec<SeqId>,
    pub(super) copies: Vec<BlockCopy>,
    pub(super) tokens: u32,
    pub(super) prefill_tokens: u32,
    pub(super) examined: u32,
    pub(super) step: u64,
}

impl Batch {
    /// The sequences' parts, at most one each: first those that were running, in order of rank, then
    /// those just admitted.
    pub fn items(&self) -> &[BatchItem] {
        &self.items
    }

    /// Sequences that lost their blocks when this batch was made; none of them has an item.
    pub fn preempted(&self) -> &[SeqId] {
        &self.preempted
    }

    /// Blocks to copy before the step's kernels run. No block is both source and destination, nor
    /// twice a destination, so the copies may run in any order.
    pub fn copies(&self) -> &[BlockCopy] {
        &self.copies
    }

    /// Tokens to compute in all items together.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Those of them that belong to items with more than one token left to compute.
    pub fn prefill_tokens(&self) -> u32 {
        self.prefill_tokens
    }

    /// Sequences that were looked at to make this batch: what scheduling cost.
    pub fn examined(&self) -> u32 {
        self.examined
    }

    /// The step's number: how often its scheduler has scheduled, this time included.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.preempted.clear();
        self.copies.clear();
        self.tokens = 0;
        self.prefill_tokens = 0;
        self.examined = 0;
    }
}
