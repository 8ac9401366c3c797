//! Watching steps while they serve: stamps around dispatches, for a window of steps.

use super::{Engine, Error};
use crate::gpu::{self, Bound, Gpu, Program};
use crate::model::{self, Entry, Feed, InFlight, Profile, Runner, Want};
use crate::profile::{Counts, Ring, Stamps, StepTimes, Watch, Watched};

/// A window under way.
#[derive(Debug)]
pub(super) struct Watching {
    ring: Ring,
    /// Where stamps around a dispatch go.
    stamps: Stamps,
    nothing: Bound,
    left: usize,
    seen: Vec<Watched>,
}

impl Watching {
    fn new(gpu: &Gpu, steps: usize, stamps: Stamps) -> Result<Self, gpu::Error> {
        let ring = Ring::new(gpu).ok_or_else(|| {
            gpu::Error::Kernel(format!("{} has no timestamps to watch steps with", gpu.adapter.name))
        })?;
        let count = gpu.storage("nothing", 16)?;
        let nothing = gpu.bind(&gpu.pipeline(&Program::new("probe/count"))?, &[(&count).into()])?;
        Ok(Self { ring, stamps, nothing, left: steps, seen: Vec::new() })
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
        let (sequences, times, counts) = (entries.len() as u64, StepTimes::default(), Counts::default());
        let how = Watch::Plain;
        let mut step = Watched { how, tokens, sequences, context, dispatched, times, counts };
        step.how = self.turn(self.seen.iter().filter(|seen| seen.kind() == step.kind()).count());
        let mut profile = self.profile(step.how);
        let (running, [plan, record, submit]) = runner.launch(entries, feeds, want, &mut profile)?;
        step.times = StepTimes {
            plan: plan.into(),
            record: record.into(),
            submit: submit.into(),
            ..StepTimes::default()
        };
        Ok((running, step))
    }

    /// How a step is watched after so many of its kind: each kind takes all turns.
    fn turn(&self, before: usize) -> Watch {
        let turns: &[Watch] = match self.stamps {
            Stamps::Inside => &[Watch::Plain, Watch::Stamped, Watch::Padded],
            Stamps::Span | Stamps::Passes => &[Watch::Plain, Watch::Passes],
        };
        turns[before % turns.len()]
    }

    fn profile(&mut self, how: Watch) -> Profile<'_> {
        let stamps = match how {
            Watch::Plain | Watch::Padded => Stamps::Span,
            Watch::Stamped => Stamps::Inside,
            Watch::Passes => Stamps::Passes,
        };
        let nothing = Some(&self.nothing).filter(|_| matches!(how, Watch::Stamped | Watch::Padded));
        Profile { stamps, ring: Some(&mut self.ring), without: None, nothing }
    }

    /// Takes in a step that is over.
    pub fn take(&mut self, gpu: &Gpu, mut step: Watched) -> Result<(), gpu::Error> {
        let before = self.ring.counts;
        step.times.spans = self.ring.read(gpu)?;
        step.counts = self.ring.counts.since(before);
        self.seen.push(step);
        self.left = self.left.saturating_sub(1);
        Ok(())
    }
}

impl Engine {
    /// Watches the next `steps` steps, one at a time, dispatch by dispatch: they are slower for it.
    /// Stamps go where this device's can be trusted ([`Stamps::Inside`] or [`Stamps::Passes`]). A window
    /// under way is given up.
    ///
    /// # Errors
    /// When the device fails or has no timestamps.
    pub fn watch(&mut self, steps: usize, stamps: Stamps) -> Result<(), Error> {
        let gpu = &self.runner.gpu;
        self.watching = Some(Watching::new(gpu, steps, stamps).map_err(model::Error::from)?);
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
