//! The scheduler's rules, one by one.

use ridgepoint::cache::{CacheConfig, Salt};
use ridgepoint::scheduler::{
    Batch, BatchItem, CompletionError, ConfigError, FinishReason, Policy, PrefixUse, Progress,
    Refusal, Request, Scheduler, SchedulerConfig, SeqId, Status, TokenSource,
};

fn scheduler(config: SchedulerConfig, block_size: u32, num_blocks: u32) -> Scheduler {
    let cache = CacheConfig {
        block_size,
        num_blocks,
        enable_prefix_caching: true,
    };
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
        match scheduler
            .complete(item, item.wants_token().then_some(0))
            .unwrap()
        {
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
    batch
        .items()
        .iter()
        .map(|item| (item.seq, item.start, item.len))
        .collect()
}

#[test]
fn a_prompts_chunks_share_steps_with_decodes() {
    let config = SchedulerConfig {
        max_num_seqs: 4,
        max_num_batched_tokens: 8,
        ..Default::default()
    };
    let mut s = scheduler(config, 4, 32);
    let a = s.add(Request::new(prompt(1, 3), 10)).unwrap();
    assert_eq!(parts(&step(&mut s)), [(a, 0, 3)]);
    let b = s.add(Request::new(prompt(2, 18), 10)).unwrap();
    let batch = step(&mut s);
    assert_eq!(parts(&batch), [(a, 3, 1), (b, 0, 7)]);
    assert!(batch.items()[0].wants_token() && !batch.items()[1].wants_token());
    assert_eq!((batch.tokens(), batch.prefill_tokens()), (8, 7));
    assert_eq!(parts(&step(&mut s)), [(a, 4, 1), (b, 7, 7)]);
    let batch = step(&mut s);
    assert_eq!(parts(&batch), [(a, 5, 1), (b, 14, 4)]);
    assert!(batch.items()[1].wants_token());
    assert_eq!(s.sequence(b).unwrap().output(), [0]);
}

#[test]
fn a_long_prompt_leaves_room_below_the_threshold() {
    let config = SchedulerConfig {
        max_num_batched_tokens: 300,
        long_prefill_token_threshold: 5,
        ..Default::default()
    };
    let mut s = scheduler(config, 4, 64);
    let long = s.add(Request::new(prompt(1, 100), 1)).unwrap();
    let short = s.add(Request::new(prompt(2, 4), 1)).unwrap();
    let batch = schedule(&mut s);
    assert_eq!(parts(&batch), [(long, 0, 5), (short, 0, 4)]);
    assert_eq!(complete(&mut s, &batch), [short]);
}

#[test]
fn a_bound_on_prefill_spares_decodes() {
    let mut s = scheduler(SchedulerConfig::default(), 4, 64);
    let a = s.add(Request::new(prompt(1, 2), 20)).unwrap();
    step(&mut s);
    s.limit_prefill(Some(6));
    let b = s.add(Request::new(prompt(2, 10), 20)).unwrap();
    let c = s.add(Request::new(prompt(3, 10), 20)).unwrap();
    assert_eq!(parts(&step(&mut s)), [(a, 2, 1), (b, 0, 6)]);
    assert_eq!(parts(&step(&mut s)), [(a, 3, 1), (b, 6, 4), (c, 0, 2)]);
    s.limit_prefill(Some(0));
    assert_eq!(parts(&step(&mut s)), [(a, 4, 1), (b, 10, 1), (c, 2, 1)]);
    s.limit_prefill(None);
    assert_eq!(parts(&step(&mut s)), [(a, 5, 1), (b, 11, 1), (c, 3, 7)]);
}

#[test]
fn a_prompt_ahead_in_rank_cannot_stop_decodes() {
    let config = SchedulerConfig {
        max_num_seqs: 4,
        max_num_batched_tokens: 6,
        policy: Policy::Priority,
        ..Default::default()
    };
    let mut s = scheduler(config, 4, 64);
    let a = s
        .add(Request {
            priority: 5,
            ..Request::new(prompt(1, 2), 20)
        })
        .unwrap();
    step(&mut s);
    let urgent = s
        .add(Request {
            priority: 1,
            ..Request::new(prompt(2, 30), 20)
        })
        .unwrap();
    assert_eq!(parts(&step(&mut s)), [(a, 2, 1), (urgent, 0, 5)]);
    assert_eq!(parts(&step(&mut s)), [(urgent, 5, 5), (a, 3, 1)]);
}

#[test]
fn without_chunks_a_prompt_waits_for_a_whole_budget() {
    let config = SchedulerConfig {
        max_num_seqs: 4,
        max_num_batched_tokens: 20,
        max_model_len: 20,
        enable_chunked_prefill: false,
        ..Default::default()
    };
    let mut s = scheduler(config, 4, 64);
    let a = s.add(Request::new(prompt(1, 12), 3)).unwrap();
    let b = s.add(Request::new(prompt(2, 12), 3)).unwrap();
    assert_eq!(parts(&step(&mut s)), [(a, 0, 12)]);
    assert_eq!(parts(&step(&mut s)), [(a, 12, 1), (b, 0, 12)]);
}

#[test]
fn the_latest_arrival_gives_its_blocks_up_and_keeps_its_output() {
    let mut s = scheduler(
        SchedulerConfig {
            max_num_seqs: 4,
            ..Default::default()
        },
        2,
        6,
    );
    let a = s.add(Request::new(prompt(1, 4), 8)).unwrap();
    let b = s.add(Request::new(prompt(2, 3), 8)).unwrap();
    step(&mut s);
    let c = s.add(Request::new(prompt(3, 1), 8)).unwrap();
    // a has 4 tokens in 2 blocks and needs a third; b has 3 in 2; c has 1 in 1.
    assert_eq!(parts(&step(&mut s)), [(a, 4, 1), (b, 3, 1), (c, 0, 1)]);
    // Both a's sixth token and b's fifth have arrived; b needs a block that only c has.
    let batch = step(&mut s);
    assert_eq!(parts(&batch), [(a, 5, 1), (b, 4, 1)]);
    assert_eq!(batch.preempted(), [c]);
    let sequence = s.sequence(c).unwrap();
    assert_eq!(
        (sequence.status(), sequence.computed()),
        (Status::Preempted, 0)
    );
    assert_eq!((sequence.output(), sequence.blocks().len()), (&[0][..], 0));
    assert_eq!(s.preemptions(), 1);
    // It comes before whoever waits, with all that it had.
    let d = s.add(Request::new(prompt(4, 1), 1)).unwrap();
    s.abort(a).unwrap();
    let batch = schedule(&mut s);
    assert_eq!(parts(&batch), [(b, 5, 1), (c, 0, 2), (d, 0, 1)]);
    assert!(batch.items()[1].wants_token());
}

#[test]
fn nobody_is_admitted_in_a_step_that_preempted() {
    let mut s = scheduler(SchedulerConfig::default(), 2, 4);
    let a = s.add(Request::new(prompt(1, 2), 8)).unwrap();
    let b = s.add(Request::new(prompt(2, 4), 8)).unwrap();
    step(&mut s);
    let c = s.add(Request::new(prompt(3, 1), 8)).unwrap();
    let batch = step(&mut s);
    assert_eq!(
        (parts(&batch), batch.preempted()),
        (vec![(a, 2, 1)], &[b][..])
    );
    // b has to come first, and needs more than is free.
    assert_eq!(parts(&step(&mut s)), [(a, 3, 1)]);
    assert_eq!(s.sequence(c).unwrap().status(), Status::Waiting);
}

#[test]
fn the_least_urgent_gives_way_and_the_most_urgent_goes_first() {
    let config = SchedulerConfig {
        policy: Policy::Priority,
        max_num_seqs: 2,
        ..Default::default()
    };
    let mut s = scheduler(config, 2, 4);
    let ask = |mark, len, priority| Request {
        priority,
        ..Request::new(prompt(mark, len), 8)
    };
    let late = s.add(ask(1, 3, 7)).unwrap();
    let urgent = s.add(ask(2, 4, -1)).unwrap();
    let middle = s.add(ask(3, 3, 3)).unwrap();
    assert_eq!(parts(&step(&mut s)), [(urgent, 0, 4), (middle, 0, 3)]);
    let batch = step(&mut s);
    assert_eq!(
        (parts(&batch), batch.preempted()),
        (vec![(urgent, 4, 1)], &[middle][..])
    );
    s.abort(urgent).unwrap();
    // The first block of the preempted one was still to be found.
    assert_eq!(parts(&step(&mut s)), [(middle, 2, 2), (late, 0, 3)]);
}

#[test]
fn the_order_of_arrival_ignores_priorities_when_told_so() {
    let mut s = scheduler(
        SchedulerConfig {
            max_num_seqs: 1,
            ..Default::default()
        },
        2,
        4,
    );
    let first = s
        .add(Request {
            priority: 9,
            ..Request::new(prompt(1, 2), 1)
        })
        .unwrap();
    s.add(Request {
        priority: -9,
        ..Request::new(prompt(2, 2), 1)
    })
    .unwrap();
    assert_eq!(parts(&step(&mut s)), [(first, 0, 2)]);
}

#[test]
fn what_can_never_fit_is_refused_with_figures() {
    let mut s = scheduler(
        SchedulerConfig {
            max_model_len: 20,
            ..Default::default()
        },
        4,
        3,
    );
    assert_eq!(s.add(Request::new(vec![], 1)), Err(Refusal::EmptyPrompt));
    let refusal = s.add(Request::new(prompt(1, 20), 1)).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::TooLong {
            asked: 21,
            available: 20
        }
    );
    let refusal = s.add(Request::new(prompt(1, 13), 1)).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::ExceedsCache {
            asked: 4,
            available: 3,
            block_size: 4
        }
    );
    assert!(!refusal.is_temporary() && refusal.to_string().contains("4 cache blocks of 4 tokens"));
    s.add(Request::new(prompt(1, 12), 1)).unwrap();
}

#[test]
fn a_sequence_ends_at_the_first_of_its_bounds() {
    for (max_tokens, max_model_len, blocks, ends_with) in [
        (3, 20, 8, 3),
        (100, 20, 8, 16),
        (100, 200, 4, 13),
        (u32::MAX, 200, 4, 13),
        (0, 20, 8, 0),
    ] {
        let mut s = scheduler(
            SchedulerConfig {
                max_model_len,
                ..Default::default()
            },
            4,
            blocks,
        );
        s.add(Request::new(prompt(1, 4), max_tokens)).unwrap();
        let sequence = loop {
            let batch = schedule(&mut s);
            let item = batch.items()[0];
            if let Progress::Finished(sequence) =
                s.complete(&item, item.wants_token().then_some(0)).unwrap()
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
    let config = SchedulerConfig {
        max_num_seqs: 2,
        max_queue: 1,
        max_num_queued_tokens: 10,
        ..Default::default()
    };
    let mut s = scheduler(config, 4, 64);
    for mark in 0..3 {
        s.add(Request::new(prompt(mark, 3), 5)).unwrap();
    }
    let refusal = s.add(Request::new(prompt(9, 1), 5)).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::QueueFull {
            waiting: 3,
            limit: 1
        }
    );
    assert!(refusal.is_temporary());
    step(&mut s);
    let waiting = s.add(Request::new(prompt(9, 1), 5)).unwrap_err();
    assert_eq!(
        waiting,
        Refusal::QueueFull {
            waiting: 1,
            limit: 1
        }
    );

    let mut s = scheduler(
        SchedulerConfig {
            max_num_queued_tokens: 10,
            ..Default::default()
        },
        4,
        64,
    );
    s.limit_prefill(Some(2));
    s.add(Request::new(prompt(1, 10), 5)).unwrap();
    s.add(Request::new(prompt(2, 3), 5)).unwrap();
    let refusal = s.add(Request::new(prompt(3, 1), 5)).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::TooMuchQueued {
            queued: 13,
            limit: 10
        }
    );
    step(&mut s);
    assert_eq!(s.queued_tokens(), 11, "what a running prompt lacks counts");
    step(&mut s);
    s.add(Request::new(prompt(3, 1), 5)).unwrap();
}

#[test]
fn a_shared_prefix_is_computed_once_and_the_last_token_again() {
    let mut s = scheduler(SchedulerConfig::default(), 4, 16);
    let text: Vec<u32> = (0..12).collect();
    let a = s.add(Request::new(text.clone(), 1)).unwrap();
    step(&mut s);
    assert!(s.sequence(a).is_none());
    let b = s.add(Request::new(text.clone(), 1)).unwrap();
    let longer = s
        .add(Request::new(text.iter().copied().chain([77]).collect(), 4))
        .unwrap();
    let other = s
        .add(Request {
            salt: Salt::of("another tenant"),
            ..Request::new(text.clone(), 1)
        })
        .unwrap();
    let fresh = s
        .add(Request {
            prefix_use: PrefixUse::Recompute,
            ..Request::new(text.clone(), 1)
        })
        .unwrap();
    let batch = schedule(&mut s);
    assert_eq!(
        parts(&batch),
        [(b, 8, 4), (longer, 12, 1), (other, 0, 12), (fresh, 0, 12)]
    );
    assert_eq!(
        (
            s.sequence(b).unwrap().cached(),
            s.sequence(longer).unwrap().cached()
        ),
        (8, 12)
    );
    let shared = |id| s.sequence(id).unwrap().blocks()[..2].to_vec();
    assert_eq!(shared(b), shared(longer));
    assert_ne!(shared(b), shared(other));
    let counters = s.cache().counters();
    assert_eq!(
        (counters.queries, counters.hits),
        (12 + 12 + 13 + 12, 8 + 12)
    );
    complete(&mut s, &batch);

    assert!(s.reset_prefix_cache() > 0);
    let again = s.add(Request::new(text, 1)).unwrap();
    assert_eq!(parts(&schedule(&mut s))[1..], [(again, 0, 12)]);
}

#[test]
fn without_the_prefix_cache_nothing_is_shared_or_counted() {
    let cache = CacheConfig {
        block_size: 4,
        num_blocks: 16,
        enable_prefix_caching: false,
    };
    let mut s = Scheduler::new(SchedulerConfig::default(), cache).unwrap();
    for _ in 0..2 {
        let id = s.add(Request::new(prompt(1, 12), 1)).unwrap();
        assert_eq!(parts(&step(&mut s)), [(id, 0, 12)]);
    }
    assert_eq!(
        (s.cache().counters().queries, s.reset_prefix_cache()),
        (0, 0)
    );
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
fn the_next_step_is_scheduled_before_this_ones_tokens_are_known() {
    let mut s = scheduler(SchedulerConfig::default(), 4, 16);
    let a = s.add(Request::new(prompt(1, 3), 3)).unwrap();
    let b = s.add(Request::new(prompt(2, 5), 1)).unwrap();
    let first = schedule(&mut s);
    let second = schedule(&mut s);
    assert_eq!(parts(&second), [(a, 3, 1)], "b has all that it asked for");
    let source = TokenSource::Pending {
        step: first.step(),
        item: 0,
    };
    assert_eq!(second.items()[0].source, source);
    assert!(s.row(&second.items()[0]).unwrap().tokens.is_empty());
    assert!(
        schedule(&mut s).is_empty(),
        "two unknown tokens are the most"
    );
    assert_eq!(complete(&mut s, &first), [b]);
    let third = schedule(&mut s);
    assert_eq!(parts(&third), [(a, 4, 1)]);
    assert_eq!(
        third.items()[0].source,
        TokenSource::Pending {
            step: second.step(),
            item: 0
        }
    );
    s.finish(a, FinishReason::Stop).unwrap();
    assert!(matches!(
        s.complete(&second.items()[0], Some(5)),
        Ok(Progress::Stale)
    ));
    assert_eq!(s.cache().pool().used(), 0);
}

#[test]
fn a_result_that_does_not_belong_is_refused() {
    let mut s = scheduler(
        SchedulerConfig {
            max_num_batched_tokens: 256,
            ..Default::default()
        },
        4,
        128,
    );
    let id = s.add(Request::new(prompt(1, 300), 3)).unwrap();
    let chunk = schedule(&mut s).items()[0];
    assert_eq!(
        s.complete(&chunk, Some(1)).unwrap_err(),
        CompletionError::TokenUnexpected
    );
    s.complete(&chunk, None).unwrap();
    let last = schedule(&mut s).items()[0];
    assert_eq!(
        s.complete(&last, None).unwrap_err(),
        CompletionError::TokenMissing
    );
    s.complete(&last, Some(1)).unwrap();
    assert_eq!(
        s.complete(&last, Some(1)).unwrap_err(),
        CompletionError::TokenUnexpected
    );
    assert_eq!(s.sequence(id).unwrap().output(), [1]);
}

#[test]
fn results_from_before_a_preemption_publish_nothing() {
    let mut s = scheduler(SchedulerConfig::default(), 2, 5);
    let a = s.add(Request::new(prompt(1, 3), 9)).unwrap();
    step(&mut s);
    s.limit_prefill(Some(4));
    let b = s.add(Request::new(prompt(2, 6), 9)).unwrap();
    let first = schedule(&mut s);
    assert_eq!(parts(&first), [(a, 3, 1), (b, 0, 4)]);
    let late = first.items()[1];
    s.complete(&first.items()[0], Some(0)).unwrap();
    assert_eq!(step(&mut s).preempted(), [b]);
    assert!(s.row(&late).is_none());
    s.abort(a).unwrap();
    // Of what the late result tells of, only three tokens are in b's new blocks.
    s.limit_prefill(Some(3));
    assert_eq!(parts(&schedule(&mut s)), [(b, 0, 3)]);
    let published = s.cache().indexed();
    s.complete(&late, None).unwrap();
    assert_eq!(s.cache().indexed(), published);
}

#[test]
fn a_token_sampled_before_a_preemption_counts() {
    let mut s = scheduler(SchedulerConfig::default(), 2, 4);
    let a = s.add(Request::new(prompt(1, 2), 9)).unwrap();
    let b = s.add(Request::new(prompt(2, 4), 9)).unwrap();
    let first = schedule(&mut s);
    let second = schedule(&mut s);
    assert_eq!(
        (parts(&second), second.preempted()),
        (vec![(a, 2, 1)], &[b][..])
    );
    assert!(schedule(&mut s).is_empty(), "b waits for its token, too");
    complete(&mut s, &first);
    assert_eq!(s.sequence(b).unwrap().output(), [0]);
    s.abort(a).unwrap();
    assert_eq!(parts(&step(&mut s)), [(b, 0, 5)]);
    assert_eq!(s.sequence(b).unwrap().output(), [0, 0]);
}

fn fork(s: &mut Scheduler, item: &BatchItem, token: u32) -> SeqId {
    let child = s.fork(item).unwrap();
    s.complete(&child, Some(token)).unwrap();
    child.seq
}

#[test]
fn forks_share_the_prompt_and_copy_its_last_block_when_they_write() {
    let mut s = scheduler(SchedulerConfig::default(), 4, 16);
    let a = s.add(Request::new(prompt(1, 6), 4)).unwrap();
    let item = schedule(&mut s).items()[0];
    let b = fork(&mut s, &item, 21);
    let c = fork(&mut s, &item, 22);
    s.complete(&item, Some(20)).unwrap();
    assert!(s.fork(&item).is_none(), "its logits are gone");
    assert_eq!(s.cache().pool().used(), 2);
    let before = s.sequence(c).unwrap().blocks()[1];
    let batch = schedule(&mut s);
    assert_eq!(parts(&batch), [(a, 6, 1), (b, 6, 1), (c, 6, 1)]);
    // The last owner writes in place.
    let blocks = |id| s.sequence(id).unwrap().blocks().to_vec();
    assert_eq!(batch.copies().len(), 2);
    assert!(batch.copies().iter().all(|copy| copy.src == before));
    assert_eq!(
        batch
            .copies()
            .iter()
            .map(|copy| copy.dst)
            .collect::<Vec<_>>(),
        [blocks(a)[1], blocks(b)[1]]
    );
    assert_eq!(blocks(c)[1], before);
    assert_eq!(blocks(a)[0], blocks(c)[0]);
    assert_eq!(s.cache().pool().used(), 4);
    complete(&mut s, &batch);
    assert!(schedule(&mut s).copies().is_empty());
    assert_eq!(s.sequence(b).unwrap().output(), [21, 0]);
}

#[test]
fn a_fork_without_a_place_waits_with_its_token() {
    let mut s = scheduler(
        SchedulerConfig {
            max_num_seqs: 1,
            ..Default::default()
        },
        4,
        16,
    );
    let a = s.add(Request::new(prompt(1, 6), 2)).unwrap();
    let item = schedule(&mut s).items()[0];
    let b = fork(&mut s, &item, 21);
    s.complete(&item, Some(20)).unwrap();
    let later = s.add(Request::new(prompt(2, 6), 2)).unwrap();
    let batch = schedule(&mut s);
    assert_eq!(parts(&batch), [(a, 6, 1)]);
    assert_eq!(complete(&mut s, &batch), [a]);
    // It comes before what arrived after its request, and finds its elder's full block.
    assert_eq!(parts(&step(&mut s)), [(b, 4, 3)]);
    assert_eq!(parts(&step(&mut s)), [(later, 0, 6)]);
}

#[test]
fn a_block_that_a_fork_writes_again_is_found_no_more() {
    let mut s = scheduler(SchedulerConfig::default(), 4, 16);
    let text = vec![1, 2, 3, 4, 5, 6, 7];
    let a = s.add(Request::new(text.clone(), 4)).unwrap();
    let first = schedule(&mut s);
    // The elder's next token fills the block that the fork comes to share.
    let second = schedule(&mut s);
    let b = fork(&mut s, &first.items()[0], 21);
    complete(&mut s, &first);
    complete(&mut s, &second);
    assert_eq!(s.cache().indexed(), 2);
    s.finish(a, FinishReason::Stop).unwrap();
    let batch = schedule(&mut s);
    assert_eq!((parts(&batch), batch.copies().len()), (vec![(b, 7, 1)], 0));
    assert_eq!(s.cache().indexed(), 1);
    complete(&mut s, &batch);
    let asks = |token| Request::new(text.iter().copied().chain([token, 9]).collect(), 1);
    let elders = s.add(asks(0)).unwrap();
    let youngers = s.add(asks(21)).unwrap();
    assert_eq!(
        parts(&schedule(&mut s))[1..],
        [(elders, 4, 5), (youngers, 8, 1)]
    );
}

#[test]
fn settings_that_exclude_each_other_are_named() {
    let cache = CacheConfig::new(8);
    let refused = |config| Scheduler::new(config, cache).unwrap_err();
    let default = SchedulerConfig::default;
    assert_eq!(
        refused(SchedulerConfig {
            max_num_seqs: 0,
            ..default()
        }),
        ConfigError::NoSequences
    );
    assert_eq!(
        refused(SchedulerConfig {
            max_num_batched_tokens: 8,
            ..default()
        }),
        ConfigError::BudgetBelowSequences {
            max_num_batched_tokens: 8,
            max_num_seqs: 256
        }
    );
    assert_eq!(
        refused(SchedulerConfig {
            max_model_len: 4096,
            enable_chunked_prefill: false,
            ..default()
        }),
        ConfigError::BudgetBelowPrompt {
            max_num_batched_tokens: 2048,
            max_model_len: 4096
        }
    );
    assert_eq!(
        refused(SchedulerConfig {
            max_model_len: 1,
            ..default()
        }),
        ConfigError::NoRoomForOutput { max_model_len: 1 }
    );
    for cache in [
        CacheConfig::new(0),
        CacheConfig {
            block_size: 0,
            ..cache
        },
        CacheConfig::new(u32::MAX),
    ] {
        assert!(matches!(
            Scheduler::new(default(), cache),
            Err(ConfigError::Cache(_))
        ));
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
