//! Recording dispatches: into one compute pass, or as many submissions as the pace asks for, made at once or
//! kept back.

use std::time::Instant;

use super::device::{Error, Gpu};
use super::pipeline::Dispatch;

/// Records dispatches in order.
#[derive(Debug)]
pub struct Recorder<'a> {
    gpu: &'a Gpu,
    encoder: &'a mut wgpu::CommandEncoder,
    /// Open while the recorder lives, and never outlives `encoder`, which is borrowed as long.
    pass: Option<wgpu::ComputePass<'static>>,
    label: &'a str,
    /// Dispatches that go into one submission.
    most: u32,
    recorded: u32,
    /// Dispatches since the last submission.
    since: u32,
    handed: Option<Instant>,
    /// What is written at the end of every pass after the first.
    end: Option<(wgpu::QuerySet, u32)>,
    /// Where parts go that are not submitted yet.
    kept: Option<&'a mut Vec<wgpu::CommandBuffer>>,
}

impl<'a> Recorder<'a> {
    /// Opens a pass.
    pub fn new(
        gpu: &'a Gpu,
        encoder: &'a mut wgpu::CommandEncoder,
        label: &'a str,
        timestamps: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) -> Self {
        let pass = open(encoder, label, timestamps);
        Self { pass: Some(pass), ..Self::of_passes(gpu, encoder, label) }
    }

    /// Opens no pass yet, for dispatches that each have one ([`Self::alone`]).
    pub fn of_passes(gpu: &'a Gpu, encoder: &'a mut wgpu::CommandEncoder, label: &'a str) -> Self {
        Self {
            gpu,
            encoder,
            pass: None,
            label,
            most: u32::MAX,
            recorded: 0,
            since: 0,
            handed: None,
            end: None,
            kept: None,
        }
    }

    /// Submits after every `most` dispatches and goes on in a new pass. What is left stays in the
    /// encoder, for the caller to submit.
    #[must_use]
    pub fn submitting_every(mut self, most: u32) -> Self {
        self.most = most.max(1);
        self
    }

    /// Stamps the end of every further pass by a query that the first pass stamps too: the last of them holds.
    #[must_use]
    pub fn ending(mut self, end: Option<(wgpu::QuerySet, u32)>) -> Self {
        self.end = end;
        self
    }

    /// Keeps what would be submitted in `kept`, if there is one, for the caller to submit in this order.
    #[must_use]
    pub fn keeping(mut self, kept: Option<&'a mut Vec<wgpu::CommandBuffer>>) -> Self {
        self.kept = kept;
        self
    }

    /// Dispatches so far.
    pub fn recorded(&self) -> u32 {
        self.recorded
    }

    /// When the device had its first submission of this recording, if it has one yet.
    pub fn handed(&self) -> Option<Instant> {
        self.handed
    }

    /// Records one dispatch; an empty grid records nothing.
    ///
    /// # Errors
    /// When the grid is wider than the device allows.
    pub fn dispatch(&mut self, dispatch: Dispatch<'_>) -> Result<(), Error> {
        let [x, y, z] = dispatch.grid;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let limit = self.gpu.limits.max_compute_workgroups_per_dimension;
        if dispatch.grid.iter().any(|&n| n > limit) {
            return Err(Error::Kernel(format!(
                "the kernel '{}' needs a grid of {x} x {y} x {z} workgroups; the device allows {limit} along each dimension: use a smaller --ubatch-size",
                dispatch.bound.pipeline.label
            )));
        }
        let pass = self.pass();
        // Captures show dispatches by the names that reports use.
        pass.push_debug_group(&dispatch.bound.pipeline.label);
        dispatch.bound.record(pass, dispatch.grid);
        pass.pop_debug_group();
        self.recorded += 1;
        self.since += 1;
        Ok(())
    }

    /// Writes a stamp after what was recorded so far, where the device can write them inside passes.
    pub fn stamp(&mut self, set: &wgpu::QuerySet, query: u32) {
        self.pass().write_timestamp(set, query);
    }

    /// As [`Self::dispatch`], between two stamps, where the device can write them inside passes: no submission
    /// ends between them.
    ///
    /// # Errors
    /// As [`Self::dispatch`].
    pub fn stamped(
        &mut self,
        dispatch: Dispatch<'_>,
        set: &wgpu::QuerySet,
        [begin, end]: [u32; 2],
    ) -> Result<(), Error> {
        self.stamp(set, begin);
        self.dispatch(dispatch)?;
        if let Some(pass) = &mut self.pass {
            pass.write_timestamp(set, end);
        }
        Ok(())
    }

    /// Counts a dispatch that a step lacks, so that it goes to the device in the same parts as with it.
    pub fn skip(&mut self) {
        self.make_room();
        self.since += 1;
    }

    /// Does not count the last dispatch, for one that a step without it would not have.
    pub fn uncounted(&mut self) {
        self.since = self.since.saturating_sub(1);
    }

    /// As [`Self::dispatch`], in a pass of its own with these stamps.
    ///
    /// # Errors
    /// As [`Self::dispatch`].
    pub fn alone(
        &mut self,
        dispatch: Dispatch<'_>,
        stamps: wgpu::ComputePassTimestampWrites<'_>,
    ) -> Result<(), Error> {
        self.make_room();
        self.pass = Some(open(self.encoder, &dispatch.bound.pipeline.label, Some(stamps)));
        self.dispatch(dispatch)?;
        self.pass = None;
        Ok(())
    }

    /// The pass that the next dispatch goes into.
    fn pass(&mut self) -> &mut wgpu::ComputePass<'static> {
        self.make_room();
        let (encoder, label, end) = (&mut *self.encoder, self.label, &self.end);
        self.pass.get_or_insert_with(|| {
            let stamps = end.as_ref().map(|(set, query)| wgpu::ComputePassTimestampWrites {
                query_set: set,
                beginning_of_pass_write_index: None,
                end_of_pass_write_index: Some(*query),
            });
            open(encoder, label, stamps)
        })
    }

    /// Submits or keeps what was recorded so far, where that is as much as goes into one submission.
    fn make_room(&mut self) {
        if self.since < self.most {
            return;
        }
        self.since = 0;
        // Ends the pass.
        self.pass = None;
        let next = wgpu::CommandEncoderDescriptor { label: Some(self.label) };
        let next = self.gpu.device.create_command_encoder(&next);
        let done = std::mem::replace(&mut *self.encoder, next).finish();
        if let Some(kept) = &mut self.kept {
            kept.push(done);
            return;
        }
        // Before the call: a software driver may run it right there.
        self.handed.get_or_insert_with(Instant::now);
        self.gpu.submit([done]);
    }
}

fn open(
    encoder: &mut wgpu::CommandEncoder,
    label: &str,
    timestamps: Option<wgpu::ComputePassTimestampWrites<'_>>,
) -> wgpu::ComputePass<'static> {
    let descriptor = wgpu::ComputePassDescriptor { label: Some(label), timestamp_writes: timestamps };
    encoder.begin_compute_pass(&descriptor).forget_lifetime()
}
