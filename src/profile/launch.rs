//! What one more dispatch costs, and how many workgroups it takes to fill the device.

use std::num::NonZero;
use std::thread;

use super::ceiling::{Ceiling, ceilings};
use super::curve::At;
use super::probe::{Error, Part, Probe, Rig, Unit};
use super::slope::{Budget, Timing};
use crate::gpu::{self, Bound, Dispatch, Gpu, Program};

/// The launch probe.
pub static LAUNCH: Launch = Launch;

/// Dispatches that do next to nothing, each after the one before it; the slope of their number is
/// what a dispatch costs where it lies in a step.
#[derive(Debug)]
pub struct Launch;

/// Workgroups of a dispatch of nothing, at least.
const LEAST: u32 = 32;

/// A dispatch that does next to nothing: a word goes up by one. It has enough workgroups to wake every worker of a
/// software driver, as a kernel does: how long one takes to wake depends on the core that it happens to lie on.
#[derive(Clone, Debug)]
pub struct Nothing {
    bound: Bound,
    count: wgpu::Buffer,
    groups: u32,
}

impl Nothing {
    /// Ready to run.
    ///
    /// # Errors
    /// A device without memory.
    pub fn new(gpu: &Gpu) -> Result<Self, gpu::Error> {
        let count = gpu.storage("nothing", 16)?;
        let bound = gpu.bind(&gpu.pipeline(&Self::program())?, &[(&count).into()])?;
        let workers = thread::available_parallelism().map_or(1, NonZero::get) as u32;
        let groups = if gpu.adapter.is_software() { workers.max(LEAST) } else { LEAST };
        Ok(Self { bound, count, groups })
    }

    fn program() -> Program {
        Program::new("probe/count")
    }

    /// The dispatch.
    pub fn dispatch(&self) -> Dispatch<'_> {
        Dispatch { bound: &self.bound, grid: [self.groups, 1, 1] }
    }
}

impl Probe for Launch {
    fn name(&self) -> &'static str {
        "launch"
    }

    fn summary(&self) -> &'static str {
        "one more dispatch of next to nothing that waits for the last"
    }

    fn unit(&self) -> Unit {
        Unit::Nanoseconds
    }

    fn part(&self, gpu: &Gpu) -> Part {
        let timing = if gpu.adapter.is_software() { Timing::WAKING } else { Timing::GPU };
        Part { timing, ..Part::of(gpu) }
    }

    fn rigs(&self, gpu: &Gpu) -> Result<Vec<Rig>, Error> {
        let Nothing { bound, count, groups } = Nothing::new(gpu)?;
        // A launch is one, whatever its grid.
        let work_per_group = 1.0 / f64::from(groups);
        let program = Nothing::program();
        let rig = Rig { program, bound: vec![bound], groups, most_groups: groups, work_per_group };
        rig.time(gpu, 5)?;
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

/// Chains of a lane.
const CHAINS: u32 = 8;
/// Lanes of a workgroup.
const LANES: u32 = 64;
/// Rounds of a lane, times 8: long beside a launch.
const STEPS: u32 = 1 << 14;

/// The part of the best rate that counts as full.
const FULL: f64 = 0.9;
/// The widest grid.
const WIDEST: u32 = 4096;
/// A grid that takes as many times as long as one workgroup is full, and so is all beyond.
const LONGER: u64 = 8;
/// Runs of a grid, of which the shortest tells whether it is the last.
const RUNS: usize = 3;

/// A grid of workgroups of chains of f32 multiply-adds: a probe of its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Workgroups.
    pub groups: u32,
}

impl Grid {
    fn program() -> Program {
        Program::new("probe/fma_f32").number("CHAINS", CHAINS).number("WG", LANES).number("STEPS", STEPS)
    }
}

impl Probe for Grid {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn summary(&self) -> &'static str {
        "multiply-adds of a grid of so many workgroups"
    }

    fn unit(&self) -> Unit {
        Unit::GigaflopsPerSecond
    }

    /// A third of a ceiling's turns, as spread out: grids are many.
    fn part(&self, gpu: &Gpu) -> Part {
        Part { variants: 1, every: 3, ..Part::of(gpu) }
    }

    fn rigs(&self, gpu: &Gpu) -> Result<Vec<Rig>, Error> {
        let program = Self::program();
        let c = gpu.uniform_with("probe c", bytemuck::cast_slice(&[0.25_f32, 0.0, 0.0, 0.0]));
        let out = gpu.storage("probe sums", 4 * u64::from(LANES) * u64::from(self.groups))?;
        let bound = gpu.bind(&gpu.pipeline(&program)?, &[(&c).into(), (&out).into()])?;
        let work_per_group = 16.0 * f64::from(LANES) * f64::from(CHAINS) * f64::from(STEPS);
        let groups = self.groups;
        Ok(vec![Rig { program, bound: vec![bound], groups, most_groups: groups, work_per_group }])
    }
}

/// The grids whose rates are worth comparing: each twice the one before, until one takes so long that it
/// must be full.
///
/// # Errors
/// A device that fails.
pub fn grids(gpu: &Gpu) -> Result<Vec<Grid>, Error> {
    let most = WIDEST.min(gpu.limits.max_compute_workgroups_per_dimension);
    let mut grids: Vec<Grid> = Vec::new();
    let mut one = None;
    let mut groups = 1;
    while groups <= most {
        let grid = Grid { groups };
        grids.push(grid);
        let mut shortest = None;
        for rig in grid.rigs(gpu)? {
            rig.time(gpu, 1)?;
            for _ in 0..RUNS {
                let took = rig.time(gpu, 1)?;
                shortest = Some(shortest.map_or(took, |shortest| took.min(shortest)));
            }
        }
        one = one.or(shortest);
        if shortest.zip(one).is_some_and(|(took, one)| took.0 >= LONGER.saturating_mul(one.0)) {
            break;
        }
        groups *= 2;
    }
    Ok(grids)
}

/// The rates of growing grids, and the smallest that is full.
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    /// 10^9 operations a second of each grid, ascending.
    pub rates: Vec<At>,
    /// The smallest grid with nine tenths of the best rate.
    pub smallest: u32,
    /// The smallest and the largest that it could be as far as rounds differ.
    pub range: [u32; 2],
    /// The shader and variant.
    pub probe: String,
}

impl Fill {
    /// What the rates of some grids, ascending, say; nothing of none.
    pub fn new(found: &[(Grid, Ceiling)]) -> Option<Self> {
        let smallest = |rate: fn(&Ceiling) -> f64, best: fn(&Ceiling) -> f64| {
            let best = found.iter().map(|(_, c)| best(c)).fold(0.0, f64::max);
            found.iter().find(|(_, c)| rate(c) >= FULL * best).map(|(grid, _)| grid.groups)
        };
        let (widest, _) = found.last()?;
        Some(Self {
            rates: found.iter().map(|(grid, c)| At::new(grid.groups.into(), c)).collect(),
            smallest: smallest(|c| c.value, |c| c.value)?,
            range: [
                smallest(|c| c.high, |c| c.low)?,
                smallest(|c| c.low, |c| c.high).unwrap_or(widest.groups),
            ],
            probe: Grid::program().label(),
        })
    }
}

/// Measures it by itself; none where nothing is full.
///
/// # Errors
/// A device that fails.
pub fn fill(gpu: &Gpu, budget: Budget) -> Result<Option<Fill>, Error> {
    let grids = grids(gpu)?;
    let probes: Vec<&dyn Probe> = grids.iter().map(|grid| grid as &dyn Probe).collect();
    let found = ceilings(gpu, &probes, None, budget, &mut |_| {})?;
    let found: Vec<_> = grids.into_iter().zip(found).filter_map(|(grid, c)| Some((grid, c.ok()?))).collect();
    Ok(Fill::new(&found))
}

#[cfg(test)]
mod tests {
    use super::super::ceiling::Rounds;
    use super::*;

    /// Grids of 1, 2, 4, ... with these rates and their spreads.
    fn found(rates: &[[f64; 3]]) -> Option<Fill> {
        let of = |(i, &[low, value, high]): (usize, &[f64; 3])| {
            let (unit, probe, rounds) = (Unit::GigaflopsPerSecond, String::new(), Rounds::Agreed(8));
            (Grid { groups: 1 << i }, Ceiling { name: "fill", unit, value, low, high, probe, rounds })
        };
        Fill::new(&rates.iter().enumerate().map(of).collect::<Vec<_>>())
    }

    #[test]
    fn the_smallest_full_grid_is_found() {
        let fill = found(&[10.0, 20.0, 37.0, 40.0, 39.0, 40.5].map(|r| [r; 3])).unwrap();
        assert_eq!((fill.smallest, fill.range), (4, [4, 4]));
        assert_eq!((fill.rates[0].size, fill.rates[0].rate, fill.rates.len()), (1, 10.0, 6));
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[[5.0; 3]]).map(|fill| fill.smallest), Some(1));
    }

    #[test]
    fn rates_that_scatter_leave_a_range() {
        // The second grid's rate hangs on one round, without which it is no more than the first's.
        let fill = found(&[[10.0; 3], [12.0, 19.0, 19.0], [20.0; 3], [20.0; 3]]).unwrap();
        assert_eq!((fill.smallest, fill.range), (2, [2, 4]));
        // So does the best.
        let fill = found(&[[10.0; 3], [19.0; 3], [20.0, 22.0, 22.0]]).unwrap();
        assert_eq!((fill.smallest, fill.range), (4, [2, 4]));
        let fill = found(&[[10.0; 3], [12.0, 19.0, 24.0]]).unwrap();
        assert_eq!((fill.smallest, fill.range), (2, [2, 2]));
    }
}
