//! Every pair of sampling options, in every mode: the step loop survives, and nothing but the request
//! decides what comes out.

use std::collections::BTreeMap;

use ridgepoint::engine::{
    Ahead, Engine, Finish, GenerationRequest, Options, PromptOutput, RequestId, Wanted,
};
use ridgepoint::kernels::Order;
use ridgepoint::sample::{SamplingParams, StopText};
use ridgepoint::scheduler::SchedulerConfig;

use super::{Answer, Answers, Setup, alone, drain, prompt, sampled};

/// A change to a request that samples at a temperature of 0.8 for at most 10 tokens.
type Change = fn(&mut GenerationRequest);

const OPTIONS: &[(&str, Change)] = &[
    ("greedy", |r| r.params.temperature = 0.0),
    ("hot", |r| r.params.temperature = 1.7),
    ("top_k", |r| r.params.top_k = 5),
    ("top_p", |r| r.params.top_p = 0.7),
    ("min_p", |r| r.params.min_p = 0.05),
    ("repetition_penalty", |r| r.params.repetition_penalty = 1.3),
    ("presence_penalty", |r| r.params.presence_penalty = 1.0),
    ("frequency_penalty", |r| r.params.frequency_penalty = 1.5),
    ("logit_bias", |r| r.params.logit_bias = BTreeMap::from([(7, 4.0), (9, -100.0)])),
    ("min_tokens", |r| r.params.min_tokens = 6),
    ("stop", |r| r.params.stop = vec!["a".into(), "e".into(), "1".into()]),
    ("include_stop", |r| r.params.stop_text = StopText::Include),
    ("stop_token_ids", |r| r.params.stop_token_ids = (10..90).collect()),
    ("eos", |r| r.params.ignore_eos = false),
    ("logprobs", |r| r.params.logprobs = Some(3)),
    ("n", |r| r.params.n = 2),
    ("best_of", |r| r.params.best_of = Some(3)),
    ("prompt_logprobs", |r| r.wanted = Wanted::PromptAndText(2)),
];

/// Each option alone and each pair, with a name. All have one prompt, so that prefixes are shared.
fn requests() -> Vec<(String, GenerationRequest)> {
    let base = || {
        let params = SamplingParams { temperature: 0.8, ..sampled(3, 10) };
        GenerationRequest::new(prompt(40, 5), params)
    };
    let mut all = Vec::new();
    for (i, (first, change)) in OPTIONS.iter().enumerate() {
        let mut one = base();
        change(&mut one);
        for (second, other) in &OPTIONS[i + 1..] {
            let mut both = one.clone();
            other(&mut both);
            all.push((format!("{first} and {second}"), both));
        }
        all.push(((*first).to_string(), one));
    }
    all
}

fn modes() -> Vec<(&'static str, Setup)> {
    let options = Options { order: Order::Fixed, ..Options::default() };
    let base = || Setup { options, ..Setup::default() };
    let wide = SchedulerConfig { max_queue: 1000, ..base().config };
    let chunks = SchedulerConfig { max_num_batched_tokens: 32, max_num_seqs: 8, ..wide.clone() };
    let ahead = Options { ahead: Ahead::On, ..options };
    vec![
        ("together", Setup { config: wide.clone(), prefixes: false, ..base() }),
        ("prefix cache", Setup { config: wide.clone(), ..base() }),
        ("preempted", Setup { config: wide.clone(), blocks: 9, prefixes: false, ..base() }),
        ("preempted, prefix cache", Setup { config: wide.clone(), blocks: 9, ..base() }),
        ("chunks", Setup { config: chunks, ..base() }),
        ("a step ahead", Setup { config: wide.clone(), options: ahead, ..base() }),
        ("a step ahead, preempted", Setup { config: wide, options: ahead, blocks: 9, ..base() }),
    ]
}

/// Everything about an answer that the request decides.
fn figures(answer: &Answer) -> impl PartialEq + std::fmt::Debug {
    let result = answer.result.as_ref().expect("it ended");
    let bits = answer.choices.iter().map(|c| (c.logprob.map(f32::to_bits), c.top.len()));
    let text = answer.text.as_str();
    (answer.tokens.clone(), bits.collect::<Vec<_>>(), text, result.finish.clone(), result.output_tokens)
}

fn choices(request: &GenerationRequest) -> u32 {
    request.params.n
}

/// What each request gives alone, without shared prefixes.
fn references(all: &[(String, GenerationRequest)]) -> Vec<(Vec<Answer>, Option<PromptOutput>)> {
    let options = Options { order: Order::Fixed, ..Options::default() };
    let mut engine = Setup { prefixes: false, options, ..Setup::default() }.engine();
    let one = |engine: &mut Engine, request: &GenerationRequest| {
        let mut answers = alone(engine, request.clone());
        let id = *answers.0.keys().map(|(id, _)| id).next().unwrap();
        let all = (0..choices(request)).map(|index| answers.of(id, index).clone()).collect();
        (all, answers.1.remove(&id))
    };
    all.iter().map(|(_, request)| one(&mut engine, request)).collect()
}

#[test]
fn every_pair_of_options_gives_the_same_in_every_mode() {
    let all = requests();
    let want = references(&all);
    let ends: Vec<&Finish> =
        want.iter().flat_map(|(answers, _)| answers).map(|a| &a.result.as_ref().unwrap().finish).collect();
    assert!(ends.contains(&&Finish::Stop) && ends.contains(&&Finish::Length), "both ends are reached");
    let mut preemptions = 0;
    for (mode, setup) in modes() {
        let mut engine = setup.engine();
        let ids: Vec<RequestId> = all.iter().map(|(_, r)| engine.add(r.clone()).unwrap()).collect();
        // Every fifth client goes away while it is served or waits.
        let mut events = Vec::new();
        let mut answers = Answers::default();
        for (i, id) in ids.iter().enumerate().filter(|(i, _)| i % 5 == 4) {
            if i % 2 == 0 {
                engine.step(&mut events).unwrap();
                answers.take(&mut events);
            }
            engine.abort(*id);
        }
        let rest = drain(&mut engine);
        for (key, more) in rest.0 {
            let answer = answers.0.entry(key).or_default();
            answer.tokens.extend(more.tokens);
            answer.choices.extend(more.choices);
            answer.text += &more.text;
            answer.result = answer.result.take().or(more.result);
        }
        answers.1.extend(rest.1);
        preemptions += engine.stats().counters.preemptions;
        for (i, ((name, request), (want, output))) in all.iter().zip(&want).enumerate() {
            if i % 5 == 4 {
                continue;
            }
            for (index, want) in (0..choices(request)).zip(want) {
                let got = answers.of(ids[i], index);
                assert_eq!(figures(got), figures(want), "{mode}: {name}, choice {index}");
            }
            assert_eq!(answers.1.get(&ids[i]), output.as_ref(), "{mode}: {name}");
        }
    }
    assert!(preemptions > 20, "only {preemptions} were preempted");
}
