//! Steps bounded by the model of their time: prompts come in pieces, nothing starves, no text changes.

use std::time::Duration;

use ridgepoint::engine::{GenerationRequest, Options, RequestId};

use super::{Answers, Setup, alone, drain, greedy, prompt};

#[test]
fn a_bound_that_nothing_meets_leaves_prompts_their_least() {
    let free = alone(&mut Setup::default().engine(), GenerationRequest::new(prompt(200, 1), greedy(6)));
    let options = Options { max_step: Some(Duration::from_nanos(1)), ..Options::default() };
    let mut engine = Setup { options, ..Setup::default() }.engine();
    let stream = engine.add(GenerationRequest::new(prompt(5, 2), greedy(60))).unwrap();
    let mut events = Vec::new();
    engine.step(&mut events).unwrap();
    let long = engine.add(GenerationRequest::new(prompt(200, 1), greedy(6))).unwrap();
    let mut sizes = Vec::new();
    let mut answers = Answers::default();
    while engine.has_work() {
        engine.step(&mut events).unwrap();
        answers.take(&mut events);
        sizes.push(engine.last_step().tokens);
    }
    // Four tokens of the prompt beside one of the stream.
    assert!(sizes.iter().all(|&n| n <= 5), "{sizes:?}");
    assert_eq!(sizes.iter().filter(|&&n| n == 5).count(), 200 / 4, "{sizes:?}");
    assert_eq!(answers.of(stream, 0).tokens.len(), 60);
    assert_eq!(answers.of(long, 0).tokens, free.of(RequestId(0), 0).tokens);
    assert_eq!(engine.step_time().steps(), sizes.len() as u64 + 1);
}

/// Counted in steps, so that no clock is asked.
#[test]
fn a_short_request_joins_a_long_one_and_ends_first() {
    let mut engine = Setup::default().engine();
    let mut events = Vec::new();
    let long = engine.add(GenerationRequest::new(prompt(100, 1), greedy(60))).unwrap();
    for _ in 0..5 {
        engine.step(&mut events).unwrap();
    }
    let short = engine.add(GenerationRequest::new(prompt(20, 2), greedy(4))).unwrap();
    let mut answers = Answers::default();
    let mut sequences = Vec::new();
    while answers.0.get(&(short, 0)).is_none_or(|answer| answer.result.is_none()) {
        engine.step(&mut events).unwrap();
        answers.take(&mut events);
        sequences.push(engine.last_step().sequences);
    }
    // One step for its prompt and first token, one for each other; the long one has part in all of them.
    assert_eq!(sequences, [2; 4]);
    assert!(answers.of(long, 0).result.is_none());
    assert_eq!(answers.of(long, 0).tokens.len(), 9);
    assert_eq!(drain(&mut engine).of(long, 0).tokens.len(), 60 - 9);
}

#[test]
fn a_bound_beyond_every_step_lets_prompts_grow() {
    let options = Options { max_step: Some(Duration::from_secs(1000)), ..Options::default() };
    let mut engine = Setup { options, ..Setup::default() }.engine();
    engine.add(GenerationRequest::new(prompt(240, 3), greedy(2))).unwrap();
    let mut sizes = Vec::new();
    while engine.has_work() {
        engine.step(&mut Vec::new()).unwrap();
        sizes.push(engine.last_step().tokens);
    }
    // Twice what has been seen, each time.
    assert_eq!(sizes, [16, 32, 64, 128, 1]);
}
