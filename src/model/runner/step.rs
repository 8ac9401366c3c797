//! One step: planned, recorded, submitted, waited for; and the same with stamps for whoever profiles.

use std::sync::Arc;
use std::time::Instant;

use super::super::Error;
use super::super::describe;
use super::super::forward::{Loads, Visit};
use super::super::plan::Entry;
use super::{Results, Runner, Want};
use crate::gpu::{Dispatch, Gpu, Recorder};
use crate::kernels::{argmax, attention, top_k};
use crate::profile::{Dispatched, Ring, StepTimes};

/// Where stamps go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stamps {
    /// At the ends of the step's one pass.
    #[default]
    Span,
    /// Around each dispatch, within the one pass (TIMESTAMP_QUERY_INSIDE_PASSES).
    Inside,
    /// At the ends of a pass for each dispatch.
    Passes,
}

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
}

impl std::fmt::Debug for Profile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile").field("stamps", &self.stamps).finish_non_exhaustive()
    }
}

impl Runner {
    /// Runs one step and waits for its results.
    ///
    /// # Errors
    /// When an entry points outside the model's or the cache's bounds, or the device fails.
    pub fn run(&mut self, entries: &[Entry<'_>], want: Want, results: &mut Results) -> Result<(), Error> {
        self.step(entries, want, results, Profile::default()).map(drop)
    }

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
        let gpu = Arc::clone(&self.gpu);
        let start = Instant::now();
        let longest = self.fill(&gpu, entries)?;
        gpu.write(&self.scratch.step, 0, bytemuck::cast_slice(&self.plan.words));
        let planned = Instant::now();
        let mut encoder =
            gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("step") });
        if let Some(ring) = profile.ring.as_deref_mut() {
            ring.start();
        }
        self.record(&gpu, &mut encoder, longest, want, &mut profile)?;
        let rows = self.plan.outputs;
        let (source, words) = match want {
            Want::Argmax => (&self.argmax.1, argmax::OUT_WORDS),
            Want::Candidates => (&self.top_k.1, top_k::out_words(self.candidates)),
            Want::Rows => (&self.scratch.logits, self.hyper.vocab),
        };
        let bytes = 4 * (words * rows) as u64;
        if rows > 0 {
            self.readback.copy(&mut encoder, source, 0, bytes, 0);
        }
        let commands = encoder.finish();
        let recorded = Instant::now();
        gpu.queue.submit([commands]);
        let submitted = Instant::now();
        if rows == 0 {
            gpu.wait()?;
        }
        self.read(&gpu, bytes, want, results)?;
        let done = Instant::now();
        Ok(StepTimes {
            plan: (planned - start).into(),
            record: (recorded - planned).into(),
            submit: (submitted - recorded).into(),
            wait: (done - submitted).into(),
            spans: profile.ring.map_or(Ok(Vec::new()), |ring| ring.read(&gpu))?,
        })
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

    /// Makes the following steps read all weights or the same few again and again, to see what
    /// reading them costs.
    pub fn loads(&self, loads: Loads) {
        self.forward.loads(&self.gpu, loads);
    }

    /// Fills the plan; gives the longest run of tokens of one sequence.
    fn fill(&mut self, gpu: &Gpu, entries: &[Entry<'_>]) -> Result<usize, Error> {
        let heads = self.heads;
        let tile = |longest| attention::Variant::choose(gpu, &heads, longest).tile_tokens(&heads);
        self.plan.fill(&self.bounds, &self.sections, entries, tile)?;
        Ok(entries.iter().map(|e| e.tokens.len()).max().unwrap_or(0))
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

    fn record(
        &mut self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        longest: usize,
        want: Want,
        profile: &mut Profile<'_>,
    ) -> Result<(), Error> {
        let mut at = 0;
        let without = profile.without;
        let mut left_out = move || {
            at += 1;
            without.is_some_and(|without| without(at - 1))
        };
        match (profile.stamps, profile.ring.as_deref_mut()) {
            (Stamps::Passes, Some(ring)) => self.each(gpu, longest, want, &mut |dispatch, _| {
                if left_out() {
                    return Ok(());
                }
                let label = &dispatch.bound.pipeline.label;
                Ok(Recorder::new(gpu, encoder, label, Some(ring.pass()?)).dispatch(dispatch)?)
            }),
            (Stamps::Inside, Some(ring)) => {
                let mut pass = Recorder::new(gpu, encoder, "step", None);
                self.each(gpu, longest, want, &mut |dispatch, _| {
                    if left_out() {
                        return Ok(());
                    }
                    let [begin, end] = ring.pair()?;
                    pass.stamp(ring.set(), begin);
                    pass.dispatch(dispatch)?;
                    pass.stamp(ring.set(), end);
                    Ok(())
                })
            }
            (_, ring) => {
                let stamps = ring.map(Ring::pass).transpose()?;
                let mut pass = Recorder::new(gpu, encoder, "step", stamps);
                self.each(gpu, longest, want, &mut |dispatch, _| {
                    if left_out() { Ok(()) } else { Ok(pass.dispatch(dispatch)?) }
                })
            }
        }
    }

    fn read(&mut self, gpu: &Gpu, bytes: u64, want: Want, results: &mut Results) -> Result<(), Error> {
        results.ids.clear();
        results.top.clear();
        results.logits.clear();
        results.candidates.clear();
        results.logsumexp.clear();
        if bytes == 0 {
            return Ok(());
        }
        let k = self.candidates;
        self.readback.read(gpu, bytes, |bytes| match want {
            Want::Argmax => {
                for best in bytemuck::cast_slice::<u8, [u32; 2]>(bytes) {
                    results.ids.push(best[0]);
                    results.top.push(f32::from_bits(best[1]));
                }
            }
            Want::Rows => results.logits.extend_from_slice(bytemuck::cast_slice(bytes)),
            Want::Candidates => {
                let words: &[u32] = bytemuck::cast_slice(bytes);
                for row in words.chunks_exact(top_k::out_words(k)) {
                    results.logsumexp.push(f32::from_bits(row[0]) + f32::from_bits(row[1]).ln());
                    results.candidates.extend_from_slice(&row[2..2 + k]);
                    results.logits.extend(row[2 + k..].iter().map(|&w| f32::from_bits(w)));
                }
            }
        })?;
        Ok(())
    }
}
