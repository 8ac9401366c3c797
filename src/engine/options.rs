//! How an engine runs its steps, beside what the scheduler decides.

use std::time::Duration;

use crate::kernels::Order;

/// Whether a step is recorded and queued while the one before still runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ahead {
    /// Each step is read back before the next is chosen.
    #[default]
    Never,
    /// Wherever the tokens of the step that runs are chosen on the device: greedy ones. They go into
    /// the next step without passing the host. A sequence that turns out to have ended has then been
    /// computed once in vain.
    WherePossible,
}

/// Settings of an engine that change no text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The order of sums.
    pub order: Order,
    /// Keeps steps below this time by computing less of prompts in them.
    pub max_step: Option<Duration>,
    /// Whether the next step is prepared while one runs.
    pub ahead: Ahead,
}
