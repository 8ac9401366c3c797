//! Reads of memory that no cache holds.
//!
//! The buffers are filled with a hash of each word's index, and a repeat reads all of them from
//! end to end, adding the words up modulo 2^32. The host knows the sum: every byte was read.

use super::probe::{Error, Probe, Rig, Unit};
use super::slope::Repeat as _;
use crate::gpu::{Binding, Gpu, Program};
use crate::units::Bytes;

/// The probe.
pub static READ: Read = Read;

/// The read probe.
#[derive(Debug)]
pub struct Read;

/// Bytes of a `vec4<u32>`.
const VECTOR: u64 = 16;

/// Lanes and steps of `noise.wgsl`: a workgroup fills 16 KiB.
const NOISE_RUN: u64 = 64 * 16 * VECTOR;

/// Every run, of noise or of any variant, divides this.
const GRAIN: u64 = 1 << 18;

/// Bytes to walk through: four times the largest last-level caches of today, 32 MiB of a
/// processor's cluster of cores, some 128 MiB of a GPU.
fn pool(gpu: &Gpu) -> Bytes {
    Bytes(if gpu.adapter.is_software() { 128 << 20 } else { 512 << 20 })
}

/// The pool as buffers, each within the device's limits.
fn sizes(pool: Bytes, allowed: u64) -> Vec<u64> {
    let each = (allowed.min(1 << 30) / GRAIN * GRAIN).max(GRAIN).min(pool.0);
    vec![each; pool.0.div_ceil(each) as usize]
}

/// How the words are dealt out to groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    /// Lanes of a group.
    lanes: u32,
    /// Vectors that a lane reads.
    steps: u32,
}

/// Variants: many steps for a processor, which starts each group anew and whose compiler slows
/// down on a loop short enough to be unrolled whole; many lanes for GPUs.
const WAYS: [Way; 3] =
    [Way { lanes: 16, steps: 256 }, Way { lanes: 64, steps: 256 }, Way { lanes: 256, steps: 16 }];

impl Way {
    fn program(self) -> Program {
        Program::new("probe/read").number("WG", self.lanes).number("STEPS", self.steps)
    }

    /// Bytes that a workgroup reads.
    fn run(self) -> Bytes {
        Bytes(u64::from(self.lanes) * u64::from(self.steps) * VECTOR)
    }
}

/// The hash that `noise.wgsl` fills with.
fn hash(word: u32) -> u32 {
    let x = (word ^ (word >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

impl Probe for Read {
    fn name(&self) -> &'static str {
        "read_cold"
    }

    fn summary(&self) -> &'static str {
        "noise from end to end, four times the largest cache, each byte once"
    }

    fn unit(&self) -> Unit {
        Unit::GigabytesPerSecond
    }

    fn rigs(&self, gpu: &Gpu) -> Result<Vec<Rig>, Error> {
        let widest = u64::from(gpu.limits.max_compute_workgroups_per_dimension);
        let allowed = gpu
            .limits
            .max_storage_buffer_binding_size
            .min(gpu.limits.max_buffer_size)
            .min(widest * WAYS.iter().map(|w| w.run().0).min().unwrap_or(GRAIN));
        let sizes = sizes(pool(gpu), allowed);
        let size = sizes[0];
        let buffers: Vec<wgpu::Buffer> =
            sizes.iter().map(|&s| gpu.storage("probe noise", s)).collect::<Result<_, _>>()?;
        let noise = gpu.pipeline(&Program::new("probe/noise"))?;
        let fill = Rig {
            program: Program::new("probe/noise"),
            bound: buffers.iter().map(|b| gpu.bind(&noise, &[b.into()])).collect::<Result<_, _>>()?,
            groups: (size / NOISE_RUN) as u32,
            most_groups: (size / NOISE_RUN) as u32,
            work_per_group: NOISE_RUN,
        };
        fill.on(gpu).run(1)?;

        let expected = (0..(size / 4) as u32).fold(0_u32, |sum, i| sum.wrapping_add(hash(i)));
        let mut rigs = Vec::new();
        for way in WAYS {
            if way.lanes > gpu.limits.max_compute_invocations_per_workgroup {
                continue;
            }
            let groups = (size / way.run().0) as u32;
            let bytes = 4 * u64::from(way.lanes) * u64::from(groups);
            let sums = gpu.storage("probe sums", bytes)?;
            let pipeline = gpu.pipeline(&way.program())?;
            let bind = |b: &wgpu::Buffer| gpu.bind(&pipeline, &[Binding::from(b), (&sums).into()]);
            let rig = Rig {
                program: way.program(),
                bound: buffers.iter().map(bind).collect::<Result<_, _>>()?,
                groups,
                most_groups: groups,
                work_per_group: way.run().0,
            };
            rig.on(gpu).run(1)?;
            // All buffers hold the same noise; the last one's sums are there.
            let found = bytemuck::pod_collect_to_vec::<u8, u32>(&gpu.download(&sums, 0, bytes)?);
            let found = found.into_iter().fold(0, u32::wrapping_add);
            if found != expected {
                return Err(Error::Wrong {
                    probe: rig.program.label(),
                    adapter: gpu.adapter.name.clone(),
                    what: format!("the words add up to {found:#010x}, not {expected:#010x}"),
                });
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
    fn every_run_divides_every_buffer() {
        for way in WAYS {
            assert_eq!(GRAIN % way.run().0, 0, "{way:?}");
        }
        assert_eq!(GRAIN % NOISE_RUN, 0);
        for allowed in [1 << 27, (1 << 27) - 4, (1 << 31) - 4, 100 << 20] {
            let sizes = sizes(Bytes(512 << 20), allowed);
            assert!(sizes.iter().all(|s| s % GRAIN == 0 && *s <= allowed), "{sizes:?}");
            assert!(sizes.iter().sum::<u64>() >= 512 << 20, "{sizes:?}");
        }
    }

    #[test]
    fn the_noise_has_no_bias_that_a_compressor_could_use() {
        let mut ones = [0_u32; 32];
        for i in 0..4096 {
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += hash(i) >> bit & 1;
            }
        }
        // Six standard deviations of a fair coin: 6 * sqrt(4096) / 2.
        assert!(ones.iter().all(|n| n.abs_diff(2048) < 192), "{ones:?}");
    }
}
