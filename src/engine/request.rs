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
}

impl GenerationRequest {
    /// A request of priority 0.
    pub fn new(prompt: Vec<u32>, params: SamplingParams) -> Self {
        Self { prompt, params, priority: 0 }
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

/// When things happened to a request, from its arrival on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// Waiting for its first step.
    pub queued: Duration,
    /// From arrival to the first token (TTFT).
    pub first_token: Duration,
    /// From arrival to the end.
    pub total: Duration,
}

/// A request's end.
#[derive(Clone, Debug)]
pub struct FinishedRequest {
    /// Why.
    pub finish: Finish,
    /// Prompt tokens.
    pub prompt_tokens: usize,
    /// Generated tokens, the end-of-sequence token included.
    pub output_tokens: usize,
    /// When.
    pub timings: Timings,
}

/// What came of a step for one request.
#[derive(Clone, Debug)]
pub enum Event {
    /// A token was chosen. Its text may be empty while a character or a stop string is incomplete.
    Token {
        /// Whose.
        id: RequestId,
        /// The token, with log-probabilities if they were asked for.
        choice: Choice,
        /// Text that is now certain, whole characters only.
        text: String,
    },
    /// The request is over.
    Finished {
        /// Whose.
        id: RequestId,
        /// Text that was held back and belongs to the answer.
        text: String,
        /// How it went.
        result: FinishedRequest,
    },
}
