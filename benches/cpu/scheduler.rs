//! The scheduler alone: the time of a step by what runs and what waits, of taking a request in, and of
//! a prefix look-up.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use ridgepoint::cache::CacheConfig;
use ridgepoint::scheduler::{Batch, Policy, Request, Scheduler, SchedulerConfig};

/// Sequences that decode.
const RUNNING: u32 = 256;
/// Tokens of each prompt, and of each answer.
const PROMPT: u32 = 32;
const ANSWER: u32 = 4000;

/// `RUNNING` sequences that decode and `waiting` that can't join.
fn steady(waiting: u32, policy: Policy) -> Scheduler {
    let config = SchedulerConfig {
        max_num_seqs: RUNNING,
        max_num_batched_tokens: RUNNING * PROMPT,
        max_model_len: 8192,
        max_queue: usize::MAX,
        policy,
        ..SchedulerConfig::default()
    };
    let blocks = RUNNING * (PROMPT + ANSWER).div_ceil(16) + RUNNING;
    let mut scheduler = Scheduler::new(config, CacheConfig::new(blocks)).expect("the settings agree");
    for i in 0..RUNNING + waiting {
        // Unlike each other from the first token on, so that no prefix is shared.
        let prompt = (0..PROMPT).map(|t| i.wrapping_mul(31) ^ t).collect();
        let mut request = Request::new(prompt, ANSWER);
        // The first ones matter most, so that the same ones run under both policies.
        request.priority = if i < RUNNING { -1 } else { (i % 7) as i32 };
        scheduler.add(request).expect("it fits");
    }
    let mut batch = Batch::default();
    step(&mut scheduler, &mut batch);
    assert_eq!(scheduler.num_running(), RUNNING as usize);
    scheduler
}

fn step(scheduler: &mut Scheduler, batch: &mut Batch) {
    scheduler.schedule(batch);
    for item in batch.items() {
        let token = item.wants_token().then_some(item.end() ^ 5);
        black_box(scheduler.complete(item, token)).expect("tokens come where they are wanted");
    }
}

/// Times `iterations` steps of a steady state, which is made anew before its sequences end.
fn timed(iterations: u64, make: impl Fn() -> Scheduler) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = iterations;
    let mut batch = Batch::default();
    while left > 0 {
        let mut scheduler = make();
        let some = left.min(u64::from(ANSWER) - 8);
        let start = Instant::now();
        for _ in 0..some {
            step(&mut scheduler, &mut batch);
        }
        total += start.elapsed();
        left -= some;
    }
    total
}

pub fn benches(c: &mut Criterion) {
    steps(c);
    admission(c);
    prefixes(c);
}

fn steps(c: &mut Criterion) {
    let mut group = c.benchmark_group("step, 256 decode");
    group.throughput(Throughput::Elements(u64::from(RUNNING)));
    for policy in [Policy::Fcfs, Policy::Priority] {
        for waiting in [100, 10_000, 100_000] {
            let id = BenchmarkId::new(format!("{policy:?}"), format!("{waiting} wait"));
            group.bench_function(id, |b| b.iter_custom(|n| timed(n, || steady(waiting, policy))));
        }
    }
    group.finish();
}

fn admission(c: &mut Criterion) {
    let mut group = c.benchmark_group("add and abort");
    for waiting in [100, 100_000] {
        let mut scheduler = steady(waiting, Policy::Fcfs);
        group.bench_function(format!("{waiting} wait"), |b| {
            b.iter(|| {
                let id = scheduler.add(Request::new(vec![1; PROMPT as usize], 16)).expect("it fits");
                black_box(scheduler.abort(id));
            });
        });
    }
    group.finish();
}

/// A whole request whose prompt, but for its last block, is in the cache.
fn prefixes(c: &mut Criterion) {
    let mut group = c.benchmark_group("cached prompt");
    for tokens in [256_u32, 1024, 4096] {
        let config = SchedulerConfig {
            max_num_batched_tokens: 8192,
            max_model_len: 8192,
            ..SchedulerConfig::default()
        };
        let mut scheduler = Scheduler::new(config, CacheConfig::new(2048)).expect("the settings agree");
        let mut batch = Batch::default();
        let mut once = |batch: &mut Batch| {
            scheduler.add(Request::new((0..tokens).collect(), 1)).expect("it fits");
            step(&mut scheduler, batch);
            batch.tokens()
        };
        once(&mut batch);
        group.throughput(Throughput::Elements(u64::from(tokens / 16)));
        group.bench_function(format!("{tokens} tokens"), |b| {
            b.iter(|| assert_eq!(once(&mut batch), 16));
        });
    }
    group.finish();
}
