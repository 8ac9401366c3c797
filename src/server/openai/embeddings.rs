//! `/v1/embeddings`: a vector for each text.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::engine::service::Delivery;
use crate::engine::{Event, Finish, GenerationRequest, Pooling, PromptOutput};
use crate::server::app::App;
use crate::server::body;
use crate::server::caps::Cap;
use crate::server::error::ApiError;
use crate::server::reply;
use crate::server::request::fields::{Expected, Fields, Refused};
use crate::server::request::{SERVICE_TIER, TRUNCATE, prompt};

/// Texts that are handed to the engine at once, so that a long list does not fill the queue.
const WAVE: usize = 32;
/// Events of one text: its vector, its end.
const EVENTS: usize = 2;

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// A list of numbers.
    Float,
    /// The bytes of little-endian f32s.
    Base64,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PoolingName {
    Mean,
    Last,
}

impl Expected for Encoding {
    const EXPECTED: &'static str = "float or base64";
}

impl Expected for PoolingName {
    const EXPECTED: &'static str = "mean or last";
}

/// What is known and can't be honoured.
const REFUSED: &[Refused] = &[
    TRUNCATE,
    SERVICE_TIER,
    Refused { name: "normalize", neutral: &["true"], why: "vectors have length 1: leave it out" },
    Refused { name: "embd_normalize", neutral: &["2"], why: "vectors have length 1: leave it out" },
    Refused {
        name: "add_special_tokens",
        neutral: &["true"],
        why: "a text begins as the model's prompts do: send token ids to choose",
    },
    Refused { name: "instruction", neutral: &["\"\""], why: "it is not served: put it before the text" },
];

/// Gives the vectors of texts.
///
/// # Errors
/// When the request can't be served.
pub async fn handle(State(app): State<Arc<App>>, body: Body) -> Result<Response, ApiError> {
    let mut fields = body::fields(body, &app.caps).await?;
    let model = app.accept(&mut fields)?;
    let raw = prompt::read(&mut fields, "input", Cap::Inputs, &app.caps)?;
    let encoding = fields.take("encoding_format")?.unwrap_or(Encoding::Float);
    let pooling = match fields.take("pooling")? {
        Some(PoolingName::Mean) => Pooling::Mean,
        Some(PoolingName::Last) => Pooling::Last,
        None => app.pooling,
    };
    dimensions(&mut fields, app.model.width)?;
    let priority = app.priority(&mut fields)?;
    fields.refuse(REFUSED)?;
    app.ignore_neutral(&mut fields)?;
    fields.finish(app.unknown)?;
    let input = |error: ApiError| error.renamed("prompt", "input");
    let prompts = prompt::encode(&app, raw).await.map_err(input)?;
    let tokens: usize = prompts.iter().map(|prompt| prompt.ids.len()).sum();
    let requests = prompts
        .into_iter()
        .map(|prompt| GenerationRequest { priority, ..GenerationRequest::embedding(prompt.ids, pooling) });
    let mut requests: Vec<GenerationRequest> = requests.collect();
    let mut data = Vec::with_capacity(requests.len());
    while !requests.is_empty() {
        let rest = requests.split_off(requests.len().min(WAVE));
        for vector in vectors(&app, std::mem::replace(&mut requests, rest)).await.map_err(input)? {
            let embedding = match encoding {
                Encoding::Float => json!(vector),
                Encoding::Base64 => {
                    let bytes: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
                    STANDARD.encode(bytes).into()
                }
            };
            data.push(json!({"object": "embedding", "index": data.len(), "embedding": embedding}));
        }
    }
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(reply::json(&json!({"object": "list", "data": Value::Array(data), "model": model, "usage": usage})))
}

/// A shorter vector is a model's own art: cutting one that was not trained for it loses its meaning.
fn dimensions(fields: &mut Fields, width: usize) -> Result<(), ApiError> {
    match fields.take::<usize>("dimensions")? {
        Some(asked) if asked != width => Err(ApiError::field(
            "dimensions",
            format!("found {asked}: this model's vectors have {width} numbers and are not cut"),
        )
        .code("unsupported")),
        _ => Ok(()),
    }
}

/// The vectors of some texts, in their order. Dropped, it aborts them.
async fn vectors(app: &App, requests: Vec<GenerationRequest>) -> Result<Vec<Vec<f32>>, ApiError> {
    let fault = |why: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, why);
    let mut found = vec![Vec::new(); requests.len()];
    let mut open = requests.len();
    let (sink, mut inbox) = mpsc::channel(EVENTS * open);
    app.service.submit(requests, sink).await?;
    while open > 0 {
        match inbox.recv().await {
            Some(Delivery::Event { part, event }) => match event {
                Event::Prompt { output: PromptOutput::Embedding(vector), .. } => found[part] = vector,
                Event::Finished { result, .. } => {
                    open -= 1;
                    if let Finish::Error(why) = result.finish {
                        return Err(ApiError::engine(why));
                    }
                }
                Event::Prompt { .. } | Event::Token { .. } => {}
            },
            Some(Delivery::Failed(why)) => return Err(fault(why)),
            None => {
                let why = "the request was cut off: the server shuts down";
                return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why));
            }
        }
    }
    Ok(found)
}
