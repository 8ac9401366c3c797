//! `/tokenize`, `/detokenize`, `/apply-template`: vLLM's and llama.cpp's shapes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::app::App;
use super::body;
use super::caps::Cap;
use super::error::ApiError;
use super::reply;
use super::request::CONVERSATION;
use super::request::fields::{Fields, Refused};
use super::request::prompt::{self, blocking};
use crate::format::Ending;
use crate::format::tokenizer::{Special, Specials};

fn ending(fields: &mut Fields) -> Result<Ending, ApiError> {
    Ok(match fields.take("add_generation_prompt")? {
        Some(false) => Ending::Closed,
        _ => Ending::Answer,
    })
}

/// Text, or a conversation, to ids.
///
/// # Errors
/// When it can't be tokenised.
pub async fn tokenize(State(app): State<Arc<App>>, body: Body) -> Result<Response, ApiError> {
    let mut fields = body::fields(body, &app.caps).await?;
    app.accept(&mut fields)?;
    let vllm: Option<String> = fields.take("prompt")?;
    let llama: Option<String> = fields.take("content")?;
    let begin: Option<bool> = fields.take_any(&["add_special_tokens", "add_special"])?;
    // Ids are all that comes of it: it is for the client to say what its text means.
    let parse = fields.take("parse_special")?.unwrap_or(false);
    let special = if parse { Special::Parse } else { Special::Text };
    let pieces = Pieces {
        strings: fields.take("return_token_strs")?.unwrap_or(false),
        with_ids: fields.take("with_pieces")?.unwrap_or(false),
    };
    if vllm.is_some() && llama.is_some() {
        return Err(ApiError::field("content", "expected either prompt or content, found both"));
    }
    let (text, begin) = match (vllm, llama) {
        (Some(text), _) => (text, begin.unwrap_or(true)),
        (None, Some(text)) => (text, begin.unwrap_or(false)),
        (None, None) => {
            let messages = prompt::messages(&mut fields, &app.caps).map_err(|error| {
                let none = error.param.as_deref() == Some("messages") && error.message.contains("missing");
                if none { ApiError::field("prompt", "expected prompt, content or messages") } else { error }
            })?;
            let ending = ending(&mut fields)?;
            fields.refuse(CONVERSATION)?;
            fields.finish(app.unknown)?;
            let ids = prompt::counted(&app, messages, ending).await?;
            return listed(&app, &ids, pieces);
        }
    };
    app.caps.check(Cap::PromptBytes, "prompt", text.len())?;
    fields.refuse(&[Refused {
        name: "messages",
        neutral: &[],
        why: "expected either a text or messages, found both",
    }])?;
    // A text has no end of its own.
    fields.ignore(&["add_generation_prompt"]);
    fields.finish(app.unknown)?;
    let shared = app.clone();
    let ids = blocking(move || {
        let tokenizer = &shared.model.tokenizer;
        let ids =
            if begin { tokenizer.encode_prompt(&text, special) } else { tokenizer.encode(&text, special) };
        ids.map_err(|error| ApiError::bad(error.to_string()))
    });
    listed(&app, &ids.await?, pieces)
}

/// What is shown of tokens beside their ids.
#[derive(Clone, Copy)]
struct Pieces {
    /// vLLM's list of texts.
    strings: bool,
    /// llama.cpp's list of `{id, piece}`.
    with_ids: bool,
}

fn listed(app: &App, ids: &[u32], pieces: Pieces) -> Result<Response, ApiError> {
    let mut answer = json!({"count": ids.len(), "max_model_len": app.model.context, "tokens": ids});
    if pieces.strings || pieces.with_ids {
        let tokenizer = &app.model.tokenizer;
        let found = ids.iter().map(|&id| tokenizer.piece(id)).collect::<Result<Vec<_>, _>>();
        let found = found.map_err(|error| ApiError::bad(error.to_string()))?;
        if pieces.strings {
            answer["token_strs"] = found.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
        }
        if pieces.with_ids {
            // A part of a character is no text: its bytes, as llama.cpp has it.
            let piece = |bytes: &[u8]| std::str::from_utf8(bytes).map_or_else(|_| json!(bytes), |s| json!(s));
            let row = |(id, bytes): (&u32, &&[u8])| json!({"id": id, "piece": piece(bytes)});
            answer["tokens"] = ids.iter().zip(&found).map(row).collect();
        }
    }
    Ok(reply::json(&answer))
}

/// Ids to text.
///
/// # Errors
/// When an id isn't in the vocabulary.
pub async fn detokenize(State(app): State<Arc<App>>, body: Body) -> Result<Response, ApiError> {
    let mut fields = body::fields(body, &app.caps).await?;
    app.accept(&mut fields)?;
    let ids: Vec<u32> = fields.require("tokens", "a list of token ids")?;
    app.caps.check(Cap::PromptTokens, "tokens", ids.len())?;
    fields.finish(app.unknown)?;
    let shared = app.clone();
    let text = blocking(move || {
        let text = shared.model.tokenizer.decode(&ids, Specials::Show);
        text.map_err(|error| ApiError::field("tokens", error))
    });
    let text = text.await?;
    Ok(reply::json(&json!({"prompt": text, "content": text})))
}

/// A conversation to the text that the model reads.
///
/// # Errors
/// When the template refuses it.
pub async fn apply_template(State(app): State<Arc<App>>, body: Body) -> Result<Response, ApiError> {
    let mut fields = body::fields(body, &app.caps).await?;
    app.accept(&mut fields)?;
    let messages = prompt::messages(&mut fields, &app.caps)?;
    let ending = ending(&mut fields)?;
    fields.refuse(CONVERSATION)?;
    fields.finish(app.unknown)?;
    let shared = app.clone();
    let text = blocking(move || {
        let text = shared.model.template()?.render(&messages, ending);
        text.map_err(|error| shared.caps.template_error(&error))
    });
    Ok(reply::json(&json!({"prompt": text.await?})))
}
