//! Conversations and parameters in Anthropic's spelling.

use serde_json::Value;

use crate::format::{Ending, Message};
use crate::sample::{ParamError, SamplingParams};
use crate::server::app::App;
use crate::server::caps::{Cap, Caps};
use crate::server::error::ApiError;
use crate::server::request::fields::{Fields, Refused, Unknown};
use crate::server::request::sampling::stops;
use crate::server::request::{FORMAT, NEUTRAL, SERVICE_TIER};

/// What would shape the answer and can't be honoured.
const REFUSED: &[Refused] = &[
    Refused { name: "output_format", ..FORMAT },
    SERVICE_TIER,
    Refused { name: "mcp_servers", neutral: &["[]"], why: "nothing is asked on a client's behalf" },
    Refused { name: "container", neutral: &[], why: "no code is run" },
];

/// `system` and `messages` as a conversation. Tools are not served: calls and results that a
/// client has kept are read as text.
///
/// # Errors
/// Names the part that can't be served.
pub fn conversation(fields: &mut Fields, caps: &Caps) -> Result<Vec<Message>, ApiError> {
    let mut found = Vec::new();
    if let Some(system) = fields.take::<Value>("system")? {
        let text = text_of(system, "system")?;
        found.extend((!text.is_empty()).then(|| Message::new("system", text)));
    }
    let list: Vec<Value> = fields.require("messages", "a list of messages")?;
    if list.is_empty() {
        return Err(ApiError::field("messages", "found no message: expected at least one"));
    }
    caps.check(Cap::Messages, "messages", list.len())?;
    for (i, value) in list.into_iter().enumerate() {
        let mut m = Fields::nested(value, format!("messages[{i}]"))?;
        let role: String = m.require("role", "user or assistant")?;
        if !matches!(role.as_str(), "user" | "assistant") {
            return Err(ApiError::found(m.name("role"), &role.into(), "user or assistant"));
        }
        let name = m.name("content");
        let content: Value = m.require("content", "a string or a list of blocks")?;
        found.push(Message::new(role, text_of(content, &name)?));
    }
    caps.check(Cap::PromptBytes, "messages", found.iter().map(|m| m.content.len()).sum())?;
    tools(fields)?;
    Ok(found)
}

/// How a conversation ends: an assistant's last message is the beginning of the answer.
///
/// # Errors
/// When there is nothing that it could answer.
pub fn ending(conversation: &[Message]) -> Result<Ending, ApiError> {
    match conversation.split_last() {
        Some((last, before)) if last.role == "assistant" => {
            if before.iter().all(|m| m.role == "system") {
                let why = "found only the beginning of an answer: expected a user's message before it";
                return Err(ApiError::field("messages", why));
            }
            Ok(Ending::Continued)
        }
        _ => Ok(Ending::Answer),
    }
}

/// Tools that a model may use, it may also leave alone; tools that it must use can't be served.
fn tools(fields: &mut Fields) -> Result<(), ApiError> {
    if fields.take::<Vec<Value>>("tools")?.is_some_and(|tools| !tools.is_empty()) {
        tracing::warn!("a client of /v1/messages offers tools: they are not served, the answer is text");
    }
    let forced =
        fields.take::<Value>("tool_choice")?.is_some_and(|c| c["type"] == "any" || c["type"] == "tool");
    if forced {
        return Err(ApiError::field("tool_choice", "tools are not served: expected auto or none"));
    }
    Ok(())
}

fn text_of(content: Value, name: &str) -> Result<String, ApiError> {
    let blocks = match content {
        Value::String(text) => return Ok(text),
        Value::Array(blocks) => blocks,
        other => return Err(ApiError::found(name, &other, "a string or a list of blocks")),
    };
    let mut texts = Vec::new();
    for (i, block) in blocks.into_iter().enumerate() {
        let mut block = Fields::nested(block, format!("{name}[{i}]"))?;
        let kind: String = block.require("type", "text")?;
        match kind.as_str() {
            "text" => texts.push(block.require::<String>("text", "a string")?),
            "thinking" | "redacted_thinking" => {}
            "tool_use" => {
                let input: Value = block.take("input")?.unwrap_or_default();
                texts.push(format!("[{} {input}]", block.take::<String>("name")?.unwrap_or_default()));
            }
            "tool_result" => {
                let inner = block.name("content");
                let content: Option<Value> = block.take("content")?;
                texts.extend(content.map(|content| text_of(content, &inner)).transpose()?);
            }
            _ => {
                let why = "expected blocks of type text: this server takes no images or documents";
                return Err(ApiError::field(block.name("type"), why));
            }
        }
    }
    Ok(texts.join("\n"))
}

/// How tokens are chosen.
///
/// # Errors
/// Names the field at fault.
pub fn params(fields: &mut Fields, app: &App) -> Result<SamplingParams, ApiError> {
    let default = SamplingParams::default();
    let max_tokens: u32 = fields.require("max_tokens", "a number of tokens")?;
    let params = SamplingParams {
        temperature: fields.take("temperature")?.unwrap_or(default.temperature),
        top_p: fields.take("top_p")?.unwrap_or(default.top_p),
        top_k: fields.take("top_k")?.unwrap_or(default.top_k),
        stop: stops(fields, "stop_sequences", &app.caps)?,
        max_tokens: Some(max_tokens),
        ..default
    };
    let known = |error: ParamError| ApiError::from(error).renamed("stop", "stop_sequences");
    params.validate(app.model.vocab).map_err(known)?;
    Ok(params)
}

/// Deals with what is left: what asks for another answer is refused, whatever else there is tolerated, for
/// clients of this API send much that changes no text.
///
/// # Errors
/// Names a field that can't be honoured.
pub fn finish(mut fields: Fields) -> Result<(), ApiError> {
    fields.refuse(REFUSED)?;
    if let Some(config) = fields.take("output_config")? {
        let mut config = Fields::nested(config, "output_config".into())?;
        config.refuse(&[FORMAT])?;
        fields.keep_rest(config);
    }
    fields.ignore(NEUTRAL);
    fields.finish(Unknown::Log)
}
