//! Answers as responses: whole, or streamed as server-sent events.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::Value;

use super::app::App;
use super::caps::Cap;
use super::error::ApiError;
use super::request::Generation;
use super::running::{Ended, Running, Update, Usage};
use crate::sample::Choice;

/// A silent stream sends a comment this often, so that proxies and we notice who is gone.
const PING: Duration = Duration::from_secs(15);

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its text.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<Choice>,
    /// Its prompt's tokens with their log-probabilities, if these were asked for.
    pub prompt: Vec<Choice>,
    /// How it ended.
    pub ended: Ended,
}

/// Server-sent events on their way out.
#[derive(Debug, Default)]
pub struct Frames(String);

impl Frames {
    /// Adds an event without a name.
    pub fn data(&mut self, body: &Value) {
        self.raw(&body.to_string());
    }

    /// Adds an event of a name.
    pub fn event(&mut self, name: &str, body: &Value) {
        self.0.push_str(&format!("event: {name}\n"));
        self.data(body);
    }

    /// Adds a line of data that is no JSON.
    pub fn raw(&mut self, data: &str) {
        self.0.push_str(&format!("data: {data}\n\n"));
    }
}

/// How an API writes answers.
pub trait Shape: Send + Sync + 'static {
    /// The body of a whole response.
    fn whole(&self, answers: Vec<Answer>, usage: Usage) -> Value;
    /// What a stream begins with.
    fn begin(&mut self, answers: usize, usage: Usage, out: &mut Frames);
    /// The log-probabilities of an answer's prompt are there.
    fn prompt(&mut self, _choice: usize, _tokens: &[Choice], _out: &mut Frames) {}
    /// An answer grew.
    fn piece(&mut self, choice: usize, text: String, token: Option<Choice>, out: &mut Frames);
    /// An answer is complete.
    fn end(&mut self, choice: usize, ended: &Ended, out: &mut Frames);
    /// All are.
    fn done(&mut self, usage: Usage, out: &mut Frames);
    /// The stream ends early.
    fn failed(&self, error: &ApiError, out: &mut Frames) {
        out.data(&error.body());
    }
}

/// Runs a generation and answers in a shape.
///
/// # Errors
/// When the engine refuses it or, not streamed, fails.
pub async fn reply(app: &Arc<App>, generation: Generation, shape: impl Shape) -> Result<Response, ApiError> {
    let choices = generation.params.choices() as usize;
    app.caps.check(Cap::Answers, "n", generation.prompts.len() * choices)?;
    if generation.service.stream && choices > generation.params.n as usize {
        let why = "the best of several answers is known at the end: it can't be streamed";
        return Err(ApiError::field("best_of", why));
    }
    let running = Running::start(app, &generation).await?;
    let answers = generation.prompts.len() * generation.params.n as usize;
    if generation.service.stream {
        Ok(streamed(running, generation.params.n as usize, answers, shape))
    } else {
        whole(running, generation.params.n as usize, answers, &shape).await
    }
}

/// A response of JSON.
pub fn json(body: &Value) -> Response {
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (StatusCode::OK, [kind], body.to_string()).into_response()
}

/// An answer that grows.
#[derive(Clone, Default)]
struct Part {
    text: String,
    tokens: Vec<Choice>,
    prompt: Vec<Choice>,
    ended: Option<Ended>,
}

async fn whole(
    mut running: Running,
    per_prompt: usize,
    answers: usize,
    shape: &impl Shape,
) -> Result<Response, ApiError> {
    let mut parts = vec![Part::default(); answers];
    while let Some(update) = running.next().await? {
        match update {
            Update::Prompt { part, tokens } => {
                for answer in &mut parts[part * per_prompt..][..per_prompt] {
                    answer.prompt.clone_from(&tokens);
                }
            }
            Update::Piece { choice, text, token } => {
                parts[choice].text.push_str(&text);
                parts[choice].tokens.extend(token);
            }
            Update::End { choice, ended } => parts[choice].ended = Some(ended),
        }
    }
    let complete = |part: Part| {
        let Part { text, tokens, prompt, ended } = part;
        ended.map(|ended| Answer { text, tokens, prompt, ended })
    };
    Ok(json(&shape.whole(parts.into_iter().filter_map(complete).collect(), running.usage)))
}

fn streamed(running: Running, per_prompt: usize, answers: usize, mut shape: impl Shape) -> Response {
    let mut first = Frames::default();
    shape.begin(answers, running.usage, &mut first);
    let state = Some((running, shape, first));
    let frames = stream::unfold(state, move |state| async move {
        let (mut running, mut shape, mut out) = state?;
        if !out.0.is_empty() {
            let bytes = Bytes::from(std::mem::take(&mut out.0));
            return Some((Ok::<_, std::convert::Infallible>(bytes), Some((running, shape, out))));
        }
        // What is there already goes out together; a piece without text may add nothing.
        while out.0.is_empty() || running.is_ready() {
            let update = match tokio::time::timeout(PING, running.next()).await {
                Ok(update) => update,
                Err(_) => {
                    out.0.push_str(": ping\n\n");
                    continue;
                }
            };
            match update {
                Ok(Some(Update::Prompt { part, tokens })) => {
                    for choice in part * per_prompt..(part + 1) * per_prompt {
                        shape.prompt(choice, &tokens, &mut out);
                    }
                }
                Ok(Some(Update::Piece { choice, text, token })) => {
                    shape.piece(choice, text, token, &mut out);
                }
                Ok(Some(Update::End { choice, ended })) => shape.end(choice, &ended, &mut out),
                Ok(None) => {
                    shape.done(running.usage, &mut out);
                    return Some((Ok(Bytes::from(out.0)), None));
                }
                Err(error) => {
                    shape.failed(&error, &mut out);
                    return Some((Ok(Bytes::from(out.0)), None));
                }
            }
        }
        let bytes = Bytes::from(std::mem::take(&mut out.0));
        Some((Ok(bytes), Some((running, shape, out))))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Proxies such as nginx would otherwise gather events before they pass them on.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (StatusCode::OK, headers, Body::from_stream(frames)).into_response()
}
