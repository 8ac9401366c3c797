//! Steps of an engine that were watched while it served.

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
    /// Its dispatches.
    pub dispatched: Vec<Dispatched>,
    /// Its times.
    pub times: StepTimes,
    /// What became of its stamps.
    pub counts: Counts,
}

impl Watched {
    /// Steps of one kind can be compared.
    pub fn kind(&self) -> (u64, u64, usize) {
        (self.tokens, self.sequences, self.dispatched.len())
    }
}
