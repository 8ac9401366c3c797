//! The same request gives the same text, whatever else is in the batch: with neighbours, preempted,
//! from cached prefixes, cut into chunks, and a step ahead.

use ridgepoint::engine::{Ahead, GenerationRequest, Options, RequestId};
use ridgepoint::kernels::Order;
use ridgepoint::sample::SamplingParams;
use ridgepoint::scheduler::SchedulerConfig;

use super::{Answer, Setup, alone, drain, greedy, prompt, sampled};

/// The requests that are compared; log-probabilities show logits and margins.
fn requests() -> [GenerationRequest; 2] {
    let drawn = SamplingParams { temperature: 0.8, top_p: 0.9, logprobs: Some(4), ..sampled(11, 16) };
    let greedy = SamplingParams { logprobs: Some(4), ..greedy(16) };
    [GenerationRequest::new(prompt(45, 1), drawn), GenerationRequest::new(prompt(37, 2), greedy)]
}

/// Requests of other lengths and kinds that are there as well.
fn neighbour(i: u64) -> GenerationRequest {
    let tokens = 5 + (i * 7 % 20) as u32;
    let params = if i.is_multiple_of(3) { greedy(tokens) } else { sampled(i as i64, tokens) };
    GenerationRequest::new(prompt(3 + (i as usize * 11) % 60, 100 + i), params)
}

/// The settings under which nothing may change, with a name each.
fn setups() -> Vec<(&'static str, Setup)> {
    let base = Setup::default;
    let chunks = |max_num_batched_tokens| SchedulerConfig {
        max_num_batched_tokens,
        max_num_seqs: 20,
        ..base().config
    };
    let whole = SchedulerConfig { enable_chunked_prefill: false, ..base().config };
    let threshold = SchedulerConfig { long_prefill_token_threshold: 5, ..base().config };
    vec![
        ("as it is", base()),
        ("preempted", Setup { blocks: 9, ..base() }),
        ("preempted, prefixes off", Setup { blocks: 9, prefixes: false, ..base() }),
        ("prefixes off", Setup { prefixes: false, ..base() }),
        ("chunks", Setup { config: chunks(20), ..base() }),
        ("chunks of 5", Setup { config: threshold, ..base() }),
        ("whole prompts", Setup { config: whole, ..base() }),
    ]
}

/// Both requests beside `neighbours` others that arrived before and after; the number of preemptions.
fn among(setup: &Setup, neighbours: u64) -> ([Answer; 2], u64) {
    let mut engine = setup.engine();
    // The prefix cache has one request's beginning already.
    let [_, second] = requests();
    alone(&mut engine, GenerationRequest { params: greedy(1), ..second });
    for i in 0..neighbours / 2 {
        engine.add(neighbour(i)).unwrap();
    }
    let mut events = Vec::new();
    engine.step(&mut events).unwrap();
    let ids = requests().map(|request| engine.add(request).unwrap());
    for i in neighbours / 2..neighbours {
        engine.add(neighbour(i)).unwrap();
    }
    let answers = drain(&mut engine);
    (ids.map(|id| answers.of(id, 0).clone()), engine.stats().counters.preemptions)
}

fn references(options: Options) -> [Answer; 2] {
    let setup = Setup { prefixes: false, options, ..Setup::default() };
    requests().map(|request| alone(&mut setup.engine(), request).of(RequestId(0), 0).clone())
}

/// Equal up to a token where the two best were closer than f16's keys and values may move them.
fn same_text(name: &str, got: &Answer, want: &Answer) {
    for (at, (a, b)) in got.choices.iter().zip(&want.choices).enumerate() {
        if a.id != b.id {
            let margin = b.top[0].1 - b.top[1].1;
            assert!(margin < 0.02, "{name}: token {at} is {}, not {}, by {margin}", a.id, b.id);
            return;
        }
    }
    assert_eq!((got.tokens.len(), &got.text), (want.tokens.len(), &want.text), "{name}");
}

#[test]
fn neighbours_preemption_prefixes_and_chunks_change_no_text() {
    let want = references(Options::default());
    let mut preemptions = 0;
    for (name, setup) in setups() {
        for neighbours in [1, 2, 7, 16] {
            let (got, preempted) = among(&setup, neighbours);
            preemptions += preempted;
            for (got, want) in got.iter().zip(&want) {
                same_text(&format!("{name}, {neighbours} neighbours"), got, want);
            }
        }
    }
    assert!(preemptions > 5, "only {preemptions} were preempted");
}

#[test]
fn in_a_fixed_order_every_log_probability_has_the_same_bits() {
    let options = Options { order: Order::Fixed, ..Options::default() };
    let want = references(options);
    for (name, setup) in setups() {
        for neighbours in [1, 2, 7, 16] {
            for ahead in [Ahead::Never, Ahead::On] {
                let setup = Setup { options: Options { ahead, ..options }, ..setup.clone() };
                let (got, _) = among(&setup, neighbours);
                for (got, want) in got.iter().zip(&want) {
                    let name = format!("{name}, {neighbours} neighbours, ahead {ahead:?}");
                    assert_eq!(got.tokens, want.tokens, "{name}");
                    for (at, (a, b)) in got.choices.iter().zip(&want.choices).enumerate() {
                        let bits = |c: &ridgepoint::sample::Choice| {
                            let listed: Vec<_> = c.top.iter().map(|(id, p)| (*id, p.to_bits())).collect();
                            (c.logprob.map(f32::to_bits), listed)
                        };
                        assert_eq!(bits(a), bits(b), "{name}, token {at}");
                    }
                }
            }
        }
    }
}
