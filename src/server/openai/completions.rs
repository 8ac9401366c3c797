//! `/v1/completions`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::{Head, logprobs};
use crate::engine::Wanted;
use crate::format::tokenizer::{Specials, Tokenizer};
use crate::sample::Choice;
use crate::server::app::App;
use crate::server::body;
use crate::server::caps::Cap;
use crate::server::error::ApiError;
use crate::server::reply::{Answer, Frames, Shape, reply};
use crate::server::request::fields::Refused;
use crate::server::request::prompt::{self, Prompt};
use crate::server::request::{Generation, ServiceFields, Told, UNSUPPORTED, sampling, set_logprobs};
use crate::server::running::{Ended, Usage};

/// OpenAI's default here.
const MAX_TOKENS: u32 = 16;

const REFUSED: &[Refused] = &[
    Refused { name: "suffix", neutral: &["\"\""], why: "filling in the middle is not served: leave it out" },
    Refused { name: "max_completion_tokens", neutral: &[], why: "it is of chat: use max_tokens" },
    Refused { name: "top_logprobs", neutral: &["0"], why: "it is of chat: say the number in logprobs" },
    Refused {
        name: "add_special_tokens",
        neutral: &["true"],
        why: "a text begins as the model's prompts do: send token ids to choose",
    },
];

/// Continues prompts.
///
/// # Errors
/// When the request can't be served.
pub async fn handle(State(app): State<Arc<App>>, body: Body) -> Result<Response, ApiError> {
    let mut fields = body::fields(body, &app.caps).await?;
    let service = ServiceFields::read(&mut fields, &app)?;
    let raw = prompt::read(&mut fields, "prompt", Cap::Answers, &app.caps)?;
    let names = ["max_tokens", "n_predict"];
    let (name, most) = (fields.used(&names), fields.take_any(&names)?.or(Some(MAX_TOKENS)));
    let echo = fields.take("echo")?.unwrap_or(false);
    // Nothing but the prompt is asked for: programs that score texts do so.
    let silent = echo && most == Some(0);
    let most = if silent { Some(1) } else { most };
    let mut params = sampling::read(&mut fields, &app.caps, app.model.vocab, most)
        .map_err(|error| error.renamed("max_tokens", name))?;
    let listed = fields.take("logprobs")?;
    set_logprobs(&mut params, &app.caps, "logprobs", listed)?;
    if silent && params.choices() > 1 {
        return Err(ApiError::field("n", "without a token to generate there is one answer: expected 1"));
    }
    let wanted = match listed {
        _ if silent => Wanted::Prompt(listed.unwrap_or(0)),
        Some(listed) if echo => Wanted::PromptAndText(listed),
        _ => Wanted::Text,
    };
    fields.refuse(UNSUPPORTED)?;
    fields.refuse(REFUSED)?;
    app.ignore_neutral(&mut fields)?;
    fields.finish(app.unknown)?;
    let prompts = prompt::encode(&app, raw).await?;
    if echo && listed.is_some() {
        for prompt in &prompts {
            app.caps.check(Cap::PromptLogprobs, "prompt", prompt.ids.len())?;
        }
    }
    let tokenizer = app.model.tokenizer.clone();
    let shape = Completions {
        head: Head::new("cmpl", service.model.clone()),
        echoes: if echo { echoes(&tokenizer, &prompts, params.n as usize) } else { Vec::new() },
        tokenizer,
        logprobs: listed.is_some(),
        offsets: vec![0; prompts.len() * params.n as usize],
        told: Told::new(service.usage),
        stops: params.stop.clone(),
    };
    reply(&app, Generation { prompts, params, wanted, service }, shape).await
}

/// For each answer the text of its prompt.
fn echoes(tokenizer: &Tokenizer, prompts: &[Prompt], per_prompt: usize) -> Vec<String> {
    let text = |p: &Prompt| match &p.text {
        Some(text) => text.clone(),
        // Ids beyond the vocabulary are refused by the engine, before this is shown.
        None => tokenizer.decode(&p.ids, Specials::Show).unwrap_or_default(),
    };
    prompts.iter().flat_map(|p| std::iter::repeat_n(text(p), per_prompt)).collect()
}

struct Completions {
    head: Head,
    tokenizer: Arc<Tokenizer>,
    /// For each answer what it begins with; empty without `echo`.
    echoes: Vec<String>,
    logprobs: bool,
    /// Where each answer's next token begins.
    offsets: Vec<usize>,
    told: Told,
    stops: Vec<String>,
}

impl Completions {
    fn object(&self, choices: Value) -> Value {
        let Head { id, created, model } = &self.head;
        json!({"id": id, "object": "text_completion", "created": created, "model": model, "choices": choices})
    }

    fn chunk(&self, choice: usize, text: &str, logprobs: Value, reason: Option<&str>) -> Value {
        let mut chunk = self.object(json!([
            {"index": choice, "text": text, "logprobs": logprobs, "finish_reason": reason}
        ]));
        self.told.put(&mut chunk);
        chunk
    }
}

impl Shape for Completions {
    fn whole(&self, answers: Vec<Answer>, usage: Usage) -> Value {
        let choices = answers.iter().enumerate().map(|(index, a)| {
            let echo = self.echoes.get(index).map_or("", String::as_str);
            let logprobs = self.logprobs.then(|| {
                let mut offset = 0;
                let prompt = logprobs::echoed(&self.tokenizer, &a.prompt, echo, &mut offset);
                let own = logprobs::completions(&self.tokenizer, &a.tokens, &mut offset);
                logprobs::joined(prompt, &own)
            });
            json!({
                "index": index,
                "text": format!("{echo}{}", a.text),
                "logprobs": logprobs,
                "finish_reason": a.ended.reason(),
                "stop_reason": a.ended.stop_reason(&self.stops),
            })
        });
        let mut body = self.object(choices.collect());
        body["usage"] = usage.body();
        body["timings"] = answers.first().map(|a| a.ended.timings()).into();
        body
    }

    fn begin(&mut self, _: usize, usage: Usage, out: &mut Frames) {
        self.told.begin(usage);
        // With log-probabilities they come when these are known.
        for (choice, echo) in self.echoes.iter().enumerate().filter(|_| !self.logprobs) {
            out.data(&self.chunk(choice, echo, Value::Null, None));
        }
    }

    fn prompt(&mut self, choice: usize, tokens: &[Choice], out: &mut Frames) {
        if self.logprobs
            && let Some(echo) = self.echoes.get(choice)
        {
            let listed = logprobs::echoed(&self.tokenizer, tokens, echo, &mut self.offsets[choice]);
            out.data(&self.chunk(choice, echo, listed, None));
        }
    }

    fn piece(&mut self, choice: usize, text: String, token: Option<Choice>, out: &mut Frames) {
        self.told.add(usize::from(token.is_some()));
        if text.is_empty() && !self.logprobs {
            return;
        }
        let tokens: Vec<Choice> = token.into_iter().collect();
        let mut offset = self.offsets[choice];
        let listed = self.logprobs && !tokens.is_empty();
        let logprobs = listed.then(|| logprobs::completions(&self.tokenizer, &tokens, &mut offset)).into();
        self.offsets[choice] = offset;
        out.data(&self.chunk(choice, &text, logprobs, None));
    }

    fn end(&mut self, choice: usize, ended: &Ended, out: &mut Frames) {
        let mut chunk = self.chunk(choice, "", Value::Null, Some(ended.reason()));
        chunk["choices"][0]["stop_reason"] = ended.stop_reason(&self.stops);
        chunk["timings"] = ended.timings();
        out.data(&chunk);
    }

    fn done(&mut self, usage: Usage, out: &mut Frames) {
        if let Some(used) = self.told.end(usage) {
            let mut chunk = self.object(json!([]));
            chunk["usage"] = used;
            out.data(&chunk);
        }
        out.raw("[DONE]");
    }
}
