//! One step: chosen, submitted, and handled when its results are there; with [`Ahead::WherePossible`]
//! the next one is chosen and submitted in between.

use std::time::{Duration, Instant};

use super::{Ahead, Engine, Error, Event, Spanned, StepRecord};
use crate::kernels::top_k::CANDIDATES;
use crate::model::{self, Entry, Feed, InFlight, Outputs, Want};
use crate::profile::{StepTimes, StepWork, Watched};
use crate::sample::Needs;
use crate::scheduler::{Batch, Status, TokenSource};

/// A submitted step.
#[derive(Debug)]
pub(super) struct Flight {
    batch: Batch,
    running: InFlight,
    work: StepWork,
    submitted: Instant,
    watched: Option<Watched>,
}

/// Stands for a token whose id is on the device.
const UNKNOWN: &[u32] = &[0];

impl Engine {
    /// Computes one batch and appends what came of it to `events`.
    ///
    /// # Errors
    /// When the device fails; requests that fail on their own end with [`super::Finish::Error`].
    pub fn step(&mut self, events: &mut Vec<Event>) -> Result<(), Error> {
        let start = Instant::now();
        self.last = StepRecord::default();
        let flight = match self.flight.take() {
            Some(flight) => Some(flight),
            None => self.launch(None)?,
        };
        let Some(flight) = flight else { return Ok(()) };
        let ahead = self.options.ahead == Ahead::WherePossible && self.watching.is_none();
        if ahead && flight.running.want() == Want::Argmax {
            self.flight = self.launch(Some(&flight))?;
        }
        let waiting = Instant::now();
        self.runner.collect(flight.running, &mut self.results)?;
        let ran = Instant::now();
        if let Some((watching, mut step)) = self.watching.as_mut().zip(flight.watched) {
            step.times.wait = (ran - waiting).into();
            watching.take(&self.runner.gpu, step).map_err(model::Error::from)?;
        }
        let sequences = flight.batch.items().len();
        let before = self.unspanned.replace((flight.work, sequences)).zip(self.runner.span());
        let spanned = before.map(|((work, sequences), ns)| Spanned {
            work,
            sequences,
            span: Duration::from_nanos(ns as u64),
        });
        let begun = self.done.map_or(flight.submitted, |done| done.max(flight.submitted));
        self.done = Some(ran);
        self.times.observe(flight.work, ran - begun);
        self.take_results(&flight.batch, ran, events)?;
        self.last = StepRecord {
            tokens: flight.batch.tokens(),
            sequences,
            schedule: self.last.schedule,
            run: (ran - start).saturating_sub(self.last.schedule),
            sample: ran.elapsed(),
            device: ran - begun,
            spanned,
        };
        self.counters.step(&self.last);
        self.spare.push(flight.batch);
        if !self.scheduler.has_work() {
            // Whatever still runs was computed in vain.
            self.flight = None;
        }
        Ok(())
    }

    /// Chooses and submits a step, if there is anything to compute. `before` is the step whose results
    /// are still out.
    fn launch(&mut self, before: Option<&Flight>) -> Result<Option<Flight>, Error> {
        let start = Instant::now();
        let mut batch = self.spare.pop().unwrap_or_default();
        self.bound_prefill();
        self.scheduler.schedule(&mut batch);
        let now = Instant::now();
        self.last.schedule += now - start;
        if batch.is_empty() {
            self.spare.push(batch);
            return Ok(None);
        }
        self.runner.copy_blocks(batch.copies())?;
        let mut entries = Vec::with_capacity(batch.items().len());
        let mut feeds = Vec::new();
        let mut want = Want::Argmax;
        let mut work = StepWork::default();
        for item in batch.items() {
            let Some(row) = self.scheduler.row(item) else { continue };
            let tokens = match item.source {
                TokenSource::Known => row.tokens,
                TokenSource::Pending { item: from, .. } => {
                    let token = work.tokens as usize;
                    feeds.extend(before.map(|b| Feed { token, row: b.row_of(from) }));
                    UNKNOWN
                }
            };
            let outputs = if item.wants_token() { Outputs::Last } else { Outputs::None };
            entries.push(Entry { tokens, start: item.start as usize, blocks: row.blocks, outputs });
            work = work.with(u64::from(item.start), u64::from(item.len));
            if let Some(live) = self.live.get_mut(&item.seq) {
                live.started.get_or_insert(now);
                if item.wants_token() {
                    want = want.max(wanted(live.needs()));
                }
            }
        }
        let (running, watched) = match &mut self.watching {
            None => (self.runner.submit(&entries, &feeds, want)?, None),
            Some(watching) => {
                let dispatched = self.runner.describe(&entries, want)?;
                let context = entries.iter().map(|e| e.start + e.tokens.len()).max().unwrap_or(0) as u64;
                let (tokens, sequences) = (work.tokens, entries.len() as u64);
                let (how, mut profile) = watching.next();
                let (running, [plan, record, submit]) =
                    self.runner.launch(&entries, &feeds, want, &mut profile)?;
                let (plan, record, submit) = (plan.into(), record.into(), submit.into());
                let times = StepTimes { plan, record, submit, ..StepTimes::default() };
                (running, Some(Watched { how, tokens, sequences, context, dispatched, times }))
            }
        };
        Ok(Some(Flight { batch, running, work, submitted: Instant::now(), watched }))
    }

    /// Has the scheduler keep the next step below the time that was asked for.
    fn bound_prefill(&mut self) {
        let Some(limit) = self.options.max_step else { return };
        let mut base = StepWork::default();
        let mut start = 0;
        for sequence in self.live.keys().filter_map(|seq| self.scheduler.sequence(*seq)) {
            let (computed, known) = (u64::from(sequence.computed()), sequence.tokens().len() as u64);
            match sequence.status() {
                Status::Running if known <= computed + 1 => base = base.with(computed, 1),
                Status::Running => start = start.max(computed),
                Status::Waiting | Status::Preempted | Status::Finished(_) => {}
            }
        }
        let tokens = self.times.tokens_within(limit, base, start);
        self.scheduler.limit_prefill(Some(tokens.min(u64::from(u32::MAX)) as u32));
    }
}

impl Flight {
    /// The row of results of an item that wants a token.
    fn row_of(&self, item: u32) -> usize {
        self.batch.items().iter().take(item as usize).filter(|i| i.wants_token()).count()
    }
}

/// What the device must bring back.
fn wanted(needs: Needs) -> Want {
    match needs {
        Needs::Argmax => Want::Argmax,
        Needs::TopK(k) | Needs::TopMass(k) if k <= CANDIDATES => Want::Candidates,
        Needs::TopK(_) | Needs::TopMass(_) | Needs::FullRow => Want::Rows,
    }
}
