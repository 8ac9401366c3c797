//! What can be wrong with a request's parameters or with a row of logits.

use thiserror::Error;

/// A sampling parameter outside its legal range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} is {value}: expected {expected}")]
pub struct ParamError {
    /// The field's name as a client spells it.
    pub field: &'static str,
    /// The value that was found.
    pub value: String,
    /// The legal range in words.
    pub expected: String,
}

/// A row of logits from which no token can be drawn; the request that owns it fails, the step goes on.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SampleError {
    /// The row holds no logit at all.
    #[error("the row of logits is empty: expected one logit for each token of the vocabulary")]
    Empty,
    /// A logit is NaN or +inf.
    #[error(
        "the logit of token {id} is {value}: expected a finite number or -inf; \
         the model's weights or a kernel are at fault (`ridgepoint doctor` checks the kernels)"
    )]
    NotFinite {
        /// The first token with such a logit.
        id: u32,
        /// NaN or +inf.
        value: f32,
    },
    /// Every logit is -inf.
    #[error(
        "every logit is -inf: expected at least one token that may be drawn; \
         min_tokens with stop_token_ids (or a mask) excludes the whole vocabulary"
    )]
    AllMasked,
    /// A penalty took a finite logit out of f32's range.
    #[error(
        "the logit of token {id} is {value} after logit_bias and penalties: expected a finite number or -inf; \
         bring repetition_penalty ({repetition_penalty}) closer to 1"
    )]
    Overflow {
        /// The first token with such a logit.
        id: u32,
        /// NaN or +inf.
        value: f32,
        /// The parameter that can do this.
        repetition_penalty: f32,
    },
    /// The candidate list is no list of the largest logits of a row.
    #[error("the candidate list is malformed: {0}")]
    Candidates(String),
}
