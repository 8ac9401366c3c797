//! How an engine runs its steps, beside what the scheduler decides.

use std::time::Duration;

use crate::gpu::Gpu;
use crate::kernels::Order;

/// Whether a step is chosen and recorded while the one before still runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ahead {
    /// Each step is read back before the next is chosen.
    #[default]
    Never,
    /// Always. Where the tokens of the step that runs are chosen on the device (greedy ones), the next one is
    /// submitted too, and they go into it without passing the host. Where the host chooses, it is held back
    /// until that is done. A sequence that turns out to have ended is then computed once in vain.
    On,
    /// [`Ahead::On`] on a GPU. Not on a software adapter, whose steps run on the very
    /// processor that would prepare the next one: nothing is idle meanwhile.
    Auto,
}

impl Ahead {
    /// What it comes to on a device.
    #[must_use]
    pub fn on(self, gpu: &Gpu) -> Self {
        match self {
            Self::Auto if gpu.adapter.is_software() => Self::Never,
            Self::Auto => Self::On,
            other => other,
        }
    }
}

/// Whether each step's span on the GPU is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spans {
    /// No.
    #[default]
    Off,
    /// Yes, by two stamps a step, where the device has timestamps.
    On,
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
    /// Whether spans on the GPU are measured.
    pub spans: Spans,
}
