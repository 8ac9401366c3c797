//! Chains of one kind of operation, in registers: f16 multiply-adds, packed 8-bit dot products,
//! integer operations, exponentials. `fma` has those of f32.
//!
//! What a lane stores is compared with the host's: integers to the last bit, which tells the
//! number of rounds; the others' chains converge, which tells that the operation is the right one.

use half::f16;

use super::probe::{Error, Probe, Rig, Unit};
use crate::gpu::{Gpu, Program};
use crate::units::Flops;

/// A probe of one kind of operation.
#[derive(Debug)]
pub struct Chain {
    name: &'static str,
    summary: &'static str,
    op: Op,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    F16,
    Dot4I8,
    Int,
    Special,
}

/// f16.
pub static F16: Chain =
    Chain { name: "fma_f16", summary: "independent chains of x = x * x + c in pairs of f16", op: Op::F16 };
/// Packed dot products.
pub static DOT4_I8: Chain =
    Chain { name: "dot4_i8", summary: "independent chains of dot4I8Packed(x, c) + x", op: Op::Dot4I8 };
/// Integers.
pub static INT_ALU: Chain =
    Chain { name: "int_alu", summary: "independent chains of shifts, exclusive ors and a sum", op: Op::Int };
/// Special functions.
pub static SPECIAL: Chain =
    Chain { name: "special", summary: "independent chains of x = exp(-x)", op: Op::Special };

/// Lanes of a workgroup.
const LANES: u32 = 64;
/// Rounds of a lane: `STEPS` times `ROUNDS` in the shader.
const ROUNDS: u32 = 512;
/// Workgroups at first, and at most.
const GROUPS: [u32; 2] = [64, 65_535];
/// Chains of a lane: from few registers, for small files of them, to many, for long latencies.
const CHAINS: [u32; 4] = [4, 8, 12, 16];

impl Op {
    fn program(self, chains: u32) -> Program {
        let (op, flag) = match self {
            Self::F16 => ("f16", Some("F16")),
            Self::Dot4I8 => ("dot4_i8", None),
            Self::Int => ("int_alu", None),
            Self::Special => ("special", None),
        };
        Program::new("probe/chain").text("OP", op).flags(flag).number("CHAINS", chains).number("WG", LANES)
    }

    /// Operations of one round of a chain.
    fn each(self) -> u32 {
        match self {
            Self::F16 => 4,
            Self::Dot4I8 => 8,
            Self::Int => 7,
            Self::Special => 1,
        }
    }

    /// The word that comes from memory.
    fn c(self) -> u32 {
        match self {
            Self::F16 => 0.25_f32.to_bits(),
            Self::Dot4I8 => 0x7f81_0302,
            Self::Int => 0,
            Self::Special => 0,
        }
    }

    fn work(self, chains: u32) -> Flops {
        Flops(u64::from(LANES) * u64::from(ROUNDS) * u64::from(chains) * u64::from(self.each()))
    }

    /// Whether `found` is what lane `lane` must store; else what it must.
    fn check(self, chains: u32, lane: u32, found: u32) -> Result<(), String> {
        let starts = (0..chains).map(|k| lane * chains + k);
        let close = |expected: f32, part: f32| {
            let found = f32::from_bits(found);
            let off = (found - expected).abs();
            if off <= part * expected { Ok(()) } else { Err(format!("{found}, not {expected}")) }
        };
        let exact = |expected: u32| {
            if found == expected { Ok(()) } else { Err(format!("{found:#010x}, not {expected:#010x}")) }
        };
        match self {
            Self::Int => exact(starts.map(xorshifts).fold(0, u32::wrapping_add)),
            Self::Dot4I8 => exact(starts.map(|i| dots(i, self.c())).fold(0, u32::wrapping_add)),
            // Converged to exp's fixed point, whatever the start; exp may be off by a few ulp.
            Self::Special => close(starts.map(|_| 0.567_143_3_f32).sum(), 1e-4),
            // Fused and unfused arithmetic stop at different places below 1/2.
            Self::F16 => close(starts.map(halves).sum(), 0.06),
        }
    }
}

fn xorshifts(i: u32) -> u32 {
    (0..ROUNDS).fold(i.wrapping_mul(0x9e37_79b9).wrapping_add(1), |x, _| {
        let x = x ^ (x << 13);
        let x = x ^ (x >> 17);
        x ^ (x << 5)
    })
}

fn dots(i: u32, c: u32) -> u32 {
    (0..ROUNDS).fold(i.wrapping_mul(0x9e37_79b9), |x, _| {
        let pairs = x.to_le_bytes().into_iter().zip(c.to_le_bytes());
        let dot: i32 = pairs.map(|(a, b)| i32::from(a as i8) * i32::from(b as i8)).sum();
        x.wrapping_add(dot as u32)
    })
}

fn halves(i: u32) -> f32 {
    let chain = |start: u32| {
        let start = f16::from_f32(start as f32 / 256.0);
        (0..ROUNDS).fold(start, |x, _| f16::from_f32(x.to_f32().mul_add(x.to_f32(), 0.25))).to_f32()
    };
    chain(i & 63) + chain(i & 31)
}

impl Probe for Chain {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn unit(&self) -> Unit {
        if self.op == Op::F16 { Unit::GigaflopsPerSecond } else { Unit::GigaopsPerSecond }
    }

    fn rigs(&self, gpu: &Gpu) -> Result<Vec<Rig>, Error> {
        if self.op == Op::F16 && !gpu.has(wgpu::Features::SHADER_F16) {
            return Err(Error::Missing { name: self.name, what: "16-bit floats in shaders" });
        }
        let [groups, most] = GROUPS.map(|n| n.min(gpu.limits.max_compute_workgroups_per_dimension));
        let c = gpu.uniform_with("probe c", bytemuck::cast_slice(&[self.op.c(), 0, 0, 0]));
        let out = gpu.storage("probe sums", 4 * u64::from(LANES) * u64::from(most))?;
        let mut rigs = Vec::new();
        for chains in CHAINS {
            let program = self.op.program(chains);
            let bound = gpu.bind(&gpu.pipeline(&program)?, &[(&c).into(), (&out).into()])?;
            let work_per_group = self.op.work(chains).0 as f64;
            let rig = Rig { program, bound: vec![bound], groups, most_groups: most, work_per_group };
            rig.time(gpu, 1)?;
            let bytes = gpu.download(&out, 0, 4 * u64::from(LANES) * u64::from(groups))?;
            for (i, found) in bytes.as_chunks::<4>().0.iter().enumerate() {
                let (lane, found) = (i as u32 % LANES, u32::from_le_bytes(*found));
                self.op.check(chains, lane, found).map_err(|what| Error::Wrong {
                    probe: rig.program.label(),
                    adapter: gpu.adapter.name.clone(),
                    what: format!("lane {i} stored {what}"),
                })?;
            }
            rigs.push(rig);
        }
        Ok(rigs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_every_operation_of_every_round() {
        assert_eq!(Op::Dot4I8.work(4), Flops(64 * 512 * 4 * 8));
        assert_eq!(Op::Int.work(16), Flops(64 * 512 * 16 * 7));
    }

    #[test]
    fn a_wrong_word_is_refused() {
        let right = (0..4).map(xorshifts).fold(0, u32::wrapping_add);
        assert!(Op::Int.check(4, 0, right).is_ok());
        assert!(Op::Int.check(4, 0, right ^ 1).is_err());
        assert!(Op::Special.check(4, 3, (4.0 * 0.567_143_3_f32).to_bits()).is_ok());
        assert!(Op::Special.check(4, 3, f32::NAN.to_bits()).is_err());
        assert!(Op::F16.check(8, 3, 0.0_f32.to_bits()).is_err());
    }
}
