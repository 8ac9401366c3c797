//! Results, in time and late.

use ridgepoint::scheduler::{CompletionError, FinishReason, Progress, Request, SchedulerConfig, TokenSource};

use crate::{complete, parts, prompt, schedule, scheduler, step};

#[test]
fn the_next_step_is_scheduled_before_this_ones_tokens_are_known() {
    let mut s = scheduler(SchedulerConfig::default(), 4, 16);
    let a = s.add(Request::new(prompt(1, 3), 3)).unwrap();
    let b = s.add(Request::new(prompt(2, 5), 1)).unwrap();
    let first = schedule(&mut s);
    let second = schedule(&mut s);
    assert_eq!(parts(&second), [(a, 3, 1)], "b has all that it asked for");
    let source = TokenSource::Pending { step: first.step(), item: 0 };
    assert_eq!(second.items()[0].source, source);
    assert!(s.row(&second.items()[0]).unwrap().tokens.is_empty());
    assert!(schedule(&mut s).is_empty(), "two unknown tokens are the most");
    assert_eq!(complete(&mut s, &first), [b]);
    let third = schedule(&mut s);
    assert_eq!(parts(&third), [(a, 4, 1)]);
    assert_eq!(third.items()[0].source, TokenSource::Pending { step: second.step(), item: 0 });
    s.finish(a, FinishReason::Stop).unwrap();
    assert!(matches!(s.complete(&second.items()[0], Some(5)), Ok(Progress::Stale)));
    assert_eq!(s.cache().pool().used(), 0);
}

#[test]
fn a_result_that_does_not_belong_is_refused() {
    let mut s = scheduler(SchedulerConfig { max_num_batched_tokens: 256, ..Default::default() }, 4, 128);
    let id = s.add(Request::new(prompt(1, 300), 3)).unwrap();
    let chunk = schedule(&mut s).items()[0];
    assert_eq!(s.complete(&chunk, Some(1)).unwrap_err(), CompletionError::TokenUnexpected);
    s.complete(&chunk, None).unwrap();
    let last = schedule(&mut s).items()[0];
    assert_eq!(s.complete(&last, None).unwrap_err(), CompletionError::TokenMissing);
    s.complete(&last, Some(1)).unwrap();
    assert_eq!(s.complete(&last, Some(1)).unwrap_err(), CompletionError::TokenUnexpected);
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
    assert_eq!((parts(&second), second.preempted()), (vec![(a, 2, 1)], &[b][..]));
    assert!(schedule(&mut s).is_empty(), "b waits for its token, too");
    complete(&mut s, &first);
    assert_eq!(s.sequence(b).unwrap().output(), [0]);
    s.abort(a).unwrap();
    assert_eq!(parts(&step(&mut s)), [(b, 0, 5)]);
    assert_eq!(s.sequence(b).unwrap().output(), [0, 0]);
}
