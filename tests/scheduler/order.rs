//! Who goes first, and who gives way.

use ridgepoint::scheduler::{Policy, Request, SchedulerConfig, Status};

use crate::{parts, prompt, schedule, scheduler, step};

#[test]
fn the_latest_arrival_gives_its_blocks_up_and_keeps_its_output() {
    let mut s = scheduler(SchedulerConfig { max_num_seqs: 4, ..Default::default() }, 2, 6);
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
    assert_eq!((sequence.status(), sequence.computed()), (Status::Preempted, 0));
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
    assert_eq!((parts(&batch), batch.preempted()), (vec![(a, 2, 1)], &[b][..]));
    // b has to come first, and needs more than is free.
    assert_eq!(parts(&step(&mut s)), [(a, 3, 1)]);
    assert_eq!(s.sequence(c).unwrap().status(), Status::Waiting);
}

#[test]
fn the_least_urgent_gives_way_and_the_most_urgent_goes_first() {
    let config = SchedulerConfig { policy: Policy::Priority, max_num_seqs: 2, ..Default::default() };
    let mut s = scheduler(config, 2, 4);
    let ask = |mark, len, priority| Request { priority, ..Request::new(prompt(mark, len), 8) };
    let late = s.add(ask(1, 3, 7)).unwrap();
    let urgent = s.add(ask(2, 4, -1)).unwrap();
    let middle = s.add(ask(3, 3, 3)).unwrap();
    assert_eq!(parts(&step(&mut s)), [(urgent, 0, 4), (middle, 0, 3)]);
    let batch = step(&mut s);
    assert_eq!((parts(&batch), batch.preempted()), (vec![(urgent, 4, 1)], &[middle][..]));
    s.abort(urgent).unwrap();
    // The first block of the preempted one was still to be found.
    assert_eq!(parts(&step(&mut s)), [(middle, 2, 2), (late, 0, 3)]);
}

/// Short requests arrive in every step while a long one waits for more blocks than they leave free.
#[test]
fn newcomers_without_end_do_not_starve_who_waits() {
    for policy in [Policy::Fcfs, Policy::Priority] {
        let config = SchedulerConfig { policy, max_num_seqs: 4, ..Default::default() };
        let mut s = scheduler(config, 2, 8);
        let mut mark = 10;
        let mut newcomer = |s: &mut ridgepoint::scheduler::Scheduler| {
            mark += 1;
            s.add(Request::new(prompt(mark, 3), 3)).unwrap();
        };
        (0..4).for_each(|_| newcomer(&mut s));
        step(&mut s);
        let long = s.add(Request::new(prompt(1, 12), 2)).unwrap();
        let mut waited = 0;
        while s.sequence(long).is_some() {
            newcomer(&mut s);
            step(&mut s);
            waited += 1;
            // Those before it have a dozen tokens together, some computed twice, and it has two.
            assert!(waited < 30, "{policy:?}: {:?}", s.sequence(long).map(|q| q.status()));
        }
    }
}

#[test]
fn the_order_of_arrival_ignores_priorities_when_told_so() {
    let mut s = scheduler(SchedulerConfig { max_num_seqs: 1, ..Default::default() }, 2, 4);
    let first = s.add(Request { priority: 9, ..Request::new(prompt(1, 2), 1) }).unwrap();
    s.add(Request { priority: -9, ..Request::new(prompt(2, 2), 1) }).unwrap();
    assert_eq!(parts(&step(&mut s)), [(first, 0, 2)]);
}
