//! Draws against exact probabilities and a naive reference.

mod sample_reference;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use ridgepoint::sample::{Choice, History, SampleError, Sampler, SamplingParams, log_softmax_top};
use sample_reference::{naive, params, row};

fn draw(params: &SamplingParams, seed: u64, row: &[f32], history: &History) -> Choice {
    Sampler::new(params, seed).sample(&mut row.to_vec(), history).unwrap()
}

/// Draws `count` tokens, each at its own index, and holds Pearson's statistic against its 1 - 1e-6 quantile (Wilson
/// and Hilferty: df (1 - 2/(9 df) + z sqrt(2/(9 df)))^3 with z = 4.75). The seed is fixed, so the test is too.
fn assert_distribution(params: &SamplingParams, logits: &[f32], count: usize) {
    let expected = naive(params, logits, &[], &[], &[]);
    let mut seen = vec![0usize; logits.len()];
    let mut sampler = Sampler::new(params, 7);
    let mut history = History::new(&[]);
    let mut scratch = logits.to_vec();
    for _ in 0..count {
        scratch.copy_from_slice(logits);
        let id = sampler.sample(&mut scratch, &history).unwrap().id;
        seen[id as usize] += 1;
        history.push(id);
    }
    // Cells with fewer than 10 expected draws are pooled.
    let (mut statistic, mut cells, mut rest, mut rest_seen) = (0.0, 0, 0.0, 0.0);
    for &(id, p) in &expected {
        let (e, o) = (p * count as f64, std::mem::take(&mut seen[id as usize]) as f64);
        if e < 10.0 {
            rest += e;
            rest_seen += o;
        } else {
            statistic += (o - e).powi(2) / e;
            cells += 1;
        }
    }
    assert!(seen.iter().all(|&n| n == 0), "a token outside the survivors was drawn");
    if rest > 0.0 {
        statistic += (rest_seen - rest).powi(2) / rest;
        cells += 1;
    }
    let df = f64::from(cells - 1);
    let bound = df * (1.0 - 2.0 / (9.0 * df) + 4.75 * (2.0 / (9.0 * df)).sqrt()).powi(3);
    assert!(statistic < bound, "chi-square {statistic:.1} with {df} degrees of freedom, bound {bound:.1}");
}

#[test]
fn draws_follow_the_distribution() {
    let base = SamplingParams::default;
    // 300 tokens, so that an unfiltered draw also leaves its sorted head.
    let logits = row(300, 3);
    assert_distribution(&base(), &logits, 40_000);
    assert_distribution(&SamplingParams { temperature: 5.0, ..base() }, &logits, 40_000);
    assert_distribution(&SamplingParams { temperature: 0.6, ..base() }, &logits, 20_000);
    assert_distribution(&SamplingParams { top_k: 9, ..base() }, &logits, 20_000);
    assert_distribution(&SamplingParams { top_p: 0.9, temperature: 2.0, ..base() }, &logits, 20_000);
    assert_distribution(&SamplingParams { min_p: 0.2, temperature: 1.5, ..base() }, &logits, 20_000);
    let all = SamplingParams { min_p: 0.02, top_k: 30, top_p: 0.8, temperature: 1.3, ..base() };
    assert_distribution(&all, &logits, 20_000);
}

#[test]
fn a_draw_depends_on_seed_choice_and_index_only() {
    let logits = row(500, 9);
    let params = SamplingParams { seed: Some(42), temperature: 1.5, ..Default::default() };
    let run = |sampler: &mut Sampler| -> Vec<u32> {
        let mut history = History::new(&[1, 2]);
        let step = |_| {
            let id = sampler.sample(&mut logits.clone(), &history).unwrap().id;
            history.push(id);
            id
        };
        (0..64).map(step).collect()
    };
    let first = run(&mut Sampler::new(&params, 1));
    assert!(first.iter().collect::<BTreeSet<_>>().len() > 20);
    assert_eq!(run(&mut Sampler::new(&params, 2)), first);
    // A sampler that has done other work draws the same; so does one that resumes in the middle.
    let mut used = Sampler::new(&params, 3);
    used.sample(&mut row(70, 1), &History::resume(&[], &[5; 30])).unwrap();
    assert_eq!(run(&mut used), first);
    let resumed = History::resume(&[1, 2], &first[..40]);
    assert_eq!(draw(&params, 1, &logits, &resumed).id, first[40]);
    assert_ne!(run(&mut Sampler::new(&params, 1).for_choice(1)), first);
    let unseeded = SamplingParams { seed: None, ..params };
    assert_ne!(run(&mut Sampler::new(&unseeded, 1)), run(&mut Sampler::new(&unseeded, 2)));
}

#[test]
fn the_random_stream_is_pinned() {
    // A seed's text must not change between versions: the first one drew these.
    let params = SamplingParams { seed: Some(1234), ..Default::default() };
    let flat = [0.0; 50];
    let ids = (0..8).map(|i| draw(&params, 0, &flat, &History::resume(&[], &vec![0; i])).id);
    assert_eq!(ids.collect::<Vec<_>>(), [45, 5, 48, 45, 27, 12, 23, 3]);
}

#[test]
fn greedy_takes_the_lowest_of_ties_and_edges_hold() {
    let greedy = SamplingParams { temperature: 0.0, ..Default::default() };
    let none = History::new(&[]);
    assert_eq!(draw(&greedy, 0, &[1.0, 3.0, 3.0, 2.0], &none).id, 1);
    assert_eq!(draw(&greedy, 0, &[-0.0, 0.0], &none).id, 0);
    for json in ["{}", r#"{"top_k":1}"#, r#"{"top_p":0}"#, r#"{"min_p":1}"#, r#"{"temperature":1e-40}"#] {
        let params: SamplingParams = serde_json::from_str(json).unwrap();
        assert_eq!(draw(&params, 3, &[0.5], &none).id, 0, "vocabulary of one, {json}");
        if json != "{}" {
            for seed in 0..20 {
                let id = draw(&params, seed, &[1.0, 4.0, 3.9, f32::NEG_INFINITY], &none).id;
                assert_eq!(id, 1, "{json}");
            }
        }
    }
    // Filters at their neutral values change no draw.
    let logits = row(200, 5);
    let neutral = SamplingParams { top_k: -1, top_p: 1.0, min_p: 0.0, ..Default::default() };
    let wide = SamplingParams { top_k: 200, ..Default::default() };
    for seed in 0..50 {
        let plain = draw(&SamplingParams::default(), seed, &logits, &none);
        assert_eq!(draw(&neutral, seed, &logits, &none), plain);
        assert_eq!(draw(&wide, seed, &logits, &none), plain);
    }
    // Of ties at the k-th place the lower id survives.
    let two = SamplingParams { top_k: 2, ..Default::default() };
    assert!((0..200).all(|seed| draw(&two, seed, &[1.0, 2.0, 1.0, 1.0], &none).id < 2));
}

#[test]
fn rows_without_an_answer_are_errors() {
    let none = History::new(&[]);
    let fail = |params: &SamplingParams, row: &[f32]| {
        Sampler::new(params, 0).with_eos(&[0]).sample(&mut row.to_vec(), &none).unwrap_err()
    };
    let base = SamplingParams::default();
    assert_eq!(fail(&base, &[]), SampleError::Empty);
    assert_eq!(fail(&base, &[f32::NEG_INFINITY; 4]), SampleError::AllMasked);
    assert!(matches!(fail(&base, &[0.0, f32::NAN]), SampleError::NotFinite { id: 1, .. }));
    assert!(matches!(fail(&base, &[f32::INFINITY, 0.0]), SampleError::NotFinite { id: 0, .. }));
    let masked = SamplingParams { min_tokens: 1, stop_token_ids: vec![1], ..Default::default() };
    assert_eq!(fail(&masked, &[1.0, 2.0]), SampleError::AllMasked);
    let wild = SamplingParams { repetition_penalty: 1e-38, ..Default::default() };
    let error = Sampler::new(&wild, 0).sample(&mut [1.0, 50.0], &History::new(&[1])).unwrap_err();
    assert!(matches!(error, SampleError::Overflow { id: 1, .. }));
}

#[test]
fn log_probabilities_are_those_of_the_raw_row() {
    let logits = row(100, 8);
    let params = SamplingParams {
        logprobs: Some(4),
        temperature: 0.0,
        logit_bias: [(17, 100.0)].into(),
        presence_penalty: 1.0,
        ..Default::default()
    };
    let choice = draw(&params, 0, &logits, &History::resume(&[], &[17]));
    let (norm, top) = log_softmax_top(&logits, 4).unwrap();
    assert_eq!(choice.id, 17);
    assert_eq!(choice.top, top);
    assert!((f64::from(choice.logprob.unwrap()) - (f64::from(logits[17]) - norm)).abs() < 1e-5);
    let chosen_only = SamplingParams { logprobs: Some(0), ..Default::default() };
    let plain = draw(&chosen_only, 0, &logits, &History::new(&[]));
    assert!(plain.logprob.is_some() && plain.top.is_empty());
}

/// Parameters that also change the logits.
fn penalised() -> impl Strategy<Value = SamplingParams> {
    let changes = (
        prop_oneof![Just(1.0f32), 0.5f32..2.0],
        -2.0f32..2.0,
        -2.0f32..2.0,
        prop::collection::btree_map(0u32..20, -20.0f32..20.0, 0..4),
        0u32..5,
    );
    (params(), changes).prop_map(
        |(params, (repetition_penalty, presence, frequency, logit_bias, min_tokens))| SamplingParams {
            repetition_penalty,
            presence_penalty: presence,
            frequency_penalty: frequency,
            logit_bias,
            min_tokens,
            stop_token_ids: vec![4],
            ..params
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Nothing outside the reference's survivors is drawn, and every likely one of them is.
    #[test]
    fn survivors_are_the_reference_s(
        params in prop_oneof![params(), penalised()],
        vocab in prop_oneof![20usize..80, 200usize..600],
        seed in any::<u64>(),
        prompt in prop::collection::vec(0u32..20, 0..6),
        output in prop::collection::vec(0u32..20, 0..6),
    ) {
        let logits = row(vocab, seed);
        let expected = naive(&params, &logits, &prompt, &output, &[3]);
        let history = History::resume(&prompt, &output);
        let mut drawn = BTreeMap::new();
        for choice in 0..200 {
            let mut sampler = Sampler::new(&params, seed).with_eos(&[3]).for_choice(choice);
            *drawn.entry(sampler.sample(&mut logits.clone(), &history).unwrap().id).or_insert(0.0) += 1.0;
        }
        // f32 and f64 may put a token that lies on a cut on different sides, so this reference cuts a hair wider.
        let wider = SamplingParams { top_p: params.top_p + 1e-5, min_p: params.min_p * (1.0 - 1e-5), ..params };
        let wider = naive(&wider, &logits, &prompt, &output, &[3]);
        for id in drawn.keys() {
            prop_assert!(wider.iter().any(|t| t.0 == *id), "{id} is not among {wider:?}");
        }
        // Within seven standard deviations of the binomial, and a draw.
        for (id, p) in expected {
            let seen: f64 = drawn.get(&id).copied().unwrap_or(0.0);
            let bound = 7.0 * (200.0 * p * (1.0 - p)).sqrt() + 3.0;
            prop_assert!((seen - 200.0 * p).abs() <= bound, "{id}: {seen} of 200 with probability {p}");
        }
    }
}
