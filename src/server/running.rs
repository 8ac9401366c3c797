//! A generation that runs: the engine's events as updates of its answers.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::app::App;
use super::error::ApiError;
use super::request::Generation;
use crate::engine::service::Delivery;
use crate::engine::{Event, Finish, FinishedRequest, GenerationRequest, PromptOutput, StopCause};
use crate::sample::Choice;

/// How many events of an answer a client may be behind before its request is aborted, and how many of all
/// answers together: each may list alternatives, and what waits unread is memory.
const BEHIND: [usize; 2] = [1024, 16 << 10];

/// Tokens used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Of all prompts.
    pub prompt: usize,
    /// Of all answers, those that `best_of` dropped included.
    pub completion: usize,
    /// Of the prompts, found in the prefix cache; known at the end.
    pub cached: usize,
}

impl Usage {
    /// OpenAI's shape.
    pub fn body(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        })
    }
}

/// How one answer ended.
#[derive(Clone, Debug)]
pub struct Ended(pub FinishedRequest);

impl Ended {
    /// OpenAI's `finish_reason`.
    pub fn reason(&self) -> &'static str {
        match self.0.finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Error(_) => "error",
        }
    }

    /// vLLM's `stop_reason`: the stop string or token of the request that ended it.
    pub fn stop_reason(&self, stops: &[String]) -> Value {
        match self.0.stop {
            Some(StopCause::Text(at)) => stops.get(at).cloned().into(),
            Some(StopCause::Token(id)) => id.into(),
            Some(StopCause::Eos) | None => Value::Null,
        }
    }

    /// llama.cpp's `timings`, with the times of queueing and of the first token beside them.
    pub fn timings(&self) -> Value {
        let t = &self.0.timings;
        let ms = |d: std::time::Duration| d.as_secs_f64() * 1e3;
        let (prompt_ms, predicted_ms) = (ms(t.prefill()), ms(t.decode()));
        let each = |total: f64, n: usize| if n > 0 { total / n as f64 } else { 0.0 };
        let rate = |n: usize, total: f64| if total > 0.0 { n as f64 / total * 1e3 } else { 0.0 };
        // Cached tokens are not computed; and the first token comes with the prompt, not by decoding.
        let computed = self.0.prompt_tokens.saturating_sub(self.0.cached_tokens);
        let decoded = self.0.output_tokens.saturating_sub(1);
        json!({
            "cache_n": self.0.cached_tokens,
            "prompt_n": computed,
            "prompt_ms": prompt_ms,
            "prompt_per_token_ms": each(prompt_ms, computed),
            "prompt_per_second": rate(computed, prompt_ms),
            "predicted_n": self.0.output_tokens,
            "predicted_ms": predicted_ms,
            "predicted_per_token_ms": each(predicted_ms, decoded),
            "predicted_per_second": rate(decoded, predicted_ms),
            "queue_ms": ms(t.queued),
            "ttft_ms": ms(t.first_token),
            "total_ms": ms(t.total),
        })
    }
}

/// What happened to an answer.
#[derive(Clone, Debug)]
pub enum Update {
    /// A prompt's tokens with their log-probabilities, before its first answer grows.
    Prompt {
        /// Which prompt.
        part: usize,
        /// Its tokens.
        tokens: Vec<Choice>,
    },
    /// It grew.
    Piece {
        /// Which answer.
        choice: usize,
        /// Text, whole characters only; perhaps none yet.
        text: String,
        /// The token, unless held-back text came out at the end.
        token: Option<Choice>,
    },
    /// It is complete.
    End {
        /// Which answer.
        choice: usize,
        /// How.
        ended: Ended,
    },
}

/// A generation in the engine. Dropping it aborts what is left.
#[derive(Debug)]
pub struct Running {
    inbox: mpsc::Receiver<Delivery>,
    open: usize,
    per_prompt: usize,
    held: Option<Update>,
    /// Tokens used so far.
    pub usage: Usage,
}

impl Running {
    /// Hands a generation to the engine.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn start(app: &Arc<App>, generation: &Generation) -> Result<Self, ApiError> {
        let per_prompt = generation.params.n as usize;
        let answers = generation.prompts.len() * per_prompt;
        // Whole answers are gathered here and keep up; with best_of they come in one piece.
        let behind = if generation.service.stream {
            (BEHIND[0] * answers).min(BEHIND[1])
        } else {
            (app.model.context + 3) * answers
        };
        let (sink, inbox) = mpsc::channel(behind);
        let requests = generation.prompts.iter().map(|prompt| {
            let mut request = GenerationRequest::new(prompt.ids.clone(), generation.params.clone());
            request.wanted = generation.wanted;
            request.priority = generation.service.priority;
            request.cache_salt.clone_from(&generation.service.salt);
            request
        });
        app.service.submit(requests.collect(), sink).await?;
        let usage =
            Usage { prompt: generation.prompts.iter().map(|p| p.ids.len()).sum(), ..Usage::default() };
        Ok(Self { inbox, open: answers, per_prompt, held: None, usage })
    }

    /// The next update; `None` once every answer has ended.
    ///
    /// # Errors
    /// When the engine could not go on, or shut down meanwhile.
    pub async fn next(&mut self) -> Result<Option<Update>, ApiError> {
        if let Some(update) = self.held.take() {
            return Ok(Some(update));
        }
        if self.open == 0 {
            return Ok(None);
        }
        let cut = |why: &str| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why);
        match self.inbox.recv().await {
            Some(Delivery::Event { part, event }) => self.update(part, event).map(Some),
            Some(Delivery::Failed(why)) => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, why)),
            None => Err(cut("the answer was cut off: the server shuts down, or its client did not read")),
        }
    }

    /// Whether the next update is there already.
    pub fn is_ready(&self) -> bool {
        self.held.is_some() || !self.inbox.is_empty()
    }

    fn update(&mut self, part: usize, event: Event) -> Result<Update, ApiError> {
        let place = |index: u32| part * self.per_prompt + index as usize;
        match event {
            Event::Prompt { output: PromptOutput::Logprobs(tokens), .. } => {
                Ok(Update::Prompt { part, tokens })
            }
            Event::Prompt { output: PromptOutput::Embedding(_), .. } => Err(ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "a vector came where text was asked for",
            )),
            Event::Token { index, choice: token, text, .. } => {
                self.usage.completion += 1;
                Ok(Update::Piece { choice: place(index), text, token: Some(token) })
            }
            Event::Finished { index, text, result, .. } => {
                let choice = place(index);
                self.open -= 1;
                if let Finish::Error(why) = result.finish {
                    return Err(ApiError::engine(why));
                }
                self.usage.completion += result.dropped_tokens;
                self.usage.cached += if index == 0 { result.cached_tokens } else { 0 };
                let end = Update::End { choice, ended: Ended(result) };
                if text.is_empty() {
                    return Ok(end);
                }
                self.held = Some(end);
                Ok(Update::Piece { choice, text, token: None })
            }
        }
    }
}
