//! The self-test of timestamps: what a device's stamps say against what must be so.
//!
//! Resolution, linearity (twice the work takes twice the time), isolation (a light pass after a
//! heavy one takes what it takes alone), agreement with the wall clock on a long batch, zeros and
//! negatives, and what an interval reads around a dispatch that does next to nothing. Everything is
//! asked of a [`Clock`], so that tests can ask a clock that lies.

use std::time::Instant;

use super::Counts;
use super::Ring;
use super::probe::{Error, Probe as _, Rig};
use super::{fma, launch};
use crate::gpu::{self, Dispatch, Gpu, Recorder};
use crate::units::Nanos;

/// A device that can be asked to work and to stamp.
pub trait Clock {
    /// Runs passes of so many units of work each in one submission; gives the interval of each, in
    /// nanoseconds, and the wall clock of the whole. 0 units is a pass of an empty dispatch.
    ///
    /// # Errors
    /// Whatever keeps the device from it.
    fn passes(&mut self, units: &[u32]) -> Result<(Vec<Option<f64>>, Nanos), gpu::Error>;

    /// What became of the stamps so far.
    fn counts(&self) -> Counts;
}

/// What the self-test found. None: no stamps to tell from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Findings {
    /// Greatest common divisor of the intervals, ns.
    pub resolution: Option<f64>,
    /// T(2n) / T(n).
    pub linearity: Option<f64>,
    /// A light pass after a heavy one over the same alone.
    pub isolation: Option<f64>,
    /// Stamps over wall clock.
    pub agreement: Option<f64>,
    /// Median interval around an empty dispatch, ns.
    pub null: Option<f64>,
    /// What became of the stamps.
    pub counts: Counts,
}

/// The long batch takes at least this.
const LONG: Nanos = Nanos(50_000_000);
/// Draws of each figure; the best or the middle one counts.
const DRAWS: usize = 7;

/// Puts a clock to the test.
///
/// # Errors
/// Whatever keeps the device from running.
pub fn examine(clock: &mut dyn Clock) -> Result<Findings, gpu::Error> {
    let mut units = 4;
    clock.passes(&[units])?;
    while clock.passes(&[units])?.1 < LONG && units < 1 << 16 {
        units *= 2;
    }
    let light = (units / 8).max(1);
    let mut seen = Vec::new();
    let mut once: [Vec<f64>; 5] = Default::default();
    let mut walls = Vec::new();
    for _ in 0..DRAWS {
        let (spans, wall) = clock.passes(&[units])?;
        keep(&mut once[0], &spans, 0, &mut seen);
        walls.push(wall.0 as f64);
        let (spans, _) = clock.passes(&[2 * units])?;
        keep(&mut once[1], &spans, 0, &mut seen);
        let (spans, _) = clock.passes(&[light])?;
        keep(&mut once[2], &spans, 0, &mut seen);
        let (spans, _) = clock.passes(&[units, light])?;
        keep(&mut once[3], &spans, 1, &mut seen);
        let (spans, _) = clock.passes(&[0; 16])?;
        for i in 1..spans.len() {
            keep(&mut once[4], &spans, i, &mut seen);
        }
    }
    let least = |v: &[f64]| v.iter().copied().min_by(f64::total_cmp);
    let middle = |v: &[f64]| {
        let mut v = v.to_vec();
        v.sort_by(f64::total_cmp);
        v.get(v.len() / 2).copied()
    };
    let over = |a: Option<f64>, b: Option<f64>| Some(a? / b?).filter(|r| r.is_finite());
    Ok(Findings {
        resolution: divisor(&seen),
        linearity: over(least(&once[1]), least(&once[0])),
        isolation: over(least(&once[3]), least(&once[2])),
        agreement: over(least(&once[0]), least(&walls)),
        null: middle(&once[4]),
        counts: clock.counts(),
    })
}

fn keep(to: &mut Vec<f64>, spans: &[Option<f64>], at: usize, seen: &mut Vec<f64>) {
    if let Some(span) = spans.get(at).copied().flatten() {
        to.push(span);
        seen.push(span);
    }
}

/// The greatest common divisor of intervals, in picoseconds inside, since periods are no whole ns.
fn divisor(spans: &[f64]) -> Option<f64> {
    let gcd = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let all = spans.iter().map(|s| (s * 1000.0).round() as u64);
    Some(all.fold(0, gcd) as f64 / 1000.0).filter(|d| *d > 0.0)
}

/// A real device: units are dispatches of the f32 multiply-add probe.
#[derive(Debug)]
pub struct GpuClock<'a> {
    gpu: &'a Gpu,
    ring: Ring,
    work: Rig,
    empty: Rig,
}

impl<'a> GpuClock<'a> {
    /// The device's clock, if it has timestamps.
    ///
    /// # Errors
    /// When a probe can't be run.
    pub fn new(gpu: &'a Gpu) -> Result<Option<Self>, Error> {
        let Some(ring) = Ring::new(gpu) else { return Ok(None) };
        let first = |rigs: Vec<Rig>| rigs.into_iter().next().ok_or(Error::Noisy { name: "timer" });
        let mut work = first(fma::CHAINS.rigs(gpu)?)?;
        work.groups = work.groups.saturating_mul(8).min(work.most_groups);
        Ok(Some(Self { gpu, ring, work, empty: first(launch::LAUNCH.rigs(gpu)?)? }))
    }
}

impl Clock for GpuClock<'_> {
    fn passes(&mut self, units: &[u32]) -> Result<(Vec<Option<f64>>, Nanos), gpu::Error> {
        let mut encoder = self
            .gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("timer self-test") });
        self.ring.start();
        for &n in units {
            let stamps = Some(self.ring.pass()?);
            let mut pass = Recorder::new(self.gpu, &mut encoder, "timer self-test", stamps);
            let rig = if n == 0 { &self.empty } else { &self.work };
            for _ in 0..n.max(1) {
                for bound in &rig.bound {
                    pass.dispatch(Dispatch { bound, grid: [rig.groups, 1, 1] })?;
                }
            }
        }
        let commands = encoder.finish();
        let start = Instant::now();
        self.gpu.submit([commands]);
        self.gpu.wait()?;
        let wall = start.elapsed().into();
        Ok((self.ring.read(self.gpu)?, wall))
    }

    fn counts(&self) -> Counts {
        self.ring.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolution_is_the_divisor_of_all_intervals() {
        assert_eq!(divisor(&[83.333 * 4.0, 83.333 * 6.0]), Some(166.666));
        assert_eq!(divisor(&[65_536.0, 196_608.0]), Some(65_536.0));
        assert_eq!(divisor(&[]), None);
        assert_eq!(divisor(&[0.0, 0.0]), None);
    }
}
