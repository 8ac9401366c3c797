//! The scheduler's rules one by one, against a naive model, and under random traffic.

mod admission;
mod budget;
mod device;
mod model;
mod order;
mod prefixes;
mod properties;
mod results;

use ridgepoint::cache::CacheConfig;
use ridgepoint::scheduler::{Batch, Progress, Scheduler, SchedulerConfig, SeqId};

fn scheduler(config: SchedulerConfig, block_size: u32, num_blocks: u32) -> Scheduler {
    let cache = CacheConfig { block_size, num_blocks, enable_prefix_caching: true };
    Scheduler::new(config, cache).unwrap()
}

/// A prompt that shares no prefix with one of another `mark`.
fn prompt(mark: u32, len: usize) -> Vec<u32> {
    vec![mark; len]
}

fn schedule(scheduler: &mut Scheduler) -> Batch {
    let mut batch = Batch::default();
    scheduler.schedule(&mut batch);
    scheduler.audit().unwrap();
    batch
}

/// Completes every item with token 0; returns what ended.
fn complete(scheduler: &mut Scheduler, batch: &Batch) -> Vec<SeqId> {
    let ended = batch.items().iter().filter_map(|item| {
        match scheduler.complete(item, item.wants_token().then_some(0)).unwrap() {
            Progress::Finished(sequence) => Some(sequence.id()),
            Progress::Continues | Progress::Stale => None,
        }
    });
    let ended = ended.collect();
    scheduler.audit().unwrap();
    ended
}

fn step(scheduler: &mut Scheduler) -> Batch {
    let batch = schedule(scheduler);
    complete(scheduler, &batch);
    batch
}

fn parts(batch: &Batch) -> Vec<(SeqId, u32, u32)> {
    batch.items().iter().map(|item| (item.seq, item.start, item.len)).collect()
}
