//! A ring of timestamp queries: one set for as long as a device is open, used again for each span.
//!
//! Nothing is dropped in silence. A span that needs more stamps than there are is an error; a stamp
//! of zero, or an end before its begin, is counted and is no sample, never 0 ns. Stamps are
//! resolved by a submission of their own, after the one that wrote them: some Vulkan drivers
//! resolve zeros in the same one (wgpu issue 6406).

use crate::gpu::{Error, Gpu, Readback};

/// Queries of a set: WebGPU allows no more.
const MOST: u32 = 4096;

/// What became of the stamps that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pairs read.
    pub pairs: u64,
    /// Pairs with a zero.
    pub zeros: u64,
    /// Pairs whose end lies before the begin.
    pub negatives: u64,
}

impl Counts {
    /// The interval of a pair of ticks in nanoseconds, if it is one.
    pub fn interval(&mut self, ticks: [u64; 2], period: f64) -> Option<f64> {
        self.pairs += 1;
        let [begin, end] = ticks;
        if begin == 0 || end == 0 {
            self.zeros += 1;
            return None;
        }
        if end < begin {
            self.negatives += 1;
            return None;
        }
        Some((end - begin) as f64 * period)
    }

    /// What was counted since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            pairs: self.pairs - before.pairs,
            zeros: self.zeros - before.zeros,
            negatives: self.negatives - before.negatives,
        }
    }
}

/// The queries with what it takes to read them.
#[derive(Debug)]
pub struct Ring {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: Readback,
    period: f64,
    used: u32,
    /// What became of all stamps so far.
    pub counts: Counts,
}

impl Ring {
    /// Nanoseconds of a tick.
    pub fn period(&self) -> f64 {
        self.period
    }

    /// Pairs of stamps that a step may have.
    pub const PAIRS: usize = MOST as usize / 2;

    /// A ring, if the device has timestamps.
    pub fn new(gpu: &Gpu) -> Option<Self> {
        if !gpu.has(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let bytes = u64::from(MOST) * 8;
        let set = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("ridgepoint stamps"),
            ty: wgpu::QueryType::Timestamp,
            count: MOST,
        });
        let resolved = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("ridgepoint stamps"),
            size: bytes,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Some(Self {
            set,
            resolved,
            readback: Readback::new(gpu, bytes),
            period: f64::from(gpu.queue.get_timestamp_period()),
            used: 0,
            counts: Counts::default(),
        })
    }

    /// Forgets what was stamped, for the next submission.
    pub fn start(&mut self) {
        self.used = 0;
    }

    /// The next two queries.
    ///
    /// # Errors
    /// When a span needs more stamps than there are.
    pub fn pair(&mut self) -> Result<[u32; 2], Error> {
        if self.used + 2 > MOST {
            return Err(Error::Kernel(format!(
                "a step with more than {} pairs of stamps can't be stamped: time it by leaving kernels out",
                Self::PAIRS
            )));
        }
        self.used += 2;
        Ok([self.used - 2, self.used - 1])
    }

    /// What a pass has to be told to stamp its ends.
    ///
    /// # Errors
    /// As [`Ring::pair`].
    pub fn pass(&mut self) -> Result<wgpu::ComputePassTimestampWrites<'_>, Error> {
        let [begin, end] = self.pair()?;
        Ok(wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(begin),
            end_of_pass_write_index: Some(end),
        })
    }

    /// The query set, to stamp inside a pass.
    pub fn set(&self) -> &wgpu::QuerySet {
        &self.set
    }

    /// The intervals of all pairs since [`Ring::start`], whose submission must have been made.
    ///
    /// # Errors
    /// When the device fails.
    pub fn read(&mut self, gpu: &Gpu) -> Result<Vec<Option<f64>>, Error> {
        if self.used == 0 {
            return Ok(Vec::new());
        }
        let bytes = u64::from(self.used) * 8;
        let mut encoder = gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("ridgepoint stamps") });
        encoder.resolve_query_set(&self.set, 0..self.used, &self.resolved, 0);
        self.readback.copy(&mut encoder, &self.resolved, 0, bytes, 0);
        gpu.submit([encoder.finish()]);
        let ticks: Vec<u64> = self.readback.read(gpu, bytes, bytemuck::pod_collect_to_vec)?;
        let (pairs, period) = (ticks.as_chunks::<2>().0, self.period);
        Ok(pairs.iter().map(|&pair| self.counts.interval(pair, period)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_and_swapped_stamps_are_counted_and_no_samples() {
        let mut counts = Counts::default();
        let pairs = [[10, 30], [0, 5], [5, 0], [30, 10], [7, 7]];
        let found: Vec<Option<f64>> = pairs.map(|pair| counts.interval(pair, 2.0)).to_vec();
        assert_eq!(found, [Some(40.0), None, None, None, Some(0.0)]);
        assert_eq!(counts, Counts { pairs: 5, zeros: 2, negatives: 1 });
        let before = counts;
        assert_eq!(counts.interval([0, 1], 1.0), None);
        assert_eq!(counts.since(before), Counts { pairs: 1, zeros: 1, negatives: 0 });
    }
}
