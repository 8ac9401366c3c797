//! The self-test of timestamps: what a device's stamps say against what must be so.
//!
//! Resolution, linearity (twice the work takes twice the time), isolation (light work after heavy
//! takes what it takes alone), agreement with the wall clock on a long batch, zeros and negatives, and what
//! an interval reads around a dispatch that does next to nothing; of stamps at the ends of passes, and of
//! those inside a pass where the device has them. Everything is asked of a [`Clock`], so that tests
//! can ask a clock that lies.

use std::time::Instant;

use super::Counts;
use super::Ring;
use super::Stamps;
use super::probe::{Error, Probe as _, Rig};
use super::{fma, launch};
use crate::gpu::{self, Dispatch, Gpu, Recorder};
use crate::units::Nanos;

/// A device that can be asked to work and to stamp.
pub trait Clock {
    /// Runs so many units of work each in one submission, with stamps around each: at the ends of a pass for
    /// each, or inside one pass. Gives the interval of each, in nanoseconds, and the wall clock of the
    /// whole. 0 units is an empty dispatch.
    ///
    /// # Errors
    /// Whatever keeps the device from it.
    fn intervals(&mut self, stamps: Stamps, units: &[u32]) -> Result<(Vec<Option<f64>>, Nanos), gpu::Error>;

    /// Whether it can stamp inside a pass.
    fn stamps_inside(&self) -> bool;

    /// What became of the stamps so far.
    fn counts(&self) -> Counts;

    /// Nanoseconds of a tick: intervals are whole numbers of them.
    fn period(&self) -> f64;
}

/// What the self-test found. None: no stamps to tell from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Findings {
    /// Greatest common divisor of the intervals, ns.
    pub resolution: Option<f64>,
    /// Stamps over wall clock.
    pub agreement: Option<f64>,
    /// Of stamps at the ends of passes.
    pub passes: Found,
    /// Of stamps inside a pass, where the device has them.
    pub inside: Option<Found>,
    /// What became of the stamps.
    pub counts: Counts,
}

/// What was found of stamps in one place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Found {
    /// T(2n) / T(n).
    pub linearity: Option<f64>,
    /// Light work after heavy over the same alone.
    pub isolation: Option<f64>,
    /// Median interval around an empty dispatch, ns.
    pub null: Option<f64>,
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
    let before = clock.counts();
    let mut units = 4;
    clock.intervals(Stamps::Passes, &[units])?;
    while clock.intervals(Stamps::Passes, &[units])?.1 < LONG && units < 1 << 16 {
        units *= 2;
    }
    let passes = Taken::take(clock, Stamps::Passes, units)?;
    let inside = match clock.stamps_inside() {
        true => Some(Taken::take(clock, Stamps::Inside, units)?),
        false => None,
    };
    let all: Vec<f64> = [Some(&passes), inside.as_ref()].into_iter().flatten().flat_map(Taken::all).collect();
    Ok(Findings {
        resolution: divisor(&all, clock.period()),
        agreement: over(least(&passes.once), least(&passes.walls)),
        passes: passes.found(),
        inside: inside.map(|taken| taken.found()),
        counts: clock.counts().since(before),
    })
}

/// Intervals of stamps in one place, ns.
#[derive(Default)]
struct Taken {
    once: Vec<f64>,
    twice: Vec<f64>,
    /// Light work alone.
    light: Vec<f64>,
    /// Light work after heavy.
    after: Vec<f64>,
    empty: Vec<f64>,
    /// Wall clocks of `once`.
    walls: Vec<f64>,
}

impl Taken {
    fn take(clock: &mut dyn Clock, stamps: Stamps, units: u32) -> Result<Self, gpu::Error> {
        let light = (units / 8).max(1);
        let mut taken = Self::default();
        for _ in 0..DRAWS {
            let (spans, wall) = clock.intervals(stamps, &[units])?;
            taken.once.extend(spans.into_iter().flatten());
            taken.walls.push(wall.0 as f64);
            taken.twice.extend(clock.intervals(stamps, &[2 * units])?.0.into_iter().flatten());
            taken.light.extend(clock.intervals(stamps, &[light])?.0.into_iter().flatten());
            taken.after.extend(clock.intervals(stamps, &[units, light])?.0.into_iter().skip(1).flatten());
            taken.empty.extend(clock.intervals(stamps, &[0; 16])?.0.into_iter().skip(1).flatten());
        }
        Ok(taken)
    }

    fn all(&self) -> impl Iterator<Item = f64> {
        [&self.once, &self.twice, &self.light, &self.after, &self.empty].into_iter().flatten().copied()
    }

    fn found(&self) -> Found {
        let mut empty = self.empty.clone();
        empty.sort_by(f64::total_cmp);
        Found {
            linearity: over(least(&self.twice), least(&self.once)),
            isolation: over(least(&self.after), least(&self.light)),
            null: empty.get(empty.len() / 2).copied(),
        }
    }
}

fn least(all: &[f64]) -> Option<f64> {
    all.iter().copied().min_by(f64::total_cmp)
}

fn over(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? / b?).filter(|r| r.is_finite())
}

/// The greatest common divisor of intervals, told in ticks, since periods are no whole ns.
fn divisor(spans: &[f64], period: f64) -> Option<f64> {
    let gcd = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let all = spans.iter().map(|s| (s / period).round() as u64);
    Some(all.fold(0, gcd) as f64 * period).filter(|d| *d > 0.0)
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
        let missing = Error::Missing { name: "timer", what: "kernel to test it with" };
        let first = |rigs: Vec<Rig>| rigs.into_iter().next();
        let rigs = first(fma::CHAINS.rigs(gpu)?).zip(first(launch::LAUNCH.rigs(gpu)?));
        let (mut work, empty) = rigs.ok_or(missing)?;
        work.groups = work.groups.saturating_mul(8).min(work.most_groups);
        Ok(Some(Self { gpu, ring, work, empty }))
    }
}

impl Clock for GpuClock<'_> {
    fn intervals(&mut self, stamps: Stamps, units: &[u32]) -> Result<(Vec<Option<f64>>, Nanos), gpu::Error> {
        let label = "timer self-test";
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some(label) };
        let mut encoder = self.gpu.device.create_command_encoder(&descriptor);
        self.ring.start();
        if stamps == Stamps::Inside {
            let mut pass = Recorder::new(self.gpu, &mut encoder, label, None);
            for &n in units {
                let [begin, end] = self.ring.pair()?;
                pass.stamp(self.ring.set(), begin);
                work(&mut pass, if n == 0 { &self.empty } else { &self.work }, n)?;
                pass.stamp(self.ring.set(), end);
            }
        } else {
            for &n in units {
                let ends = Some(self.ring.pass()?);
                let mut pass = Recorder::new(self.gpu, &mut encoder, label, ends);
                work(&mut pass, if n == 0 { &self.empty } else { &self.work }, n)?;
            }
        }
        let commands = encoder.finish();
        let start = Instant::now();
        self.gpu.submit([commands]);
        self.gpu.wait()?;
        let wall = start.elapsed().into();
        Ok((self.ring.read(self.gpu)?, wall))
    }

    fn stamps_inside(&self) -> bool {
        self.gpu.has(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES)
    }

    fn counts(&self) -> Counts {
        self.ring.counts
    }

    fn period(&self) -> f64 {
        self.ring.period()
    }
}

/// Records so many units, or one that is empty.
fn work(pass: &mut Recorder<'_>, rig: &Rig, units: u32) -> Result<(), gpu::Error> {
    for _ in 0..units.max(1) {
        for bound in &rig.bound {
            pass.dispatch(Dispatch { bound, grid: [rig.groups, 1, 1] })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolution_is_the_divisor_of_all_intervals() {
        for period in [1000.0 / 12.0, 1000.0 / 19.2, 1000.0 / 24.0] {
            assert_eq!(divisor(&[period * 4.0, period * 6.0], period), Some(2.0 * period));
        }
        assert_eq!(divisor(&[65_536.0, 196_608.0], 1.0), Some(65_536.0));
        assert_eq!(divisor(&[], 1.0), None);
        assert_eq!(divisor(&[0.0, 0.0], 1.0), None);
    }
}
