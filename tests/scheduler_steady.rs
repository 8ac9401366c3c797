//! What a step costs: no memory in steady state, and work in proportion to the running sequences
//! only.
#![expect(unsafe_code, reason = "a global allocator that counts is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ridgepoint::cache::CacheConfig;
use ridgepoint::scheduler::{Batch, FinishReason, Policy, Progress, Request, Scheduler, SchedulerConfig};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

const RUNNING: u32 = 64;

/// `RUNNING` sequences that decode, and `waiting` more that wait for a place.
fn busy(policy: Policy, waiting: u32) -> (Scheduler, Batch) {
    let config = SchedulerConfig {
        max_num_seqs: RUNNING,
        max_num_batched_tokens: 1024,
        policy,
        max_queue: waiting as usize,
        ..Default::default()
    };
    let cache = CacheConfig { block_size: 4, ..CacheConfig::new(16_384) };
    let mut scheduler = Scheduler::new(config, cache).unwrap();
    for i in 0..RUNNING + waiting {
        let mut request = Request::new(vec![i, 1, 2, 3, 4], 600);
        // Against the order of arrival, so that the queue has something to sort; the running ones first.
        request.priority = if i < RUNNING { i32::MIN } else { -(i as i32) };
        scheduler.add(request).unwrap();
    }
    let mut batch = Batch::default();
    step(&mut scheduler, &mut batch);
    assert_eq!((scheduler.num_running(), scheduler.num_waiting()), (RUNNING as usize, waiting as usize));
    (scheduler, batch)
}

fn step(scheduler: &mut Scheduler, batch: &mut Batch) {
    scheduler.schedule(batch);
    for item in batch.items() {
        assert!(scheduler.row(item).is_some());
        let progress = scheduler.complete(item, item.wants_token().then_some(9)).unwrap();
        assert!(matches!(progress, Progress::Continues));
    }
}

#[test]
fn decoding_allocates_nothing() {
    for policy in [Policy::Fcfs, Policy::Priority] {
        let (mut scheduler, mut batch) = busy(policy, 1000);
        let before = allocations();
        for _ in 0..500 {
            step(&mut scheduler, &mut batch);
            assert_eq!(batch.items().len() as u32, RUNNING);
        }
        assert_eq!(allocations() - before, 0);
        assert!(scheduler.cache().indexed() > RUNNING * 100, "full blocks were published meanwhile");
    }
}

#[test]
fn the_counter_counts() {
    let before = allocations();
    let mut list = vec![1_u64];
    list.reserve(1000);
    assert_eq!(allocations() - before, 2);
}

#[test]
fn decoding_ahead_of_the_results_allocates_nothing() {
    let (mut scheduler, mut running) = busy(Policy::Fcfs, 10);
    let mut next = Batch::default();
    scheduler.schedule(&mut running);
    // Both batches have had their size once.
    scheduler.schedule(&mut next);
    for item in running.items() {
        scheduler.complete(item, Some(9)).unwrap();
    }
    std::mem::swap(&mut running, &mut next);
    let before = allocations();
    for _ in 0..300 {
        scheduler.schedule(&mut next);
        for item in running.items() {
            scheduler.complete(item, Some(9)).unwrap();
        }
        std::mem::swap(&mut running, &mut next);
        assert_eq!(running.items().len() as u32, RUNNING);
    }
    assert_eq!(allocations() - before, 0);
}

#[test]
fn a_step_looks_at_the_running_ones_and_the_first_that_waits() {
    for policy in [Policy::Fcfs, Policy::Priority] {
        for waiting in [0, 100, 100_000] {
            let (mut scheduler, mut batch) = busy(policy, waiting);
            for _ in 0..20 {
                step(&mut scheduler, &mut batch);
                assert_eq!(batch.examined(), RUNNING, "every place is taken: the queue isn't looked at");
            }
            let first = batch.items()[0].seq;
            scheduler.finish(first, FinishReason::Stop).unwrap();
            step(&mut scheduler, &mut batch);
            assert_eq!(batch.examined(), (RUNNING - 1) + waiting.min(1));
        }
    }
}

#[test]
fn a_queue_that_does_not_fit_is_looked_at_once_a_step() {
    for waiting in [10, 10_000] {
        let config = SchedulerConfig { max_queue: waiting, ..Default::default() };
        let cache = CacheConfig { num_blocks: 4, block_size: 16, enable_prefix_caching: true };
        let mut scheduler = Scheduler::new(config, cache).unwrap();
        for i in 0..waiting as u32 {
            scheduler.add(Request::new(vec![i; 33], 20)).unwrap();
        }
        let mut batch = Batch::default();
        step(&mut scheduler, &mut batch);
        for _ in 0..10 {
            step(&mut scheduler, &mut batch);
            assert_eq!(scheduler.num_running(), 1);
            assert_eq!(batch.examined(), 2);
        }
    }
}
