//! Watching steps while they serve: stamps around dispatches, for a window of steps.

use super::{Engine, Error};
use crate::gpu::{self, Gpu};
use crate::model::{self, Entry, Feed, InFlight, Profile, Runner, Want};
use crate::profile::{Counts, Nothing, Ring, Stamps, StepTimes, Watch, Watched, shared};

/// A window under way.
#[derive(Debug)]
pub(super) struct Watching {
    ring: Ring,
    /// Where stamps around a dispatch go.
    stamps: Stamps,
    nothing: Nothing,
    left: usize,
    seen: Vec<Watched>,
    /// Pairs of stamps that a step has room for.
    room: usize,
    /// Why the window is over before its time.
    failed: Option<Error>,
}

impl Watching {
    fn new(gpu: &Gpu, steps: usize, stamps: Stamps) -> Result<Self, Error> {
        let ring = Ring::new(gpu).ok_or_else(|| {
            Error::Unwatched(format!("{} has no timestamps to watch steps with", gpu.adapter.name))
        })?;
        let nothing = Nothing::new(gpu).map_err(model::Error::from)?;
        let (seen, room) = (Vec::new(), Ring::PAIRS);
        Ok(Self { ring, stamps, nothing, left: steps, seen, room, failed: None })
    }

    /// Submits a step that is watched; or as it is, and the window is over, where it has too many dispatches.
    pub fn launch(
        &mut self,
        runner: &mut Runner,
        entries: &[Entry<'_>],
        feeds: &[Feed],
        want: Want,
    ) -> Result<(InFlight, Option<Watched>), model::Error> {
        let dispatched = runner.describe(entries, want)?;
        if let Some(why) = unfit(self.stamps, dispatched.len(), self.room) {
            self.failed = Some(Error::Unwatched(why));
        }
        if self.failed.is_some() {
            return Ok((runner.submit(entries, feeds, want)?, None));
        }
        let context = entries.iter().map(|e| e.start + e.tokens.len()).max().unwrap_or(0) as u64;
        let tokens = entries.iter().map(|e| e.tokens.len() as u64).sum();
        let (sequences, times, counts) = (entries.len() as u64, StepTimes::default(), Counts::default());
        let how = Watch::Plain;
        let near = self.seen.iter().rfind(|seen| (seen.tokens, seen.sequences) == (tokens, sequences));
        let dispatched = shared(dispatched, near);
        let mut step = Watched { how, tokens, sequences, context, dispatched, times, counts };
        step.how = self.turn(self.seen.iter().rfind(|seen| seen.alike(&step)).map(|seen| seen.how));
        let mut profile = self.profile(step.how);
        let (running, [plan, record, submit]) = runner.launch(entries, feeds, want, &mut profile)?;
        step.times = StepTimes {
            plan: plan.into(),
            record: record.into(),
            submit: submit.into(),
            ..StepTimes::default()
        };
        Ok((running, Some(step)))
    }

    /// How a step is watched after the last one of its kind: each kind takes all turns.
    fn turn(&self, before: Option<Watch>) -> Watch {
        let turns: &[Watch] = match self.stamps {
            Stamps::Inside => &[Watch::Plain, Watch::Stamped, Watch::Padded],
            Stamps::Span | Stamps::Passes => &[Watch::Plain, Watch::Passes],
        };
        let before = turns.iter().position(|turn| Some(*turn) == before);
        turns[before.map_or(0, |at| at + 1) % turns.len()]
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

/// Why a step of so many dispatches can't be watched with room for so many pairs of stamps.
fn unfit(stamps: Stamps, dispatches: usize, room: usize) -> Option<String> {
    // A stamped step has as many dispatches of nothing, with stamps of their own.
    let most = if stamps == Stamps::Inside { room / 2 } else { room };
    (dispatches > most).then(|| {
        format!(
            "a step of {dispatches} dispatches can't be watched: at most {most} can be stamped one by one"
        )
    })
}

impl Engine {
    /// Watches the next `steps` steps, one at a time, dispatch by dispatch: they are slower for it.
    /// Stamps go where this device's can be trusted ([`Stamps::Inside`] or [`Stamps::Passes`]). A window
    /// under way is given up.
    ///
    /// # Errors
    /// When the device fails or has no timestamps.
    pub fn watch(&mut self, steps: usize, stamps: Stamps) -> Result<(), Error> {
        self.unwatch();
        let gpu = &self.runner.gpu;
        self.watching = Some(Watching::new(gpu, steps, stamps)?);
        Ok(())
    }

    /// The steps of a window that is complete, or why it can't be; it is over then.
    pub fn watched(&mut self) -> Option<Result<Vec<Watched>, Error>> {
        let watching = self.watching.as_mut()?;
        let failed = watching.failed.take();
        let over = failed.is_some() || watching.left == 0;
        over.then(|| {
            let seen = self.unwatch();
            failed.map_or(Ok(seen), Err)
        })
    }

    /// Ends a window before its time; what was seen so far.
    pub fn unwatch(&mut self) -> Vec<Watched> {
        self.watching.take().map_or(Vec::new(), |watching| watching.seen)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::cache::CacheConfig;
    use crate::engine::{Event, GenerationRequest};
    use crate::format::ModelFile;
    use crate::gpu::{AdapterChoice, Checks};
    use crate::kernels::rope_cache::CacheType;
    use crate::model::Limits;
    use crate::profile::Dispatched;
    use crate::sample::SamplingParams;
    use crate::scheduler::SchedulerConfig;

    #[test]
    fn a_step_is_watched_up_to_the_room_for_its_stamps() {
        assert_eq!(unfit(Stamps::Inside, 1024, Ring::PAIRS), None);
        assert_eq!(unfit(Stamps::Passes, 2048, Ring::PAIRS), None);
        let why = unfit(Stamps::Inside, 1025, Ring::PAIRS).unwrap();
        assert_eq!(why, "a step of 1025 dispatches can't be watched: at most 1024 can be stamped one by one");
        assert!(unfit(Stamps::Passes, 2049, Ring::PAIRS).unwrap().contains("at most 2048"));
    }

    /// An engine with a request of `tokens` tokens.
    fn engine(tokens: u32) -> Engine {
        let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted).unwrap();
        let file = ModelFile::open(Path::new("tests/data/tiny/llama")).unwrap();
        let tokenizer = Arc::new(file.tokenizer().unwrap());
        let limits = Limits {
            tokens: 16,
            outputs: 2,
            context: 64,
            sequences: 2,
            cache: CacheConfig::new(16),
            cache_type: CacheType::F16,
        };
        let runner = Runner::load(&gpu, &file, limits, &mut |_, _| {}).unwrap();
        let mut engine = Engine::new(runner, tokenizer, SchedulerConfig::default()).unwrap();
        let params = SamplingParams {
            temperature: 0.0,
            ignore_eos: true,
            max_tokens: Some(tokens),
            ..SamplingParams::default()
        };
        engine.add(GenerationRequest::new(vec![3, 4, 5, 6, 7], params)).unwrap();
        engine
    }

    #[test]
    fn a_window_that_has_no_room_for_a_step_s_stamps_harms_no_request() {
        let mut engine = engine(8);
        engine.watch(100, Stamps::Passes).unwrap();
        engine.watching.as_mut().unwrap().room = 3;
        let (mut events, mut windows) = (Vec::new(), Vec::new());
        while engine.has_work() {
            engine.step(&mut events).unwrap();
            windows.extend(engine.watched());
        }
        assert!(matches!(windows.as_slice(), [Err(Error::Unwatched(why))] if why.contains("at most 3")));
        let made = events.iter().filter(|event| matches!(event, Event::Token { .. })).count();
        assert_eq!(made, 8);
    }

    #[test]
    fn steps_that_were_slowed_bound_no_prompt() {
        let mut engine = engine(8);
        engine.watch(4, Stamps::Passes).unwrap();
        let mut events = Vec::new();
        let seen = loop {
            engine.step(&mut events).unwrap();
            if let Some(seen) = engine.watched() {
                break seen.unwrap();
            }
        };
        let turns: Vec<Watch> = seen.iter().skip(1).map(|step| step.how).collect();
        assert_eq!(turns, [Watch::Plain, Watch::Passes, Watch::Plain], "decodes, after the prompt");
        // Equal dispatches of the decodes are one, in a step and from step to step.
        let all: Vec<_> = seen.iter().skip(1).flat_map(|step| &step.dispatched).collect();
        let distinct = |like: &dyn Fn(&Arc<Dispatched>, &Arc<Dispatched>) -> bool| {
            let first =
                |(at, d): &(usize, &&Arc<Dispatched>)| !all[..*at].iter().any(|before| like(before, d));
            all.iter().enumerate().filter(first).count()
        };
        assert_eq!(distinct(&|a, b| Arc::ptr_eq(a, b)), distinct(&|a, b| a == b));
        assert!(distinct(&|a, b| a == b) < all.len() / 2);
        assert_eq!(engine.step_time().steps(), 0);
        engine.step(&mut events).unwrap();
        assert_eq!(engine.step_time().steps(), 1);
    }
}
