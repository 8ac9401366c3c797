//! What is made of a prompt itself: vectors and log-probabilities, against plain loops in f64, alone and
//! in company, in chunks, preempted, and with the prompt in the prefix cache.

use std::sync::LazyLock;

use ridgepoint::engine::{
    Ahead, Finish, GenerationRequest, Options, Pooling, PromptOutput, RequestId, Wanted,
};
use ridgepoint::model::Reference;
use ridgepoint::sample::{SamplingParams, log_softmax_top};
use ridgepoint::scheduler::SchedulerConfig;

use super::{Answers, Setup, alone, drain, greedy, prompt, sampled, tiny};

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| Reference::read(&tiny()).unwrap());

fn setups() -> Vec<(&'static str, Setup)> {
    let base = Setup::default;
    let chunks = SchedulerConfig { max_num_batched_tokens: 40, max_num_seqs: 8, ..base().config };
    let whole = SchedulerConfig { enable_chunked_prefill: false, ..base().config };
    let ahead = Options { ahead: Ahead::On, ..Options::default() };
    vec![
        ("as it is", base()),
        ("chunks", Setup { config: chunks, ..base() }),
        ("whole prompts", Setup { config: whole, ..base() }),
        ("preempted", Setup { blocks: 9, ..base() }),
        ("a step ahead", Setup { options: ahead, ..base() }),
    ]
}

/// The request behind one that leaves its prompt in the prefix cache, among others; how often any
/// sequence was preempted.
fn among(setup: &Setup, request: GenerationRequest) -> (RequestId, Answers, u64) {
    let mut engine = setup.engine();
    alone(&mut engine, GenerationRequest::new(request.prompt.clone(), greedy(1)));
    for i in 0..4 {
        let params = if i % 2 == 0 { greedy(30) } else { sampled(i, 30) };
        engine.add(GenerationRequest::new(prompt(20, 100 + i as u64), params)).unwrap();
    }
    let mut events = Vec::new();
    engine.step(&mut events).unwrap();
    let id = engine.add(request).unwrap();
    let answers = drain(&mut engine);
    (id, answers, engine.stats().counters.preemptions)
}

fn cosine(a: &[f32], b: &[f64]) -> f64 {
    let length = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum();
    dot / length(&mut a.iter().map(|v| f64::from(*v))) / length(&mut b.iter().copied())
}

#[test]
fn embeddings_are_the_pooled_states_whatever_else_runs() {
    let ids = prompt(70, 7);
    let states = REFERENCE.states(&ids).unwrap();
    let mean: Vec<f64> = (0..states[0].len()).map(|i| states.iter().map(|s| s[i]).sum()).collect();
    let last = states.last().unwrap();
    assert!(cosine(&mean.iter().map(|v| *v as f32).collect::<Vec<_>>(), last) < 0.999, "they differ");
    let mut preemptions = 0;
    for (name, setup) in setups() {
        for (pooling, want) in [(Pooling::Mean, &mean), (Pooling::Last, last)] {
            let request = GenerationRequest::embedding(ids.clone(), pooling);
            let (id, answers, preempted) = among(&setup, request);
            preemptions += preempted;
            let Some(PromptOutput::Embedding(got)) = answers.1.get(&id) else { panic!("{name}: none came") };
            let length: f32 = got.iter().map(|v| v * v).sum();
            assert!((length - 1.0).abs() < 1e-5, "{name}: length {length}");
            // Keys and values are f16.
            let off = 1.0 - cosine(got, want);
            assert!(got.len() == want.len() && off < 1e-6, "{name}, {pooling:?}: off by {off:e}");
            let answer = answers.of(id, 0);
            let result = answer.result.clone().unwrap();
            assert_eq!((&result.finish, result.output_tokens), (&Finish::Stop, 0), "{name}");
            assert_eq!((result.prompt_tokens, result.cached_tokens), (70, 0), "{name}");
            assert!(answer.tokens.is_empty() && answer.text.is_empty());
        }
    }
    assert!(preemptions > 0);
}

#[test]
fn a_batch_of_embeddings_is_each_ones_own() {
    let texts: Vec<Vec<u32>> = (0..20).map(|i| prompt(1 + 3 * i, i as u64)).collect();
    let mut engine = Setup::default().engine();
    let ids: Vec<RequestId> = texts
        .iter()
        .map(|t| engine.add(GenerationRequest::embedding(t.clone(), Pooling::Mean)).unwrap())
        .collect();
    // One goes away while its step is chosen, and takes nobody's states along.
    let mut events = Vec::new();
    engine.step(&mut events).unwrap();
    engine.abort(ids[19]);
    let mut answers = Answers::default();
    answers.take(&mut events);
    let rest = drain(&mut engine);
    answers.1.extend(rest.1);
    for (id, text) in ids.iter().zip(&texts).take(19) {
        let states = REFERENCE.states(text).unwrap();
        let mean: Vec<f64> = (0..states[0].len()).map(|i| states.iter().map(|s| s[i]).sum()).collect();
        let PromptOutput::Embedding(got) = &answers.1[id] else { panic!("no vector") };
        assert!(1.0 - cosine(got, &mean) < 1e-6, "{} tokens", text.len());
    }
    assert_eq!(
        engine.stats().counters.prompt_tokens,
        texts[..19].iter().map(|t| t.len() as u64).sum::<u64>()
    );
}

#[test]
fn prompts_log_probabilities_are_those_of_the_model() {
    let ids = prompt(70, 9);
    let states = 0..ids.len() - 1;
    let want: Vec<(f64, Vec<f32>)> = states
        .map(|i| {
            let logits = REFERENCE.logits(&ids[..=i]).unwrap();
            (log_softmax_top(&logits, 3).unwrap().0, logits)
        })
        .collect();
    let text = alone(&mut Setup::default().engine(), GenerationRequest::new(ids.clone(), greedy(6)));
    let text = &text.of(RequestId(0), 0).tokens;
    for (name, setup) in setups() {
        for wanted in [Wanted::Prompt(3), Wanted::PromptAndText(3)] {
            let mut request = GenerationRequest::new(ids.clone(), greedy(6));
            request.wanted = wanted;
            let (id, answers, _) = among(&setup, request);
            let Some(PromptOutput::Logprobs(got)) = answers.1.get(&id) else { panic!("{name}: none came") };
            assert_eq!(got.iter().map(|c| c.id).collect::<Vec<_>>(), ids, "{name}");
            assert_eq!(got[0].logprob, None);
            for (at, (choice, (norm, logits))) in got[1..].iter().zip(&want).enumerate() {
                let right = f64::from(logits[choice.id as usize]) - norm;
                let off = (f64::from(choice.logprob.unwrap()) - right).abs();
                // As much as f16 keys and values move a logit and the sum of all.
                let largest = logits.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                assert!(off < 4e-3 * f64::from(largest), "{name}, position {at}: off by {off} of {largest}");
                assert_eq!(choice.top.len(), 3);
            }
            let answer = answers.of(id, 0);
            let expected = if wanted.text() { text.as_slice() } else { &[] };
            assert_eq!(answer.tokens, expected, "{name}");
            assert_eq!(answer.result.as_ref().unwrap().finish, Finish::Length);
        }
    }
}

#[test]
fn choices_share_one_prompts_log_probabilities() {
    let mut engine = Setup::default().engine();
    let params = SamplingParams { n: 3, best_of: Some(4), ..sampled(4, 5) };
    let mut request = GenerationRequest::new(prompt(50, 3), params);
    request.wanted = Wanted::PromptAndText(0);
    let id = engine.add(request.clone()).unwrap();
    let answers = drain(&mut engine);
    assert!(matches!(&answers.1[&id], PromptOutput::Logprobs(all) if all.len() == 50));
    assert_eq!(answers.0.len(), 3);
    request.wanted = Wanted::Prompt(0);
    assert!(engine.add(request).unwrap_err().to_string().contains("n = 1"));
}
