//! `/v1/models`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};

use crate::server::app::App;
use crate::server::error::ApiError;
use crate::server::reply::json as respond;

/// Lists the names of the model.
pub async fn list(State(app): State<Arc<App>>) -> Response {
    let data: Vec<Value> = app.model.names.iter().map(|name| card(&app, name)).collect();
    respond(&json!({"object": "list", "data": data}))
}

/// One of them.
///
/// # Errors
/// 404 for a model that isn't served.
pub async fn one(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Response, ApiError> {
    Ok(respond(&card(&app, &app.model.accept(Some(name))?)))
}

fn card(app: &App, name: &str) -> Value {
    json!({
        "id": name,
        "object": "model",
        "created": app.model.created,
        "owned_by": "ridgepoint",
        "root": app.model.names.first(),
        "parent": null,
        "max_model_len": app.model.context,
    })
}
