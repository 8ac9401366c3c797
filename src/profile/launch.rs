//! What one more dispatch costs, and how many workgroups it takes to fill the device.

use super::probe::{Error, Probe, Rig, Unit};
use super::slope::{Repeat as _, slope};
use crate::gpu::{Gpu, Program};

/// The launch probe.
pub static LAUNCH: Launch = Launch;

/// Dispatches that do next to nothing, each after the one before it; the slope of their number is
/// what a dispatch costs where it lies in a step.
#[derive(Debug)]
pub struct Launch;

impl Probe for Launch {
    fn name(&self) -> &'static str {
        "launch"
    }

    fn summary(&self) -> &'static str {
        "one more dispatch of one lane that waits for the last"
    }

    fn unit(&self) -> Unit {
        Unit::Nanoseconds
    }

    fn rigs(&self, gpu: &Gpu) -> Result<Vec<Rig>, Error> {
        let program = Program::new("probe/count");
        let count = gpu.storage("probe count", 16)?;
        let bound = gpu.bind(&gpu.pipeline(&program)?, &[(&count).into()])?;
        let rig = Rig { program, bound: vec![bound], groups: 1, most_groups: 1, work_per_group: 1 };
        rig.on(gpu).run(5)?;
        let bytes = gpu.download(&count, 0, 4)?;
        if bytes != 5_u32.to_le_bytes() {
            return Err(Error::Wrong {
                probe: rig.program.label(),
                adapter: gpu.adapter.name.clone(),
                what: format!("five dispatches counted to {:?}, not [5, 0, 0, 0]", bytes),
            });
        }
        Ok(vec![rig])
    }
}

/// Rounds of a lane while grids are compared: long beside a launch.
const STEPS: u32 = 1 << 14;

/// The part of the best rate that counts as full.
const FULL: f64 = 0.9;
/// Seconds of the last grid that is tried.
const LONGEST: f64 = 0.1;
/// A dispatch that takes so long, in seconds, needs no second beside it.
const ENOUGH: f64 = 0.01;
/// Draws of T(n) and of T(2n) in a window.
const DRAWS: usize = 8;

/// The rates of growing grids, and the smallest that is full.
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    /// (workgroups, 10^9 operations a second), ascending.
    pub rates: Vec<(u32, f64)>,
    /// The smallest grid with nine tenths of the best rate.
    pub smallest: u32,
    /// The same by each of the two windows alone, the smaller first.
    pub range: [u32; 2],
    /// The shader and variant.
    pub probe: String,
}

/// Measures it with chains of f32 multiply-adds in workgroups of 64 lanes.
///
/// # Errors
/// A device that fails, or a machine too busy.
pub fn fill(gpu: &Gpu) -> Result<Fill, Error> {
    let lanes = 64;
    let chains = 8;
    let program =
        Program::new("probe/fma_f32").number("CHAINS", chains).number("WG", lanes).number("STEPS", STEPS);
    let c = gpu.uniform_with("probe c", bytemuck::cast_slice(&[0.25_f32, 0.0, 0.0, 0.0]));
    let most = 4096.min(gpu.limits.max_compute_workgroups_per_dimension);
    let out = gpu.storage("probe sums", 4 * u64::from(lanes * most))?;
    let bound = gpu.bind(&gpu.pipeline(&program)?, &[(&c).into(), (&out).into()])?;
    let work_per_group = 2 * u64::from(lanes) * u64::from(chains) * u64::from(STEPS) * 8;
    let mut rates: Vec<(u32, f64)> = Vec::new();
    let mut alone: [Vec<(u32, f64)>; 2] = Default::default();
    let mut groups = 1;
    while groups <= most {
        let rig = Rig {
            program: program.clone(),
            bound: vec![bound.clone()],
            groups,
            most_groups: groups,
            work_per_group,
        };
        let mut running = rig.on(gpu);
        running.run(1)?;
        let repeats = if running.run(1)?.seconds() < ENOUGH { 2 } else { 1 };
        let windows = [slope(&mut running, repeats, DRAWS)?, slope(&mut running, repeats, DRAWS)?];
        for (alone, window) in alone.iter_mut().zip(&windows) {
            alone.extend(window.map(|s| (groups, rig.work() / s.seconds * 1e-9)));
        }
        let fastest = windows.into_iter().flatten().map(|s| s.seconds).fold(f64::INFINITY, f64::min);
        if fastest.is_finite() {
            rates.push((groups, rig.work() / fastest * 1e-9));
        }
        // A grid that takes so long is launched for nothing of it, and larger ones would come near a driver's reset.
        if flat(&rates) || (fastest.is_finite() && fastest > LONGEST) {
            break;
        }
        groups *= 2;
    }
    let smallest = smallest(&rates).ok_or(Error::Noisy { name: "fill" })?;
    Ok(Fill { rates, smallest, range: range(smallest, &alone), probe: program.label() })
}

/// Whether the last three grids gained nothing on those before them.
fn flat(rates: &[(u32, f64)]) -> bool {
    let Some((before, last)) = rates.len().checked_sub(3).map(|n| rates.split_at(n)) else { return false };
    let best = |rates: &[(u32, f64)]| rates.iter().map(|r| r.1).fold(0.0, f64::max);
    !before.is_empty() && best(last) < 1.02 * best(before)
}

fn smallest(rates: &[(u32, f64)]) -> Option<u32> {
    let best = rates.iter().map(|r| r.1).fold(0.0, f64::max);
    rates.iter().find(|r| r.1 >= FULL * best).map(|r| r.0)
}

/// The smallest full grids of the pooled windows and of each alone: the least and the greatest.
fn range(pooled: u32, alone: &[Vec<(u32, f64)>]) -> [u32; 2] {
    let all = || alone.iter().filter_map(|rates| smallest(rates)).chain([pooled]);
    [all().min().unwrap_or(pooled), all().max().unwrap_or(pooled)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_find_other_grids_full_are_a_range() {
        let quiet = vec![(1, 10.0), (2, 20.0), (4, 40.0)];
        let busy = vec![(1, 10.0), (2, 20.0), (4, 21.0)];
        assert_eq!(range(4, &[quiet.clone(), busy]), [2, 4]);
        assert_eq!(range(4, &[quiet.clone(), quiet]), [4, 4]);
        assert_eq!(range(4, &[vec![], vec![]]), [4, 4]);
    }

    #[test]
    fn the_smallest_full_grid_is_found() {
        let rates = [(1, 10.0), (2, 20.0), (4, 37.0), (8, 40.0), (16, 39.0), (32, 40.5), (64, 40.2)];
        assert_eq!(smallest(&rates), Some(4));
        assert!(!flat(&rates[..4]));
        assert!(flat(&rates));
        assert_eq!(smallest(&[]), None);
    }
}
