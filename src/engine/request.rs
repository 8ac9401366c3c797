//! What goes into the engine and what comes out.

use std::time::Duration;

use crate::sample::{Choice, SamplingParams};

/// Names a request from [`super::Engine::add`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What to generate.
#[derive(Clone, Debug)]
pub struct GenerationRequest {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// How to choose tokens, and when to stop.
    pub params: SamplingParams,
    /// Lower is served first under the priority policy.
    pub priority: i32,
    /// Only requests with equal salts share cached prefixes; `None` is a salt of its own.
    pub cache_salt: Option<String>,
}

impl GenerationRequest {
    /// A request of priority 0 without salt.
    pub fn new(prompt: Vec<u32>, params: SamplingParams) -> Self {
        Self { prompt, params, priority: 0, cache_salt: None }
    }
}

/// Why a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model's end of sequence, a stop token or a stop string.
    Stop,
    /// As many tokens as it may have.
    Length,
    /// It failed on its own; the engine goes on.
    Error(String),
}

/// What ended a choice with [`Finish::Stop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// The model's end of sequence.
    Eos,
    /// One of the request's `stop_token_ids`.
    Token(u32),
    /// The request's stop string with this index.
    Text(usize),
}

/// When things happened to a choice, from its request's arrival on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// Waiting for its first step.
    pub queued: Duration,
    /// From arrival to the first token (TTFT).
    pub first_token: Duration,
    /// From arrival to the end.
    pub total: Duration,
}

impl Timings {
    /// From the first step to the first token.
    pub fn prefill(&self) -> Duration {
        self.first_token.saturating_sub(self.queued)
    }

    /// From the first token to the end.
    pub fn decode(&self) -> Duration {
        self.total.saturating_sub(self.first_token)
    }

    /// From the first step to the end.
    pub fn inference(&self) -> Duration {
        self.total.saturating_sub(self.queued)
    }
}

/// A choice's end.
#[derive(Clone, Debug)]
pub struct FinishedRequest {
    /// Why.
    pub finish: Finish,
    /// What stopped it, if it ended by [`Finish::Stop`].
    pub stop: Option<StopCause>,
    /// Prompt tokens.
    pub prompt_tokens: usize,
    /// Generated tokens, the end-of-sequence token included.
    pub output_tokens: usize,
    /// Prompt tokens that the prefix cache had.
    pub cached_tokens: usize,
    /// How often its blocks were given to others.
    pub preemptions: u32,
    /// When.
    pub timings: Timings,
}

/// What came of a step for one choice of a request. With `best_of` above `n`, all events of a request
/// come together at its end.
#[derive(Clone, Debug)]
pub enum Event {
    /// A token was chosen. Its text may be empty while a character or a stop string is incomplete.
    Token {
        /// Whose.
        id: RequestId,
        /// Which of the request's choices, from 0.
        index: u32,
        /// The token, with log-probabilities if they were asked for.
        choice: Choice,
        /// Text that is now certain, whole characters only.
        text: String,
    },
    /// The choice is over; the request is when all of its `n` choices are.
    Finished {
        /// Whose.
        id: RequestId,
        /// Which of the request's choices, from 0.
        index: u32,
        /// Text that was held back and belongs to the answer.
        text: String,
        /// How it went.
        result: FinishedRequest,
    },
}
