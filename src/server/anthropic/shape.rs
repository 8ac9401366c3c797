//! Answers in Anthropic's shape: one message with one block of text.

use serde_json::{Value, json};

use super::error_body;
use crate::engine::{Finish, StopCause};
use crate::sample::Choice;
use crate::server::error::ApiError;
use crate::server::reply::{Answer, Frames, Shape};
use crate::server::running::{Ended, Usage};

/// A message on its way out.
#[derive(Debug)]
pub struct Messages {
    id: String,
    model: String,
    stops: Vec<String>,
    /// How the answer ended.
    end: Value,
}

impl Messages {
    /// The answer of this id, with the request's stop strings.
    pub fn new(id: String, model: String, stops: Vec<String>) -> Self {
        Self { id, model, stops, end: Value::Null }
    }

    fn message(&self, content: Value, usage: Usage) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": null,
            "stop_sequence": null,
            "usage": used(usage),
        })
    }

    fn reasons(&self, ended: &Ended) -> Value {
        let at = match ended.0.stop {
            Some(StopCause::Text(at)) => self.stops.get(at),
            _ => None,
        };
        let reason = match (&ended.0.finish, at) {
            (Finish::Length, _) => "max_tokens",
            (_, Some(_)) => "stop_sequence",
            (_, None) => "end_turn",
        };
        json!({"stop_reason": reason, "stop_sequence": at})
    }
}

/// Tokens that the cache had are told apart from those that were computed.
fn used(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt - usage.cached.min(usage.prompt),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.completion,
    })
}

impl Shape for Messages {
    fn whole(&self, answers: Vec<Answer>, usage: Usage) -> Value {
        let text: String = answers.iter().map(|a| a.text.as_str()).collect();
        let mut body = self.message(json!([{"type": "text", "text": text}]), usage);
        if let Some(answer) = answers.first() {
            let reasons = self.reasons(&answer.ended);
            body["stop_reason"] = reasons["stop_reason"].clone();
            body["stop_sequence"] = reasons["stop_sequence"].clone();
            body["timings"] = answer.ended.timings();
        }
        body
    }

    fn begin(&mut self, _: usize, usage: Usage, out: &mut Frames) {
        out.event(
            "message_start",
            &json!({"type": "message_start", "message": self.message(json!([]), usage)}),
        );
        let block = json!({"type": "text", "text": ""});
        out.event(
            "content_block_start",
            &json!({"type": "content_block_start", "index": 0, "content_block": block}),
        );
    }

    fn piece(&mut self, _: usize, text: String, _: Option<Choice>, out: &mut Frames) {
        if !text.is_empty() {
            let delta = json!({"type": "text_delta", "text": text});
            out.event(
                "content_block_delta",
                &json!({"type": "content_block_delta", "index": 0, "delta": delta}),
            );
        }
    }

    fn end(&mut self, _: usize, ended: &Ended, out: &mut Frames) {
        self.end = self.reasons(ended);
        out.event("content_block_stop", &json!({"type": "content_block_stop", "index": 0}));
    }

    fn done(&mut self, usage: Usage, out: &mut Frames) {
        let delta = json!({"type": "message_delta", "delta": self.end, "usage": used(usage)});
        out.event("message_delta", &delta);
        out.event("message_stop", &json!({"type": "message_stop"}));
    }

    fn failed(&self, error: &ApiError, out: &mut Frames) {
        out.event("error", &error_body(error));
    }
}
