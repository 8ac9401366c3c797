//! `/v1/chat/completions`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::{Head, logprobs};
use crate::engine::Wanted;
use crate::format::{Ending, Tokenizer};
use crate::sample::Choice;
use crate::server::app::App;
use crate::server::body;
use crate::server::error::ApiError;
use crate::server::reply::{Answer, Frames, Shape, reply};
use crate::server::request::fields::Refused;
use crate::server::request::prompt::{self, Raw};
use crate::server::request::{
    CONVERSATION, Generation, ServiceFields, Told, UNSUPPORTED, sampling, set_logprobs,
};
use crate::server::running::{Ended, Usage};

/// What chat alone can't honour.
const REFUSED: &[Refused] = &[
    Refused { name: "functions", neutral: &["[]"], why: "tools are not served" },
    Refused { name: "tool_choice", neutral: &["\"none\"", "\"auto\""], why: "tools are not served" },
    Refused { name: "function_call", neutral: &["\"none\"", "\"auto\""], why: "tools are not served" },
    Refused { name: "modalities", neutral: &["[\"text\"]", "[]"], why: "only text is served" },
    Refused { name: "audio", neutral: &[], why: "only text is served" },
    Refused { name: "web_search_options", neutral: &[], why: "nothing is fetched on a client's behalf" },
    Refused {
        name: "add_special_tokens",
        neutral: &["false"],
        why: "the model's template says what a conversation begins with",
    },
    Refused { name: "echo", neutral: &["false"], why: "it is not served for chat: use /v1/completions" },
];

/// Answers a conversation.
///
/// # Errors
/// When the request can't be served.
pub async fn handle(State(app): State<Arc<App>>, body: Body) -> Result<Response, ApiError> {
    let mut fields = body::fields(body, &app.caps).await?;
    let service = ServiceFields::read(&mut fields, &app)?;
    let messages = prompt::messages(&mut fields, &app.caps)?;
    let names = ["max_completion_tokens", "max_tokens"];
    let (name, most) = (fields.used(&names), fields.take_any(&names)?);
    let mut params = sampling::read(&mut fields, &app.caps, app.model.vocab, most)
        .map_err(|error| error.renamed("max_tokens", name))?;
    let wanted: bool = fields.take("logprobs")?.unwrap_or(false);
    let listed: Option<u32> = fields.take("top_logprobs")?;
    if listed.is_some_and(|n| n > 0) && !wanted {
        return Err(ApiError::field("top_logprobs", "it has no meaning without \"logprobs\": true"));
    }
    set_logprobs(&mut params, &app.caps, "top_logprobs", wanted.then(|| listed.unwrap_or(0)))?;
    let ending = match fields.take("add_generation_prompt")? {
        Some(false) => Ending::Closed,
        _ => Ending::Answer,
    };
    fields.refuse(UNSUPPORTED)?;
    fields.refuse(CONVERSATION)?;
    fields.refuse(REFUSED)?;
    app.ignore_neutral(&mut fields)?;
    fields.ignore(&["store", "parallel_tool_calls"]);
    fields.finish(app.unknown)?;
    let prompts = prompt::encode(&app, vec![Raw::Chat(messages, ending)]).await;
    let prompts = prompts.map_err(|error| error.renamed("prompt", "messages"))?;
    let shape = Chat {
        head: Head::new("chatcmpl", service.model.clone()),
        tokenizer: app.model.tokenizer.clone(),
        logprobs: wanted,
        told: Told::new(service.usage),
        stops: params.stop.clone(),
    };
    let answer = reply(&app, Generation { prompts, params, wanted: Wanted::Text, service }, shape).await;
    answer.map_err(|error| error.renamed("prompt", "messages"))
}

struct Chat {
    head: Head,
    tokenizer: Arc<Tokenizer>,
    logprobs: bool,
    told: Told,
    stops: Vec<String>,
}

impl Chat {
    fn object(&self, kind: &str) -> Value {
        let Head { id, created, model } = &self.head;
        json!({"id": id, "object": kind, "created": created, "model": model})
    }

    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = self.object("chat.completion.chunk");
        chunk["choices"] = choices;
        self.told.put(&mut chunk);
        chunk
    }

    fn delta(&self, choice: usize, delta: Value, logprobs: Value, reason: Option<&str>) -> Value {
        self.chunk(json!([
            {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        ]))
    }
}

impl Shape for Chat {
    fn whole(&self, answers: Vec<Answer>, usage: Usage) -> Value {
        let mut body = self.object("chat.completion");
        let choices = answers.iter().enumerate().map(|(index, a)| {
            json!({
                "index": index,
                "message": {"role": "assistant", "content": a.text, "refusal": null},
                "logprobs": self.logprobs.then(|| logprobs::chat(&self.tokenizer, &a.tokens)),
                "finish_reason": a.ended.reason(),
                "stop_reason": a.ended.stop_reason(&self.stops),
            })
        });
        body["choices"] = choices.collect();
        body["usage"] = usage.body();
        body["timings"] = answers.first().map(|a| a.ended.timings()).into();
        body
    }

    fn begin(&mut self, answers: usize, usage: Usage, out: &mut Frames) {
        self.told.begin(usage);
        for choice in 0..answers {
            let delta = json!({"role": "assistant", "content": ""});
            out.data(&self.delta(choice, delta, Value::Null, None));
        }
    }

    fn piece(&mut self, choice: usize, text: String, token: Option<Choice>, out: &mut Frames) {
        self.told.add(usize::from(token.is_some()));
        if text.is_empty() && !self.logprobs {
            return;
        }
        let tokens: Vec<Choice> = token.into_iter().collect();
        let listed = self.logprobs && !tokens.is_empty();
        let logprobs = listed.then(|| logprobs::chat(&self.tokenizer, &tokens)).into();
        out.data(&self.delta(choice, json!({"content": text}), logprobs, None));
    }

    fn end(&mut self, choice: usize, ended: &Ended, out: &mut Frames) {
        let mut chunk = self.delta(choice, json!({}), Value::Null, Some(ended.reason()));
        chunk["choices"][0]["stop_reason"] = ended.stop_reason(&self.stops);
        chunk["timings"] = ended.timings();
        out.data(&chunk);
    }

    fn done(&mut self, usage: Usage, out: &mut Frames) {
        if let Some(used) = self.told.end(usage) {
            let mut chunk = self.chunk(json!([]));
            chunk["usage"] = used;
            out.data(&chunk);
        }
        out.raw("[DONE]");
    }
}
