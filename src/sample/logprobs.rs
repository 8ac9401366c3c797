//! The largest logits of a row, and log-probabilities.

use std::cmp::Ordering;

use super::{Choice, SampleError};

/// A token with its logit. The order of a list is largest logit first, ties to the lower id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) logit: f32,
    pub(super) id: u32,
}

/// Largest logit first, ties to the lower id. NaN is refused before anything is ordered.
pub(super) fn by_rank(a: &Entry, b: &Entry) -> Ordering {
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id))
}

/// The index of the row's largest logit (ties to the lower) and its value.
///
/// # Errors
/// An empty row, NaN or +inf anywhere, or -inf everywhere.
pub(super) fn argmax(logits: &[f32]) -> Result<Entry, SampleError> {
    if logits.is_empty() {
        return Err(SampleError::Empty);
    }
    let mut best = Entry { logit: f32::NEG_INFINITY, id: 0 };
    for (id, &logit) in (0u32..).zip(logits) {
        if logit.is_nan() || logit == f32::INFINITY {
            return Err(SampleError::NotFinite { id, value: logit });
        }
        if logit > best.logit {
            best = Entry { logit, id };
        }
    }
    if best.logit == f32::NEG_INFINITY { Err(SampleError::AllMasked) } else { Ok(best) }
}

/// Leaves in `out` the `k` best entries of a row that has passed [`argmax`], in order; fewer where fewer are above -inf.
///
/// One pass: what beats the k-th best so far is collected, and a full buffer of 2k is cut back to k by selection,
/// so that the usual cost is one comparison per token and only k entries are sorted.
pub(super) fn select_top(logits: &[f32], k: usize, out: &mut Vec<Entry>) {
    out.clear();
    let k = k.min(logits.len());
    if k == 0 {
        return;
    }
    let full = k.saturating_mul(2).min(logits.len().saturating_add(1));
    out.reserve(full);
    let mut floor = f32::NEG_INFINITY;
    for (id, &logit) in (0u32..).zip(logits) {
        // Ids rise, so an equal logit that comes later ranks below the k already found.
        if logit > floor {
            out.push(Entry { logit, id });
            if out.len() == full && full > k {
                out.select_nth_unstable_by(k - 1, by_rank);
                out.truncate(k);
                floor = out[k - 1].logit;
            }
        }
    }
    if out.len() > k {
        out.select_nth_unstable_by(k - 1, by_rank);
        out.truncate(k);
    }
    out.sort_unstable_by(by_rank);
}

/// `ln Σ exp(logit)` of a row whose largest logit is `max`, in f64.
pub(super) fn logsumexp(logits: &[f32], max: f32) -> f64 {
    let max = f64::from(max);
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - max).exp()).sum();
    max + sum.ln()
}

/// The softmax normaliser `ln Σ exp(logit)` of a row `[vocab]`, and its `k` most probable tokens as
/// (id, natural-log probability), most probable first, ties to the lower id. Sums in f64 around the largest logit.
/// Tokens at -inf are never listed.
///
/// # Errors
/// An empty row, NaN or +inf anywhere, or -inf everywhere.
pub fn log_softmax_top(logits: &[f32], k: usize) -> Result<(f64, Vec<(u32, f32)>), SampleError> {
    let max = argmax(logits)?.logit;
    let norm = logsumexp(logits, max);
    let mut top = Vec::new();
    select_top(logits, k, &mut top);
    Ok((norm, top.iter().map(|e| (e.id, logprob(e.logit, norm))).collect()))
}

/// The log-probability of a token that was given, not drawn, under a row of logits `[vocab]`, with those of
/// the `listed` most probable ones. A token beyond the row has none.
///
/// # Errors
/// As [`log_softmax_top`].
pub fn observed(logits: &[f32], id: u32, listed: usize) -> Result<Choice, SampleError> {
    let (norm, top) = log_softmax_top(logits, listed)?;
    let logprob = logits.get(id as usize).map(|&logit| logprob(logit, norm));
    Ok(Choice { id, logprob, top })
}

/// `ln p` of a logit under a normaliser.
pub(super) fn logprob(logit: f32, norm: f64) -> f32 {
    (f64::from(logit) - norm) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn log_probabilities_of_a_known_row() {
        let row = [1f32.ln(), 2f32.ln(), 5f32.ln(), f32::NEG_INFINITY];
        let (norm, top) = log_softmax_top(&row, 9).unwrap();
        assert!((norm - 8f64.ln()).abs() < 1e-6);
        assert_eq!(top.iter().map(|t| t.0).collect::<Vec<_>>(), [2, 1, 0]);
        for (got, p) in top.iter().zip([5.0 / 8.0, 2.0 / 8.0, 1.0 / 8.0f32]) {
            assert!((got.1 - p.ln()).abs() < 1e-6);
        }
        // Far from zero, where exp() of the logits themselves is infinite.
        let (norm, top) = log_softmax_top(&[1e4, 1e4], 1).unwrap();
        assert!((norm - (1e4 + 2f64.ln())).abs() < 1e-9);
        assert_eq!(top, [(0, -std::f32::consts::LN_2)]);
    }

    #[test]
    fn bad_rows_are_refused() {
        assert_eq!(log_softmax_top(&[], 1), Err(SampleError::Empty));
        assert_eq!(log_softmax_top(&[f32::NEG_INFINITY; 3], 1), Err(SampleError::AllMasked));
        assert!(matches!(log_softmax_top(&[0.0, f32::NAN], 1), Err(SampleError::NotFinite { id: 1, .. })));
        assert!(matches!(log_softmax_top(&[f32::INFINITY], 1), Err(SampleError::NotFinite { id: 0, .. })));
    }

    proptest! {
        #[test]
        fn selection_equals_a_sort(row in prop::collection::vec(-6i8..6, 1..200), k in 0usize..220) {
            // Few distinct values: ties everywhere; -6 stands for a masked token.
            let row: Vec<f32> = row.iter().map(|&x| if x == -6 { f32::NEG_INFINITY } else { f32::from(x) }).collect();
            let mut sorted: Vec<Entry> = (0u32..).zip(&row).map(|(id, &logit)| Entry { logit, id }).collect();
            sorted.retain(|e| e.logit > f32::NEG_INFINITY);
            sorted.sort_by(by_rank);
            sorted.truncate(k);
            let mut got = Vec::new();
            select_top(&row, k, &mut got);
            prop_assert_eq!(got, sorted);
        }
    }
}
