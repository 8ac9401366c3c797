//! OpenAI's endpoints.

pub mod chat;
pub mod completions;
pub mod embeddings;
mod logprobs;
pub mod models;
pub mod responses;

use std::time::{SystemTime, UNIX_EPOCH};

/// What every object of a response carries.
#[derive(Clone, Debug)]
struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    fn new(prefix: &str, model: String) -> Self {
        Self { id: format!("{prefix}-{}", token()), created: now(), model }
    }
}

/// Seconds of Unix time.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs())
}

/// A random name of 24 characters.
pub fn token() -> String {
    format!("{:024x}", rand::random::<u128>() >> 32)
}
