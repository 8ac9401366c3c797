//! What is taken, what is refused, and when it ends.

use ridgepoint::cache::CacheConfig;
use ridgepoint::scheduler::{
    ConfigError, FinishReason, Progress, Refusal, Request, Scheduler, SchedulerConfig, Status,
};

use crate::{prompt, schedule, scheduler, step};

#[test]
fn what_can_never_fit_is_refused_with_figures() {
    let mut s = scheduler(SchedulerConfig { max_model_len: 20, ..Default::default() }, 4, 3);
    assert_eq!(s.add(Request::new(vec![], 1)), Err(Refusal::EmptyPrompt));
    let refusal = s.add(Request::new(prompt(1, 20), 1)).unwrap_err();
    assert_eq!(refusal, Refusal::TooLong { asked: 21, available: 20 });
    let refusal = s.add(Request::new(prompt(1, 13), 1)).unwrap_err();
    assert_eq!(refusal, Refusal::ExceedsCache { asked: 4, available: 3, block_size: 4 });
    assert!(!refusal.is_temporary() && refusal.to_string().contains("4 cache blocks of 4 tokens"));
    s.add(Request::new(prompt(1, 12), 1)).unwrap();
}

#[test]
fn a_sequence_ends_at_the_first_of_its_bounds() {
    for (max_tokens, max_model_len, blocks, ends_with) in
        [(3, 20, 8, 3), (100, 20, 8, 16), (100, 200, 4, 13), (u32::MAX, 200, 4, 13), (0, 20, 8, 0)]
    {
        let mut s = scheduler(SchedulerConfig { max_model_len, ..Default::default() }, 4, blocks);
        s.add(Request::new(prompt(1, 4), max_tokens)).unwrap();
        let sequence = loop {
            let batch = schedule(&mut s);
            let item = batch.items()[0];
            if let Progress::Finished(sequence) = s.complete(&item, item.wants_token().then_some(0)).unwrap()
            {
                break sequence;
            }
        };
        assert_eq!(sequence.output().len(), ends_with);
        assert_eq!(sequence.status(), Status::Finished(FinishReason::Length));
        assert!(!s.has_work());
        assert_eq!(s.cache().pool().used(), 0);
    }
}

#[test]
fn the_queue_is_bounded_in_requests_and_in_work() {
    let config =
        SchedulerConfig { max_num_seqs: 2, max_queue: 1, max_num_queued_tokens: 10, ..Default::default() };
    let mut s = scheduler(config, 4, 64);
    for mark in 0..3 {
        s.add(Request::new(prompt(mark, 3), 5)).unwrap();
    }
    let refusal = s.add(Request::new(prompt(9, 1), 5)).unwrap_err();
    assert_eq!(refusal, Refusal::QueueFull { waiting: 3, limit: 1 });
    assert!(refusal.is_temporary());
    step(&mut s);
    let waiting = s.add(Request::new(prompt(9, 1), 5)).unwrap_err();
    assert_eq!(waiting, Refusal::QueueFull { waiting: 1, limit: 1 });

    let mut s = scheduler(SchedulerConfig { max_num_queued_tokens: 10, ..Default::default() }, 4, 64);
    s.limit_prefill(Some(2));
    s.add(Request::new(prompt(1, 10), 5)).unwrap();
    s.add(Request::new(prompt(2, 3), 5)).unwrap();
    let refusal = s.add(Request::new(prompt(3, 1), 5)).unwrap_err();
    assert_eq!(refusal, Refusal::TooMuchQueued { queued: 13, limit: 10 });
    step(&mut s);
    assert_eq!(s.queued_tokens(), 11, "what a running prompt lacks counts");
    step(&mut s);
    s.add(Request::new(prompt(3, 1), 5)).unwrap();
}

#[test]
fn continuations_that_wait_take_no_place_in_the_queue() {
    let mut s = scheduler(SchedulerConfig { max_num_seqs: 1, max_queue: 1, ..Default::default() }, 4, 64);
    let elder = s.add(Request::new(prompt(1, 3), 5)).unwrap();
    let batch = schedule(&mut s);
    let item = batch.items()[0];
    let younger = [s.fork(&item).unwrap(), s.fork(&item).unwrap()];
    for item in younger.iter().chain([&item]) {
        s.complete(item, Some(7)).unwrap();
    }
    assert_eq!((s.num_running(), s.num_waiting()), (1, 2));
    let newcomer = s.add(Request::new(prompt(2, 3), 5)).unwrap();
    let refusal = s.add(Request::new(prompt(3, 3), 5)).unwrap_err();
    assert_eq!(refusal, Refusal::QueueFull { waiting: 1, limit: 1 });
    s.abort(newcomer).unwrap();
    s.add(Request::new(prompt(3, 3), 5)).unwrap();
    s.abort(elder).unwrap();
    s.audit().unwrap();
}

#[test]
fn eight_short_requests_run_at_once_in_a_small_cache() {
    let mut s = scheduler(SchedulerConfig::default(), 16, 34);
    for mark in 0..8 {
        s.add(Request::new(prompt(mark, 20), 30)).unwrap();
    }
    step(&mut s);
    assert_eq!(s.num_running(), 8);
}

#[test]
fn settings_that_exclude_each_other_are_named() {
    let cache = CacheConfig::new(8);
    let refused = |config| Scheduler::new(config, cache).unwrap_err();
    let default = SchedulerConfig::default;
    assert_eq!(refused(SchedulerConfig { max_num_seqs: 0, ..default() }), ConfigError::NoSequences);
    assert_eq!(
        refused(SchedulerConfig { max_num_batched_tokens: 8, ..default() }),
        ConfigError::BudgetBelowSequences { max_num_batched_tokens: 8, max_num_seqs: 256 }
    );
    assert_eq!(
        refused(SchedulerConfig { max_model_len: 4096, enable_chunked_prefill: false, ..default() }),
        ConfigError::BudgetBelowPrompt { max_num_batched_tokens: 2048, max_model_len: 4096 }
    );
    assert_eq!(
        refused(SchedulerConfig { max_model_len: 1, ..default() }),
        ConfigError::NoRoomForOutput { max_model_len: 1 }
    );
    for cache in [CacheConfig::new(0), CacheConfig { block_size: 0, ..cache }, CacheConfig::new(u32::MAX)] {
        assert!(matches!(Scheduler::new(default(), cache), Err(ConfigError::Cache(_))));
    }
}

#[test]
fn an_old_name_never_means_a_new_sequence() {
    let mut s = scheduler(SchedulerConfig::default(), 4, 16);
    let old = s.add(Request::new(prompt(1, 2), 2)).unwrap();
    s.abort(old).unwrap();
    let new = s.add(Request::new(prompt(2, 2), 2)).unwrap();
    assert_eq!(old.slot(), new.slot());
    assert!(s.sequence(old).is_none() && s.abort(old).is_none());
    assert!(s.sequence(new).is_some());
}
