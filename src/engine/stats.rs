//! The engine's figures, for a metrics page: counts since its start, and what holds now.

use std::time::Duration;

use super::{Finish, FinishedRequest, StepRecord};
use crate::cache::PrefixCounters;

/// Counts since the engine's start; none ever falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests taken in.
    pub requests: u64,
    /// Choices that ended by a stop token, a stop string or the end of sequence.
    pub stopped: u64,
    /// Choices that ended by length.
    pub by_length: u64,
    /// Choices that nobody waited for any more.
    pub aborted: u64,
    /// Choices that failed.
    pub failed: u64,
    /// Prompt tokens of the requests whose first token is there.
    pub prompt_tokens: u64,
    /// Those of them that the prefix cache had.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub generation_tokens: u64,
    /// Sequences whose blocks were given to others.
    pub preemptions: u64,
    /// Steps that computed anything.
    pub steps: u64,
    /// Tokens computed in them, those of discarded work included.
    pub step_tokens: u64,
    /// Time spent choosing batches.
    pub schedule: Duration,
    /// Time spent recording, running and reading back.
    pub run: Duration,
    /// Time spent sampling, detokenising and on stop conditions.
    pub sample: Duration,
    /// The GPU's spans of the steps that had one.
    pub spans: Duration,
    /// How many had one.
    pub spanned: u64,
}

impl Counters {
    pub(super) fn step(&mut self, step: &StepRecord) {
        self.steps += 1;
        self.step_tokens += u64::from(step.tokens);
        self.schedule += step.schedule;
        self.run += step.run;
        self.sample += step.sample;
        if let Some(spanned) = step.spanned {
            self.spans += spanned.span;
            self.spanned += 1;
        }
    }

    pub(super) fn end(&mut self, result: &FinishedRequest) {
        match result.finish {
            Finish::Stop => self.stopped += 1,
            Finish::Length => self.by_length += 1,
            Finish::Error(_) => self.failed += 1,
        }
    }
}

/// The engine's state at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Sequences that take part in steps.
    pub running: usize,
    /// Sequences that wait, the preempted ones included.
    pub waiting: usize,
    /// Tokens to compute before a newcomer's.
    pub queued_tokens: u64,
    /// Blocks of the cache.
    pub blocks: u32,
    /// Blocks that running sequences own.
    pub blocks_used: u32,
    /// Blocks that a later request could find.
    pub blocks_cached: u32,
    /// Tokens of a block.
    pub block_size: u32,
    /// Tokens looked up in the prefix cache, and found.
    pub prefix: PrefixCounters,
    /// Counts since the start.
    pub counters: Counters,
}

impl Stats {
    /// The share of the cache that is owned, from 0 to 1.
    pub fn cache_usage(&self) -> f64 {
        f64::from(self.blocks_used) / f64::from(self.blocks.max(1))
    }
}
