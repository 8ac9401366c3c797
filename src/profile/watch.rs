//! Steps of an engine that were watched while it served.

use super::{Dispatched, StepTimes};

/// How a step was watched. Steps of all three kinds take turns, so that neighbours can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Stamps at its ends.
    Plain,
    /// Stamps around each dispatch and around a dispatch of nothing after each.
    Stamped,
    /// Stamps at its ends, a dispatch of nothing after each of its own.
    Padded,
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
}
