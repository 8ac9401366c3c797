//! Each request's id, in and out, and a line of log.

use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::listen::Peer;
use super::openai::token;

const ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ids of clients are replaced.
const ID_BYTES: usize = 128;

/// Names the request, runs it, logs it. The time is that to the response's headers.
pub async fn log(request: Request<Body>, next: Next) -> Response {
    let start = Instant::now();
    let given = request.headers().get(&ID).filter(|id| id.len() <= ID_BYTES && id.to_str().is_ok());
    let id = given.cloned().or_else(|| HeaderValue::try_from(format!("req-{}", token())).ok());
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.to_string()).unwrap_or_default();
    let mut response = next.run(request).await;
    tracing::info!(
        target: "ridgepoint::access",
        %method,
        // Escaped: a path is whatever a client likes.
        path = %path.escape_debug(),
        status = response.status().as_u16(),
        ms = start.elapsed().as_secs_f64() * 1e3,
        id = id.as_ref().and_then(|id| id.to_str().ok()),
        peer,
    );
    if let Some(id) = id {
        response.headers_mut().insert(ID, id);
    }
    response
}
