//! A step on the device: submitted, and collected later, so that the next one can be recorded and
//! queued while it runs.

use std::time::{Duration, Instant};

use super::super::Error;
use super::super::plan::Entry;
use super::step::Recorded;
use super::{Profile, Results, Runner, Want};
use crate::kernels::{argmax, top_k};
use crate::profile::{Counts, Resolved, Spans};

/// A token of a step whose id is not known on the host yet: it is the largest logit of an earlier row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The token's place in the step.
    pub token: usize,
    /// The row of the last submitted step, which must have been one of [`Want::Argmax`].
    pub row: usize,
}

/// What a step cost the host until the device had something to run: a long step goes to the device in
/// several submissions, and is recorded on while the first of them runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostWork {
    /// Checking it, filling its buffer, recording its commands.
    pub record: Duration,
    /// Handing them over.
    pub submit: Duration,
    /// Its dispatches.
    pub dispatches: u32,
    /// The end of these.
    pub handed: Instant,
}

/// A step that is recorded but not submitted: ids of its tokens are still to come.
#[derive(Debug)]
#[must_use = "it is submitted with Runner::release, or given up with Runner::forget"]
pub struct Held {
    /// All submissions but the last.
    parts: Vec<wgpu::CommandBuffer>,
    /// What will be uploaded.
    words: Vec<u32>,
    step: Recorded,
}

/// A submitted step.
#[derive(Debug)]
#[must_use = "its results are collected with Runner::collect"]
pub struct InFlight {
    pub(super) want: Want,
    pub(super) rows: usize,
    pub(super) states: usize,
    pub(super) slot: usize,
    pub(super) submission: wgpu::SubmissionIndex,
    pub(super) host: HostWork,
    /// The span that it resolves, of the step before.
    pub(super) resolved: Option<Resolved>,
    /// Its tokens and its beginning, if it ran as usual.
    pub(super) paced: Option<(usize, Instant)>,
}

impl InFlight {
    /// Wanted tokens.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What it cost the host.
    pub fn host(&self) -> HostWork {
        self.host
    }

    /// What it brings back for each.
    pub fn want(&self) -> Want {
        self.want
    }
}

impl Runner {
    /// Runs one step and waits for its results.
    ///
    /// # Errors
    /// When an entry points outside the model's or the cache's bounds, or the device fails.
    pub fn run(&mut self, entries: &[Entry<'_>], want: Want, results: &mut Results) -> Result<(), Error> {
        let step = self.submit(entries, &[], want)?;
        self.collect(step, results).map(drop)
    }

    /// Submits one step; the host's id of a token in `feeds` counts for nothing. Two steps may be
    /// under way at once, and are collected in order.
    ///
    /// # Errors
    /// When an entry or a feed points outside the model's, the cache's or the last step's bounds.
    pub fn submit(&mut self, entries: &[Entry<'_>], feeds: &[Feed], want: Want) -> Result<InFlight, Error> {
        Ok(self.launch(entries, feeds, want, &mut Profile::default())?.0)
    }

    /// Records a step that [`Self::release`] submits once the ids of all its tokens are known; until then any id
    /// below the vocabulary may stand for them. No other step may be submitted in between.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn hold(&mut self, entries: &[Entry<'_>], want: Want) -> Result<Held, Error> {
        let mut parts = Vec::new();
        let step = self.record_step(entries, &[], want, &mut Profile::default(), Some(&mut parts))?;
        Ok(Held { parts, words: std::mem::take(&mut self.plan.words), step })
    }

    /// Puts ids at their tokens' places in a held step, and submits it.
    ///
    /// # Errors
    /// When a token is beyond the step, or an id beyond the vocabulary: the kernels rely on both.
    pub fn release(&mut self, held: Held, ids: &[(usize, u32)]) -> Result<InFlight, Error> {
        let Held { parts, mut words, mut step } = held;
        let first = (self.sections.ids.0 / 4) as usize;
        for &(token, id) in ids {
            if token >= step.tokens || id as usize >= self.hyper.vocab {
                let what = format!(
                    "token {token} of {} is to be {id}, of a vocabulary of {}",
                    step.tokens, self.hyper.vocab
                );
                self.forget(Held { parts, words, step });
                return Err(Error::Step(what));
            }
            words[first + token] = id;
        }
        let begun = Instant::now();
        self.gpu.write(&self.scratch.step, 0, bytemuck::cast_slice(&words));
        self.plan.words = words;
        for part in parts {
            step.early.get_or_insert_with(Instant::now);
            self.gpu.submit([part]);
        }
        Ok(self.hand_over(step, begun).0)
    }

    /// Gives a held step up: nobody waits for any of its results.
    pub fn forget(&mut self, held: Held) {
        self.slot = held.step.slot;
        self.fed_rows = 0;
        self.plan.words = held.words;
        if let Some(spans) = &mut self.spans {
            spans.cancel(held.step.resolved);
        }
    }

    /// Records the copies of the last step's ids into this one's.
    pub(super) fn feed(&self, encoder: &mut wgpu::CommandEncoder, feeds: &[Feed]) -> Result<(), Error> {
        for feed in feeds {
            if feed.token >= self.plan.tokens || feed.row >= self.fed_rows {
                return Err(Error::Step(format!(
                    "token {} of {} is to be row {} of a step with {} rows of argmax",
                    feed.token, self.plan.tokens, feed.row, self.fed_rows
                )));
            }
            let from = 4 * (feed.row * argmax::OUT_WORDS) as u64;
            let to = self.sections.ids.0 + 4 * feed.token as u64;
            encoder.copy_buffer_to_buffer(&self.argmax.1, from, &self.scratch.step, to, 4);
        }
        Ok(())
    }

    /// Records the copy of a step's results to where they can be read; gives the place, and how many
    /// states are there.
    pub(super) fn read_later(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        rows: usize,
        want: Want,
    ) -> (usize, usize) {
        let source = match want {
            Want::Argmax => &self.argmax.1,
            Want::Candidates => &self.top_k.1,
            Want::Rows => &self.scratch.logits,
        };
        let slot = self.slot;
        if rows > 0 {
            self.readbacks[slot].copy(encoder, source, 0, self.result_bytes(rows, want), 0);
        }
        let states = self.states.copy(&self.gpu, encoder, &self.scratch.h, &self.plan, slot);
        self.slot = (slot + 1) % self.readbacks.len();
        self.fed_rows = if want == Want::Argmax { rows } else { 0 };
        (slot, states)
    }

    fn result_bytes(&self, rows: usize, want: Want) -> u64 {
        let words = match want {
            Want::Argmax => argmax::OUT_WORDS,
            Want::Candidates => top_k::out_words(self.candidates),
            Want::Rows => self.hyper.vocab,
        };
        4 * (words * rows) as u64
    }

    /// Waits for a submitted step, and for no later one, and brings its results back: gives the time that
    /// this took once they were there.
    ///
    /// # Errors
    /// When the device fails.
    pub fn collect(&mut self, step: InFlight, results: &mut Results) -> Result<Duration, Error> {
        results.clear();
        let gpu = &self.gpu;
        let bytes = self.result_bytes(step.rows, step.want);
        let submission = step.submission.clone();
        let mut read = Duration::ZERO;
        if bytes == 0 {
            gpu.wait_for(step.submission)?;
        } else {
            let take = |bytes: &[u8]| {
                let start = Instant::now();
                results.fill(bytes, step.want, self.candidates);
                start.elapsed()
            };
            read += self.readbacks[step.slot].read_after(gpu, step.submission, bytes, take)?;
        }
        self.span = match (step.resolved, &mut self.spans) {
            (Some(resolved), Some(spans)) => spans.read(gpu, resolved)?,
            _ => None,
        };
        if step.states > 0 {
            read += self.states.read(gpu, submission, step.slot, step.states, &mut results.states)?;
        }
        if let Some((tokens, began)) = step.paced {
            self.pace.measured(tokens, step.host.dispatches, began.elapsed());
        }
        Ok(read)
    }

    /// Has every usual step's pass stamped at its ends from now on, or not; nothing happens on a device
    /// without timestamps.
    pub fn set_spans(&mut self, on: bool) {
        self.spans = if on { Spans::new(&self.gpu) } else { None };
    }

    /// The GPU's span of the step before the last collected one, ns, if it had one.
    pub fn span(&self) -> Option<f64> {
        self.span
    }

    /// What became of the stamps of all steps whose spans were read.
    pub fn span_stamps(&self) -> Counts {
        self.spans.as_ref().map_or(Counts::default(), |spans| spans.counts)
    }

    /// The whole row of logits of the last submitted step's wanted token `row`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn logits_row(&self, row: usize) -> Result<Vec<f32>, Error> {
        let bytes = 4 * self.hyper.vocab as u64;
        let row = self.gpu.download(&self.scratch.logits, row as u64 * bytes, bytes)?;
        Ok(bytemuck::pod_collect_to_vec(&row))
    }
}
