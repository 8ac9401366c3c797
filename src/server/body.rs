//! Bodies of requests: bounded in size and in time.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use futures_util::StreamExt;

use super::caps::{Cap, Caps};
use super::error::ApiError;
use super::request::fields::Fields;

/// How long a client may take to send a body.
const DEADLINE: Duration = Duration::from_secs(30);

/// Reads a body of JSON.
///
/// # Errors
/// When it is too large, comes too slowly, breaks off, or is no JSON object.
pub async fn fields(body: Body, caps: &Caps) -> Result<Fields, ApiError> {
    let bytes = tokio::time::timeout(DEADLINE, read(body, caps)).await.map_err(|_| {
        let message = format!("the body did not come within {} s", DEADLINE.as_secs());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, message)
    })??;
    Fields::parse(&bytes)
}

async fn read(body: Body, caps: &Caps) -> Result<Vec<u8>, ApiError> {
    // What a client says that it will send.
    caps.check(Cap::BodyBytes, "body", usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX))?;
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| ApiError::bad(format!("the body broke off: {error}")))?;
        caps.check(Cap::BodyBytes, "body", bytes.len() + chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
