//! `/metrics`, by vLLM's names, so that what was made for vLLM works here.

mod series;
mod text;
mod watcher;

use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use series::{SERIES, Series};
use text::{Histogram, Page};
pub use watcher::Watcher;

use crate::engine::Stats;

/// What is known about the engine so far.
#[derive(Debug)]
pub struct Metrics {
    model: String,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    stats: Option<Stats>,
    /// The share of the last second or so that the device was busy.
    busy: f64,
    histograms: Vec<Histogram>,
}

impl Seen {
    fn observe(&mut self, series: Series, value: f64) {
        self.histograms[series as usize].observe(value);
    }
}

impl Metrics {
    /// Nothing seen yet of the model of this name.
    pub fn new(model: &str) -> Self {
        let histograms = SERIES.iter().map(|(_, bounds, _)| Histogram::new(bounds)).collect();
        Self { model: model.to_string(), seen: Mutex::new(Seen { stats: None, busy: 0.0, histograms }) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The page as a response.
    pub fn respond(&self) -> Response {
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        ([(header::CONTENT_TYPE, kind)], self.page()).into_response()
    }

    /// The page.
    pub fn page(&self) -> String {
        let mut page = Page::new(&[("engine", "0"), ("model_name", &self.model)]);
        let (stats, busy, histograms) = self.with(|seen| (seen.stats, seen.busy, seen.histograms.clone()));
        // Until the engine is loaded there is nothing to say of it.
        if let Some(stats) = stats {
            engine(&mut page, &stats);
            page.gauge(
                "ridgepoint:gpu_busy_share",
                "The share of the last second that the device was busy, from 0 to 1.",
                busy,
            );
        }
        for ((name, _, help), histogram) in SERIES.iter().zip(&histograms) {
            page.histogram(name, help, histogram);
        }
        page.finish()
    }
}

fn engine(page: &mut Page, s: &Stats) {
    let c = &s.counters;
    page.gauge("vllm:num_requests_running", "Sequences that take part in steps.", s.running as f64);
    page.gauge("vllm:num_requests_waiting", "Sequences that wait.", s.waiting as f64);
    // The second name is an older one, which vLLM's router still reads.
    for name in ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"] {
        page.gauge(name, "The share of the KV cache in use, from 0 to 1.", s.cache_usage());
    }
    let (block_size, blocks) = (s.block_size.to_string(), s.blocks.to_string());
    let labels = [
        ("block_size", block_size.as_str()),
        ("num_gpu_blocks", blocks.as_str()),
        ("cache_dtype", s.cache_type.name()),
    ];
    page.info("vllm:cache_config_info", "The KV cache's size, and how it stores a number.", &labels);
    let mut count = |name: &str, help: &str, value: u64| {
        page.counter(name, help, "", &[("", value as f64)]);
    };
    for prefix in ["vllm:prefix_cache", "vllm:gpu_prefix_cache"] {
        count(&format!("{prefix}_queries_total"), "Tokens looked up in the prefix cache.", s.prefix.queries);
        count(&format!("{prefix}_hits_total"), "Tokens found in the prefix cache.", s.prefix.hits);
    }
    count("vllm:num_preemptions_total", "Sequences whose blocks were given to others.", c.preemptions);
    count("vllm:prompt_tokens_total", "Prompt tokens of started requests.", c.prompt_tokens);
    count("vllm:prompt_tokens_cached_total", "Those that the prefix cache had.", c.cached_tokens);
    count("vllm:generation_tokens_total", "Tokens generated.", c.generation_tokens);
    count("ridgepoint:requests_total", "Requests taken.", c.requests);
    count("ridgepoint:steps_total", "Steps that computed anything.", c.steps);
    count("ridgepoint:step_tokens_total", "Tokens computed in steps.", c.step_tokens);
    count("ridgepoint:dispatches_total", "Kernels dispatched in steps.", c.dispatches);
    page.counter(
        "vllm:request_success_total",
        "Sequences that ended, by reason.",
        "finished_reason",
        &[
            ("stop", c.stopped as f64),
            ("length", c.by_length as f64),
            ("abort", c.aborted as f64),
            ("error", c.failed as f64),
        ],
    );
    page.counter(
        "ridgepoint:gpu_span_seconds_total",
        "The GPU's spans of steps, where its timer is trusted.",
        "",
        &[("", c.spans.as_secs_f64())],
    );
    page.counter("ridgepoint:gpu_spans_total", "Steps that had one.", "", &[("", c.spanned as f64)]);
    page.counter(
        "ridgepoint:gpu_spans_lost_total",
        "Steps whose stamps were no span, by reason.",
        "reason",
        &[("zero", c.stamps.zeros as f64), ("negative", c.stamps.negatives as f64)],
    );
    page.counter(
        "ridgepoint:step_seconds_total",
        "Time of steps by part; with a step ahead the host's parts run beside the device's.",
        "part",
        &c.parts.named().map(|(part, time)| (part, time.as_secs_f64())),
    );
}
