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
use crate::engine::service::{self, SubmitError};
use crate::engine::{Computed, Engine, Spanned};
use crate::format::{Hyper, ModelFile};
use crate::kernels::rope_cache::CacheType;
use crate::model::Runner;
use crate::profile::{Counts, Stamps};
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
}

#[derive(Debug, Default)]
struct Seen {
    model: Option<Model>,
    work: Option<Work>,
    /// What the device was opened with.
    features: Option<wgpu::Features>,
    latest: VecDeque<Value>,
    /// What became of the stamps of the server's own steps.
    stamps: Counts,
    /// The latest window's, with its number.
    report: Option<(u64, Report)>,
}

impl Seen {
    /// Keeps a window's report, unless that of a later one is there: a large window's takes longer.
    fn keep(&mut self, window: u64, report: Report) {
        if self.report.as_ref().is_none_or(|(kept, _)| *kept < window) {
            self.report = Some((window, report));
        }
    }
}

/// What a token, one with logits, a query with a key, a step, one with logits, and a key cost at least:
/// operations and bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Work {
    ops_token: f64,
    ops_output: f64,
    ops_pair: f64,
    bytes_step: f64,
    bytes_head: f64,
    bytes_key: f64,
}

impl Work {
    /// `weights`: those that every step reads, and the head's ([`Runner::read_bytes`]).
    fn of(hyper: &Hyper, weights: [u64; 2], cache: CacheType) -> Self {
        let (heads, kv) = (hyper.heads * hyper.head_dim, hyper.kv_heads * hyper.head_dim);
        let layer = hyper.hidden * (2 * heads + 2 * kv + 3 * hyper.intermediate);
        Self {
            ops_token: 2.0 * (layer * hyper.layers) as f64,
            ops_output: 2.0 * (hyper.vocab * hyper.hidden) as f64,
            ops_pair: 4.0 * (heads * hyper.layers) as f64,
            bytes_step: weights[0] as f64,
            bytes_head: weights[1] as f64,
            bytes_key: Runner::block_bytes(hyper, 16, cache) as f64 / 16.0,
        }
    }

    /// Operations and compulsory bytes of a step. The rows of the embedding that its tokens name are left out.
    fn step(&self, c: &Computed) -> (f64, f64) {
        let [tokens, outputs, pairs, keys] = [c.tokens, c.outputs, c.pairs, c.keys].map(|n| n as f64);
        let ops = self.ops_token * tokens + self.ops_output * outputs + self.ops_pair * pairs;
        let head = if c.outputs > 0 { self.bytes_head } else { 0.0 };
        (ops, self.bytes_step + head + self.bytes_key * keys)
    }
}

impl Roofline {
    /// Of a device whose ceilings are known, or not.
    pub fn new(device: Option<DeviceReport>) -> Self {
        Self { device, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the model's facts, once it is loaded.
    pub fn loaded(&self, engine: &Engine) {
        let runner = engine.runner();
        let mut seen = self.seen();
        seen.features = Some(runner.gpu.device.features());
        seen.work = Some(Work::of(&runner.hyper, runner.read_bytes(), runner.limits.cache_type));
        if let Some(model) = &mut seen.model {
            model.weight_bytes = runner.memory.weights.0;
        }
    }

    /// Takes in what the file says of the model.
    pub fn opened(&self, model: Model) {
        self.seen().model = Some(model);
    }

    /// Takes in what became of the stamps of all steps so far.
    pub fn stamped(&self, stamps: Counts) {
        self.seen().stamps = stamps;
    }

    /// Takes in a step's span.
    pub fn spanned(&self, step: &Spanned) {
        let mut seen = self.seen();
        let Some((ops, bytes)) = seen.work.map(|work| work.step(&step.computed)) else { return };
        let ns = step.span.as_nanos() as f64;
        if ns <= 0.0 {
            return;
        }
        if seen.latest.len() == KEPT {
            seen.latest.pop_front();
        }
        seen.latest.push_back(json!({
            "tokens": step.computed.tokens, "sequences": step.computed.sequences, "gpu_ns": ns,
            "ops": ops, "bytes": bytes, "gops": ops / ns, "gbytes": bytes / ns,
        }));
    }

    fn device(&self) -> Result<&DeviceReport, ApiError> {
        self.device.as_ref().ok_or_else(|| {
            let message = "this device's ceilings are not known: run `ridgepoint ceilings` once on this machine, or start the server with --measure-ceilings";
            ApiError::new(StatusCode::CONFLICT, message).code("no_ceilings")
        })
    }

    /// How windows are stamped; a device whose timer can't be trusted with it has none. The model is loaded.
    fn stamps(&self, device: &DeviceReport) -> Result<Stamps, ApiError> {
        let features = self.seen().features.unwrap_or_default();
        device.timer.around_a_dispatch(features).ok_or_else(|| {
            let why = if features.contains(wgpu::Features::TIMESTAMP_QUERY) {
                device.timer.refusal()
            } else {
                "this server's device was opened without timestamps".to_string()
            };
            let message = format!(
                "{why}: run `ridgepoint roofline MODEL` on this machine, which leaves kernels out of its steps and needs no stamps"
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

/// A query's parameters as they came.
type Asked = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The values of the parameters that a path takes, each of which comes once at most.
fn values<const N: usize>(asked: Asked, names: [&str; N]) -> Result<[Option<String>; N], ApiError> {
    let Query(asked) = asked.map_err(|rejection| ApiError::bad(rejection.body_text()))?;
    let mut values = [const { None }; N];
    for (name, value) in asked {
        let Some((_, place)) = names.iter().zip(&mut values).find(|(known, _)| **known == name) else {
            let known = if N == 0 { "none".to_string() } else { names.join(" or ") };
            let why = format!("unknown, expected {known}");
            return Err(ApiError::field(name, why));
        };
        if place.replace(value).is_some() {
            return Err(ApiError::field(name, "found more than once, expected once"));
        }
    }
    Ok(values)
}

/// Watches the next steps, one at a time, and reports on them: in short, or with `format=json` the report.
///
/// # Errors
/// When no ceilings are known, the model isn't loaded, others watch, or no step came.
pub async fn profile(State(app): State<Arc<App>>, asked: Asked) -> Result<Response, ApiError> {
    let [steps, wait, form] = values(asked, ["steps", "wait", "format"])?;
    if let Some(other) = form.as_deref().filter(|form| *form != "json") {
        return Err(ApiError::field("format", format!("found '{other}', expected json or nothing")));
    }
    let number = |name: &str, text: Option<String>, [default, most]: [u64; 2]| {
        let Some(text) = text else { return Ok(default) };
        let value = text.parse().ok().filter(|value| (1..=most).contains(value));
        value.ok_or_else(|| ApiError::field(name, format!("found '{text}', expected 1 to {most}")))
    };
    let (steps, wait) = (number("steps", steps, STEPS)?, number("wait", wait, WAIT)?);
    let state = app.service.state();
    if state != service::State::Ready {
        return Err(SubmitError::Unavailable(state).into());
    }
    let device = app.roofline.device()?.clone();
    let stamps = app.roofline.stamps(&device)?;
    let (window, seen) = app.service.watch_steps(steps as usize, stamps, Duration::from_secs(wait)).await?;
    if seen.is_empty() {
        let message = format!("no step ran within {wait} s: send requests while the window is open");
        return Err(ApiError::new(StatusCode::CONFLICT, message).code("idle"));
    }
    let model = app.roofline.seen().model.clone();
    let steps = seen.len();
    // Thousands of resamplings a row: no other request waits for them.
    let report = tokio::task::spawn_blocking(move || Report::of_window(device, model, &seen))
        .await
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let answer = match form {
        Some(_) => whole(&report)?,
        None => {
            let short = json!({"steps": steps, "kinds": report.steps.len(), "summary": report.summary});
            reply::json(&short)
        }
    };
    app.roofline.seen().keep(window, report);
    Ok(answer)
}

/// A report's JSON.
fn whole(report: &Report) -> Result<Response, ApiError> {
    let body = serde_json::to_value(report);
    body.map(|body| reply::json(&body))
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// The last window's report: JSON, or a page where a browser or `format=html` asks.
///
/// # Errors
/// When there was no window.
pub async fn roofline(
    State(app): State<Arc<App>>,
    asked: Asked,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let [form] = values(asked, ["format"])?;
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let page = match form.as_deref() {
        Some("html") => true,
        Some("json") => false,
        None => accepts.contains("text/html"),
        Some(other) => {
            return Err(ApiError::field("format", format!("found '{other}', expected json or html")));
        }
    };
    let (_, report) = app.roofline.seen().report.clone().ok_or_else(|| {
        let message = "no window was profiled yet: POST /debug/profile?steps=30 while requests run";
        ApiError::new(StatusCode::NOT_FOUND, message).code("no_window")
    })?;
    if page { Ok(Html(html(&report)).into_response()) } else { whole(&report) }
}

/// The latest steps by the GPU's own clock, with the ceilings that they stand under.
///
/// # Errors
/// When a parameter is given: there is none.
pub async fn latest(State(app): State<Arc<App>>, asked: Asked) -> Result<Response, ApiError> {
    values(asked, [])?;
    let value = |name: &str| {
        let device = app.roofline.device.as_ref()?;
        device.ceilings.iter().find(|c| c.name == name).map(|c| c.value)
    };
    let latest: Vec<Value> = app.roofline.seen().latest.iter().cloned().collect();
    let ceilings = json!({"read_cold": value("read_cold"), "fma_f32": value("fma_f32")});
    let device = app.roofline.device.as_ref();
    let spanless = device.filter(|d| d.timer.grade == Grade::WallOnly);
    let why = spanless.map(|d| format!("this device's timer is wall_only: {}", d.timer.reason));
    let why = why.or_else(|| useless(app.roofline.seen().stamps));
    Ok(reply::json(&json!({"ceilings": ceilings, "steps": latest, "no_spans": why})))
}

/// Why no step has a span, where stamps came and none was of use.
fn useless(stamps: Counts) -> Option<String> {
    let Counts { pairs, zeros, negatives } = stamps;
    (pairs > 0 && pairs == zeros + negatives).then(|| {
        format!("none of {pairs} pairs of stamps was of use: {zeros} had a zero, {negatives} ended before they began")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_window_s_report_stays() {
        let report = |steps: u64| {
            let text = include_str!("../../tests/data/roofline/simulated.json");
            Report { watched_steps: Some(steps), ..Report::from_json(text).unwrap() }
        };
        let mut seen = Seen::default();
        for (window, kept) in [(2, 2), (1, 2), (3, 3)] {
            seen.keep(window, report(window));
            assert_eq!(seen.report.as_ref().and_then(|(_, r)| r.watched_steps), Some(kept));
        }
    }

    #[test]
    fn stamps_of_no_use_are_why_there_are_no_spans() {
        let of = |pairs, zeros, negatives| useless(Counts { pairs, zeros, negatives });
        assert_eq!((of(0, 0, 0), of(5, 4, 0)), (None, None));
        let why = "none of 5 pairs of stamps was of use: 4 had a zero, 1 ended before they began";
        assert_eq!(of(5, 4, 1).as_deref(), Some(why));
    }

    #[test]
    fn a_step_s_work_is_counted_by_hand() {
        let work = Work {
            ops_token: 100.0,
            ops_output: 10.0,
            ops_pair: 2.0,
            bytes_step: 1000.0,
            bytes_head: 500.0,
            bytes_key: 4.0,
        };
        // A decode that sees 50 keys, beside a prompt's first four tokens, which want no logits.
        let mixed = Computed { tokens: 5, sequences: 2, outputs: 1, pairs: 50 + 10, keys: 50 + 4 };
        assert_eq!(work.step(&mixed), (500.0 + 10.0 + 120.0, 1000.0 + 500.0 + 4.0 * 54.0));
        // Without logits the head is not read.
        let prompt = Computed { tokens: 4, sequences: 1, outputs: 0, pairs: 10, keys: 4 };
        assert_eq!(work.step(&prompt), (400.0 + 20.0, 1000.0 + 16.0));
    }

    #[test]
    fn parameters_are_known_and_come_once() {
        let asked = |query: &str| {
            let uri = format!("/?{query}").parse().unwrap();
            values(Query::try_from_uri(&uri), ["steps", "wait"])
        };
        assert_eq!(asked("wait=2").unwrap(), [None, Some("2".into())]);
        for (query, expected) in [
            ("stepz=2", "stepz: unknown, expected steps or wait"),
            ("steps=2&steps=2", "steps: found more than once, expected once"),
        ] {
            let error = asked(query).unwrap_err();
            assert_eq!((error.status, error.message.as_str()), (StatusCode::BAD_REQUEST, expected));
        }
    }
}
