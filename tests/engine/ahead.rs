//! A step ahead: the same events, and no request held up.

use std::collections::BTreeMap;

use ridgepoint::engine::{Ahead, GenerationRequest, Options};
use ridgepoint::model::{Feed, Outputs, Results, Want};
use ridgepoint::sample::SamplingParams;
use ridgepoint::scheduler::SchedulerConfig;

use super::{Answers, Setup, drain, greedy, prompt, sampled, tiny};

fn answers(setup: &Setup, stop: Option<u32>) -> Answers {
    let mut engine = setup.engine();
    for i in 0..6 {
        let params = SamplingParams {
            stop_token_ids: stop.into_iter().collect(),
            n: 1 + u32::from(i == 2) * 2,
            ..greedy(6 + 5 * i as u32)
        };
        engine.add(GenerationRequest::new(prompt(20 + 9 * i, i as u64), params)).unwrap();
    }
    let mut events = Vec::new();
    let mut early = Answers::default();
    for _ in 0..3 {
        engine.step(&mut events).unwrap();
        early.take(&mut events);
    }
    // Some that the host draws join, from candidates and from whole rows: the steps after theirs are held back.
    engine.add(GenerationRequest::new(prompt(30, 77), SamplingParams { n: 2, ..sampled(4, 9) })).unwrap();
    let biased = SamplingParams { presence_penalty: 0.5, min_tokens: 3, ..greedy(14) };
    engine.add(GenerationRequest::new(prompt(25, 78), biased)).unwrap();
    let late = drain(&mut engine);
    for (key, mut answer) in late.0 {
        let whole = early.0.entry(key).or_default();
        whole.tokens.append(&mut answer.tokens);
        whole.text += &answer.text;
        whole.result = answer.result;
    }
    early
}

#[test]
fn a_step_ahead_changes_nothing() {
    let options = Options { ahead: Ahead::On, ..Options::default() };
    let plain = Setup::default();
    for (what, setup) in [("roomy", plain.clone()), ("tight", Setup { blocks: 12, ..plain.clone() })] {
        let free = answers(&setup, None);
        let common = free.0.values().next().unwrap().tokens[2];
        for stop in [None, Some(common)] {
            let want = answers(&setup, stop);
            let got = answers(&Setup { options, ..setup.clone() }, stop);
            assert_eq!(got.0.len(), 11, "{what}");
            for (key, want) in &want.0 {
                let got = &got.0[key];
                assert_eq!(got.tokens, want.tokens, "{what} {key:?}");
                let ends = [got, want].map(|a| a.result.as_ref().map(|r| (r.finish.clone(), r.stop)));
                assert_eq!(ends[0], ends[1]);
            }
        }
    }
}

/// One sequence at a time, each ended by a token that only the host could foresee: what was held for it is
/// given up, and the next one is served.
#[test]
fn a_held_step_that_nobody_needs_is_given_up() {
    let config = SchedulerConfig { max_num_seqs: 1, ..Setup::default().config };
    let answers = |ahead, stop: Vec<u32>| {
        let mut engine = Setup {
            config: config.clone(),
            options: Options { ahead, ..Options::default() },
            ..Setup::default()
        }
        .engine();
        for i in 0..4 {
            let params = SamplingParams { stop_token_ids: stop.clone(), ..sampled(i, 12) };
            engine.add(GenerationRequest::new(prompt(20, i as u64), params)).unwrap();
        }
        let answers = drain(&mut engine);
        assert_eq!(engine.stats().blocks_used, 0);
        answers.0.into_iter().map(|(key, answer)| (key, answer.tokens)).collect::<BTreeMap<_, _>>()
    };
    let free = answers(Ahead::Never, Vec::new());
    let stop: Vec<u32> = free.values().map(|tokens| tokens[4]).collect();
    let want = answers(Ahead::Never, stop.clone());
    assert!(want.values().all(|tokens| tokens.len() < 12), "{want:?}");
    assert_eq!(answers(Ahead::On, stop), want);
}

#[test]
fn feeds_beyond_the_last_step_are_refused() {
    let mut runner = Setup::default().runner(&tiny());
    let blocks = [ridgepoint::cache::BlockId(0)];
    let entry =
        |start| ridgepoint::model::Entry { tokens: &[7], start, blocks: &blocks, outputs: Outputs::Last };
    let mut results = Results::default();
    runner.run(&[entry(0)], Want::Argmax, &mut results).unwrap();
    for feed in [Feed { token: 0, row: 1 }, Feed { token: 1, row: 0 }] {
        assert!(runner.submit(&[entry(1)], &[feed], Want::Argmax).is_err(), "{feed:?}");
    }
    let step = runner.submit(&[entry(1)], &[Feed { token: 0, row: 0 }], Want::Argmax).unwrap();
    runner.collect(step, &mut results).unwrap();
    assert!(results.ids[0] < 320);
}

#[test]
fn a_held_step_gets_its_ids_later_and_only_sound_ones() {
    let mut runner = Setup::default().runner(&tiny());
    let blocks = [ridgepoint::cache::BlockId(0)];
    let entry = |token: &'static [u32], start| ridgepoint::model::Entry {
        tokens: token,
        start,
        blocks: &blocks,
        outputs: Outputs::Last,
    };
    let (mut want, mut got) = (Results::default(), Results::default());
    runner.run(&[entry(&[7], 0)], Want::Rows, &mut want).unwrap();
    runner.run(&[entry(&[11], 1)], Want::Rows, &mut want).unwrap();
    let vocab = runner.hyper.vocab as u32;
    // Nothing was measured of this runner: its step is held in several parts.
    let mut fresh = Setup::default().runner(&tiny());
    fresh.run(&[entry(&[7], 0)], Want::Rows, &mut got).unwrap();
    let mut untried = Setup::default().runner(&tiny());
    let held = untried.hold(&[entry(&[0], 0)], Want::Rows).unwrap();
    let submissions = untried.gpu.submissions();
    let step = untried.release(held, &[(0, 7)]).unwrap();
    assert!(untried.gpu.submissions() > submissions + 1, "one submission holds all of it");
    let mut parts = Results::default();
    untried.collect(step, &mut parts).unwrap();
    assert_eq!(parts.logits, got.logits);
    for ids in [[(1, 11)], [(0, vocab)]] {
        let held = runner.hold(&[entry(&[0], 1)], Want::Rows).unwrap();
        assert!(runner.release(held, &ids).is_err(), "{ids:?}");
    }
    let held = runner.hold(&[entry(&[0], 1)], Want::Rows).unwrap();
    runner.forget(held);
    let first = runner.submit(&[entry(&[7], 0)], &[], Want::Rows).unwrap();
    let held = runner.hold(&[entry(&[0], 1)], Want::Rows).unwrap();
    runner.collect(first, &mut got).unwrap();
    let second = runner.release(held, &[(0, 11)]).unwrap();
    runner.collect(second, &mut got).unwrap();
    assert_eq!(got.logits, want.logits);
}
