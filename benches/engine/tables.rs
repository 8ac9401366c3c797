//! What a paged cache costs: the same step over a cache in shuffled blocks, in blocks one after the other,
//! and in one block as long as the context, as a cache without pages would have it.

use std::time::Instant;

use anyhow::ensure;
use ridgepoint::cache::{BlockId, CacheConfig, DEFAULT_BLOCK_SIZE};
use ridgepoint::kernels::Noise;
use ridgepoint::kernels::rope_cache::CacheType;
use ridgepoint::model::{Entry, Limits, Outputs, Results, Runner, Want};

use crate::report::quick;
use crate::{Bench, Figure};

/// Sequences of a decode.
const SEQUENCES: usize = 4;
/// What a logit may differ by between two block sizes, whose sums run in other orders.
const SAME: f32 = 1e-2;

/// A cache: its name, its block size, and each sequence's blocks.
struct Cache {
    name: &'static str,
    runner: usize,
    tables: Vec<Vec<BlockId>>,
}

/// A step over each sequence's last tokens.
struct Shape {
    name: String,
    sequences: usize,
    tokens: usize,
}

pub fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let context = bench.scaled(1024).next_multiple_of(DEFAULT_BLOCK_SIZE as usize);
    let chunk = bench.scaled(128);
    let shapes = [
        Shape { name: format!("decode x {SEQUENCES} at {context}"), sequences: SEQUENCES, tokens: 1 },
        Shape { name: format!("prefill {chunk} at {context}"), sequences: 1, tokens: chunk },
    ];
    let caches = caches(context);
    let name = |shape: &Shape, cache: &Cache| format!("paged {}: {}", shape.name, cache.name);
    let wanted = shapes.iter().any(|s| caches.iter().any(|c| bench.flags.want(&name(s, c))));
    if !wanted {
        return Ok(());
    }
    let mut runners = [
        bench.runner(limits(DEFAULT_BLOCK_SIZE, context, chunk))?,
        bench.runner(limits(context as u32, context, chunk))?,
    ];
    let tokens: Vec<u32> =
        (0..context as u32).map(|t| 1 + t * 7 % (runners[0].hyper.vocab as u32 - 1)).collect();
    prove(&mut runners, &caches, &tokens, chunk)?;
    let steps = if quick() { 1 } else { 8 };
    for shape in &shapes {
        let mut times = vec![Vec::new(); caches.len()];
        // The first round warms up.
        for round in 0..=bench.samples(15) {
            // Who goes first changes, so that none gains by its place.
            for i in 0..caches.len() {
                let at = (i + round) % caches.len();
                let start = Instant::now();
                for _ in 0..steps {
                    step(&mut runners[caches[at].runner], &caches[at], shape, &tokens)?;
                }
                let spent = start.elapsed().as_secs_f64() * 1e9 / f64::from(steps);
                times[at].extend((round > 0).then_some(spent));
            }
        }
        for (cache, own) in caches.iter().zip(&times) {
            let ratios = own.iter().zip(&times[0]).map(|(own, paged)| own / paged).collect();
            let note = format!("{:.3} x the shuffled blocks' time", crate::median(ratios)?);
            bench.push(Figure { name: name(shape, cache), unit: "ns", samples: own.clone(), note })?;
        }
    }
    Ok(())
}

fn limits(block_size: u32, context: usize, tokens: usize) -> Limits {
    let num_blocks = context.div_ceil(block_size as usize) * SEQUENCES;
    Limits {
        tokens: tokens.max(SEQUENCES),
        outputs: SEQUENCES,
        context,
        sequences: SEQUENCES,
        cache: CacheConfig { block_size, ..CacheConfig::new(num_blocks as u32) },
        cache_type: CacheType::F16,
    }
}

fn caches(context: usize) -> [Cache; 3] {
    let each = context / DEFAULT_BLOCK_SIZE as usize;
    let cut = |ids: Vec<u32>, each: usize| -> Vec<Vec<BlockId>> {
        ids.chunks(each).map(|ids| ids.iter().copied().map(BlockId).collect()).collect()
    };
    let blocks = each * SEQUENCES;
    [
        Cache { name: "shuffled blocks of 16", runner: 0, tables: cut(Noise::new(7).shuffled(blocks), each) },
        Cache { name: "blocks of 16 in order", runner: 0, tables: cut((0..blocks as u32).collect(), each) },
        Cache { name: "one block", runner: 1, tables: cut((0..SEQUENCES as u32).collect(), 1) },
    ]
}

fn step(runner: &mut Runner, cache: &Cache, shape: &Shape, tokens: &[u32]) -> anyhow::Result<Results> {
    let start = tokens.len() - shape.tokens;
    let entry = |blocks| Entry { tokens: &tokens[start..], start, blocks, outputs: Outputs::Last };
    let entries: Vec<Entry<'_>> =
        cache.tables[..shape.sequences].iter().map(|blocks| entry(blocks)).collect();
    let mut results = Results::default();
    runner.run(&entries, Want::Argmax, &mut results)?;
    Ok(results)
}

/// Fills every cache by real prefills, and sees that each answers as the first does.
fn prove(runners: &mut [Runner; 2], caches: &[Cache], tokens: &[u32], chunk: usize) -> anyhow::Result<()> {
    let mut first: Option<Vec<f32>> = None;
    for cache in caches {
        let runner = &mut runners[cache.runner];
        let mut results = Results::default();
        for blocks in &cache.tables {
            for (i, tokens) in tokens.chunks(chunk).enumerate() {
                let entry = Entry { tokens, start: i * chunk, blocks, outputs: Outputs::Last };
                runner.run(&[entry], Want::Argmax, &mut results)?;
            }
        }
        let last = Shape { name: String::new(), sequences: SEQUENCES, tokens: 1 };
        let top = step(runner, cache, &last, tokens)?.top;
        let expected = first.get_or_insert_with(|| top.clone());
        let same = top.iter().zip(&*expected).all(|(a, b)| (a - b).abs() <= SAME * b.abs().max(1.0));
        ensure!(same, "{}: logits {top:?}, expected {expected:?}", cache.name);
    }
    Ok(())
}
