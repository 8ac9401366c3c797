//! Anthropic's `/v1/messages`: a thin adapter, so that its SDK and what is built on it work.

mod request;
mod shape;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::app::App;
use super::body;
use super::error::ApiError;
use super::openai::token;
use super::reply::{self, reply};
use super::request::prompt::{self, Raw};
use super::request::{Generation, ServiceFields};
use crate::engine::Wanted;
use shape::Messages;

/// Answers a conversation.
pub async fn messages(State(app): State<Arc<App>>, body: Body) -> Response {
    answer(&app, body).await.unwrap_or_else(respond)
}

/// How many tokens a conversation has.
pub async fn count_tokens(State(app): State<Arc<App>>, body: Body) -> Response {
    count(&app, body).await.unwrap_or_else(respond)
}

async fn answer(app: &Arc<App>, body: Body) -> Result<Response, ApiError> {
    let mut fields = body::fields(body, &app.caps).await?;
    let model = app.accept(&mut fields)?;
    let conversation = request::conversation(&mut fields, &app.caps)?;
    let ending = request::ending(&conversation)?;
    let params = request::params(&mut fields, app)?;
    let stream = fields.take("stream")?.unwrap_or(false);
    request::finish(fields)?;
    let prompts = prompt::encode(app, vec![Raw::Chat(conversation, ending)]).await?;
    let service = ServiceFields { model: model.clone(), stream, ..ServiceFields::default() };
    let shape = Messages::new(format!("msg_{}", token()), model, params.stop.clone());
    reply(app, Generation { prompts, params, wanted: Wanted::Text, service }, shape).await
}

async fn count(app: &Arc<App>, body: Body) -> Result<Response, ApiError> {
    let mut fields = body::fields(body, &app.caps).await?;
    app.accept(&mut fields)?;
    let conversation = request::conversation(&mut fields, &app.caps)?;
    let ending = request::ending(&conversation)?;
    request::finish(fields)?;
    let ids = prompt::counted(app, conversation, ending).await?;
    Ok(reply::json(&json!({"input_tokens": ids.len()})))
}

/// `{"type": "error", "error": {type, message}}`.
fn error_body(error: &ApiError) -> Value {
    let kind = match error.status.as_u16() {
        413 => "request_too_large",
        503 => "overloaded_error",
        500..=599 => "api_error",
        // The others have the same names as OpenAI's.
        _ => error.kind(),
    };
    json!({"type": "error", "error": {"type": kind, "message": error.message}})
}

/// Whether a path is this API's.
pub fn serves(path: &str) -> bool {
    path.strip_prefix("/v1/messages").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// An error that arose before a path's own handler, in the shape of that path's clients.
pub fn respond_at(path: &str, error: ApiError) -> Response {
    if serves(path) { respond(error) } else { error.into_response() }
}

fn respond(error: ApiError) -> Response {
    error.respond(&error_body(&error))
}
