//! Where an engine on a thread of its own stands, from the first byte of its weights to its end.

/// What loading is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Weights are being read.
    Weights,
    /// The driver compiles kernels.
    Kernels,
}

impl Phase {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Kernels => "kernels",
        }
    }
}

/// How far a model is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loading {
    /// What is being done.
    pub phase: Phase,
    /// How much of it is.
    pub done: u64,
    /// Out of how much; 0 until known.
    pub total: u64,
}

impl Loading {
    /// Bytes of weights, out of all.
    pub fn weights(done: u64, total: u64) -> Self {
        Self { phase: Phase::Weights, done, total }
    }

    /// Widths of steps that kernels are there for, out of all.
    pub fn kernels(done: u64, total: u64) -> Self {
        Self { phase: Phase::Kernels, done, total }
    }

    /// From 0 to 1: each phase is half of it, since what one takes says nothing of the other.
    pub fn share(&self) -> f64 {
        let within = self.done.min(self.total) as f64 / self.total.max(1) as f64;
        let before = f64::from(u8::from(self.phase == Phase::Kernels));
        (before + within) / 2.0
    }
}

/// Where a service stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The model is being loaded.
    Loading(Loading),
    /// Requests are taken.
    Ready,
    /// What runs may finish, nothing else is taken.
    Draining,
    /// It can't go on.
    Failed(String),
    /// It has ended as it was told to.
    Stopped,
}

/// The state in words.
pub fn describe(state: &State) -> String {
    match state {
        State::Loading(loading) => {
            let percent = (loading.share() * 100.0).floor();
            format!("the model is being loaded, {percent} % (now its {})", loading.phase.name())
        }
        State::Ready => "ready".into(),
        State::Draining => "shutting down".into(),
        State::Failed(why) => format!("the engine failed: {why}"),
        State::Stopped => "stopped".into(),
    }
}
