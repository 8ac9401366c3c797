//! Sampling from the largest logits of a row, where the device brought back no more than those.

use super::logprobs::{Entry, by_rank, logprob};
use super::sampler::{HEAD, Law};
use super::{Choice, History, SampleError, Sampler};

/// What the normaliser may be off by, as a share of the softmax mass: sums in f32 on a device and the f32 itself.
const NORMALISER_ERROR: f64 = 1e-4;

/// What the order of summation may change in an f64 sum over a vocabulary, as a share.
const SUM_ERROR: f64 = 1e-10;

/// The largest logits of one row, raw (no bias, penalty or temperature), ties at the end resolved to the lower ids.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// Token ids, distinct, in any order.
    pub ids: &'a [u32],
    /// The logit of each.
    pub logits: &'a [f32],
    /// `ln Σ exp(logit)` over the whole row.
    pub logsumexp: f32,
    /// Tokens in the whole row.
    pub vocab: usize,
}

impl Sampler {
    /// Draws from a candidate list the token that [`Sampler::sample`] would draw from the whole row, or returns None
    /// where only the whole row can tell. With L candidates it can tell when no bias, penalty or `min_tokens` mask is
    /// at work, `logprobs` <= L, and one of these holds:
    /// - greedy;
    /// - `top_k` <= L, or L is the vocabulary: no normaliser is needed;
    /// - min-p drops the last candidate, hence all that are not listed;
    /// - neither top-k nor min-p is on, `top_p` < 1 and its mass lies inside the list: at temperature 1 by the
    ///   normaliser, at others by bounds on the unlisted mass (power means; no unlisted logit exceeds the last listed
    ///   one), provided that the cut is the same at both bounds;
    /// - no filter is on and the draw falls on the list's first 64 tokens, at both bounds likewise.
    ///
    /// The bounds leave 1e-4 of the mass for errors of the normaliser, so the answer is the whole row's, not nearly so.
    ///
    /// # Errors
    /// A malformed list, NaN or +inf in it, or -inf throughout.
    pub fn sample_candidates(
        &mut self,
        list: &Candidates<'_>,
        history: &History,
    ) -> Result<Option<Choice>, SampleError> {
        self.take(list)?;
        if self.params.changes_logits(history.output_len()) {
            return Ok(None);
        }
        // A list that ends in -inf has been cut short by `take` and holds all that can be drawn.
        let whole = list.ids.len() == list.vocab || self.entries.len() < list.ids.len();
        let listed = self.params.logprobs.map(|n| n as usize);
        if listed.is_some_and(|n| n > self.entries.len()) && !whole {
            return Ok(None);
        }
        let Some(place) = self.place(list, history.output_len(), whole) else {
            return Ok(None);
        };
        let Entry { logit, id } = self.entries[place];
        let Some(listed) = listed else {
            return Ok(Some(Choice { id, logprob: None, top: Vec::new() }));
        };
        let norm = f64::from(list.logsumexp);
        self.entries.truncate(listed);
        Ok(Some(Choice { id, logprob: Some(logprob(logit, norm)), top: self.listed(norm) }))
    }

    /// Checks the list and leaves it in `entries`, in rank order, without what is at -inf.
    fn take(&mut self, list: &Candidates<'_>) -> Result<(), SampleError> {
        let malformed = |what: String| Err(SampleError::Candidates(what));
        if list.ids.is_empty() {
            return Err(SampleError::Empty);
        }
        if list.ids.len() != list.logits.len() || list.ids.len() > list.vocab {
            return malformed(format!(
                "{} ids and {} logits of a vocabulary of {}: expected as many logits as ids, at most the vocabulary",
                list.ids.len(),
                list.logits.len(),
                list.vocab
            ));
        }
        self.entries.clear();
        for (&id, &value) in list.ids.iter().zip(list.logits) {
            if value.is_nan() || value == f32::INFINITY {
                return Err(SampleError::NotFinite { id, value });
            }
            if id as usize >= list.vocab {
                return malformed(format!("token {id}: expected ids below {}, the vocabulary", list.vocab));
            }
            if value > f32::NEG_INFINITY {
                self.entries.push(Entry { logit: value, id });
            }
        }
        self.entries.sort_unstable_by(by_rank);
        let Some(best) = self.entries.first() else {
            return Err(SampleError::AllMasked);
        };
        // A softmax normaliser is never below the largest logit, but for rounding.
        let slack = 1e-3 * best.logit.abs().max(1.0);
        if list.logsumexp.is_nan() || list.logsumexp < best.logit - slack || list.logsumexp == f32::INFINITY {
            return malformed(format!(
                "the normaliser is {}: expected a finite number not below the largest logit, {}",
                list.logsumexp, best.logit
            ));
        }
        Ok(())
    }

    /// The place in `entries` of the token that is drawn; None where the whole row must tell.
    fn place(&self, list: &Candidates<'_>, index: usize, whole: bool) -> Option<usize> {
        if self.params.is_greedy() {
            return Some(0);
        }
        let entries = self.entries.as_slice();
        let (first, last) = (entries.first()?, entries.last()?);
        let law = Law::new(&self.params, first.logit);
        let u = self.uniform(index);
        let top_p = f64::from(self.params.top_p);
        let place_of = |id: u32| entries.iter().position(|entry| entry.id == id);
        let complete = whole || law.drops(last.logit);
        if let Some(k) = self.params.top_k().filter(|&k| k < list.vocab) {
            let survivors = &entries[..k.min(entries.len())];
            let enough = complete || k <= entries.len();
            return enough.then(|| law.draw_listed(survivors, top_p, u)).and_then(place_of);
        }
        let sum: f64 = entries.iter().map(|entry| law.weight(entry.logit)).sum();
        let (low, high) = if complete {
            (sum * (1.0 - SUM_ERROR), sum * (1.0 + SUM_ERROR))
        } else if self.params.min_p > 0.0 {
            return None;
        } else {
            let (low, high) = unlisted(entries, list, self.params.temperature);
            (sum + low, sum + high)
        };
        if top_p < 1.0 {
            let nucleus = law.nucleus(entries, top_p * low)?;
            let same = law.nucleus(entries, top_p * high) == Some(nucleus);
            return same.then(|| law.draw_nucleus(entries, nucleus, u)).and_then(place_of);
        }
        let head = &entries[..entries.len().min(HEAD)];
        let id = law.pick(head, u * low).ok()?;
        (law.pick(head, u * high) == Ok(id)).then(|| place_of(id)).flatten()
    }
}

/// Bounds on `Σ exp((x - max) / T)` over the tokens that are not listed.
///
/// With `w = exp(x - max)`, a = 1/T, n unlisted tokens, their mass t at temperature 1 (from the normaliser) and m the
/// last listed weight, `Σ w^a` lies between `t m^(a-1)` (since w <= m) and `n^(1-a) t^a` (power means), in one order
/// for a < 1 and in the other for a > 1.
fn unlisted(entries: &[Entry], list: &Candidates<'_>, temperature: f32) -> (f64, f64) {
    let above = |logit: f32| f64::from(logit) - f64::from(entries[0].logit);
    let mass = above(list.logsumexp).exp();
    let listed: f64 = entries.iter().map(|entry| above(entry.logit).exp()).sum();
    let power = 1.0 / f64::from(temperature);
    let least = above(entries[entries.len() - 1].logit);
    let count = (list.vocab - list.ids.len()) as f64;
    let bounds =
        |tail: f64| [tail * (least * (power - 1.0)).exp(), count.powf(1.0 - power) * tail.powf(power)];
    let [a, b] = bounds((mass * (1.0 - NORMALISER_ERROR) - listed).max(0.0));
    let [c, d] = bounds((mass * (1.0 + NORMALISER_ERROR) - listed).max(0.0));
    // An infinite or undefined bound decides nothing: the caller then needs the whole row.
    (
        if a.is_nan() || b.is_nan() { 0.0 } else { a.min(b) },
        if c.is_nan() || d.is_nan() { f64::INFINITY } else { c.max(d) },
    )
}
