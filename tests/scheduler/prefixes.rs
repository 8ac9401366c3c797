//! Shared prefixes and forks.

use ridgepoint::cache::{CacheConfig, Salt};
use ridgepoint::scheduler::{BatchItem, FinishReason, PrefixUse, Request, Scheduler, SchedulerConfig, SeqId};

use crate::{complete, parts, prompt, schedule, scheduler, step};

#[test]
fn a_shared_prefix_is_computed_once_and_the_last_token_again() {
    let mut s = scheduler(SchedulerConfig::default(), 4, 16);
    let text: Vec<u32> = (0..12).collect();
    let a = s.add(Request::new(text.clone(), 1)).unwrap();
    step(&mut s);
    assert!(s.sequence(a).is_none());
    let b = s.add(Request::new(text.clone(), 1)).unwrap();
    let longer = s.add(Request::new(text.iter().copied().chain([77]).collect(), 4)).unwrap();
    let other = s.add(Request { salt: Salt::of("another tenant"), ..Request::new(text.clone(), 1) }).unwrap();
    let fresh = s.add(Request { prefix_use: PrefixUse::Recompute, ..Request::new(text.clone(), 1) }).unwrap();
    let batch = schedule(&mut s);
    assert_eq!(parts(&batch), [(b, 8, 4), (longer, 12, 1), (other, 0, 12), (fresh, 0, 12)]);
    assert_eq!((s.sequence(b).unwrap().cached(), s.sequence(longer).unwrap().cached()), (8, 12));
    let shared = |id| s.sequence(id).unwrap().blocks()[..2].to_vec();
    assert_eq!(shared(b), shared(longer));
    assert_ne!(shared(b), shared(other));
    let counters = s.cache().counters();
    assert_eq!((counters.queries, counters.hits), (12 + 12 + 13 + 12, 8 + 12));
    complete(&mut s, &batch);

    assert!(s.reset_prefix_cache() > 0);
    let again = s.add(Request::new(text, 1)).unwrap();
    assert_eq!(parts(&schedule(&mut s))[1..], [(again, 0, 12)]);
}

#[test]
fn without_the_prefix_cache_nothing_is_shared_or_counted() {
    let cache = CacheConfig { block_size: 4, num_blocks: 16, enable_prefix_caching: false };
    let mut s = Scheduler::new(SchedulerConfig::default(), cache).unwrap();
    for _ in 0..2 {
        let id = s.add(Request::new(prompt(1, 12), 1)).unwrap();
        assert_eq!(parts(&step(&mut s)), [(id, 0, 12)]);
    }
    assert_eq!((s.cache().counters().queries, s.reset_prefix_cache()), (0, 0));
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
    assert_eq!(batch.copies().iter().map(|copy| copy.dst).collect::<Vec<_>>(), [blocks(a)[1], blocks(b)[1]]);
    assert_eq!(blocks(c)[1], before);
    assert_eq!(blocks(a)[0], blocks(c)[0]);
    assert_eq!(s.cache().pool().used(), 4);
    complete(&mut s, &batch);
    assert!(schedule(&mut s).copies().is_empty());
    assert_eq!(s.sequence(b).unwrap().output(), [21, 0]);
}

#[test]
fn a_fork_without_a_place_waits_with_its_token() {
    let mut s = scheduler(SchedulerConfig { max_num_seqs: 1, ..Default::default() }, 4, 16);
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
    assert_eq!(parts(&schedule(&mut s))[1..], [(elders, 4, 5), (youngers, 8, 1)]);
}
