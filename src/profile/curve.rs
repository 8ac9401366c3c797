//! Rates over the working set, and the levels of memory that they show.

use super::ceiling::fastest;
use super::memory::{GRAIN, Kind, pool, rigs};
use super::probe::Error;
use super::slope::{batch, slope};
use crate::gpu::Gpu;
use crate::units::Bytes;

/// A rate at a working set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct At {
    /// The working set.
    pub set: Bytes,
    /// GB/s.
    pub rate: f64,
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

/// Rates from 512 KiB to more than any cache holds, each twice the one before. What noise hides is
/// left out.
///
/// # Errors
/// A device that fails or runs a probe wrong.
pub fn curve(gpu: &Gpu, kind: Kind) -> Result<Vec<At>, Error> {
    let mut points = Vec::new();
    let mut set = Bytes(2 * GRAIN);
    while set <= pool(gpu) {
        let mut rigs = rigs(gpu, kind, set)?;
        if let Some(at) = fastest(gpu, &mut rigs)? {
            let rig = rigs.swap_remove(at);
            let mut running = rig.on(gpu);
            let repeats = batch(&mut running)?;
            if let Some(slope) = slope(&mut running, repeats, 2)? {
                points.push(At { set, rate: rig.work() / slope.seconds * 1e-9 });
            }
        }
        set = Bytes(set.0 * 2);
    }
    Ok(points)
}

/// Neighbouring rates within this part of each other are one level.
const FLAT: f64 = 0.15;

/// The levels of a curve: stretches of at least two points whose rates stay within 15 % of the
/// stretch's first.
pub fn levels(points: &[At]) -> Vec<Level> {
    let mut levels = Vec::new();
    let mut rest = points;
    while let [first, ..] = rest {
        let length = rest.iter().take_while(|p| (p.rate - first.rate).abs() <= FLAT * first.rate).count();
        if length >= 2 {
            let mut rates: Vec<f64> = rest[..length].iter().map(|p| p.rate).collect();
            rates.sort_by(f64::total_cmp);
            levels.push(Level { from: first.set, to: rest[length - 1].set, rate: rates[length / 2] });
        }
        rest = &rest[if length >= 2 { length } else { 1 }..];
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_caches_and_memory_are_three_levels() {
        let rates = [100.0, 105.0, 98.0, 60.0, 40.0, 42.0, 41.0, 20.0, 11.0, 10.5];
        let points: Vec<At> =
            rates.iter().enumerate().map(|(i, &rate)| At { set: Bytes(1 << (19 + i)), rate }).collect();
        let levels = levels(&points);
        assert_eq!(levels.iter().map(|l| l.rate).collect::<Vec<_>>(), [100.0, 41.0, 11.0]);
        assert_eq!((levels[0].from, levels[0].to), (Bytes(1 << 19), Bytes(1 << 21)));
    }
}
