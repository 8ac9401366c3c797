//! Multiply-adds in f32, in two shapes: independent chains, and a register tile as in a matrix
//! product. Two shapes, since one may meet a pairing of instructions that no kernel ever will.
//!
//! Both start each lane from its own number and end in a sum that a loop on the host repeats. The
//! chains x = x * x + 1/4 approach 1/2 from below as 1/2 - 1/n: rounding errors shrink on the way,
//! so that fused and unfused arithmetic agree, and yet the result tells how many rounds were run.

use super::probe::{Error, Probe, Rig, Unit};
use crate::gpu::{Gpu, Program};
use crate::units::Flops;

/// The chains.
pub static CHAINS: Fma = Fma {
    name: "fma_f32",
    summary: "independent chains of x = x * x + c in registers",
    shape: Shape::Chains,
};

/// The tile.
pub static TILE: Fma = Fma {
    name: "fma_f32_tile",
    summary: "a register tile t[i][j] += a[i] * b[j], as in a matrix product",
    shape: Shape::Tile,
};

/// A multiply-add probe.
#[derive(Debug)]
pub struct Fma {
    name: &'static str,
    summary: &'static str,
    shape: Shape,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Chains,
    Tile,
}

/// Lanes of a workgroup.
const LANES: u32 = 64;

/// Rounds of a lane: `STEPS` times `ROUNDS` in the shaders, of which the latter are unrolled.
const ROUNDS: u32 = 512;

/// Workgroups at first, and at most: one f32 a lane is 16 MiB at most.
const GROUPS: [u32; 2] = [64, 65_535];

/// What a lane computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Chains { chains: u32, unrolled: u32, link: u32 },
    Tile { rows: u32, cols: u32 },
}

impl Lane {
    fn program(self) -> Program {
        match self {
            Self::Chains { chains, unrolled, link } => Program::new("probe/fma_f32")
                .number("CHAINS", chains)
                .number("LINK", link)
                .number("ROUNDS", unrolled)
                .number("STEPS", ROUNDS / unrolled),
            Self::Tile { rows, cols } => {
                Program::new("probe/fma_f32_tile").number("ROWS", rows).number("COLS", cols)
            }
        }
        .number("WG", LANES)
    }

    /// Operations of a workgroup.
    fn work(self) -> Flops {
        let each = match self {
            Self::Chains { chains, .. } => chains,
            Self::Tile { rows, cols } => rows * cols + rows + cols,
        };
        Flops(2 * u64::from(LANES) * u64::from(ROUNDS) * u64::from(each))
    }

    /// What lane `lane` of any group stores.
    fn reference(self, lane: u32) -> f32 {
        let start = |lanes: u32, k: u32, count: u32| {
            lane as f32 / (lanes * LANES) as f32 + k as f32 / (4 * count) as f32
        };
        let next = |x: f32| x.mul_add(x, 0.25);
        match self {
            Self::Chains { chains, link, .. } => {
                let mut x: Vec<f32> = (0..chains).map(|k| start(4, k, chains)).collect();
                for at in (0..ROUNDS).flat_map(|_| 0..chains as usize) {
                    x[at] = x[at].mul_add(x[(at + link as usize) % x.len()], 0.25);
                }
                x.into_iter().sum()
            }
            Self::Tile { rows, cols } => {
                let mut a: Vec<f32> = (0..rows).map(|i| start(4, i, rows)).collect();
                let mut b: Vec<f32> = (0..cols).map(|j| start(8, j, cols)).collect();
                let mut sum = 0.0_f32;
                for _ in 0..ROUNDS {
                    sum += a.iter().flat_map(|x| b.iter().map(move |y| x * y)).sum::<f32>();
                    a.iter_mut().chain(&mut b).for_each(|x| *x = next(*x));
                }
                sum
            }
        }
    }
}

impl Shape {
    /// Variants: from few registers, for small files of them, to many, for long latencies. A processor's
    /// compiler puts one chain's rounds after the other's to save registers, which fewer rounds hinder and a
    /// ring of chains prevents.
    fn lanes(self) -> Vec<Lane> {
        let chains = |(chains, unrolled, link)| Lane::Chains { chains, unrolled, link };
        match self {
            Self::Chains => {
                let apart = [(4, 8, 0), (8, 8, 0), (12, 4, 0), (14, 4, 0), (16, 8, 0)];
                let ring = [(8, 16, 1), (12, 16, 1), (14, 16, 1)];
                apart.into_iter().chain(ring).map(chains).collect()
            }
            Self::Tile => {
                [(2, 3), (2, 4), (3, 3), (4, 4)].map(|(rows, cols)| Lane::Tile { rows, cols }).to_vec()
            }
        }
    }
}

impl Probe for Fma {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn unit(&self) -> Unit {
        Unit::GigaflopsPerSecond
    }

    fn rigs(&self, gpu: &Gpu) -> Result<Vec<Rig>, Error> {
        let [groups, most] = GROUPS.map(|n| n.min(gpu.limits.max_compute_workgroups_per_dimension));
        let c = gpu.uniform_with("probe c", bytemuck::cast_slice(&[0.25_f32, 0.0, 0.0, 0.0]));
        let out = gpu.storage("probe sums", 4 * u64::from(LANES) * u64::from(most))?;
        let mut rigs = Vec::new();
        for lane in self.shape.lanes() {
            let program = lane.program();
            let bound = gpu.bind(&gpu.pipeline(&program)?, &[(&c).into(), (&out).into()])?;
            let rig = Rig {
                program,
                bound: vec![bound],
                groups,
                most_groups: most,
                work_per_group: lane.work().0 as f64,
            };
            prove(gpu, &rig, lane, &out)?;
            rigs.push(rig);
        }
        Ok(rigs)
    }
}

/// Runs the rig once and compares every lane with the host's.
fn prove(gpu: &Gpu, rig: &Rig, lane: Lane, out: &wgpu::Buffer) -> Result<(), Error> {
    rig.time(gpu, 1)?;
    let bytes = gpu.download(out, 0, 4 * u64::from(LANES) * u64::from(rig.groups))?;
    let expected: Vec<f32> = (0..LANES).map(|l| lane.reference(l)).collect();
    for (i, found) in bytemuck::pod_collect_to_vec::<u8, f32>(&bytes).into_iter().enumerate() {
        let expected = expected[i % LANES as usize];
        // Half the rounds would be off by 20 times as much; rounding is off by a tenth.
        let off = (found - expected).abs();
        if off.is_nan() || off > 1e-4 * expected {
            return Err(Error::Wrong {
                probe: rig.program.label(),
                adapter: gpu.adapter.name.clone(),
                what: format!("lane {i} stored {found}, not {expected}"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_two_operations_for_each_multiply_add() {
        assert_eq!(Lane::Chains { chains: 12, unrolled: 8, link: 0 }.work(), Flops(64 * 512 * 12 * 2));
        assert_eq!(Lane::Tile { rows: 3, cols: 2 }.work(), Flops(64 * 512 * (6 + 3 + 2) * 2));
    }

    #[test]
    fn the_reference_tells_the_number_of_rounds() {
        // A chain from 0 after n rounds is close to 1/2 - 1/(n + ln n): half the rounds differ.
        let chain = Lane::Chains { chains: 1, unrolled: 8, link: 0 }.reference(0);
        let n = f64::from(ROUNDS);
        assert!((f64::from(chain) - (0.5 - 1.0 / (n + n.ln()))).abs() < 1e-4, "{chain}");
    }

    #[test]
    fn rounding_is_far_below_the_tolerance() {
        for lane in [0, 1, 63] {
            let exact: f64 = (0..12)
                .map(|k| {
                    let start = f64::from(lane) / 256.0 + f64::from(k) / 48.0;
                    (0..ROUNDS).fold(start, |x, _| x * x + 0.25)
                })
                .sum();
            let off = (f64::from(Lane::Chains { chains: 12, unrolled: 4, link: 0 }.reference(lane)) - exact)
                .abs()
                / exact;
            assert!(off < 1e-5, "lane {lane}: {off}");
        }
    }
}
