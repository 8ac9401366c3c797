//! Watching steps while they serve: stamps around dispatches, for a window of steps.

use super::{Engine, Error};
use crate::gpu::{self, Bound, Gpu, Program};
use crate::model::{self, Entry, Feed, InFlight, Profile, Runner, Stamps, Want};
use crate::profile::{Ring, StepTimes, Watch, Watched};

/// A window under way.
#[derive(Debug)]
pub(super) struct Watching {
    /// None: the device has no timestamps, and steps have walls alone.
    ring: Option<Ring>,
    nothing: Bound,
    left: usize,
    seen: Vec<Watched>,
}

impl Watching {
    fn new(gpu: &Gpu, steps: usize) -> Result<Self, gpu::Error> {
        let count = gpu.storage("nothing", 16)?;
        let nothing = gpu.bind(&gpu.pipeline(&Program::new("probe/count"))?, &[(&count).into()])?;
        let inside = gpu.has(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES);
        let ring = if inside { Ring::new(gpu) } else { None };
        Ok(Self { ring, nothing, left: steps, seen: Vec::new() })
    }

    /// Submits a step that is watched.
    pub fn launch(
        &mut self,
        runner: &mut Runner,
        entries: &[Entry<'_>],
        feeds: &[Feed],
        want: Want,
    ) -> Result<(InFlight, Watched), model::Error> {
        let dispatched = runner.describe(entries, want)?;
        let context = entries.iter().map(|e| e.start + e.tokens.len()).max().unwrap_or(0) as u64;
        let tokens = entries.iter().map(|e| e.tokens.len() as u64).sum();
        let (how, mut profile) = self.next();
        let (running, [plan, record, submit]) = runner.launch(entries, feeds, want, &mut profile)?;
        let (plan, record, submit) = (plan.into(), record.into(), submit.into());
        let times = StepTimes { plan, record, submit, ..StepTimes::default() };
        let sequences = entries.len() as u64;
        Ok((running, Watched { how, tokens, sequences, context, dispatched, times }))
    }

    /// How the next step is watched.
    fn next(&mut self) -> (Watch, Profile<'_>) {
        let how = match (&self.ring, self.seen.len() % 3) {
            (None, _) | (_, 0) => Watch::Plain,
            (_, 1) => Watch::Stamped,
            _ => Watch::Padded,
        };
        let stamps = if how == Watch::Stamped { Stamps::Inside } else { Stamps::Span };
        let nothing = Some(&self.nothing).filter(|_| how != Watch::Plain);
        (how, Profile { stamps, ring: self.ring.as_mut(), without: None, nothing })
    }

    /// Takes in a step that is over.
    pub fn take(&mut self, gpu: &Gpu, mut step: Watched) -> Result<(), gpu::Error> {
        if let Some(ring) = &mut self.ring {
            step.times.spans = ring.read(gpu)?;
        }
        self.seen.push(step);
        self.left = self.left.saturating_sub(1);
        Ok(())
    }
}

impl Engine {
    /// Watches the next `steps` steps, one at a time, dispatch by dispatch: they are slower for it.
    /// A window under way is given up.
    ///
    /// # Errors
    /// When the device fails.
    pub fn watch(&mut self, steps: usize) -> Result<(), Error> {
        let gpu = &self.runner.gpu;
        self.watching = Some(Watching::new(gpu, steps).map_err(model::Error::from)?);
        Ok(())
    }

    /// The steps of a window that is complete; it is over then.
    pub fn watched(&mut self) -> Option<Vec<Watched>> {
        let done = self.watching.as_ref().is_some_and(|watching| watching.left == 0);
        done.then(|| self.unwatch())
    }

    /// Ends a window before its time; what was seen so far.
    pub fn unwatch(&mut self) -> Vec<Watched> {
        self.watching.take().map_or(Vec::new(), |watching| watching.seen)
    }
}
