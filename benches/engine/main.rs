//! The engine on a real model: how fast prompts come in and answers go out, alone and together; what paging,
//! batching, a step ahead, a fixed order of sums, a bound on steps and cached prefixes cost and bring.
//! Figures of wall time; each comparison alternates its sides.
//!
//! `cargo bench --bench engine -- MODEL.gguf [WORD]... [--json] [--baseline FILE]`. Sizes are those of a context
//! of 2304 tokens, and shrink with a shorter one. With `QUICK=1` and no model, a tiny one shows that it runs.

mod drive;
#[path = "../report/mod.rs"]
mod report;
mod tables;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use drive::{Times, decode_rate, request, run, step, ttft, worked};
use report::{Flags, Row, Run, quick};
use ridgepoint::cache::CacheConfig;
use ridgepoint::engine::{Ahead, Engine, Options};
use ridgepoint::format::ModelFile;
use ridgepoint::gpu::Gpu;
use ridgepoint::kernels::Order;
use ridgepoint::kernels::rope_cache::CacheType;
use ridgepoint::model::{Limits, Runner};
use ridgepoint::profile::stats::Samples;
use ridgepoint::scheduler::SchedulerConfig;

#[derive(Debug, Parser)]
struct Args {
    /// The model
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/quant-models/tiny-Q4_1.gguf"))]
    model: PathBuf,
    #[command(flatten)]
    flags: Flags,
}

/// The context that sizes are given for.
const CONTEXT: usize = 2304;
/// Sequences of the widest decode.
const WIDEST: usize = 16;

struct Bench {
    gpu: Arc<Gpu>,
    file: ModelFile,
    context: usize,
    flags: Flags,
    run: Run,
}

/// Samples of one figure.
struct Figure {
    name: String,
    unit: &'static str,
    samples: Vec<f64>,
    note: String,
}

impl Bench {
    /// A number of tokens, given for a context of [`CONTEXT`].
    fn scaled(&self, tokens: usize) -> usize {
        (tokens * self.context / CONTEXT).max(4)
    }

    fn samples(&self, full: usize) -> usize {
        if quick() { 1 } else { full }
    }

    /// Prompt and answer of a sequence whose decode is timed.
    fn short(&self) -> [usize; 2] {
        [32, 40].map(|n| self.scaled(n))
    }

    fn wants(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.flags.want(name))
    }

    fn push(&mut self, figure: Figure) -> anyhow::Result<()> {
        let Figure { name, unit, samples, note } = figure;
        if self.flags.want(&name) {
            let samples = Samples::new(samples).with_context(|| format!("{name}: a figure is not finite"))?;
            let (value, i) = (samples.median(), samples.median_interval());
            let unit = unit.to_string();
            let row = Row { name, unit, value, low: i.low, high: i.high, samples: samples.count(), note };
            self.run.push(&self.flags, row);
        }
        Ok(())
    }

    fn runner(&self, limits: Limits) -> anyhow::Result<Runner> {
        Ok(Runner::load(&self.gpu, &self.file, limits, &mut |_, _| {})?)
    }

    fn engine(&self, options: Options, sequences: usize) -> anyhow::Result<Engine> {
        let (context, tokens) = (self.context, self.scaled(512).max(4 * WIDEST));
        let limits = Limits {
            tokens,
            outputs: sequences,
            context,
            sequences,
            cache: CacheConfig::new((context.div_ceil(16) * 2 + 16 * sequences) as u32),
            cache_type: CacheType::F16,
        };
        let tokenizer = Arc::new(self.file.tokenizer()?);
        let config = SchedulerConfig {
            max_num_seqs: sequences as u32,
            max_num_batched_tokens: tokens as u32,
            max_model_len: context as u32,
            ..SchedulerConfig::default()
        };
        let mut engine = Engine::with_options(self.runner(limits)?, tokenizer, config, options)?;
        engine.prepare(tokens)?;
        // Every width of a step builds its kernels at first use.
        for n in ends(&[1, 2, 4, 8, sequences]) {
            let requests = (0..n as u64).map(|i| request(&engine, self.scaled(40), i, 3)).collect();
            run(&mut engine, requests)?;
        }
        Ok(engine)
    }

    fn prefill(&mut self) -> anyhow::Result<()> {
        let sizes: Vec<usize> = ends(&[100, 500, 2000]).into_iter().map(|n| self.scaled(n)).collect();
        let names: Vec<String> = sizes.iter().map(|n| format!("prefill {n}")).collect();
        if !self.wants(&names) {
            return Ok(());
        }
        let mut engine = self.engine(Options::default(), 1)?;
        for (n, name) in sizes.into_iter().zip(names) {
            let mut samples = Vec::new();
            for i in 0..self.samples(5) as u64 {
                engine.reset_prefix_cache();
                let prompt = request(&engine, n, 300 + i, 1);
                samples.push(n as f64 / ttft(&mut engine, prompt)?.as_secs_f64());
            }
            self.push(Figure { name, unit: "tokens/s", samples, note: String::new() })?;
        }
        Ok(())
    }

    fn decode(&mut self) -> anyhow::Result<()> {
        let widths = ends(&[1, 2, 4, 8, WIDEST]);
        let names: Vec<String> = widths.iter().map(|n| format!("decode x {n}")).collect();
        if !self.wants(&names) {
            return Ok(());
        }
        let mut engine = self.engine(Options::default(), WIDEST)?;
        let mut one = None;
        for (n, name) in widths.into_iter().zip(names) {
            let rates = (0..self.samples(5)).map(|_| decode_rate(&mut engine, n, self.short()));
            let samples = rates.collect::<anyhow::Result<Vec<_>>>()?;
            let rate = median(samples.clone())?;
            let note = format!("batching: {:.2} x one's", rate / *one.get_or_insert(rate));
            self.push(Figure { name, unit: "tokens/s", samples, note })?;
        }
        Ok(())
    }

    /// Prompts that come in one after the other while four sequences decode.
    fn mixed(&mut self) -> anyhow::Result<()> {
        let prompt = self.scaled(500);
        let name = format!("mixed: prompts of {prompt} beside decode x 4");
        if !self.wants(std::slice::from_ref(&name)) {
            return Ok(());
        }
        let mut engine = self.engine(Options::default(), 5)?;
        engine.reset_prefix_cache();
        let [before, answer] = [self.scaled(32), self.scaled(400)];
        let mut streams = Vec::new();
        for i in 0..4 {
            let stream = request(&engine, before, 400 + i, answer);
            streams.push(engine.add(stream)?);
        }
        let mut times = Times::new();
        while !streams.iter().all(|id| times.iter().any(|(of, _)| of == id)) {
            step(&mut engine, &mut times)?;
        }
        let (mut samples, mut decoded) = (Vec::new(), 0);
        for i in 0..self.samples(7) as u64 {
            times.clear();
            let start = std::time::Instant::now();
            let arrived = request(&engine, prompt, 500 + i, 1);
            let arrived = engine.add(arrived)?;
            while !times.iter().any(|(of, _)| *of == arrived) {
                step(&mut engine, &mut times)?;
            }
            samples.push((prompt + times.len() - 1) as f64 / start.elapsed().as_secs_f64());
            decoded += times.len() - 1;
        }
        streams.into_iter().for_each(|id| engine.abort(id));
        ensure!(decoded > 0, "no sequence decoded while prompts came in");
        let note = format!("{decoded} tokens decoded beside {} prompts", samples.len());
        self.push(Figure { name, unit: "tokens/s", samples, note })
    }

    /// Two kinds of engine side by side: the ratio of their decode rates, and of their prefills.
    fn compare(&mut self, what: &str, a: Options, b: Options) -> anyhow::Result<()> {
        let widths = ends(&[1, 4, 8, WIDEST]);
        let prompt = self.scaled(500);
        let mut names: Vec<String> = widths.iter().map(|n| format!("{what}: decode x {n}")).collect();
        names.push(format!("{what}: prefill {prompt}"));
        if !self.wants(&names) {
            return Ok(());
        }
        let mut engines = [self.engine(a, WIDEST)?, self.engine(b, WIDEST)?];
        for (i, name) in names.into_iter().enumerate() {
            let (mut samples, mut work) = (Vec::new(), Vec::new());
            for sample in 0..self.samples(5) as u64 {
                let rate = |engine: &mut Engine| match widths.get(i) {
                    Some(n) => decode_rate(engine, *n, self.short()),
                    None => {
                        let request = request(engine, prompt, 900 + sample, 1);
                        ttft(engine, request).map(|time| 1.0 / time.as_secs_f64())
                    }
                };
                let [a, b] = engines.each_mut().map(|engine| worked(|| rate(engine)));
                let (a, b) = (a?, b?);
                samples.push(b.0 / a.0);
                work.push(b.1 / a.1);
            }
            let note = format!("rate over the plain one's; {:.3} x the processor's time", median(work)?);
            self.push(Figure { name, unit: "x", samples, note })?;
        }
        Ok(())
    }

    /// A stream that decodes while a long prompt arrives.
    fn bound(&mut self) -> anyhow::Result<()> {
        for ms in ends(&[None, Some(500), Some(250), Some(120)]) {
            let name = format!("bound {}", ms.map_or("off".into(), |ms| format!("{ms} ms")));
            if !self.wants(std::slice::from_ref(&name)) {
                continue;
            }
            let options = Options { max_step: ms.map(Duration::from_millis), ..Options::default() };
            let mut engine = self.engine(options, 4)?;
            let warm = [(300, 1), (600, 2)].map(|(n, seed)| request(&engine, self.scaled(n), seed, 4));
            run(&mut engine, warm.into())?;
            let (answer, long) = (self.scaled(120), self.scaled(2000));
            let stream = request(&engine, self.scaled(20), 3, answer);
            let stream = engine.add(stream)?;
            let mut times = Times::new();
            let mut arrived = None;
            while engine.has_work() {
                step(&mut engine, &mut times)?;
                if arrived.is_none() && times.len() > answer / 6 {
                    let request = request(&engine, long, 4, 2);
                    arrived = Some(engine.add(request)?);
                }
                if arrived.is_some_and(|id| times.iter().any(|(of, _)| *of == id)) {
                    engine.abort(stream);
                }
            }
            let own: Vec<_> = times.iter().filter(|(id, _)| *id == stream).map(|(_, t)| *t).collect();
            let gaps: Vec<f64> = own.windows(2).map(|w| (w[1] - w[0]).as_secs_f64() * 1e9).collect();
            let all = Samples::new(gaps.clone()).context("the stream has no gaps")?;
            let note = format!(
                "gaps of a stream while {long} tokens come in: p99 {:.0} ms, largest {:.0} ms; model off by {:.1} %",
                all.percentile(99.0) / 1e6,
                all.most() / 1e6,
                100.0 * engine.step_time().error()
            );
            self.push(Figure { name, unit: "ns", samples: gaps, note })?;
        }
        Ok(())
    }

    /// A request that shares all but its last tokens with one before it.
    fn prefix(&mut self) -> anyhow::Result<()> {
        let (shared, new) = (self.scaled(1000), self.scaled(24));
        let name = format!("prefix: TTFT with {shared} of {} tokens cached", shared + new);
        if !self.wants(std::slice::from_ref(&name)) {
            return Ok(());
        }
        let mut engine = self.engine(Options::default(), 4)?;
        let (mut samples, mut shares) = (Vec::new(), Vec::new());
        for i in 0..self.samples(5) as u64 {
            let whole = request(&engine, shared + new, 50 + i, 1);
            let mut second = whole.clone();
            second.prompt.truncate(shared);
            second.prompt.extend(request(&engine, new, 70 + i, 1).prompt);
            let first = ttft(&mut engine, whole)?.as_secs_f64();
            let time = ttft(&mut engine, second)?.as_secs_f64();
            samples.push(time * 1e9);
            shares.push(time / first);
        }
        let note = format!("{:.1} % of the first's", 100.0 * median(shares)?);
        self.push(Figure { name, unit: "ns", samples, note })
    }

    /// A short request that arrives while a long one runs: it joins its steps, and ends first.
    fn join(&mut self) -> anyhow::Result<()> {
        let name = "join: TTFT of a short request during a long one".to_string();
        if !self.wants(std::slice::from_ref(&name)) {
            return Ok(());
        }
        let mut engine = self.engine(Options::default(), 4)?;
        let mut samples = Vec::new();
        for i in 0..self.samples(5) as u64 {
            let n = self.scaled(60).max(12);
            let long = request(&engine, n, 2 * i, n);
            let long = engine.add(long)?;
            let mut times = Times::new();
            while times.len() < 3 {
                step(&mut engine, &mut times)?;
            }
            let start = std::time::Instant::now();
            let short = request(&engine, 20.min(n), 2 * i + 1, 4);
            let short = engine.add(short)?;
            while engine.has_work() {
                step(&mut engine, &mut times)?;
            }
            let last = |id| times.iter().rposition(|(of, _)| *of == id);
            ensure!(last(short) < last(long), "the short request did not end first");
            let first = times.iter().find(|(of, _)| *of == short).context("no token")?.1;
            samples.push((first - start).as_secs_f64() * 1e9);
        }
        self.push(Figure { name, unit: "ns", samples, note: String::new() })
    }
}

/// All of them or, to show that it runs, the first and the last.
fn ends<T: Copy>(all: &[T]) -> Vec<T> {
    match all {
        [first, .., last] if quick() => vec![*first, *last],
        _ => all.to_vec(),
    }
}

fn median(values: Vec<f64>) -> anyhow::Result<f64> {
    Ok(Samples::new(values).context("a figure that isn't finite")?.median())
}

fn main() -> anyhow::Result<()> {
    let Args { model, flags } = Args::parse();
    let gpu = flags.open()?;
    let file = ModelFile::open(&model)?;
    let context = file.hyper()?.context_length.min(if quick() { 256 } else { CONTEXT });
    let run = Run::new("engine", &gpu);
    eprintln!("{}", run.device);
    let mut bench = Bench { gpu, file, context, flags, run };
    let plain = Options::default();
    bench.prefill()?;
    bench.decode()?;
    bench.mixed()?;
    tables::measure(&mut bench)?;
    bench.compare("ahead", plain, Options { ahead: Ahead::On, ..plain })?;
    bench.compare("order", plain, Options { order: Order::Fixed, ..plain })?;
    bench.bound()?;
    bench.prefix()?;
    bench.join()?;
    let Bench { run, flags, .. } = bench;
    ensure!(!run.rows.is_empty(), "no row has all of '{}' in its name", flags.words.join(" "));
    run.finish(&flags)
}
