//! Random traffic through scheduler and cache, on a simulated device.

use proptest::prelude::*;
use ridgepoint::cache::CacheConfig;
use ridgepoint::scheduler::{Batch, Policy, PrefixUse, PromptLogits, SchedulerConfig, TokenSource};

use crate::device::{Ask, Device, VOCABULARY};

#[derive(Clone, Debug)]
enum Action {
    Add(Ask),
    Abort(prop::sample::Index),
    Step,
    LimitPrefill(Option<u32>),
    ResetPrefixes,
}

fn asks() -> impl Strategy<Value = Ask> {
    let prompt = prop_oneof![
        3 => prop::collection::vec(0..VOCABULARY, 1..12),
        // One text's beginnings, so that long prefixes are shared.
        3 => (1..40_usize).prop_map(|len| (0..len as u32).map(|i| i * i % VOCABULARY).collect()),
    ];
    let prefix_use = prop_oneof![
        5 => Just((PrefixUse::Read, PromptLogits::Last)),
        1 => Just((PrefixUse::Recompute, PromptLogits::Last)),
        1 => Just((PrefixUse::Recompute, PromptLogits::Each)),
    ];
    (prompt, 0..20_u32, -2..3_i32, 0..2_u8, prefix_use, prop_oneof![3 => Just(0_u32), 1 => 1..4_u32])
        .prop_map(|(prompt, max_tokens, priority, salt, (prefix_use, prompt_logits), branches)| Ask {
            prompt,
            max_tokens,
            priority,
            salt,
            prefix_use,
            prompt_logits,
            branches,
        })
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        5 => asks().prop_map(Action::Add),
        1 => any::<prop::sample::Index>().prop_map(Action::Abort),
        8 => Just(Action::Step),
        1 => prop::option::of(1..6_u32).prop_map(Action::LimitPrefill),
        1 => Just(Action::ResetPrefixes),
    ];
    prop::collection::vec(action, 1..60)
}

fn configs() -> impl Strategy<Value = SchedulerConfig> {
    let policy = prop_oneof![Just(Policy::Fcfs), Just(Policy::Priority)];
    (
        1..7_u32,
        0..40_u32,
        2..48_u32,
        0..6_u32,
        any::<bool>(),
        policy,
        0..12_usize,
        prop_oneof![Just(u64::MAX), 0..60_u64],
        prop_oneof![Just(u32::MAX), 0..9_u32],
    )
        .prop_map(
            |(
                max_num_seqs,
                extra,
                max_model_len,
                threshold,
                enable_chunked_prefill,
                policy,
                max_queue,
                max_num_queued_tokens,
                more_logits,
            )| {
                let least = if enable_chunked_prefill { 0 } else { max_model_len };
                SchedulerConfig {
                    max_num_seqs,
                    max_num_batched_tokens: (max_num_seqs + extra).max(least),
                    max_model_len,
                    long_prefill_token_threshold: threshold,
                    enable_chunked_prefill,
                    policy,
                    max_queue,
                    max_num_queued_tokens,
                    max_num_logits: max_num_seqs.saturating_add(more_logits),
                }
            },
        )
}

fn caches() -> impl Strategy<Value = CacheConfig> {
    (1..6_u32, 1..24_u32, any::<bool>()).prop_map(|(block_size, num_blocks, enable_prefix_caching)| {
        CacheConfig { block_size, num_blocks, enable_prefix_caching }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_ends_with_its_own_text(
        config in configs(),
        cache in caches(),
        ahead in 0..4_usize,
        actions in actions(),
        seed in any::<u64>(),
    ) {
        let mut device = Device::new(config, cache, ahead, seed);
        let mut batch = Batch::default();
        for action in actions {
            match action {
                Action::Add(ask) => device.add(ask),
                Action::Abort(pick) => device.abort(pick),
                Action::Step => {
                    device.step(&mut batch);
                }
                Action::LimitPrefill(limit) => {
                    device.prefill_limit = limit;
                    device.scheduler.limit_prefill(limit);
                }
                Action::ResetPrefixes => {
                    device.scheduler.reset_prefix_cache();
                    prop_assert_eq!(device.scheduler.cache().indexed(), 0);
                }
            }
            device.scheduler.audit().unwrap();
        }
        device.drain();
    }
}

/// The paths that matter are all walked by traffic of the same shape.
#[test]
fn the_simulation_reaches_preemption_sharing_and_copies() {
    let config = SchedulerConfig {
        max_num_seqs: 6,
        max_num_batched_tokens: 24,
        max_model_len: 48,
        ..Default::default()
    };
    let cache = CacheConfig { block_size: 4, num_blocks: 18, enable_prefix_caching: true };
    for ahead in [0, 1, 2] {
        let mut device = Device::new(config.clone(), cache, ahead, 7);
        let mut batch = Batch::default();
        let (mut copies, mut pending) = (0, 0);
        for round in 0..60_u32 {
            let prompt = (0..5 + round % 19).map(|i| i * i % VOCABULARY).collect();
            let branches = round % 3;
            device.add(Ask {
                prompt,
                max_tokens: 12,
                priority: 0,
                salt: 0,
                prefix_use: PrefixUse::Read,
                prompt_logits: PromptLogits::Last,
                branches,
            });
            for _ in 0..4 {
                device.step(&mut batch);
                copies += batch.copies().len();
                pending += batch.items().iter().filter(|item| item.source != TokenSource::Known).count();
            }
        }
        device.drain();
        assert!(device.finished > 100, "{}", device.finished);
        assert!(copies > 3, "{copies}");
        assert!(device.scheduler.preemptions() > 10, "{}", device.scheduler.preemptions());
        assert!(device.scheduler.cache().counters().hits > 100);
        assert_eq!(pending > 0, ahead > 0);
    }
}
