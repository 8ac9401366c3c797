//! Lists of the largest logits against whole rows.

mod sample_reference;

use proptest::prelude::*;
use ridgepoint::sample::{Candidates, History, SampleError, Sampler, SamplingParams, log_softmax_top};
use sample_reference::{params, row};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Where a list gives an answer, it is the whole row's, in id and log-probabilities; where it must, it does.
    #[test]
    fn lists_agree_with_rows(
        params in params(),
        logprobs in prop_oneof![Just(None), (0u32..8).prop_map(Some)],
        vocab in 5usize..400,
        length in 1usize..120,
        seed in any::<u64>(),
    ) {
        let params = SamplingParams { logprobs, ..params };
        let logits = row(vocab, seed);
        let (norm, top) = log_softmax_top(&logits, length.min(vocab)).unwrap();
        let ids: Vec<u32> = top.iter().rev().map(|t| t.0).collect();
        let values: Vec<f32> = ids.iter().map(|&id| logits[id as usize]).collect();
        // The normaliser as a device may bring it, a little off.
        let list = Candidates { ids: &ids, logits: &values, logsumexp: norm as f32 + 2e-5, vocab };
        let none = History::new(&[]);
        let listed = logprobs.is_none_or(|n| n as usize <= ids.len());
        let must = listed && params.top_k().is_some_and(|k| k <= ids.len() && k < vocab);
        for choice in 0..20 {
            let mut sampler = Sampler::new(&params, seed).for_choice(choice);
            let short = sampler.sample_candidates(&list, &none).unwrap();
            let full = sampler.sample(&mut logits.clone(), &none).unwrap();
            prop_assert!(short.is_some() || !must);
            if let Some(short) = short {
                prop_assert_eq!(short.id, full.id);
                prop_assert_eq!(short.logprob.is_some(), full.logprob.is_some());
                prop_assert_eq!(short.top.len(), full.top.len());
                for (a, b) in short.top.iter().zip(&full.top) {
                    prop_assert!(a.0 == b.0 && (a.1 - b.1).abs() < 1e-4);
                }
            }
        }
    }
}

/// A steep row, as a language model's: the first 64 of 2,000 hold nearly all the mass.
fn steep() -> Vec<f32> {
    (0..2000).map(|i| 15.0 - 3.0 * (1.0 + i as f32).ln()).collect()
}

#[test]
fn lists_of_64_mostly_suffice() {
    let logits = steep();
    let ids: Vec<u32> = (0..64).collect();
    let norm = log_softmax_top(&logits, 0).unwrap().0;
    let list = Candidates { ids: &ids, logits: &logits[..64], logsumexp: norm as f32, vocab: 2000 };
    let answers = |json: &str| {
        let params: SamplingParams = serde_json::from_str(json).unwrap();
        let answered = (0..1000).filter(|&choice| {
            let mut sampler = Sampler::new(&params, 5).for_choice(choice);
            sampler.sample_candidates(&list, &History::new(&[])).unwrap().is_some()
        });
        answered.count()
    };
    for json in ["{}", r#"{"top_p":0.95}"#, r#"{"temperature":0.7}"#, r#"{"min_p":0.05,"temperature":1.5}"#] {
        let answers = answers(json);
        assert!(answers > 950, "{json}: {answers} of 1000");
    }
    // Too flat for 64 to hold the mass.
    assert_eq!(answers(r#"{"temperature":3,"top_p":0.95}"#), 0);
    assert_eq!(answers(r#"{"top_k":65}"#), 0);
    assert_eq!(answers(r#"{"temperature":0,"logprobs":65}"#), 0);
    assert_eq!(answers(r#"{"temperature":0,"logprobs":64}"#), 1000);
    assert_eq!(answers(r#"{"temperature":0,"presence_penalty":0.5}"#), 0);
}

#[test]
fn malformed_lists_are_refused() {
    let logits = steep();
    let list = Candidates { ids: &[0, 1], logits: &logits[..2], logsumexp: 15.5, vocab: 2000 };
    let mut sampler = Sampler::new(&SamplingParams::default(), 0);
    let none = History::new(&[]);
    let mut refuse = |list: Candidates<'_>| sampler.sample_candidates(&list, &none).unwrap_err();
    assert_eq!(refuse(Candidates { ids: &[], logits: &[], ..list }), SampleError::Empty);
    assert!(matches!(refuse(Candidates { ids: &[1], ..list }), SampleError::Candidates(_)));
    assert!(matches!(refuse(Candidates { ids: &[1, 2000], ..list }), SampleError::Candidates(_)));
    assert!(matches!(refuse(Candidates { vocab: 1, ..list }), SampleError::Candidates(_)));
    assert!(matches!(refuse(Candidates { logsumexp: f32::NAN, ..list }), SampleError::Candidates(_)));
    assert!(matches!(refuse(Candidates { logsumexp: 0.0, ..list }), SampleError::Candidates(_)));
    let nan = Candidates { ids: &[4], logits: &[f32::NAN], ..list };
    assert!(matches!(refuse(nan), SampleError::NotFinite { id: 4, .. }));
    let masked = Candidates { ids: &[4], logits: &[f32::NEG_INFINITY], ..list };
    assert_eq!(refuse(masked), SampleError::AllMasked);
}
