//! What goes into the engine and what comes out.

use std::time::Duration;

use crate::sample::{Choice, SamplingParams};

/// Names a request from [`super::Engine::add`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// How the states of a text's tokens become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// The last one's.
    Last,
}

/// What a request wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Text that follows the prompt.
    #[default]
    Text,
    /// The log-probabilities of the prompt's tokens, each with so many of the most probable ones, and the
    /// text that follows.
    PromptAndText(u32),
    /// Those log-probabilities alone.
    Prompt(u32),
    /// One vector for the whole prompt: its tokens' states after the last norm, pooled, of length 1.
    Embedding(Pooling),
}

impl Wanted {
    /// Whether text is to be generated.
    pub fn text(self) -> bool {
        matches!(self, Self::Text | Self::PromptAndText(_))
    }
}

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
    /// Text, or what the model makes of the prompt itself. The latter reads no cached prefix, since every
    /// position is computed for its result.
    pub wanted: Wanted,
}

impl GenerationRequest {
    /// A request of priority 0 without salt.
    pub fn new(prompt: Vec<u32>, params: SamplingParams) -> Self {
        Self { prompt, params, priority: 0, cache_salt: None, wanted: Wanted::Text }
    }

    /// A request for the vector of a text.
    pub fn embedding(prompt: Vec<u32>, pooling: Pooling) -> Self {
        Self { wanted: Wanted::Embedding(pooling), ..Self::new(prompt, SamplingParams::default()) }
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
    /// Tokens of its request's choices that were not handed out (`best_of` above `n`), told with the best.
    pub dropped_tokens: usize,
    /// Prompt tokens that the prefix cache had.
    pub cached_tokens: usize,
    /// How often its blocks were given to others.
    pub preemptions: u32,
    /// When.
    pub timings: Timings,
}

/// What came of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum PromptOutput {
    /// Each token with its log-probability after those before it; the first has none.
    Logprobs(Vec<Choice>),
    /// A vector of length 1, as long as the model's states.
    Embedding(Vec<f32>),
}

/// What came of a step for one choice of a request. With `best_of` above `n`, all events of a request
/// come together at its end.
#[derive(Clone, Debug)]
pub enum Event {
    /// The prompt is computed and something was wanted of it: before the first token, once a request.
    Prompt {
        /// Whose.
        id: RequestId,
        /// What came of it.
        output: PromptOutput,
    },
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

impl Event {
    /// Whose event it is.
    pub fn request(&self) -> RequestId {
        let (Self::Prompt { id, .. } | Self::Token { id, .. } | Self::Finished { id, .. }) = self;
        *id
    }

    /// Text that it adds to its choice.
    pub fn text(&self) -> &str {
        match self {
            Self::Prompt { .. } => "",
            Self::Token { text, .. } | Self::Finished { text, .. } => text,
        }
    }
}
