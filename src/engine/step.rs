//! One step: chosen, submitted, and handled when its results are there; with [`Ahead::On`] the next one is
//! chosen and recorded in between, and submitted as soon as its ids are known to whom needs them.

use std::time::{Duration, Instant};

use super::{Ahead, Computed, Engine, Error, Event, Parts, Spanned, StepRecord};
use crate::kernels::Order;
use crate::kernels::top_k::CANDIDATES;
use crate::model::{self, Entry, Feed, Held, InFlight, Outputs, Want};
use crate::profile::{StepWork, Watched};
use crate::sample::Needs;
use crate::scheduler::{Batch, CompletionError, SeqId, TokenSource};

/// A step that was chosen, and is submitted or held back.
#[derive(Debug)]
pub(super) struct Flight<R = InFlight> {
    batch: Batch,
    running: R,
    /// Sequences whose states come back, where these begin and how many they are, in order.
    states: Vec<(SeqId, u32, usize)>,
    work: StepWork,
    computed: Computed,
    watched: Option<Watched>,
}

/// The step after one whose results are still out.
#[derive(Debug)]
enum Next {
    /// Its ids are on the device, if not on the host.
    Submitted(Flight),
    /// The host has yet to choose ids for it: of these tokens, by their place in the step.
    Held(Flight<Held>, Vec<Chosen>),
}

/// A token that the step before chooses.
#[derive(Debug)]
struct Chosen {
    token: usize,
    seq: SeqId,
    position: u32,
}

/// Stands for a token whose id is not known to the host yet.
const UNKNOWN: &[u32] = &[0];

impl Engine {
    /// Computes one batch and appends what came of it to `events`.
    ///
    /// # Errors
    /// When the device fails; requests that fail on their own end with [`super::Finish::Error`].
    pub fn step(&mut self, events: &mut Vec<Event>) -> Result<(), Error> {
        self.last = StepRecord::default();
        let flight = match self.flight.take() {
            Some(flight) => Some(flight),
            None => match self.launch(None)? {
                Some(Next::Submitted(flight)) => Some(flight),
                Some(Next::Held(held, chosen)) => self.send(held, chosen)?,
                None => None,
            },
        };
        let Some(flight) = flight else { return Ok(()) };
        let ahead = self.options.ahead == Ahead::On && self.watching.is_none();
        let next = if ahead { self.launch(Some(&flight))? } else { None };
        let outcome = self.finish(flight, events);
        match next {
            Some(Next::Submitted(next)) if self.scheduler.has_work() => self.flight = Some(next),
            // It was computed in vain, but the next span is its own.
            Some(Next::Submitted(next)) => self.unspanned = Some(next.computed),
            Some(Next::Held(next, _)) if outcome.is_err() => self.give_up(next),
            Some(Next::Held(next, chosen)) => self.flight = self.send(next, chosen)?,
            None => {}
        }
        outcome
    }

    /// Waits for a step's results and handles them.
    fn finish(&mut self, flight: Flight, events: &mut Vec<Event>) -> Result<(), Error> {
        let waiting = Instant::now();
        let host = flight.running.host();
        let before = self.unspanned.replace(flight.computed);
        let read = self.runner.collect(flight.running, &mut self.results)?;
        let ran = Instant::now();
        let usual = flight.watched.is_none();
        if let Some((watching, mut step)) = self.watching.as_mut().zip(flight.watched) {
            step.times.wait = (ran - waiting).into();
            watching.take(&self.runner.gpu, step).map_err(model::Error::from)?;
        }
        let sequences = flight.batch.items().len();
        let spanned = before
            .zip(self.runner.span())
            .map(|(computed, ns)| Spanned { computed, span: Duration::from_nanos(ns as u64) });
        let begun = self.done.map_or(host.handed, |done| done.max(host.handed));
        self.done = Some(ran);
        // A watched step is slower, and bounds no prompt.
        if usual {
            self.times.observe(flight.work, ran - begun);
        }
        self.take_states(&flight.states);
        self.take_results(&flight.batch, ran, events)?;
        let detokenise = self.last.parts.detokenise;
        self.last = StepRecord {
            tokens: flight.batch.tokens(),
            sequences,
            dispatches: host.dispatches,
            spanned,
            parts: Parts {
                schedule: self.last.parts.schedule,
                record: host.record,
                submit: host.submit,
                device: (ran - begun).saturating_sub(read),
                read,
                sample: ran.elapsed().saturating_sub(detokenise),
                detokenise,
            },
        };
        self.counters.step(&self.last);
        self.counters.stamps = self.runner.span_stamps();
        self.spare.push(flight.batch);
        Ok(())
    }

    /// Gives a step up that was held back.
    fn give_up(&mut self, held: Flight<Held>) {
        self.runner.forget(held.running);
        self.spare.push(held.batch);
    }

    /// Submits a step that was held back, with the ids that were chosen meanwhile, unless all that it was for
    /// is over.
    fn send(&mut self, held: Flight<Held>, chosen: Vec<Chosen>) -> Result<Option<Flight>, Error> {
        if !held.batch.items().iter().any(|item| self.live.contains_key(&item.seq)) {
            self.give_up(held);
            return Ok(None);
        }
        let mut ids = Vec::with_capacity(chosen.len());
        for Chosen { token, seq, position } in chosen {
            // What has ended is computed in vain, whatever its id.
            let Some(sequence) = self.scheduler.sequence(seq) else { continue };
            let Some(&id) = sequence.tokens().get(position as usize) else {
                self.give_up(held);
                return Err(CompletionError::TokenMissing.into());
            };
            ids.push((token, id));
        }
        let Flight { batch, running, states, work, computed, watched } = held;
        let running = self.runner.release(running, &ids)?;
        Ok(Some(Flight { batch, running, states, work, computed, watched }))
    }

    /// Chooses and records a step, if there is anything to compute. `before` is the step whose results
    /// are still out; if these are for the host to choose from, the step is held back.
    fn launch(&mut self, before: Option<&Flight>) -> Result<Option<Next>, Error> {
        let start = Instant::now();
        let mut batch = self.spare.pop().unwrap_or_default();
        self.bound_prefill();
        self.scheduler.schedule(&mut batch);
        let now = Instant::now();
        self.last.parts.schedule += now - start;
        if batch.is_empty() {
            self.spare.push(batch);
            return Ok(None);
        }
        self.runner.copy_blocks(batch.copies())?;
        let mut entries = Vec::with_capacity(batch.items().len());
        let mut feeds = Vec::new();
        let mut chosen = Vec::new();
        let hold = before.is_some_and(|before| before.running.want() != Want::Argmax);
        let mut states = Vec::new();
        let mut want = Want::Argmax;
        let (mut work, mut computed) = (StepWork::default(), Computed::default());
        let window = self.runner.hyper.sliding_window;
        for item in batch.items() {
            let Some(row) = self.scheduler.row(item) else { continue };
            let tokens = match item.source {
                TokenSource::Known => row.tokens,
                TokenSource::Pending { item: from, .. } => {
                    let token = work.tokens as usize;
                    if hold {
                        chosen.push(Chosen { token, seq: item.seq, position: item.start });
                    } else {
                        feeds.extend(before.map(|b| Feed { token, row: b.row_of(from) }));
                    }
                    UNKNOWN
                }
            };
            let mut outputs = Outputs::Tail(item.rows() as usize);
            if let Some(live) = self.live.get_mut(&item.seq) {
                live.started.get_or_insert(now);
                if item.wants_token() {
                    want = want.max(wanted(live.needs()));
                    // The device's normaliser and the host's differ in their last bits, and which of them is
                    // there depends on the neighbours: in a fixed order it is always the host's.
                    if self.options.order == Order::Fixed && live.has_logprobs() {
                        want = Want::Rows;
                    }
                }
                let n = live.prompt.states(item.start as usize, item.end() as usize);
                if n > 0 {
                    outputs = Outputs::States(n);
                    states.push((item.seq, item.end() - n as u32, n));
                }
            }
            if item.logits.of_the_prompt() {
                want = Want::Rows;
            }
            let logits = if let Outputs::Tail(n) = outputs { n as u64 } else { 0 };
            computed = computed.with(u64::from(item.start), u64::from(item.len), logits, window);
            entries.push(Entry { tokens, start: item.start as usize, blocks: row.blocks, outputs });
            work = work.with(u64::from(item.start), u64::from(item.len));
        }
        if hold {
            let running = self.runner.hold(&entries, want)?;
            let flight = Flight { batch, running, states, work, computed, watched: None };
            return Ok(Some(Next::Held(flight, chosen)));
        }
        let (running, watched) = match &mut self.watching {
            None => (self.runner.submit(&entries, &feeds, want)?, None),
            Some(watching) => watching.launch(&mut self.runner, &entries, &feeds, want)?,
        };
        Ok(Some(Next::Submitted(Flight { batch, running, states, work, computed, watched })))
    }

    /// Has the scheduler keep the next step below the time that was asked for.
    fn bound_prefill(&mut self) {
        let Some(limit) = self.options.max_step else { return };
        let mut base = StepWork::default();
        let mut start = 0;
        for sequence in self.scheduler.running() {
            let (computed, known) = (u64::from(sequence.computed()), sequence.tokens().len() as u64);
            if known <= computed + 1 {
                base = base.with(computed, 1);
            } else {
                start = start.max(computed);
            }
        }
        let tokens = self.times.tokens_within(limit, base, start);
        self.scheduler.limit_prefill(Some(tokens.min(u64::from(u32::MAX)) as u32));
    }
}

impl Flight {
    /// The row of results from which an item samples its token.
    fn row_of(&self, item: u32) -> usize {
        let rows = self.batch.items().iter().take(item as usize + 1).map(|i| i.rows() as usize);
        rows.sum::<usize>().saturating_sub(1)
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
