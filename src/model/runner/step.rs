//! One step: planned, recorded, submitted; with stamps for whoever profiles.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Error;
use super::super::describe;
use super::super::forward::{Counterfactual, Visit};
use super::super::plan::Entry;
use super::submit::{Feed, HostWork, InFlight};
use super::{Results, Runner, Want};
use crate::gpu::{Dispatch, Gpu, Recorder};
use crate::kernels::{argmax, top_k};
use crate::profile::{Dispatched, Nothing, Resolved, Ring, Spans, Stamps, StepTimes};

/// How a step is profiled. The default is not at all.
#[derive(Default)]
pub struct Profile<'a> {
    /// Where stamps go, if there is a ring.
    pub stamps: Stamps,
    /// What stamps are written to.
    pub ring: Option<&'a mut Ring>,
    /// Dispatches to leave out, by their place in [`Runner::describe`]: what is left takes as long
    /// as in a whole step, since no kernel's control flow depends on data, but its results are
    /// garbage.
    pub without: Option<&'a dyn Fn(usize) -> bool>,
    /// A dispatch of nothing that follows each dispatch of the step within its pass, with stamps of
    /// its own where each has some.
    pub nothing: Option<&'a Nothing>,
}

impl std::fmt::Debug for Profile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile").field("stamps", &self.stamps).finish_non_exhaustive()
    }
}

/// A step as its commands were recorded: all of it, or what is left once parts of it were submitted or kept.
#[derive(Debug)]
pub(super) struct Recorded {
    commands: wgpu::CommandBuffer,
    pub(super) tokens: usize,
    want: Want,
    rows: usize,
    states: usize,
    pub(super) slot: usize,
    pub(super) resolved: Option<Resolved>,
    dispatches: u32,
    /// Whether it runs as usual, so that its time tells of others'.
    usual: bool,
    /// When the first part of it was submitted.
    pub(super) early: Option<Instant>,
    started: Instant,
    planned: Instant,
    recorded: Instant,
}

impl Runner {
    /// Runs one step, waits for its results, and says where its time went.
    ///
    /// # Errors
    /// As [`Runner::run`]; also when the step has more dispatches than the ring has stamps.
    pub fn step(
        &mut self,
        entries: &[Entry<'_>],
        want: Want,
        results: &mut Results,
        mut profile: Profile<'_>,
    ) -> Result<StepTimes, Error> {
        let (flight, [plan, record, submit]) = self.launch(entries, &[], want, &mut profile)?;
        let handed = flight.host.handed;
        self.collect(flight, results)?;
        let wait = handed.elapsed();
        let spans = profile.ring.map_or(Ok(Vec::new()), |ring| ring.read(&self.gpu))?;
        Ok(StepTimes {
            plan: plan.into(),
            record: record.into(),
            submit: submit.into(),
            wait: wait.into(),
            spans,
        })
    }

    /// Plans, records and submits a step, with the time that each of these took. A ring's stamps can be
    /// read once the step is collected.
    ///
    /// # Errors
    /// As [`Runner::step`].
    pub fn launch(
        &mut self,
        entries: &[Entry<'_>],
        feeds: &[Feed],
        want: Want,
        profile: &mut Profile<'_>,
    ) -> Result<(InFlight, [Duration; 3]), Error> {
        let step = self.record_step(entries, feeds, want, profile, None)?;
        let begun = step.planned;
        Ok(self.hand_over(step, begun))
    }

    /// Plans and records a step. Parts that are to be submissions of their own are submitted on the way, or go
    /// to `kept` with nothing uploaded.
    pub(super) fn record_step(
        &mut self,
        entries: &[Entry<'_>],
        feeds: &[Feed],
        want: Want,
        profile: &mut Profile<'_>,
        kept: Option<&mut Vec<wgpu::CommandBuffer>>,
    ) -> Result<Recorded, Error> {
        // Two stamps at its ends cost a step nothing; more of them, or another dispatch, slow it.
        let whole = profile.without.is_none() && profile.nothing.is_none();
        let usual = whole && (profile.ring.is_none() || profile.stamps == Stamps::Span);
        let gpu = Arc::clone(&self.gpu);
        let started = Instant::now();
        let longest = self.fill(&gpu, entries)?;
        if kept.is_none() {
            // Written when the submission begins, after everything submitted before has run.
            gpu.write(&self.scratch.step, 0, bytemuck::cast_slice(&self.plan.words));
        }
        let planned = Instant::now();
        let mut encoder =
            gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("step") });
        self.feed(&mut encoder, feeds)?;
        if let Some(ring) = profile.ring.as_deref_mut() {
            ring.start();
        }
        let resolved = self.spans.as_mut().and_then(|spans| spans.resolve(&mut encoder));
        let (dispatches, early) =
            self.record(&gpu, &mut encoder, longest, want, profile, kept).inspect_err(|_| {
                if let Some(spans) = &mut self.spans {
                    spans.cancel(resolved);
                }
            })?;
        let rows = self.plan.outputs;
        let (slot, states) = self.read_later(&mut encoder, rows, want);
        let commands = encoder.finish();
        let recorded = Instant::now();
        let tokens = self.plan.tokens;
        Ok(Recorded {
            commands,
            tokens,
            want,
            rows,
            states,
            slot,
            resolved,
            dispatches,
            usual,
            early,
            started,
            planned,
            recorded,
        })
    }

    /// Submits what is left of a step that the device works on from `begun` on; gives the time that planning,
    /// recording and submitting took.
    pub(super) fn hand_over(&self, step: Recorded, begun: Instant) -> (InFlight, [Duration; 3]) {
        let Recorded { want, rows, states, slot, resolved, dispatches, .. } = step;
        let submitting = Instant::now();
        let submission = self.gpu.submit([step.commands]);
        let submitted = Instant::now();
        // What the host does once the device has something to run is the device's time.
        let recorded = step.early.map_or(step.recorded, |early| early.min(step.recorded));
        let (submit, handed) =
            step.early.map_or((submitted - submitting, submitted), |e| (Duration::ZERO, e));
        let times = [step.planned - step.started, recorded - step.planned, submit];
        let host = HostWork { record: recorded - step.started, submit, dispatches, handed };
        let paced = step.usual.then_some((step.tokens, begun));
        (InFlight { want, rows, states, slot, submission, resolved, host, paced }, times)
    }

    /// What a step's dispatches are, in order, without running it.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub fn describe(&mut self, entries: &[Entry<'_>], want: Want) -> Result<Vec<Dispatched>, Error> {
        let gpu = Arc::clone(&self.gpu);
        let longest = self.fill(&gpu, entries)?;
        let mut all = Vec::new();
        self.each(&gpu, longest, want, &mut |_, describe| {
            all.push(describe());
            Ok(())
        })?;
        Ok(all)
    }

    /// Makes the following steps, which must be like the last one, differ in the dispatches that `of`
    /// names by their place in [`Runner::describe`], and in no others.
    pub fn counterfactual(&mut self, change: Counterfactual, of: &dyn Fn(usize) -> bool) {
        self.forward.counterfactual(&self.gpu, change, of);
    }

    /// Fills the plan; gives the longest run of tokens of one sequence.
    fn fill(&mut self, gpu: &Gpu, entries: &[Entry<'_>]) -> Result<usize, Error> {
        let (heads, order) = (self.heads, self.forward.order);
        let tile = |longest| order.attention(gpu, &heads, longest).tile_tokens(&heads);
        self.plan.fill(&self.bounds, &self.sections, entries, tile)?;
        let longest = entries.iter().map(|e| e.tokens.len()).max().unwrap_or(0);
        self.plan.split(self.forward.splits(gpu, longest, &self.plan.tiles));
        Ok(longest)
    }

    fn each(&mut self, gpu: &Gpu, longest: usize, want: Want, visit: Visit<'_>) -> Result<(), Error> {
        self.forward.each(gpu, &self.plan, longest, visit)?;
        let (rows, vocab, k) = (self.plan.outputs, self.hyper.vocab, self.candidates);
        if rows == 0 {
            return Ok(());
        }
        match want {
            Want::Argmax => {
                let dispatch = Dispatch { bound: &self.argmax.0, grid: argmax::grid(rows) };
                visit(dispatch, &|| describe::argmax(dispatch, vocab, rows))
            }
            Want::Candidates => {
                let dispatch = Dispatch { bound: &self.top_k.0, grid: top_k::grid(rows) };
                visit(dispatch, &|| describe::top_k(dispatch, vocab, k, rows))
            }
            Want::Rows => Ok(()),
        }
    }

    /// Gives the number of dispatches, and when the first of them were submitted, if some already are.
    fn record(
        &mut self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        longest: usize,
        want: Want,
        profile: &mut Profile<'_>,
        kept: Option<&mut Vec<wgpu::CommandBuffer>>,
    ) -> Result<(u32, Option<Instant>), Error> {
        let mut at = 0;
        let without = profile.without;
        let nothing = profile.nothing.map(Nothing::dispatch);
        let mut left_out = || {
            at += 1;
            without.is_some_and(|without| without(at - 1))
        };
        // However a step is stamped, no submission runs into a watchdog.
        let most = self.pace.dispatches(self.plan.tokens);
        let (outcome, early) = match (profile.stamps, profile.ring.as_deref_mut()) {
            (Stamps::Passes, Some(ring)) => {
                let mut passes = Recorder::of_passes(gpu, encoder, "step").submitting_every(most);
                let outcome = self.each(gpu, longest, want, &mut |dispatch, _| {
                    if left_out() {
                        passes.skip();
                        return Ok(());
                    }
                    Ok(passes.alone(dispatch, ring.pass()?)?)
                });
                (outcome, passes.handed())
            }
            (Stamps::Inside, Some(ring)) => {
                let mut pass = Recorder::new(gpu, encoder, "step", None).submitting_every(most);
                let outcome = self.each(gpu, longest, want, &mut |dispatch, _| {
                    if left_out() {
                        pass.skip();
                        return Ok(());
                    }
                    let pair = ring.pair()?;
                    pass.stamped(dispatch, ring.set(), pair)?;
                    if let Some(nothing) = nothing {
                        pass.uncounted();
                        let pair = ring.pair()?;
                        pass.stamped(nothing, ring.set(), pair)?;
                    }
                    Ok(())
                });
                (outcome, pass.handed())
            }
            (_, ring) => {
                let queries = match ring {
                    Some(ring) => {
                        let pair = ring.pair()?;
                        Some((ring.set().clone(), pair))
                    }
                    None => self.spans.as_mut().filter(|_| without.is_none()).map(Spans::queries),
                };
                let stamps = queries.as_ref().map(|(set, [begin, end])| wgpu::ComputePassTimestampWrites {
                    query_set: set,
                    beginning_of_pass_write_index: Some(*begin),
                    end_of_pass_write_index: Some(*end),
                });
                let mut pass = Recorder::new(gpu, encoder, "step", stamps)
                    .submitting_every(most)
                    .ending(queries.as_ref().map(|(set, [_, end])| (set.clone(), *end)))
                    .keeping(kept);
                let outcome = self.each(gpu, longest, want, &mut |dispatch, _| {
                    if left_out() {
                        pass.skip();
                        return Ok(());
                    }
                    pass.dispatch(dispatch)?;
                    if let Some(nothing) = nothing {
                        pass.uncounted();
                        pass.dispatch(nothing)?;
                    }
                    Ok(())
                });
                (outcome, pass.handed())
            }
        };
        outcome?;
        Ok((at as u32, early))
    }
}
