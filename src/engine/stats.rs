//! The engine's figures, for a metrics page: counts since its start, and what holds now.

use std::time::Duration;

use super::{Finish, FinishedRequest};
use crate::cache::PrefixCounters;
use crate::kernels::rope_cache::CacheType;
use crate::profile::Counts;

/// Where steps' time goes. With a step ahead the host's parts of one run beside the device's of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Choosing the batch.
    pub schedule: Duration,
    /// Filling the step's buffer and recording its commands.
    pub record: Duration,
    /// Handing them over.
    pub submit: Duration,
    /// The device's time: from the submission, or the end of the step before if that was later, to the
    /// results.
    pub device: Duration,
    /// Bringing results from the device's memory into the host's.
    pub read: Duration,
    /// From logits to tokens.
    pub sample: Duration,
    /// From tokens to text; stop conditions.
    pub detokenise: Duration,
}

impl Parts {
    /// Each with its name, in the order of a step.
    pub fn named(&self) -> [(&'static str, Duration); 7] {
        [
            ("schedule", self.schedule),
            ("record", self.record),
            ("submit", self.submit),
            ("gpu", self.device),
            ("read_back", self.read),
            ("sample", self.sample),
            ("detokenise", self.detokenise),
        ]
    }
}

impl std::ops::AddAssign for Parts {
    fn add_assign(&mut self, other: Self) {
        self.schedule += other.schedule;
        self.record += other.record;
        self.submit += other.submit;
        self.device += other.device;
        self.read += other.read;
        self.sample += other.sample;
        self.detokenise += other.detokenise;
    }
}

/// What the last step did.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepRecord {
    /// Tokens computed.
    pub tokens: u32,
    /// Sequences in the batch.
    pub sequences: usize,
    /// Kernels dispatched.
    pub dispatches: u32,
    /// Where the time went.
    pub parts: Parts,
    /// The step before this one as the GPU's own clock saw it, where spans are measured.
    pub spanned: Option<Spanned>,
}

/// What a step computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Computed {
    /// Tokens.
    pub tokens: u64,
    /// Sequences.
    pub sequences: u64,
    /// Tokens whose logits are wanted.
    pub outputs: u64,
    /// Queries times the keys that each sees, within its window.
    pub pairs: u64,
    /// Keys that each sequence's queries see, each once.
    pub keys: u64,
}

impl Computed {
    /// Adds `len` tokens of one sequence, the first of them at position `start`, with logits of the last
    /// `outputs`.
    #[must_use]
    pub(super) fn with(self, start: u64, len: u64, outputs: u64, window: Option<usize>) -> Self {
        let window = window.map_or(u64::MAX, |window| window as u64);
        // The first so many see all that is before them, and the others a whole window.
        let short = window.saturating_sub(start).min(len);
        let pairs = short * start + short * (short + 1) / 2 + (len - short).saturating_mul(window);
        let unseen = (start + 1).saturating_sub(window);
        Self {
            tokens: self.tokens + len,
            sequences: self.sequences + 1,
            outputs: self.outputs + outputs,
            pairs: self.pairs + pairs,
            keys: self.keys + start + len - unseen,
        }
    }
}

/// A step and its span on the GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spanned {
    /// What it computed.
    pub computed: Computed,
    /// From the begin to the end of its pass.
    pub span: Duration,
}

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
    /// Kernels dispatched in them.
    pub dispatches: u64,
    /// Where their time went.
    pub parts: Parts,
    /// The GPU's spans of the steps that had one.
    pub spans: Duration,
    /// How many had one.
    pub spanned: u64,
    /// What became of their stamps.
    pub stamps: Counts,
}

impl Counters {
    pub(super) fn step(&mut self, step: &StepRecord) {
        self.steps += 1;
        self.step_tokens += u64::from(step.tokens);
        self.dispatches += u64::from(step.dispatches);
        self.parts += step.parts;
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
    /// How the cache stores a number.
    pub cache_type: CacheType,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixed_step_is_counted_as_by_loops() {
        // A decode at 99, a prompt's first four tokens without logits, a chunk of 6 from 21.
        let parts = [(99, 1, 1), (0, 4, 0), (21, 6, 1)];
        for window in [None, Some(3), Some(24), Some(1000)] {
            let computed =
                parts.iter().fold(Computed::default(), |c, &(start, len, n)| c.with(start, len, n, window));
            let (mut pairs, mut keys) = (0, 0);
            for (start, len, _) in parts {
                let low = |query: u64| (query + 1).saturating_sub(window.map_or(u64::MAX, |w| w as u64));
                pairs += (start..start + len).map(|query| query + 1 - low(query)).sum::<u64>();
                keys += start + len - low(start);
            }
            assert_eq!(
                computed,
                Computed { tokens: 11, sequences: 3, outputs: 2, pairs, keys },
                "{window:?}"
            );
        }
    }
}
