//! `/v1/responses`, stateless: nothing is stored, each request carries its whole conversation.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::Head;
use crate::engine::Finish;
use crate::engine::Wanted;
use crate::format::{Ending, Message};
use crate::sample::Choice;
use crate::server::app::App;
use crate::server::body;
use crate::server::caps::{Cap, Caps};
use crate::server::error::ApiError;
use crate::server::reply::{Answer, Frames, Shape, reply};
use crate::server::request::fields::{Fields, Refused};
use crate::server::request::prompt::{self, ROLES, Raw, text_of};
use crate::server::request::{FORMAT, Generation, ServiceFields, UNSUPPORTED, VERBOSITY, sampling};
use crate::server::running::{Ended, Usage};

const REFUSED: &[Refused] = &[
    Refused { name: "tools", neutral: &["[]"], why: "tools are not served" },
    Refused { name: "tool_choice", neutral: &["\"none\"", "\"auto\""], why: "tools are not served" },
    Refused { name: "previous_response_id", neutral: &[], why: "nothing is stored: send the conversation" },
    Refused { name: "conversation", neutral: &[], why: "nothing is stored: send the conversation" },
    Refused {
        name: "background",
        neutral: &["false"],
        why: "nothing is stored: wait for the answer, or stream it",
    },
    Refused { name: "prompt", neutral: &[], why: "no prompts are stored: use input and instructions" },
    Refused { name: "store", neutral: &["false"], why: "nothing is stored: leave it out, or send false" },
    Refused { name: "truncation", neutral: &["\"disabled\""], why: "send what is to be read" },
    Refused { name: "include", neutral: &["[]"], why: "nothing more is there to include" },
    Refused { name: "top_logprobs", neutral: &["0"], why: "it is not served: ask /v1/chat/completions" },
    Refused { name: "max_tool_calls", neutral: &[], why: "tools are not served" },
];

/// Answers a conversation.
///
/// # Errors
/// When the request can't be served.
pub async fn handle(State(app): State<Arc<App>>, body: Body) -> Result<Response, ApiError> {
    let mut fields = body::fields(body, &app.caps).await?;
    let service = ServiceFields::read(&mut fields, &app)?;
    let asked = fields.copied(&["instructions", "metadata", "temperature", "top_p", "max_output_tokens"]);
    if !asked["metadata"].is_null() && !asked["metadata"].is_object() {
        return Err(ApiError::field("metadata", "expected an object"));
    }
    let messages = conversation(&mut fields, &app.caps)?;
    let most = fields.take("max_output_tokens")?;
    let params = sampling::read(&mut fields, &app.caps, app.model.vocab, most)
        .map_err(|error| error.renamed("max_tokens", "max_output_tokens"))?;
    if params.n != 1 {
        return Err(ApiError::field("n", "a response is one answer: leave it out"));
    }
    fields.refuse(UNSUPPORTED)?;
    fields.refuse(REFUSED)?;
    app.ignore_neutral(&mut fields)?;
    fields.ignore(&["parallel_tool_calls"]);
    if let Some(text) = fields.take("text")? {
        let mut text = Fields::nested(text, "text".into())?;
        text.refuse(&[FORMAT, VERBOSITY])?;
        text.finish(app.unknown)?;
    }
    fields.finish(app.unknown)?;
    let prompts = prompt::encode(&app, vec![Raw::Chat(messages, Ending::Answer)]).await;
    let input = |error: ApiError| error.renamed("prompt", "input").renamed("messages", "input");
    let prompts = prompts.map_err(input)?;
    let head = Head::new("resp", service.model.clone());
    let item = format!("msg_{}", super::token());
    let shape = Responses { head, asked, item, sequence: 0, text: String::new(), end: None };
    reply(&app, Generation { prompts, params, wanted: Wanted::Text, service }, shape).await.map_err(input)
}

/// `instructions` and `input` as a conversation.
fn conversation(fields: &mut Fields, caps: &Caps) -> Result<Vec<Message>, ApiError> {
    let instructions: Option<String> = fields.take("instructions")?;
    let mut found: Vec<Message> = instructions.into_iter().map(|text| Message::new("system", text)).collect();
    match fields.require::<Value>("input", "a string or a list of messages")? {
        Value::String(text) => found.push(Message::new("user", text)),
        Value::Array(items) => {
            caps.check(Cap::Messages, "input", items.len())?;
            for (i, item) in items.into_iter().enumerate() {
                let mut item = Fields::nested(item, format!("input[{i}]"))?;
                let kind: Option<String> = item.take("type")?;
                if kind.is_some_and(|kind| kind != "message") {
                    return Err(ApiError::field(item.name("type"), "expected message: tools are not served"));
                }
                let role: String = item.require("role", ROLES)?;
                let role = match role.as_str() {
                    "system" | "developer" => "system",
                    "user" | "assistant" => role.as_str(),
                    _ => return Err(ApiError::found(item.name("role"), &role.into(), ROLES)),
                };
                let name = item.name("content");
                let content: Value = item.require("content", "a string or a list of parts")?;
                found.push(Message::new(role, text_of(content, &name, fields)?));
                // An answer's items have them, and come back as they are.
                item.ignore(&["id", "status"]);
                fields.keep_rest(item);
            }
        }
        other => return Err(ApiError::found("input", &other, "a string or a list of messages")),
    }
    if !found.iter().any(|m| m.role != "system") {
        return Err(ApiError::field("input", "found no message: expected at least one"));
    }
    caps.check(Cap::PromptBytes, "input", found.iter().map(|m| m.content.len()).sum())?;
    Ok(found)
}

const INCOMPLETE: &str = "incomplete";

/// Of a response and of its item.
fn status(ended: Option<&Ended>) -> &'static str {
    match ended.map(|ended| &ended.0.finish) {
        None => "in_progress",
        Some(Finish::Length) => INCOMPLETE,
        Some(Finish::Stop | Finish::Error(_)) => "completed",
    }
}

#[derive(Debug)]
struct Responses {
    head: Head,
    /// Fields of the request that an answer repeats.
    asked: Map<String, Value>,
    /// The id of the one item of output.
    item: String,
    sequence: u64,
    text: String,
    end: Option<Ended>,
}

impl Responses {
    fn part(&self, text: &str) -> Value {
        json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
    }

    /// The item of an answer that is over.
    fn ended(&self, ended: Option<&Ended>, text: &str) -> Value {
        self.output(status(ended), vec![self.part(text)])
    }

    fn output(&self, status: &str, content: Vec<Value>) -> Value {
        json!({"id": self.item, "type": "message", "role": "assistant", "status": status, "content": content})
    }

    fn response(&self, ended: Option<&Ended>, output: Vec<Value>, usage: Option<Usage>) -> Value {
        let status = status(ended);
        let mut response = json!({
            "id": self.head.id,
            "object": "response",
            "created_at": self.head.created,
            "model": self.head.model,
            "status": status,
            "incomplete_details": (status == INCOMPLETE).then(|| json!({"reason": "max_output_tokens"})),
            "error": null,
            "output": output,
            "parallel_tool_calls": false,
            "previous_response_id": null,
            "store": false,
            "tool_choice": "none",
            "tools": [],
            "usage": usage.map(|u| json!({
                "input_tokens": u.prompt,
                "input_tokens_details": {"cached_tokens": u.cached},
                "output_tokens": u.completion,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": u.prompt + u.completion,
            })),
            "timings": ended.map(Ended::timings),
        });
        for (name, value) in &self.asked {
            response[name] = value.clone();
        }
        if response["metadata"].is_null() {
            response["metadata"] = json!({});
        }
        response
    }

    fn send(&mut self, kind: &str, mut body: Value, out: &mut Frames) {
        body["type"] = kind.into();
        body["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        out.event(kind, &body);
    }

    /// Where in the response something happens.
    fn place(&self) -> Value {
        json!({"item_id": self.item, "output_index": 0, "content_index": 0})
    }
}

impl Shape for Responses {
    fn whole(&self, answers: Vec<Answer>, usage: Usage) -> Value {
        let text: String = answers.iter().map(|a| a.text.as_str()).collect();
        let ended = answers.first().map(|a| &a.ended);
        self.response(ended, vec![self.ended(ended, &text)], Some(usage))
    }

    fn begin(&mut self, _: usize, _: Usage, out: &mut Frames) {
        for kind in ["response.created", "response.in_progress"] {
            let response = self.response(None, Vec::new(), None);
            self.send(kind, json!({"response": response}), out);
        }
        let item = self.output("in_progress", Vec::new());
        self.send("response.output_item.added", json!({"output_index": 0, "item": item}), out);
        let mut body = self.place();
        body["part"] = self.part("");
        self.send("response.content_part.added", body, out);
    }

    fn piece(&mut self, _: usize, text: String, _: Option<Choice>, out: &mut Frames) {
        if text.is_empty() {
            return;
        }
        self.text.push_str(&text);
        let mut body = self.place();
        body["delta"] = text.into();
        body["logprobs"] = json!([]);
        self.send("response.output_text.delta", body, out);
    }

    fn end(&mut self, _: usize, ended: &Ended, out: &mut Frames) {
        self.end = Some(ended.clone());
        let mut body = self.place();
        body["text"] = self.text.clone().into();
        body["logprobs"] = json!([]);
        self.send("response.output_text.done", body, out);
        let mut body = self.place();
        body["part"] = self.part(&self.text);
        self.send("response.content_part.done", body, out);
        let item = self.ended(Some(ended), &self.text);
        self.send("response.output_item.done", json!({"output_index": 0, "item": item}), out);
    }

    fn done(&mut self, usage: Usage, out: &mut Frames) {
        let ended = self.end.as_ref();
        let response = self.response(ended, vec![self.ended(ended, &self.text)], Some(usage));
        let kind = if status(ended) == INCOMPLETE { "response.incomplete" } else { "response.completed" };
        self.send(kind, json!({"response": response}), out);
    }

    fn failed(&self, error: &ApiError, out: &mut Frames) {
        let body = json!({
            "type": "error",
            "sequence_number": self.sequence,
            "code": error.kind(),
            "message": error.message,
            "param": error.param,
        });
        out.event("error", &body);
    }
}
