//! What bounds the steps of this very server: watched windows, and the latest steps' spans.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use super::app::App;
use super::error::ApiError;
use super::reply;
use crate::engine::{Engine, Spanned};
use crate::format::{Hyper, ModelFile};
use crate::kernels::rope_cache::CacheType;
use crate::model::Runner;
use crate::profile::Stamps;
use crate::roofline::DeviceReport;
use crate::roofline::html::html;
use crate::roofline::report::{Grade, Model, Report};

/// Steps of a window, by default and at most.
const STEPS: [u64; 2] = [30, 3000];
/// Seconds that a window waits for its steps, by default and at most.
const WAIT: [u64; 2] = [60, 600];
/// The latest steps that are kept.
const KEPT: usize = 64;

/// What the server knows of its own roofline.
#[derive(Debug)]
pub struct Roofline {
    device: Option<DeviceReport>,
    seen: Mutex<Seen>,
    /// One window at a time.
    window: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Seen {
    model: Option<Model>,
    work: Option<Work>,
    /// Where this device's stamps around a dispatch may go.
    stamps: Option<Stamps>,
    latest: VecDeque<Value>,
    report: Option<Report>,
}

/// What a token, a query with a key, and a step cost at least: operations and bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Work {
    ops_token: f64,
    ops_output: f64,
    ops_pair: f64,
    bytes_step: f64,
    bytes_key: f64,
}

impl Work {
    fn of(hyper: &Hyper, weights: u64, cache: CacheType) -> Self {
        let (heads, kv) = (hyper.heads * hyper.head_dim, hyper.kv_heads * hyper.head_dim);
        let layer = hyper.hidden * (2 * heads + 2 * kv + 3 * hyper.intermediate);
        Self {
            ops_token: 2.0 * (layer * hyper.layers) as f64,
            ops_output: 2.0 * (hyper.vocab * hyper.hidden) as f64,
            ops_pair: 4.0 * (heads * hyper.layers) as f64,
            bytes_step: weights as f64,
            bytes_key: Runner::block_bytes(hyper, 16, cache) as f64 / 16.0,
        }
    }

    /// Operations and compulsory bytes of a step. Each sequence sees at least as many keys as its mean
    /// query does.
    fn step(&self, s: &Spanned) -> (f64, f64) {
        let (tokens, pairs, sequences) = (s.work.tokens as f64, s.work.pairs as f64, s.sequences as f64);
        let keys = pairs / tokens.max(1.0) * sequences;
        let ops = self.ops_token * tokens + self.ops_output * sequences + self.ops_pair * pairs;
        (ops, self.bytes_step + self.bytes_key * keys)
    }
}

impl Roofline {
    /// Of a device whose ceilings are known, or not.
    pub fn new(device: Option<DeviceReport>) -> Self {
        Self { device, seen: Mutex::default(), window: tokio::sync::Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the model's facts, once it is loaded.
    pub fn loaded(&self, engine: &Engine) {
        let runner = engine.runner();
        let mut seen = self.seen();
        let weights = runner.memory.weights.0;
        let features = runner.gpu.device.features();
        seen.stamps = self.device.as_ref().and_then(|d| d.timer.around_a_dispatch(features));
        seen.work = Some(Work::of(&runner.hyper, weights, runner.limits.cache_type));
        if let Some(model) = &mut seen.model {
            model.weight_bytes = weights;
        }
    }

    /// Takes in what the file says of the model.
    pub fn opened(&self, model: Model) {
        self.seen().model = Some(model);
    }

    /// Takes in a step's span.
    pub fn spanned(&self, step: &Spanned) {
        let mut seen = self.seen();
        let Some((ops, bytes)) = seen.work.map(|work| work.step(step)) else { return };
        let ns = step.span.as_nanos() as f64;
        if ns <= 0.0 {
            return;
        }
        if seen.latest.len() == KEPT {
            seen.latest.pop_front();
        }
        seen.latest.push_back(json!({
            "tokens": step.work.tokens, "sequences": step.sequences, "gpu_ns": ns,
            "ops": ops, "bytes": bytes, "gops": ops / ns, "gbytes": bytes / ns,
        }));
    }

    fn device(&self) -> Result<&DeviceReport, ApiError> {
        self.device.as_ref().ok_or_else(|| {
            let message = "this device's ceilings are not known: run `ridgepoint ceilings` once on this machine, or start the server with --measure-ceilings";
            ApiError::new(StatusCode::CONFLICT, message).code("no_ceilings")
        })
    }

    /// How windows are stamped; a device whose timer can't be trusted with it has none.
    fn stamps(&self, device: &DeviceReport) -> Result<Stamps, ApiError> {
        self.seen().stamps.ok_or_else(|| {
            let message = format!(
                "{}: run `ridgepoint roofline MODEL` on this machine, which leaves kernels out of its steps and needs no stamps",
                device.timer.refusal()
            );
            ApiError::new(StatusCode::CONFLICT, message).code("no_stamps")
        })
    }
}

/// A model's facts from its file; `weight_bytes` is what the file holds until it is loaded.
pub fn facts(file: &ModelFile, hyper: &Hyper, cache: CacheType) -> Model {
    let mut formats: BTreeMap<String, u64> = BTreeMap::new();
    let mut parameters = 0;
    for tensor in file.tensors() {
        *formats.entry(tensor.format.name().to_string()).or_default() += tensor.bytes;
        parameters += (tensor.rows() * tensor.columns()) as u64;
    }
    Model {
        name: hyper.name.clone().unwrap_or_else(|| hyper.architecture.clone()),
        weight_bytes: formats.values().sum(),
        formats,
        parameters,
        kv_cache_dtype: cache.name().to_string(),
    }
}

/// Watches the next steps, one at a time, and reports on them.
///
/// # Errors
/// When no ceilings are known, or no step came.
pub async fn profile(
    State(app): State<Arc<App>>,
    asked: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(asked) = asked.map_err(|rejection| ApiError::bad(rejection.body_text()))?;
    let number = |name: &str, [default, most]: [u64; 2]| {
        let Some((_, text)) = asked.iter().find(|(asked, _)| asked == name) else { return Ok(default) };
        let value = text.parse().ok().filter(|value| (1..=most).contains(value));
        value.ok_or_else(|| ApiError::field(name, format!("found '{text}', expected 1 to {most}")))
    };
    let steps = number("steps", STEPS)?;
    let wait = number("wait", WAIT)?;
    let device = app.roofline.device()?.clone();
    let stamps = app.roofline.stamps(&device)?;
    let _one = app.roofline.window.lock().await;
    let seen = app.service.watch_steps(steps as usize, stamps, Duration::from_secs(wait)).await?;
    if seen.is_empty() {
        let message = format!("no step ran within {wait} seconds: send requests while the window is open");
        return Err(ApiError::new(StatusCode::CONFLICT, message).code("idle"));
    }
    let model = app.roofline.seen().model.clone();
    let report = Report::of_window(device, model, &seen);
    let answer = json!({"steps": seen.len(), "kinds": report.steps.len(), "summary": report.summary});
    app.roofline.seen().report = Some(report);
    Ok(reply::json(&answer))
}

/// The last window's report: JSON, or a page where a browser or `format=html` asks.
///
/// # Errors
/// When there was no window.
pub async fn roofline(
    State(app): State<Arc<App>>,
    asked: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(asked) = asked.map_err(|rejection| ApiError::bad(rejection.body_text()))?;
    let form = asked.iter().find(|(name, _)| name == "format").map(|(_, form)| form.as_str());
    let report = app.roofline.seen().report.clone().ok_or_else(|| {
        let message = "no window was profiled yet: POST /debug/profile?steps=30 while requests run";
        ApiError::new(StatusCode::NOT_FOUND, message).code("no_window")
    })?;
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match form {
        Some("html") => Ok(Html(html(&report)).into_response()),
        None if accepts.contains("text/html") => Ok(Html(html(&report)).into_response()),
        None | Some("json") => {
            let body = serde_json::to_value(&report);
            body.map(|body| reply::json(&body))
                .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
        }
        Some(other) => Err(ApiError::field("format", format!("found '{other}', expected json or html"))),
    }
}

/// The latest steps by the GPU's own clock, with the ceilings that they stand under.
pub async fn latest(State(app): State<Arc<App>>) -> Response {
    let value = |name: &str| {
        let device = app.roofline.device.as_ref()?;
        device.ceilings.iter().find(|c| c.name == name).map(|c| c.value)
    };
    let latest: Vec<Value> = app.roofline.seen().latest.iter().cloned().collect();
    let ceilings = json!({"read_cold": value("read_cold"), "fma_f32": value("fma_f32")});
    let device = app.roofline.device.as_ref();
    let spanless = device.filter(|d| d.timer.grade == Grade::WallOnly);
    let why = spanless.map(|d| format!("this device's timer is wall_only: {}", d.timer.reason));
    reply::json(&json!({"ceilings": ceilings, "steps": latest, "no_spans": why}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::StepWork;

    #[test]
    fn a_step_s_work_is_counted_by_hand() {
        let work =
            Work { ops_token: 100.0, ops_output: 10.0, ops_pair: 2.0, bytes_step: 1000.0, bytes_key: 4.0 };
        let step = |work, sequences| Spanned { work, sequences, span: Duration::from_nanos(50) };
        // Two decodes that see 30 and 50 keys.
        let decode = step(StepWork { tokens: 2, pairs: 80 }, 2);
        assert_eq!(work.step(&decode), (200.0 + 20.0 + 160.0, 1000.0 + 320.0));
        // A prompt of four from its start: 1 + 2 + 3 + 4 pairs.
        let prompt = step(StepWork { tokens: 4, pairs: 10 }, 1);
        assert_eq!(work.step(&prompt), (400.0 + 10.0 + 20.0, 1000.0 + 10.0));
    }
}
