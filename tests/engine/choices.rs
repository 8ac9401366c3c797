//! Several choices of one request, and the figures of requests.

use ridgepoint::engine::{Finish, GenerationRequest, RequestId, StopCause};
use ridgepoint::sample::SamplingParams;
use ridgepoint::scheduler::SchedulerConfig;

use super::{Setup, alone, drain, greedy, prompt, sampled};

#[test]
fn choices_share_the_prompts_blocks_and_differ() {
    let mut engine = Setup::default().engine();
    let ids = prompt(70, 1);
    let one = alone(&mut engine, GenerationRequest::new(ids.clone(), sampled(5, 20)));
    let id = engine.add(GenerationRequest::new(ids, SamplingParams { n: 4, ..sampled(5, 20) })).unwrap();
    let mut events = Vec::new();
    engine.step(&mut events).unwrap();
    engine.step(&mut events).unwrap();
    assert_eq!(events.len(), 8, "each choice has a token a step");
    // 70 tokens are four full blocks and a piece: shared, and a last block each.
    assert_eq!(engine.stats().blocks_used, 4 + 4);
    let answers = drain(&mut engine);
    let mut early = super::Answers::default();
    early.take(&mut events);
    let text = |index| {
        let first = &early.of(id, index).tokens;
        first.iter().chain(&answers.of(id, index).tokens).copied().collect::<Vec<u32>>()
    };
    assert_eq!(text(0), one.of(RequestId(0), 0).tokens, "the first choice is what n = 1 gives");
    let mut texts: Vec<_> = (0..4).map(text).collect();
    assert!(texts.iter().all(|t| t.len() == 20));
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 4, "choices are drawn independently");
}

#[test]
fn choices_beyond_the_places_wait_and_come_out_the_same() {
    let request = || GenerationRequest::new(prompt(40, 2), SamplingParams { n: 5, ..sampled(9, 24) });
    let wide = alone(&mut Setup::default().engine(), request());
    let config = SchedulerConfig { max_num_seqs: 2, ..Setup::default().config };
    let mut narrow_engine = Setup { config, ..Setup::default() }.engine();
    let narrow = alone(&mut narrow_engine, request());
    // Few blocks: choices are preempted and computed again.
    let mut tight_engine = Setup { blocks: 8, ..Setup::default() }.engine();
    let tight = alone(&mut tight_engine, request());
    assert!(tight_engine.stats().counters.preemptions > 0);
    for index in 0..5 {
        let tokens = &wide.of(RequestId(0), index).tokens;
        assert_eq!(tokens, &narrow.of(RequestId(0), index).tokens);
        assert_eq!(tokens, &tight.of(RequestId(0), index).tokens);
    }
}

#[test]
fn the_best_of_several_come_together_ranked() {
    let mut engine = Setup::default().engine();
    let params = SamplingParams { logprobs: Some(0), n: 6, ..sampled(3, 8) };
    let all = engine.add(GenerationRequest::new(prompt(20, 3), params.clone())).unwrap();
    let mut events = Vec::new();
    let mut scores = [0.0_f64; 6];
    let mut tokens = vec![Vec::new(); 6];
    while engine.has_work() {
        engine.step(&mut events).unwrap();
        for event in events.drain(..) {
            assert_eq!(event.request(), all);
            if let ridgepoint::engine::Event::Token { index, choice, .. } = event {
                scores[index as usize] += f64::from(choice.logprob.unwrap());
                tokens[index as usize].push(choice.id);
            }
        }
    }
    let mut order: Vec<usize> = (0..6).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));

    let params = SamplingParams { logprobs: None, n: 2, best_of: Some(6), ..params };
    let id = engine.add(GenerationRequest::new(prompt(20, 3), params)).unwrap();
    while engine.has_work() {
        assert!(events.is_empty(), "nothing comes before the end");
        engine.step(&mut events).unwrap();
    }
    let hidden = |e: &ridgepoint::engine::Event| match e {
        ridgepoint::engine::Event::Token { choice, .. } => choice.logprob.is_none(),
        ridgepoint::engine::Event::Prompt { .. } | ridgepoint::engine::Event::Finished { .. } => true,
    };
    assert!(events.iter().all(hidden), "log-probabilities that nobody asked for stay inside");
    let mut best = super::Answers::default();
    best.take(&mut events);
    assert_eq!(best.0.len(), 2);
    for (place, &index) in order[..2].iter().enumerate() {
        assert_eq!(best.of(id, place as u32).tokens, tokens[index]);
    }
}

#[test]
fn salts_keep_prefixes_apart_and_figures_add_up() {
    let mut engine = Setup::default().engine();
    let salted = |salt: &str| GenerationRequest {
        cache_salt: Some(salt.into()),
        ..GenerationRequest::new(prompt(50, 4), greedy(4))
    };
    let mut cached = Vec::new();
    for salt in ["alice", "bob", "alice"] {
        let id = engine.add(salted(salt)).unwrap();
        let answers = drain(&mut engine);
        let result = answers.of(id, 0).result.clone().unwrap();
        assert_eq!((result.finish, result.prompt_tokens, result.output_tokens), (Finish::Length, 50, 4));
        let t = result.timings;
        assert_eq!(t.queued + t.prefill() + t.decode(), t.total);
        cached.push(result.cached_tokens);
    }
    assert_eq!(cached, [0, 0, 48]);
    let stats = engine.stats();
    let c = stats.counters;
    assert_eq!((c.requests, c.by_length, c.stopped, c.aborted, c.failed), (3, 3, 0, 0, 0));
    assert_eq!((c.prompt_tokens, c.cached_tokens, c.generation_tokens), (150, 48, 12));
    assert_eq!((stats.prefix.queries, stats.prefix.hits), (150, 48));
    // The last token of an answer is never computed.
    assert_eq!((c.steps, c.step_tokens), (12, 150 - 48 + 3 * 3));
    assert!(engine.reset_prefix_cache() > 0);
    assert_eq!(engine.stats().blocks_cached, 0);
}

#[test]
fn an_abort_ends_every_choice_and_frees_its_blocks() {
    let mut engine = Setup::default().engine();
    let params = SamplingParams { n: 3, ..sampled(1, 100) };
    let gone = engine.add(GenerationRequest::new(prompt(30, 5), params)).unwrap();
    let stays = engine.add(GenerationRequest::new(prompt(30, 6), greedy(10))).unwrap();
    let mut events = Vec::new();
    engine.step(&mut events).unwrap();
    engine.step(&mut events).unwrap();
    engine.abort(gone);
    engine.abort(gone);
    let answers = drain(&mut engine);
    assert!(answers.0.keys().all(|(id, _)| *id == stays));
    assert_eq!(engine.stats().counters.aborted, 3);
}

#[test]
fn what_stopped_a_choice_is_named() {
    let mut engine = Setup::default().engine();
    let free = alone(&mut engine, GenerationRequest::new(prompt(12, 7), greedy(40)));
    let tokens = &free.of(RequestId(0), 0).tokens;
    let third = tokens[2];
    let params = SamplingParams { stop_token_ids: vec![third], ..greedy(40) };
    let by_token = alone(&mut engine, GenerationRequest::new(prompt(12, 7), params));
    let result = by_token.of(RequestId(1), 0).result.as_ref().unwrap();
    assert_eq!((&result.finish, result.stop), (&Finish::Stop, Some(StopCause::Token(third))));
    let text = &free.of(RequestId(0), 0).text;
    let last: String = text.chars().rev().take(2).collect::<Vec<_>>().into_iter().rev().collect();
    let params = SamplingParams { stop: vec!["not in it".into(), last.clone()], ..greedy(40) };
    let by_text = alone(&mut engine, GenerationRequest::new(prompt(12, 7), params));
    let answer = by_text.of(RequestId(2), 0);
    assert_eq!(answer.result.as_ref().unwrap().stop, Some(StopCause::Text(1)));
    assert_eq!(answer.text, text[..text.find(&last).unwrap()]);
    assert_eq!(engine.stats().counters.stopped, 2);
}
