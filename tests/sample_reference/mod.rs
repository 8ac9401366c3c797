//! The sampler's formulas with a full sort and in f64, and rows and parameters to try them on.

use proptest::prelude::*;
use ridgepoint::sample::SamplingParams;

/// The distribution by the formulas: (id, probability), survivors only, most probable first.
#[allow(dead_code, reason = "each test file uses a part")]
pub fn naive(
    params: &SamplingParams,
    row: &[f32],
    prompt: &[u32],
    output: &[u32],
    eos: &[u32],
) -> Vec<(u32, f64)> {
    let mut x: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
    for (&id, &bias) in &params.logit_bias {
        x[id as usize] += f64::from(bias);
    }
    if output.len() < params.min_tokens as usize {
        for &id in eos.iter().chain(&params.stop_token_ids) {
            x[id as usize] = f64::NEG_INFINITY;
        }
    }
    for (id, v) in (0u32..).zip(&mut x) {
        let count = output.iter().filter(|&&t| t == id).count() as f64;
        if count > 0.0 || prompt.contains(&id) {
            let r = f64::from(params.repetition_penalty);
            *v = if *v > 0.0 { *v / r } else { *v * r };
        }
        *v -= f64::from(params.frequency_penalty) * count;
        *v -= if count > 0.0 { f64::from(params.presence_penalty) } else { 0.0 };
    }
    let mut list: Vec<(u32, f64)> = (0u32..).zip(x).filter(|t| t.1 > f64::NEG_INFINITY).collect();
    list.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let max = list[0].1;
    for t in &mut list {
        t.1 = ((t.1 - max) / f64::from(params.temperature)).exp();
    }
    list.retain(|t| t.1 >= f64::from(params.min_p));
    list.truncate(params.top_k().unwrap_or(usize::MAX));
    let total: f64 = list.iter().map(|t| t.1).sum();
    let (mut mass, mut keep) = (0.0, 0);
    while keep < list.len() && (keep == 0 || mass < f64::from(params.top_p) * total) {
        mass += list[keep].1;
        keep += 1;
    }
    list.truncate(keep);
    list.iter().map(|t| (t.0, t.1 / mass)).collect()
}

/// A row of distinct-looking logits between -6 and 6 from a xorshift generator.
pub fn row(vocab: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1u32 << 24) as f32 - 0.5) * 12.0
    };
    (0..vocab).map(next).collect()
}

/// Temperature and filters, each also at its neutral value.
pub fn params() -> impl Strategy<Value = SamplingParams> {
    let filters = (
        prop_oneof![Just(1.0f32), 0.3f32..3.0],
        prop_oneof![Just(1.0f32), 0.05f32..1.0],
        prop_oneof![Just(0i64), Just(-1), 1i64..300],
        prop_oneof![Just(0.0f32), 0.001f32..0.9],
    );
    filters.prop_map(|(temperature, top_p, top_k, min_p)| SamplingParams {
        temperature,
        top_p,
        top_k,
        min_p,
        ..Default::default()
    })
}
