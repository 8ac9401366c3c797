//! The scheduler's knobs, by the names that people know from the command line.

use crate::cache::CacheConfigError;

/// In what order requests are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// First come, first served.
    #[default]
    Fcfs,
    /// The lowest priority value first, then first come, first served.
    Priority,
}

/// The bounds of a step and of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Most sequences in a step.
    pub max_num_seqs: u32,
    /// Most tokens in a step.
    pub max_num_batched_tokens: u32,
    /// Most positions of a step that give logits, at least `max_num_seqs`.
    pub max_num_logits: u32,
    /// Most tokens of a sequence, prompt and output together.
    pub max_model_len: u32,
    /// Most tokens of one prompt in a step; 0 for no bound beside the budget.
    pub long_prefill_token_threshold: u32,
    /// Whether a prompt may be computed over several steps.
    pub enable_chunked_prefill: bool,
    /// The order of service.
    pub policy: Policy,
    /// Most requests that may wait while every place of `max_num_seqs` is taken.
    pub max_queue: usize,
    /// A request is refused when more tokens than this are to be computed before its own.
    pub max_num_queued_tokens: u64,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            max_num_seqs: 256,
            max_num_batched_tokens: 2048,
            max_num_logits: u32::MAX,
            max_model_len: 2048,
            long_prefill_token_threshold: 0,
            enable_chunked_prefill: true,
            policy: Policy::Fcfs,
            max_queue: 256,
            max_num_queued_tokens: u64::MAX,
        }
    }
}

impl SchedulerConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.max_num_seqs == 0 {
            return Err(ConfigError::NoSequences);
        }
        if self.max_model_len < 2 {
            return Err(ConfigError::NoRoomForOutput { max_model_len: self.max_model_len });
        }
        if self.max_num_batched_tokens < self.max_num_seqs {
            return Err(ConfigError::BudgetBelowSequences {
                max_num_batched_tokens: self.max_num_batched_tokens,
                max_num_seqs: self.max_num_seqs,
            });
        }
        if self.max_num_logits < self.max_num_seqs {
            return Err(ConfigError::LogitsBelowSequences {
                max_num_logits: self.max_num_logits,
                max_num_seqs: self.max_num_seqs,
            });
        }
        if !self.enable_chunked_prefill && self.max_num_batched_tokens < self.max_model_len {
            return Err(ConfigError::BudgetBelowPrompt {
                max_num_batched_tokens: self.max_num_batched_tokens,
                max_model_len: self.max_model_len,
            });
        }
        Ok(())
    }
}

/// Why a scheduler can't be made with these settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No sequence could ever run.
    #[error("--max-num-seqs is 0: give at least 1")]
    NoSequences,
    /// A prompt of one token would leave no room for an answer.
    #[error("--max-model-len is {max_model_len}: give at least 2, one token of prompt and one of output")]
    NoRoomForOutput {
        /// As asked.
        max_model_len: u32,
    },
    /// Some running sequences would not advance in a step.
    #[error(
        "--max-num-batched-tokens ({max_num_batched_tokens}) is below --max-num-seqs ({max_num_seqs}): \
         each running sequence takes at least one token a step; raise the former or lower the latter"
    )]
    BudgetBelowSequences {
        /// As asked.
        max_num_batched_tokens: u32,
        /// As asked.
        max_num_seqs: u32,
    },
    /// Some running sequences would get no logits in a step.
    #[error(
        "a step gives logits of {max_num_logits} tokens, below --max-num-seqs ({max_num_seqs}): each running sequence \
         takes one; lower --max-num-seqs"
    )]
    LogitsBelowSequences {
        /// As set up.
        max_num_logits: u32,
        /// As asked.
        max_num_seqs: u32,
    },
    /// A long prompt could never be computed at once.
    #[error(
        "without chunked prefill a prompt is computed in one step, but --max-num-batched-tokens \
         ({max_num_batched_tokens}) is below --max-model-len ({max_model_len}): raise the former, lower the latter, \
         or drop --no-enable-chunked-prefill"
    )]
    BudgetBelowPrompt {
        /// As asked.
        max_num_batched_tokens: u32,
        /// As asked.
        max_model_len: u32,
    },
    /// The cache can't be.
    #[error(transparent)]
    Cache(#[from] CacheConfigError),
}
