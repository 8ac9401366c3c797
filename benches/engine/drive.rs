//! Requests through an engine, and when their tokens came.

use std::time::{Duration, Instant};

use anyhow::Context;
use ridgepoint::engine::{Engine, Event, GenerationRequest, RequestId};
use ridgepoint::kernels::Noise;
use ridgepoint::sample::SamplingParams;

/// When each token of each request came.
pub type Times = Vec<(RequestId, Instant)>;

/// A greedy request of random tokens.
pub fn request(engine: &Engine, prompt: usize, seed: u64, tokens: usize) -> GenerationRequest {
    // The first ids are special ones.
    let vocab = engine.runner().hyper.vocab;
    let special = 100.min(vocab / 2);
    let ids = Noise::new(seed).shuffled((vocab - special).min(4000));
    let ids = ids.into_iter().cycle().take(prompt).map(|id| id + special as u32);
    let params = SamplingParams {
        temperature: 0.0,
        ignore_eos: true,
        max_tokens: Some(tokens as u32),
        ..SamplingParams::default()
    };
    GenerationRequest::new(ids.collect(), params)
}

pub fn step(engine: &mut Engine, times: &mut Times) -> anyhow::Result<()> {
    let mut events = Vec::new();
    engine.step(&mut events)?;
    let now = Instant::now();
    times.extend(events.iter().filter_map(|event| match event {
        Event::Token { id, .. } => Some((*id, now)),
        Event::Prompt { .. } | Event::Finished { .. } => None,
    }));
    Ok(())
}

pub fn run(engine: &mut Engine, requests: Vec<GenerationRequest>) -> anyhow::Result<Times> {
    for request in requests {
        engine.add(request)?;
    }
    let mut times = Times::new();
    while engine.has_work() {
        step(engine, &mut times)?;
    }
    Ok(times)
}

/// Tokens a second of `n` sequences of `answer` tokens between the last first token and the first last one.
pub fn decode_rate(engine: &mut Engine, n: usize, [prompt, answer]: [usize; 2]) -> anyhow::Result<f64> {
    engine.reset_prefix_cache();
    let requests = (0..n as u64).map(|i| request(engine, prompt, 200 + i, answer)).collect();
    let times = run(engine, requests)?;
    let of = |id| times.iter().filter(move |(of, _)| *of == id).map(|(_, t)| *t);
    let mut ids: Vec<RequestId> = times.iter().map(|(id, _)| *id).collect();
    ids.sort();
    ids.dedup();
    let from = ids.iter().filter_map(|id| of(*id).min()).max().context("no first token")?;
    let to = ids.iter().filter_map(|id| of(*id).max()).min().context("no last token")?;
    let tokens = times.iter().filter(|(_, t)| *t > from && *t <= to).count();
    Ok(tokens as f64 / (to - from).as_secs_f64())
}

/// The time to the first token of a request that is alone.
pub fn ttft(engine: &mut Engine, request: GenerationRequest) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let times = run(engine, vec![request])?;
    Ok(times.first().context("no token")?.1 - start)
}

/// A figure with the processor time that it took: on a software adapter all work is in this process,
/// and unlike wall time it doesn't count what other processes do. 1 where the system doesn't tell.
pub fn worked<T>(run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, f64)> {
    let ticks = || -> Option<f64> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
    };
    let before = ticks();
    let value = run()?;
    let spent = ticks().zip(before).map_or(1.0, |(after, before)| after - before);
    Ok((value, spent.max(1.0)))
}
