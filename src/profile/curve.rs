//! Rates over sizes, and the levels of memory that those over the working set show.

use super::ceiling::Ceiling;
use super::memory::{Kind, Memory, RESIDENT, pool};
use super::stats::{Interval, Samples};
use crate::gpu::Gpu;
use crate::units::Bytes;

/// A rate at a size.
#[derive(Clone, Debug, PartialEq)]
pub struct At {
    /// Bytes of the working set, or workgroups of the grid.
    pub size: u64,
    /// GB/s, or 10^9 operations a second.
    pub rate: f64,
    /// What it is with any one round left out.
    pub spread: Interval,
    /// The shader and variant that gave it.
    pub probe: String,
}

impl At {
    /// What was measured at this size.
    pub fn new(size: u64, found: &Ceiling) -> Self {
        let spread = Interval { low: found.low, high: found.high };
        Self { size, rate: found.value, spread, probe: found.probe.clone() }
    }
}

/// A stretch of working sets of one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The smallest.
    pub from: Bytes,
    /// The largest.
    pub to: Bytes,
    /// Median rate in GB/s.
    pub rate: f64,
}

/// Probes of the working sets between 512 KiB and more than any cache holds, each twice the one before. The
/// ends of a curve are the resident and the cold ceiling.
pub fn points(gpu: &Gpu, kind: Kind) -> Vec<Memory> {
    let twice = |set: &Bytes| Some(Bytes(set.0 * 2));
    let sets = std::iter::successors(Some(Bytes(RESIDENT.0 * 2)), twice);
    let most = pool(gpu);
    sets.take_while(|set| *set < most).map(|set| Memory::point(kind, set)).collect()
}

/// Neighbouring rates within this part of each other are one level.
const FLAT: f64 = 0.15;

/// The levels of a curve: stretches of at least two neighbouring points whose rates stay within 15 % of the
/// stretch's first.
pub fn levels(points: &[At]) -> Vec<Level> {
    let mut levels = Vec::new();
    let mut rest = points;
    while let [first, ..] = rest {
        // A set that is missing ends a stretch: nothing is known of it.
        let next = |(i, p): &(usize, &At)| {
            p.size == first.size << i && (p.rate - first.rate).abs() <= FLAT * first.rate
        };
        let length = rest.iter().enumerate().take_while(next).count();
        if length >= 2 {
            let rates = Samples::new(rest[..length].iter().map(|p| p.rate).collect());
            let [from, to] = [first.size, rest[length - 1].size].map(Bytes);
            levels.extend(rates.map(|rates| Level { from, to, rate: rates.median() }));
        }
        rest = &rest[if length >= 2 { length } else { 1 }..];
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(shift: u32, rate: f64) -> At {
        At { size: 1 << shift, rate, spread: Interval { low: rate, high: rate }, probe: String::new() }
    }

    #[test]
    fn two_caches_and_memory_are_three_levels() {
        let rates = [100.0, 105.0, 98.0, 60.0, 40.0, 42.0, 41.0, 20.0, 11.0, 10.5];
        let points: Vec<At> = rates.iter().enumerate().map(|(i, &rate)| at(19 + i as u32, rate)).collect();
        let levels = levels(&points);
        assert_eq!(levels.iter().map(|l| l.rate).collect::<Vec<_>>(), [100.0, 41.0, 10.75]);
        assert_eq!((levels[0].from, levels[0].to), (Bytes(1 << 19), Bytes(1 << 21)));
    }

    #[test]
    fn a_set_that_was_not_measured_is_on_no_level() {
        let found = levels(&[at(19, 10.0), at(21, 10.0), at(22, 10.1), at(24, 10.0)]);
        assert_eq!(found, [Level { from: Bytes(1 << 21), to: Bytes(1 << 22), rate: 10.05 }]);
    }
}
