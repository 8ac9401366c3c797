//! What a step says of itself: its dispatches with their costs, and where its time went.

use crate::cost::Cost;
use crate::units::Nanos;

/// One dispatch of a step, as reports name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatched {
    /// The kernel: its file under `shaders/`.
    pub kernel: String,
    /// What it works on, in words: dispatches of the same words have the same cost.
    pub shape: String,
    /// Its cost.
    pub cost: Cost,
    /// Its workgroups.
    pub workgroups: u64,
}

/// Where stamps go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stamps {
    /// At the ends of the step: of its pass, or of its first and its last where it is several submissions.
    #[default]
    Span,
    /// Around each dispatch, within the one pass (TIMESTAMP_QUERY_INSIDE_PASSES).
    Inside,
    /// At the ends of a pass for each dispatch.
    Passes,
}

/// Where a step's time went, seen from the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepTimes {
    /// Checking the step, filling and uploading its buffer.
    pub plan: Nanos,
    /// Recording its commands.
    pub record: Nanos,
    /// Handing them over.
    pub submit: Nanos,
    /// Waiting for it and reading its results.
    pub wait: Nanos,
    /// Intervals between the stamps that were asked for, in nanoseconds and in their order: the
    /// pass's, or each dispatch's. None where a stamp was no use ([`super::Ring`] counts those).
    pub spans: Vec<Option<f64>>,
}

impl StepTimes {
    /// The wall clock from end to end, stamps not read.
    pub fn wall(&self) -> Nanos {
        self.plan + self.record + self.submit + self.wait
    }
}
