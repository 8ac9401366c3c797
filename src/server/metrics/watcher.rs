//! Sees the engine's steps, on its thread: feeds the metrics, and logs while it is busy.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::debug::Roofline;
use super::Metrics;
use super::series::Series;
use crate::engine::service::Observer;
use crate::engine::{Counters, Engine, Event, FinishedRequest, GenerationRequest, RequestId};

/// How often a busy engine logs what it does.
const REPORT: Duration = Duration::from_secs(5);
/// The time over which the device's busy share is taken.
const WINDOW: Duration = Duration::from_secs(1);

/// A request's clock.
#[derive(Debug)]
struct Watched {
    arrived: Instant,
    /// When each choice's last token came.
    last: Vec<Option<Instant>>,
    /// Choices that haven't ended.
    open: usize,
    longest: usize,
}

/// See the module's doc.
#[derive(Debug)]
pub struct Watcher {
    metrics: Arc<Metrics>,
    roofline: Arc<Roofline>,
    watched: HashMap<RequestId, Watched>,
    /// Steps counted so far.
    steps: u64,
    reported: Instant,
    before: Counters,
    /// When the busy share was last taken, and the device's time by then.
    busy: (Instant, Duration),
}

impl Watcher {
    /// Feeds these.
    pub fn new(metrics: Arc<Metrics>, roofline: Arc<Roofline>) -> Self {
        let (reported, before) = (Instant::now(), Counters::default());
        Self {
            metrics,
            roofline,
            watched: HashMap::new(),
            steps: 0,
            reported,
            before,
            busy: (reported, Duration::ZERO),
        }
    }

    fn report(&mut self, engine: &Engine, now: Instant) {
        let past = now.duration_since(self.reported);
        if past < REPORT {
            return;
        }
        let stats = engine.stats();
        let c = stats.counters;
        if c.steps > self.before.steps {
            let rate = |now: u64, before: u64| (now - before) as f64 / past.as_secs_f64();
            let hits = 100.0 * stats.prefix.hits as f64 / stats.prefix.queries.max(1) as f64;
            tracing::info!(
                "prompt {:.1} tokens/s, generation {:.1} tokens/s, running {}, waiting {}, KV cache {:.1} %, prefix hits {hits:.1} %, GPU busy {:.0} %",
                rate(c.prompt_tokens, self.before.prompt_tokens),
                rate(c.generation_tokens, self.before.generation_tokens),
                stats.running,
                stats.waiting,
                100.0 * stats.cache_usage(),
                100.0 * share(c.parts.device - self.before.parts.device, past),
            );
        }
        (self.reported, self.before) = (now, c);
    }
}

impl Observer for Watcher {
    fn taken(&mut self, id: RequestId, request: &GenerationRequest) {
        let choices = request.params.n as usize;
        let last = vec![None; choices];
        self.watched.insert(id, Watched { arrived: Instant::now(), last, open: choices, longest: 0 });
        self.metrics.with(|seen| {
            seen.observe(Series::ParamsN, f64::from(request.params.n));
            if let Some(most) = request.params.max_tokens {
                seen.observe(Series::ParamsMaxTokens, f64::from(most));
            }
        });
    }

    fn stepped(&mut self, engine: &Engine, events: &[Event]) {
        let now = Instant::now();
        let watched = &mut self.watched;
        let stats = engine.stats();
        // An idle engine shows itself as well, without a step.
        let computed = std::mem::replace(&mut self.steps, stats.counters.steps) < stats.counters.steps;
        if stats.counters.steps == 0 {
            self.roofline.loaded(engine);
        }
        if computed {
            self.roofline.stamped(stats.counters.stamps);
        }
        if let Some(step) = engine.last_step().spanned.filter(|_| computed) {
            self.roofline.spanned(&step);
        }
        let device = stats.counters.parts.device;
        let past = now - self.busy.0;
        let busy = (past >= WINDOW).then(|| {
            let (_, before) = std::mem::replace(&mut self.busy, (now, device));
            share(device - before, past)
        });
        self.metrics.with(|seen| {
            seen.stats = Some(stats);
            seen.busy = busy.unwrap_or(seen.busy);
            if computed {
                seen.observe(Series::IterationTokens, f64::from(engine.last_step().tokens));
            }
            for event in events {
                match event {
                    Event::Prompt { .. } => {}
                    Event::Token { id, index, .. } => {
                        let Some(w) = watched.get_mut(id) else { continue };
                        let fresh = w.last.iter().all(Option::is_none);
                        let Some(last) = w.last.get_mut(*index as usize) else { continue };
                        match last.replace(now) {
                            Some(before) => {
                                let gap = (now - before).as_secs_f64();
                                seen.observe(Series::Itl, gap);
                                seen.observe(Series::ItlOld, gap);
                            }
                            None if fresh => seen.observe(Series::Ttft, (now - w.arrived).as_secs_f64()),
                            None => {}
                        }
                    }
                    Event::Finished { id, result, .. } => {
                        finished(seen, result);
                        let Some(w) = watched.get_mut(id) else { continue };
                        w.open = w.open.saturating_sub(1);
                        w.longest = w.longest.max(result.output_tokens);
                        if w.open == 0 {
                            seen.observe(Series::MaxGenerationTokens, w.longest as f64);
                            watched.remove(id);
                        }
                    }
                }
            }
        });
        self.report(engine, now);
    }

    fn aborted(&mut self, id: RequestId) {
        self.watched.remove(&id);
    }
}

/// A step is counted when it ends: one that began before the window could fill more than all of it.
fn share(busy: Duration, of: Duration) -> f64 {
    (busy.as_secs_f64() / of.as_secs_f64()).min(1.0)
}

fn finished(seen: &mut super::Seen, result: &FinishedRequest) {
    let t = &result.timings;
    let computed = result.prompt_tokens.saturating_sub(result.cached_tokens);
    for (series, value) in [
        (Series::E2e, t.total.as_secs_f64()),
        (Series::Queue, t.queued.as_secs_f64()),
        (Series::Inference, t.inference().as_secs_f64()),
        (Series::Prefill, t.prefill().as_secs_f64()),
        (Series::Decode, t.decode().as_secs_f64()),
        (Series::PromptTokens, result.prompt_tokens as f64),
        (Series::PrefillComputed, computed as f64),
        (Series::GenerationTokens, result.output_tokens as f64),
    ] {
        seen.observe(series, value);
    }
    if result.output_tokens > 1 {
        let each = t.decode().as_secs_f64() / (result.output_tokens - 1) as f64;
        seen.observe(Series::Tpot, each);
    }
}
