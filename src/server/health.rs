//! Whether the server can serve, and what it is.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::app::App;
use super::error::ApiError;
use super::reply;
use crate::engine::service::{self, State as Engine};

/// 200 when requests are taken; 503 with the progress while the model is being loaded.
pub async fn health(State(app): State<Arc<App>>) -> Response {
    let state = app.service.state();
    let status = match &state {
        Engine::Ready => return reply::json(&json!({"status": "ok"})),
        Engine::Loading(_) => "loading",
        Engine::Draining | Engine::Stopped => "shutting down",
        Engine::Failed(_) => "failed",
    };
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, service::describe(&state));
    let mut body = error.body();
    body["status"] = status.into();
    if let Engine::Loading(loading) = state {
        body["phase"] = loading.phase.name().into();
        body["progress"] = loading.share().into();
    }
    error.respond(&body)
}

/// The version.
pub async fn version() -> Response {
    reply::json(&json!({"version": env!("CARGO_PKG_VERSION")}))
}

/// Forgets cached prefixes.
///
/// # Errors
/// When the engine takes no requests.
pub async fn reset_prefix_cache(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let forgotten = app.service.reset_prefix_cache().await?;
    Ok(reply::json(&json!({"forgotten_blocks": forgotten})))
}
