//! From a row of logits to a token, on the CPU: parameters, processing, the draw, stop strings.
//!
//! The order of operations is vLLM's (`vllm/v1/sample/sampler.py`): logit bias and the `min_tokens` mask,
//! repetition, frequency and presence penalties, temperature, min-p, top-k, top-p, the draw.

mod candidates;
mod error;
mod history;
mod logprobs;
mod params;
mod sampler;
mod stop;

pub use candidates::Candidates;
pub use error::{ParamError, SampleError};
pub use history::{History, Seen};
pub use logprobs::{log_softmax_top, observed};
pub use params::{End, Needs, SamplingParams};
pub use sampler::{Choice, Sampler};
pub use stop::{StopMatcher, StopText};
