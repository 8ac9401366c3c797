//! Prompts: text, token ids, conversations; tokenised off the async threads.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::fields::{Expected, Fields, Refused};
use crate::format::tokenizer::{Special, Tokenizer};
use crate::format::{Ending, Message};
use crate::scheduler::Refusal;
use crate::server::app::App;
use crate::server::caps::{Cap, Caps};
use crate::server::error::ApiError;
use crate::{engine, format};

/// How long rendering and tokenising a request may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Who may speak.
pub const ROLES: &str = "system, developer, user or assistant (tools are not served)";

/// What is to be continued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Its text, if it came as text.
    pub text: Option<String>,
}

/// A prompt as it comes in.
#[derive(Clone, Debug)]
pub enum Raw {
    /// Text, in which nothing becomes a special token.
    Text(String),
    /// Token ids.
    Ids(Vec<u32>),
    /// A conversation, to be rendered by the model's template.
    Chat(Vec<Message>, Ending),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Field {
    One(Item),
    Several(Vec<Item>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Text(String),
    Ids(Vec<u32>),
}

impl Expected for Field {
    const EXPECTED: &'static str = "a string, a list of token ids, or a list of either";
}

impl From<Item> for Raw {
    fn from(item: Item) -> Self {
        match item {
            Item::Text(text) => Self::Text(text),
            Item::Ids(ids) => Self::Ids(ids),
        }
    }
}

/// The prompts in a field: one or several, as text or token ids.
///
/// # Errors
/// When there is none, there are more than the cap `most` allows, one is empty, or one is too long.
pub fn read(fields: &mut Fields, name: &str, most: Cap, caps: &Caps) -> Result<Vec<Raw>, ApiError> {
    let field: Field = fields.require(name, Field::EXPECTED)?;
    let prompts: Vec<Raw> = match field {
        // An empty list reads as ids.
        Field::One(item) => vec![item.into()],
        Field::Several(items) => items.into_iter().map(Raw::from).collect(),
    };
    caps.check(most, name, prompts.len())?;
    for prompt in &prompts {
        match prompt {
            Raw::Text(text) => caps.check(Cap::PromptBytes, name, text.len())?,
            Raw::Ids(ids) if ids.is_empty() => {
                return Err(ApiError::field(name, "found no token: expected at least one"));
            }
            Raw::Ids(ids) => caps.check(Cap::PromptTokens, name, ids.len())?,
            Raw::Chat(..) => {}
        }
    }
    Ok(prompts)
}

/// What a message can't bring.
const MESSAGE_REFUSED: &[Refused] = &[
    Refused { name: "tool_calls", neutral: &["[]"], why: "tools are not served" },
    Refused { name: "function_call", neutral: &[], why: "tools are not served" },
];

/// The conversation in `messages`. What nobody knows of a message is left in `fields`.
///
/// # Errors
/// Names the part of it that can't be served.
pub fn messages(fields: &mut Fields, caps: &Caps) -> Result<Vec<Message>, ApiError> {
    let list: Vec<Value> = fields.require("messages", "a list of messages")?;
    if list.is_empty() {
        return Err(ApiError::field("messages", "found no message: expected at least one"));
    }
    caps.check(Cap::Messages, "messages", list.len())?;
    let mut found = Vec::with_capacity(list.len());
    for (i, value) in list.into_iter().enumerate() {
        let mut m = Fields::nested(value, format!("messages[{i}]"))?;
        let role: String = m.require("role", ROLES)?;
        let role = match role.as_str() {
            "system" | "developer" => "system",
            "user" => "user",
            "assistant" => "assistant",
            _ => return Err(ApiError::found(m.name("role"), &role.into(), ROLES)),
        };
        m.refuse(MESSAGE_REFUSED)?;
        let name = m.name("content");
        let content: Value = m.require("content", "a string or a list of text parts")?;
        found.push(Message::new(role, text_of(content, &name, fields)?));
        m.ignore(&["name", "refusal", "reasoning", "reasoning_content", "annotations", "audio"]);
        fields.keep_rest(m);
    }
    caps.check(Cap::PromptBytes, "messages", found.iter().map(|m| m.content.len()).sum())?;
    Ok(found)
}

/// The text of a message's content: a string, or a list of text parts. What nobody knows of a part is
/// left in `fields`.
///
/// # Errors
/// When a part is no text.
pub fn text_of(content: Value, name: &str, fields: &mut Fields) -> Result<String, ApiError> {
    let parts = match content {
        Value::String(text) => return Ok(text),
        Value::Array(parts) => parts,
        other => return Err(ApiError::found(name, &other, "a string or a list of text parts")),
    };
    let mut text = String::new();
    for (i, part) in parts.into_iter().enumerate() {
        let mut part = Fields::nested(part, format!("{name}[{i}]"))?;
        let kind: String = part.require("type", "text")?;
        if !matches!(kind.as_str(), "text" | "input_text" | "output_text") {
            let why = "only parts of type text are served: this server takes no images, audio or files";
            return Err(ApiError::field(part.name("type"), why).code("unsupported"));
        }
        text.push_str(&part.require::<String>("text", "a string")?);
        // An answer's parts have them, and come back as they are.
        part.ignore(&["annotations", "logprobs"]);
        fields.keep_rest(part);
    }
    Ok(text)
}

/// Renders and tokenises, away from the threads that serve connections.
///
/// # Errors
/// When the template refuses the conversation, a text can't be tokenised, or it takes too long.
pub async fn encode(app: &Arc<App>, raw: Vec<Raw>) -> Result<Vec<Prompt>, ApiError> {
    let most = app.model.context;
    within(app, raw, most).await
}

/// The same of a conversation of which only the tokens are wanted, however many.
///
/// # Errors
/// As [`encode`].
pub async fn counted(app: &Arc<App>, messages: Vec<Message>, ending: Ending) -> Result<Vec<u32>, ApiError> {
    let mut prompts = within(app, vec![Raw::Chat(messages, ending)], usize::MAX).await?;
    Ok(prompts.pop().map(|prompt| prompt.ids).unwrap_or_default())
}

async fn within(app: &Arc<App>, raw: Vec<Raw>, most: usize) -> Result<Vec<Prompt>, ApiError> {
    let app = app.clone();
    blocking(move || raw.into_iter().map(|raw| encode_one(&app, raw, most)).collect()).await
}

fn encode_one(app: &App, raw: Raw, most: usize) -> Result<Prompt, ApiError> {
    let tokenizer: &Tokenizer = &app.model.tokenizer;
    let bad = |error: format::Error| match error {
        format::Error::TooManyTokens { fewest, most } => {
            engine::Error::Refused(Refusal::TooLong { asked: fewest as u64, available: most as u32 }).into()
        }
        error => ApiError::field("prompt", error),
    };
    let prompt = match raw {
        Raw::Ids(ids) => match ids.iter().find(|&&id| id as usize >= app.model.vocab) {
            Some(id) => {
                let why = format!("the token id {id} is not below the vocabulary of {}", app.model.vocab);
                return Err(ApiError::field("prompt", why));
            }
            None => Prompt { ids, text: None },
        },
        Raw::Text(text) => {
            tokenizer.allow(&text, most).map_err(bad)?;
            Prompt { ids: tokenizer.encode_prompt(&text, Special::Text).map_err(bad)?, text: Some(text) }
        }
        Raw::Chat(messages, ending) => {
            let template = app.model.template()?;
            let ids = template.encode(tokenizer, &messages, ending, most);
            let ids = ids.map_err(|error| match error {
                error @ format::Error::TooManyTokens { .. } => bad(error),
                error => app.caps.template_error(&error),
            });
            Prompt { ids: ids?, text: None }
        }
    };
    if prompt.ids.is_empty() {
        return Err(ApiError::field("prompt", "it has no token: expected some text"));
    }
    Ok(prompt)
}

/// Runs something that computes for a while, within a deadline.
///
/// # Errors
/// As `work`, or when it takes too long.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::time::timeout(DEADLINE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => {
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "preparing the prompt failed; see the log"))
        }
        Err(_) => Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("preparing the prompt took more than {} s: send less text, or later", DEADLINE.as_secs()),
        )),
    }
}
