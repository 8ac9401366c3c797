//! The draw of one token from a whole row of logits.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::logprobs::{Entry, argmax, by_rank, logprob, logsumexp, select_top};
use super::{History, SampleError, SamplingParams};

/// Tokens at the front of the order of an unfiltered draw; see [`Sampler`].
pub(super) const HEAD: usize = 64;

/// Words of ChaCha's key stream in a block: each token of a sequence draws from a block of its own.
const BLOCK_WORDS: u128 = 16;

/// A drawn token.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub id: u32,
    /// Its natural-log probability under the model: log-softmax of the raw logits, before bias, penalties and
    /// temperature (vLLM's `raw_logprobs`). None unless the request has `logprobs`.
    pub logprob: Option<f32>,
    /// The `logprobs` most probable tokens likewise, most probable first; the drawn one only if it is among them.
    pub top: Vec<(u32, f32)>,
}

/// Draws the tokens of one sequence. It keeps no state between draws but scratch: a draw is a function of the
/// parameters, the seed, the choice's index, the row and the history, so neighbours in the batch, preemption and
/// recomputation change nothing.
///
/// For a row `x[vocab]`, in this order:
/// 1. `logit_bias`: `x[i] += bias[i]` (OpenAI API reference).
/// 2. `min_tokens`: `x[i] = -inf` for end-of-sequence and stop tokens while the output is shorter (vLLM).
/// 3. `repetition_penalty` r, for tokens in prompt or output: `x[i] /= r` if `x[i] > 0`, else `x[i] *= r`
///    (CTRL, Keskar et al. 2019, section 4.1; the sign rule is Hugging Face's, and vLLM's).
/// 4. `x[i] -= frequency_penalty * count[i] + presence_penalty * (count[i] > 0)`, count over the output (OpenAI).
/// 5. `temperature` 0: the largest logit, ties to the lower id. Else weights `w[i] = exp((x[i] - max x) / T)`.
/// 6. `min_p`: drops `w[i] < min_p` (Nguyen et al. 2024; the largest weight is 1).
/// 7. `top_k`: keeps the first k by (logit, then lower id): exactly k, where vLLM keeps all ties with the k-th.
/// 8. `top_p`: keeps the shortest prefix of that order with `Σ w >= top_p * Σ w(survivors)`, at least one token
///    (Holtzman et al. 2020).
/// 9. The draw: u in [0, 1) from ChaCha8 with key = seed, stream = index of the choice, block = index of the token;
///    the first token whose cumulated weight exceeds `u * Σ w`. Order of cumulation: by rank; where neither top-k
///    nor top-p shortened the list, the 64 first by rank and then the others by id. So a list of the largest logits
///    mostly suffices (`sample_candidates`) and gives the same token.
#[derive(Clone, Debug)]
pub struct Sampler {
    pub(super) params: SamplingParams,
    eos: Vec<u32>,
    key: [u8; 32],
    choice: u64,
    pub(super) entries: Vec<Entry>,
    /// Logits that `process` changed, as they were; the first entry of an id is the raw one.
    changed: Vec<Entry>,
}

impl Sampler {
    /// A sampler for the first choice of a request whose parameters are valid. `seed_fallback` is the seed where the
    /// request has none.
    pub fn new(params: &SamplingParams, seed_fallback: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&params.seed().unwrap_or(seed_fallback).to_le_bytes());
        Self {
            params: params.clone(),
            eos: Vec::new(),
            key,
            choice: 0,
            entries: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// The model's end-of-sequence tokens, which `min_tokens` excludes.
    #[must_use]
    pub fn with_eos(mut self, eos: &[u32]) -> Self {
        self.eos = eos.to_vec();
        self
    }

    /// The sampler for the choice with this index (0 to n - 1), whose draws are independent of the others'.
    #[must_use]
    pub fn for_choice(mut self, index: u32) -> Self {
        self.choice = u64::from(index);
        self
    }

    /// The parameters.
    pub fn params(&self) -> &SamplingParams {
        &self.params
    }

    /// Draws the next token of a sequence from its row of logits `[vocab]`, which is changed in place.
    ///
    /// # Errors
    /// An empty row, NaN or +inf in it, no token left to draw, or penalties that overflow f32.
    pub fn sample(&mut self, logits: &mut [f32], history: &History) -> Result<Choice, SampleError> {
        let mut best = argmax(logits)?;
        let raw = self.params.logprobs.map(|listed| {
            let norm = logsumexp(logits, best.logit);
            select_top(logits, listed as usize, &mut self.entries);
            (norm, self.listed(norm))
        });
        self.changed.clear();
        if self.params.changes_logits(history.output_len()) {
            self.process(logits, history);
            best = argmax(logits).map_err(|error| self.blame_penalties(error))?;
        }
        let id = if self.params.is_greedy() {
            best.id
        } else {
            self.draw(logits, best.logit, history.output_len())
        };
        let Some((norm, top)) = raw else {
            return Ok(Choice { id, logprob: None, top: Vec::new() });
        };
        let changed = self.changed.iter().find(|entry| entry.id == id);
        let logit = changed.map_or(logits[id as usize], |entry| entry.logit);
        Ok(Choice { id, logprob: Some(logprob(logit, norm)), top })
    }

    /// The entries as (id, log-probability).
    pub(super) fn listed(&self, norm: f64) -> Vec<(u32, f32)> {
        self.entries.iter().map(|entry| (entry.id, logprob(entry.logit, norm))).collect()
    }

    /// The random number of the token with this index, in [0, 1).
    pub(super) fn uniform(&self, index: usize) -> f64 {
        let mut stream = ChaCha8Rng::from_seed(self.key);
        stream.set_stream(self.choice);
        stream.set_word_pos(index as u128 * BLOCK_WORDS);
        (stream.next_u64() >> 11) as f64 * (0.5f64).powi(53)
    }

    /// Steps 1 to 4, keeping the raw value of each logit before its first change.
    fn process(&mut self, logits: &mut [f32], history: &History) {
        let Self { params, eos, changed, .. } = self;
        let mut change = |id: u32, apply: &dyn Fn(f32) -> f32| {
            if let Some(logit) = logits.get_mut(id as usize) {
                if params.logprobs.is_some() {
                    changed.push(Entry { logit: *logit, id });
                }
                *logit = apply(*logit);
            }
        };
        for (&id, &bias) in &params.logit_bias {
            change(id, &|logit| logit + bias);
        }
        if history.output_len() < params.min_tokens as usize {
            for &id in eos.iter().chain(&params.stop_token_ids) {
                change(id, &|_| f32::NEG_INFINITY);
            }
        }
        let repetition = params.repetition_penalty;
        let (frequency, presence) = (params.frequency_penalty, params.presence_penalty);
        if repetition == 1.0 && frequency == 0.0 && presence == 0.0 {
            return;
        }
        for (id, seen) in history.iter() {
            change(id, &|logit| {
                let repeated = if logit > 0.0 { logit / repetition } else { logit * repetition };
                let once = if seen.output > 0 { presence } else { 0.0 };
                repeated - frequency * seen.output as f32 - once
            });
        }
    }

    /// The raw row was in order, so a value that is out of order now comes from the parameters.
    fn blame_penalties(&self, error: SampleError) -> SampleError {
        match error {
            SampleError::NotFinite { id, value } => {
                SampleError::Overflow { id, value, repetition_penalty: self.params.repetition_penalty }
            }
            other => other,
        }
    }

    /// Steps 5 to 9 for a row whose largest logit is `max`.
    fn draw(&mut self, logits: &[f32], max: f32, index: usize) -> u32 {
        let u = self.uniform(index);
        let law = Law::new(&self.params, max);
        let top_p = f64::from(self.params.top_p);
        let entries = &mut self.entries;
        if let Some(k) = self.params.top_k().filter(|&k| k < logits.len()) {
            select_top(logits, k, entries);
            return law.draw_listed(entries, top_p, u);
        }
        let total: f64 = logits.iter().map(|&logit| law.weight(logit)).sum();
        let mut k = HEAD;
        select_top(logits, k, entries);
        if top_p < 1.0 {
            loop {
                let whole = entries.len() < k || k >= logits.len();
                match law.nucleus(entries, top_p * total) {
                    Some(nucleus) => return law.draw_nucleus(entries, nucleus, u),
                    // Rounding alone kept the sum below its target.
                    None if whole => {
                        return law.pick(entries, u * total).unwrap_or_else(|last| last);
                    }
                    None => k *= 4,
                }
                select_top(logits, k, entries);
            }
        }
        law.pick(entries, u * total).unwrap_or_else(|last| law.pick_tail(logits, entries, last, u * total))
    }
}

/// The weights of a row at one temperature, with min-p's cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Law {
    max: f32,
    temperature: f32,
    /// Below this, `(x - max) / T` is dropped by min-p.
    cut: f32,
}

/// A prefix of a list in rank order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Nucleus {
    pub(super) len: usize,
    mass: f64,
}

impl Law {
    pub(super) fn new(params: &SamplingParams, max: f32) -> Self {
        Self { max, temperature: params.temperature, cut: params.min_p.ln() }
    }

    /// `(x - max) / T`: the difference first, so that no temperature above 0 makes an infinity of the largest logit.
    fn scaled(&self, logit: f32) -> f32 {
        (logit - self.max) / self.temperature
    }

    /// Whether min-p drops this logit, and with it every smaller one.
    pub(super) fn drops(&self, logit: f32) -> bool {
        self.scaled(logit) < self.cut
    }

    /// The weight of a logit; 0 for a dropped one.
    pub(super) fn weight(&self, logit: f32) -> f64 {
        if self.drops(logit) { 0.0 } else { f64::from(self.scaled(logit).exp()) }
    }

    /// The shortest prefix whose weight reaches `target`; None when the whole list falls short.
    pub(super) fn nucleus(&self, entries: &[Entry], target: f64) -> Option<Nucleus> {
        let mut mass = 0.0;
        for (index, entry) in entries.iter().enumerate() {
            mass += self.weight(entry.logit);
            if mass >= target {
                return Some(Nucleus { len: index + 1, mass });
            }
        }
        None
    }

    /// The first entry whose cumulated weight exceeds `aim`, or else the last one with any weight.
    pub(super) fn pick(&self, entries: &[Entry], aim: f64) -> Result<u32, u32> {
        let (mut mass, mut last) = (0.0, entries[0].id);
        for entry in entries {
            let weight = self.weight(entry.logit);
            if weight > 0.0 {
                mass += weight;
                last = entry.id;
                if mass > aim {
                    return Ok(entry.id);
                }
            }
        }
        Err(last)
    }

    pub(super) fn draw_nucleus(&self, entries: &[Entry], nucleus: Nucleus, u: f64) -> u32 {
        self.pick(&entries[..nucleus.len], u * nucleus.mass).unwrap_or_else(|last| last)
    }

    /// Top-p and the draw where `entries` holds every survivor of top-k and min-p.
    pub(super) fn draw_listed(&self, entries: &[Entry], top_p: f64, u: f64) -> u32 {
        let total: f64 = entries.iter().map(|entry| self.weight(entry.logit)).sum();
        let whole = Nucleus { len: entries.len(), mass: total };
        self.draw_nucleus(entries, self.nucleus(entries, top_p * total).unwrap_or(whole), u)
    }

    /// Goes on by id, past the head, where the head (whose last token with weight is `last`) ended below `aim`.
    fn pick_tail(&self, logits: &[f32], head: &[Entry], last: u32, aim: f64) -> u32 {
        let mut mass: f64 = head.iter().map(|entry| self.weight(entry.logit)).sum();
        let mut last = last;
        let end = head[head.len() - 1];
        for (id, &logit) in (0u32..).zip(logits) {
            if by_rank(&Entry { logit, id }, &end).is_gt() {
                let weight = self.weight(logit);
                if weight > 0.0 {
                    mass += weight;
                    last = id;
                    if mass > aim {
                        break;
                    }
                }
            }
        }
        last
    }
}
