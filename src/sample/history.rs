//! The tokens that a sequence has seen, as counts: what the penalties and the draw depend on.

use std::collections::HashMap;

/// How often a token has been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Occurrences in the prompt.
    pub prompt: u32,
    /// Occurrences in the output.
    pub output: u32,
}

/// Counts over prompt and output of one sequence.
///
/// A sequence that is preempted and recomputed keeps its history (or rebuilds it with [`History::resume`]):
/// the number of output tokens keys the next draw, so output must never be counted as prompt.
#[derive(Clone, Debug, Default)]
pub struct History {
    seen: HashMap<u32, Seen>,
    output_len: usize,
}

impl History {
    /// The history of a sequence that has its prompt and no output yet.
    pub fn new(prompt: &[u32]) -> Self {
        Self::resume(prompt, &[])
    }

    /// The history of a sequence with this prompt and this output.
    pub fn resume(prompt: &[u32], output: &[u32]) -> Self {
        let mut history = Self::default();
        for &id in prompt {
            let seen = history.seen.entry(id).or_default();
            seen.prompt = seen.prompt.saturating_add(1);
        }
        for &id in output {
            history.push(id);
        }
        history
    }

    /// Counts a token of the output.
    pub fn push(&mut self, id: u32) {
        let seen = self.seen.entry(id).or_default();
        seen.output = seen.output.saturating_add(1);
        self.output_len += 1;
    }

    /// Tokens of output so far, which is the index of the next one.
    pub fn output_len(&self) -> usize {
        self.output_len
    }

    /// How often `id` has been seen.
    pub fn seen(&self, id: u32) -> Seen {
        self.seen.get(&id).copied().unwrap_or_default()
    }

    /// Every token seen, once, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Seen)> + '_ {
        self.seen.iter().map(|(&id, &seen)| (id, seen))
    }
}

#[cfg(test)]
mod tests {
    use super::{History, Seen};

    #[test]
    fn prompt_and_output_are_counted_apart() {
        let mut history = History::new(&[3, 3, 5]);
        history.push(3);
        history.push(7);
        assert_eq!(history.output_len(), 2);
        assert_eq!(history.seen(3), Seen { prompt: 2, output: 1 });
        assert_eq!(history.seen(7), Seen { prompt: 0, output: 1 });
        assert_eq!(history.seen(8), Seen::default());
        assert_eq!(history.iter().count(), 3);
        let again = History::resume(&[3, 3, 5], &[3, 7]);
        assert_eq!(again.output_len(), 2);
        assert_eq!(again.seen(3), history.seen(3));
    }
}
