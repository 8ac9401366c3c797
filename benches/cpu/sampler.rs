//! A token from a row of logits over a vocabulary of 49,152, and from the candidates that a device brings back.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use ridgepoint::kernels::{Noise, top_k};
use ridgepoint::sample::{Candidates, History, Sampler, SamplingParams};

const VOCAB: usize = 49_152;

/// Logits of the shape that models give: few stand out, most lie far below.
fn row() -> Vec<f32> {
    Noise::new(5).floats(VOCAB).into_iter().map(|x| 24.0 * x.powi(63)).collect()
}

fn params() -> [(&'static str, SamplingParams); 5] {
    let plain = || SamplingParams { seed: Some(7), ..SamplingParams::default() };
    [
        ("greedy", SamplingParams { temperature: 0.0, ..plain() }),
        ("top-k 40", SamplingParams { top_k: 40, ..plain() }),
        ("top-p 0.9", SamplingParams { top_p: 0.9, ..plain() }),
        ("top-k 40, top-p 0.9", SamplingParams { top_k: 40, top_p: 0.9, ..plain() }),
        ("top-k 40, penalties", SamplingParams { top_k: 40, repetition_penalty: 1.1, ..plain() }),
    ]
}

pub fn benches(c: &mut Criterion) {
    let row = row();
    let history = History::new(&Noise::new(6).shuffled(VOCAB)[..500]);
    let mut group = c.benchmark_group("sampler, a row of 49152");
    for (name, params) in params() {
        let mut sampler = Sampler::new(&params, 1);
        group.bench_function(name, |b| {
            let draw = |logits: &mut Vec<f32>| sampler.sample(logits, &history).expect("a token is drawn");
            b.iter_batched_ref(|| row.clone(), draw, BatchSize::LargeInput);
        });
    }
    group.finish();

    let ids = top_k::reference(&row, top_k::CANDIDATES);
    let logits: Vec<f32> = ids.iter().map(|id| row[*id as usize]).collect();
    let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
    let list = Candidates { ids: &ids, logits: &logits, logsumexp: sum.ln() as f32, vocab: VOCAB };
    let mut group = c.benchmark_group("sampler, 64 candidates");
    for (name, params) in params() {
        let mut sampler = Sampler::new(&params, 1);
        let expected = sampler.sample(&mut row.clone(), &history).expect("a token is drawn");
        // Where only the whole row can tell, there is nothing to time.
        let Some(choice) = sampler.sample_candidates(&list, &history).expect("the list is sound") else {
            continue;
        };
        assert_eq!(choice.id, expected.id, "{name}: the candidates give the row's token");
        group.bench_function(name, |b| b.iter(|| black_box(sampler.sample_candidates(&list, &history))));
    }
    group.finish();
}
