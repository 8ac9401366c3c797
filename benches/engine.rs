//! The engine on a real model: what batching, a step ahead, a fixed order of sums, a bound on steps and
//! cached prefixes cost and bring. Figures of wall time; each comparison alternates its two sides.
//!
//! `cargo bench --bench engine -- MODEL.gguf [batching|ahead|order|bound|prefix|join]...`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use ridgepoint::cache::CacheConfig;
use ridgepoint::engine::{Ahead, Engine, Event, GenerationRequest, Options, RequestId};
use ridgepoint::format::ModelFile;
use ridgepoint::gpu::{AdapterChoice, Checks, Gpu};
use ridgepoint::kernels::rope_cache::CacheType;
use ridgepoint::kernels::{Noise, Order};
use ridgepoint::model::{Limits, Runner};
use ridgepoint::profile::stats::Samples;
use ridgepoint::sample::SamplingParams;
use ridgepoint::scheduler::SchedulerConfig;

struct Bench {
    gpu: Arc<Gpu>,
    model: PathBuf,
}

/// When each token of each request came.
type Times = Vec<(RequestId, Instant)>;

impl Bench {
    fn engine(&self, options: Options, sequences: usize) -> anyhow::Result<Engine> {
        let file = ModelFile::open(&self.model)?;
        let context = 2304.min(file.hyper()?.context_length);
        let limits = Limits {
            tokens: 512,
            outputs: sequences,
            context,
            sequences,
            cache: CacheConfig::new((context.div_ceil(16) * 2 + 16 * sequences) as u32),
            cache_type: CacheType::F16,
        };
        let tokenizer = Arc::new(file.tokenizer()?);
        let runner = Runner::load(&self.gpu, &file, limits, &mut |_, _| {})?;
        let config = SchedulerConfig {
            max_num_seqs: sequences as u32,
            max_num_batched_tokens: 512,
            max_model_len: context as u32,
            ..SchedulerConfig::default()
        };
        let mut engine = Engine::with_options(runner, tokenizer, config, options)?;
        engine.prepare(512)?;
        // Every width of a step builds its kernels at first use.
        for n in [1, 2, 4, 8, sequences] {
            run(&mut engine, (0..n as u64).map(|i| request(40, i, 3)).collect())?;
        }
        Ok(engine)
    }

    fn batching(&self) -> anyhow::Result<()> {
        let mut engine = self.engine(Options::default(), 16)?;
        let mut one = 0.0;
        for n in [1, 2, 4, 8, 16] {
            let rates = (0..3).map(|_| decode_rate(&mut engine, n)).collect::<anyhow::Result<Vec<_>>>()?;
            let rate = median(rates)?;
            if n == 1 {
                one = rate;
            }
            println!("batching: {n:2} sequences, {rate:7.1} tokens/s, {:.2} x one's", rate / one);
        }
        Ok(())
    }

    /// Two kinds of engine side by side: the ratio of their decode rates, and of their prefills.
    fn compare(&self, name: &str, a: Options, b: Options) -> anyhow::Result<()> {
        let mut engines = [self.engine(a, 16)?, self.engine(b, 16)?];
        for n in [1, 4, 8, 16] {
            let (mut ratios, mut work) = (Vec::new(), Vec::new());
            for _ in 0..5 {
                let [a, b] = engines.each_mut().map(|engine| worked(|| decode_rate(engine, n)));
                let (a, b) = (a?, b?);
                ratios.push(b.0 / a.0);
                work.push(b.1 / a.1);
            }
            println!(
                "{name}: {n:2} sequences decode at {:.3} x the rate, {:.3} x the processor's time",
                median(ratios)?,
                median(work)?
            );
        }
        let (mut ratios, mut work) = (Vec::new(), Vec::new());
        for i in 0..5 {
            let [a, b] = engines.each_mut().map(|e| worked(|| ttft(e, request(500, 900 + i, 1))));
            let (a, b) = (a?, b?);
            ratios.push(a.0.as_secs_f64() / b.0.as_secs_f64());
            work.push(b.1 / a.1);
        }
        println!(
            "{name}: 500 tokens of prompt at {:.3} x the rate, {:.3} x the processor's time",
            median(ratios)?,
            median(work)?
        );
        Ok(())
    }

    /// A stream that decodes while a long prompt arrives.
    fn bound(&self) -> anyhow::Result<()> {
        for ms in [None, Some(500), Some(250), Some(120)] {
            let options = Options { max_step: ms.map(Duration::from_millis), ..Options::default() };
            let mut engine = self.engine(options, 4)?;
            run(&mut engine, vec![request(300, 1, 4), request(600, 2, 4)])?;
            let stream = engine.add(request(20, 3, 120))?;
            let mut times = Times::new();
            let mut long = None;
            while engine.has_work() {
                step(&mut engine, &mut times)?;
                if long.is_none() && times.len() > 20 {
                    long = Some(engine.add(request(2000, 4, 2))?);
                }
                let answered = long.is_some_and(|id| times.iter().any(|(of, _)| *of == id));
                if answered {
                    engine.abort(stream);
                }
            }
            let own: Vec<Instant> = times.iter().filter(|(id, _)| *id == stream).map(|(_, t)| *t).collect();
            let gaps: Vec<f64> = own.windows(2).map(|w| (w[1] - w[0]).as_secs_f64() * 1e3).collect();
            let gaps = Samples::new(gaps).context("the stream has no gaps")?;
            println!(
                "bound {ms:?} ms: gaps of the stream while 2000 tokens come in: median {:.0} ms, p99 {:.0} ms, largest {:.0} \
                 ms; model off by {:.1} %",
                gaps.median(),
                gaps.percentile(99.0),
                gaps.most(),
                100.0 * engine.step_time().error()
            );
        }
        Ok(())
    }

    /// 1000 shared and 24 new tokens.
    fn prefix(&self) -> anyhow::Result<()> {
        let mut engine = self.engine(Options::default(), 4)?;
        let mut shares = Vec::new();
        for i in 0..3 {
            let whole = request(1024, 50 + i, 1);
            let mut second = whole.clone();
            second.prompt.truncate(1000);
            second.prompt.extend(request(24, 70 + i, 1).prompt);
            let first = ttft(&mut engine, whole)?;
            shares.push(ttft(&mut engine, second)?.as_secs_f64() / first.as_secs_f64());
        }
        println!("prefix: TTFT of the second request is {:.1} % of the first's", 100.0 * median(shares)?);
        Ok(())
    }

    /// A short request arrives while a long one runs.
    fn join(&self) -> anyhow::Result<()> {
        let mut engine = self.engine(Options::default(), 4)?;
        let long = engine.add(request(60, 1, 60))?;
        let mut times = Times::new();
        while times.len() < 10 {
            step(&mut engine, &mut times)?;
        }
        let short = engine.add(request(20, 2, 8))?;
        while engine.has_work() {
            step(&mut engine, &mut times)?;
        }
        let last = |id| times.iter().rposition(|(of, _)| *of == id);
        anyhow::ensure!(last(short) < last(long), "the short request did not end first");
        println!("join: a request that arrived during a long one joined its steps and ended first");
        Ok(())
    }
}

/// A greedy request of random tokens.
fn request(prompt: usize, seed: u64, tokens: u32) -> GenerationRequest {
    let ids = Noise::new(seed).shuffled(4000).into_iter().cycle().take(prompt).map(|id| id + 100);
    let params = SamplingParams {
        temperature: 0.0,
        ignore_eos: true,
        max_tokens: Some(tokens),
        ..SamplingParams::default()
    };
    GenerationRequest::new(ids.collect(), params)
}

fn step(engine: &mut Engine, times: &mut Times) -> anyhow::Result<()> {
    let mut events = Vec::new();
    engine.step(&mut events)?;
    let now = Instant::now();
    times.extend(events.iter().filter_map(|event| match event {
        Event::Token { id, .. } => Some((*id, now)),
        Event::Prompt { .. } | Event::Finished { .. } => None,
    }));
    Ok(())
}

fn run(engine: &mut Engine, requests: Vec<GenerationRequest>) -> anyhow::Result<Times> {
    for request in requests {
        engine.add(request)?;
    }
    let mut times = Times::new();
    while engine.has_work() {
        step(engine, &mut times)?;
    }
    Ok(times)
}

/// Tokens a second of `n` sequences between the last first token and the first last one.
fn decode_rate(engine: &mut Engine, n: usize) -> anyhow::Result<f64> {
    engine.reset_prefix_cache();
    let times = run(engine, (0..n as u64).map(|i| request(32, 200 + i, 40)).collect())?;
    let of = |id| times.iter().filter(move |(of, _)| *of == id).map(|(_, t)| *t);
    let mut ids: Vec<RequestId> = times.iter().map(|(id, _)| *id).collect();
    ids.sort();
    ids.dedup();
    let from = ids.iter().filter_map(|id| of(*id).min()).max().context("no first token")?;
    let to = ids.iter().filter_map(|id| of(*id).max()).min().context("no last token")?;
    let tokens = times.iter().filter(|(_, t)| *t > from && *t <= to).count();
    Ok(tokens as f64 / (to - from).as_secs_f64())
}

/// A figure with the processor time that it took: on a software adapter all work is in this process,
/// and unlike wall time it doesn't count what other processes do. 1 where the system doesn't tell.
fn worked<T>(run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, f64)> {
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

fn ttft(engine: &mut Engine, request: GenerationRequest) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let times = run(engine, vec![request])?;
    Ok(times.first().context("no token")?.1 - start)
}

fn median(values: Vec<f64>) -> anyhow::Result<f64> {
    Ok(Samples::new(values).context("a figure that isn't finite")?.median())
}

fn main() -> anyhow::Result<()> {
    // Cargo adds a flag of its own.
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let Some(model) = arguments.next() else {
        println!("engine: give a model file: cargo bench --bench engine -- MODEL.gguf [NAME]...");
        return Ok(());
    };
    let names: Vec<String> = arguments.collect();
    let bench = Bench {
        gpu: Gpu::open(&AdapterChoice::Best, Checks::Trusted)?,
        model: Path::new(&model).to_path_buf(),
    };
    println!("{} ({})", bench.gpu.adapter.name, bench.gpu.why);
    let plain = Options::default();
    let wants = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
    if wants("join") {
        bench.join()?;
    }
    if wants("prefix") {
        bench.prefix()?;
    }
    if wants("bound") {
        bench.bound()?;
    }
    if wants("ahead") {
        bench.compare("a step ahead", plain, Options { ahead: Ahead::WherePossible, ..plain })?;
    }
    if wants("order") {
        bench.compare("a fixed order", plain, Options { order: Order::Fixed, ..plain })?;
    }
    if wants("batching") {
        bench.batching()?;
    }
    Ok(())
}
