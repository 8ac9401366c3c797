//! What profiling costs: decode steps with and without a span on the GPU each, in interleaved pairs, and
//! the tax of stamps around every dispatch.
//!
//! `cargo bench --bench profiling -- MODEL.gguf [--pairs N] [--steps N] [--json] [--baseline FILE]`.
//! With `QUICK=1` and no model, a tiny one shows that it runs.

mod report;

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use report::{Flags, Row, Run, quick};
use ridgepoint::cache::{BlockId, CacheConfig};
use ridgepoint::format::ModelFile;
use ridgepoint::kernels::rope_cache::CacheType;
use ridgepoint::model::{Entry, Limits, Outputs, Results, Runner, Want};
use ridgepoint::profile::stats::{Samples, differences};

#[derive(Debug, Parser)]
struct Args {
    /// The model
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/quant-models/tiny-Q4_1.gguf"))]
    model: PathBuf,
    /// Pairs
    #[arg(long, default_value_t = 60)]
    pairs: usize,
    /// Steps of each side of a pair
    #[arg(long, default_value_t = 10)]
    steps: usize,
    #[command(flatten)]
    flags: Flags,
}

/// Tokens of context.
const CONTEXT: usize = 128;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let gpu = args.flags.open()?;
    let file = ModelFile::open(&args.model)?;
    let limits = Limits {
        tokens: 16,
        outputs: 1,
        context: CONTEXT.min(file.hyper()?.context_length),
        sequences: 1,
        cache: CacheConfig::new(CONTEXT.div_ceil(16) as u32),
        cache_type: CacheType::F16,
    };
    let mut runner = Runner::load(&gpu, &file, limits, &mut |_, _| {})?;
    let mut run = Run::new("profiling", &gpu);
    eprintln!("{}", run.device);
    let (pairs, steps) = if quick() { (3, 2) } else { (args.pairs.max(30), args.steps.max(2)) };
    let blocks: Vec<BlockId> = (0..limits.cache.num_blocks).map(BlockId).collect();
    let start = limits.context - 1;
    let entry = Entry { tokens: &[1], start, blocks: &blocks, outputs: Outputs::Last };
    let mut results = Results::default();
    let (mut spanned, mut expected) = (0, 0);
    let mut side = |runner: &mut Runner| -> anyhow::Result<f64> {
        let begun = Instant::now();
        for _ in 0..steps {
            runner.run(&[entry], Want::Argmax, &mut results)?;
            spanned += usize::from(runner.span().is_some());
        }
        Ok(begun.elapsed().as_secs_f64() / steps as f64)
    };
    // Both sides once, to warm up.
    let mut sides = [Vec::new(), Vec::new()];
    for pair in 0..=pairs {
        let mut times = [0.0; 2];
        // Which goes first changes, so that neither gains by its place.
        for on in [pair % 2 == 0, pair % 2 != 0] {
            runner.set_spans(on);
            times[usize::from(on)] = side(&mut runner)?;
            // A span is known one step later.
            expected += if on { steps - 1 } else { 0 };
        }
        if pair > 0 {
            sides.iter_mut().zip(times).for_each(|(side, time)| side.push(time));
        }
    }
    let stamps = gpu.has(wgpu::Features::TIMESTAMP_QUERY);
    let expected = if stamps { expected } else { 0 };
    anyhow::ensure!(spanned == expected, "{expected} spans were asked for, and {spanned} came");
    // Of pairs of which neither side was disturbed.
    let pairs: Vec<(f64, f64)> = sides[1].iter().copied().zip(sides[0].iter().copied()).collect();
    let calm = Samples::new(sides[0].clone()).map_or(f64::NAN, |off| off.calm_median());
    let cost = differences(&pairs).into_iter().map(|more| 100.0 * more / calm).collect();
    let ratio = Samples::new(cost).ok_or_else(|| anyhow::anyhow!("no pair was measured"))?;
    let interval = ratio.median_interval();
    let mut row = |name: &str, times: Vec<f64>, note: String| {
        let Some(times) = Samples::new(times.iter().map(|t| t * 1e9).collect()) else { return 0.0 };
        if !args.flags.want(name) {
            return times.median();
        }
        let (value, i) = (times.median(), times.median_interval());
        let (name, unit) = (name.to_string(), "ns".to_string());
        run.push(
            &args.flags,
            Row { name, unit, value, low: i.low, high: i.high, samples: times.count(), note },
        );
        value
    };
    let off = row("decode step, nothing measured", sides[0].clone(), String::new());
    let note = format!(
        "costs {:.2} % [{:.2} .. {:.2}] in {} pairs, at most {:.1} us a step; {spanned} spans",
        ratio.median(),
        interval.low,
        interval.high,
        ratio.count(),
        interval.high / 100.0 * off / 1e3
    );
    row("decode step, a span for each", sides[1].clone(), note);
    run.finish(&args.flags)
}
