//! How a step's tokens are shared out.

use ridgepoint::scheduler::{Policy, Request, SchedulerConfig};

use crate::{complete, parts, prompt, schedule, scheduler, step};

#[test]
fn a_prompts_chunks_share_steps_with_decodes() {
    let config = SchedulerConfig { max_num_seqs: 4, max_num_batched_tokens: 8, ..Default::default() };
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
    let a = s.add(Request { priority: 5, ..Request::new(prompt(1, 2), 20) }).unwrap();
    step(&mut s);
    let urgent = s.add(Request { priority: 1, ..Request::new(prompt(2, 30), 20) }).unwrap();
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
