//! One GPU span a step, cheap enough to leave on. Of a step that takes several submissions it holds what lies
//! between them too.
//!
//! A step's pass is stamped at its ends. The next step's commands resolve these stamps, so that no
//! submission is made for them and none is resolved in the one that wrote it (some Vulkan drivers
//! resolve zeros then: wgpu issue 6406); they are read with that step's results. A span is therefore
//! known one step later.

use super::Counts;
use crate::gpu::{Error, Gpu, Readback};

/// Steps whose stamps are kept apart: two under way, and those before them.
const SLOTS: u32 = 4;
/// Where a slot's stamps may be resolved to.
const ALIGNED: u64 = wgpu::QUERY_RESOLVE_BUFFER_ALIGNMENT;
/// Bytes of two stamps.
const PAIR: u64 = 16;

/// The queries of the steps to come, and what it takes to read them.
#[derive(Debug)]
pub struct Spans {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readbacks: Vec<Readback>,
    period: f64,
    turns: Turns,
    /// What became of the stamps so far.
    pub counts: Counts,
}

/// The slot whose stamps a submission resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved(u32);

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Turns {
    next: u32,
    /// The slot of the step before, if it has a span.
    before: Option<u32>,
}

impl Turns {
    fn take(&mut self) -> u32 {
        let slot = self.next;
        self.next = (slot + 1) % SLOTS;
        self.before = Some(slot);
        slot
    }

    /// As they were before a step that resolved this, if anything.
    fn back(&mut self, resolved: Option<Resolved>) {
        self.next = self.before.unwrap_or(self.next);
        self.before = resolved.map(|Resolved(slot)| slot);
    }
}

impl Spans {
    /// Spans, if the device has timestamps.
    pub fn new(gpu: &Gpu) -> Option<Self> {
        if !gpu.has(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let label = Some("ridgepoint spans");
        let count = 2 * SLOTS;
        let descriptor = wgpu::QuerySetDescriptor { label, ty: wgpu::QueryType::Timestamp, count };
        let set = gpu.device.create_query_set(&descriptor);
        let resolved = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label,
            size: ALIGNED * u64::from(SLOTS),
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let readbacks = (0..SLOTS).map(|_| Readback::new(gpu, PAIR)).collect();
        let period = f64::from(gpu.queue.get_timestamp_period());
        let (turns, counts) = (Turns::default(), Counts::default());
        Some(Self { set, resolved, readbacks, period, turns, counts })
    }

    /// Resolves the step before among the commands of the next, if it had a span.
    pub fn resolve(&mut self, encoder: &mut wgpu::CommandEncoder) -> Option<Resolved> {
        let slot = self.turns.before.take()?;
        let at = u64::from(slot) * ALIGNED;
        encoder.resolve_query_set(&self.set, 2 * slot..2 * slot + 2, &self.resolved, at);
        self.readbacks[slot as usize].copy(encoder, &self.resolved, at, PAIR, 0);
        Some(Resolved(slot))
    }

    /// The query set and the two queries for the ends of the next step's pass.
    pub fn queries(&mut self) -> (wgpu::QuerySet, [u32; 2]) {
        let slot = self.turns.take();
        (self.set.clone(), [2 * slot, 2 * slot + 1])
    }

    /// The step that was just recorded, or failed to be, will not run: it has no span, and the next step
    /// resolves what it would have resolved.
    pub fn cancel(&mut self, resolved: Option<Resolved>) {
        self.turns.back(resolved);
    }

    /// The span in ns that a finished submission resolved; none where the stamps were no use.
    ///
    /// # Errors
    /// When the device fails.
    pub fn read(&mut self, gpu: &Gpu, resolved: Resolved) -> Result<Option<f64>, Error> {
        let readback = &self.readbacks[resolved.0 as usize];
        let ticks: [u64; 2] = readback.read_done(gpu, PAIR, |bytes| *bytemuck::from_bytes(bytes))?;
        Ok(self.counts.interval(ticks, self.period))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_does_not_run_loses_no_span() {
        let mut turns = Turns::default();
        let first = turns.take();
        // The next one resolves the first's stamps, is given its own, and is given up.
        let resolved = turns.before.take().map(Resolved);
        assert_eq!(turns.take(), 1);
        turns.back(resolved);
        assert_eq!(turns, Turns { next: 1, before: Some(first) });
        // So does one that fails before it has any.
        let resolved = turns.before.take().map(Resolved);
        turns.back(resolved);
        assert_eq!(turns, Turns { next: 1, before: Some(first) });
        // Without a step before there is nothing to resolve, and the queries that were never written are not.
        let mut turns = Turns::default();
        turns.take();
        turns.back(None);
        assert_eq!(turns, Turns::default());
    }
}
