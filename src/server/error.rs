//! Errors as clients read them: OpenAI's shape, and the right status.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::engine::Error as EngineError;
use crate::engine::service::{State, SubmitError, WatchError};
use crate::sample::ParamError;
use crate::scheduler::Refusal;
use crate::server::request::fields::shown;

/// Seconds after which a client may try again.
const RETRY_AFTER: u32 = 1;

/// What went wrong with a request, and whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The status of the response.
    pub status: StatusCode,
    /// The field at fault.
    pub param: Option<String>,
    /// A name for programs.
    pub code: Option<&'static str>,
    /// What was expected, what was found, what to do.
    pub message: String,
}

impl ApiError {
    /// An error of a status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, param: None, code: None, message: message.into() }
    }

    /// A request that the engine gave up on, which whoever runs the server wants to know.
    pub fn engine(why: String) -> Self {
        tracing::error!("a request failed: {why}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, why)
    }

    /// A field with a value that can't be served.
    pub fn field(name: impl Into<String>, message: impl std::fmt::Display) -> Self {
        let name = name.into();
        let message = format!("{name}: {message}");
        Self { status: StatusCode::BAD_REQUEST, param: Some(name), code: None, message }
    }

    /// A field with a value of another kind than is expected.
    pub fn found(name: impl Into<String>, value: &Value, expected: &str) -> Self {
        Self::field(name, format!("found {}, expected {expected}", shown(value)))
    }

    /// A request that is wrong as a whole.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The same error of a field that the client knows by another name; another field's stays.
    pub fn renamed(mut self, from: &str, to: &str) -> Self {
        if self.param.as_deref() == Some(from) {
            self.param = Some(to.to_string());
            if let Some(rest) = self.message.strip_prefix(from) {
                self.message = format!("{to}{rest}");
            }
        }
        self
    }

    /// Adds a name for programs.
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// OpenAI's name for errors of this status.
    pub fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            503 => "service_unavailable_error",
            500..=599 => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// `{"error": {message, type, param, code}}`.
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind(),
            "param": self.param,
            "code": self.code,
        }})
    }

    /// A response of this status with any body.
    pub fn respond(&self, body: &Value) -> Response {
        let mut response = (self.status, Body::from(body.to_string())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.respond(&self.body())
    }
}

impl From<ParamError> for ApiError {
    fn from(error: ParamError) -> Self {
        let mut converted = Self::bad(error.to_string());
        converted.param = Some(error.field.to_string());
        converted
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Unavailable(State::Failed(why)) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the engine failed: {why}"))
            }
            SubmitError::Unavailable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            SubmitError::Refused(error) => error.into(),
        }
    }
}

impl From<WatchError> for ApiError {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Busy => Self::new(StatusCode::CONFLICT, error.to_string()).code("busy"),
            WatchError::Failed(error) => error.into(),
            WatchError::Unavailable(state) => SubmitError::Unavailable(state).into(),
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Params(error) => error.into(),
            EngineError::Refused(refusal) if refusal.is_temporary() => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, refusal.to_string()).code("queue_full")
            }
            EngineError::Refused(Refusal::TooLong { .. } | Refusal::ExceedsCache { .. }) => {
                let error = Self::bad(error.to_string()).code("context_length_exceeded");
                Self { param: Some("prompt".into()), ..error }
            }
            EngineError::Prompt(_) => Self { param: Some("prompt".into()), ..Self::bad(error.to_string()) },
            EngineError::Unwatched(why) => Self::new(StatusCode::CONFLICT, why).code("no_stamps"),
            EngineError::Refused(_) | EngineError::Format(_) => Self::bad(error.to_string()),
            EngineError::Model(_) | EngineError::Config(_) | EngineError::Completion(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
        }
    }
}
