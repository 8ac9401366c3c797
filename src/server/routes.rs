//! Which path leads where.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::app::App;
use super::auth::{self, Guard};
use super::error::ApiError;
use super::{access, anthropic, debug, health, openai, openapi, page, reply, tokens};

/// The whole server as a service.
pub fn router(app: Arc<App>, guard: Guard) -> Router {
    let cors = cors(&guard);
    let document = openapi::document(&guard);
    Router::new()
        .route("/", get(page::page))
        .route("/health", get(health::health))
        .route("/ping", get(health::health).post(health::health))
        .route("/metrics", get(|State(app): State<Arc<App>>| async move { app.metrics.respond() }))
        .route("/openapi.json", get(|| async move { reply::json(&document) }))
        .route("/version", get(health::version))
        .route("/reset_prefix_cache", post(health::reset_prefix_cache))
        .route("/debug/profile", post(debug::profile))
        .route("/debug/roofline", get(debug::roofline))
        .route("/debug/steps", get(debug::latest))
        .route("/v1/models", get(openai::models::list))
        .route("/v1/models/{*name}", get(openai::models::one))
        .route("/v1/chat/completions", post(openai::chat::handle))
        .route("/v1/completions", post(openai::completions::handle))
        .route("/v1/embeddings", post(openai::embeddings::handle))
        .route("/v1/responses", post(openai::responses::handle))
        .route("/v1/messages", post(anthropic::messages))
        .route("/v1/messages/count_tokens", post(anthropic::count_tokens))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/apply-template", post(tokens::apply_template))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(app)
        .layer(from_fn_with_state(Arc::new(guard), auth::guard))
        .layer(cors)
        .layer(from_fn(access::log))
}

fn cors(guard: &Guard) -> CorsLayer {
    let origins: Vec<HeaderValue> =
        guard.origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    let allowed =
        if guard.origins.iter().any(|o| o == "*") { AllowOrigin::any() } else { AllowOrigin::list(origins) };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::HEAD, Method::OPTIONS])
        // SDKs in browsers send headers of their own (x-stainless-..., anthropic-...), which say nothing here.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([HeaderName::from_static("x-request-id"), header::RETRY_AFTER])
}

async fn no_such_path(uri: Uri) -> Response {
    let message = "no such path is served: see /v1/models, /v1/chat/completions";
    anthropic::respond_at(uri.path(), ApiError::new(StatusCode::NOT_FOUND, message))
}

async fn no_such_method(uri: Uri) -> Response {
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method");
    anthropic::respond_at(uri.path(), error)
}
