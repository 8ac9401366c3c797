//! A step on the device: submitted, and collected later, so that the next one can be recorded and
//! queued while it runs.

use std::sync::Arc;
use std::time::Instant;

use super::plan::Entry;
use super::{Error, Profile, Results, Runner, Want};
use crate::kernels::{argmax, top_k};

/// A token of a step whose id is not known on the host yet: it is the largest logit of an earlier row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The token's place in the step.
    pub token: usize,
    /// The row of the last submitted step, which must have been one of [`Want::Argmax`].
    pub row: usize,
}

/// A submitted step.
#[derive(Debug)]
#[must_use = "its results are collected with Runner::collect"]
pub struct InFlight {
    want: Want,
    rows: usize,
    slot: usize,
    submission: wgpu::SubmissionIndex,
    tokens: usize,
    /// Its dispatches, if it ran as usual.
    paced: Option<u32>,
    pub(super) marks: Marks,
}

/// When a step's parts were done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    pub start: Instant,
    pub planned: Instant,
    pub recorded: Instant,
    pub submitted: Instant,
}

impl InFlight {
    /// Wanted tokens.
    pub fn rows(&self) -> usize {
        self.rows
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
        self.collect(step, results)
    }

    /// Submits one step; the host's id of a token in `feeds` counts for nothing. Two steps may be
    /// under way at once, and are collected in order.
    ///
    /// # Errors
    /// When an entry or a feed points outside the model's, the cache's or the last step's bounds.
    pub fn submit(&mut self, entries: &[Entry<'_>], feeds: &[Feed], want: Want) -> Result<InFlight, Error> {
        self.launch(entries, feeds, want, &mut Profile::default())
    }

    /// As [`Runner::submit`], with stamps.
    pub(super) fn launch(
        &mut self,
        entries: &[Entry<'_>],
        feeds: &[Feed],
        want: Want,
        profile: &mut Profile<'_>,
    ) -> Result<InFlight, Error> {
        let gpu = Arc::clone(&self.gpu);
        let start = Instant::now();
        let longest = self.fill(&gpu, entries)?;
        // Written when the submission begins, after everything submitted before has run.
        gpu.write(&self.scratch.step, 0, bytemuck::cast_slice(&self.plan.words));
        let planned = Instant::now();
        let rows = self.plan.outputs;
        let mut encoder =
            gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("step") });
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
        let dispatches = self.record(&gpu, &mut encoder, longest, want, profile)?;
        let (source, words) = match want {
            Want::Argmax => (&self.argmax.1, argmax::OUT_WORDS),
            Want::Candidates => (&self.top_k.1, top_k::out_words(self.candidates)),
            Want::Rows => (&self.scratch.logits, self.hyper.vocab),
        };
        let slot = self.slot;
        self.slot = (slot + 1) % self.readbacks.len();
        if rows > 0 {
            self.readbacks[slot].copy(&mut encoder, source, 0, 4 * (words * rows) as u64, 0);
        }
        let commands = encoder.finish();
        let recorded = Instant::now();
        let submission = gpu.queue.submit([commands]);
        let marks = Marks { start, planned, recorded, submitted: Instant::now() };
        self.fed_rows = if want == Want::Argmax { rows } else { 0 };
        let paced = (profile.ring.is_none() && profile.without.is_none()).then_some(dispatches);
        Ok(InFlight { want, rows, slot, submission, tokens: self.plan.tokens, paced, marks })
    }

    /// Waits for a submitted step, and for no later one, and brings its results back.
    ///
    /// # Errors
    /// When the device fails.
    pub fn collect(&mut self, step: InFlight, results: &mut Results) -> Result<(), Error> {
        let gpu = Arc::clone(&self.gpu);
        let words = match step.want {
            Want::Argmax => argmax::OUT_WORDS,
            Want::Candidates => top_k::out_words(self.candidates),
            Want::Rows => self.hyper.vocab,
        };
        let bytes = 4 * (words * step.rows) as u64;
        results.clear();
        if bytes == 0 {
            gpu.wait_for(step.submission)?;
        } else {
            let readback = &self.readbacks[step.slot];
            readback.read_after(&gpu, step.submission, bytes, |bytes| {
                results.fill(bytes, step.want, self.candidates);
            })?;
        }
        if let Some(dispatches) = step.paced {
            self.pace.measured(step.tokens, dispatches, step.marks.planned.elapsed());
        }
        Ok(())
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
