//! What is made of a prompt's own positions, chunk by chunk: log-probabilities, or one vector.
//!
//! A sequence that is preempted in its prompt is computed from its first token again: positions that
//! were taken in before are passed over.

use super::{Pooling, PromptOutput, Wanted};
use crate::sample::{self, Choice, SampleError};

/// What a prompt is computed for beside the text after it.
#[derive(Clone, Debug)]
pub(super) enum PromptWork {
    Nothing,
    Logprobs { listed: usize, prompt: Vec<u32>, done: Vec<Choice> },
    Pooled { pooling: Pooling, prompt: usize, done: usize, sum: Vec<f64> },
}

impl PromptWork {
    pub fn new(wanted: Wanted, prompt: &[u32]) -> Self {
        match wanted {
            Wanted::Text => Self::Nothing,
            Wanted::Prompt(listed) | Wanted::PromptAndText(listed) => {
                let first = prompt.first().map(|&id| Choice { id, logprob: None, top: Vec::new() });
                let done = first.into_iter().collect();
                Self::Logprobs { listed: listed as usize, prompt: prompt.to_vec(), done }
            }
            Wanted::Embedding(pooling) => {
                Self::Pooled { pooling, prompt: prompt.len(), done: 0, sum: Vec::new() }
            }
        }
    }

    /// How many of the last positions of `start..end` must bring back their states.
    pub fn states(&self, start: usize, end: usize) -> usize {
        match self {
            Self::Pooled { pooling: Pooling::Mean, .. } => end - start,
            Self::Pooled { pooling: Pooling::Last, prompt, .. } => usize::from(end == *prompt),
            Self::Nothing | Self::Logprobs { .. } => 0,
        }
    }

    /// Takes in the logits, `vocab` a row, of the positions from `start` on.
    pub fn take_logits(&mut self, start: usize, rows: &[f32], vocab: usize) -> Result<(), SampleError> {
        let Self::Logprobs { listed, prompt, done } = self else { return Ok(()) };
        for (position, row) in (start..).zip(rows.chunks_exact(vocab)) {
            // A position tells of the token after it.
            let Some(&id) = prompt.get(position + 1) else { break };
            if done.len() == position + 1 {
                done.push(sample::observed(row, id, *listed)?);
            }
        }
        Ok(())
    }

    /// Takes in the states, `width` numbers a row, of the positions from `start` on.
    pub fn take_states(&mut self, start: usize, rows: &[f32], width: usize) {
        let Self::Pooled { pooling, done, sum, .. } = self else { return };
        sum.resize(width, 0.0);
        for (position, row) in (start..).zip(rows.chunks_exact(width)) {
            if *pooling == Pooling::Mean && position != *done {
                continue;
            }
            *done = position + 1;
            sum.iter_mut().zip(row).for_each(|(sum, &state)| *sum += f64::from(state));
        }
    }

    /// What came of it, once the whole prompt is computed; nothing is left here.
    pub fn finish(&mut self) -> Result<Option<PromptOutput>, String> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => Ok(None),
            Self::Logprobs { prompt, done, .. } if done.len() == prompt.len() => {
                Ok(Some(PromptOutput::Logprobs(done)))
            }
            Self::Pooled { prompt, done, sum, .. } if done == prompt => {
                // Of length 1 in the end: the mean's divisor falls out.
                let length = sum.iter().map(|v| v * v).sum::<f64>().sqrt();
                if !length.is_finite() || length == 0.0 {
                    return Err(format!(
                        "the text's pooled state has the length {length}: it has no direction"
                    ));
                }
                Ok(Some(PromptOutput::Embedding(sum.iter().map(|v| (v / length) as f32).collect())))
            }
            Self::Logprobs { .. } | Self::Pooled { .. } => {
                Err("positions of the prompt are missing: a fault of the engine".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_that_come_twice_count_once() {
        let prompt = [1, 0, 1, 1];
        let rows: Vec<f32> = [[1.0, 3.0], [2.0, 0.5], [0.0, 0.0], [9.0, 9.0]].concat();
        let mut work = PromptWork::new(Wanted::Prompt(1), &prompt);
        for (start, end) in [(0, 2), (0, 1), (1, 3), (3, 4)] {
            work.take_logits(start, &rows[2 * start..2 * end], 2).unwrap();
        }
        let Some(PromptOutput::Logprobs(got)) = work.finish().unwrap() else { panic!() };
        assert_eq!(got.iter().map(|c| c.id).collect::<Vec<_>>(), prompt);
        assert_eq!((got[0].logprob, got[0].top.len()), (None, 0));
        for (position, choice) in got[1..].iter().enumerate() {
            let row = &rows[2 * position..][..2];
            let norm = (row[0].exp() + row[1].exp()).ln();
            let want = row[choice.id as usize] - norm;
            assert!((choice.logprob.unwrap() - want).abs() < 1e-6, "position {position}");
            assert_eq!(choice.top.len(), 1);
        }

        let mean = Wanted::Embedding(Pooling::Mean);
        let mut work = PromptWork::new(mean, &prompt);
        for (start, end) in [(0, 2), (0, 1), (1, 3), (3, 4)] {
            assert_eq!(work.states(start, end), end - start);
            work.take_states(start, &rows[2 * start..2 * end], 2);
        }
        let length = (12.0_f32 * 12.0 + 12.5 * 12.5).sqrt();
        let want = vec![12.0 / length, 12.5 / length];
        assert_eq!(work.finish(), Ok(Some(PromptOutput::Embedding(want))));

        let mut work = PromptWork::new(Wanted::Embedding(Pooling::Last), &prompt);
        assert_eq!((work.states(0, 3), work.states(3, 4)), (0, 1));
        work.take_states(3, &[3.0, 4.0], 2);
        assert_eq!(work.finish(), Ok(Some(PromptOutput::Embedding(vec![0.6, 0.8]))));
    }

    #[test]
    fn what_is_missing_or_has_no_direction_is_an_error() {
        let mut work = PromptWork::new(Wanted::Embedding(Pooling::Mean), &[1, 2]);
        work.take_states(0, &[1.0], 1);
        assert!(work.finish().unwrap_err().contains("missing"));
        let mut work = PromptWork::new(Wanted::Embedding(Pooling::Last), &[1]);
        work.take_states(0, &[0.0, 0.0], 2);
        assert!(work.finish().unwrap_err().contains("direction"));
        let mut work = PromptWork::new(Wanted::Prompt(0), &[1, 2]);
        assert!(work.take_logits(0, &[f32::NAN], 1).is_err());
    }
}
