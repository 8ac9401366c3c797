//! Steps of an engine that were watched while it served.

use std::sync::Arc;

use super::{Counts, Dispatched, StepTimes};

/// How a step was watched. These take turns, so that neighbours can be compared: plain, stamped and padded
/// ones, or plain ones and passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Stamps at its ends.
    Plain,
    /// Stamps around each dispatch and around a dispatch of nothing after each.
    Stamped,
    /// Stamps at its ends, a dispatch of nothing after each of its own.
    Padded,
    /// A pass with stamps at its ends for each dispatch.
    Passes,
}

/// A watched step.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// How.
    pub how: Watch,
    /// Tokens computed.
    pub tokens: u64,
    /// Sequences in it.
    pub sequences: u64,
    /// Tokens of its longest sequence after it.
    pub context: u64,
    /// Its dispatches; like ones of a window are one: layers repeat them, and steps do.
    pub dispatched: Vec<Arc<Dispatched>>,
    /// Its times.
    pub times: StepTimes,
    /// What became of its stamps.
    pub counts: Counts,
}

impl Watched {
    /// The power of two that tells its context: contexts grow from step to step.
    pub fn bucket(&self) -> u64 {
        self.context.next_power_of_two()
    }

    /// Whether both are of one kind, so that they can be compared: of as many tokens and sequences, of like
    /// contexts, and of the same dispatches but for the context in their words.
    pub fn alike(&self, other: &Self) -> bool {
        let sizes = |w: &Self| (w.tokens, w.sequences, w.bucket(), w.dispatched.len());
        sizes(self) == sizes(other) && self.dispatched.iter().zip(&other.dispatched).all(|(a, b)| same(a, b))
    }
}

/// A step's dispatches, with those that it repeats, or that a step of its kind `before` it had, as one.
pub fn shared(dispatched: Vec<Dispatched>, before: Option<&Watched>) -> Vec<Arc<Dispatched>> {
    let mut all: Vec<Arc<Dispatched>> = Vec::with_capacity(dispatched.len());
    for (at, d) in dispatched.into_iter().enumerate() {
        // A layer is a few dispatches: what repeats is near the end.
        let theirs = before.and_then(|before| before.dispatched.get(at)).into_iter();
        let known = theirs.chain(all.iter().rev()).find(|known| ***known == d).cloned();
        all.push(known.unwrap_or_else(|| Arc::new(d)));
    }
    all
}

fn same(a: &Dispatched, b: &Dispatched) -> bool {
    (&a.kernel, a.workgroups, lasting(&a.shape)) == (&b.kernel, b.workgroups, lasting(&b.shape))
}

/// A shape's words before and after the context, which stands as ` to 1024` where there is one.
fn lasting(shape: &str) -> (&str, &str) {
    let (before, after) = shape.split_once(" to ").unwrap_or((shape, ""));
    (before, after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_last_but_for_their_context() {
        assert_eq!(lasting("9/3 heads of 64 x 8 to 1024 in 2 rope"), ("9/3 heads of 64 x 8", " in 2 rope"));
        assert_eq!(lasting("Q4_1 1536x576 x 8 norm"), ("Q4_1 1536x576 x 8 norm", ""));
    }
}
