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
    next: u32,
    /// The slot of the step before, if it has a span.
    before: Option<u32>,
    /// What became of the stamps so far.
    pub counts: Counts,
}

/// The slot whose stamps a submission resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved(u32);

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
        Some(Self { set, resolved, readbacks, period, next: 0, before: None, counts: Counts::default() })
    }

    /// Resolves the step before among the commands of the next, if it had a span.
    pub fn resolve(&mut self, encoder: &mut wgpu::CommandEncoder) -> Option<Resolved> {
        let slot = self.before.take()?;
        let at = u64::from(slot) * ALIGNED;
        encoder.resolve_query_set(&self.set, 2 * slot..2 * slot + 2, &self.resolved, at);
        self.readbacks[slot as usize].copy(encoder, &self.resolved, at, PAIR, 0);
        Some(Resolved(slot))
    }

    /// The query set and the two queries for the ends of the next step's pass.
    pub fn queries(&mut self) -> (wgpu::QuerySet, [u32; 2]) {
        let slot = self.next;
        self.next = (slot + 1) % SLOTS;
        self.before = Some(slot);
        (self.set.clone(), [2 * slot, 2 * slot + 1])
    }

    /// The step that was just recorded has no span after all: it will not run.
    pub fn cancel(&mut self) {
        self.before = None;
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
